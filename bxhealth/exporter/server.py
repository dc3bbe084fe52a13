"""`bxhealth serve`: puts the exporter's parts together, and runs them until a signal comes."""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import resource
import select
import signal
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bxhealth import __version__
from bxhealth.checks import NAMES
from bxhealth.errors import BxhealthError
from bxhealth.exporter import app
from bxhealth.exporter.asking import Question, ask
from bxhealth.exporter.auth import Guard
from bxhealth.exporter.choice import Chosen, NamedNodes, choose
from bxhealth.exporter.exposition import Exposition
from bxhealth.exporter.flights import Flights
from bxhealth.exporter.listener import Server, listen
from bxhealth.exporter.results import Results
from bxhealth.exporter.scheduler import Scheduler
from bxhealth.exporter.web_config import WebConfig, WebConfigFile
from bxhealth.options import Options, Threshold
from bxhealth.store import Store
from bxhealth.turns import Turns

_M_ARENA_MAX = -8
_HEAPS = 2
_TURNS = 2
"""So many threads of checks compute at once: Python runs one, and while that one asks the kernel, another."""
_WATCH_SECONDS = 10.0
"""How often the main thread looks after things."""
_CHECKS_END_SECONDS = 1.2
_SERVER_ENDS_SECONDS = 0.5
"""Together less than the 2 s that a stop may take."""


class Broken(BxhealthError):
    """A part of the exporter has ended, which none does by itself."""


@dataclass(frozen=True)
class Serving:
    """What `bxhealth serve` is told.

    Attributes:
        builders: the names of the builders to watch; none means buildx's own choice.
        every: watch every builder that buildx knows.
        only: the nodes that are meant, all where none is named; `exclude`: those that are not.
        interval: seconds from one check of a builder to the next.
        addresses: where to listen, as `HOST:PORT`.
        web_config: Prometheus's web configuration file.
        timeout_offset: seconds to take from the scrape's timeout.
    """

    builders: Sequence[str]
    every: bool
    only: tuple[str, ...]
    exclude: tuple[str, ...]
    interval: float
    addresses: Sequence[str]
    web_config: Path | None
    timeout_offset: float


def serve(serving: Serving, options: Options, complain: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, and end within 2 s then.

    Raises:
        Broken: a part of it has ended.
        ListenError: an address cannot be listened on.
        WebConfigError: the web configuration cannot be used.
    """
    signals = Signals(signal.SIGTERM, signal.SIGINT)
    # what a daemon of Prometheus's family reads anew on SIGHUP is read anew all the time
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    _share_heaps()
    _take_all_descriptors()
    config = WebConfigFile(serving.web_config, complain) if serving.web_config else None
    sockets = [listen(address) for address in serving.addresses]
    secured = config is not None and bool(config.config.users or config.config.tls)
    for listening in sockets:
        host, port = listening.getsockname()[:2]
        scheme = "https" if config and config.context else "http"
        complain(f"listening on {scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        if not secured and not ipaddress.ip_address(host).is_loopback:
            complain(
                f"warning: anybody who reaches {host} can read this and have nodes checked; "
                "--web.config.file adds TLS and passwords"
            )
    # figures of disk and cache are always asked for; what stops at the first failure would leave nodes out
    options = replace(options, min_free_disk=options.min_free_disk or Threshold(), fail_fast=False)

    def question(builder: str, is_first: bool) -> Question:
        # registries are nothing of a builder's: one check asks them for all
        mine = options if is_first else replace(options, registries=())
        return Question(builder, mine, serving.only, serving.exclude)

    results = Results()
    exposition = Exposition(results, __version__, serving.interval)
    flights = Flights(partial(ask, os.environ), Turns(_TURNS))
    named = NamedNodes(os.environ, {*serving.only, *serving.exclude, *options.judging.advisory.difference(NAMES)})

    def choose_now(before: Collection[str]) -> Chosen:
        chosen = choose(os.environ, serving.builders, before, every=serving.every)
        return replace(chosen, missing=(*chosen.missing, *named.missing(chosen.builders)))

    scheduler = Scheduler(choose_now, question, flights, results, serving.interval, complain)
    parts = app.Parts(
        results,
        exposition,
        scheduler,
        flights,
        lambda: Store(os.environ),
        question,
        serving.interval,
        serving.timeout_offset,
    )
    server = Server(Guard(app.build(parts), lambda: config.config if config else WebConfig()), sockets, config)
    exposition.start()
    scheduler.start()
    server.start()
    try:
        while not signals.wait(_WATCH_SECONDS):
            for name, part in (("web server", server), ("scheduler", scheduler), ("exposition", exposition)):
                if not part.is_alive:
                    raise Broken(f"internal error: the {name} has ended")
    finally:
        scheduler.stop()
        exposition.stop()
        server.ask_to_stop()
        flights.stop(_CHECKS_END_SECONDS)
        server.stop(_SERVER_ENDS_SECONDS)


def _take_all_descriptors() -> None:
    """Raise the limit to what is allowed: every node takes some, and a run of `ulimit -n` is small by tradition."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Signals:
    """Some signals, for the main thread to wait for.

    By Python's wakeup descriptor: a handler runs in the main thread only, and a signal that another thread gets, or
    that comes right before the main thread begins to wait, would not end its wait.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = numbers
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda number, frame: None)  # noqa: ARG005

    def wait(self, seconds: float) -> bool:
        """Return whether one has come, as soon as it has or after `seconds`."""
        poller = select.poll()
        poller.register(self._read, select.POLLIN)
        return bool(poller.poll(seconds * 1000)) and any(
            number in self._numbers for number in os.read(self._read, select.PIPE_BUF)
        )


def _share_heaps() -> None:
    """Have all threads allocate from few heaps: with several a processor, as glibc has it, each grows by itself.

    glibc's malloc.h; there is nothing to do elsewhere.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)
