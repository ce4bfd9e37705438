"""Matches that few hosts use: header fields, sockets and services, time, content, IPv6 extension headers.

tos, dscp, ecn, ttl, ipvs, socket, cgroup, policy, time, string, cpu, cluster, u32, nfacct; of IPv6: hl, frag, rt, hbh,
dst, mh, eui64. Layouts: linux/netfilter/xt_NAME.h, linux/netfilter_ipv4/ipt_ttl.h, linux/netfilter_ipv6/ip6t_hl.h,
ip6t_frag.h, ip6t_rt.h, ip6t_opts.h, ip6t_mh.h.
"""

from __future__ import annotations

from datetime import datetime, timezone
from struct import Struct, iter_unpack

from hostinspect.kernel.xtables.extension import (
    Decoder,
    Table,
    UnknownError,
    Values,
    Where,
    extension,
    flag_names,
    negation,
)
from hostinspect.kernel.xtables.spelling import (
    address,
    etc_protocol,
    nf_with_mask,
    quoted,
    span,
    string,
)


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
    ("tos", 0): extension("2B", tos_0),
    ("tos", 1): extension("3B", tos_1),
    ("dscp", 0): extension("2B", dscp),
    ("ecn", 0): extension("4B", ecn),
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
