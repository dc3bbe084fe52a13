"""The dashboard's queries, answered by a real Prometheus. There is no Grafana among Debian's packages."""

import json
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from . import monitoring
from .monitoring import exporter, get_json
from .testbed import faults
from .testbed.builders import Client, Node, unique
from .testbed.certs import Authority, server_context
from .testbed.hosts import Host
from .testbed.packages import Tools
from .testbed.relay import remote_node
from .testbed.waiting import wait_until

DASHBOARD: Final = Path(__file__).parent.parent / "deploy" / "grafana" / "bxhealth.json"
# grafana.com/docs/grafana/latest/dashboards/variables: what Grafana puts in place of them
VARIABLES: Final = {"$builder": ".*", "$__rate_interval": "10s"}


class Series(NamedTuple):
    """One result of a query."""

    labels: Mapping[str, str]
    value: float


@pytest.fixture
def dashboard() -> dict[str, Any]:
    """The dashboard."""
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def test_every_panel_shows_what_it_says(
    client: Client,
    hosts: list[Host],
    booted: tuple[str, list[Node]],
    tools: Tools,
    new_directory: Path,
    dashboard: dict[str, Any],
) -> None:
    local, nodes = booted
    secured = unique("builder")
    authority = Authority(new_directory / "authority")
    with (
        remote_node(hosts[0].socket, tls=server_context(authority.server(days=30))) as listener,
        faults.refusing_address() as (host, port),
    ):
        tls = Node(unique("node"), listener.endpoint, {"cacert": str(authority.certificate)})
        dead = Node(unique("node"), f"tcp://{host}:{port}", platforms=["linux/riscv64"])
        client.write_builder(secured, "remote", [tls, dead])
        with exporter(client.env, new_directory / "log", "--interval=1s", local, secured) as ours:
            job = {"job_name": "bxhealth", "static_configs": [{"targets": [ours.removeprefix("http://")]}]}
            config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}
            with monitoring.prometheus(monitoring.programs(tools), new_directory / "p", config) as prometheus:
                shown = _Panels(prometheus, dashboard)
                # the last of all: it takes two scrapes
                wait_until(lambda: bool(shown.positive("Failures by cause")), "a failure has been counted")

                assert [series.value for series in shown("Nodes down")] == [1.0]
                assert [series.value for series in shown("Builders down")] == [1.0]
                assert [series.value for series in shown("Platforms without a node")] == [1.0]
                assert [series.value for series in shown("Builders with old results")] == [0.0]
                assert all(0 <= series.value < 10 for series in shown("Oldest result"))
                ups = dict.fromkeys([*(node.name for node in nodes), tls.name], 1.0) | {dead.name: 0.0}
                assert shown.by("node", "Nodes") == ups
                assert [(s.labels["node"], s.labels["cause"]) for s in shown("Failing now")] == [
                    (dead.name, "endpoint_refused")
                ]
                assert {s.labels["platform"] for s in shown("Platforms") if not s.value} == {"linux/riscv64"}
                assert {s.labels["cause"] for s in shown.positive("Failures by cause")} == {"endpoint_refused"}
                assert shown.by("node", "Time to reach a node").keys() >= ups.keys() - {dead.name}
                assert shown.by("node", "Free disk").keys() == {node.name for node in nodes}
                assert shown.by("node", "Build cache").keys() == ups.keys() - {dead.name}
                days = {node: left / 86400 for node, left in shown.by("node", "Certificates").items()}
                assert days.keys() == {tls.name}
                assert 29 < days[tls.name] <= 30
                assert shown.choices("builder") == {local, secured}
                shown.assert_all_seen()


class _Panels:
    """What the panels would show now."""

    def __init__(self, prometheus: str, dashboard: Mapping[str, Any]) -> None:
        self._prometheus = prometheus
        self._dashboard = dashboard
        self._panels = {panel["title"]: panel for panel in dashboard["panels"]}
        self._seen: set[str] = set()

    def __call__(self, title: str) -> list[Series]:
        """The results of a panel's only query; each has the labels that its legend names."""
        self._seen.add(title)
        (target,) = self._panels[title]["targets"]
        expression = target["expr"]
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        query = urllib.parse.urlencode({"query": expression})
        answer = get_json(f"{self._prometheus}/api/v1/query?{query}")
        results = [Series(result["metric"], float(result["value"][1])) for result in answer["data"]["result"]]
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
            assert all(label in series.labels for series in results), (title, label)
        return results

    def by(self, label: str, title: str) -> dict[str, float]:
        """The values by one label."""
        return {series.labels[label]: series.value for series in self(title)}

    def positive(self, title: str) -> list[Series]:
        """The results that are more than 0."""
        return [series for series in self(title) if series.value > 0]

    def choices(self, variable: str) -> set[str]:
        """What a variable of the kind `label_values(SELECTOR, LABEL)` offers; Grafana asks Prometheus so for it."""
        (query,) = (v["query"]["query"] for v in self._dashboard["templating"]["list"] if v["name"] == variable)
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        assert found, query
        selector = urllib.parse.urlencode({"match[]": found[1]})
        return set(get_json(f"{self._prometheus}/api/v1/label/{found[2]}/values?{selector}")["data"])

    def assert_all_seen(self) -> None:
        """No panel was left out."""
        assert self._seen == self._panels.keys()
