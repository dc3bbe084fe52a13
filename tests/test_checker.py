from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bxhealth import checker as checker_module
from bxhealth.buildx import Buildx
from bxhealth.checker import Checker, Observer, Outcome
from bxhealth.checks.interface import Check, Probe
from bxhealth.deadline import Cancellation, Deadline
from bxhealth.drivers.interface import Link, Reached, Unreached
from bxhealth.errors import CliUnavailable, NodeFailure, StoreError
from bxhealth.model import TRANSIENT, Builder, Cause, CheckResult, Node, NodeReport, Status, Worker
from bxhealth.options import Limits, Options
from bxhealth.processes import STOPPED, Finished
from tests import descriptors, garbage

_LONG = 30.0
_SLACK = 5.0

Outcomes = Sequence[Reached | Unreached]
Turn = Outcomes | BaseException | Callable[[Deadline], Outcomes]


def reached(name: str = "n1") -> Outcomes:
    return [Reached(name, (Worker("w", ("linux/amd64", "linux/arm64")),), "v0.21.0")]


def failure(cause: Cause, *, startable: bool = False, log_tail: tuple[str, ...] = ()) -> NodeFailure:
    return NodeFailure(cause, f"seen: {cause.value}", startable=startable, log_tail=log_tail)


MISSING = failure(Cause.CONTAINER_MISSING, startable=True)


@dataclass
class Script:
    """What becomes of a node at each `reach`, over all attempts, and what its links hear."""

    turns: list[Turn]
    doomed: bool = False
    diagnosis: NodeFailure = field(default_factory=lambda: failure(Cause.BOOT_FAILED))
    reaches: int = 0
    closed: int = 0
    words: list[str] = field(default_factory=list)

    def next(self, deadline: Deadline) -> Outcomes:
        turn = self.turns[min(self.reaches, len(self.turns) - 1)]
        self.reaches += 1
        if isinstance(turn, BaseException):
            raise turn
        return turn(deadline) if callable(turn) else turn


class ScriptedLink:
    def __init__(self, script: Script) -> None:
        self._script = script

    def reach(self, deadline: Deadline) -> Outcomes:
        return self._script.next(deadline)

    def is_doomed(self, deadline: Deadline) -> bool:  # noqa: ARG002
        return self._script.doomed

    def diagnose(self, words: str, deadline: Deadline) -> NodeFailure:  # noqa: ARG002
        self._script.words.append(words)
        return self._script.diagnosis

    def close(self) -> None:
        self._script.closed += 1


class ScriptedBuildx(Buildx):
    def __init__(self, finished: Finished | Exception = Finished(0, "", "")) -> None:  # noqa: B008
        self.booted: list[str] = []
        self._finished = finished

    def bootstrap(self, builder: Builder, node: Node, deadline: Deadline, give_up: Cancellation) -> Finished:  # noqa: ARG002
        self.booted.append(node.name)
        if isinstance(self._finished, Exception):
            raise self._finished
        return self._finished


class Listener(Observer):
    """Notes what it hears, and does something when a node has finished."""

    def __init__(self, when_finished: Callable[[Node], None] = lambda _: None) -> None:
        self.heard: list[tuple[str, str]] = []
        self._when_finished = when_finished

    def started(self, builder: Builder, node: Node) -> None:  # noqa: ARG002
        self.heard.append(("started", node.name))

    def bootstrapping(self, builder: Builder, node: Node) -> None:  # noqa: ARG002
        self.heard.append(("bootstrapping", node.name))

    def finished(self, builder: Builder, node: Node, reports: Sequence[NodeReport]) -> None:  # noqa: ARG002
        self.heard.append(("finished", node.name))
        self._when_finished(node)


def _run(
    scripts: Mapping[str, Script],
    options: Options = Options(),  # noqa: B008
    *,
    buildx: Buildx | None = None,
    checks: Mapping[str, Check] | None = None,
    observer: Observer | None = None,
) -> Outcome:
    builder = Builder("b", "docker-container", tuple(Node(name, f"unix:///{name}") for name in scripts))

    def make_link(_: Builder, node: Node) -> Link:
        return ScriptedLink(scripts[node.name])

    return Checker(options, make_link, checks or {}, buildx or ScriptedBuildx(), observer or Observer()).run([builder])


