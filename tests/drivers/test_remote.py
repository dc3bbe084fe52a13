"""The rules are buildx's: `driver/remote/factory.go` and `driver/remote/driver.go`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bxhealth.buildkit.client import ControlClient
from bxhealth.deadline import Deadline
from bxhealth.drivers.remote import RemoteLink
from bxhealth.errors import NodeFailure
from bxhealth.model import Cause, Node
from tests.certificates import Authority
from tests.conftest import Serve
from tests.fake_buildkit import UNIMPLEMENTED, FakeBuildkit, healthy, workers
from tests.loopback import Handler, closing, saying, silent, unused_port

_LONG = 30.0


def _node(endpoint: str, **options: str) -> Node:
    return Node("n1", endpoint, driver_opts=options)


def _failure(node: Node, seconds: float = _LONG) -> NodeFailure:
    link = RemoteLink(node, ControlClient)
    with pytest.raises(NodeFailure) as failed:
        link.reach(Deadline(seconds))
    link.close()
    link.close()
    assert not failed.value.startable, "there is nothing to start"
    return failed.value


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_healthy_node(serve: Serve, tmp_path: Path, kind: str) -> None:
    buildkit = healthy("linux/amd64", "linux/arm64")
    server = serve(buildkit, tmp_path / "b.sock" if kind == "unix" else None)
    link = RemoteLink(_node(server.host), ControlClient)
    (reached,) = link.reach(Deadline(_LONG))
    assert (reached.name, reached.version) == ("n1", "v0.21.0")
    assert [worker.platforms for worker in reached.workers] == [("linux/amd64", "linux/arm64")]
    assert reached.certificate is None
    assert (buildkit.calls[0], server.accepted) == ("ListWorkers", 1)
    link.close()


def test_healthy_means_that_list_workers_was_answered(serve: Serve) -> None:
    """Info alone does not make a node healthy."""
    server = serve(FakeBuildkit({"Info": workers(), "ListWorkers": UNIMPLEMENTED}))
    assert _failure(_node(server.host)).cause is Cause.NOT_BUILDKIT


@pytest.mark.parametrize(
    ("handler", "cause"),
    [
        (closing, Cause.ENDPOINT_REFUSED),
        (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Cause.NOT_BUILDKIT),
    ],
    ids=["closes", "http"],
)
def test_a_node_that_is_something_else(serve: Serve, handler: Handler, cause: Cause) -> None:
    failure = _failure(_node(serve(handler).host))
    assert failure.cause is cause


def test_a_silent_node(serve: Serve) -> None:
    begun = time.monotonic()
    assert _failure(_node(serve(silent).host), 0.1).cause is Cause.DAEMON_UNRESPONSIVE
    assert time.monotonic() - begun < 5


def test_nothing_listens() -> None:
    assert _failure(_node(f"tcp://127.0.0.1:{unused_port()}")).cause is Cause.ENDPOINT_REFUSED


class TestTls:
    @pytest.mark.parametrize("with_name", [False, True])
    def test_a_healthy_node(self, serve: Serve, authority: Authority, with_name: bool) -> None:
        """Without servername, it is the endpoint's host."""
        names = ["buildkit.internal"] if with_name else ["127.0.0.1"]
        server_files, client = authority.issue("remote", names), authority.issue("remote-client", names=())
        buildkit = healthy()
        server = serve(buildkit, tls=server_files.server_context(client_ca=authority.cert))
        options = {"cacert": str(authority.cert), "cert": str(client.cert), "key": str(client.key)}
        options |= {"servername": "buildkit.internal"} if with_name else {}
        link = RemoteLink(_node(server.host, **options), ControlClient)
        (reached,) = link.reach(Deadline(_LONG))
        assert reached.certificate is not None
        assert reached.certificate.not_after == server_files.not_after
        assert buildkit.requests[0][":authority"] == names[0]
        link.close()

    def test_a_client_certificate_that_is_wanted_and_not_given(self, serve: Serve, authority: Authority) -> None:
        server = serve(healthy(), tls=authority.issue("mutual").server_context(client_ca=authority.cert))
        assert _failure(_node(server.host, cacert=str(authority.cert))).cause is Cause.ENDPOINT_DENIED

    def test_tls_where_none_is_spoken(self, serve: Serve, authority: Authority) -> None:
        server = serve(healthy())
        assert _failure(_node(server.host, cacert=str(authority.cert))).cause is Cause.NOT_BUILDKIT

    def test_none_where_tls_is_spoken(self, serve: Serve, authority: Authority) -> None:
        server = serve(healthy(), tls=authority.issue("plain").server_context())
        assert _failure(_node(server.host)).cause in (Cause.NOT_BUILDKIT, Cause.ENDPOINT_REFUSED)

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"cacert": "relative.pem"}, "relative.pem"),
            ({"cert": "/c.pem", "key": "/k.pem"}, "cacert"),
            ({"servername": "x"}, "cacert"),
            ({"cacert": "/ca.pem", "cert": "/c.pem"}, "key"),
            ({"cacert": "/ca.pem", "key": "/k.pem"}, "cert"),
            ({"cacert": ""}, "cacert"),
            ({"cacert": "/no/such/ca.pem"}, "/no/such/ca.pem"),
        ],
    )
    def test_options_that_buildx_refuses(self, serve: Serve, options: dict[str, str], named: str) -> None:
        server = serve(silent)
        failure = _failure(_node(server.host, **options))
        assert failure.cause is Cause.CONFIG_INVALID
        assert named in failure.message
        assert server.accepted == 0


@pytest.mark.parametrize("endpoint", ["tcp://h.example", "tcp://h.example:port", "tcp://[::1"])
def test_an_endpoint_without_a_port(endpoint: str) -> None:
    """There is no default port for BuildKit."""
    failure = _failure(_node(endpoint))
    assert failure.cause is Cause.CONFIG_INVALID
    assert endpoint in failure.message


@pytest.mark.parametrize(
    ("endpoint", "native"),
    [
        ("tcp://h:1", True),
        ("unix:///b.sock", True),
        ("docker-container://b", False),
        ("kube-pod://p", False),
        ("ssh://h", False),
    ],
)
def test_what_needs_no_more_than_a_socket(endpoint: str, native: bool) -> None:
    assert RemoteLink.serves(_node(endpoint)) is native


def test_there_is_nothing_to_start() -> None:
    link = RemoteLink(_node("tcp://h:1"), ControlClient)
    assert not link.is_doomed(Deadline(_LONG))
    assert link.diagnose("words", Deadline(_LONG)).message == "words"
