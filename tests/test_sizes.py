from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxhealth.options import Threshold
from bxhealth.sizes import for_people, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("5", 5),
        ("5B", 5),
        ("1kB", 1000),
        ("500MB", 500 * 10**6),
        ("2GB", 2 * 10**9),
        ("1TB", 10**12),
        ("1KiB", 1024),
        ("1MiB", 1024**2),
        ("5GiB", 5 * 1024**3),
        ("5gib", 5 * 1024**3),
        ("5 GiB", 5 * 1024**3),
        ("1.5GiB", 3 * 512 * 1024**2),
        ("1TiB", 1024**4),
    ],
)
def test_a_size(text: str, expected: int) -> None:
    assert parse(text) == Threshold(size_bytes=expected)


@pytest.mark.parametrize(("text", "percent"), [("0%", 0), ("10%", 10), ("2.5%", 2.5), ("10 %", 10), ("100%", 100)])
def test_a_share(text: str, percent: float) -> None:
    assert parse(text) == Threshold(percent=percent)


@pytest.mark.parametrize(
    "text",
    ["", "GiB", "-1GiB", "5XB", "5Gi", "5,5GB", "1e3", ".5GB", "101%", "-1%", "%", "5%%", "\u0665GB", " 5GB", "5GB "],
)
def test_anything_else_is_refused_with_what_it_was(text: str) -> None:
    with pytest.raises(ValueError, match="not a size") as raised:
        parse(text)
    assert repr(text) in str(raised.value)


@given(st.text(max_size=12))
def test_any_text_is_a_threshold_or_refused(text: str) -> None:
    try:
        threshold = parse(text)
    except ValueError:
        return
    assert threshold.size_bytes >= 0
    assert threshold.percent is None or 0 <= threshold.percent <= 100


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (5 * 1024**3, "5 GiB"),
        (int(4.9 * 1024**3), "4.9 GiB"),
        (100 * 1024**4, "100 TiB"),
    ],
)
def test_for_people(count: float, text: str) -> None:
    assert for_people(count) == text


@given(st.integers(0, 999 * 1024**4))
def test_what_people_read_is_nearly_the_size_and_short(count: int) -> None:
    number, unit = for_people(count).split()
    factor = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}[unit]
    assert "e" not in number
    assert len(number) <= 5
    assert float(number) * factor == pytest.approx(count, rel=0.006)
