from __future__ import annotations

from dataclasses import replace

import pytest

from bxhealth.exporter import redaction
from tests.exporter.reports import builder, down


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("tcp://h:1", "tcp://h:1"),
        ("tcp://u:p@h:1?token=t#f", "tcp://h:1"),
        ("ssh://root:p/w@h", "ssh://h"),
        ("ssh://root:p?w#@h", "ssh://h"),
        ("unix:///run/a@b?c", "unix://b"),
        ("far", "far"),
        ("me@far", "me@far"),
    ],
)
def test_an_endpoint_holds_no_secret(endpoint: str, shown: str) -> None:
    assert redaction.endpoint(endpoint) == shown


def test_what_is_said_of_a_node_holds_no_secret_of_its_endpoint() -> None:
    endpoint = "tcp://u:p/s3cret@h:1?token=s3cret"
    said = f"connecting to {endpoint}: refused; see also http://u:s3cret@other/"
    node = down(message=said)
    node = replace(
        node, endpoint=endpoint, log_tail=(said,), checks=tuple(replace(check, message=said) for check in node.checks)
    )
    (shown,) = redaction.report(builder(node, error=None)).nodes
    assert "s3cret" not in str(shown)
    assert shown.message == "connecting to tcp://h:1: refused; see also http://other/"


def test_nor_of_what_its_endpoint_stands_for() -> None:
    host = "tcp://u:p/s3cret@h:1?token=s3cret"
    node = replace(down(message=f"connecting to {host}: refused"), endpoint="far")
    (shown,) = redaction.report(builder(node, error=None), {"far": host}).nodes
    assert (shown.endpoint, shown.message) == ("far", "connecting to tcp://h:1: refused")