def _reports(outcome: Outcome) -> dict[str, NodeReport]:
    return {report.name: report for key in sorted(outcome.reports) for report in outcome.reports[key]}


def _one(script: Script, options: Options = Options(), *, buildx: Buildx | None = None) -> NodeReport:  # noqa: B008
    return _reports(_run({"n1": script}, options, buildx=buildx))["n1"]


def _names(report: NodeReport) -> list[tuple[str, Status]]:
    return [(check.name, check.status) for check in report.checks]


def _retrying(times: int, **limits: float) -> Options:
    return Options(Limits(retries=times, retry_delay=0.001, **limits))  # type: ignore[arg-type]


def _until_called_off(deadline: Deadline) -> Outcomes:
    deadline.sleep(_LONG)
    raise AssertionError("nobody called it off")


class TestOneNode:
    def test_healthy(self) -> None:
        script = Script([reached()])
        report = _one(script)
        assert (report.status, report.cause, report.attempts, report.bootstrapped) == (Status.HEALTHY, None, 1, False)
        assert (report.buildkit_version, report.platforms) == ("v0.21.0", ("linux/amd64", "linux/arm64"))
        assert _names(report) == [("reach", Status.HEALTHY)]
        assert (script.reaches, script.closed) == (1, 1)

    def test_unreachable(self) -> None:
        script = Script([failure(Cause.ENDPOINT_DENIED)])
        report = _one(script)
        assert (report.status, report.cause) == (Status.UNHEALTHY, Cause.ENDPOINT_DENIED)
        assert (report.message, report.endpoint) == ("seen: endpoint_denied", "unix:///n1")
        assert report.hint
        assert script.closed == 1

    def test_replicas_have_a_report_each(self) -> None:
        outcomes = [*reached("r1"), Unreached("r2", failure(Cause.BOOT_FAILED))]
        reports = _reports(_run({"n1": Script([outcomes])}))
        assert {name: report.status for name, report in reports.items()} == {
            "r1": Status.HEALTHY,
            "r2": Status.UNHEALTHY,
        }

    def test_the_probe_has_the_time_that_the_user_gave(self) -> None:
        seen: list[float] = []

        def look(deadline: Deadline) -> Outcomes:
            seen.append(deadline.seconds)
            return reached()

        _one(Script([look]), Options(Limits(probe_timeout=7)))
        assert seen == [7]


