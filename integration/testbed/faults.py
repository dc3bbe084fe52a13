"""What goes wrong in a fleet: other servers, processes that hang, networks that swallow, full disks.

A dead host is `Host.kill`, a crash loop is `image.crashing_image`, a bad certificate comes from `certs`.
"""

import asyncio
import contextlib
import random
import shlex
import signal
import socket
import ssl
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .enclosure import Enclosure
from .errors import TestbedError
from .hosts import NODE_CONTAINER, Host
from .listener import LOOPBACK, Address, Listener
from .packages import Tools
from .processes import pids_of_container, send_signal
from .waiting import wait_until

# An address of the range kept for documentation: nobody's, and dropped in the black hole.
SWALLOWED_ADDRESS: Final = "198.51.100.7"
# A node's state, in its container (docker/buildx, driver/docker-container/driver.go).
STATE_DIRECTORY: Final = "/var/lib/buildkit"


def silent_server(at: Address = LOOPBACK, tls: ssl.SSLContext | None = None) -> Listener:
    """A server that accepts and never reads nor writes. With TLS, it does so after the handshake."""

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        if isinstance(transport, asyncio.ReadTransport):
            transport.pause_reading()
        await asyncio.get_running_loop().create_future()

    return Listener(handle, at, tls)


def closing_server(at: Address = LOOPBACK, tls: ssl.SSLContext | None = None) -> Listener:
    """A server that accepts and closes at once."""

    async def handle(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        return

    return Listener(handle, at, tls)


def babbling_server(at: Address = LOOPBACK, tls: ssl.SSLContext | None = None) -> Listener:
    """A server that sends noise, the same each time, and keeps the connection."""
    noise = random.Random(0).randbytes(4096)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(noise)
        while await reader.read(4096):
            pass

    return Listener(handle, at, tls)


def web_server(at: Address = LOOPBACK, tls: ssl.SSLContext | None = None) -> Listener:
    """A web server that knows HTTP/1.1 only, where BuildKit should be."""
    page = b"<html><body><h1>It works!</h1></body></html>\n"
    head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n\r\n"

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + page)
        await writer.drain()
        # not closed under the client's hands: it could lose the page to a reset
        while await reader.read(4096):
            pass

    return Listener(handle, at, tls)


@contextlib.contextmanager
def refusing_address() -> Iterator[tuple[str, int]]:
    """An address that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as bound:  # bound and not listening
        bound.bind(LOOPBACK)
        yield bound.getsockname()


@contextlib.contextmanager
def frozen_node(host: Host, node: str) -> Iterator[None]:
    """A docker-container node whose processes are stopped inside the `with`. Later ones, an `exec`'s, run."""
    container = host.container_id(f"{NODE_CONTAINER}{node}")
    with _frozen(lambda: pids_of_container(container)):
        yield


@contextlib.contextmanager
def frozen_engine(host: Host) -> Iterator[None]:
    """A host whose engine accepts connections and does nothing, inside the `with`."""
    with _frozen(lambda: [host.engine_pid]):
        yield


def freeze(find: Callable[[], Collection[int]]) -> set[int]:
    """Stop the processes that `find` finds, and return them for `thaw`.

    Raises:
        TestbedError: it finds none.
    """
    stopped: set[int] = set()
    # again, for what was started while its parent was not yet stopped
    while running := set(find()) - stopped:
        for pid in running:
            send_signal(pid, signal.SIGSTOP)
        stopped |= running
    if not stopped:
        raise TestbedError("no process to freeze")
    return stopped


def thaw(pids: Collection[int]) -> None:
    """Let stopped processes go on."""
    for pid in pids:
        send_signal(pid, signal.SIGCONT)


@contextlib.contextmanager
def small_disk(host: Host, node: str, *, mebibytes: int = 64, inodes: int = 4096) -> Iterator[None]:
    """Give a docker-container node that is still to be booted a small file system for its state.

    The node must be gone at the end of the `with`; its state then goes too.
    """
    volume = f"{NODE_CONTAINER}{node}_state"
    limits = f"o=size={mebibytes}m,nr_inodes={inodes}"
    host.docker("volume", "create", "--opt=type=tmpfs", "--opt=device=tmpfs", f"--opt={limits}", volume)
    try:
        yield
    finally:
        host.remove_nodes([node])


def fill_disk(host: Host, node: str) -> None:
    """Leave no free byte where a docker-container node on a `small_disk` keeps its state."""
    _exhaust(host, node, f"cat /dev/zero >{STATE_DIRECTORY}/filler")


def exhaust_inodes(host: Host, node: str) -> None:
    """Leave no free inode where a docker-container node on a `small_disk` keeps its state."""
    _exhaust(host, node, f"i=0; while : >{STATE_DIRECTORY}/filler-$i; do i=$((i+1)); done")


@dataclass(frozen=True)
class BlackHole:
    """A network in which whatever is sent to `SWALLOWED_ADDRESS` is lost."""

    pid: int
    """A process in the network's namespace."""

    def command(self, *words: str) -> list[str]:
        """The command line that runs a command inside. It sees the machine's files, so unix sockets work."""
        return ["nsenter", "--net", "--target", str(self.pid), *words]


@contextlib.contextmanager
def black_hole(tools: Tools, directory: Path) -> Iterator[BlackHole]:
    """A black hole, which logs into `directory`."""
    # no dummy interface: not every kernel has one
    prepare = f"""
        ip link set lo up
        ip addr add {SWALLOWED_ADDRESS}/32 dev lo
        iptables --append INPUT --destination {SWALLOWED_ADDRESS} --jump DROP
        : >{shlex.quote(str(directory / "hole-is-dug"))}"""
    enclosure = Enclosure.start(
        ["sleep", "infinity"], init=tools.init, env=tools.env(), log=directory / "black-hole.log", prepare=prepare
    )
    try:
        wait_until((directory / "hole-is-dug").exists, "the black hole")
        yield BlackHole(enclosure.pid)
    finally:
        enclosure.kill()


@contextlib.contextmanager
def _frozen(find: Callable[[], Collection[int]]) -> Iterator[None]:
    stopped = freeze(find)
    try:
        yield
    finally:
        thaw(stopped)


def _exhaust(host: Host, node: str, script: str) -> None:
    """Run a script in a node until it fails, which must be on a disk that is the node's alone."""
    container = f"{NODE_CONTAINER}{node}"
    if "tmpfs" not in host.docker("volume", "inspect", f"{container}_state"):
        raise TestbedError(f"{node} is not on a small disk: this would fill the machine's")
    with contextlib.suppress(TestbedError):  # that there is no space left is the point
        host.docker("exec", container, "sh", "-c", script)
