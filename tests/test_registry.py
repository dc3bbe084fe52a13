"""The flow: distribution/distribution, `docs/spec/auth/token.md` and `oauth.md`."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import click
import pytest
from click.testing import CliRunner

from bxhealth import registry
from bxhealth.deadline import Cancellation
from bxhealth.docker_config import DockerConfig
from bxhealth.model import Cause, CheckResult, Status
from bxhealth.options import Options
from bxhealth.parameters import check_options
from tests.awaiting import until
from tests.certificates import Authority
from tests.conftest import Serve
from tests.loopback import Handler, closing, dripping, saying, silent, unused_port
from tests.registries import Answer, Registry, Request, Route, basic, protected

SECRET, IDENTITY, BEARER = "s3cret-password", "s3cret-identity", "s3cret-bearer"
LONG = 20.0
ASKED_IN_VAIN = 5.0
"""Much longer than the deadline, and much shorter than what the server would go on for."""


@pytest.fixture(autouse=True)
def _without_a_proxy(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))  # the system's bundle takes long to load
    monkeypatch.setenv("no_proxy", "*")


def _log_in(host: str, *, identity: str = "", user: str = "me", password: str = SECRET) -> None:
    entry = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode(), "identitytoken": identity}
    directory = DockerConfig(os.environ).directory
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"auths": {host: entry}}))


def _check(host: str, seconds: float = LONG) -> CheckResult:
    (result,) = registry.check(DockerConfig(os.environ), [host], seconds, Cancellation())
    assert (result.name, result.target) == ("registry", host)
    shown = repr(result)
    for secret in (SECRET, IDENTITY, BEARER, basic("me", SECRET)):
        assert secret not in shown
    assert "\n" not in result.message
    return result


Start = Callable[[Handler], str]


@pytest.fixture
def start(serve: Serve) -> Start:
    """Start a registry, log in to it, and give its HOST:PORT."""

    def host(handler: Handler) -> str:
        name = f"127.0.0.1:{serve(handler).port}"
        _log_in(name)
        return name

    return host


def _with_tokens(token: Route, challenge: str = 'Bearer realm="http://{host}/token?a=b",service="reg &1"') -> Registry:
    """A registry that takes one bearer token, and is its own token service."""

    def route(request: Request) -> Answer:
        if urlsplit(request.target).path == "/token":
            return token(request)
        words = challenge.replace("{host}", request.headers["host"])
        return protected(words, f"Bearer {BEARER}")(request)

    return Registry(route)


def _giving(body: str, status: int = 200) -> Route:
    return lambda _: Answer(status, body=body)


class TestBasic:
    @pytest.mark.parametrize("challenge", ['Basic realm="x"', "basic", 'BASIC realm="x",charset="UTF-8"'])
    def test_credentials_that_are_taken(self, start: Start, challenge: str) -> None:
        handler = Registry(protected(challenge, basic("me", SECRET)))
        result = _check(start(handler))
        assert (result.status, result.cause) == (Status.HEALTHY, None)
        assert [request.target for request in handler.requests] == ["/v2/", "/v2/"]
        assert not handler.requests[0].authorization

    @pytest.mark.parametrize("refusal", [401, 403])
    def test_credentials_that_are_refused(self, start: Start, refusal: int) -> None:
        result = _check(start(Registry(protected("Basic", basic("me", "another"), refusal))))
        assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_DENIED)
        assert "'me'" in result.message
        assert str(refusal) in result.message

    @pytest.mark.parametrize("status", [404, 429, 500, 503])
    def test_an_answer_that_says_nothing_of_the_credentials(self, start: Start, status: int) -> None:
        result = _check(start(Registry(protected("Basic", "none", status))))
        assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_UNREACHABLE)
        assert str(status) in result.message

    def test_a_name_that_is_not_ascii(self, start: Start) -> None:
        host = start(Registry(protected("Basic", basic("jürgen", "ü"))))
        _log_in(host, user="jürgen", password="ü")
        assert _check(host).status is Status.HEALTHY


class TestBearer:
    @pytest.mark.parametrize("key", ["token", "access_token"])
    def test_a_password_is_traded_for_a_token(self, start: Start, key: str) -> None:
        handler = _with_tokens(_giving(json.dumps({key: BEARER, "expires_in": 60})))
        assert _check(start(handler)).status is Status.HEALTHY
        first, trade, last = handler.requests
        assert (first.authorization, last.authorization) == ("", f"Bearer {BEARER}")
        assert (trade.method, trade.authorization) == ("GET", basic("me", SECRET))
        assert parse_qs(urlsplit(trade.target).query) == {"a": ["b"], "service": ["reg &1"], "account": ["me"]}

    def test_an_identity_token_is_posted(self, start: Start) -> None:
        handler = _with_tokens(_giving(json.dumps({"access_token": BEARER})))
        host = start(handler)
        _log_in(host, identity=IDENTITY)
        assert _check(host).status is Status.HEALTHY
        _, trade, _ = handler.requests
        assert (trade.method, trade.authorization) == ("POST", "")
        assert trade.headers["content-type"] == "application/x-www-form-urlencoded"
        assert IDENTITY not in trade.target
        form = {key: values for key, values in parse_qs(trade.body).items() if key != "client_id"}
        assert form == {"grant_type": ["refresh_token"], "service": ["reg &1"], "refresh_token": [IDENTITY]}
        assert "client_id" in parse_qs(trade.body)

    def test_a_realm_without_a_service_and_without_a_query(self, start: Start) -> None:
        handler = _with_tokens(_giving(json.dumps({"token": BEARER})), 'Bearer realm="http://{host}/token"')
        assert _check(start(handler)).status is Status.HEALTHY
        assert parse_qs(urlsplit(handler.requests[1].target).query) == {"account": ["me"]}

    @pytest.mark.parametrize("identity", ["", IDENTITY])
    @pytest.mark.parametrize(
        ("status", "cause"),
        [
            (400, Cause.REGISTRY_DENIED),  # RFC 6749, 5.2: what an invalid grant is answered with
            (401, Cause.REGISTRY_DENIED),
            (403, Cause.REGISTRY_DENIED),
            (404, Cause.REGISTRY_UNREACHABLE),
            (500, Cause.REGISTRY_UNREACHABLE),
        ],
    )
    def test_no_token_is_given(self, start: Start, identity: str, status: int, cause: Cause) -> None:
        host = start(_with_tokens(_giving("{}", status)))
        _log_in(host, identity=identity)
        result = _check(host)
        assert (result.status, result.cause) == (Status.WARNING, cause)
        assert str(status) in result.message

    def test_a_token_that_is_refused(self, start: Start) -> None:
        result = _check(start(_with_tokens(_giving('{"token": "another"}'))))
        assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_DENIED)

    @pytest.mark.parametrize("body", ["", "<html>", "[]", "null", "{}", '{"token": null}', '"x"', "\x00"])
    def test_an_answer_without_a_token(self, start: Start, body: str) -> None:
        result = _check(start(_with_tokens(_giving(body))))
        assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_UNREACHABLE)

    def test_a_token_that_is_no_header_is_not_shown(self, start: Start) -> None:
        result = _check(start(_with_tokens(_giving(json.dumps({"token": f"{BEARER}\nx: y"})))))
        assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_UNREACHABLE)

    @pytest.mark.parametrize(
        "challenge", ["Bearer", 'Bearer realm=""', 'Bearer realm="nowhere"', 'Bearer realm="http://"']
    )
    def test_a_realm_that_is_nowhere(self, start: Start, challenge: str) -> None:
        result = _check(start(_with_tokens(_giving("{}"), challenge)))
        assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_UNREACHABLE)


class TestCredentialsStayWhereTheyBelong:
    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_a_redirect_of_the_login(self, start: Start, serve: Serve, code: int) -> None:
        elsewhere = serve(closing)

        def route(request: Request) -> Answer:
            if request.authorization:
                return Answer(code, {"Location": f"http://127.0.0.1:{elsewhere.port}/"})
            return Answer(401, {"WWW-Authenticate": "Basic"})

        result = _check(start(Registry(route)))
        assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_UNREACHABLE)
        assert elsewhere.accepted == 0

    @pytest.mark.parametrize("identity", ["", IDENTITY])
    def test_a_redirect_of_the_token_service(self, start: Start, serve: Serve, identity: str) -> None:
        elsewhere = serve(closing)
        location = {"Location": f"http://127.0.0.1:{elsewhere.port}/"}
        host = start(_with_tokens(lambda _: Answer(307, location)))
        _log_in(host, identity=identity)
        assert _check(host).cause is Cause.REGISTRY_UNREACHABLE
        assert elsewhere.accepted == 0

    @pytest.fixture
    def _a_remote_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`registry.example` is here; it is no name of this machine for a client."""
        resolve = socket.getaddrinfo

        def here(host: str, port: int, *more: int) -> object:
            return resolve("127.0.0.1" if host == "registry.example" else host, port, *more)

        monkeypatch.setattr(socket, "getaddrinfo", here)

    @pytest.mark.usefixtures("_a_remote_name")
    def test_by_https_where_that_is_spoken(self, serve: Serve, authority: Authority) -> None:
        tls = authority.issue("registry", ["registry.example"]).server_context()
        server = serve(Registry(protected("Basic", basic("me", SECRET))), tls=tls)
        host = f"registry.example:{server.port}"
        _log_in(host)
        assert _check(host).status is Status.HEALTHY

    @pytest.mark.usefixtures("_a_remote_name")
    def test_never_by_plain_http_to_another_machine(self, serve: Serve) -> None:
        handler = Registry(protected("Basic", basic("me", SECRET)))
        host = f"registry.example:{serve(handler).port}"
        _log_in(host)
        result = _check(host)
        assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_UNREACHABLE)
        assert not handler.requests

    @pytest.mark.usefixtures("_a_remote_name")
    def test_never_to_a_realm_that_does_not_speak_https(self, serve: Serve, authority: Authority) -> None:
        realm = serve(closing)
        tls = authority.issue("realm", ["registry.example"]).server_context()
        handler = Registry(protected(f'Bearer realm="http://127.0.0.1:{realm.port}/token"', "none"))
        host = f"registry.example:{serve(handler, tls=tls).port}"
        _log_in(host)
        result = _check(host)
        assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_UNREACHABLE)
        assert "https" in result.message
        assert realm.accepted == 0

    @pytest.mark.usefixtures("_a_remote_name")
    def test_never_to_who_is_not_trusted(self, serve: Serve, foreign_authority: Authority) -> None:
        handler = Registry(protected("Basic", basic("me", SECRET)))
        tls = foreign_authority.issue("foreign", ["registry.example"]).server_context()
        host = f"registry.example:{serve(handler, tls=tls).port}"
        _log_in(host)
        result = _check(host)
        assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_UNREACHABLE)
        assert "certificate" in result.message.lower()
        assert not handler.requests