class TestBootstrap:
    def test_a_node_that_was_down_and_answers_afterwards(self) -> None:
        script, buildx = Script([MISSING, reached()]), ScriptedBuildx()
        report = _one(script, buildx=buildx)
        assert (report.status, report.bootstrapped, report.attempts) == (Status.HEALTHY, True, 1)
        assert _names(report) == [("reach", Status.HEALTHY), ("bootstrap", Status.HEALTHY)]
        assert (buildx.booted, script.closed) == (["n1"], 1)

    def test_not_if_it_was_not_asked_for(self) -> None:
        buildx = ScriptedBuildx()
        report = _one(Script([MISSING]), Options(bootstrap=False), buildx=buildx)
        assert (report.status, report.cause) == (Status.UNHEALTHY, Cause.CONTAINER_MISSING)
        assert _names(report) == [("reach", Status.UNHEALTHY), ("bootstrap", Status.SKIPPED)]
        assert buildx.booted == []

    @pytest.mark.parametrize("cause", [Cause.ENDPOINT_REFUSED, Cause.DAEMON_UNRESPONSIVE, Cause.NOT_BUILDKIT])
    def test_not_if_starting_mends_nothing(self, cause: Cause) -> None:
        buildx = ScriptedBuildx()
        _one(Script([failure(cause)]), buildx=buildx)
        assert buildx.booted == []

    def test_buildx_s_success_means_nothing_if_the_node_does_not_answer(self) -> None:
        """The reason for bxhealth: `docker buildx inspect --bootstrap` exits 0 with a dead node."""
        script = Script([MISSING, failure(Cause.DAEMON_UNRESPONSIVE)])
        report = _one(script, buildx=ScriptedBuildx(Finished(0, "", "")))
        assert (report.status, report.cause) == (Status.UNHEALTHY, Cause.DAEMON_UNRESPONSIVE)
        assert not report.bootstrapped

    def test_nor_does_its_failure_if_the_node_answers(self) -> None:
        report = _one(Script([MISSING, reached()]), buildx=ScriptedBuildx(Finished(1, "", "ERROR: boo")))
        assert report.status is Status.HEALTHY

    @pytest.mark.parametrize("status", [1, STOPPED])
    def test_a_failure_is_diagnosed_with_buildx_s_words(self, status: int) -> None:
        diagnosis = failure(Cause.IMAGE_UNAVAILABLE, log_tail=("its", "log"))
        script = Script([MISSING, MISSING], diagnosis=diagnosis)
        report = _one(script, buildx=ScriptedBuildx(Finished(status, "", "#1 pulling\nERROR: pull access denied\n")))
        assert (report.status, report.cause) == (Status.UNHEALTHY, Cause.IMAGE_UNAVAILABLE)
        assert report.log_tail == ("its", "log")
        assert "pull access denied" in script.words[0]
        assert ("bootstrap", Status.UNHEALTHY) in _names(report)

    def test_one_that_is_doomed_is_given_up(self) -> None:
        class Waiting(ScriptedBuildx):
            def bootstrap(self, builder: Builder, node: Node, deadline: Deadline, give_up: Cancellation) -> Finished:  # noqa: ARG002
                Deadline(_LONG).wait_for(give_up.fd, 1)
                return Finished(STOPPED, "", "")

        script = Script([MISSING, MISSING], doomed=True, diagnosis=failure(Cause.CONTAINER_RESTARTING))
        begun = time.monotonic()
        report = _one(script, buildx=Waiting())
        assert time.monotonic() - begun < _SLACK
        assert report.cause is Cause.CONTAINER_RESTARTING

    def test_it_has_the_time_that_the_user_gave(self) -> None:
        seen: list[float] = []

        class Looking(ScriptedBuildx):
            def bootstrap(self, builder: Builder, node: Node, deadline: Deadline, give_up: Cancellation) -> Finished:
                seen.append(deadline.seconds)
                return super().bootstrap(builder, node, deadline, give_up)

        _one(Script([MISSING, reached()]), Options(Limits(boot_timeout=77)), buildx=Looking())
        assert seen == [77]


class TestRetries:
    @pytest.mark.parametrize("cause", sorted(TRANSIENT))
    def test_a_transient_cause_is_tried_again(self, cause: Cause) -> None:
        script = Script([failure(cause), failure(cause), reached()])
        report = _one(script, _retrying(5))
        assert (report.status, report.attempts) == (Status.HEALTHY, 3)
        assert (script.reaches, script.closed) == (3, 3)

    @pytest.mark.parametrize("cause", sorted(set(Cause) - TRANSIENT))
    def test_another_is_not(self, cause: Cause) -> None:
        script = Script([failure(cause)])
        report = _one(script, _retrying(5))
        assert (report.cause, report.attempts, script.reaches) == (cause, 1, 1)

    @pytest.mark.parametrize("retries", [0, 1, 3])
    def test_retries_are_further_attempts(self, retries: int) -> None:
        script = Script([failure(Cause.ENDPOINT_REFUSED)])
        report = _one(script, _retrying(retries))
        assert (report.status, report.attempts, script.reaches) == (Status.UNHEALTHY, retries + 1, retries + 1)

    def test_a_transient_failure_of_a_check_is_tried_again(self) -> None:
        answers = [failure(Cause.REGISTRY_UNREACHABLE), None]

        def check(probe: Probe) -> Sequence[CheckResult]:  # noqa: ARG001
            if problem := answers.pop(0):
                raise problem
            return [CheckResult("pull", Status.HEALTHY)]

        report = _reports(_run({"n1": Script([reached()])}, _retrying(2), checks={"pull": check}))["n1"]
        assert (report.status, report.attempts) == (Status.HEALTHY, 2)

    def test_the_wait_doubles_and_is_never_less_than_half_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        waits: list[float] = []
        monkeypatch.setattr(Cancellation, "wait", lambda _, seconds: waits.append(seconds))
        _one(Script([failure(Cause.ENDPOINT_REFUSED)]), Options(Limits(retries=3, retry_delay=8)))
        for wait, full in zip(waits, (8, 16, 32), strict=True):
            assert full / 2 <= wait <= full

    def test_the_wait_has_an_end_whatever_the_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        waits: list[float] = []
        monkeypatch.setattr(Cancellation, "wait", lambda _, seconds: waits.append(seconds))
        _one(Script([failure(Cause.ENDPOINT_REFUSED)]), Options(Limits(retries=1100, retry_delay=1.0)))
        assert len(waits) == 1100
        assert max(waits) <= 60


