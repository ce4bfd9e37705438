"""Matches on a packet's addresses, devices and socket: addrtype, comment, iprange, mark, mac, physdev, rpfilter, owner,
pkttype, set. Layouts: linux/netfilter/xt_NAME.h.
"""

from __future__ import annotations

from hostinspect.kernel.xtables.extension import (
    Clause,
    Table,
    UnknownError,
    Values,
    Where,
    extension,
    flag_names,
    inverted,
    negation,
)
from hostinspect.kernel.xtables.spelling import (
    mac,
    nf_address,
    quoted,
    set_dimensions,
    span,
    string,
)
from hostinspect.kernel.xtables.spelling import mark as spell_mark

# rtnetlink's RTN_* in order
_ADDRTYPES = {
    1 << n: name
    for n, name in enumerate(
        (
            "UNSPEC",
            "UNICAST",
            "LOCAL",
            "BROADCAST",
            "ANYCAST",
            "MULTICAST",
            "BLACKHOLE",
            "UNREACHABLE",
            "PROHIBIT",
            "THROW",
            "NAT",
            "XRESOLVE",
        )
    )
}


def _addrtype(source: int, dest: int, invert_source: object, invert_dest: object) -> str:
    text = ""
    for option, types, invert in (("src-type", source, invert_source), ("dst-type", dest, invert_dest)):
        if types:
            text += f"{negation(invert)} --{option} {','.join(flag_names(types, _ADDRTYPES))}"
    return text


def addrtype_0(v: Values, _: Where) -> str:
    return _addrtype(*v)


def addrtype_1(v: Values, _: Where) -> str:
    source, dest, flags = v
    text = _addrtype(source, dest, flags & 1, flags & 2)
    return text + (" --limit-iface-in" if flags & 4 else "") + (" --limit-iface-out" if flags & 8 else "")


def comment(v: Values, _: Where) -> Clause:
    return Clause(f" --comment {quoted(v[0])}", (("comment", string(v[0])),))


def iprange_1(v: Values, where: Where) -> Clause:
    *addresses, flags = v
    text, fields = "", []
    for n, (option, field) in enumerate((("src-range", "src"), ("dst-range", "dst"))):
        if flags & 1 << n:
            invert = flags & 0x10 << n
            value = "-".join(nf_address(raw, where.family) for raw in addresses[2 * n : 2 * n + 2])
            text += f"{negation(invert)} --{option} {value}"
            fields.append((field, inverted(invert, value)))
    return Clause(text, tuple(fields))


def mark_match(v: Values, _: Where) -> str:
    value, mask, invert = v
    return f"{negation(invert)} --mark {spell_mark(value, mask)}"


def mac_source(v: Values, _: Where) -> str:
    addr, invert = v
    return f"{negation(invert)} --mac-source {mac(addr)}"


_PHYSDEV = ((8, "is-in", None), (1, "in", 0), (16, "is-out", None), (2, "out", 2), (4, "is-bridged", None))


def physdev(v: Values, _: Where) -> str:
    invert, bits = v[4], v[5]
    text = ""
    for bit, option, name in _PHYSDEV:
        if bits & bit:
            text += f"{negation(invert & bit)} --physdev-{option}{'' if name is None else ' ' + string(v[name])}"
    return text


_RPFILTER = {1: " --loose", 2: " --validmark", 4: " --accept-local", 8: " --invert"}


def rpfilter(v: Values, _: Where) -> str:
    return "".join(flag_names(v[0], _RPFILTER))


def owner(v: Values, _: Where) -> str:
    uid_min, uid_max, gid_min, gid_max, match, invert = v
    if match & ~15:
        raise UnknownError
    text = f"{negation(invert & 4)} --socket-exists" if match & 4 else ""
    if match & 1:
        text += f"{negation(invert & 1)} --uid-owner {span(uid_min, uid_max, '-')}"
    if match & 2:
        text += f"{negation(invert & 2)} --gid-owner {span(gid_min, gid_max, '-')}"
    return text + (f"{negation(invert & 8)} --suppl-groups" if match & 8 else "")


_PKTTYPES = {0: "unicast", 1: "broadcast", 2: "multicast", 3: "otherhost"}


def pkttype(v: Values, _: Where) -> str:
    kind, invert = v
    return f"{negation(invert)} --pkt-type {_PKTTYPES.get(kind, kind)}"


# --- ipset ------------------------------------------------------------------------------------------------------

_COUNTER = {0: None, 1: "-eq", 2: "-eq", 3: "-lt", 4: "-gt"}


def _set(index: int, dim: int, flags: int, where: Where) -> str:
    return f"{negation(flags & 1)} --match-set {where.set_name(index)} {set_dimensions(dim, flags)}"


def set_1(v: Values, where: Where) -> str:
    index, dim, flags = v
    return _set(index, dim, flags, where)


def set_2(v: Values, where: Where) -> str:
    index, dim, flags = v
    return _set(index, dim, flags, where) + (" --return-nomatch" if flags & 1 << 7 else "")


def _set_counters(packets: tuple[int, int], octets: tuple[int, int], flags: int) -> str:
    text = " --return-nomatch" if flags & 1 << 7 else ""
    text += " ! --update-counters" if flags & 1 << 3 else ""
    text += " ! --update-subcounters" if flags & 1 << 4 else ""
    for name, (op, value) in (("packets", packets), ("bytes", octets)):
        if op not in _COUNTER:
            raise UnknownError
        if op:
            text += f"{negation(op == 2)} --{name}{_COUNTER[op]} {value}"
    return text


def set_3(v: Values, where: Where) -> str:
    index, dim, flags, packets_op, packets, bytes_op, octets, match_flags = v
    return _set(index, dim, flags, where) + _set_counters((packets_op, packets), (bytes_op, octets), match_flags)


def set_4(v: Values, where: Where) -> str:
    index, dim, flags, packets, packets_op, octets, bytes_op, match_flags = v
    return _set(index, dim, flags, where) + _set_counters((packets_op, packets), (bytes_op, octets), match_flags)


MATCHES: Table = {
    ("addrtype", 0): extension("2H2I", addrtype_0),
    ("addrtype", 1): extension("2HI", addrtype_1),
    ("comment", 0): extension("256s", comment),
    ("iprange", 1): extension("16s16s16s16sB", iprange_1),
    ("mark", 1): extension("2IB", mark_match),
    ("mac", 0): extension("6s2xi", mac_source),
    ("physdev", 0): extension("16s16s16s16s2B", physdev),
    ("rpfilter", 0): extension("B", rpfilter),
    ("owner", 1): extension("4I2B", owner),
    ("pkttype", 0): extension("2i", pkttype),
    ("set", 1): extension("H2B", set_1),
    ("set", 2): extension("H2B", set_2),
    ("set", 3): extension("H2B4xB7xQB7xQI", set_3),
    ("set", 4): extension("H2B4xQB7xQB7xI", set_4),
}
MATCHES_IPV4: Table = {}
MATCHES_IPV6: Table = {}
TARGETS: Table = {}
TARGETS_IPV4: Table = {}
TARGETS_IPV6: Table = {}
