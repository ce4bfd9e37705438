"""Rules that are alike: what one of them has taught is used for the next, without reading it again.

Of a thousand published ports, and of a thousand containers with their embedded DNS, the rules are the same message but
for an address, a port, the bytes of a target, counters and the rule's own handle. A *shape* is such a message with
these places left open. A message that fits has the same attributes at the same places, so all that is left is to spell
what stands in them.

A shape is made by reading a rule in the plain way (`iptables` or `native`) with a marker in each place, and looking
where the markers came out; where one did not come out as it went in, there is no shape. So a shape says what the plain
way says, which tests/unit/test_nftables.py holds it to.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import lru_cache
from operator import itemgetter
from struct import Struct as Layout
from typing import Any

from msgspec import Struct
from msgspec.structs import force_setattr

from hostinspect import facts
from hostinspect.kernel import xtables
from hostinspect.kernel.met import Met
from hostinspect.kernel.netlink import attribute_list
from hostinspect.kernel.nftables import iptables
from hostinspect.kernel.nftables.messages import FAMILIES, NFGENMSG, Attributes, Rule, name, number
from hostinspect.kernel.nftables.registers import CMP_EQ, CMP_NEQ, NETWORK_HEADER, TRANSPORT_HEADER, VERDICT, register
from hostinspect.kernel.xtables.extension import Clause, UnknownError
from hostinspect.kernel.xtables.spelling import address

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
_FREE_OF_CONTEXT = frozenset(  # of nft's expressions: no sets, and nothing that may be an interface's index
    {
        "bitwise",
        "cmp",
        "counter",
        "ct",
        "immediate",
        "limit",
        "log",
        "masq",
        "meta",
        "nat",
        "notrack",
        "payload",
        "redir",
        "reject",
    }
)
_META_OF_CONTEXT = (4, 5)  # NFT_META_IIF, OIF: spelled by name
_FAMILY = {2: "ipv4", 10: "ipv6"}
_PORT_MATCHES = ("tcp", "udp")  # what iptables before 1.8.8 wrote instead of comparisons


# A place whose value is spelled alike in the text and in one field: which part of the unpacked message it is, how it is
# spelled, the field or "" where it has none of its own, and "!" where it is negated.
Value = tuple[int, Callable[[Any], str], str, str]
# A field with several values: its name, a %s for each, and which of the shape's they are.
Joined = tuple[str, str, list[int]]

# A place with the bytes of a match or target: which part it is, what decodes it, its name and revision, and the names
# of the fields that it has in this shape.
Decode = Callable[[str, int, bytes, facts.Family], Clause]
Extension = tuple[int, Decode, str, int, list[str]]


class Shape(Struct, frozen=True):
    """What is the same in all rules of a shape, and where they differ."""

    family: facts.Family
    is_foreign: bool  # of a table that iptables has not made
    table: tuple[facts.Family, str]
    chain: tuple[facts.Family, str, str]
    unpack: Callable[[bytes], tuple[Any, ...]]  # a message of this length into its parts
    common: Callable[[tuple[Any, ...]], tuple[bytes, ...]]  # those that are the same
    expected: tuple[bytes, ...]
    text: str  # with %s for each of `values`, then each of `extensions`
    copy: Callable[[], facts.Rule]  # of a record with what is the same in all
    values: tuple[Value, ...]
    joined: tuple[Joined, ...]
    extensions: tuple[Extension, ...]
    counters: tuple[int, int] | None  # the parts with packets and bytes


class Shapes:
    """The shapes that were met, by the length of their messages."""

    def __init__(self) -> None:
        self._known: dict[int, list[Shape]] = {}
        self._met = Met()

    def rule(
        self, body: bytes, netns: int, positions: Positions, foreign: Container[tuple[facts.Family, str]]
    ) -> facts.Rule | None:
        """The record of a rule of a shape that is known, counted in `positions`; None, and not counted, for others.

        `foreign` are the tables that iptables has not made, whose rules have other shapes.
        """
        for shape in self._known.get(len(body), ()):
            parts = shape.unpack(body)
            if shape.common(parts) == shape.expected and (shape.table in foreign) is shape.is_foreign:
                return _rule(shape, parts, netns, positions)
        return None

    def learn(self, body: bytes, *, foreign: bool) -> None:
        """From a rule that has no shape yet, and that iptables has made, or that is in a foreign table."""
        length = len(body)
        if self._met.is_to_learn(length):
            shape = make(body, foreign=foreign)
            if shape is not None:
                self._known.setdefault(length, []).append(shape)


def _rule(shape: Shape, parts: tuple[Any, ...], netns: int, positions: Positions) -> facts.Rule | None:
    """None where an extension's bytes are of a kind that is not this shape's."""
    record = shape.copy()
    put = force_setattr  # the record is ours alone until we return
    spelled = []
    for part, spell, field, sign in shape.values:
        value = spell(parts[part])
        spelled.append(value)
        if field:
            put(record, field, sign + value)
    for field, form, which in shape.joined:
        put(record, field, form % (*[spelled[n] for n in which],))
    for part, decode, extension, revision, names in shape.extensions:
        try:
            clause = decode(extension, revision, parts[part], shape.family)
        except UnknownError:
            return None
        if clause.name is not None or [of_rule for of_rule, _ in clause.fields] != names:
            return None
        spelled.append(clause.text)
        for field, value in clause.fields:
            put(record, field, value)
    if shape.counters is not None:
        packets, octets = shape.counters
        put(record, "packets", parts[packets])
        put(record, "bytes", parts[octets])
    chain = shape.chain
    position = positions[chain] = positions.get(chain, 0) + 1
    put(record, "netns", netns)
    put(record, "position", position)
    put(record, "text", shape.text % (*spelled,))
    return record


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


def make(body: bytes, *, foreign: bool) -> Shape | None:
    """The shape of a rule; None where its places cannot be told for certain."""
    try:
        return (_OfNative(body) if foreign else _OfIptables(body)).shape()
    except (iptables.NotIptablesError, UnknownError, KeyError, ValueError, IndexError):
        return None


class _Maker:
    """Reads one rule with a marker in each place."""

    is_foreign: bool

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.family = FAMILIES[body[0]]
        self.of_rule = _spans(body, (NFGENMSG, len(body)))
        self.expressions = [span for _kind, span in _span_list(body, self.of_rule[4])]  # NFTA_RULE_EXPRESSIONS
        self.table, self.chain = (name(body[slice(*self.of_rule[kind])]) for kind in (1, 2))  # NFTA_RULE_TABLE, CHAIN
        self.userdata = body[slice(*self.of_rule[7])] if 7 in self.of_rule else b""  # NFTA_RULE_USERDATA
        self.values: list[_Place] = []
        self.extensions: list[_Place] = []
        self.counters: list[Span] = []  # packets, bytes

    def of_expression(self, span: Span) -> dict[int, Span]:
        """The attributes in an expression's NFTA_EXPR_DATA."""
        inside = _spans(self.body, span)
        return _spans(self.body, inside[2]) if 2 in inside else {}

    def _count(self, of_expression: dict[int, Span]) -> None:
        if self.counters:
            raise ValueError("two counters")
        self.counters = [of_expression[2], of_expression[1]]  # NFTA_COUNTER_PACKETS, BYTES
        if any(end - start != 8 for start, end in self.counters):
            raise ValueError("a counter of another length")

    def _marker(self) -> str:
        return f"\0{len(self.values) + len(self.extensions)}\0"

    def _value(self, span: Span, code: str, spell: Callable[[Any], str] = str) -> str:
        """The marker of one more value."""
        self.values.append(_Place(span, code, self._marker(), spell))
        return self.values[-1].marker

    def _assemble(self, text: str, fields: dict[str, str], verdict: str | None, exact: bool) -> Shape:
        pieces = text.split("\0")
        in_text = [f"\0{piece}\0" for piece in pieces[1::2]]
        self.values.sort(key=lambda place: in_text.index(place.marker))
        self.extensions.sort(key=lambda place: in_text.index(place.marker))
        if in_text != [place.marker for place in (*self.values, *self.extensions)]:
            raise ValueError("a place is spelled twice, or out of turn")
        codes, parts, common = self._layout()
        layout = Layout(codes)
        fields = fields.copy()
        extensions = []
        for place in self.extensions:
            assert place.extension is not None
            extensions.append((parts[place.span], *place.extension))
            for of_rule in place.extension[3]:
                if fields.pop(of_rule) != place.marker + of_rule:
                    raise ValueError("a field that another has set")
        own, joined = self._fields(fields)
        the_same: dict[str, Any] = {**fields}
        return Shape(
            family=self.family,
            is_foreign=self.is_foreign,
            table=(self.family, self.table),
            chain=(self.family, self.table, self.chain),
            unpack=layout.unpack,
            common=itemgetter(*common),
            expected=itemgetter(*common)(layout.unpack(self.body)),
            text="%s".join(piece.replace("%", "%%") for piece in pieces[::2]),
            copy=facts.Rule(
                netns=0,
                family=self.family,
                backend="nft",
                table=self.table,
                chain=self.chain,
                position=0,
                text="",
                verdict=verdict,
                exact=exact,
                **the_same,
            ).__copy__,  # type: ignore[attr-defined]
            values=tuple((parts[place.span], place.spell, *own.get(place.marker, ("", ""))) for place in self.values),
            joined=tuple(joined),
            extensions=tuple(extensions),
            counters=(parts[self.counters[0]], parts[self.counters[1]]) if self.counters else None,
        )

    def _fields(self, fields: dict[str, str]) -> tuple[dict[str, tuple[str, str]], list[Joined]]:
        """Field and sign of each value that has one of its own, by its marker, and the fields of several. All of these
        are taken out of `fields`."""
        order = {place.marker: n for n, place in enumerate(self.values)}
        own: dict[str, tuple[str, str]] = {}
        joined: list[Joined] = []
        for field, value in list(fields.items()):
            pieces = value.split("\0")
            markers = [f"\0{piece}\0" for piece in pieces[1::2]]
            if not markers:
                continue
            if len(markers) == 1 and pieces[0] in ("", "!") and not pieces[2] and markers[0] not in own:
                own[markers[0]] = field, pieces[0]
            else:
                form = "%s".join(piece.replace("%", "%%") for piece in pieces[::2])
                joined.append((field, form, [order[marker] for marker in markers]))
            del fields[field]
        return own, joined

    def _layout(self) -> tuple[str, dict[Span, int], list[int]]:
        """The message as a format of struct; which part each place is; which parts are what all have in common."""
        # The generation; NFTA_RULE_HANDLE and POSITION, which is the handle of the rule before.
        skipped = [(2, NFGENMSG), *(self.of_rule[kind] for kind in (3, 6) if kind in self.of_rule)]
        places = {span: "x" * (span[1] - span[0]) for span in skipped}
        places.update(dict.fromkeys(self.counters, "Q"))
        places.update({place.span: place.code for place in (*self.values, *self.extensions)})
        parts: dict[Span, int] = {}
        common: list[int] = []
        codes, at = ">", 0
        for span, code in sorted([*places.items(), ((len(self.body),) * 2, "")]):
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


