r"""The report as a Mermaid flowchart, which forges and wikis draw from a Markdown block.

The language is <https://mermaid.js.org/syntax/flowchart.html>. Only quoted labels hold text of the host, and of that
only plain characters as they are: all others become `#NNN;`, Mermaid's entity. A quoted label is by no means safe as
it is: Mermaid reads Markdown and HTML in it, turns bare addresses into links and `fa:fa-…` into icons, and some of
its regular expressions look for `style` and `%%{` in the text as a whole.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from hostinspect.render.graph import Edge, Graph, Key, Mark, Node, NodeKind, graph_of, members
from hostinspect.render.text import safe
from hostinspect.topology import Topology

# What Mermaid draws unless it is set up for more: `maxTextSize` and `maxEdges`, which a text itself cannot set.
MAX_TEXT = 50_000
MAX_EDGES = 500

_SHAPES: dict[NodeKind, tuple[str, str]] = {
    "network": ("{{", "}}"),
    "bridge": ("[", "]"),
    "link": ("(", ")"),
    "container": ("[", "]"),
    "port": ("([", "])"),
    "volume": ("[(", ")]"),
    "bind": ("[/", "/]"),
    "gap": ("[", "]"),
}
# Each says its text's colour too, to be read on a dark page.
_CLASSES = {
    "network": "fill:#dfeaf5,stroke:#41719c,color:#222",
    "bridge": "fill:#eee,stroke:#7a7a7a,color:#222",
    "link": "fill:#fafafa,stroke:#7a7a7a,color:#222",
    "container": "fill:#fffbe8,stroke:#444,color:#222",
    "port": "fill:#efeaf6,stroke:#7a7a7a,color:#222",
    "volume": "fill:#eaf3e6,stroke:#7a7a7a,color:#222",
    "bind": "fill:#eaf3e6,stroke:#7a7a7a,color:#222",
    "gap": "fill:#fff,stroke:#b07d00,color:#222",
    "stopped": "stroke-dasharray:5 4",
    "dim": "stroke:#aaa,color:#777",
    "warn": "stroke:#b07d00,color:#8a6200",
    "bad": "stroke:#c00,color:#c00,stroke-width:2px",
}
_EDGE_MARKS: dict[Mark, str] = {"warn": "stroke:#b07d00", "bad": "stroke:#c00,stroke-width:2px"}

_NOT_PLAIN = re.compile(
    r"[^A-Za-z0-9 _.:/,()+=-]"
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"  # emphasis, but for an underscore within a word
    r"|(?<=:)/|:(?=//)|(?<=www)\."  # a bare address
    r"|^[-+=](?=[ =+-]|$)|(?<=[0-9])[.)](?= |$)"  # a list, a line below a heading
    r"|(?<=st)y(?=le)|(?<=class)D(?=ef)"  # of these, Mermaid would take away the entity's end
    r"|(?<=^)[ ]|[ ](?=$)"
)
_EDGE = re.compile(r"^n\d+ -", re.MULTILINE)
# What it still finds after it has resolved the entities: icons, line breaks written as `\n`, mathematics, and the
# characters which its entities are made into meanwhile. An invisible character keeps these apart.
_FOUND_LATE = re.compile(r"(?<=:)(?=fa-)|(?<=\\)(?=n)|(?<=\$)(?=\$)|(?<=ﬂ)(?=°)|(?<=¶)(?=ß)")
_WORD_JOINER = "\u2060"  # no width, no break
_NOT_YAML = re.compile(r"[^A-Za-z0-9 ._:,/()\"\\-]")
_HTML = re.compile(r"[<>&]")


def render_mermaid(topology: Topology, *, verbose: bool = False, show_gaps: bool = True) -> str:
    """The graph as a flowchart, ending in a newline."""
    return write_mermaid(graph_of(topology, verbose=verbose, show_gaps=show_gaps))


def write_mermaid(graph: Graph) -> str:
    """Nodes are called n1, n2, …, groups g1, …: no name of the host stands outside of a label."""
    ids = {node.key: f"n{number}" for number, node in enumerate(graph.nodes, 1)}
    subgraphs = {group: f"g{number}" for number, group in enumerate(graph.groups, 1)}
    lines = ["---", f"title: {_yaml(graph.title)}", "---", "flowchart LR"]
    for group, nodes in members(graph):
        block = [f"{ids[node.key]}{_node(node)}" for node in nodes]
        if group is not None:
            block = [f'subgraph {subgraphs[group]}["{_escaped(group.label) or " "}"]', *block, "end"]
        lines += block
    lines += [_edge(edge, ids) for edge in graph.edges]
    return "\n".join([*lines, *_classes(graph, ids), *_edge_styles(graph.edges)]) + "\n"


def exceeds_limits(text: str) -> bool:
    """Whether Mermaid, as it is set up by default, refuses to draw a text of ours."""
    return len(text) > MAX_TEXT or len(_EDGE.findall(text)) > MAX_EDGES


def _node(node: Node) -> str:
    before, after = _SHAPES[node.kind]
    text = "<br/>".join(map(_escaped, node.lines)) or " "  # an empty one is an error
    return f'{before}"{text}"{after}'


def _edge(edge: Edge, ids: dict[Key, str]) -> str:
    span = max(edge.span, 1)
    line = f"-{'.' * span}-" if edge.stopped or edge.kind == "shared" else "--" + "-" * span
    label = f'|"{_escaped(edge.label)}"|' if edge.label else ""
    return f"{ids[edge.source]} {line}{label} {ids[edge.target]}"


def _classes(graph: Graph, ids: dict[Key, str]) -> Iterator[str]:
    used: dict[str, list[str]] = defaultdict(list)
    for node in graph.nodes:
        for name in (node.kind, "stopped" if node.stopped else "", node.mark):
            used[name].append(ids[node.key])
    for name, style in _CLASSES.items():
        if name in used:
            yield f"classDef {name} {style}"
            yield f"class {','.join(used[name])} {name}"


def _edge_styles(edges: Iterable[Edge]) -> Iterator[str]:
    numbers: dict[Mark, list[str]] = defaultdict(list)
    for number, edge in enumerate(edges):
        numbers[edge.mark].append(str(number))
    for mark, style in _EDGE_MARKS.items():
        if mark in numbers:
            yield f"linkStyle {','.join(numbers[mark])} {style}"


def _escaped(text: str) -> str:
    text = _FOUND_LATE.sub(_WORD_JOINER, safe(text))
    return _NOT_PLAIN.sub(lambda match: f"#{ord(match[0])};", text)


def _yaml(text: str) -> str:
    r"""A double-quoted scalar of YAML 1.2: JSON's, with all that could mean something to Mermaid as `\uXXXX`.

    A title has no entities, and what looks like HTML is taken away from it: that is shown as `safe` shows the like.
    """
    text = _FOUND_LATE.sub(_WORD_JOINER, _HTML.sub(lambda match: rf"\x{ord(match[0]):x}", safe(text)))
    return _NOT_YAML.sub(lambda match: rf"\u{ord(match[0]):04x}", json.dumps(text))
