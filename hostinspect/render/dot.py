r"""The report as a graph in DOT, for graphviz: `hostinspect -o dot | dot -Tsvg > host.svg`.

The language is <https://graphviz.org/doc/info/lang.html>. Only labels hold text of the host: quoted, with backslashes
doubled, since in a label `\N` and `\l` mean something, and `&` as an entity, since labels are decoded as HTML is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hostinspect.render.graph import Edge, Graph, Group, Key, Mark, Node, NodeKind, graph_of, members
from hostinspect.render.text import safe
from hostinspect.topology import Topology

_HEAD = """\
graph hostinspect {
  graph [rankdir=LR, nodesep=0.18, ranksep=0.5, fontname="sans-serif", fontsize=11, labelloc=t, labeljust=l]
  node [shape=box, style="rounded,filled", fillcolor=white, color="#7a7a7a", fontname="sans-serif", fontsize=9, \
height=0.25, margin="0.08,0.04"]
  edge [color="#7a7a7a"]
"""

_SHAPES: dict[NodeKind, str] = {
    "network": 'fillcolor="#dfeaf5", color="#41719c"',
    "bridge": 'style=filled, fillcolor="#eeeeee"',
    "link": 'fillcolor="#fafafa"',
    "container": 'style=filled, fillcolor="#fffbe8", penwidth=1.3, color="#444444"',
    "port": 'style=filled, fillcolor="#efeaf6"',
    "volume": 'shape=cylinder, style=filled, fillcolor="#eaf3e6"',
    "bind": 'shape=folder, style=filled, fillcolor="#eaf3e6"',
    "gap": "shape=note, style=filled",
}
_LABEL = 'shape=plaintext, style="", fontsize=8, height=0, margin=0.03'
_MARKS: dict[Mark, str] = {
    "dim": 'color="#aaaaaa", fontcolor="#777777"',
    "warn": 'color="#b07d00", fontcolor="#8a6200"',
    "bad": 'color="#cc0000", fontcolor="#cc0000", penwidth=1.6',
}


def render_dot(topology: Topology, *, verbose: bool = False, show_gaps: bool = True) -> str:
    """The graph in DOT, ending in a newline."""
    return write_dot(graph_of(topology, verbose=verbose, show_gaps=show_gaps))


def write_dot(graph: Graph) -> str:
    """Nodes are called n1, n2, …, labels e1, …, groups cluster1, …: no name of the host stands outside of a label."""
    ids = {node.key: f"n{number}" for number, node in enumerate(graph.nodes, 1)}
    clusters = {group: f"cluster{number}" for number, group in enumerate(graph.groups, 1)}
    lines = [f"  label={_quoted([graph.title])}"]
    for group, nodes in members(graph):
        indent = "    " if group else "  "
        block = [f"{indent}{ids[node.key]} [{_node(node)}]" for node in nodes]
        lines += block if group is None else [f"  subgraph {clusters[group]} {{", _group(group), *block, "  }"]
    for number, edge in enumerate(graph.edges, 1):
        lines += (f"  {line}" for line in _edge(edge, ids, f"e{number}"))
    return _HEAD + "\n".join(lines) + "\n}\n"


def _node(node: Node) -> str:
    return _attributes([f"label={_quoted(node.lines)}", _shape(node), _MARKS.get(node.mark, "")])


def _shape(node: Node) -> str:
    shape = _SHAPES[node.kind]
    return shape.replace("style=filled", 'style="filled,dashed"') if node.stopped else shape


def _group(group: Group) -> str:
    color = _MARKS.get(group.mark, 'color="#b5b5b5"')
    return f"    graph [label={_quoted([group.label])}, style=rounded, fontsize=9, labeljust=l, {color}]"


def _edge(edge: Edge, ids: dict[Key, str], label: str) -> Iterator[str]:
    """An edge; its label is a node that it goes through, since graphviz may put a label of its own on another edge."""
    mark = _MARKS.get(edge.mark, "")
    ends, span = [ids[edge.source], ids[edge.target]], edge.span
    if edge.label:
        yield f"{label} [{_attributes([f'label={_quoted([edge.label])}', _LABEL, mark])}]"
        ends, span = [ends[0], label, ends[1]], max(1, edge.span // 2)
    line = "style=dotted" if edge.kind == "shared" else "style=dashed" if edge.stopped else ""
    attributes = _attributes([line, f"minlen={span}" if span != 1 else "", mark])
    yield " -- ".join(ends) + (f" [{attributes}]" if attributes else "")


def _attributes(attributes: Iterable[str]) -> str:
    return ", ".join(filter(None, attributes))


def _quoted(lines: Iterable[str]) -> str:
    return '"' + r"\n".join(map(_escaped, lines)) + '"'


def _escaped(text: str) -> str:
    return safe(text).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
