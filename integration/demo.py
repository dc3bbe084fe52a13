"""`make demo`: a throw-away builder of three nodes, checked before and after one of its hosts dies."""

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

from .testbed.builders import Client, Node
from .testbed.hosts import fetched, load_images, start_hosts
from .testbed.image import WORKING_NODE, node_image
from .testbed.packages import install

BUILDER = "fleet"


def main() -> int:
    """Run it, and return 0 if both checks came to what they should."""
    say("Setting up: Docker Engine and buildx if this machine has none, and three Docker hosts")
    tools = install()
    image = fetched(tools, node_image(tools))
    with tempfile.TemporaryDirectory(prefix="bxh-") as name, contextlib.ExitStack() as closing:
        hosts = start_hosts(tools, Path(name), 3)
        for host in hosts:
            closing.callback(host.close)
        load_images(hosts, {WORKING_NODE: image})
        client = Client(tools, Path(name, "home"))
        nodes = [Node(f"n{k}", host.endpoint, {"image": WORKING_NODE}) for k, host in enumerate(hosts, 1)]
        client.create_builder(BUILDER, "docker-container", nodes)
        say("A builder of three nodes that have never been started")
        healthy = check(client)
        say("Killing the Docker host of n2")
        hosts[1].kill()
        unhealthy = check(client)
        say("What buildx itself says of that builder")
        told = command(client, [str(tools.docker), "buildx", "inspect", "--bootstrap", BUILDER], quiet=True)
        say("Cleaning up")
    good = (healthy, unhealthy) == (0, 1)
    print(f"\nbxhealth said {healthy} and {unhealthy} (0 and 1 expected); buildx said {told} of the dead host.")
    return 0 if good else 1


def check(client: Client) -> int:
    """Run `bxhealth check` on the builder and return its exit status."""
    return command(client, [sys.executable, "-m", "bxhealth", "check", BUILDER], shown=f"bxhealth check {BUILDER}")


def command(client: Client, words: list[str], *, shown: str = "", quiet: bool = False) -> int:
    """Run a command as the builder's owner, show it and its exit status, and return that."""
    print(f"$ {shown or ' '.join(['docker', *words[1:]])}", flush=True)
    output = subprocess.DEVNULL if quiet else None
    status = subprocess.run(words, env=client.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output).returncode
    print(f"exit status {status}", flush=True)
    return status


def say(what: str) -> None:
    """Announce a step."""
    print(f"\n== {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
