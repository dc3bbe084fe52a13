"""Checks that are under way: never two of one builder, and one for all who ask the same of it meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from bxhealth.deadline import Cancellation
from bxhealth.exporter.asking import Answers, Question
from bxhealth.exporter.results import Checked
from bxhealth.turns import Turns

log = logging.getLogger(__name__)

_MAX_WAITING = 8
"""So many different questions about one builder may wait for their turn."""
_FRESH_SECONDS = 5.0
"""Who asks how things are now shares a check that began so long ago: it may have had its answers then."""

Ask = Callable[[Question, Answers, Cancellation], Checked]


class Busy(Exception):
    """Too many checks of this builder wait already, or none was begun in time."""


class Stopped(Exception):
    """The exporter is being stopped."""


class Flight:
    """One check, which is waiting, running or done.

    Attributes:
        question: what is asked.
        answers: what is known so far.
        done: its result, or `Gone`, or `Stopped`.
        cancellation: calls it off.
        begun: when, by the monotonic clock; None while it waits.
        waiters: how many wait for it.
        ahead: the check that ran when this one had to wait, where it asks the same.
    """

    def __init__(self, question: Question, turns: Turns | None, ahead: Flight | None) -> None:
        self.question = question
        self.answers = Answers()
        self.done: Future[Checked] = Future()
        self.cancellation = Cancellation(turns)
        self.begun: float | None = None
        self.waiters = 0
        self.ahead = ahead if ahead and question.is_answered_by(ahead.question) else None

    def serves(self, question: Question) -> bool:
        """Whether who asks this now may share it."""
        is_fresh = self.begun is None or time.monotonic() - self.begun < _FRESH_SECONDS
        return is_fresh and question.is_answered_by(self.question)

    def so_far(self, question: Question, seconds: float) -> Checked:
        """The result as of now, for somebody who has waited for `seconds` and can wait no longer.

        Raises:
            Busy: there is none: another check of this builder takes all the time.
        """
        checked = self.answers.so_far(question, seconds)
        if checked is None and self.ahead is not None:
            checked = self.ahead.answers.so_far(question, seconds)
        if checked is None:
            raise Busy
        return checked


class Flights:
    """The checks of all builders. For each builder that has any, a thread that runs them one by one."""

    def __init__(self, ask: Ask, turns: Turns | None = None) -> None:
        self._ask = ask
        self._turns = turns
        self._lock = threading.Lock()
        self._flights: dict[str, deque[Flight]] = {}
        self._threads: set[threading.Thread] = set()
        self._stopped = False

    def join(self, question: Question, *, first: bool = False) -> Flight:
        """The check that answers a question: one that is under way, or a new one.

        Args:
            question: what is asked.
            first: whether it comes before all that wait, however many these are.

        Raises:
            Busy: too many wait for their turn.
            Stopped: no more checks are begun.
            OSError, RuntimeError: the system gives no more descriptors or threads.
        """
        with self._lock:
            if self._stopped:
                raise Stopped
            flights = self._flights.get(question.builder)
            flight = next((flight for flight in flights or () if flight.serves(question)), None)
            if flight is None:
                if flights and len(flights) > _MAX_WAITING and not first:
                    raise Busy
                flight = Flight(question, self._turns, flights[0] if flights else None)
                if flights:
                    flights.insert(1 if first else len(flights), flight)
                else:
                    self._begin(flight)
            flight.waiters += 1
        return flight

    def leave(self, flight: Flight) -> None:
        """Wait for a check no more; one that nobody waits for any more is not begun."""
        with self._lock:
            flight.waiters -= 1
            flights = self._flights.get(flight.question.builder, deque())
            if not flight.waiters and flight in flights and flight is not flights[0]:
                flights.remove(flight)

    def stop(self, seconds: float) -> None:
        """Call all checks off, and return when they have ended or `seconds` are over."""
        with self._lock:
            self._stopped = True
            for flights in self._flights.values():
                for flight in flights:
                    flight.cancellation.cancel()
            threads = list(self._threads)
        ends = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def _begin(self, flight: Flight) -> None:
        builder = flight.question.builder
        thread = threading.Thread(target=self._run, args=(builder,), name=f"check {builder}", daemon=True)
        self._flights[builder] = deque([flight])
        try:
            thread.start()
        except BaseException:
            del self._flights[builder]
            raise
        self._threads.add(thread)

    def _run(self, builder: str) -> None:
        flights = self._flights[builder]
        more = True
        while more:
            flight = flights[0]
            flight.begun = time.monotonic()
            checked, error = self._fly(flight)
            flight.ahead = None  # it would hold the one before, and that the one before it
            with self._lock:
                # before it lands: who asks from now on wants another check
                flights.popleft()
                more = bool(flights)
                if not more:
                    del self._flights[builder]
                    self._threads.discard(threading.current_thread())
            if checked is not None:
                flight.done.set_result(checked)
            else:
                flight.done.set_exception(error)

    def _fly(self, flight: Flight) -> tuple[Checked | None, BaseException | None]:
        try:
            if self._stopped:
                raise Stopped
            checked = self._ask(flight.question, flight.answers, flight.cancellation)
            if self._stopped:
                raise Stopped
        except BaseException as error:
            log.info("%s: %r", flight.question.builder, error)
            return None, error
        return checked, None
