"""Tables: columns chosen, rows sorted, cells escaped, and all of it on lines that fit."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from hostinspect.render.layout import Span
from hostinspect.render.screen import Screen
from hostinspect.render.table import Column, ColumnError, choose_columns, render_table, sort_rows


class Port(NamedTuple):
    name: str
    number: int | None
    users: tuple[str, ...] = ()


COLUMNS = [
    Column[Port]("NAME", lambda port: (Span(port.name, "name"),), sort=lambda port: port.name),
    Column[Port]("PORT", lambda port: port.number),
    Column[Port]("USED BY", lambda port: port.users),
    Column[Port]("HIDDEN", lambda port: "x", shown=False),
]
ROWS = [Port("web", 8080, ("a", "b")), Port("db", None), Port("api", 80, ("c",))]


def _names(*names: str, every: bool = False) -> list[str]:
    return [column.name for column in choose_columns(COLUMNS, names, every=every)]


def _sorted(*keys: str) -> list[str]:
    return [row.name for row in sort_rows(ROWS, COLUMNS, keys)]


def test_a_table_in_a_pipe() -> None:
    assert render_table(ROWS, choose_columns(COLUMNS, [], every=False), Screen()) == (
        "NAME  PORT  USED BY\n"
        "web   8080  a, b\n"
        "db       -  -\n"
        "api     80  c\n"
    )  # fmt: skip


def test_without_header_and_without_rows() -> None:
    columns = choose_columns(COLUMNS, [], every=False)
    assert render_table(ROWS[:1], columns, Screen(), header=False) == "web  8080  a, b\n"
    assert render_table([], columns, Screen()) == "NAME  PORT  USED BY\n"
    assert render_table([], columns, Screen(), header=False) == ""


def test_columns_are_chosen_by_name() -> None:
    assert _names() == ["name", "port", "used-by"]
    assert _names(every=True) == ["name", "port", "used-by", "hidden"]
    assert _names("HIDDEN", "used-by") == ["hidden", "used-by"]
    assert _names("+hidden", "name") == ["name", "port", "used-by", "hidden"]
    with pytest.raises(ColumnError, match=r"No such column: size. There are: name, port, used-by, hidden\."):
        _names("size")


def test_rows_are_sorted_by_value_and_the_unknown_comes_last() -> None:
    assert _sorted() == ["web", "db", "api"]
    assert _sorted("name") == ["api", "db", "web"]
    assert _sorted("port") == ["api", "web", "db"]
    assert _sorted("-port") == ["web", "api", "db"]
    assert _sorted("hidden", "-name") == ["web", "db", "api"]
    with pytest.raises(ColumnError):
        _sorted("-size")


@given(
    st.lists(
        st.builds(Port, st.text(max_size=40), st.none() | st.integers(0, 65535), st.just(("a b", "c"))), max_size=5
    ),
    st.integers(40, 100),
)
def test_nothing_is_lost_and_nothing_stands_out(rows: list[Port], width: int) -> None:
    text = render_table(rows, COLUMNS, Screen(width=width))
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert text.isprintable() or {c for c in text if not c.isprintable()} == {"\n"}
    whole = render_table(rows, COLUMNS, Screen())
    assert len(whole.splitlines()) == len(rows) + 1
    assert sorted(text.replace(" ", "").replace("\n", "")) == sorted(whole.replace(" ", "").replace("\n", ""))


def test_spare_columns_are_left_out_of_a_narrow_terminal_only() -> None:
    columns = [
        Column[Port]("NAME", lambda port: port.name * 5),
        Column[Port]("LEAST", lambda port: "needed least", spare=2),
        Column[Port]("LESS", lambda port: "not needed", spare=1),
        Column[Port]("PORT", lambda port: port.number),
    ]

    def shown(width: int | None, *, every: bool = False) -> list[str]:
        return render_table(ROWS, columns, Screen(width=width), every=every).splitlines()[0].split()

    assert shown(None) == shown(60) == shown(20, every=True) == ["NAME", "LEAST", "LESS", "PORT"]
    assert shown(33) == ["NAME", "LESS", "PORT"]
    assert shown(20) == ["NAME", "PORT"]
    assert shown(8) == ["NAME", "PORT"]
