from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pytest

from bxhealth.deadline import Cancellation
from bxhealth.errors import StoreError
from bxhealth.exporter import scheduler as scheduler_module
from bxhealth.exporter.asking import Answers, Gone, NoneMeant, Question
from bxhealth.exporter.choice import Chosen
from bxhealth.exporter.flights import Flight, Flights
from bxhealth.exporter.results import Checked, Results
from bxhealth.exporter.scheduler import Scheduler
from bxhealth.model import Builder, Node, NodeReport
from bxhealth.options import Options
from tests.awaiting import until
from tests.exporter.reports import checked, down, up

NOBODY = Builder("", "", ())


class World:
    """A store, and builders that answer at once unless they are held."""

    def __init__(self, *builders: str) -> None:
        self.chosen: Chosen | Exception = Chosen(builders)
        self.asked: list[str] = []
        self.tries = 0
        """How often it could not be read, in a row."""
        self.gone: set[str] = set()
        self.meant: set[str] | None = None
        self.held = threading.Event()
        self.held.set()
        self.complaints: list[str] = []
        self.before: Collection[str] = ()
        self.answers: list[NodeReport] = []
        self.first: list[str] = []
        self.error: Exception | None = None
        self.results = Results()

    def question(self, name: str, is_first: bool) -> Question:
        if is_first:
            self.first.append(name)
        return Question(name, Options())

    def choose(self, before: Collection[str]) -> Chosen:
        self.before = before
        self.tries = self.tries + 1 if isinstance(self.chosen, Exception) else 0
        if isinstance(self.chosen, Exception):
            raise self.chosen
        return self.chosen

    def ask(self, question: Question, answers: Answers, cancellation: Cancellation) -> Checked:  # noqa: ARG002
        self.asked.append(question.builder)
        answers.asking(Builder(question.builder, "remote", tuple(Node(node.name, "") for node in self.answers)))
        for node in self.answers:
            answers.finished(NOBODY, Node(node.name, ""), [node])
        self.held.wait(10)
        if self.meant is not None and question.builder not in self.meant:
            raise NoneMeant("none of the nodes")
        if question.builder in self.gone:
            raise Gone("it is gone")
        if self.error:
            raise self.error
        return checked(up(), name=question.builder)

    @property
    def shown(self) -> list[str]:
        return [c.report.name for c in self.results.latest]

    @contextmanager
    def watched(self, interval: float = 0.02, flights: Flights | None = None) -> Iterator[Scheduler]:
        flights = flights or Flights(self.ask)
        scheduler = Scheduler(
            self.choose,
            self.question,
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


def test_a_defect_of_ours_ends_no_checks() -> None:
    world = World("a")
    with world.watched() as scheduler:
        until(lambda: world.shown == ["a"], "a is there")
        world.chosen = ZeroDivisionError("oops")
        until(lambda: world.complaints == ["internal error: ZeroDivisionError: oops"], "said once")
        assert scheduler.is_alive
        assert world.shown == ["a"]
        world.chosen = Chosen(("a",))
        asked = len(world.asked)
        until(lambda: len(world.asked) > asked + 2, "a is checked again")


def test_a_builder_without_a_node_that_is_meant_is_left_out() -> None:
    world = World("a", "b")
    world.meant = {"a"}
    with world.watched() as scheduler:
        until(lambda: world.asked.count("b") > 3, "b is looked at")
        until(lambda: world.shown == ["a"], "only a is shown")
        assert not world.complaints
        world.chosen = Chosen(("b",))
        until(lambda: "leave no node" in "".join(scheduler.problems), "none is left")
        world.meant = {"b"}
        until(lambda: world.shown == ["b"] and not scheduler.problems, "b has a node now")


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
        assert world.results.problems == ("cannot be listed",)
        # a check would find no node
        world.error = AssertionError("nobody is to ask")
        until(lambda: world.tries > 3, "it is tried again")
        assert world.complaints == ["cannot be listed"]
        assert world.shown == ["a"]
        world.error = None
        world.chosen = Chosen(("a",))
        before = len(world.asked)
        until(lambda: len(world.asked) > before + 2, "checked again")
        until(lambda: not world.results.problems, "it is over")


def test_a_slow_builder_holds_up_no_other_and_is_not_checked_twice_at_once() -> None:
    world = World("slow")
    world.held.clear()
    with world.watched():
        until(lambda: world.asked, "the slow one is asked")
        world.chosen = Chosen(("slow", "gone"))
        world.gone = {"gone"}
        until(lambda: world.asked.count("gone") == 1, "the other is asked")
        assert world.asked.count("slow") == 1


def test_a_node_that_takes_long_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "_LONG_SECONDS", 0.05)
    world = World("a")
    with world.watched():
        world.results.put("a", checked(up("n1"), up("n2"), name="a"))
        until(lambda: len(world.asked) > 2, "checked")
        world.results.put("a", checked(up("n1"), up("n2"), name="a"))
        world.held.clear()
        world.answers = [down("n1")]

        def is_up() -> dict[str, bool]:
            return {node.name: node.cause is None for node in world.results.latest[0].report.nodes}

        until(lambda: is_up() == {"n1": False}, "what is known is shown while the check runs")


def test_one_that_the_store_has_no_more_is_dropped_and_said() -> None:
    """All of its nodes that are meant are gone, though the builder is there."""
    world = World("a")
    with world.watched() as scheduler:
        until(lambda: world.shown == ["a"], "a is there")
        world.gone = {"a"}
        until(lambda: world.shown == [], "its series are gone")
        assert scheduler.problems == ("it is gone",)
        until(lambda: world.complaints == ["it is gone"], "said once")
        world.gone = set()
        until(lambda: world.shown == ["a"] and not scheduler.problems, "a is back")


def test_a_defect_of_one_check_ends_no_other() -> None:
    world = World("a")
    world.error = ZeroDivisionError("a defect")
    with world.watched() as scheduler:
        until(lambda: len(world.asked) > 3, "checked again and again")
        assert "internal error: ZeroDivisionError" in scheduler.problems[0]
        world.error = None
        until(lambda: world.shown == ["a"] and not scheduler.problems, "a is back")
        assert scheduler.is_alive


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("can't start new thread")])
def test_what_the_system_refuses_is_tried_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "_RETRY_SECONDS", 0.01)
    world = World("a")

    class Refusing(Flights):
        refusals = 3

        def join(self, question: Question, *, first: bool = False) -> Flight:
            if self.refusals:
                self.refusals -= 1
                raise error
            return super().join(question, first=first)

    with world.watched(flights=Refusing(world.ask)) as scheduler:
        until(lambda: world.shown == ["a"] and not scheduler.problems, "a is checked")
    assert [line for line in world.complaints if "cannot be begun" in line]


def test_one_builder_asks_what_is_about_none() -> None:
    world = World("a", "b")
    with world.watched():
        until(lambda: world.asked.count("a") > 3 and world.asked.count("b") > 3, "many checks")
    assert set(world.first) == {"a"}
    assert set(world.before) == {"a", "b"}


def test_a_result_is_counted_once_however_long_the_check_took() -> None:
    world = World("a")
    world.held.clear()
    with world.watched(interval=0.01):
        until(lambda: world.asked, "it is asked")
        world.held.set()
        until(lambda: len(world.asked) > 5, "checked on")
    recent = world.results.latest[0].histories["n1"].recent
    assert len(recent) <= len(world.asked)
