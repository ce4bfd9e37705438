"""Rules of nf_tables as `nft list ruleset` shows them: those that nft, Docker's nftables backend or others wrote.

A rule is a little program: it loads fields into registers and compares them. nft adds comparisons that a field needs
to mean anything ("this is tcp" before a port) and leaves them out when it lists the rule; so is it done here. Spelled
are the expressions that docker and usual firewalls use. Any other is `[unknown NAME expression]` in the text, and the
rule is not exact.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec.structs import replace

from hostinspect import facts
from hostinspect.kernel.netlink import NetlinkError, NetlinkSocket, attributes
from hostinspect.kernel.nftables import datatypes as kind
from hostinspect.kernel.nftables import messages
from hostinspect.kernel.nftables.datatypes import Kind, UnknownExpressionError, bit_names
from hostinspect.kernel.nftables.messages import Attributes, Element, Expression, Rule, name, number
from hostinspect.kernel.nftables.registers import (
    CMP_EQ,
    CMP_GTE,
    CMP_LTE,
    CMP_NEQ,
    LL_HEADER,
    NETWORK_HEADER,
    TRANSPORT_HEADER,
    VERDICT,
    Loaded,
    payload,
    register,
)
from hostinspect.kernel.text import text
from hostinspect.kernel.xtables.spelling import address, prefix_length, protocol

_ANONYMOUS, _INTERVAL, _MAP = 1, 4, 8  # NFT_SET_*
_INTERVAL_END = 1  # NFT_SET_ELEM_INTERVAL_END
_OPERATORS = {CMP_EQ: "", CMP_NEQ: "!= ", 2: "< ", CMP_LTE: "<= ", 4: "> ", CMP_GTE: ">= "}
_L4PROTO, _NFPROTO = 16, 15  # NFT_META_*


class Selector(NamedTuple):
    """What a register holds, as nft names it."""

    text: str  # "tcp dport"
    kind: Kind
    field: str | None = None  # of facts.Rule


@dataclass(slots=True)
class Reading:
    """A rule while its expressions are read."""

    rule: Rule
    speller: Speller
    words: list[str | None] = field(default_factory=list)  # statements; None: one that nft does not list
    registers: dict[int, Loaded] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    verdict: str | None = None
    packets: int | None = None
    octets: int | None = None
    exact: bool = True
    l4proto: int | None = None  # what the rule has compared so far
    nfproto: int | None = None
    l4proto_at: int | None = None  # where in `words`, while it may turn out to be a mere condition of another
    nfproto_at: int | None = None
    last: tuple[Loaded, int, bytes] | None = None  # the comparison before this expression: for ranges

    @property
    def family(self) -> int | None:
        """NFPROTO_IPV4 or IPV6: the table's, or what the rule has asked for."""
        return {"ipv4": 2, "ipv6": 10}.get(self.rule.family, self.nfproto)

    @property
    def text(self) -> str:
        return " ".join(word for word in self.words if word)

    def read(self, expression: str, a: Attributes) -> None:
        """One more expression of the rule."""
        handler = _HANDLERS.get(expression)
        try:
            if handler is None:
                raise UnknownExpressionError(expression)
            handler(self, a)
        except (UnknownExpressionError, KeyError, ValueError, IndexError):
            self.words.append(f"[unknown {expression} expression]")
            self.exact = False
            self.registers.clear()  # what it left there is not known

    def end(self) -> None:
        """What is known when all expressions are read."""
        comment = messages.comment(self.rule.userdata)
        if comment is not None:
            self.words.append(f'comment "{text(comment)}"')
            self.note("comment", text(comment))
        if self.l4proto is not None:
            self.note("proto", protocol(self.l4proto))

    def loaded(self, raw: bytes) -> Loaded:
        found = self.registers.get(register(raw))
        if found is None:
            raise UnknownExpressionError("register")
        return found

    def hide_l4proto(self) -> None:
        """A field of tcp is named: that it is tcp goes without saying."""
        if self.l4proto_at is not None:
            self.words[self.l4proto_at] = None
            self.l4proto_at = None

    def hide_nfproto(self) -> None:
        if self.nfproto_at is not None:
            self.words[self.nfproto_at] = None
            self.nfproto_at = None

    def note(self, field_of_rule: str | None, value: str, negated: bool = False) -> None:
        if field_of_rule is not None:
            self.fields.setdefault(field_of_rule, f"!{value}" if negated else value)


