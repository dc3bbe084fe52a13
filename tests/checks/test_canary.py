"""The texts are what buildx writes with `--progress=plain` (`util/progress/progressui` in moby/buildkit)."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from bxhealth import processes
from bxhealth.canary import elf
from bxhealth.checks import CHECKS
from bxhealth.errors import Cancelled, CliUnavailable
from bxhealth.model import Cause, CheckResult, Status
from bxhealth.options import Limits, Options
from bxhealth.processes import Finished
from tests.checks.probes import Call, FakeBuildx, always, probe

AMD, ARM, ARMV7 = "linux/amd64", "linux/arm64", "linux/arm/v7"

_BUILD = """\
#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s
#5 [2/2] RUN --network=none ["/canary"]
{output}
#5 ERROR: process "/canary" did not complete successfully: exit code: {code}
------
 > [2/2] RUN --network=none ["/canary"]:
{output}
------
Dockerfile:3
--------------------
   2 |     COPY canary /canary
   3 | >>> RUN --network=none ["/canary"]
--------------------
ERROR: failed to build: failed to solve: process "/canary" did not complete successfully: exit code: {code}
"""
CANNOT_EXECUTE = _BUILD.format(output="0.069 exec /canary: exec format error", code=255)
BROKEN_RUNC = _BUILD.format(output="0.1 runc run failed: unable to start container process", code=1)
DISK_FULL = (
    "#1 ERROR: mkdir /var/lib/buildkit/x: no space left on device\nERROR: failed to solve: no space left on device"
)


def _ask(
    buildx: FakeBuildx,
    canary: tuple[str, ...] | None = (),
    declared: tuple[str, ...] = (),
    offered: Sequence[str] = (AMD, ARM),
) -> Sequence[CheckResult]:
    return CHECKS["canary"](probe(Options(canary=canary), buildx, declared=declared, workers=[offered]))


def test_not_asked_where_no_canary_is_wanted() -> None:
    buildx = FakeBuildx()
    assert not _ask(buildx, None)
    assert not buildx.calls


@pytest.mark.parametrize(
    ("named", "declared", "asked"),
    [
        ((), (), [AMD]),
        ((), (ARM, AMD), [ARM, AMD]),
        ((ARM,), (), [ARM]),
        ((ARM, AMD), (AMD,), [ARM, AMD]),
    ],
)
def test_which_platforms_are_tried(named: tuple[str, ...], declared: tuple[str, ...], asked: list[str]) -> None:
    buildx = FakeBuildx()
    results = _ask(buildx, named, declared)
    assert [(result.name, result.target, result.status) for result in results] == [
        ("canary", platform, Status.HEALTHY) for platform in asked
    ]
    tried = [call.arguments[call.arguments.index("--platform") + 1] for call in buildx.calls]
    assert sorted(tried) == sorted(asked)


def test_a_node_without_any_platform_has_nothing_to_try() -> None:
    assert not _ask(FakeBuildx(), (), offered=())


@pytest.mark.parametrize(
    ("platform", "emulated"),
    [(AMD, False), ("linux/386", False), ("linux/amd64/v3", False), (ARM, True), (ARMV7, True)],
)
def test_an_emulated_platform_is_told_apart(platform: str, emulated: bool) -> None:
    (result,) = _ask(FakeBuildx(), (platform,), offered=(AMD, platform))
    assert result.status is Status.HEALTHY
    assert ("emulated" in result.message) is emulated


def test_the_build_needs_no_network_and_no_cache_and_leaves_nothing() -> None:
    buildx = FakeBuildx()
    _ask(buildx, (ARMV7,), declared=(ARMV7,))
    (call,) = buildx.calls
    assert (call.builder, call.node, call.arguments[0]) == ("fleet", "n1", "build")
    for words in ("--no-cache", "--provenance=false", "--sbom=false", "--output=type=cacheonly"):
        assert words in call.arguments
    assert call.arguments[call.arguments.index("--builder") + 1] == "fleet"
    assert call.arguments[-1] == "{private}/canary"
    assert call.files["canary/canary"] == elf.program("arm")
    lines = call.files["canary/Dockerfile"].decode().splitlines()
    assert lines[0] == "FROM scratch"
    assert lines[-1].startswith("RUN --network=none")
    assert call.seconds == Limits().boot_timeout


@pytest.mark.parametrize(
    ("platform", "declared", "words"),
    [
        ("linux/s390x", (), "neither declares nor offers"),
        ("windows/amd64", ("windows/amd64",), "no canary"),
        ("linux/mips64", ("linux/mips64",), "no canary"),
        ("linux/sparc64", ("linux/sparc64",), "no canary"),
    ],
)
def test_what_cannot_be_tried_is_skipped_with_the_reason(platform: str, declared: tuple[str, ...], words: str) -> None:
    buildx = FakeBuildx()
    (result,) = _ask(buildx, (platform,), declared)
    assert (result.status, result.cause, result.target) == (Status.SKIPPED, None, platform)
    assert words in result.message
    assert not buildx.calls


@pytest.mark.parametrize(
    ("stderr", "cause", "words"),
    [
        (CANNOT_EXECUTE, Cause.PLATFORM_BROKEN, ("exec format error", "exit code: 255")),
        (BROKEN_RUNC, Cause.BUILD_FAILED, ("runc run failed", "exit code: 1")),
        (DISK_FULL, Cause.BUILD_FAILED, ("no space left on device",)),
        ("", Cause.BUILD_FAILED, ("status 1",)),
    ],
)
def test_a_build_that_fails_says_why(stderr: str, cause: Cause, words: Sequence[str]) -> None:
    (result,) = _ask(always(1, stderr), (ARM,))
    assert (result.status, result.cause, result.target) == (Status.UNHEALTHY, cause, ARM)
    assert "\n" not in result.message
    for expected in (ARM, *words):
        assert expected in result.message


@pytest.mark.parametrize(
    ("stderr", "words"), [("", "said nothing"), ("#5 [2/2] RUN\n#5 0.1 waiting for a lock\n", "waiting for a lock")]
)
def test_a_build_that_does_not_end_is_a_failed_one(stderr: str, words: str) -> None:
    (result,) = _ask(always(processes.STOPPED, stderr), (ARM,))
    assert (result.status, result.cause) == (Status.UNHEALTHY, Cause.BUILD_FAILED)
    assert "stopped" in result.message
    assert words in result.message


def test_all_platforms_are_tried_at_once_and_judged_apart() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def answer(call: Call) -> Finished:
        meeting.wait()  # passes only if both builds run at the same time
        return Finished(1, "", CANNOT_EXECUTE) if ARM in call.arguments else Finished(0, "", "")

    results = _ask(FakeBuildx(answer), (AMD, ARM))
    assert [(result.target, result.cause) for result in results] == [(AMD, None), (ARM, Cause.PLATFORM_BROKEN)]


@pytest.mark.parametrize("error", [Cancelled(), CliUnavailable("there is no docker")])
def test_what_is_no_answer_of_the_node_is_not_judged(error: Exception) -> None:
    def answer(_: Call) -> Finished:
        raise error

    with pytest.raises(type(error)):
        _ask(FakeBuildx(answer), (AMD, ARM))
