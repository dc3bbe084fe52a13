from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from bxhealth.deadline import Cancellation
from bxhealth.errors import Cancelled
from bxhealth.exporter import flights as flights_module
from bxhealth.exporter.asking import Answers, Question
from bxhealth.exporter.flights import Busy, Flights, Stopped
from bxhealth.exporter.results import Checked
from bxhealth.model import Builder, Cause, Node
from bxhealth.options import Limits, Options
from tests.awaiting import until
from tests.exporter.reports import checked, up


class Builders:
    """Answers when it is told to, and knows how many checks of one builder ran at once."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.proceed = threading.Semaphore(0)
        self.running: dict[str, int] = {}
        self.most = 0

    def ask(self, question: Question, answers: Answers, cancellation: Cancellation) -> Checked:  # noqa: ARG002
        self.asked.append(question)
        self.running[question.builder] = self.running.get(question.builder, 0) + 1
        self.most = max(self.most, self.running[question.builder])
        try:
            while not self.proceed.acquire(timeout=0.01):
                cancellation.wait(0)
        finally:
            self.running[question.builder] -= 1
        return checked(up(), name=question.builder)


def question(builder: str = "fleet", *only: str, seconds: float | None = None) -> Question:
    return Question(builder, Options(Limits(deadline=seconds)), only)


def test_who_asks_the_same_meanwhile_shares_the_check() -> None:
    builders = Builders()
    flights = Flights(builders.ask)
    all_of_them = [flights.join(question()) for _ in range(20)]
    builders.proceed.release()
    assert len({id(flight.done.result(5)) for flight in all_of_them}) == 1
    assert len(builders.asked) == 1


def test_who_asks_later_gets_a_new_check() -> None:
    builders = Builders()
    flights = Flights(builders.ask)
    builders.proceed.release(2)
    first = flights.join(question()).done.result(5)
    assert flights.join(question()).done.result(5) is not first


def test_never_two_checks_of_one_builder_at_once() -> None:
    builders = Builders()
    flights = Flights(builders.ask)
    joined = [flights.join(question("fleet", f"n{i}")) for i in range(5)]
    other = flights.join(question("other"))
    until(lambda: len(builders.asked) == 2, "another builder does not wait")
    builders.proceed.release(6)
    for flight in (*joined, other):
        flight.done.result(5)
    assert builders.most == 1
    assert [q.only for q in builders.asked if q.builder == "fleet"] == [(f"n{i}",) for i in range(5)]


def test_a_scrape_takes_part_in_a_longer_check_and_not_the_other_way_round() -> None:
    assert question(seconds=5).is_answered_by(question())
    assert question(seconds=5).is_answered_by(question(seconds=6))
    assert not question().is_answered_by(question(seconds=5))
    assert not question(seconds=6).is_answered_by(question(seconds=5))
    assert not question("fleet", "n1").is_answered_by(question())
    impatient = Question("fleet", Options(Limits(probe_timeout=1)))
    assert impatient.is_answered_by(question())
    assert not question().is_answered_by(impatient), "a node that is slow would fail by it"
    assert not replace(question(), options=Options(canary=())).is_answered_by(question())


def test_only_so_many_wait() -> None:
    builders = Builders()
    flights = Flights(builders.ask)
    with pytest.raises(Busy):
        for i in range(100):
            flights.join(question("fleet", f"n{i}"))
    flights.stop(5)


def test_the_schedule_comes_before_all_that_wait() -> None:
    builders = Builders()
    flights = Flights(builders.ask)
    flights.join(question("fleet", "running"))
    with pytest.raises(Busy):
        for i in range(100):
            flights.join(question("fleet", f"n{i}"))
    scheduled = flights.join(question(), first=True)
    builders.proceed.release(2)
    scheduled.done.result(5)
    assert [q.only for q in builders.asked[:2]] == [("running",), ()]
    flights.stop(5)


def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    builders = Builders()
    flights = Flights(builders.ask)
    running = flights.join(question("fleet", "running"))
    left, shared, stayed = (flights.join(question("fleet", name)) for name in ("left", "shared", "stayed"))
    assert flights.join(question("fleet", "shared")) is shared
    for flight in (left, shared, running):
        flights.leave(flight)
    builders.proceed.release(10)
    stayed.done.result(5)
    assert [q.only for q in builders.asked] == [("running",), ("shared",), ("stayed",)]


def test_who_asks_how_it_is_now_does_not_get_what_was_asked_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights_module, "_FRESH_SECONDS", 0.0)
    builders = Builders()
    flights = Flights(builders.ask)
    long = flights.join(question())
    until(lambda: long.begun is not None, "it runs")
    now = flights.join(question())
    assert now is not long
    assert flights.join(question()) is now
    # who cannot wait for it gets what is known
    with pytest.raises(Busy):
        now.so_far(question(), 1)
    long.answers.asking(Builder("fleet", "remote", (Node("n1", ""), Node("n2", ""))))
    long.answers.finished(Builder("", "", ()), Node("n1", ""), [up("n1")])
    nodes = {node.name: node.cause for node in now.so_far(question(), 1).report.nodes}
    assert nodes == {"n1": None, "n2": Cause.DEADLINE_EXCEEDED}
    builders.proceed.release(2)
    assert now.done.result(5) is not long.done.result(5)


def test_a_thread_that_cannot_be_started_wedges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    builders = Builders()
    flights = Flights(builders.ask)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            flights.join(question())
    builders.proceed.release()
    assert flights.join(question()).done.result(5)
    flights.stop(5)


def test_a_failure_reaches_all_who_asked() -> None:
    def ask(question: Question, answers: Answers, cancellation: Cancellation) -> Checked:  # noqa: ARG001
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        Flights(ask).join(question()).done.result(5)


def test_stopping_ends_what_runs_and_what_waits() -> None:
    builders = Builders()
    flights = Flights(builders.ask)
    running, waiting = flights.join(question()), flights.join(question("fleet", "n1"))
    until(lambda: builders.asked, "the first check runs")
    flights.stop(5)
    with pytest.raises((Stopped, Cancelled)):
        running.done.result(0)
    with pytest.raises(Stopped):
        waiting.done.result(0)
    with pytest.raises(Stopped):
        flights.join(question())
    assert not [thread for thread in threading.enumerate() if thread.name == "check fleet"]
