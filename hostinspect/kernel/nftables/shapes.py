"""Rules of iptables-nft that are alike: what one of them has taught is used for the next, without reading it again.

Of a thousand published ports, and of a thousand containers with their embedded DNS, the rules are the same message but
for an address, a port, the bytes of a target, counters and the rule's own handle. A *shape* is such a message with
these places left open. A message that fits has the same attributes at the same places, so all that is left is to spell
what stands in them.

A shape is made by reading a rule in the plain way (`iptables.step`, `iptables.write`) with a marker in each place, and
looking where the markers came out; where one did not come out as it went in, there is no shape. So a shape says what
the plain way says, which tests/unit/test_nftables.py holds it to.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import lru_cache
from operator import itemgetter
from struct import Struct as Layout
from typing import Any

from msgspec import Struct

from hostinspect import facts
from hostinspect.kernel import xtables
from hostinspect.kernel.netlink import attribute_list
from hostinspect.kernel.nftables import iptables
from hostinspect.kernel.nftables.messages import FAMILIES, NFGENMSG, name
from hostinspect.kernel.nftables.registers import CMP_EQ, CMP_NEQ, NETWORK_HEADER, TRANSPORT_HEADER
from hostinspect.kernel.xtables.extension import Clause, UnknownError
from hostinspect.kernel.xtables.rule import RuleText
from hostinspect.kernel.xtables.spelling import address

_OF_A_LENGTH = 8  # shapes of messages of one length, each of which is compared with them in turn
_LENGTHS = 256

Span = tuple[int, int]
Positions = dict[tuple[facts.Family, str, str], int]

_ADDRESSES = {  # by family, offset in struct iphdr or ip6_hdr, and bytes
    ("ipv4", 12, 4): "source",
    ("ipv4", 16, 4): "destination",
    ("ipv6", 8, 16): "source",
    ("ipv6", 24, 16): "destination",
}
_ENDS = {0: "source", 2: "destination"}  # of the ports, by offset in struct tcphdr or udphdr
_IN_CONTEXT = ("set", "SET")  # their bytes mean something only in one namespace
_PORT_MATCHES = ("tcp", "udp")  # what iptables before 1.8.8 wrote instead of comparisons


# A place whose value is spelled alike in the text and in one field: which part of the unpacked message it is, how it is
# spelled, the field, and "!" where it is negated.
Value = tuple[int, Callable[[Any], str], str, str]

# A place with the bytes of a match or target: which part it is, what decodes it, its name and revision, and the names
# of the fields that it has in this shape.
Decode = Callable[[str, int, bytes, facts.Family], Clause]
Extension = tuple[int, Decode, str, int, list[str]]


class Shape(Struct, frozen=True):
    """What is the same in all rules of a shape, and where they differ."""

    family: facts.Family
    table: tuple[facts.Family, str]
    chain: tuple[facts.Family, str, str]
    unpack: Callable[[bytes], tuple[Any, ...]]  # a message of this length into its parts
    common: Callable[[tuple[Any, ...]], tuple[bytes, ...]]  # those that are the same
    expected: tuple[bytes, ...]
    text: str  # with %s for each of `values`, then each of `extensions`
    fields: dict[str, Any]  # of facts.Rule, the same in all
    values: tuple[Value, ...]
    extensions: tuple[Extension, ...]
    counters: tuple[int, int] | None  # the parts with packets and bytes


class Shapes:
    """The shapes that were met, by the length of their messages. What is met for the first time teaches nothing: most
    rules of most hosts have no second of their kind."""

    def __init__(self) -> None:
        self._known: dict[int, list[Shape]] = {}
        self._met: dict[int, int] = {}  # how many messages of a length had no shape

    def rule(
        self, body: bytes, netns: int, positions: Positions, foreign: Container[tuple[facts.Family, str]]
    ) -> facts.Rule | None:
        """The record of a rule of a shape that is known, counted in `positions`; None, and not counted, for others and
        for those in a table of `foreign`."""
        for shape in self._known.get(len(body), ()):
            parts = shape.unpack(body)
            if shape.common(parts) == shape.expected:
                return None if shape.table in foreign else _rule(shape, parts, netns, positions)
        return None

    def learn(self, body: bytes) -> None:
        """From a rule that iptables made, as the plain way has found, and that has no shape yet."""
        length = len(body)
        met = self._met.get(length)
        if met is None:
            if len(self._met) < _LENGTHS:
                self._met[length] = 0
        elif met < _OF_A_LENGTH:
            self._met[length] = met + 1
            shape = make(body)
            if shape is not None:
                self._known.setdefault(length, []).append(shape)


def _rule(shape: Shape, parts: tuple[Any, ...], netns: int, positions: Positions) -> facts.Rule | None:
    """None where an extension's bytes are of a kind that is not this shape's."""
    fields = shape.fields.copy()
    spelled = []
    for part, spell, field, sign in shape.values:
        value = spell(parts[part])
        spelled.append(value)
        fields[field] = sign + value
    for part, decode, extension, revision, names in shape.extensions:
        try:
            text, pairs, alias = decode(extension, revision, parts[part], shape.family)
        except UnknownError:
            return None
        if alias is not None or [of_rule for of_rule, _ in pairs] != names:
            return None
        spelled.append(text)
        fields.update(pairs)
    if shape.counters is not None:
        fields["packets"], fields["bytes"] = parts[shape.counters[0]], parts[shape.counters[1]]
    chain = shape.chain
    position = positions[chain] = positions.get(chain, 0) + 1
    return facts.Rule(netns=netns, position=position, text=shape.text % (*spelled,), **fields)


_address = lru_cache(maxsize=4096)(address)
SHAPES = Shapes()  # of all namespaces


# --- making one -------------------------------------------------------------------------------------------------


class _Place(Struct, frozen=True):
    span: Span
    code: str  # of struct
    marker: str  # begins and ends with a NUL, which no string of a rule has
    spell: Callable[[Any], str] = str
    extension: tuple[Decode, str, int, list[str]] | None = None


class _MarkedPort(int):
    """A port that is spelled as a marker."""

    marker: str

    def __str__(self) -> str:
        return self.marker


def make(body: bytes) -> Shape | None:
    """The shape of a rule; None where its places cannot be told for certain."""
    try:
        return _Maker(body).shape()
    except (iptables.NotIptablesError, UnknownError, KeyError, ValueError, IndexError):
        return None


class _Maker:
    """Reads one rule with a marker in each place."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.reading = iptables.Reading(FAMILIES[body[0]])
        self.skipped: list[Span] = [(2, NFGENMSG)]  # the generation
        self.values: list[_Place] = []
        self.extensions: list[_Place] = []
        self.counters: list[Span] = []  # packets, bytes
        self.marked: list[tuple[list[int], _MarkedPort]] = []  # what a port's place has set: both ends of a range

    def shape(self) -> Shape:
        """Raises NotIptablesError, UnknownError, KeyError, ValueError, IndexError: there is none."""
        body = self.body
        of_rule = _spans(body, (NFGENMSG, len(body)))
        self.skipped += [of_rule[kind] for kind in (3, 6) if kind in of_rule]  # NFTA_RULE_HANDLE, POSITION
        for _kind, span in _span_list(body, of_rule[4]):  # NFTA_RULE_EXPRESSIONS
            self._read(span)
        if any(end is not port for ends, port in self.marked for end in ends):
            raise ValueError("a port that another comparison narrows")
        table, chain = (name(body[slice(*of_rule[kind])]) for kind in (1, 2))  # NFTA_RULE_TABLE, CHAIN
        userdata = body[slice(*of_rule[7])] if 7 in of_rule else b""  # NFTA_RULE_USERDATA
        return self._assemble(iptables.write(self.reading, chain, userdata), table, chain)

    def _read(self, span: Span) -> None:
        """An expression (NFTA_LIST_ELEM), as `iptables.spell` does, but for its places."""
        do, arguments = iptables.step(self.body[slice(*span)])
        inside = _spans(self.body, span)
        of_expression = _spans(self.body, inside[2]) if 2 in inside else {}  # NFTA_EXPR_DATA
        if do is iptables.compare and self._is_place(*arguments):
            self._compare(of_expression, *arguments)
            return
        if do is iptables.count:
            self._count(of_expression)
        elif do is iptables.add_match:
            arguments = self._extension(xtables.match, of_expression, *arguments)
        elif do is iptables.set_target:
            arguments = self._extension(xtables.target, of_expression, *arguments)
        do(self.reading, *arguments)

    def _count(self, of_expression: dict[int, Span]) -> None:
        if self.counters:
            raise ValueError("two counters")
        self.counters = [of_expression[2], of_expression[1]]  # NFTA_COUNTER_PACKETS, BYTES
        if any(end - start != 8 for start, end in self.counters):
            raise ValueError("a counter of another length")

    def _extension(
        self,
        decode: Decode,
        of_expression: dict[int, Span],
        extension: str,
        *rest: Any,
    ) -> tuple[Any, ...]:
        """The arguments of a match or target, with a marker for what its bytes say where these are a place."""
        if extension in _IN_CONTEXT:
            raise ValueError("a set")
        is_place = decode is xtables.target or extension in _PORT_MATCHES
        if not is_place or len(rest) != 2 or 3 not in of_expression:  # NFTA_MATCH_INFO, NFTA_TARGET_INFO
            return extension, *rest
        revision, info = rest
        clause = decode(extension, revision, info, self.reading.family)
        if clause.name is not None:
            return extension, *rest
        names = [of_rule for of_rule, _ in clause.fields]
        span, marker = of_expression[3], self._marker()
        self.extensions.append(_Place(span, f"{len(info)}s", marker, extension=(decode, extension, revision, names)))
        return extension, Clause(marker, tuple((of_rule, marker + of_rule) for of_rule in names))

    def _is_place(self, source: int, operator: int, data: bytes) -> bool:
        """Whether it is a comparison with one whole address, or with one port."""
        loaded = self.reading.registers[source]
        if loaded.source != "payload" or loaded.mask is not None or operator not in (CMP_EQ, CMP_NEQ):
            return False
        if loaded.key == NETWORK_HEADER:
            return len(data) == loaded.length and (self.reading.family, loaded.offset, len(data)) in _ADDRESSES
        is_port = loaded.key == TRANSPORT_HEADER and loaded.offset in _ENDS and len(data) == 2
        return is_port and self.reading.protocol in ((iptables.TCP, False), (iptables.UDP, False))

    def _compare(self, of_expression: dict[int, Span], source: int, operator: int, data: bytes) -> None:
        """A comparison with a place. A marker is left where it put the value."""
        reading = self.reading
        iptables.compare(reading, source, operator, data)
        loaded, marker = reading.registers[source], self._marker()
        span = _spans(self.body, of_expression[3])[1]  # NFTA_CMP_DATA, NFTA_DATA_VALUE
        if loaded.key == NETWORK_HEADER:
            of_reading = _ADDRESSES[reading.family, loaded.offset, len(data)]
            setattr(reading, of_reading, (marker, *getattr(reading, of_reading)[1:]))
            self.values.append(_Place(span, f"{len(data)}s", marker, _address))
        else:
            port = _MarkedPort.from_bytes(data, "big")
            port.marker = marker
            ends = getattr(reading.ports, _ENDS[loaded.offset])
            ends[:] = (port, port)
            self.marked.append((ends, port))
            self.values.append(_Place(span, "H", marker))

    def _marker(self) -> str:
        return f"\0{len(self.values) + len(self.extensions)}\0"

    def _assemble(self, spelled: RuleText, table: str, chain: str) -> Shape:
        pieces = spelled.text.split("\0")
        in_text = [f"\0{piece}\0" for piece in pieces[1::2]]
        self.values.sort(key=lambda place: in_text.index(place.marker))
        self.extensions.sort(key=lambda place: in_text.index(place.marker))
        if in_text != [place.marker for place in (*self.values, *self.extensions)]:
            raise ValueError("a place is spelled twice, or out of turn")
        codes, parts, common = self._layout()
        layout = Layout(codes)
        fields = spelled.fields.copy()
        values = tuple((parts[place.span], place.spell, *_taken(fields, place.marker)) for place in self.values)
        extensions = []
        for place in self.extensions:
            assert place.extension is not None
            extensions.append((parts[place.span], *place.extension))
            for of_rule in place.extension[3]:
                if fields.pop(of_rule) != place.marker + of_rule:
                    raise ValueError("a field that another has set")
        if any("\0" in value for value in fields.values()):
            raise ValueError("a place is in two fields")
        family = self.reading.family
        return Shape(
            family=family,
            table=(family, table),
            chain=(family, table, chain),
            unpack=layout.unpack,
            common=itemgetter(*common),
            expected=itemgetter(*common)(layout.unpack(self.body)),
            text="%s".join(piece.replace("%", "%%") for piece in pieces[::2]),
            fields={
                "family": family,
                "backend": "nft",
                "table": table,
                "chain": chain,
                "verdict": spelled.verdict,
                "exact": spelled.exact,
                **fields,
            },
            values=values,
            extensions=tuple(extensions),
            counters=(parts[self.counters[0]], parts[self.counters[1]]) if self.counters else None,
        )

    def _layout(self) -> tuple[str, dict[Span, int], list[int]]:
        """The message as a format of struct; which part each place is; which parts are what all have in common."""
        places = [(span, "x" * (span[1] - span[0])) for span in self.skipped]
        places += [(span, "Q") for span in self.counters]
        places += [(place.span, place.code) for place in (*self.values, *self.extensions)]
        parts: dict[Span, int] = {}
        common: list[int] = []
        codes, at = ">", 0
        for span, code in sorted([*places, ((len(self.body),) * 2, "")]):
            if span[0] < at:
                raise ValueError("places that overlap")
            if span[0] > at:
                codes += f"{span[0] - at}s"
                common.append(len(parts) + len(common))
            if "x" not in code:
                parts[span] = len(parts) + len(common)
            codes += code
            at = span[1]
        return codes, parts, common


def _taken(fields: dict[str, str], marker: str) -> tuple[str, str]:
    """The field that has a marker for its value, and its sign; it is taken out of `fields`."""
    for of_rule, value in fields.items():
        if value in (marker, f"!{marker}"):
            del fields[of_rule]
            return of_rule, value[: -len(marker)]
    raise ValueError("a place without a field")


def _span_list(body: bytes, within: Span) -> list[tuple[int, Span]]:
    """As `hostinspect.kernel.netlink.attribute_list`: where the payloads are."""
    found, (at, end) = [], within
    for kind, payload in attribute_list(body[:end], at):
        found.append((kind, (at + 4, at + 4 + len(payload))))
        at += 4 + len(payload) + 3 & ~3
    return found


def _spans(body: bytes, within: Span) -> dict[int, Span]:
    """As `hostinspect.kernel.netlink.attributes`: where the payloads are. ValueError where a type is there twice."""
    found = _span_list(body, within)
    if len({kind for kind, _ in found}) != len(found):
        raise ValueError("an attribute is there twice")
    return dict(found)
