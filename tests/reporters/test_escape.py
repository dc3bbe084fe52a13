from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxhealth.reporters.escape import printable


@given(st.text(st.characters()))
def test_the_result_is_one_printable_line_whatever_a_node_says(text: str) -> None:
    safe = printable(text)
    assert safe.isprintable()
    assert len((safe + "x").splitlines()) == 1
    assert safe.encode().decode() == safe


@given(st.text(st.characters(blacklist_categories=("C", "Z"))))
def test_what_is_printable_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain text, übung 世界", "plain text, übung 世界"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202eevil", r"\u202eevil"),
        ("\x9b31m", r"\x9b31m"),
        ("\u2028", r"\u2028"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_how_it_is_spelled(text: str, safe: str) -> None:
    assert printable(text) == safe
