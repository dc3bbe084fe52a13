"""The canary's build: a real one, on one node and for one platform, without network and without a registry."""

from __future__ import annotations

from bxhealth.buildx import Buildx
from bxhealth.canary import elf
from bxhealth.deadline import Deadline
from bxhealth.model import Builder, Node
from bxhealth.processes import Finished

DOCKERFILE = b'FROM scratch\nCOPY canary /canary\nRUN --network=none ["/canary"]\n'
"""`--network=none`, since an engine without a bridge network fails every other RUN."""
OPTIONS = ("--no-cache", "--provenance=false", "--sbom=false", "--output=type=cacheonly", "--progress=plain")
"""Nothing is taken from a cache, exported, or attested."""


def architecture(platform: str) -> str | None:
    """The architecture of a platform that there is a canary for; None for any other."""
    os, _, rest = platform.partition("/")
    name = rest.partition("/")[0]
    return name if os == "linux" and name in elf.ARCHITECTURES else None


def run(buildx: Buildx, builder: Builder, node: Node, platform: str, deadline: Deadline) -> Finished:
    """Build the canary of a platform that has one.

    Returns and raises as `Buildx.run` does.
    """
    name = architecture(platform)
    assert name is not None
    files = {"canary/canary": elf.program(name), "canary/Dockerfile": DOCKERFILE}
    arguments = ["build", "--builder", builder.name, "--platform", platform, *OPTIONS, "{private}/canary"]
    return buildx.run(builder, node, arguments, deadline, files)
