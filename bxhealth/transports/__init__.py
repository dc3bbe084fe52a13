"""How to open a stream of bytes to an endpoint: one file a kind, chosen by the URL's scheme."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerEndpoint
from bxhealth.errors import NodeFailure, malformed
from bxhealth.model import Cause
from bxhealth.transports import ssh, tcp, tls, unix
from bxhealth.transports.stream import Stream

_DIALERS: Mapping[str, Callable[[DockerEndpoint, Deadline], Stream]] = {
    "unix": unix.dial,
    "tcp": tcp.dial,
    "http": tcp.dial,
    "https": tcp.dial,
    "ssh": ssh.dial,
}


def dial(endpoint: DockerEndpoint, deadline: Deadline) -> Stream:
    """A connected stream to `endpoint`, with TLS on it where the endpoint has material for that.

    Raises:
        NodeFailure: nothing was reached, with the cause.
        Cancelled: the run was called off.
    """
    try:
        scheme = urlsplit(endpoint.host).scheme
    except ValueError as error:
        raise malformed(endpoint.host, error) from error
    dialer = _DIALERS.get(scheme)
    if dialer is None:
        known = ", ".join(f"{name}://" for name in _DIALERS)
        raise NodeFailure(Cause.CONFIG_INVALID, f"the endpoint {endpoint.host} has a scheme other than {known}")
    context = tls.context(endpoint.tls) if endpoint.tls else None
    stream = dialer(endpoint, deadline)
    if endpoint.tls is None or context is None or scheme == "ssh":
        return stream  # over ssh, docker's client uses no TLS material either
    return tls.wrap(stream, context, tls.server_name(endpoint), deadline)
