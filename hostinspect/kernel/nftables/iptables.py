"""Rules that iptables-nft wrote into nf_tables, as iptables-save(8) spells them.

iptables-nft writes addresses, interfaces, protocols, ports, marks and limits with native expressions, everything else
as `match` and `target` expressions with the bytes of the xtables extension (nft_compat). Which native expressions, has
grown from version to version; here all of those of 1.8.2 to 1.8.11 are understood. What iptables cannot have written
raises `NotIptablesError`, and the rule is spelled as nft does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from hostinspect.facts import Family
from hostinspect.kernel.netlink import attributes
from hostinspect.kernel.nftables.messages import Attributes, Rule, comment, name, number, parse_expression
from hostinspect.kernel.nftables.registers import (
    CMP_EQ,
    CMP_GT,
    CMP_GTE,
    CMP_LT,
    CMP_LTE,
    CMP_NEQ,
    NETWORK_HEADER,
    TRANSPORT_HEADER,
    VERDICT,
    Loaded,
    payload,
    register,
)
from hostinspect.kernel.xtables.extension import Clause, UnknownError
from hostinspect.kernel.xtables.rates import limit_options
from hostinspect.kernel.xtables.rule import RuleText
from hostinspect.kernel.xtables.spelling import mark, quoted, string
from hostinspect.kernel.xtables.transport import ports, tcp_flags

TABLES = frozenset({"filter", "nat", "mangle", "raw", "security"})
CHAINS = frozenset({"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})  # its base chains

META_MARK, META_IIFNAME, META_OIFNAME, META_NFTRACE, META_L4PROTO, META_PKTTYPE = 3, 6, 7, 12, 16, 19
TCP, UDP = 6, 17
_VERDICTS = {0: "DROP", 1: "ACCEPT", -5 & 0xFFFFFFFF: "RETURN"}  # NF_DROP, NF_ACCEPT, NFT_RETURN
_JUMP, _GOTO = -3 & 0xFFFFFFFF, -4 & 0xFFFFFFFF
_NOWHERE = b"INVAL/D\0"  # an interface name that cannot be: how iptables-nft writes `! -i +`


class NotIptablesError(Exception):
    """Not a rule that iptables-nft writes."""


class _Ports:
    """The tcp or udp match that native comparisons of ports and flags add up to."""

    __slots__ = ("destination", "flags", "invert_destination", "invert_source", "protocol", "source")

    def __init__(self, protocol: int) -> None:
        self.protocol = protocol
        self.source = [0, 0xFFFF]
        self.destination = [0, 0xFFFF]
        self.invert_source = False
        self.invert_destination = False
        self.flags = ""

    def clause(self) -> Clause:
        source, destination = (self.source[0], self.source[1]), (self.destination[0], self.destination[1])
        found = ports(source, destination, self.invert_source, self.invert_destination)
        return Clause(found.text + self.flags, found.fields)


class Reading:
    """A rule while its expressions are read. iptables prints addresses first, wherever they were compared."""

    __slots__ = (
        "destination",
        "family",
        "fragment",
        "iniface",
        "jump",
        "matches",
        "octets",
        "outiface",
        "packets",
        "ports",
        "protocol",
        "registers",
        "source",
        "target",
        "width",
    )

    def __init__(self, family: Family) -> None:
        self.family = family
        self.width = 4 if family == "ipv4" else 16  # bytes of an address
        self.registers: dict[int, Loaded] = {}
        self.source: tuple[bytes | str, bytes, bool] | None = None  # address, mask, inverted
        self.destination: tuple[bytes | str, bytes, bool] | None = None
        self.iniface = ("", False)
        self.outiface = ("", False)
        self.protocol = (0, False)
        self.fragment: bool | None = None  # inverted; None: not asked
        self.matches: list[tuple[str, int, bytes] | tuple[str, Clause] | _Ports] = []
        self.ports: _Ports | None = None
        self.target: tuple[str, int, bytes] | tuple[str, Clause] | None = None
        self.jump: tuple[str, bool] | None = None  # chain or verdict, whether it is a goto
        self.packets: int | None = None
        self.octets: int | None = None


def spell(rule: Rule) -> tuple[RuleText, int | None, int | None]:
    """The rule's text and fields, and its packets and bytes. Raises NotIptablesError, nothing else."""
    reading = Reading(rule.family)
    try:
        for raw in rule.expressions:
            do, arguments = step(raw)
            do(reading, *arguments)
    except (UnknownError, KeyError, ValueError, IndexError) as e:
        raise NotIptablesError(str(e)) from e
    return write(reading, rule.chain, rule.userdata), reading.packets, reading.octets


