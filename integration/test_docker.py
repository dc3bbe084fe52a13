"""The `docker` driver and everything that a Docker endpoint can be: socket, TCP, TLS, ssh, a context's name."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .bxhealth_command import check, leaving_no_exec
from .testbed import faults
from .testbed.builders import BUILDX_VERSIONS, Client, Node, unique
from .testbed.certs import Authority, server_context
from .testbed.hosts import Host
from .testbed.image import WORKING_NODE
from .testbed.listener import Listener
from .testbed.packages import Tools
from .testbed.relay import engine_api
from .testbed.sshd import SshServer

pytestmark = pytest.mark.parametrize("buildx_version", BUILDX_VERSIONS, indirect=True)

SLACK = 2.5


@pytest.fixture
def sshd(tools: Tools, hosts: list[Host], new_directory: Path) -> Iterator[SshServer]:
    server = SshServer(tools, new_directory / "sshd", hosts[0].endpoint)
    yield server
    server.close()


def test_a_context_is_a_builder(client: Client, hosts: list[Host]) -> None:
    client.create_context("elsewhere", hosts[0].endpoint)
    result = check(client, "elsewhere")
    result.assert_only({})
    assert result.report["builders"][0]["driver"] == "docker"
    assert "linux/amd64" in result.nodes["elsewhere"]["platforms"]


def test_docker_host_is_the_default_builder(client: Client, hosts: list[Host]) -> None:
    result = check(client, environment={"DOCKER_HOST": hosts[1].endpoint})
    result.assert_only({})
    assert set(result.nodes) == {"default"}


def test_the_choice_without_a_name_is_that_of_buildx(client: Client, hosts: list[Host]) -> None:
    builder = unique("builder")
    client.create_context("elsewhere", hosts[0].endpoint)
    client.write_config({"currentContext": "elsewhere"})

    def chosen(**environment: str) -> str:
        name: str = check(client, environment=environment).report["builders"][0]["name"]
        return name

    assert chosen() == "elsewhere"
    client.create_context("further", hosts[1].endpoint)
    assert chosen(DOCKER_CONTEXT="further") == "further"
    assert chosen(BUILDX_BUILDER="further") == "further"
    assert chosen(DOCKER_HOST=hosts[2].endpoint) == "default"
    client.create_builder(builder, "docker-container", [Node(unique("n"), hosts[2].endpoint, {"image": WORKING_NODE})])
    client.use(builder)
    assert chosen() == builder
    # `buildx use` is for the current endpoint only
    assert chosen(DOCKER_CONTEXT="further") == "further"


def test_a_dead_engine(client: Client, hosts: list[Host], kill_host: Callable[[Host], None]) -> None:
    client.create_context("elsewhere", hosts[1].endpoint)
    kill_host(hosts[1])
    result = check(client, "elsewhere")
    result.assert_only({"elsewhere": "endpoint_refused"})
    assert result.seconds < 1 + SLACK


def test_a_frozen_engine(client: Client, hosts: list[Host]) -> None:
    client.create_context("elsewhere", hosts[1].endpoint)
    with faults.frozen_engine(hosts[1]):
        result = check(client, "--probe-timeout=1s", "elsewhere")
    result.assert_only({"elsewhere": "daemon_unresponsive"})
    assert result.seconds < 1 + SLACK


def test_no_such_socket(client: Client, new_directory: Path) -> None:
    client.create_context("elsewhere", f"unix://{new_directory}/nobody.sock")
    check(client, "elsewhere").assert_only({"elsewhere": "endpoint_refused"})


@pytest.mark.parametrize(
    ("serve", "cause"),
    [
        (faults.web_server, "not_buildkit"),
        (faults.babbling_server, "not_buildkit"),
        (faults.silent_server, "daemon_unresponsive"),
        (faults.closing_server, "endpoint_refused"),
    ],
)
def test_something_else_in_its_place(client: Client, serve: Callable[..., Listener], cause: str) -> None:
    with serve() as listener:
        client.create_context("elsewhere", listener.endpoint)
        node = Node(unique("n"), listener.endpoint)
        client.write_builder("contained", "docker-container", [node])
        result = check(client, "--probe-timeout=2s", "elsewhere", "contained")
    result.assert_only({"elsewhere": cause, node.name: cause})


def node_at(client: Client, endpoint: str) -> tuple[str, Node]:
    """A docker-container builder of one node at this endpoint."""
    builder, node = unique("builder"), Node(unique("node"), endpoint, {"image": WORKING_NODE})
    client.create_builder(builder, "docker-container", [node])
    return builder, node


def assert_starts_and_answers(client: Client, builder: str, node: Node, hosts: list[Host], **environment: str) -> None:
    started = check(client, builder, environment=environment)
    started.assert_only({})
    assert started.nodes[node.name]["bootstrapped"]
    with leaving_no_exec(hosts):
        check(client, builder, environment=environment).assert_only({})


def test_tcp(client: Client, hosts: list[Host]) -> None:
    with engine_api(hosts[0].socket) as listener:
        builder, node = node_at(client, listener.endpoint)
        assert_starts_and_answers(client, builder, node, hosts)


def test_tls_material_of_a_context(client: Client, hosts: list[Host], new_directory: Path) -> None:
    authority = Authority(new_directory / "authority")
    own = authority.client()
    demanding = server_context(authority.server(), clients=authority, protocols=("http/1.1",))
    with engine_api(hosts[0].socket, tls=demanding) as listener:
        client.create_context("secured", listener.endpoint, ca=authority.certificate, cert=own.certificate, key=own.key)
        alone = check(client, "secured")
        alone.assert_only({})
        assert alone.checks("secured", "certificate")[None]["status"] == "healthy"
        builder, node = node_at(client, "secured")
        assert_starts_and_answers(client, builder, node, hosts)


def test_a_tls_engine_that_is_not_trusted(client: Client, hosts: list[Host], new_directory: Path) -> None:
    authority = Authority(new_directory / "authority")
    foreign = Authority(new_directory / "foreign", "foreign")
    with engine_api(hosts[0].socket, tls=server_context(authority.server(), protocols=("http/1.1",))) as listener:
        client.create_context("secured", listener.endpoint, ca=foreign.certificate)
        check(client, "secured").assert_only({"secured": "tls_untrusted"})


def test_the_name_of_a_context_and_an_endpoint_left_out(client: Client, hosts: list[Host]) -> None:
    client.create_context("elsewhere", hosts[0].endpoint)
    builder, node = node_at(client, "elsewhere")
    assert_starts_and_answers(client, builder, node, hosts)
    # what a node created without an endpoint has in its store is a context's name: the default one here
    implicit = Node(unique("node"), "default", {"image": WORKING_NODE})
    client.write_builder("implicit", "docker-container", [implicit])
    assert_starts_and_answers(client, "implicit", implicit, hosts, DOCKER_HOST=hosts[1].endpoint)


def test_ssh(client: Client, hosts: list[Host], sshd: SshServer) -> None:
    sshd.admit(client)
    client.create_context("afar", sshd.endpoint)
    check(client, "--probe-timeout=20s", "afar").assert_only({})
    builder, node = node_at(client, sshd.endpoint)
    assert_starts_and_answers(client, builder, node, hosts, BXHEALTH_PROBE_TIMEOUT="20s")


def test_ssh_never_asks(client: Client, sshd: SshServer) -> None:
    client.create_context("afar", sshd.endpoint)
    unknown_host = check(client, "afar")
    unknown_host.assert_only({"afar": "endpoint_denied"})
    assert "Host key verification failed" in unknown_host.nodes["afar"]["message"]
    sshd.introduce(client)
    no_key = check(client, "afar")
    no_key.assert_only({"afar": "endpoint_denied"})
    assert "Permission denied" in no_key.nodes["afar"]["message"]
    for result in (unknown_host, no_key):
        assert result.seconds < 5 + SLACK


def test_ssh_to_nobody(client: Client) -> None:
    with faults.refusing_address() as (host, port):
        client.create_context("refused", f"ssh://root@{host}:{port}")
        client.create_context("unknown", "ssh://root@no-such-host.invalid")
        result = check(client, "refused", "unknown")
    result.assert_only({"refused": "endpoint_refused", "unknown": "endpoint_unresolvable"})


def test_ssh_that_never_answers(client: Client) -> None:
    with faults.silent_server() as listener:
        client.create_context("silent", listener.endpoint.replace("tcp://", "ssh://root@"))
        result = check(client, "--probe-timeout=1s", "silent")
    assert result.status == 1
    assert result.nodes["silent"]["cause"] in ("endpoint_timeout", "daemon_unresponsive")
    assert result.seconds < 1 + SLACK


def test_ssh_to_a_dead_engine(
    client: Client, hosts: list[Host], sshd: SshServer, kill_host: Callable[[Host], None]
) -> None:
    sshd.admit(client)
    client.create_context("afar", sshd.endpoint)
    kill_host(hosts[0])
    check(client, "--probe-timeout=20s", "afar").assert_only({"afar": "endpoint_refused"})
