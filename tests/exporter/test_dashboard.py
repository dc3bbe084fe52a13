"""The dashboard by Grafana's own models of one; integration/test_exporter_dashboard.py runs its queries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

_DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "bxhealth.json"


def test_grafana_knows_every_part_of_it() -> None:
    """Its models drop what they do not know, and add what it takes by default."""
    register_default_plugins()
    ours = json.loads(_DASHBOARD.read_text())
    theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
    assert list(_missing(ours, theirs)) == []


@pytest.mark.parametrize(
    ("ours", "theirs", "missing"),
    [
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1, "d": 3}]}, [".a.0.c"]),
        ({"a": 1}, {"a": "1"}, [".a"]),
        ({"a": [1, 2]}, {"a": [1]}, [".a.1"]),
    ],
)
def test_what_is_missing_is_found(ours: object, theirs: object, missing: list[str]) -> None:
    assert list(_missing(ours, theirs)) == missing


def _missing(ours: object, theirs: object, where: str = "") -> Iterator[str]:
    """Where `ours` has what `theirs` has not."""
    if isinstance(ours, list) and isinstance(theirs, list):
        ours, theirs = dict(enumerate(ours)), dict(enumerate(theirs))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from _missing(value, theirs[key], f"{where}.{key}")
            else:
                yield f"{where}.{key}"
    elif ours != theirs:
        yield where
