from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from bxhealth import wiring
from bxhealth.checker import Checker, Observer, Outcome
from bxhealth.deadline import Cancellation
from bxhealth.model import Builder, Cause, Status, Verdict
from bxhealth.options import Limits, Options
from bxhealth.store import Store
from tests import stores
from tests.awaiting import until
from tests.certificates import Authority
from tests.conftest import Serve
from tests.fake_buildkit import healthy
from tests.loopback import Server, silent
from tests.registries import Answer, Registry, Request

MEETING_SECONDS = 10.0
LONG = 60.0


@pytest.fixture(autouse=True)
def _without_a_proxy(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))  # the system's bundle takes long to load
    monkeypatch.setenv("no_proxy", "*")


def _fleet(*servers: Server) -> tuple[Store, list[Builder]]:
    """A builder with a node at each server, in a store."""
    docker = Path(os.environ["HOME"], ".docker")
    nodes = [stores.node(f"n{i}", server.host) for i, server in enumerate(servers)]
    stores.instance(docker / "buildx", "fleet", *nodes, driver="remote")
    store = Store(os.environ)
    return store, [store.builder("fleet")]


def _log_in(host: str) -> None:
    entry = {"auth": base64.b64encode(b"me:x").decode()}
    Path(os.environ["HOME"], ".docker", "config.json").write_text(json.dumps({"auths": {host: entry}}))


def test_nobody_is_asked_for_credentials_where_no_registry_is_named(serve: Serve) -> None:
    store, builders = _fleet(serve(healthy()))
    reports, client, interrupted = wiring.check(store, builders, Options(), Observer())
    assert ([report.verdict for report in reports], client, interrupted) == ([Verdict.HEALTHY], [], False)


def test_registries_are_asked_while_the_nodes_are(serve: Serve) -> None:
    """Neither answers before both were asked."""
    registry_asked, node_asked = threading.Event(), threading.Event()

    def node(sock: socket.socket) -> None:
        node_asked.set()
        assert registry_asked.wait(MEETING_SECONDS)
        healthy()(sock)

    def route(_: Request) -> Answer:
        registry_asked.set()
        assert node_asked.wait(MEETING_SECONDS)
        return Answer(200)

    host = f"127.0.0.1:{serve(Registry(route)).port}"
    store, builders = _fleet(serve(node))
    _log_in(host)
    options = Options(Limits(probe_timeout=LONG), registries=(host, "nobody.example"))
    reports, client, interrupted = wiring.check(store, builders, options, Observer())
    assert reports[0].nodes[0].status is Status.HEALTHY
    assert [(check.target, check.cause) for check in client] == [
        (host, None),
        ("nobody.example", Cause.CREDENTIALS_MISSING),
    ]
    assert not interrupted


def test_answers_that_come_after_the_nodes_are_waited_for(serve: Serve) -> None:
    def route(_: Request) -> Answer:
        until(lambda: node.handled, "the node's connection is closed")
        return Answer(200)

    node = serve(healthy())
    host = f"127.0.0.1:{serve(Registry(route)).port}"
    store, builders = _fleet(node)
    _log_in(host)
    _, client, _ = wiring.check(store, builders, Options(registries=(host,), limits=Limits(LONG)), Observer())
    assert [check.status for check in client] == [Status.HEALTHY]


@pytest.mark.parametrize("limits", [Limits(probe_timeout=0.3), Limits(probe_timeout=LONG, deadline=0.3)])
def test_a_silent_registry_has_no_longer_than_a_node_or_the_run(serve: Serve, limits: Limits) -> None:
    host = f"127.0.0.1:{serve(silent).port}"
    store, builders = _fleet(serve(healthy()))
    _log_in(host)
    _, client, _ = wiring.check(store, builders, Options(limits, registries=(host,)), Observer())
    assert [(check.status, check.cause) for check in client] == [(Status.WARNING, Cause.REGISTRY_UNREACHABLE)]


def _ending(error: BaseException | None, once: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the nodes' part of a run end, interrupted or with an error, once a server was asked."""

    def run(_: Checker, builders: object, cancellation: object = None) -> Outcome:  # noqa: ARG001
        until(lambda: once.accepted, "the registry is asked")
        if error:
            raise error
        return Outcome(interrupted=True)

    monkeypatch.setattr(Checker, "run", run)


def test_an_interrupt_calls_registries_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(silent)
    host = f"127.0.0.1:{server.port}"
    store, builders = _fleet(serve(healthy()))
    _log_in(host)
    _ending(None, server, monkeypatch)
    begun = time.monotonic()
    options = Options(Limits(probe_timeout=LONG), registries=(host,))
    _, client, interrupted = wiring.check(store, builders, options, Observer())
    assert interrupted
    assert time.monotonic() - begun < LONG / 2
    assert [(check.status, check.cause) for check in client] == [(Status.SKIPPED, None)]


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_a_run_that_breaks_leaves_no_thread_behind(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    server = serve(silent)
    host = f"127.0.0.1:{server.port}"
    store, builders = _fleet(serve(healthy()))
    _log_in(host)
    _ending(error, server, monkeypatch)
    begun = time.monotonic()
    with pytest.raises(type(error)):
        wiring.check(store, builders, Options(Limits(probe_timeout=LONG), registries=(host,)), Observer())
    assert time.monotonic() - begun < LONG / 2
    assert not [thread for thread in threading.enumerate() if thread.name == "registries"]


def test_a_run_that_another_thread_calls_off_waits_for_no_registry(serve: Serve) -> None:
    """As the exporter does when it ends, or when a builder is gone from the store."""
    server, node = serve(silent), serve(silent)
    host = f"127.0.0.1:{server.port}"
    store, builders = _fleet(node)
    _log_in(host)
    cancellation = Cancellation()

    def call_off() -> None:
        until(lambda: server.accepted and node.accepted, "both are asked")
        cancellation.cancel()

    caller = threading.Thread(target=call_off)
    caller.start()
    options = Options(Limits(probe_timeout=1.5), registries=(host,))
    _, client, _ = wiring.check(store, builders, options, Observer(), cancellation)
    caller.join()
    assert [check.status for check in client] == [Status.SKIPPED]
