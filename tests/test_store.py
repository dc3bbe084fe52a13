"""The rules are buildx's: `store/store.go`, `store/util.go`, `store/storeutil/storeutil.go`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bxhealth.errors import StoreError
from bxhealth.store import Store
from tests import stores

SOCKET = "unix:///var/run/docker.sock"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / ".docker" / "buildx"


def _store(tmp_path: Path, **environ: str) -> Store:
    return Store({"HOME": str(tmp_path)} | environ)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ".docker/buildx"),
        ({"DOCKER_CONFIG": "{0}/config"}, "config/buildx"),
        ({"DOCKER_CONFIG": "{0}/config", "BUILDX_CONFIG": "{0}/bx"}, "bx"),
        ({"BUILDX_CONFIG": ""}, ".docker/buildx"),
    ],
)
def test_directory(tmp_path: Path, environ: Mapping[str, str], expected: str) -> None:
    store = _store(tmp_path, **{key: value.format(tmp_path) for key, value in environ.items()})
    assert store.directory == tmp_path / expected


def test_a_builder_as_buildx_wrote_it(tmp_path: Path, directory: Path) -> None:
    first = stores.node(
        "n1",
        "ssh://one",
        Platforms=[
            {"architecture": "arm64", "os": "linux", "variant": "v8"},
            {"architecture": "amd64", "os": "linux"},
            {"architecture": "aarch64", "os": "linux"},
        ],
        DriverOpts={"image": "moby/buildkit:v0.21.0"},
        Files={"buildkitd.toml": "ZGVidWcgPSB0cnVl"},
    )
    stores.instance(directory, "Fleet", first, stores.node("n2", "far"))
    builder = _store(tmp_path).builder("fleet")
    assert (builder.name, builder.driver, builder.is_context) == ("Fleet", "docker-container", False)
    assert [(node.name, node.endpoint) for node in builder.nodes] == [("n1", "ssh://one"), ("n2", "far")]
    assert builder.nodes[0].platforms == ("linux/arm64", "linux/amd64")
    assert builder.nodes[0].driver_opts == {"image": "moby/buildkit:v0.21.0"}
    assert builder.nodes[0].stored == first
    assert builder.stored == {"Name": "Fleet", "Driver": "docker-container", "Dynamic": False}


@pytest.mark.parametrize("name", ["fleet", "Fleet", "FLEET"])
def test_names_ignore_case(tmp_path: Path, directory: Path, name: str) -> None:
    stores.instance(directory, "Fleet", stores.node("n1"))
    assert _store(tmp_path).builder(name).name == "Fleet"


def test_an_entry_without_a_driver_is_of_the_docker_driver(tmp_path: Path, directory: Path) -> None:
    stores.instance(directory, "old", stores.node("n1"), driver="")
    assert _store(tmp_path).builder("old").driver == "docker"


def test_names_are_instances_and_the_contexts_that_they_do_not_hide(tmp_path: Path, directory: Path) -> None:
    for name in ("two", "one", "far"):
        stores.instance(directory, name, stores.node("n1"))
    stores.raw_instance(directory, ".tmp-one123", b"half wri")
    for name in ("near", "far"):
        stores.context(tmp_path / ".docker", name, "tcp://h:1")
    assert _store(tmp_path).names() == ("far", "one", "two", "default", "near")


def test_without_a_store_there_is_the_default_context(tmp_path: Path) -> None:
    assert _store(tmp_path).names() == ("default",)
    builder = _store(tmp_path).current()
    assert (builder.name, builder.driver, builder.is_context) == ("default", "docker", True)
    assert [(node.name, node.endpoint) for node in builder.nodes] == [("default", "default")]


def test_an_instance_comes_before_a_context_of_its_name(tmp_path: Path, directory: Path) -> None:
    stores.context(tmp_path / ".docker", "far", "tcp://h:1")
    assert _store(tmp_path).builder("far").is_context
    stores.instance(directory, "far", stores.node("n1"))
    assert not _store(tmp_path).builder("far").is_context


def test_a_context_may_have_a_name_that_no_builder_may_have(tmp_path: Path) -> None:
    stores.context(tmp_path / ".docker", "1st", "tcp://h:1")
    assert _store(tmp_path).builder("1st").is_context


@pytest.mark.parametrize("name", ["none", "../instances/fleet", "", "a/b", ".tmp-x", "a" * 300])
def test_an_unknown_builder_is_an_error(tmp_path: Path, directory: Path, name: str) -> None:
    stores.instance(directory, "fleet", stores.node("n1"))
    with pytest.raises(StoreError):
        _store(tmp_path).builder(name)


class TestCurrent:
    """`Txn.Current` of store/store.go, with the key of dockerutil.GetCurrentEndpoint."""

    @pytest.fixture(autouse=True)
    def _builders(self, directory: Path) -> None:
        for name in ("one", "two"):
            stores.instance(directory, name, stores.node("n1"))

    def test_the_environment_decides(self, tmp_path: Path, directory: Path) -> None:
        stores.current(directory, "one", SOCKET)
        assert _store(tmp_path, BUILDX_BUILDER="two").current().name == "two"

    def test_an_unknown_builder_of_the_environment_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="none"):
            _store(tmp_path, BUILDX_BUILDER="none").current()

    def test_used_for_this_endpoint(self, tmp_path: Path, directory: Path) -> None:
        stores.current(directory, "one", SOCKET)
        assert _store(tmp_path).current().name == "one"

    def test_used_for_another_endpoint(self, tmp_path: Path, directory: Path) -> None:
        stores.current(directory, "one", SOCKET)
        assert _store(tmp_path, DOCKER_HOST="tcp://h:1").current().name == "default"

    def test_used_for_the_host_of_the_environment(self, tmp_path: Path, directory: Path) -> None:
        stores.current(directory, "one", "tcp://h:1")
        assert _store(tmp_path, DOCKER_HOST="tcp://h:1").current().name == "one"

    def test_used_for_a_context_its_key_is_its_name(self, tmp_path: Path, directory: Path) -> None:
        stores.context(tmp_path / ".docker", "far", "tcp://h:1")
        stores.current(directory, "one", "far")
        assert _store(tmp_path, DOCKER_CONTEXT="far").current().name == "one"
        assert _store(tmp_path).current().name == "default"

    def test_used_everywhere(self, tmp_path: Path, directory: Path) -> None:
        stores.current(directory, "one", "tcp://elsewhere:1", everywhere=True)
        assert _store(tmp_path).current().name == "one"

    def test_the_default_of_this_endpoint(self, tmp_path: Path, directory: Path) -> None:
        stores.default(directory, "two", SOCKET)
        assert _store(tmp_path).current().name == "two"

    def test_used_comes_before_the_default(self, tmp_path: Path, directory: Path) -> None:
        stores.current(directory, "one", SOCKET)
        stores.default(directory, "two", SOCKET)
        assert _store(tmp_path).current().name == "one"

    def test_used_elsewhere_leaves_the_default(self, tmp_path: Path, directory: Path) -> None:
        stores.current(directory, "one", "tcp://elsewhere:1")
        stores.default(directory, "two", SOCKET)
        assert _store(tmp_path).current().name == "two"

    def test_used_and_removed_is_the_context_and_not_the_default(self, tmp_path: Path, directory: Path) -> None:
        stores.current(directory, "gone", SOCKET)
        stores.default(directory, "two", SOCKET)
        assert _store(tmp_path).current().name == "default"

    def test_used_everywhere_and_removed_leaves_the_default(self, tmp_path: Path, directory: Path) -> None:
        stores.current(directory, "gone", "tcp://elsewhere:1", everywhere=True)
        stores.default(directory, "two", SOCKET)
        assert _store(tmp_path).current().name == "two"

    def test_a_removed_default_leaves_the_context(self, tmp_path: Path, directory: Path) -> None:
        stores.default(directory, "gone", SOCKET)
        assert _store(tmp_path).current().name == "default"

    def test_nothing_used_is_the_current_context(self, tmp_path: Path) -> None:
        stores.context(tmp_path / ".docker", "far", "tcp://h:1")
        assert _store(tmp_path, DOCKER_CONTEXT="far").current().name == "far"

    def test_an_empty_name_means_nothing_is_used(self, tmp_path: Path, directory: Path) -> None:
        stores.current(directory, "", SOCKET)
        assert _store(tmp_path).current().name == "default"

    @pytest.mark.parametrize("name", ["../../etc/passwd", "a" * 300])
    def test_a_name_that_can_be_no_file_is_not_looked_for(self, tmp_path: Path, directory: Path, name: str) -> None:
        stores.current(directory, name, SOCKET)
        assert _store(tmp_path).current().name == "default"

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"Name": 5}', '{"Name": "one", "Key": {}}'])
    def test_what_is_malformed_is_an_error_with_the_file(self, tmp_path: Path, directory: Path, content: str) -> None:
        (directory / "current").write_text(content)
        with pytest.raises(StoreError, match=str(directory / "current")):
            _store(tmp_path).current()


_BAD_ENTRIES: dict[str, Any] = {
    "no name": {"Nodes": [stores.node("n1")]},
    "no nodes": {"Name": "bad", "Nodes": []},
    "null nodes": {"Name": "bad", "Nodes": None},
    "nodes of a wrong type": {"Name": "bad", "Nodes": {"n1": {}}},
    "name of a wrong type": {"Name": ["bad"], "Nodes": [stores.node("n1")]},
    "driver of a wrong type": {"Name": "bad", "Driver": 1, "Nodes": [stores.node("n1")]},
    "node of a wrong type": {"Name": "bad", "Nodes": ["n1"]},
    "null node": {"Name": "bad", "Nodes": [None]},
    "node without a name": {"Name": "bad", "Nodes": [stores.node("")]},
    "endpoint of a wrong type": {"Name": "bad", "Nodes": [stores.node("n1", Endpoint=1)]},
    "options of a wrong type": {"Name": "bad", "Nodes": [stores.node("n1", DriverOpts=["a=b"])]},
    "option of a wrong type": {"Name": "bad", "Nodes": [stores.node("n1", DriverOpts={"a": 1})]},
    "flags of a wrong type": {"Name": "bad", "Nodes": [stores.node("n1", Flags="--debug")]},
    "files of a wrong type": {"Name": "bad", "Nodes": [stores.node("n1", Files=[])]},
    "platforms of a wrong type": {"Name": "bad", "Nodes": [stores.node("n1", Platforms="linux/amd64")]},
    "platform of a wrong type": {"Name": "bad", "Nodes": [stores.node("n1", Platforms=[5])]},
    "platform that is none": {"Name": "bad", "Nodes": [stores.node("n1", Platforms=["no platform"])]},
    "platform without a system": {"Name": "bad", "Nodes": [stores.node("n1", Platforms=[{"architecture": "arm64"}])]},
}


@pytest.mark.parametrize("entry", _BAD_ENTRIES.values(), ids=_BAD_ENTRIES)
def test_a_malformed_entry_is_an_error_with_the_file(tmp_path: Path, directory: Path, entry: Any) -> None:
    path = stores.raw_instance(directory, "bad", json.dumps(entry).encode())
    with pytest.raises(StoreError, match=str(path)):
        _store(tmp_path).builder("bad")


def test_an_entry_that_is_no_file_is_an_error_with_the_file(tmp_path: Path, directory: Path) -> None:
    (directory / "instances" / "dir").mkdir(parents=True)
    os.mkfifo(directory / "instances" / "pipe")
    for name in ("dir", "pipe"):
        with pytest.raises(StoreError, match=f"{directory}/instances/{name}: is not a regular file"):
            _store(tmp_path).builder(name)


def test_a_directory_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(StoreError, match=str(path)):
        _store(tmp_path, BUILDX_CONFIG=str(path)).names()


def test_the_store_is_read_anew_each_time(tmp_path: Path, directory: Path) -> None:
    store = _store(tmp_path)
    stores.instance(directory, "late", stores.node("n1"))
    assert store.builder("late").nodes[0].name == "n1"


def test_reading_writes_nothing(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.names()
    store.current()
    assert list(tmp_path.glob(".docker*")) == []
