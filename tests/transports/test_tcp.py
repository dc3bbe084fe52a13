from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from bxhealth import transports
from bxhealth.deadline import Cancellation, Deadline
from bxhealth.docker_config import DockerEndpoint
from bxhealth.errors import Cancelled, NodeFailure
from bxhealth.model import Cause
from bxhealth.transports import tcp
from bxhealth.transports.stream import Stream
from tests.conftest import Serve
from tests.loopback import echoing, full_backlog, unused_port

_LONG = 30.0
_SLACK = 5.0
_Found = list[tuple[int, int, int, str, tuple[Any, ...]]]


def _dial(host: str, seconds: float = _LONG) -> Stream:
    return transports.dial(DockerEndpoint(host), Deadline(seconds))


def _resolving(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    found: _Found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)


def test_bytes_go_both_ways(serve: Serve) -> None:
    server = serve(echoing)
    stream = _dial(server.host)
    stream.sendall(b"ping", Deadline(_LONG))
    assert stream.recv(100, Deadline(_LONG)) == b"ping"
    stream.close()


@pytest.mark.parametrize("form", ["tcp://localhost:{0}", "tcp://:{0}", "http://127.0.0.1:{0}"])
def test_forms_of_an_endpoint(serve: Serve, form: str) -> None:
    server = serve(echoing)
    _dial(form.format(server.port)).close()


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_nothing_listens(address: str) -> None:
    host = f"tcp://{address}:{unused_port()}"
    with pytest.raises(NodeFailure) as failed:
        _dial(host)
    assert failed.value.cause is Cause.ENDPOINT_REFUSED
    assert host in failed.value.message


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:port", "tcp://127.0.0.1:99999", "tcp://[::1", "tcp://127.0.0.1:-1"])
def test_a_malformed_endpoint(host: str) -> None:
    with pytest.raises(NodeFailure) as failed:
        _dial(host)
    assert failed.value.cause is Cause.CONFIG_INVALID
    assert host in failed.value.message


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a" * 70 + ".invalid", "x..invalid"])
def test_a_name_that_does_not_resolve(name: str) -> None:
    """RFC 6761: `.invalid` never does; RFC 1035: no label has more than 63 characters, or none."""
    with pytest.raises(NodeFailure) as failed:
        _dial(f"tcp://{name}:1234")
    assert failed.value.cause is Cause.ENDPOINT_UNRESOLVABLE
    assert name in failed.value.message


def test_a_resolver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: answer.wait(_LONG) and [])
    begun = time.monotonic()
    with pytest.raises(NodeFailure) as failed:
        _dial("tcp://slow.example:1234", 0.1)
    assert time.monotonic() - begun < _SLACK
    assert failed.value.cause is Cause.ENDPOINT_UNRESOLVABLE
    answer.set()


def test_a_resolver_that_does_not_answer_can_be_called_off(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: answer.wait(_LONG) and [])
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled):
        transports.dial(DockerEndpoint("tcp://slow.example:1234"), Deadline(_LONG, cancellation))
    answer.set()
    cancellation.close()


def test_a_host_that_drops_packets() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with full_backlog(listener):
            begun = time.monotonic()
            with pytest.raises(NodeFailure) as failed:
                _dial(f"tcp://127.0.0.1:{listener.getsockname()[1]}", 0.2)
            assert time.monotonic() - begun < _SLACK
    assert failed.value.cause is Cause.ENDPOINT_TIMEOUT
    assert "0.2 s" in failed.value.message


def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    server = serve(echoing)
    _resolving(monkeypatch, ("127.0.0.1", unused_port()), ("127.0.0.1", server.port))
    _dial("tcp://two.example:1234").close()


def test_a_silent_address_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    server = serve(echoing)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with full_backlog(listener):
            _resolving(monkeypatch, listener.getsockname(), ("127.0.0.1", server.port))
            _dial("tcp://two.example:1234", 1.0).close()


def test_of_many_failures_the_first_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolving(monkeypatch, ("127.0.0.1", unused_port()), ("127.0.0.2", unused_port()))
    with pytest.raises(NodeFailure, match=r"two\.example:1234 \(127\.0\.0\.1\)") as failed:
        _dial("tcp://two.example:1234")
    assert failed.value.cause is Cause.ENDPOINT_REFUSED


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch, serve: Serve, variable: str) -> None:
    proxy, server = serve(echoing), serve(echoing)
    monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
    stream = _dial(server.host)
    stream.sendall(b"x", Deadline(_LONG))
    assert stream.recv(1, Deadline(_LONG)) == b"x"
    stream.close()
    assert (proxy.accepted, server.accepted) == (0, 1)


@pytest.mark.parametrize(("host", "port"), [("tcp://h.example", 2375), ("tcp://h.example:99", 99)])
def test_the_port_is_docker_s_where_none_is_given(monkeypatch: pytest.MonkeyPatch, host: str, port: int) -> None:
    asked: list[int] = []

    def resolve(_name: str, port: int, **_options: object) -> _Found:
        asked.append(port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", unused_port()))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(NodeFailure):
        tcp.dial(DockerEndpoint(host), Deadline(_LONG))
    assert asked == [port]
