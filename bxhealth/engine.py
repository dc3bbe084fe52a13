"""The few calls of the Docker Engine API that are needed to reach a node, over any stream.

Facts about the API: docs.docker.com/reference/api/engine (moby/moby, `api/swagger.yaml`). Paths without a
version are answered in the engine's own newest one.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from bxhealth.deadline import Deadline
from bxhealth.errors import BxhealthError, NodeFailure
from bxhealth.model import Cause
from bxhealth.transports.stream import Stream, StreamReader, closed_early
from bxhealth.transports.tls import PeerCertificate, TlsStream

Dial = Callable[[Deadline], Stream]

_MAX_BODY_BYTES = 8 * 1024 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_MAX_NOISE_BYTES = 4096
_CLEAN_UP_SECONDS = 2.0
_HTTP = b"HTTP/1."
_MARK = "BXHEALTH_EXEC"
_END_EXEC = f'for p in /proc/[0-9]*; do grep -q "{_MARK}=$1" $p/environ && kill -9 ${{p#/proc/}}; done'
"""Ends all processes that carry a mark in their environment: the API has no call that ends an exec."""


class EngineError(Exception):
    """The engine answered a call with an error: its HTTP status and its own words."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(f"{message} (HTTP {status})")

    @property
    def is_denial(self) -> bool:
        """Whether the engine, or an authorization plugin of it, refuses this user."""
        return self.status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN)


@dataclass(frozen=True)
class Container:
    """A container's state, of `GET /containers/{id}/json`."""

    status: str
    """created, running, paused, restarting, removing, exited or dead."""
    image: str
    exit_code: int = 0
    oom_killed: bool = False
    restart_count: int = 0
    finished_at: str = ""
    """When it last ended, in RFC 3339; a time in year 1 if it never did."""
    error: str = ""


