"""Lines of a tree, laid out: items that stay together, columns, guides, and wrapping that loses nothing.

rich's own Tree wraps a label as running text; here a line is a row of items, broken between items first, between
words next and inside a word last, and what follows a break is indented under what it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from hostinspect.render.cells import cell_len

Style = Literal["", "name", "dim", "warn", "bad"]

_WORD = r"[^ ]+ ?| "
_NARROWEST = 24  # columns for the text itself, however deep the tree and narrow the terminal


class Span(Struct, frozen=True):
    """A stretch of text in one style."""

    text: str
    style: Style = ""


Item = tuple[Span, ...]


def item(*parts: str | Span, style: Style = "") -> Item:
    """Spans that belong together; plain strings take `style`."""
    return tuple(Span(part, style) if isinstance(part, str) else part for part in parts)


class Line(Struct, frozen=True):
    """Items in a row. `columns` are the least widths of the first ones, `hang` the indentation after a break."""

    items: Sequence[Item]
    columns: Sequence[int] = ()
    hang: int = 0
    gap: Span = Span("  ")


_LABEL_WIDTH = 7


def detail(label: str, *items: Item, style: Style = "dim") -> Line:
    """A line that says more about the one above: a label and, in a column of their own, the items."""
    return Line([item(label, style=style), *items], columns=(_LABEL_WIDTH,), hang=_LABEL_WIDTH + 2)


class Branch(Struct, frozen=True):
    """A line of the tree, the lines that say more about it, and what hangs below it."""

    line: Line
    details: Sequence[Line] = ()
    branches: Sequence[Branch] = ()


class Guides(Struct, frozen=True):
    """What the tree itself is drawn with; all of one width."""

    middle: str = "├─ "
    last: str = "└─ "
    down: str = "│  "
    none: str = "   "


ASCII_GUIDES = Guides("|- ", "`- ", "|  ", "   ")


class Layout(Struct, frozen=True):
    """How a tree is put on lines: in how many columns (None: as many as there are), and with what characters.

    `escape` makes every text safe, and is asked before anything is measured.
    """

    width: int | None
    guides: Guides
    escape: Callable[[str], str]

    def lines(self, branch: Branch) -> Iterator[list[Span]]:
        """The lines of `branch` as they are printed."""
        return self._branch(branch, first="", rest="")

    def _branch(self, branch: Branch, first: str, rest: str) -> Iterator[list[Span]]:
        """`first` stands before the branch's own line, `rest` before all others that belong to it."""
        guides = self.guides
        body = rest + (guides.down if branch.branches else guides.none)
        yield from self._prefixed(branch.line, first, body)
        for line in branch.details:
            yield from self._prefixed(line, body, body)
        for position, child in enumerate(branch.branches, 1):
            if position < len(branch.branches):
                yield from self._branch(child, rest + guides.middle, rest + guides.down)
            else:
                yield from self._branch(child, rest + guides.last, rest + guides.none)

    def _prefixed(self, line: Line, first: str, rest: str) -> Iterator[list[Span]]:
        room = None if self.width is None else max(self.width - len(rest), _NARROWEST)
        items = [tuple(Span(self.escape(span.text), span.style) for span in spans) for spans in line.items]
        gap = replace(line.gap, text=self.escape(line.gap.text)) if line.gap.text.strip() else line.gap
        prefix = first
        for spans in wrap(replace(line, items=items, gap=gap), room):
            yield [Span(prefix, "dim"), *spans] if prefix else spans
            prefix = rest


def wrap(line: Line, room: int | None) -> Iterator[list[Span]]:
    """`line` broken so that each part fits `room` columns: between items, else between words, else inside one."""
    row: list[Span] = []
    used = start = 0  # columns of `row`, and those of its indentation
    hang = 0 if room is None else min(line.hang, room // 2)
    for position, spans in enumerate(line.items):
        width = _width(spans)
        gap = len(line.gap.text) if used > start else 0
        if room is not None and used + gap + width > room and used + gap > hang and gap:
            yield row
            row, used, start, gap = _indent(hang), hang, hang, 0
        if gap:
            row.append(line.gap)
            used += gap
        if room is not None and used + width > room:
            *full, row = _broken(row, used, spans, room, hang)
            yield from full
            used, start = _width(row), hang
            continue
        row += spans
        used += width
        least = line.columns[position] if position < len(line.columns) else 0
        if width < least and position + 1 < len(line.items):
            row.append(Span(" " * (least - width)))
            used += least - width
    yield row


def _indent(hang: int) -> list[Span]:
    return [Span(" " * hang)] if hang else []


def _broken(row: list[Span], used: int, spans: Iterable[Span], room: int, hang: int) -> Iterator[list[Span]]:
    """One item that is longer than a line, continued over as many as it needs; the last one may be added to."""
    for word in _words(spans):
        if used > hang and used + cell_len(word.text.rstrip(" ")) > room:
            yield row
            row, used = _indent(hang), hang
        for piece in _chopped(word.text, room - hang):
            if used + cell_len(piece.rstrip(" ")) > room:
                yield row
                row, used = _indent(hang), hang
            row.append(Span(piece, word.style))
            used += cell_len(piece)
    yield row


def _chopped(word: str, room: int) -> Iterator[str]:
    """`word` in pieces of at most `room` columns."""
    if cell_len(word.rstrip(" ")) <= room:
        yield word
        return
    piece, used = "", 0
    for character in word:
        width = cell_len(character)
        if used + width > room:
            yield piece
            piece, used = "", 0
        piece += character
        used += width
    yield piece


def _words(spans: Iterable[Span]) -> Iterator[Span]:
    """Every word with the blank after it, as a span of its own. A word may run over several spans."""
    for span in spans:
        for word in re.findall(_WORD, span.text):
            yield Span(word, span.style)


def _width(spans: Iterable[Span]) -> int:
    return sum(cell_len(span.text) for span in spans)
