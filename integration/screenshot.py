"""`docs/exporter-page.png`: the exporter's page while a host of a real builder is dead, as Chromium shows it."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .browser import chromium
from .monitoring import exporter, get
from .testbed.builders import Client, Node
from .testbed.hosts import fetched, load_images, start_hosts
from .testbed.image import WORKING_NODE, node_image
from .testbed.packages import install
from .testbed.waiting import wait_until

PICTURE: Final = Path(__file__).parents[1] / "docs" / "exporter-page.png"
BUILDER: Final = "fleet"


def main() -> None:
    """Take the picture."""
    parser = argparse.ArgumentParser(prog="python -m integration.screenshot", description=__doc__)
    parser.add_argument("--output", type=Path, default=PICTURE, help="%(default)s")
    output = parser.parse_args().output
    tools = install()
    with tempfile.TemporaryDirectory(prefix="bxh-") as name:
        directory = Path(name)
        hosts = start_hosts(tools, directory, 3)
        try:
            load_images(hosts, {WORKING_NODE: fetched(tools, node_image(tools))})
            client = Client(tools, directory / "home")
            options = {"image": WORKING_NODE}
            nodes = [Node(f"node{i}", host.endpoint, options) for i, host in enumerate(hosts, 1)]
            client.create_builder(BUILDER, "docker-container", nodes)
            client.boot(BUILDER)
            _take(client, hosts[1].kill, directory, output)
        finally:
            for host in hosts:
                host.close()


def _take(client: Client, fault: Callable[[], None], directory: Path, output: Path) -> None:
    with exporter(client.env, directory / "log", "--interval=500ms", BUILDER) as url:

        def checks(state: str) -> int:
            return get(f"{url}/")[1].count(f'<i class="{state}"')

        wait_until(lambda: checks("healthy") >= 60, "a history", seconds=60)
        fault()
        wait_until(lambda: checks("unhealthy") >= 6, "a fault", seconds=60)
        with chromium(directory, width=1100, height=900) as browser:
            browser.get(f"{url}/")
            assert browser.save_screenshot(str(output))


if __name__ == "__main__":
    main()
