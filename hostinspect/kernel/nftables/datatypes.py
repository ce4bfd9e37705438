"""Values of nf_tables as nft(8) lists them: each kind of value is a small function from bytes to text.

Numbers that come from packets are in network order, those of meta and ct in this machine's own. Names are those of nft
1.0; ports are numbers, as in `nft list ruleset` without options.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

from hostinspect.kernel.text import text
from hostinspect.kernel.xtables.spelling import address, mac, protocol


class UnknownExpressionError(Exception):
    """An expression, or a value in it, that has no spelling here; `args[0]` says which."""


class Kind(NamedTuple):
    """A kind of value."""

    spell: Callable[[bytes], str]
    host_order: bool = False  # the value is a number of this machine's byte order: for sorting elements of a set
    is_bitmask: bool = False  # `ct state new,established` is a test of bits


def integer(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def host_integer(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)


def _decimal(raw: bytes) -> str:
    return str(integer(raw))


def _host_decimal(raw: bytes) -> str:
    return str(host_integer(raw))


def _named(names: dict[int, str], *, host_order: bool = False) -> Callable[[bytes], str]:
    """A number by its name, else in decimal."""
    read = host_integer if host_order else integer

    def spell(raw: bytes) -> str:
        return names.get(read(raw), str(read(raw)))

    return spell


def interface_name(raw: bytes) -> str:
    """In quotes; without its NUL it is the beginning of a name, `"eth*"`."""
    name, end, _rest = raw.partition(b"\0")
    if name.endswith(b"*"):
        return f'"{text(name[:-1])}\\*"' if end else f'"{text(name)}*"'
    return f'"{text(name)}"' if end else f'"{text(name)}*"'


def _interface_index(raw: bytes) -> str:
    """The name of the interface that has this index now, in the namespace we are in."""
    import socket

    index = host_integer(raw)
    try:
        return f'"{socket.if_indextoname(index)}"' if index else "0"
    except (OSError, OverflowError):  # none has it; a rule may compare with 16 bytes, which are no index at all
        return str(index)


def _mark(raw: bytes) -> str:
    return f"{host_integer(raw):#010x}"


def _protocol(raw: bytes) -> str:
    return protocol(integer(raw))


def bit_names(bits: int, names: dict[int, str]) -> str:
    if not bits or bits & ~sum(names):
        raise UnknownExpressionError("bits")
    return ",".join(name for bit, name in names.items() if bits & bit)


def _bits(names: dict[int, str], *, host_order: bool) -> Kind:
    read = host_integer if host_order else integer
    return Kind(lambda raw: bit_names(read(raw), names), host_order, is_bitmask=True)


ICMP_TYPES = {
    0: "echo-reply",
    3: "destination-unreachable",
    4: "source-quench",
    5: "redirect",
    8: "echo-request",
    9: "router-advertisement",
    10: "router-solicitation",
    11: "time-exceeded",
    12: "parameter-problem",
    13: "timestamp-request",
    14: "timestamp-reply",
    15: "info-request",
    16: "info-reply",
    17: "address-mask-request",
    18: "address-mask-reply",
}
ICMPV6_TYPES = {
    1: "destination-unreachable",
    2: "packet-too-big",
    3: "time-exceeded",
    4: "parameter-problem",
    128: "echo-request",
    129: "echo-reply",
    130: "mld-listener-query",
    131: "mld-listener-report",
    132: "mld-listener-done",
    133: "nd-router-solicit",
    134: "nd-router-advert",
    135: "nd-neighbor-solicit",
    136: "nd-neighbor-advert",
    137: "nd-redirect",
    138: "router-renumbering",
    141: "ind-neighbor-solicit",
    142: "ind-neighbor-advert",
    143: "mld2-listener-report",
}
ICMP_CODES = {
    0: "net-unreachable",
    1: "host-unreachable",
    2: "prot-unreachable",
    3: "port-unreachable",
    4: "frag-needed",
    9: "net-prohibited",
    10: "host-prohibited",
    13: "admin-prohibited",
}
ICMPV6_CODES = {
    0: "no-route",
    1: "admin-prohibited",
    3: "addr-unreachable",
    4: "port-unreachable",
    5: "policy-fail",
    6: "reject-route",
}
ICMPX_CODES = {0: "no-route", 1: "port-unreachable", 2: "host-unreachable", 3: "admin-prohibited"}
LOG_LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit")
_ADDRESS_TYPES = {
    0: "unspec",
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
}
_TCP_FLAGS = {1: "fin", 2: "syn", 4: "rst", 8: "psh", 16: "ack", 32: "urg", 64: "ecn", 128: "cwr"}
_CT_STATES = {1: "invalid", 2: "established", 4: "related", 8: "new", 64: "untracked"}
_CT_STATUSES = {
    1: "expected",
    2: "seen-reply",
    4: "assured",
    8: "confirmed",
    16: "snat",
    32: "dnat",
    512: "dying",
}

NUMBER = Kind(_decimal)
HOST_NUMBER = Kind(_host_decimal, host_order=True)
ADDRESS = Kind(address)
PORT = Kind(_decimal)
PROTOCOL = Kind(_protocol)
MARK = Kind(_mark, host_order=True)
INTERFACE_NAME = Kind(interface_name, host_order=True)
INTERFACE_INDEX = Kind(_interface_index, host_order=True)
ETHER = Kind(mac)
ADDRESS_TYPE = Kind(_named(_ADDRESS_TYPES, host_order=True), host_order=True)
PACKET_TYPE = Kind(_named({0: "host", 1: "broadcast", 2: "multicast", 3: "other"}))
NFPROTO = Kind(_named({2: "ipv4", 10: "ipv6"}))
ICMP_TYPE = Kind(_named(ICMP_TYPES))
ICMPV6_TYPE = Kind(_named(ICMPV6_TYPES))
ICMP_CODE = Kind(_named(ICMP_CODES))
ICMPV6_CODE = Kind(_named(ICMPV6_CODES))
CT_DIRECTION = Kind(_named({0: "original", 1: "reply"}))
CT_STATE = _bits(_CT_STATES, host_order=True)
CT_STATUS = _bits(_CT_STATUSES, host_order=True)
TCP_FLAGS = _bits(_TCP_FLAGS, host_order=False)
