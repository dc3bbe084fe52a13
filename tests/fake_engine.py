"""As much of a Docker Engine as reaching a node needs: docs.docker.com/reference/api/engine."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.loopback import Handler, silent

STDIN, STDOUT, STDERR = 0, 1, 2


def frame(kind: int, payload: bytes) -> bytes:
    """A frame of a multiplexed stream: which stream, three zeros, the length, the bytes ("Attach", stream format)."""
    return bytes([kind, 0, 0, 0]) + struct.pack(">L", len(payload)) + payload


def inspected(status: str = "running", image: str = "moby/buildkit:buildx-stable-1", **state: Any) -> dict[str, Any]:
    """A container's inspection, as much of it as counts."""
    restarts = state.pop("RestartCount", 0)
    return {
        "Id": "c0ffee",
        "State": {
            "Status": status,
            "Running": status in ("running", "paused", "restarting"),
            "ExitCode": 0,
            "OOMKilled": False,
            "Error": "",
            "FinishedAt": "0001-01-01T00:00:00Z",
        }
        | state,
        "RestartCount": restarts,
        "Config": {"Image": image},
    }


class Attached:
    """A running exec's side of its hijacked connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def write(self, data: bytes, kind: int = STDOUT) -> None:
        self.sock.sendall(frame(kind, data))


Program = Callable[[Attached], int | None]
"""What an exec does until its connection is over; its exit status, or None if it goes on without one."""


def running(handler: Handler) -> Program:
    """A program whose standard input and output are a connection to `handler`, as of `buildctl dial-stdio`."""

    def run(attached: Attached) -> int:
        inside, outside = socket.socketpair()

        def serve() -> None:
            with inside, contextlib.suppress(OSError):
                handler(inside)

        def pump_in() -> None:
            with contextlib.suppress(OSError):
                while data := attached.sock.recv(65536):
                    outside.sendall(data)
                outside.shutdown(socket.SHUT_WR)

        threads = [threading.Thread(target=target, daemon=True) for target in (serve, pump_in)]
        for thread in threads:
            thread.start()
        with outside, contextlib.suppress(OSError):
            while data := outside.recv(65536):
                attached.write(data)
        return 0

    return run


def ending(status: int = 0, stdout: bytes = b"", stderr: bytes = b"") -> Program:
    """A program that says something and ends."""

    def run(attached: Attached) -> int:
        for data, kind in ((stdout, STDOUT), (stderr, STDERR)):
            if data:
                attached.write(data, kind)
        return status

    return run


@dataclass
class Exec:
    """An exec: what was asked for and what became of it."""

    container: str
    command: list[str]
    environment: list[str]
    running: bool = False
    status: int | None = None


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    body: object = None
    raw: bytes | None = None

    def rendered(self, version: str | None) -> bytes:
        content = self.raw if self.raw is not None else json.dumps(self.body).encode()
        head = f"HTTP/1.1 {self.status} Status\r\nContent-Length: {len(content)}\r\nContent-Type: application/json\r\n"
        if version:
            head += f"Api-Version: {version}\r\n"
        return head.encode() + b"\r\n" + content


@dataclass
class FakeEngine:
    """An engine's state, changed by tests at will; a handler for `loopback.Server`."""

    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    logs: bytes = b""
    programs: Callable[[Exec], Program] = lambda _: ending()
    buildkit: Handler | None = None
    api_version: str | None = "1.51"
    overrides: dict[tuple[str, str], Answer | Handler] = field(default_factory=dict)
    """Answers, or takers of the whole connection, by method and path."""
    execs: list[Exec] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    with_upgrade: bytes = b""
    """Sent in one piece with the answer that upgrades a connection."""
    upgrade_status: int = 101
    on_inspect: Callable[[str], None] = lambda _: None

    def __call__(self, sock: socket.socket) -> None:
        file = sock.makefile("rb")
        with file:
            while line := file.readline():
                method, target, _ = line.decode().split()
                headers: dict[str, str] = {}
                while (header := file.readline().decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = file.read(int(headers.get("content-length", "0")))
                self.requests.append(f"{method} {target}")
                if not self._handle(sock, method, target, headers, body):
                    return

    def _handle(self, sock: socket.socket, method: str, target: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Answer one request; False once the connection is another's, or over."""
        path = urlsplit(target).path
        override = self.overrides.get((method, path))
        if isinstance(override, Answer):
            sock.sendall(override.rendered(self.api_version))
            return True
        if override:
            override(sock)
            return False
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match [method, *parts]:
            case ["GET", "containers", name, "json"]:
                self.on_inspect(name)
                found = self.containers.get(name)
                self._say(sock, Answer(200, found) if found else _missing(f"No such container: {name}"))
            case ["GET", "containers", name, "logs"]:
                self._say(sock, Answer(200, raw=self.logs))
            case ["GET", "images", *name, "json"]:
                image = "/".join(name)
                self._say(sock, Answer(200, {}) if image in self.images else _missing(f"No such image: {image}"))
            case ["POST", "containers", name, "exec"]:
                state = self.containers[name]["State"]["Status"]
                if state != "running":
                    self._say(sock, Answer(409, {"message": f"container {name} is {state}"}))
                    return True
                asked = json.loads(body)
                self.execs.append(Exec(name, asked["Cmd"], asked.get("Env") or []))
                self._say(sock, Answer(201, {"Id": str(len(self.execs) - 1)}))
            case ["POST", "exec", identity, "start"]:
                self._run(sock, self.execs[int(identity)], headers)
                return False
            case ["GET", "exec", identity, "json"]:
                execution = self.execs[int(identity)]
                self._say(sock, Answer(200, {"Running": execution.running, "ExitCode": execution.status}))
            case ["POST", "grpc"] if self.buildkit:
                assert headers["upgrade"] == "h2c"
                self._upgrade(sock, "h2c")
                self.buildkit(sock)
                return False
            case _:
                self._say(sock, _missing("page not found"))
        return True

    def _say(self, sock: socket.socket, answer: Answer) -> None:
        sock.sendall(answer.rendered(self.api_version))

    def _upgrade(self, sock: socket.socket, protocol: str) -> None:
        head = f"HTTP/1.1 {self.upgrade_status} UPGRADED\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        sock.sendall(head.encode() + self.with_upgrade)

    def _run(self, sock: socket.socket, execution: Exec, headers: Mapping[str, str]) -> None:
        assert headers["upgrade"] == "tcp"
        execution.running = True
        self._upgrade(sock, "tcp")
        status = self.programs(execution)(Attached(sock))
        execution.running, execution.status = status is None, status


def _missing(message: str) -> Answer:
    return Answer(404, {"message": message})


def hanging(attached: Attached) -> None:
    """A program that says nothing, and goes on when its standard input is closed."""
    with contextlib.suppress(OSError):
        silent(attached.sock)


def log_of(*lines: tuple[int, Sequence[str]]) -> bytes:
    """A container's log as the engine gives it: each line a frame."""
    return b"".join(frame(kind, f"{text}\n".encode()) for kind, texts in lines for text in texts)
