"""Reports in, verdict out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

from bxhealth import versions
from bxhealth.hints import HINTS
from bxhealth.model import (
    Builder,
    BuilderReport,
    Cause,
    CheckResult,
    NodeReport,
    PlatformReport,
    Report,
    Status,
    Verdict,
)
from bxhealth.options import ALL_NODES, Judging

HEALTHY, UNHEALTHY, COULD_NOT_CHECK = 0, 1, 3
INTERRUPTED = 130


def worst(checks: Iterable[CheckResult]) -> CheckResult | None:
    """The check that decides a node's health: the worst, of equals the first, but a failed bootstrap over all.

    A bootstrap comes after a failed reach and knows better why. None where there are no checks.
    """
    return max(checks, key=lambda check: (check.status.severity, check.name == "bootstrap"), default=None)


def settle(checks: Sequence[CheckResult], judging: Judging) -> list[CheckResult]:
    """The checks of a node as they count: advisory ones warn at most, and a canary settles what was doubtful.

    A platform that is declared and not listed is a warning, which a canary that executes takes back.
    """
    executes = {check.target for check in checks if check.name == "canary" and check.status is Status.HEALTHY}
    settled = []
    for check in checks:
        if check.name in judging.advisory and check.status is Status.UNHEALTHY:
            check = replace(check, status=Status.WARNING)
        if check.name == "platforms" and check.target in executes:
            check = replace(check, status=Status.HEALTHY, cause=None, message=f"{check.message}, and executes")
        settled.append(check)
    return settled


def conclude(report: NodeReport, checks: Sequence[CheckResult]) -> NodeReport:
    """The node's report with these checks: its status, cause, message and hint are those of the worst."""
    decisive = worst(checks)
    status = decisive.status if decisive else Status.SKIPPED
    cause = decisive.cause if decisive else None
    message = decisive.message if decisive and status is not Status.HEALTHY else ""
    hint = HINTS[cause] if cause else ""
    return replace(report, status=status, cause=cause, message=message, hint=hint, checks=tuple(checks))


def mark_skew(nodes: Sequence[NodeReport], judging: Judging) -> list[NodeReport]:
    """The reports with a failed `version` check on every node whose BuildKit differs from that of most.

    Where no version leads, the newest does. Nodes that tell no version are left as they are.
    """
    told = Counter(node.buildkit_version for node in nodes if node.buildkit_version)
    if len(told) < 2:
        return list(nodes)
    common = max(told, key=lambda version: (told[version], _age(version), version))
    marked = []
    for node in nodes:
        if node.buildkit_version in (None, common):
            marked.append(node)
            continue
        message = f"BuildKit {node.buildkit_version}, where other nodes have {common}"
        skew = CheckResult("version", Status.UNHEALTHY, Cause.VERSION_SKEW, message)
        marked.append(conclude(node, settle([*node.checks, skew], judging)))
    return marked


def _age(version: str) -> tuple[int, versions.Version]:
    try:
        return 1, versions.parse(version)
    except ValueError:
        return 0, versions.Version(0, 0, 0)


def platforms_of(builder: Builder, nodes: Sequence[NodeReport], judging: Judging) -> dict[str, PlatformReport]:
    """For each platform that is required, declared or offered: which usable nodes can serve it now."""
    declared = (platform for node in builder.nodes for platform in node.platforms)
    offered = (platform for node in nodes for platform in node.platforms)
    served = {}
    for platform in dict.fromkeys((*judging.required, *declared, *offered)):
        able = [node for node in nodes if _is_usable(node) and platform in node.platforms]
        emulated = tuple(node.name for node in able if platform in node.emulated_platforms)
        count = len(able) - (len(emulated) if judging.native else 0)
        names = tuple(node.name for node in able)
        served[platform] = PlatformReport(count, platform in judging.required, names, emulated)
    return served


def judge(builder: Builder, nodes: Sequence[NodeReport], judging: Judging) -> BuilderReport:
    """The report of a builder; one of which something could not be asked at all is not healthy, and says so."""
    error = "; ".join(f"node {node.name}: {node.unasked}" for node in nodes if node.unasked) or None
    platforms = platforms_of(builder, nodes, judging)
    failed = bool(error) or fails(platforms, nodes, judging)
    flawed = _is_flawed(nodes)
    verdict = Verdict.DEGRADED if flawed else Verdict.HEALTHY
    if failed or (flawed and judging.strict):
        verdict = Verdict.UNHEALTHY
    return BuilderReport(
        builder.name,
        builder.driver,
        verdict,
        judging.policy,
        tuple(nodes),
        platforms,
        error,
    )


def fails(
    platforms: dict[str, PlatformReport], nodes: Sequence[NodeReport], judging: Judging, unfinished: int = 0
) -> bool:
    """Whether the policy is broken, even if `unfinished` further nodes were healthy and served everything.

    A node that was not asked to the end is not known to be healthy, so it counts as one that is not.
    """
    least = 1 if judging.policy == ALL_NODES else judging.min_nodes
    if any(
        platform.healthy_nodes + unfinished < least
        for platform in platforms.values()
        if platform.required or judging.policy != ALL_NODES
    ):
        return True
    if judging.policy == ALL_NODES:
        return not (nodes or unfinished) or any(not (_is_usable(node) or node.advisory) for node in nodes)
    return not (unfinished or any(_is_usable(node) for node in nodes))


def is_decided(builder: Builder, nodes: Sequence[NodeReport], judging: Judging, unfinished: int) -> bool:
    """Whether these reports settle that the builder is unhealthy, whatever `unfinished` further nodes answer."""
    if judging.strict and _is_flawed(nodes):
        return True
    return fails(platforms_of(builder, nodes, judging), nodes, judging, unfinished)


def overall(builders: Iterable[BuilderReport], checks: Sequence[CheckResult], judging: Judging) -> Verdict:
    """The worst of all builders' verdicts and of the client's own checks; of no builder, unhealthy."""
    verdicts = [builder.verdict for builder in builders] or [Verdict.UNHEALTHY]
    if any(check.status is Status.WARNING for check in checks):
        verdicts.append(Verdict.UNHEALTHY if judging.strict else Verdict.DEGRADED)
    return max(verdicts, key=lambda verdict: verdict.severity)


def untried_canaries(builder: BuilderReport) -> Mapping[str, str]:
    """The platforms for which a canary was asked for and no node could try it, each with a reason."""
    tried = tried_canaries(builder)
    return {check.target: check.message for check in _canaries(builder) if check.target and check.target not in tried}


def tried_canaries(builder: BuilderReport) -> Set[str | None]:
    """The platforms for which a node has tried a canary; how it went is in the verdict."""
    return {check.target for check in _canaries(builder) if check.status is not Status.SKIPPED}


def _canaries(builder: BuilderReport) -> Iterable[CheckResult]:
    return (check for node in builder.nodes for check in node.checks if check.name == "canary")


def exit_status(report: Report) -> int:
    """3 where something could not be checked at all, else 1 for an unhealthy verdict, else 0."""
    if any(builder.error for builder in report.builders):
        return COULD_NOT_CHECK
    return UNHEALTHY if report.verdict is Verdict.UNHEALTHY else HEALTHY


def _is_usable(node: NodeReport) -> bool:
    return node.status in (Status.HEALTHY, Status.WARNING)


def _is_flawed(nodes: Iterable[NodeReport]) -> bool:
    return any(node.status is not Status.HEALTHY for node in nodes)
