"""What this process holds open."""

from __future__ import annotations

from pathlib import Path


def held() -> int:
    """How many file descriptors are open."""
    return sum(1 for _ in Path("/dev/fd").iterdir())
