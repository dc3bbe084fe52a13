"""The rules are docker/cli's: `cli/command/cli.go` (contexts), `cli/flags/options.go` (TLS of the environment)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from bxhealth import docker_config
from bxhealth.docker_config import DockerConfig, DockerEndpoint, TlsMaterial, read_bounded, read_object
from bxhealth.errors import StoreError
from tests import stores


def _config(tmp_path: Path, **environ: str) -> DockerConfig:
    return DockerConfig({"HOME": str(tmp_path)} | environ)


def _write_config(tmp_path: Path, content: object) -> Path:
    path = tmp_path / ".docker" / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_directory_is_below_home(tmp_path: Path) -> None:
    assert _config(tmp_path).directory == tmp_path / ".docker"


def test_directory_of_the_environment_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _config(tmp_path, DOCKER_CONFIG="elsewhere").directory == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("environ", "file", "expected"),
    [
        ({}, None, "default"),
        ({}, {}, "default"),
        ({}, {"currentContext": ""}, "default"),
        ({}, {"currentContext": None}, "default"),
        ({}, {"currentContext": "far"}, "far"),
        ({"DOCKER_CONTEXT": "near"}, {"currentContext": "far"}, "near"),
        ({"DOCKER_CONTEXT": ""}, {"currentContext": "far"}, "far"),
        ({"DOCKER_HOST": "tcp://h", "DOCKER_CONTEXT": "near"}, {"currentContext": "far"}, "default"),
        ({"DOCKER_HOST": ""}, {"currentContext": "far"}, "far"),
    ],
)
def test_current_context(tmp_path: Path, environ: Mapping[str, str], file: object, expected: str) -> None:
    if file is not None:
        _write_config(tmp_path, file)
    assert _config(tmp_path, **environ).current_context() == expected


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"currentContext": 5}'])
def test_a_bad_config_file_is_named(tmp_path: Path, content: str) -> None:
    path = _write_config(tmp_path, {})
    path.write_text(content)
    with pytest.raises(StoreError, match=str(path)):
        _config(tmp_path).current_context()


def test_contexts_are_all_there_are_and_default(tmp_path: Path) -> None:
    for name in ("zebra", "ant"):
        stores.context(tmp_path / ".docker", name, "tcp://h:1")
    assert _config(tmp_path).contexts() == ("ant", "default", "zebra")
    assert _config(tmp_path).has_context("ant")
    assert _config(tmp_path).has_context("default")
    assert not _config(tmp_path).has_context("bee")


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        ({}, "unix:///var/run/docker.sock"),
        ({"DOCKER_HOST": "unix:///x.sock"}, "unix:///x.sock"),
        ({"DOCKER_HOST": "ssh://me@h"}, "ssh://me@h"),
        ({"DOCKER_HOST": "h:2375"}, "tcp://h:2375"),
    ],
)
@pytest.mark.parametrize("name", ["", "default"])
def test_default_endpoint(tmp_path: Path, environ: Mapping[str, str], host: str, name: str) -> None:
    assert _config(tmp_path, **environ).endpoint(name) == DockerEndpoint(host)


@pytest.mark.parametrize(("variable", "verify"), [("DOCKER_TLS_VERIFY", True), ("DOCKER_TLS", False)])
def test_tls_of_the_environment(tmp_path: Path, variable: str, verify: bool) -> None:
    certs = tmp_path / "certs"
    certs.mkdir()
    for name in ("ca", "cert", "key"):
        (certs / f"{name}.pem").write_text("PEM")
    environ = {"DOCKER_HOST": "tcp://h:2376", "DOCKER_CERT_PATH": str(certs), variable: "1"}
    assert _config(tmp_path, **environ).endpoint("default").tls == TlsMaterial(
        certs / "ca.pem", certs / "cert.pem", certs / "key.pem", verify
    )


def test_tls_of_the_environment_is_beside_the_configuration_by_default(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "ca.pem").write_text("PEM")
    endpoint = _config(tmp_path, DOCKER_HOST="tcp://h:2376", DOCKER_TLS_VERIFY="1").endpoint("default")
    assert endpoint.tls == TlsMaterial(tmp_path / ".docker" / "ca.pem")


def test_only_a_context_brings_tls_material(tmp_path: Path) -> None:
    """buildx, util/dockerutil/api.go: a node's bare host gets none, whatever the environment says."""
    config = _config(tmp_path, DOCKER_HOST="tcp://other:2376", DOCKER_TLS_VERIFY="1")
    assert config.endpoint("tcp://h:2376") == DockerEndpoint("tcp://h:2376")


def test_half_a_character_names_no_context(tmp_path: Path) -> None:
    """JSON may hold one."""
    assert not DockerConfig({"DOCKER_CONFIG": str(tmp_path)}).has_context("\ud800")


def test_endpoint_of_a_context(tmp_path: Path) -> None:
    docker = tmp_path / ".docker"
    stores.context(docker, "plain", "ssh://me@far")
    stores.context(docker, "secure", "tcp://far:2376", ["ca.pem", "cert.pem", "key.pem"])
    stores.context(docker, "careless", "tcp://far:2376", skip_verify=True)
    config = _config(tmp_path)
    assert config.endpoint("plain") == DockerEndpoint("ssh://me@far")
    secure = config.endpoint("secure").tls
    assert secure is not None
    assert secure.verify
    assert [path.name for path in (secure.ca, secure.cert, secure.key) if path] == ["ca.pem", "cert.pem", "key.pem"]
    assert config.endpoint("careless").tls == TlsMaterial(verify=False)


def test_a_context_without_a_docker_endpoint_is_an_error(tmp_path: Path) -> None:
    path = stores.context(tmp_path / ".docker", "odd", "tcp://h:1")
    path.write_text(json.dumps({"Name": "odd", "Endpoints": {"kubernetes": {}}}))
    with pytest.raises(StoreError, match=str(path)):
        _config(tmp_path).endpoint("odd")


def test_the_current_directory_is_never_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlike the docker SDK, which reads `contexts` of wherever the user stands."""
    stores.context(tmp_path / "trap", "far", "tcp://evil:1")
    monkeypatch.chdir(tmp_path / "trap")
    assert _config(tmp_path).contexts() == ("default",)
    assert _config(tmp_path).endpoint("far") == DockerEndpoint("tcp://far")


def test_read_bounded_never_opens_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(StoreError, match="pipe: is not a regular file"):
        read_bounded(path)


def test_read_bounded_refuses_what_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(docker_config.MAX_FILE_BYTES)
    assert len(read_bounded(path)) == docker_config.MAX_FILE_BYTES
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(StoreError, match="huge: is larger than 16 MiB"):
        read_bounded(path)


def test_a_missing_file_is_not_an_unreadable_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_object(tmp_path / "none")


@pytest.mark.parametrize(
    "content",
    [b"", b" \n", b"{", b'{"a": 1', b"[]", b"null", b"5", b"\xff\xfe", b"[" * 100_000, b'{"a":' + b"9" * 10_000 + b"}"],
    ids=["empty", "blank", "cut", "cut-later", "array", "null", "number", "not-utf-8", "deep", "long-number"],
)
def test_what_is_no_object_is_an_error_with_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "entry"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=str(path)):
        read_object(path)
