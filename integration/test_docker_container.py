"""`docker-container` builders of three nodes on three hosts, with each buildx."""

import time
from collections.abc import Callable

import pytest

from .bxhealth_command import check, leaving_no_exec, run
from .testbed.builders import BUILDX_VERSIONS, Client, Node, nodes_on, unique
from .testbed.faults import frozen_engine, frozen_node
from .testbed.hosts import NODE_CONTAINER, Host
from .testbed.image import CRASH_LINE, CRASHING_NODE, WORKING_NODE

pytestmark = pytest.mark.parametrize("buildx_version", BUILDX_VERSIONS, indirect=True)

SLACK = 2.5
"""Seconds that a busy machine may take on top of a limit that the user has set."""


def container_names(hosts: list[Host]) -> set[str]:
    return {name for host in hosts for name in host.containers()}


def test_all_nodes_up(client: Client, hosts: list[Host], booted: tuple[str, list[Node]]) -> None:
    builder, nodes = booted
    with leaving_no_exec(hosts):
        result = check(client, builder)
    result.assert_only({})
    assert result.report["verdict"] == "healthy"
    assert set(result.nodes) == {node.name for node in nodes}
    for node in result.nodes.values():
        assert "linux/amd64" in node["platforms"]
        # what real BuildKit of the engine answers; a released buildkitd names its release
        assert node["buildkit_version"].startswith("v")
        assert not node["bootstrapped"]


def test_nodes_never_started_are_started_at_once(
    client: Client, hosts: list[Host], cold: tuple[str, list[Node]]
) -> None:
    builder, nodes = cold
    result = check(client, builder)
    result.assert_only({})
    assert all(node["bootstrapped"] for node in result.nodes.values())
    assert {f"{NODE_CONTAINER}{node.name}" for node in nodes} <= container_names(hosts)
    # at once, and not one after the other: the time that each took would add up otherwise
    boots = [result.checks(node.name, "bootstrap")[None]["duration_seconds"] for node in nodes]
    assert result.report["duration_seconds"] < sum(boots)


def test_no_bootstrap_starts_nothing(client: Client, hosts: list[Host], cold: tuple[str, list[Node]]) -> None:
    builder, nodes = cold
    before = container_names(hosts)
    result = check(client, "--no-bootstrap", builder)
    result.assert_only({node.name: "container_missing" for node in nodes})
    assert container_names(hosts) == before


def test_a_dead_host(
    client: Client, hosts: list[Host], booted: tuple[str, list[Node]], kill_host: Callable[[Host], None]
) -> None:
    builder, nodes = booted
    kill_host(hosts[1])
    result = check(client, builder)
    result.assert_only({nodes[1].name: "endpoint_refused"})
    assert hosts[1].endpoint in result.nodes[nodes[1].name]["message"]
    # without a limit that anybody set, it is at once: long before any time-out could have come
    assert result.seconds < 1 + SLACK


def test_a_stopped_container_is_started_again(
    client: Client, hosts: list[Host], booted: tuple[str, list[Node]]
) -> None:
    builder, nodes = booted
    hosts[1].docker("stop", "--time=0", f"{NODE_CONTAINER}{nodes[1].name}")
    unstarted = check(client, "--no-bootstrap", builder)
    unstarted.assert_only({nodes[1].name: "container_exited"})
    result = check(client, builder)
    result.assert_only({})
    assert [node["bootstrapped"] for node in result.nodes.values()] == [False, True, False]


def test_a_crash_loop(client: Client, hosts: list[Host]) -> None:
    builder = unique("builder")
    good, bad = nodes_on(hosts[:1], WORKING_NODE)[0], nodes_on(hosts[1:2], CRASHING_NODE)[0]
    client.create_builder(builder, "docker-container", [good, bad])
    begun = time.monotonic()
    for _ in range(2):  # when the container is made, and when it is there already and keeps crashing
        result = check(client, "--boot-timeout=30s", builder)
        assert result.nodes[good.name]["status"] == "healthy"
        failed = result.nodes[bad.name]
        assert result.status == 1
        assert failed["cause"] in ("container_restarting", "container_exited")
        assert any(CRASH_LINE in line for line in failed["log_tail"])
    assert time.monotonic() - begun < 2 * 30


