"""Rules: docker/cli, `cli/config`, and docker/docker-credential-helpers (an error is on stdout)."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bxhealth.credentials import Credentials, find
from bxhealth.deadline import Cancellation, Deadline
from bxhealth.docker_config import DockerConfig
from bxhealth.errors import Cancelled, NodeFailure, StoreError
from bxhealth.model import Cause
from tests.awaiting import gone, until

Program = Callable[[str, str], Path]
HUB = "https://index.docker.io/v1/"
HOST = "registry.example:5000"
SECRET = "s3cret-of-nobody-else"


def _write(content: Any) -> DockerConfig:
    config = DockerConfig(os.environ)
    config.directory.mkdir(parents=True, exist_ok=True)
    (config.directory / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return config


def _auth(user: str = "me", password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def _find(content: Any, host: str = HOST, seconds: float = 10, cancellation: Cancellation | None = None) -> Credentials:
    return find(_write(content), host, Deadline(seconds, cancellation))


def _failure(content: Any, host: str = HOST, seconds: float = 10) -> NodeFailure:
    with pytest.raises(NodeFailure) as raised:
        _find(content, host, seconds)
    told, chained = raised.value, raised.value.__cause__
    assert SECRET not in f"{told} {told.message} {told!r} {chained!r}"
    return told


class TestOfTheFile:
    @pytest.mark.parametrize(
        ("host", "key"),
        [
            (HOST, HOST),
            (HOST, f"https://{HOST}"),
            (HOST, f"http://{HOST}"),
            (HOST, f"https://{HOST}/v1/"),
            ("docker.io", HUB),
            ("index.docker.io", HUB),
            ("registry-1.docker.io", HUB),
        ],
    )
    def test_under_every_spelling_of_the_registry(self, host: str, key: str) -> None:
        content = {"auths": {"another.example": _auth("you", "no"), key: _auth()}}
        assert _find(content, host) == Credentials("me", SECRET)

    @pytest.mark.parametrize("key", ["registry.example", "registry.example:5001", f"my.{HOST}", f"{HOST}.evil.example"])
    def test_another_registry_s_are_not_used(self, key: str) -> None:
        assert _failure({"auths": {key: _auth()}}).cause is Cause.CREDENTIALS_MISSING

    @pytest.mark.parametrize(
        ("entry", "expected"),
        [
            ({"username": "me", "password": SECRET}, Credentials("me", SECRET)),
            (_auth(password=f"{SECRET}:with:colons"), Credentials("me", f"{SECRET}:with:colons")),
            (_auth(password=f"{SECRET}\0\0"), Credentials("me", SECRET)),
            (_auth("", "") | {"identitytoken": SECRET}, Credentials("", identity_token=SECRET)),
            (_auth("<token>", "") | {"identitytoken": SECRET}, Credentials("<token>", identity_token=SECRET)),
        ],
    )
    def test_every_form(self, entry: dict[str, str], expected: Credentials) -> None:
        assert _find({"auths": {HOST: entry}}) == expected

    @pytest.mark.parametrize(
        "content",
        [
            {},
            {"auths": {}},
            {"auths": None},
            {"auths": {HOST: {}}},
            {"auths": {HOST: None}},
            {"auths": {HOST: {"auth": "not base64!"}}},
            {"auths": {HOST: {"auth": "/w=="}}},
            {"auths": {HOST: _auth(password="")}},
        ],
    )
    def test_nobody_is_logged_in(self, content: Any) -> None:
        failure = _failure(content)
        assert failure.cause is Cause.CREDENTIALS_MISSING
        assert HOST in failure.message

    def test_without_a_file(self) -> None:
        with pytest.raises(NodeFailure) as raised:
            find(DockerConfig(os.environ), HOST, Deadline(10))
        assert raised.value.cause is Cause.CREDENTIALS_MISSING

    @pytest.mark.parametrize("content", ["{", "[]", '{"auths": []}', '{"credsStore": 1}', '{"credHelpers": "x"}'])
    def test_a_file_that_cannot_be_read_is_named(self, content: str) -> None:
        with pytest.raises(StoreError, match=r"config\.json"):
            _find(content)


STORE = {"credsStore": "mine"}


class TestOfAHelper:
    def test_one_that_takes_its_time(self, program: Program, tmp_path: Path) -> None:
        """It takes longer than any single wait for it."""
        answer = json.dumps({"ServerURL": HOST, "Username": "me", "Secret": SECRET})
        program(
            "docker-credential-mine",
            f"echo $# $1 >'{tmp_path}/words'; cat >'{tmp_path}/stdin'; sleep 0.3; echo '{answer}'",
        )
        assert _find(STORE) == Credentials("me", SECRET)
        assert (tmp_path / "words").read_text() == "1 get\n"
        assert (tmp_path / "stdin").read_text() == HOST

    @pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
    def test_it_knows_the_hub_by_its_old_address(self, program: Program, tmp_path: Path, host: str) -> None:
        program(
            "docker-credential-mine", f"""cat >'{tmp_path}/stdin'; echo '{{"Username":"me","Secret":"{SECRET}"}}'"""
        )
        assert _find(STORE, host) == Credentials("me", SECRET)
        assert (tmp_path / "stdin").read_text() == HUB

    def test_an_identity_token(self, program: Program) -> None:
        program("docker-credential-mine", f"""cat >/dev/null; echo '{{"Username":"<token>","Secret":"{SECRET}"}}'""")
        found = _find(STORE)
        assert (found.identity_token, found.password) == (SECRET, "")

    def test_the_registry_s_own_helper_comes_before_the_store_and_that_before_the_file(self, program: Program) -> None:
        for name in ("own", "store"):
            program(f"docker-credential-{name}", f"""cat >/dev/null; echo '{{"Username":"{name}","Secret":"x"}}'""")
        content: dict[str, Any] = {"auths": {HOST: _auth("file")}}
        assert _find(content).user == "file"
        content["credsStore"] = "store"
        assert _find(content).user == "store"
        content["credHelpers"] = {"another.example": "none"}
        assert _find(content).user == "store"
        content["credHelpers"] = {HOST: "own"}
        assert _find(content).user == "own"

    @pytest.mark.parametrize(
        "script",
        [
            "echo 'credentials not found in native keychain'; exit 1",
            "echo 'credentials not found in native keychain' >&2; exit 1",
            """echo '{"Username":"me","Secret":""}'""",
        ],
    )
    def test_it_knows_none(self, program: Program, script: str) -> None:
        program("docker-credential-mine", f"cat >/dev/null; {script}")
        assert _failure(STORE).cause is Cause.CREDENTIALS_MISSING

    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("echo 'pass not initialized'; echo more; exit 3", "3: pass not initialized"),
            ("echo 'no bus' >&2; exit 1", "1: no bus"),
            ("exit 7", "7: no word"),
            ("kill -9 $$", "-9"),
        ],
    )
    def test_its_own_words_on_a_failure(self, program: Program, script: str, words: str) -> None:
        program("docker-credential-mine", f"cat >/dev/null; {script}")
        failure = _failure(STORE)
        assert failure.cause is Cause.CREDENTIAL_HELPER_FAILED
        assert "docker-credential-mine" in failure.message
        assert words in failure.message
        assert "\n" not in failure.message

    @pytest.mark.parametrize(
        "answer",
        [
            SECRET,
            "",
            f'["{SECRET}"]',
            f'{{"Secret": "{SECRET}"}}',
            '{"Username": "me"}',
            "null",
            f'{{"Secret":"{SECRET}',
        ],
    )
    def test_what_is_no_answer_is_not_quoted_since_it_may_hold_a_secret(self, program: Program, answer: str) -> None:
        program("docker-credential-mine", f"cat >/dev/null; echo '{answer}'")
        failure = _failure(STORE)
        assert failure.cause is Cause.CREDENTIAL_HELPER_FAILED
        assert failure.__suppress_context__

    def test_one_that_is_not_installed(self, program: Program) -> None:
        program("unrelated", "true")
        failure = _failure({"credsStore": "missing"})
        assert failure.cause is Cause.CREDENTIAL_HELPER_FAILED
        assert "docker-credential-missing" in failure.message

    def test_one_that_does_not_read_its_input(self, program: Program) -> None:
        program("docker-credential-mine", f"""exec <&-; echo '{{"Username":"me","Secret":"{SECRET}"}}'""")
        assert _find(STORE).password == SECRET

    def test_one_that_does_not_end_is_ended(self, program: Program, tmp_path: Path) -> None:
        program("docker-credential-mine", f"echo $$ >'{tmp_path}/pid'; exec sleep 600")
        failure = _failure(STORE, seconds=0.5)
        assert failure.cause is Cause.CREDENTIAL_HELPER_FAILED
        assert "0.5 s" in failure.message
        until(lambda: gone((tmp_path / "pid").read_text().strip()), "the helper is gone")

    def test_one_that_runs_when_the_run_is_called_off(self, program: Program, tmp_path: Path) -> None:
        pid = tmp_path / "pid"
        program("docker-credential-mine", f"echo $$ >'{pid}'; exec sleep 600")
        cancellation = Cancellation()

        def call_off() -> None:
            until(lambda: pid.exists() and pid.read_text().endswith("\n"), "the helper runs")
            cancellation.cancel()

        caller = threading.Thread(target=call_off)
        caller.start()
        with pytest.raises(Cancelled):
            _find(STORE, seconds=60, cancellation=cancellation)
        caller.join()
        until(lambda: gone(pid.read_text().strip()), "the helper is gone")


def test_no_secret_is_shown() -> None:
    shown = f"{Credentials('me', SECRET)!r} {Credentials('<token>', identity_token=SECRET)}"
    assert "me" in shown
    assert SECRET not in shown
