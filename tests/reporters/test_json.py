from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxhealth.hints import HINTS
from bxhealth.model import Cause, CheckResult, Report, Status, Verdict
from bxhealth.reporters import REPORTERS
from bxhealth.reporters.interface import Style
from tests import reports


def _validate(document: Any) -> None:
    schema = json.loads(resources.files("bxhealth.reporters").joinpath("report.schema.json").read_text())
    validator = jsonschema.Draft202012Validator
    validator.check_schema(schema)
    validator(schema, format_checker=validator.FORMAT_CHECKER).validate(document)


def _render(report: Report) -> Any:
    text = REPORTERS["json"](report, Style())
    assert text.endswith("}\n")
    document = json.loads(text)
    _validate(document)
    return document


def test_the_words_of_the_design() -> None:
    document = _render(reports.report(reports.builder(reports.healthy(), reports.failing())))
    assert document["schema"] == "bxhealth/1"
    assert document["version"] == "1.2.3"
    assert document["started_at"] == "2026-01-02T03:04:05.678Z"
    assert document["duration_seconds"] == pytest.approx(1.23456, abs=0.001)
    assert document["verdict"] == "unhealthy"
    (builder,) = document["builders"]
    assert {key: builder[key] for key in ("name", "driver", "verdict", "policy", "error")} == {
        "name": "fleet",
        "driver": "docker-container",
        "verdict": "unhealthy",
        "policy": "all-nodes",
        "error": None,
    }
    assert builder["platforms"]["linux/amd64"]["healthy_nodes"] == 1
    good, bad = builder["nodes"]
    assert (good["name"], good["status"], good["cause"], good["message"], good["hint"]) == (
        "good", "healthy", None, "", "",
    )  # fmt: skip
    assert good["platforms"] == ["linux/amd64", "linux/arm64"]
    assert good["buildkit_version"] == "v0.21.0"
    assert (bad["cause"], bad["message"], bad["hint"]) == (
        "container_exited", "it is down", HINTS[Cause.CONTAINER_EXITED],
    )  # fmt: skip
    assert (bad["attempts"], bad["log_tail"], bad["bootstrapped"]) == (3, ["last words"], False)
    assert bad["checks"][0]["name"] == "reach"
    assert bad["checks"][0]["status"] == "unhealthy"


@pytest.mark.parametrize(
    "report",
    [
        reports.report(),
        reports.report(reports.builder(error="/x: is empty")),
        reports.report(reports.builder(reports.healthy(), verdict=Verdict.HEALTHY)),
        reports.report(checks=[CheckResult("registry", Status.WARNING, Cause.REGISTRY_DENIED, "no", "ghcr.io")]),
        *(reports.report(reports.builder(reports.failing(cause=cause))) for cause in Cause),
        *(
            reports.report(reports.builder(replace(reports.healthy(), status=status)))
            for status in (Status.WARNING, Status.SKIPPED)
        ),
    ],
)
def test_every_report_keeps_to_the_schema(report: Report) -> None:
    assert len(_render(report)["builders"]) == len(report.builders)


@given(words=st.text(st.characters(), min_size=1))
def test_what_a_node_says_arrives_and_the_file_stays_ascii(words: str) -> None:
    """JSON needs no escapes of ours, and a file in ASCII needs no agreement on an encoding."""
    report = reports.report(reports.builder(reports.failing(name=words, message=words)))
    text = REPORTERS["json"](report, Style())
    assert text.isascii()
    node = json.loads(text)["builders"][0]["nodes"][0]
    assert (node["name"], node["message"]) == (words, words)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "bxhealth/2"),
        (("verdict",), "fine"),
        (("more",), 1),
        (("builders", 0, "nodes", 0, "status"), "ok"),
        (("builders", 0, "nodes", 0, "cause"), "bad_weather"),
        (("builders", 0, "nodes", 0, "message"), ""),
        (("builders", 0, "nodes", 0, "hint"), ""),
        (("builders", 0, "nodes", 0, "cause"), None),
        (("builders", 0, "nodes", 0, "attempts"), 0),
    ],
)
def test_the_schema_refuses_what_is_not_the_contract(path: tuple[str | int, ...], value: object) -> None:
    document = _render(reports.report(reports.builder(reports.failing())))
    target = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        _validate(document)
