"""The rules are those of the Docker Engine API: docs.docker.com/reference/api/engine, `api/swagger.yaml` in moby."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxhealth import transports
from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerEndpoint
from bxhealth.engine import Engine, EngineError, ExecStream
from bxhealth.errors import NodeFailure
from bxhealth.model import Cause
from tests.awaiting import until
from tests.conftest import Serve
from tests.fake_engine import (
    STDERR,
    STDOUT,
    Answer,
    Attached,
    FakeEngine,
    ending,
    frame,
    hanging,
    inspected,
    log_of,
    running,
)
from tests.loopback import Handler, chunks, closing, dripping, echoing, saying, silent

_LONG = 30.0
_SLACK = 5.0
_INSPECT = ("GET", "/containers/c1/json")


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine(containers={"c1": inspected()})


def _connect(serve: Serve, handler: Handler) -> Engine:
    host = serve(handler).host
    return Engine(lambda deadline: transports.dial(DockerEndpoint(host), deadline))


@pytest.fixture
def engine(fake: FakeEngine, serve: Serve) -> Iterator[Engine]:
    made = _connect(serve, fake)
    yield made
    made.close()


def _failure(serve: Serve, handler: Handler, seconds: float = _LONG) -> NodeFailure:
    engine = _connect(serve, handler)
    with pytest.raises(NodeFailure) as failed:
        engine.container("c1", Deadline(seconds))
    engine.close()
    return failed.value


def test_a_container_s_state(fake: FakeEngine, engine: Engine) -> None:
    fake.containers["c1"] = inspected(
        "exited", "moby/buildkit:v9", ExitCode=137, OOMKilled=True, RestartCount=3, Error="no runc",
        FinishedAt="2026-01-02T03:04:05Z",
    )  # fmt: skip
    container = engine.container("c1", Deadline(_LONG))
    assert container is not None
    assert (container.status, container.image, container.exit_code) == ("exited", "moby/buildkit:v9", 137)
    assert (container.oom_killed, container.restart_count, container.error) == (True, 3, "no runc")
    assert container.finished_at == "2026-01-02T03:04:05Z"


def test_no_such_container(engine: Engine) -> None:
    assert engine.container("c2", Deadline(_LONG)) is None


def test_images(fake: FakeEngine, engine: Engine) -> None:
    fake.images.add("registry.example:5000/moby/buildkit:v1")
    assert engine.has_image("registry.example:5000/moby/buildkit:v1", Deadline(_LONG))
    assert not engine.has_image("moby/buildkit:v1", Deadline(_LONG))


def test_one_connection_serves_many_calls(fake: FakeEngine, serve: Serve) -> None:
    server = serve(fake)
    engine = Engine(lambda deadline: transports.dial(DockerEndpoint(server.host), deadline))
    for name in ("c1", "c2", "c1"):
        engine.container(name, Deadline(_LONG))
    engine.close()
    assert (len(fake.requests), server.accepted) == (3, 1)


def test_a_name_cannot_leave_its_place_in_the_path(fake: FakeEngine, engine: Engine) -> None:
    engine.container("../images/x?y=z#", Deadline(_LONG))
    assert fake.requests == ["GET /containers/..%2Fimages%2Fx%3Fy%3Dz%23/json"]


def test_the_tail_of_a_log_is_of_both_streams(fake: FakeEngine, engine: Engine) -> None:
    fake.logs = log_of((STDOUT, ["one", "two"]), (STDERR, ["three"]), (STDOUT, ["fo\xfcr"]))
    assert engine.log_tail("c1", 3, Deadline(_LONG)) == ("two", "three", "fo\xfcr")
    assert "tail=3" in fake.requests[0]


@pytest.mark.parametrize(
    "log", [b"", frame(STDOUT, b""), frame(STDOUT, b"cut")[:-1], b"\x01", b"\x01\0\0\0\xff\xff\xff\xff"]
)
def test_a_log_that_is_empty_or_cut_is_what_there_is(fake: FakeEngine, engine: Engine, log: bytes) -> None:
    fake.logs = log
    assert engine.log_tail("c1", 3, Deadline(_LONG)) in ((), ("cu",))


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (Answer(500, {"message": "it is broken"}), 500, "it is broken"),
        (Answer(403, {"message": "authorization denied by plugin x"}), 403, "authorization denied by plugin x"),
        (Answer(503, raw=b"upstream down\nmore"), 503, "upstream down"),
        (Answer(409, raw=b""), 409, "Status"),
        (Answer(500, raw=b"[1]"), 500, "[1]"),
    ],
)
def test_an_error_of_the_engine_has_its_words(
    fake: FakeEngine, engine: Engine, answer: Answer, status: int, words: str
) -> None:
    fake.overrides[_INSPECT] = answer
    with pytest.raises(EngineError) as failed:
        engine.container("c1", Deadline(_LONG))
    assert (failed.value.status, failed.value.message) == (status, words)


@pytest.mark.parametrize("content", [b"<html>", b'{"State": ', b"[]", b'"text"', b"null", b'{"State": "running"}'])
def test_an_answer_that_no_engine_gives(fake: FakeEngine, serve: Serve, content: bytes) -> None:
    fake.overrides[_INSPECT] = Answer(200, raw=content)
    assert _failure(serve, fake).cause is Cause.NOT_BUILDKIT


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (Answer(200, {"hello": "world"}), Cause.NOT_BUILDKIT),
        (Answer(404, raw=b"<html>nothing here"), Cause.NOT_BUILDKIT),
        (Answer(501, raw=b"Unsupported method"), Cause.NOT_BUILDKIT),
        (Answer(401, {"message": "who are you"}), Cause.ENDPOINT_DENIED),
        (Answer(403, raw=b"no"), Cause.ENDPOINT_DENIED),
    ],
)
def test_an_http_server_that_is_no_engine(fake: FakeEngine, serve: Serve, answer: Answer, cause: Cause) -> None:
    """An engine names its API version in every answer."""
    fake.api_version = None
    fake.overrides[_INSPECT] = answer
    assert _failure(serve, fake).cause is cause


@pytest.mark.parametrize(
    ("handler", "cause"),
    [
        (closing, Cause.ENDPOINT_REFUSED),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), Cause.NOT_BUILDKIT),
        (saying(b"\x15\x03\x01\0\x02\x02\x46"), Cause.NOT_BUILDKIT),
        (saying(bytes(range(256))), Cause.NOT_BUILDKIT),
        (saying(b"HTTP/1.1 abc\r\n\r\n"), Cause.NOT_BUILDKIT),
        (saying(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"), Cause.NOT_BUILDKIT),
        (saying(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"), Cause.NOT_BUILDKIT),
        (saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), Cause.NOT_BUILDKIT),
    ],
    ids=["closes", "ssh", "tls", "noise", "no-status", "many-headers", "long-header", "bad-chunk"],
)
def test_what_else_may_listen_there(serve: Serve, handler: Handler, cause: Cause) -> None:
    failure = _failure(serve, handler)
    assert failure.cause is cause
    assert failure.message.isprintable()


def test_an_engine_that_dies_while_it_answers(serve: Serve) -> None:
    """It has said that it is an engine, and a cut answer can be whole the next time."""
    handler = saying(b'HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nContent-Length: 1000\r\n\r\n{"State":')
    assert _failure(serve, handler).cause is Cause.ENDPOINT_REFUSED


def test_a_silent_engine_ends_at_the_deadline(serve: Serve) -> None:
    begun = time.monotonic()
    assert _failure(serve, silent, 0.1).cause is Cause.DAEMON_UNRESPONSIVE
    assert time.monotonic() - begun < _SLACK


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nContent-Length: 1000\r\n\r\n" + b" " * 1000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 90,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    ],
    ids=["body", "headers", "continue"],
)
def test_drops_of_an_answer_do_not_extend_the_deadline(serve: Serve, answer: bytes) -> None:
    begun = time.monotonic()
    assert _failure(serve, dripping(answer, 0.01), 0.2).cause is Cause.DAEMON_UNRESPONSIVE
    assert time.monotonic() - begun < _SLACK


def test_after_a_failure_a_call_connects_anew(fake: FakeEngine, serve: Serve) -> None:
    turns: list[Handler] = [fake, closing]
    server = serve(lambda sock: turns.pop()(sock))
    engine = Engine(lambda deadline: transports.dial(DockerEndpoint(server.host), deadline))
    with pytest.raises(NodeFailure):
        engine.container("c1", Deadline(_LONG))
    assert engine.container("c1", Deadline(_LONG)) is not None
    engine.close()


class TestUpgrade:
    @pytest.fixture
    def fake(self) -> FakeEngine:
        return FakeEngine(buildkit=echoing)

    @pytest.mark.parametrize("status", [101, 200])
    def test_the_stream_is_the_connection(self, fake: FakeEngine, engine: Engine, status: int) -> None:
        """200 is how older engines say it ("Hijacking")."""
        fake.upgrade_status = status
        stream = engine.upgrade("/grpc", "h2c", Deadline(_LONG))
        stream.sendall(b"ping", Deadline(_LONG))
        assert stream.recv(100, Deadline(_LONG)) == b"ping"
        stream.close()

    def test_bytes_that_come_with_the_answer_are_not_lost(self, fake: FakeEngine, engine: Engine) -> None:
        fake.with_upgrade = b"first"
        stream = engine.upgrade("/grpc", "h2c", Deadline(_LONG))
        assert stream.recv(3, Deadline(_LONG)) == b"fir"
        assert stream.recv(100, Deadline(_LONG)) == b"st"
        stream.sendall(b"ping", Deadline(_LONG))
        assert stream.recv(100, Deadline(_LONG)) == b"ping"
        stream.close()

    @pytest.mark.parametrize("size", [1, 3])
    def test_an_answer_in_pieces(self, serve: Serve, size: int) -> None:
        answer = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nrest"
        stream = _connect(serve, saying(*chunks(answer, [size]))).upgrade("/grpc", "h2c", Deadline(_LONG))
        seen = b""
        while data := stream.recv(100, Deadline(_LONG)):
            seen += data
        assert seen == b"rest"
        stream.close()

    def test_a_refusal_has_the_engine_s_words(self, fake: FakeEngine, engine: Engine) -> None:
        fake.overrides["POST", "/grpc"] = Answer(404, {"message": "page not found"})
        with pytest.raises(EngineError) as failed:
            engine.upgrade("/grpc", "h2c", Deadline(_LONG))
        assert (failed.value.status, failed.value.message) == (404, "page not found")

    @pytest.mark.parametrize(
        ("handler", "cause"),
        [
            (closing, Cause.ENDPOINT_REFUSED),
            (saying(b"SSH-2.0-x\r\n\r\n"), Cause.NOT_BUILDKIT),
            (saying(b"HTTP/1.1\r\n\r\n"), Cause.NOT_BUILDKIT),
            (saying(b"HTTP/1.1 101 OK\r\n" + b"X: y\r\n" * 20_000, then_close=False), Cause.NOT_BUILDKIT),
        ],
        ids=["closes", "ssh", "no-status", "endless"],
    )
    def test_what_else_may_listen_there(self, serve: Serve, handler: Handler, cause: Cause) -> None:
        with pytest.raises(NodeFailure) as failed:
            _connect(serve, handler).upgrade("/grpc", "h2c", Deadline(_LONG))
        assert failed.value.cause is cause

    def test_drops_of_an_answer_do_not_extend_the_deadline(self, serve: Serve) -> None:
        engine = _connect(serve, dripping(b"HTTP/1.1 101 UPGRADED\r\n" * 100, 0.01))
        begun = time.monotonic()
        with pytest.raises(NodeFailure) as failed:
            engine.upgrade("/grpc", "h2c", Deadline(0.2))
        assert failed.value.cause is Cause.DAEMON_UNRESPONSIVE
        assert time.monotonic() - begun < _SLACK


class TestExec:
    def test_what_a_command_did(self, fake: FakeEngine, engine: Engine) -> None:
        fake.programs = lambda _: ending(3, b"out\n", b"err\n")
        output = engine.run("c1", ["df", "-k"], Deadline(_LONG))
        assert (output.status, output.stdout, output.stderr) == (3, b"out\n", b"err\n")
        assert (fake.execs[0].container, fake.execs[0].command) == ("c1", ["df", "-k"])

    def test_a_stream_is_to_the_command(self, fake: FakeEngine, engine: Engine) -> None:
        fake.programs = lambda _: running(echoing)
        stream = engine.exec_stream("c1", ["cat"], Deadline(_LONG), "cat")
        for word in (b"ping", b"pong"):
            stream.sendall(word, Deadline(_LONG))
            assert stream.recv(100, Deadline(_LONG)) == word
        assert stream.peer == "cat"
        stream.close()

    def test_stderr_is_kept_apart(self, fake: FakeEngine, engine: Engine) -> None:
        def program(attached: Attached) -> int:
            attached.write(b"a")
            attached.write(b"noise", STDERR)
            attached.write(b"b")
            return 0

        fake.programs = lambda _: program
        output = engine.run("c1", ["x"], Deadline(_LONG))
        assert (output.stdout, output.stderr) == (b"ab", b"noise")

    def test_endless_stderr_is_not_kept(self, fake: FakeEngine, engine: Engine) -> None:
        fake.programs = lambda _: ending(0, b"", b"x" * 1_000_000)
        assert len(engine.run("c1", ["x"], Deadline(_LONG)).stderr) < 100_000

    def test_a_container_that_does_not_run(self, fake: FakeEngine, engine: Engine) -> None:
        fake.containers["c1"] = inspected("restarting")
        with pytest.raises(EngineError) as failed:
            engine.run("c1", ["x"], Deadline(_LONG))
        assert failed.value.status == 409

    def test_a_silent_command_ends_at_the_deadline_and_is_what_is_named(self, fake: FakeEngine, engine: Engine) -> None:
        fake.programs = lambda _: hanging
        begun = time.monotonic()
        with pytest.raises(NodeFailure, match="my command") as failed:
            engine.exec_stream("c1", ["x"], Deadline(_LONG), "my command").recv(1, Deadline(0.1))
        assert time.monotonic() - begun < _SLACK
        assert failed.value.cause is Cause.DAEMON_UNRESPONSIVE

    def test_a_command_that_goes_on_is_ended_by_its_mark(self, fake: FakeEngine, engine: Engine) -> None:
        """The API has no call for that, so a second command looks for the first one's environment."""
        fake.programs = lambda execution: hanging if execution.command == ["x"] else ending()
        stream = engine.exec_stream("c1", ["x"], Deadline(_LONG), "x")
        stream.close()
        engine.end_exec("c1", stream, Deadline(_LONG))
        first, second = fake.execs
        (mark,) = first.environment
        assert mark.partition("=")[2] in second.command
        assert mark.partition("=")[2] not in " ".join(second.environment)

    def test_a_command_that_ended_is_left_alone(self, fake: FakeEngine, engine: Engine) -> None:
        fake.programs = lambda _: running(echoing)
        stream = engine.exec_stream("c1", ["x"], Deadline(_LONG), "x")
        stream.close()
        until(lambda: not fake.execs[0].running, "the command ends with its standard input")
        engine.end_exec("c1", stream, Deadline(_LONG))
        assert len(fake.execs) == 1


