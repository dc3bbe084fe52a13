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

Ask = Callable[[Question, Answers, Cancellation], Checked]


class Busy(Exception):
    """Too many checks of this builder wait already."""


class Stopped(Exception):
    """The exporter is being stopped."""


class Flight:
    """One check, which is waiting, running or done.

    Attributes:
        question: what is asked.
        answers: what is known so far.
        done: its result, or `Gone`, or `Stopped`.
    """

    def __init__(self, question: Question, turns: Turns | None) -> None:
        self.question = question
        self.answers = Answers()
        self.done: Future[Checked] = Future()
        self.cancellation = Cancellation(turns)


class Flights:
    """The checks of all builders. For each builder that has any, a thread that runs them one by one."""

    def __init__(self, ask: Ask, turns: Turns | None = None) -> None:
        self._ask = ask
        self._turns = turns
        self._lock = threading.Lock()
        self._flights: dict[str, deque[Flight]] = {}
        self._threads: set[threading.Thread] = set()
        self._stopped = False

    def join(self, question: Question) -> Flight:
        """The check that answers a question: one that is under way, or a new one.

        Raises:
            Busy: too many wait for their turn.
            Stopped: no more checks are begun.
        """
        with self._lock:
            if self._stopped:
                raise Stopped
            flights = self._flights.get(question.builder)
            for flight in flights or ():
                if question.is_answered_by(flight.question):
                    return flight
            if flights and len(flights) > _MAX_WAITING:
                raise Busy
            flight = Flight(question, self._turns)
            if flights:
                flights.append(flight)
                return flight
            self._flights[question.builder] = deque([flight])
            thread = threading.Thread(
                target=self._run, args=(question.builder,), name=f"check {question.builder}", daemon=True
            )
            self._threads.add(thread)
            thread.start()
        return flight

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

    def _run(self, builder: str) -> None:
        flights = self._flights[builder]
        more = True
        while more:
            flight = flights[0]
            checked, error = self._fly(flight)
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
