"""Whether the node's workers list the platforms that it was given by hand."""

from __future__ import annotations

from collections.abc import Sequence

from bxhealth.checks.interface import Probe
from bxhealth.model import Cause, CheckResult, Status


def check(probe: Probe) -> Sequence[CheckResult]:
    """See `interface.Check`; one warning for each platform that is declared and not listed."""
    missing = [platform for platform in probe.node.platforms if platform not in probe.reached.offered]
    if not missing:
        return [CheckResult("platforms", Status.HEALTHY)]
    return [
        CheckResult(
            "platforms",
            Status.WARNING,
            Cause.PLATFORM_MISSING,
            f"the node declares {platform}, which its workers do not list",
            target=platform,
        )
        for platform in missing
    ]
