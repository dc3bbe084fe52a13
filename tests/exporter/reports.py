"""Reports as checks make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bxhealth.exporter.results import Checked
from bxhealth.model import BuilderReport, Cause, CheckResult, NodeReport, PlatformReport, Status, Verdict

AT = 1_700_000_000.0


def up(name: str = "n1", *, platforms: Sequence[str] = ("linux/amd64",), **figures: float) -> NodeReport:
    checks = (
        CheckResult("reach", Status.HEALTHY, duration_seconds=0.25),
        CheckResult("disk", Status.HEALTHY, duration_seconds=0.5, measured=figures),
    )
    return NodeReport(
        name,
        f"tcp://{name}.example:1234",
        Status.HEALTHY,
        buildkit_version="v0.21.0",
        platforms=tuple(platforms),
        checks=checks,
    )


def down(name: str = "n1", cause: Cause = Cause.ENDPOINT_REFUSED, message: str = "nothing listens") -> NodeReport:
    checks = (CheckResult("reach", Status.UNHEALTHY, cause, message, duration_seconds=0.01),)
    return NodeReport(name, f"tcp://{name}.example:1234", Status.UNHEALTHY, cause, message, "start it", checks=checks)


def builder(*nodes: NodeReport, name: str = "fleet", error: str | None = None) -> BuilderReport:
    failed = error or any(node.status is Status.UNHEALTHY for node in nodes)
    platforms: Mapping[str, PlatformReport] = {
        platform: PlatformReport(
            sum(platform in node.platforms for node in nodes),
            False,
            tuple(node.name for node in nodes if platform in node.platforms),
        )
        for node in nodes
        for platform in node.platforms
    }
    verdict = Verdict.UNHEALTHY if failed else Verdict.HEALTHY
    return BuilderReport(name, "remote", verdict, "all-nodes", nodes, platforms, error)


def checked(*nodes: NodeReport, name: str = "fleet", error: str | None = None, at: float = AT) -> Checked:
    return Checked(builder(*nodes, name=name, error=error), at, 0.75)
