"""Matches on a packet, its addresses, devices and socket, that have no family of their own.

addrtype, comment, iprange, mark, mac, physdev, rpfilter, owner, pkttype, tos, dscp, ecn, ttl, hl, set, ipvs, socket,
cgroup, policy, time, string, cpu, cluster, u32, nfacct; of IPv6: frag, rt, hbh, dst, mh, eui64.
Layouts: linux/netfilter/xt_NAME.h, linux/netfilter_ipv4/ipt_ttl.h, linux/netfilter_ipv6/ip6t_hl.h, ip6t_frag.h,
ip6t_rt.h, ip6t_opts.h, ip6t_mh.h.
"""

from __future__ import annotations

from datetime import datetime, timezone
from struct import Struct, iter_unpack

from hostinspect.kernel.xtables.extension import (
    Clause,
    Decoder,
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
    address,
    etc_protocol,
    mac,
    nf_address,
    nf_with_mask,
    quoted,
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


def tos_0(v: Values, _: Where) -> str:
    tos, invert = v
    return f"{negation(invert)} --tos {tos:#04x}"


def tos_1(v: Values, _: Where) -> str:
    mask, value, invert = v
    return f"{negation(invert)} --tos {value:#04x}/{mask:#04x}"


def dscp(v: Values, _: Where) -> str:
    value, invert = v
    return f"{negation(invert)} --dscp {value:#04x}"


def ecn(v: Values, _: Where) -> str:
    operation, invert, ip_ect, _tcp_ect = v
    text = ""
    for bit, option in ((0x10, "ecn-tcp-ece"), (0x20, "ecn-tcp-cwr"), (0x01, f"ecn-ip-ect {ip_ect}")):
        if operation & bit:
            text += f"{negation(invert & bit)} --{option}"
    return text


def _hops(option: str) -> Decoder:
    def decode(v: Values, _: Where) -> str:
        mode, hops = v
        if mode > 3:
            raise UnknownError
        return f"{negation(mode == 1)} --{option}-{('eq', 'eq', 'lt', 'gt')[mode]} {hops}"

    return decode


# --- ipset ------------------------------------------------------------------------------------------------------

_COUNTER = {0: None, 1: "-eq", 2: "-eq", 3: "-lt", 4: "-gt"}


def set_dimensions(dim: int, flags: int) -> str:
    """`src,dst`: a bit of `flags` for each dimension from 1 says whether it is taken from the source."""
    return ",".join("src" if flags & 1 << n else "dst" for n in range(1, dim + 1))


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


# --- sockets and services ---------------------------------------------------------------------------------------

_IPVS_METHODS = {0: "MASQ", 2: "IPIP", 3: "GATE"}  # linux/ip_vs.h: IP_VS_CONN_F_*


def ipvs(v: Values, where: Where) -> str:
    vaddr, vmask, vport, l4proto, method, vportctl, invert, bits = v
    text = ""

    def add(bit: int, option: str) -> None:
        nonlocal text
        text += f"{negation(invert & bit)} --{option}"

    if bits == 1:
        add(1, "ipvs")
    if bits & 2:
        add(2, f"vproto {l4proto}")
    if bits & 4:
        add(4, f"vaddr {nf_with_mask(vaddr, vmask, where.family)}")
    if bits & 8:
        add(8, f"vport {int.from_bytes(vport, 'big')}")
    if bits & 16:
        text += f" --vdir {'REPLY' if invert & 16 else 'ORIGINAL'}"
    if bits & 32:
        if method not in _IPVS_METHODS:
            raise UnknownError
        add(32, f"vmethod {_IPVS_METHODS[method]}")
    if bits & 64:
        add(64, f"vportctl {int.from_bytes(vportctl, 'big')}")
    return text


_SOCKET = {1: " --transparent", 2: " --nowildcard", 4: " --restore-skmark"}


def socket(v: Values, _: Where) -> str:
    return "".join(flag_names(v[0], _SOCKET))


def socket_0(_v: Values, _: Where) -> str:
    return ""


def cgroup_0(v: Values, _: Where) -> str:
    classid, invert = v
    return f"{negation(invert)} --cgroup {classid}"


def _cgroup(v: Values, classid: int) -> str:
    has_path, has_classid, invert_path, invert_classid, path = v
    text = f"{negation(invert_path)} --path {quoted(path)}" if has_path else ""
    return text + (f"{negation(invert_classid)} --cgroup {classid}" if has_classid else "")


def cgroup_1(v: Values, _: Where) -> str:
    return _cgroup(v[:5], v[5])


def cgroup_2(v: Values, _: Where) -> str:
    (classid,) = Struct("=I").unpack_from(v[4])  # a union of path and classid
    return _cgroup(v, classid)


_POLICY_ELEMENT = Struct("=16s16s16s16s2I4B")
_POLICY_MODES = ("transport", "tunnel")


def _policy_element(raw: bytes, family: str) -> str:
    source, source_mask, dest, dest_mask, spi, reqid, proto, mode, match, invert = _POLICY_ELEMENT.unpack(raw)
    if match & 8 and mode > 1:
        raise UnknownError
    text = ""
    for bit, option in (  # struct xt_policy_spec is a bit field: saddr, daddr, proto, mode, spi, reqid
        (32, f"reqid {reqid}"),
        (16, f"spi {spi:#x}"),  # as it lies in memory: the tools do not turn it round either
        (4, f"proto {etc_protocol(proto)}"),
        (8, f"mode {_POLICY_MODES[mode & 1]}"),
        (2, f"tunnel-dst {nf_with_mask(dest, dest_mask, family)}"),
        (1, f"tunnel-src {nf_with_mask(source, source_mask, family)}"),
    ):
        if match & bit:
            text += f"{negation(invert & bit)} --{option}"
    return text


def policy(v: Values, where: Where) -> str:
    *elements, flags, count = v
    if count > len(elements):
        raise UnknownError
    text = f" --dir {'in' if flags & 1 else 'out'} --pol {'none' if flags & 4 else 'ipsec'}"
    text += " --strict" if flags & 8 else ""
    return text + " --next".join(_policy_element(raw, where.family) for raw in elements[:count])


# --- time, content, header fields -------------------------------------------------------------------------------

_WEEKDAYS = {1 << n: name for n, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), start=1)}
_MONTHDAYS = {1 << n: str(n) for n in range(1, 32)}
_DAY = 24 * 60 * 60


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def time(v: Values, _: Where) -> str:
    date_start, date_stop, day_start, day_stop, monthdays, weekdays, flags = v
    text = ""
    if (day_start, day_stop) != (0, _DAY - 1):
        text += f" --timestart {_clock(day_start)} --timestop {_clock(day_stop)}"
    if monthdays != 0xFFFFFFFE:
        text += f" --monthdays {','.join(flag_names(monthdays, _MONTHDAYS))}"
    if weekdays != 0xFE:
        text += f" --weekdays {','.join(flag_names(weekdays, _WEEKDAYS))}"
    for option, date in (("datestart", date_start), ("datestop", date_stop)):
        if date:
            text += f" --{option} {datetime.fromtimestamp(date, timezone.utc):%Y-%m-%dT%H:%M:%S}"
    return text + (" --kerneltz" if flags & 1 else "") + (" --contiguous" if flags & 2 else "")


