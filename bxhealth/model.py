"""The words of bxhealth as data: builders, nodes, causes, results and reports. No I/O happens here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any


class Status(str, Enum):
    """What a check, or all checks of a node together, came to."""

    SKIPPED = "skipped"
    HEALTHY = "healthy"
    WARNING = "warning"
    UNHEALTHY = "unhealthy"

    @property
    def severity(self) -> int:
        """Rank for "the worst of": skipped 0, so that it never hides an answer, to unhealthy 3."""
        return list(Status).index(self)


class Verdict(str, Enum):
    """What the nodes of a builder add up to under a policy."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"

    @property
    def severity(self) -> int:
        """Rank for "the worst of": healthy 0, degraded 1, unhealthy 2."""
        return list(Verdict).index(self)


class Cause(str, Enum):
    """The stable name of why a check failed; `docs/causes.md` has a section for each."""

    CONFIG_INVALID = "config_invalid"
    ENDPOINT_UNRESOLVABLE = "endpoint_unresolvable"
    ENDPOINT_REFUSED = "endpoint_refused"
    ENDPOINT_TIMEOUT = "endpoint_timeout"
    ENDPOINT_DENIED = "endpoint_denied"
    TLS_UNTRUSTED = "tls_untrusted"
    TLS_EXPIRED = "tls_expired"
    TLS_NAME_MISMATCH = "tls_name_mismatch"
    NOT_BUILDKIT = "not_buildkit"
    CONTAINER_MISSING = "container_missing"
    CONTAINER_EXITED = "container_exited"
    CONTAINER_RESTARTING = "container_restarting"
    IMAGE_UNAVAILABLE = "image_unavailable"
    BOOT_FAILED = "boot_failed"
    DAEMON_UNRESPONSIVE = "daemon_unresponsive"
    NO_WORKERS = "no_workers"
    PLATFORM_MISSING = "platform_missing"
    PLATFORM_BROKEN = "platform_broken"
    BUILD_FAILED = "build_failed"
    IMAGE_NOT_FOUND = "image_not_found"
    REGISTRY_DENIED = "registry_denied"
    REGISTRY_UNREACHABLE = "registry_unreachable"
    CREDENTIALS_MISSING = "credentials_missing"
    CREDENTIAL_HELPER_FAILED = "credential_helper_failed"
    DISK_LOW = "disk_low"
    VERSION_TOO_OLD = "version_too_old"
    VERSION_SKEW = "version_skew"
    CERTIFICATE_EXPIRING = "certificate_expiring"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    INTERNAL_ERROR = "internal_error"


TRANSIENT = frozenset(
    {
        Cause.ENDPOINT_REFUSED,
        Cause.ENDPOINT_TIMEOUT,
        Cause.ENDPOINT_UNRESOLVABLE,
        Cause.DAEMON_UNRESPONSIVE,
        Cause.CONTAINER_RESTARTING,
        Cause.IMAGE_UNAVAILABLE,
        Cause.BOOT_FAILED,
        Cause.REGISTRY_UNREACHABLE,
    }
)
"""Causes that may be gone a moment later, so that `--retries` tries again."""


@dataclass(frozen=True)
class Node:
    """One member of a builder, as buildx's store has it."""

    name: str
    endpoint: str
    """A Docker endpoint, the name of a Docker context, or a BuildKit endpoint: the driver decides."""
    platforms: tuple[str, ...] = ()
    """The platforms that were given by hand, normalised, such as `linux/arm64`."""
    driver_opts: Mapping[str, str] = field(default_factory=dict)
    stored: Mapping[str, Any] = field(default_factory=dict)
    """The node's entry exactly as stored, for a private store of this node alone."""


@dataclass(frozen=True)
class Builder:
    """A buildx builder instance, or a Docker context in its role as a builder of one `docker` node."""

    name: str
    driver: str
    nodes: tuple[Node, ...]
    is_context: bool = False
    stored: Mapping[str, Any] = field(default_factory=dict)
    """The builder's entry exactly as stored, without its nodes."""


@dataclass(frozen=True)
class Worker:
    """A BuildKit worker, as `ListWorkers` describes it."""

    id: str
    platforms: tuple[str, ...]
    """Normalised, in BuildKit's order: its native platform first."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckResult:
    """The answer to one question that was put to a node."""

    name: str
    status: Status
    cause: Cause | None = None
    message: str = ""
    target: str | None = None
    """What of the node was asked about, such as a platform or an image; None for the node as a whole."""
    duration_seconds: float = 0.0
    measured: Mapping[str, float] = field(default_factory=dict)
    """Figures that were taken, by a name that ends in their unit, such as `disk_free_bytes`."""


@dataclass(frozen=True)
class NodeReport:
    """All that was learnt about one node."""

    name: str
    endpoint: str
    status: Status
    cause: Cause | None = None
    message: str = ""
    hint: str = ""
    advisory: bool = False
    bootstrapped: bool = False
    attempts: int = 1
    duration_seconds: float = 0.0
    buildkit_version: str | None = None
    platforms: tuple[str, ...] = ()
    """What it can serve: what its workers list, and what a canary has shown; less what a canary has refuted."""
    emulated_platforms: tuple[str, ...] = ()
    """Those of `platforms` that only an emulator serves, where that can be told."""
    declared_platforms: tuple[str, ...] = ()
    """Those that the store says it is for."""
    log_tail: tuple[str, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    unasked: str = ""
    """Why something could not be asked of the node at all, such as a missing docker CLI; nothing if all could."""


@dataclass(frozen=True)
class PlatformReport:
    """How many nodes of a builder can serve one platform now."""

    healthy_nodes: int
    """How many usable nodes count for it: all in `nodes`, or, with `--native`, those without emulation."""
    required: bool
    nodes: tuple[str, ...] = ()
    """The usable nodes that can serve it."""
    emulated_on: tuple[str, ...] = ()
    """Those of `nodes` that serve it through an emulator only."""


@dataclass(frozen=True)
class BuilderReport:
    """All that was learnt about one builder, and what it adds up to."""

    name: str
    driver: str
    verdict: Verdict
    policy: str
    nodes: tuple[NodeReport, ...]
    platforms: Mapping[str, PlatformReport] = field(default_factory=dict)
    error: str | None = None
    """Why the builder, or a part of it, could not be checked at all; None if it was."""


@dataclass(frozen=True)
class Report:
    """One run of bxhealth over one or more builders."""

    version: str
    started_at: datetime
    duration_seconds: float
    verdict: Verdict
    builders: Sequence[BuilderReport]
    checks: Sequence[CheckResult] = ()
    """What was asked of the client rather than of a node, such as its registry credentials."""
