"""Drivers that only buildx knows: its own errors are in the report, and a green exit status is not believed."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from .bxhealth_command import check
from .testbed.builders import BUILDX_VERSIONS, Client, Node, unique
from .testbed.hosts import Host
from .testbed.image import WORKING_NODE
from .testbed.relay import remote_node

both = pytest.mark.parametrize("buildx_version", BUILDX_VERSIONS, indirect=True)

DEPLOYMENT = "builders0"


@both
def test_a_driver_that_nobody_knows(client: Client) -> None:
    node = Node(unique("node"), "unix:///nowhere.sock")
    client.write_builder("strange", "warp-drive", [node])
    result = check(client, "strange")
    assert result.status == 1
    result.assert_only({node.name: "boot_failed"})
    # docker/buildx, driver/manager.go: `failed to find driver "…"`
    assert 'failed to find driver "warp-drive"' in result.nodes[node.name]["message"]


@both
def test_kubernetes_without_a_cluster(client: Client) -> None:
    node = Node(DEPLOYMENT, f"kubernetes:///builders?deployment={DEPLOYMENT}&kubeconfig=")
    client.write_builder("builders", "kubernetes", [node])
    result = check(client, "builders", "--boot-timeout=30s")
    assert result.status == 1
    failed = result.nodes[DEPLOYMENT]
    assert failed["status"] == "unhealthy"
    assert failed["cause"] == "boot_failed"
    assert "kube" in failed["message"].lower() or "cluster" in failed["message"].lower()


class _Cluster(BaseHTTPRequestHandler):
    """As much of a Kubernetes API as shows a deployment of two pods into which nobody can execute."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith(f"/deployments/{DEPLOYMENT}"):
            self._send({"kind": "Deployment", "apiVersion": "apps/v1", **_deployment()})
        elif path.endswith("/pods"):
            self._send({"kind": "PodList", "apiVersion": "v1", "items": [_pod("first"), _pod("second")]})
        else:
            self._send({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}, 404)

    def do_POST(self) -> None:
        self._send({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403}, 403)

    def _send(self, body: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def _deployment() -> dict[str, Any]:
    return {
        "metadata": {"name": DEPLOYMENT, "namespace": "default", "annotations": {}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": DEPLOYMENT}}, "template": {"spec": {}}},
        "status": {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2},
    }


def _pod(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": DEPLOYMENT}},
        "spec": {"containers": [{"name": "buildkitd"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


@pytest.fixture
def cluster(client: Client) -> Iterator[str]:
    """The path of a kubeconfig for a cluster that is not able to execute anything."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Cluster) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        kubeconfig = client.home / "kubeconfig"
        kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                    "users": [{"name": "u", "user": {}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                }
            )
        )
        yield str(kubeconfig)
        server.shutdown()
        thread.join()


def test_each_replica_of_a_kubernetes_node_is_told_of(client: Client, cluster: str) -> None:
    node = Node(DEPLOYMENT, f"kubernetes:///builders?deployment={DEPLOYMENT}&kubeconfig={cluster}")
    client.write_builder("builders", "kubernetes", [node])
    # buildx waits for 20 s before it gives up
    result = check(client, "--probe-timeout=60s", "builders", environment={"KUBECONFIG": cluster})
    assert result.status == 1
    assert set(result.nodes) == {f"{DEPLOYMENT}[1]", f"{DEPLOYMENT}[2]"}
    assert all(node["cause"] == "boot_failed" for node in result.nodes.values())
    assert all(node["status"] == "unhealthy" for node in result.nodes.values())


@both
def test_a_remote_endpoint_that_only_buildx_can_dial(client: Client, hosts: list[Host]) -> None:
    """`docker-container://` is reached by buildx with the docker CLI, on the host that DOCKER_HOST names."""
    builder, inner = unique("builder"), Node(unique("inner"), hosts[0].endpoint, {"image": WORKING_NODE})
    client.create_builder(builder, "docker-container", [inner])
    client.boot(builder)
    outer = Node(unique("outer"), f"docker-container://buildx_buildkit_{inner.name}")
    client.write_builder("through", "remote", [outer])
    result = check(client, "through", environment={"DOCKER_HOST": hosts[0].endpoint})
    result.assert_only({})
    assert "linux/amd64" in result.nodes[outer.name]["platforms"]


@both
def test_without_docker_the_others_are_still_told_of(client: Client, hosts: list[Host]) -> None:
    with remote_node(hosts[0].socket) as listener:
        good = Node(unique("good"), listener.endpoint)
        needy = Node(unique("needy"), "docker-container://somebody")
        client.write_builder("mixed", "remote", [good, needy])
        result = check(client, "mixed", environment={"PATH": "/nonexistent"})
    assert result.status == 3
    assert result.nodes[good.name]["status"] == "healthy"
    assert result.nodes[needy.name]["status"] == "unhealthy"
    told = [line for line in result.stderr.splitlines() if line.startswith("bxhealth:")]
    assert len(told) == 1
    assert "docker" in told[0]
    assert "install" in told[0]


@both
def test_without_buildx_a_node_cannot_be_started(client: Client, hosts: list[Host]) -> None:
    builder = unique("builder")
    running, missing = (Node(unique("n"), host.endpoint, {"image": WORKING_NODE}) for host in hosts[:2])
    client.create_builder(builder, "docker-container", [running, missing])
    check(client, builder, "--node", running.name).assert_only({})
    (client.config / "cli-plugins" / "docker-buildx").unlink()
    # what answers natively needs neither
    check(client, builder, "--node", running.name).assert_only({})
    result = check(client, builder)
    assert result.status == 3
    assert result.nodes[running.name]["status"] == "healthy"
    assert result.nodes[missing.name]["status"] == "unhealthy"
    assert "buildx" in result.stderr
    assert "install" in result.stderr
