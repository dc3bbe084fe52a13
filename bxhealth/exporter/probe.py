"""What `/probe` is asked: from the query and the scrape's timeout to a question. Pure but for reading the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bxhealth import platforms, policy
from bxhealth.errors import StoreError
from bxhealth.exporter.asking import Question, find
from bxhealth.model import BuilderReport
from bxhealth.options import ALL_NODES
from bxhealth.store import Store

DEFAULT_SECONDS = 10.0
"""Prometheus's default scrape timeout, for whoever does not say how long they wait."""
MAX_SECONDS = 300.0
_SHARE_FOR_ONE_NODE = 0.6
"""Of the time there is: what is left lets a node that did not answer be named for what it is."""
_MAX_PLATFORMS = 16
_DECLARED = ("", "declared", "1", "true")


class BadProbe(Exception):
    """The request cannot be answered, for the reason that it gives."""


def timeout(header: str | None, offset: float) -> float:
    """Seconds that a probe may take: Prometheus's scrape timeout header, less an offset.

    Raises:
        BadProbe: the header is no number.
    """
    try:
        seconds = float(header) if header else DEFAULT_SECONDS
    except ValueError:
        raise BadProbe("X-Prometheus-Scrape-Timeout-Seconds is not a number") from None
    if not 0 < seconds < float("inf"):
        raise BadProbe("X-Prometheus-Scrape-Timeout-Seconds is not a time")
    # an offset that leaves nothing is no offset, as in blackbox_exporter
    seconds = min(seconds, MAX_SECONDS)
    return seconds - offset if seconds > offset else seconds


def question(
    store: Store,
    targets: Sequence[str],
    nodes: Sequence[str],
    canaries: Sequence[str],
    seconds: float,
    watched: Question,
) -> Question:
    """What to ask for these parameters of a query, within `seconds`.

    Args:
        store: where builders are looked up.
        targets: the values of the parameter `target`.
        nodes: those of `node`.
        canaries: those of `canary`.
        seconds: how long it may take.
        watched: what the exporter itself asks of a builder: the options, and which nodes are meant.

    Raises:
        BadProbe: a parameter is missing or wrong, or names what is not in the store.
        StoreError: the store cannot be read.
    """
    if len(targets) != 1 or not targets[0]:
        raise BadProbe("the parameter target has to be there once: the name of a builder")
    builder = find(store, targets[0], store.names())
    if builder is None:
        raise BadProbe("the target is not a builder in the store")
    if nodes:
        _require_nodes(store, builder, nodes, watched)
    options = watched.options
    limits = replace(
        options.limits, deadline=seconds, probe_timeout=min(options.limits.probe_timeout, seconds * _SHARE_FOR_ONE_NODE)
    )
    options = replace(options, limits=limits, canary=_canary(canaries) if canaries else options.canary)
    if nodes:
        # what the builder as a whole has to offer cannot be expected of some of its nodes
        judging = replace(options.judging, policy=ALL_NODES, min_nodes=1, required=())
        options = replace(options, judging=judging)
    return replace(watched, builder=builder, options=options, only=tuple(sorted(set(nodes))) or watched.only)


def has_tried(report: BuilderReport, canary: Sequence[str]) -> bool:
    """Whether a canary was tried for each of these platforms, on any node."""
    return policy.tried_canaries(report) >= set(canary)


def _require_nodes(store: Store, builder: str, nodes: Sequence[str], watched: Question) -> None:
    try:
        known = {node.name for node in store.builder(builder).nodes if watched.means(node.name)}
    except StoreError:
        return  # the entry is malformed, which the answer will say
    if not known.issuperset(nodes):
        raise BadProbe("a node is not one of the target's")


def _canary(values: Sequence[str]) -> tuple[str, ...]:
    """The platforms that are named; none of them means those that a node declares."""
    words = [word for value in values for word in value.split(",") if word.strip().lower() not in _DECLARED]
    if len(words) > _MAX_PLATFORMS:
        raise BadProbe(f"canary names more than {_MAX_PLATFORMS} platforms")
    try:
        return platforms.unique(platforms.parse(word) for word in words)
    except ValueError:
        raise BadProbe("canary names what is not a platform such as linux/arm64") from None
