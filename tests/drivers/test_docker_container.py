"""The rules are buildx's: `driver/docker-container/driver.go`; the states are Docker's."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from bxhealth.buildkit.client import ControlClient
from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerConfig
from bxhealth.drivers.docker_container import DockerContainerLink
from bxhealth.errors import NodeFailure
from bxhealth.model import Cause, Node
from tests.conftest import Serve
from tests.fake_buildkit import FakeBuildkit, Reply, healthy
from tests.fake_engine import (
    STDERR,
    STDOUT,
    Answer,
    Exec,
    FakeEngine,
    Program,
    ending,
    hanging,
    inspected,
    log_of,
    running,
)
from tests.loopback import silent, unused_port

_LONG = 30.0
_SHORT = 0.5
NAME = "buildx_buildkit_n1"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(containers={NAME: inspected()}, logs=log_of((STDOUT, ["a"]), (STDERR, ["last words"])))


@pytest.fixture
def link(engine: FakeEngine, serve: Serve, tmp_path: Path) -> DockerContainerLink:
    return _link(serve(engine).host, tmp_path)


def _link(endpoint: str, tmp_path: Path, **options: str) -> DockerContainerLink:
    node = Node("n1", endpoint, driver_opts=options)
    return DockerContainerLink(node, DockerConfig({"HOME": str(tmp_path)}), ControlClient)


def _failure(link: DockerContainerLink, seconds: float = _LONG) -> NodeFailure:
    begun = time.monotonic()
    with pytest.raises(NodeFailure) as failed:
        link.reach(Deadline(seconds))
    assert time.monotonic() - begun < seconds + 5
    link.close()
    return failed.value


def test_a_healthy_node(engine: FakeEngine, link: DockerContainerLink) -> None:
    engine.programs = lambda _: running(healthy("linux/amd64", "linux/arm64"))
    (reached,) = link.reach(Deadline(_LONG))
    assert (reached.name, reached.version) == ("n1", "v0.21.0")
    assert [worker.platforms for worker in reached.workers] == [("linux/amd64", "linux/arm64")]
    assert [(execution.container, execution.command) for execution in engine.execs] == [
        (NAME, ["buildctl", "dial-stdio"])
    ]
    link.close()
    assert len(engine.execs) == 1, "an exec whose daemon answered ends with its input"


def test_a_command_can_be_run_where_buildkit_runs(engine: FakeEngine, link: DockerContainerLink) -> None:
    engine.programs = lambda execution: ending(0, b"free") if execution.command == ["df"] else running(healthy())
    (reached,) = link.reach(Deadline(_LONG))
    assert reached.run_inside is not None
    assert reached.run_inside(["df"], Deadline(_LONG)).stdout == b"free"
    link.close()


def test_no_container(engine: FakeEngine, link: DockerContainerLink) -> None:
    engine.containers.clear()
    failure = _failure(link)
    assert (failure.cause, failure.startable) == (Cause.CONTAINER_MISSING, True)
    assert NAME in failure.message


@pytest.mark.parametrize("status", ["exited", "dead", "created"])
def test_a_container_that_does_not_run_can_be_started(
    engine: FakeEngine, link: DockerContainerLink, status: str
) -> None:
    engine.containers[NAME] = inspected(status, ExitCode=3)
    failure = _failure(link)
    assert (failure.cause, failure.startable) == (Cause.CONTAINER_EXITED, True)
    assert failure.log_tail == ("a", "last words")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"ExitCode": 3}, "3"),
        ({"ExitCode": 137, "OOMKilled": True}, "memory"),
        ({"ExitCode": 127, "Error": "runc: no such file"}, "runc: no such file"),
    ],
)
def test_how_a_container_ended_is_told(
    engine: FakeEngine, link: DockerContainerLink, state: dict[str, Any], words: str
) -> None:
    engine.containers[NAME] = inspected("exited", **state)
    assert words in _failure(link).message


def test_a_paused_container_is_not_started_behind_somebody_s_back(
    engine: FakeEngine, link: DockerContainerLink
) -> None:
    engine.containers[NAME] = inspected("paused")
    failure = _failure(link)
    assert (failure.cause, failure.startable) == (Cause.DAEMON_UNRESPONSIVE, False)
    assert "paused" in failure.message


def test_a_container_that_keeps_restarting(engine: FakeEngine, link: DockerContainerLink) -> None:
    engine.containers[NAME] = inspected("restarting", ExitCode=1, RestartCount=7)

    def restart(_: str) -> None:
        engine.containers[NAME]["RestartCount"] += 1

    engine.on_inspect = restart
    failure = _failure(link)
    assert failure.cause is Cause.CONTAINER_RESTARTING
    assert failure.log_tail == ("a", "last words")


def test_a_container_that_is_slow_to_restart_is_restarting_at_the_deadline(
    engine: FakeEngine, link: DockerContainerLink
) -> None:
    engine.containers[NAME] = inspected("restarting", ExitCode=1, RestartCount=7)
    assert _failure(link, _SHORT).cause is Cause.CONTAINER_RESTARTING


def test_one_restart_is_no_failure(engine: FakeEngine, link: DockerContainerLink) -> None:
    engine.containers[NAME] = inspected("restarting", ExitCode=1, RestartCount=1)
    engine.programs = lambda _: running(healthy())
    seen: list[str] = []

    def come_up(name: str) -> None:
        seen.append(name)
        if len(seen) == 2:
            engine.containers[NAME] = inspected("running", RestartCount=2)

    engine.on_inspect = come_up
    (reached,) = link.reach(Deadline(_LONG))
    assert reached.workers
    link.close()


def _comes_up_at(attempt: int, program: Program) -> Any:
    attempts: list[Exec] = []

    def choose(execution: Exec) -> Program:
        attempts.append(execution)
        return program if len(attempts) < attempt else running(healthy())

    return choose


def test_a_daemon_that_is_about_to_come_up_gets_the_time(engine: FakeEngine, link: DockerContainerLink) -> None:
    """A container counts as running for buildx as soon as it does, whatever the daemon in it does."""
    words = b"error: could not connect to unix:///run/buildkit/buildkitd.sock after 0 attempts\n"
    engine.programs = _comes_up_at(3, ending(1, b"", words))
    (reached,) = link.reach(Deadline(_LONG))
    assert reached.workers
    assert len(engine.execs) == 3
    link.close()


def test_a_daemon_that_never_comes_up(engine: FakeEngine, link: DockerContainerLink) -> None:
    engine.programs = lambda _: ending(1, b"", b"a\nerror: no such socket\n")
    failure = _failure(link, _SHORT)
    assert (failure.cause, failure.startable) == (Cause.DAEMON_UNRESPONSIVE, False)
    assert "error: no such socket" in failure.message


def test_a_daemon_that_hangs_leaves_nothing_in_the_container(engine: FakeEngine, link: DockerContainerLink) -> None:
    """`buildctl dial-stdio` of a frozen daemon stays for ever, one at each check, unless it is ended."""
    engine.programs = lambda execution: hanging if execution.command[0] == "buildctl" else ending()
    failure = _failure(link, _SHORT)
    assert failure.cause is Cause.DAEMON_UNRESPONSIVE
    assert NAME in failure.message
    (mark,) = engine.execs[0].environment
    assert mark.partition("=")[2] in engine.execs[1].command


def test_a_container_without_buildctl(engine: FakeEngine, link: DockerContainerLink) -> None:
    """runc's words come through the stream, and the exec ends with 127."""
    words = b'exec: "buildctl": executable file not found in $PATH\r\n'
    engine.programs = lambda _: ending(127, words)
    failure = _failure(link, _SHORT)
    assert failure.cause in (Cause.NOT_BUILDKIT, Cause.DAEMON_UNRESPONSIVE)
    assert "buildctl" in failure.message


