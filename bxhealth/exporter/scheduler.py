"""Checks each builder every interval, and keeps the results in step with the store."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, field

from bxhealth.errors import StoreError
from bxhealth.exporter.asking import Gone, NoneMeant, Question
from bxhealth.exporter.choice import Chosen
from bxhealth.exporter.flights import Flight, Flights, Stopped
from bxhealth.exporter.results import Checked, Results

log = logging.getLogger(__name__)

_JITTER = 0.1
"""The share of the interval by which a check may come earlier, so that builders do not stay in step."""
_RETRY_SECONDS = 1.0
_LONG_SECONDS = 5.0
"""A check that takes longer shows what its nodes have answered so far, as often."""


@dataclass
class _Running:
    """A check that runs: when it began, and the reports of it that have been taken."""

    flight: Flight
    begun: float
    known: set[str] = field(default_factory=set)


class Scheduler:
    """One thread that begins checks; each check has threads of its own."""

    def __init__(
        self,
        choose: Callable[[Collection[str]], Chosen],
        question: Callable[[str, bool], Question],
        flights: Flights,
        results: Results,
        interval: float,
        complain: Callable[[str], None],
    ) -> None:
        """Describe a schedule; nothing runs before `start`.

        Args:
            choose: the builders to check, given those that were checked before; raises `StoreError`.
            question: what to ask of a builder, and whether it is the first of all, which asks for them what is not
                about builders.
            flights: what runs the checks.
            results: where their results go.
            interval: seconds from one check of a builder to the next.
            complain: says a line to whoever runs this.
        """
        self._choose = choose
        self._question = question
        self._flights = flights
        self._results = results
        self._interval = interval
        self._complain = complain
        self._wake = threading.Event()
        self._stopped = False
        self._lock = threading.Lock()
        self._chosen: Chosen | None = None
        self._due: dict[str, float] = {}
        self._running: dict[str, _Running] = {}
        self._unchecked: set[str] | None = None
        self._unchosen: tuple[str, ...] = ()
        self._failed: dict[str, str] = {}
        """Why a builder could not be checked; an empty text where none of its nodes is meant."""
        self._said: frozenset[str] = frozenset()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def start(self) -> None:
        """Begin the first round."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no more checks."""
        self._stopped = True
        self._wake.set()

    @property
    def is_ready(self) -> bool:
        """Whether every builder that was there at first has been checked."""
        return self._unchecked is not None and not self._unchecked

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps builders that were meant from being checked, a line each."""
        failed, chosen = dict(self._failed), self._chosen.builders if self._chosen else ()
        # that some builders have no node that is meant is no problem, and that none has one is
        is_nothing = chosen and all(failed.get(name) == "" for name in chosen)
        nothing = ("--node and --exclude leave no node to check",) if is_nothing else ()
        return (*self._unchosen, *nothing, *(failed[name] for name in sorted(failed) if failed[name]))

    @property
    def is_alive(self) -> bool:
        """Whether checks are begun."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.clear()
            pause = self._tick(time.monotonic())
            problems = self.problems
            self._say(problems)
            self._results.put_problems(problems)
            self._wake.wait(pause)

    def _tick(self, now: float) -> float:
        """Begin what is due, and return how many seconds nothing else will be."""
        before = self._chosen.builders if self._chosen else ()
        try:
            chosen = self._choose(before)
        except Exception as error:  # a defect of ours must not end all checks
            # what cannot be read is not gone: the last results stay, and grow old, until it can be read again
            is_known = isinstance(error, (StoreError, OSError))
            self._unchosen = (str(error) if is_known else f"internal error: {type(error).__name__}: {error}",)
            return min(self._interval, _RETRY_SECONDS)
        self._unchosen = chosen.missing
        if self._unchecked is None:
            self._unchecked = set(chosen.builders)
        self._unchecked &= set(chosen.builders)
        self._chosen = chosen
        self._results.keep(chosen.builders)
        with self._lock:
            self._failed = {name: seen for name, seen in self._failed.items() if name in chosen.builders}
        self._due = {name: self._due.get(name, now) for name in chosen.builders}
        for name in chosen.builders:
            if name in self._running:
                self._take_answers(name, now)
            elif self._due[name] <= now:
                self._due[name] = now + self._begin(name, is_first=name == chosen.builders[0])
        waits = [at - now for name, at in self._due.items() if name not in self._running]
        return max(0.0, min([*waits, self._interval, *([_LONG_SECONDS] if self._running else [])]))

    def _begin(self, name: str, *, is_first: bool) -> float:
        """Begin a check, and return in how many seconds the next one is due."""
        try:
            flight = self._flights.join(self._question(name, is_first), first=True)
        except Stopped:
            return _RETRY_SECONDS
        except (OSError, RuntimeError) as error:
            with self._lock:
                self._failed[name] = f"{name}: a check cannot be begun: {error}"
            return _RETRY_SECONDS
        self._running[name] = _Running(flight, time.monotonic())
        flight.done.add_done_callback(lambda done: self._finish(name, done))
        return self._interval * random.uniform(1 - _JITTER, 1)

    def _take_answers(self, name: str, now: float) -> None:
        """Show what a long check has learnt so far: one node that is being started must not hide the others."""
        with self._lock:
            running, before = self._running.get(name), self._results.last(name)
            if running is None or before is None or now - running.begun < _LONG_SECONDS:
                return
            answered = running.flight.answers.onto(before.report, running.flight.question)
            if answered is None or running.known.issuperset(answered[1]):
                return
            report, names = answered
            self._results.put_answers(name, report, set(names) - running.known, time.time())
            running.known.update(names)

    def _finish(self, name: str, done: Future[Checked]) -> None:
        """Take a result; in the thread of the check."""
        error = done.exception()
        with self._lock:
            running = self._running.pop(name, None)
            if error is None:
                self._failed.pop(name, None)
                chosen = self._chosen
                if chosen and name in chosen.builders:
                    self._results.put(name, done.result(), running.known if running else ())
            elif isinstance(error, Gone):
                self._results.drop(name)
                self._failed[name] = "" if isinstance(error, NoneMeant) else str(error)
            elif not isinstance(error, Stopped):
                log.info("%s: internal error", name, exc_info=error)
                self._failed[name] = f"{name}: internal error: {type(error).__name__}: {error}"
        if self._unchecked is not None:
            self._unchecked.discard(name)
        self._wake.set()

    def _say(self, problems: Collection[str]) -> None:
        for problem in problems:
            if problem not in self._said:
                self._complain(problem)
        self._said = frozenset(problems)
