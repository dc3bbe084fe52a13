from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from bxhealth.exporter.exposition import Form, render
from bxhealth.exporter.metrics import ChecksCollector, ProbeCollector
from bxhealth.exporter.results import Checked
from bxhealth.model import Cause, CheckResult, Status
from tests.exporter.reports import AT, builder, checked, down, up

TABLE = {
    "bxhealth_node_up": {"builder", "node", "driver"},
    "bxhealth_node_info": {"builder", "node", "driver", "endpoint", "buildkit_version"},
    "bxhealth_node_failure": {"builder", "node", "cause"},
    "bxhealth_node_platform_up": {"builder", "node", "platform"},
    "bxhealth_node_check_duration_seconds": {"builder", "node", "check"},
    "bxhealth_node_last_success_timestamp_seconds": {"builder", "node"},
    "bxhealth_node_failures_total": {"builder", "node", "cause"},
    "bxhealth_node_bootstraps_total": {"builder", "node"},
    "bxhealth_node_certificate_not_after_timestamp_seconds": {"builder", "node"},
    "bxhealth_node_cache_bytes": {"builder", "node"},
    "bxhealth_node_cache_reclaimable_bytes": {"builder", "node"},
    "bxhealth_node_disk_free_bytes": {"builder", "node"},
    "bxhealth_builder_up": {"builder"},
    "bxhealth_builder_nodes": {"builder"},
    "bxhealth_builder_nodes_up": {"builder"},
    "bxhealth_builder_platform_nodes_up": {"builder", "platform"},
    "bxhealth_builder_check_duration_seconds": {"builder"},
    "bxhealth_builder_last_check_timestamp_seconds": {"builder"},
    "bxhealth_registry_up": {"registry"},
    "bxhealth_check_interval_seconds": set(),
    "bxhealth_problems": set(),
    "bxhealth_build_info": {"version"},
}
TEXT, OPENMETRICS = Form(False, False), Form(True, False)
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(checks: Sequence[Checked], interval: float | None = None) -> Series:
    collector = ChecksCollector([check.after(check.histories) for check in checks], "1.2.3", interval)
    series = _series(text_string_to_metric_families(render(collector, TEXT).decode()))
    openmetrics = openmetrics_families(render(collector, OPENMETRICS).decode())  # type: ignore[no-untyped-call]
    assert _series(openmetrics) == series
    return series


def _series(families: Iterable[object]) -> Series:
    found: Series = {}
    for family in families:
        for sample in family.samples:  # type: ignore[attr-defined]
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


def value(series: Series, name: str, **labels: str) -> float | None:
    matches = [v for (n, of), v in series.items() if n == name and set(labels.items()) <= of]
    assert len(matches) < 2
    return matches[0] if matches else None


def test_names_and_labels_are_those_of_the_design() -> None:
    figures: dict[str, Any] = {
        "certificate_not_after_timestamp_seconds": 1.8e9,
        "cache_bytes": 30.0,
        "cache_reclaimable_bytes": 20.0,
        "disk_free_bytes": 10.0,
        "disk_free_inodes": 5.0,
    }
    asked = (CheckResult("registry", Status.HEALTHY, target="a.example"),)
    series = samples([replace(checked(up("n1", **figures), down("n2")), client=asked)], 30)
    assert {name: {key for key, _ in of} for name, of in series} == TABLE
    assert value(series, "bxhealth_node_disk_free_bytes", node="n1") == 10
    assert value(series, "bxhealth_node_certificate_not_after_timestamp_seconds", node="n1") == 1.8e9


def test_a_failing_node_has_its_cause_and_a_healthy_one_none() -> None:
    series = samples([checked(up("n1"), down("n2", Cause.TLS_EXPIRED))])
    assert value(series, "bxhealth_node_up", node="n1") == 1
    assert value(series, "bxhealth_node_up", node="n2") == 0
    assert value(series, "bxhealth_node_failure", node="n1") is None
    assert value(series, "bxhealth_node_failure", node="n2", cause="tls_expired") == 1
    assert value(series, "bxhealth_builder_up", builder="fleet") == 0
    assert value(series, "bxhealth_builder_nodes", builder="fleet") == 2
    assert value(series, "bxhealth_builder_nodes_up", builder="fleet") == 1
    assert value(series, "bxhealth_builder_last_check_timestamp_seconds") == AT


def test_a_warning_does_not_take_a_node_down() -> None:
    node = replace(up(), status=Status.WARNING, cause=Cause.PLATFORM_MISSING)
    series = samples([checked(node)])
    assert value(series, "bxhealth_node_up") == 1
    assert value(series, "bxhealth_node_failure") is None


def test_nothing_is_said_of_a_node_that_nobody_has_asked() -> None:
    """Such as after `--fail-fast`: it is not down."""
    series = samples([checked(down("n1"), replace(up("n2"), status=Status.SKIPPED))])
    assert value(series, "bxhealth_node_up", node="n1") == 0
    assert value(series, "bxhealth_node_up", node="n2") is None
    assert value(series, "bxhealth_builder_nodes", builder="fleet") == 2


