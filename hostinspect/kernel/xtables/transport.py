"""Matches on transport headers: tcp, udp, udplite, sctp, dccp, multiport, icmp, icmp6, esp, ah,
tcpmss, length.

Layouts: linux/netfilter/xt_tcpudp.h, xt_sctp.h, xt_dccp.h, xt_multiport.h, xt_esp.h, xt_tcpmss.h, xt_length.h,
linux/netfilter_ipv4/ip_tables.h (struct ipt_icmp), ipt_ah.h, linux/netfilter_ipv6/ip6_tables.h, ip6t_ah.h.
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
from hostinspect.kernel.xtables.spelling import span

Ports = tuple[int, int]
ANY_PORT: Ports = (0, 0xFFFF)
_TCP_FLAGS = {0x01: "FIN", 0x02: "SYN", 0x04: "RST", 0x08: "PSH", 0x10: "ACK", 0x20: "URG"}


def ports(sport: Ports, dport: Ports, invert_sport: object, invert_dport: object) -> Clause:
    """`--sport` and `--dport` with their fields; a full range is not written, as in the tools."""
    text: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    if sport != ANY_PORT:
        value = span(*sport)
        text = f"{negation(invert_sport)} --sport {value}"
        fields = (("sport", inverted(invert_sport, value)),)
    if dport != ANY_PORT:
        value = span(*dport)
        text += f"{negation(invert_dport)} --dport {value}"
        fields = (*fields, ("dport", inverted(invert_dport, value)))
    return Clause(text, fields)


def tcp_flags(bits: int) -> str:
    return ",".join(flag_names(bits, _TCP_FLAGS)) or "NONE"


def tcp(v: Values, _: Where) -> Clause:
    sport, sport_end, dport, dport_end, option, mask, flags, invert = v
    found = ports((sport, sport_end), (dport, dport_end), invert & 1, invert & 2)
    if not (option or mask or invert & 12):
        return found
    text, fields = found.text, found.fields
    if option or invert & 8:
        text += f"{negation(invert & 8)} --tcp-option {option}"
    if mask or invert & 4:
        text += f"{negation(invert & 4)} --tcp-flags {tcp_flags(mask)} {tcp_flags(flags)}"
    return Clause(text, fields)


def udp(v: Values, _: Where) -> Clause:
    sport, sport_end, dport, dport_end, invert = v
    return ports((sport, sport_end), (dport, dport_end), invert & 1, invert & 2)


def _flagged_ports(dport: Ports, sport: Ports, flags: int, invert: int) -> Clause:
    """sctp and dccp have a bit for "ports are given": a full range is written when it is."""
    text, fields = "", []
    for bit, option, port in ((1, "sport", sport), (2, "dport", dport)):
        if flags & bit:
            value = span(*port)
            text += f"{negation(invert & bit)} --{option} {value}"
            fields.append((option, inverted(invert & bit, value)))
    return Clause(text, tuple(fields))


_SCTP_CHUNKS = {
    0: "DATA",
    1: "INIT",
    2: "INIT_ACK",
    3: "SACK",
    4: "HEARTBEAT",
    5: "HEARTBEAT_ACK",
    6: "ABORT",
    7: "SHUTDOWN",
    8: "SHUTDOWN_ACK",
    9: "ERROR",
    10: "COOKIE_ECHO",
    11: "COOKIE_ACK",
    12: "ECN_ECNE",
    13: "ECN_CWR",
    14: "SHUTDOWN_COMPLETE",
    64: "I_DATA",
    128: "ASCONF_ACK",
    130: "RE_CONFIG",
    132: "PAD",
    192: "FORWARD_TSN",
    193: "ASCONF",
    194: "I_FORWARD_TSN",
}
_SCTP_HOW = {1: "any", 2: "all", 4: "only"}


def sctp(v: Values, _: Where) -> Clause:
    port, chunkmap, (how, _flag_info, flag_count, flags, invert) = v[:4], v[4:68], v[68:]
    given = _flagged_ports((port[0], port[1]), (port[2], port[3]), flags, invert)
    text, fields = given.text, given.fields
    if flags & 4:
        if flag_count or how not in _SCTP_HOW:
            raise UnknownError  # chunk flags (DATA:UBe) are rare and not spelled here
        text += f"{negation(invert & 4)} --chunk-types {_SCTP_HOW[how]} {_sctp_chunks(chunkmap)}"
    return Clause(text, fields)


# chunkmap is declared four times as long as it need be, 64 words; the first eight are used.
def _sctp_chunks(chunkmap: Values) -> str:
    bits = sum(word << 32 * n for n, word in enumerate(chunkmap))
    if bits == 0:
        return "NONE"
    if bits == (1 << 256) - 1:
        return "ALL"
    numbers = [n for n in range(256) if bits >> n & 1]
    if not _SCTP_CHUNKS.keys() >= set(numbers):
        raise UnknownError
    return ",".join(_SCTP_CHUNKS[n] for n in numbers)


_DCCP_TYPES = {
    1 << n: name
    for n, name in enumerate(
        ("REQUEST", "RESPONSE", "DATA", "ACK", "DATAACK", "CLOSEREQ", "CLOSE", "RESET", "SYNC", "SYNCACK", "INVALID")
    )
}


def dccp(v: Values, _: Where) -> Clause:
    *port, flags, invert, types, option = v
    given = _flagged_ports((port[0], port[1]), (port[2], port[3]), flags, invert)
    text, fields = given.text, given.fields
    if flags & 4:
        text += f"{negation(invert & 4)} --dccp-types {','.join(flag_names(types, _DCCP_TYPES))}"
    if flags & 8:
        text += f"{negation(invert & 8)} --dccp-option {option}"
    return Clause(text, fields)


_MULTIPORT = {0: "sports", 1: "dports", 2: "ports"}
_MULTIPORT_FIELD = {0: "sport", 1: "dport"}


def _multiport(flags: int, ports: str, invert: object) -> Clause:
    if flags not in _MULTIPORT:
        raise UnknownError
    field = _MULTIPORT_FIELD.get(flags)  # --ports means either end: neither field can say that
    fields = ((field, inverted(invert, ports)),) if field else ()
    return Clause(f"{negation(invert)} --{_MULTIPORT[flags]} {ports}", fields)


def multiport_0(v: Values, _: Where) -> Clause:
    flags, count, *port = v
    if count > len(port):
        raise UnknownError
    return _multiport(flags, ",".join(map(str, port[:count])), False)


def multiport_1(v: Values, _: Where) -> Clause:
    flags, count, port, is_low_end, invert = v[0], v[1], v[2:17], v[17:32], v[32]
    if count > len(port):
        raise UnknownError
    text, separator = "", ""
    for number, low in zip(port[:count], is_low_end, strict=False):
        text += f"{separator}{number}"
        separator = ":" if low else ","
    return _multiport(flags, text, invert)


def icmp(v: Values, _: Where) -> str:
    kind, code_low, code_high, invert = v
    if kind == 0xFF:
        return f"{negation(invert & 1)} --icmp-type any"
    return f"{negation(invert & 1)} --icmp-type {kind}{_icmp_code(code_low, code_high)}"


def icmp6(v: Values, _: Where) -> str:
    kind, code_low, code_high, invert = v
    return f"{negation(invert & 1)} --icmpv6-type {kind}{_icmp_code(code_low, code_high)}"


def _icmp_code(low: int, high: int) -> str:
    return "" if (low, high) == (0, 0xFF) else f"/{low}"


def _spis(option: str, low: int, high: int, invert: object) -> str:
    return "" if (low, high) == (0, 0xFFFFFFFF) else f"{negation(invert)} --{option} {span(low, high)}"


def esp(v: Values, _: Where) -> str:
    return _spis("espspi", v[0], v[1], v[2] & 1)


def ah(v: Values, _: Where) -> str:
    return _spis("ahspi", v[0], v[1], v[2] & 1)


def ah6(v: Values, _: Where) -> str:
    low, high, length, reserved, invert = v
    text = _spis("ahspi", low, high, invert & 1)
    if length or invert & 2:
        text += f"{negation(invert & 2)} --ahlen {length}"
    return text + (" --ahres" if reserved else "")


def tcpmss(v: Values, _: Where) -> str:
    low, high, invert = v
    return f"{negation(invert)} --mss {span(low, high)}"


def length(v: Values, _: Where) -> str:
    low, high, invert = v
    return f"{negation(invert)} --length {span(low, high)}"


_UDP = extension("4HB", udp)

MATCHES: Table = {
    ("tcp", 0): extension("4H4B", tcp),
    ("udp", 0): _UDP,
    ("udplite", 0): _UDP,
    ("sctp", 0): extension("4H64II12si2I", sctp),
    ("dccp", 0): extension("4H3HB", dccp),
    ("multiport", 0): extension("2B15H", multiport_0),
    ("multiport", 1): extension("2B15H16B", multiport_1),
    ("icmp", 0): extension("4B", icmp),
    ("icmp6", 0): extension("4B", icmp6),
    ("esp", 0): extension("2IB", esp),
    ("tcpmss", 0): extension("2HB", tcpmss),
    ("length", 0): extension("2HB", length),
}
MATCHES_IPV4: Table = {("ah", 0): extension("2IB", ah)}
MATCHES_IPV6: Table = {("ah", 0): extension("2II2B", ah6)}
TARGETS: Table = {}
TARGETS_IPV4: Table = {}
TARGETS_IPV6: Table = {}
