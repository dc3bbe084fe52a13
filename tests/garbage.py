"""What waits for Python's garbage collector: objects that refer to one another, which nothing else refers to."""

from __future__ import annotations

import gc
from collections.abc import Callable


def left_by(act: Callable[[], object], package: str) -> list[str]:
    """The types of a package of which `act` leaves such objects; each once, sorted."""
    gc.collect()
    was_enabled, flags = gc.isenabled(), gc.get_debug()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        act()
        gc.collect()
        types = {type(found) for found in gc.garbage}
        return sorted(kind.__qualname__ for kind in types if kind.__module__.partition(".")[0] == package)
    finally:
        gc.garbage.clear()
        gc.set_debug(flags)
        if was_enabled:
            gc.enable()
