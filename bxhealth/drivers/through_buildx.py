"""Every other driver, `kubernetes` and those nobody has heard of included: only buildx can reach the node.

`docker buildx inspect` prints no JSON, so its text is read (`commands/inspect.go` in docker/buildx). Its exit
status is not to be trusted: a node with an error is printed as such, and the status is 0.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bxhealth import platforms, processes
from bxhealth.buildx import Buildx, last_words
from bxhealth.deadline import Deadline
from bxhealth.drivers.interface import Reached, Unreached
from bxhealth.errors import NodeFailure
from bxhealth.model import Builder, Cause, Node, Worker

_FIELD = re.compile(r"^(?P<key>[A-Za-z][^:]*?):\s+(?P<value>.*)$")


@dataclass
class InspectedNode:
    """A node, or a replica of one, in the output of `docker buildx inspect`."""

    name: str
    fields: dict[str, str] = field(default_factory=dict)


def parse_inspect(text: str) -> tuple[str | None, list[InspectedNode]]:
    """The builder's own error, or None, and its nodes, of the output of `docker buildx inspect`."""
    head, _, tail = text.partition("\nNodes:\n")
    fields = [match for line in head.splitlines() if (match := _FIELD.match(line))]
    error = next((match["value"] for match in fields if match["key"] == "Error"), None)
    nodes: list[InspectedNode] = []
    for line in tail.splitlines():
        match = _FIELD.match(line)
        if match and match["key"] == "Name":
            nodes.append(InspectedNode(match["value"]))
        elif match and nodes:
            nodes[-1].fields.setdefault(match["key"], match["value"])
    return error, nodes


class ThroughBuildxLink:
    """See `interface.Link`."""

    def __init__(self, builder: Builder, node: Node, buildx: Buildx) -> None:
        self._builder = builder
        self._node = node
        self._buildx = buildx

    def reach(self, deadline: Deadline) -> Sequence[Reached | Unreached]:
        """See `interface.Link`; buildx itself has asked `ListWorkers` of a node that it calls running."""
        finished = self._buildx.inspect(self._builder, self._node, deadline)
        if finished.status == processes.STOPPED:
            raise NodeFailure(
                Cause.DAEMON_UNRESPONSIVE,
                f"`docker buildx inspect` of {self._node.endpoint} did not end within {deadline.seconds:.3g} s",
            )
        if finished.status:
            raise NodeFailure(Cause.BOOT_FAILED, last_words(finished))
        error, nodes = parse_inspect(finished.stdout)
        if error or not nodes:
            raise NodeFailure(Cause.BOOT_FAILED, error or "buildx lists no node")
        outcomes = [_outcome(node) for node in _told_apart(nodes)]
        if len(outcomes) == 1 and isinstance(outcomes[0], Unreached):
            raise outcomes[0].failure
        return outcomes

    def is_doomed(self, deadline: Deadline) -> bool:  # noqa: ARG002
        """Unknown, so never."""
        return False

    def diagnose(self, words: str, deadline: Deadline) -> NodeFailure:  # noqa: ARG002
        """Buildx's own words are all there is."""
        return NodeFailure(Cause.BOOT_FAILED, words)

    def close(self) -> None:
        """Nothing is held."""


def _told_apart(nodes: Sequence[InspectedNode]) -> list[InspectedNode]:
    """The replicas of a node, which buildx gives the node's name, with a number each."""
    names = [node.name for node in nodes]
    if len(set(names)) == len(names):
        return list(nodes)
    return [InspectedNode(f"{node.name}[{number}]", node.fields) for number, node in enumerate(nodes, 1)]


def _outcome(node: InspectedNode) -> Reached | Unreached:
    error, status = node.fields.get("Error"), node.fields.get("Status") or "of no status"
    if error:
        return Unreached(node.name, NodeFailure(Cause.BOOT_FAILED, error))
    if status != "running":
        seen = f"buildx says that the node is {status}"
        return Unreached(node.name, NodeFailure(Cause.CONTAINER_MISSING, seen, startable=True))
    offered = platforms.unique(_platforms(node.fields.get("Platforms", "")))
    version = node.fields.get("BuildKit version") or node.fields.get("Buildkit")
    return Reached(node.name, (Worker("", offered),), version)


def _platforms(listed: str) -> Iterator[str]:
    for item in listed.replace("*", "").split(","):
        # one that we cannot read, such as Windows's with its version, does not make the others worthless
        with contextlib.suppress(ValueError):
            yield platforms.parse(item)
