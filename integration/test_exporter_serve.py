"""The exporter as a service: how it ends, what it holds on to, TLS and passwords, and probes of sick nodes."""

import base64
import contextlib
import http.client
import signal
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import bcrypt
import pytest

from .bxhealth_command import Running, leaving_no_exec, start
from .monitoring import get
from .testbed import faults
from .testbed.builders import Client, Node, unique
from .testbed.certs import Authority, Credential
from .testbed.hosts import NODE_CONTAINER, Host
from .testbed.listener import free_port
from .testbed.processes import command_line, held, pids_of_container
from .testbed.relay import remote_node
from .testbed.waiting import wait_until

END: Final = 2.0
_LOOKING: Final = 2.0


@contextlib.contextmanager
def serve(client: Client, *words: str) -> Iterator[tuple[Running, str]]:
    """`bxhealth serve WORDS` from when it answers, and its URL; the `with` ends it."""
    port = free_port()
    running = start(client, "serve", f"--web.listen-address=127.0.0.1:{port}", *words)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: get(f"{url}/-/healthy")[0] == 200, "the exporter answers")
        yield running, url
    finally:
        if running.process.poll() is None:
            running.signal(signal.SIGKILL)
            running.process.communicate()


def end(running: Running) -> None:
    """Send SIGTERM, and see that it ends in time and leaves nothing."""
    begun = time.monotonic()
    running.signal(signal.SIGTERM)
    running.process.wait(timeout=10)
    took = time.monotonic() - begun
    assert took < END
    # a supervisor that is not waited for removes its own directory
    wait_until(lambda: not running.children() and not running.temporary_files(), "nothing is left", seconds=5)
    assert running.finish().status == 0


def test_it_ends_while_a_frozen_node_is_asked(
    client: Client, hosts: list[Host], booted: tuple[str, list[Node]]
) -> None:
    name, nodes = booted
    with (
        leaving_no_exec(hosts),
        faults.frozen_node(hosts[1], nodes[1].name),
        serve(client, "--probe-timeout=60s", name) as (running, url),
    ):
        wait_until(lambda: _has_buildctl(hosts[1], nodes[1].name), "the frozen node is asked")
        assert get(f"{url}/metrics")[0] == 200
        assert get(f"{url}/-/ready")[0] == 503
        end(running)


def test_it_ends_while_buildx_starts_a_node(client: Client) -> None:
    with faults.silent_server() as listener:
        name = unique("builder")
        client.write_builder(name, "remote", [Node(unique("n"), listener.endpoint.replace("tcp://", "ssh://root@"))])
        with serve(client, name) as (running, _):
            wait_until(lambda: any("inspect" in words for words in running.children().values()), "buildx runs")
            end(running)


def test_it_ends_with_idle_connections_and_a_probe(
    client: Client, hosts: list[Host], booted: tuple[str, list[Node]]
) -> None:
    name, nodes = booted
    with (
        faults.frozen_node(hosts[1], nodes[1].name),
        serve(client, "--probe-timeout=60s", name) as (running, url),
        contextlib.ExitStack() as stack,
    ):
        for _ in range(3):
            connection = http.client.HTTPConnection(url.removeprefix("http://"))
            stack.callback(connection.close)
            connection.request("GET", "/metrics")
            connection.getresponse().read()
        probing = http.client.HTTPConnection(url.removeprefix("http://"))
        stack.callback(probing.close)
        probing.request("GET", f"/probe?target={name}&node={nodes[1].name}")
        wait_until(lambda: _has_buildctl(hosts[1], nodes[1].name), "the frozen node is asked")
        end(running)


def test_a_probe_of_a_sick_builder_answers_in_time_and_names_the_node(
    client: Client, hosts: list[Host], booted: tuple[str, list[Node]]
) -> None:
    name, nodes = booted
    with (
        faults.frozen_node(hosts[1], nodes[1].name),
        serve(client, "--interval=1h", "--probe-timeout=60s", name) as (_, url),
    ):
        begun = time.monotonic()
        status, text = get(f"{url}/probe?target={name}", {"X-Prometheus-Scrape-Timeout-Seconds": "3"})
        assert time.monotonic() - begun < 3
        assert get(f"{url}/probe?target=nope")[0] == 400
    assert status == 200
    assert "probe_success 0.0" in text
    labels = f'builder="{name}",driver="docker-container",node='
    assert f'bxhealth_node_up{{{labels}"{nodes[0].name}"}} 1.0' in text
    assert f'bxhealth_node_up{{{labels}"{nodes[1].name}"}} 0.0' in text


