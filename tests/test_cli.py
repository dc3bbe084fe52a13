"""The command line from end to end: a store on disk, BuildKit behind sockets of this process."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import click
import jsonschema
import pytest
from click.shell_completion import ShellComplete

import bxhealth
from bxhealth import cli
from bxhealth.docker_config import MAX_FILE_BYTES
from tests import stores
from tests.awaiting import until
from tests.conftest import Serve
from tests.fake_buildkit import FakeBuildkit, healthy, workers
from tests.loopback import silent, unused_port
from tests.notifiers.recorder import Recorder


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `bxhealth` in this process, as its entry point does."""

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["bxhealth", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call


@pytest.fixture
def directory() -> Path:
    """Buildx's directory."""
    return Path(os.environ["HOME"], ".docker", "buildx")


@pytest.fixture
def good(serve: Serve, directory: Path) -> str:
    """A builder whose one node is healthy."""
    server = serve(healthy("linux/amd64"))
    stores.instance(directory, "good", stores.node("good0", server.host), driver="remote")
    return "good"


@pytest.fixture
def mixed(serve: Serve, directory: Path) -> str:
    """A builder of a healthy node and one whose port is closed."""
    dead = f"tcp://127.0.0.1:{unused_port()}"
    nodes = [stores.node("alive", serve(healthy()).host), stores.node("dead", dead)]
    stores.instance(directory, "mixed", *nodes, driver="remote")
    return "mixed"


def _process(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bxhealth", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def _validate(document: Any) -> None:
    schema = json.loads(resources.files("bxhealth.reporters").joinpath("report.schema.json").read_text())
    jsonschema.validate(document, schema)


class TestExitStatus:
    def test_healthy(self, run: Run, good: str) -> None:
        result = run("check", good)
        assert (result.status, result.err) == (0, "")
        assert "good0" in result.out

    def test_unhealthy_names_the_node_and_the_cause(self, run: Run, mixed: str) -> None:
        result = run("check", mixed)
        assert result.status == 1
        assert "dead" in result.out
        assert "endpoint_refused" in result.out

    def test_a_node_without_workers_is_unhealthy(self, run: Run, serve: Serve, directory: Path) -> None:
        server = serve(FakeBuildkit({"ListWorkers": workers()}))
        stores.instance(directory, "idle", stores.node("n1", server.host), driver="remote")
        result = run("check", "idle", "--format", "json")
        assert result.status == 1
        assert result.json["builders"][0]["nodes"][0]["cause"] == "no_workers"

    def test_degraded_is_within_the_policy(self, run: Run, serve: Serve, directory: Path) -> None:
        """A platform that is declared and not listed warns, and a warning fails nobody."""
        platforms = [{"os": "linux", "architecture": "s390x"}]
        node = stores.node("n1", serve(healthy("linux/amd64")).host, Platforms=platforms)
        stores.instance(directory, "odd", node, driver="remote")
        result = run("check", "odd", "--format", "json")
        assert (result.status, result.json["verdict"]) == (0, "degraded")
        assert result.json["builders"][0]["nodes"][0]["cause"] == "platform_missing"

    def test_of_many_builders_the_worst_counts(self, run: Run, good: str, mixed: str) -> None:
        result = run("check", good, mixed, "--format", "json")
        assert result.status == 1
        assert [builder["verdict"] for builder in result.json["builders"]] == ["healthy", "unhealthy"]

    def test_the_deadline(self, run: Run, serve: Serve, directory: Path) -> None:
        stores.instance(directory, "slow", stores.node("n1", serve(silent).host), driver="remote")
        result = run("check", "slow", "--deadline", "200ms", "--probe-timeout", "1m", "--format", "json")
        assert result.status == 1
        assert result.json["builders"][0]["nodes"][0]["cause"] == "deadline_exceeded"

    def test_no_docker_where_a_node_needs_it(
        self, run: Run, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        stores.instance(directory, "kube", stores.node("k0", "kubernetes:///kube"), driver="kubernetes")
        result = run("check", "kube")
        assert result.status == 3
        assert "docker" in result.err


class TestUnknown:
    def test_a_builder(self, run: Run) -> None:
        result = run("check", "none")
        assert (result.status, result.out) == (3, "")
        (line,) = result.err.splitlines()
        assert "none" in line

    def test_a_builder_beside_a_known_one_does_not_hide_it(self, run: Run, good: str) -> None:
        result = run("check", "none", good, "--format", "json")
        assert result.status == 3
        assert {builder["name"]: builder["verdict"] for builder in result.json["builders"]} == {
            "good": "healthy",
            "none": "unhealthy",
        }
        assert "none" in result.err

    @pytest.mark.parametrize("option", ["--node", "--exclude"])
    def test_a_node(self, run: Run, good: str, option: str) -> None:
        result = run("check", good, option, "nobody")
        assert (result.status, result.out) == (3, "")
        (line,) = result.err.splitlines()
        assert "nobody" in line

    def test_the_builder_of_the_environment(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BUILDX_BUILDER", "none")
        result = run("check")
        assert result.status == 3
        (line,) = result.err.splitlines()
        assert "none" in line


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)


BAD_ENTRIES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.touch(),
    "truncated": lambda path: path.write_text('{"Name": "broken", "Nodes": [{"Name"'),
    "not-json": lambda path: path.write_text("<html>"),
    "not-text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "array": lambda path: path.write_text("[]"),
    "wrong-type": lambda path: path.write_text('{"Name": "broken", "Nodes": {"Name": "n"}}'),
    "bad-platform": lambda path: path.write_text('{"Name": "broken", "Nodes": [{"Name": "n", "Platforms": ["/"]}]}'),
    "no-nodes": lambda path: path.write_text('{"Name": "broken", "Nodes": []}'),
    "huge": _huge,
    "fifo": _fifo,
    "directory": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("write", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
class TestBadEntry:
    @pytest.fixture
    def path(self, directory: Path, write: Callable[[Path], object]) -> Path:
        path = directory / "instances" / "broken"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        return path

    def test_check_names_the_file(self, run: Run, path: Path) -> None:
        result = run("check", "broken")
        assert (result.status, result.out) == (3, "")
        (line,) = result.err.splitlines()
        assert str(path) in line

    def test_all_still_checks_the_others(self, run: Run, path: Path, good: str) -> None:
        result = run("check", "--all", "--format", "json")
        assert result.status == 3
        _validate(result.json)
        builders = {builder["name"]: builder for builder in result.json["builders"]}
        assert builders[good]["verdict"] == "healthy"
        assert str(path) in builders["broken"]["error"]
        assert str(path) in result.err

    def test_list_still_lists_the_others(self, run: Run, path: Path, good: str) -> None:
        result = run("list")
        assert result.status == 3
        assert good in result.out
        assert str(path) in result.err


def test_a_store_that_cannot_be_listed(run: Run, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "instances").touch()
    for arguments in (["check", "--all"], ["list"]):
        result = run(*arguments)
        assert (result.status, result.out) == (3, "")
        (line,) = result.err.splitlines()
        assert str(directory / "instances") in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--no-such-option"],
        ["check", "--all", "b"],
        ["check", "-v", "-q"],
        ["check", "--retries", "-1"],
        ["check", "--retries", "x"],
        ["check", "--concurrency", "0"],
        ["check", "--probe-timeout", "5"],
        ["check", "--probe-timeout", "0s"],
        ["check", "--boot-timeout", "soon"],
        ["check", "--deadline", "-5s"],
        ["check", "--format", "yaml"],
        ["check", "--advisory", "nobody-and-nothing"],
        ["list", "x"],
        ["no-such-command"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_wrong_usage_is_2_and_says_so_on_stderr(run: Run, arguments: Sequence[str]) -> None:
    result = run(*arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["-h"], ["check", "--help"], ["check", "-h"], ["list", "--help"], ["serve", "--help"]],
)
def test_help(run: Run, arguments: Sequence[str]) -> None:
    result = run(*arguments)
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("Usage: ")
    assert "\\b" not in result.out


@pytest.mark.parametrize("command", ["check", "serve"])
def test_builders_are_completed(directory: Path, command: str) -> None:
    for name in ("fleet", "flock", "other"):
        stores.instance(directory, name, stores.node("n1"))
    completion = ShellComplete(cli.cli, {}, "bxhealth", "_BXHEALTH_COMPLETE")
    assert [item.value for item in completion.get_completions([command], "fl")] == ["fleet", "flock"]


def test_the_help_of_check_has_the_exit_statuses_and_variables(run: Run) -> None:
    text = run("check", "--help").out
    for words in ("130", "BXHEALTH_PROBE_TIMEOUT", "BXHEALTH_DEADLINE", "--fail-fast"):
        assert words in text


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(run: Run, option: str) -> None:
    result = run(option)
    assert (result.status, result.err) == (0, "")
    assert result.out == f"bxhealth {bxhealth.__version__}\n"


def _options() -> list[tuple[str, click.Option]]:
    return [
        (f"{name} {parameter.opts[0]}", parameter)
        for name, command in cli.cli.commands.items()
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]


@pytest.mark.parametrize("option", [option for _, option in _options()], ids=[name for name, _ in _options()])
def test_every_option_has_a_variable_of_its_name(option: click.Option) -> None:
    long = next(name for name in option.opts if name.startswith("--"))
    assert option.envvar == "BXHEALTH_" + re.sub(r"\W", "_", long.removeprefix("--")).upper()


class TestEnvironment:
    def test_a_choice(self, run: Run, good: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BXHEALTH_FORMAT", "json")
        assert run("check", good).json["builders"][0]["name"] == good

    def test_a_flag(self, run: Run, good: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BXHEALTH_ALL", "1")
        builders = run("check", "--format", "json").json["builders"]
        assert [builder["name"] for builder in builders] == [good, "default"]

    def test_the_command_line_comes_first(self, run: Run, good: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BXHEALTH_FORMAT", "json")
        assert not run("check", good, "--format", "table").out.startswith("{")

    def test_many_nodes(self, run: Run, mixed: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BXHEALTH_NODE", "alive dead")
        nodes = run("check", mixed, "--format", "json").json["builders"][0]["nodes"]
        assert [node["name"] for node in nodes] == ["alive", "dead"]

    @pytest.mark.parametrize("name", ["BXHEALTH_PROBE_TIMEOUT", "BXHEALTH_RETRIES", "BXHEALTH_FORMAT"])
    def test_nonsense_is_wrong_usage(self, run: Run, good: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(name, "nonsense")
        result = run("check", good)
        assert (result.status, result.out) == (2, "")
        assert "nonsense" in result.err

    def test_timeouts(self, run: Run, serve: Serve, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BXHEALTH_PROBE_TIMEOUT", "100ms")
        stores.instance(directory, "slow", stores.node("n1", serve(silent).host), driver="remote")
        result = run("check", "slow", "--format", "json")
        node = result.json["builders"][0]["nodes"][0]
        assert (node["cause"], "0.1 s" in node["message"]) == ("daemon_unresponsive", True)


class TestChoice:
    def test_without_a_name_it_is_buildx_s_choice(self, run: Run, good: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BUILDX_BUILDER", good)
        assert run("check", "--format", "json").json["builders"][0]["name"] == good

    def test_only_some_nodes(self, run: Run, mixed: str) -> None:
        for arguments in (["--node", "alive"], ["--exclude", "dead"]):
            result = run("check", mixed, "--format", "json", *arguments)
            assert result.status == 0
            assert [node["name"] for node in result.json["builders"][0]["nodes"]] == ["alive"]

    def test_no_node_left_is_no_green_light(self, run: Run, good: str) -> None:
        result = run("check", good, "--exclude", "good0")
        assert (result.status, result.out) == (3, "")

    def test_a_builder_that_is_named_twice_is_checked_once(self, run: Run, good: str) -> None:
        assert len(run("check", good, good, "--format", "json").json["builders"]) == 1

    def test_all_are_the_contexts_too(self, run: Run, good: str) -> None:
        result = run("check", "--all", "--format", "json")
        assert [builder["name"] for builder in result.json["builders"]] == [good, "default"]
        assert result.json["builders"][1]["nodes"][0]["cause"] == "endpoint_refused"


class TestOutput:
    def test_json_keeps_to_the_schema(self, run: Run, mixed: str) -> None:
        result = run("check", mixed, "--format", "json")
        _validate(result.json)
        assert result.json["version"] == bxhealth.__version__
        nodes = {node["name"]: node for node in result.json["builders"][0]["nodes"]}
        assert nodes["alive"]["buildkit_version"] == "v0.21.0"
        assert nodes["dead"]["cause"] == "endpoint_refused"

    def test_attempts_are_told(self, run: Run, mixed: str) -> None:
        result = run("check", mixed, "--format", "json", "--retries", "2", "--retry-delay", "1ms")
        nodes = {node["name"]: node for node in result.json["builders"][0]["nodes"]}
        assert (nodes["alive"]["attempts"], nodes["dead"]["attempts"]) == (1, 3)

    def test_quiet_is_silent(self, run: Run, good: str, mixed: str) -> None:
        for name, status in ((good, 0), (mixed, 1)):
            assert run("check", "-q", name) == Result(status, "", "")

    def test_quiet_is_silent_about_what_could_not_be_checked(self, run: Run, directory: Path) -> None:
        stores.raw_instance(directory, "broken", b"")
        for arguments in (["none"], ["broken"], ["--all"], ["--node", "x", "default"]):
            assert run("check", "-q", *arguments) == Result(3, "", "")

    def test_what_a_node_s_name_holds_acts_on_no_terminal(self, run: Run, serve: Serve, directory: Path) -> None:
        name = "n\x1b[31m\nFAKE healthy\ud800"
        stores.instance(directory, "odd", stores.node(name, serve(healthy()).host), driver="remote")
        for arguments in (["check", "odd"], ["list"]):
            result = run(*arguments)
            assert result.status == 0
            assert "\x1b" not in result.out
            assert not any(line.startswith("FAKE") for line in result.out.splitlines())

    def test_verbose_shows_every_check(self, run: Run, good: str) -> None:
        assert "workers" not in run("check", good).out
        assert "workers" in run("check", "-v", good).out

    def test_verbose_explains_on_stderr(self, mixed: str) -> None:
        process = _process("check", "-v", mixed, "--retries", "1", "--retry-delay", "1ms", "--format", "json")
        out, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert json.loads(out)["verdict"] == "unhealthy"
        assert b"mixed/dead: attempt 1 failed" in err

    def test_a_defect_has_its_traceback_under_v(self, directory: Path) -> None:
        """An internal error is provoked from outside: a sitecustomize breaks what every driver needs."""
        site = directory.parent / "site"
        site.mkdir(parents=True)
        (site / "sitecustomize.py").write_text(
            "import bxhealth.transports as t\ndef broken(*_):\n    raise RuntimeError('provoked')\nt.dial = broken\n"
        )
        stores.instance(directory, "b", stores.node("n1", "tcp://127.0.0.1:1"), driver="remote")
        environment = os.environ | {"PYTHONPATH": str(site)}
        process = _process("check", "-v", "b", env=environment)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert b"internal_error" in out
        assert b"Traceback" in err

    def test_a_reader_that_has_seen_enough(self, good: str) -> None:
        read, write = os.pipe()
        os.close(read)
        process = subprocess.Popen(
            [sys.executable, "-m", "bxhealth", "check", good], stdout=write, stderr=subprocess.PIPE
        )
        os.close(write)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 128 + signal.SIGPIPE
        assert err == b""

    def test_a_full_disk_is_told(self, good: str) -> None:
        with Path("/dev/full").open("wb") as full:
            process = subprocess.Popen(
                [sys.executable, "-m", "bxhealth", "check", good], stdout=full, stderr=subprocess.PIPE
            )
            _, err = process.communicate(timeout=30)
        assert process.returncode == 3
        assert b"Traceback" not in err
        assert b"space" in err


class TestTerminal:
    def _on_a_terminal(self, *arguments: str, **environment: str) -> bytes:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "bxhealth", *arguments],
            stdout=theirs,
            stderr=subprocess.PIPE,
            env=os.environ | environment,
        )
        os.close(theirs)
        seen = b""
        try:
            while data := os.read(ours, 65536):
                seen += data
        except OSError:
            pass  # Linux says EIO when the last of the other side is closed
        process.communicate(timeout=30)
        os.close(ours)
        return seen

    def test_colour_on_a_terminal(self, mixed: str) -> None:
        assert b"\x1b[31m" in self._on_a_terminal("check", mixed, TERM="xterm")

    @pytest.mark.parametrize("environment", [{"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}])
    def test_none_where_it_is_not_wanted(self, mixed: str, environment: dict[str, str]) -> None:
        seen = self._on_a_terminal("check", mixed, **environment)
        assert b"dead" in seen
        assert b"\x1b" not in seen

    def test_none_in_a_file(self, run: Run, mixed: str) -> None:
        assert "\x1b" not in run("check", mixed).out


class TestSignals:
    @pytest.fixture
    def hanging(self, serve: Serve, directory: Path) -> tuple[Callable[[], int], str]:
        """A builder of one healthy node and one that hangs; how many nodes have been asked so far."""
        slow, quick = serve(silent), serve(healthy())
        nodes = [stores.node("quick", quick.host), stores.node("slow", slow.host)]
        stores.instance(directory, "hanging", *nodes, driver="remote")
        return lambda: slow.accepted and quick.handled, "hanging"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupt_ends_the_run_and_keeps_what_was_learnt(
        self, hanging: tuple[Callable[[], int], str], number: signal.Signals
    ) -> None:
        asked, name = hanging
        process = _process("check", name, "--probe-timeout", "10m", "--format", "json")
        until(asked, "one node has answered, and the other one was asked")
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert b"Traceback" not in err
        nodes = {node["name"]: node["status"] for node in json.loads(out)["builders"][0]["nodes"]}
        assert nodes == {"quick": "healthy", "slow": "skipped"}

    def test_an_interrupt_is_no_success_though_all_so_far_is_healthy(
        self, hanging: tuple[Callable[[], int], str]
    ) -> None:
        asked, name = hanging
        process = _process("check", name, "-q", "--probe-timeout", "10m")
        until(asked, "one node has answered, and the other one was asked")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == (b"", b"")
        assert process.returncode == 130


class TestPing:
    @pytest.fixture
    def switch(self, serve: Serve) -> tuple[Recorder, str]:
        """A dead man's switch, and its URL."""
        recorder = Recorder()
        return recorder, f"http://127.0.0.1:{serve(recorder).port}/id"

    def test_a_success(self, run: Run, good: str, switch: tuple[Recorder, str]) -> None:
        recorder, url = switch
        assert run("check", good, "-q", "--ping", url) == Result(0, "", "")
        assert recorder.asked == ["GET /id"]

    @pytest.mark.parametrize(
        ("arguments", "status"),
        [
            ([], 1),
            (["none"], 3),
            (["--node", "typo"], 3),
            (["--exclude", "alive", "--exclude", "dead"], 3),
            (["--report", "json=/no/such/directory/report"], 3),
            (["--advisory", "nobody-and-nothing"], 2),
            (["--all"], 2),
            (["-v"], 2),
        ],
    )
    def test_a_failure(
        self, run: Run, mixed: str, switch: tuple[Recorder, str], arguments: Sequence[str], status: int
    ) -> None:
        recorder, url = switch
        names = [] if arguments == ["none"] else [mixed]
        assert run("check", "-q", "--ping", url, *names, *arguments).status == status
        assert recorder.asked == ["GET /id/fail"]

    def test_an_interrupt_before_anything_is_asked(
        self, run: Run, good: str, switch: tuple[Recorder, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recorder, url = switch
        monkeypatch.setattr(cli, "_check", _raising(KeyboardInterrupt()))
        assert run("check", good, "--ping", url).status == 130
        assert recorder.asked == ["GET /id/fail"]

    @pytest.mark.parametrize("name", ["_check", "_pushed"])
    def test_a_defect(
        self, run: Run, good: str, switch: tuple[Recorder, str], monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        recorder, url = switch
        monkeypatch.setattr(cli, name, _raising(RuntimeError("provoked")))
        with pytest.raises(RuntimeError, match="provoked"):
            run("check", good, "--push", "http://unused.example", "--ping", url)
        assert recorder.asked == ["GET /id/fail"]

    def test_an_interrupt_of_the_ping_is_not_told_once_more(
        self, run: Run, good: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = []

        def interrupted(url: str, *, succeeded: bool) -> bool:
            calls.append((url, succeeded))
            raise KeyboardInterrupt

        monkeypatch.setattr(cli, "_pinged", interrupted)
        assert run("check", good, "-q", "--ping", "http://h").status == 130
        assert calls == [("http://h", True)]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupted_run_is_a_failure_and_pushes_nothing(
        self, serve: Serve, directory: Path, switch: tuple[Recorder, str], number: signal.Signals
    ) -> None:
        recorder, url = switch
        slow, gateway = serve(silent), Recorder()
        stores.instance(directory, "slow", stores.node("n1", slow.host), driver="remote")
        push = f"http://127.0.0.1:{serve(gateway).port}"
        process = _process("check", "slow", "-q", "--probe-timeout", "10m", "--ping", url, "--push", push)
        until(lambda: slow.accepted, "the node was asked")
        process.send_signal(number)
        assert process.communicate(timeout=30) == (b"", b"")
        assert process.returncode == 130
        assert recorder.asked == ["GET /id/fail"]
        assert gateway.asked == []

    @pytest.mark.parametrize(
        ("arguments", "status"), [([], 0), (["--strict"], 1), (["--node", "typo"], 3), (["--all"], 2)]
    )
    def test_one_that_fails_warns(self, run: Run, good: str, arguments: Sequence[str], status: int) -> None:
        port = unused_port()
        result = run("check", good, "--ping", f"http://127.0.0.1:{port}/SECRET", *arguments)
        assert result.status == status
        assert f"bxhealth: warning: --ping failed: http://127.0.0.1:{port}: Connection refused\n" in result.err
        assert "SECRET" not in result.err

    @pytest.mark.parametrize(("arguments", "status", "path"), [([], 0, "/id"), (["--strict"], 1, "/id/fail")])
    def test_a_push_that_fails_counts_with_strict_only(
        self, run: Run, good: str, switch: tuple[Recorder, str], arguments: Sequence[str], status: int, path: str
    ) -> None:
        recorder, url = switch
        result = run("check", good, "--push", f"http://127.0.0.1:{unused_port()}", "--ping", url, *arguments)
        assert result.status == status
        assert "warning: --push failed: " in result.err
        assert recorder.asked == [f"GET {path}"]


def _raising(error: BaseException) -> Callable[..., NoReturn]:
    def call(*_: object) -> NoReturn:
        raise error

    return call


class TestList:
    def test_builders_and_nodes(self, run: Run, mixed: str) -> None:
        result = run("list")
        assert (result.status, result.err) == (0, "")
        rows = [line.split() for line in result.out.splitlines()]
        assert ["alive", "remote"] in [row[1:3] for row in rows]
        assert [row[1] for row in rows if row[0] == mixed] == ["alive", "dead"]

    def test_nobody_is_contacted(self, run: Run, serve: Serve, directory: Path) -> None:
        server = serve(silent)
        stores.instance(directory, "b", stores.node("n1", server.host), driver="remote")
        assert run("list").status == 0
        assert server.accepted == 0

    def test_the_current_builder_is_marked(
        self, run: Run, good: str, mixed: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BUILDX_BUILDER", mixed)
        names = {line.split()[0] for line in run("list").out.splitlines()}
        assert {f"{mixed}*", good} <= names

    def test_a_current_builder_that_is_unknown_hides_nothing(
        self, run: Run, good: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BUILDX_BUILDER", "none")
        result = run("list")
        assert result.status == 0
        assert good in result.out
        assert "*" not in result.out

    def test_json(self, run: Run, good: str) -> None:
        document = run("list", "--format", "json").json
        (found,) = [builder for builder in document if builder["name"] == good]
        assert (found["driver"], found["current"]) == ("remote", False)
        assert [node["name"] for node in found["nodes"]] == ["good0"]


def test_as_a_module() -> None:
    process = _process("--version")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, f"bxhealth {bxhealth.__version__}\n".encode(), b"")


@pytest.mark.parametrize(
    "code",
    ["import bxhealth.cli", "import sys, bxhealth.cli; sys.argv = ['bxhealth', 'list']; bxhealth.cli.main()"],
    ids=["import", "list"],
)
def test_start_up_imports_nothing_that_a_run_may_not_need(code: str, good: str) -> None:  # noqa: ARG001
    script = f"import atexit, sys\natexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))\n{code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "bxhealth" in loaded
    assert not loaded & {"h2", "hpack", "python_on_whales", "rich", "google", "pydantic", "docker", "grpc"}


def test_a_check_of_native_nodes_imports_no_python_on_whales(good: str) -> None:
    """It takes longer to import than a healthy builder takes to check."""
    script = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))\n"
        f"import bxhealth.cli\nsys.argv = ['bxhealth', 'check', '-q', {good!r}]\nbxhealth.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert not {name.partition(".")[0] for name in done.stderr.split()} & {"python_on_whales", "rich", "pydantic"}
