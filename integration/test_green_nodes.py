"""A green node can build: canary, platforms, disk, certificate and version on real builders."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bxhealth.canary import elf

from .bxhealth_command import check, leaving_no_exec, run
from .testbed.builders import BUILDX_VERSIONS, Client, Node, unique
from .testbed.certs import Authority, server_context
from .testbed.faults import exhaust_inodes, fill_disk, small_disk
from .testbed.hosts import Host
from .testbed.image import EMULATING_NODE, FOREIGN_PLATFORM, WORKING_NODE, emulating_image
from .testbed.packages import Tools, debian
from .testbed.relay import remote_node

both = pytest.mark.parametrize("buildx_version", BUILDX_VERSIONS, indirect=True)

QEMU = {
    "amd64": "x86_64",
    "386": "i386",
    "arm64": "aarch64",
    "arm": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "loong64": "loongarch64",
    "mips64le": "mips64el",
}
"""OCI's name of an architecture, and QEMU's."""


def one_node(client: Client, host: Host, *platforms: str, image: str = WORKING_NODE) -> tuple[str, Node]:
    """A builder of one node, not started, that claims these platforms."""
    builder, node = unique("builder"), Node(unique("node"), host.endpoint, {"image": image}, platforms)
    client.create_builder(builder, "docker-container", [node])
    return builder, node


@pytest.fixture
def emulating(tools: Tools, hosts: list[Host]) -> str:
    """An image on the first host whose BuildKit has an emulator for `FOREIGN_PLATFORM`."""
    hosts[0].load_image(emulating_image(tools), EMULATING_NODE)
    return EMULATING_NODE


def test_every_canary_exits_with_0(tools: Tools, new_directory: Path) -> None:
    """Under QEMU, which also tells a program for another architecture and one that crashes."""
    emulators = debian(tools.cache, "qemu-user-static") / "usr/bin"
    assert set(QEMU) == set(elf.ARCHITECTURES)
    for architecture, emulator in QEMU.items():
        canary = new_directory / architecture
        canary.write_bytes(elf.program(architecture))
        canary.chmod(0o755)
        assert canary.stat().st_size < 200
        qemu = emulators / f"qemu-{emulator}-static"
        assert subprocess.run([qemu, canary]).returncode == 0, architecture
        # cut off before the last instruction, which is the call, it goes on into nothing
        canary.write_bytes(elf.program(architecture)[:-4])
        assert subprocess.run([qemu, canary], stderr=subprocess.DEVNULL).returncode != 0, architecture
    if os.uname().machine == "x86_64":
        native = new_directory / "amd64"
        native.write_bytes(elf.program("amd64"))
        assert subprocess.run([native]).returncode == 0


@both
def test_a_claim_without_an_emulator(client: Client, hosts: list[Host]) -> None:
    builder, node = one_node(client, hosts[0], "linux/amd64", "linux/arm64")
    doubtful = check(client, builder)
    assert doubtful.status == 0
    assert doubtful.report["verdict"] == "degraded"
    assert doubtful.checks(node.name, "platforms")["linux/arm64"]["status"] == "warning"
    result = check(client, "--canary", builder)
    result.assert_only({node.name: "platform_broken"})
    canaries = result.checks(node.name, "canary")
    assert canaries["linux/amd64"]["status"] == "healthy"
    assert canaries["linux/arm64"]["cause"] == "platform_broken"
    assert "exec format error" in canaries["linux/arm64"]["message"]
    assert "linux/arm64" not in result.nodes[node.name]["platforms"]


@both
def test_a_claim_with_an_emulator(client: Client, hosts: list[Host], emulating: str) -> None:
    builder, node = one_node(client, hosts[0], "linux/amd64", FOREIGN_PLATFORM, image=emulating)
    result = check(client, "--canary", builder)
    result.assert_only({})
    assert result.report["verdict"] == "healthy"  # the canary has settled what the workers do not list
    canaries = result.checks(node.name, "canary")
    assert {target: canary["status"] for target, canary in canaries.items()} == {
        "linux/amd64": "healthy",
        FOREIGN_PLATFORM: "healthy",
    }
    assert "emulated" in canaries[FOREIGN_PLATFORM]["message"]
    assert "emulated" not in canaries["linux/amd64"]["message"]
    served = result.report["builders"][0]["platforms"][FOREIGN_PLATFORM]
    assert served["nodes"] == served["emulated_on"] == [node.name]
    required = f"--require-platform={FOREIGN_PLATFORM}/v8"
    assert check(client, "--canary", required, builder).status == 0
    native = check(client, "--canary", required, "--native", builder)
    assert native.status == 1
    assert native.report["builders"][0]["platforms"][FOREIGN_PLATFORM] == {
        **served,
        "healthy_nodes": 0,
        "required": True,
    }


@both
def test_named_canaries_and_what_they_leave(client: Client, hosts: list[Host]) -> None:
    builder, node = one_node(client, hosts[0])
    check(client, builder).assert_only({})
    before = sorted(path for path in client.config.rglob("*") if path.is_file())
    with leaving_no_exec(hosts):
        result = check(client, "--canary=linux/amd64,linux/386,linux/s390x", "--min-free-disk=0", builder)
    result.assert_only({})
    assert f"warning: canary linux/s390x was tried on no node of {builder}" in result.stderr
    canaries = result.checks(node.name, "canary")
    assert {target: canary["status"] for target, canary in canaries.items()} == {
        "linux/amd64": "healthy",
        "linux/386": "healthy",
        "linux/s390x": "skipped",  # neither declared nor offered
    }
    after = sorted(path for path in client.config.rglob("*") if path.is_file())
    assert after == before  # of the client's, nothing
    last = check(client, "--min-free-disk=0", builder).checks(node.name, "disk")[None]["measured"]
    assert last["cache_bytes"] < 1_000_000  # of the node's, nothing worth speaking of


def test_a_canary_on_a_context_and_on_a_remote_node(client: Client, hosts: list[Host]) -> None:
    client.create_context("elsewhere", hosts[0].endpoint)
    with remote_node(hosts[1].socket) as listener:
        node = Node(unique("remote"), listener.endpoint)
        client.create_builder("afar", "remote", [node])
        result = check(client, "--canary", "elsewhere", "afar")
    result.assert_only({})
    for name in ("elsewhere", node.name):
        assert result.checks(name, "canary")["linux/amd64"]["status"] == "healthy"


@pytest.mark.parametrize(("exhaust", "cause"), [(fill_disk, "disk_low"), (exhaust_inodes, "disk_low")])
def test_an_exhausted_disk(client: Client, hosts: list[Host], exhaust: Callable[[Host, str], None], cause: str) -> None:
    node = Node(unique("node"), hosts[0].endpoint, {"image": WORKING_NODE})
    builder = unique("builder")
    with small_disk(hosts[0], node.name):
        client.create_builder(builder, "docker-container", [node])
        roomy = check(client, "--min-free-disk=5%", "--canary", builder)
        roomy.assert_only({})
        measured = roomy.checks(node.name, "disk")[None]["measured"]
        assert measured["disk_total_bytes"] == 64 * 1024 * 1024
        exhaust(hosts[0], node.name)
        for threshold in ("5%", "1MiB"):
            full = check(client, f"--min-free-disk={threshold}", builder)
            full.assert_only({node.name: cause})
        unasked = check(client, builder)
        unasked.assert_only({})
        broken = check(client, "--canary", builder)
        broken.assert_only({node.name: "build_failed"})
        assert "no space left" in broken.nodes[node.name]["message"]


def test_disk_where_it_cannot_be_known(client: Client, hosts: list[Host]) -> None:
    client.create_context("elsewhere", hosts[0].endpoint)
    result = check(client, "--min-free-disk=10%", "elsewhere")
    result.assert_only({})
    disk = result.checks("elsewhere", "disk")[None]
    assert disk["status"] == "skipped"
    assert "docker-container" in disk["message"]
    assert disk["measured"]["cache_bytes"] >= disk["measured"]["cache_reclaimable_bytes"] >= 0


@pytest.mark.parametrize(("days", "cause"), [(3, "certificate_expiring"), (300, None)])
def test_days_of_a_certificate(
    client: Client, hosts: list[Host], new_directory: Path, days: int, cause: str | None
) -> None:
    authority = Authority(new_directory / "authority")
    credential = authority.server(days=days)
    with remote_node(hosts[0].socket, tls=server_context(credential)) as listener:
        node = Node(unique("node"), listener.endpoint, {"cacert": str(authority.certificate)})
        client.write_builder("secured", "remote", [node])
        always = check(client, "secured")
        always.assert_only({})
        certificate = always.checks(node.name, "certificate")[None]
        assert certificate["measured"] == {"certificate_not_after_timestamp_seconds": credential.not_after.timestamp()}
        asked = check(client, "--certificate-days=14", "secured")
        asked.assert_only({node.name: cause} if cause else {})


def test_a_version_that_names_no_release(client: Client, hosts: list[Host]) -> None:
    """What the engine's BuildKit calls itself, `v0.0.0+unknown`, can be compared with nothing, and that is told."""
    client.create_context("elsewhere", hosts[0].endpoint)
    client.create_context("further", hosts[1].endpoint)
    result = check(client, "--min-buildkit=v0.20", "--same-version", "elsewhere", "further")
    result.assert_only({})
    assert result.checks("elsewhere", "version")[None]["status"] == "skipped"


