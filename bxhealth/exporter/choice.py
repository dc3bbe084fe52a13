"""Which builders the exporter watches: those that were named, all, or buildx's own choice; read anew each time."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bxhealth.errors import StoreError
from bxhealth.exporter.asking import find
from bxhealth.store import Store

_LOOK_SECONDS = 30.0


@dataclass(frozen=True)
class Chosen:
    """What is there of what was meant, as the store names it, and a line about each that is not."""

    builders: tuple[str, ...]
    missing: tuple[str, ...] = ()


def choose(
    environ: Mapping[str, str], names: Sequence[str], before: Collection[str] = (), *, every: bool = False
) -> Chosen:
    """The builders to watch.

    Args:
        environ: where the store is.
        names: those that were named; buildx's own choice where none was.
        before: those that were watched before.
        every: watch all there are.

    Raises:
        StoreError: the store cannot be read, so that nothing is known about any.
    """
    store = Store(environ)
    known_names = store.names()
    if every:
        # a context whose file is torn has no name any more, and is there
        torn = tuple(name for name in before if name not in known_names and store.docker.has_context(name))
        return Chosen((*known_names, *torn), tuple(str(error) for error in store.docker.broken_contexts()))
    found = {name: find(store, name, known_names) for name in names or (store.current_name(),)}
    missing = tuple(f"no builder {name!r} in {store.directory}" for name, known in found.items() if known is None)
    return Chosen(tuple(dict.fromkeys(known for known in found.values() if known is not None)), missing)


class NamedNodes:
    """The nodes that were named; the builders should have them."""

    def __init__(self, environ: Mapping[str, str], names: Collection[str]) -> None:
        self._environ = environ
        self._names = frozenset(names)
        self._looked_at: tuple[Sequence[str], float] = ((), 0.0)
        self._missing: Sequence[str] = ()

    def missing(self, builders: Sequence[str]) -> Sequence[str]:
        """A line about each that none of these builders has; looked up now and then, since it reads them all."""
        before, at = self._looked_at
        if builders != before or time.monotonic() - at > _LOOK_SECONDS:
            self._missing = self._look(builders)
            self._looked_at = (builders, time.monotonic())
        return self._missing

    def _look(self, builders: Sequence[str]) -> Sequence[str]:
        if not self._names or not builders:
            return ()
        store = Store(self._environ)
        known: set[str] = set()
        for builder in builders:
            try:
                known.update(node.name for node in store.builder(builder).nodes)
            except StoreError:
                return ()  # it may have them
        return [f"no node {name!r} in {', '.join(builders)}" for name in sorted(self._names - known)]
