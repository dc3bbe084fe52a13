"""Metrics as bytes, made once for each new result and not once for each scrape."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterable
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

_LEVEL = 1
"""Of gzip: metrics repeat themselves so much that a higher one costs more time than it saves."""


class Collector(Protocol):
    """What has metrics."""

    def collect(self) -> Iterable[Metric]:
        """The metric families, each complete."""


@dataclass(frozen=True)
class Body:
    """One format of the metrics, plain and compressed."""

    media_type: str
    plain: bytes
    gzipped: bytes


@dataclass(frozen=True)
class Bodies:
    """The metrics in both formats."""

    text: Body
    openmetrics: Body

    def chosen(self, accept: str) -> Body:
        """The format that an `Accept` header asks for."""
        _, media_type = choose_encoder(accept)
        return self.openmetrics if media_type.startswith("application/openmetrics-text") else self.text


class _Together:
    """Several collectors as one."""

    def __init__(self, collectors: Iterable[Collector]) -> None:
        self._families = [family for collector in collectors for family in collector.collect()]

    def collect(self) -> Iterable[Metric]:
        """See `Collector`; the same families each time."""
        return self._families


def render(*collectors: Collector) -> Bodies:
    """The metrics of these collectors."""
    families = _Together(collectors)
    text = as_text(families)
    openmetrics: bytes = as_openmetrics(families)  # type: ignore[no-untyped-call]
    return Bodies(
        Body(CONTENT_TYPE_PLAIN_0_0_4, text, gzip.compress(text, _LEVEL)),
        Body(OPENMETRICS, openmetrics, gzip.compress(openmetrics, _LEVEL)),
    )


class Exposition:
    """The metrics of the latest results, rendered by a thread of its own."""

    def __init__(self, results: Results, version: str) -> None:
        self._results = results
        self._version = version
        self._process = ProcessCollector(registry=None)
        self._changed = threading.Event()
        self._stopped = False
        self._bodies = self._render()
        self._thread = threading.Thread(target=self._run, name="exposition", daemon=True)
        results.on_change(self._changed.set)

    def start(self) -> None:
        """Render from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Render no more."""
        self._stopped = True
        self._changed.set()

    @property
    def bodies(self) -> Bodies:
        """The metrics, at once."""
        return self._bodies

    def _run(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()  # before rendering: what changes meanwhile is rendered next
            if self._stopped:
                return
            self._bodies = self._render()

    def _render(self) -> Bodies:
        return render(ChecksCollector(self._results.latest, self._version), self._process)
