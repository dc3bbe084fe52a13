"""`-v`: what is done, step by step, on stderr."""

from __future__ import annotations

import logging
import sys

from bxhealth.reporters.escape import printable


class _Printable(logging.Formatter):
    """What a node says may be in a message, and must not act on the terminal that shows it."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(printable(line) for line in super().format(record).split("\n"))


def show(verbose: int) -> None:
    """Show errors only, or, with 1, each step, or, with more, all there is."""
    level = {0: logging.ERROR, 1: logging.INFO}.get(verbose, logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable("%(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("bxhealth").setLevel(level)
