"""Reports in, verdict out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bxhealth.model import BuilderReport, CheckResult, NodeReport, PlatformReport, Report, Status, Verdict

HEALTHY, UNHEALTHY, COULD_NOT_CHECK = 0, 1, 3
INTERRUPTED = 130


def worst(checks: Iterable[CheckResult]) -> CheckResult | None:
    """The check that decides a node's health: the worst, of equals the first, but a failed bootstrap over all.

    A bootstrap comes after a failed reach and knows better why. None where there are no checks.
    """
    return max(checks, key=lambda check: (check.status.severity, check.name == "bootstrap"), default=None)


def verdict_of(nodes: Sequence[NodeReport]) -> Verdict:
    """What the nodes add up to: every one has to be healthy, and a warning is no failure.

    A node that was not asked to the end is not known to be healthy, so it counts as one that is not.
    """
    if not nodes or any(node.status in (Status.UNHEALTHY, Status.SKIPPED) for node in nodes):
        return Verdict.UNHEALTHY
    if any(node.status is Status.WARNING for node in nodes):
        return Verdict.DEGRADED
    return Verdict.HEALTHY


def platforms_of(nodes: Sequence[NodeReport]) -> dict[str, PlatformReport]:
    """For each platform, how many usable nodes can serve it now; in order of first mention."""
    served: dict[str, int] = {}
    for node in nodes:
        for platform in node.platforms:
            served.setdefault(platform, 0)
            served[platform] += node.status in (Status.HEALTHY, Status.WARNING)
    return {platform: PlatformReport(count, required=False) for platform, count in served.items()}


def judge(name: str, driver: str, nodes: Sequence[NodeReport], error: str | None = None) -> BuilderReport:
    """The report of a builder; with an `error`, something of it could not be checked, and it is not healthy."""
    verdict = Verdict.UNHEALTHY if error else verdict_of(nodes)
    return BuilderReport(name, driver, verdict, "all-nodes", tuple(nodes), platforms_of(nodes), error)


def overall(builders: Iterable[BuilderReport]) -> Verdict:
    """The worst of all builders' verdicts; of none, unhealthy."""
    return max((builder.verdict for builder in builders), key=lambda v: v.severity, default=Verdict.UNHEALTHY)


def decides(node: NodeReport) -> bool:
    """Whether this node alone settles that its builder's verdict is unhealthy."""
    return node.status is Status.UNHEALTHY


def exit_status(report: Report) -> int:
    """3 where something could not be checked at all, else 1 for an unhealthy verdict, else 0."""
    if any(builder.error for builder in report.builders):
        return COULD_NOT_CHECK
    return UNHEALTHY if report.verdict is Verdict.UNHEALTHY else HEALTHY
