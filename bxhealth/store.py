"""Builders and nodes from buildx's own store, by buildx's own rules, without starting a process.

The rules are those of docker/buildx: `util/confutil/config.go` (the directory), `store/store.go` (layout and
current builder), `store/storeutil/storeutil.go` (a context is a builder), `store/util.go` (names).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bxhealth import platforms
from bxhealth.docker_config import DEFAULT_CONTEXT, DockerConfig, member, read_bounded, read_object
from bxhealth.errors import StoreError
from bxhealth.model import Builder, Node

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9.\-_]*")


class Store:
    """Buildx's store, read anew at each call and never written."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.docker = DockerConfig(environ)
        self._environ = environ
        configured = environ.get("BUILDX_CONFIG")
        self.directory = Path(configured).absolute() if configured else self.docker.directory / "buildx"

    def names(self) -> tuple[str, ...]:
        """All builders that buildx knows: the instances, then the contexts that none of them hides.

        Raises:
            StoreError: the instances, or a context, cannot be read.
        """
        directory = self.directory / "instances"
        try:
            # what buildx is just writing is named .tmp-…, which is no valid builder's name
            instances = sorted(path.name for path in directory.iterdir() if _NAME.fullmatch(path.name))
        except FileNotFoundError:
            instances = []
        except OSError as error:
            raise StoreError(f"cannot be listed: {error.strerror or error}", directory) from error
        return (*instances, *(name for name in self.docker.contexts() if name not in instances))

    def builder(self, name: str) -> Builder:
        """The builder of this name, an instance or else a Docker context.

        Raises:
            StoreError: there is none, or its entry is malformed; names the file.
        """
        if _NAME.fullmatch(name):
            path = self.directory / "instances" / name.lower()
            try:
                return _instance(read_object(path), path)
            except FileNotFoundError:
                pass
        if self.docker.has_context(name):
            node = Node(name, name)
            return Builder(name, "docker", (node,), is_context=True)
        raise StoreError(f"no builder {name!r} in {self.directory}; `bxhealth list` shows those there are")

    def current(self) -> Builder:
        """The builder that is buildx's own choice.

        Raises:
            StoreError: what decides this cannot be read, or names nothing that exists.
        """
        return self.builder(self.current_name())

    def current_name(self) -> str:
        """Buildx's own choice: `BUILDX_BUILDER`, the current builder, else the current Docker context.

        Raises:
            StoreError: what decides this cannot be read.
        """
        return self._environ.get("BUILDX_BUILDER") or self._current_instance() or self.docker.current_context()

    def _current_instance(self) -> str | None:
        context = self.docker.current_context()
        key = context if context != DEFAULT_CONTEXT else self.docker.endpoint(context).host
        path = self.directory / "current"
        try:
            current = read_object(path)
        except FileNotFoundError:
            current = {}
        name: str = member(current, "Name", str, path)
        if name:
            matches = member(current, "Key", str, path) == key
            if member(current, "Global", bool, path) and self._is_instance(name):
                return name
            if matches:
                return name if self._is_instance(name) else None
        default = self.directory / "defaults" / hashlib.sha256(key.encode()).hexdigest()[:20]
        try:
            name = read_bounded(default).decode(errors="replace").strip()
        except FileNotFoundError:
            return None
        return name if self._is_instance(name) else None

    def _is_instance(self, name: str) -> bool:
        try:
            return bool(_NAME.fullmatch(name)) and (self.directory / "instances" / name.lower()).exists()
        except OSError:  # a name that no file can have
            return False


def _instance(entry: dict[str, Any], path: Path) -> Builder:
    name = member(entry, "Name", str, path)
    if not _NAME.fullmatch(name):
        raise StoreError(f"its Name {name!r} can be no builder's", path)
    nodes = [_node(node, index, path) for index, node in enumerate(member(entry, "Nodes", list, path))]
    if not nodes:
        raise StoreError("names no node, so there is nothing that could build", path)
    stored = {key: value for key, value in entry.items() if key != "Nodes"}
    return Builder(name, member(entry, "Driver", str, path) or "docker", tuple(nodes), stored=stored)


def _node(entry: Any, index: int, path: Path) -> Node:
    if not isinstance(entry, dict):
        raise StoreError(f"Nodes[{index}] is not an object", path)
    name = member(entry, "Name", str, path)
    if not name:
        raise StoreError(f"Nodes[{index}] has no Name", path)
    options = member(entry, "DriverOpts", dict, path)
    if not all(isinstance(value, str) for value in options.values()):
        raise StoreError(f"Nodes[{index}].DriverOpts has a value that is not a string", path)
    for key, kind in (("Flags", list), ("Files", dict)):
        member(entry, key, kind, path)
    declared = [_platform(value, index, path) for value in member(entry, "Platforms", list, path)]
    endpoint = member(entry, "Endpoint", str, path)
    return Node(name, endpoint, platforms.unique(declared), options, stored=entry)


def _platform(value: Any, index: int, path: Path) -> str:
    if isinstance(value, str):
        try:
            return platforms.parse(value)
        except ValueError as error:
            raise StoreError(f"Nodes[{index}].Platforms: {error}", path) from error
    if not isinstance(value, dict):
        raise StoreError(f"Nodes[{index}].Platforms has an entry that is not an object", path)
    os, architecture, variant = (member(value, key, str, path) for key in ("os", "architecture", "variant"))
    if not os or not architecture:
        raise StoreError(f"Nodes[{index}].Platforms has an entry without os or architecture", path)
    return platforms.normalise(os, architecture, variant)
