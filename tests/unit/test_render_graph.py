"""The graph of a topology, and its two spellings; tests/live/test_graphs.py is about what the tools draw of them."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hostinspect.facts import Gap
from hostinspect.render.dot import render_dot, write_dot
from hostinspect.render.graph import Edge, Graph, Group, Node, graph_of
from hostinspect.render.mermaid import MAX_EDGES, MAX_TEXT, exceeds_limits, render_mermaid, write_mermaid
from hostinspect.topology import Container, LinkRef, Topology
from tests.unit.sample import (
    BRIDGE,
    HOST_NETNS,
    demo,
    make_container,
    make_endpoint,
    make_id,
    make_link,
    make_topology,
    stopped,
)

DOT_LINE = re.compile(
    r"graph hostinspect \{|\}|  subgraph cluster\d+ \{|  \}|"
    r"  (?:  )?(?:graph|node|edge|[ne]\d+(?: -- e\d+)?(?: -- n\d+)?)"
    r'(?: \[(?:(?:, )?\w+=(?:"(?:[^"\\]|\\.)*"|[\w.]+))+\])?|'
    r'  label="(?:[^"\\]|\\.)*"'
)
MERMAID_LINE = re.compile(
    r'n\d+(?:\{\{|\[\(|\[/|\(\[|\[|\()"[^"]*"(?:\}\}|\)\]|/\]|\]\)|\]|\))|n\d+ -[-.]+-(?:\|"[^"]*"\|)? n\d+|'
    r'subgraph g\d+\["[^"]*"\]|end|---|title: "(?:[^"\\]|\\.)*"|flowchart LR|'
    r"classDef \w+ [\w:#, -]+|class n\d+(?:,n\d+)* \w+|linkStyle \d+(?:,\d+)* [\w:#,-]+"
)
PLAIN = re.compile(r"(?:[A-Za-z0-9 _.:/,()+=-]|#\d+;|<br/>)*")
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(
    ["end", '"]', "%%{init: {}}%%", "fa:fa-car", "#quot;", "&lt;", "\\N", '\\"', "`x`", "1. x", "- x", "style a:#1;"]
)


def _names(graph: Graph, *kinds: str) -> set[str]:
    return {node.lines[0] for node in graph.nodes if node.kind in kinds}


def _node(graph: Graph, name: str) -> Node:
    [node] = [node for node in graph.nodes if node.lines[0] == name]
    return node


def _edges(graph: Graph, *kinds: str) -> set[tuple[str, str]]:
    names = {node.key: node.lines[0] for node in graph.nodes}
    return {(names[edge.source], names[edge.target]) for edge in graph.edges if not kinds or edge.kind in kinds}


def _with_link(topology: Topology, ifname: str, **changes: object) -> Topology:
    return replace(
        topology,
        links=tuple(replace(link, **changes) if link.ifname == ifname else link for link in topology.links),
    )


# --- what is in it ---


def test_every_object_of_the_host_is_there() -> None:
    topology = demo()
    graph = graph_of(topology)
    assert _names(graph, "network") == {network.name for network in topology.networks}
    assert _names(graph, "container") == {container.name for container in topology.containers}
    assert _names(graph, "bridge") == {bridge.name for bridge in topology.bridges}
    drawn = {name.split()[0] for name in _names(graph, "link", "bridge")}
    assert drawn == {link.ifname for link in topology.links} - {"lo"}
    assert _names(graph, "bind") == {"/srv/data"}
    assert {"myvol01", "dangling01", "tmpvol"} < _names(graph, "volume")
    assert len(_names(graph, "port")) == 4


def test_the_way_from_a_network_to_a_port() -> None:
    graph = graph_of(demo())
    assert {
        ("bridge", "docker0"),
        ("docker0", "veth13d6de4"),
        ("veth13d6de4", "eth0"),
        ("eth0", "web1"),
        ("web1", "8080 → 80/tcp on all addresses"),
    } <= _edges(graph)


def test_wires_go_inwards_also_into_hidden_namespaces() -> None:
    graph = graph_of(demo())
    keys = {(edge.source, edge.target) for edge in graph.edges if edge.kind == "wire"}
    assert (("link", "4026532900", "veth1"), ("link", "4026532211", "eth0")) in keys
    assert (("link", "4026532901", "veth0"), ("link", "4026532902", "eth0")) in keys
    assert (("link", str(HOST_NETNS), "veth8888888"), ("link", "4026532902", "eth1")) in keys
    assert (("link", str(HOST_NETNS), "eth0"), ("link", "4026532210", "eth0")) in keys  # macvlan on its parent
    assert not {(target, source) for source, target in keys} & keys


def test_groups_are_network_namespaces() -> None:
    graph = graph_of(demo())
    labels = {group.key: group.label for group in graph.groups}
    members = {
        label: {node.lines[0] for node in graph.nodes if node.group == key} for key, label in labels.items() if label
    }
    assert members["namespace blue"] == {"eth0"}
    assert members["hidden namespace 1-k3j5d6abcd"] == {"br0", "vxlan0 VNI 4097", "veth1", "veth2"}
    assert {"docker0", "net3", "veth13d6de4"} < members["network namespace of web-01"]
    web1 = _node(graph, "web1")
    assert _node(graph, "sidecar").group == web1.group == ("netns", "4026532204")
    assert all(any(node.group == group.key for node in graph.nodes) for group in graph.groups)


def test_a_shared_namespace_is_an_edge_and_its_wires_are_drawn_once() -> None:
    graph = graph_of(demo())
    assert _edges(graph, "shared") == {("web1", "sidecar")}
    assert [edge.source for edge in graph.edges if edge.target == ("container", make_id("sidecar"))] == [
        ("container", make_id("web1"))
    ]


def test_mounts_say_where_and_how() -> None:
    graph = graph_of(demo())
    labels = {(edge.source[1], edge.target[-1], edge.label) for edge in graph.edges if edge.kind == "mount"}
    assert {
        (make_id("rwro"), "myvol01", "/ro ro"),
        (make_id("rwro"), "myvol01", "/rw rw"),
        (make_id("bindtmp"), "/srv/data", "/data ro"),
    } <= labels
    assert _node(graph, "dangling01").mark == "dim"
    assert "tmpfs /scratch" not in _node(graph, "bindtmp").lines
    assert "tmpfs /scratch" in _node(graph_of(demo(), verbose=True), "bindtmp").lines


def test_stopped_containers_hang_on_their_recorded_network() -> None:
    graph = graph_of(demo())
    old = _node(graph, "old")
    assert old.stopped and old.group is None and old.lines[-1] == "exited (137)"
    assert ("bridge", "old") in _edges(graph, "member")
    assert all(edge.stopped for edge in graph.edges if old.key in (edge.source, edge.target))


def test_long_texts_are_cut_unless_verbose() -> None:
    name = "/srv/" + "x" * 100 + "/end"
    container = make_container("web", image=name)
    short = _node(graph_of(make_topology([container])), "web").lines[1]
    assert len(short) < 50 and short.startswith("/srv/x") and short.endswith("x/end") and "…" in short
    assert name in _node(graph_of(make_topology([container]), verbose=True), "web").lines


def test_networks_that_docker_always_has_are_left_out_while_nobody_is_on_them() -> None:
    topology = demo()
    without = [c for c in topology.containers if c.name not in ("net3", "no-net")]
    assert _names(graph_of(replace(topology, containers=tuple(without))), "network") == {
        network.name for network in topology.networks
    } - {"host", "none"}


def test_gaps_are_drawn_unless_not_asked_for() -> None:
    gap = Gap(collector="rules", subject="rules of nf_tables", why="Operation not permitted", remedy="run as root")
    topology = replace(
        demo(),
        gaps=(
            gap,
            replace(gap, subject="more than that, in words that take several lines"),
            replace(gap, why="minor", minor=True),
        ),
    )
    [node] = [node for node in graph_of(topology).nodes if node.kind == "gap"]
    assert node.lines == (
        *("not seen: rules", "rules of nf_tables", "more than that, in words that take several", "lines"),
        *("Operation not permitted", "→ run as root"),
    )
    assert "2 things not seen" in graph_of(topology).title
    assert not any(node.kind == "gap" for node in graph_of(topology, show_gaps=False).nodes)


# --- what is broken ---


def test_nothing_is_broken_but_the_two_servers_that_do_not_listen() -> None:
    graph = graph_of(demo())
    assert {node.lines[0].split()[0] for node in graph.nodes if node.mark == "bad"} == {"32768", "127.0.0.1:8081"}


@pytest.mark.parametrize(
    ("ifname", "changes", "says"),
    [
        ("veth13d6de4", {"operstate": "down"}, "down"),
        ("veth13d6de4", {"port_state": "blocking"}, "blocking on docker0"),
        ("docker0", {"operstate": "down"}, "down"),
    ],
)
def test_a_link_that_lets_nothing_pass(ifname: str, changes: dict[str, object], says: str) -> None:
    graph = graph_of(_with_link(demo(), ifname, **changes))
    node = _node(graph, ifname)
    assert node.mark == "bad" and says in node.lines
    if ifname != "docker0":
        marks = {edge.mark for edge in graph.edges if node.key in (edge.source, edge.target)}
        assert marks == {"bad"}


def _on_bridge(**changes: object) -> Topology:
    """web on the network bridge, its endpoint otherwise than it should be."""
    endpoint = make_endpoint(BRIDGE, "172.17.0.2", "eth0", "veth1")
    web = make_container("web", netns=7, endpoints=(replace(endpoint, **changes),))
    links = (
        make_link(HOST_NETNS, 3, "docker0", kind="bridge", addresses=("172.17.0.1",)),
        make_link(HOST_NETNS, 8, "veth1", peer=LinkRef(netns=7, ifindex=9, ifname="eth0")),
        make_link(7, 9, "eth0", peer=LinkRef(netns=HOST_NETNS, ifindex=8, ifname="veth1")),
    )
    topology = make_topology([web], [replace(BRIDGE, containers=(web.id,))])
    bridges = tuple(bridge for bridge in demo().bridges if bridge.name == "docker0")
    return replace(topology, links=(*topology.links, *links), bridges=bridges)


def test_a_veth_that_fell_off_its_bridge() -> None:
    graph = graph_of(_on_bridge(bridge=None))
    assert "port of no bridge, not of docker0" in _node(graph, "veth1").lines
    [member] = [edge for edge in graph.edges if edge.kind == "member"]
    assert (member.target, member.mark, member.stopped) == (("link", "7", "eth0"), "bad", True)


def test_an_address_that_is_gone() -> None:
    graph = graph_of(_on_bridge(ip=None))
    [eth0] = [node for node in graph.nodes if node.key == ("link", "7", "eth0")]
    assert eth0.mark == "bad" and "no address" in eth0.lines


def test_an_interface_that_is_gone() -> None:
    graph = graph_of(_on_bridge(interface=None))
    [member] = [edge for edge in graph.edges if edge.kind == "member"]
    assert (member.target[0], member.label, member.mark) == ("container", "no interface", "bad")


def test_a_bridge_that_is_gone() -> None:
    topology = replace(_on_bridge(), bridges=())
    node = _node(graph_of(topology), "bridge")
    assert node.mark == "bad" and "docker0 is not there" in node.lines
    unseen = Gap(collector="links", subject="links", why="Operation not permitted", remedy="run as root")
    node = _node(graph_of(replace(topology, gaps=(unseen,))), "bridge")
    assert node.mark == "warn" and "docker0 was not seen" in node.lines


def test_states_other_than_running_stand_out() -> None:
    graph = graph_of(demo())
    assert _node(graph, "paused1").mark == "warn"
    assert _node(graph, "web2").mark == "warn"  # drift
    assert _node(graph, "web1").mark == ""


def test_containers_that_name_each_other_as_owners_of_their_namespace() -> None:
    """A record may say anything."""

    def loop(name: str, other: str) -> Container:
        return stopped(name, shares_netns_with=make_id(other))

    graph = graph_of(make_topology([loop("a", "b"), loop("b", "a"), loop("c", "c"), loop("d", "gone")]))
    assert _edges(graph) == {("a", "b"), ("b", "a"), ("c", "c")}


# --- how it is written ---


@pytest.mark.parametrize("render", [render_dot, render_mermaid])
def test_equal_topologies_are_equal_bytes(render: object) -> None:
    assert render(demo()) == render(demo())  # type: ignore[operator]


@pytest.mark.parametrize(("render", "line"), [(render_dot, DOT_LINE), (render_mermaid, MERMAID_LINE)])
def test_the_demo_is_of_known_lines_only(render: object, line: re.Pattern[str]) -> None:
    text = render(demo())  # type: ignore[operator]
    assert [other for other in text.splitlines() if not line.fullmatch(other)] == []


def _graph(texts: list[str]) -> Graph:
    """A graph with the texts everywhere."""
    nodes = tuple(Node((str(i),), "container", (text, text), ("group",)) for i, text in enumerate(texts))
    edges = tuple(Edge((str(i),), ("0",), "mount", text) for i, text in enumerate(texts))
    return Graph(texts[0], (Group(("group",), texts[0]),), nodes, edges)


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_no_text_breaks_out_of_dot(texts: list[str]) -> None:
    lines = write_dot(_graph(texts)).split("\n")
    assert [line for line in lines[:-1] if not DOT_LINE.fullmatch(line)] == []
    assert "".join(lines).isprintable()
    assert len(lines) == 10 + 2 * len(texts) + sum(map(bool, texts))


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_no_text_breaks_out_of_mermaid(texts: list[str]) -> None:
    lines = write_mermaid(_graph(texts)).split("\n")
    assert [line for line in lines[:-1] if not MERMAID_LINE.fullmatch(line)] == []
    assert len(lines) == 9 + 2 * len(texts)
    for line in lines[3:]:
        for quoted in re.findall('"([^"]*)"', line):
            assert PLAIN.fullmatch(quoted)
    title = json.loads(lines[1].removeprefix("title: "))
    assert title.replace("\u2060", "").isprintable() and lines[1].isascii()


def test_plain_names_stay_readable_in_mermaid() -> None:
    text = render_mermaid(demo())
    assert '"mysql_app<br/>mysql:8.0<br/>pid 812"' in text
    assert '"/var/lib/mysql rw"' in text


def test_what_mermaid_would_refuse_is_known() -> None:
    assert not exceeds_limits(render_mermaid(demo()))
    assert exceeds_limits("x" * (MAX_TEXT + 1))
    edges = tuple(Edge((str(i),), (str(i + 1),), "wire") for i in range(MAX_EDGES))
    nodes = tuple(Node((str(i),), "link", (str(i),)) for i in range(MAX_EDGES + 2))
    assert not exceeds_limits(write_mermaid(Graph("", (), nodes, edges)))
    edges += (Edge(("0",), (str(MAX_EDGES + 1),), "wire"),)
    assert exceeds_limits(write_mermaid(Graph("", (), nodes, edges)))
