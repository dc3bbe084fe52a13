from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path

import bcrypt
import jsonschema
import pytest
from starlette.testclient import TestClient
from starlette.types import Message

from bxhealth.deadline import Cancellation
from bxhealth.exporter import app, exposition
from bxhealth.exporter.asking import Answers, Question
from bxhealth.exporter.auth import Guard
from bxhealth.exporter.choice import choose
from bxhealth.exporter.exposition import Exposition, Form
from bxhealth.exporter.flights import Flight, Flights
from bxhealth.exporter.results import Checked, Results
from bxhealth.exporter.scheduler import Scheduler
from bxhealth.exporter.web_config import WebConfig
from bxhealth.model import CheckResult, Status
from bxhealth.options import Options
from bxhealth.store import Store
from tests import stores
from tests.awaiting import until
from tests.exporter.reports import checked, down, up

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


class Exporter:
    """The application on results that a test gives, and builders that answer when a test lets them."""

    def __init__(self, exclude: tuple[str, ...] = ()) -> None:
        self.exclude = exclude
        self.asked: list[Question] = []
        self.proceed = threading.Event()
        self.proceed.set()
        self.answer = checked(up("n1"), up("n2"))
        self.results = Results()
        self.exposition = Exposition(self.results, "1.2.3", 30)
        self.flights = Flights(self.ask)
        self.scheduler = Scheduler(
            partial(choose, os.environ, ["fleet"]),
            self.question,
            self.flights,
            self.results,
            3600,
            print,
        )
        self.config = WebConfig()
        parts = app.Parts(
            self.results,
            self.exposition,
            self.scheduler,
            self.flights,
            lambda: Store(os.environ),
            self.question,
            30,
            0.05,
        )
        self.client = TestClient(Guard(app.build(parts), lambda: self.config))

    def question(self, name: str, is_first: bool) -> Question:  # noqa: ARG002
        return Question(name, Options(), exclude=self.exclude)

    def ask(self, question: Question, answers: Answers, cancellation: Cancellation) -> Checked:  # noqa: ARG002
        self.asked.append(question)
        answers.asking(Store(os.environ).builder(question.builder))
        self.proceed.wait(10)
        return self.answer

    def show(self, name: str, result: Checked) -> None:
        form = Form(False, False)
        self.exposition.ready(form)
        self.results.put(name, result)
        until(lambda: f'builder="{name}"'.encode() in (self.exposition.ready(form) or b""), "rendered")


@pytest.fixture
def exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exporter]:
    monkeypatch.setenv("BUILDX_CONFIG", str(tmp_path / "buildx"))
    stores.instance(tmp_path / "buildx", "fleet", stores.node("n1"), stores.node("n2"))
    made = Exporter()
    made.exposition.start()
    yield made
    made.proceed.set()
    made.exposition.stop()
    made.flights.stop(5)


