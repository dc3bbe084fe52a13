from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from bxhealth.buildkit import control_pb2 as pb
from bxhealth.buildkit.client import ControlClient, DiskUsage
from bxhealth.checks import CHECKS
from bxhealth.checks.disk import Space, is_low, parse
from bxhealth.deadline import Deadline
from bxhealth.engine import ExecOutput
from bxhealth.errors import NodeFailure, Unavailable
from bxhealth.model import Cause, CheckResult, Status
from bxhealth.options import Options, Threshold
from tests.checks.probes import probe
from tests.fake_buildkit import UNIMPLEMENTED, FakeBuildkit, MemoryStream, Reply

GIB = 1024**3
# block size, blocks, blocks free to use, inodes, inodes free
ROOMY = b"4096 26214400 13107200 1000000 900000\n"
"""100 GiB, of which 50 are free."""
SMALL = Threshold(size_bytes=GIB)

Inside = Callable[[Sequence[str], Deadline], ExecOutput]


def _stat(stdout: bytes = ROOMY, status: int = 0, stderr: bytes = b"") -> Inside:
    return lambda _command, _deadline: ExecOutput(status, stdout, stderr)


def _control(reply: Reply | None = None) -> ControlClient:
    usage = pb.DiskUsageResponse()
    usage.record.add(Size=3 * GIB, InUse=True)
    usage.record.add(Size=2 * GIB)
    return ControlClient(MemoryStream(FakeBuildkit({"DiskUsage": reply or Reply.of(usage)})))


def _ask(threshold: Threshold, run_inside: Inside | None, control: ControlClient | None = None) -> CheckResult:
    (result,) = CHECKS["disk"](probe(Options(min_free_disk=threshold), control=control, run_inside=run_inside))
    assert result.name == "disk"
    return result


def test_not_asked_where_no_threshold_is_given() -> None:
    assert not CHECKS["disk"](probe(Options(), control=_control(), run_inside=_stat()))


def test_space_and_cache_are_told_and_measured() -> None:
    result = _ask(SMALL, _stat(), _control())
    assert (result.status, result.cause) == (Status.HEALTHY, None)
    for words in ("50 GiB of 100 GiB", "900000 inodes free", "cache 5 GiB", "2 GiB reclaimable"):
        assert words in result.message
    assert result.measured == {
        "disk_free_bytes": 50 * GIB,
        "disk_total_bytes": 100 * GIB,
        "disk_free_inodes": 900_000,
        "cache_bytes": 5 * GIB,
        "cache_reclaimable_bytes": 2 * GIB,
    }


def test_too_little_space_names_the_directory_and_is_measured_all_the_same() -> None:
    result = _ask(Threshold(percent=50.5), _stat(), _control())
    assert (result.status, result.cause) == (Status.UNHEALTHY, Cause.DISK_LOW)
    assert "/var/lib/buildkit" in result.message
    assert result.measured["disk_free_bytes"] == 50 * GIB
    assert result.measured["cache_bytes"] == 5 * GIB


class _Unanswering(ControlClient):
    """A BuildKit that keeps no promise; `asked` notes when it is asked."""

    def __init__(self, asked: list[str]) -> None:
        self._asked = asked

    def disk_usage(self, deadline: Deadline) -> DiskUsage:
        assert not deadline.expired
        self._asked.append("DiskUsage")
        raise NodeFailure(Cause.DAEMON_UNRESPONSIVE, "tcp://n1 did not answer DiskUsage within 5 s")


@pytest.mark.parametrize(
    ("threshold", "status"), [(SMALL, Status.HEALTHY), (Threshold(size_bytes=60 * GIB), Status.UNHEALTHY)]
)
def test_an_unanswered_cache_size_decides_nothing_and_comes_after_the_space(
    threshold: Threshold, status: Status
) -> None:
    asked: list[str] = []

    def run_inside(command: Sequence[str], deadline: Deadline) -> ExecOutput:
        asked.append(command[0])
        return _stat()(command, deadline)

    result = _ask(threshold, run_inside, _Unanswering(asked))
    assert asked == ["stat", "DiskUsage"]
    assert result.status is status
    assert "cache size unknown: " in result.message
    assert "did not answer DiskUsage" in result.message
    assert "50 GiB" in result.message
    assert not [name for name in result.measured if name.startswith("cache")]


def test_neither_space_nor_cache_is_skipped_with_both_reasons() -> None:
    result = _ask(SMALL, None, _Unanswering([]))
    assert (result.status, result.cause, dict(result.measured)) == (Status.SKIPPED, None, {})
    assert "docker-container" in result.message
    assert "cache size unknown: " in result.message


def test_a_buildkit_without_disk_usage() -> None:
    result = _ask(SMALL, _stat(), _control(UNIMPLEMENTED))
    assert result.status is Status.HEALTHY
    assert "cache size unknown: " in result.message


def test_the_cache_is_measured_where_space_cannot_be_read() -> None:
    result = _ask(SMALL, None, _control())
    assert result.status is Status.SKIPPED
    assert result.measured == {"cache_bytes": 5 * GIB, "cache_reclaimable_bytes": 2 * GIB}


def test_a_node_that_only_buildx_speaks_to() -> None:
    result = _ask(SMALL, _stat())
    assert result.status is Status.HEALTHY
    assert "buildx" in result.message


@pytest.mark.parametrize(
    ("run_inside", "words"),
    [
        (_stat(b"", 127, b"stat: not found\n"), "127: stat: not found"),
        (_stat(b"OCI runtime exec failed", 126), "126: OCI runtime exec failed"),
        (_stat(b"", 1), "ended with 1"),
        (_stat(b"no numbers at all"), "no numbers"),
        (_stat(b""), "answered ''"),
        (_stat(b"\xff\xfe"), "answered"),
    ],
)
def test_a_stat_that_does_not_work_is_skipped_with_its_words(run_inside: Inside, words: str) -> None:
    result = _ask(SMALL, run_inside, _control())
    assert (result.status, result.cause) == (Status.SKIPPED, None)
    assert words in result.message


@pytest.mark.parametrize("output", ["", "1 2 3 4", "1 2 3 4 5 6", "a b c d e", "1.5 2 3 4 5"])
def test_parse_refuses(output: str) -> None:
    with pytest.raises(Unavailable):
        parse(output)


def test_parse() -> None:
    assert parse(" 512 10 4 7 3\n") == Space(5120, 2048, 7, 3)


@pytest.mark.parametrize(
    ("space", "threshold", "low"),
    [
        (Space(1000, 100, 0, 0), Threshold(percent=10), False),
        (Space(1000, 99, 0, 0), Threshold(percent=10), True),
        (Space(1000, 900, 1000, 99), Threshold(percent=10), True),
        (Space(1000, 900, 1000, 100), Threshold(percent=10), False),
        (Space(1000, 500, 0, 0), Threshold(size_bytes=500), False),
        (Space(1000, 499, 0, 0), Threshold(size_bytes=500), True),
        # a size says nothing of inodes: less than one of a hundred is too few
        (Space(1000, 900, 1000, 9), Threshold(size_bytes=500), True),
        (Space(1000, 900, 1000, 10), Threshold(size_bytes=500), False),
        # btrfs and others have no inodes to run out of
        (Space(1000, 900, 0, 0), Threshold(percent=50), False),
        # no threshold but the wish to measure
        (Space(1000, 0, 1000, 0), Threshold(), False),
        (Space(1000, 0, 1000, 0), Threshold(percent=0), False),
    ],
)
def test_what_is_too_little(space: Space, threshold: Threshold, low: bool) -> None:
    assert is_low(space, threshold) is low
