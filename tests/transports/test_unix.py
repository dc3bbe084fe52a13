from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from bxhealth import transports
from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerEndpoint
from bxhealth.errors import NodeFailure
from bxhealth.model import Cause
from bxhealth.transports.stream import Stream
from tests.conftest import Serve
from tests.loopback import echoing, full_backlog

_LONG = 30.0


def _dial(host: str, seconds: float = _LONG) -> Stream:
    return transports.dial(DockerEndpoint(host), Deadline(seconds))


def test_bytes_go_both_ways(tmp_path: Path, serve: Serve) -> None:
    server = serve(echoing, tmp_path / "s.sock")
    stream = _dial(server.host)
    stream.sendall(b"ping", Deadline(_LONG))
    assert stream.recv(100, Deadline(_LONG)) == b"ping"
    assert stream.peer == server.host
    stream.close()


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NodeFailure, match="no such socket") as failed:
        _dial(f"unix://{tmp_path}/none.sock")
    assert failed.value.cause is Cause.ENDPOINT_REFUSED
    assert f"{tmp_path}/none.sock" in failed.value.message


def test_a_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "s.sock"))
    with pytest.raises(NodeFailure, match="nothing listens") as failed:
        _dial(f"unix://{tmp_path}/s.sock")
    assert failed.value.cause is Cause.ENDPOINT_REFUSED


def test_a_file_that_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NodeFailure) as failed:
        _dial(f"unix://{tmp_path}/file")
    assert failed.value.cause is Cause.ENDPOINT_REFUSED


def test_no_permission(tmp_path: Path, serve: Serve) -> None:
    """As nobody, in a child: root may connect to everything."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.owner() == "root" and directory != Path("/") and directory != Path("/tmp"):
            directory.chmod(0o755)
    server = serve(echoing, tmp_path / "s.sock")
    (tmp_path / "s.sock").chmod(0o600)
    seen_read, seen_write = os.pipe()
    child = os.fork()
    if child == 0:
        cause = "connected"
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            else:
                (tmp_path / "s.sock").chmod(0)
            _dial(server.host)
        except NodeFailure as failure:
            cause = failure.cause.value
        finally:
            os.write(seen_write, cause.encode())
            os._exit(0)
    os.waitpid(child, 0)
    os.close(seen_write)
    assert os.read(seen_read, 100).decode() == Cause.ENDPOINT_DENIED.value
    os.close(seen_read)


def test_a_full_queue_ends_at_the_deadline(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.sock"))
        listener.listen(0)
        with full_backlog(listener):
            begun = time.monotonic()
            with pytest.raises(NodeFailure) as failed:
                _dial(f"unix://{tmp_path}/s.sock", 0.15)
            assert time.monotonic() - begun < 5
    assert failed.value.cause is Cause.ENDPOINT_TIMEOUT


@pytest.mark.parametrize("path", ["x" * 200, "\ud800"], ids=["too-long", "no-text"])
def test_a_path_that_can_be_none(tmp_path: Path, path: str) -> None:
    """JSON can hold a lone surrogate, which no file name can."""
    with pytest.raises(NodeFailure) as failed:
        _dial(f"unix://{tmp_path}/{path}")
    assert failed.value.cause in (Cause.ENDPOINT_REFUSED, Cause.CONFIG_INVALID)


@pytest.mark.parametrize("host", ["npipe:////./pipe/docker", "kubernetes:///b?deployment=", "ftp://h", "nothing", ""])
def test_other_schemes_are_named_as_such(host: str) -> None:
    with pytest.raises(NodeFailure, match="scheme") as failed:
        _dial(host)
    assert failed.value.cause is Cause.CONFIG_INVALID