class TestChecks:
    def test_they_are_asked_in_order_and_the_worst_decides(self) -> None:
        def warn(probe: Probe) -> Sequence[CheckResult]:  # noqa: ARG001
            return [CheckResult("a", Status.WARNING, Cause.PLATFORM_MISSING, "hm", "linux/arm64")]

        def fail(probe: Probe) -> Sequence[CheckResult]:  # noqa: ARG001
            raise failure(Cause.NO_WORKERS)

        def pass_(probe: Probe) -> Sequence[CheckResult]:
            return [CheckResult("c", Status.HEALTHY, message=probe.node.name)]

        checks: Mapping[str, Check] = {"a": warn, "b": fail, "c": pass_}
        report = _reports(_run({"n1": Script([reached()])}, checks=checks))["n1"]
        assert _names(report) == [
            ("reach", Status.HEALTHY),
            ("a", Status.WARNING),
            ("b", Status.UNHEALTHY),
            ("c", Status.HEALTHY),
        ]
        assert (report.status, report.cause) == (Status.UNHEALTHY, Cause.NO_WORKERS)

    def test_one_that_does_not_apply_leaves_no_trace(self) -> None:
        report = _reports(_run({"n1": Script([reached()])}, checks={"a": lambda _: []}))["n1"]
        assert _names(report) == [("reach", Status.HEALTHY)]


class TestManyNodes:
    def test_all_are_asked_at_once(self) -> None:
        """Each waits for all others, which only works if none waits for its turn."""
        barrier = threading.Barrier(20)

        def meet(_: Deadline) -> Outcomes:
            barrier.wait(_LONG)
            return reached()

        outcome = _run({f"n{i}": Script([meet]) for i in range(20)})
        assert len(outcome.reports) == 20

    @pytest.mark.parametrize("limit", [1, 3])
    def test_no_more_at_a_time_than_the_user_allows(self, limit: int) -> None:
        lock, now, most = threading.Lock(), [0], [0]

        def count(deadline: Deadline) -> Outcomes:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            deadline.sleep(0.01)
            with lock:
                now[0] -= 1
            return reached()

        outcome = _run({f"n{i}": Script([count]) for i in range(12)}, Options(Limits(concurrency=limit)))
        assert len(outcome.reports) == 12
        assert most[0] == limit

    def test_the_reports_are_by_builder_and_node(self) -> None:
        builders = [
            Builder(name, "remote", tuple(Node(f"{name}{i}", "tcp://h:1") for i in range(2))) for name in ("a", "b")
        ]

        def make_link(_: Builder, node: Node) -> Link:
            return ScriptedLink(Script([reached(node.name)]))

        outcome = Checker(Options(), make_link, {}, ScriptedBuildx(), Observer()).run(builders)
        named = {key: [report.name for report in reports] for key, reports in outcome.reports.items()}
        assert named == {(0, 0): ["a0"], (0, 1): ["a1"], (1, 0): ["b0"], (1, 1): ["b1"]}

    def test_nothing_to_ask_is_an_answer(self) -> None:
        assert (
            Checker(Options(), lambda *_: ScriptedLink(Script([])), {}, ScriptedBuildx(), Observer()).run([])
            == Outcome()
        )

    def test_an_observer_hears_of_each(self) -> None:
        listener = Listener()
        _run({"n1": Script([MISSING, reached()]), "n2": Script([reached()])}, observer=listener)
        assert sorted(listener.heard) == [
            ("bootstrapping", "n1"),
            ("finished", "n1"),
            ("finished", "n2"),
            ("started", "n1"),
            ("started", "n2"),
        ]

    def test_a_run_leaves_no_descriptor_open(self) -> None:
        """The exporter runs for months."""
        _run({"n1": Script([MISSING, reached()])})
        before = descriptors.held()
        for _ in range(5):
            _run({"n1": Script([MISSING, reached()])})
        assert descriptors.held() <= before


