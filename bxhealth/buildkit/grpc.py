"""Unary gRPC calls on a connected stream, with the h2 library.

The protocol: grpc/grpc, `doc/PROTOCOL-HTTP2.md`. grpcio is not used because it can only dial by itself, so that
each node would need a local socket and a relay, and it says why a connection failed in prose at best;
`docs/architecture.md` has the figures.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes

from bxhealth.deadline import Deadline
from bxhealth.errors import NodeFailure
from bxhealth.model import Cause
from bxhealth.transports.stream import Stream, closed_early

UNIMPLEMENTED = 12
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""grpc's own default of 4 MiB is too small for a large cache's disk usage (docker/buildx#3084)."""
_WINDOW = 2**20
_FRAME_HEADER_BYTES, _KEPT_BYTES = 9, 200
_SETTINGS = b"\x04"
_PREFIX = struct.Struct(">?L")
_HTTP_CAUSES = {
    "401": Cause.ENDPOINT_DENIED,
    "403": Cause.ENDPOINT_DENIED,
    "429": Cause.DAEMON_UNRESPONSIVE,
    "502": Cause.DAEMON_UNRESPONSIVE,
    "503": Cause.DAEMON_UNRESPONSIVE,
    "504": Cause.DAEMON_UNRESPONSIVE,
}
_TLS_ALERT_OR_HANDSHAKE = (b"\x15\x03", b"\x16\x03")


