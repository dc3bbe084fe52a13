"""The web server: uvicorn in a thread of its own, with bounds on what strangers may make it hold."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from functools import partial
from weakref import WeakSet

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from bxhealth.errors import BxhealthError
from bxhealth.exporter.auth import Guard
from bxhealth.exporter.web_config import ReloadingContext, WebConfigFile

_BACKLOG = 128
_MAX_CONNECTIONS = 256
_REQUEST_SECONDS = 10.0
"""How long a client may take for a TLS handshake, and to send a request. Uvicorn itself would wait for ever."""
_READING_SECONDS = 30.0
"""How long a client may take none of an answer, or be gone without a word."""
_COMPLAINT_SECONDS = 60.0


class ListenError(BxhealthError):
    """An address cannot be listened on."""


class AddressError(ListenError):
    """What is given for an address is none."""


class Door(socket.socket):
    """A listening socket that lets in so many clients at once: from the first packet, so before any TLS handshake."""

    def __init__(self, listening: socket.socket, inside: WeakSet[socket.socket]) -> None:
        """Take over a listening socket; `inside` is who has come in, by this door or another."""
        super().__init__(listening.family, listening.type, listening.proto, fileno=listening.detach())
        self._inside = inside

    def accept(self) -> tuple[socket.socket, object]:
        """See `socket.socket`; asyncio takes ConnectionAbortedError for a client that has left again."""
        client, address = super().accept()
        self._inside.difference_update([one for one in self._inside if one.fileno() < 0])
        if len(self._inside) >= _MAX_CONNECTIONS:
            client.close()
            raise ConnectionAbortedError
        self._inside.add(client)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # tcp(7)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(_READING_SECONDS * 1000))
        return client, address


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 for clients that say soon what they want."""

    _giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
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
        """Have the time run while a request is not complete, whatever pieces of it come."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
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


class _Uvicorn(uvicorn.Server):
    """Uvicorn, which has no option for how long a TLS handshake may take: asyncio would wait a minute."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        if self.config.ssl:
            loop = asyncio.get_running_loop()
            bounded = partial(loop.create_server, ssl_handshake_timeout=_REQUEST_SECONDS)
            loop.create_server = bounded  # type: ignore[method-assign]
        await super().startup(sockets)


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
        self._server = _Uvicorn(made)
        # asyncio forgets one without closing it where TLS cannot even begin
        inside: WeakSet[socket.socket] = WeakSet()
        self._sockets: list[socket.socket] = [Door(listening, inside) for listening in sockets]
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
        AddressError: the address is malformed.
        ListenError: it is taken, or not one of this machine.
    """
    host, separator, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise AddressError(f"{address!r} is not an address such as 127.0.0.1:9888 or [::1]:9888")
    if host == "*":
        raise AddressError(f"{address!r} is not an address; :{port} listens on every one of this machine")
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG
            )
        found = socket.getaddrinfo(host or "0.0.0.0", int(port), type=socket.SOCK_STREAM)
        family, _, _, _, where = found[0]
        return socket.create_server(where[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        # what `create_server` says of others repeats the address
        said = error.strerror if isinstance(error, socket.gaierror) or not error.errno else os.strerror(error.errno)
        raise ListenError(f"cannot listen on {address}: {said or error}") from error
    except UnicodeError:
        raise AddressError(f"cannot listen on {address}: {host!r} is no name of a host") from None
