"""Stands in front of the docker CLI and outlives bxhealth; a program of its own that imports nothing of ours.

It reads an order from its standard input, makes a private directory, runs the command in a session of its own
and waits for the first of: the command ends, the time is up, or a lifeline closes, which it does when bxhealth
calls the run off or dies. Then nothing of the command is left: no process, no directory.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STOPPED = 124
_GRACE_SECONDS = 0.4
_MAX_OUTPUT_BYTES = 4 * 1024 * 1024
_LONGEST_POLL_SECONDS = 3600.0


def main() -> int:
    """Do as ordered, and return the command's exit status, 128 + n for a signal, or `STOPPED`."""
    order: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    ends = time.monotonic() + order["seconds"]
    wakeup, wake = os.pipe()
    for end in (wakeup, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # what ends us must not end the clean-up
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: stopped.append(number))
    private = Path(tempfile.mkdtemp(prefix="bxhealth-"))
    try:
        for name, content in order["files"].items():
            path = private / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(content.encode("latin-1"))
            path.chmod(0o700 if content.startswith("\x7fELF") else 0o600)
        output = [(private / name).open("w+b") for name in ("stdout", "stderr")]
        environment = {key: value.replace("{private}", str(private)) for key, value in order["environment"].items()}
        child = subprocess.Popen(
            [argument.replace("{private}", str(private)) for argument in sys.argv[1:]],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            # files, since a process that fled into a session of its own would hold a pipe open for ever
            stdout=output[0],
            stderr=output[1],
            start_new_session=True,
        )
        try:
            return _wait(child, ends, order["lifelines"], wakeup, stopped)
        finally:
            _end_session(child)
            for file, stream in zip(output, (sys.stdout, sys.stderr), strict=True):
                file.seek(0)
                stream.buffer.write(file.read(_MAX_OUTPUT_BYTES).decode(errors="replace").encode())
                stream.flush()
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _wait(
    child: "subprocess.Popen[bytes]", ends: float, lifelines: "list[int]", wakeup: int, stopped: "list[int]"
) -> int:
    poller = select.poll()
    poller.register(wakeup, select.POLLIN)
    for lifeline in lifelines:
        poller.register(lifeline, select.POLLIN)
    while child.poll() is None:
        remaining = ends - time.monotonic()
        # poll() takes no more than some weeks
        ready = {fd for fd, _ in poller.poll(max(min(remaining, _LONGEST_POLL_SECONDS), 0) * 1000)}
        if remaining <= 0 or stopped or not ready.isdisjoint(lifelines):
            return STOPPED
        with contextlib.suppress(BlockingIOError):
            os.read(wakeup, 512)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _end_session(child: "subprocess.Popen[bytes]") -> None:
    """End all of the command's session: docker gives its plugins a process group of their own."""
    ends = time.monotonic() + _GRACE_SECONDS
    number = signal.SIGTERM
    while members := _members(child):
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(0.01)
        if time.monotonic() > ends:
            number = signal.SIGKILL


def _members(child: "subprocess.Popen[bytes]") -> "list[int]":
    if not Path("/proc/self/stat").exists():
        # elsewhere than on Linux: the command's own group is what can be known
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        return []
    child.poll()
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # proc(5): after the name come state, ppid, pgrp, session
        if int(fields[3]) == child.pid and fields[0] != "Z":
            members.append(int(stat.parent.name))
    return members


if __name__ == "__main__":
    sys.exit(main())
