"""`bxhealth list`: what the store says, without contacting any node."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bxhealth.model import Builder
from bxhealth.reporters.escape import printable

_COLUMNS = ("BUILDER", "NODE", "DRIVER", "ENDPOINT", "PLATFORMS")


def render(builders: Sequence[Builder], current: str, form: str) -> str:
    """The builders and nodes as a table, or as JSON."""
    return _json(builders, current) if form == "json" else _table(builders, current)


def _json(builders: Sequence[Builder], current: str) -> str:
    document = [
        {
            "name": builder.name,
            "driver": builder.driver,
            "current": builder.name == current,
            "nodes": [
                {"name": node.name, "endpoint": node.endpoint, "platforms": list(node.platforms)}
                for node in builder.nodes
            ],
        }
        for builder in builders
    ]
    return json.dumps(document, indent=2) + "\n"


def _table(builders: Sequence[Builder], current: str) -> str:
    rows = [_COLUMNS]
    for builder in builders:
        name = builder.name + ("*" if builder.name == current else "")
        rows += [
            (name, node.name, builder.driver, node.endpoint, ",".join(node.platforms) or "-") for node in builder.nodes
        ]
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_COLUMNS))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in cells
    )