def _string(v: Values, invert: object, icase: object) -> str:
    start, end, algorithm, pattern, length, _flags = v
    if length > len(pattern):
        raise UnknownError
    pattern = pattern[:length]
    if all(0x20 <= octet < 0x7F for octet in pattern) and not pattern.endswith(b"\\"):
        escaped = pattern.decode().replace("\\", "\\\\").replace('"', '\\"')
        text = f'{negation(invert)} --string "{escaped}"'
    else:
        text = f'{negation(invert)} --hex-string "|{pattern.hex()}|"'
    text += f" --algo {string(algorithm)}"
    if start:
        text += f" --from {start}"
    if end != 0xFFFF:
        text += f" --to {end}"
    return text + (" --icase" if icase else "")


def string_0(v: Values, _: Where) -> str:
    return _string(v, v[5], False)


def string_1(v: Values, _: Where) -> str:
    return _string(v, v[5] & 1, v[5] & 2)


def cpu(v: Values, _: Where) -> str:
    number, invert = v
    return f"{negation(invert)} --cpu {number}"


def cluster(v: Values, _: Where) -> str:
    nodes, mask, seed, flags = v
    return (
        f"{negation(flags & 1)} --cluster-local-nodemask {mask:#010x}"
        f" --cluster-total-nodes {nodes} --cluster-hash-seed {seed:#010x}"
    )


def nfacct(v: Values, _: Where) -> str:
    return f" --nfacct-name  {quoted(v[0])}"  # two blanks: so it is in the tools


_U32_OPERATORS = ("&", "<<", ">>", "@")
_U32_TEST = Struct("=" + "IB3x" * 11 + "2I" * 11 + "2B2x")


def _u32_test(raw: bytes) -> str:
    fields = _U32_TEST.unpack(raw)
    locations, values, (numbers, ranges) = fields[:22], fields[22:44], fields[44:]
    if not 0 < numbers <= 11 or ranges > 11:
        raise UnknownError
    text = f"{locations[0]:#x}"
    for n in range(1, numbers):
        number, operator = locations[2 * n], locations[2 * n + 1]
        if operator > 3:
            raise UnknownError
        text += f"{_U32_OPERATORS[operator]}{number:#x}"
    ends = [(values[2 * n], values[2 * n + 1]) for n in range(ranges)]
    return text + "=" + ",".join(f"{low:#x}" if low == high else f"{low:#x}:{high:#x}" for low, high in ends)


