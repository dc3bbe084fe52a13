"""Basic authentication and the headers of every answer, around the application."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Mapping

import anyio
import anyio.to_thread
import bcrypt
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bxhealth.exporter.web_config import WebConfig

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_MAX_REMEMBERED = 256
_MAX_GUESSES = 16
_MAX_GUESSES_EACH = 2
"""So many passwords that are not known yet wait to be compared, of all clients and of one address; whoever comes then
has to come again. Without the second, one client's guesses would keep out all whose password is not known yet."""
_MAX_PASSWORD_BYTES = 72
"""More, bcrypt cannot tell apart."""


class Guard:
    """ASGI middleware: lets in whom the web configuration knows, and adds headers."""

    def __init__(self, app: ASGIApp, config: Callable[[], WebConfig]) -> None:
        self._app = app
        self._config = config
        self._passwords = Passwords()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        config = self._config()
        headers = {**_HEADERS, **config.headers}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in headers.items():
                    answer.setdefault(name, value)
            await send(message)

        await (await self._chosen(config, scope))(scope, receive, send_with_headers)

    async def _chosen(self, config: WebConfig, scope: Scope) -> ASGIApp:
        """What answers: the application, or a refusal."""
        authorization = Headers(scope=scope).get("authorization", "")
        address = (scope.get("client") or ("",))[0]
        try:
            if not config.users or await self._is_known(config.users, authorization, address):
                return self._app
        except TooManyGuesses:
            return PlainTextResponse("Too many passwords wait to be compared\n", 503, {"Retry-After": "1"})
        return PlainTextResponse("Unauthorized\n", 401, {"WWW-Authenticate": 'Basic realm="bxhealth"'})

    async def _is_known(self, users: Mapping[str, str], authorization: str, address: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            name, separator, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return False
        return bool(separator) and await self._passwords.match(users, name, password, address)


class TooManyGuesses(Exception):
    """Too many passwords wait to be compared."""


class Passwords:
    """Compares passwords, and remembers outcomes: bcrypt is slow on purpose, and scrapes are many."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        # apart: no number of wrong guesses may push out the right passwords, of which there is one a user
        self._right: set[bytes] = set()
        self._wrong: set[bytes] = set()
        # guesses must not take the machine
        self._limiter = anyio.CapacityLimiter(1)
        self._guesses: Counter[str] = Counter()
        self._compared: dict[bytes, asyncio.Future[bool]] = {}
        # for a name that nobody has: the answer takes as long as for one that somebody has
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(10)).decode()

    async def match(self, users: Mapping[str, str], name: str, password: str, address: str) -> bool:
        """Whether this is the password of a user, as a client at an address says.

        Raises:
            TooManyGuesses: nobody has had the time to find out.
        """
        hashed = users.get(name, self._nobody)
        parts = (part.encode() for part in (name, hashed, password))
        asked = hmac.digest(self._key, b"\0".join(hashlib.sha256(part).digest() for part in parts), "sha256")
        if asked in self._right or asked in self._wrong:
            return asked in self._right
        if asked not in self._compared:
            if self._guesses[address] >= _MAX_GUESSES_EACH or self._guesses.total() >= _MAX_GUESSES:
                raise TooManyGuesses
            self._guesses[address] += 1
            self._compared[asked] = asyncio.ensure_future(
                self._compare(asked, password, hashed, address, exists=name in users)
            )
        # of many who ask the same at once, one may leave
        return await asyncio.shield(self._compared[asked])

    async def _compare(self, asked: bytes, password: str, hashed: str, address: str, *, exists: bool) -> bool:
        try:
            is_right = await anyio.to_thread.run_sync(_is_password, password, hashed, limiter=self._limiter)
        finally:
            self._guesses -= Counter([address])  # which drops an address that has none left
            del self._compared[asked]
        is_right = is_right and exists
        remembered = self._right if is_right else self._wrong
        if len(remembered) >= _MAX_REMEMBERED:
            remembered.clear()
        remembered.add(asked)
        return is_right


def _is_password(password: str, hashed: str) -> bool:
    content = password.encode()
    if len(content) > _MAX_PASSWORD_BYTES or b"\0" in content:
        return False
    try:
        return bcrypt.checkpw(content, hashed.encode())
    except ValueError:
        return False  # a hash that is cut off matches nothing
