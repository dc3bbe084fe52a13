"""How long the certificate of a TLS endpoint is still valid."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bxhealth.checks.interface import Probe
from bxhealth.model import Cause, CheckResult, Status

_DAY_SECONDS = 86400.0


def check(probe: Probe) -> Sequence[CheckResult]:
    """See `interface.Check`; the days that are left are told for every TLS endpoint, asked for or not."""
    certificate, least = probe.reached.certificate, probe.options.certificate_days
    if certificate is None:
        if least is None:
            return []
        return [
            CheckResult("certificate", Status.SKIPPED, message="the endpoint shows no certificate that was verified")
        ]
    ends = certificate.not_after.timestamp()
    days = (ends - time.time()) / _DAY_SECONDS
    until = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
    message = f"the certificate of {probe.node.endpoint} is valid for {days:.1f} more days, until {until}"
    measured = {"certificate_not_after_timestamp_seconds": ends}
    if least is not None and days < least:
        return [CheckResult("certificate", Status.UNHEALTHY, Cause.CERTIFICATE_EXPIRING, message, measured=measured)]
    return [CheckResult("certificate", Status.HEALTHY, message=message, measured=measured)]
