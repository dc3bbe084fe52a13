from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxhealth.deadline import Cancellation, Deadline
from bxhealth.errors import Cancelled, NodeFailure
from bxhealth.model import Cause
from bxhealth.transports.stream import SocketStream, StreamReader
from tests.fake_buildkit import FakeBuildkit, MemoryStream

_LONG = 30.0
_SLACK = 5.0
PEER = "unix:///peer.sock"


@pytest.fixture
def pair() -> Iterator[tuple[SocketStream, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield SocketStream(ours, PEER), theirs


def test_recv_gives_what_has_come_and_nothing_at_the_end(pair: tuple[SocketStream, socket.socket]) -> None:
    stream, peer = pair
    peer.send(b"hello")
    assert stream.recv(3, Deadline(_LONG)) == b"hel"
    assert stream.recv(100, Deadline(_LONG)) == b"lo"
    peer.close()
    assert stream.recv(100, Deadline(_LONG)) == b""


def test_recv_of_a_silent_peer_ends_at_the_deadline(pair: tuple[SocketStream, socket.socket]) -> None:
    begun = time.monotonic()
    with pytest.raises(NodeFailure) as failed:
        pair[0].recv(1, Deadline(0.05))
    assert time.monotonic() - begun < _SLACK
    assert failed.value.cause is Cause.DAEMON_UNRESPONSIVE
    assert PEER in failed.value.message
    assert "0.05 s" in failed.value.message


def test_sendall_sends_more_than_fits_the_buffers(pair: tuple[SocketStream, socket.socket]) -> None:
    stream, peer = pair
    data = os.urandom(4 * 1024 * 1024)
    arrived = bytearray()

    def read() -> None:
        while len(arrived) < len(data):
            arrived.extend(peer.recv(65536))

    reader = threading.Thread(target=read)
    reader.start()
    stream.sendall(data, Deadline(_LONG))
    reader.join(_LONG)
    assert arrived == data


def test_sendall_to_a_peer_that_does_not_read_ends_at_the_deadline(pair: tuple[SocketStream, socket.socket]) -> None:
    begun = time.monotonic()
    with pytest.raises(NodeFailure) as failed:
        pair[0].sendall(bytes(16 * 1024 * 1024), Deadline(0.05))
    assert time.monotonic() - begun < _SLACK
    assert failed.value.cause is Cause.DAEMON_UNRESPONSIVE


def test_sendall_to_a_peer_that_is_gone_fails(pair: tuple[SocketStream, socket.socket]) -> None:
    stream, peer = pair
    peer.close()
    with pytest.raises(NodeFailure) as failed:
        stream.sendall(b"x", Deadline(_LONG))
    assert failed.value.cause is Cause.ENDPOINT_REFUSED


@pytest.mark.parametrize("way", ["recv", "sendall"])
def test_cancelling_ends_a_wait(pair: tuple[SocketStream, socket.socket], way: str) -> None:
    stream, _ = pair
    cancellation = Cancellation()
    timer = threading.Timer(0.05, cancellation.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        if way == "recv":
            stream.recv(1, Deadline(_LONG, cancellation))
        else:
            stream.sendall(bytes(16 * 1024 * 1024), Deadline(_LONG, cancellation))
    timer.join()
    cancellation.close()


def test_close_can_be_called_again(pair: tuple[SocketStream, socket.socket]) -> None:
    stream, peer = pair
    stream.close()
    stream.close()
    assert peer.recv(1) == b""


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_a_reader_gives_parsers_whole_reads_of_whatever_pieces_come(sizes: list[int]) -> None:
    """The first frame of an HTTP/2 server, SETTINGS: type 4 in its fourth byte (RFC 9113, 6.5)."""
    file = io.BufferedReader(StreamReader(MemoryStream(FakeBuildkit({}), sizes), Deadline(_LONG)))
    header = file.read(9)
    assert header[3] == 4
    assert len(file.read(int.from_bytes(header[:3], "big"))) == int.from_bytes(header[:3], "big")


def test_a_reader_takes_a_new_deadline(pair: tuple[SocketStream, socket.socket]) -> None:
    stream, peer = pair
    reader = StreamReader(stream, Deadline(0))
    with pytest.raises(NodeFailure):
        reader.read(1)
    peer.send(b"x")
    reader.deadline = Deadline(_LONG)
    assert reader.read(1) == b"x"
