"""What a run is asked to do, as the command line or the exporter's configuration has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How long, how often and how many at a time. Times are in seconds."""

    probe_timeout: float = 5.0
    boot_timeout: float = 120.0
    deadline: float | None = None
    retries: int = 0
    retry_delay: float = 1.0
    concurrency: int = 64


@dataclass(frozen=True)
class Options:
    """All that decides what is checked and how it is judged."""

    limits: Limits = Limits()
    bootstrap: bool = True
    fail_fast: bool = False