def test_one_that_asks_nobody_for_credentials(start: Start) -> None:
    handler = Registry(_giving("{}"))
    host = start(handler)
    result = _check(host)
    assert (result.status, result.cause) == (Status.HEALTHY, None)
    assert host in result.message
    assert "asks nobody" in result.message
    assert not any(request.authorization for request in handler.requests)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (401, {}),
        (401, {"WWW-Authenticate": "Negotiate"}),
        (403, {}),
        (403, {"WWW-Authenticate": "Basic"}),
        (404, {}),
        (500, {}),
        (302, {"Location": "http://127.0.0.1:1/login"}),
    ],
)
def test_what_does_not_answer_as_a_registry(start: Start, status: int, headers: dict[str, str]) -> None:
    handler = Registry(lambda _: Answer(status, headers))
    result = _check(start(handler))
    assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_UNREACHABLE)
    assert str(status) in result.message
    assert not any(request.authorization for request in handler.requests)


_HEAD = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(closing, id="closes"),
        pytest.param(saying(b"SSH-2.0-OpenSSH_9.6\r\n"), id="ssh"),
        pytest.param(saying(b"\x00\xff" * 40), id="bytes"),
        pytest.param(saying(b"HTTP/1.1 abc\r\n\r\n"), id="no status"),
        pytest.param(saying(_HEAD + b"a: b\r\n" * 200 + b"\r\n"), id="headers"),
        pytest.param(saying(_HEAD + b"a: " + b"b" * 70_000 + b"\r\n\r\n"), id="header"),
        pytest.param(saying(_HEAD + _CHUNKED), id="chunks"),
        pytest.param(saying(b"HTTP/1.1 401 x\r\nWWW-Authenticate: Basic\r\n" + _CHUNKED), id="refusal"),
    ],
)
def test_garbage_is_no_registry(start: Start, handler: Handler) -> None:
    result = _check(start(handler))
    assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_UNREACHABLE)
    assert result.message


