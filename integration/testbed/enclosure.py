"""Process trees that cannot leave anything behind: in namespaces of their own, which end with them."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import TestbedError
from .processes import children, is_alive, send_signal
from .waiting import wait_until


class Enclosure:
    """A program in its own pid and mount namespace, with all processes that it starts.

    The namespaces have no name: they and the mounts in them are gone with the last process, and all processes are
    gone with the first. Unless it `outlives` it, that is also when the thread that started it ends.

    Attributes:
        pid: the first process of the namespaces, as this machine counts, for `nsenter --target`.
    """

    def __init__(self, pid: int, process: "subprocess.Popen[bytes] | None" = None) -> None:
        """Take over one that runs: `pid` is its first process, `process` its parent if that is a child of ours."""
        self.pid = pid
        self._process = process

    @classmethod
    def start(
        cls,
        command: Sequence[str | Path],
        *,
        init: Path,
        env: Mapping[str, str],
        log: Path,
        prepare: str = ":",
        own_network: bool = True,
        outlives: bool = False,
    ) -> "Enclosure":
        """Start a command.

        Args:
            command: what to run.
            init: a static tini: the first process of a pid namespace must reap, which few programs do.
            env: the command's environment.
            log: a file that its output is appended to.
            prepare: shell commands to run inside before.
            own_network: whether it has a network namespace too, with nothing but what `prepare` makes.
            outlives: whether it runs on when the thread or program that started it ends.
        """
        # slave: what the machine unmounts must not stay mounted in here
        unshare = ["unshare", "--mount", "--propagation=slave", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if own_network:
            unshare.append("--net")  # not `ip netns`: it remounts /sys, which hides the control groups
        bound = [] if outlives else ["setpriv", "--pdeathsig=KILL"]
        shell = ["sh", "-e", "-c", f'{prepare}\nexec "$@"', "enclosure"]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*bound, *unshare, *shell, init, "--", *command],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until(lambda: bool(children(process.pid)) or process.poll() is not None, f"{command[0]} to start")
        first = children(process.pid)
        if not first:
            raise TestbedError(f"{command[0]} ended with {process.wait()}: {log.read_text(errors='replace')}")
        return cls(first[0], process)

    @property
    def is_running(self) -> bool:
        """Whether it was not killed and has not ended."""
        return is_alive(self.pid) if self._process is None else self._process.poll() is None

    def kill(self) -> None:
        """Kill all its processes, and return when they are gone. May be repeated."""
        if self.is_running:
            send_signal(self.pid, signal.SIGKILL)
        # a pid namespace's first process is gone only after all others are
        if self._process is not None:
            self._process.wait(timeout=30)
        else:
            wait_until(lambda: not is_alive(self.pid), f"the end of process {self.pid}")
