"""Networks: who is on each, what of it is on the host, and how that reads."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from hostinspect.facts import EndpointRecord, Gap
from hostinspect.questions.networks import NetworkDetails, Networks, list_networks
from hostinspect.topology import Drift, Network, Topology
from tests.unit.asked import NO_FACTS, Asker, assert_fits, inspected
from tests.unit.sample import (
    BRIDGE,
    MY_NET,
    NOW,
    OVERLAY,
    demo,
    make_container,
    make_endpoint,
    make_id,
    make_link,
    make_network,
    make_topology,
    stopped,
)

HOSTILE = "a\x1b[31m\u202e\nb\x9b  c"
UNSEEN = Gap(collector="containers", subject="/var/lib/docker/containers", why="Permission denied", remedy="be root")


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asker:
    asker = Asker(monkeypatch, capsys)
    asker.read(demo())
    return asker


def _answer(topology: Topology, *endpoints: EndpointRecord) -> Networks:
    return list_networks(inspected(topology, replace(NO_FACTS, endpoints=endpoints)))


def _network(answer: Networks, network: Network) -> NetworkDetails:
    return next(found for found in answer.networks if found.id == network.id)


def _members(answer: Networks, network: Network) -> list[tuple[str, str, str | None]]:
    return [(member.kind, member.name, member.endpoint.ip) for member in _network(answer, network).members]


# --- who is on it ---


def test_swarms_own_sandboxes_are_members_too() -> None:
    answer = _answer(demo())
    assert _members(answer, OVERLAY) == [
        ("container", "ov1", "10.0.1.5"),
        ("load-balancer", "lb_k3j5d6abc", None),  # its link has no prefixes in the sample
    ]
    gwbridge = next(network for network in answer.networks if network.name == "docker_gwbridge")
    assert [(member.kind, member.name) for member in gwbridge.members] == [
        ("container", "ov1"),
        ("ingress", "ingress_sbox"),
    ]
    ingress = gwbridge.members[1]
    assert (ingress.container, ingress.netns, ingress.state) == (None, 4026532902, None)
    assert (ingress.endpoint.interface, ingress.endpoint.host_link) == ("eth1", "veth8888888")


def test_the_address_of_swarms_sandbox_is_the_recorded_one_not_that_of_a_service() -> None:
    topology = demo()
    links = tuple(
        replace(
            link,
            mac="02:42:0a:00:01:03",
            prefixes=("10.0.1.9/32", "10.0.1.3/24", "fe80::1/64", "fd00::3/64"),
        )
        if link.netns == 4026532903
        else link
        for link in topology.links
    )
    record = EndpointRecord(id="e" * 64, network_id=OVERLAY.id, address="10.0.1.3", mac="02:42:0a:00:01:03")
    balancer = _network(_answer(replace(topology, links=links), record), OVERLAY).members[1]
    assert (balancer.endpoint.ip, balancer.endpoint.prefix_len) == ("10.0.1.3", 24)
    assert (balancer.endpoint.ip6, balancer.endpoint.prefix_len6) == ("fd00::3", 64)
    assert balancer.endpoint.endpoint_id == record.id
    unrecorded = _network(_answer(replace(topology, links=links)), OVERLAY).members[1]
    assert (unrecorded.endpoint.ip, unrecorded.endpoint.endpoint_id) == ("10.0.1.9", None)


def test_a_stopped_container_is_named_by_the_networks_id_or_its_name_alone() -> None:
    lan, twin, other = make_network("lan"), make_network("lan", id=make_id("second")), make_network("other")
    at = make_endpoint(lan, None, None, None)
    topology = make_topology(
        [
            stopped("by-id", endpoints=(at,)),
            stopped("by-name", state="created", endpoints=(replace(at, network="other", network_id=None),)),
            stopped("ambiguous", endpoints=(replace(at, network_id=None),)),
            make_container("runs", endpoints=(at,)),
        ],
        [replace(lan, containers=(make_id("runs"),)), twin, other],
    )
    answer = _answer(topology)
    assert [s.name for s in _network(answer, lan).stopped] == ["by-id"]
    assert [s.name for s in _network(answer, twin).stopped] == []
    assert [s.name for s in _network(answer, other).stopped] == ["by-name"]
    assert [m.name for m in _network(answer, lan).members] == ["runs"]


def test_only_drift_about_this_network_is_told_of_a_member() -> None:
    one, two = make_network("one"), make_network("one.two")
    changes = tuple(
        Drift(field=field, recorded="x", effective=None)
        for field in ("state", "endpoints[one]", "endpoints[one].ip", "endpoints[one.two].ip", "interface eth7")
    )
    container = make_container(
        "c",
        netns=4026532300,
        drift=changes,
        endpoints=(make_endpoint(one, None, None, None), make_endpoint(two, "10.0.0.2", "eth7", "veth1")),
    )
    networks = [replace(network, containers=(container.id,)) for network in (one, two)]
    answer = _answer(make_topology([container], networks))
    assert [d.field for d in _network(answer, one).members[0].drift] == ["endpoints[one]", "endpoints[one].ip"]
    assert [d.field for d in _network(answer, two).members[0].drift] == ["endpoints[one.two].ip", "interface eth7"]


# --- what is nobody's ---


def test_ports_that_lead_to_nobody_on_the_network() -> None:
    answer = _answer(demo())
    ports = _network(answer, BRIDGE).other_ports
    assert [(port.link, port.interface) for port in ports] == [("veth6666666", None)]
    assert ports[0].doubt == "its peer, ifindex 65, is in a namespace not found"
    assert _network(answer, OVERLAY).other_ports == ()  # the vxlan is the network's own


def test_a_stored_endpoint_that_nobody_has() -> None:
    known = make_id(f"{MY_NET.name}172.18.0.2")  # mysql_app's, as the sample makes it
    records = [
        EndpointRecord(id=known, network_id=MY_NET.id, name="mysql_app"),
        EndpointRecord(id="d" * 64, network_id=MY_NET.id, name="ghost", address="172.18.0.9", mac="02:42:ac:12:00:09"),
    ]
    left_over = _network(_answer(demo(), *records), MY_NET).left_over
    assert [(endpoint.endpoint_id, endpoint.name, endpoint.ip) for endpoint in left_over] == [
        ("d" * 64, "ghost", "172.18.0.9")
    ]
    assert _network(_answer(replace(demo(), gaps=(UNSEEN,)), *records), MY_NET).left_over == ()  # somebody may


# --- how it reads ---


def test_the_list(ask: Asker) -> None:
    assert ask("networks").out.splitlines()[:4] == [
        "NETWORK ID    NAME             DRIVER   SCOPE  SUBNET         GATEWAY     DEVICE               CONTAINERS",
        "6e65742d6272  bridge           bridge   local  172.17.0.0/16  172.17.0.1  docker0                       6",
        "6e65742d646f  docker_gwbridge  bridge   local  172.19.0.0/16  172.19.0.1  docker_gwbridge               1",
        "6e65742d686f  host             host     local  -              -           -                             1",
    ]
    assert ask("networks", "-v", "--columns", "network-id", "--no-header").out.splitlines()[0] == BRIDGE.id


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("flags", "attachable"),
        ("vni", "4097"),
        ("device", "br0 in 1-k3j5d6abcd"),
        ("members", "ov1, lb_k3j5d6abc"),
        ("netns", "4026532900"),
        ("created", "4 days ago"),
        ("drift", "-"),
    ],
)
def test_further_columns(ask: Asker, column: str, cell: str) -> None:
    assert ask("networks", "ov_net", "--columns", column, "--no-header").out == f"{cell}\n"


def test_one_in_full(ask: Asker) -> None:
    lines = ask("networks", "bridge").out.splitlines()
    assert lines[:4] == [
        "bridge  bridge  local",
        f"│  id       {BRIDGE.id}",
        "│  created  2026-01-01T00:00:00Z  4 days ago",
        "│  subnet   172.17.0.0/16  gateway 172.17.0.1",
    ]
    assert lines[4] == "│  bridge   docker0  up  8000.0242a1b2c3d4  STP off"
    assert "├─ web1     172.17.0.5/16  eth0 ↔ veth13d6de4  02:42:ac:11:00:02" in lines
    assert "├─ paused1  paused  172.17.0.7/16  eth0 ↔ veth99f0b1c  02:42:ac:11:00:02" in lines
    assert "│     drift    endpoints[bridge].ip: recorded 172.17.0.9, now 172.17.0.6" in lines
    assert lines[-1] == (
        "└─ port veth6666666  belongs to nobody seen: its peer, ifindex 65, is in a namespace not found"
    )


def test_several_in_full_and_each_once(ask: Asker) -> None:
    sections = ask("networks", "mv_net", "none", "mv_net").out.split("\n\n")
    assert [section.split("\n")[0] for section in sections] == ["mv_net  macvlan (bridge)  local", "none  null  local"]
    assert "│  parent   eth0  up" in sections[0]
    assert "└─ mv1  192.0.2.50/16  eth0 (macvlan on eth0)" in sections[0]
    assert sections[1].endswith("└─ no-net\n")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"host_operstate": "lowerlayerdown"}, "eth0 ↔ vetha is lowerlayerdown"),
        ({"host_port_state": "blocking"}, "eth0 ↔ vetha is blocking on docker0"),
        ({"bridge": "br1"}, "eth0 ↔ vetha is a port of br1, not of docker0"),
        ({"bridge": None}, "eth0 ↔ vetha is a port of no bridge, not of docker0"),
        ({"host_link": None, "doubt": "it vanished"}, "eth0 ↔ ? (it vanished)"),
        ({"interface": None, "host_link": None}, "interface not seen"),
        ({"interface": None, "drift": (Drift(field="endpoints[b]", recorded="x", effective=None),)}, "no interface"),
        ({"aliases": ("db", "x"), "dns_names": ("c", "x")}, "names    c  x  db"),
    ],
)
def test_a_fault_of_a_member_is_told(changes: dict[str, Any], line: str) -> None:
    from hostinspect.render.network_details import network_branch
    from hostinspect.render.screen import Screen

    network = make_network("b", bridge="docker0", containers=(make_id("c"),))
    endpoint = make_endpoint(network, "10.0.0.2", "eth0", "vetha")
    container = make_container("c", netns=4026532300, endpoints=(endpoint,))
    topology = make_topology([container], [network])
    topology = replace(topology, links=(*topology.links, make_link(4026532300, 2, "eth0")))
    described = _answer(topology).networks[0]
    member = described.members[0]
    of_endpoint = {name: value for name, value in changes.items() if name in endpoint.__struct_fields__}
    of_member = {name: value for name, value in changes.items() if name not in of_endpoint}
    described = replace(described, members=(replace(member, endpoint=replace(endpoint, **of_endpoint), **of_member),))
    assert line in "\n".join(Screen().draw(network_branch(described, NOW)))


def test_verbose_tells_what_other_tools_know_a_member_by(ask: Asker) -> None:
    out = ask("networks", "my_net", "-v").out
    assert f"id       {make_id('mysql_app')}" in out
    assert "gateway  172.18.0.1" in out
    assert "netns    4026532208" in out
    assert make_id("mysql_app") not in ask("networks", "my_net").out


# --- names, scripts, hostile hosts ---


def test_names(ask: Asker) -> None:
    assert ask("networks", OVERLAY.id[:5]).out.startswith("ov_net")
    missing = ask("networks", "my_nte")
    assert (missing.code, missing.out) == (1, "")
    assert missing.err == "hostinspect: No such network: my_nte. Did you mean my_net or mv_net?\n"
    assert ask("networks", BRIDGE.id[:4]).code == 2
    assert ask("networks", "--columns", "subnet,frob").code == 2


def test_what_was_not_seen_is_told(ask: Asker) -> None:
    ask.read(replace(demo(), gaps=(UNSEEN,)))
    reply = ask("networks")
    assert reply.code == 3
    assert "/var/lib/docker/containers: Permission denied" in reply.err
    assert "bridge" in reply.out
    assert ask("networks", "nowhere").code == 3


def test_json_is_what_the_schema_says(ask: Asker) -> None:
    answer = ask.json("networks")
    assert [network["name"] for network in answer["networks"]] == [network.name for network in demo().networks]
    one = ask.json("networks", "my_net")
    assert one["networks"] == [network for network in answer["networks"] if network["name"] == "my_net"]
    assert one["networks"][0]["members"][0]["endpoint"]["ip"] == "172.18.0.4"
    assert one["networks"][0]["bridge_details"]["name"] == "br-f9fbbb759d5d"


@pytest.mark.parametrize("columns", [40, 60, 80, 120, None])
def test_nothing_from_the_host_reaches_the_terminal(ask: Asker, columns: int | None) -> None:
    network = make_network(
        HOSTILE, bridge=HOSTILE, options={HOSTILE: HOSTILE}, labels={HOSTILE: "x" * 300}, containers=(make_id("evil"),)
    )
    endpoint = make_endpoint(network, "10.0.0.2", HOSTILE, HOSTILE, aliases=(HOSTILE,), dns_names=("y" * 200, HOSTILE))
    evil = replace(make_container("evil", netns=4026532300, endpoints=(endpoint,)), name=HOSTILE)
    gone = replace(stopped("gone", endpoints=(endpoint,)), name=HOSTILE * 9)
    ask.read(make_topology([evil, gone], [network]))
    for arguments in (["networks", network.id], ["networks", network.id, "-v"]):
        reply = ask(*arguments, columns=columns)
        assert reply.code == 0
        assert_fits(reply.out.splitlines(), columns or 10_000)
        assert r"a\x1b[31m\u202e\nb\x9b \x20c" in reply.out.replace("\n", "") or columns
    table = ask("networks")
    assert len(table.out.splitlines()) == 2
    assert_fits(table.out.splitlines(), 10_000)
    assert ask("networks", "-o", "json").code == 0
