"""What text is drawn on: how wide, in colour or not, in Unicode or ASCII."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from hostinspect.render.layout import ASCII_GUIDES, Branch, Guides, Layout, Span
from hostinspect.render.text import safe

# Few, and with a meaning: red is broken, yellow is other than recorded or not certain. SGR parameters (ECMA-48) written
# out, for rich.style takes 5 ms to load; a test holds what is painted equal to what rich would paint.
_SGR = {
    "name": "1",  # bold
    "dim": "2",
    "warn": "33",  # yellow
    "bad": "1;31",  # bold and red
}


class Screen(Struct, frozen=True):
    """`width` in columns breaks lines, None leaves each thing on one line, for a pipe.

    `ascii_only` is for terminals of which no more is known. Whatever is drawn is escaped first (`safe`).
    """

    width: int | None = None
    color: bool = False
    ascii_only: bool = False

    def escape(self, text: str) -> str:
        """`text` as it may be shown here."""
        return safe(text, ascii_only=self.ascii_only)

    def paint(self, spans: Iterable[Span]) -> str:
        """A line of spans that are escaped already, without trailing blanks."""
        row = [*spans]
        while row and not row[-1].text.strip(" "):
            row.pop()
        if not row:
            return ""
        row[-1] = replace(row[-1], text=row[-1].text.rstrip(" "))
        if not self.color:
            return "".join(span.text for span in row)
        return "".join(
            f"\x1b[{_SGR[span.style]}m{span.text}\x1b[0m" if span.style and span.text else span.text for span in row
        )

    def draw(self, branch: Branch) -> Iterator[str]:
        """The lines of a branch and of what hangs below it."""
        layout = Layout(self.width, ASCII_GUIDES if self.ascii_only else Guides(), self.escape)
        return map(self.paint, layout.lines(branch))

    def draw_sections(self, sections: Iterable[Branch]) -> str:
        """Branches below each other, ending in a newline, with an empty line beside each that is more than a heading.

        The first one is the heading of all and always stands apart.
        """
        lines: list[str] = []
        before: Branch | None = None
        for position, section in enumerate(sections):
            if before is not None and (position == 1 or _is_tall(section) or _is_tall(before)):
                lines.append("")
            lines += self.draw(section)
            before = section
        return "".join(f"{line}\n" for line in lines)


def _is_tall(section: Branch) -> bool:
    """Whether it is more than a heading; those that are not, such as empty networks, stand close."""
    return bool(section.branches or section.details)
