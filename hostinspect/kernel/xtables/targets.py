"""Targets that are neither NAT nor connection tracking.

REJECT, LOG, NFLOG, NFQUEUE, MARK, TCPMSS, TCPOPTSTRIP, TOS, DSCP, ECN, TTL, HL, CLASSIFY, CHECKSUM, TEE, TRACE,
SYNPROXY, AUDIT, SET. Layouts: linux/netfilter/xt_NAME.h, linux/netfilter_ipv4/ipt_REJECT.h, ipt_TTL.h, ipt_ECN.h,
linux/netfilter_ipv6/ip6t_REJECT.h, ip6t_HL.h.
"""

from __future__ import annotations

from hostinspect.kernel.xtables.extension import Decoder, Table, UnknownError, Values, Where, extension, flag_names
from hostinspect.kernel.xtables.spelling import nf_address, quoted, set_dimensions, string

_REJECT = {
    0: "icmp-net-unreachable",
    1: "icmp-host-unreachable",
    2: "icmp-proto-unreachable",
    3: "icmp-port-unreachable",
    5: "icmp-net-prohibited",
    6: "icmp-host-prohibited",
    7: "tcp-reset",
    8: "icmp-admin-prohibited",
}
_REJECT6 = {
    0: "icmp6-no-route",
    1: "icmp6-adm-prohibited",
    3: "icmp6-addr-unreachable",
    4: "icmp6-port-unreachable",
    6: "tcp-reset",
    7: "icmp6-policy-fail",
    8: "icmp6-reject-route",
}


def _reject(names: dict[int, str]) -> Decoder:
    def decode(v: Values, _: Where) -> str:
        if v[0] not in names:
            raise UnknownError
        return f" --reject-with {names[v[0]]}"

    return decode


_LOG = {1: "tcp-sequence", 2: "tcp-options", 4: "ip-options", 8: "uid", 32: "macdecode"}
_LOG_LEVEL = 4  # warning, the tools' default


def log(v: Values, _: Where) -> str:
    level, flags, prefix = v
    text = f" --log-prefix {quoted(prefix)}" if prefix[0] else ""
    text += f" --log-level {level}" if level != _LOG_LEVEL else ""
    return text + "".join(f" --log-{name}" for name in flag_names(flags, _LOG))


def nflog_options(length: int, group: int, threshold: int, flags: int, prefix: bytes) -> str:
    text = f" --nflog-prefix {quoted(prefix)}" if prefix.rstrip(b"\0") else ""
    text += f" --nflog-group {group}" if group else ""
    if flags & 1:
        text += f" --nflog-size {length}"
    elif length:
        text += f" --nflog-range {length}"
    return text + (f" --nflog-threshold {threshold}" if threshold else "")


def nflog(v: Values, _: Where) -> str:
    length, group, threshold, flags, _pad, prefix = v
    return nflog_options(length, group, threshold, flags, prefix)


def nfqueue(v: Values, _: Where) -> str:
    """Revision 0 has the number, 1 adds the total, 2 and 3 add flags."""
    number, total, flags = v + (1, 0)[len(v) - 1 :]
    text = f" --queue-balance {number}:{number + total - 1}" if total > 1 else f" --queue-num {number}"
    return text + (" --queue-bypass" if flags & 1 else "") + (" --queue-cpu-fanout" if flags & 2 else "")


_MARK_MODES = ("--set-mark", "--and-mark", "--or-mark")


def mark_1(v: Values, _: Where) -> str:
    value, mode = v
    if mode > 2:
        raise UnknownError
    return f" {_MARK_MODES[mode]} {value:#x}"


def mark_2(v: Values, _: Where) -> str:
    value, mask = v
    return f" --set-xmark {value:#x}/{mask:#x}"


def tcpmss(v: Values, _: Where) -> str:
    return " --clamp-mss-to-pmtu" if v[0] == 0xFFFF else f" --set-mss {v[0]}"


def tcpoptstrip(v: Values, _: Where) -> str:
    bits = sum(word << 32 * n for n, word in enumerate(v))
    options = ",".join(str(n) for n in range(256) if bits >> n & 1)
    return f" --strip-options {options}" if options else ""


def tos_0(v: Values, _: Where) -> str:
    return f" --set-tos {v[0]:#04x}"


def tos_1(v: Values, _: Where) -> str:
    value, mask = v
    return f" --set-tos {value:#04x}/{mask:#04x}"


def dscp(v: Values, _: Where) -> str:
    return f" --set-dscp {v[0]:#04x}"


