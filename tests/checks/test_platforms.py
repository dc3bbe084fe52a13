from __future__ import annotations

from collections.abc import Sequence

import pytest

from bxhealth.checks import CHECKS
from bxhealth.model import Cause, Status
from bxhealth.options import Options
from tests.checks.probes import probe

AMD, ARM, RISCV = "linux/amd64", "linux/arm64", "linux/riscv64"


@pytest.mark.parametrize(
    ("declared", "workers"),
    [
        ((), [[AMD]]),
        ((AMD,), [[AMD, ARM]]),
        ((ARM, AMD), [[AMD, ARM]]),
        ((ARM, AMD), [[AMD], [ARM]]),
    ],
)
def test_what_is_declared_and_listed_is_healthy(declared: tuple[str, ...], workers: Sequence[Sequence[str]]) -> None:
    (result,) = CHECKS["platforms"](probe(Options(), declared=declared, workers=workers))
    assert (result.name, result.status, result.cause, result.target) == ("platforms", Status.HEALTHY, None, None)


def test_each_platform_that_is_declared_and_not_listed_is_a_warning() -> None:
    """No failure: a worker with a bundled emulator builds what it does not list; the canary tells."""
    results = CHECKS["platforms"](probe(Options(), declared=(ARM, AMD, RISCV)))
    assert [result.target for result in results] == [ARM, RISCV]
    for result in results:
        assert (result.status, result.cause) == (Status.WARNING, Cause.PLATFORM_MISSING)
        assert result.target
        assert result.target in result.message
