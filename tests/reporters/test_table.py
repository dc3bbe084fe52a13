from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxhealth.hints import HINTS
from bxhealth.model import Cause, CheckResult, NodeReport, Status, Verdict
from bxhealth.reporters import REPORTERS
from bxhealth.reporters.interface import Style
from tests import reports

_PLAIN = Style()


def _render(*nodes: NodeReport, style: Style = _PLAIN, error: str | None = None) -> str:
    return REPORTERS["table"](reports.report(reports.builder(*nodes, error=error)), style)


def test_failing_nodes_come_first_with_cause_words_and_hint() -> None:
    text = _render(reports.healthy(), reports.failing())
    lines = text.splitlines()
    (bad,) = [i for i, line in enumerate(lines) if line.split()[:2] == ["bad", "unhealthy"]]
    (good,) = [i for i, line in enumerate(lines) if line.split()[:2] == ["good", "healthy"]]
    assert bad < good
    below = "\n".join(lines[bad:good])
    for words in ("container_exited", "it is down", HINTS[Cause.CONTAINER_EXITED], "last words", "3 attempts"):
        assert words in below
    assert "1 of 2 nodes healthy" in lines[0]
    assert "unhealthy" in lines[0]


def test_columns_line_up() -> None:
    text = _render(reports.healthy("a"), reports.healthy("a-much-longer-name"))
    lines = [line for line in text.splitlines() if "v0.21.0" in line or "BUILDKIT" in line]
    assert len(lines) == 3
    assert len({re.search(r"BUILDKIT|v0\.21\.0", line).start() for line in lines}) == 1  # type: ignore[union-attr]


def test_what_a_node_does_not_tell_is_a_dash() -> None:
    row = next(line for line in _render(reports.failing()).splitlines() if line.split()[:1] == ["bad"])
    assert row.split()[-2:] == ["-", "-"]


def test_no_line_ends_in_blanks_and_the_last_one_ends() -> None:
    text = _render(reports.healthy(), reports.failing())
    assert text.endswith("\n")
    assert all(line == line.rstrip() for line in text.splitlines())


def test_colour_only_where_it_is_wanted() -> None:
    nodes = (reports.healthy(), reports.failing())
    plain, coloured = _render(*nodes), _render(*nodes, style=Style(colour=True))
    assert "\x1b" not in plain
    assert "\x1b[31m" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == plain


def test_every_check_is_shown_when_asked() -> None:
    node = reports.healthy()
    assert "workers" not in _render(node)
    assert "workers" in _render(node, style=Style(verbose=True))


def test_a_builder_that_could_not_be_checked_says_why() -> None:
    assert "/x/instances/fleet: is empty" in _render(error="/x/instances/fleet: is empty")


def test_a_node_that_was_started_says_so() -> None:
    assert "started" in _render(reports.healthy(bootstrapped=True))
    assert "started" not in _render(reports.healthy())


def test_what_was_asked_of_the_client_is_shown() -> None:
    check = CheckResult("registry", Status.WARNING, Cause.CREDENTIALS_MISSING, "nobody is logged in", "ghcr.io")
    text = REPORTERS["table"](reports.report(reports.builder(reports.healthy()), checks=[check]), Style())
    for words in ("ghcr.io", "credentials_missing", "nobody is logged in"):
        assert words in text


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_is_told(verdict: Verdict) -> None:
    text = REPORTERS["table"](reports.report(reports.builder(reports.healthy(), verdict=verdict)), Style())
    assert f"fleet: {verdict.value}" in text.splitlines()[0]


@given(words=st.text(st.characters()))
def test_nothing_that_a_node_says_acts_on_a_terminal_or_adds_a_line(words: str) -> None:
    node = replace(
        reports.failing(name=words, message="m" + words),
        endpoint=words,
        log_tail=(words,),
        buildkit_version=words,
        platforms=(words,),
    )
    plain = replace(node, name="n", endpoint="e", message="m", log_tail=("l",), buildkit_version="v")
    plain = replace(plain, platforms=("p",), checks=(CheckResult("reach", Status.UNHEALTHY, node.cause, "m"),))
    text = _render(node, error=words or None)
    assert text.count("\n") == _render(plain, error="e" if words else None).count("\n")
    assert text.replace("\n", "").isprintable()
