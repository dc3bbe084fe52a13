"""The last result of each builder: written by checks, read by scrapes, never waiting for one another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bxhealth.exporter.history import NodeHistory, remember
from bxhealth.model import BuilderReport, CheckResult


@dataclass(frozen=True)
class Checked:
    """One finished check of a builder.

    Attributes:
        report: what it came to, without credentials.
        ended_at: when, in seconds since 1970.
        duration_seconds: how long it took.
        client: what was asked of the client, such as its registry credentials.
        histories: by node, what is remembered, this check included.
    """

    report: BuilderReport
    ended_at: float
    duration_seconds: float
    client: Sequence[CheckResult] = ()
    histories: Mapping[str, NodeHistory] = field(default_factory=dict)

    def after(self, before: Mapping[str, NodeHistory]) -> Checked:
        """This check with what is remembered since those `before` it."""
        return replace(self, histories=remember(before, self.report, self.ended_at))


class Results:
    """By builder, as the store names it. Every change replaces the whole, so a reader sees one moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checked: Mapping[str, Checked] = {}
        self._changed: Callable[[], None] = lambda: None
        self.problems: tuple[str, ...] = ()
        """What keeps builders or nodes that were meant from being checked, a line each."""

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, by whichever thread changes something."""
        self._changed = changed

    @property
    def latest(self) -> Sequence[Checked]:
        """The last check of each builder, by its name; two entries of one name count as one."""
        by_name = {checked.report.name: checked for checked in reversed(list(self._checked.values()))}
        return [by_name[name] for name in sorted(by_name)]

    def last(self, builder: str) -> Checked | None:
        """The last check of a builder, by the store's name."""
        return self._checked.get(builder)

    def put(self, builder: str, checked: Checked, known: Collection[str] = ()) -> None:
        """Take a finished check. The reports of the nodes that are `known` have been taken before."""
        with self._lock:
            before = self._checked.get(builder)
            report = checked.report
            if report.error and before:
                # an entry that cannot be read says nothing of how the builder spells its name
                report = replace(report, name=before.report.name, driver=before.report.driver)
            fresh = {node.name for node in report.nodes}.difference(known)
            histories = remember(before.histories if before else {}, report, checked.ended_at, fresh)
            self._checked = {**self._checked, builder: replace(checked, report=report, histories=histories)}
        self._changed()

    def put_answers(self, builder: str, report: BuilderReport, fresh: Collection[str], at: float) -> None:
        """Take what some nodes have answered in a check that still runs; the check before gives the rest."""
        with self._lock:
            before = self._checked[builder]
            histories = remember(before.histories, report, at, fresh)
            self._checked = {**self._checked, builder: replace(before, report=report, histories=histories)}
        self._changed()

    def put_problems(self, problems: tuple[str, ...]) -> None:
        """Take what keeps builders or nodes from being checked now."""
        if problems != self.problems:
            self.problems = problems
            self._changed()

    def drop(self, builder: str) -> None:
        """Forget a builder."""
        with self._lock:
            self._checked = {name: checked for name, checked in self._checked.items() if name != builder}
        self._changed()

    def keep(self, builders: Collection[str]) -> None:
        """Forget all other builders: they are gone from the store."""
        with self._lock:
            gone = self._checked.keys() - set(builders)
            if gone:
                self._checked = {name: checked for name, checked in self._checked.items() if name not in gone}
        if gone:
            self._changed()