def write(reading: Reading, chain: str, userdata: bytes) -> RuleText:
    """What was read as a rule of `chain`."""
    spelled = RuleText(reading.family, f"-A {chain}")
    if reading.source:
        spelled.address("s", "src", *reading.source)
    if reading.destination:
        spelled.address("d", "dst", *reading.destination)
    spelled.interface("i", "in_interface", *reading.iniface)
    spelled.interface("o", "out_interface", *reading.outiface)
    spelled.protocol(*reading.protocol)
    if reading.fragment is not None:
        spelled.fragment(reading.fragment)
    for match in reading.matches:
        if isinstance(match, _Ports):
            spelled.clause("tcp" if match.protocol == TCP else "udp", match.clause())
        elif len(match) == 2:
            spelled.clause(*match)
        else:
            spelled.match(*match)
    noted = comment(userdata)
    if noted is not None:
        spelled.clause("comment", Clause(f" --comment {quoted(noted)}", (("comment", string(noted)),)))
    if reading.target is not None:
        if len(reading.target) == 2:
            spelled.decoded_target(*reading.target)
        else:
            spelled.target(*reading.target)
    elif reading.jump is not None:
        spelled.jump(reading.jump[0], goto=reading.jump[1])
    return spelled


# --- from expressions to steps ----------------------------------------------------------------------------------

# What an expression does to the reading of its rule, and with which arguments.
Step = tuple[Callable[..., None], tuple[Any, ...]]


@lru_cache(maxsize=8192)
def step(raw: bytes) -> Step:
    """An expression (NFTA_LIST_ELEM) as a step. Most of a ruleset's expressions are the same few, byte for byte.

    Raises NotIptablesError; KeyError, ValueError on another layout.
    """
    expression, a = parse_expression(raw)
    parse = _PARSERS.get(expression)
    if parse is None:
        raise NotIptablesError(expression)
    return parse(a)


def _parse_payload(a: Attributes) -> Step:
    if 1 not in a:
        raise NotIptablesError("payload set")
    return _load, (register(a[1]), payload(a))


def _parse_meta(a: Attributes) -> Step:
    """NFTA_META_*: DREG 1, KEY 2, SREG 3. Of those that set, iptables writes `-j TRACE` only."""
    key = number(a[2])
    if 1 in a:
        return _load, (register(a[1]), Loaded("meta", key))
    if key != META_NFTRACE:
        raise NotIptablesError("meta set")
    return _trace, (register(a[3]),)


def _parse_bitwise(a: Attributes) -> Step:
    """NFTA_BITWISE_*: SREG 1, DREG 2, LEN 3, MASK 4, XOR 5, OP 6."""
    if number(a.get(6)) or (5 in a and any(attributes(a[5])[1])):
        raise NotIptablesError("bitwise")
    return _mask, (register(a[1]), register(a[2]), attributes(a[4])[1])


def _parse_immediate(a: Attributes) -> Step:
    """NFTA_IMMEDIATE_*: DREG 1, DATA 2 (NFTA_DATA_VALUE 1, or VERDICT 2 with CODE 1 and CHAIN 2)."""
    data = attributes(a[2])
    if register(a[1]) != VERDICT:
        return _load, (register(a[1]), Loaded("immediate", value=data[1]))
    verdict = attributes(data[2])
    code = number(verdict[1])
    if code in (_JUMP, _GOTO):
        return _jump, (name(verdict[2]), code == _GOTO)
    if code in _VERDICTS:
        return _jump, (_VERDICTS[code], False)
    raise NotIptablesError("verdict")


