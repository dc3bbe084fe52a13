"""Waits for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

LIMIT_SECONDS = 20.0


def until(condition: Callable[[], object], what: str) -> None:
    """Return as soon as `condition` holds; fail, saying `what`, if it never does."""
    ends = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < ends, f"never came true: {what}"
        time.sleep(0.01)


def gone(pid: str) -> bool:
    """Whether a process has ended, though its parent may not have noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
