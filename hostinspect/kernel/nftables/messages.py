"""The messages of nf_tables (linux/netfilter/nf_tables.h) as plain records: chains, rules, sets and their elements.

Reading only: NFT_MSG_GETCHAIN, GETRULE, GETSET and GETSETELEM dumps on a NETLINK_NETFILTER socket. Numbers in
attributes are in network order; expressions stay (name, attributes), for the two spellings to make sense of.
"""

from __future__ import annotations

import struct
from typing import Any

from msgspec import Struct

from hostinspect.facts import Family
from hostinspect.kernel.netlink import NetlinkSocket, attribute_list, attributes
from hostinspect.kernel.text import text

_SUBSYS = 10 << 8  # NFNL_SUBSYS_NFTABLES
GETCHAIN, GETRULE, GETSET, GETSETELEM = _SUBSYS | 4, _SUBSYS | 7, _SUBSYS | 10, _SUBSYS | 13
NFGENMSG = 4  # bytes of struct nfgenmsg: family, version, and the low 16 bits of the generation
_ALL_FAMILIES = bytes(NFGENMSG)  # NFPROTO_UNSPEC

FAMILIES: dict[int, Family] = {1: "inet", 2: "ipv4", 3: "arp", 5: "netdev", 7: "bridge", 10: "ipv6"}
_INET_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
_HOOKS: dict[Family, tuple[str, ...]] = {"arp": ("input", "output", "forward"), "netdev": ("ingress", "egress")}

Attributes = dict[int, bytes]
Expression = tuple[str, Attributes]  # "payload", {NFTA_PAYLOAD_*: bytes}


class Rule(Struct, frozen=True):
    family: Family
    table: str
    chain: str
    expressions: list[bytes]  # NFTA_LIST_ELEM, for parse_expression
    userdata: bytes  # type, length, value, …: what the tool that made the rule noted with it


class Set(Struct, frozen=True):
    family: Family
    table: str
    name: str
    flags: int  # NFT_SET_*: 1 anonymous, 4 interval, 8 map
    key_length: int  # bytes


class Element(Struct, frozen=True):
    key: bytes
    flags: int  # NFT_SET_ELEM_*: 1 the end of an interval, not in it
    data: Attributes  # NFTA_DATA_*; of a map
    key_end: bytes | None


def number(raw: bytes | None, default: int = 0) -> int:
    return default if raw is None else int.from_bytes(raw, "big")


def name(raw: bytes) -> str:
    """A NUL-terminated string attribute."""
    return text(raw.split(b"\0", 1)[0])


def dump(netfilter: NetlinkSocket, request: int) -> list[bytes]:
    """The messages of a dump over all families, struct nfgenmsg first, which says the generation of the ruleset.

    Families that we have no name for are left out, and what is too short to have one. Raises NetlinkError.
    """
    answers = netfilter.dump(request, _ALL_FAMILIES)
    return [body for _kind, body in answers if len(body) >= NFGENMSG and body[0] in FAMILIES]


def parse_chain(family: Family, a: Attributes) -> dict[str, Any]:
    """NFTA_CHAIN_*, as the fields of facts.Chain. Raises ValueError, KeyError on another layout."""
    kind, hook, priority, policy, packets, octets = None, None, None, None, None, None
    if 4 in a:  # NFTA_CHAIN_HOOK: a base chain
        at = attributes(a[4])
        hooks, hooknum = _HOOKS.get(family, _INET_HOOKS), number(at[1])
        hook = hooks[hooknum] if hooknum < len(hooks) else str(hooknum)
        priority = int.from_bytes(at[2], "big", signed=True)
        policy = {0: "DROP", 1: "ACCEPT"}.get(number(a.get(5), 1))
        kind = name(a[7]) if 7 in a else None  # NFTA_CHAIN_TYPE
    if 8 in a:  # NFTA_CHAIN_COUNTERS, of base chains that iptables made
        counters = attributes(a[8])
        packets, octets = number(counters.get(2)), number(counters.get(1))
    return {
        "family": family,
        "table": name(a[1]),
        "name": name(a[3]),
        "type": kind,
        "hook": hook,
        "priority": priority,
        "policy": policy,
        "packets": packets,
        "bytes": octets,
    }


def parse_expression(raw: bytes) -> Expression:
    """An NFTA_LIST_ELEM: NFTA_EXPR_NAME and NFTA_EXPR_DATA. Raises ValueError, KeyError on another layout."""
    a = attributes(raw)
    return name(a[1]), attributes(a[2]) if 2 in a else {}


def parse_rule(family: Family, a: Attributes) -> Rule:
    """NFTA_RULE_*. Raises ValueError, KeyError on another layout."""
    expressions = [raw for _kind, raw in attribute_list(a[4])] if 4 in a else []
    return Rule(family, name(a[1]), name(a[2]), expressions, a.get(7, b""))


def parse_set(body: bytes) -> Set:
    """NFTA_SET_*. Raises ValueError, KeyError on another layout."""
    family, a = FAMILIES[body[0]], attributes(body, NFGENMSG)
    return Set(family, name(a[1]), name(a[2]), number(a.get(3)), number(a.get(5)))


def parse_elements(a: Attributes) -> list[Element]:
    """NFTA_SET_ELEM_LIST_*. Raises ValueError, KeyError on another layout."""
    found = []
    for _kind, raw in attribute_list(a[3]) if 3 in a else []:
        e = attributes(raw)
        key = attributes(e[1])[1] if 1 in e else b""
        key_end = attributes(e[10])[1] if 10 in e else None
        found.append(Element(key, number(e.get(3)), attributes(e[2]) if 2 in e else {}, key_end))
    return found


def elements(netfilter: NetlinkSocket, family: Family, table: str, set_name: str) -> list[Element]:
    """The elements of one set or map. Raises NetlinkError, ENOENT where it is gone."""
    number_of = next(n for n, known in FAMILIES.items() if known == family)
    body = bytes((number_of, 0, 0, 0)) + _string(1, table) + _string(2, set_name)
    found = []
    for _kind, answer in netfilter.dump(GETSETELEM, body):
        found += parse_elements(attributes(answer, NFGENMSG))
    return found


def _string(kind: int, value: str) -> bytes:
    raw = value.encode() + b"\0"
    return struct.pack("=HH", len(raw) + 4, kind) + raw + bytes(-len(raw) % 4)


def comment(userdata: bytes) -> bytes | None:
    """The comment that nft and iptables keep in a rule's userdata (NFTNL_UDATA_RULE_COMMENT); None without one."""
    at = 0
    while at + 2 <= len(userdata):
        kind, length = userdata[at], userdata[at + 1]
        if kind == 0:
            return userdata[at + 2 : at + 2 + length].split(b"\0", 1)[0]
        at += 2 + length
    return None
