"""Bytes in words, as docker spells them."""

from __future__ import annotations

from hostinspect.questions.sizes import Size
from hostinspect.render.layout import Item, item

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def in_units(size: int) -> str:
    """A number of bytes in thousands, with three digits.

    >>> in_units(999), in_units(1_982_518), in_units(27_400_000_000), in_units(999_999)
    ('999 B', '1.98 MB', '27.4 GB', '1 MB')
    """
    if size < 1000:
        return f"{size} B"
    amount = float(size)
    for unit in _UNITS:
        amount /= 1000
        if amount < 999.5 or unit == _UNITS[-1]:
            break
    return f"{amount:.3g} {unit}"


def size_in_words(size: Size | None) -> Item | None:
    """What a directory takes on disk; at least that, where not all of it could be counted."""
    if size is None:
        return None
    if size.complete:
        return item(in_units(size.allocated))
    return item(f"more than {in_units(size.allocated)}", style="warn")
