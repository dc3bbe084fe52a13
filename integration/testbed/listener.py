"""A server on a socket, run by a thread of its own: what relays and faulty servers have in common."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Final

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Address = tuple[str, int] | Path

LOOPBACK: Final = ("127.0.0.1", 0)
# A scale test connects to a thousand nodes at once.
_BACKLOG: Final = 4096


class Listener:
    """A listening socket whose every connection is given to a handler, from construction until `close`.

    A connection is closed when its handler returns. `close` ends the handlers that still run.

    Attributes:
        endpoint: what buildx's remote driver takes: `tcp://…` or `unix://…`.
        port: the TCP port; 0 for a unix socket.
    """

    def __init__(self, handle: Handler, at: Address = LOOPBACK, tls: ssl.SSLContext | None = None) -> None:
        """Listen.

        Args:
            handle: what to do with a connection.
            at: a TCP address, whose port 0 means a free one, or the path of a unix socket to make.
            tls: for TLS, a server's context.

        Raises:
            OSError: it cannot listen there.
        """
        self._handle = handle
        self._tls = tls
        self._path = at if isinstance(at, Path) else None
        self._connections: set[asyncio.Task[None]] = set()
        listening = _listening_socket(at)
        self.port = 0 if isinstance(at, Path) else int(listening.getsockname()[1])
        self.endpoint = f"unix://{at}" if isinstance(at, Path) else f"tcp://{at[0]}:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        # daemon: a listener that nobody closes must not hold the exit
        self._thread = threading.Thread(target=self._run, args=(listening,), name=self.endpoint, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Listener":
        """Return itself; it listens already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Stop listening and end all connections; nothing of it runs afterwards. May be repeated."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _run(self, listening: socket.socket) -> None:
        try:
            self._loop.run_until_complete(self._serve(listening))
        finally:
            self._loop.close()

    async def _serve(self, listening: socket.socket) -> None:
        # A failed handshake is what many tests provoke, and no news.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        server = await asyncio.start_server(self._connected, sock=listening, ssl=self._tls, backlog=_BACKLOG)
        await self._stop.wait()
        server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine, so that the tasks are this class's own to end.
        connection = self._loop.create_task(self._serve_connection(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A peer that goes away ends the connection, whoever it was.
            with contextlib.suppress(OSError, EOFError, ssl.SSLError):
                await self._handle(reader, writer)
        finally:
            writer.transport.abort() if self._stop.is_set() else writer.close()


def free_port() -> int:
    """A port of loopback that is free now, for a program that cannot choose one itself and say which."""
    with socket.create_server(LOOPBACK) as probe:
        return int(probe.getsockname()[1])


def _listening_socket(at: Address) -> socket.socket:
    # start_server takes a unix socket as well as a TCP one
    if isinstance(at, Path):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(at))
    else:
        listening = socket.create_server(at, family=socket.AF_INET6 if ":" in at[0] else socket.AF_INET)
    listening.listen(_BACKLOG)
    return listening
