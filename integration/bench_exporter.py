"""What the exporter costs: a scrape of 1,000 nodes, a round beside blackbox_exporter's, memory over 1,000 rounds.

All nodes are `remote` ones of one relay to a real BuildKit: every address of 127.0.0.0/8 is this machine.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from .monitoring import get, programs, serving
from .testbed.builders import Client, Node
from .testbed.faults import refusing_address
from .testbed.hosts import Host
from .testbed.packages import Tools, install
from .testbed.processes import PROC, held
from .testbed.waiting import wait_until

SCRAPED: Final = 1000
COMPARED: Final = 100
BUILDER: Final = "bench"
# what Prometheus 2 sends
HEADERS: Final = {
    "Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Bench:
    """A relay to a BuildKit, and a user who has a builder of its nodes."""

    def __init__(self, tools: Tools, host: Host, directory: Path) -> None:
        self.tools = tools
        self.client = Client(tools, directory / "home")
        self._host = host
        self._directory = directory
        self._logs = 0

    @property
    def log(self) -> Path:
        """A new file for a program's output."""
        self._logs += 1
        return self._directory / f"log-{self._logs}"

    @contextlib.contextmanager
    def relay(self) -> Iterator[int]:
        """A relay on all addresses, in a process of its own; yields its port."""
        command = [sys.executable, "-m", "integration.testbed.relay", "--engine", str(self._host.socket)]
        with subprocess.Popen(
            [*command, "--listen", "0.0.0.0:0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            try:
                yield int(process.stdout.readline().rpartition(":")[2])
            finally:
                process.terminate()

    @contextlib.contextmanager
    def exporter(self, *words: str) -> Iterator[tuple[str, int]]:
        """`bxhealth serve` of the builder, after its first round; yields its URL and its pid."""
        with serving(
            lambda port: [
                *(sys.executable, "-m", "bxhealth", "serve", f"--web.listen-address=127.0.0.1:{port}"),
                *("--no-bootstrap", *words, BUILDER),
            ],
            self.log,
            "/-/ready",
            env=self.client.env,
        ) as url:
            yield url, pid_of(url)


def addresses(count: int, port: int) -> list[str]:
    """So many addresses of this machine."""
    return [f"127.{1 + i // 62500}.{i // 250 % 250}.{1 + i % 250}:{port}" for i in range(count)]


def pid_of(url: str) -> int:
    """The process that listens at a URL's port."""
    port = urllib.parse.urlsplit(url).port
    inode = next(
        line.split()[9]
        for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    )
    for link in PROC.glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(link.readlink()) == f"socket:[{inode}]":
                return int(link.parts[2])
    raise AssertionError(f"nobody listens on {port}")


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process, user's and system's."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def value(url: str, series: str) -> float:
    """The sum of all series that begin so; 0 where there is none."""
    lines = [line for line in get(f"{url}/metrics")[1].splitlines() if line.startswith(series)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def scrape(bench: Bench, port: int, scrapes: int) -> str:
    """Scrapes of 1,000 nodes, evenly in time, while rounds go on."""
    nodes = [Node(f"n{i}", f"tcp://{address}") for i, address in enumerate(addresses(SCRAPED, port))]
    bench.client.write_builder(BUILDER, "remote", nodes)
    with bench.exporter("--interval=10s", "--probe-timeout=30s") as (url, pid):
        wait_until(lambda: value(url, "bxhealth_builder_nodes_up") == SCRAPED, "all nodes are up", seconds=120)
        begun_cpu, begun, taken, size = cpu_seconds(pid), time.monotonic(), [], 0
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        for number in range(scrapes):
            time.sleep(max(0.0, begun + number * 0.1 - time.monotonic()))
            before = time.monotonic()
            connection.request("GET", "/metrics", headers=HEADERS)
            answer = connection.getresponse()
            size = len(answer.read())
            taken.append(time.monotonic() - before)
            assert answer.status == 200
        cpu, wall = cpu_seconds(pid) - begun_cpu, time.monotonic() - begun
        series = sum(not line.startswith("#") for line in get(f"{url}/metrics")[1].splitlines())
    milliseconds = sorted(seconds * 1000 for seconds in taken)
    half, most = (milliseconds[int(len(milliseconds) * share)] for share in (0.5, 0.99))
    return (
        f"scrape of {SCRAPED} nodes ({series} series, {size // 1024} KiB compressed), {scrapes} in {wall:.0f} s, "
        f"rounds going on: p50 {half:.1f} ms, p99 {most:.1f} ms, slowest {milliseconds[-1]:.1f} ms; "
        f"exporter's CPU {cpu / wall * 100:.0f} %"
    )


def rounds_cpu(bench: Bench, port: int, rounds: int) -> str:
    """The CPU time of a round over the same 100 nodes, by bxhealth and by blackbox_exporter, in turn."""
    targets = addresses(COMPARED, port)
    nodes = [Node(f"n{i}", f"tcp://{address}") for i, address in enumerate(targets)]
    bench.client.write_builder(BUILDER, "remote", nodes)
    config = bench.log
    config.write_text(json.dumps({"modules": {"grpc": {"prober": "grpc", "timeout": "10s", "grpc": {"tls": False}}}}))
    blackbox = programs(bench.tools) / "prometheus-blackbox-exporter"
    with (
        bench.exporter("--interval=1h") as (ours, pid),
        serving(
            lambda at: [blackbox, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{at}"],
            bench.log,
            "/-/healthy",
        ) as theirs,
        concurrent.futures.ThreadPoolExecutor(64) as pool,
    ):
        other = pid_of(theirs)
        pairs: list[tuple[float, float]] = []
        for _ in range(rounds + 1):
            before = cpu_seconds(pid)
            status, text = get(f"{ours}/probe?target={BUILDER}", {"X-Prometheus-Scrape-Timeout-Seconds": "30"}, 40)
            assert status == 200
            assert f'bxhealth_builder_nodes_up{{builder="{BUILDER}"}} {COMPARED:.1f}' in text
            mine = cpu_seconds(pid) - before
            before = cpu_seconds(other)
            urls = [f"{theirs}/probe?{urllib.parse.urlencode({'target': t, 'module': 'grpc'})}" for t in targets]
            answers = list(pool.map(get, urls))
            assert all(status == 200 for status, _ in answers)
            succeeded = sum("probe_success 1" in text for _, text in answers)
            pairs.append((mine, cpu_seconds(other) - before))
    pairs = pairs[1:]  # the first one warms up
    mine, their = (statistics.mean(pair[side] for pair in pairs) for side in (0, 1))
    return (
        f"CPU of a round over {COMPARED} nodes, mean of {rounds}: bxhealth {mine * 1000:.0f} ms, blackbox_exporter "
        f"{their * 1000:.0f} ms ({succeeded} of its probes succeeded), ratio {mine / their:.2f}"
    )


def memory(bench: Bench, port: int, rounds: int) -> str:
    """The exporter's memory after so many rounds against that after 10, scraped now and then."""
    with refusing_address() as (host, refusing):
        # one node fails, so that its counter counts rounds
        nodes = [Node("refusing", f"tcp://{host}:{refusing}")]
        nodes += [Node(f"n{i}", f"tcp://{address}") for i, address in enumerate(addresses(COMPARED, port))]
        bench.client.write_builder(BUILDER, "remote", nodes)
        with bench.exporter("--interval=20ms") as (url, pid):

            def done(count: int) -> bool:
                return value(url, f'bxhealth_node_failures_total{{builder="{BUILDER}"') >= count

            wait_until(lambda: done(10), "10 rounds", seconds=120)
            before = held(pid, 5)
            wait_until(lambda: done(rounds), f"{rounds} rounds", seconds=3600)
            after = held(pid, 5)
    return (
        f"memory after {rounds} rounds over {COMPARED + 1} nodes: {after.kibibytes / 1024:.1f} MiB, after 10: "
        f"{before.kibibytes / 1024:.1f} MiB, growth {(after.kibibytes / before.kibibytes - 1) * 100:+.1f} %; "
        f"threads {after.threads} and {before.threads}, descriptors {after.descriptors} and {before.descriptors}"
    )


def main() -> None:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(prog="python -m integration.bench_exporter", description=__doc__)
    parser.add_argument("what", nargs="*", default=["scrape", "cpu", "memory"], help="scrape, cpu, memory; all")
    parser.add_argument("--rounds", type=int, default=1000, help="for memory; %(default)s")
    arguments = parser.parse_args()
    print(report(arguments.what, arguments.rounds))


def report(what: Sequence[str], rounds: int = 1000) -> str:
    """The figures that are asked for, a line each."""
    tools = install()
    with tempfile.TemporaryDirectory(prefix="bxh-") as name:
        host = Host(tools, Path(name) / "h1")
        host.start()
        try:
            bench = Bench(tools, host, Path(name))
            with bench.relay() as port:
                made = {
                    "scrape": lambda: scrape(bench, port, 600),
                    "cpu": lambda: rounds_cpu(bench, port, 20),
                    "memory": lambda: memory(bench, port, rounds),
                }
                return "\n".join(made[word]() for word in what)
        finally:
            host.close()


if __name__ == "__main__":
    main()
