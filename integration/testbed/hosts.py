"""Docker hosts: private engines on this machine, each with its own network, mounts and process ids.

To kill a host is to pull its plug: the engine, its containerd and every container are gone at once, their mounts
too, and the socket remains as a file that refuses connections.
"""

import contextlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal

from . import cgroups, engine
from .cache import digest, made_once
from .enclosure import Enclosure
from .errors import TestbedError
from .image import Image
from .packages import Tools
from .processes import children, command_line, run
from .waiting import wait_until

# The host's own network, so the same for every host; of the range that is kept for documentation.
_BRIDGE: Final = "192.0.2.1/24"
# containerd's shims, the engine and iptables leave sockets and locks in /run, wherever they are told to keep their
# own. A host on the machine's network needs the machine's /run, where its resolver may be configured.
_OWN_RUN: Final = """
    ip link set lo up
    mount -t tmpfs tmpfs /run"""
# The longest path that the engine appends is of a socket of containerd, and a socket's path is limited to 107.
_LONGEST_DIRECTORY: Final = 107 - len("/exec/containerd/containerd.sock.ttrpc")
# How buildx starts the names of a node's container and state (docker/buildx, driver/docker-container/driver.go).
NODE_CONTAINER: Final = "buildx_buildkit_"
_IMPORT_CHANGES: Final = ("--change", 'ENTRYPOINT ["buildkitd"]', "--change", "ENV PATH=/usr/bin:/bin")


