from __future__ import annotations

import math

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxhealth.durations import parse
from bxhealth.parameters import DURATION


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("5s", 5),
        ("2m", 120),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("0s", 0),
        ("1m500ms", 60.5),
    ],
)
def test_parse(text: str, seconds: float) -> None:
    assert parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 s", " 5s", "5s ", "-5s", "5d", "1e3s", "5S", "5s,", ".5s", "5.s", "inf"]
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse(text)


@given(hours=st.integers(0, 999), minutes=st.integers(0, 999), seconds=st.integers(0, 999), millis=st.integers(0, 999))
def test_parts_add_up(hours: int, minutes: int, seconds: int, millis: int) -> None:
    expected = hours * 3600 + minutes * 60 + seconds + millis / 1000
    assert parse(f"{hours}h{minutes}m{seconds}s{millis}ms") == pytest.approx(expected)


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        seconds = parse(text)
    except ValueError:
        return
    assert seconds >= 0
    assert math.isfinite(seconds)


def test_option_takes_text() -> None:
    assert DURATION.convert("2m", None, None) == 120.0


@pytest.mark.parametrize("value", ["0s", "0ms", "soon", "5"])
def test_option_refuses(value: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        DURATION.convert(value, None, None)
    assert value in str(refused.value)


def test_option_refuses_what_is_no_finite_time() -> None:
    """400 digits are more than a float holds: an infinite limit would be none at all."""
    with pytest.raises(click.BadParameter):
        DURATION.convert("9" * 400 + "s", None, None)
