"""Fixtures: an environment without the user's own Docker, servers, certificates, a fake docker CLI."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.certificates import Authority
from tests.loopback import Handler, Server


class Serve(Protocol):
    def __call__(self, handler: Handler, path: Path | None = None, tls: ssl.SSLContext | None = None) -> Server: ...


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may see, or touch, what the user of this machine has configured."""
    for name in list(os.environ):
        if name.startswith(("DOCKER_", "BUILDX_", "BUILDKIT_", "BXHEALTH_")) or name in ("NO_COLOR", "TERM"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    # nor reach a Docker that happens to run here
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that end with the test; a defect in a handler fails it."""
    with contextlib.ExitStack() as stack:
        servers: list[Server] = []

        def start(handler: Handler, path: Path | None = None, tls: ssl.SSLContext | None = None) -> Server:
            server = Server(handler, path, tls)
            servers.append(server)
            stack.callback(server.stop)
            return server

        yield start
    for server in servers:
        for error in server.errors:
            raise error


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "ca")


@pytest.fixture(scope="session")
def foreign_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("foreign"), "foreign")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put a shell script of a name in front of everything on the PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")

    def write(name: str, script: str) -> Path:
        path = directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return write