def _parse_cmp(a: Attributes) -> Step:
    """NFTA_CMP_*: SREG 1, OP 2, DATA 3."""
    return compare, (register(a[1]), number(a[2]), attributes(a[3])[1])


def _parse_range(a: Attributes) -> Step:
    """NFTA_RANGE_*: SREG 1, OP 2 (0 is in it, 1 is not), FROM_DATA 3, TO_DATA 4."""
    low, high = attributes(a[3])[1], attributes(a[4])[1]
    return _compare_range, (register(a[1]), number(a[2]) == 1, number(low), number(high))


def _parse_counter(a: Attributes) -> Step:
    """NFTA_COUNTER_*: BYTES 1, PACKETS 2."""
    return count, (number(a[2]), number(a[1]))


def _parse_match(a: Attributes) -> Step:
    """NFTA_MATCH_*: NAME 1, REV 2, INFO 3."""
    return add_match, (name(a[1]), number(a.get(2)), a.get(3, b""))


def _parse_target(a: Attributes) -> Step:
    """NFTA_TARGET_*: NAME 1, REV 2, INFO 3."""
    return set_target, (name(a[1]), number(a.get(2)), a.get(3, b""))


def _parse_limit(a: Attributes) -> Step:
    """NFTA_LIMIT_*: RATE 1, UNIT 2 (seconds), BURST 3, TYPE 4 (0 packets), FLAGS 5 (1 over)."""
    if number(a.get(4)) or number(a.get(5)) or not number(a[1]):
        raise NotIptablesError("limit")
    avg = 10_000 * number(a[2]) // number(a[1])
    return add_match, ("limit", Clause(limit_options(avg, number(a[3]))))


def _parse_log(a: Attributes) -> Step:
    """NFTA_LOG_*: GROUP 1, PREFIX 2, SNAPLEN 3, QTHRESHOLD 4, LEVEL 5, FLAGS 6. iptables' own is NFLOG."""
    if 1 not in a or 5 in a or 6 in a:
        raise NotIptablesError("log")
    from hostinspect.kernel.xtables.targets import nflog_options

    text = nflog_options(number(a.get(3)), number(a[1]), number(a.get(4)), 1 if 3 in a else 0, a.get(2, b""))
    return set_target, ("NFLOG", Clause(text))


_PARSERS: dict[str, Callable[[Attributes], Step]] = {
    "bitwise": _parse_bitwise,
    "cmp": _parse_cmp,
    "counter": _parse_counter,
    "immediate": _parse_immediate,
    "limit": _parse_limit,
    "log": _parse_log,
    "match": _parse_match,
    "meta": _parse_meta,
    "payload": _parse_payload,
    "range": _parse_range,
    "target": _parse_target,
}


# --- steps ------------------------------------------------------------------------------------------------------


def _load(reading: Reading, to: int, loaded: Loaded) -> None:
    reading.registers[to] = loaded


def _mask(reading: Reading, source: int, to: int, mask: bytes) -> None:
    loaded = reading.registers.get(source)
    if loaded is None:
        raise NotIptablesError("bitwise of nothing")
    reading.registers[to] = replace(loaded, mask=mask)


def _trace(reading: Reading, source: int) -> None:
    loaded = reading.registers.get(source)
    if loaded is None or loaded.value[:1] == b"\0":
        raise NotIptablesError("nftrace")
    reading.target = ("TRACE", Clause(""))


def count(reading: Reading, packets: int, octets: int) -> None:
    reading.packets, reading.octets = packets, octets


def add_match(reading: Reading, *match: Any) -> None:
    reading.matches.append(match)


def set_target(reading: Reading, *target: Any) -> None:
    reading.target = target


def _jump(reading: Reading, chain: str, goto: bool) -> None:
    reading.jump = (chain, goto)


# --- comparisons ------------------------------------------------------------------------------------------------


def compare(reading: Reading, source: int, operator: int, data: bytes) -> None:
    loaded = reading.registers.get(source)
    if loaded is None:
        raise NotIptablesError("cmp of nothing")
    if loaded.source == "payload" and loaded.key == TRANSPORT_HEADER:
        _compare_transport(reading, loaded, operator, data)
        return
    if loaded.source == "payload":
        field_of = _NETWORK_FIELDS.get((reading.family, loaded.offset)) if loaded.key == NETWORK_HEADER else None
    else:
        field_of = _META_FIELDS.get(loaded.key) if loaded.source == "meta" else None
    if field_of is None:
        raise NotIptablesError("cmp")
    field_of(reading, loaded, operator, data)


