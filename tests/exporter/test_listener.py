from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bxhealth.exporter import listener
from bxhealth.exporter.auth import Guard
from bxhealth.exporter.listener import ListenError, Server, listen
from bxhealth.exporter.web_config import WebConfig
from tests.awaiting import until

_SHORT = 0.2


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, *, connections: int = 256, seconds: float = _SHORT) -> Iterator[int]:
    """A server that says hello; yields its port."""
    monkeypatch.setattr(listener, "_MAX_CONNECTIONS", connections)
    monkeypatch.setattr(listener, "_REQUEST_SECONDS", seconds)
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("hello"))])
    bound = listen("127.0.0.1:0")
    server = Server(Guard(app, WebConfig), [bound], None)
    server.start()
    try:
        yield bound.getsockname()[1]
    finally:
        server.ask_to_stop()
        server.stop(5)


def hello(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def ends(client: socket.socket) -> bool:
    """Whether the server ends the connection without a word."""
    client.settimeout(10)
    with contextlib.suppress(ConnectionResetError):
        return client.recv(100) == b""
    return True


def test_who_does_not_say_what_it_wants_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(monkeypatch) as port, socket.create_connection(("127.0.0.1", port)) as client:
        assert ends(client)
        assert hello(port) == "hello"


def test_a_request_in_drops_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(monkeypatch) as port, socket.create_connection(("127.0.0.1", port)) as client:

        def drip() -> None:
            with contextlib.suppress(OSError):
                client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n")
                while True:
                    client.sendall(b"X: y\r\n")
                    time.sleep(0.01)

        dripping = threading.Thread(target=drip)
        dripping.start()
        assert ends(client)
        dripping.join(10)
        assert not dripping.is_alive()


def test_requests_after_one_another_on_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(monkeypatch) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        begun = time.monotonic()
        while time.monotonic() < begun + 3 * _SHORT:
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"hello"
        connection.close()


def test_a_request_has_only_so_large_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(monkeypatch, seconds=30) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(10)
        with contextlib.suppress(OSError):
            client.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 1_000_000)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100).split()[1:2] in ([b"400"], [])


def test_there_are_only_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(monkeypatch, connections=3, seconds=30) as port, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(3)]
        one_more = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert ends(one_more)
        idle[0].close()

        def is_served() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return hello(port) == "hello"
            return False

        until(is_served, "there is a place again")


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:٣", "[::1]"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ListenError):
        listen(address)


def test_an_address_that_is_taken() -> None:
    with listen("127.0.0.1:0") as taken, pytest.raises(ListenError, match="in use"):
        listen(f"127.0.0.1:{taken.getsockname()[1]}")
