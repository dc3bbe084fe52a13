"""Servers on loopback and UNIX sockets whose behaviour is a function of one connection."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

Handler = Callable[[socket.socket], None]


class Server:
    """Runs a handler for every connection, each in a thread; `stop` ends them all."""

    def __init__(self, handler: Handler, path: Path | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._tls = tls
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._listener.bind(str(path) if path else ("127.0.0.1", 0))
        self._listener.listen(64)
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self.accepted = 0
        self.handled = 0
        self.errors: list[BaseException] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def host(self) -> str:
        return f"unix://{self._path}" if self._path else f"tcp://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._stopping = True
        for sock in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(5)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._connections.append(connection)
            thread = threading.Thread(target=self._handle, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _handle(self, connection: socket.socket) -> None:
        sock = connection
        try:
            if self._tls:
                wrapped = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                sock = wrapped
                self._connections.append(sock)
                wrapped.do_handshake()
            self._handler(sock)
        except OSError:
            pass  # the client went away, or did not shake hands: its side is what is tested
        except BaseException as error:
            self.errors.append(error)
        finally:
            sock.close()
            self.handled += 1


def closing(_: socket.socket) -> None:
    """Accept and close at once."""


def silent(sock: socket.socket) -> None:
    """Accept, read, and never say a word."""
    while sock.recv(65536):
        pass


def echoing(sock: socket.socket) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)


def saying(*parts: bytes, then_close: bool = True) -> Handler:
    """Say `parts` once the client has said something."""

    def handle(sock: socket.socket) -> None:
        sock.recv(65536)
        for part in parts:
            sock.sendall(part)
        if not then_close:
            silent(sock)

    return handle


def dripping(data: bytes, pause: float) -> Handler:
    """Say `data` byte by byte, each after a pause, until the client has had enough."""

    def handle(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.settimeout(pause)
        for i in range(len(data)):
            sock.sendall(data[i : i + 1])
            with contextlib.suppress(TimeoutError):
                if not sock.recv(65536):
                    return

    return handle


@contextlib.contextmanager
def full_backlog(listener: socket.socket) -> Iterator[None]:
    """Fill a listener's queue, so that nobody else can connect until it accepts."""
    with contextlib.ExitStack() as stack:
        while True:
            sock = stack.enter_context(socket.socket(listener.family))
            sock.setblocking(False)
            code = sock.connect_ex(listener.getsockname())
            if code == errno.EAGAIN or (code == errno.EINPROGRESS and not _connects(sock)):
                break
        yield


def _connects(sock: socket.socket) -> bool:
    """Whether a connection is completed: on loopback that takes no time, or never happens."""
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    return bool(poller.poll(100))


def unused_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def chunks(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Cut `data` in pieces of these sizes, over and over."""
    at, turn = 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        yield data[at : at + size]
        at, turn = at + size, turn + 1
