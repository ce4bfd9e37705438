"""Ways through small hosts made by hand: what no lab has, what was not seen, and what is hostile."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from hostinspect.cli.app import run
from hostinspect.facts import (
    Address,
    Chain,
    Facts,
    Gap,
    Link,
    ListeningSocket,
    MountPoint,
    NetworkNamespace,
    Nsid,
    RecordedPort,
    Route,
    Rule,
    SocketHolder,
    Sysctl,
)
from hostinspect.questions.inspection import Inspection, NameNotFoundError
from hostinspect.questions.trace import TargetError, trace
from hostinspect.questions.trace.answer import Trace, Traces
from hostinspect.render.json import render_json
from hostinspect.render.schema import answer_schema
from hostinspect.render.screen import Screen
from hostinspect.render.trace import render_trace
from tests.unit.factory import DOCKER0, HOST_NETNS, HOST_VETH, WEB_ETH0, WEB_NETNS, host_with_web, record

UP = {"flags": ("UP", "BROADCAST", "RUNNING", "LOWER_UP"), "forwarding": True, "rp_filter": 0, "route_localnet": False}
LO = {"ifindex": 1, "ifname": "lo", "flags": ("UP", "LOOPBACK", "RUNNING", "LOWER_UP")}
ETH0 = Link(netns=HOST_NETNS, ifindex=2, ifname="eth0", **UP)  # type: ignore[arg-type]


def rule(chain: str, text: str, position: int = 1, table: str = "nat", **changes: Any) -> Rule:
    words = text.split()
    fields: dict[str, Any] = {
        "netns": HOST_NETNS,
        "family": "ipv4",
        "backend": "nft",
        "table": table,
        "chain": chain,
        "position": position,
        "text": f"-A {chain} {text}",
        "verdict": words[words.index("-j") + 1] if "-j" in words else None,
        "to": words[-1] if "--to-destination" in words else None,
        "proto": words[words.index("-p") + 1] if "-p" in words else None,
        "dport": words[words.index("--dport") + 1] if "--dport" in words else None,
    }
    return Rule(**{**fields, **changes})


def base(hook: str, table: str = "filter", policy: str = "ACCEPT") -> Chain:
    return Chain(
        netns=HOST_NETNS,
        family="ipv4",
        backend="nft",
        table=table,
        name=hook.upper(),
        type="nat" if table == "nat" else "filter",
        hook=hook,
        priority=-100 if table == "nat" else 0,
        policy=policy,
    )


PUBLISH = rule("PREROUTING", "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80")


def host(**changes: Any) -> Facts:
    """A host that publishes web's port 80 at 8080, and where all is well."""
    fields: dict[str, Any] = {
        "links": (
            Link(netns=HOST_NETNS, **LO),  # type: ignore[arg-type]
            ETH0,
            structs.replace(DOCKER0, **UP),
            structs.replace(HOST_VETH, **UP, port_state="forwarding"),
            Link(netns=WEB_NETNS, **LO),  # type: ignore[arg-type]
            structs.replace(WEB_ETH0, **UP),
        ),
        "addresses": (
            Address(netns=HOST_NETNS, ifindex=2, family="ipv4", address="192.0.2.10", prefix_len=24),
            Address(netns=HOST_NETNS, ifindex=3, family="ipv4", address="172.17.0.1", prefix_len=16),
            Address(netns=WEB_NETNS, ifindex=12, family="ipv4", address="172.17.0.2", prefix_len=16),
        ),
        "routes": (
            Route(netns=HOST_NETNS, family="ipv4", dst=None, gateway="192.0.2.1", ifindex=2),
            Route(netns=HOST_NETNS, family="ipv4", dst="192.0.2.0/24", ifindex=2),
            Route(netns=HOST_NETNS, family="ipv4", dst="172.17.0.0/16", ifindex=3),
            Route(netns=WEB_NETNS, family="ipv4", dst=None, gateway="172.17.0.1", ifindex=12),
            Route(netns=WEB_NETNS, family="ipv4", dst="172.17.0.0/16", ifindex=12),
        ),
        "sysctls": (Sysctl(name="net.ipv4.ip_forward", value="1"),),
        "listening_sockets": (
            ListeningSocket(netns=WEB_NETNS, proto="tcp", family="ipv4", address="0.0.0.0", port=80, inode=77),
        ),
        "socket_holders": (SocketHolder(inode=77, pid=500),),
        "containers": (
            record(ports=(RecordedPort(proto="tcp", container_port=80, host_ip="0.0.0.0", host_port=8080),)),
        ),
        "chains": (base("prerouting", "nat"), base("forward")),
        "rules": (PUBLISH,),
    }
    return host_with_web(**{**fields, **changes})


