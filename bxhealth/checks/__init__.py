"""The questions that are put to a node once it was reached: one file a check."""

from __future__ import annotations

from collections.abc import Mapping

from bxhealth.checks import canary, certificate, disk, platforms, pull, version, workers
from bxhealth.checks.interface import Check

CHECKS: Mapping[str, Check] = {
    "workers": workers.check,
    "platforms": platforms.check,
    "version": version.check,
    "certificate": certificate.check,
    "disk": disk.check,
    "canary": canary.check,
    "pull": pull.check,
}
"""By the name that they have in reports, in the order of reports."""

NAMES = ("reach", "bootstrap", *CHECKS)
"""All checks of a node: the checker itself does the first two."""
