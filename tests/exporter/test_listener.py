from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bxhealth.exporter import listener
from bxhealth.exporter.auth import Guard
from bxhealth.exporter.listener import AddressError, ListenError, Server, listen
from bxhealth.exporter.web_config import ReloadingContext, WebConfig, WebConfigFile
from tests.awaiting import until
from tests.certificates import Authority

_SHORT = 0.2


@contextlib.contextmanager
def serving(
    monkeypatch: pytest.MonkeyPatch,
    *,
    connections: int = 256,
    seconds: float = _SHORT,
    config: WebConfigFile | None = None,
) -> Iterator[int]:
    """A server that says hello; yields its port."""
    monkeypatch.setattr(listener, "_MAX_CONNECTIONS", connections)
    monkeypatch.setattr(listener, "_REQUEST_SECONDS", seconds)
    monkeypatch.setattr(listener, "_READING_SECONDS", seconds)
    large = PlainTextResponse(b"x" * 2**24)
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("hello")), Route("/large", lambda _: large)])
    bound = listen("127.0.0.1:0")
    port = bound.getsockname()[1]
    server = Server(Guard(app, WebConfig), [bound], config)
    server.start()
    try:
        yield port
    finally:
        server.ask_to_stop()
        server.stop(5)


def hello(port: int, authority: Authority | None = None) -> str:
    """What the server says; by TLS where an authority is given."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    if authority:
        context = ssl.create_default_context(cafile=str(authority.cert))
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().read().decode()


def is_served(port: int, authority: Authority | None = None) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return hello(port, authority) == "hello"
    return False


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


def test_a_body_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(monkeypatch) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(10)
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
        assert b"200" in client.recv(1000)
        client.sendall(b"x")  # which ends uvicorn's own patience with an idle connection

        def is_over() -> bool:
            with contextlib.suppress(ConnectionResetError):
                return client.recv(1000) == b""
            return True

        until(is_over, "the connection is ended")


def test_who_reads_nothing_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(monkeypatch, connections=1, seconds=1) as port, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.recv(1)
        until(lambda: is_served(port), "the one place is free again")


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> WebConfigFile:
    issued = authority.issue("web")
    file = tmp_path / "web.yml"
    file.write_text(json.dumps({"tls_server_config": {"cert_file": str(issued.cert), "key_file": str(issued.key)}}))
    return WebConfigFile(file, print)


def test_a_handshake_that_does_not_come(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, tls: WebConfigFile
) -> None:
    with (
        serving(monkeypatch, connections=1, seconds=2, config=tls) as port,
        socket.create_connection(("127.0.0.1", port)) as client,
        socket.create_connection(("127.0.0.1", port)) as one_more,
    ):
        assert ends(one_more)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):  # the other one counts, and has time left
            client.recv(1)
        assert ends(client)
        until(lambda: is_served(port, authority), "there is a place again")


def test_who_meets_a_defect_gives_the_place_back(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, tls: WebConfigFile
) -> None:
    """Asyncio forgets a connection without closing it where TLS cannot even begin."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise KeyError("a defect")

    with serving(monkeypatch, connections=1, config=tls) as port:
        with monkeypatch.context() as patch:
            patch.setattr(ReloadingContext, "wrap_bio", fail)
            with socket.create_connection(("127.0.0.1", port)) as client:
                assert ends(client)
        until(lambda: is_served(port, authority), "the place is free")


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
        until(lambda: is_served(port), "there is a place again")


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:٣", "[::1]", "..:9", "*:9"]
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(AddressError):
        listen(address)


def test_an_address_that_is_taken() -> None:
    with listen("127.0.0.1:0") as taken, pytest.raises(ListenError, match=r"in use$"):
        listen(f"127.0.0.1:{taken.getsockname()[1]}")
