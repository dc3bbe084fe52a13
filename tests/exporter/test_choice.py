from __future__ import annotations

import os
from pathlib import Path

import pytest

from bxhealth.errors import StoreError
from bxhealth.exporter import choice
from bxhealth.exporter.choice import Chosen, NamedNodes, choose
from tests import stores


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's directory of a user with the builders `fleet` and `broken` and the context `far`."""
    for name in ("BUILDX_BUILDER", "DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("BUILDX_CONFIG", str(tmp_path / "buildx"))
    stores.instance(tmp_path / "buildx", "Fleet", stores.node("n1"))
    stores.raw_instance(tmp_path / "buildx", "broken", b"{")
    stores.context(tmp_path, "far", "tcp://127.0.0.1:1")
    return tmp_path


@pytest.mark.usefixtures("docker")
def test_those_that_are_named() -> None:
    chosen = choose(os.environ, ["FLEET", "broken", "far", "fleet", "nope"])
    assert chosen.builders == ("fleet", "broken", "far")
    (missing,) = chosen.missing
    assert "'nope'" in missing


@pytest.mark.usefixtures("docker")
def test_nodes_that_are_named_and_not_there() -> None:
    named = NamedNodes(os.environ, ["n1", "typo"])
    assert list(named.missing(("fleet",))) == ["no node 'typo' in fleet"]
    assert list(named.missing(("fleet", "broken"))) == [], "it may be one of broken's"
    assert list(named.missing(("far",))) == ["no node 'n1' in far", "no node 'typo' in far"]
    assert list(NamedNodes(os.environ, []).missing(("fleet",))) == []


def test_nodes_that_are_named_are_looked_up_now_and_then(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = NamedNodes(os.environ, ["n2"])
    assert named.missing(("fleet",))
    stores.instance(docker / "buildx", "fleet", stores.node("n2"))
    assert named.missing(("fleet",)), "not read anew"
    monkeypatch.setattr(choice, "_LOOK_SECONDS", 0)
    assert not named.missing(("fleet",))


@pytest.mark.usefixtures("docker")
def test_all() -> None:
    assert choose(os.environ, [], every=True) == Chosen(("broken", "fleet", "default", "far"))


def test_buildx_s_own_choice_though_its_entry_cannot_be_read(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is checked, and found to be unhealthy for that: nobody is to be left without a word."""
    assert choose(os.environ, []).builders == ("default",)
    stores.default(docker / "buildx", "broken", "unix:///var/run/docker.sock")
    assert choose(os.environ, []).builders == ("broken",)
    monkeypatch.setenv("BUILDX_BUILDER", "nope")
    assert choose(os.environ, []).builders == ()
    assert "'nope'" in choose(os.environ, []).missing[0]


def test_a_context_whose_file_is_torn_is_there(docker: Path) -> None:
    before = choose(os.environ, [], every=True).builders
    path = stores.context(docker, "far", "tcp://127.0.0.1:1")
    path.write_text("{")
    chosen = choose(os.environ, [], before, every=True)
    assert set(chosen.builders) == set(before)
    assert chosen.missing
    assert choose(os.environ, ["far"]).builders == ("far",)
    path.unlink()
    assert "far" not in choose(os.environ, [], before, every=True).builders
    assert choose(os.environ, ["far"]).builders == ()


def test_a_store_that_cannot_be_listed(docker: Path) -> None:
    for path in (docker / "buildx" / "instances").iterdir():
        path.unlink()
    (docker / "buildx" / "instances").rmdir()
    (docker / "buildx" / "instances").write_text("")
    with pytest.raises(StoreError):
        choose(os.environ, ["fleet"])
