"""What a run is asked to do, as the command line or the exporter's configuration has it."""

from __future__ import annotations

from dataclasses import dataclass

from bxhealth.versions import Version

ALL_NODES, ALL_PLATFORMS = "all-nodes", "all-platforms"


@dataclass(frozen=True)
class Limits:
    """How long, how often and how many at a time. Times are in seconds."""

    probe_timeout: float = 5.0
    boot_timeout: float = 120.0
    deadline: float | None = None
    retries: int = 0
    retry_delay: float = 1.0
    concurrency: int = 64


@dataclass(frozen=True)
class Judging:
    """What makes a verdict of reports."""

    policy: str = ALL_NODES
    min_nodes: int = 1
    required: tuple[str, ...] = ()
    """Platforms, normalised, that some healthy node has to serve."""
    native: bool = False
    advisory: frozenset[str] = frozenset()
    """Names of nodes and of checks whose failures warn and do not fail."""
    strict: bool = False


@dataclass(frozen=True)
class Threshold:
    """How much has to be free: a share of the whole, or so many bytes."""

    percent: float | None = None
    size_bytes: int = 0


@dataclass(frozen=True)
class Options:
    """All that decides what is checked and how it is judged."""

    limits: Limits = Limits()
    bootstrap: bool = True
    fail_fast: bool = False
    judging: Judging = Judging()
    canary: tuple[str, ...] | None = None
    """The platforms to execute a canary for; none named means those that a node declares, None no canary."""
    pull: tuple[str, ...] = ()
    """Images that each node has to be able to resolve."""
    registries: tuple[str, ...] = ()
    """Registries that the client's credentials have to work for."""
    min_free_disk: Threshold | None = None
    min_buildkit: Version | None = None
    same_version: bool = False
    certificate_days: float | None = None
