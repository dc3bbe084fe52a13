"""Which builders the exporter watches: those that were named, all, or buildx's own choice; read anew each time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bxhealth.errors import StoreError
from bxhealth.exporter.asking import find
from bxhealth.store import Store


@dataclass(frozen=True)
class Chosen:
    """What is there of what was meant, as the store names it, and a line about each that is not."""

    builders: tuple[str, ...]
    missing: tuple[str, ...] = ()


def choose(
    environ: Mapping[str, str],
    names: Sequence[str],
    before: Collection[str] = (),
    *,
    every: bool = False,
    nodes: Collection[str] = (),
) -> Chosen:
    """The builders to watch.

    Args:
        environ: where the store is.
        names: those that were named; buildx's own choice where none was.
        before: those that were watched before.
        every: watch all there are.
        nodes: the nodes that were named; the builders should have them.

    Raises:
        StoreError: the store cannot be read, so that nothing is known about any.
    """
    store = Store(environ)
    known_names = store.names()
    if every:
        # a context whose file is torn has no name any more, and is there
        torn = tuple(name for name in before if name not in known_names and store.docker.has_context(name))
        builders = (*known_names, *torn)
        missing = tuple(str(error) for error in store.docker.broken_contexts())
        return Chosen(builders, (*missing, *_missing_nodes(store, builders, nodes)))
    found = {name: find(store, name, known_names) for name in names or (store.current_name(),)}
    missing = tuple(f"no builder {name!r} in {store.directory}" for name, known in found.items() if known is None)
    builders = tuple(dict.fromkeys(known for known in found.values() if known is not None))
    return Chosen(builders, (*missing, *_missing_nodes(store, builders, nodes)))


def _missing_nodes(store: Store, builders: Sequence[str], names: Collection[str]) -> Sequence[str]:
    if not names or not builders:
        return ()
    known: set[str] = set()
    for builder in builders:
        try:
            known.update(node.name for node in store.builder(builder).nodes)
        except StoreError:
            return ()  # it may have them
    return [f"no node {name!r} in {', '.join(builders)}" for name in sorted(set(names) - known)]
