from __future__ import annotations

from datetime import datetime, timezone

from prometheus_client.parser import text_string_to_metric_families

from bxhealth.model import Report, Verdict
from bxhealth.reporters.interface import Style
from bxhealth.reporters.prometheus import render
from tests.exporter.reports import builder, down, up


def test_it_is_the_exporter_s_metrics_without_those_of_the_process() -> None:
    begun = datetime(2026, 1, 1, tzinfo=timezone.utc)
    report = Report("1.2", begun, 2.0, Verdict.UNHEALTHY, [builder(up(), down("n2")), builder(name="b", error="gone")])
    families = {family.name: family for family in text_string_to_metric_families(render(report, Style()))}
    assert {s.labels["builder"]: s.value for s in families["bxhealth_builder_up"].samples} == {"fleet": 0, "b": 0}
    assert {s.labels["node"]: s.value for s in families["bxhealth_node_up"].samples} == {"n1": 1, "n2": 0}
    at = families["bxhealth_builder_last_check_timestamp_seconds"].samples[0]
    assert at.value == begun.timestamp() + 2
    # node_exporter's textfile collector refuses a file with timestamps
    assert all(sample.timestamp is None for family in families.values() for sample in family.samples)
    assert not [name for name in families if name.startswith("process_")]


def test_an_entry_that_is_there_twice_is_one_builder() -> None:
    report = Report("1", datetime.now(timezone.utc), 1, Verdict.HEALTHY, [builder(up()), builder(up())])
    text = render(report, Style())
    assert text.count("bxhealth_builder_up{") == 1
