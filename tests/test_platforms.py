"""The expectations are those of containerd/platforms: `normalizeOS` and `normalizeArch` in database.go, `Parse`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxhealth import platforms

_WORDS = st.one_of(
    st.sampled_from(
        ["linux", "macos", "darwin", "windows", "amd64", "x86_64", "x86-64", "i386", "386", "aarch64", "arm64"]
    ),
    st.sampled_from(["arm", "armhf", "armel", "riscv64", "v1", "v2", "v5", "v6", "v7", "v8", "5", "6", "7", "8"]),
    st.from_regex(r"[A-Za-z0-9._-]{1,12}", fullmatch=True),
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("linux", "amd64"), "linux/amd64"),
        (("linux", "x86_64"), "linux/amd64"),
        (("linux", "x86-64"), "linux/amd64"),
        (("Linux", "AMD64"), "linux/amd64"),
        (("linux", "amd64", "v1"), "linux/amd64"),
        (("linux", "amd64", "v2"), "linux/amd64/v2"),
        (("linux", "aarch64"), "linux/arm64"),
        (("linux", "arm64", "v8"), "linux/arm64"),
        (("linux", "arm64", "8"), "linux/arm64"),
        (("linux", "arm64", "v9"), "linux/arm64/v9"),
        (("linux", "arm"), "linux/arm/v7"),
        (("linux", "arm", "7"), "linux/arm/v7"),
        (("linux", "arm", "v6"), "linux/arm/v6"),
        (("linux", "arm", "5"), "linux/arm/v5"),
        (("linux", "armhf"), "linux/arm/v7"),
        (("linux", "armhf", "v6"), "linux/arm/v7"),
        (("linux", "armel"), "linux/arm/v6"),
        (("linux", "i386"), "linux/386"),
        (("linux", "i386", "sse2"), "linux/386"),
        (("linux", "riscv64"), "linux/riscv64"),
        (("macos", "arm64"), "darwin/arm64"),
    ],
)
def test_normalise(given: tuple[str, ...], expected: str) -> None:
    assert platforms.normalise(*given) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/arm64", "linux/arm64"),
        (" linux/arm64 ", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("arm64", "linux/arm64"),
        ("aarch64", "linux/arm64"),
        ("armhf", "linux/arm/v7"),
    ],
)
def test_parse(text: str, expected: str) -> None:
    assert platforms.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", " ", "/", "linux/", "/amd64", "linux//v7", "linux/arm/v7/x", "linux/amd 64", "linux/ämd64", "a" * 200],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="not a platform"):
        platforms.parse(text)


@pytest.mark.parametrize("text", ["linux", "amd46"])
def test_parse_takes_a_bare_word_only_if_it_is_an_architecture(text: str) -> None:
    """containerd takes a bare word that is a known architecture; a slip of the pen is none."""
    with pytest.raises(ValueError, match="not a platform"):
        platforms.parse(text)


@given(st.lists(_WORDS, min_size=2, max_size=3))
def test_normalise_is_idempotent(words: list[str]) -> None:
    once = platforms.normalise(*words)
    assert platforms.normalise(*once.split("/")) == once


@given(st.lists(_WORDS, min_size=2, max_size=3))
def test_parse_agrees_with_normalise_and_is_idempotent(words: list[str]) -> None:
    once = platforms.parse("/".join(words))
    assert once == platforms.normalise(*words)
    assert platforms.parse(once) == once


@given(st.text(max_size=40))
def test_any_text_is_a_platform_in_one_spelling_or_refused(text: str) -> None:
    try:
        once = platforms.parse(text)
    except ValueError:
        return
    assert platforms.parse(once) == once


def test_unique_keeps_the_first_of_each_in_order() -> None:
    assert platforms.unique(["b", "a", "b", "c", "a"]) == ("b", "a", "c")
