"""What every driver offers: to reach the BuildKit of a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bxhealth import platforms
from bxhealth.buildkit.client import ControlClient
from bxhealth.deadline import Deadline
from bxhealth.engine import ExecOutput
from bxhealth.errors import NodeFailure
from bxhealth.model import Worker
from bxhealth.transports.stream import Stream
from bxhealth.transports.tls import PeerCertificate

MakeControl = Callable[[Stream, str], ControlClient]
"""Makes the client of the BuildKit at the other end of a stream; the text is the server's name."""


@dataclass(frozen=True)
class Reached:
    """A BuildKit that answered `ListWorkers`, and what having reached it has taught."""

    name: str
    """The node's name, or that of one of the replicas that it stands for."""
    workers: tuple[Worker, ...]
    version: str | None
    """BuildKit's own version, such as `v0.21.0`; None where it does not tell."""
    control: ControlClient | None = None
    """To ask BuildKit more; None where only buildx can speak to it."""
    certificate: PeerCertificate | None = None
    """The certificate of a TLS endpoint."""
    run_inside: Callable[[Sequence[str], Deadline], ExecOutput] | None = None
    """To run a command where BuildKit runs, where the driver can. Raises as `Link.reach` does."""

    @property
    def offered(self) -> tuple[str, ...]:
        """The platforms that the workers list."""
        return platforms.unique(platform for worker in self.workers for platform in worker.platforms)

    @property
    def native(self) -> str:
        """The platform of the node's own processor: BuildKit lists it first (`util/archutil`)."""
        return self.offered[0] if self.offered else ""


@dataclass(frozen=True)
class Unreached:
    """A replica that was not reached, beside others of the same node that may have been."""

    name: str
    failure: NodeFailure


class Link(Protocol):
    """The way to one node, for one attempt. A driver is a class of these."""

    def reach(self, deadline: Deadline) -> Sequence[Reached | Unreached]:
        """Every BuildKit that the node stands for: one, but for a kubernetes node of several replicas.

        Raises:
            NodeFailure: it was not reached; `startable` where bootstrapping may mend that.
            StoreError: Docker's configuration, which the node refers to, cannot be read.
            CliUnavailable: a program that reaching the node needs is not installed.
            Cancelled: the run was called off.
        """

    def is_doomed(self, deadline: Deadline) -> bool:
        """Whether the node, which is being started, has failed at it so often that waiting is in vain."""

    def diagnose(self, words: str, deadline: Deadline) -> NodeFailure:
        """Why the node could not be started, given buildx's own last `words`."""

    def close(self) -> None:
        """Free all that `reach` holds, here and at the node. Never raises."""
