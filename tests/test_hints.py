from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from bxhealth.hints import HINTS
from bxhealth.model import TRANSIENT, Cause


def _schema() -> dict[str, Any]:
    text = resources.files("bxhealth.reporters").joinpath("report.schema.json").read_text()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_says_what_to_do_in_one_line(cause: Cause) -> None:
    hint = HINTS[cause]
    assert hint.isprintable()
    assert hint.endswith(".")


def test_the_schema_knows_exactly_the_causes() -> None:
    assert set(_schema()["$defs"]["cause"]["enum"]) == {None, *(cause.value for cause in Cause)}


def test_the_transient_causes_are_those_of_the_design() -> None:
    assert {cause.value for cause in TRANSIENT} == {
        "endpoint_refused",
        "endpoint_timeout",
        "endpoint_unresolvable",
        "daemon_unresponsive",
        "container_restarting",
        "image_unavailable",
        "boot_failed",
        "registry_unreachable",
    }