class Host:
    """A Docker host. Start it from a thread that lasts: unless `outlives`, the host dies with that thread.

    Attributes:
        directory: everything of this host; its path is short (sockets are in it) and not in /run.
        socket: the engine's unix socket.
    """

    def __init__(
        self,
        tools: Tools,
        directory: Path,
        *,
        network: Literal["private", "machine"] = "private",
        outlives: bool = False,
    ) -> None:
        """Describe a host; nothing runs before `start`.

        Args:
            tools: the toolchain.
            directory: made on start. One that holds the data of a host goes on with it.
            network: a network namespace of its own with only loopback, or the machine's (to pull images).
            outlives: whether the host runs on when this program ends. `attach` finds it again.
        """
        self.tools = tools
        self.directory = directory
        self.socket = directory / "docker.sock"
        self.log = directory / "log"
        self._network = network
        self._outlives = outlives
        self._enclosure: Enclosure | None = None
        self._containers: set[str] = set()

    @classmethod
    def attach(cls, tools: Tools, directory: Path) -> "Host":
        """The host that another program started in `directory` with `outlives`, to use and to close it."""
        host = cls(tools, directory, outlives=True)
        with contextlib.suppress(OSError, ValueError):
            pid = int(host._pid_file.read_text())
            if str(directory) in command_line(pid):  # else the pid is somebody else's by now
                host._enclosure = Enclosure(pid)
        return host

    @property
    def name(self) -> str:
        """The name of the host's directory."""
        return self.directory.name

    @property
    def endpoint(self) -> str:
        """The engine's address, as DOCKER_HOST takes it."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """The first process of the host's namespaces, for `nsenter --target`.

        Raises:
            TestbedError: the host does not run.
        """
        if self._enclosure is None:
            raise TestbedError(f"host {self.name} does not run")
        return self._enclosure.pid

    @property
    def engine_pid(self) -> int:
        """The engine's process.

        Raises:
            TestbedError: it does not run.
        """
        # the namespace's first process has orphans of containers for children, too
        for pid in children(self.pid):
            if command_line(pid).startswith(f"{self.tools.dockerd} "):
                return pid
        raise TestbedError(f"the engine of host {self.name} does not run")

    @property
    def is_running(self) -> bool:
        """Whether the host was started and not killed."""
        return self._enclosure is not None and self._enclosure.is_running

    @property
    def _pid_file(self) -> Path:
        return self.directory / "pid"

    @property
    def _engine_pid_file(self) -> Path:
        return self.directory / "dockerd.pid"

    def start(self) -> None:
        """Start the host and return when its engine answers: about 1 s."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start the host without waiting for it, so that several can start at once; then `await_ready`.

        Raises:
            TestbedError: the directory will not do.
        """
        if len(str(self.directory)) > _LONGEST_DIRECTORY or self.directory.resolve().is_relative_to("/run"):
            raise TestbedError(f"too long, or in /run: {self.directory}")
        self.directory.mkdir(parents=True, exist_ok=True)
        # What a machine keeps in /run does not survive its death. The engine would believe stale pid files.
        shutil.rmtree(self._runtime, ignore_errors=True)
        for stale in (self._engine_pid_file, self.socket):
            stale.unlink(missing_ok=True)
        private = self._network == "private"
        self._enclosure = Enclosure.start(
            self._engine_command(),
            init=self.tools.init,
            env=self.tools.env(),
            log=self.log,
            prepare=_OWN_RUN if private else ":",
            own_network=private,
            outlives=self._outlives,
        )
        self._pid_file.write_text(str(self._enclosure.pid))

    def await_ready(self) -> None:
        """Return when the engine of a launched host answers.

        Raises:
            TestbedError: it ended or does not answer; the message holds the end of its log.
        """
        try:
            wait_until(
                lambda: not self.is_running or engine.answers(self.socket),
                f"the engine of host {self.name}",
                seconds=60,
            )
            if not self.is_running:
                raise TestbedError(f"the engine of host {self.name} ended")
        except TestbedError as error:
            self.kill()
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
            raise TestbedError(f"{error}\n{tail}") from None

    def kill(self) -> None:
        """Pull the host's plug. Its socket refuses connections from now on; its data remains for `start`."""
        if self._enclosure is None:
            return
        self._containers |= self._containers_on_disk()
        cgroups.thaw(self._containers)
        self._enclosure.kill()
        cgroups.remove(self._containers)
        self._enclosure = None

    def restart(self) -> None:
        """Pull the plug if it runs, and start again. Containers come back as their restart policy says."""
        self.kill()
        self.start()

    @contextlib.contextmanager
    def killed(self) -> Iterator[None]:
        """A host that is dead inside the `with`, and back after it."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def close(self) -> None:
        """End the host and remove its data."""
        self.kill()
        shutil.rmtree(self.directory)

    def docker(self, *words: str | Path, seconds: float = 60.0) -> str:
        """Run the docker client against this host and return its stdout."""
        return run([self.tools.docker, *words], env=self.env(), seconds=seconds)

    def env(self) -> dict[str, str]:
        """An environment in which the docker client talks to this host, and has no configuration."""
        return {
            **self.tools.env(),
            "DOCKER_HOST": self.endpoint,
            "DOCKER_CONFIG": str(self.directory / "client"),
        }

    def inside(self, *words: str | Path, seconds: float = 60.0) -> str:
        """Run a command in the host's network namespace (`tc`, `ip`, `iptables`), and return its stdout."""
        command = ["nsenter", "--net", "--target", str(self.pid), *words]
        return run(command, env=self.tools.env(), seconds=seconds)

    def load_image(self, image: Image, name: str) -> None:
        """Give the host an image under a name, in about 1 s.

        Raises:
            TestbedError: the image is not a tar (see `fetched`), or the engine does not take it.
        """
        tar = image.tar
        if tar is None:
            raise TestbedError(f"no such tar: {image.source}")
        if _is_saved_image(tar):
            # "Loaded image: NAME" or "Loaded image ID: sha256:…"
            loaded = self.docker("load", "--quiet", "--input", tar, seconds=300).splitlines()[-1]
            self.docker("tag", loaded.partition(": ")[2], name)
        else:
            self.docker("import", *_IMPORT_CHANGES, tar, name, seconds=300)

    def container_id(self, container: str) -> str:
        """The full id of a container by its name.

        Raises:
            TestbedError: there is no such container.
        """
        return str(engine.request(self.socket, "GET", f"/containers/{container}/json")["Id"])

    def containers(self) -> list[str]:
        """The names of all containers, stopped ones included."""
        listed = engine.request(self.socket, "GET", "/containers/json?all=1")
        return [name.lstrip("/") for container in listed for name in container["Names"]]

    def await_node(self, node: str) -> None:
        """Return when the BuildKit of a docker-container node answers in its container.

        After the start of a host or of a stopped container it takes a moment. A buildx that asks too early
        waits for 15 s.
        """
        command = ("exec", f"{NODE_CONTAINER}{node}", "buildctl", "debug", "workers")

        def answers() -> bool:
            try:
                self.docker(*command, seconds=5)
            except TestbedError:
                return False
            return True

        wait_until(answers, f"BuildKit of node {node}", seconds=30)

    def remove_nodes(self, nodes: Iterable[str]) -> None:
        """Remove the containers and the state of buildx nodes, of those that are here."""
        for node in nodes:
            container = f"{NODE_CONTAINER}{node}"
            for path in (f"/containers/{container}?force=1&v=1", f"/volumes/{container}_state?force=1"):
                try:
                    engine.request(self.socket, "DELETE", path)
                except TestbedError as error:
                    if ": 404 " not in str(error):
                        raise

    @property
    def _runtime(self) -> Path:
        return self.directory / "exec"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _containers_on_disk(self) -> set[str]:
        try:
            return {entry.name for entry in (self._data / "containers").iterdir()}
        except FileNotFoundError:
            return set()

    def _engine_command(self) -> list[str | Path]:
        dockerd: list[str | Path] = [self.tools.dockerd, "--log-level=warn", f"--host={self.endpoint}"]
        dockerd += [f"--data-root={self._data}", f"--exec-root={self._runtime}"]
        dockerd += [f"--pidfile={self._engine_pid_file}", "--exec-opt=native.cgroupdriver=cgroupfs"]
        if self._network == "private":
            return [*dockerd, f"--bip={_BRIDGE}"]
        return [*dockerd, "--bridge=none", "--iptables=false", "--ip6tables=false"]


