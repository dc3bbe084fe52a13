"""Whether the client's credentials for a registry work, tried against the registry's token flow.

The flow: distribution/distribution, `docs/spec/auth/token.md` and `oauth.md`. Proxies of the environment are used,
as Docker's client does.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import logging
import queue
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from email.message import Message
from functools import partial
from http import HTTPStatus
from typing import Any

from bxhealth import credentials
from bxhealth.concurrent import all_at_once
from bxhealth.credentials import Credentials
from bxhealth.deadline import Cancellation, Deadline
from bxhealth.docker_config import DockerConfig
from bxhealth.errors import Cancelled, NodeFailure, StoreError
from bxhealth.model import Cause, CheckResult, Status
from bxhealth.reporters.escape import printable

log = logging.getLogger(__name__)

_MAX_BODY_BYTES = 1024 * 1024
_GLANCE_SECONDS = 0.1
"""How often it is looked whether the run was called off."""
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_HUB = "registry-1.docker.io"


def check(config: DockerConfig, hosts: Sequence[str], seconds: float, cancellation: Cancellation) -> list[CheckResult]:
    """One answer a registry, all asked at once, each within `seconds`; a failure is a warning."""
    return all_at_once([partial(_check, config, host, Deadline(seconds, cancellation)) for host in hosts])


def _check(config: DockerConfig, host: str, deadline: Deadline) -> CheckResult:
    begun = time.monotonic()
    status, cause, message = Status.HEALTHY, None, ""
    try:
        found = credentials.find(config, host, deadline)
        message = _within(deadline, host, found)
    except NodeFailure as failure:
        status, cause, message = Status.WARNING, failure.cause, failure.message
    except Cancelled:
        status, message = Status.SKIPPED, "not finished when the run was called off"
    except Exception as error:  # a defect of ours is told of as well
        if not isinstance(error, StoreError):
            log.info("registry %s: internal error", host, exc_info=True)
        told = Cause.CONFIG_INVALID if isinstance(error, StoreError) else Cause.INTERNAL_ERROR
        status, cause, message = Status.WARNING, told, str(error)
    return CheckResult("registry", status, cause, message, host, time.monotonic() - begun)


def _within(deadline: Deadline, host: str, found: Credentials) -> str:
    """Try in a thread of its own: a timeout of urllib's begins anew with every byte that comes."""
    outcome: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            outcome.put(_try(host, found, deadline))
        except BaseException as error:
            outcome.put(error)

    threading.Thread(target=attempt, name=f"registry {host}", daemon=True).start()
    while True:
        try:
            said = outcome.get(timeout=min(deadline.remaining(), _GLANCE_SECONDS))
            break
        except queue.Empty:
            if deadline.expired:
                message = f"{host} did not answer within {deadline.seconds:.3g} s"
                raise NodeFailure(Cause.REGISTRY_UNREACHABLE, message) from None
            deadline.sleep(0)  # raises if the run was called off
    if isinstance(said, BaseException):
        raise said
    return said


def _try(host: str, found: Credentials, deadline: Deadline) -> str:
    base = _HUB if host in ("docker.io", "index.docker.io") else host
    schemes = ("https", "http") if _is_loopback(base) else ("https",)
    for scheme in schemes:
        try:
            return _log_in(f"{scheme}://{base}", host, found, deadline)
        except NodeFailure as failure:
            # Docker's client falls back to http for a registry on this machine, and only there
            if failure.cause is not Cause.REGISTRY_UNREACHABLE or scheme == schemes[-1]:
                raise
    raise AssertionError("the last scheme has returned or raised")


def _log_in(base: str, host: str, found: Credentials, deadline: Deadline) -> str:
    """What is worth saying of a login that worked."""
    status, headers, _ = _get(f"{base}/v2/", {}, deadline)
    if status == HTTPStatus.OK:
        return f"{host} asks nobody for credentials, so they were not tried"
    challenge = headers.get("WWW-Authenticate", "")
    scheme, _, rest = challenge.partition(" ")
    if status != HTTPStatus.UNAUTHORIZED or scheme.lower() not in ("basic", "bearer"):
        raise NodeFailure(Cause.REGISTRY_UNREACHABLE, f"{host} does not answer as a registry: HTTP {status} at /v2/")
    if scheme.lower() == "basic":
        authorization = _basic(found)
    else:
        authorization = f"Bearer {_token(base, host, dict(_PARAMETER.findall(rest)), found, deadline)}"
    status, _, _ = _get(f"{base}/v2/", {"Authorization": authorization}, deadline)
    if status != HTTPStatus.OK:
        raise _denied(host, found, status)
    return f"{host} takes the client's credentials"


def _token(base: str, host: str, challenge: Mapping[str, str], found: Credentials, deadline: Deadline) -> str:
    realm = challenge.get("realm", "")
    if not realm.startswith("https://") and base.startswith("https://"):
        raise NodeFailure(Cause.REGISTRY_UNREACHABLE, f"{host} wants credentials sent to {realm!r}, not by https")
    service = {"service": challenge["service"]} if "service" in challenge else {}
    if found.identity_token:
        form = {
            **service,
            "grant_type": "refresh_token",
            "refresh_token": found.identity_token,
            "client_id": "bxhealth",
        }
        status, _, body = _get(realm, {}, deadline, urllib.parse.urlencode(form).encode())
    else:
        query = urllib.parse.urlencode({**service, "account": found.user})
        joint = "&" if urllib.parse.urlsplit(realm).query else "?"
        status, _, body = _get(f"{realm}{joint}{query}", {"Authorization": _basic(found)}, deadline)
    if status != HTTPStatus.OK:
        raise _denied(host, found, status)
    try:
        answer: dict[str, Any] = json.loads(body)
        return str(answer.get("token") or answer["access_token"])
    except (ValueError, KeyError, AttributeError):
        raise NodeFailure(Cause.REGISTRY_UNREACHABLE, f"the token service of {host} gave no token") from None


def _denied(host: str, found: Credentials, status: int) -> NodeFailure:
    refused = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.BAD_REQUEST)
    if status in refused:
        return NodeFailure(
            Cause.REGISTRY_DENIED, f"{host} refuses the client's credentials of {found.user!r} ({status})"
        )
    return NodeFailure(Cause.REGISTRY_UNREACHABLE, f"{host} answered a login with HTTP {status}")


def _basic(found: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{found.user}:{found.password}".encode()).decode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Credentials go where they belong, and not where an answer points to."""

    def redirect_request(self, *_: object) -> None:
        """Never."""
        return


def _get(
    url: str, headers: Mapping[str, str], deadline: Deadline, data: bytes | None = None
) -> tuple[int, Message, bytes]:
    """The status, headers and body of an answer.

    Raises:
        NodeFailure: `registry_unreachable`.
    """
    host = urllib.parse.urlsplit(url).netloc
    try:
        request = urllib.request.Request(url, data, dict(headers))
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=max(deadline.remaining(), 0.001)) as response:
                return response.status, response.headers, response.read(_MAX_BODY_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read(_MAX_BODY_BYTES)
    except urllib.error.URLError as error:
        seen = getattr(error.reason, "strerror", None) or str(error.reason)
    except OSError as error:
        seen = error.strerror or str(error)
    except (ValueError, http.client.HTTPException):
        # not quoted: it may repeat a token, and holds whatever was answered
        seen = "what it answers, or wants to be asked, is not HTTP"
    raise NodeFailure(Cause.REGISTRY_UNREACHABLE, f"asking {host}: {printable(seen)}")


def _is_loopback(host: str) -> bool:
    name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
