"""How a run ends before all nodes have answered: it is in time, says what is missing, and leaves nothing."""

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .bxhealth_command import check, leaving_no_exec, start
from .testbed import faults
from .testbed.builders import BUILDX_VERSIONS, Client, Node, nodes_on, unique
from .testbed.hosts import Host
from .testbed.image import CRASHING_NODE
from .testbed.waiting import wait_until

pytestmark = pytest.mark.parametrize("buildx_version", BUILDX_VERSIONS, indirect=True)

SLACK = 2.5
CLEAN_UP = 3.0
"""How long what was called off may take to end."""


@pytest.fixture
def frozen(hosts: list[Host], booted: tuple[str, list[Node]]) -> Iterator[tuple[str, list[Node]]]:
    """A running builder of which the second node does not answer."""
    with faults.frozen_node(hosts[1], booted[1][1].name):
        yield booted


@pytest.fixture
def hanging(client: Client) -> Iterator[tuple[str, list[Node]]]:
    """A builder of two nodes: one that refuses, one that only buildx can dial, where it hangs."""
    with faults.silent_server() as listener, faults.refusing_address() as (host, port):
        nodes = [
            Node(unique("refusing"), f"tcp://{host}:{port}"),
            Node(unique("hanging"), listener.endpoint.replace("tcp://", "ssh://root@")),
        ]
        client.write_builder("hanging", "remote", nodes)
        yield "hanging", nodes


def test_fail_fast(
    client: Client, hosts: list[Host], frozen: tuple[str, list[Node]], kill_host: Callable[[Host], None]
) -> None:
    builder, nodes = frozen
    kill_host(hosts[2])
    with leaving_no_exec(hosts):
        result = check(client, "--fail-fast", "--probe-timeout=60s", builder)
    assert result.status == 1
    assert result.seconds < CLEAN_UP + SLACK
    assert result.nodes[nodes[2].name]["cause"] == "endpoint_refused"
    unfinished = result.nodes[nodes[1].name]
    assert unfinished["status"] == "skipped"
    assert "not finished" in unfinished["message"]
    assert nodes[2].name in unfinished["message"]


def test_fail_fast_with_a_buildx_under_way(client: Client, hanging: tuple[str, list[Node]]) -> None:
    builder, nodes = hanging
    result = check(client, "--fail-fast", "--probe-timeout=60s", builder)
    assert result.status == 1
    assert result.seconds < CLEAN_UP + SLACK
    assert result.nodes[nodes[0].name]["cause"] == "endpoint_refused"
    assert result.nodes[nodes[1].name]["status"] == "skipped"


def test_the_deadline(client: Client, hosts: list[Host], frozen: tuple[str, list[Node]]) -> None:
    builder, nodes = frozen
    with leaving_no_exec(hosts):
        result = check(client, "--deadline=1s", "--probe-timeout=60s", builder)
    result.assert_only({nodes[1].name: "deadline_exceeded"})
    assert result.seconds < 1 + CLEAN_UP + SLACK


def test_the_deadline_with_a_buildx_under_way(client: Client, hanging: tuple[str, list[Node]]) -> None:
    builder, nodes = hanging
    result = check(client, "--deadline=1s", "--probe-timeout=60s", builder)
    result.assert_only({nodes[0].name: "endpoint_refused", nodes[1].name: "deadline_exceeded"})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(
    client: Client, hosts: list[Host], frozen: tuple[str, list[Node]], number: signal.Signals, new_directory: Path
) -> None:
    builder, nodes = frozen
    metrics = new_directory / "bxhealth.prom"
    metrics.write_text("of a whole run\n")
    words = ("--format=json", f"--report=prometheus={metrics}", "--probe-timeout=60s", "-v")
    with leaving_no_exec(hosts):
        running = start(client, "check", *words, builder)
        container = hosts[1].container_id(f"buildx_buildkit_{nodes[1].name}")
        wait_until(lambda: bool(_execs(container)), "the exec in the frozen node")
        running.signal(number)
        result = running.finish()
    assert result.status == 130
    assert result.report["verdict"] == "unhealthy"
    unfinished = result.nodes[nodes[1].name]
    assert unfinished["status"] == "skipped"
    assert "interrupted" in unfinished["message"]
    assert metrics.read_text() == "of a whole run\n"
    # each of the others had answered or not, and neither is taken for a failure
    assert {result.nodes[node.name]["status"] for node in (nodes[0], nodes[2])} <= {"healthy", "skipped"}


