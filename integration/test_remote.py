"""`remote` builders: real BuildKit on TCP and UNIX sockets, plain and with TLS, and all that can be in its place."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .bxhealth_command import check
from .testbed import faults
from .testbed.builders import BUILDX_VERSIONS, Client, Node, unique
from .testbed.certs import Authority, Credential, server_context
from .testbed.hosts import Host
from .testbed.listener import Listener
from .testbed.packages import Tools
from .testbed.relay import remote_node

pytestmark = pytest.mark.parametrize("buildx_version", BUILDX_VERSIONS, indirect=True)

SLACK = 2.5


@pytest.fixture
def authority(new_directory: Path) -> Authority:
    return Authority(new_directory / "authority")


@pytest.fixture
def good(hosts: list[Host]) -> Iterator[Node]:
    """A node that answers, for the company of one that does not."""
    with remote_node(hosts[0].socket, ("127.0.0.3", 0)) as listener:
        yield Node(unique("good"), listener.endpoint)


def tls_node(endpoint: str, authority: Authority, client: Credential | None = None, **options: str) -> Node:
    files = {"cacert": str(authority.certificate), **options}
    if client:
        files |= {"cert": str(client.certificate), "key": str(client.key)}
    return Node(unique("tls"), endpoint, files)


def write(client: Client, *nodes: Node) -> str:
    """A builder of these nodes, which buildx itself would not create or would wait for."""
    builder = unique("remote")
    client.write_builder(builder, "remote", nodes)
    return builder


def test_plain_unix_and_mutual_tls(
    client: Client, hosts: list[Host], authority: Authority, new_directory: Path
) -> None:
    demanding = server_context(authority.server(), clients=authority)
    with (
        remote_node(hosts[0].socket) as plain,
        remote_node(hosts[1].socket, new_directory / "buildkit.sock") as on_unix,
        remote_node(hosts[2].socket, ("127.0.0.2", 0), demanding) as mutual,
    ):
        nodes = [
            Node(unique("plain"), plain.endpoint),
            Node(unique("unix"), on_unix.endpoint),
            tls_node(mutual.endpoint, authority, authority.client()),
        ]
        builder = unique("remote")
        client.create_builder(builder, "remote", nodes)
        result = check(client, builder)
    result.assert_only({})
    for node in result.nodes.values():
        assert "linux/amd64" in node["platforms"]
        assert node["buildkit_version"].startswith("v")
    certificate = result.checks(nodes[2].name, "certificate")[None]
    assert certificate["status"] == "healthy"


def test_neither_docker_nor_buildx_is_needed(client: Client, good: Node) -> None:
    result = check(client, write(client, good), environment={"PATH": "/nonexistent"})
    result.assert_only({})


def test_no_proxy_is_asked(client: Client, good: Node) -> None:
    with faults.refusing_address() as (host, port):
        proxy = f"http://{host}:{port}"
        check(client, write(client, good), environment={"http_proxy": proxy, "https_proxy": proxy}).assert_only({})


def test_nothing_listens(client: Client, good: Node) -> None:
    with faults.refusing_address() as (host, port):
        bad = Node(unique("bad"), f"tcp://{host}:{port}")
        result = check(client, "--probe-timeout=60s", write(client, good, bad))
    result.assert_only({bad.name: "endpoint_refused"})
    assert bad.endpoint in result.nodes[bad.name]["message"]
    assert result.seconds < 1 + SLACK  # at once, with a minute to wait


def test_no_such_socket(client: Client, good: Node, new_directory: Path) -> None:
    bad = Node(unique("bad"), f"unix://{new_directory}/nobody.sock")
    check(client, write(client, good, bad)).assert_only({bad.name: "endpoint_refused"})


def test_a_name_that_does_not_resolve(client: Client, good: Node) -> None:
    bad = Node(unique("bad"), "tcp://no-such-host.invalid:1234")
    result = check(client, "--probe-timeout=60s", write(client, good, bad))
    result.assert_only({bad.name: "endpoint_unresolvable"})
    assert "no-such-host.invalid" in result.nodes[bad.name]["message"]
    assert result.seconds < 1 + SLACK


@pytest.mark.parametrize("option", ["cacert", "cert", "key"])
def test_a_file_that_is_missing(client: Client, good: Node, authority: Authority, option: str) -> None:
    missing = str(authority.certificate.with_name("missing.pem"))
    own = authority.client()
    options = {"cacert": str(authority.certificate), "cert": str(own.certificate), "key": str(own.key)}
    bad = Node(unique("bad"), "tcp://127.0.0.1:1", {**options, option: missing})
    result = check(client, "--probe-timeout=60s", write(client, good, bad))
    result.assert_only({bad.name: "config_invalid"})
    assert missing in result.nodes[bad.name]["message"]
    assert result.seconds < 1 + SLACK


@pytest.mark.parametrize(
    ("serve", "cause"),
    [
        (faults.silent_server, "daemon_unresponsive"),
        (faults.web_server, "not_buildkit"),
        (faults.babbling_server, "not_buildkit"),
        (faults.closing_server, "endpoint_refused"),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_something_else_in_its_place(
    client: Client, good: Node, authority: Authority, serve: Callable[..., Listener], cause: str, tls: bool
) -> None:
    context = server_context(authority.server()) if tls else None
    with serve(tls=context) as listener:
        bad = tls_node(listener.endpoint, authority) if tls else Node(unique("bad"), listener.endpoint)
        result = check(client, "--probe-timeout=2s", write(client, good, bad))
    result.assert_only({bad.name: cause})
    assert result.seconds < 2 + SLACK


def test_a_handshake_that_is_never_answered(client: Client, good: Node, authority: Authority) -> None:
    with faults.silent_server() as listener:
        bad = tls_node(listener.endpoint, authority)
        result = check(client, "--probe-timeout=1s", write(client, good, bad))
    result.assert_only({bad.name: "daemon_unresponsive"})
    assert result.seconds < 1 + SLACK


def test_a_frozen_engine_behind_it(client: Client, hosts: list[Host], good: Node) -> None:
    with remote_node(hosts[1].socket) as listener, faults.frozen_engine(hosts[1]):
        bad = Node(unique("bad"), listener.endpoint)
        check(client, "--probe-timeout=1s", write(client, good, bad)).assert_only({bad.name: "daemon_unresponsive"})


@pytest.mark.parametrize(
    ("issue", "cause"),
    [
        (Authority.expired_server, "tls_expired"),
        (Authority.misnamed_server, "tls_name_mismatch"),
    ],
)
def test_a_bad_certificate(
    client: Client,
    hosts: list[Host],
    good: Node,
    authority: Authority,
    issue: Callable[[Authority], Credential],
    cause: str,
) -> None:
    with remote_node(hosts[1].socket, tls=server_context(issue(authority))) as listener:
        bad = tls_node(listener.endpoint, authority)
        check(client, write(client, good, bad)).assert_only({bad.name: cause})


def test_a_foreign_certificate(
    client: Client, hosts: list[Host], good: Node, authority: Authority, new_directory: Path
) -> None:
    foreign = Authority(new_directory / "foreign", "foreign")
    with remote_node(hosts[1].socket, tls=server_context(foreign.server())) as listener:
        bad = tls_node(listener.endpoint, authority)
        check(client, write(client, good, bad)).assert_only({bad.name: "tls_untrusted"})


def test_servername_is_what_the_certificate_must_be_for(
    client: Client, hosts: list[Host], authority: Authority
) -> None:
    with remote_node(hosts[1].socket, tls=server_context(authority.server(["builder.example"]))) as listener:
        named = tls_node(listener.endpoint, authority, servername="builder.example")
        unnamed = tls_node(listener.endpoint, authority)
        check(client, write(client, named, unnamed)).assert_only({unnamed.name: "tls_name_mismatch"})


@contextlib.contextmanager
def demanding_server(context: ssl.SSLContext) -> Iterator[str]:
    """A TLS server's endpoint that tells a client with an alert that its certificate will not do.

    As OpenSSL and Go do; asyncio, which serves the other listeners, closes the connection without it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(ssl.SSLError, ConnectionError):
                        context.wrap_socket(connection, server_side=True)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        server.join()


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_is_wanted(
    client: Client, good: Node, authority: Authority, new_directory: Path, newest: ssl.TLSVersion
) -> None:
    demanding = server_context(authority.server(), clients=authority)
    demanding.maximum_version = newest
    foreign = Authority(new_directory / "foreign", "foreign")
    with demanding_server(demanding) as endpoint:
        refused = [
            tls_node(endpoint, authority),
            tls_node(endpoint, authority, foreign.client()),
            tls_node(endpoint, authority, authority.expired_client()),
        ]
        for node in refused:
            check(client, write(client, good, node)).assert_only({node.name: "endpoint_denied"})


