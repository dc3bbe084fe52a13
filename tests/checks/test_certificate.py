from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest

from bxhealth.checks import CHECKS
from bxhealth.model import Cause, Status
from bxhealth.options import Options
from bxhealth.transports.tls import PeerCertificate
from tests.checks.probes import probe

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=timezone.utc)
MEASURED = "certificate_not_after_timestamp_seconds"


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", NOW.timestamp)


def _for(days: float) -> PeerCertificate:
    return PeerCertificate(NOW + timedelta(days=days))


def test_an_endpoint_without_tls_is_not_asked() -> None:
    assert not CHECKS["certificate"](probe(Options()))


def test_an_endpoint_without_tls_says_so_where_days_are_wanted() -> None:
    (result,) = CHECKS["certificate"](probe(Options(certificate_days=7)))
    assert (result.name, result.status, result.cause) == ("certificate", Status.SKIPPED, None)
    assert "no certificate" in result.message


@pytest.mark.parametrize("least", [None, 0, 7])
def test_the_end_is_told_and_measured_asked_for_or_not(least: float | None) -> None:
    (result,) = CHECKS["certificate"](probe(Options(certificate_days=least), certificate=_for(10)))
    assert (result.status, result.cause) == (Status.HEALTHY, None)
    assert result.measured == {MEASURED: (NOW + timedelta(days=10)).timestamp()}
    for words in ("tcp://n1.example:1234", "10.0 more days", "2026-05-11 12:00 UTC"):
        assert words in result.message


@pytest.mark.parametrize(
    ("days", "least", "status"),
    [
        (7, 7, Status.HEALTHY),
        (6.99, 7, Status.UNHEALTHY),
        (0.5, 1, Status.UNHEALTHY),
        (0.5, 0.25, Status.HEALTHY),
        (-1, 0, Status.UNHEALTHY),
    ],
)
def test_days_that_are_left(days: float, least: float, status: Status) -> None:
    (result,) = CHECKS["certificate"](probe(Options(certificate_days=least), certificate=_for(days)))
    assert result.status is status
    assert result.cause is (Cause.CERTIFICATE_EXPIRING if status is Status.UNHEALTHY else None)
    assert MEASURED in result.measured