def test_interrupted_while_a_node_is_started(client: Client, hosts: list[Host]) -> None:
    builder, nodes = unique("builder"), nodes_on(hosts[:1], CRASHING_NODE)
    client.create_builder(builder, "docker-container", nodes)
    running = start(client, "check", "--format=json", builder)
    wait_until(lambda: _runs_buildx(running.children()), "buildx")
    assert running.temporary_files()
    running.signal(signal.SIGINT)
    result = running.finish()
    assert result.status == 130
    assert result.nodes[nodes[0].name]["status"] in ("skipped", "unhealthy")


def test_killed_while_a_node_is_started(client: Client, hanging: tuple[str, list[Node]]) -> None:
    """Even then nothing of it stays: what it started notices."""
    builder, _ = hanging
    running = start(client, "check", "--probe-timeout=60s", builder)
    wait_until(lambda: _runs_buildx(running.children()), "buildx")
    assert running.temporary_files()
    running.signal(signal.SIGKILL)
    running.process.communicate()
    wait_until(lambda: not running.children(), "the end of what was started", seconds=5)
    wait_until(lambda: not running.temporary_files(), "the private directory's end", seconds=5)
    running.remove_directory()


def test_the_private_directory_is_private(client: Client, hanging: tuple[str, list[Node]]) -> None:
    builder, _ = hanging
    running = start(client, "check", "--deadline=5s", "--probe-timeout=60s", builder)
    wait_until(lambda: _runs_buildx(running.children()), "buildx")
    (name,) = running.temporary_files()
    directory = Path(_temporary(running.children()), name)
    assert directory.stat().st_mode & 0o777 == 0o700
    running.signal(signal.SIGINT)
    assert running.finish().status == 130


def test_retries(client: Client) -> None:
    with faults.refusing_address() as (host, port):
        node = Node(unique("node"), f"tcp://{host}:{port}")
        client.write_builder("refusing", "remote", [node])
        result = check(client, "--retries=2", "--retry-delay=10ms", "refusing")
        result.assert_only({node.name: "endpoint_refused"})
        assert result.nodes[node.name]["attempts"] == 3
    missing = Node(unique("node"), "tcp://127.0.0.1:1", {"cacert": "/nowhere.pem"})
    client.write_builder("missing", "remote", [missing])
    final = check(client, "--retries=2", "--retry-delay=10ms", "missing")
    assert final.nodes[missing.name]["attempts"] == 1  # nothing that will pass by itself


def test_a_host_that_dies_during_the_check(
    client: Client, hosts: list[Host], frozen: tuple[str, list[Node]], kill_host: Callable[[Host], None]
) -> None:
    builder, nodes = frozen
    running = start(client, "check", "--format=json", "--probe-timeout=60s", builder)
    container = hosts[1].container_id(f"buildx_buildkit_{nodes[1].name}")
    wait_until(lambda: bool(_execs(container)), "the exec in the frozen node")
    kill_host(hosts[1])
    result = running.finish()
    assert result.status == 1
    assert result.nodes[nodes[1].name]["cause"] == "endpoint_refused"
    assert result.seconds < 30


def _execs(container: str) -> list[int]:
    from .testbed.processes import command_line, pids_of_container

    return [pid for pid in pids_of_container(container) if "buildctl" in command_line(pid)]


def _runs_buildx(children: dict[int, str]) -> bool:
    return any(re.search(r"docker-buildx .*inspect", words) for words in children.values())


def _temporary(children: dict[int, str]) -> str:
    from .testbed.processes import PROC

    for pid in children:
        for entry in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            key, _, value = entry.decode().partition("=")
            if key == "BUILDX_CONFIG" and "bxhealth-" in value:
                return str(Path(value).parent)
    raise AssertionError("no process has a private directory")
