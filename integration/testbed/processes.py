"""Starting processes, and finding those of a container or of a session in /proc."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import TestbedError

PROC = Path("/proc")


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    seconds: float = 120.0,
) -> str:
    """Run a command to its end and return its stdout.

    Raises:
        TestbedError: it failed or took longer than `seconds`; the message holds what it wrote.
    """
    shown = " ".join(str(word) for word in command)
    try:
        done = subprocess.run(
            command,
            env=env,
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TestbedError(f"{shown}: {error}") from error
    if done.returncode:
        raise TestbedError(f"{shown}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def all_pids() -> Iterator[int]:
    """The pids of the processes that run now."""
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def command_line(pid: int) -> str:
    """The words that a process was started with, or an empty text when it is gone or a zombie."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def pids_mentioning(text: str) -> dict[int, str]:
    """Pid and command line of every process whose command line holds `text`."""
    found = ((pid, command_line(pid)) for pid in all_pids())
    return {pid: words for pid, words in found if text in words}


def pids_of_container(container_id: str) -> list[int]:
    """The processes in a container, those of containers nested in it included.

    They are found by their control group, which holds the container's full id in every version of cgroups.
    `docker inspect` will not do: it gives pids as the container's own host counts them.
    """
    pids = []
    for pid in all_pids():
        with contextlib.suppress(OSError):
            if container_id in (PROC / str(pid) / "cgroup").read_text():
                pids.append(pid)
    return pids


def children(pid: int) -> list[int]:
    """The direct children of a process; none when it is gone."""
    try:
        return [int(word) for word in (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie, which only waits to be reaped, does not."""
    try:
        state = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def send_signal(pid: int, signal_number: int) -> None:
    """Signal a process; one that is already gone is as good as signalled."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)


class Held(NamedTuple):
    """What a process holds on to."""

    threads: int
    descriptors: int
    kibibytes: int


def held(pid: int, seconds: float) -> Held:
    """What a process keeps for `seconds`: threads and descriptors that stay all the time, and the least memory.

    The least count of them would not do: something is under way in every look at a busy process.
    """
    ends = time.monotonic() + seconds
    threads, descriptors, kibibytes = _threads(pid), _descriptors(pid), _resident_kibibytes(pid)
    while time.monotonic() < ends:
        threads &= _threads(pid)
        descriptors &= _descriptors(pid)
        kibibytes = min(kibibytes, _resident_kibibytes(pid))
        time.sleep(0.005)
    return Held(len(threads), len(descriptors), kibibytes)


def _resident_kibibytes(pid: int) -> int:
    """What a process has in memory."""
    status = (PROC / str(pid) / "status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def _threads(pid: int) -> set[str]:
    return {thread.name for thread in (PROC / str(pid) / "task").iterdir()}


def _descriptors(pid: int) -> set[tuple[str, str]]:
    """By number and what it is of, which the kernel numbers as well: numbers alone are used again at once."""
    found = set()
    for descriptor in (PROC / str(pid) / "fd").iterdir():
        with contextlib.suppress(OSError):
            found.add((descriptor.name, str(descriptor.readlink())))
    return found
