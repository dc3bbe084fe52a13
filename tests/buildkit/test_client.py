"""The meaning of the answers is BuildKit's: `api/services/control/control.proto` in moby/buildkit."""

from __future__ import annotations

import pytest

from bxhealth.buildkit import control_pb2 as pb
from bxhealth.buildkit import grpc
from bxhealth.buildkit.client import ControlClient, DiskUsage
from bxhealth.deadline import Deadline
from bxhealth.errors import NodeFailure, Unavailable
from bxhealth.model import Cause
from tests.fake_buildkit import UNIMPLEMENTED, FakeBuildkit, MemoryStream, Reply, framed, healthy, info, workers

_LONG = 30.0


def _client(**replies: Reply) -> ControlClient:
    return ControlClient(MemoryStream(FakeBuildkit(replies)))


def test_workers_have_their_platforms_once_in_order_and_in_one_spelling() -> None:
    client = _client(ListWorkers=workers("linux/arm64/v8", "linux/amd64", "linux/arm64", "linux/arm/v7"))
    (worker,) = client.identify(Deadline(_LONG)).workers
    assert worker.id == "w1"
    assert worker.platforms == ("linux/arm64", "linux/amd64", "linux/arm/v7")


def test_workers_have_their_labels() -> None:
    message = pb.ListWorkersResponse()
    message.record.add(ID="a", Labels={"org.mobyproject.buildkit.worker.executor": "oci"})
    message.record.add(ID="b")
    first, second = _client(ListWorkers=Reply.of(message)).identify(Deadline(_LONG)).workers
    assert first.labels == {"org.mobyproject.buildkit.worker.executor": "oci"}
    assert (second.id, second.platforms) == ("b", ())


def test_no_workers() -> None:
    assert _client(ListWorkers=workers()).identify(Deadline(_LONG)).workers == ()


def test_fields_that_a_newer_buildkit_adds_are_passed_over() -> None:
    message = pb.ListWorkersResponse()
    message.record.add(ID="a")
    unknown = b"\x9a\x06\x03new"  # field 99, three bytes
    client = _client(ListWorkers=Reply(framed(message.SerializeToString() + unknown)))
    assert [worker.id for worker in client.identify(Deadline(_LONG)).workers] == ["a"]


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (12, Cause.NOT_BUILDKIT),
        (7, Cause.ENDPOINT_DENIED),
        (16, Cause.ENDPOINT_DENIED),
        (14, Cause.DAEMON_UNRESPONSIVE),
        (2, Cause.DAEMON_UNRESPONSIVE),
        (13, Cause.DAEMON_UNRESPONSIVE),
        (4, Cause.DAEMON_UNRESPONSIVE),
    ],
)
def test_an_error_becomes_a_cause(code: int, cause: Cause) -> None:
    with pytest.raises(NodeFailure) as failed:
        _client(ListWorkers=Reply.error(code, "its own words")).identify(Deadline(_LONG))
    assert failed.value.cause is cause
    assert "its own words" in failed.value.message
    assert "tcp://buildkit.example:1234" in failed.value.message


@pytest.mark.parametrize("message", [b"\xff\xff\xff\xff", b"\x0a\x7fcut", b"<html>"])
def test_an_answer_that_is_not_buildkit_s(message: bytes) -> None:
    with pytest.raises(NodeFailure) as failed:
        _client(ListWorkers=Reply(framed(message))).identify(Deadline(_LONG))
    assert failed.value.cause is Cause.NOT_BUILDKIT


@pytest.mark.parametrize(
    ("reply", "version"),
    [(info("v0.21.0"), "v0.21.0"), (info(""), None), (Reply(framed(b"")), None), (UNIMPLEMENTED, None)],
    ids=["told", "empty", "not-told", "before-v0.11"],
)
def test_version(reply: Reply, version: str | None) -> None:
    assert _client(ListWorkers=workers(), Info=reply).identify(Deadline(_LONG)).version == version


def test_a_version_that_fails_otherwise_is_a_failure() -> None:
    with pytest.raises(NodeFailure) as failed:
        _client(ListWorkers=workers(), Info=Reply.error(14)).identify(Deadline(_LONG))
    assert failed.value.cause is Cause.DAEMON_UNRESPONSIVE


def _usage(*records: pb.UsageRecord) -> DiskUsage:
    reply = Reply.of(pb.DiskUsageResponse(record=records))
    return _client(DiskUsage=reply).disk_usage(Deadline(_LONG))


def test_disk_usage_of_nothing() -> None:
    assert _usage() == DiskUsage(0, 0)


def test_disk_usage_is_what_buildx_du_says() -> None:
    """docker/buildx, commands/diskusage.go, `printSummary`: what is not in use is reclaimable."""
    usage = _usage(
        pb.UsageRecord(Size=1),
        pb.UsageRecord(Size=10, InUse=True),
        pb.UsageRecord(Size=100),
    )
    assert usage == DiskUsage(total_bytes=111, reclaimable_bytes=101)


def test_a_size_that_is_not_known_counts_for_nothing() -> None:
    """The same function adds what is above 0: a record's size is -1 until it is known (cache/metadata.go)."""
    assert _usage(pb.UsageRecord(Size=5), pb.UsageRecord(Size=-1)) == DiskUsage(5, 5)


def test_disk_usage_larger_than_grpc_s_default_limit() -> None:
    """docker/buildx#3084: the list of records of a large cache has more than 4 MiB. Field 1 of a record is its ID."""
    record = pb.UsageRecord(Size=7).SerializeToString() + b"\x0a\x80\x80\x40" + bytes(2**20)
    assert len(record) > 2**20
    prefix = b"\x0a" + _varint(len(record))
    usage = _client(DiskUsage=Reply(framed((prefix + record) * 6))).disk_usage(Deadline(_LONG))
    assert usage.total_bytes == 6 * 7


def test_disk_usage_past_the_limit_is_unavailable_and_the_connection_lives_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc, "_MAX_MESSAGE_BYTES", 2**20)
    client = _client(DiskUsage=Reply(framed(bytes(2**21))), ListWorkers=workers(), Info=info("v0.21.0"))
    with pytest.raises(Unavailable, match="larger"):
        client.disk_usage(Deadline(_LONG))
    assert client.identify(Deadline(_LONG)).version == "v0.21.0"


def test_disk_usage_that_is_not_known_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        _client(DiskUsage=UNIMPLEMENTED).disk_usage(Deadline(_LONG))


@pytest.mark.parametrize("sizing", [True, False])
def test_the_disk_usage_goes_along_where_it_will_be_asked_for(sizing: bool) -> None:
    usage = Reply.of(pb.DiskUsageResponse(record=[pb.UsageRecord(Size=5)]))
    buildkit = FakeBuildkit({"ListWorkers": workers(), "Info": info("v0.21.0"), "DiskUsage": usage})
    stream = MemoryStream(buildkit)
    client = ControlClient(stream, sizing=sizing)
    assert client.identify(Deadline(_LONG)).version == "v0.21.0"
    assert stream.first_write_calls == (3 if sizing else 2)
    assert ("DiskUsage" in buildkit.calls) is sizing
    for asked in (1, 2):
        assert client.disk_usage(Deadline(_LONG)) == DiskUsage(5, 5)
        assert buildkit.calls.count("DiskUsage") == asked


def test_the_authority_is_the_name_of_the_server() -> None:
    buildkit = healthy()
    ControlClient(MemoryStream(buildkit), "buildkit.example").identify(Deadline(_LONG))
    assert buildkit.requests[0][":authority"] == "buildkit.example"


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
