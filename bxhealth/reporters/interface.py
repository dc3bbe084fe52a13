"""What every reporter offers: a report as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bxhealth.model import Report


@dataclass(frozen=True)
class Style:
    """How the place that the text goes to wants it."""

    colour: bool = False
    verbose: bool = False


class Reporter(Protocol):
    """A format; a module of this package each."""

    def __call__(self, report: Report, style: Style) -> str:
        """The report, with a newline at its end."""
