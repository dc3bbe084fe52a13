"""The client's own credentials for a registry, found as Docker's client finds them, and never shown.

Rules: docker/cli, `cli/config/configfile/file.go` (helpers over the store over the file) and
docker/docker-credential-helpers (`get`: the server's name on stdin, JSON on stdout).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bxhealth import processes
from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerConfig, member, read_object
from bxhealth.errors import CliUnavailable, NodeFailure
from bxhealth.model import Cause

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io")
_IDENTITY_TOKEN_USER = "<token>"
_NOT_FOUND = "credentials not found"


@dataclass(frozen=True)
class Credentials:
    """A user and a password, or an identity token; `repr` shows neither."""

    user: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


def find(config: DockerConfig, host: str, deadline: Deadline) -> Credentials:
    """The credentials for a registry.

    Raises:
        NodeFailure: `credentials_missing`, or `credential_helper_failed` with the helper's own words.
        StoreError: `config.json` cannot be read.
    """
    path = config.directory / "config.json"
    try:
        content = read_object(path)
    except FileNotFoundError:
        content = {}
    keys = (_HUB_KEY, *_HUB_HOSTS) if host in _HUB_HOSTS else (host, f"https://{host}")
    helpers = member(content, "credHelpers", dict, path)
    found = None
    helper = next((str(helpers[key]) for key in keys if key in helpers), "")
    helper = helper or member(content, "credsStore", str, path)
    if helper:
        found = _ask_helper(helper, keys[0], deadline)
    else:
        auths = member(content, "auths", dict, path)
        entry = next((value for key, value in auths.items() if key in keys or _hostname(key) == host), None)
        if isinstance(entry, dict):
            found = _of_file(entry)
    if found is None:
        raise NodeFailure(Cause.CREDENTIALS_MISSING, f"the client has no credentials for {host}")
    return found


def _hostname(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _of_file(entry: Mapping[str, Any]) -> Credentials | None:
    token = str(entry.get("identitytoken") or "")
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if auth := entry.get("auth"):
        try:
            user, _, password = base64.b64decode(str(auth), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
    password = password.rstrip("\0")
    return Credentials(user, password, token) if token or password else None


def _ask_helper(name: str, server: str, deadline: Deadline) -> Credentials | None:
    program = f"docker-credential-{name}"
    try:
        finished = processes.run([program, "get"], server.encode(), deadline)
    except CliUnavailable as error:
        raise NodeFailure(Cause.CREDENTIAL_HELPER_FAILED, str(error)) from error
    except TimeoutError:
        message = f"`{program} get` did not end within {deadline.seconds:.3g} s"
        raise NodeFailure(Cause.CREDENTIAL_HELPER_FAILED, message) from None
    if finished.status:
        # an error is on stdout, by the helpers' protocol; a secret is there only if it ends with 0
        words = (finished.stdout.strip() or finished.stderr.strip() or "no word").splitlines()[0]
        if _NOT_FOUND in words.lower():
            return None
        message = f"`{program} get` for {server} ended with {finished.status}: {words}"
        raise NodeFailure(Cause.CREDENTIAL_HELPER_FAILED, message)
    try:
        answer = json.loads(finished.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        # what it wrote may hold a secret, so it is not quoted; nor chained, where -v would show it
        message = f"`{program} get` for {server} answered something else than credentials"
        raise NodeFailure(Cause.CREDENTIAL_HELPER_FAILED, message) from None
    if user == _IDENTITY_TOKEN_USER:
        return Credentials(user, identity_token=secret)
    return Credentials(user, secret) if secret else None
