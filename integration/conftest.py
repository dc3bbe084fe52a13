"""The testbed as fixtures: hosts for the session, a fresh user for each test, and nothing left of either."""

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from .bxhealth_command import leaving_no_exec
from .testbed.builders import BuildxVersion, Client, Fleet, Node, nodes_on, unique
from .testbed.hosts import Host, fetched, load_images, start_hosts
from .testbed.image import CRASHING_NODE, WORKING_NODE, crashing_image, node_image
from .testbed.packages import Tools, install
from .testbed.processes import pids_mentioning

HOST_COUNT: Final = 3


@pytest.fixture(scope="session")
def tools() -> Tools:
    """The toolchain, from the cache or made now."""
    return install()


@pytest.fixture(scope="session")
def session_directory() -> Iterator[Path]:
    """The directory that holds everything of this session; at its end, no process may speak of it."""
    # not pytest's tmp_path: its length leaves no room for a unix socket's name
    directory = Path(tempfile.mkdtemp(prefix="bxh-"))
    yield directory
    left = pids_mentioning(str(directory))
    assert not left, f"processes outlived the session: {left}"
    directory.rmdir()


@pytest.fixture(scope="session")
def hosts(tools: Tools, session_directory: Path) -> Iterator[list[Host]]:
    """Three Docker hosts with the images `WORKING_NODE` and `CRASHING_NODE`."""
    images = {WORKING_NODE: fetched(tools, node_image(tools)), CRASHING_NODE: crashing_image(tools)}
    started = start_hosts(tools, session_directory, HOST_COUNT)
    with contextlib.ExitStack() as closing:
        for host in started:
            closing.callback(host.close)
        load_images(started, images)
        yield started


@pytest.fixture
def kill_host(hosts: list[Host]) -> Iterator[Callable[[Host], None]]:
    """Pull a host's plug; every host runs again after the test."""
    yield Host.kill
    _revive(hosts)


@pytest.fixture
def buildx_version(request: pytest.FixtureRequest) -> BuildxVersion:
    """The buildx that `client` has: `new`, or by indirect parametrisation one of `BUILDX_VERSIONS`."""
    version: BuildxVersion = getattr(request, "param", "new")
    return version


@pytest.fixture
def client(tools: Tools, hosts: list[Host], buildx_version: BuildxVersion, new_directory: Path) -> Iterator[Client]:
    """A fresh user with no builder; the nodes that the test makes as this user are removed after it."""
    user = Client(tools, new_directory / "home", buildx_version)
    yield user
    _revive(hosts)
    user.close(hosts)


@pytest.fixture
def new_directory(session_directory: Path, _numbers: Iterator[int]) -> Iterator[Path]:
    """A private directory with a path that is short enough for unix sockets."""
    with tempfile.TemporaryDirectory(prefix=f"t{next(_numbers)}-", dir=session_directory) as name:
        yield Path(name)


@pytest.fixture
def cold(client: Client, hosts: list[Host]) -> tuple[str, list[Node]]:
    """A builder that was created and never started, and its nodes, one on each host."""
    builder, nodes = unique("builder"), nodes_on(hosts, WORKING_NODE)
    client.create_builder(builder, "docker-container", nodes)
    return builder, nodes


@pytest.fixture
def booted(client: Client, hosts: list[Host], cold: tuple[str, list[Node]]) -> tuple[str, list[Node]]:
    """The same, started."""
    builder, nodes = cold
    with leaving_no_exec(hosts):  # buildx's own, too, or a frozen node would keep them
        client.boot(builder)
    for host, node in zip(hosts, nodes, strict=True):
        host.await_node(node.name)
    return cold


@pytest.fixture(scope="session")
def fleet(tools: Tools, hosts: list[Host], session_directory: Path) -> Iterator[Fleet]:
    """A booted builder with a docker-container node on each host, for tests that leave it as they find it."""
    user = Client(tools, session_directory / "fleet")
    made = Fleet(user, unique("fleet"), nodes_on(hosts, WORKING_NODE))
    try:
        user.create_builder(made.builder, "docker-container", made.nodes)
        user.boot(made.builder)
        yield made
    finally:
        _revive(hosts)
        user.close(hosts)


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count(1)


def _revive(hosts: list[Host]) -> None:
    for host in hosts:
        if not host.is_running:
            host.restart()
