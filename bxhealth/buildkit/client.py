"""A typed client of `moby.buildkit.v1.Control`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from bxhealth import platforms
from bxhealth.buildkit import control_pb2 as pb
from bxhealth.buildkit.grpc import UNIMPLEMENTED, GrpcConnection, GrpcError, MessageTooLarge
from bxhealth.deadline import Deadline
from bxhealth.errors import NodeFailure, Unavailable
from bxhealth.model import Cause, Worker
from bxhealth.transports.stream import Stream

_Answer = TypeVar("_Answer", bound=Message)
_SERVICE = "/moby.buildkit.v1.Control/"


@dataclass(frozen=True)
class Identity:
    """What a BuildKit says of itself."""

    workers: tuple[Worker, ...]
    """None where BuildKit answers and has none."""
    version: str | None
    """BuildKit's own version, such as `v0.21.0`; None where it is too old (before v0.11) to tell."""


@dataclass(frozen=True)
class DiskUsage:
    """The size of a node's build cache in bytes, and how much of it could be pruned."""

    total_bytes: int
    reclaimable_bytes: int


class ControlClient:
    """BuildKit over gRPC. Every method raises `NodeFailure` and `Cancelled`."""

    def __init__(self, stream: Stream, authority: str = "localhost", *, sizing: bool = False) -> None:
        """A client that has not sent anything.

        Args:
            stream: the way to BuildKit.
            authority: the server's name.
            sizing: whether `disk_usage` will be called, so that it is asked for along with the rest.
        """
        self._connection = GrpcConnection(stream, authority)
        self._peer = stream.peer
        self._sizing = sizing
        self._sized: int | None = None

    def identify(self, deadline: Deadline) -> Identity:
        """The workers and the version, asked for in one write: every round trip costs a node's thread a wait."""
        listing = self._begin("ListWorkers", pb.ListWorkersRequest())
        informing = self._begin("Info", pb.InfoRequest())
        if self._sizing:
            self._sized = self._begin("DiskUsage", pb.DiskUsageRequest())
        workers = self._finish("ListWorkers", listing, pb.ListWorkersResponse(), deadline)
        try:
            info = self._finish("Info", informing, pb.InfoResponse(), deadline)
        except Unimplemented:
            info = pb.InfoResponse()
        return Identity(
            tuple(
                Worker(
                    record.ID,
                    platforms.unique(platforms.normalise(p.OS, p.Architecture, p.Variant) for p in record.platforms),
                    dict(record.Labels),
                )
                for record in workers.record
            ),
            info.buildkitVersion.version or None,
        )

    def disk_usage(self, deadline: Deadline) -> DiskUsage:
        """The size of the cache; as in buildx's `commands/diskusage.go` (`printSummary`), what is in use stays.

        Raises:
            Unavailable: it cannot be known, with the reason.
        """
        try:
            call, self._sized = self._sized or self._begin("DiskUsage", pb.DiskUsageRequest()), None
            answer = self._finish("DiskUsage", call, pb.DiskUsageResponse(), deadline)
        except MessageTooLarge:
            raise Unavailable("the list of cache records is larger than 64 MiB") from None
        except Unimplemented:
            raise Unavailable("this BuildKit has no DiskUsage") from None
        return DiskUsage(
            sum(max(record.Size, 0) for record in answer.record),
            sum(max(record.Size, 0) for record in answer.record if not record.InUse),
        )

    def _begin(self, method: str, request: Message) -> int:
        return self._connection.begin(_SERVICE + method, request.SerializeToString())

    def _finish(self, method: str, call: int, answer: _Answer, deadline: Deadline) -> _Answer:
        try:
            answer.ParseFromString(self._connection.finish(call, deadline))
        except GrpcError as error:
            if error.code == UNIMPLEMENTED and method != "ListWorkers":
                raise Unimplemented from error
            raise self._failure(method, error) from error
        except DecodeError as error:
            raise NodeFailure(Cause.NOT_BUILDKIT, f"{self._peer}: the answer to {method} is not BuildKit's") from error
        return answer

    def _failure(self, method: str, error: GrpcError) -> NodeFailure:
        seen = f"{self._peer} answered {method} with {error}"
        if error.code == UNIMPLEMENTED:
            return NodeFailure(Cause.NOT_BUILDKIT, f"{seen}; it is a gRPC server, and no BuildKit")
        if error.code in (_PERMISSION_DENIED, _UNAUTHENTICATED):
            return NodeFailure(Cause.ENDPOINT_DENIED, seen)
        return NodeFailure(Cause.DAEMON_UNRESPONSIVE, seen)


_PERMISSION_DENIED, _UNAUTHENTICATED = 7, 16


class Unimplemented(Exception):
    """BuildKit does not know the method."""
