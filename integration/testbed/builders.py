"""A user's side: a private home with one version of buildx, and builders made by that buildx."""

import itertools
import json
import os
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from .errors import TestbedError
from .hosts import Host
from .packages import SYSTEM_PATH, Tools
from .processes import run

BuildxVersion = Literal["new", "stable"]
# The name of a user's key in its `.ssh`, whatever the kind.
SSH_KEY: Final = "id_ed25519"
BUILDX_VERSIONS: Final[tuple[BuildxVersion, ...]] = ("new", "stable")

_numbers: Final = itertools.count(1)


def unique(word: str) -> str:
    """A name for a builder or node that no other test uses: tests share hosts."""
    return f"{word}-{os.getpid()}-{next(_numbers)}"


@dataclass(frozen=True)
class Node:
    """A node to make."""

    name: str
    endpoint: str
    """What buildx takes as one: an address, or a Docker context's name."""
    driver_opts: Mapping[str, str] = field(default_factory=dict)
    platforms: Sequence[str] = ()
    buildkitd_flags: Sequence[str] = ()


def nodes_on(hosts: Sequence[Host], image: str, word: str = "node") -> list[Node]:
    """A docker-container node to make on each of these hosts, with unique names."""
    return [Node(unique(word), host.endpoint, {"image": image}) for host in hosts]


class Client:
    """A home directory with buildx in it.

    Attributes:
        home: the private home directory.
        config: its Docker configuration directory. It has no `config.json` until `write_config`.
        ssh: its `.ssh`, with neither key nor known host. `sshd.SshServer.admit` changes that.
        env: the environment for anything that shall act as this user.
    """

    def __init__(self, tools: Tools, directory: Path, version: BuildxVersion = "new") -> None:
        """Make the home in `directory`, with this version of buildx as the client's plugin."""
        self.home = directory
        self.config = directory / ".docker"
        self._docker = tools.docker
        plugins = self.config / "cli-plugins"
        plugins.mkdir(parents=True)
        (plugins / "docker-buildx").symlink_to(tools.buildx[version])
        self.ssh = directory / ".ssh"
        self._commands = directory / "bin"
        self.env = {
            **tools.env(),
            "HOME": str(directory),
            "DOCKER_CONFIG": str(self.config),
            "PATH": f"{self._commands}:{tools.path}",
        }
        self._isolate_ssh()

    @property
    def store(self) -> Path:
        """Where buildx keeps its builders."""
        return self.config / "buildx"

    def docker(self, *words: str | Path, seconds: float = 60.0) -> str:
        """Run the docker client as this user and return its stdout.

        Raises:
            TestbedError: it failed.
        """
        return run([self._docker, *words], env=self.env, seconds=seconds)

    def buildx(self, *words: str | Path, seconds: float = 60.0) -> str:
        """Run `docker buildx` as this user and return its stdout.

        Raises:
            TestbedError: it failed.
        """
        return self.docker("buildx", *words, seconds=seconds)

    def create_builder(self, name: str, driver: str, nodes: Iterable[Node]) -> None:
        """Have buildx create a builder of these nodes. It boots none, and yet may contact them."""
        for number, node in enumerate(nodes):
            words = ["create", "--name", name, "--driver", driver, "--node", node.name]
            words += ["--append"] if number else []
            words += [f"--driver-opt={key}={value}" for key, value in node.driver_opts.items()]
            words += [f"--platform={','.join(node.platforms)}"] if node.platforms else []
            if node.buildkitd_flags:
                words.append(f"--buildkitd-flags={' '.join(node.buildkitd_flags)}")
            self.buildx(*words, node.endpoint)

    def write_builder(self, name: str, driver: str, nodes: Iterable[Node]) -> Path:
        """Write a builder into the store as buildx would, contacting nothing, and return the entry's path.

        For nodes that buildx refuses to create or waits for. The layout is that of docker/buildx,
        store/nodegroup.go.
        """
        entry = self.store / "instances" / name
        entry.parent.mkdir(parents=True, exist_ok=True)
        written = [
            {
                "Name": node.name,
                "Endpoint": node.endpoint,
                "Platforms": [_split_platform(platform) for platform in node.platforms] or None,
                "DriverOpts": dict(node.driver_opts) or None,
                "Flags": list(node.buildkitd_flags) or None,
                "Files": None,
            }
            for node in nodes
        ]
        entry.write_text(json.dumps({"Name": name, "Driver": driver, "Nodes": written, "Dynamic": False}))
        return entry

    def boot(self, builder: str, seconds: float = 60.0) -> None:
        """Start all nodes of a builder. What buildx's success says about them is little."""
        self.buildx("inspect", "--bootstrap", builder, seconds=seconds)

    def use(self, builder: str) -> None:
        """Make a builder the current one."""
        self.buildx("use", builder)

    def remove_builder(self, name: str) -> None:
        """Have buildx remove a builder, its containers and its state."""
        self.buildx("rm", "--force", name)

    def create_context(self, name: str, endpoint: str, **tls: Path) -> None:
        """Create a Docker context, which is also a builder of one `docker` node.

        `tls` takes `ca`, `cert` and `key`.
        """
        parts = [f"host={endpoint}", *(f"{part}={path}" for part, path in tls.items())]
        self.docker("context", "create", name, "--docker", ",".join(parts))

    def write_config(self, config: Mapping[str, object]) -> None:
        """Write the client's `config.json`: credentials, helpers, the current context."""
        (self.config / "config.json").write_text(json.dumps(config))

    def add_command(self, name: str, script: str) -> None:
        """Put a shell script into this user's PATH, before all else: a credential helper, a wrapper."""
        self._commands.mkdir(exist_ok=True)
        command = self._commands / name
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)

    def node_names(self) -> set[str]:
        """The nodes of all builders that are in the store and readable."""
        names: set[str] = set()
        for entry in self.store.glob("instances/*"):
            try:
                names |= {node["Name"] for node in json.loads(entry.read_text())["Nodes"]}
            except (ValueError, KeyError, TypeError, OSError):
                continue  # a test has damaged it, and then has to clean up itself
        return names

    def close(self, hosts: Iterable[Host] = ()) -> None:
        """Remove the home, and this user's nodes from the hosts that run."""
        nodes = self.node_names()
        for host in hosts:
            if host.is_running:
                host.remove_nodes(nodes)
        shutil.rmtree(self.home)

    def _isolate_ssh(self) -> None:
        # OpenSSH asks the user database for the home directory and ignores HOME, so it has to be told.
        self.ssh.mkdir(mode=0o700)
        (self.ssh / "config").write_text(
            f"IdentityFile {self.ssh / SSH_KEY}\n"
            "IdentitiesOnly yes\n"
            "IdentityAgent none\n"
            f"UserKnownHostsFile {self.ssh / 'known_hosts'}\n"
            "GlobalKnownHostsFile none\n"
        )
        config = shlex.quote(str(self.ssh / "config"))
        self.add_command("ssh", f'PATH={SYSTEM_PATH} exec ssh -F {config} "$@"')


@dataclass(frozen=True)
class Fleet:
    """A builder that exists: whose it is, its name and its nodes."""

    client: Client
    builder: str
    nodes: Sequence[Node]


def _split_platform(platform: str) -> dict[str, str]:
    os_name, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    if not os_name or not architecture:
        raise TestbedError(f"not a platform: {platform!r}")
    split = {"architecture": architecture, "os": os_name}
    return {**split, "variant": variant} if variant else split
