"""The last result of each builder: written by checks, read by scrapes, never waiting for one another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from bxhealth.exporter.history import NodeHistory, remember
from bxhealth.model import BuilderReport, CheckResult, Node


@dataclass(frozen=True)
class Checked:
    """One finished check of a builder.

    Attributes:
        report: what it came to, without credentials.
        ended_at: when, in seconds since 1970.
        duration_seconds: how long it took.
        stored: the nodes as the store had them; none where the entry could not be read.
        client: what was asked of the client, such as its registry credentials.
        histories: by node, what is remembered, this check included.
    """

    report: BuilderReport
    ended_at: float
    duration_seconds: float
    stored: Sequence[Node] = ()
    client: Sequence[CheckResult] = ()
    histories: Mapping[str, NodeHistory] = field(default_factory=dict)

    def after(self, before: Mapping[str, NodeHistory]) -> Checked:
        """This check with what is remembered since those `before` it."""
        histories = remember(before, self.report, self.ended_at, self.stored)
        return Checked(self.report, self.ended_at, self.duration_seconds, self.stored, self.client, histories)


class Results:
    """By builder, as the store names it. Every change replaces the whole, so a reader sees one moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checked: Mapping[str, Checked] = {}
        self._changed: Callable[[], None] = lambda: None

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, by whichever thread changes something."""
        self._changed = changed

    @property
    def latest(self) -> Sequence[Checked]:
        """The last check of each builder, by its name; two entries of one name count as one."""
        by_name = {checked.report.name: checked for checked in reversed(list(self._checked.values()))}
        return [by_name[name] for name in sorted(by_name)]

    @property
    def names(self) -> Collection[str]:
        """The builders that have been checked."""
        return self._checked.keys()

    def put(self, builder: str, checked: Checked) -> None:
        """Take a finished check."""
        with self._lock:
            before = self._checked.get(builder)
            remembered = checked.after(before.histories if before else {})
            self._checked = {**self._checked, builder: remembered}
        self._changed()

    def keep(self, builders: Collection[str]) -> None:
        """Forget all other builders: they are gone from the store."""
        with self._lock:
            gone = self._checked.keys() - set(builders)
            if gone:
                self._checked = {name: checked for name, checked in self._checked.items() if name not in gone}
        if gone:
            self._changed()
