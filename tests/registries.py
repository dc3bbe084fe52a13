"""A registry on loopback whose answers are a function of the request."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_TLS_HANDSHAKE = b"\x16"


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: str

    @property
    def authorization(self) -> str:
        return self.headers.get("authorization", "")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


Route = Callable[[Request], Answer]


class Registry:
    """As a handler of `loopback.Server`, answers by `route`, and keeps the requests; of TLS it knows nothing."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self.requests: list[Request] = []

    def __call__(self, sock: socket.socket) -> None:
        data = sock.recv(65536)
        if not data or data.startswith(_TLS_HANDSHAKE):
            return
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += sock.recv(65536)
        method, target, _ = first.split(" ")
        request = Request(method, target, headers, body.decode())
        self.requests.append(request)
        answer = self._route(request)
        content = answer.body.encode()
        told = {**answer.headers, "Content-Length": str(len(content)), "Connection": "close"}
        text = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        sock.sendall(f"HTTP/1.1 {answer.status} x\r\n{text}\r\n".encode() + content)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def protected(challenge: str, taken: str, refusal: int = 401) -> Route:
    """`/v2/` for which one Authorization is taken."""

    def route(request: Request) -> Answer:
        if request.authorization == taken:
            return Answer(200, body="{}")
        return Answer(refusal if request.authorization else 401, {"WWW-Authenticate": challenge})

    return route
