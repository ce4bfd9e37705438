"""Records made of messages as a kernel sent them; where this one had no such device, built as its header says."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from hostinspect.facts import Address, Link, Route
from hostinspect.kernel.rtnetlink import ADDRESSES, LINKS, ROUTES, parse_link, parse_nsid
from tests.unit.netlink_bytes import recorded
from tests.unit.test_netlink import payload

NEWLINK, NEWADDR, NEWROUTE = 16, 20, 24
UP = ("UP", "BROADCAST", "RUNNING", "MULTICAST", "LOWER_UP")
NO_CARRIER = ("UP", "BROADCAST", "MULTICAST")
IPV4: dict[str, Any] = {"forwarding": False, "rp_filter": 0, "route_localnet": False}


def test_loopback() -> None:
    assert parse_link(recorded("link-lo"), 7) == Link(
        netns=7,
        ifindex=1,
        ifname="lo",
        link_type="loopback",
        mac="00:00:00:00:00:00",
        mtu=65536,
        flags=("UP", "LOOPBACK", "RUNNING", "LOWER_UP"),
        **IPV4,
    )


def test_bridge() -> None:
    assert parse_link(recorded("link-br0"), 7) == Link(
        netns=7,
        ifindex=2,
        ifname="br0",
        kind="bridge",
        mac="c2:e2:6e:ef:39:a1",
        mtu=1400,
        operstate="down",
        flags=NO_CARRIER,
        bridge_id="8000.c2e26eef39a1",
        stp=True,
        **IPV4,
    )


def test_bridge_port_in_another_namespace_with_alias_and_names() -> None:
    assert parse_link(recorded("link-va"), 7) == Link(
        netns=7,
        ifindex=3,
        ifname="va",
        kind="veth",
        slave_kind="bridge",
        mac="e2:70:4e:03:05:34",
        mtu=1500,
        operstate="up",
        flags=UP,
        alias="to a; 100%",
        altnames=("container-a", "wörk"),
        master=2,
        link=2,
        link_netnsid=0,
        port_state="listening",
        hairpin=False,
        **IPV4,
    )


def test_veth_with_both_ends_here() -> None:
    link = parse_link(recorded("link-vp0"), 7)
    assert (link.kind, link.link, link.link_netnsid, link.operstate) == ("veth", 5, None, "lowerlayerdown")


def test_macvlan() -> None:
    link = parse_link(recorded("link-mv0"), 7)
    assert (link.kind, link.mode, link.link, link.link_netnsid) == ("macvlan", "private", 6, 0)


def test_vxlan_as_a_bridge_port() -> None:
    link = parse_link(recorded("link-vxlan0"), 7)
    assert (link.kind, link.vxlan_id, link.slave_kind, link.port_state) == ("vxlan", 4097, "bridge", "disabled")


def built(*attributes: bytes, link_type: int = 1, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, link_type, 9, flags, 0) + payload(3, b"x0\0") + b"".join(attributes)


def info(kind: bytes, config: bytes) -> bytes:
    return payload(0x8000 | 18, payload(1, kind + b"\0") + payload(0x8000 | 2, config))


def ipv4(conf: bytes) -> bytes:
    return payload(26, payload(2, payload(1, conf)))


@pytest.mark.parametrize(
    ("attribute", "field", "value"),
    [
        (info(b"vlan", payload(1, struct.pack("=H", 42))), "vlan_id", 42),
        (info(b"ipvlan", payload(1, struct.pack("=H", 0))), "mode", "l2"),
        (info(b"ipvlan", payload(1, struct.pack("=H", 2))), "mode", "l3s"),
        (info(b"ipvtap", payload(1, struct.pack("=H", 1))), "mode", "l3"),
        (info(b"macvtap", payload(1, struct.pack("=I", 4))), "mode", "bridge"),
        (info(b"macvlan", payload(1, struct.pack("=I", 64))), "mode", "[64]"),
        (info(b"macvlan", b""), "mode", None),
        (info(b"wireguard", b"\xff" * 8), "kind", "wireguard"),
        (payload(37, struct.pack("=i", -1)), "link_netnsid", -1),
        (payload(5, struct.pack("=I", 0)), "link", None),
        (payload(1, bytes(20)), "mac", None),
        (payload(16, b"\7"), "operstate", "[7]"),
        (payload(20, b"\xff caf\xc3\xa9\0"), "alias", "\\xff café"),
        (ipv4(b"\1\0\0\0" + bytes(24) + b"\2\0\0\0" + bytes(100)), "rp_filter", 2),
        (ipv4(b"\1\0\0\0" + bytes(24) + b"\2\0\0\0" + bytes(100)), "forwarding", True),
        (ipv4(bytes(100) + b"\1\0\0\0"), "route_localnet", True),
        (ipv4(bytes(100)), "route_localnet", None),
        (payload(26, b""), "forwarding", None),
    ],
)
def test_a_field(attribute: bytes, field: str, value: object) -> None:
    assert getattr(parse_link(built(attribute), 1), field) == value


@pytest.mark.parametrize(("number", "name"), [(65534, "none"), (769, "tunnel6"), (4711, "[4711]")])
def test_link_type(number: int, name: str) -> None:
    assert parse_link(built(link_type=number), 1).link_type == name


@pytest.mark.parametrize("cut", [0, 8, 15, 22, 30, 333])
def test_a_message_cut_short(cut: int) -> None:
    with pytest.raises(ValueError, match=r"rtnetlink|attribute"):
        LINKS.records([(NEWLINK, recorded("link-va")[:cut])], 1)


def test_another_message_is_no_link() -> None:
    assert LINKS.records([(NEWADDR, recorded("link-lo"))], 1) == []


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("127.0.0.1", Address(netns=7, ifindex=1, family="ipv4", address="127.0.0.1", prefix_len=8, scope="host")),
        ("10.1.1.1", Address(netns=7, ifindex=10, family="ipv4", address="10.1.1.1", prefix_len=32)),
        ("fd09::1", Address(netns=7, ifindex=2, family="ipv6", address="fd09::1", prefix_len=64)),
    ],
)
def test_address(name: str, address: Address) -> None:
    assert ADDRESSES.records([(NEWADDR, recorded(f"address-{name}"))], 7) == [address]


def test_address_of_the_link() -> None:
    (address,) = ADDRESSES.records([(NEWADDR, recorded("address-link-local"))], 7)
    assert (address.scope, address.prefix_len, address.address[:6]) == ("link", 64, "fe80::")


def test_address_of_another_family() -> None:
    assert ADDRESSES.records([(NEWADDR, struct.pack("=BBBBI", 35, 8, 0, 0, 1))], 7) == []


@pytest.mark.parametrize(
    ("name", "routes"),
    [
        ("default", [Route(netns=7, family="ipv4", dst=None, gateway="10.9.0.254", ifindex=2)]),
        (
            "10.68.0.0/16",
            [
                Route(
                    netns=7,
                    family="ipv4",
                    dst="10.68.0.0/16",
                    gateway="10.9.0.2",
                    ifindex=2,
                    prefsrc="10.9.0.1",
                    table=300,
                )
            ],
        ),
        ("10.1.1.2/32", [Route(netns=7, family="ipv4", dst="10.1.1.2/32", ifindex=10, prefsrc="10.1.1.1")]),
        ("10.66.0.0/16", [Route(netns=7, family="ipv4", dst="10.66.0.0/16", type="blackhole")]),
        ("10.67.0.0/16", [Route(netns=7, family="ipv4", dst="10.67.0.0/16", metric=7, type="prohibit")]),
        (
            "10.69.0.0/16",
            [
                Route(netns=7, family="ipv4", dst="10.69.0.0/16", gateway="10.9.0.2", ifindex=2),
                Route(netns=7, family="ipv4", dst="10.69.0.0/16", gateway="10.9.0.3", ifindex=2),
            ],
        ),
        ("10.70.0.1/32", [Route(netns=7, family="ipv4", dst="10.70.0.1/32", gateway="fd09::7", ifindex=2)]),
        ("fd09::/64", [Route(netns=7, family="ipv6", dst="fd09::/64", ifindex=2, metric=256)]),
        ("fd66::/32", [Route(netns=7, family="ipv6", dst="fd66::/32", ifindex=1, metric=1024, type="unreachable")]),
        ("local", []),
    ],
)
def test_route(name: str, routes: list[Route]) -> None:
    assert ROUTES.records([(NEWROUTE, recorded(f"route-{name}"))], 7) == routes


def test_a_next_hop_whose_length_leads_elsewhere() -> None:
    body = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0)
    for length in (0, 7, 99):
        with pytest.raises(ValueError, match=f"next hop of {length} bytes"):
            ROUTES.records([(NEWROUTE, body + payload(9, struct.pack("=HBBi", length, 0, 0, 2)))], 7)


@pytest.mark.parametrize(("name", "ids"), [("nsid", (0, None)), ("nsid-none", (None, None)), ("nsids", (0, None))])
def test_nsid(name: str, ids: tuple[int | None, int | None]) -> None:
    assert parse_nsid(recorded(name)) == ids
