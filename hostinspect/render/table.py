"""A table for people and for pipes: columns to choose and sort by, laid out to fit the terminal.

rich's own Table takes 54 ms to import, more than the whole of a small report; this one draws with what the tree does.
On a terminal columns are folded until the table fits, so that nothing is cut; in a pipe each row is one
line, and two blanks part the columns (`safe` sees to it that no cell holds two).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from hostinspect.render.cells import cell_len
from hostinspect.render.layout import Item, Line, Span, item, wrap
from hostinspect.render.screen import Screen

Row = TypeVar("Row")
Cell = str | int | None | Item | Sequence[str]  # an Item is a tuple of `Span`s

_GAP = 2
_NARROWEST = 6  # columns that a folded column keeps, if its header is not wider


class Column(Struct, Generic[Row], frozen=True):
    """A column: its header, which in lower case is its name for --columns and --sort, and what stands in it.

    `value` gives a text; a number, set to the right; spans with a style; several texts, parted by commas; None is "-".
    `sort` gives what to sort by where that is not the value. `group` gives what a row is part of: on a terminal the
    cell stays empty below one of the same group, as brctl(8) names a bridge once above its ports. A `spare` column is
    left out on a terminal that is too narrow for all, the one with the highest number first.
    """

    header: str
    value: Callable[[Row], Cell]
    shown: bool = True  # False: only when asked for with --columns, or for all with -v
    sort: Callable[[Row], object] | None = None
    group: Callable[[Row], object] | None = None
    spare: int = 0  # 0: never left out

    @property
    def name(self) -> str:
        """What --columns and --sort call it."""
        return self.header.lower().replace(" ", "-")


class ColumnError(ValueError):
    """No such column; the message names those that there are."""


def choose_columns(columns: Sequence[Column[Row]], names: Sequence[str], *, every: bool) -> list[Column[Row]]:
    """The columns named, in that order; with a `+` before the first, these after the usual ones; without names, those.

    Raises `ColumnError`.
    """
    usual = [column for column in columns if column.shown or every]
    if not names:
        return usual
    if names[0].startswith("+"):
        more = [find_column(columns, name.removeprefix("+")) for name in names]
        return [*usual, *(column for column in more if column not in usual)]
    return [find_column(columns, name) for name in names]


def sort_rows(rows: Iterable[Row], columns: Sequence[Column[Row]], keys: Sequence[str]) -> list[Row]:
    """The rows by one column after the other, `-` before a name for falling order; what is not known comes last.

    Raises `ColumnError`.
    """
    ordered = [*rows]
    for key in reversed(keys):
        column = find_column(columns, key.removeprefix("-"))
        falling = key.startswith("-")
        known = [row for row in ordered if _sort_value(column, row) is not None]
        unknown = [row for row in ordered if _sort_value(column, row) is None]
        known.sort(key=lambda row: _comparable(_sort_value(column, row)), reverse=falling)
        ordered = known + unknown
    return ordered


def find_column(columns: Sequence[Column[Row]], name: str) -> Column[Row]:
    """The column of that name, in any case. Raises `ColumnError`."""
    for column in columns:
        if column.name == name.lower():
            return column
    raise ColumnError(f"No such column: {name}. There are: {', '.join(column.name for column in columns)}.")


def render_table(
    rows: Iterable[Row], columns: Sequence[Column[Row]], screen: Screen, *, header: bool = True, every: bool = True
) -> str:
    """The rows as a table, each line ending in a newline; without rows, the header alone.

    Without `every`, spare columns are left out of what would not fit the screen otherwise.
    """
    rows = [*rows]
    cells = [[_shown(column.value(row), screen) for column in columns] for row in rows]
    if screen.width is not None:
        _blank_repeated(rows, columns, cells)
    table = [[item(screen.escape(column.header), style="dim") for column in columns], *cells] if header else cells
    widths = [max((_width(row[i]) for row in table), default=0) for i in range(len(columns))]
    right = [_is_number(cells, i) for i in range(len(columns))]
    if screen.width is not None:
        if not every:
            kept = _kept(table, columns, screen.width)
            table = [[row[i] for i in kept] for row in table]
            columns, widths, right = ([of[i] for i in kept] for of in (columns, widths, right))  # type: ignore[assignment]
        widths = _fitted(table, widths, [cell_len(column.header) for column in columns], screen.width)
    return "".join(f"{line}\n" for row in table for line in _lines(row, widths, right, screen))


def _kept(table: Sequence[Sequence[Item]], columns: Sequence[Column[Row]], room: int) -> list[int]:
    """The positions of the columns that are shown: as many as have room on one line, or else in whole words."""
    least_needed = sorted((i for i in range(len(columns)) if columns[i].spare), key=lambda i: -columns[i].spare)
    for measure in (_width, _widest_word):
        widths = [max((measure(row[i]) for row in table), default=0) for i in range(len(columns))]
        for left_out in range(len(least_needed) + 1):
            kept = [i for i in range(len(columns)) if i not in least_needed[:left_out]]
            if sum(widths[i] + _GAP for i in kept) - _GAP <= room:
                return kept
    return kept


def _shown(cell: Cell, screen: Screen) -> Item:
    if cell is None or (not isinstance(cell, int) and not cell):
        return item("-", style="dim")
    if isinstance(cell, int):
        return (Span(str(cell), ""),)
    if isinstance(cell, str):
        return item(screen.escape(cell))
    spans = [part for part in cell if isinstance(part, Span)]
    if spans:
        return tuple(Span(screen.escape(span.text), span.style) for span in spans)
    return item(", ".join(screen.escape(str(part)) for part in cell))


def _blank_repeated(rows: Sequence[Row], columns: Sequence[Column[Row]], cells: Sequence[list[Item]]) -> None:
    """Empty the cells of the columns with a `group` where the row above is of the same one."""
    for position, column in enumerate(columns):
        if column.group is not None:
            groups = [column.group(row) for row in rows]
            for below in range(1, len(rows)):
                if groups[below] == groups[below - 1]:
                    cells[below][position] = ()


def _width(cell: Item) -> int:
    return sum(cell_len(span.text) for span in cell)


def _is_number(cells: Sequence[Sequence[Item]], column: int) -> bool:
    """Whether every cell of a column that has something in it holds a number."""
    texts = ["".join(span.text for span in row[column]) for row in cells]
    return any(text.isdecimal() for text in texts) and all(text.isdecimal() or text in ("-", "") for text in texts)


def _fitted(table: Sequence[Sequence[Item]], widths: Sequence[int], headers: Sequence[int], room: int) -> list[int]:
    """The widths, made narrower until all fit: to the widest word of each, then to headers and `_NARROWEST`.

    Step by step that column gives way which then takes the fewest lines more: one with a single long text before one
    that has one in every row.
    """
    fitted = [*widths]
    shapes = [Counter((_width(row[i]), _widest_word(row[i])) for row in table) for i in range(len(fitted))]
    words = [max((word for _, word in shape), default=0) for shape in shapes]
    for least in (words, [max(header, _NARROWEST) for header in headers]):
        while sum(fitted) + _GAP * (len(fitted) - 1) > room:
            yielding = [i for i, width in enumerate(fitted) if width > least[i]]
            if not yielding:
                break
            costs = {i: _lines_cost(shapes[i], fitted[i] - 1) - _lines_cost(shapes[i], fitted[i]) for i in yielding}
            fitted[min(yielding, key=lambda i: (costs[i], -fitted[i]))] -= 1
    return fitted


def _widest_word(cell: Item) -> int:
    return max((cell_len(word) for word in "".join(span.text for span in cell).split(" ")), default=0)


def _lines_cost(shapes: Counter[tuple[int, int]], room: int) -> int:
    """About how many lines the cells of a column take, each of a width and that of its widest word.

    A word that must be broken counts as one more. The squares: better two cells of two lines than one of four.
    """
    return sum(count * (-(-width // room) + (word > room)) ** 2 for (width, word), count in shapes.items())


def _lines(row: Sequence[Item], widths: Sequence[int], right: Sequence[bool], screen: Screen) -> Iterator[str]:
    """The line, or lines, of a row."""
    parts = [
        [*wrap(Line([cell]), width if screen.width is not None else None)]
        for cell, width in zip(row, widths, strict=True)
    ]
    for number in range(max(map(len, parts), default=0)):
        spans: list[Span] = []
        for column, (lines, width) in enumerate(zip(parts, widths, strict=True)):
            cell = _without_blank_end(lines[number]) if number < len(lines) else ()
            blank = Span(" " * max(width - _width(cell), 0))
            spans += (blank, *cell) if right[column] else (*cell, blank)
            spans.append(Span(" " * _GAP))
        yield screen.paint(spans)


def _without_blank_end(line: Sequence[Span]) -> Item:
    """A line that was broken after a blank keeps it, which may be one column too many."""
    spans = [*line]
    while spans and not spans[-1].text.strip(" "):
        spans.pop()
    return (*spans[:-1], replace(spans[-1], text=spans[-1].text.rstrip(" "))) if spans else ()


def _sort_value(column: Column[Row], row: Row) -> object:
    value = column.sort(row) if column.sort else column.value(row)
    return None if value in ((), [], "") else value


def _comparable(value: object) -> tuple[bool, object]:
    """Numbers before texts; spans and lists by their text: whatever a column gives can be compared."""
    if isinstance(value, int):
        return False, value
    if isinstance(value, (tuple, list)):
        value = ", ".join(part.text if isinstance(part, Span) else str(part) for part in value)
    return True, str(value)
