"""Docker Engine's HTTP API on a unix socket, for what is asked often: the client takes ten times as long."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from .errors import TestbedError


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("engine", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(engine: Path, method: str, path: str, seconds: float = 30.0) -> Any:
    """Send a request without a body to an engine's socket and return the JSON that it answers, or None.

    Raises:
        OSError: nothing listens or answers.
        TestbedError: the engine refused; the message holds its own.
    """
    connection = _UnixConnection(engine, seconds)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status >= 400:
        raise TestbedError(f"{method} {path}: {response.status} {body.decode(errors='replace').strip()}")
    return json.loads(body) if body.startswith((b"{", b"[")) else None


def answers(engine: Path) -> bool:
    """Whether an engine answers at its socket."""
    try:
        request(engine, "GET", "/_ping", seconds=2.0)
    except (OSError, http.client.HTTPException, TestbedError):
        return False
    return True