def test_a_container_that_stops_while_it_is_asked(engine: FakeEngine, link: DockerContainerLink) -> None:
    """The engine answers an exec with 409 then; what counts is the state that is seen next."""
    engine.overrides["POST", f"/containers/{NAME}/exec"] = Answer(409, {"message": "container is not running"})

    def stop(_: str) -> None:
        if any(request.endswith("/exec") for request in engine.requests):
            engine.containers[NAME] = inspected("exited", ExitCode=1)

    engine.on_inspect = stop
    assert _failure(link).cause is Cause.CONTAINER_EXITED


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (Answer(403, {"message": "authorization denied by plugin x"}), Cause.ENDPOINT_DENIED),
        (Answer(500, {"message": "containerd is gone"}), Cause.DAEMON_UNRESPONSIVE),
    ],
)
@pytest.mark.parametrize("path", [("GET", "json"), ("POST", "exec")])
def test_an_engine_that_refuses(
    engine: FakeEngine, link: DockerContainerLink, path: tuple[str, str], answer: Answer, cause: Cause
) -> None:
    engine.overrides[path[0], f"/containers/{NAME}/{path[1]}"] = answer
    failure = _failure(link, _SHORT)
    assert failure.cause is cause
    assert isinstance(answer.body, dict)
    assert answer.body["message"] in failure.message


def test_what_buildkit_answers_counts(engine: FakeEngine, link: DockerContainerLink) -> None:
    denying = FakeBuildkit({"ListWorkers": Reply.error(7, "not you")})
    engine.programs = lambda execution: running(denying) if execution.command[0] == "buildctl" else ending()
    assert _failure(link).cause is Cause.ENDPOINT_DENIED


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    failure = _failure(_link(f"tcp://127.0.0.1:{unused_port()}", tmp_path))
    assert (failure.cause, failure.startable) == (Cause.ENDPOINT_REFUSED, False)


