"""How a report is written: one file a format."""

from __future__ import annotations

from collections.abc import Mapping

from bxhealth.reporters import json, prometheus, table
from bxhealth.reporters.interface import Reporter

REPORTERS: Mapping[str, Reporter] = {"table": table.render, "json": json.render, "prometheus": prometheus.render}
"""By the name that `--format` takes."""
