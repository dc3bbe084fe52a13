"""A directory of things that are slow to make and are made once: unpacked packages, image tars."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


def default_cache() -> Path:
    """`$BXHEALTH_TESTBED`, else `~/.cache/bxhealth-testbed`."""
    return Path(os.environ.get("BXHEALTH_TESTBED") or Path.home() / ".cache" / "bxhealth-testbed")


@contextlib.contextmanager
def _locked(cache: Path, kind: str) -> Iterator[None]:
    """Be the only process to make a thing of this kind: pytest-xdist has many, and sessions may overlap.

    A lock for each kind, since what makes one thing may need another one made.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(cache: Path, kind: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """Return the path of a thing of this `kind`, and call `make(path)` first if it is not there.

    What exists under its final name is complete: it is made under another name and then renamed, so what an
    interrupted session left is made anew. A thing made by another `recipe` (see `digest`) is replaced.
    """
    final = cache / f"{kind}@{recipe}"
    if final.exists():
        return final
    with _locked(cache, kind):
        if final.exists():
            return final
        partial = cache / f".{kind}.partial"
        for stale in (partial, *cache.glob(f"{kind}@*")):
            _remove(stale)
        make(partial)
        partial.rename(final)
    return final


def digest(recipe: str) -> str:
    """A short name of a recipe, for `made_once`."""
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
