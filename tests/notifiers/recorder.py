"""A web server that keeps what it was sent."""

from __future__ import annotations

import re
import socket


class Recorder:
    """Answers every request with the same status, headers and body; `{target}` there is the path that was asked for."""

    def __init__(self, status: str = "200 OK", body: str = "no", *headers: str) -> None:
        self._status = status
        self._body = body
        self._headers = headers
        self.requests: list[bytes] = []

    def __call__(self, sock: socket.socket) -> None:
        data = sock.recv(65536)
        head, _, content = data.partition(b"\r\n\r\n")
        found = re.search(rb"(?im)^content-length:\s*(\d+)", head)
        while len(content) < (int(found[1]) if found else 0):
            content += sock.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + content)
        body = self._body.replace("{target}", head.split()[1].decode()).encode()
        lines = [f"HTTP/1.1 {self._status}", f"Content-Length: {len(body)}", "Connection: close", *self._headers]
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    @property
    def asked(self) -> list[str]:
        """The method and path of every request."""
        return [request.partition(b" HTTP/")[0].decode() for request in self.requests]
