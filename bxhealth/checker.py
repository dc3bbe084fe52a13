"""Checks nodes concurrently: attempts, timeouts, the run's deadline, `--fail-fast`. It prints nothing."""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bxhealth import interrupts, policy
from bxhealth.buildx import Buildx, last_words
from bxhealth.checks.interface import Check, Probe
from bxhealth.deadline import Cancellation, Deadline
from bxhealth.drivers.interface import Link, Reached, Unreached
from bxhealth.errors import Cancelled, CliUnavailable, NodeFailure, StoreError
from bxhealth.model import TRANSIENT, Builder, Cause, CheckResult, Node, NodeReport, Status
from bxhealth.options import Judging, Options
from bxhealth.platforms import is_native, unique
from bxhealth.processes import STOPPED

log = logging.getLogger(__name__)

_GATHER_SECONDS = 3.0
"""How long threads that were called off may take to clean up. More than what a link's `close` may take."""
_JOIN_SECONDS = 0.2
"""How long threads that have given their last answer may take to end."""
_WATCH_SECONDS = 0.3
_GLANCE_SECONDS = 0.2
_LAST_LOOK_SECONDS = 1.0
_MAX_BACKOFF_SECONDS = 60.0
_MAX_DOUBLINGS = 32

MakeLink = Callable[[Builder, Node], Link]


class Observer:
    """Hears what becomes of each node while the check runs, from any thread. This one ignores it."""

    def started(self, builder: Builder, node: Node) -> None:
        """The node is being asked."""

    def bootstrapping(self, builder: Builder, node: Node) -> None:
        """The node is being started."""

    def finished(self, builder: Builder, node: Node, reports: Sequence[NodeReport]) -> None:
        """The node's answer is there."""


@dataclass
class Outcome:
    """What became of a run.

    Attributes:
        reports: by builder and node (indices of what was asked for), one or more reports each.
        interrupted: whether somebody called the run off by a signal.
    """

    reports: dict[tuple[int, int], Sequence[NodeReport]] = field(default_factory=dict)
    interrupted: bool = False


@dataclass(frozen=True)
class _Task:
    builder_index: int
    node_index: int
    builder: Builder
    node: Node


@dataclass(frozen=True)
class _Answer:
    task: _Task
    reports: Sequence[NodeReport]


