from __future__ import annotations

import os
from pathlib import Path

import pytest

from bxhealth.deadline import Cancellation
from bxhealth.exporter.asking import Answers, Gone, NoneMeant, Question, ask
from bxhealth.exporter.results import Checked
from bxhealth.model import Builder, Cause, Node, Status
from bxhealth.options import Judging, Limits, Options
from tests import stores
from tests.conftest import Serve
from tests.exporter.reports import builder, down, up
from tests.fake_buildkit import healthy

OPTIONS = Options(Limits(probe_timeout=5.0), bootstrap=False)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("BUILDX_CONFIG", str(tmp_path / "buildx"))
    return tmp_path / "buildx"


def asked(name: str, *only: str, exclude: tuple[str, ...] = ()) -> Checked:
    return ask(os.environ, Question(name, OPTIONS, only, exclude), Answers(), Cancellation())


def test_a_builder_is_read_and_checked(directory: Path, serve: Serve) -> None:
    nodes = [stores.node("n1", serve(healthy()).host), stores.node("n2", "tcp://127.0.0.1:1")]
    stores.instance(directory, "Fleet", *nodes, driver="remote")
    checked = asked("fleet")
    assert checked.report.name == "Fleet"
    assert {node.name: node.status for node in checked.report.nodes} == {
        "n1": Status.HEALTHY,
        "n2": Status.UNHEALTHY,
    }
    assert [node.name for node in asked("fleet", exclude=("n2",)).report.nodes] == ["n1"]


def test_a_builder_or_node_that_is_gone(directory: Path) -> None:
    with pytest.raises(Gone, match="nope"):
        asked("nope")
    stores.instance(directory, "fleet", stores.node("n1"), driver="remote")
    with pytest.raises(NoneMeant, match="none of the nodes"):
        asked("fleet", "typo")


def test_an_entry_that_cannot_be_read_is_no_builder_that_is_gone(directory: Path) -> None:
    stores.raw_instance(directory, "fleet", b"{")
    assert "JSON" in (asked("fleet").report.error or "")


@pytest.mark.parametrize(
    "host",
    [
        "tcp://127.0.0.1:1?token=s3cret",
        "tcp://user:s3c/ret@127.0.0.1:1",
        "tcp://user:[s3cret]@127.0.0.1:1",
        "tcp://user:s3c\u2100ret@127.0.0.1:1",
    ],
)
def test_what_a_context_holds_is_not_told(directory: Path, tmp_path: Path, host: str) -> None:
    stores.context(tmp_path, "far", host)
    stores.instance(directory, "fleet", stores.node("n1", "far"))
    (node,) = asked("fleet").report.nodes
    assert node.status is Status.UNHEALTHY
    assert "tcp://127.0.0.1:1" in node.message
    assert "s3c" not in str(node)


def test_what_is_known_so_far() -> None:
    answers, question = Answers(), Question("fleet", Options())
    assert answers.so_far(question, 1) is None
    nodes = (Node("n1", "tcp://n1"), Node("n2", "tcp://n2", ("linux/arm64",)))
    answers.asking(Builder("fleet", "remote", nodes))
    answers.finished(Builder("", "", ()), nodes[0], [up("n1")])
    checked = answers.so_far(question, 1)
    assert checked is not None
    first, second = checked.report.nodes
    assert (first.cause, second.cause) == (None, Cause.DEADLINE_EXCEEDED)
    assert second.declared_platforms == ("linux/arm64",)


def test_what_is_known_so_far_goes_onto_what_was_known_before() -> None:
    before = builder(down("n1"), up("n2[1]"), up("n2[2]"), up("gone"))
    answers, question = Answers(), Question("fleet", Options(judging=Judging(required=("linux/amd64",))))
    assert answers.onto(before, question) is None
    nodes = tuple(Node(name, "") for name in ("n1", "n2", "new"))
    answers.asking(Builder("fleet", "remote", nodes))
    assert answers.onto(before, question) is None
    answers.finished(Builder("", "", ()), nodes[0], [up("n1")])
    merged = answers.onto(before, question)
    assert merged is not None
    report, names = merged
    assert [node.name for node in report.nodes] == ["n1", "n2[1]", "n2[2]"]
    assert {node.status for node in report.nodes} == {Status.HEALTHY}
    assert report.platforms["linux/amd64"].healthy_nodes == 3
    assert names == {"n1"}
    # which nodes are of another version can only be said of all
    assert answers.onto(before, Question("fleet", Options(same_version=True))) is None
