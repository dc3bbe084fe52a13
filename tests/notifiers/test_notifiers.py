from __future__ import annotations

import base64
import re
import socket
from datetime import datetime, timezone

import pytest

from bxhealth.model import Report, Verdict
from bxhealth.notifiers import dead_man, endpoint, pushgateway
from bxhealth.notifiers.endpoint import NotifyError, below, without_secrets
from tests.conftest import Serve
from tests.exporter.reports import builder, down, up
from tests.loopback import closing, saying, silent, unused_port
from tests.notifiers.recorder import Recorder

REPORT = Report("1", datetime(2026, 1, 1, tzinfo=timezone.utc), 0.5, Verdict.UNHEALTHY, [builder(up(), down("n2"))])


@pytest.mark.parametrize(("succeeded", "path"), [(True, "/ping/id?rid=1"), (False, "/ping/id/fail?rid=1")])
def test_a_dead_man_s_switch_is_called(serve: Serve, succeeded: bool, path: str) -> None:
    recorder = Recorder()
    dead_man.ping(f"http://127.0.0.1:{serve(recorder).port}/ping/id?rid=1", succeeded=succeeded)
    assert recorder.asked == [f"GET {path}"]


def test_metrics_are_pushed_under_this_host_s_name(serve: Serve) -> None:
    recorder = Recorder("202 Accepted")
    pushgateway.push(f"http://127.0.0.1:{serve(recorder).port}/gw/", REPORT)
    instance = base64.urlsafe_b64encode(socket.gethostname().encode()).decode()
    assert recorder.asked == [f"PUT /gw/metrics/job/bxhealth/instance@base64/{instance}"]
    assert b'bxhealth_node_up{builder="fleet",driver="remote",node="n2"} 0.0' in recorder.requests[0]


def test_a_host_s_name_that_is_no_text_is_pushed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "h\udcff")
    recorder = Recorder()
    pushgateway.push(f"http://127.0.0.1:{serve(recorder).port}", REPORT)
    assert recorder.asked == [f"PUT /metrics/job/bxhealth/instance@base64/{base64.b64encode(b'h?').decode()}"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [("u%40:p%3A", b"u@:p:"), ("u", b"u:"), (":p", b":p"), ("u:p:q", b"u:p:q"), ("u:%FF%C3%A9", b"u:\xff\xc3\xa9")],
)
def test_the_credentials_of_a_url_are_its_bytes(serve: Serve, given: str, meant: bytes) -> None:
    recorder = Recorder()
    dead_man.ping(f"http://{given}@127.0.0.1:{serve(recorder).port}/", succeeded=True)
    assert b"\r\nAuthorization: Basic " + base64.b64encode(meant) + b"\r\n" in recorder.requests[0]


