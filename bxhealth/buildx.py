"""What only buildx can do, on one node alone: inspect it, bootstrap it, build on it.

For a builder of several nodes buildx's exit status says nothing about each of them (`builder/builder.go`, `Boot`).
So each node gets a private store with a builder of the same name that has only this node, hence the same
container or pod; contexts and credentials stay where they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bxhealth import processes
from bxhealth.deadline import Cancellation, Deadline
from bxhealth.model import Builder, Node
from bxhealth.processes import Finished, Runner, by_python_on_whales, directly

_RULE = re.compile(r"^-{3,}$", re.MULTILINE)
_TIME = re.compile(r"^\d+\.\d+ ")
_NOISE = re.compile(r"^(#\d+ |-+$|$)")


class Buildx:
    """Buildx, for one node at a time."""

    def inspect(self, builder: Builder, node: Node, deadline: Deadline) -> Finished:
        """`docker buildx inspect` of the one node, with only those platforms that its workers list.

        Raises as `run` does.
        """
        # buildx would list those that were given by hand as well, and then nothing could tell them apart
        undeclared = {key: value for key, value in node.stored.items() if key != "Platforms"}
        return self.run(builder, replace(node, stored=undeclared), ["inspect", builder.name], deadline)

    def bootstrap(self, builder: Builder, node: Node, deadline: Deadline, give_up: Cancellation) -> Finished:
        """`docker buildx inspect --bootstrap` of the one node, ended early by `give_up`. Raises as `run` does."""
        return self.run(
            builder,
            node,
            ["inspect", "--bootstrap", builder.name],
            deadline,
            give_up=give_up,
            runner=by_python_on_whales,
        )

    def run(
        self,
        builder: Builder,
        node: Node,
        arguments: Sequence[str],
        deadline: Deadline,
        files: Mapping[str, bytes] | None = None,
        give_up: Cancellation | None = None,
        *,
        experimental: bool = False,
        runner: Runner = directly,
    ) -> Finished:
        """Run `docker buildx` with these arguments in a private directory, `{private}`, with these `files`.

        Returns:
            What became of it, with status `processes.STOPPED` if it took longer than `deadline`.

        Raises:
            CliUnavailable: there is no docker CLI, or it has no buildx.
            Cancelled: the run was called off.
        """
        store = {**builder.stored, "Nodes": [node.stored]}
        instance = {} if builder.is_context else {f"instances/{builder.name.lower()}": json.dumps(store).encode()}
        context = ["--context", builder.name] if builder.is_context else []
        return processes.docker(
            [*context, "buildx", *arguments],
            deadline,
            files={**instance, **(files or {})},
            environment={
                "BUILDX_CONFIG": "{private}",
                "TMPDIR": "{private}",
                "BUILDKIT_PROGRESS": "plain",
                **({"BUILDX_EXPERIMENTAL": "1"} if experimental else {}),
            },
            give_up=give_up,
            runner=runner,
        )


def failed_step(finished: Finished, lines: int = 3) -> str:
    """The last lines that the failed step of a build wrote, in one line; nothing where none is told of.

    Buildx shows them between two rules, under the step's name (`util/progress/progressui` in moby/buildkit).
    """
    blocks = _RULE.split(finished.stderr)
    told = [block for block in blocks if block.lstrip().startswith("> [")]
    if not told:
        return ""
    output = [_TIME.sub("", line).strip() for line in told[-1].strip().splitlines()[1:]]
    return " ".join(output[-lines:])


def last_words(finished: Finished, lines: int = 3) -> str:
    """What buildx said at last of why it failed, in one line, without its progress."""
    said = [line.strip() for line in finished.stderr.splitlines()]
    errors = [line for line in said if line.startswith("ERROR: ")]
    words = errors[-1:] or [line for line in said if not _NOISE.match(line)][-lines:] or said[-lines:]
    text = " ".join(words).removeprefix("ERROR: ") or f"buildx ended with status {finished.status} and no word"
    if finished.status == processes.STOPPED:
        return (
            f"buildx was stopped before it ended; its last words: {text}"
            if said
            else "buildx said nothing until it was stopped"
        )
    return text
