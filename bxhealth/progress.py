"""Shows what a check is waiting for, on stderr: live on a terminal, plain lines elsewhere once it takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import click

from bxhealth.checker import Observer
from bxhealth.model import Builder, Node, NodeReport, Status
from bxhealth.reporters.escape import printable

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_LONG_SECONDS = 1.0
_MAX_LINES = 20


class PlainProgress(Observer):
    """One line on stderr for each node that is being started, and for each that took long."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to take away."""

    def bootstrapping(self, builder: Builder, node: Node) -> None:
        """See `Observer`."""
        click.echo(f"{_name(builder, node)}: not running, starting it", err=True)

    def finished(self, builder: Builder, node: Node, reports: Sequence[NodeReport]) -> None:
        """See `Observer`."""
        took = time.monotonic() - self._begun
        if took >= _LONG_SECONDS:
            said = ", ".join(dict.fromkeys(_outcome(report) for report in reports))
            click.echo(f"{_name(builder, node)}: {said or 'not finished'} after {took:.1f} s", err=True)


class LiveProgress(Observer):
    """A line a node on a terminal, redrawn as states change, and gone at the end: the report says the rest."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._live: Live | None = None

    def __enter__(self) -> LiveProgress:
        # late, since only a terminal is worth the time that importing takes
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        self._live = Live(console=console, get_renderable=self._draw, transient=True, refresh_per_second=8)
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def started(self, builder: Builder, node: Node) -> None:
        """See `Observer`."""
        self._set(builder, node, "asking")

    def bootstrapping(self, builder: Builder, node: Node) -> None:
        """See `Observer`."""
        self._set(builder, node, "starting")

    def finished(self, builder: Builder, node: Node, reports: Sequence[NodeReport]) -> None:  # noqa: ARG002
        """See `Observer`."""
        with self._lock:
            self._states.pop((builder.name, node.name), None)

    def _set(self, builder: Builder, node: Node, state: str) -> None:
        with self._lock:
            _, begun = self._states.get((builder.name, node.name), ("", time.monotonic()))
            self._states[(builder.name, node.name)] = (state, begun)

    def _draw(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        with self._lock:
            waiting = list(self._states.items())
        for (builder, node), (state, begun) in waiting[:_MAX_LINES]:
            name = escape(printable(f"{builder}/{node}"))
            table.add_row(name, state, f"{time.monotonic() - begun:.1f} s")
        if len(waiting) > _MAX_LINES:
            table.add_row(f"and {len(waiting) - _MAX_LINES} more", "", "")
        return table


def _name(builder: Builder, node: Node) -> str:
    return printable(f"{builder.name}/{node.name}")


def _outcome(report: NodeReport) -> str:
    if report.status is Status.UNHEALTHY and report.cause:
        return f"{report.status.value} ({report.cause.value})"
    return report.status.value