class Checker:
    """Asks every node of some builders."""

    def __init__(
        self,
        options: Options,
        make_link: MakeLink,
        checks: Mapping[str, Check],
        buildx: Buildx,
        observer: Observer,
    ) -> None:
        self.options = options
        self._make_link = make_link
        self._checks = checks
        self._buildx = buildx
        self.observer = observer

    def run(self, builders: Sequence[Builder], cancellation: Cancellation | None = None) -> Outcome:
        """Ask all nodes at once, and return when all have answered or the run is over for another reason.

        Every node has a report then; those that were not finished say so, but for a run that was called off from
        another thread by its own `cancellation`: it has none for them.
        """
        is_own = cancellation is None
        cancellation = cancellation or Cancellation()
        tasks = [
            _Task(i, j, builder, node) for i, builder in enumerate(builders) for j, node in enumerate(builder.nodes)
        ]
        run = _Run(self, tasks, cancellation)
        try:
            return run.finish()
        finally:
            if run.stop() and is_own:
                cancellation.close()

    def check_node(self, builder: Builder, node: Node, cancellation: Cancellation) -> Sequence[NodeReport]:
        """Ask one node, as often as `--retries` allows; one report, or one for each replica it stands for.

        Raises:
            StoreError, CliUnavailable: it could not be asked.
            Cancelled: the run was called off.
        """
        limits = self.options.limits
        begun = time.monotonic()
        attempt = 1
        started = False
        while True:
            reports = self._attempt(builder, node, cancellation)
            causes = {report.cause for report in reports if report.status is Status.UNHEALTHY}
            if not causes & TRANSIENT or attempt > limits.retries:
                break
            # "full jitter" would retry at once now and then; a half of the delay is certain
            delay = min(limits.retry_delay * 2 ** min(attempt - 1, _MAX_DOUBLINGS), _MAX_BACKOFF_SECONDS)
            log.info("%s/%s: attempt %d failed (%s)", builder.name, node.name, attempt, reports[0].message)
            started = started or any(report.bootstrapped for report in reports)
            try:
                cancellation.wait(delay * random.uniform(0.5, 1.0))
            except Cancelled:
                break  # what the last attempt saw is worth more than that there was to be another
            attempt += 1
        duration = time.monotonic() - begun
        for report in reports:
            said = f"{report.cause.value}: {report.message}" if report.cause else "all is well"
            log.info("%s/%s: %s, %s (%.2f s)", builder.name, report.name, report.status.value, said, duration)
        return [
            replace(
                report,
                attempts=attempt,
                duration_seconds=duration,
                bootstrapped=report.bootstrapped or started,
            )
            for report in reports
        ]

    def _attempt(self, builder: Builder, node: Node, cancellation: Cancellation) -> Sequence[NodeReport]:
        link = self._make_link(builder, node)
        steps: list[CheckResult] = []
        try:
            outcomes = self._reach(builder, node, link, steps, cancellation)
            return [
                self._ask(builder, node, outcome, steps, cancellation)
                if isinstance(outcome, Reached)
                else _report(
                    outcome.name, node, _instead(steps, _failed("reach", outcome.failure, 0.0)), self.options.judging
                )
                for outcome in outcomes
            ]
        except NodeFailure as failure:
            # a frame that keeps the failure it has raised keeps itself, and by its callers the whole run
            traceback.clear_frames(failure.__traceback__)
            return [_report(node.name, node, steps, self.options.judging, log_tail=failure.log_tail)]
        finally:
            link.close()

    def _reach(
        self, builder: Builder, node: Node, link: Link, steps: list[CheckResult], cancellation: Cancellation
    ) -> Sequence[Reached | Unreached]:
        """Reach the node, started if need be; `steps` gets the results of `reach` and `bootstrap`."""
        limits = self.options.limits
        begun = time.monotonic()
        try:
            outcomes = link.reach(Deadline(limits.probe_timeout, cancellation))
        except NodeFailure as failure:
            steps.append(_failed("reach", failure, time.monotonic() - begun))
            if not failure.startable:
                raise
            if not self.options.bootstrap:
                steps.append(CheckResult("bootstrap", Status.SKIPPED, message="not asked for"))
                raise
        else:
            steps.append(CheckResult("reach", Status.HEALTHY, duration_seconds=time.monotonic() - begun))
            return outcomes
        log.info("%s/%s: %s; starting it", builder.name, node.name, steps[-1].message)
        self.observer.bootstrapping(builder, node)
        begun = time.monotonic()
        try:
            outcomes = self._bootstrap(builder, node, link, cancellation)
        except NodeFailure as failure:
            steps.append(_failed("bootstrap", failure, time.monotonic() - begun))
            raise
        took = time.monotonic() - begun
        steps[:] = [
            CheckResult("reach", Status.HEALTHY, message="after it was started"),
            CheckResult("bootstrap", Status.HEALTHY, duration_seconds=took),
        ]
        return outcomes

    def _bootstrap(
        self, builder: Builder, node: Node, link: Link, cancellation: Cancellation
    ) -> Sequence[Reached | Unreached]:
        """Start the node, then reach it: only its own answer counts, not buildx's exit status."""
        limits = self.options.limits
        gave_up = Cancellation()
        stop_watching = threading.Event()

        def watch() -> None:
            while not stop_watching.wait(_WATCH_SECONDS):
                if link.is_doomed(Deadline(limits.probe_timeout, cancellation)):
                    gave_up.cancel()
                    return

        watcher = threading.Thread(target=watch, name=f"watch {node.name}", daemon=True)
        watcher.start()
        try:
            deadline = Deadline(limits.boot_timeout, cancellation)
            finished = self._buildx.bootstrap(builder, node, deadline, gave_up)
        finally:
            stop_watching.set()
            with cancellation.waiting():
                watcher.join(limits.probe_timeout)
            gave_up.close()
        words = last_words(finished)
        log.info("%s/%s: buildx ended with %d: %s", builder.name, node.name, finished.status, words)
        # a boot that took all of its time leaves none to wait for the node
        seconds = min(limits.probe_timeout, _LAST_LOOK_SECONDS) if finished.status == STOPPED else limits.probe_timeout
        try:
            return link.reach(Deadline(seconds, cancellation))
        except NodeFailure as failure:
            if finished.status == 0 and not failure.startable:
                raise
            raise link.diagnose(words, Deadline(limits.probe_timeout, cancellation)) from failure

    def _ask(
        self,
        builder: Builder,
        node: Node,
        reached: Reached,
        steps: Sequence[CheckResult],
        cancellation: Cancellation,
    ) -> NodeReport:
        probe = Probe(builder, node, reached, self.options, self._buildx, cancellation)
        results = list(steps)
        unasked = ""
        for name, check in self._checks.items():
            begun = time.monotonic()
            try:
                answers = check(probe)
            except NodeFailure as failure:
                answers = [_failed(name, failure, 0.0)]
            except CliUnavailable as error:
                unasked = str(error)
                answers = [CheckResult(name, Status.UNHEALTHY, Cause.BOOT_FAILED, unasked)]
            took = time.monotonic() - begun
            results += [
                answer if answer.duration_seconds else replace(answer, duration_seconds=took) for answer in answers
            ]
        report = _report(reached.name, node, results, self.options.judging, reached=reached)
        return replace(report, unasked=unasked)


