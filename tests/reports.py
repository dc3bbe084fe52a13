"""Reports to render, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from bxhealth.hints import HINTS
from bxhealth.model import (
    BuilderReport,
    Cause,
    CheckResult,
    NodeReport,
    PlatformReport,
    Report,
    Status,
    Verdict,
)

STARTED = datetime(2026, 1, 2, 3, 4, 5, 678_900, timezone.utc)


def healthy(name: str = "good", **more: object) -> NodeReport:
    return NodeReport(
        name,
        "unix:///run/docker.sock",
        Status.HEALTHY,
        duration_seconds=0.0123456,
        buildkit_version="v0.21.0",
        platforms=("linux/amd64", "linux/arm64"),
        emulated_platforms=("linux/arm64",),
        checks=(CheckResult("reach", Status.HEALTHY, duration_seconds=0.01), CheckResult("workers", Status.HEALTHY)),
        **more,  # type: ignore[arg-type]
    )


def failing(name: str = "bad", cause: Cause = Cause.CONTAINER_EXITED, message: str = "it is down") -> NodeReport:
    return NodeReport(
        name,
        "tcp://10.0.0.1:2376",
        Status.UNHEALTHY,
        cause,
        message,
        HINTS[cause],
        attempts=3,
        log_tail=("last words",),
        checks=(CheckResult("reach", Status.UNHEALTHY, cause, message, duration_seconds=0.5),),
    )


def builder(*nodes: NodeReport, verdict: Verdict = Verdict.UNHEALTHY, error: str | None = None) -> BuilderReport:
    platforms = {"linux/amd64": PlatformReport(1, required=False, nodes=("good",))}
    return BuilderReport("fleet", "docker-container", verdict, "all-nodes", nodes, platforms, error)


def report(*builders: BuilderReport, checks: Sequence[CheckResult] = ()) -> Report:
    return Report("1.2.3", STARTED, 1.23456, Verdict.UNHEALTHY, builders, checks)
