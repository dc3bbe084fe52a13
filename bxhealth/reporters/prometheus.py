"""`--format prometheus`: the exporter's metrics of this one run, for node_exporter's textfile collector.

Text format without timestamps, as that collector wants it. Counters count this run alone.
"""

from __future__ import annotations

from bxhealth.model import Report
from bxhealth.reporters.interface import Style


def render(report: Report, style: Style) -> str:  # noqa: ARG001
    """See `interface.Reporter`."""
    # late, since it takes longer to import than all other formats together
    from prometheus_client.exposition import generate_latest

    from bxhealth.exporter import redaction
    from bxhealth.exporter.metrics import ChecksCollector
    from bxhealth.exporter.results import Checked

    ended_at = report.started_at.timestamp() + report.duration_seconds
    checks = {
        # all builders were checked at once, each for as long as its slowest node took
        builder.name: Checked(
            redaction.report(builder),
            ended_at,
            max((node.duration_seconds for node in builder.nodes), default=0.0),
            report.checks,
        ).after({})
        for builder in reversed(report.builders)
    }
    return generate_latest(ChecksCollector([checks[name] for name in sorted(checks)], report.version)).decode()