def test_it_holds_on_to_nothing(client: Client, hosts: list[Host]) -> None:
    name = unique("builder")
    with (
        remote_node(hosts[0].socket) as good,
        faults.closing_server() as closing,
        faults.web_server() as web,
        faults.refusing_address() as (host, port),
    ):
        endpoints = [good.endpoint, closing.endpoint, web.endpoint, f"tcp://{host}:{port}"]
        client.write_builder(name, "remote", [Node(f"n{i}", endpoint) for i, endpoint in enumerate(endpoints)])
        with serve(client, "--interval=20ms", "--no-bootstrap", name) as (running, url):

            def rounds() -> float:
                series = f'bxhealth_node_failures_total{{builder="{name}",cause="endpoint_refused",node="n3"}} '
                lines = [line for line in get(f"{url}/metrics")[1].splitlines() if line.startswith(series)]
                return float(lines[0].rpartition(" ")[2]) if lines else 0.0

            pid = running.process.pid
            wait_until(lambda: rounds() > 20, "the first rounds", seconds=60)
            before = held(pid, _LOOKING)
            wait_until(lambda: rounds() > 220, "200 more rounds", seconds=120)
            after = held(pid, _LOOKING)
            assert after.threads <= before.threads
            assert after.descriptors <= before.descriptors
            end(running)


@pytest.fixture
def authority(new_directory: Path) -> Authority:
    """An authority for the exporter's certificates and its clients'."""
    return Authority(new_directory / "certs")


def test_tls_and_passwords_change_without_a_restart(client: Client, new_directory: Path, authority: Authority) -> None:
    first, second, scraper = authority.server(), authority.server(days=30), authority.client()
    config = new_directory / "web.yml"
    _install(new_directory, first)
    config.write_text(_web_config("old"))
    port = free_port()
    url = f"https://127.0.0.1:{port}/metrics"
    client.write_builder("builder", "remote", [Node("n", "tcp://127.0.0.1:1")])
    words = (f"--web.config.file={config}", f"--web.listen-address=127.0.0.1:{port}", "builder")
    running = start(client, "serve", *words)
    try:
        wait_until(lambda: _scrape(url, authority, scraper, "old")[0] == 200, "it answers")
        assert _scrape(url, authority, scraper, "new")[0] == 401
        assert _scrape(url, authority, scraper, None)[0] == 401
        assert _scrape(url, authority, None, "old")[0] == 0
        before = _scrape(url, authority, scraper, "old")[1]

        config.write_text(_web_config("new"))
        assert _scrape(url, authority, scraper, "old")[0] == 401
        assert _scrape(url, authority, scraper, "new")[0] == 200

        _install(new_directory, second)
        status, after = _scrape(url, authority, scraper, "new")
        assert status == 200
        assert after != before

        config.write_text("tls_server_config: {")
        assert _scrape(url, authority, scraper, "new")[0] == 200
        config.write_text(_web_config("new", clients=False))
        assert _scrape(url, authority, None, "new")[0] == 200
    finally:
        running.signal(signal.SIGTERM)
        result = running.finish()
    assert "what was read before stays in force" in result.stderr


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("[::1]", False), ("0.0.0.0", True), ("", True)])
def test_a_plain_listener_for_everybody_warns(client: Client, host: str, warns: bool) -> None:
    port = free_port()
    running = start(client, "serve", f"--web.listen-address={host}:{port}")
    url = f"http://{host if host == '[::1]' else '127.0.0.1'}:{port}"
    wait_until(lambda: get(f"{url}/-/healthy")[0] == 200, "it answers")
    running.signal(signal.SIGTERM)
    assert ("warning: anybody" in running.finish().stderr) is warns


def _has_buildctl(host: Host, node: str) -> bool:
    container = host.container_id(f"{NODE_CONTAINER}{node}")
    return any("buildctl" in command_line(pid) for pid in pids_of_container(container))


def _install(directory: Path, credential: Credential) -> None:
    """Put a certificate and its key in place, as a renewal does."""
    for name, source in (("server.key", credential.key), ("server.crt", credential.certificate)):
        (directory / "new").write_bytes(source.read_bytes())
        (directory / "new").rename(directory / name)


def _web_config(password: str, *, clients: bool = True) -> str:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    demand = (
        "\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: certs/authority.pem" if clients else ""
    )
    return (
        f"tls_server_config:\n  cert_file: server.crt\n  key_file: server.key{demand}\n"
        f"basic_auth_users:\n  prometheus: {hashed}\n"
    )


def _scrape(
    url: str, authority: Authority, client: Credential | None, password: str | None
) -> tuple[int, bytes | None]:
    """The status, 0 where TLS refused, and the certificate that the exporter showed."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if client:
        context.load_cert_chain(client.certificate, client.key)
    headers = {}
    if password is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"prometheus:{password}".encode()).decode()
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context, timeout=5)
    try:
        connection.request("GET", parts.path, headers=headers)
        shown = connection.sock.getpeercert(binary_form=True)
        return connection.getresponse().status, shown
    except OSError:
        return 0, None
    finally:
        connection.close()