class TestFailure:
    def test_nobody_there(self) -> None:
        with pytest.raises(NotifyError, match="refused"):
            dead_man.ping(f"http://127.0.0.1:{unused_port()}/", succeeded=True)

    @pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n"])
    def test_no_answer_in_time(self, serve: Serve, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
        monkeypatch.setattr(endpoint, "_SECONDS", 0.2)
        server = serve(saying(answer, then_close=False) if answer else silent)
        with pytest.raises(NotifyError, match=r"no answer within 0\.2 s"):
            dead_man.ping(f"http://127.0.0.1:{server.port}/", succeeded=True)

    @pytest.mark.parametrize(
        ("answer", "type_"),
        [(b"HTTP/1.1 oops SECRET\r\n\r\n", "BadStatusLine"), (b"HTTP/1.1 200 " + b"x" * 70_000, "LineTooLong")],
    )
    def test_an_answer_that_is_no_http(self, serve: Serve, answer: bytes, type_: str) -> None:
        with pytest.raises(NotifyError, match=f": {type_}$"):
            dead_man.ping(f"http://127.0.0.1:{serve(saying(answer)).port}/SECRET", succeeded=True)

    def test_an_end_without_an_answer(self, serve: Serve) -> None:
        with pytest.raises(NotifyError, match=r": RemoteDisconnected$|reset"):
            dead_man.ping(f"http://127.0.0.1:{serve(closing).port}/SECRET", succeeded=True)

    @pytest.mark.parametrize("path", ["SECRET and more", "SECRET\u00e9"])
    def test_a_path_that_cannot_be_sent(self, path: str) -> None:
        with pytest.raises(NotifyError, match=r"^http://127\.0\.0\.1:1: (InvalidURL|UnicodeEncodeError)$"):
            dead_man.ping(f"http://127.0.0.1:1/{path}", succeeded=True)

    @pytest.mark.parametrize("host", ["[::1]:1", "127.0.0.1:1", "127.0.0.1"])
    def test_is_that_of_a_host_and_port(self, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
        monkeypatch.setattr(endpoint, "_send", lambda *_: 1 / 0)
        with pytest.raises(NotifyError, match=f"^{re.escape(f'http://{host}: ZeroDivisionError')}$"):
            dead_man.ping(f"http://u:p@{host}/SECRET", succeeded=True)

    def test_a_password_that_is_taken_for_a_port(self) -> None:
        with pytest.raises(NotifyError, match=r"^http://user: InvalidURL$"):
            dead_man.ping("http://user:SEC/RET@host/", succeeded=True)

    def test_a_proxy_s_refusal(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        proxy = serve(saying(b"HTTP/1.1 407 Who are you\r\n\r\n"))
        monkeypatch.setattr("urllib.request._opener", None)  # which remembers the proxies of its first use
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(NotifyError, match=r"^https://hc\.example: .*407 Who are you$"):
            dead_man.ping("https://hc.example/SECRET", succeeded=True)

    def test_an_answer_that_breaks_off_is_an_answer(self, serve: Serve) -> None:
        ends = b"Transfer-Encoding: chunked\r\n\r\nff\r\nno"
        server = serve(saying(b"HTTP/1.1 200 OK\r\n" + ends))
        dead_man.ping(f"http://127.0.0.1:{server.port}/", succeeded=True)
        server = serve(saying(b"HTTP/1.1 503 Busy\r\n" + ends))
        with pytest.raises(NotifyError, match=r"it answered 503$"):
            pushgateway.push(f"http://127.0.0.1:{server.port}/", REPORT)


class TestRefusal:
    def test_of_a_ping_tells_nothing_of_the_answer(self, serve: Serve) -> None:
        port = serve(Recorder("404 Not Found", "Cannot GET {target}")).port
        with pytest.raises(NotifyError, match=rf"^http://127\.0\.0\.1:{port}: it answered 404$"):
            dead_man.ping(f"http://user:secret@127.0.0.1:{port}/ping/secret", succeeded=True)

    def test_of_a_push_explains_itself(self, serve: Serve) -> None:
        port = serve(Recorder("400 Bad Request", "text format parsing error in line 1\n")).port
        with pytest.raises(NotifyError, match=r"it answered 400: text format parsing error in line 1$"):
            pushgateway.push(f"http://127.0.0.1:{port}/gw", REPORT)

    def test_of_a_push_tells_no_secret(self, serve: Serve) -> None:
        port = serve(Recorder("404 Not Found", "Cannot PUT {target}")).port
        with pytest.raises(NotifyError, match="it answered 404: Cannot PUT /…/metrics/job/bxhealth/") as raised:
            pushgateway.push(f"http://127.0.0.1:{port}/5ec-ret?token=k3y%2B", REPORT)
        assert "5ec" not in str(raised.value)
        assert "k3y" not in str(raised.value)

    def test_of_a_push_tells_no_secret_that_is_longer_than_what_is_shown(self, serve: Serve) -> None:
        port = serve(Recorder("404 Not Found", "Cannot PUT {target}")).port
        with pytest.raises(NotifyError, match="Cannot PUT /…/metrics") as raised:
            pushgateway.push(f"http://127.0.0.1:{port}/{'s3cret' * 500}", REPORT)
        assert "s3cret" not in str(raised.value)

    def test_without_a_word(self, serve: Serve) -> None:
        port = serve(Recorder("500 Oops", " ")).port
        with pytest.raises(NotifyError, match=r"it answered 500$"):
            pushgateway.push(f"http://127.0.0.1:{port}", REPORT)


class TestRedirect:
    def test_a_ping_follows_and_keeps_its_credentials_to_itself(self, serve: Serve) -> None:
        elsewhere = Recorder()
        first = Recorder("302 Found", "", f"Location: http://localhost:{serve(elsewhere).port}/there")
        dead_man.ping(f"http://user:secret@127.0.0.1:{serve(first).port}/", succeeded=True)
        assert elsewhere.asked == ["GET /there"]
        assert b"Authorization" in first.requests[0]
        assert b"Authorization" not in elsewhere.requests[0]

    @pytest.mark.parametrize(
        ("location", "shown"), [("https://u:s@gw.example/s?s", "https://gw.example"), ("/s", "http://127.0.0.1:{port}")]
    )
    def test_a_push_does_not_and_names_the_host(self, serve: Serve, location: str, shown: str) -> None:
        port = serve(Recorder("301 Moved Permanently", "", f"Location: {location}")).port
        with pytest.raises(NotifyError) as raised:
            pushgateway.push(f"http://127.0.0.1:{port}", REPORT)
        told = f"http://127.0.0.1:{port}: it answered 301, a redirect to {shown.format(port=port)}"
        assert str(raised.value) == told


def test_paths_are_put_together() -> None:
    assert below("http://h", "fail") == "http://h/fail"
    assert below("http://h/a/?q=1", "b", "c") == "http://h/a/b/c?q=1"


@pytest.mark.parametrize(
    ("url", "text", "shown"),
    [
        ("http://h", "no", "no"),
        ("http://h/", "no /", "no /"),
        ("http://h/ping/s3cr3t", "no such check: s3cr3t", "no such check: …"),
        ("http://h/a/s3cr3t?k=1", "GET /a/s3cr3t?k=1", "GET /…?…"),
        ("http://h/push?token=s%2Fcr3t&id=7", "s%2Fcr3t is s/cr3t", "… is …"),
        ("http://h/push?s3cr3t&id=7", "s3cr3t", "…"),
        ("http://h/push?token=s3cr3t&id=7", "token s3cr3t is not known, 7", "token … is not known, 7"),
        ("http://h/a%20b%2Fcdef", "/a%20b%2Fcdef is /a b/cdef", "/… is /…"),
        ("http://h/v1", "a table of 10", "a table of 10"),
        ("http://user:pass%26word@h", "user has pass&word", "… has …"),
        ("http://h/a.*/(", "a.*/( and abc", "… and abc"),
    ],
)
def test_a_text_is_shown_without_what_the_url_holds(url: str, text: str, shown: str) -> None:
    assert without_secrets(text, url) == shown