def start_hosts(tools: Tools, directory: Path, count: int, *, outlives: bool = False) -> list[Host]:
    """Start `count` hosts at once, in directories `h1`, `h2`, … below `directory`."""
    hosts = [Host(tools, directory / f"h{number}", outlives=outlives) for number in range(1, count + 1)]
    with contextlib.ExitStack() as undo:
        for host in hosts:
            undo.callback(host.kill)
            host.launch()
        for host in hosts:
            host.await_ready()
        undo.pop_all()
    return hosts


def load_images(hosts: Sequence[Host], images: dict[str, Image]) -> None:
    """Give every host every image, under these names."""
    with ThreadPoolExecutor() as pool:
        for name, image in images.items():
            loads = [pool.submit(host.load_image, image, name) for host in hosts]
            for load in loads:
                load.result()


def fetched(tools: Tools, image: Image) -> Image:
    """The image as a tar: itself, or pulled once into the cache, by an engine on the machine's network."""
    if image.tar is not None:
        return image

    def pull(tar: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="bxh-pull-") as name:
            host = Host(tools, Path(name) / "h", network="machine")
            try:
                host.start()
                host.docker("pull", "--quiet", image.source, seconds=600)
                host.docker("save", "--output", tar, image.source, seconds=300)
            finally:
                host.close()

    return Image(str(made_once(tools.cache, "pulled-image", digest(image.source), pull)))


def _is_saved_image(tar: Path) -> bool:
    """Whether a tar is what `docker save` writes, as opposed to a root file system."""
    with tarfile.open(tar) as archive:
        first = (archive.next() for _ in range(200))
        names = {member.name.removeprefix("./") for member in first if member is not None}
    return bool(names & {"manifest.json", "index.json"})
