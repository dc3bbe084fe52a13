"""Waiting for a condition with a bound, so that nothing in the testbed sleeps for luck or waits for ever."""

import time
from collections.abc import Callable

from .errors import TestbedError


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Return as soon as `condition()` holds.

    Raises:
        TestbedError: it did not hold within `seconds`; the message names `what` was awaited.
    """
    give_up = time.monotonic() + seconds
    pause = 0.005
    while not condition():
        if time.monotonic() > give_up:
            raise TestbedError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
