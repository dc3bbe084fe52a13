"""How much space is free where the node keeps its state, and how large its cache is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bxhealth.checks.interface import Probe
from bxhealth.deadline import Deadline
from bxhealth.errors import NodeFailure, Unavailable
from bxhealth.model import Cause, CheckResult, Status
from bxhealth.options import Threshold
from bxhealth.sizes import for_people

_STATE = "/var/lib/buildkit"
"""Where buildx mounts the state's volume: util/confutil, `DefaultBuildKitStateDir`."""
_STAT = ("stat", "-f", "-c", "%S %b %a %c %d", _STATE)
"""Block size, blocks, blocks free to use, inodes, inodes free; of coreutils and of busybox alike."""
_MIN_INODES_PERCENT = 1.0
"""What has to be left of inodes where the threshold is a size, which says nothing about them."""


@dataclass(frozen=True)
class Space:
    """A file system: bytes and inodes, in all and free. A file system without inodes has 0 of them."""

    total_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int


def check(probe: Probe) -> Sequence[CheckResult]:
    """See `interface.Check`."""
    threshold = probe.options.min_free_disk
    if threshold is None:
        return []
    measured: dict[str, float] = {}
    try:
        space, reason = _space(probe, _deadline(probe)), ""
    except Unavailable as unavailable:
        space, reason = None, str(unavailable)
    cache = _cache(probe, _deadline(probe), measured)
    if space is None:
        return [CheckResult("disk", Status.SKIPPED, message=f"{reason}; {cache}", measured=measured)]
    measured |= {
        "disk_free_bytes": space.free_bytes,
        "disk_total_bytes": space.total_bytes,
        "disk_free_inodes": space.free_inodes,
    }
    free = f"{for_people(space.free_bytes)} of {for_people(space.total_bytes)} and {space.free_inodes} inodes free"
    message = f"{free}; {cache}"
    if is_low(space, threshold):
        return [CheckResult("disk", Status.UNHEALTHY, Cause.DISK_LOW, f"{_STATE}: {message}", measured=measured)]
    return [CheckResult("disk", Status.HEALTHY, message=message, measured=measured)]


def is_low(space: Space, threshold: Threshold) -> bool:
    """Whether bytes or inodes are below what has to be free."""
    percent = threshold.percent
    least_bytes = threshold.size_bytes if percent is None else space.total_bytes * percent / 100
    least_inodes = space.inodes * (_MIN_INODES_PERCENT if percent is None else percent) / 100
    if percent is None and not threshold.size_bytes:
        return False
    return space.free_bytes < least_bytes or space.free_inodes < least_inodes


def parse(output: str) -> Space:
    """The answer of `stat -f`.

    Raises:
        Unavailable: it is not that.
    """
    try:
        block, blocks, free, inodes, free_inodes = (int(word) for word in output.split())
    except ValueError:
        raise Unavailable(f"`stat -f` in the node's container answered {output[:60]!r}") from None
    return Space(block * blocks, block * free, inodes, free_inodes)


def _space(probe: Probe, deadline: Deadline) -> Space:
    if probe.reached.run_inside is None:
        raise Unavailable("free space can only be read on docker-container nodes")
    output = probe.reached.run_inside(_STAT, deadline)
    if output.status:
        words = (output.stderr or output.stdout).decode(errors="replace").strip()
        raise Unavailable(f"`stat -f` in the node's container ended with {output.status}: {words[:120]}")
    return parse(output.stdout.decode(errors="replace"))


def _cache(probe: Probe, deadline: Deadline, measured: dict[str, float]) -> str:
    """The size of the cache in words, and in `measured`; a large one can take BuildKit long, which is no failure."""
    try:
        if probe.reached.control is None:
            raise Unavailable("only buildx can speak to this node")
        usage = probe.reached.control.disk_usage(deadline)
    except (Unavailable, NodeFailure) as reason:
        return f"cache size unknown: {reason}"
    measured |= {"cache_bytes": usage.total_bytes, "cache_reclaimable_bytes": usage.reclaimable_bytes}
    return f"cache {for_people(usage.total_bytes)}, {for_people(usage.reclaimable_bytes)} reclaimable"


def _deadline(probe: Probe) -> Deadline:
    return Deadline(probe.options.limits.probe_timeout, probe.cancellation)