def test_metrics_are_there_before_the_first_check(exporter: Exporter) -> None:
    answer = exporter.client.get("/metrics")
    assert answer.status_code == 200
    assert 'bxhealth_build_info{version="1.2.3"} 1.0' in answer.text
    assert "process_open_fds" in answer.text


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text; version=abc", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("text/plain;q=1,application/openmetrics-text;q=0", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain, application/openmetrics-text; q=0.5", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "APPLICATION/openmetrics-text;q=0.5,text/plain;q=0.3",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("application/openmetrics-text;q=x", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
def test_metrics_come_in_the_format_that_is_asked_for(exporter: Exporter, accept: str, media_type: str) -> None:
    exporter.show("fleet", checked(up()))
    answer = exporter.client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"] == media_type
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert 'bxhealth_node_up{builder="fleet",driver="remote",node="n1"} 1.0' in answer.text
    assert answer.text.endswith("# EOF\n") is media_type.startswith("application/openmetrics")


@pytest.mark.parametrize(
    ("encoding", "zipped"),
    [("gzip", True), ("deflate, GZIP;q=0.5", True), ("identity", False), ("gzip;q=0", False), ("gzip;q=0.0", False)],
)
@pytest.mark.parametrize("path", ["/metrics", "/", "/api/v1/status"])
def test_answers_are_compressed_for_who_wants_it(exporter: Exporter, path: str, encoding: str, zipped: bool) -> None:
    with exporter.client.stream("GET", path, headers={"Accept-Encoding": encoding}) as answer:
        raw = b"".join(answer.iter_raw())
    assert (answer.headers.get("content-encoding") == "gzip") is zipped
    assert raw and (not zipped or gzip.decompress(raw))


def test_a_scrape_waits_for_no_check(exporter: Exporter) -> None:
    exporter.proceed.clear()
    exporter.scheduler.start()
    until(lambda: exporter.asked, "the check runs")
    assert exporter.client.get("/metrics").status_code == 200
    assert exporter.client.get("/-/ready").status_code == 503
    exporter.proceed.set()
    until(lambda: exporter.client.get("/-/ready").status_code == 200, "ready")
    exporter.scheduler.stop()


def test_a_probe_checks_now(exporter: Exporter) -> None:
    answer = exporter.client.get("/probe", params={"target": "fleet", "node": "n1", "canary": "amd64"})
    assert answer.status_code == 200
    assert "probe_success 0.0" in answer.text, "no node has tried the canary"
    tried = CheckResult("canary", Status.HEALTHY, target="linux/amd64")
    exporter.answer = checked(replace(up("n1"), checks=(tried,)))
    answer = exporter.client.get("/probe", params={"target": "fleet", "node": "n1", "canary": "amd64"})
    assert "probe_success 1.0" in answer.text
    assert exporter.asked[0].only == ("n1",)
    assert exporter.asked[0].options.canary == ("linux/amd64",)


def test_probes_of_one_builder_share_one_check(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter.proceed.clear()
    answers: list[int] = []
    joined = threading.Semaphore(0)
    join = exporter.flights.join

    def counting(question: Question) -> Flight:
        flight = join(question)
        joined.release()
        return flight

    monkeypatch.setattr(exporter.flights, "join", counting)
    threads = [
        threading.Thread(
            target=lambda: answers.append(exporter.client.get("/probe", params={"target": "fleet"}).status_code)
        )
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert joined.acquire(timeout=10)
    exporter.proceed.set()
    for thread in threads:
        thread.join(10)
    assert answers == [200] * 5
    assert len(exporter.asked) == 1


def test_who_leaves_waits_no_more(exporter: Exporter) -> None:
    """Or the tasks of clients that come and go would add up for as long as a check takes."""
    exporter.proceed.clear()
    messages: Iterator[Message] = iter([{"type": "http.request", "body": b""}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(messages)

    async def send(_: Message) -> None:
        pass

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/probe",
        "query_string": b"target=fleet",
        "headers": [(b"x-prometheus-scrape-timeout-seconds", b"60")],
    }
    asyncio.run(asyncio.wait_for(exporter.client.app(scope, receive, send), 20))
    (flight,) = exporter.flights._flights["fleet"]
    assert flight.waiters == 0


def test_half_a_character_is_shown_everywhere(exporter: Exporter) -> None:
    """JSON may hold one, and so may a store."""
    exporter.show("fleet", checked(replace(up(), endpoint="tcp://h/\ud800")))
    assert exporter.client.get("/").status_code == 200
    (shown,) = exporter.client.get("/api/v1/status").json()["builders"]
    assert shown["nodes"][0]["endpoint"] == "tcp://h/\ud800"


def test_a_probe_that_finds_no_time_is_no_verdict(exporter: Exporter) -> None:
    """A 503 is a scrape that failed: `up 0`, and not a builder that is down."""
    exporter.proceed.clear()
    other = exporter.flights.join(Question("fleet", Options(canary=())))
    until(lambda: other.begun, "another check runs")
    headers = {"X-Prometheus-Scrape-Timeout-Seconds": "0.2"}
    assert exporter.client.get("/probe", params={"target": "fleet"}, headers=headers).status_code == 503
    exporter.proceed.set()
    other.done.result(5)
    assert len(exporter.asked) == 1


def test_a_probe_of_some_nodes_says_nothing_of_the_builder(exporter: Exporter) -> None:
    assert "bxhealth_builder_up" in exporter.client.get("/probe", params={"target": "fleet"}).text
    assert "bxhealth_builder" not in exporter.client.get("/probe", params={"target": "fleet", "node": "n1"}).text


def test_what_the_system_refuses_a_probe_is_503(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Question) -> Flight:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(exporter.flights, "join", refuse)
    answer = exporter.client.get("/probe", params={"target": "fleet"})
    assert (answer.status_code, "Too many" in answer.text) == (503, True)


def test_it_is_healthy_while_it_checks_and_renders(exporter: Exporter) -> None:
    assert exporter.client.get("/-/healthy").status_code == 503
    exporter.scheduler.start()
    assert exporter.client.get("/-/healthy").status_code == 200
    exporter.scheduler.stop()
    until(lambda: exporter.client.get("/-/healthy").status_code == 503, "it checks no more")


def test_the_figures_of_the_process_are_of_now(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while no check ends, such as in a long interval."""
    monkeypatch.setattr(exposition, "_REFRESH_SECONDS", 0.01)
    exporter.show("fleet", checked(up()))

    def descriptors() -> int:
        text = exporter.client.get("/metrics").text
        return int(float(next(line for line in text.splitlines() if line.startswith("process_open_fds")).split()[1]))

    before = descriptors()
    many = 50  # more than come and go with the requests of this test
    with contextlib.ExitStack() as stack:
        for _ in range(many):
            stack.enter_context(Path(os.devnull).open())
        until(lambda: descriptors() > before + many // 2, "many more")


def test_a_probe_answers_before_prometheus_gives_up(exporter: Exporter) -> None:
    exporter.proceed.clear()
    answer = exporter.client.get(
        "/probe", params={"target": "fleet"}, headers={"X-Prometheus-Scrape-Timeout-Seconds": "0.2"}
    )
    assert "probe_success 0.0" in answer.text
    assert 'bxhealth_node_failure{builder="fleet",cause="deadline_exceeded",node="n2"} 1.0' in answer.text


@pytest.mark.parametrize(
    "query", ["", "target=", "target=nope", "target=fleet&node=nope", "target=fleet&canary=a/b/c/d"]
)
def test_a_bad_probe_is_400(exporter: Exporter, query: str) -> None:
    assert exporter.client.get(f"/probe?{query}").status_code == 400
    assert not exporter.asked


def test_the_status_is_the_report_of_the_schema(exporter: Exporter) -> None:
    exporter.show("fleet", checked(up("n1"), down("n2")))
    document = exporter.client.get("/api/v1/status").json()
    schema = json.loads(resources.files("bxhealth.reporters").joinpath("report.schema.json").read_text())
    jsonschema.validate(document, schema)
    assert document["verdict"] == "unhealthy"
    assert document["builders"][0]["nodes"][1]["cause"] == "endpoint_refused"


def test_every_answer_has_strict_headers(exporter: Exporter) -> None:
    for path in ("/", "/metrics", "/style.css", "/nowhere"):
        headers = exporter.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_nothing_can_be_posted(exporter: Exporter) -> None:
    assert exporter.client.post("/probe?target=fleet").status_code == 405


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready", "/probe?target=fleet", "/nowhere"])
def test_with_passwords_nothing_is_shown_to_strangers(exporter: Exporter, path: str) -> None:
    exporter.config = WebConfig(users={"alice": hashed("secret")})
    for headers in (
        {},
        basic("alice", "wrong"),
        basic("bob", "secret"),
        basic("alice", "x" * 100),
        basic("alice", "se\0cret"),
        {"Authorization": "Bearer secret"},
        {"Authorization": "Basic !"},
        {"Authorization": "Basic YWxpY2U="},
    ):
        answer = exporter.client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
    assert exporter.client.get(path, headers=basic("alice", "secret")).status_code != 401


def test_a_new_password_counts_at_once(exporter: Exporter) -> None:
    exporter.config = WebConfig(users={"alice": hashed("old")})
    assert exporter.client.get("/metrics", headers=basic("alice", "old")).status_code == 200
    exporter.config = WebConfig(users={"alice": hashed("new")})
    assert exporter.client.get("/metrics", headers=basic("alice", "old")).status_code == 401
    assert exporter.client.get("/metrics", headers=basic("alice", "new")).status_code == 200
