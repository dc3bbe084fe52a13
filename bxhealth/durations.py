"""Durations as people write them: `500ms`, `5s`, `2m`, `1h30m`."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def parse(text: str) -> float:
    """Seconds.

    Raises:
        ValueError: `text` is no duration.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 500ms, 5s or 2m")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
