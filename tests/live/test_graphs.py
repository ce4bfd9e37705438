"""What graphviz and Mermaid themselves draw of `-o dot` and `-o mermaid`, for topologies made by hand and for hosts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hostinspect.render.dot import write_dot
from hostinspect.render.graph import Edge, Graph, Group, Node, graph_of
from hostinspect.render.mermaid import MAX_TEXT, exceeds_limits, write_mermaid
from hostinspect.topology import Topology
from tests.drawings import Drawing, Mermaid, MermaidError, draw_dot, drawing_of, mermaid, run_dot
from tests.lab.host import LabHost
from tests.live.report import hostinspect, report
from tests.unit.sample import BRIDGE, demo, make_container, make_mount, make_topology

Draw = Callable[[str], Drawing]
FORMATS = ["dot", "mermaid"]

# What a language below a label could take for its own: DOT's escapes and entities; Mermaid's entities, Markdown, HTML,
# directives, icons, links, mathematics, keywords, and what its own regular expressions look for.
HOSTILE = [
    *("", " ", "end", '"', '"]', "'", "\\", "\\N", "\\l", "a\\", '\\"', "<b>", "</g>", "&amp;", "&#34;", "&lt;b&gt;"),
    *("#", "#quot;", "#34;", "#34", "#;", "ﬂ°°60¶ßimgﬂ°°62¶ß", "%%", "%%{init: {'theme':'dark'}}%%", "%% comment"),
    *("`", "`**b**`", "**b**", "__b__", "_b_", "a_b_c", "~~s~~", "1. x", "1) x", "- x", "+ x", "* x", "# h", "> q"),
    *(
        "===",
        "---",
        "--",
        "-->",
        "|x|",
        "[x](y)",
        "![x](y)",
        "https://example.com/",
        "www.example.com",
        "a@example.com",
    ),
    *("fa:fa-car", "fab:fa-x fa:fa-y", "$$x^2$$", "style a:b#c;", "classDef a:b#c;", "style x:'", "linkStyle 0 x"),
    *(
        "click n1 call f()",
        'n1["x"]:::y',
        "subgraph",
        "<script>x()</script>",
        "<img src=x onerror=x()>",
        "javascript:x",
    ),
    *(
        "a\nb",
        "a\r\nb",
        "\t",
        "\x00",
        "\x1b[31m",
        "\x7f",
        "\u202e",
        "\u2028",
        "\ud800",
        "ö数😀",
        "a  b",
        " a ",
        "→",
        "%{",
    ),
    *(
        "title: x",
        "{",
        "}",
        "{{x}}",
        "${x}",
        ";",
        ":::bad",
        "@{ shape: x }",
        "\u00b6\u00df",
        "#x3c;b#x3e;",
        "=",
        "1.",
        "-",
    ),
]


@pytest.fixture(scope="module")
def mermaid_process() -> Iterator[Mermaid]:
    with mermaid() as process:
        yield process


@pytest.fixture(params=FORMATS)
def tool(request: pytest.FixtureRequest, mermaid_process: Mermaid) -> tuple[str, Callable[[Graph], str], Draw]:
    """The name of a format, what writes it, and what draws it."""
    if request.param == "dot":
        return "dot", write_dot, draw_dot
    return "mermaid", write_mermaid, mermaid_process.draw


Tool = tuple[str, Callable[[Graph], str], Draw]


# --- topologies made by hand ---


def test_the_demo_is_drawn_as_it_is(tool: Tool) -> None:
    _, write, draw = tool
    graph = graph_of(demo())
    assert draw(write(graph)) == drawing_of(graph)


def test_an_empty_host(tool: Tool) -> None:
    _, write, draw = tool
    graph = graph_of(make_topology())
    assert draw(write(graph)) == drawing_of(graph)


def _text_everywhere(texts: list[str]) -> Graph:
    nodes = tuple(Node((str(i),), "container", (text or "x", "", text), ("g",)) for i, text in enumerate(texts))
    nodes = tuple(node._replace(lines=tuple(line for line in node.lines if line.strip(" "))) for node in nodes)
    edges = tuple(Edge((str(i),), ("0",), "mount", text) for i, text in enumerate(texts) if i)
    return Graph("host", (Group(("g",), "x"),), nodes, edges)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(text: str, tool: Tool) -> None:
    """As a node's name and line, an edge's label, a group's label and the title."""
    name, write, draw = tool
    visible = text.strip(" ") or "x"
    node = Node(("a",), "volume", (visible, f"x {visible}"), ("g",))
    other = Node(("b",), "link", (f"{visible} x",), ("g",))
    edge = Edge(("a",), ("b",), "mount", visible)
    graph = Graph(f"host {visible}", (Group(("g",), visible),), (node, other), (edge,))
    expected = drawing_of(graph)
    if name == "mermaid":  # there is no way to have these in a title
        expected = expected._replace(title=re.sub("[<>&]", lambda match: rf"\x{ord(match[0]):x}", expected.title))
    assert draw(write(graph)) == expected


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([text for text in HOSTILE if text.strip(" ") == text])
def test_any_text_is_text(tool: Tool, texts: list[str]) -> None:
    _, write, draw = tool
    graph = _text_everywhere([text.strip(" ") for text in texts])
    assert draw(write(graph)) == drawing_of(graph)