def traced(facts: Facts, target: str = "8080", source: str = "outside") -> Trace:
    (found,) = trace(Inspection(facts), [target], source).traces
    return found


def test_a_way_that_is_open() -> None:
    found = traced(host())
    assert (found.state, found.remedy) == ("ok", None)
    assert [hop.subject for hop in found.hops] == ["source", "nat", "forwarding", "link", "socket", "answer"]
    assert found.reached is not None and (found.reached.container_name, found.reached.pid) == ("web", 500)
    assert found.verdict == "httpd (pid 500) of web answers"
    assert (found.source_address, found.address, found.port) == ("203.0.113.1", "192.0.2.10", 8080)


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({"sysctls": ()}, "ok", "web answers"),  # the link says it
        ({"rules": ()}, "broken", "nothing listens on 192.0.2.10:8080"),
        ({"rules": (structs.replace(PUBLISH, exact=False),)}, "unknown", "whether it takes the packet first"),
        ({"listening_sockets": ()}, "broken", "nothing listens on 172.17.0.2:80"),
        ({"routes": host().routes[1:]}, "ok", ""),  # then a neighbour asks
        ({"routes": host().routes[:3]}, "broken", "the answer: web has no route"),
        ({"chains": (base("prerouting", "nat"), base("forward", policy="DROP"))}, "broken", "its policy is DROP"),
        ({"routes": (*host().routes, structs.replace(host().routes[0], table=9))}, "unknown", "other tables than main"),
        (
            {"routes": (*host().routes, structs.replace(host().routes[2], ifindex=2))},
            "unknown",
            "any of several routes alike",
        ),
        (
            {"rules": (structs.replace(PUBLISH, to="172.17.0.2-172.17.0.9:80"),)},
            "unknown",
            "sends it to one of several",
        ),
        (
            {"gaps": (Gap(collector="rules", subject="rules of nf_tables", why="refused", remedy="run as root"),)},
            "unknown",
            "not all of the way could be seen: rules of nf_tables",
        ),
    ],
)  # fmt: skip
def test_a_change(changes: dict[str, Any], state: str, words: str) -> None:
    found = traced(host(**changes))
    assert found.state == state, found.hops
    assert words in found.verdict


def with_link(ifindex: int, **changes: Any) -> Facts:
    """The host with a link of another state."""
    links = host().links
    return host(links=tuple(structs.replace(link, **changes) if link.ifindex == ifindex else link for link in links))


DOWN = {"flags": ("BROADCAST",)}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (with_link(2, **DOWN), "eth0 is down"),
        (with_link(3, **DOWN), "docker0 is down"),
        (with_link(13, **DOWN), "veth1 is down"),
        (with_link(12, **DOWN), "eth0 of web is down"),
        (with_link(13, port_state="blocking"), "in state blocking"),
        (with_link(13, master=None), "is not a port of docker0, nor of any bridge"),
        (with_link(2, forwarding=False), "net.ipv4.conf.eth0.forwarding is 0"),
        (with_link(3, forwarding=False), "the answer: net.ipv4.conf.docker0.forwarding is 0"),
    ],
)
def test_a_link(facts: Facts, words: str) -> None:
    found = traced(facts)
    assert found.state == "broken" and words in found.verdict
    assert found.remedy is not None or "blocking" in words


