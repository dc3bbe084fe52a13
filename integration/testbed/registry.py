"""A registry: Debian's docker-registry, at one loopback address in the machine's network and in that of hosts.

A node reaches it when its container has the host's network (`--driver-opt network=host`). Docker and BuildKit
speak plain HTTP with a registry on loopback.
"""

import contextlib
import json
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from .errors import TestbedError
from .hosts import Host
from .listener import LOOPBACK, free_port
from .packages import Tools, debian
from .processes import run
from .waiting import wait_until

USER: Final = "bxhealth"
PASSWORD: Final = "open sesame"
# The registry takes bcrypt only, and Python's standard library makes none: htpasswd -nbB bxhealth "open sesame"
_HTPASSWD: Final = "bxhealth:$2a$04$NXxKVMn94iA3w9DA70oGM.0qJucXXBMB.ZaAy.3dP91YiyZfnZQba\n"


class Registry:
    """A registry that runs from construction until `close`.

    Attributes:
        address: `127.0.0.1:…`, what an image's name starts with.
    """

    def __init__(self, tools: Tools, directory: Path, hosts: Sequence[Host] = (), *, locked: bool = False) -> None:
        """Start it, on the machine's loopback and on that of each of these hosts.

        Args:
            tools: the toolchain.
            directory: where it keeps images and logs; made if need be.
            hosts: hosts whose engines and nodes shall reach it.
            locked: whether it asks for `USER` and `PASSWORD`.
        """
        port = free_port()
        self.address = f"{LOOPBACK[0]}:{port}"
        self._processes: list[subprocess.Popen[bytes]] = []
        directory.mkdir(parents=True, exist_ok=True)
        configuration = directory / "registry.yml"
        configuration.write_text(json.dumps(self._configuration(directory, locked)))  # YAML, too
        binary = debian(tools.cache, "docker-registry") / "usr/bin/docker-registry"
        networks: list[list[str]] = [[], *(["nsenter", "--net", "--target", str(host.pid)] for host in hosts)]
        with contextlib.ExitStack() as undo, (directory / "log").open("ab") as log:
            undo.callback(self.close)
            for network in networks:
                command: list[str | Path] = [
                    "setpriv",
                    "--pdeathsig=KILL",
                    *network,
                    binary,
                    "serve",
                    configuration,
                ]
                self._processes.append(
                    subprocess.Popen(command, env=tools.env(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                )
            # bash can connect, and every Debian has it
            connect = ["bash", "-c", f"exec 3<>/dev/tcp/{LOOPBACK[0]}/{port}"]
            for network in networks:
                wait_until(partial(_succeeds, [*network, *connect]), f"the registry, see {log.name}")
            undo.pop_all()

    def push(self, host: Host, image: str, name: str) -> str:
        """Push a host's image under a name, logging in if need be, and return its full name here."""
        full_name = f"{self.address}/{name}"
        host.docker("tag", image, full_name)
        host.docker("login", f"--username={USER}", f"--password={PASSWORD}", self.address)
        host.docker("push", "--quiet", full_name)
        return full_name

    def close(self) -> None:
        """End it."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def _configuration(self, directory: Path, locked: bool) -> dict[str, object]:
        settings: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(directory / "images")}},
            "http": {"addr": self.address},
        }
        if locked:
            passwords = directory / "htpasswd"
            passwords.write_text(_HTPASSWD)
            settings["auth"] = {"htpasswd": {"realm": "bxhealth-test", "path": str(passwords)}}
        return settings


def _succeeds(command: Sequence[str]) -> bool:
    try:
        run(command)
    except TestbedError:
        return False
    return True
