"""Puts the parts together: from builders and options to their reports."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from bxhealth import drivers, policy
from bxhealth.buildx import Buildx
from bxhealth.checker import Checker, Observer, Outcome
from bxhealth.checks import CHECKS
from bxhealth.deadline import Cancellation
from bxhealth.model import Builder, BuilderReport, CheckResult
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
    client: list[CheckResult] = []
    limits = options.limits

    def ask_client() -> None:
        from bxhealth import registry  # late, since few runs need its HTTP client

        client.extend(registry.check(store.docker, options.registries, limits.probe_timeout))

    asking = threading.Thread(target=ask_client, name="registries", daemon=True)
    if options.registries:
        asking.start()
    buildx = Buildx()
    checker = Checker(
        options, lambda builder, node: drivers.link(builder, node, store.docker, buildx), CHECKS, buildx, observer
    )
    outcome = checker.run(builders, cancellation)
    if options.registries:
        asking.join()
    return (
        [_judge(outcome, i, builder, options) for i, builder in enumerate(builders)],
        client,
        outcome.interrupted,
    )


def _judge(outcome: Outcome, index: int, builder: Builder, options: Options) -> BuilderReport:
    nodes = [report for j in range(len(builder.nodes)) for report in outcome.reports.get((index, j), ())]
    if options.same_version:
        nodes = policy.mark_skew(nodes, options.judging)
    return policy.judge(builder, nodes, options.judging, outcome.errors.get(index))
