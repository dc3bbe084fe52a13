"""The rules are gRPC's: `doc/PROTOCOL-HTTP2.md`, `doc/http-grpc-status-mapping.md` in grpc/grpc."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame
from hypothesis import given
from hypothesis import strategies as st

from bxhealth import transports
from bxhealth.buildkit import grpc
from bxhealth.buildkit.grpc import GrpcConnection, GrpcError, MessageTooLarge
from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerEndpoint
from bxhealth.errors import NodeFailure
from bxhealth.model import TRANSIENT, Cause
from tests import garbage
from tests.conftest import Serve
from tests.fake_buildkit import OK_HEADERS, SERVICE, FakeBuildkit, Headers, MemoryStream, Reply, framed
from tests.loopback import Handler, closing, dripping, saying, silent

_LONG = 30.0
_SLACK = 5.0
METHOD = SERVICE + "Info"
_TWO = (("ListWorkers", b"workers"), ("Info", b"info"))


def _unary(connection: GrpcConnection, path: str = METHOD, seconds: float = _LONG) -> bytes:
    return connection.finish(connection.begin(path, b""), Deadline(seconds))


def _call(reply: Reply, sizes: Sequence[int] = (65536,)) -> bytes:
    stream = MemoryStream(FakeBuildkit({"Info": reply}), sizes)
    return _unary(GrpcConnection(stream, "localhost"))


def _dial(serve: Serve, handler: Handler) -> GrpcConnection:
    stream = transports.dial(DockerEndpoint(serve(handler).host), Deadline(_LONG))
    return GrpcConnection(stream, "localhost")


@given(message=st.binary(max_size=3000), sizes=st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_an_answer_in_whatever_pieces(message: bytes, sizes: list[int]) -> None:
    assert _call(Reply(framed(message)), sizes) == message


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=6), code=st.integers(1, 16))
def test_an_error_in_whatever_pieces(sizes: list[int], code: int) -> None:
    with pytest.raises(GrpcError) as failed:
        _call(Reply.error(code, "no"), sizes)
    assert (failed.value.code, failed.value.message) == (code, "no")


def test_an_answer_larger_than_every_window() -> None:
    """5 MiB: more than the connection's window, so it has to be given back, and than grpc's default limit."""
    message = bytes(5 * 1024 * 1024)
    assert _call(Reply(framed(message))) == message


def test_nothing_of_a_connection_waits_for_the_garbage_collector() -> None:
    stream = MemoryStream(FakeBuildkit({"Info": Reply(framed(b"info"))}))  # it stays, with what is h2's in it
    assert garbage.left_by(lambda: _unary(GrpcConnection(stream, "localhost")), "h2") == []


def test_calls_one_after_the_other_on_one_connection() -> None:
    buildkit = FakeBuildkit({"Info": Reply(framed(b"info")), "ListWorkers": Reply.error(5, "gone")})
    connection = GrpcConnection(MemoryStream(buildkit), "localhost")
    for _ in range(3):
        assert _unary(connection) == b"info"
        with pytest.raises(GrpcError):
            _unary(connection, SERVICE + "ListWorkers")
    assert buildkit.calls == ["Info", "ListWorkers"] * 3


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=6), second_first=st.booleans())
def test_calls_begun_together_leave_in_one_write(sizes: list[int], second_first: bool) -> None:
    buildkit = FakeBuildkit({name: Reply(framed(answer)) for name, answer in _TWO})
    stream = MemoryStream(buildkit, sizes)
    connection = GrpcConnection(stream, "localhost")
    calls = [(connection.begin(SERVICE + name, b""), answer) for name, answer in _TWO]
    for number, answer in reversed(calls) if second_first else calls:
        assert connection.finish(number, Deadline(_LONG)) == answer
    assert buildkit.calls == [name for name, _ in _TWO]
    assert stream.first_write_calls == len(_TWO)


def test_a_call_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc, "_MAX_MESSAGE_BYTES", 1024 * 1024)
    replies = {
        "DiskUsage": Reply(framed(bytes(3 * 1024 * 1024))),
        "ListWorkers": Reply(reset=ErrorCodes.INTERNAL_ERROR),
        "Info": Reply(framed(b"info")),
    }
    connection = GrpcConnection(MemoryStream(FakeBuildkit(replies)), "localhost")
    large, reset, info = (connection.begin(SERVICE + name, b"") for name in replies)
    assert connection.finish(info, Deadline(_LONG)) == b"info"
    with pytest.raises(GrpcError, match="reset"):
        connection.finish(reset, Deadline(_LONG))
    with pytest.raises(MessageTooLarge):
        connection.finish(large, Deadline(_LONG))


def test_a_call_after_the_server_said_good_bye_is_a_failure() -> None:
    """RFC 9113, 6.8: a server that shuts down in peace sends GOAWAY with NO_ERROR, and finishes what it has."""
    connection = GrpcConnection(MemoryStream(FakeBuildkit({"Info": Reply(framed(b"x"), leaves=True)})), "localhost")
    assert _unary(connection) == b"x"
    with pytest.raises(NodeFailure, match="ended the HTTP/2 connection") as failed:
        _unary(connection)
    assert failed.value.cause in TRANSIENT


def test_a_server_that_says_good_bye_before_it_answers_is_being_stopped() -> None:
    class Leaving(MemoryStream):
        def recv(self, size: int, deadline: Deadline) -> bytes:
            data = super().recv(size, deadline)
            # after the settings, with which it has begun
            return data if self._turn == 1 else GoAwayFrame(0, last_stream_id=2**31 - 1).serialize() + data

    stream = Leaving(FakeBuildkit({"Info": Reply(framed(b"x"))}), [9 + 6 * 7, 65536])
    with pytest.raises(NodeFailure, match="ended the HTTP/2 connection") as failed:
        _unary(GrpcConnection(stream, "localhost"))
    assert failed.value.cause in TRANSIENT


def test_the_request_is_a_grpc_request() -> None:
    buildkit = FakeBuildkit({"Info": Reply(framed(b""))})
    _unary(GrpcConnection(MemoryStream(buildkit), "buildkit.example"))
    (headers,) = buildkit.requests
    assert headers[":method"] == "POST"
    assert headers[":path"] == METHOD
    assert headers[":authority"] == "buildkit.example"
    assert headers["te"] == "trailers"
    assert headers["content-type"].startswith("application/grpc")


@pytest.mark.parametrize(
    ("trailers", "code", "message"),
    [
        ((("grpc-status", "2"), ("grpc-message", "a%20b%C3%A4")), 2, "a bä"),
        ((("grpc-status", "14"),), 14, "no message"),
        ((("grpc-status", "5"), ("grpc-message", "100%")), 5, "100%"),
    ],
)
def test_an_error_in_trailers(trailers: Headers, code: int, message: str) -> None:
    with pytest.raises(GrpcError) as failed:
        _call(Reply(trailers=trailers))
    assert (failed.value.code, failed.value.message) == (code, message)


@pytest.mark.parametrize(
    "trailers",
    [(("other", "1"),), (("grpc-status", ""),), (("grpc-status", "ok"),), (("grpc-status", "\u00b2"),)],
    ids=["none", "empty", "word", "superscript"],
)
def test_an_answer_without_a_status_is_an_error(trailers: Headers) -> None:
    with pytest.raises(GrpcError):
        _call(Reply(framed(b"x"), trailers=trailers))


def test_an_answer_without_trailers_is_an_error() -> None:
    with pytest.raises(GrpcError):
        _call(Reply(framed(b"x"), trailers=None))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        framed(b"four")[:-1],
        framed(b"four") + b"x",
        framed(b"one") + framed(b"two"),
        struct.pack(">?L", True, 4) + b"four",
        struct.pack(">?L", False, 2**32 - 1) + b"four",
    ],
    ids=["nothing", "no-prefix", "short", "long", "two", "compressed", "a-lie"],
)
def test_an_answer_that_is_no_single_message_is_an_error(data: bytes) -> None:
    with pytest.raises(GrpcError):
        _call(Reply(data))


def test_a_message_that_is_no_utf_8_is_an_error_and_no_more() -> None:
    """A message is percent-encoded by rule, and a peer may break it."""

    class Latin(str):
        def encode(self, *_: str) -> bytes:
            return b"\xff\xfe"

    headers = (*OK_HEADERS, ("grpc-status", "2"), ("grpc-message", Latin("x")))
    with pytest.raises((GrpcError, NodeFailure)):
        _call(Reply(headers=headers, trailers=None))


def test_a_limit_on_what_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc, "_MAX_MESSAGE_BYTES", 1024 * 1024)
    buildkit = FakeBuildkit({"DiskUsage": Reply(framed(bytes(3 * 1024 * 1024))), "Info": Reply(framed(b"info"))})
    connection = GrpcConnection(MemoryStream(buildkit), "localhost")
    with pytest.raises(MessageTooLarge):
        _unary(connection, SERVICE + "DiskUsage")
    assert _unary(connection) == b"info"


def test_a_reset_stream_is_an_error() -> None:
    with pytest.raises(GrpcError, match="reset"):
        _call(Reply(reset=ErrorCodes.INTERNAL_ERROR))


@pytest.mark.parametrize(
    ("status", "content", "cause"),
    [
        ("200", "text/html", Cause.NOT_BUILDKIT),
        ("404", "text/html", Cause.NOT_BUILDKIT),
        ("400", "text/plain", Cause.NOT_BUILDKIT),
        ("401", "text/html", Cause.ENDPOINT_DENIED),
        ("403", "text/html", Cause.ENDPOINT_DENIED),
        ("502", "text/html", Cause.DAEMON_UNRESPONSIVE),
        ("503", "text/html", Cause.DAEMON_UNRESPONSIVE),
        ("504", "text/html", Cause.DAEMON_UNRESPONSIVE),
    ],
)
def test_an_answer_of_a_proxy(status: str, content: str, cause: Cause) -> None:
    """http-grpc-status-mapping.md: 404 is UNIMPLEMENTED, 401 and 403 are denials, 502 to 504 UNAVAILABLE."""
    reply = Reply(b"<html>", headers=((":status", status), ("content-type", content)), trailers=None)
    with pytest.raises(NodeFailure) as failed:
        _call(reply)
    assert failed.value.cause is cause
    assert status in failed.value.message


def test_a_server_that_ends_the_connection_for_an_error(serve: Serve) -> None:
    buildkit = FakeBuildkit({"Info": Reply(go_away=ErrorCodes.HTTP_1_1_REQUIRED)})
    with pytest.raises(NodeFailure) as failed:
        _unary(_dial(serve, buildkit))
    assert failed.value.cause is Cause.NOT_BUILDKIT


@pytest.mark.parametrize(
    ("handler", "cause", "seen"),
    [
        (closing, Cause.ENDPOINT_REFUSED, "closed"),
        (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Cause.NOT_BUILDKIT, "HTTP/1.1 400 Bad Request"),
        (saying(b"HTTP/1.0 501 Unsupported method\r\n\r\n<html>"), Cause.NOT_BUILDKIT, "HTTP/1"),
        (saying(b"\x15\x03\x01\x00\x02\x02\x46"), Cause.NOT_BUILDKIT, "TLS"),
        (saying(b"SSH-2.0-OpenSSH_9.2p1\r\n", then_close=False), Cause.NOT_BUILDKIT, "SSH-2.0"),
        (saying(b"-ERR unknown command 'PRI'\r\n", then_close=False), Cause.NOT_BUILDKIT, "ERR"),
        (saying(b"ERR\r\n"), Cause.NOT_BUILDKIT, "ERR"),
        (saying(bytes(range(1, 255))), Cause.NOT_BUILDKIT, "gRPC"),
    ],
    ids=["closes", "http-400", "http-501", "tls", "ssh", "redis", "short", "noise"],
)
def test_what_else_may_listen_there(serve: Serve, handler: Handler, cause: Cause, seen: str) -> None:
    with pytest.raises(NodeFailure) as failed:
        _unary(_dial(serve, handler), seconds=1.0)
    assert failed.value.cause is cause
    assert seen in failed.value.message
    assert failed.value.message.isprintable()


def test_a_silent_server_ends_at_the_deadline(serve: Serve) -> None:
    connection = _dial(serve, silent)
    begun = time.monotonic()
    with pytest.raises(NodeFailure) as failed:
        _unary(connection, seconds=0.1)
    assert time.monotonic() - begun < _SLACK
    assert failed.value.cause is Cause.DAEMON_UNRESPONSIVE


def test_drops_of_an_answer_do_not_extend_the_deadline(serve: Serve) -> None:
    """An endless row of PING frames (type 6, 8 bytes) is life, and no answer."""
    ping = b"\0\0\x08\x06\0\0\0\0\0" + bytes(8)
    settings = b"\0\0\0\x04\0\0\0\0\0"
    connection = _dial(serve, dripping(settings + ping * 1000, 0.02))
    begun = time.monotonic()
    with pytest.raises(NodeFailure) as failed:
        _unary(connection, seconds=0.3)
    assert time.monotonic() - begun < _SLACK
    assert failed.value.cause is Cause.DAEMON_UNRESPONSIVE