def ecn(v: Values, _: Where) -> str:
    operation, ip_ect, bits = v
    ece, cwr = bits & 1, bits >> 1 & 1  # a bit field, as little-endian compilers lay it out
    if operation == 0x30 and not ece and not cwr:
        return " --ecn-tcp-remove"
    text = f" --ecn-tcp-ece {ece}" if operation & 0x10 else ""
    text += f" --ecn-tcp-cwr {cwr}" if operation & 0x20 else ""
    return text + (f" --ecn-ip-ect {ip_ect}" if operation & 0x01 else "")


def _hops(option: str) -> Decoder:
    def decode(v: Values, _: Where) -> str:
        mode, hops = v
        if mode > 2:
            raise UnknownError
        return f" --{option}-{('set', 'inc', 'dec')[mode]} {hops}"

    return decode


def classify(v: Values, _: Where) -> str:
    return f" --set-class {v[0] >> 16:04x}:{v[0] & 0xFFFF:04x}"


def checksum(v: Values, _: Where) -> str:
    return " --checksum-fill" if v[0] & 1 else ""


def tee(v: Values, where: Where) -> str:
    gateway, oif = v
    return f" --gateway {nf_address(gateway, where.family)}" + (f" --oif {string(oif)}" if oif[0] else "")


def trace(_v: Values, _: Where) -> str:
    return ""


def synproxy(v: Values, _: Where) -> str:
    options, wscale, mss = v
    text = " --sack-perm" if options & 4 else ""
    text += " --timestamp" if options & 8 else ""
    text += f" --wscale {wscale}" if options & 2 else ""
    text += f" --mss {mss}" if options & 1 else ""
    return text + (" --ecn" if options & 16 else "")


_AUDIT = ("accept", "drop", "reject")


def audit(v: Values, _: Where) -> str:
    if v[0] > 2:
        raise UnknownError
    return f" --type {_AUDIT[v[0]]}"


_NO_SET = 0xFFFF  # IPSET_INVALID_ID


def _set(option: str, named: Values, where: Where) -> str:
    index, dim, flags = named  # struct xt_set_info
    return "" if index == _NO_SET else f" --{option} {where.set_name(index)} {set_dimensions(dim, flags)}"


def set_1(v: Values, where: Where) -> str:
    return _set("add-set", v[:3], where) + _set("del-set", v[3:6], where)


def _set_add(v: Values, flags: int, timeout: int, where: Where) -> str:
    text = _set("add-set", v[:3], where) + (" --exist" if flags & 1 else "")
    return text + (f" --timeout {timeout}" if timeout != 0xFFFFFFFF else "") + _set("del-set", v[3:6], where)


def set_2(v: Values, where: Where) -> str:
    return _set_add(v, v[6], v[7], where)


def set_3(v: Values, where: Where) -> str:
    flags = v[9]
    text = _set_add(v, flags, v[10], where) + _set("map-set", v[6:9], where)
    for bit, option in ((1 << 8, "map-mark"), (1 << 9, "map-prio"), (1 << 10, "map-queue")):
        text += f" --{option}" if flags & bit else ""
    return text


_SET = "H2B"

MATCHES: Table = {}
MATCHES_IPV4: Table = {}
MATCHES_IPV6: Table = {}
TARGETS: Table = {
    ("LOG", 0): extension("2B30s", log),
    ("NFLOG", 0): extension("I4H64s", nflog),
    ("NFQUEUE", 0): extension("H", nfqueue),
    ("NFQUEUE", 1): extension("2H", nfqueue),
    ("NFQUEUE", 2): extension("3H", nfqueue),
    ("NFQUEUE", 3): extension("3H", nfqueue),
    ("MARK", 1): extension("LB", mark_1),
    ("MARK", 2): extension("2I", mark_2),
    ("TCPMSS", 0): extension("H", tcpmss),
    ("TCPOPTSTRIP", 0): extension("8I", tcpoptstrip),
    ("TOS", 0): extension("B", tos_0),
    ("TOS", 1): extension("2B", tos_1),
    ("DSCP", 0): extension("B", dscp),
    ("CLASSIFY", 0): extension("I", classify),
    ("CHECKSUM", 0): extension("B", checksum),
    ("TEE", 1): extension("16s16s8x", tee),
    ("TRACE", 0): extension("", trace),
    ("SYNPROXY", 0): extension("2BH", synproxy),
    ("AUDIT", 0): extension("B", audit),
    ("SET", 1): extension(_SET * 2, set_1),
    ("SET", 2): extension(_SET * 2 + "2I", set_2),
    ("SET", 3): extension(_SET * 3 + "2I", set_3),
}
TARGETS_IPV4: Table = {
    ("REJECT", 0): extension("I", _reject(_REJECT)),
    ("ECN", 0): extension("3B", ecn),
    ("TTL", 0): extension("2B", _hops("ttl")),
}
TARGETS_IPV6: Table = {
    ("REJECT", 0): extension("I", _reject(_REJECT6)),
    ("HL", 0): extension("2B", _hops("hl")),
}
