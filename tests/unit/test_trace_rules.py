"""Whether a rule takes a packet: every match, its negation, and what is left open."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostinspect.facts import Rule
from hostinspect.questions.trace.rules import OPEN, Ground, Maybe, Packet, compiled, matches

GROUND = Ground(lambda address: "LOCAL" if address == ip_address("192.0.2.10") else "UNICAST")
PACKET = Packet(
    family="ipv4",
    proto="tcp",
    src=ip_address("192.0.2.50"),
    dst=ip_address("172.17.0.2"),
    sport=None,
    dport=80,
    iif="eth0",
    oif="docker0",
    dnat=True,
    original_dst=ip_address("192.0.2.10"),
    original_dport=8080,
)
UDP6 = Packet("ipv6", "udp", ip_address("2001:db8::1"), ip_address("fd00::2"), None, 53, iif="eth0", oif="br-1")
ANSWER = PACKET._replace(
    src=PACKET.dst, dst=PACKET.src, sport=80, dport=None, iif="docker0", oif="eth0", state="ESTABLISHED", stage="answer"
)


def rule(text: str, verdict: str | None = "DROP", **changes: Any) -> Rule:
    fields: dict[str, Any] = {"netns": 1, "family": "ipv4", "backend": "nft", "table": "filter", "chain": "FORWARD"}
    return Rule(**{**fields, "position": 1, "text": text, "verdict": verdict, **changes})


def takes(match: str, packet: Packet = PACKET) -> Maybe:
    return matches(rule(f"-A FORWARD {match} -j DROP"), packet, GROUND)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("", True),
        ("-s 192.0.2.0/24", True),
        ("-s 192.0.2.51/32", False),
        ("! -s 192.0.2.50/32", False),
        ("-s 192.0.0.50/255.255.0.255", None),  # a mask with holes is not a prefix
        ("-d 172.16.0.0/12", True),
        ("! -d 172.17.0.2/32", False),
        ("-i eth0", True),
        ("-i eth", False),
        ("-i eth+", True),
        ("-i +", True),
        ("! -i docker0", True),
        ("-o docker0", True),
        ("! -o docker0", False),
        ("-p tcp", True),
        ("-p 6", True),
        ("! -p tcp", False),
        ("-p udp", False),
        ("-p icmp -m icmp --icmp-type 8", False),
        ("-f", False),
        ("! -f", True),
        ("-p tcp -m tcp --dport 80", True),
        ("-p tcp -m tcp --dport 1:79", False),
        ("-p tcp -m tcp ! --dport 80", False),
        ("-p tcp -m tcp --dport :80", True),
        ("-p tcp -m tcp --dport 81:", False),
        ("-p tcp -m tcp --sport 1:65535", True),
        ("-p tcp -m tcp --sport 32768:60999", True),
        ("-p tcp -m tcp --sport 53", False),
        ("-p tcp -m tcp --sport 40000", None),
        ("-p tcp -m tcp ! --sport 40000", None),
        ("-p tcp -m multiport --dports 22,80,443", True),
        ("-p tcp -m multiport ! --dports 22,80:90", False),
        ("-p tcp -m multiport --ports 443,80", True),
        ("-p tcp -m multiport --sports 22,23", False),
        ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", True),
        ("-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", False),
        ("-p tcp -m tcp --tcp-flags RST RST", False),
        ("-m addrtype --dst-type LOCAL", False),
        ("-m addrtype --dst-type UNICAST", True),
        ("-m addrtype ! --dst-type LOCAL,BROADCAST", True),
        ("-m addrtype --src-type LOCAL", False),
        ("-m addrtype --dst-type UNICAST --limit-iface-in", None),
        ("-m conntrack --ctstate NEW", True),
        ("-m conntrack --ctstate RELATED,ESTABLISHED", False),
        ("-m conntrack ! --ctstate RELATED,ESTABLISHED", True),
        ("-m conntrack --ctstate DNAT", True),
        ("-m conntrack ! --ctstate DNAT", False),
        ("-m conntrack --ctstate SNAT", False),
        ("-m conntrack --ctorigdst 192.0.2.10/32", True),
        ("-m conntrack --ctorigdstport 8080", True),
        ("-m conntrack --ctorigdstport 80", False),
        ("-m conntrack --ctdir ORIGINAL", True),
        ("-m conntrack --ctdir REPLY", False),
        ("-m conntrack --ctstatus ASSURED", None),
        ("-m state --state NEW,ESTABLISHED", True),
        ('-m comment --comment "it\'s \\"so\\" -j ACCEPT"', True),
        ("-m mark --mark 0x1", False),
        ("-m mark ! --mark 0x1/0x1", True),
        ("-m mark --mark 0x0/0xff", True),
        ("-m connmark --mark 0x1", False),
        ("-m physdev --physdev-is-bridged", False),
        ("-m physdev ! --physdev-in veth1", True),
        ("-m iprange --src-range 192.0.2.40-192.0.2.60", True),
        ("-m iprange ! --dst-range 172.17.0.1-172.17.0.9", False),
        ("-m pkttype --pkt-type unicast", True),
        ("-m pkttype --pkt-type broadcast", False),
        ("-m limit --limit 5/min", None),
        ("-m set --match-set bad src", None),
        ("-m owner --uid-owner 0", None),
        ("-m string --string x --algo bm", None),
        ("-m time --timestart 08:00", None),
        ("-m bpf --bytecode 1,6 0 0 0", None),
        # What surely fails outweighs what is open.
        ("-s 10.0.0.0/8 -m limit --limit 5/min", False),
        ("-m limit --limit 5/min -m conntrack --ctstate ESTABLISHED", False),
        ("-p tcp -m tcp --dport x", None),
        ('-m comment --comment "open', None),
    ],
)
def test_a_match_of_iptables(match: str, expected: Maybe) -> None:
    assert takes(match) is expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("-m conntrack --ctstate RELATED,ESTABLISHED", True),
        ("-p tcp -m tcp --sport 80", True),
        ("-p tcp -m tcp --dport 80", False),
        ("-p tcp -m tcp --tcp-flags ACK ACK", True),
        ("-p tcp -m tcp --tcp-flags SYN SYN", None),  # the first of the answers has it, the others do not
        ("-m conntrack --ctdir REPLY", True),
        ("-m conntrack --ctorigdst 192.0.2.10/32", None),
        ("-m conntrack --ctstate DNAT", True),
    ],
)
def test_an_answer(match: str, expected: Maybe) -> None:
    assert takes(match, ANSWER) is expected


def test_what_is_not_known_of_the_packet() -> None:
    assert takes("-m mark --mark 0x1", PACKET._replace(mark=None)) is None
    assert takes("-m conntrack --ctstate NEW", PACKET._replace(state=OPEN)) is None
    assert takes("-m addrtype --dst-type LOCAL", PACKET._replace(dst=ip_address("192.0.2.10"))) is True
    open_ground = Ground(lambda address: None)
    assert matches(rule("-A FORWARD -m addrtype --dst-type LOCAL -j DROP"), PACKET, open_ground) is None


def test_a_rule_that_is_not_exact_is_open() -> None:
    assert matches(rule("-A FORWARD -s 10.0.0.0/8 [unknown match] -j DROP", exact=False), PACKET, GROUND) is None


@pytest.mark.parametrize(
    ("text", "packet", "expected"),
    [
        ('iifname "eth0" drop', PACKET, True),
        ('iifname != "eth0" drop', PACKET, False),
        ('oifname { "br-1", "docker0" } drop', PACKET, True),
        ('iifname "eth*" drop', PACKET, True),
        ("ip saddr 192.0.2.0/24 drop", PACKET, True),
        ("ip saddr != 192.0.2.0/24 drop", PACKET, False),
        ("ip saddr != 192.0.2.0/24 drop", UDP6, False),  # to ask for it makes it a rule of IPv4
        ("ip6 daddr fd00::/64 drop", UDP6, True),
        ("ip6 daddr fd00::/64 drop", PACKET, False),
        ("ip daddr { 172.17.0.1, 172.17.0.2-172.17.0.4 } drop", PACKET, True),
        ("tcp dport 80 drop", PACKET, True),
        ("tcp dport { 22, 80-90 } drop", PACKET, True),
        ("tcp dport != 80 drop", PACKET, False),
        ("tcp dport != 80 drop", UDP6, False),
        ("th dport 53 drop", UDP6, True),
        ("ct state established,related accept", PACKET, False),
        ("ct state { new, established } accept", PACKET, True),
        ("meta l4proto { tcp, udp } drop", UDP6, True),
        ("meta nfproto ipv4 drop", UDP6, False),
        ("fib daddr type local drop", PACKET, False),
        ('counter packets 1 bytes 2 accept comment "tcp dport 81"', PACKET, True),
        ("ip saddr @bad drop", PACKET, None),
        ("ct state vmap { established : accept, new : drop }", PACKET, None),
        ("tcp dport vmap { 80 : drop }", PACKET, None),
        ("iifname vmap { eth0 : jump x }", PACKET, None),
        ("meta l4proto vmap { tcp : accept }", PACKET, None),
        ("limit rate 1/second drop", PACKET, None),
        ("tcp dport 81 limit rate 1/second drop", PACKET, False),
    ],
)
def test_a_native_rule(text: str, packet: Packet, expected: Maybe) -> None:
    assert matches(rule(text), packet, GROUND) is expected


def test_a_native_rule_that_is_not_read_may_do_anything() -> None:
    assert compiled("ct state vmap { established : accept, new : drop }", None).target == "?"
    assert compiled("tcp dport 80 counter packets 0 bytes 0", None).target is None
    assert compiled("goto chain-of-mine", "chain-of-mine").is_goto


addresses = st.integers(0, 2**32 - 1).map(ip_address)


@given(addresses, addresses, st.integers(0, 32), st.booleans())
def test_a_prefix_takes_what_is_in_it(address: Any, other: Any, length: int, negation: bool) -> None:
    network = ip_network(f"{other}/{length}", strict=False)
    found = takes(f"{'! ' if negation else ''}-s {network}", PACKET._replace(src=address))
    assert found is ((address in network) != negation)


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 65535)), min_size=1, max_size=5), st.integers(0, 65535))
def test_ports(spans: list[tuple[int, int]], port: int) -> None:
    written = ",".join(f"{min(span)}:{max(span)}" for span in spans)
    found = takes(f"-p tcp -m multiport --dports {written}", PACKET._replace(dport=port))
    assert found is any(min(span) <= port <= max(span) for span in spans)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_marks(mark: int, value: int, mask: int) -> None:
    found = takes(f"-m mark --mark {value:#x}/{mask:#x}", PACKET._replace(mark=mark))
    assert found is (mark & mask == value)


@given(st.text(max_size=60))
def test_any_text_is_answered(text: str) -> None:
    for whole in (text, f"-A X {text}"):
        assert matches(rule(whole), PACKET, GROUND) in (True, False, None)
