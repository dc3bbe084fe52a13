"""The rules are buildx's: `driver/docker/driver.go`, which upgrades `POST /grpc` to h2c."""

from __future__ import annotations

from pathlib import Path

import pytest

from bxhealth.buildkit.client import ControlClient
from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerConfig
from bxhealth.drivers.docker import DockerLink
from bxhealth.errors import NodeFailure, StoreError
from bxhealth.model import Cause, Node
from tests import stores
from tests.certificates import Authority
from tests.conftest import Serve
from tests.fake_buildkit import FakeBuildkit, Reply, healthy
from tests.fake_engine import Answer, FakeEngine
from tests.loopback import closing, saying, silent

_LONG = 30.0


def _link(tmp_path: Path, endpoint: str, **environ: str) -> DockerLink:
    return DockerLink(Node("far", endpoint), DockerConfig({"HOME": str(tmp_path)} | environ), ControlClient)


def _failure(link: DockerLink, seconds: float = _LONG) -> NodeFailure:
    with pytest.raises(NodeFailure) as failed:
        link.reach(Deadline(seconds))
    link.close()
    assert not failed.value.startable
    return failed.value


def test_the_host_of_the_environment(serve: Serve, tmp_path: Path) -> None:
    buildkit = healthy("linux/amd64")
    server = serve(FakeEngine(buildkit=buildkit), tmp_path / "d.sock")
    link = _link(tmp_path, "default", DOCKER_HOST=server.host)
    (reached,) = link.reach(Deadline(_LONG))
    assert (reached.name, reached.version) == ("far", "v0.21.0")
    assert [worker.platforms for worker in reached.workers] == [("linux/amd64",)]
    assert buildkit.calls[0] == "ListWorkers"
    link.close()
    link.close()


def test_a_context_with_tls(serve: Serve, tmp_path: Path, authority: Authority) -> None:
    issued = authority.issue("engine")
    server = serve(FakeEngine(buildkit=healthy()), tls=issued.server_context())
    meta = stores.context(tmp_path / ".docker", "far", server.host, ["ca.pem"])
    ca = meta.parents[2] / "tls" / meta.parent.name / "docker" / "ca.pem"
    ca.write_bytes(authority.cert.read_bytes())
    link = _link(tmp_path, "far")
    (reached,) = link.reach(Deadline(_LONG))
    assert reached.certificate is not None
    assert reached.certificate.not_after == issued.not_after
    link.close()


def test_bytes_of_buildkit_that_come_with_the_upgrade(serve: Serve, tmp_path: Path) -> None:
    """The server's SETTINGS (RFC 9113, 6.5), in one piece with the 101."""
    engine = FakeEngine(buildkit=healthy(), with_upgrade=b"\0\0\0\x04\0\0\0\0\0")
    link = _link(tmp_path, serve(engine).host)
    (reached,) = link.reach(Deadline(_LONG))
    assert reached.workers
    link.close()


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (Answer(404, {"message": "page not found"}), Cause.NOT_BUILDKIT),
        (Answer(501, raw=b"Unsupported method"), Cause.NOT_BUILDKIT),
        (Answer(403, {"message": "authorization denied by plugin x"}), Cause.ENDPOINT_DENIED),
        (Answer(401, {"message": "who are you"}), Cause.ENDPOINT_DENIED),
    ],
)
def test_an_engine_that_refuses(serve: Serve, tmp_path: Path, answer: Answer, cause: Cause) -> None:
    failure = _failure(_link(tmp_path, serve(FakeEngine(overrides={("POST", "/grpc"): answer})).host))
    assert failure.cause is cause
    assert str(answer.status) in failure.message


def test_an_engine_whose_buildkit_fails(serve: Serve, tmp_path: Path) -> None:
    engine = FakeEngine(buildkit=FakeBuildkit({"ListWorkers": Reply.error(14, "shutting down")}))
    failure = _failure(_link(tmp_path, serve(engine).host))
    assert failure.cause is Cause.DAEMON_UNRESPONSIVE
    assert "shutting down" in failure.message


def test_other_ends(serve: Serve, tmp_path: Path) -> None:
    assert _failure(_link(tmp_path, serve(closing).host)).cause is Cause.ENDPOINT_REFUSED
    assert _failure(_link(tmp_path, serve(silent).host), 0.1).cause is Cause.DAEMON_UNRESPONSIVE
    assert _failure(_link(tmp_path, serve(saying(b"SSH-2.0\r\n\r\n")).host)).cause is Cause.NOT_BUILDKIT
    assert _failure(_link(tmp_path, f"unix://{tmp_path}/none.sock")).cause is Cause.ENDPOINT_REFUSED


def test_a_context_that_cannot_be_read(tmp_path: Path) -> None:
    path = stores.context(tmp_path / ".docker", "far", "tcp://h:1")
    path.write_text("{")
    with pytest.raises(StoreError, match=str(path)):
        _link(tmp_path, "far").reach(Deadline(_LONG))


def test_there_is_nothing_to_start(tmp_path: Path) -> None:
    link = _link(tmp_path, "far")
    assert not link.is_doomed(Deadline(_LONG))
    assert link.diagnose("words", Deadline(_LONG)).message == "words"
    link.close()
