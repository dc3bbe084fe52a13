from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bxhealth.concurrent import all_at_once


def test_the_results_come_in_the_order_of_the_questions() -> None:
    first = threading.Event()

    def late() -> str:
        assert first.wait(10)
        return "late"

    def early() -> str:
        first.set()
        return "early"

    assert all_at_once([late, early]) == ["late", "early"]
    assert all_at_once([]) == []


def test_the_first_error_is_raised_once_all_have_ended() -> None:
    ended = threading.Event()

    def fail() -> None:
        raise KeyError("first")

    with pytest.raises(KeyError):
        all_at_once([fail, ended.set])
    assert ended.is_set()


def test_who_waits_for_the_others_says_so() -> None:
    """So that a turn to compute is somebody else's meanwhile."""
    waits = threading.Event()

    @contextmanager
    def waiting() -> Iterator[None]:
        waits.set()
        yield

    assert all_at_once([waits.is_set, lambda: waits.wait(10)], waiting) == [False, True]
