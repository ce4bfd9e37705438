"""Links: the other end of each, from the host and from inside, and how that reads."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hostinspect.questions.inspection import AmbiguousNameError, NameNotFoundError
from hostinspect.questions.links import LinkDetails, LinkFinder, NoNamespaceError, list_links
from hostinspect.topology import Link, LinkRef, Topology
from tests.unit.asked import Asker, assert_fits, inspected
from tests.unit.sample import HOST_NETNS, demo, make_container, make_id, make_link, make_topology

HOSTILE = "a\x1b[31m\u202e\nb\x9b  c"
WEB1_NETNS = 4026532204


def _with_links(topology: Topology, **by_name: dict[str, object]) -> Topology:
    """The topology with these fields of the links of these names."""
    links = tuple(replace(link, **by_name.get(link.ifname, {})) for link in topology.links)
    return replace(topology, links=links)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asker:
    asker = Asker(monkeypatch, capsys)
    topology = demo()
    asker.read(
        replace(
            topology,
            links=tuple(
                replace(
                    link,
                    prefixes=tuple(f"{address}/16" for address in link.addresses if address),
                    link_index=link.peer.ifindex if link.peer else link.lower.ifindex if link.lower else None,
                    link_netnsid=0 if link.peer or link.lower else None,
                )
                for link in topology.links
            ),
        )
    )
    return asker


def _finder() -> LinkFinder:
    return LinkFinder(inspected(demo()))


def _named(links: list[Link]) -> list[tuple[int, str]]:
    return [(link.netns, link.ifname) for link in links]


def _described(topology: Topology, ifname: str) -> LinkDetails:
    answer = list_links(inspected(topology), topology.links)
    return next(link for link in answer.links if link.ifname == ifname)


# --- which links ---


@pytest.mark.parametrize(
    ("key", "inode"),
    [
        ("host", HOST_NETNS),
        ("web1", WEB1_NETNS),
        (make_id("web1")[:8], WEB1_NETNS),
        ("sidecar", WEB1_NETNS),
        (str(WEB1_NETNS), WEB1_NETNS),
        (f"net:[{WEB1_NETNS}]", WEB1_NETNS),
        ("/proc/529/ns/net", WEB1_NETNS),
        ("/proc/1/ns/net", HOST_NETNS),
        ("/run/docker/netns/ingress_sbox", 4026532902),
        ("/var/run/docker/netns/ingress_sbox", 4026532902),
        ("ingress_sbox", 4026532902),
        ("blue", 4026532950),
    ],
)
def test_a_namespace_by_all_its_names(key: str, inode: int) -> None:
    assert _finder().namespaces(key) == {inode}


def test_names_of_no_namespace() -> None:
    with pytest.raises(NoNamespaceError, match=r"^The network namespace of old is not there: it does not run \(exited"):
        _finder().namespaces("old")
    with pytest.raises(NameNotFoundError, match=r"No such container or namespace: blu\. Did you mean blue\?"):
        _finder().namespaces("blu")
    with pytest.raises(AmbiguousNameError):
        _finder().namespaces("7")
    with pytest.raises(NameNotFoundError):
        _finder().namespaces("4026531999")
    unseen = make_topology([make_container("dark")])
    with pytest.raises(NoNamespaceError, match=r"^The network namespace of dark was not seen\.$"):
        LinkFinder(inspected(unseen)).namespaces("dark")


def test_a_name_is_a_containers_or_a_links() -> None:
    finder = _finder()
    host = finder.host
    assert _named(finder.links("web1", host)) == [(WEB1_NETNS, "lo"), (WEB1_NETNS, "eth0")]
    assert _named(finder.links("veth13d6de4", host)) == [(HOST_NETNS, "veth13d6de4")]
    assert _named(finder.links("eth0", host)) == [(HOST_NETNS, "eth0")]
    assert len(finder.links("eth0", None)) > 5
    with pytest.raises(NameNotFoundError, match=r"No such container or link: veth13d6de5\. Did you mean veth13d6de4"):
        finder.links("veth13d6de5", host)
    with pytest.raises(NoNamespaceError):
        finder.links("stopped1", host)


def test_a_link_by_another_name_of_its_own() -> None:
    topology = _with_links(demo(), veth13d6de4={"altnames": ("uplink",)})
    finder = LinkFinder(inspected(topology))
    assert _named(finder.links("uplink", finder.host)) == [(HOST_NETNS, "veth13d6de4")]


def test_a_container_called_as_a_link_is_hides_it_not() -> None:
    topology = make_topology([make_container("lo", netns=WEB1_NETNS)])
    finder = LinkFinder(inspected(topology))
    assert _named(finder.links("lo", finder.host)) == [(HOST_NETNS, "lo"), (WEB1_NETNS, "lo")]
    gone = make_topology([make_container("lo", state="exited", pid=None)])
    finder = LinkFinder(inspected(gone))
    assert _named(finder.links("lo", finder.host)) == [(HOST_NETNS, "lo")]


# --- the other end ---


def test_both_ends_of_a_veth_tell_of_each_other() -> None:
    outer = _described(demo(), "veth13d6de4")
    assert (outer.namespace, outer.container_name, outer.far_namespace, outer.network_name) == (
        "host",
        "web1",
        "web1",
        "bridge",
    )
    inside = list_links(inspected(demo()), [link for link in demo().links if link.netns == WEB1_NETNS]).links[1]
    assert (inside.ifname, inside.namespace, inside.far_namespace, inside.far_master, inside.network_name) == (
        "eth0",
        "web1",
        "host",
        "docker0",
        "bridge",
    )


@pytest.mark.parametrize(
    ("changes", "ip_name"),
    [
        ({}, "veth13d6de4"),
        ({"link_index": 12, "link_netnsid": 0}, "veth13d6de4@if12"),
        ({"link_index": 12, "link_netnsid": -1}, "veth13d6de4@if12"),
        ({"link_index": 2}, "veth13d6de4@eth0"),
        ({"link_index": 999}, "veth13d6de4@if999"),
    ],
)
def test_a_link_is_called_as_ip_calls_it(changes: dict[str, object], ip_name: str) -> None:
    assert _described(_with_links(demo(), veth13d6de4=changes), "veth13d6de4").ip_name == ip_name


# --- how it reads ---


def _rows(out: str) -> list[str]:
    return [" ".join(line.split()) for line in out.splitlines()]


def test_the_host(ask: Asker) -> None:
    rows = _rows(ask("links").out)
    assert rows[0] == "NAME STATE MAC KIND MASTER PEER ADDRESSES"
    mac = "02:42:ac:11:00:02"
    assert f"eth0 UP {mac} - - - 192.0.2.10/16" in rows
    assert f"veth8888888@if12 UP {mac} veth docker_gwbridge eth1 in ingress_sbox -" in rows
    assert any(
        row.startswith("veth13d6de4@if") and row.endswith(f"UP {mac} veth docker0 eth0 in web1 -") for row in rows
    )
    assert f"virbr0 DOWN {mac} bridge - - 192.168.122.1/16" in rows
    assert rows[-1] == f"veth7070707@if71 UP {mac} veth - eth0 in blue -"


def test_from_inside(ask: Asker) -> None:
    rows = _rows(ask("links", "web1").out)
    assert rows[0] == "NAMESPACE NAME STATE MAC KIND MASTER PEER ADDRESSES"
    assert rows[2].startswith("web1 eth0@if")
    assert rows[2].endswith("veth - veth13d6de4 (docker0) 172.17.0.5/16")
    assert ask("links", "sidecar").out == ask("links", "--netns", "web1").out == ask("links", "web1").out


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("mv1", "on eth0"),
        ("ov1", "veth1 (br0) in 1-k3j5d6abcd"),
        ("veth6666666", "? (its peer, ifindex 65, is in a namespace not found)"),
        ("docker0", "-"),
    ],
)
def test_the_peer_in_words(ask: Asker, name: str, peer: str) -> None:
    assert peer in ask("links", name, "--columns", "peer", "--no-header").out.splitlines()


def test_all_namespaces(ask: Asker) -> None:
    everything = ask("links", "--all", "--columns", "namespace,name", "--no-header").out.splitlines()
    assert len(everything) == len(demo().links)
    assert everything[0].split() == ["host", "lo"]
    assert "ingress_sbox" in {line.split()[0] for line in everything}
    once = ask(
        "links", "-a", "--sort=namespace", "--columns=namespace,name", "--no-header", columns=120
    ).out.splitlines()
    assert sum(line.startswith("host") for line in once) == 1


def test_flags_as_ip_prints_them(ask: Asker) -> None:
    out = ask("links", "eth0", "--columns", "flags", "--no-header").out
    assert out == "BROADCAST, MULTICAST, UP, LOWER_UP\n"


def test_wrong_usage(ask: Asker) -> None:
    assert ask("links", "--all", "--netns", "web1").code == 2
    assert ask("links", "--netns", "7").code == 2
    missing = ask("links", "old")
    assert (missing.code, missing.out) == (1, "")
    assert missing.err == "hostinspect: The network namespace of old is not there: it does not run (exited).\n"


def test_json_is_what_the_schema_says(ask: Asker) -> None:
    answer = ask.json("links", "web1")
    assert [link["ifname"] for link in answer["links"]] == ["lo", "eth0"]
    assert answer["links"][1]["peer"]["ifname"] == "veth13d6de4"
    assert [namespace["inode"] for namespace in answer["netns"]] == [WEB1_NETNS]
    assert len(ask.json("links", "--all")["links"]) == len(demo().links)


@pytest.mark.parametrize("columns", [70, 80, 120, None])
def test_nothing_from_the_host_reaches_the_terminal(ask: Asker, columns: int | None) -> None:
    evil = replace(make_container("evil", netns=WEB1_NETNS), name=HOSTILE)
    topology = make_topology([evil])
    far = LinkRef(netns=WEB1_NETNS, ifindex=9, ifname=HOSTILE)
    links = (
        make_link(HOST_NETNS, 8, HOSTILE, peer=far, master=HOSTILE, kind=HOSTILE, alias=HOSTILE, altnames=(HOSTILE,)),
        make_link(HOST_NETNS, 9, "b", doubt=HOSTILE * 3),
        make_link(WEB1_NETNS, 9, HOSTILE, master=HOSTILE),
    )
    ask.read(replace(topology, links=links))
    for arguments in (["links"], ["links", "--all"], ["links", "--all", "-v"]):
        reply = ask(*arguments, columns=columns)
        assert reply.code == 0
        assert_fits(reply.out.splitlines(), 10_000 if "-v" in arguments or columns is None else columns)
    assert len(ask("links", "--all", "--no-header").out.splitlines()) == 3
