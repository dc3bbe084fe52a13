"""A URL that somebody is told at. It may be a secret as a whole, so only its host is ever shown."""

from __future__ import annotations

import base64
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from bxhealth import __version__
from bxhealth.errors import BxhealthError

_SECONDS = 10.0
_MAX_ANSWER_BYTES = 1024


class NotifyError(BxhealthError):
    """Somebody could not be told."""


def below(url: str, *segments: str) -> str:
    """The URL with these segments, which are taken as they are, at the end of its path; its query stays."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path="/".join([parts.path.rstrip("/"), *segments])))


def send(method: str, url: str, content: bytes | None = None, headers: Mapping[str, str] | None = None) -> None:
    """Send a request, with the URL's own credentials, and take any answer of 2xx for an acknowledgement.

    Raises:
        NotifyError: none came within 10 s.
    """
    outcome: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    shown = _shown(urlsplit(url))

    def attempt() -> None:
        try:
            _send(method, url, content, headers or {})
            outcome.put(None)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(_MAX_ANSWER_BYTES).decode(errors="replace").strip()[:200]
            outcome.put(f"it answered {error.code}" + (f": {said}" if said else ""))
        except urllib.error.URLError as error:
            outcome.put(getattr(error.reason, "strerror", None) or str(error.reason))
        except (OSError, ValueError) as error:
            outcome.put(getattr(error, "strerror", None) or type(error).__name__)

    # a timeout of urllib's begins anew with every byte that comes
    threading.Thread(target=attempt, name=f"tell {shown}", daemon=True).start()
    try:
        failure = outcome.get(timeout=_SECONDS)
    except queue.Empty:
        failure = f"no answer within {_SECONDS:.3g} s"
    if failure:
        raise NotifyError(f"{shown}: {failure}")


def _send(method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> None:
    parts = urlsplit(url)
    named = {"User-Agent": f"bxhealth/{__version__}", **headers}
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        named["Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(bare, content, named, method=method)
    with urllib.request.urlopen(request, timeout=_SECONDS) as response:
        response.read(_MAX_ANSWER_BYTES)


def _shown(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