def test_an_address_that_two_have() -> None:
    other = 4026532999
    twin = (
        NetworkNamespace(inode=other, pids=(), paths=("/run/netns/twin",), entered=True),
        Link(netns=HOST_NETNS, ifindex=15, ifname="veth2", kind="veth", master=3, link=14, link_netnsid=1,
             port_state="forwarding", **UP),  # type: ignore[arg-type]
        Link(netns=other, ifindex=14, ifname="eth0", kind="veth", link=15, link_netnsid=0, **UP),  # type: ignore[arg-type]
        Address(netns=other, ifindex=14, family="ipv4", address="172.17.0.2", prefix_len=16),
    )  # fmt: skip
    facts = host()
    facts = structs.replace(
        facts,
        network_namespaces=(*facts.network_namespaces, twin[0]),
        links=(*facts.links, twin[1], twin[2]),
        addresses=(*facts.addresses, twin[3]),
        nsids=(
            *facts.nsids,
            Nsid(netns=HOST_NETNS, nsid=1, target=other),
            Nsid(netns=other, nsid=0, target=HOST_NETNS),
        ),
    )
    found = traced(facts)
    assert found.state == "unknown" and "taken by twin and web alike" in found.verdict


def macvlan(mode: str, second: str) -> Facts:
    """Two containers' worth of macvlan links on eth0: web's, and `second`'s namespace."""
    other = 4026532999
    facts = host(containers=(record(ports=()),))
    link = Link(netns=WEB_NETNS, ifindex=20, ifname="mac0", kind="macvlan", mode=mode, link=2, link_netnsid=0, **UP)  # type: ignore[arg-type]
    return structs.replace(
        facts,
        network_namespaces=(
            *facts.network_namespaces,
            NetworkNamespace(inode=other, paths=(f"/run/netns/{second}",), entered=True),
        ),
        links=(*facts.links, link, structs.replace(link, netns=other), Link(netns=other, **LO)),  # type: ignore[arg-type]
        addresses=(
            *facts.addresses,
            Address(netns=WEB_NETNS, ifindex=20, family="ipv4", address="192.0.2.200", prefix_len=24),
            Address(netns=other, ifindex=20, family="ipv4", address="192.0.2.201", prefix_len=24),
        ),
        routes=(*facts.routes, Route(netns=WEB_NETNS, family="ipv4", dst="192.0.2.0/24", ifindex=20)),
        nsids=(*facts.nsids, Nsid(netns=other, nsid=0, target=HOST_NETNS)),
    )


@pytest.mark.parametrize(
    ("mode", "state", "words"),
    [
        ("bridge", "broken", "nothing listens on 192.0.2.201:80"),
        ("private", "broken", "in private mode do not reach each other"),
        ("vepa", "unknown", "the switch beside the host decides"),
    ],
)
def test_macvlans_beside_each_other(mode: str, state: str, words: str) -> None:
    found = traced(macvlan(mode, "other"), "192.0.2.201:80", "web")
    assert found.state == state and words in found.verdict


def test_the_host_cannot_reach_its_macvlans() -> None:
    assert "which the host itself" in traced(macvlan("bridge", "other"), "192.0.2.200:80", "host").verdict
    assert "cannot reach eth0 itself" in traced(macvlan("bridge", "other"), "192.0.2.10:80", "web").verdict


def test_swarm_ingress_is_not_known() -> None:
    path = "/run/docker/netns/ingress_sbox"
    facts = host(containers=(record(ports=()),))
    namespaces = (facts.network_namespaces[0], NetworkNamespace(inode=WEB_NETNS, paths=(path,), entered=True))
    mounts = (MountPoint(mntns=1, mount_id=1, parent_id=0, device="0:4", root=f"net:[{WEB_NETNS}]", mount_point=path,
                         options=(), fstype="nsfs", source="nsfs"),)  # fmt: skip
    facts = structs.replace(facts, network_namespaces=namespaces, mounts=mounts, containers=(), processes=())
    found = traced(facts)
    assert found.state == "unknown" and "IPVS" in found.verdict


