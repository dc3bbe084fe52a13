"""With a stand-in for `ssh` on the PATH; the words of its failures are OpenSSH's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bxhealth import transports
from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerEndpoint
from bxhealth.errors import CliUnavailable, NodeFailure
from bxhealth.model import Cause
from bxhealth.transports.stream import Stream
from tests import descriptors
from tests.awaiting import gone, until

Program = Callable[[str, str], Path]
_LONG = 30.0


def _dial(host: str, seconds: float = _LONG) -> Stream:
    return transports.dial(DockerEndpoint(host), Deadline(seconds))


def _failure(host: str, seconds: float = _LONG) -> NodeFailure:
    """Whether writing or reading shows it first is a matter of chance, and must not matter."""
    stream = _dial(host, seconds)
    deadline = Deadline(seconds)
    with pytest.raises(NodeFailure) as failed:
        stream.sendall(b"GET /_ping HTTP/1.1\r\n\r\n", deadline)
        stream.recv(1, deadline)
    stream.close()
    return failed.value


def _arguments(program: Program, tmp_path: Path, host: str) -> list[str]:
    program("ssh", f'printf "%s\\n" "$@" > {tmp_path}/new && mv {tmp_path}/new {tmp_path}/arguments; cat')
    stream = _dial(host)
    stream.sendall(b"ping", Deadline(_LONG))
    assert stream.recv(4, Deadline(_LONG)) == b"ping"
    stream.close()
    return (tmp_path / "arguments").read_text().splitlines()


def test_bytes_go_both_ways(program: Program) -> None:
    program("ssh", "exec cat")
    stream = _dial("ssh://h.example")
    stream.sendall(b"ping", Deadline(_LONG))
    assert stream.recv(100, Deadline(_LONG)) == b"ping"
    stream.close()


@pytest.mark.parametrize(
    ("host", "options", "remote"),
    [
        ("ssh://h.example", [], "docker system dial-stdio"),
        ("ssh://me@h.example", ["-l", "me"], "docker system dial-stdio"),
        ("ssh://me@h.example:2222", ["-l", "me", "-p", "2222"], "docker system dial-stdio"),
        ("ssh://me%40corp@h.example", ["-l", "me@corp"], "docker system dial-stdio"),
        ("ssh://h.example/", [], "docker system dial-stdio"),
        ("ssh://h.example/run/my.sock", [], "docker --host unix:///run/my.sock system dial-stdio"),
    ],
)
def test_the_command_is_that_of_docker_s_own_client(
    program: Program, tmp_path: Path, host: str, options: list[str], remote: str
) -> None:
    arguments = _arguments(program, tmp_path, host)
    end = arguments.index("--")
    assert arguments[end + 1 :] == ["h.example", remote]
    assert arguments[end - len(options) : end] == options if options else not {"-l", "-p"} & set(arguments)


def test_it_never_asks_anybody(program: Program, tmp_path: Path) -> None:
    arguments = _arguments(program, tmp_path, "ssh://h.example")
    options = [arguments[i + 1] for i, word in enumerate(arguments) if word == "-o"]
    assert "BatchMode=yes" in options


def test_what_the_path_says_is_quoted_for_the_shell_over_there(program: Program, tmp_path: Path) -> None:
    arguments = _arguments(program, tmp_path, "ssh://h.example/run/a;reboot")
    assert arguments[-1] == "docker --host 'unix:///run/a;reboot' system dial-stdio"


@pytest.mark.parametrize(
    "host", ["ssh://", "ssh:///run/docker.sock", "ssh://-oProxyCommand=reboot", "ssh://-oX@h", "ssh://h:port"]
)
def test_a_malformed_endpoint_starts_nothing(program: Program, tmp_path: Path, host: str) -> None:
    program("ssh", f"touch {tmp_path}/started")
    with pytest.raises(NodeFailure) as failed:
        _dial(host)
    assert failed.value.cause is Cause.CONFIG_INVALID
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("Host key verification failed.", Cause.ENDPOINT_DENIED),
        ("me@h.example: Permission denied (publickey,password).", Cause.ENDPOINT_DENIED),
        ("Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures", Cause.ENDPOINT_DENIED),
        ("ssh: Could not resolve hostname h.example: Name or service not known", Cause.ENDPOINT_UNRESOLVABLE),
        ("ssh: connect to host h.example port 22: Connection timed out", Cause.ENDPOINT_TIMEOUT),
        ("ssh: connect to host h.example port 22: Operation timed out", Cause.ENDPOINT_TIMEOUT),
        ("ssh: connect to host h.example port 22: Connection refused", Cause.ENDPOINT_REFUSED),
        ("ssh: connect to host h.example port 22: No route to host", Cause.ENDPOINT_REFUSED),
        ("ssh: connect to host h.example port 22: Network is unreachable", Cause.ENDPOINT_REFUSED),
        ("Connection timed out during banner exchange", Cause.ENDPOINT_TIMEOUT),
        ("", Cause.ENDPOINT_REFUSED),
    ],
)
def test_ssh_s_words_become_a_cause(program: Program, words: str, cause: Cause) -> None:
    program("ssh", f"echo '{words}' >&2; exit 255")
    failure = _failure("ssh://h.example")
    assert failure.cause is cause
    assert words in failure.message
    assert "ssh://h.example" in failure.message


def test_a_changed_host_key_is_told_in_one_line(program: Program) -> None:
    program(
        "ssh",
        "cat >&2 <<'EOF'\n"
        "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r\n"
        "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n"
        "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r\n"
        "Host key verification failed.\r\n"
        "EOF\nexit 255",
    )
    failure = _failure("ssh://h.example")
    assert failure.cause is Cause.ENDPOINT_DENIED
    assert failure.message.isprintable()


def test_a_host_without_docker(program: Program) -> None:
    program("ssh", "echo 'bash: line 1: docker: command not found' >&2; exit 127")
    failure = _failure("ssh://h.example")
    assert failure.cause is Cause.CONFIG_INVALID
    assert "command not found" in failure.message


def test_a_host_whose_engine_is_down(program: Program) -> None:
    words = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
    program("ssh", f"echo '{words}' >&2; exit 1")
    failure = _failure("ssh://h.example")
    assert failure.cause is Cause.ENDPOINT_REFUSED
    assert words in failure.message


def test_an_engine_socket_that_is_denied(program: Program) -> None:
    words = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
    program("ssh", f"echo '{words}' >&2; exit 1")
    assert _failure("ssh://h.example").cause is Cause.ENDPOINT_DENIED


def test_a_host_that_drops_packets(program: Program) -> None:
    """ssh gives up after its ConnectTimeout, and has to have the time to say so."""
    program(
        "ssh",
        'for word; do case $word in ConnectTimeout=*) sleep "${word#*=}";; esac; done\n'
        "echo 'ssh: connect to host h.example port 22: Connection timed out' >&2\nexit 255",
    )
    assert _failure("ssh://h.example", 2.0).cause is Cause.ENDPOINT_TIMEOUT


def test_an_engine_that_never_answers_ends_at_the_deadline_and_leaves_no_process(
    program: Program, tmp_path: Path
) -> None:
    program("ssh", f"sleep 1000 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/ssh; wait")
    stream = _dial("ssh://h.example")
    until(lambda: (tmp_path / "ssh").exists(), "ssh runs")
    begun = time.monotonic()
    with pytest.raises(NodeFailure) as failed:
        stream.recv(1, Deadline(0.1))
    assert time.monotonic() - begun < 5
    assert failed.value.cause is Cause.DAEMON_UNRESPONSIVE
    stream.close()
    for name in ("ssh", "child"):
        pid = (tmp_path / name).read_text().strip()
        until(partial(gone, pid), f"{name} has ended")


def test_an_end_after_an_answer_is_an_end(program: Program) -> None:
    program("ssh", "echo hello; echo 'Connection to h.example closed.' >&2; exit 255")
    stream = _dial("ssh://h.example")
    assert stream.recv(100, Deadline(_LONG)) == b"hello\n"
    assert stream.recv(100, Deadline(_LONG)) == b""
    stream.close()


def test_close_can_be_called_again(program: Program) -> None:
    program("ssh", "exec cat")
    stream = _dial("ssh://h.example")
    stream.close()
    stream.close()


def test_no_ssh_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    before = descriptors.held()
    with pytest.raises(CliUnavailable, match="ssh"):
        _dial("ssh://h.example")
    assert descriptors.held() == before
