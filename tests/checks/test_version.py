from __future__ import annotations

import pytest

from bxhealth.checks import CHECKS
from bxhealth.model import Cause, Status
from bxhealth.options import Options
from bxhealth.versions import parse
from tests.checks.probes import probe


def test_not_asked_where_no_least_is_wanted() -> None:
    assert not CHECKS["version"](probe(Options(), version="v0.1.0"))


@pytest.mark.parametrize(
    ("told", "least"),
    [
        ("v0.20.0", "v0.20.0"),
        ("v0.20.1", "0.20"),
        ("v0.100.0", "v0.20.0"),
        ("v1.0.0", "0.99"),
        ("0.20.0+dirty", "0.20"),
    ],
)
def test_new_enough(told: str, least: str) -> None:
    (result,) = CHECKS["version"](probe(Options(min_buildkit=parse(least)), version=told))
    assert (result.name, result.status, result.cause) == ("version", Status.HEALTHY, None)
    assert told in result.message


@pytest.mark.parametrize(
    ("told", "least"),
    [("v0.19.9", "v0.20.0"), ("v0.9.0", "0.10"), ("v0.20.0-rc1", "v0.20.0"), ("v0.99.9", "1.0")],
)
def test_too_old(told: str, least: str) -> None:
    (result,) = CHECKS["version"](probe(Options(min_buildkit=parse(least)), version=told))
    assert (result.status, result.cause) == (Status.UNHEALTHY, Cause.VERSION_TOO_OLD)
    assert told in result.message
    assert str(parse(least)) in result.message


@pytest.mark.parametrize("told", [None, "", "v0.0.0+unknown", "devel", "6e4f3c2"])
def test_what_names_no_release_is_skipped_with_the_reason(told: str | None) -> None:
    (result,) = CHECKS["version"](probe(Options(min_buildkit=parse("0.20")), version=told))
    assert (result.status, result.cause) == (Status.SKIPPED, None)
    assert (told or "no version") in result.message
