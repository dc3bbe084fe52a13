"""Metrics as bytes, made once for each new result and not once for each scrape."""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.exposition import generate_latest as as_text
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as as_openmetrics

from bxhealth.exporter.metrics import ChecksCollector
from bxhealth.exporter.results import Results

_REMEMBERED_SECONDS = 900.0
"""How long a form is rendered ahead after somebody has asked for it."""
_REFRESH_SECONDS = 5.0
"""How old the figures of this process may be, when no check has ended meanwhile."""
_END = b"# EOF\n"
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
    """What the headers `Accept` and `Accept-Encoding` ask for; OpenMetrics only where it is named."""
    weights = _weights(accept)
    openmetrics = weights.get("application/openmetrics-text", 0.0)
    return Form(openmetrics > 0 and openmetrics >= weights.get("text/plain", 0.0), takes_gzip(accept_encoding))


def takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is named, and not with a weight of 0: RFC 9110, 12.5.3."""
    return _weights(accept_encoding).get("gzip", 0.0) > 0


def _weights(header: str) -> Mapping[str, float]:
    """What a header names, each with the greatest weight that it is given: RFC 9110, 12.4.2."""
    weights: dict[str, float] = {}
    for part in header.lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                with contextlib.suppress(ValueError):
                    weight = float(parameter.removeprefix("q="))
        weights[name] = max(weight, weights.get(name, 0.0))
    return weights


def render(collector: Collector, wanted: Form) -> bytes:
    """The metrics of a collector."""
    return _finish([_text(collector, openmetrics=wanted.openmetrics)], wanted)


def _text(collector: Collector, *, openmetrics: bool) -> bytes:
    """The metrics as text, without the end that OpenMetrics wants."""
    if not openmetrics:
        return as_text(collector)
    content: bytes = as_openmetrics(collector)  # type: ignore[no-untyped-call]
    return content.removesuffix(_END)


def _finish(texts: Iterable[bytes], wanted: Form) -> bytes:
    content = b"".join([*texts, _END if wanted.openmetrics else b""])
    return gzip.compress(content, _LEVEL) if wanted.gzipped else content


class Exposition:
    """The metrics of the latest results, rendered by a thread of its own, in the forms that scrapes ask for."""

    def __init__(self, results: Results, version: str, interval: float) -> None:
        self._results = results
        self._version = version
        self._interval = interval
        self._process = ProcessCollector(registry=None)
        self._changed = threading.Event()
        self._stopped = threading.Event()
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
        self._stopped.set()
        self._changed.set()

    @property
    def is_alive(self) -> bool:
        """Whether results are rendered."""
        return self._thread.is_alive()

    def ready(self, wanted: Form) -> bytes | None:
        """The metrics, at once; None in a form that nobody has asked for lately, which `body` makes."""
        self._asked[wanted] = time.monotonic()
        return self._bodies.get(wanted)

    def body(self, wanted: Form) -> bytes:
        """The metrics, rendered now; from the next time on, they are ready."""
        self._changed.set()
        return _finish([self._checks(wanted.openmetrics), self._self(wanted.openmetrics)], wanted)

    def _checks(self, openmetrics: bool) -> bytes:
        """The families of the latest results."""
        problems = len(self._results.problems)
        collector = ChecksCollector(self._results.latest, self._version, self._interval, problems)
        return _text(collector, openmetrics=openmetrics)

    def _self(self, openmetrics: bool) -> bytes:
        """The families of this process."""
        return _text(self._process, openmetrics=openmetrics)

    def _run(self) -> None:
        checks: Mapping[bool, bytes] = {}
        while True:
            has_changed = self._changed.wait(_REFRESH_SECONDS)
            self._changed.clear()  # before rendering: what changes meanwhile is rendered next
            if self._stopped.is_set():
                return
            begun = time.monotonic()
            wanted = [form for form, at in list(self._asked.items()) if begun - at < _REMEMBERED_SECONDS]
            if has_changed:
                checks = {openmetrics: self._checks(openmetrics) for openmetrics in {f.openmetrics for f in wanted}}
            self._bodies = {
                form: _finish([checks[form.openmetrics], self._self(form.openmetrics)], form)
                for form in wanted
                if form.openmetrics in checks
            }
            # many builders finish all the time: rendering takes half of it at most
            self._stopped.wait(time.monotonic() - begun)
