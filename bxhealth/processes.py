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
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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


Runner = Callable[[Sequence[str], bytes, Sequence[int]], Finished]
"""Runs a command with some bytes as its standard input and some descriptors passed on, and waits for it."""


def by_python_on_whales(command: Sequence[str], content: bytes, descriptors: Sequence[int]) -> Finished:
    """Run the docker CLI as python-on-whales does, but for what its client does beside.

    Its own `buildx.inspect` and `buildx.build` run `buildx ls` as well, which contacts every node of every builder.
    """
    # late, since it takes longer to import than a healthy builder takes to check
    from python_on_whales import DockerClient, DockerException
    from python_on_whales.utils import run

    client = DockerClient(client_call=list(command[:_CLIENT_CALL]))
    try:
        words = [*client.client_config.docker_cmd, *command[_CLIENT_CALL:]]
        stdout, stderr = run(words, input=content, return_stderr=True, pass_fds=descriptors)
    except DockerException as error:
        return Finished(error.return_code, error.stdout or "", error.stderr or "")
    return Finished(0, stdout, stderr)


def directly(command: Sequence[str], content: bytes, descriptors: Sequence[int]) -> Finished:
    """Run the docker CLI without that import, which costs as much as a canary does."""
    done = subprocess.run(command, input=content, capture_output=True, pass_fds=descriptors)
    return Finished(
        done.returncode, done.stdout.decode(errors="replace").strip(), done.stderr.decode(errors="replace").strip()
    )


def docker(
    arguments: Sequence[str],
    deadline: Deadline,
    *,
    files: Mapping[str, bytes],
    environment: Mapping[str, str],
    give_up: Cancellation | None = None,
    runner: Runner = directly,
) -> Finished:
    """Run the docker CLI in a private directory that holds `files`.

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
    lifelines = [lifeline.fd for lifeline in (deadline.cancellation, give_up) if lifeline]
    # the time to wait for others is not the command's own: it would be blamed for it
    seconds = deadline.remaining()
    with _slot(deadline.cancellation):
        order = {
            "seconds": seconds,
            "lifelines": lifelines,
            "files": {name: content.decode("latin-1") for name, content in files.items()},
            "environment": dict(environment),
        }
        command = [sys.executable, "-I", "-S", str(_SUPERVISOR), "docker", *arguments]
        with deadline.cancellation.waiting() if deadline.cancellation else contextlib.nullcontext():
            finished = runner(command, json.dumps(order).encode(), lifelines)
    if deadline.cancellation and deadline.cancellation.cancelled:
        raise Cancelled
    if finished.status and any(words in finished.stderr for words in _NO_BUILDX):
        raise CliUnavailable("docker has no buildx: install its buildx plugin")
    return finished


@contextlib.contextmanager
def _slot(cancellation: Cancellation | None) -> Iterator[None]:
    """One of the places there are for docker CLIs: hundreds at once would take the machine's memory."""
    while not _SLOTS.acquire(timeout=_SLOT_SECONDS):
        if cancellation:
            cancellation.wait(0)  # raises if the run was called off
    try:
        yield
    finally:
        _SLOTS.release()


def run(command: Sequence[str], content: bytes, deadline: Deadline) -> Finished:
    """Run a program with `content` as its standard input.

    Raises:
        CliUnavailable: there is no such program.
        TimeoutError: it had not ended by `deadline`; it and its group have been ended.
        Cancelled: the run was called off; likewise.
    """
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    except OSError as error:
        raise CliUnavailable(f"`{command[0]}` cannot be run: {error.strerror}") from error
    try:
        stdout, stderr = _communicate(process, content, deadline)
    finally:
        _kill_group(process)
    return Finished(process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def _communicate(process: subprocess.Popen[bytes], content: bytes, deadline: Deadline) -> tuple[bytes, bytes]:
    unsent: bytes | None = content
    while True:
        try:
            return process.communicate(unsent, timeout=min(deadline.remaining(), _GLANCE_SECONDS))
        except subprocess.TimeoutExpired:
            unsent = None  # it goes on with what it was given first
            if deadline.expired:
                raise TimeoutError from None
            deadline.sleep(0)  # raises if the run was called off


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, with its group: once it is reaped, the number may be somebody else's."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()


_SLOTS = threading.BoundedSemaphore(max(16, 8 * (os.cpu_count() or 1)))
_SLOT_SECONDS = _GLANCE_SECONDS = 0.1
"""How often a wait that nothing can wake looks whether the run was called off."""
_CLIENT_CALL = 5
"""So many words call the docker CLI through the supervisor."""
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
