"""What can go wrong, one exception type a seam, so that each becomes one clear line."""

from __future__ import annotations

from pathlib import Path

from bxhealth.model import Cause


class BxhealthError(Exception):
    """Base of all that bxhealth raises on purpose."""


class StoreError(BxhealthError):
    """Buildx's store, or Docker's configuration, cannot be read or lacks what was asked for."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        self.path = path
        super().__init__(f"{path}: {message}" if path else message)


class CliUnavailable(BxhealthError):
    """A node needs `docker buildx`, and there is no docker, or no buildx, to run."""


class Cancelled(BxhealthError):
    """The run was called off: its deadline, `--fail-fast` or an interrupt."""


class NodeFailure(BxhealthError):
    """A node cannot be used, with the cause.

    Attributes:
        cause: why.
        message: what was being done, to what, and what was seen, in one line.
        startable: whether bootstrapping the node may mend it.
        log_tail: the node's own last lines, where there are any.
    """

    def __init__(self, cause: Cause, message: str, *, startable: bool = False, log_tail: tuple[str, ...] = ()) -> None:
        self.cause = cause
        self.message = message
        self.startable = startable
        self.log_tail = log_tail
        super().__init__(f"{cause.value}: {message}")


class Unavailable(BxhealthError):
    """Something cannot be known of this node, with the reason: no failure, and never silent."""


def malformed(endpoint: str, error: ValueError) -> NodeFailure:
    """The failure of an endpoint that is no URL. Of what urllib says, nothing: it may quote a part of a password."""
    reason = "its port is no port" if str(error).startswith("Port") else "it is no URL"
    return NodeFailure(Cause.CONFIG_INVALID, f"the endpoint {endpoint} is malformed: {reason}")
