"""Bytes of the kernel and the disk as text that is always valid UTF-8."""

from __future__ import annotations

import sys


def text(raw: bytes) -> str:
    r"""`raw` decoded as UTF-8, each byte that is none as `\xNN` (names on Linux are bytes).

    >>> text("wörk".encode() + b"\xff")
    'wörk\\xff'
    """
    return raw.decode("utf-8", "backslashreplace")


kept = sys.intern  # the same string for equal ones: a thousand containers have /proc, and their network's id
