"""What a node says is data: nothing of it may act on a terminal or break a line."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""`text` in one line, with every character that is not printable spelled as an escape such as `\x1b`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
