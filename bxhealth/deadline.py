"""Limits in time that reach every wait: a `Deadline` for a step, a `Cancellation` for the whole run."""

from __future__ import annotations

import contextlib
import os
import select
import time

from bxhealth.errors import Cancelled
from bxhealth.turns import Turns

_LONGEST_POLL_SECONDS = 3600.0
"""poll() takes no more than some weeks, in milliseconds; waits that are longer take several."""


class Cancellation:
    """Calls off everything that waits on it, from any thread, at once.

    It is a pipe whose write end we hold: closing it makes the read end readable for every `poll` there is,
    in this process and in a child that was given the descriptor. When this process dies, whatever the
    reason, the kernel closes it, so children learn of that as well.
    """

    fd = _write = -1

    def __init__(self, turns: Turns | None = None) -> None:
        """One that nobody has called off.

        Args:
            turns: where the threads that it is about have to compute in turns.
        """
        self.turns = turns
        self.fd, self._write = os.pipe()

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        """What a thread that waits for anything does so in: its turn is somebody else's meanwhile."""
        return self.turns.lent() if self.turns else contextlib.nullcontext()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._write < 0

    def cancel(self) -> None:
        """Call everything off; a second call does nothing."""
        write, self._write = self._write, -1
        if write >= 0:
            os.close(write)

    def wait(self, seconds: float) -> None:
        """Return after `seconds`.

        Raises:
            Cancelled: as soon as `cancel` is called.
        """
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        ends = time.monotonic() + seconds
        while True:
            remaining = max(ends - time.monotonic(), 0.0)
            with self.waiting():
                ready = poller.poll(min(remaining, _LONGEST_POLL_SECONDS) * 1000)
            if ready:
                raise Cancelled
            if remaining <= _LONGEST_POLL_SECONDS:
                return

    def close(self) -> None:
        """Free the descriptors; nothing may wait on it any more. A second call does nothing."""
        self.cancel()
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # whoever waits holds a reference, so this is the first moment that is safe for a run that threads outlive
        self.close()


class Deadline:
    """A moment until which one step may take."""

    def __init__(self, seconds: float, cancellation: Cancellation | None = None) -> None:
        self.seconds = seconds
        self.cancellation = cancellation
        self._at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds that are left, 0 when there are none."""
        return max(0.0, self._at - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the moment is over."""
        return self.remaining() <= 0

    def at_most(self, seconds: float) -> Deadline:
        """A deadline `seconds` from now, or this one where it comes earlier."""
        return Deadline(min(seconds, self.remaining()), self.cancellation)

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`, or until the deadline if that is earlier.

        Raises:
            Cancelled: the run was called off.
        """
        seconds = min(seconds, self.remaining())
        if self.cancellation:
            self.cancellation.wait(seconds)
        else:
            time.sleep(seconds)

    def wait_for(self, fd: int, events: int) -> None:
        """Return when `fd` has one of the poll `events`, or has failed.

        Raises:
            TimeoutError: the deadline came first.
            Cancelled: the run was called off.
        """
        poller = select.poll()
        poller.register(fd, events)
        if self.cancellation:
            poller.register(self.cancellation.fd, select.POLLIN)
        with self.cancellation.waiting() if self.cancellation else contextlib.nullcontext():
            while not (ready := poller.poll(min(self.remaining(), _LONGEST_POLL_SECONDS) * 1000)):
                if self.expired:
                    raise TimeoutError
        if self.cancellation and any(f == self.cancellation.fd for f, _ in ready):
            raise Cancelled
