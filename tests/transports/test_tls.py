from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bxhealth import transports
from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerEndpoint, TlsMaterial
from bxhealth.errors import NodeFailure
from bxhealth.model import Cause
from bxhealth.transports.tls import TlsStream
from tests import descriptors
from tests.awaiting import until
from tests.certificates import DAY, NOW, Authority, Issued
from tests.conftest import Serve
from tests.loopback import Server, closing, echoing, saying, silent

_LONG = 30.0


@pytest.fixture(scope="session")
def good(authority: Authority) -> Issued:
    return authority.issue("good")


@pytest.fixture(scope="session")
def client(authority: Authority) -> Issued:
    return authority.issue("client", names=())


def _dial(server: Server, material: TlsMaterial, name: str = "127.0.0.1", seconds: float = _LONG) -> TlsStream:
    endpoint = DockerEndpoint(f"tcp://{name}:{server.port}", material)
    stream = transports.dial(endpoint, Deadline(seconds))
    assert isinstance(stream, TlsStream)
    return stream


def _ping(stream: TlsStream) -> bytes:
    stream.sendall(b"ping", Deadline(_LONG))
    return stream.recv(100, Deadline(_LONG))


def _cause(
    server: Server, material: TlsMaterial, name: str = "127.0.0.1", before_ping: Callable[[], object] = bool
) -> Cause:
    with pytest.raises(NodeFailure) as failed:
        stream = _dial(server, material, name)
        before_ping()
        _ping(stream)
    assert str(server.port) in failed.value.message
    return failed.value.cause


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_trusted_server(serve: Serve, authority: Authority, good: Issued, name: str) -> None:
    stream = _dial(serve(echoing, tls=good.server_context()), TlsMaterial(authority.cert), name)
    assert _ping(stream) == b"ping"
    assert stream.certificate is not None
    assert stream.certificate.not_after == good.not_after
    stream.close()


@pytest.mark.parametrize(
    ("not_before", "not_after"), [(NOW - 3 * DAY, NOW - DAY), (NOW + DAY, NOW + 3 * DAY)], ids=["over", "not-yet"]
)
def test_a_certificate_that_is_not_valid_now(
    serve: Serve, authority: Authority, not_before: object, not_after: object
) -> None:
    from datetime import datetime

    assert isinstance(not_before, datetime)
    assert isinstance(not_after, datetime)
    issued = authority.issue(f"at-{not_after:%s}", not_before=not_before, not_after=not_after)
    assert _cause(serve(echoing, tls=issued.server_context()), TlsMaterial(authority.cert)) is Cause.TLS_EXPIRED


@pytest.mark.parametrize(
    ("names", "dialled"),
    [
        (["other.example"], "127.0.0.1"),
        (["127.0.0.2"], "127.0.0.1"),
        (["other.example"], "localhost"),
        ([], "localhost"),
    ],
    ids=["name-for-address", "other-address", "other-name", "no-names"],
)
def test_a_certificate_for_somebody_else(serve: Serve, authority: Authority, names: list[str], dialled: str) -> None:
    """Go, and so buildx, looks at the subject alternative names alone, never at the common name."""
    issued = authority.issue(f"other-{len(names)}-{dialled}", names=names, common_name=dialled)
    server = serve(echoing, tls=issued.server_context())
    assert _cause(server, TlsMaterial(authority.cert), dialled) is Cause.TLS_NAME_MISMATCH


def test_the_configured_server_name_is_what_is_compared(serve: Serve, authority: Authority, good: Issued) -> None:
    issued = authority.issue("named", names=["buildkit.internal"])
    server = serve(echoing, tls=issued.server_context())
    assert _ping(_dial(server, TlsMaterial(authority.cert, server_name="buildkit.internal"))) == b"ping"
    other = serve(echoing, tls=good.server_context())
    material = TlsMaterial(authority.cert, server_name="buildkit.internal")
    assert _cause(other, material) is Cause.TLS_NAME_MISMATCH


@pytest.mark.parametrize("name", [".internal", "x" * 70 + ".internal", "a\0b"])
def test_a_server_name_that_can_be_none(serve: Serve, authority: Authority, good: Issued, name: str) -> None:
    server = serve(echoing, tls=good.server_context())
    with pytest.raises(NodeFailure) as failed:
        _ping(_dial(server, TlsMaterial(authority.cert, server_name=name)))
    assert failed.value.cause in (Cause.CONFIG_INVALID, Cause.TLS_NAME_MISMATCH)


def test_an_unknown_authority(serve: Serve, foreign_authority: Authority, good: Issued) -> None:
    server = serve(echoing, tls=good.server_context())
    assert _cause(server, TlsMaterial(foreign_authority.cert)) is Cause.TLS_UNTRUSTED


def test_the_system_s_authorities_do_not_know_ours(serve: Serve, good: Issued) -> None:
    assert _cause(serve(echoing, tls=good.server_context()), TlsMaterial()) is Cause.TLS_UNTRUSTED


def test_the_server_s_own_certificate_is_an_anchor_as_in_go(serve: Serve, good: Issued) -> None:
    assert _ping(_dial(serve(echoing, tls=good.server_context()), TlsMaterial(good.cert))) == b"ping"


def test_without_verification_anything_goes_and_no_certificate_is_known(serve: Serve, good: Issued) -> None:
    stream = _dial(serve(echoing, tls=good.server_context()), TlsMaterial(verify=False))
    assert _ping(stream) == b"ping"
    assert stream.certificate is None


