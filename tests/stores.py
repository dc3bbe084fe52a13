"""Writes what buildx and the docker CLI would have written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def node(name: str, endpoint: str = "unix:///var/run/docker.sock", **more: Any) -> dict[str, Any]:
    """A node's entry as buildx 0.29 writes it."""
    return {
        "Name": name,
        "Endpoint": endpoint,
        "Platforms": None,
        "DriverOpts": None,
        "Flags": None,
        "Files": None,
    } | more


def instance(directory: Path, name: str, *nodes: Mapping[str, Any], driver: str = "docker-container") -> Path:
    """A builder in buildx's directory; returns its file."""
    entry = {"Name": name, "Driver": driver, "Nodes": list(nodes), "Dynamic": False}
    return raw_instance(directory, name, json.dumps(entry).encode())


def raw_instance(directory: Path, name: str, content: bytes) -> Path:
    path = directory / "instances" / name.lower()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def current(directory: Path, name: str, key: str, *, everywhere: bool = False) -> None:
    """What `docker buildx use` writes."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "current").write_text(json.dumps({"Key": key, "Name": name, "Global": everywhere}))


def default(directory: Path, name: str, key: str) -> None:
    """What `docker buildx use --default` writes: store/store.go, `toHash`."""
    path = directory / "defaults" / hashlib.sha256(key.encode()).hexdigest()[:20]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)


def context(docker: Path, name: str, host: str, tls_files: Sequence[str] = (), *, skip_verify: bool = False) -> Path:
    """What `docker context create` writes: cli/context/store in docker/cli; returns the metadata file."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    path = docker / "contexts" / "meta" / digest / "meta.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": skip_verify}}}
    path.write_text(json.dumps(meta))
    for file in tls_files:
        tls = docker / "contexts" / "tls" / digest / "docker" / file
        tls.parent.mkdir(parents=True, exist_ok=True)
        tls.write_text("PEM")
    return path
