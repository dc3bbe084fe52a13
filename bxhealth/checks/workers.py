"""Whether BuildKit has a worker: without one, it answers and can build nothing."""

from __future__ import annotations

from collections.abc import Sequence

from bxhealth.checks.interface import Probe
from bxhealth.errors import NodeFailure
from bxhealth.model import Cause, CheckResult, Status


def check(probe: Probe) -> Sequence[CheckResult]:
    """See `interface.Check`."""
    workers = probe.reached.workers
    if not workers:
        raise NodeFailure(Cause.NO_WORKERS, "BuildKit answers and has no worker")
    return [CheckResult("workers", Status.HEALTHY, message=f"{len(workers)} worker{'s'[: len(workers) > 1]}")]
