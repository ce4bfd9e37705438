"""What the output goes to: how wide it is, whether it shows colour, and whether it can draw more than ASCII."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TextIO

_FALLBACK_WIDTH = 80

# Python itself sets LC_CTYPE to one of these where the user asked for the C locale (PEP 538), so they say nothing.
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")


def wants_color(choice: str, stream: TextIO, environ: Mapping[str, str]) -> bool:
    """`always` and `never` as they say; `auto` on a terminal that knows colour, without NO_COLOR (no-color.org)."""
    if choice != "auto":
        return choice == "always"
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb" and stream.isatty()


def width_of(stream: TextIO, environ: Mapping[str, str]) -> int | None:
    """COLUMNS where it is set, as for `watch hostinspect`; else the terminal's columns; None, no limit, in a pipe."""
    columns = environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or _FALLBACK_WIDTH
    except OSError:
        return _FALLBACK_WIDTH


def wants_ascii(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether the locale is C or POSIX, or the stream's encoding cannot hold all of Unicode."""
    if "utf" not in (stream.encoding or "").lower():
        return True
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = environ.get(name)
        if value and not (name == "LC_CTYPE" and value in _COERCED):
            return value in ("C", "POSIX")
    return True


def stdout_settings(color: str) -> tuple[int | None, bool, bool]:
    """Width, colour and ASCII for what goes to stdout."""
    return (
        width_of(sys.stdout, os.environ),
        wants_color(color, sys.stdout, os.environ),
        wants_ascii(sys.stdout, os.environ),
    )
