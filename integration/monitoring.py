"""Prometheus and what belongs to it, from Debian's packages: unpacked, so that no service starts."""

import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .testbed.listener import free_port
from .testbed.packages import Tools, debian
from .testbed.processes import run
from .testbed.waiting import wait_until

_PACKAGES: Final = (
    "prometheus",
    "prometheus-alertmanager",
    "prometheus-pushgateway",
    "prometheus-node-exporter",
    "prometheus-blackbox-exporter",
)


def programs(tools: Tools) -> Path:
    """The directory of their binaries."""
    return debian(tools.cache, *_PACKAGES) / "usr/bin"


def alertmanager(binaries: Path, config: Path, storage: Path, port: int) -> Sequence[str | Path]:
    """The command line of an Alertmanager that is a cluster of its own.

    Debian's looks for its templates below /usr/share, so it gets a /usr/share that has them, in a mount namespace.
    """
    shares = binaries.parent / "share"
    overlaid = 'mount -t overlay -o "lowerdir=$0:/usr/share" overlay /usr/share; exec "$@"'
    return [
        *("unshare", "--mount", "sh", "-ec", overlaid, shares),
        binaries / "prometheus-alertmanager",
        f"--config.file={config}",
        f"--storage.path={storage}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]


@contextlib.contextmanager
def started(
    command: Sequence[str | Path], log: Path, *, env: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A program that runs inside the `with`; its output goes to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def serving(
    command: Callable[[int], Sequence[str | Path]], log: Path, ready: str, *, env: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A program that serves HTTP on a free port, from when it answers at `ready`; yields its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with started(command(port), log, env=env) as process:

        def answers() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"{command(port)[0]} ended: {log.read_text(errors='replace')[-2000:]}")
            return get(f"{url}{ready}")[0] == 200

        wait_until(answers, f"{url}{ready}", seconds=60)
        yield url


def get(url: str, headers: Mapping[str, str] | None = None, seconds: float = 10.0) -> tuple[int, str]:
    """The status and text of an answer; 0 where there is none."""
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except OSError:
        return 0, ""


def get_json(url: str) -> Any:
    """The JSON value of an answer that has to be 200."""
    status, text = get(url)
    assert status == 200, (url, status, text)
    return json.loads(text)


def query(prometheus: str, expression: str) -> dict[str, float]:
    """The result of an instant query, by the label `node`, else `builder`, else nothing."""
    answer = get_json(f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    return {
        result["metric"].get("node") or result["metric"].get("builder", ""): float(result["value"][1])
        for result in answer["data"]["result"]
    }


@contextlib.contextmanager
def prometheus(binaries: Path, directory: Path, config: Mapping[str, object]) -> Iterator[str]:
    """A Prometheus with this configuration (JSON is YAML), in a new directory; yields its URL."""
    directory.mkdir()
    path = directory / "prometheus.yml"
    path.write_text(json.dumps(config))

    def command(port: int) -> Sequence[str | Path]:
        return [
            binaries / "prometheus",
            f"--config.file={path}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--web.console.templates={directory}",
            f"--web.console.libraries={directory}",
        ]

    with serving(command, directory / "log", "/-/ready") as url:
        yield url


@contextlib.contextmanager
def exporter(env: Mapping[str, str], log: Path, *words: str | Path) -> Iterator[str]:
    """`bxhealth serve` with these words, ready; yields its URL."""

    def command(port: int) -> Sequence[str | Path]:
        return [sys.executable, "-m", "bxhealth", "serve", f"--web.listen-address=127.0.0.1:{port}", *words]

    with serving(command, log, "/-/ready", env=env) as url:
        yield url


def promtool(binaries: Path, *words: str | Path, stdin: str | None = None) -> str:
    """What promtool says.

    Raises:
        TestbedError: it finds fault.
    """
    return run([binaries / "promtool", *words], stdin=stdin)
