"""What is remembered of a node from one check to the next. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from bxhealth import platforms
from bxhealth.model import BuilderReport, Cause, NodeReport, Status

RECENT = 30
"""How many of the last checks are kept a node: as many as a phone can show beside each other."""
MAX_PLATFORMS = 64
"""More platforms of one node than any emulator serves are not remembered: a node says what it likes."""


@dataclass(frozen=True, slots=True)
class Past:
    """One of the last checks of a node: when it ended (seconds since 1970), and what it came to."""

    at: float
    status: Status
    cause: Cause | None = None


@dataclass(frozen=True)
class NodeHistory:
    """What is remembered of a node.

    Attributes:
        failures: how many checks found it failing, by cause.
        bootstraps: how many times a check has started it.
        last_success: when a check last found it usable, in seconds since 1970; None if none did.
        platforms: what it declares, and what it was ever seen to serve.
        recent: the last checks, the latest last.
        entry: where it is and what it declares; another entry makes `platforms` obsolete.
    """

    failures: Mapping[Cause, int] = field(default_factory=dict)
    bootstraps: int = 0
    last_success: float | None = None
    platforms: tuple[str, ...] = ()
    recent: tuple[Past, ...] = ()
    entry: tuple[str, tuple[str, ...]] | None = None


def is_up(node: NodeReport) -> bool:
    """Whether a node can build: a warning does not keep it from that."""
    return node.status in (Status.HEALTHY, Status.WARNING)


def stored_name(report_name: str) -> str:
    """The store's name of a node, given that of its report: replicas `NODE[1]`, `NODE[2]` are one `NODE` there."""
    return report_name.partition("[")[0]


def remember(
    before: Mapping[str, NodeHistory], builder: BuilderReport, at: float, fresh: Collection[str] | None = None
) -> Mapping[str, NodeHistory]:
    """The histories of a builder's nodes by name, after a check that ended `at` (seconds since 1970).

    A node that has no report is forgotten, unless no node has one: then the builder could not be read. Replicas are
    remembered while the node is not up, and only it has a report.

    Args:
        before: the histories before.
        builder: the report of the check.
        at: when.
        fresh: the nodes whose reports are to be remembered; all of them, unless it is given.
    """
    if builder.error and not builder.nodes:
        return before
    stored = {stored_name(node.name) for node in builder.nodes}
    kept = {name: history for name, history in before.items() if stored_name(name) in stored}
    new = {
        node.name: _remember(before.get(node.name, NodeHistory()), node, at)
        for node in builder.nodes
        if fresh is None or node.name in fresh
    }
    return {**kept, **new}


def _remember(before: NodeHistory, node: NodeReport, at: float) -> NodeHistory:
    declared = node.declared_platforms
    entry = (node.endpoint, declared)
    failures = before.failures
    if node.status is Status.UNHEALTHY and node.cause:
        failures = {**failures, node.cause: failures.get(node.cause, 0) + 1}
    known = before.platforms if entry == before.entry else ()
    # what a check of a platform has missed, or refuted
    missed = [check.target for check in node.checks if check.name in ("platforms", "canary") and check.target]
    return NodeHistory(
        failures,
        before.bootstraps + node.bootstrapped,
        at if is_up(node) else before.last_success,
        platforms.unique((*declared, *known, *node.platforms, *missed))[:MAX_PLATFORMS],
        (*before.recent, Past(at, node.status, node.cause))[-RECENT:],
        entry,
    )
