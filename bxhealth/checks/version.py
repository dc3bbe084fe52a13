"""Whether BuildKit is new enough. Whether all nodes have the same is asked of their reports, in `policy`."""

from __future__ import annotations

from collections.abc import Sequence

from bxhealth import versions
from bxhealth.checks.interface import Probe
from bxhealth.model import Cause, CheckResult, Status


def check(probe: Probe) -> Sequence[CheckResult]:
    """See `interface.Check`."""
    least, told = probe.options.min_buildkit, probe.reached.version
    if least is None:
        return []
    try:
        version = versions.parse(told or "")
    except ValueError:
        seen = f"BuildKit calls its version {told!r}, which names no release" if told else "BuildKit tells no version"
        return [CheckResult("version", Status.SKIPPED, message=seen)]
    if version < least:
        return [CheckResult("version", Status.UNHEALTHY, Cause.VERSION_TOO_OLD, f"BuildKit {told} is before {least}")]
    return [CheckResult("version", Status.HEALTHY, message=f"BuildKit {told}")]