def test_nothing_of_a_run_waits_for_the_garbage_collector() -> None:
    """Though a failure knows the frames that it came through, and a frame may keep the failure."""

    def fail(_: Deadline) -> Outcomes:
        kept = failure(Cause.ENDPOINT_REFUSED)
        raise kept

    assert garbage.left_by(lambda: _run({"n1": Script([fail]), "n2": Script([reached("n2")])}), "bxhealth") == []


class TestDefects:
    @pytest.mark.parametrize("error", [ZeroDivisionError("oops"), KeyError("x"), RecursionError(), OSError(5, "eio")])
    def test_one_of_ours_is_that_node_s_alone(self, error: Exception) -> None:
        reports = _reports(_run({"n1": Script([error]), "n2": Script([reached("n2")])}))
        assert (reports["n1"].status, reports["n1"].cause) == (Status.UNHEALTHY, Cause.INTERNAL_ERROR)
        assert type(error).__name__ in reports["n1"].message
        assert reports["n2"].status is Status.HEALTHY

    def test_one_while_closing_hides_nothing_of_the_others(self) -> None:
        class Bad(ScriptedLink):
            def close(self) -> None:
                raise ValueError("close")

        builder = Builder("b", "x", (Node("n1", "e"), Node("n2", "e")))

        def make_link(_: Builder, node: Node) -> Link:
            kind = Bad if node.name == "n1" else ScriptedLink
            return kind(Script([reached(node.name)]))

        outcome = Checker(Options(), make_link, {}, ScriptedBuildx(), Observer()).run([builder])
        reports = _reports(outcome)
        assert reports["n2"].status is Status.HEALTHY
        assert reports["n1"].status is not Status.SKIPPED

    def test_one_while_making_the_link(self) -> None:
        def make_link(_: Builder, node: Node) -> Link:
            if node.name == "n1":
                raise ValueError("make")
            return ScriptedLink(Script([reached(node.name)]))

        builder = Builder("b", "x", (Node("n1", "e"), Node("n2", "e")))
        reports = _reports(Checker(Options(), make_link, {}, ScriptedBuildx(), Observer()).run([builder]))
        assert reports["n1"].cause is Cause.INTERNAL_ERROR
        assert reports["n2"].status is Status.HEALTHY

    def test_a_thread_that_dies_holds_nothing_up(self) -> None:
        """SystemExit and its kind are no `Exception`; a library may raise them."""
        outcome: list[Outcome] = []
        scripts = {"n1": Script([SystemExit(1)]), "n2": Script([reached("n2")])}
        thread = threading.Thread(target=lambda: outcome.append(_run(scripts)), daemon=True)
        thread.start()
        thread.join(2.0)
        assert outcome, "the run goes on without end"
        assert _reports(outcome[0])["n1"].status is Status.UNHEALTHY

    @pytest.mark.parametrize(
        ("error", "cause"),
        [
            (StoreError("is empty", Path("/x/meta.json")), Cause.CONFIG_INVALID),
            (CliUnavailable("there is no docker"), Cause.BOOT_FAILED),
        ],
    )
    def test_what_could_not_be_asked_is_an_error_of_the_builder_too(self, error: Exception, cause: Cause) -> None:
        outcome = _run({"n1": Script([error]), "n2": Script([reached("n2")])})
        reports = _reports(outcome)
        assert reports["n1"].unasked == str(error)
        assert reports["n2"].unasked == ""
        assert (reports["n1"].status, reports["n1"].cause) == (Status.UNHEALTHY, cause)
        assert reports["n2"].status is Status.HEALTHY

    def test_no_docker_to_bootstrap_with_is_no_verdict_on_the_node(self) -> None:
        outcome = _run({"n1": Script([MISSING])}, buildx=ScriptedBuildx(CliUnavailable("there is no docker")))
        assert "there is no docker" in _reports(outcome)["n1"].unasked


