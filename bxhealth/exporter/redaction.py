"""What leaves this machine, by a scrape or a page, holds no credentials. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from bxhealth.model import BuilderReport, NodeReport

# up to the last @ before a slash: a password may hold one
_USERINFO = re.compile(r"(?<=://)[^/\s]*@")
# that of an endpoint as a whole may hold a slash as well
_WHOLE_USERINFO = re.compile(r"(?<=://).*@", re.DOTALL)
_QUERY = re.compile(r"[?#].*", re.DOTALL)

NO_HOSTS: Mapping[str, str] = MappingProxyType({})
"""Where no endpoint is a name, or none of the texts tells what was reached."""


def without_userinfo(text: str) -> str:
    """`text` with `user:password@` taken out of every URL in it."""
    return _USERINFO.sub("", text)


def endpoint(text: str) -> str:
    """An endpoint without what could be a secret: userinfo, query and fragment."""
    # in this order: a password may hold what begins a query
    return _QUERY.sub("", _WHOLE_USERINFO.sub("", text)) if "://" in text else text


def report(builder: BuilderReport, hosts: Mapping[str, str] = NO_HOSTS) -> BuilderReport:
    """The report of a builder without credentials in any of its texts.

    Args:
        builder: the report.
        hosts: of the endpoints that are names, what these stand for.
    """
    return replace(
        builder,
        nodes=tuple(_node(node, hosts.get(node.endpoint, node.endpoint)) for node in builder.nodes),
        error=None if builder.error is None else without_userinfo(builder.error),
    )


def _node(node: NodeReport, host: str) -> NodeReport:
    shown = endpoint(host)

    def clean(text: str) -> str:
        return without_userinfo(text.replace(host, shown) if shown != host else text)

    return replace(
        node,
        endpoint=endpoint(node.endpoint),
        message=clean(node.message),
        log_tail=tuple(clean(line) for line in node.log_tail),
        checks=tuple(replace(check, message=clean(check.message)) for check in node.checks),
    )
