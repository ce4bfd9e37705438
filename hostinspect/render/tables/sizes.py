"""The columns of what `--size` measured, the same in every table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hostinspect.questions.sizes import Size
from hostinspect.render.sizes import size_in_words
from hostinspect.render.table import Column

Row = TypeVar("Row")


def size_columns(size_of: Callable[[Row], Size | None]) -> list[Column[Row]]:
    """What a row takes on disk in words; the bytes and inodes, for those who reckon with them, when asked for."""

    def allocated(row: Row) -> int | None:
        size = size_of(row)
        return size.allocated if size else None

    def inodes(row: Row) -> int | None:
        size = size_of(row)
        return size.inodes if size else None

    return [
        Column("SIZE", lambda row: size_in_words(size_of(row)), sort=allocated),
        Column("BYTES", allocated, shown=False),
        Column("FILES", inodes, shown=False),
    ]
