from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from bxhealth.deadline import Cancellation, Deadline
from bxhealth.errors import Cancelled
from tests import descriptors

_SLACK = 5.0
_FOR_EVER = 600.0


@pytest.fixture
def cancellation() -> Iterator[Cancellation]:
    made = Cancellation()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def _cancel_while_waiting(cancellation: Cancellation) -> threading.Thread:
    thread = threading.Timer(0.05, cancellation.cancel)
    thread.start()
    return thread


def test_a_deadline_counts_down_to_none_left() -> None:
    deadline = Deadline(_FOR_EVER)
    assert 0 < deadline.remaining() <= _FOR_EVER
    assert not deadline.expired
    over = Deadline(0)
    assert over.remaining() == 0
    assert over.expired


def test_at_most_is_the_earlier_of_both_and_keeps_the_cancellation(cancellation: Cancellation) -> None:
    deadline = Deadline(10, cancellation)
    assert deadline.at_most(1).remaining() <= 1
    assert deadline.at_most(60).remaining() <= 10
    assert deadline.at_most(1).cancellation is cancellation


def test_waiting_returns_when_there_is_something_to_read(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    Deadline(_FOR_EVER).wait_for(ours.fileno(), select.POLLIN)
    assert ours.recv(1) == b"x"


def test_waiting_returns_when_the_peer_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    Deadline(_FOR_EVER).wait_for(ours.fileno(), select.POLLIN)
    assert ours.recv(1) == b""


def test_waiting_ends_at_the_deadline(pair: tuple[socket.socket, socket.socket]) -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        Deadline(0.05).wait_for(pair[0].fileno(), select.POLLIN)
    assert 0.045 <= time.monotonic() - begun < _SLACK


@pytest.mark.parametrize("hours", [1, 1_000, 100_000])
def test_a_limit_of_weeks_is_a_limit(hours: int, pair: tuple[socket.socket, socket.socket]) -> None:
    """poll(2) takes its time-out as an int of milliseconds, which ends at 24.8 days."""
    ours, theirs = pair
    theirs.send(b"x")
    Deadline(hours * 3600.0).wait_for(ours.fileno(), select.POLLIN)


def test_a_wait_of_weeks_can_be_called_off(cancellation: Cancellation) -> None:
    thread = _cancel_while_waiting(cancellation)
    with pytest.raises(Cancelled):
        cancellation.wait(1_000 * 3600.0)
    thread.join()


def test_cancelling_ends_a_wait_for_a_descriptor(
    cancellation: Cancellation, pair: tuple[socket.socket, socket.socket]
) -> None:
    thread = _cancel_while_waiting(cancellation)
    with pytest.raises(Cancelled):
        Deadline(_FOR_EVER, cancellation).wait_for(pair[0].fileno(), select.POLLIN)
    thread.join()


def test_cancelled_before_means_no_wait_though_there_is_something_to_read(
    cancellation: Cancellation, pair: tuple[socket.socket, socket.socket]
) -> None:
    pair[1].send(b"x")
    cancellation.cancel()
    with pytest.raises(Cancelled):
        Deadline(_FOR_EVER, cancellation).wait_for(pair[0].fileno(), select.POLLIN)


def test_cancelling_ends_every_sleep_at_once(cancellation: Cancellation) -> None:
    ended: list[str] = []

    def sleep(name: str) -> None:
        with pytest.raises(Cancelled):
            Deadline(_FOR_EVER, cancellation).sleep(_FOR_EVER)
        ended.append(name)

    threads = [threading.Thread(target=sleep, args=(str(i),)) for i in range(5)]
    for thread in threads:
        thread.start()
    cancellation.cancel()
    for thread in threads:
        thread.join(_SLACK)
    assert sorted(ended) == list("01234")


@pytest.mark.parametrize("with_cancellation", [False, True])
def test_sleep_ends_at_the_deadline(with_cancellation: bool, cancellation: Cancellation) -> None:
    begun = time.monotonic()
    Deadline(0.05, cancellation if with_cancellation else None).sleep(_FOR_EVER)
    assert 0.045 <= time.monotonic() - begun < _SLACK


def test_cancel_can_be_called_again(cancellation: Cancellation) -> None:
    assert not cancellation.cancelled
    cancellation.cancel()
    cancellation.cancel()
    assert cancellation.cancelled


def test_close_frees_both_descriptors() -> None:
    before = descriptors.held()
    cancellation = Cancellation()
    assert descriptors.held() == before + 2
    cancellation.close()
    assert descriptors.held() == before
