from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bxhealth.deadline import Cancellation
from bxhealth.errors import StoreError
from bxhealth.exporter.asking import Answers, Gone, Question
from bxhealth.exporter.choice import Chosen
from bxhealth.exporter.flights import Flights
from bxhealth.exporter.results import Checked, Results
from bxhealth.exporter.scheduler import Scheduler
from bxhealth.options import Options
from tests.awaiting import until
from tests.exporter.reports import checked, up


class World:
    """A store, and builders that answer at once unless they are held."""

    def __init__(self, *builders: str) -> None:
        self.chosen: Chosen | StoreError = Chosen(builders)
        self.asked: list[str] = []
        self.gone: set[str] = set()
        self.held = threading.Event()
        self.held.set()
        self.complaints: list[str] = []
        self.results = Results()

    def choose(self) -> Chosen:
        if isinstance(self.chosen, StoreError):
            raise self.chosen
        return self.chosen

    def ask(self, question: Question, answers: Answers, cancellation: Cancellation) -> Checked:  # noqa: ARG002
        self.asked.append(question.builder)
        self.held.wait(10)
        if question.builder in self.gone:
            raise Gone
        return checked(up(), name=question.builder)

    @property
    def shown(self) -> list[str]:
        return [c.report.name for c in self.results.latest]

    @contextmanager
    def watched(self, interval: float = 0.02) -> Iterator[Scheduler]:
        flights = Flights(self.ask)
        scheduler = Scheduler(
            self.choose,
            lambda name: Question(name, Options()),
            flights,
            self.results,
            interval,
            self.complaints.append,
        )
        scheduler.start()
        yield scheduler
        self.held.set()
        scheduler.stop()
        flights.stop(5)


def test_each_builder_is_checked_again_and_again() -> None:
    world = World("a", "b")
    with world.watched():
        until(lambda: world.asked.count("a") > 5 and world.asked.count("b") > 5, "many checks")


def test_it_is_ready_once_every_builder_was_checked() -> None:
    world = World("a")
    world.held.clear()
    with world.watched() as scheduler:
        until(lambda: world.asked, "the first check runs")
        assert not scheduler.is_ready
        world.held.set()
        until(lambda: scheduler.is_ready, "ready")


def test_it_is_ready_with_nothing_to_check_and_not_with_a_store_that_cannot_be_read() -> None:
    world = World()
    world.chosen = StoreError("cannot be listed")
    with world.watched() as scheduler:
        until(lambda: world.complaints == ["cannot be listed"], "said once")
        assert not scheduler.is_ready
        world.chosen = Chosen(())
        until(lambda: scheduler.is_ready, "ready")
        assert not scheduler.problems


def test_builders_come_and_go_with_the_store() -> None:
    world = World("a")
    with world.watched():
        until(lambda: world.shown == ["a"], "a is there")
        world.chosen = Chosen(("a", "b"))
        until(lambda: world.shown == ["a", "b"], "b has come")
        world.chosen = Chosen(("b",), ("no builder 'a'",))
        until(lambda: world.shown == ["b"], "a is gone")
    assert world.complaints == ["no builder 'a'"]


def test_what_cannot_be_read_is_not_gone() -> None:
    world = World("a")
    with world.watched():
        until(lambda: world.shown == ["a"], "a is there")
        world.chosen = StoreError("cannot be listed")
        until(lambda: world.complaints, "said")
        before = len(world.asked)
        until(lambda: len(world.asked) > before + 2, "checked all the same")
        assert world.shown == ["a"]


def test_a_slow_builder_holds_up_no_other_and_is_not_checked_twice_at_once() -> None:
    world = World("slow")
    world.held.clear()
    with world.watched():
        until(lambda: world.asked, "the slow one is asked")
        world.chosen = Chosen(("slow", "gone"))
        world.gone = {"gone"}
        until(lambda: world.asked.count("gone") == 1, "the other is asked")
        assert world.asked.count("slow") == 1


def test_a_result_is_counted_once_however_long_the_check_took() -> None:
    world = World("a")
    world.held.clear()
    with world.watched(interval=0.01):
        until(lambda: world.asked, "it is asked")
        world.held.set()
        until(lambda: len(world.asked) > 5, "checked on")
    recent = world.results.latest[0].histories["n1"].recent
    assert len(recent) <= len(world.asked)
