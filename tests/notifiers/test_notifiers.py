from __future__ import annotations

import base64
import socket
from datetime import datetime, timezone

import pytest

from bxhealth.model import Report, Verdict
from bxhealth.notifiers import dead_man, pushgateway
from bxhealth.notifiers.endpoint import NotifyError, below
from tests.conftest import Serve
from tests.exporter.reports import builder, down, up
from tests.loopback import unused_port


class Recorder:
    """A web server that keeps what it was sent."""

    def __init__(self, status: str = "200 OK") -> None:
        self.status = status
        self.requests: list[bytes] = []

    def __call__(self, sock: socket.socket) -> None:
        data = sock.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.splitlines() if line.lower().startswith(b"content-length:")), 0)
        while len(body) < length:
            body += sock.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        sock.sendall(f"HTTP/1.1 {self.status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno".encode())


REPORT = Report("1", datetime(2026, 1, 1, tzinfo=timezone.utc), 0.5, Verdict.UNHEALTHY, [builder(up(), down("n2"))])


@pytest.mark.parametrize(("succeeded", "path"), [(True, "/ping/id?rid=1"), (False, "/ping/id/fail?rid=1")])
def test_a_dead_man_s_switch_is_called(serve: Serve, succeeded: bool, path: str) -> None:
    recorder = Recorder()
    dead_man.ping(f"http://127.0.0.1:{serve(recorder).port}/ping/id?rid=1", succeeded=succeeded)
    assert recorder.requests[0].startswith(f"GET {path} HTTP".encode())


def test_metrics_are_pushed_under_this_host_s_name(serve: Serve) -> None:
    recorder = Recorder("202 Accepted")
    pushgateway.push(f"http://u%40:p%3A@127.0.0.1:{serve(recorder).port}/gw/", REPORT)
    request = recorder.requests[0].decode()
    instance = base64.urlsafe_b64encode(socket.gethostname().encode()).decode()
    assert request.startswith(f"PUT /gw/metrics/job/bxhealth/instance@base64/{instance} HTTP")
    assert f"Basic {base64.b64encode(b'u@:p:').decode()}" in request
    assert 'bxhealth_node_up{builder="fleet",driver="remote",node="n2"} 0.0' in request


def test_a_refusal_is_an_error_that_does_not_tell_the_secret(serve: Serve) -> None:
    port = serve(Recorder("400 Bad Request")).port
    with pytest.raises(NotifyError, match="400: no") as raised:
        dead_man.ping(f"http://user:secret@127.0.0.1:{port}/secret", succeeded=True)
    assert "secret" not in str(raised.value)


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(NotifyError, match="refused"):
        dead_man.ping(f"http://127.0.0.1:{unused_port()}/", succeeded=True)


def test_paths_are_put_together() -> None:
    assert below("http://h", "fail") == "http://h/fail"
    assert below("http://h/a/?q=1", "b", "c") == "http://h/a/b/c?q=1"