def test_an_engine_that_freezes_when_the_exec_is_to_be_ended_does_not_hold_close(
    engine: FakeEngine, link: DockerContainerLink
) -> None:
    engine.programs = lambda _: hanging
    engine.overrides["GET", "/exec/0/json"] = silent
    begun = time.monotonic()
    _failure(link, _SHORT)
    assert time.monotonic() - begun < 8


class TestDoomed:
    """While it is started: has it failed so that waiting is in vain?"""

    NEW = "2026-02-02T00:00:00Z"
    OLD = "2026-01-01T00:00:00Z"

    @pytest.mark.parametrize(
        ("container", "doomed"),
        [
            (None, False),
            (inspected("created"), False),
            (inspected("running"), False),
            (inspected("exited", FinishedAt=OLD), False),
            (inspected("exited", FinishedAt=NEW), True),
            (inspected("dead", FinishedAt=NEW), True),
            (inspected("restarting", FinishedAt=NEW, RestartCount=1), False),
            (inspected("restarting", FinishedAt=NEW, RestartCount=5), True),
            (inspected("running", FinishedAt=OLD, RestartCount=5), False),
        ],
        ids=["missing", "created", "running", "as-before", "again", "dead", "once", "loops", "looped-before"],
    )
    def test_after_an_end_that_was_known(
        self, engine: FakeEngine, link: DockerContainerLink, container: dict[str, Any] | None, doomed: bool
    ) -> None:
        engine.containers[NAME] = inspected("exited", FinishedAt=self.OLD)
        with pytest.raises(NodeFailure):
            link.reach(Deadline(_LONG))
        engine.containers = {NAME: container} if container else {}
        assert link.is_doomed(Deadline(_LONG)) is doomed
        link.close()

    def test_of_an_engine_that_does_not_answer_nothing_is_known(self, tmp_path: Path) -> None:
        link = _link(f"tcp://127.0.0.1:{unused_port()}", tmp_path)
        assert not link.is_doomed(Deadline(_LONG))


class TestDiagnose:
    """After buildx has failed to start it: what does the host know?"""

    def test_an_image_that_is_not_there(self, engine: FakeEngine, serve: Serve, tmp_path: Path) -> None:
        engine.containers.clear()
        link = _link(serve(engine).host, tmp_path, image="registry.example/none:1")
        failure = link.diagnose("pull access denied", Deadline(_LONG))
        assert failure.cause is Cause.IMAGE_UNAVAILABLE
        assert "registry.example/none:1" in failure.message
        assert "pull access denied" in failure.message
        link.close()

    def test_the_image_that_buildx_takes_by_default(self, engine: FakeEngine, link: DockerContainerLink) -> None:
        """driver/bkimage/bkimage.go"""
        engine.containers.clear()
        assert "moby/buildkit:buildx-stable-1" in link.diagnose("words", Deadline(_LONG)).message
        engine.images.add("moby/buildkit:buildx-stable-1")
        assert link.diagnose("words", Deadline(_LONG)).cause is Cause.BOOT_FAILED
        link.close()

    @pytest.mark.parametrize(
        ("container", "cause"),
        [
            (inspected("exited", ExitCode=1), Cause.CONTAINER_EXITED),
            (inspected("dead"), Cause.CONTAINER_EXITED),
            (inspected("restarting", RestartCount=1), Cause.CONTAINER_RESTARTING),
            (inspected("running", RestartCount=9), Cause.CONTAINER_RESTARTING),
            (inspected("running"), Cause.BOOT_FAILED),
            (inspected("created"), Cause.BOOT_FAILED),
        ],
    )
    def test_the_container_s_state_and_last_words(
        self, engine: FakeEngine, link: DockerContainerLink, container: dict[str, Any], cause: Cause
    ) -> None:
        engine.containers[NAME] = container
        failure = link.diagnose("words", Deadline(_LONG))
        assert failure.cause is cause
        assert failure.log_tail == ("a", "last words")
        link.close()

    def test_buildx_s_words_stay_where_nothing_more_is_known(
        self, engine: FakeEngine, link: DockerContainerLink
    ) -> None:
        engine.overrides["GET", f"/containers/{NAME}/json"] = Answer(500, {"message": "out of order"})
        failure = link.diagnose("buildx's words", Deadline(_LONG))
        assert "out of order" in failure.message or "buildx's words" in failure.message
        link.close()


def test_a_socket_that_is_kept_is_closed(serve: Serve, engine: FakeEngine, tmp_path: Path) -> None:
    ended: list[bool] = []

    def handle(sock: socket.socket) -> None:
        engine(sock)
        ended.append(True)

    server = serve(handle)
    link = _link(server.host, tmp_path)
    engine.containers.clear()
    _failure(link)
    server.stop()
    assert ended == [True]
