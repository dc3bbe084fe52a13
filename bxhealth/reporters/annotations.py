"""What a CI system shows beside a run: workflow commands of GitHub Actions.

docs.github.com, "Workflow commands for GitHub Actions": `::error title=…::message`, read from any output of a step.
"""

from __future__ import annotations

from collections.abc import Mapping

from bxhealth.model import Cause, NodeReport, Report, Status
from bxhealth.reporters.escape import printable


def are_wanted(environ: Mapping[str, str]) -> bool:
    """Whether this is a step of GitHub Actions."""
    return environ.get("GITHUB_ACTIONS") == "true"


def render(report: Report) -> str:
    """A line for each node that cannot build, each required platform that nobody serves, and each warning."""
    lines = [
        _line(_level(node), f"{builder.name}/{node.name}", node.cause, node.message)
        for builder in report.builders
        for node in builder.nodes
        if node.status in (Status.UNHEALTHY, Status.WARNING)
    ]
    lines += [_line("error", builder.name, None, builder.error) for builder in report.builders if builder.error]
    lines += [
        _line("error", builder.name, Cause.PLATFORM_MISSING, f"no healthy node serves {platform}")
        for builder in report.builders
        for platform, served in builder.platforms.items()
        if served.required and not served.healthy_nodes
    ]
    lines += [
        _line("warning", f"{check.name} {check.target}", check.cause, check.message)
        for check in report.checks
        if check.status is Status.WARNING
    ]
    return "".join(lines)


def _level(node: NodeReport) -> str:
    return "error" if node.status is Status.UNHEALTHY and not node.advisory else "warning"


def _line(level: str, subject: str, cause: Cause | None, message: str) -> str:
    title = f"{subject}: {cause.value}" if cause else subject
    return f"::{level} title={_escape(title, ':,')}::{_escape(message)}\n"


def _escape(text: str, further: str = "") -> str:
    text = printable(text).replace("%", "%25")
    for character in further:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