def _negated(operator: int) -> bool:
    if operator not in (CMP_EQ, CMP_NEQ):
        raise NotIptablesError("operator")
    return operator == CMP_NEQ


def _address(reading: Reading, loaded: Loaded, operator: int, data: bytes) -> tuple[bytes, bytes, bool]:
    """A network whose prefix ends at a byte is compared by its first bytes only; any other has a mask."""
    if loaded.length > reading.width or len(data) != loaded.length or len(loaded.mask or b"") > len(data):
        raise NotIptablesError("address")
    mask = loaded.mask if loaded.mask is not None else b"\xff" * len(data)
    return data.ljust(reading.width, b"\0"), mask.ljust(reading.width, b"\0"), _negated(operator)


def _source(reading: Reading, loaded: Loaded, operator: int, data: bytes) -> None:
    if reading.source is not None:
        raise NotIptablesError("two sources")
    reading.source = _address(reading, loaded, operator, data)


def _destination(reading: Reading, loaded: Loaded, operator: int, data: bytes) -> None:
    if reading.destination is not None:
        raise NotIptablesError("two destinations")
    reading.destination = _address(reading, loaded, operator, data)


def _protocol(reading: Reading, loaded: Loaded, operator: int, data: bytes) -> None:
    if loaded.mask is not None or len(data) != 1:
        raise NotIptablesError("protocol")
    reading.protocol = (data[0], _negated(operator))


def _fragment(reading: Reading, loaded: Loaded, operator: int, data: bytes) -> None:
    if loaded.mask != b"\x1f\xff" or any(data):  # the offset of a fragment is not zero
        raise NotIptablesError("fragment")
    reading.fragment = not _negated(operator)


def _hops(reading: Reading, _loaded: Loaded, operator: int, data: bytes) -> None:
    option = "ttl" if reading.family == "ipv4" else "hl"
    hops = data[0] + {CMP_LTE: 1, CMP_GTE: -1}.get(operator, 0)
    if not 0 <= hops <= 255:
        raise NotIptablesError("hops")
    kind = {CMP_EQ: "eq", CMP_NEQ: "eq", CMP_LT: "lt", CMP_LTE: "lt", CMP_GT: "gt", CMP_GTE: "gt"}[operator]
    reading.matches.append((option, Clause(f"{' !' if operator == CMP_NEQ else ''} --{option}-{kind} {hops}")))


def _interface(data: bytes, operator: int) -> tuple[str, bool]:
    """A whole name is compared with its NUL, the beginning of one without."""
    if data == _NOWHERE and operator == CMP_EQ:
        return "+", True
    return string(data) + ("" if b"\0" in data else "+"), _negated(operator)


def _iifname(reading: Reading, _loaded: Loaded, operator: int, data: bytes) -> None:
    reading.iniface = _interface(data, operator)


def _oifname(reading: Reading, _loaded: Loaded, operator: int, data: bytes) -> None:
    reading.outiface = _interface(data, operator)


def _mark(reading: Reading, loaded: Loaded, operator: int, data: bytes) -> None:
    """A mark is a number of this machine's own byte order, unlike what is read from packets."""
    mask = number_of_host(loaded.mask) if loaded.mask is not None else 0xFFFFFFFF
    spelled = f"{' !' if _negated(operator) else ''} --mark {mark(number_of_host(data), mask)}"
    reading.matches.append(("mark", Clause(spelled)))


_PKTTYPES = {0: "unicast", 1: "broadcast", 2: "multicast", 3: "otherhost"}


def _pkttype(reading: Reading, _loaded: Loaded, operator: int, data: bytes) -> None:
    kind = _PKTTYPES.get(data[0], data[0])
    reading.matches.append(("pkttype", Clause(f"{' !' if _negated(operator) else ''} --pkt-type {kind}")))


def number_of_host(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)