class GrpcError(Exception):
    """The server answered a call with a status other than OK."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"gRPC status {code}: {message}")


class MessageTooLarge(Exception):
    """An answer is larger than what is taken."""


@dataclass
class _Call:
    """What has come for one call."""

    answer: bytearray = field(default_factory=bytearray)
    status: dict[str, str] = field(default_factory=dict)
    has_ended: bool = False
    error: Exception | None = None


class GrpcConnection:
    """A client's side of one HTTP/2 connection, for one thread."""

    def __init__(self, stream: Stream, authority: str) -> None:
        self._stream = stream
        self._authority = authority
        # what leaves is written below and what comes is judged there; h2's own look at both costs a tenth of a round
        config = H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
        )
        self._h2 = H2Connection(config)
        self._h2.initiate_connection()
        self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW, SettingCodes.ENABLE_PUSH: 0})
        self._h2.increment_flow_control_window(_WINDOW)
        self._first = b""
        self._calls: dict[int, _Call] = {}

    def __del__(self) -> None:
        # h2's objects refer to one another: those of every connection would lie about until a garbage collection,
        # and were a tenth of an exporter's memory
        with contextlib.suppress(AttributeError):  # it could not be made
            vars(self._h2).clear()

    def begin(self, path: str, request: bytes) -> int:
        """Have the method at `path`, such as `/moby.buildkit.v1.Control/Info`, called; returns the call's number.

        It is sent by the next `finish`, so that calls which were begun together leave in one write.

        Raises:
            NodeFailure: the server has ended the connection meanwhile.
        """
        number = self._h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", self._authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "bxhealth"),
        ]
        try:
            self._h2.send_headers(number, headers)
            self._h2.send_data(number, _PREFIX.pack(False, len(request)) + request, end_stream=True)
        except H2Error as error:
            raise self._broken(error) from error
        self._calls[number] = _Call()
        return number

    def finish(self, number: int, deadline: Deadline) -> bytes:
        """The answer to a call that was begun.

        Raises:
            GrpcError: the server answered with an error.
            MessageTooLarge: the answer has more than 64 MiB.
            NodeFailure: it did not answer in time, closed the connection, or is no gRPC server.
            Cancelled: the run was called off.
        """
        call = self._calls[number]
        try:
            while not call.has_ended and call.error is None:
                self._stream.sendall(self._h2.data_to_send(), deadline)
                for event in self._receive(deadline):
                    self._take(event)
        except H2Error as error:
            raise self._broken(error) from error
        del self._calls[number]
        if call.error is not None:
            raise call.error
        return _message(bytes(call.answer), call.status)

    def _take(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated) and event.error_code:
            raise self._no_grpc(f"it ended the HTTP/2 connection with {event.error_code!r}")
        if isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        call = self._calls.get(getattr(event, "stream_id", None) or 0)
        if call is None or call.error is not None:
            return
        if isinstance(event, (ResponseReceived, TrailersReceived)):
            call.status.update(_text(event.headers))
            call.error = self._flaw(call.status)
        elif isinstance(event, DataReceived):
            call.answer += event.data
            if len(call.answer) > _MAX_MESSAGE_BYTES:
                call.answer.clear()
                call.error = MessageTooLarge()
                self._h2.reset_stream(event.stream_id, ErrorCodes.CANCEL)
        elif isinstance(event, StreamReset):
            call.error = GrpcError(-1, f"the stream was reset, HTTP/2 error {event.error_code!r}")
        elif isinstance(event, StreamEnded):
            call.has_ended = True

    def _receive(self, deadline: Deadline) -> list[Event]:
        data = self._stream.recv(65536, deadline)
        if not data:
            raise closed_early(self._stream.peer, "end of stream")
        if len(self._first) < _FRAME_HEADER_BYTES:
            self._first += data[:_KEPT_BYTES]
            self._check_first()
        return self._h2.receive_data(data)

    def _check_first(self) -> None:
        """The first is a SETTINGS frame (RFC 9113, 3.4); h2 would wait for what anything else seems to announce."""
        if self._first[:1] not in (b"", b"\0") or self._first[3:4] not in (b"", _SETTINGS):
            raise self._no_grpc("it does not speak HTTP/2")

    def _flaw(self, headers: dict[str, str]) -> NodeFailure | None:
        """What is wrong with a response's headers, if anything is."""
        status, content = headers.get(":status", ""), headers.get("content-type", "")
        if status in _HTTP_CAUSES and not content.startswith("application/grpc"):
            # as gRPC itself takes them: grpc/grpc, doc/http-grpc-status-mapping.md
            return NodeFailure(_HTTP_CAUSES[status], f"{self._stream.peer} answered with HTTP status {status}")
        if status != "200" or not content.startswith("application/grpc"):
            return self._no_grpc(f"HTTP/2 status {status}, content type {content!r}")
        return None

    def _broken(self, error: H2Error) -> NodeFailure:
        # h2 takes nothing more after the GOAWAY of a server that is being stopped, which may go on with its answers
        if str(ConnectionState.CLOSED) in str(error):
            return closed_early(self._stream.peer, "it ended the HTTP/2 connection")
        return self._no_grpc(str(error))

    def _no_grpc(self, seen: str) -> NodeFailure:
        first = self._first[:40]
        if first.startswith(b"HTTP/1"):
            seen = f"it speaks HTTP/1: {first.splitlines()[0].decode(errors='replace')!r}"
        elif first.startswith(_TLS_ALERT_OR_HANDSHAKE):
            seen = "it speaks TLS, and the node has no driver option cacert"
        elif first and first[3:4] != _SETTINGS:
            seen = f"it sent {first!r}"
        return NodeFailure(Cause.NOT_BUILDKIT, f"{self._stream.peer} answers, but does not speak gRPC: {seen}")


def _text(headers: Iterable[tuple[bytes | str, bytes | str]]) -> dict[str, str]:
    return {_decoded(name): _decoded(value) for name, value in headers}


def _decoded(part: bytes | str) -> str:
    return part if isinstance(part, str) else part.decode(errors="replace")


def _message(answer: bytes, status: dict[str, str]) -> bytes:
    code = status.get("grpc-status", "")
    if code != "0":
        message = unquote(status.get("grpc-message", "")) or "no message"
        raise GrpcError(int(code) if code.isascii() and code.isdigit() else -1, message)
    if len(answer) < _PREFIX.size:
        raise GrpcError(-1, "an empty answer")
    compressed, length = _PREFIX.unpack_from(answer)
    if compressed or length != len(answer) - _PREFIX.size:
        raise GrpcError(-1, "an answer that is compressed or of a wrong length")
    return answer[_PREFIX.size :]
