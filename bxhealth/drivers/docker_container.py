"""The `docker-container` driver: a container on a Docker host, spoken to through `buildctl dial-stdio` in it.

As in buildx's `driver/docker-container/driver.go`, which also gives the container its name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from http import HTTPStatus

from bxhealth import transports
from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerConfig
from bxhealth.drivers.interface import MakeControl, Reached
from bxhealth.engine import Container, Engine, EngineError, ExecOutput, ExecStream
from bxhealth.errors import BxhealthError, NodeFailure
from bxhealth.model import Cause, Node

_DEFAULT_IMAGE = "moby/buildkit:buildx-stable-1"
"""driver/bkimage/bkimage.go"""
_LOG_LINES = 10
_PAUSE = 0.1
_ODD_ANSWERS = 2
"""So many that are not BuildKit's are borne with, since the engine writes its own errors to the same stream."""
_CRASHES = 2
"""So many restarts while it is watched make a crash loop of what could have been one accident."""
_CLEAN_UP_SECONDS = 2.0
_DIAGNOSE_SECONDS = 2.0


class DockerContainerLink:
    """See `interface.Link`."""

    def __init__(self, node: Node, config: DockerConfig, make_control: MakeControl) -> None:
        self._node = node
        self._make_control = make_control
        self._name = f"buildx_buildkit_{node.name}"
        self._engine = Engine(lambda deadline: transports.dial(config.endpoint(node.endpoint), deadline))
        self._exec: ExecStream | None = None
        self._answered = False
        self._ended_before = _NEVER

    def reach(self, deadline: Deadline) -> Sequence[Reached]:
        """See `interface.Link`; a container that has just been started gets the time to come up."""
        failure: NodeFailure | None = None
        first_count: int | None = None
        strange = 0
        while True:
            container = self._container(deadline)
            self._ended_before = container.finished_at if container else _NEVER
            if container is None:
                raise NodeFailure(
                    Cause.CONTAINER_MISSING,
                    f"the host {self._node.endpoint} has no container {self._name}",
                    startable=True,
                )
            if container.status == "paused":
                raise NodeFailure(Cause.DAEMON_UNRESPONSIVE, f"the container {self._name} is paused")
            if container.status not in ("running", "restarting"):
                raise self._with_log(self._down(Cause.CONTAINER_EXITED, container))
            first_count = container.restart_count if first_count is None else first_count
            crashes = container.restart_count - first_count
            if container.status == "restarting" or crashes:
                failure = self._down(Cause.CONTAINER_RESTARTING, container)
            if crashes >= _CRASHES:
                raise self._with_log(failure or self._down(Cause.CONTAINER_RESTARTING, container))
            if container.status == "running":
                try:
                    return [self._ask(deadline)]
                except NodeFailure as unanswered:
                    raise self._unless_it_crashed(unanswered, container) from unanswered
                except _NotReady as not_ready:
                    # that it has crashed meanwhile says more than that it did not answer then
                    failure = failure or not_ready.failure
                    strange += failure.cause is Cause.NOT_BUILDKIT
                    if strange > _ODD_ANSWERS:
                        raise failure from not_ready
            if failure and deadline.remaining() <= _PAUSE:
                raise self._with_log(failure)
            deadline.sleep(_PAUSE)

    def _unless_it_crashed(self, failure: NodeFailure, before: Container) -> NodeFailure:
        """The failure of an exec that got no answer, or the container's own if it ended meanwhile."""
        if failure.cause is Cause.DAEMON_UNRESPONSIVE:
            with contextlib.suppress(BxhealthError, EngineError):
                after = self._engine.container(self._name, Deadline(_DIAGNOSE_SECONDS))
                if after and after.finished_at != before.finished_at:
                    return self._with_log(self._down(Cause.CONTAINER_RESTARTING, after))
        return failure

    def is_doomed(self, deadline: Deadline) -> bool:
        """See `interface.Link`: since it was started, it ended for good, or again and again."""
        with contextlib.suppress(BxhealthError, EngineError):
            container = self._engine.container(self._name, deadline)
            if container and container.finished_at not in (self._ended_before, _NEVER):
                return container.restart_count >= _CRASHES or container.status in ("exited", "dead")
        return False

    def diagnose(self, words: str, deadline: Deadline) -> NodeFailure:
        """See `interface.Link`."""
        try:
            container = self._container(deadline)
            if container is None:
                image = self._node.driver_opts.get("image") or _DEFAULT_IMAGE
                if not self._engine.has_image(image, deadline):
                    return NodeFailure(
                        Cause.IMAGE_UNAVAILABLE,
                        f"the host can neither find nor pull the image {image}: {words}",
                    )
            elif container.status == "restarting" or container.restart_count >= _CRASHES:
                return self._with_log(self._down(Cause.CONTAINER_RESTARTING, container))
            elif container.status in ("exited", "dead"):
                return self._with_log(self._down(Cause.CONTAINER_EXITED, container))
        except NodeFailure as failure:
            return failure
        except EngineError as error:
            words = f"{words}; then the engine said: {error}"
        return self._with_log(NodeFailure(Cause.BOOT_FAILED, words))

    def close(self) -> None:
        """See `interface.Link`; an exec whose daemon does not answer would stay, so it is ended."""
        if self._exec:
            self._exec.close()
            if not self._answered:
                with contextlib.suppress(BxhealthError, EngineError):
                    self._engine.end_exec(self._name, self._exec, Deadline(_CLEAN_UP_SECONDS))
        self._engine.close()

    def _container(self, deadline: Deadline) -> Container | None:
        try:
            return self._engine.container(self._name, deadline)
        except EngineError as error:
            raise self._refused(f"inspecting the container {self._name}", error) from error

    def _ask(self, deadline: Deadline) -> Reached:
        peer = f"BuildKit in the container {self._name} of {self._node.endpoint}"
        try:
            self._exec = self._engine.exec_stream(self._name, ["buildctl", "dial-stdio"], deadline, peer)
        except EngineError as error:
            failure = self._refused(f"starting `buildctl dial-stdio` in {self._name}", error)
            # a container that has just ended is a conflict, or an error of the engine's runtime
            passing = error.status in (HTTPStatus.CONFLICT, HTTPStatus.INTERNAL_SERVER_ERROR)
            raise _NotReady(failure) if passing else failure from error
        control = self._make_control(self._exec, "localhost")
        try:
            identity = control.identify(deadline)
        except NodeFailure as failure:
            if failure.cause is Cause.ENDPOINT_REFUSED:
                raise _NotReady(self._silent(self._exec)) from failure
            if failure.cause is Cause.NOT_BUILDKIT:
                # it may be the engine's word that the container has ended meanwhile
                self._exec.close()
                self._exec = None
                raise _NotReady(failure) from failure
            raise
        self._answered = True
        return Reached(
            self._node.name,
            identity.workers,
            identity.version,
            control,
            self._engine.certificate,
            self._run_inside,
        )

    def _silent(self, stream: ExecStream) -> NodeFailure:
        """The failure of a `buildctl` that ended without a word from the daemon."""
        stream.close()
        self._exec = None
        seen = bytes(stream.stderr).decode(errors="replace").strip().rpartition("\n")[2] or "it ended at once"
        return NodeFailure(
            Cause.DAEMON_UNRESPONSIVE,
            f"the container {self._name} runs, and its BuildKit does not answer: {seen}",
        )

    def _run_inside(self, command: Sequence[str], deadline: Deadline) -> ExecOutput:
        try:
            return self._engine.run(self._name, command, deadline)
        except EngineError as error:
            raise self._refused(f"running `{command[0]}` in {self._name}", error) from error

    def _refused(self, doing: str, error: EngineError) -> NodeFailure:
        cause = Cause.ENDPOINT_DENIED if error.is_denial else Cause.DAEMON_UNRESPONSIVE
        return NodeFailure(cause, f"{doing}: the engine at {self._node.endpoint} says: {error}")

    def _down(self, cause: Cause, container: Container) -> NodeFailure:
        end = "was killed for want of memory" if container.oom_killed else f"last exit code {container.exit_code}"
        words = f", {container.error}" if container.error else ""
        restarts = f", {container.restart_count} restarts" if container.restart_count else ""
        state = "keeps restarting" if cause is Cause.CONTAINER_RESTARTING else f"is {container.status}"
        if container.status == "created":
            end = "it has never run"
        return NodeFailure(
            cause,
            f"the container {self._name} {state} ({end}{restarts}{words})",
            startable=cause is Cause.CONTAINER_EXITED,
        )

    def _with_log(self, failure: NodeFailure) -> NodeFailure:
        with contextlib.suppress(BxhealthError, EngineError):
            tail = self._engine.log_tail(self._name, _LOG_LINES, Deadline(_DIAGNOSE_SECONDS))
            return NodeFailure(failure.cause, failure.message, startable=failure.startable, log_tail=tail)
        return failure


_NEVER = "0001-01-01T00:00:00Z"


class _NotReady(Exception):
    """BuildKit is not there yet; `failure` is what that comes to if it stays so."""

    def __init__(self, failure: NodeFailure) -> None:
        self.failure = failure
