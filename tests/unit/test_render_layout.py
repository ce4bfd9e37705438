"""Items on lines: what is broken where, and that nothing is lost."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import ColorSystem
from rich.style import Style as RichStyle

from hostinspect.render import cells
from hostinspect.render.layout import ASCII_GUIDES, Branch, Guides, Layout, Line, Span, Style, detail, item, wrap
from hostinspect.render.screen import Screen
from hostinspect.render.text import safe


def _texts(line: Line, room: int | None) -> list[str]:
    return ["".join(span.text for span in row).rstrip(" ") for row in wrap(line, room)]


def _tree(branch: Branch, width: int | None = None, guides: Guides | None = None) -> str:
    layout = Layout(width, guides or Guides(), safe)
    return "\n".join("".join(span.text for span in row) for row in layout.lines(branch))


def test_a_line_breaks_between_items_first() -> None:
    line = Line([item("eth0 ↔ veth1"), item("app:latest"), item("pid 316")], hang=2)
    assert _texts(line, 30) == ["eth0 ↔ veth1  app:latest", "  pid 316"]
    assert _texts(line, None) == ["eth0 ↔ veth1  app:latest  pid 316"]


def test_an_item_longer_than_the_line_breaks_between_words() -> None:
    assert _texts(Line([item("drift"), item("recorded one, now quite another")], hang=4), 24) == [
        "drift",
        "    recorded one, now",
        "    quite another",
    ]


def test_a_label_does_not_stand_alone() -> None:
    line = detail("drift", item("recorded one, now quite another"))
    assert _texts(line, 30) == ["drift    recorded one, now", "         quite another"]


def test_a_word_longer_than_the_line_breaks_inside() -> None:
    assert _texts(Line([item("x" * 50)], hang=2), 24) == ["x" * 22, "  " + "x" * 22, "  " + "x" * 6]


def test_wide_characters_count_as_what_they_take() -> None:
    assert all(cell_len(text) <= 24 for text in _texts(Line([item("数据库" * 12)]), 24))


def test_columns_align_what_follows() -> None:
    rows = [_texts(Line([item(name), item("next")], columns=(6,)), 40)[0] for name in ("web1", "volweb")]
    assert rows == ["web1    next", "volweb  next"]


def test_details_stand_under_their_branch_and_children_hang_on_it() -> None:
    tree = Branch(
        Line([item("net")]),
        (),
        [
            Branch(Line([item("a")]), [detail("port", item("80"))], [Branch(Line([item("side")]))]),
            Branch(Line([item("b")]), [detail("port", item("81"))]),
        ],
    )
    assert _tree(tree).splitlines() == [
        "net",
        "├─ a",
        "│  │  port     80",
        "│  └─ side",
        "└─ b",
        "      port     81",
    ]
    assert _tree(tree, guides=ASCII_GUIDES).isascii()


def test_escapes_are_measured() -> None:
    branch = Branch(Line([item("\x1b" * 20)]))
    lines = _tree(branch, 40).splitlines()
    assert max(map(len, lines)) <= 40
    assert "".join(line.strip() for line in lines) == r"\x1b" * 20


@given(
    st.lists(st.text(st.characters(categories=["L", "N", "P", "Zs", "Cc", "Cf"]), min_size=1, max_size=60), max_size=8),
    st.integers(24, 90),
    st.integers(0, 12),
)
def test_nothing_is_lost_and_nothing_is_wider(texts: list[str], room: int, hang: int) -> None:
    escape = partial(safe, ascii_only=False)
    items = [(Span(escape(text)),) for text in texts]
    rows = _texts(Line(items, hang=hang), room)
    assert all(cell_len(row) <= room for row in rows)
    assert "".join(rows).replace(" ", "") == "".join(span.text for spans in items for span in spans).replace(" ", "")


_RICH: dict[Style, RichStyle] = {
    "": RichStyle(),
    "name": RichStyle(bold=True),
    "dim": RichStyle(dim=True),
    "warn": RichStyle(color="yellow"),
    "bad": RichStyle(color="red", bold=True),
}


@given(st.lists(st.builds(Span, st.sampled_from(["", " ", "web1", "two words ", "→"]), st.sampled_from([*_RICH]))))
def test_colours_are_those_that_rich_would_paint(spans: list[Span]) -> None:
    plain = Screen().paint(spans)
    painted = Screen(color=True).paint(spans)
    while spans and not spans[-1].text.strip(" "):
        spans = spans[:-1]
    ends = [*spans[:-1], *(Span(span.text.rstrip(" "), span.style) for span in spans[-1:])]
    assert painted == "".join(_RICH[s.style].render(s.text, color_system=ColorSystem.STANDARD) for s in ends)
    assert plain == "".join(span.text for span in ends)


@given(st.text(st.sampled_from([*"aZ ~·→↔…–×├└│─é数\u0301\ufe0f\u200d👍\t\x7f\0"])))
def test_columns_are_counted_as_rich_counts_them(text: str) -> None:
    assert cells.cell_len(text) == cell_len(text)
