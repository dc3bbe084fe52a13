"""Checks each builder every interval, and keeps the results in step with the store."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from bxhealth.errors import StoreError
from bxhealth.exporter.asking import Gone, Question
from bxhealth.exporter.choice import Chosen
from bxhealth.exporter.flights import Busy, Flights, Stopped
from bxhealth.exporter.results import Checked, Results

log = logging.getLogger(__name__)

_JITTER = 0.1
"""The share of the interval by which a check may come earlier, so that builders do not stay in step."""
_RETRY_SECONDS = 1.0


class Scheduler:
    """One thread that begins checks; each check has threads of its own."""

    def __init__(
        self,
        choose: Callable[[], Chosen],
        question: Callable[[str], Question],
        flights: Flights,
        results: Results,
        interval: float,
        complain: Callable[[str], None],
    ) -> None:
        """Describe a schedule; nothing runs before `start`.

        Args:
            choose: the builders to check; raises `StoreError`.
            question: what to ask of a builder.
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
        self._chosen: Chosen | None = None
        self._due: dict[str, float] = {}
        self._running: set[str] = set()
        self._unchecked: set[str] | None = None
        self._problems: tuple[str, ...] = ()
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
        return self._problems

    def _run(self) -> None:
        while not self._stopped:
            self._wake.clear()
            pause = self._tick(time.monotonic())
            self._wake.wait(pause)

    def _tick(self, now: float) -> float:
        """Begin what is due, and return how many seconds nothing else will be."""
        try:
            chosen = self._choose()
        except StoreError as error:
            # the builders stay as they were: what cannot be read is not gone
            self._report((str(error),))
            chosen = self._chosen or Chosen(())
        else:
            self._report(chosen.missing)
            if self._unchecked is None:
                self._unchecked = set(chosen.builders)
            self._unchecked &= set(chosen.builders)
            self._chosen = chosen
        self._results.keep(chosen.builders)
        self._due = {name: self._due.get(name, now) for name in chosen.builders}
        for name in chosen.builders:
            if self._due[name] <= now and name not in self._running:
                self._due[name] = now + self._begin(name)
        waits = [at - now for name, at in self._due.items() if name not in self._running]
        return max(0.0, min([*waits, self._interval]))

    def _begin(self, name: str) -> float:
        """Begin a check, and return in how many seconds the next one is due."""
        try:
            flight = self._flights.join(self._question(name))
        except (Busy, Stopped):
            return _RETRY_SECONDS
        self._running.add(name)
        flight.done.add_done_callback(lambda done: self._finish(name, done))
        return self._interval * random.uniform(1 - _JITTER, 1)

    def _finish(self, name: str, done: Future[Checked]) -> None:
        """Take a result; in the thread of the check."""
        error = done.exception()
        if error is None:
            chosen = self._chosen
            if chosen and name in chosen.builders:
                self._results.put(name, done.result())
        elif not isinstance(error, (Gone, Stopped)):
            self._complain(f"{name}: internal error: {type(error).__name__}: {error}")
        self._running.discard(name)
        if self._unchecked is not None:
            self._unchecked.discard(name)
        self._wake.set()

    def _report(self, problems: tuple[str, ...]) -> None:
        for problem in problems:
            if problem not in self._problems:
                self._complain(problem)
        self._problems = problems
