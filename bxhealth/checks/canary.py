"""Whether the node can execute a build for a platform, found out by one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bxhealth import platforms
from bxhealth.buildx import failed_step, last_words
from bxhealth.canary import build
from bxhealth.checks.interface import Probe
from bxhealth.concurrent import all_at_once
from bxhealth.deadline import Deadline
from bxhealth.model import Cause, CheckResult, Status

EMULATED = "executes, emulated"
_CANNOT_EXECUTE = "exec format error"


def check(probe: Probe) -> Sequence[CheckResult]:
    """See `interface.Check`; one answer a platform, all asked at once."""
    named = probe.options.canary
    if named is None:
        return []
    questions = [partial(_ask, probe, platform) for platform in named or _declared(probe)]
    return all_at_once(questions, probe.cancellation.waiting)


def _declared(probe: Probe) -> Sequence[str]:
    """What the node was given by hand, else its native platform."""
    return probe.node.platforms or probe.reached.offered[:1]


def _ask(probe: Probe, platform: str) -> CheckResult:
    if platform not in (*probe.node.platforms, *probe.reached.offered):
        return _skipped(platform, "the node neither declares nor offers it")
    if build.architecture(platform) is None:
        return _skipped(platform, "there is no canary for this platform")
    deadline = Deadline(probe.options.limits.boot_timeout, probe.cancellation)
    finished = build.run(probe.buildx, probe.builder, probe.node, platform, deadline)
    if finished.status == 0:
        native = platforms.is_native(platform, probe.reached.native)
        return CheckResult("canary", Status.HEALTHY, None, "executes" if native else EMULATED, platform)
    broken = _CANNOT_EXECUTE in finished.stderr
    cause = Cause.PLATFORM_BROKEN if broken else Cause.BUILD_FAILED
    said = "; ".join(words for words in (failed_step(finished), last_words(finished)) if words)
    return CheckResult("canary", Status.UNHEALTHY, cause, f"building for {platform}: {said}", platform)


def _skipped(platform: str, reason: str) -> CheckResult:
    return CheckResult("canary", Status.SKIPPED, message=reason, target=platform)
