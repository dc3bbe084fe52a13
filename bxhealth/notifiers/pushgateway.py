"""`--push`: the metrics of a run, for a Prometheus Pushgateway.

The API: prometheus/pushgateway, README.md: a PUT replaces all metrics of its grouping key, so that what is gone
from the store is gone there too.
"""

from __future__ import annotations

import base64
import socket

from bxhealth.model import Report
from bxhealth.notifiers.endpoint import NotifyError, Refused, below, send, without_secrets
from bxhealth.reporters import prometheus
from bxhealth.reporters.interface import Style

_JOB = "bxhealth"
_MAX_SHOWN = 200


def push(url: str, report: Report) -> None:
    """Replace the metrics of the job `bxhealth` and this host's instance with those of `report`.

    Raises:
        NotifyError: the Pushgateway did not take them.
    """
    text = prometheus.render(report, Style())
    grouping = ("metrics", "job", _JOB, "instance@base64", _encoded(socket.gethostname()))
    try:
        send("PUT", below(url, *grouping), text.encode(), {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
    except Refused as refused:
        # what is wrong with the metrics is there, and nowhere else
        said = without_secrets(refused.said, url).strip()[:_MAX_SHOWN]
        raise NotifyError(f"{refused}: {said}" if said else str(refused)) from refused


def _encoded(value: str) -> str:
    """A value of a grouping key as the API takes any: in URL-safe base64, `=` for an empty one."""
    return base64.urlsafe_b64encode(value.encode(errors="replace")).decode() or "="