@pytest.fixture
def trio(client: Client, hosts: list[Host]) -> tuple[str, list[Node]]:
    """A running builder of three nodes; the third one declares another platform."""
    nodes = [
        Node(unique("node"), host.endpoint, {"image": WORKING_NODE}, platforms)
        for host, platforms in zip(hosts, [(), (), ("linux/s390x",)], strict=True)
    ]
    builder = unique("trio")
    client.create_builder(builder, "docker-container", nodes)
    check(client, builder)
    return builder, nodes


def test_all_platforms(
    client: Client, hosts: list[Host], trio: tuple[str, list[Node]], kill_host: Callable[[Host], None]
) -> None:
    builder, nodes = trio
    kill_host(hosts[1])
    kill_host(hosts[2])
    required = "--require-platform=linux/amd64,linux/386"
    assert check(client, builder).status == 1
    served = check(client, "--policy=all-platforms", required, "--exclude", nodes[2].name, builder)
    assert served.status == 0
    assert served.report["verdict"] == "degraded"
    assert served.report["builders"][0]["platforms"]["linux/amd64"]["nodes"] == [nodes[0].name]
    assert served.nodes[nodes[1].name]["cause"] == "endpoint_refused"  # tolerated, and not silent
    # the dead third node is the only one that declares linux/s390x
    unserved = check(client, "--policy=all-platforms", builder)
    assert unserved.status == 1
    assert unserved.report["builders"][0]["platforms"]["linux/s390x"]["nodes"] == []
    needed = check(
        client, "--policy=all-platforms", "--require-platform=linux/arm64", "--exclude", nodes[2].name, builder
    )
    assert needed.status == 1
    assert needed.report["builders"][0]["platforms"]["linux/arm64"] == {
        "healthy_nodes": 0,
        "required": True,
        "nodes": [],
        "emulated_on": [],
    }
    two = check(client, "--policy=all-platforms", "--min-nodes=2", "--exclude", nodes[2].name, builder)
    assert two.status == 1


def test_advisory_nodes_and_checks(
    client: Client, hosts: list[Host], trio: tuple[str, list[Node]], kill_host: Callable[[Host], None]
) -> None:
    builder, nodes = trio
    kill_host(hosts[1])
    result = check(client, "--advisory", nodes[1].name, builder)
    assert result.status == 0
    assert result.report["verdict"] == "degraded"
    assert result.nodes[nodes[1].name]["advisory"] is True
    assert result.nodes[nodes[1].name]["cause"] == "endpoint_refused"
    assert check(client, "--strict", "--advisory", nodes[1].name, builder).status == 1
    broken = ["--canary=linux/s390x", "--node", nodes[2].name, builder]
    assert check(client, *broken).status == 1
    demoted = check(client, "--advisory=canary", *broken)
    assert demoted.status == 0
    assert demoted.nodes[nodes[2].name]["status"] == "warning"
    assert run(client, "check", "--advisory=nobody", builder).status == 2
