"""Checks as metric families: the contract with Prometheus. Pure.

Names follow prometheus.io/docs/practices/naming and docs/instrumenting/writing_exporters. Whatever a node or the
store says may become a label's value only through `_label`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bxhealth.exporter import redaction
from bxhealth.exporter.history import MAX_PLATFORMS, NodeHistory, is_up
from bxhealth.exporter.results import Checked
from bxhealth.model import BuilderReport, NodeReport, Status
from bxhealth.platforms import unique
from bxhealth.reporters.escape import printable

_MAX_LABEL = 128
_DIGEST = 8
_MAX_BUILDER_PLATFORMS = 128
"""Those that are required or declared come first."""

# by the figure's name in `CheckResult.measured`
_MEASURED = {
    "certificate_not_after_timestamp_seconds": (
        "bxhealth_node_certificate_not_after_timestamp_seconds",
        "When the TLS certificate that the node's endpoint shows expires.",
    ),
    "cache_bytes": ("bxhealth_node_cache_bytes", "Size of the node's build cache."),
    "cache_reclaimable_bytes": (
        "bxhealth_node_cache_reclaimable_bytes",
        "How much of the node's build cache could be pruned.",
    ),
    "disk_free_bytes": ("bxhealth_node_disk_free_bytes", "Free space where the node keeps its state."),
}


class ChecksCollector:
    """A prometheus_client collector of some checks."""

    def __init__(
        self, checks: Sequence[Checked], version: str, interval: float | None = None, problems: int = 0
    ) -> None:
        """Describe them.

        Args:
            checks: the last check of each builder.
            version: that of bxhealth.
            interval: seconds from one check of a builder to the next, where that goes on.
            problems: how many things keep what is meant from being checked, where that goes on.
        """
        self._checks = checks
        self._version = version
        self._interval = interval
        self._problems = problems

    def collect(self) -> Iterable[Metric]:
        """The metric families, each complete."""
        info = GaugeMetricFamily("bxhealth_build_info", "The version of bxhealth; always 1.", labels=["version"])
        info.add_metric([_label(self._version)], 1)
        families = [info, *_builders(self._checks), *_nodes(self._checks), *_counts(self._checks)]
        families.append(_registries(self._checks))
        if self._interval is not None:
            text = "How long it is from one check of a builder to the next."
            families.append(GaugeMetricFamily("bxhealth_check_interval_seconds", text, value=self._interval))
            text = "How many things keep builders or nodes that are meant from being checked; the page says which."
            families.append(GaugeMetricFamily("bxhealth_problems", text, value=self._problems))
        return families


class ProbeCollector:
    """What one `/probe` adds to the metrics of its check, as blackbox_exporter names it.

    Nothing that is about more than this check: a counter would begin anew with each.
    """

    def __init__(self, check: Checked, seconds: float, *, whole: bool, has_tried: bool = True) -> None:
        """Describe it.

        Args:
            check: the check.
            seconds: how long it took, waiting included.
            whole: whether all nodes of the builder were asked, so that something can be said of it.
            has_tried: whether all was tried that the probe names; it has not succeeded otherwise.
        """
        self._check = check
        self._seconds = seconds
        self._whole = whole
        self._has_tried = has_tried

    def collect(self) -> Iterable[Metric]:
        """The metric families, each complete."""
        succeeded = self._has_tried and _builder_is_up(self._check.report)
        return [
            GaugeMetricFamily("probe_success", "Whether what was asked of the builder is well.", value=succeeded),
            GaugeMetricFamily("probe_duration_seconds", "How long the probe took.", value=self._seconds),
            *(_builders([self._check]) if self._whole else []),
            *_nodes([self._check]),
        ]


def _builders(checks: Sequence[Checked]) -> Iterable[Metric]:
    up = GaugeMetricFamily(
        "bxhealth_builder_up", "Whether the builder is healthy, or degraded within its policy.", labels=["builder"]
    )
    total = GaugeMetricFamily("bxhealth_builder_nodes", "How many nodes the builder has.", labels=["builder"])
    usable = GaugeMetricFamily("bxhealth_builder_nodes_up", "How many of its nodes can build.", labels=["builder"])
    serving = GaugeMetricFamily(
        "bxhealth_builder_platform_nodes_up",
        "How many of the builder's nodes can build for a platform that is required, declared or was ever served.",
        labels=["builder", "platform"],
    )
    took = GaugeMetricFamily(
        "bxhealth_builder_check_duration_seconds", "How long the last check of the builder took.", labels=["builder"]
    )
    at = GaugeMetricFamily(
        "bxhealth_builder_last_check_timestamp_seconds",
        "When the last check of the builder ended.",
        labels=["builder"],
    )
    for check in checks:
        report, builder = check.report, _label(check.report.name)
        nodes = _by_name(report)
        up.add_metric([builder], _builder_is_up(report))
        total.add_metric([builder], len(nodes))
        usable.add_metric([builder], sum(is_up(node) for node in nodes.values()))
        for platform, count in _served(report, check.histories).items():
            serving.add_metric([builder, platform], count)
        took.add_metric([builder], check.duration_seconds)
        at.add_metric([builder], check.ended_at)
    return [up, total, usable, serving, took, at]


def _nodes(checks: Sequence[Checked]) -> Iterable[Metric]:
    node = ["builder", "node"]
    up = GaugeMetricFamily("bxhealth_node_up", "Whether the node can build.", labels=[*node, "driver"])
    info = GaugeMetricFamily(
        "bxhealth_node_info",
        "Where the node is, and the BuildKit it has, if it tells; always 1.",
        labels=[*node, "driver", "endpoint", "buildkit_version"],
    )
    failure = GaugeMetricFamily("bxhealth_node_failure", "1 while the node fails, by cause.", labels=[*node, "cause"])
    platform_up = GaugeMetricFamily(
        "bxhealth_node_platform_up",
        "Whether the node can build for a platform that it declares or was ever seen to serve.",
        labels=[*node, "platform"],
    )
    took = GaugeMetricFamily(
        "bxhealth_node_check_duration_seconds",
        "How long a part of the node's last check took.",
        labels=[*node, "check"],
    )
    measured = {key: GaugeMetricFamily(name, text, labels=node) for key, (name, text) in _MEASURED.items()}
    for check in checks:
        builder, driver = _label(check.report.name), _label(check.report.driver)
        for report in _by_name(check.report).values():
            if report.status is Status.SKIPPED:
                continue  # nobody has asked it, as after --fail-fast, so nothing is known
            history = check.histories.get(report.name, NodeHistory())
            key = [builder, _label(report.name)]
            up.add_metric([*key, driver], is_up(report))
            info.add_metric(
                [*key, driver, _label(redaction.endpoint(report.endpoint)), _label(report.buildkit_version or "")], 1
            )
            if report.status is Status.UNHEALTHY and report.cause:
                failure.add_metric([*key, report.cause.value], 1)
            for platform, served in _platforms(report, history).items():
                platform_up.add_metric([*key, platform], served)
            for name, seconds in _durations(report).items():
                took.add_metric([*key, name], seconds)
            for figure, value in _figures(report).items():
                measured[figure].add_metric(key, value)
    return [up, info, failure, platform_up, took, *measured.values()]


def _counts(checks: Sequence[Checked]) -> Iterable[Metric]:
    """What adds up from one check to the next."""
    node = ["builder", "node"]
    success = GaugeMetricFamily(
        "bxhealth_node_last_success_timestamp_seconds", "When the node was last seen to be able to build.", labels=node
    )
    failures = CounterMetricFamily(
        "bxhealth_node_failures", "Checks that found the node failing, by cause.", labels=[*node, "cause"]
    )
    bootstraps = CounterMetricFamily("bxhealth_node_bootstraps", "Checks that have started the node.", labels=node)
    for check in checks:
        for name in _by_name(check.report):
            history = check.histories.get(name, NodeHistory())
            key = [_label(check.report.name), _label(name)]
            if history.last_success is not None:
                success.add_metric(key, history.last_success)
            for cause, count in history.failures.items():
                failures.add_metric([*key, cause.value], count)
            bootstraps.add_metric(key, history.bootstraps)
    return [success, failures, bootstraps]


def _registries(checks: Sequence[Checked]) -> Metric:
    up = GaugeMetricFamily(
        "bxhealth_registry_up", "Whether the registry takes the stored credentials.", labels=["registry"]
    )
    asked = {result.target: result for check in checks for result in check.client if result.target}
    for target, result in asked.items():
        if result.status is not Status.SKIPPED:
            up.add_metric([_label(target)], result.status is Status.HEALTHY)
    return up


def _builder_is_up(report: BuilderReport) -> bool:
    return report.error is None and report.verdict.value != "unhealthy"


def _by_name(report: BuilderReport) -> Mapping[str, NodeReport]:
    """The nodes by name; of those that a damaged store gives one name, the worst."""
    nodes: dict[str, NodeReport] = {}
    for node in report.nodes:
        other = nodes.get(node.name)
        if other is None or other.status.severity < node.status.severity:
            nodes[node.name] = node
    return nodes


def _served(report: BuilderReport, histories: Mapping[str, NodeHistory]) -> Mapping[str, int]:
    """By platform, how many nodes can build for it; 0 for one that was served before and is not now."""
    remembered = (platform for history in histories.values() for platform in history.platforms)
    known = unique((*report.platforms, *remembered))[:_MAX_BUILDER_PLATFORMS]
    counts: dict[str, int] = {}
    for platform in known:
        served = report.platforms.get(platform)
        counts[_label(platform)] = served.healthy_nodes if served else 0
    return counts


def _platforms(report: NodeReport, history: NodeHistory) -> Mapping[str, bool]:
    known = unique((*report.platforms, *history.platforms))[:MAX_PLATFORMS]
    return {_label(platform): is_up(report) and platform in report.platforms for platform in known}


def _durations(report: NodeReport) -> Mapping[str, float]:
    """By check; of one that was asked about several targets at once, the longest."""
    seconds: dict[str, float] = {}
    for check in report.checks:
        if check.duration_seconds:
            seconds[check.name] = max(seconds.get(check.name, 0.0), check.duration_seconds)
    return seconds


def _figures(report: NodeReport) -> Mapping[str, float]:
    return {name: value for check in report.checks for name, value in check.measured.items() if name in _MEASURED}


def _label(text: str) -> str:
    """`text` in printable characters, and so short that no node can fill Prometheus; the same for the same text."""
    text = printable(text)
    if len(text) <= _MAX_LABEL:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
    return f"{text[: _MAX_LABEL - _DIGEST - 1]}~{digest}"
