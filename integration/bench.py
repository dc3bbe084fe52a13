"""`make bench`: bxhealth beside `docker buildx inspect --bootstrap` on the same builder, in turn, in one run.

Each figure is the median of several runs of whole processes, as the kernel accounts for them; a ratio is the median
of the ratios of neighbouring runs, so that a machine whose speed drifts does not decide it. The table goes into
README.md, between its marks, with `--write`.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .testbed.builders import Client, Fleet, Node, unique
from .testbed.faults import frozen_node
from .testbed.hosts import Host, fetched, load_images, start_hosts
from .testbed.image import WORKING_NODE, node_image
from .testbed.packages import Tools, install

README: Final = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"


@dataclass(frozen=True)
class Cost:
    """What one run of a command took."""

    status: int
    wall_seconds: float
    cpu_seconds: float
    peak_kibibytes: int


@dataclass(frozen=True)
class Row:
    """Two commands, measured in turn, under one fault."""

    what: str
    ours: Sequence[Cost]
    theirs: Sequence[Cost]

    def cells(self) -> list[str]:
        """The row of the table: statuses, medians of wall time, and the three ratios."""
        ratios = [
            statistics.median(measure(a) / measure(b) for a, b in zip(self.ours, self.theirs, strict=True))
            for measure in (_wall, _cpu, _memory)
        ]
        return [
            self.what,
            *(_statuses(costs) for costs in (self.theirs, self.ours)),
            *(f"{statistics.median(map(_wall, costs)):.2f} s" for costs in (self.theirs, self.ours)),
            *(f"{ratio:.2f}" for ratio in ratios),
        ]


def _wall(cost: Cost) -> float:
    return cost.wall_seconds


def _cpu(cost: Cost) -> float:
    return cost.cpu_seconds


def _memory(cost: Cost) -> float:
    return cost.peak_kibibytes


def _statuses(costs: Sequence[Cost]) -> str:
    return ", ".join(str(status) for status in sorted({cost.status for cost in costs}))


def measure(client: Client, words: Sequence[str]) -> Cost:
    """Run a command as this user and return what it cost, its children included."""
    begun = time.monotonic()
    process = subprocess.Popen(
        words, env=client.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begun
    return Cost(process.returncode, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def in_turn(client: Client, what: str, ours: Sequence[str], theirs: Sequence[str], runs: int) -> Row:
    """Both commands, one after the other, so many times, after a warm-up that does not count."""
    if runs > 1:
        measure(client, ours)
        measure(client, theirs)
    pairs = [(measure(client, ours), measure(client, theirs)) for _ in range(runs)]
    return Row(what, [pair[0] for pair in pairs], [pair[1] for pair in pairs])


def bxhealth(*words: str) -> list[str]:
    """The command line of a check."""
    return [sys.executable, "-m", "bxhealth", "check", *words]


@contextlib.contextmanager
def fleet(tools: Tools) -> Iterator[tuple[Fleet, list[Host]]]:
    """A running builder of three nodes on three hosts."""
    with tempfile.TemporaryDirectory(prefix="bxh-") as name, contextlib.ExitStack() as closing:
        hosts = start_hosts(tools, Path(name), 3)
        for host in hosts:
            closing.callback(host.close)
        load_images(hosts, {WORKING_NODE: fetched(tools, node_image(tools))})
        made = create(Client(tools, Path(name, "home")), hosts)
        made.client.boot(made.builder)
        yield made, hosts


def create(client: Client, hosts: Sequence[Host]) -> Fleet:
    """A builder of a node on each of these hosts, not started."""
    nodes = [Node(unique("n"), host.endpoint, {"image": WORKING_NODE}) for host in hosts]
    builder = unique("fleet")
    client.create_builder(builder, "docker-container", nodes)
    return Fleet(client, builder, nodes)


def against_buildx(made: Fleet, hosts: list[Host], docker: str, runs: int, slow_runs: int) -> list[Row]:
    """The rows of the main table."""
    client, name = made.client, made.builder
    buildx = [docker, "buildx", "inspect", "--bootstrap", name]
    rows = [in_turn(client, "all nodes healthy", bxhealth(name), buildx, runs)]
    with frozen_node(hosts[1], made.nodes[1].name):
        rows.append(in_turn(client, "one node frozen", bxhealth(name), buildx, slow_runs))
        quick = bxhealth("--probe-timeout=2s", name)
        rows.append(in_turn(client, "the same, `--probe-timeout 2s`", quick, buildx, slow_runs))
    with hosts[1].killed():
        rows.insert(1, in_turn(client, "one host dead", bxhealth(name), buildx, runs))
    return rows


def canary(made: Fleet, docker: str, runs: int) -> Row:
    """The canary on one node beside the same bare build."""
    from bxhealth.canary import build, elf

    context = made.client.home / "canary"
    context.mkdir()
    (context / "Dockerfile").write_bytes(build.DOCKERFILE)
    (context / "canary").write_bytes(elf.program("amd64"))
    (context / "canary").chmod(0o755)
    name, node = made.builder, made.nodes[0].name
    options = ["--platform=linux/amd64", *build.OPTIONS]
    # one node alone, as for the canary: else buildx would ask all three
    made.client.write_builder("alone", "docker-container", made.nodes[:1])
    bare = [docker, "buildx", "build", "--builder=alone", *options, str(context)]
    ours = bxhealth("--canary=linux/amd64", "--node", node, name)
    return in_turn(made.client, "a canary on one node, beside the bare build", ours, bare, runs)


def cold(made: Fleet, hosts: list[Host], runs: int) -> list[tuple[str, float]]:
    """Median seconds to start one cold node, and three at once."""

    def once(count: int) -> float:
        chosen = create(made.client, hosts[:count])
        cost = measure(made.client, bxhealth(chosen.builder))
        assert cost.status == 0
        made.client.remove_builder(chosen.builder)
        return cost.wall_seconds

    pairs = [(once(1), once(3)) for _ in range(runs)]
    ratio = statistics.median(three / one for one, three in pairs)
    return [
        ("starting one cold node", statistics.median(one for one, _ in pairs)),
        ("starting three cold nodes", statistics.median(three for _, three in pairs)),
        ("ratio", ratio),
    ]


def table(rows: Sequence[Row], colds: Sequence[tuple[str, float]]) -> str:
    """The figures as Markdown."""
    head = ["builder of three nodes", "buildx exit", "bxhealth exit", "buildx", "bxhealth", "wall", "CPU", "memory"]
    lines = [head, ["---"] * len(head), *(row.cells() for row in rows)]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    one, three, ratio = (value for _, value in colds)
    return (
        f"{text}\n\nThe last three columns are ratios, bxhealth to buildx. "
        f"Starting nodes: one cold node {one:.2f} s, three at once {three:.2f} s, ratio {ratio:.2f}.\n"
    )


def write(text: str) -> None:
    """Put the table between the marks of the README."""
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def main() -> None:
    """Measure and print; with `--write`, into the README as well."""
    parser = argparse.ArgumentParser(prog="python -m integration.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="of each command; %(default)s")
    parser.add_argument("--slow-runs", type=int, default=3, help="where buildx takes 20 s; %(default)s")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    arguments = parser.parse_args()
    tools = install()
    with fleet(tools) as (made, hosts):
        docker = str(tools.docker)
        rows = against_buildx(made, hosts, docker, arguments.runs, arguments.slow_runs)
        for host, node in zip(hosts, made.nodes, strict=True):
            host.await_node(node.name)
        rows.append(canary(made, docker, arguments.runs))
        text = table(rows, cold(made, hosts, 3))
    print(text)
    if arguments.write:
        write(text)


if __name__ == "__main__":
    main()
