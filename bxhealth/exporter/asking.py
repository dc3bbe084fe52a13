"""One check of one builder, as the exporter asks for it: from the store's name to a result without credentials."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from bxhealth import policy, wiring
from bxhealth.checker import Observer
from bxhealth.deadline import Cancellation
from bxhealth.errors import StoreError
from bxhealth.exporter import redaction
from bxhealth.exporter.history import stored_name
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

    def means(self, node: str) -> bool:
        """Whether the node of this name is to be asked."""
        return (not self.only or node in self.only) and node not in self.exclude

    def is_answered_by(self, other: Question) -> bool:
        """Whether the answer to `other` answers this: it asks the same, and takes no less time for it."""
        mine, theirs = self.options.limits, other.options.limits
        if theirs.deadline is not None and (mine.deadline is None or mine.deadline > theirs.deadline):
            return False
        if mine.probe_timeout > theirs.probe_timeout:
            return False
        # one that asks registries as well answers who does not want to know
        registries = self.options.registries or other.options.registries
        return replace(self, options=replace(self.options, limits=theirs, registries=registries)) == other


class Gone(Exception):
    """The builder is not in the store any more."""


class NoneMeant(Gone):
    """The builder has none of the nodes that are meant."""


class Answers(Observer):
    """What is known of a check that still runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._builder: Builder | None = None
        self._hosts = redaction.NO_HOSTS
        self._reports: dict[str, Sequence[NodeReport]] = {}

    def asking(self, builder: Builder, hosts: Mapping[str, str] = redaction.NO_HOSTS) -> None:
        """The builder has been read, and its nodes are being asked; `hosts` are for `redaction.report`."""
        with self._lock:
            self._builder, self._hosts, self._begun = builder, hosts, time.monotonic()

    def finished(self, builder: Builder, node: Node, reports: Sequence[NodeReport]) -> None:  # noqa: ARG002
        """See `Observer`."""
        with self._lock:
            self._reports[node.name] = reports

    def so_far(self, question: Question, seconds: float) -> Checked | None:
        """The result as of now, for somebody who can wait no longer than `seconds`; None before the check has begun.

        A node without an answer fails with `deadline_exceeded`.
        """
        with self._lock:
            builder, reports, begun = self._builder, dict(self._reports), self._begun
        if builder is None:
            return None
        message = f"not finished within {seconds:.3g} s"
        nodes = [report for node in builder.nodes for report in reports.get(node.name) or [_unfinished(node, message)]]
        report = policy.judge(builder, nodes, question.options.judging)
        return Checked(redaction.report(report, self._hosts), time.time(), time.monotonic() - begun)

    def onto(self, before: BuilderReport, question: Question) -> tuple[BuilderReport, Collection[str]] | None:
        """The report `before` with what was answered since, and the names of the reports that are new.

        None where that cannot be said before all have answered.
        """
        with self._lock:
            builder, answered = self._builder, dict(self._reports)
        if builder is None or before.error or question.options.same_version or not any(answered.values()):
            return None
        old: dict[str, list[NodeReport]] = {}
        for report in before.nodes:
            old.setdefault(stored_name(report.name), []).append(report)
        reports = [report for node in builder.nodes for report in answered.get(node.name) or old.get(node.name, [])]
        merged = policy.judge(builder, reports, question.options.judging)
        return redaction.report(merged, self._hosts), {report.name for new in answered.values() for report in new}


def ask(environ: Mapping[str, str], question: Question, answers: Answers, cancellation: Cancellation) -> Checked:
    """Read the builder anew, and check it. When `cancellation` comes from another thread, the result means nothing.

    Raises:
        Gone: there is no such builder.
        NoneMeant: it has none of the nodes that are meant.
    """
    begun = time.monotonic()
    store = Store(environ)
    try:
        builder = store.builder(question.builder)
    except StoreError as error:
        if error.path is None:
            raise Gone(str(error)) from error
        return _unread(question, str(error), time.monotonic() - begun)
    nodes = tuple(node for node in builder.nodes if question.means(node.name))
    if not nodes:
        raise NoneMeant(f"{question.builder} has none of the nodes that are meant")
    builder = replace(builder, nodes=nodes)
    hosts = _hosts(store, nodes)
    answers.asking(builder, hosts)
    reports, client, _ = wiring.check(store, [builder], question.options, answers, cancellation)
    return Checked(redaction.report(reports[0], hosts), time.time(), time.monotonic() - begun, client)


def find(store: Store, name: str, names: Collection[str]) -> str | None:
    """The builder's name as the store has it, which lists `names`; None where the store has none of this name."""
    if name in names or store.docker.has_context(name):  # a context whose file is torn is not listed
        return name
    return name.lower() if name.lower() in names else None


def _hosts(store: Store, nodes: Sequence[Node]) -> Mapping[str, str]:
    """The hosts of the Docker contexts that nodes have for endpoints; of none that cannot be read."""
    hosts = {}
    for name in {node.endpoint for node in nodes if "://" not in node.endpoint}:
        with contextlib.suppress(StoreError):
            hosts[name] = store.docker.endpoint(name).host
    return hosts


def _unread(question: Question, error: str, seconds: float) -> Checked:
    report = BuilderReport(question.builder, "", Verdict.UNHEALTHY, question.options.judging.policy, (), error=error)
    return Checked(redaction.report(report), time.time(), seconds)


def _unfinished(node: Node, message: str) -> NodeReport:
    checks = [CheckResult("reach", Status.UNHEALTHY, Cause.DEADLINE_EXCEEDED, message)]
    bare = NodeReport(node.name, node.endpoint, Status.SKIPPED, declared_platforms=node.platforms)
    return policy.conclude(bare, checks)
