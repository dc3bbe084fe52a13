"""A stream of bytes that keeps every deadline: what dialers return and protocols speak over."""

from __future__ import annotations

import io
import select
import socket
import ssl
from typing import Protocol

from bxhealth.deadline import Deadline
from bxhealth.errors import NodeFailure
from bxhealth.model import Cause


class Stream(Protocol):
    """Bytes in both directions, to `peer`."""

    peer: str
    """Who is at the other end, for messages."""

    def recv(self, size: int, deadline: Deadline) -> bytes:
        """At least one byte and at most `size`; nothing where the peer has closed its side.

        Raises:
            NodeFailure: the deadline came first, or the connection broke.
            Cancelled: the run was called off.
        """

    def sendall(self, data: bytes, deadline: Deadline) -> None:
        """Send all of `data`. Raises as `recv` does."""

    def close(self) -> None:
        """Free what the stream holds; a second call does nothing."""


class SocketStream:
    """A connected socket, plain or TLS, as a stream."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.peer = peer

    def recv(self, size: int, deadline: Deadline) -> bytes:
        """See `Stream`."""
        while True:
            try:
                return self.socket.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError):
                self.wait(select.POLLIN, deadline)
            except ssl.SSLWantWriteError:
                self.wait(select.POLLOUT, deadline)
            except OSError as error:
                raise self.broken(error) from error

    def sendall(self, data: bytes, deadline: Deadline) -> None:
        """See `Stream`."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.socket.send(view) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self.wait(select.POLLOUT, deadline)
            except ssl.SSLWantReadError:
                self.wait(select.POLLIN, deadline)
            except OSError as error:
                raise self.broken(error) from error

    def close(self) -> None:
        """See `Stream`."""
        self.socket.close()

    def wait(self, events: int, deadline: Deadline) -> None:
        """Return when the socket is ready for `events`. Raises as `recv` does."""
        try:
            deadline.wait_for(self.socket.fileno(), events)
        except TimeoutError:
            raise NodeFailure(
                Cause.DAEMON_UNRESPONSIVE,
                f"{self.peer} accepted the connection and did not answer within {deadline.seconds:.3g} s",
            ) from None

    def broken(self, error: OSError) -> NodeFailure:
        """The failure that stands for an error of the socket after it was connected."""
        if isinstance(error, ssl.SSLEOFError):
            return closed_early(self.peer, "end of stream")
        if isinstance(error, ssl.SSLError):
            reason = error.reason or str(error)
            if "ALERT" in reason and any(word in reason for word in _CERTIFICATE_ALERTS):
                return NodeFailure(
                    Cause.ENDPOINT_DENIED,
                    f"{self.peer} refused the client's certificate, or wants one: {reason}",
                )
            return NodeFailure(Cause.NOT_BUILDKIT, f"{self.peer} broke TLS off: {reason}")
        return closed_early(self.peer, error.strerror or str(error))


_CERTIFICATE_ALERTS = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "HANDSHAKE_FAILURE")


def closed_early(peer: str, seen: str) -> NodeFailure:
    """The failure of a peer that took the connection and gave it up without an answer."""
    return NodeFailure(
        Cause.ENDPOINT_REFUSED,
        f"{peer} accepted the connection and closed it without an answer ({seen})",
    )


class StreamReader(io.RawIOBase):
    """A stream as a file to read from, for parsers that want one."""

    def __init__(self, stream: Stream, deadline: Deadline) -> None:
        self._stream = stream
        self.deadline = deadline
        self.has_ended = False

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` with what has come; 0 at the end. Raises as `Stream.recv` does."""
        data = self._stream.recv(len(buffer), self.deadline)
        self.has_ended = not data
        buffer[: len(data)] = data
        return len(data)
