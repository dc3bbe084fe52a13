"""Metrics as bytes, made once for each new result and not once for each scrape."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.exposition import generate_latest as as_text
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as as_openmetrics

from bxhealth.exporter.metrics import ChecksCollector
from bxhealth.exporter.results import Results

_REMEMBERED_SECONDS = 900.0
"""How long a form is rendered ahead after somebody has asked for it."""
_LEVEL = 1
"""Of gzip: metrics repeat themselves so much that a higher one costs more time than it saves."""


class Collector(Protocol):
    """What has metrics."""

    def collect(self) -> Iterable[Metric]:
        """The metric families, each complete."""


@dataclass(frozen=True)
class Form:
    """How the metrics are wanted."""

    openmetrics: bool
    gzipped: bool

    @property
    def media_type(self) -> str:
        """The content type."""
        return OPENMETRICS if self.openmetrics else CONTENT_TYPE_PLAIN_0_0_4


def form(accept: str, accept_encoding: str) -> Form:
    """What the headers `Accept` and `Accept-Encoding` ask for."""
    _, media_type = choose_encoder(accept)
    return Form(media_type.startswith("application/openmetrics-text"), takes_gzip(accept_encoding))


def takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is named, and not with a weight of 0: RFC 9110, 12.5.3."""
    for part in accept_encoding.split(","):
        name, _, weight = part.replace(" ", "").lower().partition(";q=")
        if name == "gzip":
            return not weight or bool(weight.strip("0."))
    return False


def render(collector: Collector, wanted: Form) -> bytes:
    """The metrics of a collector."""
    if wanted.openmetrics:
        content: bytes = as_openmetrics(collector)  # type: ignore[no-untyped-call]
    else:
        content = as_text(collector)
    return gzip.compress(content, _LEVEL) if wanted.gzipped else content


class Exposition:
    """The metrics of the latest results, rendered by a thread of its own, in the forms that scrapes ask for."""

    def __init__(self, results: Results, version: str) -> None:
        self._results = results
        self._version = version
        self._process = ProcessCollector(registry=None)
        self._changed = threading.Event()
        self._stopped = False
        # what Prometheus will ask for first
        self._asked = {Form(openmetrics=True, gzipped=True): time.monotonic()}
        self._bodies: Mapping[Form, bytes] = {}
        self._thread = threading.Thread(target=self._run, name="exposition", daemon=True)
        results.on_change(self._changed.set)

    def start(self) -> None:
        """Render from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Render no more."""
        self._stopped = True
        self._changed.set()

    def ready(self, wanted: Form) -> bytes | None:
        """The metrics, at once; None in a form that nobody has asked for lately, which `body` makes."""
        self._asked[wanted] = time.monotonic()
        return self._bodies.get(wanted)

    def body(self, wanted: Form) -> bytes:
        """The metrics, rendered now; from the next time on, they are ready."""
        self._changed.set()
        return render(self, wanted)

    def collect(self) -> Iterable[Metric]:
        """The families of the latest results and of this process; see `Collector`."""
        return [*ChecksCollector(self._results.latest, self._version).collect(), *self._process.collect()]

    def _run(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()  # before rendering: what changes meanwhile is rendered next
            if self._stopped:
                return
            now = time.monotonic()
            wanted = [form for form, at in list(self._asked.items()) if now - at < _REMEMBERED_SECONDS]
            self._bodies = {form: render(self, form) for form in wanted}