class Speller:
    """Spells rules of one ruleset; asks the kernel for the elements of anonymous sets, which are part of a rule."""

    def __init__(self, netfilter: NetlinkSocket | None) -> None:
        self._netfilter = netfilter
        self._sets: dict[tuple[str, str, str], messages.Set] | None = None

    def set(self, rule: Rule, set_name: str) -> messages.Set | None:
        """What the kernel says of a set that `rule` uses; None where it cannot be asked."""
        if self._sets is None:
            self._sets = {}
            if self._netfilter is not None:
                with suppress(NetlinkError):
                    found = messages.dump(self._netfilter, messages.GETSET)
                    sets = [messages.parse_set(body) for body in found]
                    self._sets = {(s.family, s.table, s.name): s for s in sets}
        return self._sets.get((rule.family, rule.table, set_name))

    def elements(self, rule: Rule, set_name: str) -> list[Element]:
        if self._netfilter is None:
            raise UnknownExpressionError("lookup")
        try:
            return messages.elements(self._netfilter, rule.family, rule.table, set_name)
        except NetlinkError as e:
            raise UnknownExpressionError("lookup") from e

    def rule(self, rule: Rule, netns: int, position: int) -> facts.Rule:
        """`rule` in nft's spelling."""
        reading = Reading(rule, self)
        for raw in rule.expressions:
            reading.read(*expression_of(raw))
        reading.end()
        return facts.Rule(
            netns=netns,
            family=rule.family,
            backend="nft",
            table=rule.table,
            chain=rule.chain,
            position=position,
            text=reading.text,
            verdict=reading.verdict,
            packets=reading.packets,
            bytes=reading.octets,
            exact=reading.exact,
            **reading.fields,
        )


@lru_cache(maxsize=8192)
def expression_of(raw: bytes) -> Expression:
    """Most of a ruleset's expressions are the same few, byte for byte."""
    try:
        return messages.parse_expression(raw)
    except (KeyError, ValueError):
        return "malformed", {}


# --- what registers hold ----------------------------------------------------------------------------------------

_META: dict[int, Selector] = {
    0: Selector("meta length", kind.HOST_NUMBER),
    3: Selector("meta mark", kind.MARK),
    4: Selector("iif", kind.INTERFACE_INDEX, "in_interface"),
    5: Selector("oif", kind.INTERFACE_INDEX, "out_interface"),
    6: Selector("iifname", kind.INTERFACE_NAME, "in_interface"),
    7: Selector("oifname", kind.INTERFACE_NAME, "out_interface"),
    10: Selector("meta skuid", kind.HOST_NUMBER),
    11: Selector("meta skgid", kind.HOST_NUMBER),
    12: Selector("meta nftrace", kind.HOST_NUMBER),
    15: Selector("meta nfproto", kind.NFPROTO),
    16: Selector("meta l4proto", kind.PROTOCOL, "proto"),
    17: Selector("meta ibrname", kind.INTERFACE_NAME, "in_interface"),
    18: Selector("meta obrname", kind.INTERFACE_NAME, "out_interface"),
    19: Selector("meta pkttype", kind.PACKET_TYPE),
}
_CT: dict[int, Selector] = {
    0: Selector("state", kind.CT_STATE),
    1: Selector("direction", kind.CT_DIRECTION),
    2: Selector("status", kind.CT_STATUS),
    3: Selector("mark", kind.MARK),
    10: Selector("protocol", kind.PROTOCOL),
    11: Selector("proto-src", kind.PORT),
    12: Selector("proto-dst", kind.PORT),
    19: Selector("ip saddr", kind.ADDRESS),
    20: Selector("ip daddr", kind.ADDRESS),
    21: Selector("ip6 saddr", kind.ADDRESS),
    22: Selector("ip6 daddr", kind.ADDRESS),
}
_FIB_FLAGS = {1: "saddr", 2: "daddr", 4: "mark", 8: "iif", 16: "oif"}
_FIB_RESULTS = {1: ("oif", kind.INTERFACE_INDEX), 2: ("oifname", kind.INTERFACE_NAME), 3: ("type", kind.ADDRESS_TYPE)}