def test_a_warning_of_graphviz_fails() -> None:
    with pytest.raises(AssertionError):
        run_dot("graph { n1 [shape=nothing] }", "svg")


def test_an_error_of_mermaid_fails(mermaid_process: Mermaid) -> None:
    with pytest.raises(MermaidError):
        mermaid_process.draw('flowchart LR\nn1["x"')
    with pytest.raises(AssertionError):
        mermaid_process.draw('flowchart LR\nn1["<b>x</b>"]')


def _crowd(number: int) -> Topology:
    """A host with so many containers as the demo's web1, each with a volume."""
    sample = demo()
    web1 = next(container for container in sample.containers if container.name == "web1")
    inner = next(link for link in sample.links if link.container == web1.id and link.master is None)
    outer = next(link for link in sample.links if link.container == web1.id and link.master)
    containers, links = [], [link for link in sample.links if link.ifname == "docker0"]
    for i in range(number):
        netns, host_link = 5_000_000_000 + i, f"veth{i:07x}"
        endpoint = replace(web1.endpoints[0], host_link=host_link)
        new = make_container(
            f"web-{i:03}", netns=netns, endpoints=(endpoint,), ports=web1.ports,
            mounts=(make_mount("volume", f"data-{i:03}", "/data"),),
        )  # fmt: skip
        containers.append(new)
        far = msgspec.structs.replace(outer.peer, netns=netns) if outer.peer else None
        near = msgspec.structs.replace(inner.peer, ifname=host_link) if inner.peer else None
        links += [replace(outer, ifname=host_link, peer=far), replace(inner, netns=netns, peer=near)]
    topology = make_topology(containers, [BRIDGE])
    bridges = tuple(bridge for bridge in sample.bridges if bridge.name == "docker0")
    return replace(topology, links=(*topology.links, *links), bridges=bridges)


def test_fifty_containers_are_within_what_mermaid_takes(tool: Tool) -> None:
    _, write, draw = tool
    graph = graph_of(_crowd(50))
    assert draw(write(graph)) == drawing_of(graph)
    assert not exceeds_limits(write_mermaid(graph))


def test_what_is_beyond_the_limits_is_what_mermaid_refuses(mermaid_process: Mermaid) -> None:
    text = write_mermaid(graph_of(_crowd(150)))
    assert exceeds_limits(text) and len(text) > MAX_TEXT
    with pytest.raises(MermaidError):
        mermaid_process.draw(text)
    edges = tuple(Edge(("a",), ("b",), "wire") for _ in range(501))
    nodes = (Node(("a",), "link", ("a",)), Node(("b",), "link", ("b",)))
    with pytest.raises(MermaidError):
        mermaid_process.draw(write_mermaid(Graph("", (), nodes, edges)))
    mermaid_process.draw(write_mermaid(Graph("", (), nodes, edges[:500])))


