"""What a check is given, made by hand, with a buildx that answers from memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bxhealth.buildkit.client import ControlClient
from bxhealth.buildx import Buildx
from bxhealth.checks.interface import Probe
from bxhealth.deadline import Cancellation, Deadline
from bxhealth.drivers.interface import Reached
from bxhealth.engine import ExecOutput
from bxhealth.model import Builder, Node, Worker
from bxhealth.options import Options
from bxhealth.processes import Finished, Runner, directly
from bxhealth.transports.tls import PeerCertificate


@dataclass(frozen=True)
class Call:
    """One command that buildx was to run."""

    builder: str
    node: str
    arguments: tuple[str, ...]
    files: Mapping[str, bytes]
    seconds: float
    cancellation: Cancellation | None
    experimental: bool


class FakeBuildx(Buildx):
    """Answers each call with a function of it, and keeps the calls."""

    def __init__(self, answer: Callable[[Call], Finished] | None = None) -> None:
        self._answer = answer or (lambda _: Finished(0, "", ""))
        self._lock = threading.Lock()
        self.calls: list[Call] = []

    def run(
        self,
        builder: Builder,
        node: Node,
        arguments: Sequence[str],
        deadline: Deadline,
        files: Mapping[str, bytes] | None = None,
        give_up: Cancellation | None = None,  # noqa: ARG002
        *,
        experimental: bool = False,
        runner: Runner = directly,  # noqa: ARG002
    ) -> Finished:
        call = Call(
            builder.name,
            node.name,
            tuple(arguments),
            dict(files or {}),
            deadline.seconds,
            deadline.cancellation,
            experimental,
        )
        with self._lock:
            self.calls.append(call)
        return self._answer(call)


def always(status: int, stderr: str = "", stdout: str = "") -> FakeBuildx:
    """A buildx that ends in the same way whatever it is asked."""
    return FakeBuildx(lambda _: Finished(status, stdout, stderr))


def probe(
    options: Options,
    buildx: Buildx | None = None,
    *,
    declared: tuple[str, ...] = (),
    workers: Sequence[Sequence[str]] = (("linux/amd64",),),
    version: str | None = "v0.21.0",
    control: ControlClient | None = None,
    certificate: PeerCertificate | None = None,
    run_inside: Callable[[Sequence[str], Deadline], ExecOutput] | None = None,
) -> Probe:
    """A node `n1` of the builder `fleet` that was reached; `workers` are the platforms that each lists."""
    node = Node("n1", "tcp://n1.example:1234", declared)
    known = tuple(Worker(f"w{i}", tuple(platforms)) for i, platforms in enumerate(workers))
    reached = Reached("n1", known, version, control, certificate, run_inside)
    return Probe(Builder("fleet", "remote", (node,)), node, reached, options, buildx or FakeBuildx(), Cancellation())
