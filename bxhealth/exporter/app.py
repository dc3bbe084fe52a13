"""The web application: metrics, probes, the JSON report and the page. No answer but a probe's waits for a node."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bxhealth import __version__, policy
from bxhealth.errors import StoreError
from bxhealth.exporter import probe
from bxhealth.exporter.asking import Gone, Question
from bxhealth.exporter.exposition import Exposition, Form, form, render, takes_gzip
from bxhealth.exporter.flights import Busy, Flights, Stopped
from bxhealth.exporter.metrics import ProbeCollector
from bxhealth.exporter.pages import Page
from bxhealth.exporter.redaction import without_userinfo
from bxhealth.exporter.results import Checked, Results
from bxhealth.exporter.scheduler import Scheduler
from bxhealth.model import Report
from bxhealth.options import Options
from bxhealth.reporters.json import document
from bxhealth.store import Store

_GZIP_LEVEL = 1


@dataclass(frozen=True)
class Parts:
    """What the application shows and uses."""

    results: Results
    exposition: Exposition
    scheduler: Scheduler
    flights: Flights
    store: Callable[[], Store]
    question: Callable[[str, bool], Question]
    """What is asked of a builder; as `Scheduler` has it."""
    interval: float
    timeout_offset: float


def build(parts: Parts) -> Starlette:
    """The application."""
    page = Page(__version__, parts.interval)
    watched = parts.question("", False)

    async def metrics(request: Request) -> Response:
        wanted = _form(request)
        body = parts.exposition.ready(wanted)
        if body is None:
            body = await run_in_threadpool(parts.exposition.body, wanted)
        return _metrics(body, wanted)

    async def probe_now(request: Request) -> Response:
        begun = time.monotonic()
        query = request.query_params
        try:
            seconds = probe.timeout(request.headers.get("x-prometheus-scrape-timeout-seconds"), parts.timeout_offset)
            question = await run_in_threadpool(
                lambda: probe.question(
                    parts.store(),
                    query.getlist("target"),
                    query.getlist("node"),
                    query.getlist("canary"),
                    seconds,
                    watched,
                )
            )
            try:
                flight = parts.flights.join(question)
            except (OSError, RuntimeError) as error:
                return _said(f"a check cannot be begun: {error}", 503)
            try:
                done = asyncio.wrap_future(flight.done)
                gone = asyncio.ensure_future(_disconnect(request))
                left = max(0.0, seconds - (time.monotonic() - begun))
                try:
                    either: list[asyncio.Future[Any]] = [done, gone]
                    await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    gone.cancel()
                checked = done.result() if done.done() else flight.so_far(question, seconds)
            finally:
                parts.flights.leave(flight)
        except (probe.BadProbe, Gone) as error:
            return _said(str(error), 400)
        except StoreError as error:
            return _said(without_userinfo(str(error)), 500)
        except Busy:
            return _said("other checks of this builder take all the time there is", 503)
        except Stopped:
            return _said("the exporter is being stopped", 503)
        wanted = _form(request)
        whole = (question.only, question.exclude) == (watched.only, watched.exclude)
        named = question.options.canary or () if query.getlist("canary") else ()
        has_tried = probe.has_tried(checked.report, named)
        collector = ProbeCollector(checked.after({}), time.monotonic() - begun, whole=whole, has_tried=has_tried)
        return _metrics(await run_in_threadpool(render, collector, wanted), wanted)

    async def status(request: Request) -> Response:
        report = _report(parts.results.latest, watched.options)
        # in ASCII, as the command's own: a store may hold half a character, which has no other form
        content = await run_in_threadpool(lambda: json.dumps(document(report)))
        return await _compressed(request, Response(content, media_type="application/json"))

    async def overview(request: Request) -> Response:
        content = await run_in_threadpool(page.render, parts.results.latest, parts.results.problems, time.time())
        return await _compressed(request, Response(content, media_type="text/html"))

    async def healthy(_: Request) -> Response:
        if parts.scheduler.is_alive and parts.exposition.is_alive:
            return _said("bxhealth is healthy", 200)
        return _said("bxhealth does not check builders any more", 503)

    async def ready(_: Request) -> Response:
        if parts.scheduler.is_ready:
            return _said("bxhealth is ready", 200)
        return _said("bxhealth has not checked every builder yet", 503)

    return Starlette(
        routes=[
            Route("/", overview),
            Route("/metrics", metrics),
            Route("/probe", probe_now),
            Route("/api/v1/status", status),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/style.css", _file("style.css", "text/css")),
            Route("/icon.svg", _file("icon.svg", "image/svg+xml")),
        ]
    )


def _report(checks: Sequence[Checked], options: Options) -> Report:
    """The checks as one report: from the first one's begin, and as long as the longest."""
    begun = [checked.ended_at - checked.duration_seconds for checked in checks]
    started_at = datetime.fromtimestamp(min(begun, default=time.time()), timezone.utc)
    builders = [checked.report for checked in checks]
    client = list({(check.name, check.target): check for checked in checks for check in checked.client}.values())
    verdict = policy.overall(builders, client, options.judging)
    duration = max((checked.duration_seconds for checked in checks), default=0.0)
    return Report(__version__, started_at, duration, verdict, builders, client)


async def _disconnect(request: Request) -> None:
    """Return when the client has left: its task would wait for the check otherwise."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _form(request: Request) -> Form:
    return form(request.headers.get("accept", ""), request.headers.get("accept-encoding", ""))


def _metrics(body: bytes, made: Form) -> Response:
    headers = {"Vary": "Accept, Accept-Encoding", "Content-Type": made.media_type}
    return Response(body, headers={**headers, "Content-Encoding": "gzip"} if made.gzipped else headers)


async def _compressed(request: Request, response: Response) -> Response:
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = "no-store"
    if takes_gzip(request.headers.get("accept-encoding", "")):
        response.body = await run_in_threadpool(gzip.compress, bytes(response.body), _GZIP_LEVEL)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Content-Length"] = str(len(response.body))
    return response


def _said(text: str, status: int) -> Response:
    return PlainTextResponse(f"{text}\n", status)


def _file(name: str, media_type: str) -> Callable[[Request], Response]:
    content = resources.files("bxhealth.exporter").joinpath("templates").joinpath(name).read_bytes()

    def answer(_: Request) -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": "max-age=3600"})

    return answer
