"""How nodes are reached: one file a driver, and what has none here goes through buildx alone."""

from __future__ import annotations

from bxhealth.buildx import Buildx
from bxhealth.docker_config import DockerConfig
from bxhealth.drivers.docker import DockerLink
from bxhealth.drivers.docker_container import DockerContainerLink
from bxhealth.drivers.interface import Link, MakeControl
from bxhealth.drivers.remote import RemoteLink
from bxhealth.drivers.through_buildx import ThroughBuildxLink
from bxhealth.model import Builder, Node


def link(builder: Builder, node: Node, config: DockerConfig, buildx: Buildx, make_control: MakeControl) -> Link:
    """The way to a node, as its builder's driver goes."""
    if builder.driver == "docker-container":
        return DockerContainerLink(node, config, make_control)
    if builder.driver == "docker":
        return DockerLink(node, config, make_control)
    if builder.driver == "remote" and RemoteLink.serves(node):
        return RemoteLink(node, make_control)
    return ThroughBuildxLink(builder, node, buildx)