# --- real hosts ---


def _drawn(host: LabHost, tool: Tool) -> tuple[Any, Drawing]:
    """The report as JSON, and the picture of the same moment as far as both are of an unchanged host."""
    name, _, draw = tool
    answer = report(host)
    done = hostinspect(host, "report", "--output", name)
    assert (done.returncode, done.stderr) == (0, "")
    return answer, draw(done.stdout)


def _check(answer: Any, drawing: Drawing) -> None:
    """Every container, wire, port, mount and volume of a report against a picture: by names, from the JSON alone."""
    first = {node: lines[0] for node, lines in drawing.nodes.items()}
    by_name: dict[str, list[str]] = {}
    for node, name in first.items():
        by_name.setdefault(name, []).append(node)
    joined = {(source, target) for source, target, _ in drawing.edges}
    group_of = {node: members for _, members in drawing.groups for node in members}
    networks = {network[key]: network for key in ("name", "id") for network in answer["networks"]}
    names = {container["id"]: container["name"] for container in answer["containers"]}

    def paths(start: str, *rest: str) -> list[str]:
        """Where one comes to from nodes of the first name through nodes of the others."""
        ends = by_name.get(start, [])
        for name in rest:
            ends = [node for node in by_name.get(name, []) if any((end, node) in joined for end in ends)]
        return ends

    for container in answer["containers"]:
        name = container["name"]
        [node] = [n for n in by_name[name] if drawing.nodes[n][1:2] == (_image(container),)]
        for endpoint in container["endpoints"]:
            network = networks.get(endpoint["network_id"] or endpoint["network"])
            if network is None or network["name"] is None:
                continue
            inner = endpoint["interface"]
            if inner and network["bridge"]:
                way = [network["name"], endpoint["bridge"], endpoint["host_link"], inner]
            elif inner:
                inner = f"{inner} {network['driver']}"
                way = [network["name"], endpoint["host_link"], inner]
            else:
                assert node in paths(network["name"], name), (name, network["name"])
                continue
            ends = [end for end in paths(*way) if group_of[end] == group_of[node]]
            assert ends and (ends[0], node) in joined, (name, way)
            assert (endpoint["ip"] or endpoint["ip6"]) in drawing.nodes[ends[0]]
        owner = container["shares_netns_with"]
        if owner is None and not container["endpoints"]:
            mode = {"default": "bridge"}.get(container["network_mode"], container["network_mode"])
            assert mode not in networks or node in paths(networks[mode]["name"], name), (name, mode)
        if owner in names:
            assert node in paths(names[owner], name)
            if container["pid"]:
                assert group_of[node] == group_of[by_name[names[owner]][0]]
        told = " ".join(line for a, b in joined if a == node for line in drawing.nodes[b])
        for port in container["ports"] if container["pid"] else []:
            assert re.search(rf"\b{port['host_port']}\b|\d+-\d+", told), (name, port, told)
        for mount in container["mounts"]:
            if mount["type"] in ("bind", "volume"):
                way_in = "rw" if mount["rw"] else "ro"
                labels = [label for source, _, label in drawing.edges if source == node]
                assert any(_is_mount(label, mount["destination"], way_in) for label in labels), (name, mount, labels)
    for volume in answer["volumes"]:
        if not volume["anonymous"]:
            assert any(first[node] == volume["name"] for node in drawing.nodes), volume["name"]
    running = [container for container in answer["containers"] if container["pid"]]
    assert f"{len(answer['containers'])} containers ({len(running)} running)" in drawing.title


def _image(container: Any) -> str:
    image: str = container["image"]
    return image.removeprefix("sha256:")[:12] if image.startswith("sha256:") else image


def _is_mount(label: str, destination: str, way_in: str) -> bool:
    """The label may be cut in the middle."""
    before, cut, after = label.partition("…")
    whole = f"{destination} {way_in}"
    return label.startswith(whole) or (bool(cut) and whole.startswith(before) and after.rpartition(" ")[2] == way_in)


