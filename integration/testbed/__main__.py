"""The testbed from a shell, for a demonstration or a bench.

python -m integration.testbed up /tmp/bed            # hosts, and a booted builder; prints how to use it
eval "$(python -m integration.testbed env /tmp/bed)"
python -m integration.testbed kill /tmp/bed h2       # and: start, freeze, thaw
python -m integration.testbed down /tmp/bed
"""

import argparse
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .builders import BUILDX_VERSIONS, Client, Node
from .errors import TestbedError
from .faults import freeze, thaw
from .hosts import NODE_CONTAINER, Host, fetched, load_images, start_hosts
from .image import CRASHING_NODE, WORKING_NODE, crashing_image, emulating_image, node_image
from .packages import install
from .processes import pids_of_container

BUILDER: Final = "fleet"


def packages(_arguments: argparse.Namespace) -> None:
    """Fill the cache: the toolchain and the images."""
    tools = install()
    for made in (fetched(tools, node_image(tools)), crashing_image(tools), emulating_image(tools)):
        print(made.tar)
    for name, path in {"dockerd": tools.dockerd, "docker": tools.docker, **tools.buildx}.items():
        print(f"{name}: {path}")


def up(arguments: argparse.Namespace) -> None:
    """Start hosts that outlive this program, and boot a builder with nodes on them in turn."""
    directory: Path = arguments.directory
    if directory.exists():
        raise TestbedError(f"{directory} exists: take it down, or name another")
    tools = install()
    images = {WORKING_NODE: fetched(tools, node_image(tools)), CRASHING_NODE: crashing_image(tools)}
    try:
        hosts = start_hosts(tools, directory, arguments.hosts, outlives=True)
        load_images(hosts, images)
        client = Client(tools, directory / "home", arguments.buildx)
        nodes = [
            Node(f"n{number + 1}", hosts[number % len(hosts)].endpoint, {"image": WORKING_NODE})
            for number in range(arguments.nodes)
        ]
        client.create_builder(BUILDER, "docker-container", nodes)
        if nodes:
            client.use(BUILDER)
            client.boot(BUILDER)
    except BaseException:
        down(arguments)
        raise
    env(arguments)


def env(arguments: argparse.Namespace) -> None:
    """Print the shell commands that let programs act as the testbed's user."""
    home = arguments.directory / "home"
    path = f"{home / 'bin'}:{install().docker.parent}"
    print(f"export DOCKER_CONFIG={shlex.quote(str(home / '.docker'))}")
    print(f"export PATH={shlex.quote(path)}:$PATH")


def down(arguments: argparse.Namespace) -> None:
    """End everything that runs in the directory, and remove it."""
    for host in _hosts(arguments):
        host.close()
    shutil.rmtree(arguments.directory)


def kill(arguments: argparse.Namespace) -> None:
    """Pull a host's plug."""
    _host(arguments).kill()


def start(arguments: argparse.Namespace) -> None:
    """Start a killed host again, with its nodes."""
    host = _host(arguments)
    host.start()
    for container in host.containers():
        host.await_node(container.removeprefix(NODE_CONTAINER))


def freeze_node(arguments: argparse.Namespace) -> None:
    """Stop a node's processes."""
    container = _node_container(arguments)
    freeze(lambda: pids_of_container(container))


def thaw_node(arguments: argparse.Namespace) -> None:
    """Let a frozen node's processes go on."""
    thaw(pids_of_container(_node_container(arguments)))


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(
        prog="python -m integration.testbed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(do: Callable[[argparse.Namespace], None], name: str) -> argparse.ArgumentParser:
        described = commands.add_parser(name, help=do.__doc__, description=do.__doc__)
        described.set_defaults(do=do)
        return described

    command(packages, "packages")
    upwards = command(up, "up")
    upwards.add_argument("--hosts", type=int, default=3, help="how many; %(default)s")
    upwards.add_argument("--nodes", type=int, default=3, help="how many; %(default)s")
    upwards.add_argument("--buildx", choices=BUILDX_VERSIONS, default="new", help="which version; %(default)s")
    for do, name in ((env, "env"), (down, "down"), (kill, "kill"), (start, "start")):
        command(do, name)
    for do, name in ((freeze_node, "freeze"), (thaw_node, "thaw")):
        command(do, name)
    for name, described in commands.choices.items():
        if name != "packages":
            described.add_argument("directory", type=lambda word: Path(word).absolute())
    for name, target in {"kill": "host", "start": "host", "freeze": "node", "thaw": "node"}.items():
        commands.choices[name].add_argument(target)

    arguments = parser.parse_args()
    try:
        arguments.do(arguments)
    except TestbedError as error:
        sys.exit(f"{parser.prog}: {error}")


def _hosts(arguments: argparse.Namespace) -> list[Host]:
    tools = install()
    return [Host.attach(tools, path) for path in sorted(arguments.directory.glob("h[0-9]*"))]


def _host(arguments: argparse.Namespace) -> Host:
    for host in _hosts(arguments):
        if host.name == arguments.host:
            return host
    raise TestbedError(f"no host {arguments.host} in {arguments.directory}")


def _node_container(arguments: argparse.Namespace) -> str:
    name = f"{NODE_CONTAINER}{arguments.node}"
    for host in _hosts(arguments):
        if host.is_running and name in host.containers():
            return host.container_id(name)
    raise TestbedError(f"no node {arguments.node} on a host in {arguments.directory}")


if __name__ == "__main__":
    main()