class TestMutual:
    """The server wants a client certificate; in TLS 1.3 it says so only after the client's hands are shaken."""

    @pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
    def server(self, serve: Serve, authority: Authority, good: Issued, request: pytest.FixtureRequest) -> Server:
        context = good.server_context(client_ca=authority.cert)
        context.minimum_version = context.maximum_version = request.param
        return serve(echoing, tls=context)

    def test_right(self, server: Server, authority: Authority, client: Issued) -> None:
        assert _ping(_dial(server, TlsMaterial(authority.cert, client.cert, client.key))) == b"ping"

    def test_none(self, server: Server, authority: Authority) -> None:
        assert _cause(server, TlsMaterial(authority.cert)) is Cause.ENDPOINT_DENIED

    def test_none_and_the_server_has_closed_before_we_send(self, server: Server, authority: Authority) -> None:
        """What it said before it closed still counts, though sending fails then."""
        material = TlsMaterial(authority.cert)
        ended = lambda: until(lambda: server.handled == server.accepted, "the server has closed")  # noqa: E731
        assert _cause(server, material, before_ping=ended) is Cause.ENDPOINT_DENIED

    def test_of_another_authority(self, server: Server, authority: Authority, foreign_authority: Authority) -> None:
        other = foreign_authority.issue("other-client", names=())
        assert _cause(server, TlsMaterial(authority.cert, other.cert, other.key)) is Cause.ENDPOINT_DENIED

    def test_over(self, server: Server, authority: Authority) -> None:
        old = authority.issue("old-client", names=(), not_before=NOW - 3 * DAY, not_after=NOW - DAY)
        assert _cause(server, TlsMaterial(authority.cert, old.cert, old.key)) is Cause.ENDPOINT_DENIED


@pytest.mark.parametrize(
    "words",
    [b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", bytes(range(64))],
    ids=["http", "ssh", "noise"],
)
def test_a_server_that_speaks_no_tls(serve: Serve, authority: Authority, words: bytes) -> None:
    assert _cause(serve(saying(words)), TlsMaterial(authority.cert)) is Cause.NOT_BUILDKIT


def test_a_server_that_closes_at_once(serve: Serve, authority: Authority) -> None:
    assert _cause(serve(closing), TlsMaterial(authority.cert)) is Cause.NOT_BUILDKIT


def test_a_server_that_never_answers_the_handshake(serve: Serve, authority: Authority) -> None:
    server = serve(silent)
    begun = time.monotonic()
    with pytest.raises(NodeFailure) as failed:
        _dial(server, TlsMaterial(authority.cert), seconds=0.15)
    assert time.monotonic() - begun < 5
    assert failed.value.cause is Cause.DAEMON_UNRESPONSIVE


def test_a_failed_handshake_leaves_no_connection_open(serve: Serve, foreign_authority: Authority, good: Issued) -> None:
    server = serve(echoing, tls=good.server_context())
    material = TlsMaterial(foreign_authority.cert)
    _cause(server, material)
    until(lambda: server.handled == 1, "the server has closed its side")
    before = descriptors.held()
    for _ in range(3):
        _cause(server, material)
    until(lambda: server.handled == 4, "the server has closed its side")
    assert descriptors.held() <= before


class TestMaterial:
    """A file that is not what it should be is the node's configuration's fault, and is named."""

    @pytest.fixture
    def server(self, serve: Serve, good: Issued) -> Server:
        return serve(echoing, tls=good.server_context())

    def _failure(self, server: Server, material: TlsMaterial) -> str:
        with pytest.raises(NodeFailure) as failed:
            _dial(server, material)
        assert failed.value.cause is Cause.CONFIG_INVALID
        return failed.value.message

    @pytest.mark.parametrize("missing", ["ca", "cert", "key"])
    def test_missing(self, server: Server, tmp_path: Path, authority: Authority, client: Issued, missing: str) -> None:
        none = tmp_path / "none.pem"
        files = {"ca": authority.cert, "cert": client.cert, "key": client.key} | {missing: none}
        message = self._failure(server, TlsMaterial(files["ca"], files["cert"], files["key"]))
        assert f"{none} is missing" in message
        assert server.accepted == 0

    @pytest.mark.parametrize("content", [b"", b"no PEM", b"\xff\xfe\x00", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
    @pytest.mark.parametrize("bad", ["ca", "cert"])
    def test_malformed(
        self, server: Server, tmp_path: Path, authority: Authority, client: Issued, bad: str, content: bytes
    ) -> None:
        path = tmp_path / "bad.pem"
        path.write_bytes(content)
        files = {"ca": authority.cert, "cert": client.cert} | {bad: path}
        assert str(path) in self._failure(server, TlsMaterial(files["ca"], files["cert"], client.key))

    def test_a_directory(self, server: Server, tmp_path: Path) -> None:
        assert str(tmp_path) in self._failure(server, TlsMaterial(tmp_path))

    def test_a_key_of_another_certificate(
        self, server: Server, authority: Authority, good: Issued, client: Issued
    ) -> None:
        assert str(client.cert) in self._failure(server, TlsMaterial(authority.cert, client.cert, good.key))

    def test_an_encrypted_key_asks_nobody(self, server: Server, authority: Authority) -> None:
        locked = authority.issue("locked", names=(), passphrase=b"secret")
        self._failure(server, TlsMaterial(authority.cert, locked.cert, locked.key))


def test_a_unix_socket_can_have_tls_too(tmp_path: Path, serve: Serve, authority: Authority, good: Issued) -> None:
    """docker's client lays TLS on whatever it dials, but for ssh (docker/cli, cli/context/docker/load.go)."""
    server = serve(echoing, tmp_path / "s.sock", tls=good.server_context())
    stream = transports.dial(DockerEndpoint(server.host, TlsMaterial(authority.cert)), Deadline(_LONG))
    assert isinstance(stream, TlsStream)
    assert _ping(stream) == b"ping"