# By family and offset: the field, and how many bytes it has. A network that ends at a byte is loaded shorter.
_NETWORK: dict[tuple[int, int], tuple[Selector, int]] = {
    (2, 2): (Selector("ip length", kind.NUMBER), 2),
    (2, 6): (Selector("ip frag-off", kind.NUMBER), 2),
    (2, 8): (Selector("ip ttl", kind.NUMBER), 1),
    (2, 9): (Selector("ip protocol", kind.PROTOCOL, "proto"), 1),
    (2, 12): (Selector("ip saddr", kind.ADDRESS, "src"), 4),
    (2, 16): (Selector("ip daddr", kind.ADDRESS, "dst"), 4),
    (10, 4): (Selector("ip6 length", kind.NUMBER), 2),
    (10, 6): (Selector("ip6 nexthdr", kind.PROTOCOL, "proto"), 1),
    (10, 7): (Selector("ip6 hoplimit", kind.NUMBER), 1),
    (10, 8): (Selector("ip6 saddr", kind.ADDRESS, "src"), 16),
    (10, 24): (Selector("ip6 daddr", kind.ADDRESS, "dst"), 16),
}
_PROTOCOLS_WITH_PORTS = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}
_TRANSPORT: dict[tuple[int, int, int], Selector] = {  # by protocol, offset and length
    (6, 13, 1): Selector("tcp flags", kind.TCP_FLAGS),
    (1, 0, 1): Selector("icmp type", kind.ICMP_TYPE),
    (1, 1, 1): Selector("icmp code", kind.ICMP_CODE),
    (58, 0, 1): Selector("icmpv6 type", kind.ICMPV6_TYPE),
    (58, 1, 1): Selector("icmpv6 code", kind.ICMPV6_CODE),
}


def selector_of(reading: Reading, loaded: Loaded) -> Selector:
    """What `loaded` is called. Hides the conditions that its name implies."""
    if loaded.source == "meta" and loaded.key in _META:
        return _META[loaded.key]
    if loaded.source == "ct" and loaded.key in _CT:
        direction = {0: "original ", 1: "reply "}.get(loaded.direction, "") if loaded.direction is not None else ""
        found = _CT[loaded.key]
        return found._replace(text=f"ct {direction}{found.text}")
    if loaded.source == "fib":
        return _fib_selector(loaded)
    if loaded.source == "payload" and loaded.key == NETWORK_HEADER:
        return _network_selector(reading, loaded)
    if loaded.source == "payload" and loaded.key == TRANSPORT_HEADER:
        return _transport_selector(reading, loaded)
    raise UnknownExpressionError(loaded.source)


def _fib_selector(loaded: Loaded) -> Selector:
    flags = loaded.offset & ~32  # NFTA_FIB_F_PRESENT is not listed
    if flags & ~sum(_FIB_FLAGS) or loaded.key not in _FIB_RESULTS:
        raise UnknownExpressionError("fib")
    result, result_kind = _FIB_RESULTS[loaded.key]
    asked = " . ".join(word for bit, word in _FIB_FLAGS.items() if flags & bit)
    return Selector(f"fib {asked} {result}", result_kind)


def _network_selector(reading: Reading, loaded: Loaded) -> Selector:
    found, length = _NETWORK.get((reading.family or 0, loaded.offset), (None, 0))
    if found is None or loaded.length > length or (loaded.length != length and found.kind is not kind.ADDRESS):
        raise UnknownExpressionError("payload")
    reading.hide_nfproto()
    return found


