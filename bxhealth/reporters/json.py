"""`--format json`: the report as `report.schema.json` beside this file describes it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from bxhealth.model import BuilderReport, CheckResult, NodeReport, Report
from bxhealth.reporters.interface import Style

SCHEMA = "bxhealth/1"
_DIGITS = 3


def render(report: Report, style: Style) -> str:  # noqa: ARG001
    """See `interface.Reporter`."""
    return json.dumps(document(report), indent=2) + "\n"


def document(report: Report) -> dict[str, Any]:
    """The report as JSON values."""
    return {
        "schema": SCHEMA,
        "version": report.version,
        "started_at": _time(report.started_at),
        "duration_seconds": round(report.duration_seconds, _DIGITS),
        "verdict": report.verdict.value,
        "builders": [_builder(builder) for builder in report.builders],
        "checks": [_check(check) for check in report.checks],
    }


def _builder(builder: BuilderReport) -> dict[str, Any]:
    return {
        "name": builder.name,
        "driver": builder.driver,
        "verdict": builder.verdict.value,
        "policy": builder.policy,
        "error": builder.error,
        "nodes": [_node(node) for node in builder.nodes],
        "platforms": {
            platform: {
                "healthy_nodes": served.healthy_nodes,
                "required": served.required,
                "nodes": list(served.nodes),
                "emulated_on": list(served.emulated_on),
            }
            for platform, served in builder.platforms.items()
        },
    }


def _node(node: NodeReport) -> dict[str, Any]:
    return {
        "name": node.name,
        "endpoint": node.endpoint,
        "status": node.status.value,
        "cause": node.cause.value if node.cause else None,
        "message": node.message,
        "hint": node.hint,
        "advisory": node.advisory,
        "bootstrapped": node.bootstrapped,
        "attempts": node.attempts,
        "duration_seconds": round(node.duration_seconds, _DIGITS),
        "buildkit_version": node.buildkit_version,
        "platforms": list(node.platforms),
        "emulated_platforms": list(node.emulated_platforms),
        "log_tail": list(node.log_tail),
        "checks": [_check(check) for check in node.checks],
    }


def _check(check: CheckResult) -> dict[str, Any]:
    return {
        "name": check.name,
        "target": check.target,
        "status": check.status.value,
        "cause": check.cause.value if check.cause else None,
        "message": check.message,
        "duration_seconds": round(check.duration_seconds, _DIGITS),
        "measured": dict(check.measured),
    }


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