_Field = Callable[[Reading, Loaded, int, bytes], None]
_META_FIELDS: dict[int, _Field] = {
    META_MARK: _mark,
    META_IIFNAME: _iifname,
    META_OIFNAME: _oifname,
    META_L4PROTO: _protocol,
    META_PKTTYPE: _pkttype,
}
_NETWORK_FIELDS: dict[tuple[str, int], _Field] = {  # by the offset in struct iphdr, struct ip6_hdr
    ("ipv4", 6): _fragment,
    ("ipv4", 8): _hops,
    ("ipv4", 9): _protocol,
    ("ipv4", 12): _source,
    ("ipv4", 16): _destination,
    ("ipv6", 6): _protocol,
    ("ipv6", 7): _hops,
    ("ipv6", 8): _source,
    ("ipv6", 24): _destination,
}


# --- tcp, udp, icmp ---------------------------------------------------------------------------------------------

_ICMP = {("ipv4", 1): ("icmp", "icmp-type"), ("ipv6", 58): ("icmp6", "icmpv6-type")}


def _compare_transport(reading: Reading, loaded: Loaded, operator: int, data: bytes) -> None:
    protocol, inverted_protocol = reading.protocol
    if inverted_protocol:
        raise NotIptablesError("port of another protocol")
    if (reading.family, protocol) in _ICMP:
        _icmp(reading, loaded, operator, data, *_ICMP[reading.family, protocol])
        return
    found = _ports(reading, protocol)
    where = (loaded.offset, len(data))
    if where == (0, 4) and loaded.mask is None:  # both ports at once
        found.invert_source = _bound(found.source, operator, number(data[:2])) or found.invert_source
        found.invert_destination = _bound(found.destination, operator, number(data[2:])) or found.invert_destination
    elif where == (0, 2) and loaded.mask is None:
        found.invert_source = _bound(found.source, operator, number(data)) or found.invert_source
    elif where == (2, 2) and loaded.mask is None:
        found.invert_destination = _bound(found.destination, operator, number(data)) or found.invert_destination
    elif where == (13, 1) and protocol == TCP:
        mask = loaded.mask[0] if loaded.mask else 0xFF
        negation = " !" if _negated(operator) else ""
        found.flags = f"{negation} --tcp-flags {tcp_flags(mask)} {tcp_flags(data[0])}"
    else:
        raise NotIptablesError("transport")


def _ports(reading: Reading, protocol: int) -> _Ports:
    if protocol not in (TCP, UDP):
        raise NotIptablesError("port")
    if reading.ports is None:
        reading.ports = _Ports(protocol)
        reading.matches.append(reading.ports)
    return reading.ports


def _bound(ends: list[int], operator: int, port: int) -> bool:
    """Narrow a range of ports by one comparison; whether it is a negation."""
    low, high = {
        CMP_EQ: (port, port),
        CMP_NEQ: (port, port),
        CMP_LT: (ends[0], max(port - 1, 1)),
        CMP_LTE: (ends[0], port),
        CMP_GT: (min(port + 1, 0xFFFF), ends[1]),
        CMP_GTE: (port, ends[1]),
    }[operator]
    ends[:] = (low, high)
    return operator == CMP_NEQ


def _icmp(reading: Reading, loaded: Loaded, operator: int, data: bytes, match: str, option: str) -> None:
    if loaded.offset != 0 or len(data) not in (1, 2) or loaded.mask is not None:
        raise NotIptablesError("icmp")
    kind = "/".join(map(str, data))
    reading.matches.append((match, Clause(f"{' !' if _negated(operator) else ''} --{option} {kind}")))


def _compare_range(reading: Reading, source: int, invert: bool, low: int, high: int) -> None:
    loaded = reading.registers.get(source)
    if loaded is None or loaded.source != "payload" or loaded.key != TRANSPORT_HEADER or loaded.length != 2:
        raise NotIptablesError("range")
    found = _ports(reading, reading.protocol[0])
    if loaded.offset == 0:
        found.source[:], found.invert_source = (low, high), invert
    elif loaded.offset == 2:
        found.destination[:], found.invert_destination = (low, high), invert
    else:
        raise NotIptablesError("range")
