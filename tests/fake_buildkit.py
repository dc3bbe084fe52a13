"""A gRPC server that answers for `moby.buildkit.v1.Control`, on the server side of the h2 library."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from bxhealth.buildkit import control_pb2 as pb
from bxhealth.deadline import Deadline

Headers = Sequence[tuple[str, str]]
SERVICE = "/moby.buildkit.v1.Control/"
OK_HEADERS: Headers = ((":status", "200"), ("content-type", "application/grpc"))


def framed(message: bytes) -> bytes:
    """A gRPC message: not compressed, its length, itself (grpc/grpc, doc/PROTOCOL-HTTP2.md)."""
    return struct.pack(">?L", False, len(message)) + message


@dataclass(frozen=True)
class Reply:
    """How a call is answered: with headers, the bytes of DATA frames, and trailers where there are any."""

    data: bytes = b""
    headers: Headers = OK_HEADERS
    trailers: Headers | None = (("grpc-status", "0"),)
    reset: ErrorCodes | None = None
    go_away: ErrorCodes | None = None
    """Instead of an answer, the end of the connection."""
    leaves: bool = False
    """Whether the connection ends after this answer."""

    @staticmethod
    def of(message: pb.ListWorkersResponse | pb.InfoResponse | pb.DiskUsageResponse) -> Reply:
        return Reply(framed(message.SerializeToString()))

    @staticmethod
    def error(code: int, message: str = "") -> Reply:
        """An error in a response of headers alone, as grpc-go gives it."""
        return Reply(headers=(*OK_HEADERS, ("grpc-status", str(code)), ("grpc-message", message)), trailers=None)


UNIMPLEMENTED = Reply.error(12, "unknown method")


def workers(*platforms: str) -> Reply:
    """One worker that lists these platforms; none of them means that there is no worker."""
    message = pb.ListWorkersResponse()
    if platforms:
        record = message.record.add(ID="w1")
        for platform in platforms:
            os, architecture, variant = (*platform.split("/"), "")[:3]
            record.platforms.add(OS=os, Architecture=architecture, Variant=variant)
    return Reply.of(message)


def info(version: str) -> Reply:
    return Reply.of(pb.InfoResponse(buildkitVersion=pb.BuildkitVersion(version=version)))


@dataclass
class FakeBuildkit:
    """What the server knows; as a handler of `loopback.Server` it speaks HTTP/2 from the first byte."""

    replies: Mapping[str, Reply]
    calls: list[str] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, sock: socket.socket) -> None:
        session = Session(self)
        sock.sendall(session.feed(b""))
        with contextlib.suppress(ProtocolError):  # a server closes the connection then, as grpc-go does
            while data := sock.recv(65536):
                sock.sendall(session.feed(data))


def healthy(*platforms: str, version: str = "v0.21.0") -> FakeBuildkit:
    return FakeBuildkit({"ListWorkers": workers(*(platforms or ("linux/amd64",))), "Info": info(version)})


class Session:
    """One connection, without I/O: bytes in, bytes out."""

    def __init__(self, buildkit: FakeBuildkit) -> None:
        self._buildkit = buildkit
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._h2.initiate_connection()
        self._methods: dict[int, str] = {}
        self._sending: dict[int, tuple[bytearray, Reply]] = {}

    def feed(self, data: bytes) -> bytes:
        for event in self._h2.receive_data(data) if data else ():
            if isinstance(event, RequestReceived):
                headers = {_text(name): _text(value) for name, value in event.headers}
                self._buildkit.requests.append(headers)
                self._methods[event.stream_id] = headers[":path"].removeprefix(SERVICE)
            elif isinstance(event, DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self._answer(event.stream_id)
            elif isinstance(event, StreamReset):
                self._sending.pop(event.stream_id, None)
        for stream in list(self._sending):
            self._send(stream)
        return self._h2.data_to_send()

    def _answer(self, stream: int) -> None:
        method = self._methods[stream]
        self._buildkit.calls.append(method)
        reply = self._buildkit.replies.get(method, UNIMPLEMENTED)
        if reply.reset is not None:
            return self._h2.reset_stream(stream, reply.reset)
        if reply.go_away is not None:
            return self._h2.close_connection(reply.go_away)
        ends = reply.trailers is None and not reply.data
        self._h2.send_headers(stream, list(reply.headers), end_stream=ends)
        if not ends:
            self._sending[stream] = (bytearray(reply.data), reply)
        return None

    def _send(self, stream: int) -> None:
        left, reply = self._sending[stream]
        while left:
            size = min(len(left), self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if size <= 0:
                return
            self._h2.send_data(stream, bytes(left[:size]))
            del left[:size]
        del self._sending[stream]
        if reply.trailers is None:
            self._h2.end_stream(stream)
        else:
            self._h2.send_headers(stream, list(reply.trailers), end_stream=True)
        if reply.leaves:
            self._h2.close_connection()


class MemoryStream:
    """A `Stream` to a session in the same thread, whose answers come in pieces of the given sizes."""

    def __init__(self, buildkit: FakeBuildkit, sizes: Sequence[int] = (65536,)) -> None:
        self.peer = "tcp://buildkit.example:1234"
        self._buildkit = buildkit
        self._session = Session(buildkit)
        self._arrived = bytearray(self._session.feed(b""))
        self._sizes = list(sizes)
        self._turn = 0
        self.first_write_calls: int | None = None
        """How many calls the client's first write has asked for."""

    def recv(self, size: int, deadline: Deadline) -> bytes:
        assert self._arrived, "the client waits, and the server has nothing more to say"
        assert not deadline.expired
        take = min(size, self._sizes[self._turn % len(self._sizes)])
        self._turn += 1
        data = bytes(self._arrived[:take])
        del self._arrived[:take]
        return data

    def sendall(self, data: bytes, deadline: Deadline) -> None:  # noqa: ARG002
        if data:
            self._arrived += self._session.feed(data)
            if self.first_write_calls is None:
                self.first_write_calls = len(self._buildkit.calls)

    def close(self) -> None:
        self._arrived.clear()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
