"""Control groups of containers whose host dies: thawed, so that the containers can die, and removed."""

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")


def thaw(container_ids: Collection[str]) -> None:
    """Thaw paused containers. Version 1 of cgroups holds back even SIGKILL from a frozen process."""
    for directory in _of(container_ids):
        for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            state = directory / name
            # missing: not this version or controller; not writable: gone meanwhile
            with contextlib.suppress(OSError):
                if state.exists():
                    state.write_text(word)


def remove(container_ids: Collection[str]) -> None:
    """Remove the control groups of containers without processes, nested ones first."""
    for directory in _of(container_ids):
        for path, _, _ in os.walk(directory, topdown=False):
            with contextlib.suppress(OSError):  # gone meanwhile, or not empty: then somebody else's
                Path(path).rmdir()


def _of(container_ids: Collection[str]) -> Iterator[Path]:
    """The directories of these containers, in every hierarchy; their place depends on who made them."""
    if not container_ids:
        return
    for path, names, _ in os.walk(CGROUPS):
        # the systemd driver calls it docker-<id>.scope
        for name in [name for name in names if any(known in name for known in container_ids)]:
            names.remove(name)
            yield Path(path) / name
