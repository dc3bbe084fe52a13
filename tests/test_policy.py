"""Reports in, verdict out: a table of cases."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from bxhealth import policy
from bxhealth.hints import HINTS
from bxhealth.model import (
    Builder,
    BuilderReport,
    Cause,
    CheckResult,
    Node,
    NodeReport,
    Status,
    Verdict,
)
from bxhealth.options import ALL_PLATFORMS, Judging
from tests import reports

AMD, ARM, S390X = "linux/amd64", "linux/arm64", "linux/s390x"
H, D, U = Verdict.HEALTHY, Verdict.DEGRADED, Verdict.UNHEALTHY
PLATFORMS = Judging(ALL_PLATFORMS)


def up(name: str = "up", *platforms: str, emulated: tuple[str, ...] = ()) -> NodeReport:
    return NodeReport(name, "e", Status.HEALTHY, platforms=platforms or (AMD,), emulated_platforms=emulated)


def down(name: str = "down", *, advisory: bool = False) -> NodeReport:
    return NodeReport(name, "e", Status.UNHEALTHY, Cause.ENDPOINT_REFUSED, "refused", "start it", advisory=advisory)


def warned(name: str = "warned") -> NodeReport:
    return NodeReport(name, "e", Status.WARNING, Cause.PLATFORM_MISSING, "claims", platforms=(AMD,))


def unfinished(name: str = "unfinished") -> NodeReport:
    return NodeReport(name, "e", Status.SKIPPED, None, "not finished")


@dataclass(frozen=True)
class Case:
    what: str
    verdict: Verdict
    nodes: tuple[NodeReport, ...]
    judging: Judging = field(default_factory=Judging)
    declared: tuple[str, ...] = ()
    """What the first node was given by hand."""


CASES = (
    Case("all nodes healthy", H, (up("a"), up("b"))),
    Case("no node at all", U, ()),
    Case("one node down", U, (up(), down())),
    Case("a warning", D, (up(), warned())),
    Case("a warning, strictly", U, (up(), warned()), Judging(strict=True)),
    Case("healthy, strictly", H, (up(),), Judging(strict=True)),
    Case("a node that was not finished is not known to be healthy", U, (up(), unfinished())),
    Case("an advisory node down", D, (up(), down(advisory=True))),
    Case("an advisory node down, strictly", U, (up(), down(advisory=True)), Judging(strict=True)),
    Case("an advisory node down and another one", U, (down("a", advisory=True), down("b"))),
    Case("required and served", H, (up("a", AMD, ARM),), Judging(required=(ARM,))),
    Case("required and served by nobody", U, (up("a", AMD),), Judging(required=(ARM,))),
    Case("required of a node that is down", U, (up("a"), down(advisory=True)), Judging(required=(ARM,)), (ARM,)),
    Case("required and emulated", H, (up("a", AMD, ARM, emulated=(ARM,)),), Judging(required=(ARM,))),
    Case(
        "required natively and emulated",
        U,
        (up("a", AMD, ARM, emulated=(ARM,)),),
        Judging(required=(ARM,), native=True),
    ),
    Case(
        "required natively, emulated by one and native to another",
        H,
        (up("a", AMD, ARM, emulated=(ARM,)), up("b", ARM)),
        Judging(required=(ARM,), native=True),
    ),
    Case("by platforms: all healthy", H, (up("a"), up("b")), PLATFORMS),
    Case("by platforms: two of three down, the platform still served", D, (up(), down("b"), down("c")), PLATFORMS),
    Case("by platforms: all down", U, (down("a"), down("b")), PLATFORMS),
    Case("by platforms: no node at all", U, (), PLATFORMS),
    Case("by platforms: what only a dead node declares", U, (down("a"), up("b")), PLATFORMS, (S390X,)),
    Case("by platforms: what a dead and a healthy node offer", D, (down("a"), up("b")), PLATFORMS, (AMD,)),
    Case("by platforms: too few of them", U, (up(), down()), replace(PLATFORMS, min_nodes=2)),
    Case("by platforms: enough of them", D, (up("a"), up("b"), down()), replace(PLATFORMS, min_nodes=2)),
    Case("by platforms: required and unserved", U, (up(), down()), replace(PLATFORMS, required=(ARM,))),
    Case("by platforms: required and served", D, (up(), down()), replace(PLATFORMS, required=(AMD,))),
    Case("by platforms, strictly: one down", U, (up(), down()), replace(PLATFORMS, strict=True)),
    Case("by platforms: a node with a warning serves", D, (warned(), down()), PLATFORMS),
    Case("by platforms: an unfinished node serves nothing", U, (unfinished(),), PLATFORMS, (AMD,)),
    Case("--min-nodes is about platforms only", H, (up("a", AMD),), Judging(min_nodes=2)),
)


def builder_of(case: Case) -> Builder:
    nodes = [Node(node.name, "e", case.declared if i == 0 else ()) for i, node in enumerate(case.nodes)]
    return Builder("b", "remote", tuple(nodes))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_verdict(case: Case) -> None:
    assert policy.judge(builder_of(case), case.nodes, case.judging).verdict is case.verdict


def test_an_error_is_never_healthy() -> None:
    nodes = [replace(up(), unasked="no docker"), up("b")]
    report = policy.judge(Builder("b", "remote", (Node("up", "e"), Node("b", "e"))), nodes, PLATFORMS)
    assert (report.verdict, report.error) == (U, "node up: no docker")


def test_platforms_say_who_serves_them() -> None:
    nodes = [up("a", AMD, ARM, emulated=(ARM,)), up("b", ARM), down("c")]
    builder = Builder("b", "remote", tuple(Node(n.name, "e", (S390X,) if n.name == "c" else ()) for n in nodes))
    served = policy.platforms_of(builder, nodes, Judging(required=("linux/386",), native=True))
    assert {name: (s.healthy_nodes, s.required, s.nodes, s.emulated_on) for name, s in served.items()} == {
        "linux/386": (0, True, (), ()),
        S390X: (0, False, (), ()),
        AMD: (1, False, ("a",), ()),
        ARM: (1, False, ("a", "b"), ("a",)),
    }


DECIDED = (
    Case("nothing is known yet", H, ()),
    Case("a node is down", U, (down(),)),
    Case("an advisory node is down", H, (down(advisory=True),)),
    Case("a warning, strictly", U, (warned(),), Judging(strict=True)),
    Case("by platforms: a node is down, and others may serve", H, (down(),), PLATFORMS),
    Case("by platforms: too few are left", U, (down(),), replace(PLATFORMS, min_nodes=3, required=(AMD,))),
)


@pytest.mark.parametrize("case", DECIDED, ids=lambda case: case.what)
def test_what_decides_a_verdict_early(case: Case) -> None:
    """For --fail-fast, of a builder with two further nodes: U where nothing that they answer can change it."""
    assert policy.is_decided(builder_of(case), case.nodes, case.judging, 2) is (case.verdict is U)


def test_a_fail_fast_run_is_decided_by_the_last_of_many() -> None:
    nodes = [down("a"), down("b")]
    builder = Builder("b", "remote", (Node("a", "e"), Node("b", "e")))
    assert policy.is_decided(builder, nodes, PLATFORMS, 0)


def test_replicas_are_not_taken_for_nodes() -> None:
    """Two replicas of the first of two nodes have answered, and the second may still serve what is required."""
    builder = Builder("b", "kubernetes", (Node("k0", "e"), Node("k1", "e")))
    nodes = [up("k0[1]", AMD), up("k0[2]", AMD)]
    assert not policy.is_decided(builder, nodes, Judging(required=(ARM,)), 1)
    assert policy.is_decided(builder, nodes, Judging(required=(ARM,)), 0)


def result(name: str, status: Status, target: str | None = None, cause: Cause | None = None) -> CheckResult:
    return CheckResult(name, status, cause, "seen", target)


def test_a_canary_settles_what_a_node_claims() -> None:
    doubt = result("platforms", Status.WARNING, ARM, Cause.PLATFORM_MISSING)
    shown, refuted = (result("canary", status, ARM) for status in (Status.HEALTHY, Status.UNHEALTHY))
    assert [check.status for check in policy.settle([doubt, shown], Judging())] == [Status.HEALTHY] * 2
    assert [check.status for check in policy.settle([doubt, refuted], Judging())] == [doubt.status, refuted.status]
    other = result("canary", Status.HEALTHY, AMD)
    assert policy.settle([doubt, other], Judging())[0].status is Status.WARNING


def test_an_advisory_check_warns_at_most() -> None:
    failed = result("pull", Status.UNHEALTHY, "image", Cause.IMAGE_NOT_FOUND)
    (settled,) = policy.settle([failed], Judging(advisory=frozenset({"pull"})))
    assert (settled.status, settled.cause) == (Status.WARNING, Cause.IMAGE_NOT_FOUND)
    assert policy.settle([failed], Judging(advisory=frozenset({"canary"}))) == [failed]


@pytest.mark.parametrize(
    ("statuses", "decisive"),
    [
        (("reach:unhealthy", "bootstrap:unhealthy"), 1),
        (("reach:unhealthy", "bootstrap:skipped"), 0),
        (("reach:healthy", "platforms:warning", "canary:unhealthy"), 2),
        (("reach:healthy", "platforms:warning", "disk:warning"), 1),
        (("reach:healthy", "disk:skipped"), 0),
    ],
)
def test_the_check_that_decides(statuses: tuple[str, ...], decisive: int) -> None:
    checks = [result(name, Status(status)) for name, status in (word.split(":") for word in statuses)]
    assert policy.worst(checks) is checks[decisive]


def test_a_report_tells_the_worst_of_its_checks() -> None:
    failed = CheckResult("reach", Status.UNHEALTHY, Cause.TLS_EXPIRED, "over")
    told = policy.conclude(up(), [failed])
    assert (told.status, told.cause, told.message, told.hint) == (
        Status.UNHEALTHY,
        Cause.TLS_EXPIRED,
        "over",
        HINTS[Cause.TLS_EXPIRED],
    )


@pytest.mark.parametrize(
    ("versions", "skewed"),
    [
        (("v0.20.0", "v0.20.0"), ()),
        (("v0.20.0", "v0.19.0", "v0.20.0"), (1,)),
        # of equals, the newest leads, by version and not by letters
        (("v0.9.0", "v0.20.0"), (0,)),
        (("v0.20.0", None), ()),
        ((None, None), ()),
        (("v0.0.0+unknown", "v0.20.0"), (0,)),
    ],
)
def test_skew(versions: tuple[str | None, ...], skewed: tuple[int, ...]) -> None:
    nodes = [replace(up(f"n{i}"), buildkit_version=version) for i, version in enumerate(versions)]
    marked = policy.mark_skew(nodes, Judging())
    assert [i for i, node in enumerate(marked) if node.cause is Cause.VERSION_SKEW] == list(skewed)
    assert all(node.status is Status.UNHEALTHY for i, node in enumerate(marked) if i in skewed)


def builder_report(verdict: Verdict, error: str | None = None) -> BuilderReport:
    return BuilderReport("b", "d", verdict, "all-nodes", (), error=error)


@pytest.mark.parametrize(
    ("verdicts", "warning", "strict", "expected"),
    [
        ((H, H), False, False, H),
        ((H, D), False, False, D),
        ((H, U, D), False, False, U),
        ((), False, False, U),
        ((H,), True, False, D),
        ((H,), True, True, U),
    ],
)
def test_overall(verdicts: tuple[Verdict, ...], warning: bool, strict: bool, expected: Verdict) -> None:
    checks = [result("registry", Status.WARNING, "host", Cause.REGISTRY_DENIED)] if warning else []
    builders = [builder_report(verdict) for verdict in verdicts]
    assert policy.overall(builders, checks, Judging(strict=strict)) is expected


@pytest.mark.parametrize(
    ("builders", "status"),
    [
        ((builder_report(H),), 0),
        ((builder_report(D),), 0),
        ((builder_report(U),), 1),
        ((builder_report(U, "unreadable"),), 3),
        ((builder_report(U), builder_report(U, "unreadable")), 3),
    ],
)
def test_exit_status(builders: tuple[BuilderReport, ...], status: int) -> None:
    verdict = policy.overall(builders, (), Judging())
    report = replace(reports.report(*builders), verdict=verdict)
    assert policy.exit_status(report) == status


def test_a_canary_that_no_node_could_try_is_told() -> None:
    def node(name: str, **statuses: Status) -> NodeReport:
        checks = tuple(
            CheckResult("canary", s, message="not offered", target=f"linux/{p}") for p, s in statuses.items()
        )
        return replace(up(name), checks=checks)

    nodes = (
        node("a", amd64=Status.HEALTHY, arm64=Status.SKIPPED, s390x=Status.SKIPPED),
        node("b", amd64=Status.SKIPPED, arm64=Status.UNHEALTHY, s390x=Status.SKIPPED),
        up("c"),
    )
    assert policy.untried_canaries(BuilderReport("b", "", H, "", nodes)) == {S390X: "not offered"}
