"""BuildKit's versions, such as `v0.21.0` or `v0.22.0-rc1`, so far as they can be compared."""

from __future__ import annotations

import re
from dataclasses import dataclass

_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")


@dataclass(frozen=True, order=True)
class Version:
    """A release; one before it, such as a release candidate, compares as less (Semantic Versioning, 11)."""

    major: int
    minor: int
    patch: int
    released: bool = True

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}.{self.patch}{'' if self.released else ' (before its release)'}"


def parse(text: str) -> Version:
    """The version that `text` names; what is behind a `+` says nothing about its age.

    Raises:
        ValueError: it names none. A build without a release, such as `v0.0.0+unknown`, names none either.
    """
    match = _VERSION.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a version such as v0.20.0")
    major, minor, patch = (int(part or 0) for part in match.groups()[:3])
    if (major, minor, patch) == (0, 0, 0):
        raise ValueError(f"{text!r} names no release")
    return Version(major, minor, patch, released=match[4] is None)
