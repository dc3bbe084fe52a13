"""Which builders the exporter watches: those that were named, all, or buildx's own choice; read anew each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bxhealth.errors import StoreError
from bxhealth.exporter.asking import find
from bxhealth.store import Store


@dataclass(frozen=True)
class Chosen:
    """What is there of what was meant, as the store names it, and a line about each that is not."""

    builders: tuple[str, ...]
    missing: tuple[str, ...] = ()


def choose(environ: Mapping[str, str], names: Sequence[str], *, every: bool) -> Chosen:
    """The builders to watch.

    Raises:
        StoreError: the store cannot be read, so that nothing is known about any.
    """
    store = Store(environ)
    if every:
        return Chosen(store.names(), tuple(str(error) for error in store.docker.broken_contexts()))
    if not names:
        try:
            current = store.current().name
        except StoreError as error:
            if error.path is None:
                return Chosen((), (str(error),))
            raise
        names = (current,)
    found = {name: find(store, name) for name in names}
    missing = tuple(f"no builder {name!r} in {store.directory}" for name, known in found.items() if known is None)
    return Chosen(tuple(dict.fromkeys(known for known in found.values() if known is not None)), missing)