def test_nobody_listens() -> None:
    host = f"127.0.0.1:{unused_port()}"
    _log_in(host)
    result = _check(host)
    assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_UNREACHABLE)
    assert host in result.message
    assert "refused" in result.message


@pytest.mark.parametrize(
    "handler",
    [
        silent,
        dripping(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000, 0.02),
        dripping(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000, 0.02),
        dripping(b"HTTP/1.1 401 x\r\nWWW-Authenticate: Basic\r\n\r\n" + b"x" * 10_000, 0.02),
    ],
    ids=["silent", "head", "body", "refusal"],
)
def test_one_that_is_endless_is_left_at_the_deadline(start: Start, handler: Handler) -> None:
    begun = time.monotonic()
    result = _check(start(handler), 0.3)
    assert time.monotonic() - begun < ASKED_IN_VAIN
    assert (result.status, result.cause) == (Status.WARNING, Cause.REGISTRY_UNREACHABLE)


def test_a_run_that_is_called_off_waits_for_nobody(serve: Serve) -> None:
    server = serve(silent)
    host = f"127.0.0.1:{server.port}"
    _log_in(host)
    cancellation = Cancellation()

    def call_off() -> None:
        until(lambda: server.accepted, "the registry is asked")
        cancellation.cancel()

    caller = threading.Thread(target=call_off)
    caller.start()
    begun = time.monotonic()
    (result,) = registry.check(DockerConfig(os.environ), [host], 60, cancellation)
    caller.join()
    assert time.monotonic() - begun < LONG
    assert (result.status, result.cause) == (Status.SKIPPED, None)
    assert "called off" in result.message