def test_what_may_be_asked() -> None:
    inspection = Inspection(host())
    assert [found.address for found in trace(inspection, ["192.0.2.10:8080", "[::1]:8080"]).traces] == [
        "192.0.2.10",
        "::1",
    ]
    assert traced(host(), "web").port == 8080
    assert traced(host(), "web:80").port == 8080
    assert traced(host(), "web:80", "host").address == "172.17.0.2"
    assert traced(host(), "8080/udp").proto == "udp"
    assert traced(host(), "8080", "192.0.2.50").source_address == "192.0.2.50"
    assert "does not publish 81/tcp" in traced(host(), "web:81").verdict
    assert "different families" in traced(host(), "[2001:db8::1]:80", "192.0.2.50").verdict
    assert "the host's own" in traced(host(), "127.0.0.1:8080").verdict
    for wrong in ("70000", "0", "1.2.3:80", ":80", "8080/xyz", "web:x"):
        with pytest.raises(TargetError):
            trace(inspection, [wrong])
    for unknown in ("wbe", "wbe:80"):
        with pytest.raises(NameNotFoundError):
            trace(inspection, [unknown])


def test_a_port_that_somebody_else_answers() -> None:
    socket = ListeningSocket(netns=HOST_NETNS, proto="tcp", family="ipv4", address="0.0.0.0", port=8080, inode=78)
    facts = host(
        rules=(),
        listening_sockets=(*host().listening_sockets, socket),
        socket_holders=(*host().socket_holders, SocketHolder(inode=78, pid=1)),
    )
    found = traced(facts)
    assert (found.state, found.remedy) == ("broken", "docker restart web")
    assert found.verdict == "it is init (pid 1) of the host that answers, and not web, whose port it should be"
    # Of a rootless engine it is rootlesskit that answers on the host, and leads on into a namespace.
    facts = structs.replace(facts, host=structs.replace(facts.host, netns=7), processes=tuple(
        structs.replace(process, netns=7 if process.pid == 1 else process.netns) for process in facts.processes
    ))  # fmt: skip
    moved = (*facts.network_namespaces, NetworkNamespace(inode=7, pids=(1,), entered=True))
    outer = (Link(netns=7, **LO), structs.replace(ETH0, netns=7))  # type: ignore[arg-type]
    facts = structs.replace(
        facts,
        network_namespaces=moved,
        links=(*facts.links, *outer),
        addresses=(*facts.addresses, Address(netns=7, ifindex=2, family="ipv4", address="198.51.100.1", prefix_len=24)),
        routes=(*facts.routes, Route(netns=7, family="ipv4", dst=None, gateway="198.51.100.2", ifindex=2)),
        listening_sockets=(*host().listening_sockets, structs.replace(socket, netns=7)),
    )
    found = traced(facts)
    assert found.state == "unknown" and "in a namespace of their own" in found.verdict, found


def over_ipv6(*rules6: Rule) -> Facts:
    """The host asked over IPv6, at a port of its own."""
    chains = [structs.replace(base(hook), family="ipv6") for hook in ("input", "output", "prerouting")]
    return host(
        addresses=(
            *host().addresses,
            Address(netns=HOST_NETNS, ifindex=2, family="ipv6", address="2001:db8::10", prefix_len=64),
        ),
        routes=(*host().routes, Route(netns=HOST_NETNS, family="ipv6", dst="2001:db8::/64", ifindex=2)),
        listening_sockets=(
            ListeningSocket(netns=HOST_NETNS, proto="tcp", family="ipv6", address="::", port=9000, inode=78),
        ),
        chains=tuple(chains),
        rules=tuple(structs.replace(rule6, family="ipv6", table="filter") for rule6 in rules6),
    )


@pytest.mark.parametrize(
    ("texts", "state"),
    [
        ((), "ok"),
        (("-p ipv6-icmp -j ACCEPT", "-p tcp -m tcp --dport 9000 -j ACCEPT", "-j DROP"), "ok"),
        (("-p tcp -m tcp --dport 9000 -j ACCEPT", "-j DROP"), "unknown"),
        (("-p ipv6-icmp -m icmp6 --icmpv6-type 135 -j DROP",), "unknown"),
        (("-p ipv6-icmp -m icmp6 --icmpv6-type 128 -j DROP",), "ok"),
        (("-p tcp -m tcp --dport 9000 -j DROP",), "broken"),
        (("-j DROP",), "broken"),
    ],
)
def test_ipv6_needs_neighbour_discovery(texts: tuple[str, ...], state: str) -> None:
    rules6 = [rule("INPUT", text, position) for position, text in enumerate(texts, 1)]
    found = traced(over_ipv6(*rules6), "[2001:db8::10]:9000", "2001:db8::50")
    assert found.state == state, found.hops
    assert (state != "unknown") or "neighbours may not find each other" in found.verdict


