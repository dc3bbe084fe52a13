"""The exporter as Prometheus, Alertmanager, node_exporter and a Pushgateway see it: the real ones."""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from . import monitoring
from .bxhealth_command import run as run_bxhealth
from .monitoring import exporter, get, get_json, promtool, query, serving
from .testbed.builders import Client, Fleet, Node
from .testbed.hosts import Host
from .testbed.packages import Tools
from .testbed.waiting import wait_until

DEPLOY: Final = Path(__file__).parent.parent / "deploy" / "prometheus"
INTERVAL: Final = 2.0
SCRAPE: Final = 1.0
SLACK: Final = 1.5
"""For a check, an evaluation and a busy machine."""


@pytest.fixture(scope="module")
def binaries(tools: Tools) -> Path:
    """Prometheus and those that belong to it."""
    return monitoring.programs(tools)


@pytest.fixture
def alertmanager(binaries: Path, new_directory: Path) -> Iterator[str]:
    """An Alertmanager that notifies nobody."""
    config = new_directory / "alertmanager.yml"
    config.write_text(json.dumps({"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}))

    storage = new_directory / "alerts"
    with serving(
        lambda port: monitoring.alertmanager(binaries, config, storage, port),
        new_directory / "alertmanager.log",
        "/-/ready",
    ) as url:
        yield url


def test_a_host_that_dies_and_comes_back(
    client: Client,
    hosts: list[Host],
    kill_host: Callable[[Host], None],
    booted: tuple[str, list[Node]],
    binaries: Path,
    alertmanager: str,
    new_directory: Path,
) -> None:
    name, nodes = booted
    dead, others = nodes[1].name, {nodes[0].name, nodes[2].name}
    with (
        exporter(client.env, new_directory / "exporter.log", f"--interval={INTERVAL}s", name) as ours,
        monitoring.prometheus(binaries, new_directory / "p", _config(ours, alertmanager, new_directory)) as prometheus,
    ):

        def ups() -> dict[str, float]:
            return query(prometheus, "bxhealth_node_up")

        wait_until(lambda: ups() == dict.fromkeys((dead, *others), 1.0), "all nodes are up in Prometheus")
        assert not _alerts(alertmanager)

        kill_host(hosts[1])
        took = _seconds_until(lambda: ups() == {dead: 0.0, **dict.fromkeys(others, 1.0)}, "the node is down")
        assert took < INTERVAL + SCRAPE + SLACK
        assert query(prometheus, 'bxhealth_node_failure{cause="endpoint_refused"}') == {dead: 1.0}
        assert query(prometheus, "bxhealth_builder_up") == {name: 0.0}
        wait_until(lambda: ("BxhealthNodeDown", dead) in _alerts(alertmanager), "the alert fires")
        alert = _alerts(alertmanager)["BxhealthNodeDown", dead]
        assert alert["annotations"]["summary"].endswith("cannot build: endpoint_refused")
        assert alert["annotations"]["runbook_url"] == "docs/causes.md#endpoint_refused"

        hosts[1].start()
        hosts[1].await_node(dead)
        took = _seconds_until(lambda: ups() == dict.fromkeys((dead, *others), 1.0), "the node is up again")
        assert took < INTERVAL + SCRAPE + SLACK
        wait_until(lambda: not _alerts(alertmanager), "the alert is resolved", seconds=30)
        assert query(prometheus, "sum by (node) (bxhealth_node_failures_total)")[dead] >= 1

        client.buildx("rm", "--force", "--keep-state", name)
        wait_until(lambda: not ups(), "the builder is gone from Prometheus", seconds=INTERVAL + SCRAPE + SLACK)


def test_promtool_finds_no_fault(fleet: Fleet, binaries: Path, new_directory: Path) -> None:
    entry = fleet.client.store / "instances" / "unreadable"
    entry.write_text("{")
    try:
        with exporter(fleet.client.env, new_directory / "log", fleet.builder, "unreadable", "missing") as ours:
            status, text = get(f"{ours}/metrics")
            _, probed = get(f"{ours}/probe?target={fleet.builder}")
    finally:
        entry.unlink()
    assert status == 200
    assert 'bxhealth_builder_up{builder="unreadable"} 0.0' in text
    assert "bxhealth_problems 1.0" in text, "one builder is not there"
    assert f'bxhealth_builder_up{{builder="{fleet.builder}"}} 1.0' in text
    for node in fleet.nodes:
        assert f'bxhealth_node_disk_free_bytes{{builder="{fleet.builder}",node="{node.name}"}}' in text
    promtool(binaries, "check", "metrics", stdin=text)
    promtool(binaries, "check", "metrics", stdin=probed)


def test_the_rules_and_the_configuration_are_valid(binaries: Path) -> None:
    promtool(binaries, "check", "config", DEPLOY / "prometheus.yml")
    promtool(binaries, "test", "rules", DEPLOY / "bxhealth.rules.test.yml")


def test_every_alert_has_a_summary_and_a_runbook() -> None:
    rules = [rule for group in _rules()["groups"] for rule in group["rules"] if "alert" in rule]
    for rule in rules:
        assert {"summary", "runbook_url"} <= rule["annotations"].keys(), rule["alert"]
    tested = (DEPLOY / "bxhealth.rules.test.yml").read_text()
    assert {rule["alert"] for rule in rules} == {rule["alert"] for rule in rules if rule["alert"] in tested}


def test_probes_by_prometheus(fleet: Fleet, binaries: Path, new_directory: Path) -> None:
    with exporter(fleet.client.env, new_directory / "log", "--interval=1h", fleet.builder) as ours:
        address = ours.removeprefix("http://")
        job = {
            "job_name": "bxhealth-probe",
            "metrics_path": "/probe",
            "params": {"node": [fleet.nodes[0].name], "canary": ["linux/amd64"]},
            "static_configs": [{"targets": [fleet.builder]}],
            "relabel_configs": [
                {"source_labels": ["__address__"], "target_label": "__param_target"},
                {"target_label": "__address__", "replacement": address},
            ],
        }
        config = {"global": {"scrape_interval": "5s", "scrape_timeout": "5s"}, "scrape_configs": [job]}
        with monitoring.prometheus(binaries, new_directory / "p", config) as prometheus:
            wait_until(lambda: query(prometheus, "probe_success") == {"": 1.0}, "a probe", seconds=30)
            assert query(prometheus, "bxhealth_node_up") == {fleet.nodes[0].name: 1.0}
            assert query(prometheus, 'bxhealth_node_check_duration_seconds{check="canary"} > 0')
        for more in ("", f"&node={fleet.nodes[0].name}"):
            _, text = get(f"{ours}/probe?target={fleet.builder}&canary=linux/s390x{more}")
            assert "probe_success 0.0" in text, "nobody could try that"


def test_cron_with_the_textfile_collector(fleet: Fleet, binaries: Path, new_directory: Path) -> None:
    directory = new_directory / "textfile"
    directory.mkdir()
    result = run_bxhealth(fleet.client, "check", "-q", f"--report=prometheus={directory}/bxhealth.prom", fleet.builder)
    assert result.status == 0, result.stderr
    assert [path.name for path in directory.iterdir()] == ["bxhealth.prom"]

    def command(port: int) -> Sequence[str | Path]:
        return [
            binaries / "prometheus-node-exporter",
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={directory}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]

    with serving(command, new_directory / "log", "/metrics") as url:
        _, text = get(f"{url}/metrics")
    assert "node_textfile_scrape_error 0" in text
    for node in fleet.nodes:
        labels = f'builder="{fleet.builder}",driver="docker-container",node="{node.name}"'
        assert f"bxhealth_node_up{{{labels}}} 1" in text
    promtool(binaries, "check", "metrics", stdin=(directory / "bxhealth.prom").read_text())


def test_cron_with_a_pushgateway(fleet: Fleet, binaries: Path, new_directory: Path) -> None:
    def command(port: int) -> Sequence[str | Path]:
        return [binaries / "prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{port}"]

    with serving(command, new_directory / "log", "/-/ready") as url:
        result = run_bxhealth(fleet.client, "check", "-q", f"--push={url}", fleet.builder)
        assert (result.status, result.stderr) == (0, "")
        grouping = f'instance="{socket.gethostname()}",job="bxhealth"'
        ups = _pushed_ups(url)
        assert len(ups) == len(fleet.nodes)
        assert all(grouping in line and line.endswith(" 1") for line in ups)
        # a later push replaces all of the earlier one
        run_bxhealth(fleet.client, "check", "-q", f"--push={url}", f"--node={fleet.nodes[0].name}", fleet.builder)
        assert len(_pushed_ups(url)) == 1
    for words, status in (((), 0), (("--strict",), 1)):
        result = run_bxhealth(fleet.client, "check", "-q", f"--push={url}", *words, fleet.builder)
        assert result.status == status
        assert "--push failed" in result.stderr


def _pushed_ups(pushgateway: str) -> list[str]:
    return [line for line in get(f"{pushgateway}/metrics")[1].splitlines() if line.startswith("bxhealth_node_up{")]


def _config(exporter: str, alertmanager: str, directory: Path) -> Mapping[str, object]:
    """The configuration and the rules that are shipped, on these addresses and without patience."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    rules = _rules()
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    quick = directory / "rules.yml"
    quick.write_text(json.dumps(rules))
    config["scrape_configs"][0]["static_configs"] = [{"targets": [exporter.removeprefix("http://")]}]
    config["rule_files"] = [str(quick)]
    config["global"] = {"scrape_interval": f"{SCRAPE:g}s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    target = {"targets": [alertmanager.removeprefix("http://")]}
    config["alerting"] = {"alertmanagers": [{"static_configs": [target]}]}
    return config


def _rules() -> dict[str, Any]:
    rules: dict[str, Any] = yaml.safe_load((DEPLOY / "bxhealth.rules.yml").read_text())
    return rules


def _alerts(alertmanager: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The alerts that are active, by name and node; that of a host's death alone, not what follows from it."""
    return {
        (alert["labels"]["alertname"], alert["labels"]["node"]): alert
        for alert in get_json(f"{alertmanager}/api/v2/alerts?active=true")
        if alert["labels"]["alertname"] == "BxhealthNodeDown"
    }


def _seconds_until(condition: Callable[[], bool], what: str) -> float:
    begun = time.monotonic()
    wait_until(condition, what)
    return time.monotonic() - begun
