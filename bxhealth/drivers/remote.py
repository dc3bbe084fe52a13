"""The `remote` driver: a BuildKit that listens on TCP, plain or with TLS, or on a UNIX socket.

As in buildx's `driver/remote/factory.go` and `driver/remote/driver.go`. There is nothing to start.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bxhealth import transports
from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerEndpoint, TlsMaterial
from bxhealth.drivers.interface import MakeControl, Reached
from bxhealth.errors import NodeFailure, malformed
from bxhealth.model import Cause, Node
from bxhealth.transports import tls
from bxhealth.transports.stream import Stream

_FIRST_WORD_SECONDS = 0.25
"""BuildKit's server sends its settings as soon as it can, and whoever does not is spoken to all the same."""
_TLS_OPTIONS = ("servername", "cacert", "cert", "key")


class RemoteLink:
    """See `interface.Link`."""

    def __init__(self, node: Node, make_control: MakeControl) -> None:
        self._node = node
        self._make_control = make_control
        self._stream: Stream | None = None

    @staticmethod
    def serves(node: Node) -> bool:
        """Whether the endpoint is of a kind that needs nothing but a socket."""
        return node.endpoint.startswith(("tcp://", "unix://"))

    def reach(self, deadline: Deadline) -> Sequence[Reached]:
        """See `interface.Link`."""
        endpoint = DockerEndpoint(self._node.endpoint, _material(self._node))
        _require_port(endpoint.host)
        self._stream = transports.dial(endpoint, deadline)
        certificate = None
        if isinstance(self._stream, tls.TlsStream):
            self._stream.hear_first(deadline.at_most(_FIRST_WORD_SECONDS))
            certificate = self._stream.certificate
        control = self._make_control(self._stream, tls.server_name(endpoint))
        try:
            identity = control.identify(deadline)
        except NodeFailure as failure:
            if failure.cause is not Cause.ENDPOINT_REFUSED or endpoint.tls or not endpoint.host.startswith("tcp:"):
                raise
            # grpc-go closes the connection of a client that speaks no TLS where it wants that
            seen = f"{failure.message}; it may want TLS, and the node has no driver option cacert"
            raise NodeFailure(failure.cause, seen) from failure
        return [Reached(self._node.name, identity.workers, identity.version, control, certificate)]

    def is_doomed(self, deadline: Deadline) -> bool:  # noqa: ARG002
        """Never: there is nothing to start."""
        return False

    def diagnose(self, words: str, deadline: Deadline) -> NodeFailure:  # noqa: ARG002
        """There is nothing to start, so there is nothing to add."""
        return NodeFailure(Cause.BOOT_FAILED, words)

    def close(self) -> None:
        """See `interface.Link`."""
        if self._stream:
            self._stream.close()


def _require_port(host: str) -> None:
    try:
        missing = host.startswith("tcp://") and urlsplit(host).port is None
    except ValueError as error:
        raise malformed(host, error) from error
    if missing:
        raise NodeFailure(Cause.CONFIG_INVALID, f"the endpoint {host} names no port")


def _material(node: Node) -> TlsMaterial | None:
    given = {key: node.driver_opts[key] for key in _TLS_OPTIONS if key in node.driver_opts}
    if not given:
        return None
    files = {key: Path(value) for key, value in given.items() if key != "servername" and value}
    for key, path in files.items():
        if not path.is_absolute():
            raise NodeFailure(Cause.CONFIG_INVALID, f"the driver option {key}={path} is not an absolute path")
    for key, needed_by in (("cacert", "TLS"), ("key", "cert"), ("cert", "key")):
        if key not in files and (needed_by == "TLS" or needed_by in files):
            raise NodeFailure(Cause.CONFIG_INVALID, f"the driver option {key} is missing, which {needed_by} needs")
    return TlsMaterial(
        files["cacert"], files.get("cert"), files.get("key"), server_name=given.get("servername") or None
    )
