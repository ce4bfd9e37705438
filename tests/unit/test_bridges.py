"""Bridges: what is behind each port, and how that reads in a pipe and on a terminal."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hostinspect.questions.bridges import BridgeDetails, find_bridges, list_bridges
from hostinspect.questions.inspection import NameNotFoundError
from hostinspect.topology import Bridge, BridgePort, LinkRef
from tests.unit.asked import Asker, assert_fits, inspected
from tests.unit.sample import (
    BRIDGE,
    HOST_NETNS,
    OVERLAY,
    demo,
    make_container,
    make_id,
    make_link,
    make_network,
    make_topology,
)

HOSTILE = "a\x1b[31m\u202e\nb\x9b  c"


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asker:
    asker = Asker(monkeypatch, capsys)
    asker.read(demo())
    return asker


def _bridges() -> tuple[BridgeDetails, ...]:
    return list_bridges(inspected(demo())).bridges


def test_what_is_behind_a_port() -> None:
    docker0 = next(bridge for bridge in _bridges() if bridge.name == "docker0")
    web1, nobody = docker0.ports
    assert (docker0.namespace, docker0.network_name, docker0.operstate) == ("host", "bridge", "up")
    assert (web1.container, web1.container_name, web1.shared_with) == (make_id("web1"), "web1", (make_id("sidecar"),))
    assert (web1.interface, web1.netns, web1.namespace, web1.state) == ("eth0", 4026532204, "web1", "forwarding")
    assert (nobody.container, nobody.interface, nobody.namespace) == (None, None, None)
    assert nobody.doubt == "its peer, ifindex 65, is in a namespace not found"


def test_a_port_may_lead_to_another_namespace_or_stay_on_the_host() -> None:
    gwbridge = next(bridge for bridge in _bridges() if bridge.name == "docker_gwbridge")
    assert (gwbridge.ports[1].interface, gwbridge.ports[1].namespace) == ("eth1", "ingress_sbox")
    near, far = (LinkRef(netns=HOST_NETNS, ifindex=i, ifname=f"v{i}") for i in (5, 6))
    topology = make_topology(
        bridges=(
            Bridge(
                name="br", id=None, stp=None, netns=HOST_NETNS, addresses=(), network=None,
                ports=(BridgePort(link="v5", container=None),),
            ),
        ),
    )  # fmt: skip
    links = (
        make_link(HOST_NETNS, 4, "br", kind="bridge"),
        make_link(HOST_NETNS, 5, "v5", master="br", peer=far),
        make_link(HOST_NETNS, 6, "v6", peer=near, prefixes=("10.0.0.1/24",)),
    )
    port = list_bridges(inspected(replace(topology, links=links))).bridges[0].ports[0]
    assert (port.interface, port.namespace, port.interface_prefixes) == ("v6", "host", ("10.0.0.1/24",))
    assert port.shared_with == ()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("docker0", ["docker0"]),
        ("br0", ["br0", "br0"]),
        ("my_net", ["br-f9fbbb759d5d"]),
        (BRIDGE.id, ["docker0"]),
        (OVERLAY.id[:6], ["br0"]),
    ],
)
def test_a_bridge_is_found_by_its_name_or_its_network(name: str, found: list[str]) -> None:
    assert [bridge.name for bridge in find_bridges(_bridges(), name)] == found


@pytest.mark.parametrize("name", ["", "docker", "host"])
def test_no_such_bridge(name: str) -> None:
    with pytest.raises(NameNotFoundError):
        find_bridges(_bridges(), name)


# --- how it reads ---


def test_in_a_pipe_every_row_is_whole(ask: Asker) -> None:
    lines = ask("bridges").out.splitlines()
    assert lines[0].split() == ["BRIDGE", "BRIDGE", "ID", "STP", "NETWORK", "INTERFACE", "STATE", "CONTAINER", "INSIDE"]
    rows = [" ".join(line.split()) for line in lines[1:]]
    assert rows == [
        "br-f9fbbb759d5d 8000.0242a1b2c3d4 no my_net veth77d01aa forwarding volweb eth1",
        "br-f9fbbb759d5d 8000.0242a1b2c3d4 no my_net vethaa11bb2 forwarding mysql_app eth0",
        "docker0 8000.0242a1b2c3d4 no bridge veth13d6de4 forwarding web1, sidecar eth0",
        "docker0 8000.0242a1b2c3d4 no bridge veth6666666 - ? (its peer, ifindex 65, is in a namespace not found) -",
        "docker_gwbridge 8000.0242a1b2c3d4 no docker_gwbridge veth4d4d4d4 forwarding ov1 eth1",
        "docker_gwbridge 8000.0242a1b2c3d4 no docker_gwbridge veth8888888 - (ingress_sbox) eth1",
        "virbr0 8000.0242a1b2c3d4 no - - - - -",
        "br0 in 1-k3j5d6abcd 8000.0242a1b2c3d4 no ov_net veth1 forwarding ov1 eth0",
        "br0 in 1-k3j5d6abcd 8000.0242a1b2c3d4 no ov_net vxlan0 - - -",
        "br0 in 1-ing1n6abcd 8000.0242a1b2c3d4 no ingress veth0 - (ingress_sbox) eth0",
        "br0 in 1-ing1n6abcd 8000.0242a1b2c3d4 no ingress vxlan0 - - -",
    ]


def test_on_a_terminal_a_bridge_is_named_once(ask: Asker) -> None:
    lines = ask("bridges", columns=160).out.splitlines()
    docker0 = next(i for i, line in enumerate(lines) if line.startswith("docker0 "))
    assert lines[docker0 + 1].split()[0] == "veth6666666"
    # Another bridge of the same name, in another namespace, is another one.
    only = ask("bridges", "br0", "--columns", "bridge,namespace,interface", "--no-header", columns=160).out
    assert [line.split() for line in only.splitlines()] == [
        ["br0", "in", "1-k3j5d6abcd", "1-k3j5d6abcd", "veth1"],
        ["vxlan0"],
        ["br0", "in", "1-ing1n6abcd", "1-ing1n6abcd", "veth0"],
        ["vxlan0"],
    ]


def test_sorted_by_port_a_bridge_is_named_again_where_another_one_stands_between(ask: Asker) -> None:
    out = ask("bridges", "docker0", "my_net", "--columns", "bridge,interface", "--sort=interface", columns=160).out
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["docker0", "veth13d6de4"],
        ["veth6666666"],
        ["br-f9fbbb759d5d", "veth77d01aa"],
        ["vethaa11bb2"],
    ]


def test_a_port_that_does_not_forward_stands_out(ask: Asker) -> None:
    topology = demo()
    links = tuple(
        replace(link, port_state="blocking") if link.ifname == "veth13d6de4" else link for link in topology.links
    )
    ask.read(replace(topology, links=links))
    assert "\x1b[1;31mblocking\x1b[0m" in ask("bridges", "--color", "always").out


def test_json_is_what_the_schema_says(ask: Asker) -> None:
    answer = ask.json("bridges")
    assert [bridge["name"] for bridge in answer["bridges"]] == [bridge.name for bridge in demo().bridges]
    assert [port["container_name"] for port in ask.json("bridges", "docker0")["bridges"][0]["ports"]] == ["web1", None]


def test_a_mistyped_name(ask: Asker) -> None:
    reply = ask("bridges", "docker1")
    assert (reply.code, reply.out) == (1, "")
    assert reply.err == "hostinspect: No such bridge: docker1. Did you mean docker0?\n"


@pytest.mark.parametrize("columns", [60, 80, 120, None])
def test_nothing_from_the_host_reaches_the_terminal(ask: Asker, columns: int | None) -> None:
    evil = replace(make_container("evil", netns=4026532300), name=HOSTILE)
    outer, inner = (
        LinkRef(netns=netns, ifindex=9, ifname=HOSTILE) for netns in (HOST_NETNS, 4026532300)
    )  # fmt: skip
    network = make_network("lan")
    network = replace(network, name=HOSTILE)
    topology = make_topology([evil], [network])
    ask.read(
        replace(
            topology,
            bridges=(
                Bridge(
                    name=HOSTILE * 2, id="8000.0", stp=True, netns=HOST_NETNS, addresses=(), network=network.id,
                    ports=(BridgePort(link=HOSTILE, container=evil.id), BridgePort(link="v2", container=None)),
                ),
            ),
            links=(
                make_link(HOST_NETNS, 8, HOSTILE * 2, kind="bridge"),
                make_link(HOST_NETNS, 9, HOSTILE, kind=HOSTILE, peer=inner, container=evil.id),
                make_link(HOST_NETNS, 10, "v2", doubt=HOSTILE),
                make_link(4026532300, 9, HOSTILE, peer=outer),
            ),
        )
    )  # fmt: skip
    for arguments in (["bridges"], ["bridges", "-v"]):
        reply = ask(*arguments, columns=columns)
        assert reply.code == 0
        wide = "-v" in arguments and columns  # headers alone take more
        assert_fits(reply.out.splitlines(), 10_000 if wide or columns is None else columns)
    assert len(ask("bridges", "--no-header").out.splitlines()) == 2