def u32(v: Values, _: Where) -> str:
    tests, count, invert = v
    if count > 11:
        raise UnknownError
    size = _U32_TEST.size
    spelled = "&&".join(_u32_test(tests[n * size : (n + 1) * size]) for n in range(count))
    return f'{negation(invert)} --u32 "{spelled}"'


# --- IPv6 extension headers -------------------------------------------------------------------------------------


def frag(v: Values, _: Where) -> str:
    low, high, length, flags, invert = v
    text = "" if (low, high) == (0, 0xFFFFFFFF) else f"{negation(invert & 1)} --fragid {span(low, high)}"
    if flags & 2:
        text += f"{negation(invert & 2)} --fraglen {length}"
    for bit, option in ((4, "fragres"), (8, "fragfirst"), (16, "fragmore"), (32, "fraglast")):
        text += f" --{option}" if flags & bit else ""
    return text


def _options_header(name: str) -> Decoder:
    """hbh and dst: struct ip6t_opts."""

    def decode(v: Values, _: Where) -> str:
        length, flags, invert, raw, count = v
        if count > 16:
            raise UnknownError
        text = f"{negation(invert & 1)} --{name}-len {length}" if flags & 1 else ""
        text += f" --{name}-opts" if flags & 2 else ""
        options = [option for (option,) in iter_unpack("=H", raw[: 2 * count])]
        spelled = (f"{o >> 8}" + (f":{o & 0xFF}" if o & 0xFF != 0xFF else "") for o in options)
        return text + (f" {','.join(spelled)}" if options else "")

    return decode


def rt(v: Values, _: Where) -> str:
    kind, low, high, length, flags, invert, addresses, count = v
    if count > 16:
        raise UnknownError
    text = f"{negation(invert & 1)} --rt-type {kind}" if flags & 1 else ""
    text += "" if (low, high) == (0, 0xFFFFFFFF) else f"{negation(invert & 2)} --rt-segsleft {span(low, high)}"
    text += f"{negation(invert & 4)} --rt-len {length}" if flags & 4 else ""
    text += " --rt-0-res" if flags & 8 else ""
    text += " --rt-0-addrs" if flags & 16 else ""
    listed = ",".join(address(addresses[16 * n : 16 * (n + 1)]) for n in range(count))
    return text + (f" {listed}" if listed else "") + (" --rt-0-not-strict" if flags & 32 else "")


def mh(v: Values, _: Where) -> str:
    low, high, invert = v
    return "" if (low, high) == (0, 0xFF) else f"{negation(invert & 1)} --mh-type {span(low, high)}"


def nothing(_v: Values, _: Where) -> str:
    """A match without options: eui64."""
    return ""


_CGROUP = "4B"
_OPTIONS = "I2B32sB"

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
    ("tos", 0): extension("2B", tos_0),
    ("tos", 1): extension("3B", tos_1),
    ("dscp", 0): extension("2B", dscp),
    ("ecn", 0): extension("4B", ecn),
    ("set", 1): extension("H2B", set_1),
    ("set", 2): extension("H2B", set_2),
    ("set", 3): extension("H2B4xB7xQB7xQI", set_3),
    ("set", 4): extension("H2B4xQB7xQB7xI", set_4),
    ("ipvs", 0): extension("16s16s2s2B2s2B", ipvs),
    ("socket", 0): extension("", socket_0),
    ("socket", 1): extension("B", socket),
    ("socket", 2): extension("B", socket),
    ("socket", 3): extension("B", socket),
    ("cgroup", 0): extension("2I", cgroup_0),
    ("cgroup", 1): extension(_CGROUP + "4096sI8x", cgroup_1),
    ("cgroup", 2): extension(_CGROUP + "512s4x8x", cgroup_2),
    ("policy", 0): extension("76s76s76s76s2H", policy),
    ("time", 0): extension("5I2B", time),
    ("string", 0): extension("2H16s128s2B2x8x", string_0),
    ("string", 1): extension("2H16s128s2B2x8x", string_1),
    ("cpu", 0): extension("2I", cpu),
    ("cluster", 0): extension("4I", cluster),
    ("u32", 0): extension(f"{11 * _U32_TEST.size}s2B", u32),
    ("nfacct", 0): extension("32s8x", nfacct),
    ("nfacct", 1): extension("32s8x", nfacct),
}
MATCHES_IPV4: Table = {("ttl", 0): extension("2B", _hops("ttl"))}
MATCHES_IPV6: Table = {
    ("hl", 0): extension("2B", _hops("hl")),
    ("eui64", 0): extension("i", nothing),
    ("frag", 0): extension("3I2B", frag),
    ("hbh", 0): extension(_OPTIONS, _options_header("hbh")),
    ("dst", 0): extension(_OPTIONS, _options_header("dst")),
    ("rt", 0): extension("4I2B2x256sB", rt),
    ("mh", 0): extension("3B", mh),
}
TARGETS: Table = {}
TARGETS_IPV4: Table = {}
TARGETS_IPV6: Table = {}