def test_all_are_asked_at_once_and_answer_in_their_order(serve: Serve) -> None:
    meeting = threading.Barrier(2, timeout=10)

    def route(_: Request) -> Answer:
        meeting.wait()  # passes only if both are asked at the same time
        return Answer(200)

    hosts = [f"127.0.0.1:{serve(Registry(route)).port}" for _ in range(2)]
    entry = {"auth": base64.b64encode(b"me:x").decode()}
    directory = DockerConfig(os.environ).directory
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({"auths": dict.fromkeys(hosts, entry)}))
    results = registry.check(DockerConfig(os.environ), [*hosts, "nobody.example"], LONG, Cancellation())
    assert [(result.target, result.cause) for result in results] == [
        (hosts[0], None),
        (hosts[1], None),
        ("nobody.example", Cause.CREDENTIALS_MISSING),
    ]


def test_a_configuration_that_cannot_be_read() -> None:
    directory = DockerConfig(os.environ).directory
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{")
    result = _check("h")
    assert (result.status, result.cause) == (Status.WARNING, Cause.CONFIG_INVALID)
    assert str(directory / "config.json") in result.message


def test_a_defect_of_ours_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("bxhealth.credentials.find", broken)
    result = _check("h")
    assert (result.status, result.cause) == (Status.WARNING, Cause.INTERNAL_ERROR)
    assert "by zero" in result.message


class TestTheOption:
    @pytest.fixture
    def parse(self) -> Iterator[Callable[[str], tuple[int, tuple[str, ...], str]]]:
        seen: list[Options] = []

        @click.command()
        @check_options
        def command(options: Options) -> None:
            seen.append(options)

        def call(text: str) -> tuple[int, tuple[str, ...], str]:
            result = CliRunner().invoke(command, ["--registry", text])
            return result.exit_code, seen.pop().registries if seen else (), result.output

        yield call

    @pytest.mark.parametrize(
        ("text", "host"),
        [
            ("ghcr.io", "ghcr.io"),
            ("localhost:5000", "localhost:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("https://ghcr.io", "ghcr.io"),
            ("http://localhost:5000/", "localhost:5000"),
        ],
    )
    def test_a_host(self, parse: Callable[[str], tuple[int, tuple[str, ...], str]], text: str, host: str) -> None:
        assert parse(text)[:2] == (0, (host,))

    @pytest.mark.parametrize(
        "text",
        ["", "https://", f"https://me:{SECRET}@h", f"me:{SECRET}@h", "h/path", "https://h/v2/", "h?x", "h\n", "h x"],
    )
    def test_anything_else_is_wrong_usage_and_is_not_repeated(
        self, parse: Callable[[str], tuple[int, tuple[str, ...], str]], text: str
    ) -> None:
        status, hosts, output = parse(text)
        assert (status, hosts) == (2, ())
        assert SECRET not in output
