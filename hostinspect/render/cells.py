"""How many columns of a terminal a text takes, as rich has it, which is loaded for other scripts than ours alone."""

from __future__ import annotations

# What our own words and guides are drawn with: a column each.
_OURS = str.maketrans(dict.fromkeys("·→↔…–×├└│─", "x"))


def cell_len(text: str) -> int:
    """The columns that `text` takes."""
    plain = text if text.isascii() else text.translate(_OURS)
    if plain.isascii() and plain.isprintable():
        return len(text)
    from rich.cells import cell_len as measured

    return measured(text)
