"""How many threads compute at once, of the many that mostly wait.

For a process that has something else to do meanwhile: each thread that is ready to run adds up to a switch interval
(`sys.setswitchinterval`) to every wait for the interpreter's lock, and a web server waits for that lock often: without
turns, the slowest hundredth of the scrapes of 1,000 nodes took 155 ms, with them 25 at most (`make bench-exporter`).
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator

_PATIENCE_SECONDS = 0.1
"""Who waits this long for a turn goes on without: somebody may wait for something that is not known here."""


class Turns:
    """So many turns. A thread takes one to work, and lends it to others while it waits."""

    def __init__(self, count: int) -> None:
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(None)
        self._mine = threading.local()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Work inside the `with`, once it is this thread's turn."""
        self._take()
        try:
            yield
        finally:
            self._give()
            del self._mine.has

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Wait for something inside the `with`; of a thread that works in no turn, nothing changes."""
        if not hasattr(self._mine, "has"):
            yield
            return
        self._give()
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        try:
            self._free.get(timeout=_PATIENCE_SECONDS)
        except queue.Empty:
            self._mine.has = False
        else:
            self._mine.has = True

    def _give(self) -> None:
        if self._mine.has:
            self._mine.has = False
            self._free.put(None)
