"""Puts the parts together: from builders and options to their reports."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bxhealth import drivers, policy
from bxhealth.buildkit.client import ControlClient
from bxhealth.buildx import Buildx
from bxhealth.checker import Checker, Observer, Outcome
from bxhealth.checks import CHECKS
from bxhealth.deadline import Cancellation
from bxhealth.docker_config import DockerConfig
from bxhealth.drivers.interface import Link
from bxhealth.model import Builder, BuilderReport, CheckResult, Node
from bxhealth.options import Options
from bxhealth.store import Store


def check(
    store: Store,
    builders: Sequence[Builder],
    options: Options,
    observer: Observer,
    cancellation: Cancellation | None = None,
) -> tuple[list[BuilderReport], list[CheckResult], bool]:
    """The builders' reports, the results of what is asked of the client, and whether the run was interrupted."""
    buildx = Buildx()
    make_control = partial(ControlClient, sizing=options.min_free_disk is not None)

    def link(builder: Builder, node: Node) -> Link:
        return drivers.link(builder, node, store.docker, buildx, make_control)

    checker = Checker(options, link, CHECKS, buildx, observer)
    with _asking_registries(store.docker, options) as registries:
        outcome = checker.run(builders, cancellation)
        # a node without a report is one that another thread has called off
        called_off = outcome.interrupted or not all(outcome.reports.values())
        client = registries(called_off)
    return (
        [_judge(outcome, i, builder, options) for i, builder in enumerate(builders)],
        client,
        outcome.interrupted,
    )


def _judge(outcome: Outcome, index: int, builder: Builder, options: Options) -> BuilderReport:
    nodes = [report for j in range(len(builder.nodes)) for report in outcome.reports.get((index, j), ())]
    if options.same_version:
        nodes = policy.mark_skew(nodes, options.judging)
    return policy.judge(builder, nodes, options.judging)


@contextlib.contextmanager
def _asking_registries(config: DockerConfig, options: Options) -> Iterator[Callable[[bool], list[CheckResult]]]:
    """Ask the registries meanwhile; gives a function that waits for their answers, or calls that off."""
    answers: list[CheckResult] = []
    cancellation = Cancellation()
    limits = options.limits
    seconds = min(limits.probe_timeout, limits.deadline or limits.probe_timeout)

    def ask() -> None:
        from bxhealth import registry  # late, since few runs need its HTTP client

        answers.extend(registry.check(config, options.registries, seconds, cancellation))

    asking = threading.Thread(target=ask, name="registries", daemon=True)
    if options.registries:
        asking.start()

    def collect(at_once: bool) -> list[CheckResult]:
        if at_once:
            cancellation.cancel()
        if options.registries:
            asking.join()
        return answers

    try:
        yield collect
    finally:
        collect(at_once=True)
        cancellation.close()
