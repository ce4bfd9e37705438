"""What changed, in lines: one for each thing, below the family that it is of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from msgspec import Struct

from hostinspect.questions.compare import Comparison, Family, TopologyChange
from hostinspect.render.layout import Branch, Line, Span, Style, item
from hostinspect.render.screen import Screen
from hostinspect.render.times import ago

_TITLES: dict[Family, str] = {"netns": "network namespaces", "chains": "NAT chains", "rules": "NAT rules"}


class Told(Struct, frozen=True):
    """All that is to be said of one thing: the first words name it."""

    parts: tuple[str, ...]
    certain: bool


def told(changes: Iterable[TopologyChange]) -> Iterator[Told]:
    """The changes in words, those of the fields of one thing together.

    >>> from tests.unit.sample import demo, make_topology
    >>> from hostinspect.questions.compare import compare
    >>> [*told(compare(make_topology([]), make_topology([], demo().networks[:1])).changes)]
    [Told(parts=('network bridge was added',), certain=True)]
    """
    for (_, _, kind, _), same in groupby(changes, key=lambda c: (c.family, c.key, c.kind, c.subject)):
        first, *others = same
        if kind == "changed":
            more = (change.words.removeprefix(f"{change.subject}: ") for change in others)
            yield Told((first.words, *more), first.certain)
        else:
            for change in (first, *others):
                yield Told((change.words,), change.certain)


def render_comparison(answer: Comparison, screen: Screen) -> str:
    """Which hosts, when, and what changed, family by family."""
    sections = [Branch(Line(_heading(answer), hang=2, gap=Span(" · ")))]
    for family, changes in groupby(answer.changes, key=lambda change: change.family):
        title = Line([item(_TITLES.get(family, family), style="name")])
        sections.append(Branch(title, branches=[Branch(_line(one)) for one in told(changes)]))
    return screen.draw_sections(sections)


def _heading(answer: Comparison) -> list[tuple[Span, ...]]:
    before, after = answer.before, answer.after
    names = before.hostname if before.hostname == after.hostname else f"{before.hostname} → {after.hostname}"
    later = ago(before.collected_at, after.collected_at)
    times = f"{before.collected_at} → {after.collected_at}" + (f", {later} later" if later else "")
    return [item(names or "no hostname", style="name"), item(_count(answer.changes)), item(times, style="dim")]


def _count(changes: Sequence[TopologyChange]) -> str:
    things = len([*told(changes)])
    if not things:
        return "nothing changed"
    return "1 thing changed" if things == 1 else f"{things} things changed"


def _line(one: Told) -> Line:
    style: Style = "" if one.certain else "warn"
    return Line([item(part, style=style) for part in one.parts], hang=2, gap=Span(", "))
