"""The texts are what `commands/inspect.go` of docker/buildx prints, laid out by Go's tabwriter."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bxhealth import processes
from bxhealth.buildx import Buildx
from bxhealth.deadline import Deadline
from bxhealth.drivers.interface import Reached, Unreached
from bxhealth.drivers.through_buildx import ThroughBuildxLink, parse_inspect
from bxhealth.errors import NodeFailure
from bxhealth.model import Builder, Cause, Node
from bxhealth.processes import Finished

_LONG = 30.0

HEAD = """\
Name:          kube
Driver:        kubernetes
Last Activity: 2026-01-02 03:04:05 +0000 UTC

Nodes:
"""
RUNNING = """\
Name:                  kube0
Endpoint:              kubernetes:///kube?deployment=&kubeconfig=
Driver Options:        namespace="ci" replicas="2"
Status:                running
BuildKit daemon flags: --allow-insecure-entitlement=network.host
BuildKit version:      v0.21.0
Platforms:             linux/arm64*, linux/amd64, linux/amd64/v2, linux/386
Labels:
 org.mobyproject.buildkit.worker.executor:         oci
 Name:                                             not a node
Devices:
 Name:                  nvidia.com/gpu
 Automatically allowed: true
GC Policy rule#0:
 All:            false
 Filters:        type==source.local,type==exec.cachemount
 Keep Duration:  48h0m0s
File#buildkitd.toml:
 > debug = true
 > Name: no node either
"""
SECOND = """\

Name:                  kube1
Endpoint:              kubernetes:///kube?deployment=&kubeconfig=
Status:                running
BuildKit version:      v0.20.0
Platforms:             linux/amd64
"""
FAILED = """\

Name:                  kube2
Endpoint:              kubernetes:///kube?deployment=&kubeconfig=
Error:                 pods "kube2" is forbidden: no access
"""
INACTIVE = """\
Name:                  kube0
Endpoint:              kubernetes:///kube?deployment=&kubeconfig=
Status:                inactive
"""


class FakeBuildx(Buildx):
    def __init__(self, finished: Finished) -> None:
        self._finished = finished
        self.asked: list[tuple[str, str]] = []

    def inspect(self, builder: Builder, node: Node, deadline: Deadline) -> Finished:  # noqa: ARG002
        self.asked.append((builder.name, node.name))
        return self._finished


def _reach(finished: Finished) -> Sequence[Reached | Unreached]:
    node = Node("kube0", "kubernetes:///kube?deployment=&kubeconfig=")
    buildx = FakeBuildx(finished)
    link = ThroughBuildxLink(Builder("kube", "kubernetes", (node,)), node, buildx)
    try:
        return link.reach(Deadline(_LONG))
    finally:
        link.close()
        assert buildx.asked == [("kube", "kube0")]


def _failure(finished: Finished) -> NodeFailure:
    with pytest.raises(NodeFailure) as failed:
        _reach(finished)
    return failed.value


def test_the_nodes_and_nothing_else_that_looks_like_one() -> None:
    error, nodes = parse_inspect(HEAD + RUNNING + SECOND + FAILED)
    assert error is None
    assert [node.name for node in nodes] == ["kube0", "kube1", "kube2"]
    assert nodes[0].fields["Status"] == "running"
    assert nodes[2].fields["Error"] == 'pods "kube2" is forbidden: no access'


def test_a_running_node() -> None:
    (reached,) = _reach(Finished(0, HEAD + RUNNING, ""))
    assert isinstance(reached, Reached)
    assert (reached.name, reached.version) == ("kube0", "v0.21.0")
    assert reached.offered == ("linux/arm64", "linux/amd64", "linux/amd64/v2", "linux/386")


def test_before_0_12_the_version_had_another_label() -> None:
    text = "Name:   b\nDriver: kubernetes\n\nNodes:\nName:      kube0\nStatus:    running\nBuildkit:  v0.11.0\n"
    (reached,) = _reach(Finished(0, text, ""))
    assert isinstance(reached, Reached)
    assert (reached.version, reached.offered) == ("v0.11.0", ())


def test_replicas_are_told_apart() -> None:
    outcomes = _reach(Finished(0, HEAD + RUNNING + SECOND + FAILED, ""))
    assert [(outcome.name, type(outcome)) for outcome in outcomes] == [
        ("kube0", Reached),
        ("kube1", Reached),
        ("kube2", Unreached),
    ]
    third = outcomes[2]
    assert isinstance(third, Unreached)
    assert "forbidden" in third.failure.message


def test_a_platform_that_we_cannot_read_is_no_defect_of_the_node() -> None:
    """containerd prints an OS version in parentheses, as of `windows(10.0.17763)/amd64` (platforms.FormatAll)."""
    text = HEAD + RUNNING.replace("linux/386", "windows(10.0.17763)/amd64")
    (reached,) = _reach(Finished(0, text, ""))
    assert isinstance(reached, Reached)
    assert "linux/amd64" in reached.offered


def test_buildx_s_status_is_0_for_a_node_with_an_error() -> None:
    failure = _failure(Finished(0, HEAD + FAILED.lstrip(), ""))
    assert failure.cause is Cause.BOOT_FAILED
    assert "forbidden" in failure.message


def test_an_inactive_node_can_be_started() -> None:
    failure = _failure(Finished(0, HEAD + INACTIVE, ""))
    assert failure.startable
    assert "inactive" in failure.message


def test_an_error_of_the_builder() -> None:
    text = "Name:   kube\nDriver: kubernetes\nError:  no such kubeconfig\n"
    failure = _failure(Finished(0, text, ""))
    assert failure.cause is Cause.BOOT_FAILED
    assert "no such kubeconfig" in failure.message


@pytest.mark.parametrize("text", ["", "\n", "Name: kube\n", HEAD])
def test_no_node_at_all_is_a_failure(text: str) -> None:
    assert _failure(Finished(0, text, "")).cause is Cause.BOOT_FAILED


def test_a_failing_buildx_has_its_last_words() -> None:
    failure = _failure(Finished(1, "", "#1 booting\nERROR: no valid drivers found\n"))
    assert failure.cause is Cause.BOOT_FAILED
    assert failure.message == "no valid drivers found"


def test_a_buildx_that_had_to_be_stopped() -> None:
    failure = _failure(Finished(processes.STOPPED, "", ""))
    assert failure.cause is Cause.DAEMON_UNRESPONSIVE
    assert "30 s" in failure.message


def test_what_is_started_is_judged_by_buildx_s_words() -> None:
    node = Node("kube0", "kubernetes://")
    link = ThroughBuildxLink(Builder("kube", "kubernetes", (node,)), node, FakeBuildx(Finished(0, "", "")))
    assert not link.is_doomed(Deadline(_LONG))
    failure = link.diagnose("timed out waiting for pods", Deadline(_LONG))
    assert (failure.cause, failure.message) == (Cause.BOOT_FAILED, "timed out waiting for pods")
