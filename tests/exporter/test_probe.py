from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bxhealth.exporter import probe
from bxhealth.exporter.asking import Question
from bxhealth.exporter.probe import BadProbe, has_tried
from bxhealth.model import CheckResult, NodeReport, Status
from bxhealth.options import ALL_PLATFORMS, Judging, Limits, Options
from bxhealth.store import Store
from tests import stores
from tests.exporter.reports import builder, up


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("BUILDX_CONFIG", str(tmp_path / "buildx"))
    stores.instance(tmp_path / "buildx", "Fleet", stores.node("n1"), stores.node("n2"))
    stores.raw_instance(tmp_path / "buildx", "broken", b"{")
    return Store(os.environ)


def ask(
    store: Store,
    *targets: str,
    nodes: Sequence[str] = (),
    canaries: Sequence[str] = (),
    seconds: float = 10,
    options: Options = Options(),  # noqa: B008
    exclude: tuple[str, ...] = (),
) -> Question:
    return probe.question(store, targets, nodes, canaries, seconds, Question("", options, exclude=exclude))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 9.5), ("", 9.5), ("30", 29.5), ("0.4", 0.4), ("1e9", 299.5)],
)
def test_the_timeout_is_prometheus_s_less_the_offset(header: str | None, seconds: float) -> None:
    assert probe.timeout(header, 0.5) == seconds


@pytest.mark.parametrize("header", ["soon", "0", "-1", "nan", "inf"])
def test_a_timeout_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(BadProbe):
        probe.timeout(header, 0.5)


@pytest.mark.parametrize("target", ["fleet", "Fleet", "FLEET"])
def test_builders_have_their_name_in_any_case_as_in_buildx(store: Store, target: str) -> None:
    assert ask(store, target).builder == "fleet"


@pytest.mark.parametrize(
    "targets",
    [(), ("",), ("nope",), ("fleet", "fleet"), ("../instances/fleet",), ("tcp://127.0.0.1:1",), ("fleet\0",)],
)
def test_only_what_is_in_the_store_is_probed(store: Store, targets: tuple[str, ...]) -> None:
    with pytest.raises(BadProbe):
        ask(store, *targets)


def test_contexts_are_builders_too(store: Store) -> None:
    assert ask(store, "default").builder == "default"


def test_only_the_target_s_own_nodes_can_be_named(store: Store) -> None:
    assert ask(store, "fleet", nodes=["n2", "n1", "n2"]).only == ("n1", "n2")
    with pytest.raises(BadProbe):
        ask(store, "fleet", nodes=["n1", "tcp://127.0.0.1:1"])


def test_a_node_that_is_not_watched_is_not_probed(store: Store) -> None:
    assert ask(store, "fleet", exclude=("n2",)).exclude == ("n2",)
    assert ask(store, "fleet", nodes=["n1"], exclude=("n2",)).only == ("n1",)
    with pytest.raises(BadProbe):
        ask(store, "fleet", nodes=["n2"], exclude=("n2",))


def test_some_nodes_are_not_judged_by_what_is_required_of_all(store: Store) -> None:
    judging = Judging(policy=ALL_PLATFORMS, min_nodes=2, required=("linux/arm64",), strict=True)
    assert ask(store, "fleet", options=Options(judging=judging)).options.judging == judging
    assert ask(store, "fleet", nodes=["n1"], options=Options(judging=judging)).options.judging == Judging(strict=True)


def test_a_canary_that_nobody_could_try_is_no_success() -> None:
    def node(name: str, **statuses: Status) -> NodeReport:
        checks = tuple(CheckResult("canary", status, target=f"linux/{p}") for p, status in statuses.items())
        return replace(up(name), checks=checks)

    report = builder(node("n1", amd64=Status.HEALTHY, arm64=Status.SKIPPED), node("n2", s390x=Status.UNHEALTHY))
    assert has_tried(report, ["linux/amd64", "linux/s390x"])
    assert not has_tried(report, ["linux/amd64", "linux/arm64"])
    assert not has_tried(report, ["linux/386"])
    assert has_tried(report, [])


def test_a_malformed_entry_is_a_target_all_the_same(store: Store) -> None:
    assert ask(store, "broken", nodes=["n1"]).builder == "broken"


@pytest.mark.parametrize(
    ("given", "canary"),
    [
        ((), None),
        (("",), ()),
        (("declared",), ()),
        (("arm64,amd64", "linux/arm64"), ("linux/arm64", "linux/amd64")),
    ],
)
def test_the_canary_s_platforms(store: Store, given: tuple[str, ...], canary: tuple[str, ...] | None) -> None:
    assert ask(store, "fleet", canaries=given).options.canary == canary


@pytest.mark.parametrize("given", ["linux/a/b/c/d", "a b", ",".join(["amd64"] * 17)])
def test_a_canary_for_no_platform_is_refused(store: Store, given: str) -> None:
    with pytest.raises(BadProbe):
        ask(store, "fleet", canaries=[given])


def test_the_check_has_to_end_before_prometheus_gives_up(store: Store) -> None:
    limits = ask(store, "fleet", seconds=2, options=Options(Limits(probe_timeout=5))).options.limits
    assert limits.deadline == 2
    assert limits.probe_timeout < 2
    assert ask(store, "fleet", seconds=60).options.limits.probe_timeout == 5
