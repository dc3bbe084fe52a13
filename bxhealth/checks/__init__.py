"""The questions that are put to a node once it was reached: one file a check."""

from __future__ import annotations

from collections.abc import Mapping

from bxhealth.checks import platforms, workers
from bxhealth.checks.interface import Check

CHECKS: Mapping[str, Check] = {
    "workers": workers.check,
    "platforms": platforms.check,
}
"""By the name that they have in reports, in the order of reports. `reach` and `bootstrap` come before them."""