class _Run:
    """The threads of one run. They are daemons: one that does not come back cannot hold the exit."""

    def __init__(self, checker: Checker, tasks: Sequence[_Task], cancellation: Cancellation) -> None:
        self._checker = checker
        self._options = checker.options
        self._observer = checker.observer
        self._tasks = tasks
        self._cancellation = cancellation
        self._threads: list[threading.Thread] = []
        self._waiting: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        """None only wakes who waits."""
        self._interrupted = False
        for task in tasks:
            self._waiting.put(task)

    def finish(self) -> Outcome:
        """Let the threads work until all is answered or there is a reason to stop, and collect.

        A second SIGINT or SIGTERM raises `KeyboardInterrupt`.
        """
        with interrupts.told(self._interrupt):
            outcome = self._finish()
        # only now: until here, an interrupt is told to nobody else
        outcome.interrupted = self._interrupted
        return outcome

    def _finish(self) -> Outcome:
        outcome = Outcome()
        limits = self._options.limits
        stopped: tuple[Status, Cause | None, str] | None = None
        deadline = Deadline(limits.deadline if limits.deadline is not None else float("inf"))
        for number in range(min(limits.concurrency, len(self._tasks))):
            self._threads.append(threading.Thread(target=self._work, name=f"node {number}", daemon=True))
            self._threads[-1].start()
        while len(outcome.reports) < len(self._tasks):
            answer = self._next(deadline, heed_interrupt=True)
            if answer is not None:
                self._note(outcome, answer)
            if self._interrupted:
                stopped = (Status.SKIPPED, None, "not finished when the run was interrupted")
                break
            if answer is None:
                seen = f"not finished when the deadline of {deadline.seconds:.3g} s was over"
                stopped = (Status.UNHEALTHY, Cause.DEADLINE_EXCEEDED, seen)
                break
            if self._options.fail_fast and self._is_decided(outcome, answer.task):
                seen = f"not finished, since {answer.task.node.name} has decided the verdict (--fail-fast)"
                stopped = (Status.SKIPPED, None, seen)
                break
        self._cancellation.cancel()
        if stopped:
            self._gather(outcome, *stopped)
        return outcome

    def stop(self) -> bool:
        """Call off what still runs, and return whether nothing does any more."""
        self._cancellation.cancel()
        ends = Deadline(_JOIN_SECONDS)
        for thread in self._threads:
            thread.join(ends.remaining())
        return not any(thread.is_alive() for thread in self._threads)

    def _is_decided(self, outcome: Outcome, last: _Task) -> bool:
        reports = [
            report
            for (index, _), answered in outcome.reports.items()
            if index == last.builder_index
            for report in answered
        ]
        asked = sum(index == last.builder_index for index, _ in outcome.reports)
        return policy.is_decided(last.builder, reports, self._options.judging, len(last.builder.nodes) - asked)

    def _interrupt(self) -> None:
        """In a signal handler: SimpleQueue.put may be called in the middle of anything, its own `get` included."""
        self._interrupted = True
        self._answers.put(None)

    def _next(self, deadline: Deadline, *, heed_interrupt: bool) -> _Answer | None:
        """The next answer; None if there is none until the deadline, or the interrupt that is to be heeded."""
        while not (heed_interrupt and self._interrupted):
            try:
                # in short waits: one that begins just after a signal came is not woken by it
                answer = self._answers.get(timeout=min(deadline.remaining(), _GLANCE_SECONDS))
            except queue.Empty:
                if deadline.expired:
                    return None
            else:
                if answer is not None:
                    return answer
        return None

    def _gather(self, outcome: Outcome, status: Status, cause: Cause | None, message: str) -> None:
        """Give the threads the time to clean up, and report for those nodes that were not finished."""
        late = Deadline(_GATHER_SECONDS)
        answered: set[tuple[int, int]] = set(outcome.reports)
        while len(answered) < len(self._tasks) and (answer := self._next(late, heed_interrupt=False)):
            answered.add((answer.task.builder_index, answer.task.node_index))
            if answer.reports:
                self._note(outcome, answer)
        for task in self._tasks:
            key = (task.builder_index, task.node_index)
            if key not in outcome.reports:
                checks = [CheckResult("reach", status, cause, message)]
                outcome.reports[key] = [_report(task.node.name, task.node, checks, self._options.judging)]

    def _note(self, outcome: Outcome, answer: _Answer) -> None:
        task = answer.task
        outcome.reports[(task.builder_index, task.node_index)] = answer.reports
        self._observer.finished(task.builder, task.node, answer.reports)

    def _work(self) -> None:
        turns = self._cancellation.turns
        with turns.taken() if turns else contextlib.nullcontext():
            self._work_through()

    def _work_through(self) -> None:
        while not self._cancellation.cancelled:
            try:
                task = self._waiting.get_nowait()
            except queue.Empty:
                return
            self._answers.put(self._answered(task))
        # those that nobody will begin
        while not self._waiting.empty():
            try:
                self._answers.put(_Answer(self._waiting.get_nowait(), ()))
            except queue.Empty:
                return

    def _answered(self, task: _Task) -> _Answer:
        """The answer, in every case: a run would wait for ever for one that a dying thread does not give."""
        try:
            return self._answer(task)
        except BaseException as error:
            seen = f"{type(error).__name__}: {error}"
            checks = (CheckResult("reach", Status.UNHEALTHY, Cause.INTERNAL_ERROR, seen),)
            bare = NodeReport(
                task.node.name, task.node.endpoint, Status.UNHEALTHY, declared_platforms=task.node.platforms
            )
            return _Answer(task, [policy.conclude(bare, checks)])

    def _answer(self, task: _Task) -> _Answer:
        node = task.node
        self._observer.started(task.builder, node)
        try:
            return _Answer(task, self._checker.check_node(task.builder, node, self._cancellation))
        except Cancelled:
            return _Answer(task, ())
        except (StoreError, CliUnavailable) as error:
            cause = Cause.CONFIG_INVALID if isinstance(error, StoreError) else Cause.BOOT_FAILED
            checks = [CheckResult("reach", Status.UNHEALTHY, cause, str(error))]
            report = _report(node.name, node, checks, self._options.judging)
            return _Answer(task, [replace(report, unasked=str(error))])
        except BaseException as error:  # a defect of ours must not hide what the other nodes answer
            log.info("%s/%s: internal error", task.builder.name, node.name, exc_info=True)
            seen = f"{type(error).__name__}: {error}"
            checks = [CheckResult("reach", Status.UNHEALTHY, Cause.INTERNAL_ERROR, seen)]
            return _Answer(task, [_report(node.name, node, checks, self._options.judging)])


