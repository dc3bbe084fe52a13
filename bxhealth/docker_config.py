"""Docker's own configuration: its directory, `config.json`, contexts and their TLS material.

Rules as in docker/cli: `cli/config/config.go` (directory), `cli/command/cli.go` (`resolveContextName`),
`cli/context/store` (layout) and `cli/flags/options.go` (TLS from the environment).
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bxhealth.errors import StoreError

DEFAULT_CONTEXT = "default"
DEFAULT_HOST = "unix:///var/run/docker.sock"
MAX_FILE_BYTES = 16 * 1024 * 1024
"""More than any entry has: buildkitd configuration and certificates are embedded in it, some kilobytes."""


@dataclass(frozen=True)
class TlsMaterial:
    """Files for a TLS connection; None means: the system's roots, or no client certificate."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True
    server_name: str | None = None


@dataclass(frozen=True)
class DockerEndpoint:
    """Where a Docker Engine is, such as `unix:///run/docker.sock`, and how to speak TLS to it, if at all."""

    host: str
    tls: TlsMaterial | None = None


def read_bounded(path: Path) -> bytes:
    """The content of a regular file of at most `MAX_FILE_BYTES`.

    Raises:
        StoreError: it is none, is larger, or cannot be read; names the file.
        FileNotFoundError: there is no such file.
    """
    try:
        # never open what could block, such as a named pipe
        if not stat.S_ISREG(path.stat().st_mode):
            raise StoreError("is not a regular file", path)
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror or error}", path) from error
    if len(content) > MAX_FILE_BYTES:
        raise StoreError(f"is larger than {MAX_FILE_BYTES // 1024 // 1024} MiB, which no entry is", path)
    return content


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        StoreError: it holds none; says how, and names the file.
        FileNotFoundError: there is no such file.
    """
    content = read_bounded(path)
    if not content.strip():
        raise StoreError("is empty, where a JSON object belongs", path)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"is not JSON, or was cut off: {error}", path) from error
    if not isinstance(value, dict):
        raise StoreError(f"holds {_kind(value)}, where a JSON object belongs", path)
    return value


def member(entry: Mapping[str, Any], key: str, kind: type, path: Path) -> Any:
    """`entry[key]`, or an empty `kind` where it is absent or null, as Go reads JSON.

    Raises:
        StoreError: it has another type; names the file and the key.
    """
    value = entry.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise StoreError(f"{key} holds {_kind(value)}, where {_KINDS[kind]} belongs", path)
    return value


_KINDS: dict[type, str] = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null" if value is None else "a number")


class DockerConfig:
    """Docker's configuration directory, read when asked."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        home = environ.get("HOME") or str(Path("~").expanduser())
        configured = environ.get("DOCKER_CONFIG")
        self.directory = (Path(configured) if configured else Path(home, ".docker")).absolute()

    def current_context(self) -> str:
        """The name of the current context: `DOCKER_HOST` means `default`, then `DOCKER_CONTEXT`, then the file.

        Raises:
            StoreError: `config.json` cannot be read.
        """
        if self.environ.get("DOCKER_HOST"):
            return DEFAULT_CONTEXT
        return self.environ.get("DOCKER_CONTEXT") or self._file_context() or DEFAULT_CONTEXT

    def _file_context(self) -> str:
        path = self.directory / "config.json"
        try:
            return str(member(read_object(path), "currentContext", str, path))
        except FileNotFoundError:
            return ""

    def contexts(self) -> tuple[str, ...]:
        """The names of all contexts that can be read, `default` included, sorted."""
        names = {name for name in self._contexts() if isinstance(name, str)}
        return tuple(sorted((names | {DEFAULT_CONTEXT}) - {""}))

    def broken_contexts(self) -> list[StoreError]:
        """Why some contexts cannot be read; each names the file."""
        return [error for error in self._contexts() if isinstance(error, StoreError)]

    def _contexts(self) -> Iterator[str | StoreError]:
        for path in sorted((self.directory / "contexts" / "meta").glob("*/meta.json")):
            try:
                yield member(read_object(path), "Name", str, path)
            except FileNotFoundError:
                continue  # removed meanwhile
            except StoreError as error:
                yield error

    def endpoint(self, name_or_host: str) -> DockerEndpoint:
        """The engine that a node's endpoint stands for: a context's name, or a host as it is.

        As in buildx, `util/dockerutil/api.go`: only a context brings TLS material.

        Raises:
            StoreError: the context's metadata cannot be read, or it has no Docker endpoint.
        """
        if name_or_host in ("", DEFAULT_CONTEXT):
            return self._default_endpoint()
        path = self._meta_path(name_or_host)
        try:
            meta = read_object(path)
        except FileNotFoundError:
            return DockerEndpoint(_with_scheme(name_or_host))
        endpoints = member(meta, "Endpoints", dict, path)
        if "docker" not in endpoints:
            raise StoreError("the context has no Docker endpoint", path)
        docker = member(endpoints, "docker", dict, path)
        host = member(docker, "Host", str, path) or DEFAULT_HOST
        verify = not member(docker, "SkipTLSVerify", bool, path)
        return DockerEndpoint(_with_scheme(host), self._context_tls(name_or_host, verify=verify))

    def has_context(self, name: str) -> bool:
        """Whether a Docker context of this name exists."""
        return name == DEFAULT_CONTEXT or self._meta_path(name).is_file()

    def _meta_path(self, name: str) -> Path:
        return self.directory / "contexts" / "meta" / _digest(name) / "meta.json"

    def _context_tls(self, name: str, *, verify: bool) -> TlsMaterial | None:
        directory = self.directory / "contexts" / "tls" / _digest(name) / "docker"
        files = {key: directory / f"{key}.pem" for key in ("ca", "cert", "key")}
        present = {key: path for key, path in files.items() if path.is_file()}
        if not present and verify:
            return None
        return TlsMaterial(present.get("ca"), present.get("cert"), present.get("key"), verify)

    def _default_endpoint(self) -> DockerEndpoint:
        host = _with_scheme(self.environ.get("DOCKER_HOST") or DEFAULT_HOST)
        verify = bool(self.environ.get("DOCKER_TLS_VERIFY"))
        if not (verify or self.environ.get("DOCKER_TLS")):
            return DockerEndpoint(host)
        directory = Path(self.environ.get("DOCKER_CERT_PATH") or self.directory)
        files = [directory / f"{key}.pem" for key in ("ca", "cert", "key")]
        ca, cert, key = (path if path.is_file() else None for path in files)
        return DockerEndpoint(host, TlsMaterial(ca, cert, key, verify))


def _with_scheme(host: str) -> str:
    return host if "://" in host else f"tcp://{host}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
