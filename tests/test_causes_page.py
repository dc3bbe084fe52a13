"""`docs/causes.md` has one complete section for every cause, and says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bxhealth.hints import HINTS
from bxhealth.model import TRANSIENT, Cause

_PAGE = Path(__file__).parent.parent / "docs" / "causes.md"
_PARTS = ["How it shows", "How to confirm by hand", "How to mend it"]
_ROW = re.compile(
    r"^\| \[`(?P<name>[^`]+)`\]\(#(?P<anchor>[^)]+)\) \| (?P<words>[^|]+) \| (?P<transient>yes|no) \|$", re.M
)
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


def _page() -> str:
    return _PAGE.read_text(encoding="utf-8")


def _split(text: str, level: int) -> list[tuple[str, str]]:
    """The headings of a level, each with what is below it; a `#` in a block of code is no heading."""
    masked = _FENCE.sub(lambda match: re.sub(r"[^\n]", "x", match[0]), text)
    starts = list(re.finditer(rf"^{'#' * level} (.*)$", masked, re.M))
    ends = [start.start() for start in starts[1:]] + [len(text)]
    return [(start[1], text[start.end() : end]) for start, end in zip(starts, ends, strict=True)]


def test_there_is_one_section_a_cause_in_the_order_of_the_enum_and_no_other() -> None:
    assert [heading for heading, _ in _split(_page(), 2)] == [f"`{cause.value}`" for cause in Cause]


@pytest.mark.parametrize("cause", list(Cause))
def test_a_section_has_its_three_parts_in_order_and_none_is_empty(cause: Cause) -> None:
    sections = [body for heading, body in _split(_page(), 2) if heading == f"`{cause.value}`"]
    assert len(sections) == 1
    parts = _split(sections[0], 3)
    assert [heading for heading, _ in parts] == _PARTS
    assert all(body.strip() for _, body in parts)


@pytest.mark.parametrize("cause", list(Cause))
def test_a_hint_is_one_sentence(cause: Cause) -> None:
    hint = HINTS[cause]
    assert hint.strip() == hint
    assert len(hint) > 1
    assert [end.end() for end in _SENTENCE_END.finditer(hint)] == [len(hint)]
    assert hint.endswith(".")
    assert not hint.endswith("..")


def test_the_index_names_every_cause_and_tells_which_are_transient() -> None:
    rows = list(_ROW.finditer(_page()))
    assert [row["name"] for row in rows] == [cause.value for cause in Cause]
    assert all(row["anchor"] == row["name"] for row in rows)
    assert {row["name"] for row in rows if row["transient"] == "yes"} == {cause.value for cause in TRANSIENT}