def _instead(steps: Sequence[CheckResult], result: CheckResult) -> list[CheckResult]:
    """The steps with this result in the place of the one of its name."""
    return [result if step.name == result.name else step for step in steps]


def _failed(name: str, failure: NodeFailure, took: float) -> CheckResult:
    return CheckResult(name, Status.UNHEALTHY, failure.cause, failure.message, duration_seconds=took)


def _report(
    name: str,
    node: Node,
    checks: Sequence[CheckResult],
    judging: Judging,
    *,
    reached: Reached | None = None,
    log_tail: tuple[str, ...] = (),
) -> NodeReport:
    checks = policy.settle(checks, judging)
    served = _served(reached, checks) if reached else ()
    report = NodeReport(
        name,
        node.endpoint,
        Status.SKIPPED,
        advisory=not judging.advisory.isdisjoint((name, node.name)),
        bootstrapped=any(c.name == "bootstrap" and c.status is Status.HEALTHY for c in checks),
        buildkit_version=reached.version if reached else None,
        platforms=served,
        emulated_platforms=tuple(p for p in served if reached and not is_native(p, reached.native)),
        declared_platforms=node.platforms,
        log_tail=log_tail,
    )
    return policy.conclude(report, checks)


def _served(reached: Reached, checks: Sequence[CheckResult]) -> tuple[str, ...]:
    """What the workers list and what canaries have shown, less what canaries have refuted."""
    canaries = {check.target: check.status for check in checks if check.name == "canary" and check.target}
    shown = [platform for platform, status in canaries.items() if status is Status.HEALTHY]
    refuted = [platform for platform, status in canaries.items() if status not in (Status.HEALTHY, Status.SKIPPED)]
    return tuple(platform for platform in unique((*reached.offered, *shown)) if platform not in refuted)
