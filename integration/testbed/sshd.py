"""Hosts behind ssh: Debian's sshd on loopback, with throw-away keys, whose `docker` talks to a given engine.

sshd runs from its unpacked package, in a mount namespace in which there is the user that it separates privileges
with, and a root whose home is elsewhere. The machine's own users, /run and configuration stay as they are.
"""

import shlex
import shutil
import socket
from pathlib import Path
from typing import Final

from .builders import SSH_KEY, Client
from .enclosure import Enclosure
from .listener import LOOPBACK, free_port
from .packages import Tools, debian, need
from .processes import run
from .waiting import wait_until

# The server and the libraries that a minimal system with an ssh client lacks.
_PACKAGES: Final = ("openssh-server", "libwrap0", "libnsl2", "libtirpc3")


class SshServer:
    """An sshd that runs from construction until `close`.

    Attributes:
        endpoint: what Docker takes: `ssh://root@127.0.0.1:…`.
        port: where it listens on 127.0.0.1.
    """

    def __init__(self, tools: Tools, directory: Path, docker_host: str) -> None:
        """Start a server whose remote commands find `docker`, with DOCKER_HOST set to `docker_host`."""
        need("ssh", "openssh-client")
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        for key in ("host_key", SSH_KEY):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bxhealth-test", "-f", directory / key])
        shutil.copy(directory / f"{SSH_KEY}.pub", directory / "authorized_keys")
        self.port = free_port()
        self.endpoint = f"ssh://root@{LOOPBACK[0]}:{self.port}"
        self._write_configuration(tools, docker_host)
        self._write_users()
        package = debian(tools.cache, *_PACKAGES)
        libraries = {str(library.parent) for library in package.rglob("*.so*")}
        self._enclosure = Enclosure.start(
            # sshd starts itself anew for each connection, and wants to know its full path for that
            [package / "usr/sbin/sshd", "-D", "-e", "-f", directory / "sshd_config"],
            init=tools.init,
            env={**tools.env(), "LD_LIBRARY_PATH": ":".join(sorted(libraries))},
            log=directory / "log",
            prepare=f"""
                mount -t tmpfs tmpfs /run
                mkdir -m 755 /run/sshd
                mount --bind {shlex.quote(str(directory / "passwd"))} /etc/passwd
                mount --bind {shlex.quote(str(directory / "shadow"))} /etc/shadow""",
            own_network=False,
        )
        try:
            wait_until(self._listens, f"sshd, see {directory / 'log'}")
        except BaseException:
            self._enclosure.kill()
            raise

    def close(self) -> None:
        """End the server with all its sessions."""
        self._enclosure.kill()

    def admit(self, client: Client) -> None:
        """Let a user in: with a key that is accepted, and knowing the host."""
        self.give_key(client)
        self.introduce(client)

    def give_key(self, client: Client) -> None:
        """Give a user the key that this server accepts."""
        key = client.ssh / SSH_KEY
        shutil.copy(self._directory / SSH_KEY, key)
        key.chmod(0o600)

    def introduce(self, client: Client) -> None:
        """Make this server known to a user, who would else be asked about its host key."""
        host_key = (self._directory / "host_key.pub").read_text()
        with (client.ssh / "known_hosts").open("a") as known:
            known.write(f"[{LOOPBACK[0]}]:{self.port} {host_key}")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK[0], self.port)) == 0

    def _write_configuration(self, tools: Tools, docker_host: str) -> None:
        settings = {
            "ListenAddress": f"{LOOPBACK[0]}:{self.port}",
            "HostKey": self._directory / "host_key",
            "PidFile": "none",
            "AuthorizedKeysFile": self._directory / "authorized_keys",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "UsePAM": "no",
            # its directories' owners may be anybody's, as the machine's /tmp is
            "StrictModes": "no",
            # a fleet is asked in parallel, and unauthenticated connections beyond 10 would be dropped by chance
            "MaxStartups": "1000",
            "SetEnv": f"DOCKER_HOST={docker_host} PATH={tools.path}",
        }
        lines = (f"{name} {value}\n" for name, value in settings.items())
        (self._directory / "sshd_config").write_text("".join(lines))

    def _write_users(self) -> None:
        others = [
            line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith(("root:", "sshd:"))
        ]
        root = f"root:x:0:0:root:{self._directory}:/bin/sh"
        separated = "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin"
        (self._directory / "passwd").write_text("\n".join([root, separated, *others, ""]))
        # "*" is no password, where "!" would lock root out
        shadow = self._directory / "shadow"
        shadow.write_text("root:*:19000:0:99999:7:::\n")
        shadow.chmod(0o600)
