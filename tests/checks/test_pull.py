"""The words are those of BuildKit's resolver (containerd `remotes/docker`), of its linter and of buildx."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

import pytest

from bxhealth import processes
from bxhealth.checks import CHECKS
from bxhealth.errors import Cancelled
from bxhealth.model import Cause, CheckResult, Status
from bxhealth.options import Limits, Options
from bxhealth.processes import Finished
from tests.checks.probes import Call, FakeBuildx, always, probe

AMD, ARM = "linux/amd64", "linux/arm64"
HEAD = 'Head "https://h/v2/x/manifests/1"'
RESOLVING = "h/x:1: failed to resolve source metadata for h/x:1"
DENIED = (
    "pull access denied, repository does not exist or may require authorization: "
    "server message: insufficient_scope: authorization failed"
)


def _lint(rule: str, detail: str) -> str:
    """The answer to `--call=check,format=json`."""
    warning = {"ruleName": rule, "description": "", "detail": detail, "location": {"ranges": [{"start": {"line": 1}}]}}
    return json.dumps(
        {"warnings": [warning], "sources": [{"filename": "Dockerfile", "language": "Dockerfile"}]}, indent=2
    )


WRONG_PLATFORM = _lint(
    "InvalidBaseImagePlatform",
    f'Base image h/x:1 was pulled with platform "{AMD}", expected "{ARM}" for current build',
)
CONSTANT_PLATFORM = _lint(
    "FromPlatformFlagConstDisallowed", f'FROM --platform flag should not use constant value "{ARM}"'
)


def _failed(words: str) -> str:
    """What buildx writes with `--progress=plain` when the metadata of the image cannot be loaded."""
    return (
        "#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n\n"
        f"#3 [internal] load metadata for h/x:1\n#3 ERROR: {words}\n------\n"
        f" > [internal] load metadata for h/x:1:\n------\nERROR: failed to build: failed to solve: {words}\n"
    )


def _ask(
    buildx: FakeBuildx,
    *images: str,
    declared: tuple[str, ...] = (ARM,),
    offered: Sequence[str] = (AMD, ARM),
) -> Sequence[CheckResult]:
    return CHECKS["pull"](probe(Options(pull=images), buildx, declared=declared, workers=[offered]))


def test_not_asked_where_no_image_is_given() -> None:
    buildx = FakeBuildx()
    assert not _ask(buildx)
    assert not buildx.calls


def test_the_request_names_image_and_platform_and_builds_nothing() -> None:
    buildx = FakeBuildx()
    (result,) = _ask(buildx, "h/x:1")
    assert (result.name, result.status, result.cause) == ("pull", Status.HEALTHY, None)
    (call,) = buildx.calls
    assert (call.builder, call.node, call.seconds) == ("fleet", "n1", Limits().boot_timeout)
    assert call.arguments == ("build", "--builder", "fleet", "--call=check,format=json", "{private}/pull")
    assert call.files == {"pull/Dockerfile": b"FROM --platform=linux/arm64 h/x:1\n"}


@pytest.mark.parametrize(
    ("declared", "offered", "platforms"),
    [((), (AMD, ARM), [AMD]), ((ARM, AMD), (AMD,), [ARM, AMD]), ((), (), [])],
)
def test_every_image_is_asked_for_on_every_platform(
    declared: tuple[str, ...], offered: Sequence[str], platforms: Sequence[str]
) -> None:
    results = _ask(FakeBuildx(), "h/x:1", "h/y", declared=declared, offered=offered)
    assert [result.target for result in results] == [f"{i} ({p})" for i in ("h/x:1", "h/y") for p in platforms]


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (f"failed to do request: {HEAD}: dial tcp 10.0.0.1:443: connect: connection refused", "registry_unreachable"),
        (f"failed to do request: {HEAD}: dial tcp: lookup h on 10.0.0.2:53: no such host", "registry_unreachable"),
        (f"failed to do request: {HEAD}: dial tcp 10.0.0.1:443: i/o timeout", "registry_unreachable"),
        (f"{HEAD}: x509: certificate signed by unknown authority", "registry_unreachable"),
        (f"{HEAD}: tls: failed to verify certificate", "registry_unreachable"),
        (f"{HEAD}: http: server gave HTTP response to HTTPS client", "registry_unreachable"),
        (f"{HEAD}: read tcp 10.0.0.3:5->10.0.0.1:443: read: connection reset by peer", "registry_unreachable"),
        (f"failed to do request: {HEAD}: EOF", "registry_unreachable"),
        (
            "failed to authorize: failed to fetch anonymous token: "
            'Get "https://auth.h/token?service=h": dial tcp 10.0.0.1:443: connect: connection refused',
            "registry_unreachable",
        ),
        (
            "unexpected status from HEAD request to https://h/v2/x/manifests/1: 500 Internal Server Error",
            "registry_unreachable",
        ),
        ("unexpected status from HEAD request to https://h/v2/x/manifests/1: 401 Unauthorized", "registry_denied"),
        ("unexpected status from HEAD request to https://h/v2/x/manifests/1: 403 Forbidden", "registry_denied"),
        (DENIED, "registry_denied"),
        (
            "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized",
            "registry_denied",
        ),
        ("no basic auth credentials", "registry_denied"),
        (f"{RESOLVING}: h/x:1: not found", "image_not_found"),
        ("failed to parse stage name: invalid reference format", "image_not_found"),
        (f"{RESOLVING}: no match for platform in manifest: not found", "platform_missing"),
        ("failed to read dockerfile: failed to mount: no space left on device", "build_failed"),
        ("failed to create lease: database not open", "build_failed"),
    ],
)
@pytest.mark.parametrize("status", [0, 1])
def test_why_an_image_cannot_be_resolved(words: str, cause: str, status: int) -> None:
    """The older buildx ends with 0 even then."""
    (result,) = _ask(always(status, _failed(words)), "h/x:1")
    assert (result.status, result.cause) == (Status.UNHEALTHY, Cause(cause))
    assert result.target == f"h/x:1 ({ARM})"
    assert words in result.message
    assert "\n" not in result.message
    assert "h/x:1" in result.message
    assert ARM in result.message


@pytest.mark.parametrize("stderr", [f"#3 ERROR: {DENIED}\n", f"ERROR: {DENIED}\n"])
def test_an_error_is_found_in_either_place(stderr: str) -> None:
    (result,) = _ask(always(1, stderr), "h/x:1")
    assert result.cause is Cause.REGISTRY_DENIED


@pytest.mark.parametrize("status", [0, 1])
def test_an_image_for_another_platform(status: int) -> None:
    (result,) = _ask(always(status, stdout=WRONG_PLATFORM), "h/x:1")
    assert (result.status, result.cause) == (Status.UNHEALTHY, Cause.PLATFORM_MISSING)
    assert f"expected '{ARM}' for current build" in result.message
    assert '"detail"' not in result.message


@pytest.mark.parametrize("status", [0, 1])
def test_a_warning_of_the_linter_about_our_own_dockerfile_is_none_about_the_image(status: int) -> None:
    (result,) = _ask(always(status, stdout=CONSTANT_PLATFORM), "h/x:1")
    assert (result.status, result.cause, result.message) == (Status.HEALTHY, None, "")


def test_an_older_buildx_is_asked_in_its_own_words() -> None:
    def answer(call: Call) -> Finished:
        if any(word.startswith("--call") for word in call.arguments):
            return Finished(125, "", "unknown flag: --call\nSee 'docker buildx build --help'.\n")
        return Finished(0, "", _failed(f"{RESOLVING}: h/x:1: not found"))

    buildx = FakeBuildx(answer)
    (result,) = _ask(buildx, "h/x:1")
    assert result.cause is Cause.IMAGE_NOT_FOUND
    assert [call.arguments[3] for call in buildx.calls] == ["--call=check,format=json", "--print=lint,format=json"]
    assert buildx.calls[1].experimental
    assert buildx.calls[1].files == buildx.calls[0].files


@pytest.mark.parametrize("words", ["unsupported request lint", "unsupported option requestid"])
def test_a_buildkit_that_knows_no_linter_is_skipped_with_the_reason(words: str) -> None:
    (result,) = _ask(always(1, f"ERROR: failed to solve: {words}\n"), "h/x:1")
    assert (result.status, result.cause) == (Status.SKIPPED, None)
    assert "too old" in result.message


def test_no_answer_in_time() -> None:
    (result,) = _ask(always(processes.STOPPED, "#3 [internal] load metadata for h/x:1\n"), "h/x:1")
    assert (result.status, result.cause) == (Status.UNHEALTHY, Cause.REGISTRY_UNREACHABLE)
    assert "120 s" in result.message


def test_a_failure_without_a_word_is_a_failure() -> None:
    (result,) = _ask(always(2), "h/x:1")
    assert (result.status, result.cause) == (Status.UNHEALTHY, Cause.BUILD_FAILED)
    assert "status 2" in result.message


@pytest.mark.parametrize(
    "image",
    [
        "h/access-denied:1",
        "h/unauthorized",
        "h/insufficient_scope:1",
        "h/team/no-dial-tcp:denied",
        "denied.example/x:1",
    ],
)
def test_the_name_of_an_image_is_not_taken_for_the_registry_s_words(image: str) -> None:
    words = f"{image}: failed to resolve source metadata for {image}: {image}: not found"
    (result,) = _ask(always(1, f"ERROR: {words}\n"), image)
    assert result.cause is Cause.IMAGE_NOT_FOUND
    assert image in result.message


def test_nor_is_the_address_of_its_manifest() -> None:
    """The address has the name in parts (`/v2/NAME/manifests/TAG`), so that it is not found as a whole."""
    words = "unexpected status from HEAD request to https://h/v2/denied/manifests/1: 500 Internal Server Error"
    (result,) = _ask(always(1, f"ERROR: {words}\n"), "h/denied:1")
    assert result.cause is Cause.REGISTRY_UNREACHABLE


def test_all_are_asked_at_once_and_judged_apart() -> None:
    meeting = threading.Barrier(4, timeout=10)

    def answer(call: Call) -> Finished:
        meeting.wait()  # passes only if all of them run at the same time
        missing = b"h/y" in call.files["pull/Dockerfile"] and b"arm64" in call.files["pull/Dockerfile"]
        return Finished(1, "", "ERROR: h/y: not found\n") if missing else Finished(0, "", "")

    results = _ask(FakeBuildx(answer), "h/x", "h/y", declared=(AMD, ARM))
    assert [result.cause for result in results] == [None, None, None, Cause.IMAGE_NOT_FOUND]


def test_a_run_that_was_called_off_is_no_answer() -> None:
    def answer(_: Call) -> Finished:
        raise Cancelled

    with pytest.raises(Cancelled):
        _ask(FakeBuildx(answer), "h/x", "h/y")