class TestTheEnd:
    def test_the_deadline_ends_all_and_says_who_was_not_finished(self) -> None:
        scripts = {"n1": Script([reached("n1")]), "n2": Script([_until_called_off])}
        begun = time.monotonic()
        outcome = _run(scripts, Options(Limits(probe_timeout=_LONG, deadline=0.3)))
        assert time.monotonic() - begun < 0.3 + _SLACK
        reports = _reports(outcome)
        assert reports["n1"].status is Status.HEALTHY
        assert (reports["n2"].status, reports["n2"].cause) == (Status.UNHEALTHY, Cause.DEADLINE_EXCEEDED)
        assert "0.3 s" in reports["n2"].message
        assert not outcome.interrupted
        assert scripts["n2"].closed == 1, "it has cleaned up"

    def test_the_deadline_holds_for_those_that_nobody_has_begun(self) -> None:
        scripts = {f"n{i}": Script([_until_called_off]) for i in range(5)}
        reports = _reports(_run(scripts, Options(Limits(probe_timeout=_LONG, deadline=0.1, concurrency=2))))
        assert {report.cause for report in reports.values()} == {Cause.DEADLINE_EXCEEDED}
        assert len(reports) == 5

    def test_the_deadline_ends_a_wait_between_attempts(self) -> None:
        options = Options(Limits(deadline=0.2, retries=10, retry_delay=_LONG))
        begun = time.monotonic()
        report = _one(Script([failure(Cause.ENDPOINT_REFUSED)]), options)
        assert time.monotonic() - begun < 0.2 + _SLACK
        assert report.cause is Cause.ENDPOINT_REFUSED, "what was seen is worth more than that time was up"

    def test_the_deadline_ends_a_bootstrap(self) -> None:
        class Waiting(ScriptedBuildx):
            def bootstrap(self, builder: Builder, node: Node, deadline: Deadline, give_up: Cancellation) -> Finished:  # noqa: ARG002
                deadline.sleep(_LONG)
                raise AssertionError("nobody called it off")

        report = _one(Script([MISSING]), Options(Limits(deadline=0.2)), buildx=Waiting())
        assert report.cause is Cause.DEADLINE_EXCEEDED

    def test_a_thread_that_never_comes_back_does_not_hold_the_result(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checker_module, "_GATHER_SECONDS", 0.1)
        come_back = threading.Event()

        def stuck(_: Deadline) -> Outcomes:
            come_back.wait(_LONG)
            return reached()

        begun = time.monotonic()
        reports = _reports(_run({"n1": Script([stuck]), "n2": Script([reached("n2")])}, Options(Limits(deadline=0.2))))
        assert time.monotonic() - begun < _SLACK
        come_back.set()
        assert reports["n1"].cause is Cause.DEADLINE_EXCEEDED
        assert reports["n2"].status is Status.HEALTHY

    def test_fail_fast_ends_with_the_first_node_that_decides(self) -> None:
        scripts = {"n1": Script([failure(Cause.ENDPOINT_DENIED)]), "n2": Script([_until_called_off])}
        begun = time.monotonic()
        reports = _reports(_run(scripts, Options(Limits(probe_timeout=_LONG), fail_fast=True)))
        assert time.monotonic() - begun < _SLACK
        assert reports["n1"].cause is Cause.ENDPOINT_DENIED
        assert (reports["n2"].status, reports["n2"].cause) == (Status.SKIPPED, None)
        assert "n1" in reports["n2"].message

    def test_fail_fast_does_not_stop_for_healthy_nodes(self) -> None:
        scripts = {f"n{i}": Script([reached(f"n{i}")]) for i in range(5)}
        reports = _reports(_run(scripts, Options(Limits(concurrency=1), fail_fast=True)))
        assert {report.status for report in reports.values()} == {Status.HEALTHY}
        assert len(reports) == 5

    def test_without_it_all_are_asked(self) -> None:
        scripts = {"n1": Script([failure(Cause.ENDPOINT_DENIED)])} | {
            f"n{i}": Script([reached(f"n{i}")]) for i in range(2, 6)
        }
        reports = _reports(_run(scripts, Options(Limits(concurrency=1))))
        assert [report.status for report in reports.values()].count(Status.HEALTHY) == 4

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupt_keeps_what_was_learnt(self, number: signal.Signals) -> None:
        def interrupt(node: Node) -> None:
            if node.name == "n1":
                signal.raise_signal(number)

        scripts = {"n1": Script([reached("n1")]), "n2": Script([_until_called_off])}
        begun = time.monotonic()
        outcome = _run(scripts, Options(Limits(probe_timeout=_LONG)), observer=Listener(interrupt))
        assert time.monotonic() - begun < _SLACK
        assert outcome.interrupted
        reports = _reports(outcome)
        assert reports["n1"].status is Status.HEALTHY
        assert reports["n2"].status is Status.SKIPPED
        assert "interrupted" in reports["n2"].message

    def test_an_interrupt_that_comes_with_an_answer_loses_none(self) -> None:
        """The first answer raises the signal while it is taken; that of the second one is there by then."""
        answered = threading.Event()

        def second(_: Deadline) -> Outcomes:
            answered.set()
            return reached("n2")

        def interrupt(node: Node) -> None:
            if node.name == "n1":
                assert answered.wait(_LONG)
                signal.raise_signal(signal.SIGINT)

        scripts = {"n1": Script([reached("n1")]), "n2": Script([second])}
        outcome = _run(scripts, Options(Limits(probe_timeout=_LONG)), observer=Listener(interrupt))
        assert outcome.interrupted
        assert {report.status for report in _reports(outcome).values()} == {Status.HEALTHY}

    def test_an_interrupt_that_comes_while_an_answer_is_taken_loses_it_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take = checker_module._Run._next

        def interrupted(run: Any, deadline: Deadline, *, heed_interrupt: bool) -> Any:
            answer = take(run, deadline, heed_interrupt=heed_interrupt)
            signal.raise_signal(signal.SIGINT)
            return answer

        monkeypatch.setattr(checker_module._Run, "_next", interrupted)
        outcome = _run({"n1": Script([reached("n1")])})
        assert outcome.interrupted
        assert _reports(outcome)["n1"].status is Status.HEALTHY

    def test_an_interrupt_that_comes_last_is_not_lost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        finish = checker_module._Run._finish

        def interrupted(run: Any) -> Outcome:
            outcome = finish(run)
            signal.raise_signal(signal.SIGINT)
            return outcome

        monkeypatch.setattr(checker_module._Run, "_finish", interrupted)
        assert _run({"n1": Script([reached("n1")])}).interrupted

    def test_a_second_interrupt_waits_for_nothing(self) -> None:
        def interrupt(node: Node) -> None:
            if node.name == "n1":
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

        scripts = {"n1": Script([reached("n1")]), "n2": Script([_until_called_off])}
        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            _run(scripts, Options(Limits(probe_timeout=_LONG)), observer=Listener(interrupt))
        assert signal.getsignal(signal.SIGINT) is handler

    def test_an_ignored_signal_stays_ignored(self) -> None:
        """As `nohup` and a shell's `&` have it."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            scripts = {"n1": Script([reached("n1")])}
            outcome = _run(scripts, observer=Listener(lambda _: signal.raise_signal(signal.SIGINT)))
            assert not outcome.interrupted
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGINT, before)