def test_the_check_notices_what_is_missing() -> None:
    """Each edge on a way from a network to a container and what belongs to it; names of containers and volumes."""
    answer = msgspec.json.decode(msgspec.json.encode(demo()))
    graph = graph_of(demo())
    _check(answer, drawing_of(graph))
    ways = [edge for edge in graph.edges if _is_on_a_way(graph, edge)]
    assert len(ways) > 50
    for edge in ways:
        edges = tuple(other for other in graph.edges if other is not edge)
        with pytest.raises(AssertionError):
            _check(answer, drawing_of(graph._replace(edges=edges)))
    for node in graph.nodes:
        if node.kind in ("container", "volume") and not re.fullmatch(r"[0-9a-f]{12}…", node.lines[0]):
            other = node._replace(lines=("otherwise", *node.lines[1:]))
            nodes = tuple(other if each is node else each for each in graph.nodes)
            with pytest.raises((AssertionError, KeyError)):
                _check(answer, drawing_of(graph._replace(nodes=nodes)))


def _is_on_a_way(graph: Graph, edge: Edge) -> bool:
    """Whether a container hangs on it: not the wires of swarm's own namespaces, nor of those that are not docker's."""
    if edge.kind != "wire":
        return True
    further = [other for other in graph.edges if other.source == edge.target]
    return edge.target[0] == "container" or any(_is_on_a_way(graph, other) for other in further if other.kind == "wire")


def test_the_demo_host(demo_host: LabHost, tool: Tool) -> None:
    _check(*_drawn(demo_host, tool))


def test_the_picture_is_that_of_the_topology(demo_host: LabHost, tool: Tool) -> None:
    """The graph that is tested above by hand-made topologies is the one that is printed."""
    answer, drawing = _drawn(demo_host, tool)
    expected = drawing_of(graph_of(msgspec.convert(answer, Topology)))
    assert drawing._replace(title="") == expected._replace(title="")


def test_two_pictures_of_an_unchanged_host_differ_in_their_time_only(demo_host: LabHost) -> None:
    for name in FORMATS:
        one, other = (hostinspect(demo_host, "-o", name).stdout for _ in range(2))
        time = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z?")
        assert time.sub("", one) == time.sub("", other)


def test_a_cable_pulled_is_red(demo_host: LabHost, tool: Tool) -> None:
    answer = report(demo_host)
    [web1] = [container for container in answer["containers"] if container["name"] == "web1"]
    veth = web1["endpoints"][0]["host_link"]
    demo_host.run(["ip", "link", "set", veth, "down"])
    try:
        text = hostinspect(demo_host, "-o", tool[0]).stdout
    finally:
        demo_host.run(["ip", "link", "set", veth, "up"])
    drawing = tool[2](text)
    [node] = [node for node, lines in drawing.nodes.items() if lines == (veth, "down")]
    if tool[0] == "dot":
        [drawn] = [thing for thing in json.loads(run_dot(text, "json"))["objects"] if thing["name"] == node]
        assert drawn["color"] == "#cc0000"
    else:
        assert re.search(rf"^class (n\d+,)*{node}(,n\d+)* bad$", text, re.MULTILINE)


def test_what_an_ordinary_user_cannot_see_is_a_note(demo_host: LabHost, tool: Tool) -> None:
    done = hostinspect(demo_host, "-o", tool[0], user="nobody")
    assert done.returncode == 3
    drawing = tool[2](done.stdout)
    notes = [lines for lines in drawing.nodes.values() if lines[0] == "not seen: engines"]
    assert notes and all(lines[-1] == "→ run as root" for lines in notes)
    assert "0 containers seen" in drawing.title


@pytest.mark.parametrize("made_up", ["random_host"], indirect=True)
def test_a_random_host(made_up: LabHost, mermaid_process: Mermaid) -> None:
    for name, draw in (("dot", draw_dot), ("mermaid", mermaid_process.draw)):
        tool = (name, write_dot, draw)
        _check(*_drawn(made_up, tool))
