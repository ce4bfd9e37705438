"""Targets that translate addresses: DNAT, SNAT, MASQUERADE, REDIRECT, NETMAP, DNPT, SNPT; and TPROXY, which redirects.

Layouts: linux/netfilter/nf_nat.h (struct nf_nat_ipv4_multi_range_compat, nf_nat_range, nf_nat_range2),
linux/netfilter/xt_TPROXY.h, linux/netfilter_ipv6/ip6t_NPT.h. Ports are in network order.

IPv4 extensions of revision 0 carry the old multi-range structure with one range, IPv6 ones `struct nf_nat_range`;
DNAT of revision 2 (since 4.18) has `struct nf_nat_range2`, which adds a base port, in both families.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from hostinspect.kernel.xtables.extension import Clause, Decoder, Table, UnknownError, Values, Where, extension
from hostinspect.kernel.xtables.spelling import address, nf_address, prefix_length

MAP_IPS, PROTO_SPECIFIED, PROTO_RANDOM, PERSISTENT, RANDOM_FULLY, PROTO_OFFSET, NETMAP = 1, 2, 4, 8, 16, 32, 64
_OPTIONS = {PROTO_RANDOM: " --random", RANDOM_FULLY: " --random-fully", PERSISTENT: " --persistent"}
_WORDS = PROTO_RANDOM | RANDOM_FULLY | PERSISTENT
_KNOWN = MAP_IPS | PROTO_SPECIFIED | PROTO_RANDOM | PERSISTENT | RANDOM_FULLY | PROTO_OFFSET


class Range(Struct, frozen=True):
    """Where to: a range of addresses, of ports, or both."""

    flags: int
    low: bytes  # address, 4 or 16 bytes
    high: bytes
    low_port: int
    high_port: int
    base_port: int = 0

    def __str__(self) -> str:
        """`172.17.0.2:80`, `[fd00::2]:80`, `10.0.0.1-10.0.0.9`, `:1024-2048`, or nothing."""
        text = ""
        if self.flags & MAP_IPS:
            text = address(self.low) if self.low == self.high else f"{address(self.low)}-{address(self.high)}"
            if len(self.low) == 16 and self.flags & PROTO_SPECIFIED:
                text = f"[{text}]"
        if self.flags & PROTO_SPECIFIED:
            text += f":{self.low_port}"
            if self.high_port != self.low_port:
                text += f"-{self.high_port}"
            if self.flags & PROTO_OFFSET:
                text += f"/{self.base_port}"
        return text


def _port(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def _compat(v: Values, _: Where) -> Range:
    count, flags, low, high, low_port, high_port = v
    if count != 1:
        raise UnknownError  # the tools refuse more than one range since 2.6.11
    return Range(flags, low, high, _port(low_port), _port(high_port))


def _range(v: Values, where: Where) -> Range:
    flags, low, high, low_port, high_port, *base_port = v
    width = 4 if where.family == "ipv4" else 16
    return Range(flags, low[:width], high[:width], _port(low_port), _port(high_port), *map(_port, base_port))


def _translation(option: str, read: Callable[[Values, Where], Range], *, bare_port: bool = False) -> Decoder:
    """A decoder of one NAT target: `option` with its range, then the options without a value.

    `bare_port`: `--to-ports 80` and not `--to-ports :80`.
    """

    def decode(v: Values, where: Where) -> Clause:
        target = read(v, where)
        if target.flags & ~_KNOWN:
            raise UnknownError
        to = str(target)
        text = f" --{option} {to[1:] if bare_port and to.startswith(':') else to}" if to else ""
        if target.flags & _WORDS:
            text += "".join(word for bit, word in _OPTIONS.items() if target.flags & bit)
        return Clause(text, (("to", to),) if to else ())

    return decode


def _netmap(low: bytes, high: bytes) -> Clause:
    mask = bytes(~(a ^ b) & 0xFF for a, b in zip(low, high, strict=True))
    length = prefix_length(mask)
    to = f"{address(low)}/{address(mask) if length is None else length}"
    return Clause(f" --to {to}", (("to", to),))


def netmap(v: Values, where: Where) -> Clause:
    target = _compat(v, where)
    return _netmap(target.low, target.high)


def netmap6(v: Values, where: Where) -> Clause:
    target = _range(v, where)
    return _netmap(target.low, target.high)


def tproxy(v: Values, where: Where) -> str:
    mask, value, addr, port = v
    on_ip = address(addr) if len(addr) == 4 else nf_address(addr, where.family)
    return f" --on-port {_port(port)} --on-ip {on_ip} --tproxy-mark {value:#x}/{mask:#x}"


def npt(v: Values, _: Where) -> str:
    source, destination, source_length, destination_length = v
    text = ""
    if any(source) or source_length:
        text += f" --src-pfx {address(source)}/{source_length}"
    if any(destination) or destination_length:
        text += f" --dst-pfx {address(destination)}/{destination_length}"
    return text


_COMPAT = "2I4s4s2s2s"  # struct nf_nat_ipv4_multi_range_compat with one range
_RANGE = "I16s16s2s2s"  # struct nf_nat_range
_RANGE2 = "I16s16s2s2s2s2x"  # struct nf_nat_range2
_TPROXY_1 = extension("2I16s2s", tproxy)
_NPT = extension("16s16s2B2x", npt)

MATCHES: Table = {}
MATCHES_IPV4: Table = {}
MATCHES_IPV6: Table = {}
TARGETS: Table = {
    ("DNAT", 2): extension(_RANGE2, _translation("to-destination", _range)),
    ("SNAT", 1): extension(_RANGE, _translation("to-source", _range)),
    ("DNAT", 1): extension(_RANGE, _translation("to-destination", _range)),
    ("TPROXY", 0): extension("2I4s2s", tproxy),
    ("TPROXY", 1): _TPROXY_1,
}
TARGETS_IPV4: Table = {
    ("DNAT", 0): extension(_COMPAT, _translation("to-destination", _compat)),
    ("SNAT", 0): extension(_COMPAT, _translation("to-source", _compat)),
    ("MASQUERADE", 0): extension(_COMPAT, _translation("to-ports", _compat, bare_port=True)),
    ("REDIRECT", 0): extension(_COMPAT, _translation("to-ports", _compat, bare_port=True)),
    ("NETMAP", 0): extension(_COMPAT, netmap),
}
TARGETS_IPV6: Table = {
    ("MASQUERADE", 0): extension(_RANGE, _translation("to-ports", _range, bare_port=True)),
    ("REDIRECT", 0): extension(_RANGE, _translation("to-ports", _range, bare_port=True)),
    ("NETMAP", 0): extension(_RANGE, netmap6),
    ("DNPT", 0): _NPT,
    ("SNPT", 0): _NPT,
}