class _OfIptables(_Maker):
    is_foreign = False

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.reading = iptables.Reading(self.family)
        self.marked: list[tuple[list[int], _MarkedPort]] = []  # what a port's place has set: both ends of a range

    def shape(self) -> Shape:
        """Raises NotIptablesError, UnknownError, KeyError, ValueError, IndexError: there is none."""
        for span in self.expressions:
            self._read(span)
        if any(end is not port for ends, port in self.marked for end in ends):
            raise ValueError("a port that another comparison narrows")
        spelled = iptables.write(self.reading, self.chain, self.userdata)
        shape = self._assemble(spelled.text, spelled.fields, spelled.verdict, spelled.exact)
        if shape.joined or not all(field for _, _, field, _ in shape.values):
            raise ValueError("a place without a field")
        return shape

    def _read(self, span: Span) -> None:
        """An expression (NFTA_LIST_ELEM), as `iptables.spell` does, but for its places."""
        do, arguments = iptables.step(self.body[slice(*span)])
        of_expression = self.of_expression(span)
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
        loaded = reading.registers[source]
        span = _spans(self.body, of_expression[3])[1]  # NFTA_CMP_DATA, NFTA_DATA_VALUE
        if loaded.key == NETWORK_HEADER:
            of_reading = _ADDRESSES[reading.family, loaded.offset, len(data)]
            marker = self._value(span, f"{len(data)}s", _address)
            setattr(reading, of_reading, (marker, *getattr(reading, of_reading)[1:]))
        else:
            port = _MarkedPort.from_bytes(data, "big")
            port.marker = self._value(span, "H")
            ends = getattr(reading.ports, _ENDS[loaded.offset])
            ends[:] = (port, port)
            self.marked.append((ends, port))


