"""Rules: docs.github.com, "Workflow commands for GitHub Actions", and actions/toolkit, `core/src/command.ts`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxhealth.model import BuilderReport, Cause, CheckResult, PlatformReport, Status
from bxhealth.reporters.annotations import are_wanted, render
from tests import reports


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"GITHUB_ACTIONS": "true"}, True),
        ({"GITHUB_ACTIONS": "false"}, False),
        ({"GITHUB_ACTIONS": ""}, False),
        ({"CI": "true"}, False),
        ({}, False),
    ],
)
def test_only_a_step_of_github_actions_wants_them(environ: Mapping[str, str], wanted: bool) -> None:
    assert are_wanted(environ) is wanted


def _lines(*builders: BuilderReport, checks: tuple[CheckResult, ...] = ()) -> list[str]:
    text = render(reports.report(*builders, checks=checks))
    assert not text or text.endswith("\n")
    return text.splitlines()


def test_nothing_is_said_of_what_is_well() -> None:
    healthy = CheckResult("registry", Status.HEALTHY, None, "h takes the client's credentials", "h")
    skipped = replace(reports.healthy("skipped"), status=Status.SKIPPED)
    assert not _lines(reports.builder(reports.healthy(), skipped), checks=(healthy,))


def test_a_line_for_each_node_that_cannot_build() -> None:
    lines = _lines(reports.builder(reports.failing("n1"), reports.healthy(), reports.failing("n2", message="gone")))
    assert lines == [
        "::error title=fleet/n1%3A container_exited::it is down",
        "::error title=fleet/n2%3A container_exited::gone",
    ]


@pytest.mark.parametrize("changes", [{"advisory": True}, {"status": Status.WARNING}])
def test_what_does_not_fail_the_run_is_a_warning(changes: Mapping[str, object]) -> None:
    node = replace(reports.failing("n1"), **changes)  # type: ignore[arg-type]
    assert _lines(reports.builder(node)) == ["::warning title=fleet/n1%3A container_exited::it is down"]


def test_a_builder_that_could_not_be_checked() -> None:
    assert _lines(reports.builder(error="/x/fleet: is empty")) == ["::error title=fleet::/x/fleet: is empty"]


def test_a_warning_about_the_client() -> None:
    check = CheckResult("registry", Status.WARNING, Cause.CREDENTIALS_MISSING, "nobody is logged in", "h:5000")
    assert _lines(reports.builder(reports.healthy()), checks=(check,)) == [
        "::warning title=registry h%3A5000%3A credentials_missing::nobody is logged in"
    ]


@pytest.mark.parametrize(
    ("platform", "told"),
    [
        (PlatformReport(0, required=True), True),
        (PlatformReport(1, required=True, nodes=("good",)), False),
        (PlatformReport(0, required=False), False),
        # with --native, a node that only emulates it does not count
        (PlatformReport(0, required=True, nodes=("good",), emulated_on=("good",)), True),
    ],
)
def test_a_required_platform_that_nobody_serves_is_an_error(platform: PlatformReport, told: bool) -> None:
    builder = replace(reports.builder(reports.healthy()), platforms={"linux/s390x": platform})
    lines = _lines(builder)
    assert len(lines) == told
    for line in lines:
        assert line.startswith("::error title=fleet%3A platform_missing::")
        assert "linux/s390x" in line.rpartition("::")[2]


def test_each_required_platform_has_its_line() -> None:
    missing = PlatformReport(0, required=True)
    builder = replace(reports.builder(reports.healthy()), platforms={"linux/s390x": missing, "linux/386": missing})
    assert [line.split()[-1] for line in _lines(builder)] == ["linux/s390x", "linux/386"]


def test_a_percent_sign_is_escaped_first() -> None:
    assert _lines(reports.builder(reports.failing("n1", message="100%25, a:b"))) == [
        "::error title=fleet/n1%3A container_exited::100%2525, a:b"
    ]


@given(st.text(st.characters()))
def test_no_word_of_a_node_makes_a_command_of_its_own(words: str) -> None:
    check = CheckResult("registry", Status.WARNING, Cause.REGISTRY_DENIED, words, words)
    node = reports.failing(words, message=words)
    text = render(reports.report(reports.builder(node, error=words or None), checks=[check]))
    lines = text.split("\n")
    assert lines.pop() == ""
    assert len(lines) == (3 if words else 2)
    for line in lines:
        assert line.isprintable()
        assert line.startswith(("::error title=", "::warning title="))
        # the title ends at the first "::", so there may be none in it, nor a further property
        title = line.split(" title=", 1)[1].split("::", 1)[0]
        assert "," not in title
        assert ":" not in title
