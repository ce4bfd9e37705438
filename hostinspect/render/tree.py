"""The report as a tree for people: networks, the containers on them, and what belongs to each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hostinspect.render.layout import Branch, Item, Line, Span, Style, detail, item
from hostinspect.render.networks import homeless_branch, network_branches
from hostinspect.render.remainder import gap_branches, remaining_branches
from hostinspect.render.screen import Screen
from hostinspect.render.view import DEFAULT_DATA_ROOT, View
from hostinspect.topology import Engine, Topology

_MARKS: tuple[tuple[Style, str], ...] = (("bad", "broken"), ("warn", "look at"))
_NAMED = 12


def render_tree(topology: Topology, screen: Screen, *, verbose: bool = False, show_gaps: bool = True) -> str:
    """The whole report, ending in a newline."""
    view = View(topology, verbose=verbose)
    sections = [*network_branches(view), *homeless_branch(view), *remaining_branches(view)]
    sections.insert(0, Branch(_headline(view), [*_attention(sections), *_unseen(view)]))
    if show_gaps:
        sections += gap_branches(view)
    return screen.draw_sections(sections)


def _headline(view: View) -> Line:
    """`web-01 · Debian 12, Linux 6.1 · docker 28.5, daemon running · 12 containers (9 running) · …`."""
    topology = view.topology
    host = topology.host
    ran = "running when it was taken" if view.is_disk else "running"
    running = f" ({len(view.running)} {ran})" if topology.containers else ""
    counts = [
        _count(len(topology.containers), "container", complete=view.knows("engines", "containers")) + running,
        _count(len(topology.networks), "network", complete=view.knows("engines", "networks")),
        _count(len(topology.volumes), "volume", complete=view.knows("engines", "volumes")),
    ]
    engines = [_engine(view, engine) for engine in host.engines] or [item("no engine found", style="warn")]
    system = ", ".join(filter(None, (host.os, f"Linux {host.kernel}" if host.kernel else None)))
    items = [item(host.hostname or "no hostname", style="name")]
    if host.root is not None:
        items.append(item(f"the disk at {host.root}"))
    items += [*([item(system)] if system else []), *engines, *map(item, counts)]
    return Line(items, gap=Span(" · ", "dim"))


def _engine(view: View, engine: Engine) -> Item:
    name = f"{engine.name} {engine.version}" if engine.version else engine.name
    where = "" if engine.data_root == DEFAULT_DATA_ROOT else f" in {engine.data_root}"
    if view.is_disk:
        return item(f"{name}{where}")
    return item(
        f"{name}{where}, daemon ", Span(engine.daemon or "not seen", "" if engine.daemon == "running" else "bad")
    )


def _count(number: int, noun: str, *, complete: bool = True) -> str:
    """`3 volumes`; `no volume`; and of what may not be all, `3 volumes seen`."""
    counted = f"{number or 'no'} {noun}{'s' if number > 1 else ''}"
    return counted if complete else f"{counted} seen"


def _attention(sections: Iterable[Branch]) -> Iterator[Line]:
    """What is marked below as broken, or as worth a look, so that nobody has to scroll for it."""
    marked: dict[str, dict[str, None]] = {"bad": {}, "warn": {}}
    for branch in _walk(sections):
        styles = {span.style for line in (branch.line, *branch.details) for spans in line.items for span in spans}
        worst = "bad" if "bad" in styles else "warn" if "warn" in styles else None
        if worst:
            marked[worst][branch.line.items[0][0].text] = None
    for style, label in _MARKS:
        names = [*marked[style]]
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            yield detail(label, item(", ".join(names[:_NAMED]) + more, style=style), style=style)


def _unseen(view: View) -> Iterator[Line]:
    gaps = sum(not gap.minor for gap in view.topology.gaps)
    if gaps:
        words = f"{_count(gaps, 'thing')}, told at the end: what follows is not the whole"
        yield detail("unseen", item(words, style="warn"), style="warn")


def _walk(branches: Iterable[Branch]) -> Iterator[Branch]:
    for branch in branches:
        yield branch
        yield from _walk(branch.branches)