def test_a_container_that_does_not_run() -> None:
    facts = host(containers=(record(running=False, pid=None),), processes=())
    found = traced(facts, "web")
    assert (found.state, found.remedy) == ("broken", "docker start web")


@pytest.mark.parametrize("output", ["text", "json", "yaml"])
def test_the_command(output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("hostinspect.collectors.collect", lambda data_roots, **more: host())
    assert run(["trace", "8080", "-o", output]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "web" in out
    if output == "json":
        jsonschema.validate(json.loads(out), answer_schema("trace"), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("facts", "arguments", "code"),
    [
        (host(), ["8080"], 0),
        (host(rules=()), ["8080"], 1),
        (host(rules=(structs.replace(PUBLISH, exact=False),)), ["8080"], 3),
        (host(), ["99999"], 2),
        (host(), [], 2),
        (host(), ["8080", "--probe"], 2),
        (host(), ["wbe"], 1),
        (host(), ["8080", "--source", "wbe"], 1),
    ],
)
def test_exit_codes(
    facts: Facts, arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hostinspect.collectors.collect", lambda data_roots, **more: facts)
    assert run(["trace", *arguments]) == code
    assert "bug" not in capsys.readouterr().err


def test_the_drawing() -> None:
    answer = trace(
        Inspection(host(rules=(PUBLISH, rule("FORWARD", "-s 203.0.113.0/24 -j DROP", table="filter")))), ["8080"]
    )
    assert render_trace(answer, Screen()).splitlines() == [
        "8080 from outside, 203.0.113.1 to 192.0.2.10:8080/tcp",
        "ok       203.0.113.1 comes in by eth0",
        "ok       nat PREROUTING rule 1: tcp 8080 → 172.17.0.2:80",
        "ok       net.ipv4.ip_forward is on",
        "broken   filter FORWARD rule 1 drops it: -A FORWARD -s 203.0.113.0/24 -j DROP",
        "         iptables -t filter -D FORWARD 1",
    ]
    assert render_trace(answer, Screen(48)).splitlines()[-4:] == [
        "ok       net.ipv4.ip_forward is on",
        "broken   filter FORWARD rule 1 drops it: -A",
        "            FORWARD -s 203.0.113.0/24 -j DROP",
        "         iptables -t filter -D FORWARD 1",
    ]
    verbose = render_trace(answer, Screen(), verbose=True)
    assert "rule ipv4/nft/filter/FORWARD/1: -A FORWARD -s 203.0.113.0/24 -j DROP" in verbose
    assert max(map(len, render_trace(answer, Screen(40)).splitlines())) <= 40


def test_hostile_text_is_escaped() -> None:
    evil = "\x1b[31m\u202e\n"
    facts = with_link(13, ifname=f"v{evil}", **DOWN)
    facts = structs.replace(facts, containers=(structs.replace(facts.containers[0], name=f"web{evil}"),))
    drawn = render_trace(trace(Inspection(facts), ["8080"]), Screen(), verbose=True)
    assert drawn.replace("\n", "").isprintable()


_FIELDS = (
    "links",
    "addresses",
    "routes",
    "rules",
    "chains",
    "listening_sockets",
    "socket_holders",
    "processes",
    "nsids",
)


@given(st.data())
def test_facts_with_holes_are_answered(data: st.DataObject) -> None:
    """Whatever is missing, there is an answer of the schema's form, and nothing is followed for ever."""
    whole = host()
    part: dict[str, Any] = {
        name: tuple(data.draw(st.lists(st.sampled_from(getattr(whole, name)), unique_by=id)))
        for name in data.draw(st.sets(st.sampled_from(_FIELDS), max_size=4))
    }
    answer: Traces = trace(Inspection(structs.replace(whole, **part)), ["8080", "web:80", "172.17.0.2:80"], "outside")
    jsonschema.validate(json.loads(render_json(answer)), _SCHEMA, cls=jsonschema.Draft202012Validator)
    assert all(found.state in ("ok", "broken", "unknown") for found in answer.traces)


_SCHEMA = answer_schema("trace")
