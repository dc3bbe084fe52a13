"""`--format table`: for people. Failing nodes come first, each with its cause, what was seen and what to do."""

from __future__ import annotations

import click

from bxhealth.model import BuilderReport, CheckResult, NodeReport, Report, Status, Verdict
from bxhealth.options import ALL_PLATFORMS
from bxhealth.reporters.escape import printable
from bxhealth.reporters.interface import Style

_COLOURS = {
    Status.HEALTHY: "green",
    Status.WARNING: "yellow",
    Status.UNHEALTHY: "red",
    Status.SKIPPED: "yellow",
    Verdict.HEALTHY: "green",
    Verdict.DEGRADED: "yellow",
    Verdict.UNHEALTHY: "red",
}
_COLUMNS = ("NODE", "STATUS", "DRIVER", "ENDPOINT", "BUILDKIT", "PLATFORMS")
_STATUS_COLUMN = 1
_GAP = "  "


def render(report: Report, style: Style) -> str:
    """See `interface.Reporter`."""
    parts = [_builder(builder, style) for builder in report.builders]
    if report.checks:
        parts.append("".join(f"{_check(check, style)}\n" for check in report.checks))
    return "\n".join(parts)


def _builder(builder: BuilderReport, style: Style) -> str:
    nodes = sorted(builder.nodes, key=lambda node: -_urgency(node))
    rows = [_row(builder, node) for node in nodes]
    widths = [max(len(row[i]) for row in [_COLUMNS, *rows]) for i in range(len(_COLUMNS) - 1)]
    lines = [_headline(builder, style)]
    if builder.error:
        lines.append(f"  {_paint('could not be checked:', 'red', style)} {printable(builder.error)}")
    if rows:
        lines.append("  " + _line(_COLUMNS, widths))
    for node, row in zip(nodes, rows, strict=True):
        painted = list(row)
        padded = row[_STATUS_COLUMN].ljust(widths[_STATUS_COLUMN])
        painted[_STATUS_COLUMN] = _paint(padded, _COLOURS[node.status], style)
        lines.append("  " + _line(painted, widths))
        lines += [f"      {line}" for line in _details(node, style)]
    return "\n".join(lines + _platforms(builder, style)) + "\n"


def _platforms(builder: BuilderReport, style: Style) -> list[str]:
    """Which nodes serve the platforms that count: the required ones, or all where the policy is about them."""
    lines = []
    for platform, served in builder.platforms.items():
        if served.required or builder.policy == ALL_PLATFORMS:
            emulated = [f"{name} (emulated)" if name in served.emulated_on else name for name in served.nodes]
            nodes = printable(", ".join(emulated)) or _paint("no healthy node", "red", style)
            required = " (required)" if served.required else ""
            lines.append(f"  platform {printable(platform)}{required}: {nodes}")
    return lines


def _urgency(node: NodeReport) -> int:
    """Failing nodes first; what was not finished is more urgent to see than what is healthy."""
    return {Status.UNHEALTHY: 3, Status.WARNING: 2, Status.SKIPPED: 1, Status.HEALTHY: 0}[node.status]


def _headline(builder: BuilderReport, style: Style) -> str:
    healthy = sum(node.status is Status.HEALTHY for node in builder.nodes)
    word = _paint(builder.verdict.value, _COLOURS[builder.verdict], style)
    return f"{printable(builder.name)}: {word}, {healthy} of {len(builder.nodes)} nodes healthy"


def _row(builder: BuilderReport, node: NodeReport) -> tuple[str, ...]:
    cells = (
        node.name,
        node.status.value,
        builder.driver,
        node.endpoint or "-",
        node.buildkit_version or "-",
        ",".join(node.platforms) or "-",
    )
    return tuple(printable(cell) for cell in cells)


def _line(cells: tuple[str, ...] | list[str], widths: list[int]) -> str:
    return _GAP.join([cell.ljust(width) for cell, width in zip(cells, widths, strict=False)] + [cells[-1]]).rstrip()


def _details(node: NodeReport, style: Style) -> list[str]:
    lines = []
    if node.message:
        cause = f"{_paint(node.cause.value, _COLOURS[node.status], style)}: " if node.cause else ""
        lines.append(cause + printable(node.message))
    if node.hint:
        lines.append(f"hint: {printable(node.hint)}")
    if node.advisory and node.status is not Status.HEALTHY:
        lines.append("advisory: this does not fail the check")
    lines += [f"log: {printable(line)}" for line in node.log_tail]
    if node.bootstrapped:
        lines.append("it was not running and has been started")
    if node.attempts > 1:
        lines.append(f"after {node.attempts} attempts")
    told = [check for check in node.checks if check.message != node.message or not check.message]
    shown = told if style.verbose else [check for check in told if check.cause or _is_unanswered(check)]
    return lines + [_check(check, style) for check in shown]


def _is_unanswered(check: CheckResult) -> bool:
    """Whether somebody has asked this and must not take silence for an answer."""
    return check.status is Status.SKIPPED and check.name not in ("reach", "bootstrap")


def _check(check: CheckResult, style: Style) -> str:
    name = f"{check.name}[{check.target}]" if check.target else check.name
    cause = f" {check.cause.value}" if check.cause else ""
    words = f": {check.message}" if check.message else ""
    status = _paint(check.status.value, _COLOURS[check.status], style)
    return f"{printable(name)} {status}{cause}{printable(words)} ({check.duration_seconds:.2f} s)"


def _paint(text: str, colour: str, style: Style) -> str:
    return click.style(text, fg=colour) if style.colour else text
