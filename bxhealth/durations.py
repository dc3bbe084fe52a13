"""Durations as people write them: `500ms`, `5s`, `2m`, `1h30m`."""

from __future__ import annotations

import re

import click

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def parse(text: str) -> float:
    """Seconds.

    Raises:
        ValueError: `text` is no duration.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 500ms, 5s or 2m")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


class Duration(click.ParamType[float]):
    """A duration on the command line, in seconds, more than none."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, of a text, or of a number that is a default."""
        if isinstance(value, (int, float)):
            return float(value)
        try:
            seconds = parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds <= 0:
            self.fail(f"{value!r} is no time at all", param, ctx)
        return seconds
