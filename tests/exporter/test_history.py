from __future__ import annotations

from dataclasses import replace

from bxhealth.exporter.history import RECENT, remember
from bxhealth.exporter.results import Results
from bxhealth.model import Cause, CheckResult, Status
from tests.exporter.reports import AT, builder, checked, down, up


def test_only_so_many_checks_are_kept() -> None:
    histories = remember({}, builder(up()), AT)
    for i in range(1, RECENT + 5):
        histories = remember(histories, builder(down() if i % 2 else up()), AT + i)
    recent = histories["n1"].recent
    assert len(recent) == RECENT
    assert recent[-1].at == AT + RECENT + 4
    assert recent[-1].status is Status.HEALTHY
    assert recent[-2].cause is Cause.ENDPOINT_REFUSED


def test_a_node_that_is_gone_is_forgotten() -> None:
    before = remember({}, builder(up("n1"), up("n2")), AT)
    assert set(remember(before, builder(up("n2")), AT)) == {"n2"}


def test_a_builder_that_cannot_be_read_forgets_nothing() -> None:
    before = remember({}, builder(up("n1")), AT)
    assert remember(before, builder(error="cut off"), AT) == before


def test_what_a_node_declares_is_known_before_it_was_reached() -> None:
    node = replace(down(), declared_platforms=("linux/arm64",))
    assert remember({}, builder(node), AT)["n1"].platforms == ("linux/arm64",)


def test_a_node_that_was_made_anew_is_not_held_to_what_it_served() -> None:
    before = remember({}, builder(up(platforms=["linux/riscv64"])), AT)
    assert "linux/riscv64" in remember(before, builder(down()), AT)["n1"].platforms
    anew = replace(down(), endpoint="tcp://elsewhere")
    assert "linux/riscv64" not in remember(before, builder(anew), AT)["n1"].platforms


def test_replicas_are_remembered_while_only_their_node_has_a_report() -> None:
    """Of a kubernetes node that cannot be reached nobody knows how many replicas it has."""
    histories = remember({}, builder(down("k[1]"), up("k[2]"), up("other")), AT)
    histories = remember(histories, builder(down("k")), AT)
    assert set(histories) == {"k", "k[1]", "k[2]"}
    histories = remember(histories, builder(down("k[1]"), up("k[2]")), AT)
    assert histories["k[1]"].failures == {Cause.ENDPOINT_REFUSED: 2}
    assert histories["k"].failures == {Cause.ENDPOINT_REFUSED: 1}


def test_what_was_taken_before_is_not_counted_again() -> None:
    results = Results()
    results.put("fleet", checked(down("n1"), down("n2")))
    results.put_answers("fleet", builder(down("n1"), up("n2")), ["n1"], AT + 1)
    failures = {name: history.failures for name, history in results.latest[0].histories.items()}
    assert failures == {"n1": {Cause.ENDPOINT_REFUSED: 2}, "n2": {Cause.ENDPOINT_REFUSED: 1}}
    assert results.latest[0].ended_at == AT
    results.put("fleet", checked(down("n1"), down("n2"), at=AT + 2), known={"n1"})
    failures = {name: history.failures for name, history in results.latest[0].histories.items()}
    assert failures == {"n1": {Cause.ENDPOINT_REFUSED: 2}, "n2": {Cause.ENDPOINT_REFUSED: 2}}


def test_an_entry_that_cannot_be_read_does_not_change_the_builder_s_name() -> None:
    results = Results()
    results.put("fleet", checked(up(), name="Fleet"))
    results.put("fleet", checked(error="cut off", name="fleet"))
    assert [c.report.name for c in results.latest] == ["Fleet"]


def test_a_platform_that_a_canary_refuted_is_known() -> None:
    broken = CheckResult("canary", Status.UNHEALTHY, Cause.PLATFORM_BROKEN, target="linux/s390x")
    histories = remember({}, builder(replace(up(), checks=(broken,))), AT)
    assert "linux/s390x" in histories["n1"].platforms


def test_results_come_and_go_with_the_store() -> None:
    results = Results()
    changes: list[int] = []
    results.on_change(lambda: changes.append(1))
    results.put("b", checked(up(), name="B"))
    results.put("a", checked(down(), name="a"))
    assert [c.report.name for c in results.latest] == ["B", "a"]
    results.keep(["a", "b"])
    assert len(changes) == 2
    results.keep(["a"])
    assert len(changes) == 3
    assert [c.report.name for c in results.latest] == ["a"]
    results.put("a", checked(down(), name="a"))
    assert results.latest[0].histories["n1"].failures == {Cause.ENDPOINT_REFUSED: 2}


def test_two_entries_of_one_name_are_one_builder() -> None:
    results = Results()
    results.put("a", checked(up(), name="same"))
    results.put("b", checked(down(), name="same"))
    assert len(results.latest) == 1
