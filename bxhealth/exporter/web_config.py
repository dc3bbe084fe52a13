"""`--web.config.file`: TLS and basic authentication, in the format that Prometheus's exporters share.

The format: prometheus/exporter-toolkit, docs/web-configuration.md. As there, the files are looked at upon every
connection and request, so that a new certificate or password needs no restart.
"""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bxhealth.errors import BxhealthError

_CLIENT_AUTH = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
"""By the names of Go's crypto/tls. RequireAnyClientCert, which verifies nothing, is not to be had from OpenSSL."""
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_HEADERS = (
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
)
_ATTEMPTS = 3
"""So often a file that is being written is read again."""
_BCRYPT = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")


class WebConfigError(BxhealthError):
    """The web configuration, or a file that it names, cannot be used."""


@dataclass(frozen=True)
class TlsServer:
    """The section `tls_server_config`."""

    cert_file: Path
    key_file: Path
    client_auth: ssl.VerifyMode = ssl.CERT_NONE
    client_ca_file: Path | None = None
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    max_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it names."""
        return (self.cert_file, self.key_file, *((self.client_ca_file,) if self.client_ca_file else ()))


@dataclass(frozen=True)
class WebConfig:
    """All of the file. `users` are bcrypt hashes by name; none means that everybody is let in."""

    tls: TlsServer | None = None
    users: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def parse(text: str, directory: Path) -> WebConfig:
    """Read the file's text; the files that it names are looked for in `directory`.

    Raises:
        WebConfigError: it is malformed, or asks for what bxhealth does not offer.
    """
    try:
        loaded = yaml.safe_load(text)
    except Exception as error:  # PyYAML has its own, and lets those of Python's constructors through
        raise WebConfigError(f"it is not YAML: {(str(error) or type(error).__name__).splitlines()[0]}") from None
    top = _section(loaded, "the file", ("tls_server_config", "basic_auth_users", "http_server_config"))
    tls = _tls(top.get("tls_server_config"), directory)
    http = _section(top.get("http_server_config"), "http_server_config", ("http2", "headers"))
    if not isinstance(http.get("http2"), (bool, type(None))):
        raise WebConfigError("http2 has to be true or false")
    headers = _section(http.get("headers"), "headers", _HEADERS)
    users = {} if top.get("basic_auth_users") is None else top["basic_auth_users"]
    if not isinstance(users, dict) or not all(isinstance(part, str) for pair in users.items() for part in pair):
        raise WebConfigError("basic_auth_users has to be names with bcrypt hashes")
    for name, hashed in users.items():
        if not _BCRYPT.fullmatch(hashed):
            raise WebConfigError(f"the password of {name!r} in basic_auth_users is not a bcrypt hash")
    return WebConfig(
        tls, users, {name: _header(name, value) for name, value in headers.items() if value not in (None, "")}
    )


def context(tls: TlsServer) -> ssl.SSLContext:
    """An OpenSSL context for the server.

    Raises:
        WebConfigError: a file is missing, not to be read, or not what it should be; names the file.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version, made.maximum_version = tls.min_version, tls.max_version
    made.set_alpn_protocols(["http/1.1"])
    for path in tls.files:
        _load(path, path.read_bytes)
    _load(tls.cert_file, lambda: made.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: b""))
    if tls.client_ca_file:
        ca = tls.client_ca_file
        _load(ca, lambda: made.load_verify_locations(cafile=ca))
    made.verify_mode = tls.client_auth
    return made


