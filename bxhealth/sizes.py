"""Sizes and shares as people write them: `5GiB`, `500MB`, `10%`."""

from __future__ import annotations

import re

from bxhealth.options import Threshold

_DECIMAL = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_BINARY = {"KIB": 1024, "MIB": 1024**2, "GIB": 1024**3, "TIB": 1024**4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def parse(text: str) -> Threshold:
    """So many bytes, or a share of the whole.

    Raises:
        ValueError: `text` is neither.
    """
    if share := _SHARE.fullmatch(text):
        percent = float(share[1])
        if percent <= 100:
            return Threshold(percent=percent)
    elif (size := _SIZE.fullmatch(text)) and (factor := (_DECIMAL | _BINARY).get(size[2].upper())):
        return Threshold(size_bytes=int(float(size[1]) * factor))
    raise ValueError(f"{text!r} is not a size such as 5GiB, or a share such as 10%")


def for_people(count: float) -> str:
    """Bytes for people, such as `4.9 GiB`."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.3g} {_UNITS[unit]}"
