"""With a stand-in for `docker` on the PATH, run by the real supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from bxhealth import processes
from bxhealth.deadline import Cancellation, Deadline
from bxhealth.errors import Cancelled, CliUnavailable
from bxhealth.processes import Finished
from tests.awaiting import gone, until

Program = Callable[[str, str], Path]
_LONG = 30.0
_SLACK = 10.0


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where private directories are made; whatever a test did, none may be left."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    yield directory
    assert list(directory.iterdir()) == []


@pytest.fixture
def cancellation() -> Iterator[Cancellation]:
    made = Cancellation()
    yield made
    made.close()


class Docker:
    """The stand-in: it notes its arguments, its directory and what it starts before it does as told."""

    def __init__(self, program: Program, notes: Path) -> None:
        self._program = program
        self._notes = notes

    def does(self, script: str) -> None:
        self._program(
            "docker",
            f'notes={self._notes}\nstat -c %a "$PRIVATE" > $notes/mode\necho "$PRIVATE" > $notes/private\n{script}',
        )

    def noted(self, name: str) -> str:
        until((self._notes / name).exists, f"docker noted its {name}")
        until(lambda: (self._notes / name).read_text().endswith("\n"), f"docker noted all of its {name}")
        return (self._notes / name).read_text().strip()


@pytest.fixture
def docker(program: Program, tmp_path: Path) -> Docker:
    notes = tmp_path / "notes"
    notes.mkdir()
    return Docker(program, notes)


def _run(
    *arguments: str,
    seconds: float = _LONG,
    cancellation: Cancellation | None = None,
    give_up: Cancellation | None = None,
    files: dict[str, bytes] | None = None,
) -> Finished:
    return processes.docker(
        arguments,
        Deadline(seconds, cancellation),
        files=files or {},
        environment={"PRIVATE": "{private}"},
        give_up=give_up,
    )


SLEEPS = "echo $$ > $notes/docker\nsleep 1000 & echo $! > $notes/child\nwait\n"
IGNORES = (
    "trap '' TERM INT HUP\necho $$ > $notes/docker\n(sleep 1000) & echo $! > $notes/child\nwhile :; do wait; done\n"
)
OWN_GROUP = (
    "echo $$ > $notes/docker\n"
    f"{sys.executable} -ISc 'import os, time; os.setpgid(0, 0); print(os.getpid(), flush=True); time.sleep(1000)'"
    " > $notes/child\n"
)


@pytest.mark.usefixtures("temporary")
class TestNormalEnd:
    def test_what_it_said_and_its_status(self, docker: Docker) -> None:
        docker.does("echo out; echo err >&2; exit 7")
        finished = _run("buildx", "ls")
        assert (finished.status, finished.stdout.strip(), finished.stderr.strip()) == (7, "out", "err")

    def test_success(self, docker: Docker) -> None:
        docker.does("echo out; echo err >&2")
        finished = _run()
        assert (finished.status, finished.stdout.strip(), finished.stderr.strip()) == (0, "out", "err")

    def test_a_signal_s_death_is_128_and_more(self, docker: Docker) -> None:
        docker.does("kill -SEGV $$")
        assert _run().status == 128 + signal.SIGSEGV

    def test_the_arguments_arrive_as_they_are(self, docker: Docker, tmp_path: Path) -> None:
        docker.does('printf "%s\\n" "$@" > $notes/arguments')
        arguments = ["buildx", "inspect", "a b", "$(touch x)", "*", "--x={private}/y"]
        _run(*arguments)
        private = docker.noted("private")
        expected = [argument.replace("{private}", private) for argument in arguments]
        assert docker.noted("arguments").splitlines() == expected
        assert not (tmp_path / "x").exists()

    def test_the_directory_is_private_andgone_afterwards(self, docker: Docker, temporary: Path) -> None:
        docker.does('mkdir -p "$PRIVATE/refs/deep"; echo left > "$PRIVATE/refs/deep/file"')
        _run()
        assert docker.noted("mode") == "700"
        assert Path(docker.noted("private")).parent == temporary
        assert not Path(docker.noted("private")).exists()

    def test_the_files_are_there_and_for_nobody_else(self, docker: Docker, tmp_path: Path) -> None:
        docker.does(
            'cp -r "$PRIVATE/." $notes/copy; stat -c "%a" "$PRIVATE/instances/b" > $notes/file\n'
            'stat -c "%a" "$PRIVATE/canary" > $notes/program'
        )
        files = {"instances/b": b'{"Name": "b"}', "bytes": bytes(range(256)), "canary": b"\x7fELF\x02"}
        _run(files=files)
        for name, content in files.items():
            assert (tmp_path / "notes" / "copy" / name).read_bytes() == content
        assert (docker.noted("file"), docker.noted("program")) == ("600", "700")

    def test_it_has_no_input_to_wait_for(self, docker: Docker) -> None:
        docker.does("cat; echo done")
        assert _run().stdout.strip() == "done"

    def test_what_is_no_utf_8_is_output_too(self, docker: Docker) -> None:
        docker.does("printf 'ERROR: a\\377b\\n' >&2; exit 1")
        finished = _run()
        assert finished.status == 1
        assert finished.stderr.startswith("ERROR: a")

    def test_a_process_left_in_the_background_ends_too(self, docker: Docker) -> None:
        docker.does("sleep 1000 & echo $! > $notes/child")
        begun = time.monotonic()
        assert _run().status == 0
        assert time.monotonic() - begun < _SLACK
        assert gone(docker.noted("child"))

    def test_a_process_that_fled_into_its_own_session_does_not_hold_us(self, docker: Docker) -> None:
        """Nothing blocks for ever, though such a process holds the other end of our pipes."""
        docker.does("setsid sleep 1000 & echo $! > $notes/child; sleep 0.1")
        ended: list[Finished] = []
        thread = threading.Thread(target=lambda: ended.append(_run(seconds=1.0)), daemon=True)
        thread.start()
        thread.join(3.0)
        held = thread.is_alive()
        os.kill(int(docker.noted("child")), signal.SIGKILL)
        thread.join(_SLACK)
        assert not held
        assert ended


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize("script", [SLEEPS, IGNORES, OWN_GROUP], ids=["sleeps", "ignores-signals", "own-group"])
class TestCutShort:
    def _assert_nothing_left(self, docker: Docker) -> None:
        for name in ("docker", "child"):
            pid = docker.noted(name)
            until(partial(gone, pid), f"{name} is gone")
        until(lambda: not Path(docker.noted("private")).exists(), "the private directory is gone")

    def test_by_the_deadline(self, docker: Docker, script: str) -> None:
        docker.does(script)
        begun = time.monotonic()
        assert _run(seconds=0.6).status == processes.STOPPED
        assert time.monotonic() - begun < _SLACK
        self._assert_nothing_left(docker)

    def test_by_giving_up(self, docker: Docker, script: str, cancellation: Cancellation) -> None:
        docker.does(script)
        with _once(lambda: docker.noted("child"), cancellation.cancel):
            assert _run(give_up=cancellation).status == processes.STOPPED
        self._assert_nothing_left(docker)

    def test_by_cancelling_the_run(self, docker: Docker, script: str, cancellation: Cancellation) -> None:
        docker.does(script)
        with _once(lambda: docker.noted("child"), cancellation.cancel), pytest.raises(Cancelled):
            _run(cancellation=cancellation)
        self._assert_nothing_left(docker)

    def test_by_the_death_of_bxhealth(self, docker: Docker, script: str) -> None:
        docker.does(script)
        us = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from bxhealth import processes\n"
                "from bxhealth.deadline import Cancellation, Deadline\n"
                "processes.docker([], Deadline(600, Cancellation()), files={'a/b': b'c'},"
                " environment={'PRIVATE': '{private}'})",
            ]
        )
        docker.noted("child")
        us.kill()
        us.wait()
        self._assert_nothing_left(docker)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_by_a_signal_to_the_supervisor(self, docker: Docker, script: str, number: signal.Signals) -> None:
        docker.does(script)

        def end_supervisor() -> None:
            stat = Path(f"/proc/{docker.noted('docker')}/stat").read_text()
            os.kill(int(stat.rpartition(")")[2].split()[1]), number)

        with _once(lambda: docker.noted("child"), end_supervisor):
            assert _run().status == processes.STOPPED
        self._assert_nothing_left(docker)


class _once:
    """Do something in a thread as soon as something else has returned, while the body runs."""

    def __init__(self, awaited: Callable[[], object], action: Callable[[], object]) -> None:
        def act() -> None:
            awaited()
            action()

        self._thread = threading.Thread(target=act, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join(_SLACK)


@pytest.mark.usefixtures("temporary")
def test_cancelled_before_starts_nothing_that_stays(docker: Docker, cancellation: Cancellation) -> None:
    docker.does(SLEEPS)
    cancellation.cancel()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        _run(cancellation=cancellation)
    assert time.monotonic() - begun < _SLACK


@pytest.mark.usefixtures("temporary")
def test_a_limit_of_weeks_is_a_limit(docker: Docker) -> None:
    docker.does("echo out")
    finished = _run(seconds=1_000 * 3600.0)
    assert (finished.status, finished.stdout.strip()) == (0, "out")


def test_no_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CliUnavailable, match="docker"):
        _run()


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize(
    "words",
    ["docker: 'buildx' is not a docker command.", "docker: unknown command: docker buildx"],
    ids=["before-28", "since-28"],
)
def test_no_buildx(docker: Docker, words: str) -> None:
    docker.does(f'echo "{words}" >&2; exit 1')
    with pytest.raises(CliUnavailable, match="buildx"):
        _run("buildx", "inspect")


@pytest.mark.usefixtures("temporary")
def test_the_user_s_own_environment_stays(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts and credentials stay where they are: only buildx's directory is another."""
    monkeypatch.setenv("DOCKER_CONFIG", "/somewhere")
    docker.does('echo "$DOCKER_CONFIG $HOME" > $notes/environment')
    _run()
    assert docker.noted("environment") == f"/somewhere {os.environ['HOME']}"