class WebConfigFile:
    """The file, read anew whenever it or a file that it names has changed.

    One that cannot be used at the start is an error; later, the last good one stays, and one line is said.
    """

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        """Read it.

        Raises:
            WebConfigError: it cannot be used.
        """
        self._path = path
        self._complain = complain
        self._lock = threading.Lock()
        self._watched: tuple[Path, ...] = (path,)
        self._seen: object = None
        self._config, self._context = self._read_settled()

    @property
    def config(self) -> WebConfig:
        """What it says now."""
        self._refresh()
        return self._config

    @property
    def context(self) -> ssl.SSLContext | None:
        """The TLS context of now; None without TLS, which cannot change later."""
        self._refresh()
        return self._context

    def _refresh(self) -> None:
        with self._lock:
            if self._state() == self._seen:
                return
            try:
                config, made = self._read_settled()
                if (made is None) != (self._context is None):
                    raise WebConfigError(f"{self._path}: TLS can only be switched on or off by a restart")
                if self._config.users and not config.users:
                    # a file that is being written is empty for a moment, which must let nobody in
                    raise WebConfigError(f"{self._path}: passwords can only be switched off by a restart")
            except WebConfigError as error:
                self._complain(f"{error}; what was read before stays in force")
            else:
                self._config, self._context = config, made

    def _read_settled(self) -> tuple[WebConfig, ssl.SSLContext | None]:
        """Read the files between two looks at them that see the same, so that what changes meanwhile is not missed."""
        for _ in range(_ATTEMPTS):
            self._seen = self._state()
            try:
                read = self._read()
            except WebConfigError:
                if self._state() == self._seen:
                    raise
            else:
                if self._state() == self._seen:
                    return read
        self._seen = None
        raise WebConfigError(f"{self._path}: it changes all the time")

    def _read(self) -> tuple[WebConfig, ssl.SSLContext | None]:
        try:
            config = parse(self._path.read_text(), self._path.absolute().parent)
            # also where they cannot be used: whoever mends them wants that to be seen
            self._watched = (self._path, *(config.tls.files if config.tls else ()))
            return config, context(config.tls) if config.tls else None
        except (OSError, UnicodeDecodeError) as error:
            seen = getattr(error, "strerror", None) or "it is not text"
            raise WebConfigError(f"{self._path}: cannot be read: {seen}") from error
        except WebConfigError as error:
            raise WebConfigError(f"{self._path}: {error}") from error

    def _state(self) -> object:
        return tuple((path, _identity(path)) for path in self._watched)


def _identity(path: Path) -> object:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # no path has a zero in it
        return getattr(error, "errno", None)
    # the change time, too: that of a file that has become readable
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _tls(value: Any, directory: Path) -> TlsServer | None:
    known = ("cert_file", "key_file", "client_auth_type", "client_ca_file", "min_version", "max_version")
    section = _section(value, "tls_server_config", known)
    if not section:
        return None
    files = {
        key: directory / str(section[key]) for key in ("cert_file", "key_file", "client_ca_file") if section.get(key)
    }
    for key in ("cert_file", "key_file"):
        if key not in files:
            raise WebConfigError(f"tls_server_config has no {key}")
    kind = str(section.get("client_auth_type") or "")
    if kind not in _CLIENT_AUTH:
        raise WebConfigError(f"client_auth_type {kind!r} is none of {', '.join(filter(None, _CLIENT_AUTH))}")
    if ("client_ca_file" in files) != (_CLIENT_AUTH[kind] is not ssl.CERT_NONE):
        raise WebConfigError("client_ca_file and a client_auth_type that verifies belong together")
    versions = [
        _version(section.get(key), default) for key, default in (("min_version", "TLS12"), ("max_version", "TLS13"))
    ]
    if versions[0] > versions[1]:
        raise WebConfigError("min_version is later than max_version")
    return TlsServer(files["cert_file"], files["key_file"], _CLIENT_AUTH[kind], files.get("client_ca_file"), *versions)


def _version(value: Any, default: str) -> ssl.TLSVersion:
    try:
        return _VERSIONS[str(value or default)]
    except KeyError:
        raise WebConfigError(f"the TLS version {value!r} is none of {', '.join(_VERSIONS)}") from None


def _section(value: Any, name: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WebConfigError(f"{name} is not a mapping")
    for key in value:
        if key not in known:
            raise WebConfigError(f"{name} has {key!r}, which bxhealth does not know; it knows {', '.join(known)}")
    return value


def _header(name: str, value: Any) -> str:
    """A header's value in one line: YAML's blocks have several, which Go's net/http takes for one as well."""
    text = " ".join(str(value).split())
    if not text.isascii() or not text.isprintable():
        raise WebConfigError(f"the header {name} has characters that a header cannot have")
    return text


def _load(path: Path, load: Callable[[], object]) -> None:
    try:
        load()
    except FileNotFoundError as error:
        raise WebConfigError(f"{path} is missing") from error
    except ValueError as error:
        raise WebConfigError(f"{path} is no name of a file") from error
    except ssl.SSLError as error:
        raise WebConfigError(f"{path}, or the key of it, cannot be used: {error.reason or error}") from error
    except OSError as error:
        raise WebConfigError(f"{path} cannot be read: {error.strerror or error}") from error


class ReloadingContext(ssl.SSLContext):
    """A server's context that stands for the file's: asyncio asks it for each new connection."""

    source: WebConfigFile

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """See `ssl.SSLContext`."""
        current = self.source.context
        return current.wrap_bio(*arguments, **named) if current else super().wrap_bio(*arguments, **named)
