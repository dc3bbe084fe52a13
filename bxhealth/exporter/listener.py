"""The web server: uvicorn in a thread of its own, with bounds on what strangers may make it hold."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Sequence

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from bxhealth.errors import BxhealthError
from bxhealth.exporter.auth import Guard
from bxhealth.exporter.web_config import ReloadingContext, WebConfigFile

_BACKLOG = 128
_MAX_CONNECTIONS = 256
_REQUEST_SECONDS = 10.0
"""How long a client may take to send a request's head. Uvicorn itself would wait for ever."""
_COMPLAINT_SECONDS = 60.0


class ListenError(BxhealthError):
    """An address cannot be listened on."""


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 for so many clients at once, each of which has to say soon what it wants."""

    _giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self.connections) > _MAX_CONNECTIONS:
            transport.abort()
        else:
            self._expect_request()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._stop_expecting()

    def _expect_request(self) -> None:
        """Have the time run while a request's head is not complete, whatever pieces of it come."""
        if self.conn.their_state is not h11.IDLE:
            self._stop_expecting()
        elif self._giving_up is None:
            self._giving_up = self.loop.call_later(_REQUEST_SECONDS, self.transport.abort)

    def _stop_expecting(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None


class _Seldom(logging.Filter):
    """Lets a record through now and then: asyncio has one for each connection that it cannot take."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -_COMPLAINT_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        now = time.monotonic()
        if now - self._last < _COMPLAINT_SECONDS:
            return False
        self._last = now
        return True


class Server:
    """Uvicorn, in a thread so that signals stay ours."""

    def __init__(self, application: Guard, sockets: Sequence[socket.socket], config: WebConfigFile | None) -> None:
        made = uvicorn.Config(
            application,
            loop="asyncio",
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        made.load()
        logging.getLogger("asyncio").addFilter(_Seldom())
        if config is not None and config.context is not None:
            context = ReloadingContext(ssl.PROTOCOL_TLS_SERVER)
            context.source = config
            made.ssl = context
        self._server = uvicorn.Server(made)
        self._sockets = list(sockets)
        self._thread = threading.Thread(target=self._server.run, args=(self._sockets,), name="web", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it answers."""
        return self._thread.is_alive()

    def ask_to_stop(self) -> None:
        """Take no more connections, and end those that there are."""
        self._server.should_exit = True

    def stop(self, seconds: float) -> None:
        """Return when it has ended, or `seconds` are over."""
        self._server.force_exit = True
        self._thread.join(seconds)
        for listening in self._sockets:
            listening.close()


def listen(address: str) -> socket.socket:
    """A socket that listens on `HOST:PORT`; without a host, on every address of this machine.

    Raises:
        ListenError: the address is malformed, or taken.
    """
    host, separator, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ListenError(f"{address!r} is not an address such as 127.0.0.1:9888 or [::1]:9888")
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG
            )
        found = socket.getaddrinfo(host or "0.0.0.0", int(port), type=socket.SOCK_STREAM)
        family, _, _, _, where = found[0]
        return socket.create_server(where[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from error