@dataclass(frozen=True)
class ExecOutput:
    """A command that ran in a container: its exit status and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes


class Engine:
    """A Docker Engine at the other end of a dialer; holds one connection open while it is used."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._stream: Stream | None = None
        self.certificate: PeerCertificate | None = None
        """What the engine's endpoint has shown, where it speaks TLS."""

    def close(self) -> None:
        """Close the connection that is kept."""
        if self._stream:
            self._stream.close()
        self._stream = None

    def container(self, name: str, deadline: Deadline) -> Container | None:
        """The container of this name; None if there is none. Raises as `call` does."""
        try:
            body = self.call("GET", f"/containers/{quote(name, safe='')}/json", deadline)
        except EngineError as error:
            if error.status == http.client.NOT_FOUND:
                return None
            raise
        state, config = body.get("State") or {}, body.get("Config") or {}
        if not isinstance(state, dict) or not isinstance(config, dict):
            raise self._no_engine(f"it describes the container {name} in no way that is known")
        try:
            exit_code, restarts = int(state.get("ExitCode") or 0), int(body.get("RestartCount") or 0)
        except (TypeError, ValueError):
            raise self._no_engine(f"it describes the container {name} in no way that is known") from None
        return Container(
            status=str(state.get("Status", "")),
            image=str(config.get("Image", "")),
            exit_code=exit_code,
            oom_killed=bool(state.get("OOMKilled")),
            restart_count=restarts,
            finished_at=str(state.get("FinishedAt") or ""),
            error=str(state.get("Error") or ""),
        )

    def has_image(self, name: str, deadline: Deadline) -> bool:
        """Whether the engine has an image of this name. Raises as `call` does."""
        try:
            self.call("GET", f"/images/{quote(name, safe='/')}/json", deadline)
        except EngineError as error:
            if error.status == http.client.NOT_FOUND:
                return False
            raise
        return True

    def log_tail(self, container: str, lines: int, deadline: Deadline) -> tuple[str, ...]:
        """The container's last log lines, of both streams. Raises as `call` does."""
        query = urlencode({"stdout": 1, "stderr": 1, "tail": lines})
        path = f"/containers/{quote(container, safe='')}/logs?{query}"
        frames = _frames(io.BytesIO(self._exchange("GET", path, None, deadline)))
        text = b"".join(payload for _, payload in frames).decode(errors="replace")
        return tuple(text.splitlines()[-lines:])

    def call(self, method: str, path: str, deadline: Deadline, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON answer to a call.

        Raises:
            EngineError: the engine answered with an error.
            NodeFailure: it was not reached, did not answer in time, or is no Docker Engine.
            Cancelled: the run was called off.
        """
        content = self._exchange(method, path, body, deadline)
        try:
            answer = json.loads(content or b"{}")
        except (ValueError, RecursionError) as error:
            raise self._no_engine(f"the answer to {path} is not JSON") from error
        if not isinstance(answer, dict):
            raise self._no_engine(f"the answer to {path} is no JSON object")
        return answer

    def upgrade(self, path: str, protocol: str, deadline: Deadline, body: object = None) -> Stream:
        """The connection itself, after the engine has agreed to speak something else than HTTP on it.

        It belongs to the caller from then on. Raises as `call` does.
        """
        stream, self._stream = self._stream or self._connect(deadline), None
        try:
            content = b"" if body is None else json.dumps(body).encode()
            head = (
                f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            stream.sendall(head.encode() + content, deadline)
            answer = bytearray()
            while b"\r\n\r\n" not in answer:
                data = stream.recv(4096, deadline)
                if not data:
                    raise closed_early(stream.peer, "while upgrading the connection")
                answer += data
                if not answer.startswith(_HTTP[: len(answer)]):
                    raise self._no_engine(f"it answered {bytes(answer[:60])!r}")
                if len(answer) > _MAX_HEAD_BYTES:
                    raise self._no_engine("it sent an endless header")
            header, _, rest = bytes(answer).partition(b"\r\n\r\n")
            status = header.split(b"\r\n", 1)[0].split(b" ")
            if len(status) < 2 or status[1] not in (b"101", b"200"):
                raise self._refusal(header, rest, stream, deadline)
            return _Rewound(stream, rest)
        except BaseException:
            stream.close()
            raise

    def exec_stream(self, container: str, command: Sequence[str], deadline: Deadline, peer: str) -> ExecStream:
        """A stream to the standard input and output of a command in a container, with a name for messages.

        Raises as `call` does.
        """
        mark = uuid.uuid4().hex
        created = self.call(
            "POST",
            f"/containers/{quote(container, safe='')}/exec",
            deadline,
            {
                "Cmd": list(command),
                "AttachStdin": True,
                "AttachStdout": True,
                "AttachStderr": True,
                "Env": [f"{_MARK}={mark}"],
            },
        )
        identity = str(created.get("Id", ""))
        start = {"Detach": False, "Tty": False}
        stream = self.upgrade(f"/exec/{quote(identity, safe='')}/start", "tcp", deadline, start)
        return ExecStream(stream, peer, identity, mark)

    def run(self, container: str, command: Sequence[str], deadline: Deadline) -> ExecOutput:
        """Run a command in a container and wait for it. Raises as `call` does."""
        stream = self.exec_stream(container, command, deadline, f"`{command[0]}` in the container {container}")
        try:
            output = b"".join(iter(lambda: stream.recv(65536, deadline), b""))
        except BaseException:
            # whatever was not waited for must not go on in there
            with contextlib.suppress(BxhealthError, EngineError):
                self.end_exec(container, stream, Deadline(_CLEAN_UP_SECONDS))
            raise
        finally:
            stream.close()
        return ExecOutput(self._exec_state(stream, deadline)[1], output, bytes(stream.stderr))

    def end_exec(self, container: str, stream: ExecStream, deadline: Deadline) -> None:
        """See to it that nothing of an exec goes on in the container. Raises as `call` does."""
        stream.close()
        if self._exec_state(stream, deadline)[0]:
            self.run(container, ["sh", "-c", _END_EXEC, "sh", stream.mark], deadline)

    def _connect(self, deadline: Deadline) -> Stream:
        stream = self._dial(deadline)
        if isinstance(stream, TlsStream):
            self.certificate = stream.certificate
        return stream

    def _exec_state(self, stream: ExecStream, deadline: Deadline) -> tuple[bool, int]:
        state = self.call("GET", f"/exec/{quote(stream.identity, safe='')}/json", deadline)
        return bool(state.get("Running")), int(state.get("ExitCode") or 0)

    def _exchange(self, method: str, path: str, body: Mapping[str, Any] | None, deadline: Deadline) -> bytes:
        if self._stream is None:
            self._stream = self._connect(deadline)
        connection = _Connection(self._stream, deadline)
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read(_MAX_BODY_BYTES)
            announced = response.getheader("Content-Length", "")
            if announced.isdigit() and len(content) < min(int(announced), _MAX_BODY_BYTES):
                raise closed_early(connection.peer, "in the middle of an answer")
        except http.client.IncompleteRead as error:
            self.close()
            if connection.has_ended:
                raise closed_early(connection.peer, "in the middle of an answer") from error
            raise self._no_engine("its answer is broken") from error
        except http.client.RemoteDisconnected as error:
            self.close()
            raise closed_early(connection.peer, "no answer to an HTTP request") from error
        except http.client.HTTPException as error:
            self.close()
            raise self._no_engine(f"what it sent is not HTTP: {str(error)[:100]!r}") from error
        except BaseException:
            self.close()
            raise
        if response.will_close or not response.isclosed():
            self.close()
        if response.getheader("Api-Version") is None:
            self._deny_foreign(response.status, content)
        if response.status >= http.client.BAD_REQUEST:
            raise EngineError(response.status, _message(content) or response.reason)
        return content

    def _deny_foreign(self, status: int, content: bytes) -> None:
        """Every answer of an engine names its API version, so this one came from something else."""
        if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            raise NodeFailure(Cause.ENDPOINT_DENIED, f"what listens there refuses the Docker API (HTTP {status})")
        first = _message(content)[:120]
        raise self._no_engine(f"HTTP {status} without an API version" + (f": {first!r}" if first else ""))

    def _no_engine(self, seen: str) -> NodeFailure:
        return NodeFailure(Cause.NOT_BUILDKIT, f"what answers is not a Docker Engine: {seen}")

    def _refusal(self, header: bytes, rest: bytes, stream: Stream, deadline: Deadline) -> Exception:
        response = http.client.HTTPResponse(
            _Socket(_Rewound(stream, header + b"\r\n\r\n" + rest), deadline)  # type: ignore[arg-type]
        )
        with contextlib.suppress(http.client.HTTPException):
            response.begin()
            return EngineError(response.status, _message(response.read(_MAX_BODY_BYTES)) or response.reason)
        return self._no_engine(f"it answered {header[:60]!r}")


def _message(content: bytes) -> str:
    """The `message` of an engine's error, or the first line of anything else."""
    try:
        return str(json.loads(content)["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return content[:500].decode(errors="replace").strip().partition("\n")[0]


class _Socket:
    """As much of a socket as `http.client` wants, on a stream."""

    def __init__(self, stream: Stream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline
        self.reader = StreamReader(stream, deadline)

    def sendall(self, data: bytes) -> None:
        self._stream.sendall(data, self._deadline)

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(self.reader)

    def close(self) -> None:
        """The engine decides when its stream is closed."""


class _Connection(http.client.HTTPConnection):
    """One exchange on a stream that is connected already."""

    def __init__(self, stream: Stream, deadline: Deadline) -> None:
        super().__init__("docker")
        self.peer = stream.peer
        self._socket = self.sock = _Socket(stream, deadline)

    @property
    def has_ended(self) -> bool:
        """Whether the peer has closed the stream."""
        return self._socket.reader.has_ended


class _Rewound:
    """A stream of which the first bytes were read already."""

    def __init__(self, stream: Stream, first: bytes) -> None:
        self._stream = stream
        self._first = first
        self.peer = stream.peer

    def recv(self, size: int, deadline: Deadline) -> bytes:
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        return self._stream.recv(size, deadline)

    def sendall(self, data: bytes, deadline: Deadline) -> None:
        self._stream.sendall(data, deadline)

    def close(self) -> None:
        self._stream.close()


class ExecStream:
    """The standard input and output of a command in a container; what it writes to stderr is kept apart."""

    def __init__(self, stream: Stream, peer: str, identity: str, mark: str) -> None:
        self.peer = peer
        self.identity = identity
        self.mark = mark
        self.stderr = bytearray()
        self._stream = stream
        self._file = io.BufferedReader(StreamReader(stream, Deadline(0)))
        self._pending = b""

    def recv(self, size: int, deadline: Deadline) -> bytes:
        """See `Stream`."""
        reader = self._file.raw
        assert isinstance(reader, StreamReader)
        reader.deadline = deadline
        while not self._pending:
            try:
                frame = next(_frames(self._file), None)
            except NodeFailure as failure:
                raise self._explained(failure, deadline) from failure
            if frame is None:
                return b""
            kind, payload = frame
            if kind in _OUTPUT:
                self._pending = payload
            else:
                self.stderr += payload[: _MAX_NOISE_BYTES - len(self.stderr)]
        data, self._pending = self._pending[:size], self._pending[size:]
        return data

    def _explained(self, failure: NodeFailure, deadline: Deadline) -> NodeFailure:
        """The failure in terms of the command: it, and not the engine, is what does not answer."""
        if failure.cause is not Cause.DAEMON_UNRESPONSIVE:
            return failure
        return NodeFailure(failure.cause, f"{self.peer} did not answer within {deadline.seconds:.3g} s")

    def sendall(self, data: bytes, deadline: Deadline) -> None:
        """See `Stream`."""
        self._stream.sendall(data, deadline)

    def close(self) -> None:
        """Close the command's standard input, which ends a well-behaved one."""
        self._stream.close()


_OUTPUT = (0, 1)
_HEADER = struct.Struct(">BxxxL")


def _frames(file: io.BufferedIOBase) -> Any:
    """The frames of a multiplexed stream: which of stdin 0, stdout 1, stderr 2 and system error 3, and the bytes.

    Docker Engine API, "Attach to a container", stream format.
    """
    while len(header := file.read(_HEADER.size)) == _HEADER.size:
        kind, length = _HEADER.unpack(header)
        if length > _MAX_BODY_BYTES:
            return
        payload = file.read(length)
        if payload or not length:
            yield kind, payload
        if len(payload) < length:
            return