class _Pieces:
    """A stream that gives its bytes in pieces of given sizes, and then ends."""

    peer = "memory"

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._pieces = list(chunks(data, sizes))
        self.sent = b""

    def recv(self, size: int, deadline: Deadline) -> bytes:  # noqa: ARG002
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        return piece[:size]

    def sendall(self, data: bytes, deadline: Deadline) -> None:  # noqa: ARG002
        self.sent += data

    def close(self) -> None:
        self._pieces.clear()


@given(
    frames=st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=60)), max_size=12),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    wanted=st.integers(1, 50),
)
def test_frames_in_whatever_pieces(frames: list[tuple[int, bytes]], sizes: list[int], wanted: int) -> None:
    """As `stdcopy.StdCopy` in moby: a frame of no bytes is a frame, and not the end."""
    stream = ExecStream(_Pieces(b"".join(frame(*f) for f in frames), sizes), "p", "id", "mark")
    out = b""
    while data := stream.recv(wanted, Deadline(_LONG)):
        assert len(data) <= wanted
        out += data
    assert out == b"".join(payload for kind, payload in frames if kind == STDOUT)
    assert stream.stderr == b"".join(payload for kind, payload in frames if kind == STDERR)


def test_an_error_of_the_engine_amid_a_stream_is_no_output() -> None:
    """`stdcopy`: a frame of kind 3, Systemerr, holds the engine's own error."""
    stream = ExecStream(_Pieces(frame(STDOUT, b"a") + frame(3, b"it broke"), [65536]), "p", "id", "mark")
    assert stream.recv(100, Deadline(_LONG)) == b"a"
    assert b"it broke" not in stream.recv(100, Deadline(_LONG))


@given(data=st.binary(max_size=200), sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_noise_in_place_of_frames_ends(data: bytes, sizes: list[int]) -> None:
    stream = ExecStream(_Pieces(data, sizes), "p", "id", "mark")
    total = 0
    while got := stream.recv(100, Deadline(_LONG)):
        total += len(got)
    assert total <= len(data)


def test_input_goes_as_it_is() -> None:
    pieces = _Pieces(b"", [1])
    ExecStream(pieces, "p", "id", "mark").sendall(b"\0raw", Deadline(_LONG))
    assert pieces.sent == b"\0raw"