class _OfNative(_Maker):
    """Of a rule that nft spells. Text and fields are those of `native`, where a marker takes the place of each value as
    soon as it is written."""

    is_foreign = True

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        from hostinspect.kernel.nftables import native

        self.native = native
        rule = Rule(self.family, self.table, self.chain, [], self.userdata)
        self.reading = native.Reading(rule, native.Speller(None))
        # Registers that constants were loaded into, for the next expression that is none: where these stand.
        self.constants: dict[int, Span] = {}

    def shape(self) -> Shape:
        """Raises KeyError, ValueError, IndexError: there is none."""
        for n, span in enumerate(self.expressions):
            expression, a = self.native.expression_of(self.body[slice(*span)])
            if expression not in _FREE_OF_CONTEXT or (expression == "meta" and number(a[2]) in _META_OF_CONTEXT):
                raise ValueError("what means something in one namespace only")
            words, fields = len(self.reading.words), dict(self.reading.fields)
            self.reading.read(expression, a)
            if not self.reading.exact:
                raise ValueError("not all is known")
            of_expression = self.of_expression(span)
            if expression == "immediate":
                self._constant(a, of_expression)
                continue
            if expression == "counter":
                self._count(of_expression)
                packets, octets = (self._value(counter, "Q") for counter in self.counters)
                self.reading.words[-1] = f"counter packets {packets} bytes {octets}"
            elif expression == "cmp":
                self._compare(a, of_expression, words, fields)
            elif expression == "nat" and n == len(self.expressions) - 1:
                self._nat(a, fields)
            self.constants.clear()
        self.reading.end()
        return self._assemble(self.reading.text, self.reading.fields, self.reading.verdict, exact=True)

    def _constant(self, a: Attributes, of_expression: dict[int, Span]) -> None:
        """NFTA_IMMEDIATE_*: DREG 1, DATA 2."""
        data = _spans(self.body, of_expression[2])
        if register(a[1]) != VERDICT:
            self.constants[register(a[1])] = data[1]

    def _compare(self, a: Attributes, of_expression: dict[int, Span], words: int, before: dict[str, str]) -> None:
        """After a comparison, which has written what is behind `words`. NFTA_CMP_*: SREG 1, OP 2, DATA 3."""
        reading = self.reading
        loaded, operator = reading.loaded(a[1]), number(a[2])
        start, end = _spans(self.body, of_expression[3])[1]
        if loaded.source != "payload" or loaded.mask is not None or end - start != loaded.length:
            return
        if operator not in (CMP_EQ, CMP_NEQ):
            return
        data = self.body[start:end]
        parts = self.native.parts(reading, loaded, data) if operator == CMP_EQ else [(loaded, data)]
        if len(parts) != len(reading.words) - words:
            return
        for n, (part, value) in enumerate(parts):
            is_address = (
                part.key == NETWORK_HEADER
                and (_FAMILY.get(reading.family or 0, ""), part.offset, len(value)) in _ADDRESSES
            )
            is_port = part.key == TRANSPORT_HEADER and part.offset in _ENDS and len(value) == 2
            word = reading.words[words + n]
            spelled = address(value) if is_address else str(number(value))
            if not (is_address or is_port) or word is None or not word.endswith(f" {spelled}"):
                continue
            at = start + part.offset - loaded.offset
            place = (at, at + len(value))
            marker = self._value(place, f"{len(value)}s", _address) if is_address else self._value(place, "H")
            reading.words[words + n] = word[: -len(spelled)] + marker
            field = self.native.selector_of(reading, part).field
            if field is not None and field not in before:
                self._mark(field, spelled, marker)

    def _nat(self, a: Attributes, before: dict[str, str]) -> None:
        """After the last expression of a rule. NFTA_NAT_*: FAMILY 2, REG_ADDR_MIN 3, MAX 4, REG_PROTO_MIN 5, MAX 6."""
        reading = self.reading
        if any(a.get(high, a.get(low)) != a.get(low) for low, high in ((3, 4), (5, 6))):
            return  # a range
        spelled = marked = ""
        if 3 in a:
            place = self.constants[register(a[3])]
            value = self.body[slice(*place)]
            if len(value) != {2: 4, 10: 16}[number(a[2])]:
                raise ValueError("an address of another length")
            marker = self._value(place, f"{len(value)}s", _address)
            form = "[%s]" if len(value) == 16 and 5 in a else "%s"
            spelled, marked = form % address(value), form % marker
        if 5 in a:
            place = self.constants[register(a[5])]
            value = self.body[slice(*place)]
            if len(value) != 2:
                raise ValueError("a port of another length")
            marker = self._value(place, "H")
            spelled, marked = f"{spelled}:{number(value)}", f"{marked}:{marker}"
        word = reading.words[-1]
        if not spelled or word is None:
            return
        head, to, tail = word.partition(f" to {spelled}")
        if not to or (tail and not tail.startswith(" ")):
            raise ValueError("not as it is spelled here")
        reading.words[-1] = f"{head} to {marked}{tail}"
        if "to" not in before:
            self._mark("to", spelled, marked)

    def _mark(self, field: str, spelled: str, marked: str) -> None:
        fields = self.reading.fields
        if fields[field] not in (spelled, f"!{spelled}"):
            raise ValueError("not as it is in the text")
        fields[field] = fields[field][: -len(spelled)] + marked


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
