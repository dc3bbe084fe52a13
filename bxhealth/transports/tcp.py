"""`tcp://` endpoints. Dialled directly, as buildx does: no `http_proxy` is honoured."""

from __future__ import annotations

import ipaddress
import os
import queue
import select
import socket
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerEndpoint
from bxhealth.errors import NodeFailure, malformed
from bxhealth.model import Cause
from bxhealth.transports.stream import SocketStream

_Address = tuple[int, tuple[Any, ...]]
_DOCKER_PORT, _DOCKER_TLS_PORT = 2375, 2376


def dial(endpoint: DockerEndpoint, deadline: Deadline) -> SocketStream:
    """A stream to a TCP port: every address of the name is tried. Raises as `transports.dial` does."""
    host = endpoint.host
    try:
        url = urlsplit(host)
        name, port = url.hostname or "", url.port or (_DOCKER_TLS_PORT if endpoint.tls else _DOCKER_PORT)
    except ValueError as error:
        raise malformed(host, error) from error
    addresses = _resolve(host, name or "localhost", port, deadline)
    failures: list[NodeFailure] = []
    for index, (family, address) in enumerate(addresses):
        share = deadline.at_most(deadline.remaining() / (len(addresses) - index))
        try:
            return SocketStream(_connect(family, address, host, share), host)
        except NodeFailure as failure:
            failures.append(failure)
    raise failures[0]


def _connect(family: int, address: tuple[Any, ...], host: str, deadline: Deadline) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect(address)
        except BlockingIOError:
            deadline.wait_for(sock.fileno(), select.POLLOUT)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, _error_text(code)) from None
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise _failure(host, address, error, deadline) from error
        raise
    return sock


def _failure(host: str, address: tuple[Any, ...], error: OSError, deadline: Deadline) -> NodeFailure:
    at = f"connecting to {host}" if address[0] in host else f"connecting to {host} ({address[0]})"
    if isinstance(error, TimeoutError) and not error.errno:
        return NodeFailure(Cause.ENDPOINT_TIMEOUT, f"{at}: no answer within {deadline.seconds:.3g} s")
    if isinstance(error, TimeoutError):
        return NodeFailure(Cause.ENDPOINT_TIMEOUT, f"{at}: {error.strerror}")
    if isinstance(error, ConnectionRefusedError):
        return NodeFailure(Cause.ENDPOINT_REFUSED, f"{at}: connection refused, nothing listens there")
    if isinstance(error, PermissionError):
        return NodeFailure(Cause.ENDPOINT_DENIED, f"{at}: {error.strerror}")
    return NodeFailure(Cause.ENDPOINT_REFUSED, f"{at}: {error.strerror or error}")


def _error_text(code: int) -> str:
    return os.strerror(code)


def _resolve(host: str, name: str, port: int, deadline: Deadline) -> Sequence[_Address]:
    try:
        version = ipaddress.ip_address(name).version
    except ValueError:
        return _look_up(host, name, port, deadline)
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, (name, port))]


def _look_up(host: str, name: str, port: int, deadline: Deadline) -> Sequence[_Address]:
    """Ask the resolver in a thread of its own: `getaddrinfo` has no timeout."""
    answers: queue.Queue[Sequence[_Address] | OSError | UnicodeError] = queue.Queue()
    done_read, done_write = socket.socketpair()

    def ask() -> None:
        with done_write:
            try:
                found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
                answers.put([(info[0], info[4]) for info in found])
            except (OSError, UnicodeError) as error:
                answers.put(error)

    threading.Thread(target=ask, name=f"resolve {name}", daemon=True).start()
    with done_read:
        try:
            deadline.wait_for(done_read.fileno(), select.POLLIN)
        except TimeoutError:
            raise NodeFailure(
                Cause.ENDPOINT_UNRESOLVABLE,
                f"resolving {name} of {host}: no answer within {deadline.seconds:.3g} s",
            ) from None
    answer = answers.get()
    if isinstance(answer, (OSError, UnicodeError)):
        seen = getattr(answer, "strerror", None) or str(answer)
        raise NodeFailure(Cause.ENDPOINT_UNRESOLVABLE, f"resolving {name} of {host}: {seen}") from answer
    return answer