class TestRun:
    """A program with input, such as a credential helper."""

    def test_what_it_said(self, program: Program) -> None:
        program("helper", "tr a-z A-Z; echo err >&2; exit 3")
        assert processes.run(["helper"], b"host", Deadline(_LONG)) == Finished(3, "HOST", "err\n")

    def test_a_hung_program_ends_at_the_deadline_with_its_group(self, program: Program, tmp_path: Path) -> None:
        program("helper", f"sleep 1000 & echo $! > {tmp_path}/child\nwait")
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            processes.run(["helper"], b"", Deadline(0.5))
        assert time.monotonic() - begun < _SLACK
        until(lambda: gone((tmp_path / "child").read_text().strip()), "the child is gone")

    def test_no_such_program(self) -> None:
        with pytest.raises(CliUnavailable, match="docker-credential-none"):
            processes.run(["docker-credential-none"], b"", Deadline(_LONG))


def test_the_supervisor_imports_nothing_of_ours(docker: Docker) -> None:
    """It runs isolated (-I -S), so that it starts fast and whatever the user's directory holds."""
    docker.does("true")
    order = json.dumps({"seconds": 5, "lifelines": [], "files": {}, "environment": {}}).encode()
    supervisor = Path(processes.__file__).with_name("supervisor.py")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", str(supervisor), "true"], input=order, capture_output=True
    )
    assert done.returncode == 0
    assert b"bxhealth" not in b"".join(line.rpartition(b"|")[2] for line in done.stderr.splitlines())
