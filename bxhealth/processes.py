"""The one module that starts processes: each in a session of its own, and ended with all that it started."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bxhealth.deadline import Cancellation, Deadline
from bxhealth.errors import Cancelled, CliUnavailable

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
STOPPED = 124
"""The supervisor's exit status when it ended the command, as of coreutils' `timeout`."""


@dataclass(frozen=True)
class Finished:
    """A process that ended: its exit status and what it wrote."""

    status: int
    stdout: str
    stderr: str


def docker(
    arguments: Sequence[str],
    deadline: Deadline,
    *,
    files: Mapping[str, bytes],
    environment: Mapping[str, str],
    give_up: Cancellation | None = None,
) -> Finished:
    """Run the docker CLI through python-on-whales, in a private directory that holds `files`.

    The directory has mode 0700 and is removed in every case, even when this process is killed: it belongs to
    the supervisor that stands in front of the CLI. In `arguments` and `environment`, `{private}` stands for it.

    Returns:
        What became of it; status `STOPPED` if it took longer than `deadline`, or `give_up` was cancelled.

    Raises:
        CliUnavailable: there is no docker CLI.
        Cancelled: the run was called off.
    """
    if shutil.which("docker") is None:
        raise CliUnavailable("there is no `docker` on the PATH: install the Docker CLI with its buildx plugin")
    # late, since it takes longer to import than a healthy builder takes to check
    from python_on_whales import DockerClient, DockerException
    from python_on_whales.utils import run

    client = DockerClient(client_call=[sys.executable, "-I", "-S", str(_SUPERVISOR), "docker"])
    lifelines = [lifeline.fd for lifeline in (deadline.cancellation, give_up) if lifeline]
    order = {
        "seconds": deadline.remaining(),
        "lifelines": lifelines,
        "files": {name: content.decode("latin-1") for name, content in files.items()},
        "environment": dict(environment),
    }
    command = [*client.client_config.docker_cmd, *arguments]
    try:
        # `run`, since the client's own inspect and build contact every node of every builder
        stdout, stderr = run(
            command,
            input=json.dumps(order).encode(),
            return_stderr=True,
            pass_fds=lifelines,
        )
        finished = Finished(0, stdout, stderr)
    except DockerException as error:
        finished = Finished(error.return_code, error.stdout or "", error.stderr or "")
    if deadline.cancellation and deadline.cancellation.cancelled:
        raise Cancelled
    if finished.status and any(words in finished.stderr for words in _NO_BUILDX):
        raise CliUnavailable("docker has no buildx: install its buildx plugin")
    return finished


def run(command: Sequence[str], content: bytes, deadline: Deadline) -> Finished:
    """Run a program with `content` as its standard input.

    Raises:
        CliUnavailable: there is no such program.
        TimeoutError: it had not ended by `deadline`; it and its group have been ended.
    """
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    except OSError as error:
        raise CliUnavailable(f"`{command[0]}` cannot be run: {error.strerror}") from error
    try:
        stdout, stderr = process.communicate(content, timeout=deadline.remaining())
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    finally:
        if process.poll() is None:
            _kill_group(process)
    return Finished(process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()


_NO_BUILDX = ("is not a docker command", "unknown command: docker buildx", "Usage:  docker [OPTIONS] COMMAND")
"""What docker says without the plugin: of the command or, where that has options, of them, with its own usage."""


class Pipe:
    """A process whose standard input and output are one socket."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it.

        Raises:
            CliUnavailable: there is no such program.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                ours.close()
                raise CliUnavailable(f"there is no `{command[0]}` on the PATH: install it") from error
        self.socket = ours

    def wait(self, deadline: Deadline) -> tuple[int, str]:
        """The exit status and what was written to stderr, once the process has ended.

        Raises:
            TimeoutError: it had not by `deadline`.
        """
        try:
            _, stderr = self._process.communicate(timeout=deadline.remaining())
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        return self._process.returncode, stderr.decode(errors="replace")

    def close(self) -> None:
        """End the process with its group; a second call does nothing."""
        self.socket.close()
        _kill_group(self._process)
