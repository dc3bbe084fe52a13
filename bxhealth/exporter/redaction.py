"""What leaves this machine, by a scrape or a page, holds no credentials. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from bxhealth.model import BuilderReport, CheckResult, NodeReport

# up to the last @ before a slash: a password may hold one
_USERINFO = re.compile(r"(?<=://)[^/\s]*@")
_QUERY = re.compile(r"[?#].*", re.DOTALL)


def without_userinfo(text: str) -> str:
    """`text` with `user:password@` taken out of every URL in it."""
    return _USERINFO.sub("", text)


def endpoint(text: str) -> str:
    """An endpoint without what could be a secret: userinfo, query and fragment."""
    return without_userinfo(_QUERY.sub("", text) if "://" in text else text)


def report(builder: BuilderReport) -> BuilderReport:
    """The report of a builder without credentials in any of its texts."""
    return replace(
        builder,
        nodes=tuple(_node(node) for node in builder.nodes),
        error=None if builder.error is None else without_userinfo(builder.error),
    )


def _node(node: NodeReport) -> NodeReport:
    return replace(
        node,
        endpoint=endpoint(node.endpoint),
        message=without_userinfo(node.message),
        log_tail=tuple(without_userinfo(line) for line in node.log_tail),
        checks=tuple(_check(check) for check in node.checks),
    )


def _check(check: CheckResult) -> CheckResult:
    return replace(check, message=without_userinfo(check.message))
