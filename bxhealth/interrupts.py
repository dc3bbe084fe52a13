"""SIGINT and SIGTERM, told to whoever can end a run well."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def told(tell: Callable[[], None]) -> Iterator[None]:
    """Have the first signal call `tell`, and a further one raise `KeyboardInterrupt`.

    Python would raise that at once, wherever the main thread is: between taking an answer and keeping it, which
    loses the answer, or in a `__del__`, which loses the interrupt. What is ignored stays ignored (`nohup`), and
    outside the main thread nothing changes, since signals do not come there.

    Args:
        tell: must do nothing that is unsafe in the middle of anything else.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    heeded = [number for number in _NUMBERS if before[number] is not signal.SIG_IGN]

    def handle(number: int, frame: object) -> None:  # noqa: ARG001
        for each in heeded:
            signal.signal(each, signal.default_int_handler)
        tell()

    try:
        for number in heeded:
            signal.signal(number, handle)
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])
