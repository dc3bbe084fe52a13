"""Whether the node can resolve an image by itself, with the client's credentials, for each platform it declares.

BuildKit's lint request (`docker buildx build --call=check`) loads the metadata of the base image and no layer. It
takes the platform from the `FROM` line only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from bxhealth import processes
from bxhealth.buildx import last_words
from bxhealth.checks.interface import Probe
from bxhealth.concurrent import all_at_once
from bxhealth.deadline import Deadline
from bxhealth.model import Cause, CheckResult, Status
from bxhealth.processes import Finished

_CALL = ("--call=check,format=json",)
_PRINT = ("--print=lint,format=json",)
"""How buildx before v0.15 spells it; it wants BUILDX_EXPERIMENTAL=1."""

# The words are containerd's resolver's and BuildKit's lint rule's
_CAUSES = (
    ("no match for platform in manifest", Cause.PLATFORM_MISSING),
    ("was pulled with platform", Cause.PLATFORM_MISSING),
    ("insufficient_scope", Cause.REGISTRY_DENIED),
    ("authorization failed", Cause.REGISTRY_DENIED),
    ("no basic auth credentials", Cause.REGISTRY_DENIED),
    ("unauthorized", Cause.REGISTRY_DENIED),
    ("403 forbidden", Cause.REGISTRY_DENIED),
    ("failed to fetch anonymous token", Cause.REGISTRY_DENIED),
    ("denied", Cause.REGISTRY_DENIED),
    ("invalid reference format", Cause.IMAGE_NOT_FOUND),
    (": not found", Cause.IMAGE_NOT_FOUND),
)
_UNREACHABLE = (
    "dial tcp",
    "lookup ",
    "x509:",
    "tls: ",
    "i/o timeout",
    "connection reset",
    "server gave http response",
)
_ADDRESS = re.compile(r"https?://\S+")
_NO_ANSWER = ("unexpected status from", "failed to do request", "failed to resolve source metadata")
_ERROR = re.compile(r"^(?:#\d+ )?ERROR: (?P<words>.+)|(?P<rule>.*was pulled with platform.*)$", re.MULTILINE)
"""What BuildKit says of a step that failed, or buildx of it all; the older buildx ends with 0 even then."""
_NO_LINT = ("unsupported request", "unknown request", "not supported by", "unsupported option requestid")


def check(probe: Probe) -> Sequence[CheckResult]:
    """See `interface.Check`; one answer an image and platform, all asked at once."""
    platforms = probe.node.platforms or probe.reached.offered[:1]
    questions = [partial(_ask, probe, image, platform) for image in probe.options.pull for platform in platforms]
    return all_at_once(questions, probe.cancellation.waiting)


def _ask(probe: Probe, image: str, platform: str) -> CheckResult:
    target = f"{image} ({platform})"
    deadline = Deadline(probe.options.limits.boot_timeout, probe.cancellation)
    finished = _lint(probe, image, platform, deadline, _CALL)
    if "unknown flag: --call" in finished.stderr:
        finished = _lint(probe, image, platform, deadline, _PRINT)
    if finished.status == processes.STOPPED:
        return _failed(Cause.REGISTRY_UNREACHABLE, f"no answer within {deadline.seconds:.3g} s", target)
    output = f"{finished.stderr}\n{finished.stdout}"
    if any(words in output for words in _NO_LINT):
        return CheckResult("pull", Status.SKIPPED, message="this BuildKit is too old to ask", target=target)
    errors = [match["words"] or match["rule"] for match in _ERROR.finditer(output)]
    doing = f"resolving {image} for {platform}"
    if errors:
        # the image's name, or an address with it, could hold a word that would be taken for the registry's
        said = _ADDRESS.sub("", " ".join(errors).replace(image, "")).lower()
        return _failed(_cause(said), f"{doing}: {_readable(errors[0])}", target)
    if finished.status and "ruleName" not in output:
        # a warning of the linter ends with 1 as well, and says nothing about the image
        return _failed(Cause.BUILD_FAILED, f"{doing}: {last_words(finished)}", target)
    return CheckResult("pull", Status.HEALTHY, target=target)


def _lint(probe: Probe, image: str, platform: str, deadline: Deadline, request: Sequence[str]) -> Finished:
    dockerfile = f"FROM --platform={platform} {image}\n".encode()
    arguments = ["build", "--builder", probe.builder.name, *request, "{private}/pull"]
    return probe.buildx.run(
        probe.builder, probe.node, arguments, deadline, {"pull/Dockerfile": dockerfile}, experimental=True
    )


def _cause(said: str) -> Cause:
    if any(words in said for words in _UNREACHABLE):
        return Cause.REGISTRY_UNREACHABLE
    found = next((cause for words, cause in _CAUSES if words in said), None)
    return found or (Cause.REGISTRY_UNREACHABLE if any(w in said for w in _NO_ANSWER) else Cause.BUILD_FAILED)


def _readable(error: str) -> str:
    """An error, or the line of the linter's JSON that holds one, as a sentence."""
    return error.strip().strip('",').removeprefix('detail": "').replace('\\"', "'")


def _failed(cause: Cause, message: str, target: str) -> CheckResult:
    return CheckResult("pull", Status.UNHEALTHY, cause, message, target)
