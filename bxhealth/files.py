"""Files that readers see whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

_MODE = 0o644


def write_whole(path: Path, text: str) -> None:
    """Write beside `path`, or what it links to, and rename; an existing file's mode stays.

    A device or a pipe is written to as it is.

    Raises:
        OSError: it could not be written; nothing is left beside it then.
    """
    if path.exists() and not path.is_file():
        path.write_text(text)
        return
    path = path.resolve()
    mode = path.stat().st_mode & 0o777 if path.exists() else _MODE
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            os.fchmod(handle, mode)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
