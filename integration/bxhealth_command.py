"""bxhealth as its users run it: a process of its own, whose every report is held to the schema."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from .testbed.builders import Client
from .testbed.hosts import Host
from .testbed.processes import PROC, all_pids, command_line, pids_of_container
from .testbed.waiting import wait_until

_MARK = "BXHEALTH_TEST_RUN"
_MOST_SECONDS = 150.0
_SCHEMA = json.loads((files("bxhealth.reporters") / "report.schema.json").read_text())
_VALIDATOR = Draft202012Validator(_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)


@dataclass(frozen=True)
class Result:
    """A run that ended.

    Attributes:
        report: the JSON report; empty where there was none on stdout.
        seconds: how long it took, wall time.
    """

    status: int
    report: Mapping[str, Any]
    stdout: str
    stderr: str
    seconds: float

    @property
    def nodes(self) -> dict[str, dict[str, Any]]:
        """The nodes of all builders in the report, by name."""
        return {node["name"]: node for builder in self.report["builders"] for node in builder["nodes"]}

    def checks(self, node: str, name: str) -> dict[str | None, dict[str, Any]]:
        """A node's results of one check, by target."""
        return {check["target"]: check for check in self.nodes[node]["checks"] if check["name"] == name}

    def assert_only(self, failing: Mapping[str, str]) -> None:
        """Exactly these nodes are unhealthy, each with this cause, and all others are healthy."""
        seen = {name: node["cause"] for name, node in self.nodes.items() if node["status"] != "healthy"}
        assert seen == dict(failing), self.stdout
        assert self.status == (1 if failing else 0), self.stderr


class Running:
    """A run that goes on."""

    def __init__(
        self, client: Client, words: Sequence[str], environment: Mapping[str, str], prefix: Sequence[str]
    ) -> None:
        self._mark = uuid.uuid4().hex
        self._temporary = Path(tempfile.mkdtemp(prefix="bxhealth-test-"))
        env = {**client.env, **environment, _MARK: self._mark, "TMPDIR": str(self._temporary)}
        self._begun = time.monotonic()
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "bxhealth", *words],
            env={key: value for key, value in env.items() if value},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def children(self) -> dict[int, str]:
        """The processes that the run has started, and those that these have started, that still are."""
        found = {}
        for pid in all_pids():
            with contextlib.suppress(OSError):
                if pid != self.process.pid and f"{_MARK}={self._mark}".encode() in _environment(pid):
                    found[pid] = command_line(pid)
        return found

    def temporary_files(self) -> list[str]:
        """What is in the run's directory for temporary files."""
        return sorted(path.name for path in self._temporary.iterdir())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to bxhealth alone."""
        self.process.send_signal(number)

    def finish(self) -> Result:
        """Wait for the end and see that nothing is left: no process, no file."""
        stdout, stderr = self.process.communicate(timeout=_MOST_SECONDS)
        seconds = time.monotonic() - self._begun
        left = self.children()
        assert not left, f"left behind: {left}"
        self.remove_directory()
        assert "Traceback" not in stderr, stderr
        report = {}
        if stdout.startswith("{"):
            report = json.loads(stdout)
            _VALIDATOR.validate(report)
        return Result(self.process.returncode, report, stdout, stderr, seconds)

    def remove_directory(self) -> None:
        """Remove the directory for temporary files, which has to be empty."""
        assert not self.temporary_files()
        self._temporary.rmdir()


def start(
    client: Client, *words: str, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> Running:
    """Start `bxhealth WORDS` as this user; `prefix` is a command that runs it."""
    return Running(client, words, environment or {}, prefix)


def run(
    client: Client, *words: str, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> Result:
    """Run `bxhealth WORDS` as this user, to its end."""
    return start(client, *words, environment=environment, prefix=prefix).finish()


def check(
    client: Client, *words: str, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> Result:
    """Run `bxhealth check --format json WORDS` as this user, to its end."""
    return run(client, "check", "--format=json", *words, environment=environment, prefix=prefix)


@contextlib.contextmanager
def leaving_no_exec(hosts: Iterable[Host]) -> Iterator[None]:
    """At the end of the `with`, no command that was executed in a node's container goes on."""
    yield
    for host in hosts:
        for container in host.containers() if host.is_running else ():
            wait_until(_has_no_exec(host, container), f"no exec is left in {container}", seconds=5)


def _has_no_exec(host: Host, container: str) -> Callable[[], bool]:
    def has_none() -> bool:
        pids = pids_of_container(host.container_id(container))
        return not any("buildctl" in command_line(pid) for pid in pids)

    return has_none


def _environment(pid: int) -> bytes:
    return (PROC / str(pid) / "environ").read_bytes() if pid != os.getpid() else b""
