"""`ssh://` endpoints: `docker system dial-stdio` on the host, as docker's own client does, and never a prompt."""

from __future__ import annotations

import math
import shlex
from urllib.parse import unquote, urlsplit

from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerEndpoint
from bxhealth.errors import NodeFailure, malformed
from bxhealth.model import Cause
from bxhealth.processes import Pipe
from bxhealth.transports.stream import SocketStream

# What OpenSSH's client says (ssh.c, sshconnect.c, sshconnect2.c, readconf.c, authfile.c)
_CAUSES = (
    ("host key verification failed", Cause.ENDPOINT_DENIED),
    ("remote host identification has changed", Cause.ENDPOINT_DENIED),
    ("permission denied", Cause.ENDPOINT_DENIED),
    ("too many authentication failures", Cause.ENDPOINT_DENIED),
    ("could not resolve hostname", Cause.ENDPOINT_UNRESOLVABLE),
    ("connection timed out", Cause.ENDPOINT_TIMEOUT),
    ("operation timed out", Cause.ENDPOINT_TIMEOUT),
    ("connection refused", Cause.ENDPOINT_REFUSED),
    ("no route to host", Cause.ENDPOINT_REFUSED),
    ("network is unreachable", Cause.ENDPOINT_REFUSED),
)
_SSH_FAILED = 255
_COMMAND_NOT_FOUND = 127


class SshStream(SocketStream):
    """The engine at the other end of an ssh connection."""

    def __init__(self, pipe: Pipe, peer: str) -> None:
        super().__init__(pipe.socket, peer)
        self._pipe = pipe
        self._answered = False

    def recv(self, size: int, deadline: Deadline) -> bytes:
        """See `Stream`; an end before the first byte is ssh's failure, with its own words."""
        try:
            data = super().recv(size, deadline)
        except NodeFailure as failure:
            if self._answered:
                raise
            if failure.cause is Cause.DAEMON_UNRESPONSIVE:
                seen = f"ssh to {self.peer} brought no answer of its engine within {deadline.seconds:.3g} s"
                raise NodeFailure(failure.cause, seen) from failure
            data = b""
        if not data and not self._answered:
            raise self._failure(deadline)
        self._answered = True
        return data

    def sendall(self, data: bytes, deadline: Deadline) -> None:
        """See `Stream`; a broken pipe is explained by what ssh said."""
        try:
            super().sendall(data, deadline)
        except NodeFailure as failure:
            if self._answered or failure.cause is Cause.DAEMON_UNRESPONSIVE:
                raise
            raise self._failure(deadline) from failure

    def close(self) -> None:
        """End the ssh process."""
        self._pipe.close()

    def _failure(self, deadline: Deadline) -> NodeFailure:
        try:
            status, stderr = self._pipe.wait(deadline)
        except TimeoutError:
            status, stderr = -1, ""
        seen = " ".join(line.strip() for line in stderr.splitlines() if line.strip("@ \r\n")) or "no word from ssh"
        return NodeFailure(_cause(status, seen.lower()), f"ssh to {self.peer} ended with {status}: {seen}")


def _cause(status: int, seen: str) -> Cause:
    if status == _COMMAND_NOT_FOUND:
        return Cause.CONFIG_INVALID
    for words, cause in _CAUSES:
        if words in seen:
            return cause
    # the remote `docker system dial-stdio` ran and did not reach its engine, or ssh broke off
    return Cause.ENDPOINT_REFUSED


def dial(endpoint: DockerEndpoint, deadline: Deadline) -> SshStream:
    """A stream to the engine of an ssh host. Raises as `transports.dial` does, and `CliUnavailable`."""
    try:
        url = urlsplit(endpoint.host)
        name, user, port = url.hostname, url.username, url.port
    except ValueError as error:
        raise malformed(endpoint.host, error) from error
    if not name or name.startswith("-") or (user or "").startswith("-"):
        raise NodeFailure(Cause.CONFIG_INVALID, f"the endpoint {endpoint.host} names no host")
    command = [
        "ssh",
        "-T",
        "-o",
        "BatchMode=yes",
        "-o",
        f"ConnectTimeout={max(1, math.ceil(deadline.remaining()) - 1)}",
    ]
    if user:
        command += ["-l", unquote(user)]
    if port:
        command += ["-p", str(port)]
    # docker/cli, cli/connhelper/connhelper.go: the URL's path is the socket on the host
    remote = [
        "docker",
        *(["--host", f"unix://{url.path}"] if url.path.strip("/") else []),
        "system",
        "dial-stdio",
    ]
    return SshStream(Pipe([*command, "--", name, shlex.join(remote)]), endpoint.host)
