from __future__ import annotations

import pytest

from bxhealth.checks import CHECKS
from bxhealth.errors import NodeFailure
from bxhealth.model import Cause, Status
from bxhealth.options import Options
from tests.checks.probes import probe


def test_a_buildkit_without_a_worker_can_build_nothing() -> None:
    with pytest.raises(NodeFailure) as raised:
        CHECKS["workers"](probe(Options(), workers=()))
    assert raised.value.cause is Cause.NO_WORKERS
    assert not raised.value.startable


@pytest.mark.parametrize(("count", "words"), [(1, "1 worker"), (2, "2 workers"), (11, "11 workers")])
def test_workers_are_counted(count: int, words: str) -> None:
    (result,) = CHECKS["workers"](probe(Options(), workers=[["linux/amd64"]] * count))
    assert (result.name, result.status, result.cause) == ("workers", Status.HEALTHY, None)
    assert result.message == words
