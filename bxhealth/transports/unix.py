"""`unix://` endpoints."""

from __future__ import annotations

import socket

from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerEndpoint
from bxhealth.errors import NodeFailure
from bxhealth.model import Cause
from bxhealth.transports.stream import SocketStream


def dial(endpoint: DockerEndpoint, deadline: Deadline) -> SocketStream:
    """A stream to a UNIX socket. Raises as `transports.dial` does."""
    path = endpoint.host.removeprefix("unix://")
    sock = socket.socket(socket.AF_UNIX)
    stream = SocketStream(sock, endpoint.host)
    try:
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:
                # the listener's queue is full: poll() would call the socket ready, so try again shortly
                if deadline.expired:
                    raise NodeFailure(
                        Cause.ENDPOINT_TIMEOUT,
                        f"{endpoint.host} did not accept a connection within {deadline.seconds:.3g} s",
                    ) from None
                deadline.sleep(0.05)
            else:
                return stream
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise _failure(endpoint.host, error) from error
        if isinstance(error, ValueError):
            raise NodeFailure(Cause.CONFIG_INVALID, f"{endpoint.host} can be no socket's path: {error}") from error
        raise


def _failure(host: str, error: OSError) -> NodeFailure:
    if isinstance(error, FileNotFoundError):
        return NodeFailure(Cause.ENDPOINT_REFUSED, f"connecting to {host}: there is no such socket")
    if isinstance(error, PermissionError):
        return NodeFailure(Cause.ENDPOINT_DENIED, f"connecting to {host}: permission denied")
    if isinstance(error, ConnectionRefusedError):
        return NodeFailure(Cause.ENDPOINT_REFUSED, f"connecting to {host}: the socket is there, nothing listens")
    return NodeFailure(Cause.ENDPOINT_REFUSED, f"connecting to {host}: {error.strerror or error}")