def _transport_selector(reading: Reading, loaded: Loaded) -> Selector:
    proto = reading.l4proto
    found = _TRANSPORT.get((proto or 0, loaded.offset, loaded.length))
    if found is None and loaded.length == 2 and loaded.offset in (0, 2):
        end = ("sport", "dport")[loaded.offset // 2]
        header = "th" if proto is None else _PROTOCOLS_WITH_PORTS.get(proto)
        found = Selector(f"{header} {end}", kind.PORT, end) if header else None
    if found is None:
        raise UnknownExpressionError("payload")
    reading.hide_l4proto()
    if proto in (1, 58):
        reading.hide_nfproto()  # icmp is of IPv4, and icmpv6 of IPv6
    return found


# --- loads ------------------------------------------------------------------------------------------------------


def _payload(reading: Reading, a: Attributes) -> None:
    if 1 not in a or number(a[2]) == LL_HEADER:
        raise UnknownExpressionError("payload")
    reading.registers[register(a[1])] = payload(a)


def _meta(reading: Reading, a: Attributes) -> None:
    """NFTA_META_*: DREG 1, KEY 2, SREG 3."""
    if 1 in a:
        reading.registers[register(a[1])] = Loaded("meta", number(a[2]))
        return
    selector = _META[number(a[2])]
    reading.words.append(f"{selector.text} set {_value_of(reading, reading.loaded(a[3]), selector.kind)}")


def _ct(reading: Reading, a: Attributes) -> None:
    """NFTA_CT_*: DREG 1, KEY 2, DIRECTION 3, SREG 4."""
    key, direction = number(a[2]), number(a[3]) if 3 in a else None
    if 1 in a:
        reading.registers[register(a[1])] = Loaded("ct", key, direction=direction)
        return
    selector = _CT[key]
    reading.words.append(f"ct {selector.text} set {_value_of(reading, reading.loaded(a[4]), selector.kind)}")


def _fib(reading: Reading, a: Attributes) -> None:
    """NFTA_FIB_*: DREG 1, RESULT 2, FLAGS 3."""
    reading.registers[register(a[1])] = Loaded("fib", number(a[2]), offset=number(a[3]))


def _value_of(reading: Reading, loaded: Loaded, value_kind: Kind) -> str:
    """What is set: a constant, or what a register was loaded with."""
    if loaded.mask is not None:
        raise UnknownExpressionError("bitwise")
    return value_kind.spell(loaded.value) if loaded.source == "immediate" else selector_of(reading, loaded).text


def _bitwise(reading: Reading, a: Attributes) -> None:
    """NFTA_BITWISE_*: SREG 1, DREG 2, LEN 3, MASK 4, XOR 5, OP 6."""
    loaded = reading.loaded(a[1])
    xor = attributes(a[5])[1] if 5 in a else b""
    if number(a.get(6)) or any(xor) or loaded.mask is not None:
        del reading.registers[register(a[1])]
        reading.registers.pop(register(a[2]), None)
        raise UnknownExpressionError("bitwise")
    reading.registers[register(a[2])] = replace(loaded, mask=attributes(a[4])[1])


def _immediate(reading: Reading, a: Attributes) -> None:
    """NFTA_IMMEDIATE_*: DREG 1, DATA 2."""
    data = attributes(a[2])
    if register(a[1]) != VERDICT:
        reading.registers[register(a[1])] = Loaded("immediate", value=data[1])
        return
    spelled, reading.verdict = _verdict(data)
    reading.words.append(spelled)


_VERDICTS = {0: ("drop", "DROP"), 1: ("accept", "ACCEPT"), -1: ("continue", None), -5: ("return", "RETURN")}
_CHAIN_VERDICTS = {-3: "jump", -4: "goto"}


def _verdict(data: Attributes) -> tuple[str, str | None]:
    """NFTA_DATA_VERDICT 2 with CODE 1 and CHAIN 2: as nft spells it, and for facts.Rule."""
    verdict = attributes(data[2])
    code = int.from_bytes(verdict[1], "big", signed=True)
    if code in _CHAIN_VERDICTS:
        chain = name(verdict[2])
        return f"{_CHAIN_VERDICTS[code]} {chain}", chain
    return _VERDICTS[code]


# --- comparisons ------------------------------------------------------------------------------------------------


def _cmp(reading: Reading, a: Attributes) -> None:
    """NFTA_CMP_*: SREG 1, OP 2, DATA 3."""
    loaded, operator, data = reading.loaded(a[1]), number(a[2]), attributes(a[3])[1]
    before, reading.last = reading.last, (loaded, operator, data)
    if before is not None and before[0] is loaded and (before[1], operator) == (CMP_GTE, CMP_LTE):
        _finish_range(reading, loaded, before[2], data)
        return
    if _is_condition(reading, loaded, operator, data):
        return
    if loaded.mask is not None:
        _compare_masked(reading, loaded, loaded.mask, operator, data)
        return
    for part, value in parts(reading, loaded, data) if operator == CMP_EQ else [(loaded, data)]:
        _compare(reading, part, operator, value)


def parts(reading: Reading, loaded: Loaded, data: bytes) -> list[tuple[Loaded, bytes]]:
    """nft compares neighbouring fields of a header in one go: `ip saddr 10.0.0.1 ip daddr 10.0.0.2`, both ports."""
    if loaded.source != "payload":
        return [(loaded, data)]
    parts, at = [], 0
    while at < loaded.length:
        offset, length = loaded.offset + at, loaded.length - at
        if loaded.key == NETWORK_HEADER:
            length = min(length, _NETWORK.get((reading.family or 0, offset), (None, length))[1])
        elif offset == 0 and (reading.l4proto or 0, 0, 1) in _TRANSPORT:
            length = 1
        elif offset == 0 and length == 4 and reading.l4proto in _PROTOCOLS_WITH_PORTS:
            length = 2
        parts.append((replace(loaded, offset=offset, length=length), data[at : at + length]))
        at += length
    return parts


def _compare(reading: Reading, loaded: Loaded, operator: int, data: bytes) -> None:
    selector = selector_of(reading, loaded)
    value = _spell_short(selector.kind, loaded, data)
    spelled_operator = "== " if selector.kind.is_bitmask and operator == CMP_EQ else _OPERATORS[operator]
    reading.words.append(f"{selector.text} {spelled_operator}{value}")
    if operator in (CMP_EQ, CMP_NEQ):
        reading.note(selector.field, _plain(value), operator == CMP_NEQ)


def _is_condition(reading: Reading, loaded: Loaded, operator: int, data: bytes) -> bool:
    """Protocols: what they are decides how later fields are read, and they may turn out to be implied by these."""
    if operator != CMP_EQ or loaded.mask is not None:
        return False
    if loaded.source == "meta" and loaded.key == _NFPROTO:
        reading.nfproto, reading.nfproto_at = data[0], len(reading.words)
        reading.words.append(f"meta nfproto {kind.NFPROTO.spell(data)}")
        return True
    is_header = loaded.source == "payload" and loaded.key == NETWORK_HEADER
    at = loaded.offset if is_header else -1
    if not (loaded.source == "meta" and loaded.key == _L4PROTO) and (reading.family, at) not in ((2, 9), (10, 6)):
        return False
    selector = selector_of(reading, loaded)
    if (reading.nfproto, data[0]) in ((2, 1), (10, 58)):
        reading.hide_nfproto()
    # In a table of both families, `ip protocol tcp` says more than that a port is one of tcp.
    is_implied = selector is _META[_L4PROTO] or reading.rule.family != "inet"
    reading.l4proto, reading.l4proto_at = data[0], len(reading.words) if is_implied else None
    reading.words.append(f"{selector.text} {protocol(data[0])}")
    return True


def _spell_short(value_kind: Kind, loaded: Loaded, data: bytes) -> str:
    """A value; of an address that is compared by its first bytes only, the network."""
    if value_kind is kind.ADDRESS and loaded.source == "payload":
        width = 4 if loaded.offset in (12, 16) else 16
        if len(data) < width:
            return f"{address(data.ljust(width, bytes(1)))}/{len(data) * 8}"
    return value_kind.spell(data)


def _compare_masked(reading: Reading, loaded: Loaded, mask: bytes, operator: int, data: bytes) -> None:
    selector = selector_of(reading, loaded)
    if operator not in (CMP_EQ, CMP_NEQ) or len(mask) > len(data):
        raise UnknownExpressionError("bitwise")
    negation = "!= " if operator == CMP_NEQ else ""
    if selector.kind.is_bitmask:
        _compare_bits(reading, selector, mask, operator, data)
    elif selector.kind is kind.ADDRESS and prefix_length(mask) is not None:
        value = f"{address(data)}/{prefix_length(mask)}"
        reading.words.append(f"{selector.text} {negation}{value}")
        reading.note(selector.field, value, operator == CMP_NEQ)
    else:
        spell = selector.kind.spell
        reading.words.append(f"{selector.text} & {spell(mask)} {negation or '== '}{spell(data)}")


def _compare_bits(reading: Reading, selector: Selector, mask: bytes, operator: int, data: bytes) -> None:
    """`ct state new,established` is "any of these bits"; `tcp flags syn / syn,ack` "of these exactly those"."""
    if not any(data):
        negation = "! " if operator == CMP_EQ else ""
        reading.words.append(f"{selector.text} {negation}{selector.kind.spell(mask)}")
        return
    if selector.kind is not kind.TCP_FLAGS:
        raise UnknownExpressionError("bitwise")
    negation = "!= " if operator == CMP_NEQ else ""
    reading.words.append(f"{selector.text} {negation}{selector.kind.spell(data)} / {selector.kind.spell(mask)}")


def _finish_range(reading: Reading, loaded: Loaded, low: bytes, high: bytes) -> None:
    """`>= 80` and `<= 90` one after the other are `80-90`."""
    reading.words.pop()
    _add_range(reading, selector_of(reading, loaded), low, high, negated=False)


def _range(reading: Reading, a: Attributes) -> None:
    """NFTA_RANGE_*: SREG 1, OP 2 (0 is in it, 1 is not), FROM_DATA 3, TO_DATA 4."""
    selector = selector_of(reading, reading.loaded(a[1]))
    _add_range(reading, selector, attributes(a[3])[1], attributes(a[4])[1], negated=number(a[2]) == 1)


def _add_range(reading: Reading, selector: Selector, low: bytes, high: bytes, *, negated: bool) -> None:
    ends = [selector.kind.spell(low), selector.kind.spell(high)]
    reading.words.append(f"{selector.text} {'!= ' if negated else ''}{'-'.join(ends)}")
    reading.note(selector.field, (":" if selector.kind is kind.PORT else "-").join(ends), negated)


def _plain(value: str) -> str:
    """A field of facts.Rule has no quotes; `eth+` for nft's `"eth*"`, as iptables spells it."""
    if value.startswith('"'):
        value = value[1:-1]
        return value[:-1] + "+" if value.endswith("*") and not value.endswith("\\*") else value
    return value


# --- sets and maps ----------------------------------------------------------------------------------------------


def _lookup(reading: Reading, a: Attributes) -> None:
    """NFTA_LOOKUP_*: SET 1, SREG 2, DREG 3 (of a map), FLAGS 5 (1 not in it)."""
    set_name, negated = name(a[1]), bool(number(a.get(5)) & 1)
    loaded = reading.loaded(a[2])
    is_verdict_map = 3 in a and register(a[3]) == VERDICT
    if 3 in a and not is_verdict_map:
        reading.registers.pop(register(a[3]), None)
        raise UnknownExpressionError("lookup")
    selector = selector_of(reading, loaded)
    if loaded.mask is not None:
        raise UnknownExpressionError("lookup")
    known = reading.speller.set(reading.rule, set_name)
    if known is None:
        raise UnknownExpressionError("lookup")
    if not known.flags & _ANONYMOUS:
        values, plain = f"@{set_name}", f"@{set_name}"
    else:
        if known.key_length != _key_length(selector, loaded):
            raise UnknownExpressionError("lookup")  # several fields in one key
        found = reading.speller.elements(reading.rule, set_name)
        spelled = _intervals(found, selector.kind) if known.flags & _INTERVAL else _singles(found, selector.kind)
        values = f"{{ {', '.join(key + value for key, value in spelled)} }}"
        plain = ",".join(_plain(key) for key, _value in spelled)
    reading.words.append(f"{selector.text} {'vmap ' if is_verdict_map else ''}{'!= ' if negated else ''}{values}")
    if not is_verdict_map:
        reading.note(selector.field, plain, negated)


def _key_length(selector: Selector, loaded: Loaded) -> int:
    """Bytes of a key of one field."""
    if loaded.source == "payload":
        return loaded.length
    if selector.kind is kind.INTERFACE_NAME:
        return 16
    if selector.kind is kind.ADDRESS:
        return 4 if selector.text.endswith(("ip saddr", "ip daddr")) else 16
    lengths = {kind.PROTOCOL: 1, kind.NFPROTO: 1, kind.PACKET_TYPE: 1, kind.CT_DIRECTION: 1, kind.PORT: 2}
    return next((length for of, length in lengths.items() if of is selector.kind), 4)


def _order(element: Element, value_kind: Kind) -> int:
    """nft lists elements by their value, as a number."""
    return kind.host_integer(element.key) if value_kind.host_order else kind.integer(element.key)


def _mapped(element: Element) -> str:
    return f" : {_verdict(element.data)[0]}" if element.data else ""


def _singles(found: list[Element], value_kind: Kind) -> list[tuple[str, str]]:
    """The keys, with " : verdict" of a map."""
    if any(element.key_end is not None for element in found):
        raise UnknownExpressionError("lookup")
    ordered = sorted(found, key=lambda element: _order(element, value_kind))
    return [(value_kind.spell(element.key), _mapped(element)) for element in ordered]


def _intervals(found: list[Element], value_kind: Kind) -> list[tuple[str, str]]:
    """An interval is two elements: its first value, and (marked) the first after it."""
    if value_kind.host_order or any(element.key_end is not None for element in found):
        raise UnknownExpressionError("lookup")
    if len({len(element.key) for element in found}) > 1:
        raise UnknownExpressionError("lookup")
    spelled: list[tuple[str, str]] = []
    start: Element | None = None
    for element in sorted(found, key=lambda e: (_order(e, value_kind), not e.flags & _INTERVAL_END)):
        if element.flags & _INTERVAL_END:
            if start is not None:
                spelled.append((_interval(start.key, _order(element, value_kind) - 1, value_kind), _mapped(start)))
            start = None
        else:
            start = element
    if start is not None:  # to the last value that there is
        last = (1 << len(start.key) * 8) - 1
        spelled.append((_interval(start.key, last, value_kind), _mapped(start)))
    return spelled


def _interval(low: bytes, last: int, value_kind: Kind) -> str:
    first, size = kind.integer(low), last - kind.integer(low) + 1
    if size == 1:
        return value_kind.spell(low)
    if value_kind is kind.ADDRESS and size & (size - 1) == 0 and first % size == 0:
        return f"{address(low)}/{len(low) * 8 - size.bit_length() + 1}"
    return f"{value_kind.spell(low)}-{value_kind.spell(last.to_bytes(len(low), 'big'))}"


# --- statements -------------------------------------------------------------------------------------------------


def _counter(reading: Reading, a: Attributes) -> None:
    """NFTA_COUNTER_*: BYTES 1, PACKETS 2."""
    reading.packets, reading.octets = number(a[2]), number(a[1])
    reading.words.append(f"counter packets {reading.packets} bytes {reading.octets}")


def _notrack(reading: Reading, _a: Attributes) -> None:
    reading.words.append("notrack")


_UNITS = {1: "second", 60: "minute", 3_600: "hour", 86_400: "day", 604_800: "week"}


def _octets(count: int) -> str:
    unit, size = next(u for u in (("mbytes", 1 << 20), ("kbytes", 1 << 10), ("bytes", 1)) if count % u[1] == 0)
    return f"{count // size} {unit}"


def _limit(reading: Reading, a: Attributes) -> None:
    """NFTA_LIMIT_*: RATE 1, UNIT 2, BURST 3, TYPE 4 (0 packets, 1 bytes), FLAGS 5 (1 over)."""
    rate, burst, unit = number(a[1]), number(a[3]), _UNITS[number(a[2])]
    over = "over " if number(a.get(5)) & 1 else ""
    if number(a.get(4)) == 0:
        spelled = f"limit rate {over}{rate}/{unit}"
        spelled += f" burst {burst} packets" if burst not in (0, 5) else ""  # 5 is nft's default
    else:
        spelled = f"limit rate {over}{_octets(rate)}/{unit}"
        spelled += f" burst {_octets(burst)}" if burst not in (0, 5) else ""
    reading.words.append(spelled)


_LOG_FLAGS = ((4, "ip options"), (8, "skuid"), (32, "ether"))


def _log(reading: Reading, a: Attributes) -> None:
    """NFTA_LOG_*: GROUP 1, PREFIX 2, SNAPLEN 3, QTHRESHOLD 4, LEVEL 5, FLAGS 6."""
    spelled = "log"
    spelled += f' prefix "{name(a[2])}"' if 2 in a else ""
    spelled += f" group {number(a[1])}" if 1 in a else ""
    spelled += f" snaplen {number(a[3])}" if number(a.get(3)) else ""
    spelled += f" queue-threshold {number(a[4])}" if number(a.get(4)) else ""
    level, flags = number(a.get(5), 4), number(a.get(6))
    spelled += f" level {kind.LOG_LEVELS[level]}" if level != 4 else ""  # warn is the default
    if flags == 47:
        spelled += " flags all"
    else:
        tcp = ",".join(word for bit, word in ((1, "sequence"), (2, "options")) if flags & bit)
        spelled += f" flags tcp {tcp}" if tcp else ""
        spelled += "".join(f" flags {word}" for bit, word in _LOG_FLAGS if flags & bit)
    reading.words.append(spelled)


_NAT_FLAGS = {4: "random", 16: "fully-random", 8: "persistent"}  # NF_NAT_RANGE_*
_IMPLIED_FLAGS = 1 | 2  # MAP_IPS, PROTO_SPECIFIED: seen from the registers


def _nat_flags(flags: int) -> str:
    flags &= ~_IMPLIED_FLAGS
    return f" {bit_names(flags, _NAT_FLAGS)}" if flags else ""


def _constant(reading: Reading, raw: bytes | None) -> bytes | None:
    if raw is None:
        return None
    loaded = reading.loaded(raw)
    if loaded.source != "immediate" or loaded.mask is not None:
        raise UnknownExpressionError("nat")
    return loaded.value


def _port_range(low: bytes | None, high: bytes | None) -> str:
    """`:80`, `:80-90` or nothing; in a register a port has two bytes."""
    if low is None:
        return ""
    first = kind.integer(low[:2])
    last = first if high is None else kind.integer(high[:2])
    return f":{first}" if first == last else f":{first}-{last}"


_NAT_VERDICTS = {0: ("snat", "SNAT"), 1: ("dnat", "DNAT")}
_NAT_FAMILIES = {2: (4, "ip "), 10: (16, "ip6 ")}


def _nat(reading: Reading, a: Attributes) -> None:
    """NFTA_NAT_*: TYPE 1, FAMILY 2, REG_ADDR_MIN 3, MAX 4, REG_PROTO_MIN 5, MAX 6, FLAGS 7."""
    word, reading.verdict = _NAT_VERDICTS[number(a[1])]
    flags = number(a.get(7))
    if flags & ~(_IMPLIED_FLAGS | sum(_NAT_FLAGS)):
        raise UnknownExpressionError("nat")  # netmap, prefix maps
    width, family = _NAT_FAMILIES.get(number(a.get(2)), (0, ""))
    low, high = _constant(reading, a.get(3)), _constant(reading, a.get(4))
    port = _port_range(_constant(reading, a.get(5)), _constant(reading, a.get(6)))
    where, to = "", ""
    if low is not None:
        low, high = low[:width], (high or low)[:width]
        where, to = _addresses(low, high, bool(port))
    if where or port:
        shown_family = family if reading.rule.family == "inet" else ""
        word += f" {shown_family}to {where}{port}"
        reading.note("to", to + port)
    reading.words.append(word + _nat_flags(flags))


def _addresses(low: bytes, high: bytes, has_port: bool) -> tuple[str, str]:
    """A range of addresses as nft spells it, and as iptables does (for facts.Rule): brackets where a port follows."""
    if len(low) == 16 and has_port:
        if low == high:
            return (f"[{address(low)}]",) * 2
        return f"[{address(low)}]-[{address(high)}]", f"[{address(low)}-{address(high)}]"
    if low == high:
        return (address(low),) * 2
    size = kind.integer(high) - kind.integer(low) + 1
    plain = f"{address(low)}-{address(high)}"
    is_network = size > 1 and size & (size - 1) == 0 and kind.integer(low) % size == 0
    return (f"{address(low)}/{len(low) * 8 - size.bit_length() + 1}" if is_network else plain), plain


def _masquerade(reading: Reading, a: Attributes) -> None:
    """NFTA_MASQ_*: FLAGS 1, REG_PROTO_MIN 2, REG_PROTO_MAX 3."""
    _to_port(reading, "masquerade", "MASQUERADE", a.get(1), a.get(2), a.get(3))


def _redirect(reading: Reading, a: Attributes) -> None:
    """NFTA_REDIR_*: REG_PROTO_MIN 1, REG_PROTO_MAX 2, FLAGS 3."""
    _to_port(reading, "redirect", "REDIRECT", a.get(3), a.get(1), a.get(2))


def _to_port(
    reading: Reading, word: str, verdict: str, flags: bytes | None, low: bytes | None, high: bytes | None
) -> None:
    reading.verdict = verdict
    port = _port_range(_constant(reading, low), _constant(reading, high))
    if port:
        word += f" to {port}"
        reading.note("to", port)
    reading.words.append(word + _nat_flags(number(flags)))


_REJECT_DEFAULT = {2: 3, 10: 4}  # port unreachable, by NFPROTO_*: not listed
_REJECT_CODES = {2: ("icmp", kind.ICMP_CODES), 10: ("icmpv6", kind.ICMPV6_CODES)}


def _reject(reading: Reading, a: Attributes) -> None:
    """NFTA_REJECT_*: TYPE 1 (0 ICMP, 1 TCP reset, 2 either ICMP), ICMP_CODE 2."""
    reading.verdict = "REJECT"
    how, code = number(a[1]), number(a.get(2))
    of_one_family = reading.rule.family in ("ipv4", "ipv6")
    spelled = "reject"
    if how == 1:
        spelled += " with tcp reset"
        if of_one_family:
            reading.hide_l4proto()
    elif how == 2:
        spelled += "" if code == 1 else f" with icmpx {kind.ICMPX_CODES[code]}"
    else:
        family = reading.family or 0
        word, codes = _REJECT_CODES[family]
        if not of_one_family or code != _REJECT_DEFAULT[family]:
            spelled += f" with {word} {codes[code]}"
        reading.hide_nfproto()
    reading.words.append(spelled)


_Handler = Callable[[Reading, Attributes], Any]
_HANDLERS: dict[str, _Handler] = {
    "bitwise": _bitwise,
    "cmp": _cmp,
    "counter": _counter,
    "ct": _ct,
    "fib": _fib,
    "immediate": _immediate,
    "limit": _limit,
    "log": _log,
    "lookup": _lookup,
    "masq": _masquerade,
    "meta": _meta,
    "nat": _nat,
    "notrack": _notrack,
    "payload": _payload,
    "range": _range,
    "redir": _redirect,
    "reject": _reject,
}
