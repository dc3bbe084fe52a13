"""The page: what a person is told about the builders, as data for the template, and the template's rendering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from jinja2 import Environment, PackageLoader, StrictUndefined

from bxhealth.exporter.history import NodeHistory, Past, is_up
from bxhealth.exporter.results import Checked
from bxhealth.model import BuilderReport, NodeReport, Status, Verdict
from bxhealth.reporters.escape import printable

_WORDS = {
    Status.HEALTHY: "up",
    Status.WARNING: "up, with a warning",
    Status.UNHEALTHY: "down",
    Status.SKIPPED: "not checked",
}
_MARKS = {Status.HEALTHY: "✓", Status.WARNING: "!", Status.UNHEALTHY: "✗", Status.SKIPPED: "?"}
_MAX_PLATFORMS = 24
_MAX_TEXT = 600


@dataclass(frozen=True)
class Cell:
    """One check in the strip of a node."""

    style: str
    mark: str
    said: str


@dataclass(frozen=True)
class Stretch:
    """Checks of a node, one after the other, that came to the same."""

    since: str
    until: str
    result: str
    checks: int


@dataclass(frozen=True)
class NodeView:
    """A node as the page shows it."""

    name: str
    style: str
    mark: str
    state: str
    endpoint: str
    version: str
    platforms: str
    cause: str
    message: str
    hint: str
    warnings: tuple[str, ...]
    advisory: bool
    cells: tuple[Cell, ...]
    summary: str
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True)
class PlatformView:
    """A platform of a builder: which nodes can build for it now."""

    name: str
    nodes: str
    missing: bool


@dataclass(frozen=True)
class BuilderView:
    """A builder as the page shows it."""

    name: str
    driver: str
    style: str
    verdict: str
    summary: str
    error: str
    checked: str
    took: str
    nodes: tuple[NodeView, ...]
    platforms: tuple[PlatformView, ...]


def builder_view(checked: Checked) -> BuilderView:
    """What the page shows of a builder; failing nodes first."""
    report = checked.report
    up = sum(is_up(node) for node in report.nodes)
    nodes = sorted(report.nodes, key=lambda node: (is_up(node), -node.status.severity, node.name))
    return BuilderView(
        _text(report.name),
        _text(report.driver),
        report.verdict.value,
        report.verdict.value,
        f"{up} of {len(report.nodes)} {'node' if len(report.nodes) == 1 else 'nodes'} up",
        _text(report.error or ""),
        _moment(checked.ended_at),
        f"{checked.duration_seconds:.1f} s",
        tuple(_node(node, checked.histories.get(node.name, NodeHistory())) for node in nodes),
        tuple(_platforms(report, checked)),
    )


def headline(checks: Sequence[Checked]) -> str:
    """The state of everything in one line."""
    nodes = [node for checked in checks for node in checked.report.nodes]
    down = sum(not is_up(node) for node in nodes)
    unread = sum(checked.report.error is not None for checked in checks)
    if not checks:
        return "No builder has been checked yet"
    # a builder may miss what is required of it though no node of it fails
    short = sum(
        checked.report.verdict is Verdict.UNHEALTHY and all(is_up(node) for node in checked.report.nodes)
        for checked in checks
        if checked.report.error is None
    )
    parts = [f"{down} of {len(nodes)} nodes down"] if down else []
    parts += [f"{_builders(short)} unhealthy"] if short else []
    parts += [f"{_builders(unread)} could not be checked"] if unread else []
    return ", ".join(parts) or f"All {len(nodes)} nodes up"


def _builders(count: int) -> str:
    return f"{count} {'builder' if count == 1 else 'builders'}"


class Page:
    """The template, filled in."""

    def __init__(self, version: str, interval: float) -> None:
        loader = PackageLoader("bxhealth.exporter")
        environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._template = environment.get_template("page.html")
        self._version = version
        self._interval = interval

    def render(self, checks: Sequence[Checked], problems: Sequence[str], now: float) -> str:
        """The page, of these checks."""
        return self._template.render(
            version=self._version,
            refresh=max(5, round(self._interval)),
            headline=headline(checks),
            problems=[_text(problem) for problem in problems],
            warnings=[_text(f"{c.name} {c.target}: {c.message}") for one in checks for c in one.client if c.cause],
            builders=[builder_view(checked) for checked in checks],
            now=_moment(now),
        )


def _node(node: NodeReport, history: NodeHistory) -> NodeView:
    failing = node.status is not Status.HEALTHY
    shown = [*node.platforms[:_MAX_PLATFORMS], *["…"][: len(node.platforms) > _MAX_PLATFORMS]]
    platforms = [f"{name} (emulated)" if name in node.emulated_platforms else name for name in shown]
    return NodeView(
        _text(node.name),
        node.status.value,
        _MARKS[node.status],
        _WORDS[node.status],
        _text(node.endpoint or "-"),
        _text(node.buildkit_version or ""),
        _text(", ".join(platforms)),
        node.cause.value if failing and node.cause else "",
        _text(node.message) if failing else "",
        _text(node.hint) if failing else "",
        tuple(
            _text(f"{check.name} {check.target or ''}: {check.message}")
            for check in node.checks
            if check.cause and check.message != node.message
        ),
        node.advisory,
        tuple(_cell(past) for past in history.recent),
        _strip_summary(history.recent),
        tuple(_stretches(history.recent)),
    )


def _platforms(report: BuilderReport, checked: Checked) -> Sequence[PlatformView]:
    served = {name: _text(", ".join(platform.nodes)) for name, platform in report.platforms.items()}
    remembered = [name for history in checked.histories.values() for name in history.platforms]
    known = list(dict.fromkeys((*served, *remembered)))[:_MAX_PLATFORMS]
    return [PlatformView(_text(name), served.get(name, ""), not served.get(name)) for name in known]


def _cell(past: Past) -> Cell:
    return Cell(past.status.value, _MARKS[past.status], f"{_clock(past.at)} {_result(past)}")


def _stretches(recent: Sequence[Past]) -> Sequence[Stretch]:
    """The same checks in a row as one, the latest first."""
    groups: list[list[Past]] = []
    for past in recent:
        if groups and _result(groups[-1][-1]) == _result(past):
            groups[-1].append(past)
        else:
            groups.append([past])
    return [
        Stretch(_clock(group[0].at), _clock(group[-1].at), _result(group[0]), len(group)) for group in reversed(groups)
    ]


def _strip_summary(recent: Sequence[Past]) -> str:
    if not recent:
        return "no checks yet"
    good = sum(past.status in (Status.HEALTHY, Status.WARNING) for past in recent)
    return f"{good} of the last {len(recent)} checks found it up, {_clock(recent[0].at)} to {_clock(recent[-1].at)} UTC"


def _result(past: Past) -> str:
    return f"{_WORDS[past.status]} ({past.cause.value})" if past.cause else _WORDS[past.status]


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%H:%M:%S")


def _text(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
