"""The `docker` driver: the BuildKit inside a Docker Engine, by an upgrade of `POST /grpc`.

As in buildx's `driver/docker/driver.go`. There is nothing to start.
"""

from __future__ import annotations

from collections.abc import Sequence

from bxhealth import transports
from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerConfig
from bxhealth.drivers.interface import MakeControl, Reached
from bxhealth.engine import Engine, EngineError
from bxhealth.errors import NodeFailure
from bxhealth.model import Cause, Node
from bxhealth.transports.stream import Stream


class DockerLink:
    """See `interface.Link`."""

    def __init__(self, node: Node, config: DockerConfig, make_control: MakeControl) -> None:
        self._node = node
        self._make_control = make_control
        self._engine = Engine(lambda deadline: transports.dial(config.endpoint(node.endpoint), deadline))
        self._stream: Stream | None = None

    def reach(self, deadline: Deadline) -> Sequence[Reached]:
        """See `interface.Link`."""
        try:
            self._stream = self._engine.upgrade("/grpc", "h2c", deadline)
        except EngineError as error:
            raise NodeFailure(
                Cause.ENDPOINT_DENIED if error.is_denial else Cause.NOT_BUILDKIT,
                f"{self._node.endpoint} does not serve BuildKit at POST /grpc: {error}",
            ) from error
        control = self._make_control(self._stream, "localhost")
        identity = control.identify(deadline)
        return [Reached(self._node.name, identity.workers, identity.version, control, self._engine.certificate)]

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
        self._engine.close()
