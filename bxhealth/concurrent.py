"""Several questions to one node at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

_Result = TypeVar("_Result")


def all_at_once(
    questions: Sequence[Callable[[], _Result]],
    waiting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> list[_Result]:
    """The results of all functions, in their order, each called in a thread of its own.

    Args:
        questions: the functions.
        waiting: what the calling thread waits for the others in.

    Raises:
        Exception: what the first of them, in their order, has raised, once all have ended.
    """
    results: dict[int, _Result] = {}
    errors: dict[int, BaseException] = {}

    def answer(index: int) -> None:
        try:
            results[index] = questions[index]()
        except BaseException as error:
            errors[index] = error

    threads = [threading.Thread(target=answer, args=(index,), daemon=True) for index in range(1, len(questions))]
    for thread in threads:
        thread.start()
    if questions:
        answer(0)
    with waiting():
        for thread in threads:
            thread.join()
    if errors:
        raise errors[min(errors)]
    return [results[index] for index in range(len(questions))]
