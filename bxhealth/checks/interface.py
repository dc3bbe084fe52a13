"""What every check offers: one question to one BuildKit that was reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bxhealth.buildx import Buildx
from bxhealth.deadline import Cancellation
from bxhealth.drivers.interface import Reached
from bxhealth.model import Builder, CheckResult, Node
from bxhealth.options import Options


@dataclass(frozen=True)
class Probe:
    """All that a check may use."""

    builder: Builder
    node: Node
    reached: Reached
    options: Options
    buildx: Buildx
    cancellation: Cancellation


class Check(Protocol):
    """A question; a module of this package each."""

    def __call__(self, probe: Probe) -> Sequence[CheckResult]:
        """The answers, one or one a target; none where the options do not ask the question.

        Raises:
            NodeFailure: the node failed the check, or did not answer.
            Cancelled: the run was called off.
        """