def test_a_boot_that_takes_too_long(client: Client, hosts: list[Host]) -> None:
    builder, nodes = unique("builder"), nodes_on(hosts[:1], CRASHING_NODE)
    client.create_builder(builder, "docker-container", nodes)
    result = check(client, "--boot-timeout=300ms", builder)
    assert result.status == 1
    assert result.nodes[nodes[0].name]["cause"] in ("boot_failed", "container_restarting", "container_exited")
    assert result.seconds < 0.3 + 5.0 + SLACK  # the boot, then the probe


def test_a_frozen_daemon(client: Client, hosts: list[Host], booted: tuple[str, list[Node]]) -> None:
    builder, nodes = booted
    with leaving_no_exec(hosts), frozen_node(hosts[1], nodes[1].name):
        result = check(client, "--probe-timeout=2s", builder)
        result.assert_only({nodes[1].name: "daemon_unresponsive"})
        assert result.report["duration_seconds"] >= 2
        assert result.seconds < 2 + SLACK
        # while it is still frozen, so that nothing has ended by itself
        with leaving_no_exec(hosts):
            pass
    check(client, builder).assert_only({})


def test_a_frozen_engine(client: Client, hosts: list[Host], booted: tuple[str, list[Node]]) -> None:
    builder, nodes = booted
    with frozen_engine(hosts[2]):
        result = check(client, "--probe-timeout=1s", builder)
    result.assert_only({nodes[2].name: "daemon_unresponsive"})
    assert hosts[2].endpoint in result.nodes[nodes[2].name]["message"]
    assert result.seconds < 1 + SLACK


def test_a_paused_container(client: Client, hosts: list[Host], booted: tuple[str, list[Node]]) -> None:
    builder, nodes = booted
    hosts[0].docker("pause", f"{NODE_CONTAINER}{nodes[0].name}")
    try:
        result = check(client, builder)
    finally:
        hosts[0].docker("unpause", f"{NODE_CONTAINER}{nodes[0].name}")
    result.assert_only({nodes[0].name: "daemon_unresponsive"})
    assert "paused" in result.nodes[nodes[0].name]["message"]


def test_an_image_that_is_nowhere(client: Client, hosts: list[Host]) -> None:
    builder = unique("builder")
    image = "registry.invalid/no/such:image"
    good, bad = nodes_on(hosts[:1], WORKING_NODE)[0], nodes_on(hosts[1:2], image)[0]
    client.create_builder(builder, "docker-container", [good, bad])
    result = check(client, builder)
    result.assert_only({bad.name: "image_unavailable"})
    message = result.nodes[bad.name]["message"]
    assert image in message
    assert "registry.invalid" in message.replace(image, "")  # the engine's own words, which name the registry


def test_only_the_chosen_nodes(client: Client, booted: tuple[str, list[Node]]) -> None:
    builder, nodes = booted
    assert set(check(client, builder, "--node", nodes[0].name).nodes) == {nodes[0].name}
    assert set(check(client, builder, "--exclude", nodes[0].name).nodes) == {node.name for node in nodes[1:]}
    unknown = check(client, builder, "--node=nobody")
    assert unknown.status == 3
    assert "nobody" in unknown.stderr


def test_the_table_shows_the_failing_node_first(
    client: Client, hosts: list[Host], booted: tuple[str, list[Node]], kill_host: Callable[[Host], None]
) -> None:
    builder, nodes = booted
    kill_host(hosts[2])
    result = run(client, "check", builder)
    assert result.status == 1
    lines = result.stdout.splitlines()
    assert f"{builder}: unhealthy, 2 of 3 nodes healthy" in lines[0]
    assert lines[2].split()[:3] == [nodes[2].name, "unhealthy", "docker-container"]
    assert lines[3].strip().startswith("endpoint_refused: ")
    assert lines[4].strip().startswith("hint: ")
    assert "\x1b" not in result.stdout