def test_a_builder_that_cannot_be_read_is_down_and_has_no_node() -> None:
    series = samples([checked(error="the entry is empty")])
    assert value(series, "bxhealth_builder_up", builder="fleet") == 0
    assert not [name for name, _ in series if name.startswith("bxhealth_node_")]


def test_counters_add_up_from_check_to_check() -> None:
    first = checked(down("n1"), replace(up("n2"), bootstrapped=True)).after({})
    second = checked(down("n1"), up("n2"), at=AT + 30).after(first.histories)
    series = samples([second])
    assert value(series, "bxhealth_node_failures_total", node="n1", cause="endpoint_refused") == 3
    assert value(series, "bxhealth_node_bootstraps_total", node="n2") == 1
    assert value(series, "bxhealth_node_last_success_timestamp_seconds", node="n2") == AT + 30
    assert value(series, "bxhealth_node_last_success_timestamp_seconds", node="n1") is None


def test_a_platform_that_was_served_is_missed() -> None:
    before = checked(up("n1", platforms=["linux/arm64"]), up("n2")).after({})
    series = samples([checked(down("n1"), up("n2")).after(before.histories)])
    assert value(series, "bxhealth_node_platform_up", node="n1", platform="linux/arm64") == 0
    assert value(series, "bxhealth_builder_platform_nodes_up", platform="linux/arm64") == 0
    assert value(series, "bxhealth_builder_platform_nodes_up", platform="linux/amd64") == 1


def test_no_label_holds_credentials() -> None:
    node = replace(up(), endpoint="tcp://user:p@ss@host:1234/path?token=secret#x")
    assert value(samples([checked(node)]), "bxhealth_node_info", endpoint="tcp://host:1234/path") == 1


def test_a_node_cannot_fill_prometheus() -> None:
    node = replace(up(platforms=[f"linux/made-up-{i}" for i in range(5000)]), buildkit_version="v" * 10_000)
    series = samples([checked(node)])
    assert len(series) < 250
    assert all(len(text) <= 128 for _, labels in series for _, text in labels)


def test_long_names_stay_apart() -> None:
    names = ["n" * 500 + end for end in "ab"]
    ups = [key for key in samples([checked(*(up(name) for name in names))]) if key[0] == "bxhealth_node_up"]
    assert len(ups) == 2


def test_of_nodes_with_one_name_the_worst_counts() -> None:
    series = samples([checked(up("n1"), down("n1"), up("n1"))])
    assert value(series, "bxhealth_node_up", node="n1") == 0


def test_a_probe_says_whether_it_succeeded() -> None:
    text = render(ProbeCollector(checked(up(), down("n2")).after({}), 0.5, whole=True), TEXT).decode()
    series = _series(text_string_to_metric_families(text))
    assert value(series, "probe_success") == 0
    assert value(series, "bxhealth_builder_nodes_up") == 1
    assert value(series, "probe_duration_seconds") == 0.5
    assert value(series, "bxhealth_node_up", node="n1") == 1


def test_a_probe_counts_nothing_and_says_nothing_of_nodes_that_were_not_asked() -> None:
    text = render(ProbeCollector(checked(down()).after({}), 0.5, whole=False), TEXT).decode()
    names = {name for name, _ in _series(text_string_to_metric_families(text))}
    assert "bxhealth_node_up" in names
    assert not [name for name in names if "_builder_" in name or name.endswith("_total") or "last_success" in name]


def test_registries_and_the_interval() -> None:
    asked = (
        CheckResult("registry", Status.HEALTHY, target="a.example"),
        CheckResult("registry", Status.WARNING, Cause.REGISTRY_DENIED, target="b.example"),
        CheckResult("registry", Status.SKIPPED, target="c.example"),
    )
    series = samples([replace(checked(up()), client=asked)], 30)
    assert value(series, "bxhealth_registry_up", registry="a.example") == 1
    assert value(series, "bxhealth_registry_up", registry="b.example") == 0
    assert len([1 for name, _ in series if name == "bxhealth_registry_up"]) == 2
    assert value(series, "bxhealth_check_interval_seconds") == 30


# whatever JSON can hold, lone surrogates included
texts = st.text(st.characters(categories=None), max_size=200)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts, texts, texts), max_size=4), texts)
def test_whatever_nodes_say_the_format_holds(nodes: list[tuple[str, str, str, str]], name: str) -> None:
    made = [
        replace(up(node, platforms=[platform]), endpoint=endpoint, buildkit_version=version)
        for node, endpoint, version, platform in nodes
    ]
    series = samples([Checked(builder(*made, name=name), AT, 1.0)])
    ups = [key for key in series if key[0] == "bxhealth_node_up"]
    assert len(ups) == len({node[0] for node in nodes})