def test_tls_on_one_side_only(client: Client, hosts: list[Host], good: Node, authority: Authority) -> None:
    with (
        remote_node(hosts[1].socket) as plain,
        remote_node(hosts[1].socket, tls=server_context(authority.server())) as secured,
    ):
        ours, theirs = tls_node(plain.endpoint, authority), Node(unique("bad"), secured.endpoint)
        result = check(client, write(client, good, ours, theirs))
    result.assert_only({ours.name: "not_buildkit", theirs.name: "endpoint_refused"})
    assert "TLS" in result.nodes[ours.name]["message"]
    assert "TLS" in result.nodes[theirs.name]["message"]


def test_packets_that_are_dropped(client: Client, tools: Tools, hosts: list[Host], new_directory: Path) -> None:
    with (
        faults.black_hole(tools, new_directory) as hole,
        remote_node(hosts[0].socket, new_directory / "good.sock") as listener,
    ):
        good = Node(unique("good"), listener.endpoint)
        bad = Node(unique("bad"), f"tcp://{faults.SWALLOWED_ADDRESS}:1234")
        result = check(client, "--probe-timeout=1s", write(client, good, bad), prefix=hole.command())
    result.assert_only({bad.name: "endpoint_timeout"})
    assert result.seconds < 1 + SLACK


def test_a_socket_without_permission(client: Client, hosts: list[Host], new_directory: Path) -> None:
    with remote_node(hosts[0].socket, new_directory / "private.sock") as listener:
        bad = Node(unique("bad"), listener.endpoint)
        builder = write(client, bad)
        # somebody who may read the store and run Python, and may not open the socket
        nobody = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        (new_directory / "private.sock").chmod(0)
        check(client, builder, prefix=nobody).assert_only({bad.name: "endpoint_denied"})


def test_scale(client: Client, hosts: list[Host]) -> None:
    """Many nodes at once: all of 127.0.0.0/8 is this machine."""
    with remote_node(hosts[0].socket, ("0.0.0.0", 0)) as listener:
        port = listener.endpoint.rpartition(":")[2]
        nodes = [Node(unique("n"), f"tcp://127.0.{i // 200}.{i % 200 + 1}:{port}") for i in range(300)]
        result = check(client, "--probe-timeout=60s", write(client, *nodes))
    result.assert_only({})
    assert len(result.nodes) == len(nodes)
