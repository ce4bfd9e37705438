"""What can be seen in a picture that graphviz or Mermaid itself draws, for the tests of what hostinspect writes.

Mermaid runs in node, in `tests/mermaid`; `make setup` installs both.
"""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hostinspect.render.graph import Graph
from hostinspect.render.text import safe

_MERMAID = Path(__file__).resolve().parent / "mermaid"
_SVG = "{http://www.w3.org/2000/svg}"


class Drawing(NamedTuple):
    """A picture, in words: lines of the nodes by id, edges as (from, to, label), and (label, members) of the groups."""

    title: str
    nodes: dict[str, tuple[str, ...]]
    edges: list[tuple[str, str, str]]
    groups: list[tuple[str, frozenset[str]]]


def drawing_of(graph: Graph) -> Drawing:
    """What a graph should look like, whatever it is written in."""
    ids = {node.key: f"n{number}" for number, node in enumerate(graph.nodes, 1)}
    return Drawing(
        safe(graph.title),
        {ids[node.key]: tuple(map(safe, node.lines)) for node in graph.nodes},
        sorted((ids[edge.source], ids[edge.target], safe(edge.label)) for edge in graph.edges),
        sorted(
            ((safe(g.label), frozenset(ids[n.key] for n in graph.nodes if n.group == g.key)) for g in graph.groups),
            key=_order,
        ),
    )


def _order(group: tuple[str, frozenset[str]]) -> tuple[str, list[str]]:
    return group[0], sorted(group[1])


# --- graphviz ---


def draw_dot(text: str) -> Drawing:
    """By `dot`, which must not say a word: nodes, labels and edges from the SVG, groups from the JSON."""
    svg = ET.fromstring(run_dot(text, "svg"))
    drawn = json.loads(run_dot(text, "json"))
    nodes: dict[str, tuple[str, ...]] = {}
    wires = []
    for element in svg.iter(f"{_SVG}g"):
        title = element.findtext(f"{_SVG}title", "")
        lines = [_shown(line) for line in element.findall(f"{_SVG}text")]
        if element.get("class") == "node":
            nodes[title] = tuple(lines)
        elif element.get("class") == "edge":
            source, _, target = title.partition("--")
            wires.append((source, target))
    labels = {node for node in nodes if node.startswith("e")}  # an edge's label is a node that it goes through
    edges = [(source, target, "") for source, target in wires if labels.isdisjoint((source, target))]
    for label in labels:
        [source], [target] = [a for a, b in wires if b == label], [b for a, b in wires if a == label]
        edges.append((source, target, "".join(nodes.pop(label))))
    clusters = {e.findtext(f"{_SVG}title", ""): e for e in svg.iter(f"{_SVG}g") if e.get("class") == "cluster"}
    names = {thing["_gvid"]: thing["name"] for thing in drawn.get("objects", [])}
    groups = []
    for thing in drawn.get("objects", []):
        if thing["name"].startswith("cluster"):
            label = "".join(_shown(line) for line in clusters[thing["name"]].findall(f"{_SVG}text"))
            groups.append((label, frozenset(names[number] for number in thing["nodes"])))
    title = "".join(_shown(line) for line in svg[0].findall(f"{_SVG}text"))
    return Drawing(title, nodes, sorted(edges), sorted(groups, key=_order))


def run_dot(text: str, format_: str) -> str:
    """The output of graphviz's dot; a warning is a failure."""
    done = subprocess.run(["dot", f"-T{format_}"], input=text, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, ""), text
    return done.stdout


def _shown(line: ET.Element) -> str:
    return (line.text or "").replace("\xa0", " ")  # graphviz writes a blank at the beginning or the end so


# --- Mermaid ---


class MermaidError(Exception):
    """Mermaid refused a text."""


class Mermaid:
    """Mermaid in a process of its own, which draws one text after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def draw(self, text: str) -> Drawing:
        """What is to be seen; nothing but text and line breaks may be in the labels. Raises `MermaidError`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        seen: dict[str, Any] = json.loads(self._process.stdout.readline())
        if "error" in seen:
            raise MermaidError(seen["error"])
        assert set(seen["elements"]) <= {"p", "br"}, text
        return Drawing(
            seen["title"].replace("\u2060", ""),
            {name: tuple(label.replace("\u2060", "").split("\n")) for name, label in seen["nodes"].items()},
            sorted((source, target, label.replace("\u2060", "")) for source, target, label in seen["edges"]),
            sorted(
                (
                    (group["text"].replace("\u2060", ""), frozenset(group["members"]))
                    for group in seen["groups"].values()
                ),
                key=_order,
            ),
        )


@contextmanager
def mermaid() -> Iterator[Mermaid]:
    """A process that draws, until the end of the block."""
    command = ["node", str(_MERMAID / "draw.mjs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Mermaid(process)
        finally:
            process.kill()
