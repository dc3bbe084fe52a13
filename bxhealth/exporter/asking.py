"""One check of one builder, as the exporter asks for it: from the store's name to a result without credentials."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bxhealth import policy, wiring
from bxhealth.checker import Observer
from bxhealth.deadline import Cancellation
from bxhealth.errors import StoreError
from bxhealth.exporter import redaction
from bxhealth.exporter.results import Checked
from bxhealth.model import Builder, BuilderReport, Cause, CheckResult, Node, NodeReport, Status, Verdict
from bxhealth.options import Options
from bxhealth.store import Store


@dataclass(frozen=True)
class Question:
    """What is asked: a builder by the store's name, of all its nodes or of some, and with which options."""

    builder: str
    options: Options
    only: tuple[str, ...] = ()
    """The nodes that are meant; all where none is named."""
    exclude: tuple[str, ...] = ()

    def is_answered_by(self, other: Question) -> bool:
        """Whether the answer to `other` answers this: it asks the same, and takes no less time for it."""
        mine, theirs = self.options.limits, other.options.limits
        if theirs.deadline is not None and (mine.deadline is None or mine.deadline > theirs.deadline):
            return False
        return replace(self, options=replace(self.options, limits=theirs)) == other


class Gone(Exception):
    """The builder is not in the store any more."""


class Answers(Observer):
    """What is known of a check that still runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._builder: Builder | None = None
        self._reports: dict[str, Sequence[NodeReport]] = {}

    def asking(self, builder: Builder) -> None:
        """The builder has been read, and its nodes are being asked."""
        with self._lock:
            self._builder, self._begun = builder, time.monotonic()

    def finished(self, builder: Builder, node: Node, reports: Sequence[NodeReport]) -> None:  # noqa: ARG002
        """See `Observer`."""
        with self._lock:
            self._reports[node.name] = reports

    def so_far(self, question: Question, seconds: float) -> Checked:
        """The result as of now, for somebody who can wait no longer than `seconds`.

        A node without an answer fails with `deadline_exceeded`.
        """
        with self._lock:
            builder, reports, begun = self._builder, dict(self._reports), self._begun
        message = f"not finished within {seconds:.3g} s"
        if builder is None:
            error = f"the check has not begun: another one of this builder took more than {seconds:.3g} s"
            return _unread(question, error, seconds)
        nodes = [report for node in builder.nodes for report in reports.get(node.name) or [_unfinished(node, message)]]
        report = policy.judge(builder, nodes, question.options.judging)
        return Checked(redaction.report(report), time.time(), time.monotonic() - begun, builder.nodes)


def ask(environ: Mapping[str, str], question: Question, answers: Answers, cancellation: Cancellation) -> Checked:
    """Read the builder anew, and check it. When `cancellation` comes from another thread, the result means nothing.

    Raises:
        Gone: there is no such builder, or none of its nodes that are meant.
    """
    begun = time.monotonic()
    store = Store(environ)
    try:
        builder = store.builder(question.builder)
    except StoreError as error:
        if find(store, question.builder) is None:
            raise Gone(str(error)) from error
        return _unread(question, str(error), time.monotonic() - begun)
    nodes = tuple(
        node
        for node in builder.nodes
        if (not question.only or node.name in question.only) and node.name not in question.exclude
    )
    if not nodes:
        raise Gone(f"{question.builder} has none of the nodes that are meant")
    builder = replace(builder, nodes=nodes)
    answers.asking(builder)
    reports, client, _ = wiring.check(store, [builder], question.options, answers, cancellation)
    return Checked(redaction.report(reports[0]), time.time(), time.monotonic() - begun, nodes, client)


def find(store: Store, name: str) -> str | None:
    """The builder's name as the store has it; None where the store has none of this name.

    Raises:
        StoreError: the store cannot be read.
    """
    names = store.names()
    return name if name in names else next((known for known in names if known == name.lower()), None)


def _unread(question: Question, error: str, seconds: float) -> Checked:
    report = BuilderReport(question.builder, "", Verdict.UNHEALTHY, question.options.judging.policy, (), error=error)
    return Checked(redaction.report(report), time.time(), seconds)


def _unfinished(node: Node, message: str) -> NodeReport:
    checks = [CheckResult("reach", Status.UNHEALTHY, Cause.DEADLINE_EXCEEDED, message)]
    return policy.conclude(NodeReport(node.name, node.endpoint, Status.SKIPPED), checks)
