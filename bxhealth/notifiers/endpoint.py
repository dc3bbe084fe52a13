"""A URL that somebody is told at. It may be a secret as a whole, so only its host is ever shown."""

from __future__ import annotations

import base64
import contextlib
import http.client
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, unquote_plus, unquote_to_bytes, urljoin, urlsplit, urlunsplit

from bxhealth import __version__
from bxhealth.errors import BxhealthError

_SECONDS = 10.0
_MAX_ANSWER_BYTES = 1 << 16
_TOKEN = 4
"""Characters of a part of a path or query that may be a secret by itself; of a shorter one every text is full."""


class NotifyError(BxhealthError):
    """Somebody could not be told."""


class Refused(NotifyError):
    """There was an answer, and it was not 2xx.

    Attributes:
        said: the answer's body; it may repeat the URL, so show it `without_secrets` or not at all.
    """

    def __init__(self, message: str, said: str) -> None:
        self.said = said
        super().__init__(message)


def below(url: str, *segments: str) -> str:
    """The URL with these segments, which are taken as they are, at the end of its path; its query stays."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path="/".join([parts.path.rstrip("/"), *segments])))


def without_secrets(text: str, url: str) -> str:
    """`text` with `…` in the place of the URL's user, password, path and query, escaped or not."""
    parts = urlsplit(url)
    segments = [segment for segment in parts.path.split("/") if len(segment) >= _TOKEN]
    words = [word for part in parts.query.split("&") for word in part.split("=", 1)[-1:] if len(word) >= _TOKEN]
    given = [parts.username, parts.password, parts.path.strip("/"), *segments, parts.query, *words]
    secrets = {form for secret in given if secret for form in (secret, unquote(secret), unquote_plus(secret))}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


def send(method: str, url: str, content: bytes | None = None, headers: Mapping[str, str] | None = None) -> None:
    """Send a request, with the URL's own credentials, and take any answer of 2xx for an acknowledgement.

    Raises:
        Refused: another one came within 10 s.
        NotifyError: none did.
    """
    outcome: queue.SimpleQueue[NotifyError | None] = queue.SimpleQueue()
    shown = _shown(urlsplit(url))

    def attempt() -> None:
        try:
            outcome.put(_send(method, url, content, headers or {}))
        except Exception as error:  # whatever it is: its traceback would show the URL
            outcome.put(NotifyError(f"{shown}: {_reason(error)}"))

    # a timeout of urllib's begins anew with every byte that comes
    threading.Thread(target=attempt, name=f"tell {shown}", daemon=True).start()
    try:
        failure = outcome.get(timeout=_SECONDS)
    except queue.Empty:
        failure = NotifyError(f"{shown}: {_too_late()}")
    if failure:
        raise failure


def _send(method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Refused | None:
    parts = urlsplit(url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(bare, content, {"User-Agent": f"bxhealth/{__version__}", **headers}, method=method)
    for credentials in _credentials(parts):
        # no business of whom a redirect leads to
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    try:
        urllib.request.urlopen(request, timeout=_SECONDS).close()
    except urllib.error.HTTPError as error:
        with error:
            said = b""
            with contextlib.suppress(OSError, http.client.HTTPException):
                said = error.read(_MAX_ANSWER_BYTES)
            return Refused(f"{_shown(parts)}: {_answer(error)}", said.decode(errors="replace"))
    return None


def _answer(error: urllib.error.HTTPError) -> str:
    answer = f"it answered {error.code}"
    location = error.headers.get("Location")
    if not location or error.code // 100 != 3:
        return answer
    return f"{answer}, a redirect to {_shown(urlsplit(urljoin(error.url, location)))}"


def _reason(error: Exception) -> str:
    """What the system says of a failure, else its type: the text of any other exception may hold the URL."""
    if isinstance(error, urllib.error.URLError):
        # of a time before the request, so it knows no more than the host
        return getattr(error.reason, "strerror", None) or str(error.reason)
    if isinstance(error, TimeoutError):
        return _too_late()
    return getattr(error, "strerror", None) or type(error).__name__


def _too_late() -> str:
    return f"no answer within {_SECONDS:.3g} s"


def _credentials(parts: SplitResult) -> list[str]:
    """What basic authentication sends for the URL's user and password; nothing where it has none."""
    if parts.username is None:
        return []
    named = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
    return [base64.b64encode(named).decode()]


def _shown(parts: SplitResult) -> str:
    """The scheme, the host and the port; a password with a slash ends where a port may be, and is none."""
    try:
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        port = ""
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"
