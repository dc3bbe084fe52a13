from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxhealth.versions import Version, parse

_PART = st.integers(0, 999_999)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v0.21.0", Version(0, 21, 0)),
        ("0.21.0", Version(0, 21, 0)),
        ("v0.20", Version(0, 20, 0)),
        (" v1.2.3\n", Version(1, 2, 3)),
        ("v0.22.0-rc1", Version(0, 22, 0, released=False)),
        ("v0.22.0-rc1.12+g1234", Version(0, 22, 0, released=False)),
        ("v0.11.7+azure", Version(0, 11, 7)),
        ("v0.11.7+0d3f4ccb-1", Version(0, 11, 7)),
    ],
)
def test_parse(text: str, version: Version) -> None:
    assert parse(text) == version


@pytest.mark.parametrize(
    "text",
    ["", "v", "1", "latest", "v0.0.0+unknown", "0.0.0", "v1.2.3.4", "1.2.x", "v-1.2.3", "v1.2.3-", "v1.2.3 (dirty)"],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a version|names no release") as raised:
        parse(text)
    assert repr(text) in str(raised.value)


@given(st.text(max_size=20))
def test_any_text_is_a_version_or_refused(text: str) -> None:
    try:
        parse(text)
    except ValueError:
        return


def test_they_are_ordered_by_their_numbers_and_not_by_their_spelling() -> None:
    texts = ["v0.9.9", "v0.10.0-rc1", "v0.10.0", "v0.10.1", "v0.100.0", "v1.0.0-beta", "v1.0.0"]
    parsed = [parse(text) for text in texts]
    assert all(older < newer for older, newer in pairwise(parsed))


@given(major=_PART, minor=_PART, patch=st.integers(1, 999_999))
def test_a_release_is_read_as_it_is_written(major: int, minor: int, patch: int) -> None:
    version = Version(major, minor, patch)
    assert parse(str(version)) == version
    assert parse(f"{version}-rc9") < version < Version(major, minor, patch + 1)


def test_one_before_its_release_says_so() -> None:
    assert str(Version(0, 22, 0, released=False)) != str(Version(0, 22, 0))
