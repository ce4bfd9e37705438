"""Rules of the legacy tables that are alike: what one of them has taught is used for the next.

Of a thousand published ports the rules are the same bytes (`struct ipt_entry` or `ip6t_entry`, matches and target) but
for an address, a port, a translation and counters. A *shape* is such a rule with these places left open; of one that
fits, all that is left is to spell what stands in them. `hostinspect.kernel.nftables.shapes` does so for nf_tables.

A shape is made by reading a rule in the plain way with other values in its places, and looking where these come out.
So a shape says what the plain way says, which tests/unit/test_ip_tables.py holds it to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import count, repeat
from operator import itemgetter
from struct import Struct as Layout
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from hostinspect import facts
from hostinspect.kernel.met import Met
from hostinspect.kernel.xtables.spelling import address

if TYPE_CHECKING:
    from hostinspect.kernel.ip_tables import Extension


class Plain(Struct):
    """A rule that was read by itself."""

    rule: facts.Rule
    matches: Sequence[Extension]
    target: Extension


Read = Callable[[facts.Family, bytes], "Plain | None"]  # None where it has a meaning in its table only, or none to us


class Shape(Struct, frozen=True):
    """What is the same in all rules of a shape, and where they differ."""

    size: int
    unpack: Callable[[bytes, int], tuple[Any, ...]]  # an entry at an offset into its parts
    common: Callable[[tuple[Any, ...]], tuple[bytes, ...]]  # those that are the same
    expected: tuple[bytes, ...]
    lows: Callable[[tuple[Any, ...]], Any]  # the ends of ranges, which are the same as
    highs: Callable[[tuple[Any, ...]], Any]  # these
    values: tuple[tuple[int, Callable[[Any], str]], ...]  # those that differ, and how each is spelled
    counters: tuple[int, int]  # those with packets and bytes
    text: str  # behind the chain, with %s for each of `values`
    forms: tuple[tuple[str, tuple[int, ...]], ...]  # with %s for some of `values`, and which
    rule: facts.Rule  # of which all have the same, but for `_FIELDS`
    fixed: tuple[str | None, ...]  # those, where they are the same in all
    fields: tuple[int, ...]  # which they are, of these, then the values, then the forms

    def alike(self, blob: bytes, offset: int, stop: int) -> list[tuple[Any, ...]]:
        """The parts of the entries that fit, in a row, from `offset` to `stop`."""
        size, unpack, common, expected = self.size, self.unpack, self.common, self.expected
        lows, highs = self.lows, self.highs
        found = []
        for at in range(offset, stop - size + 1, size):
            parts = unpack(blob, at)
            if common(parts) != expected or lows(parts) != highs(parts):
                break
            found.append(parts)
        return found


class Alike(Struct):
    """Entries of a table that fit a shape, in a row."""

    offset: int
    next: int
    shape: Shape
    entries: list[tuple[Any, ...]]  # the parts of each

    def rules(self, netns: int, table: str, chain: str, position: int) -> list[facts.Rule]:
        """Their records, the first at that position. Each step is for all of them: most of it is not Python's."""
        shape, same = self.shape, self.shape.rule
        columns = list(zip(*self.entries, strict=True))
        spelled = [list(map(spell, columns[part])) for part, spell in shape.values]
        forms = [map(form.__mod__, zip(*[spelled[n] for n in which], strict=True)) for form, which in shape.forms]
        told = [*map(repeat, shape.fixed), *spelled, *forms]
        text = "-A " + chain.replace("%", "%%") + shape.text
        family, verdict, proto = same.family, same.verdict, same.proto
        in_interface, out_interface, comment = same.in_interface, same.out_interface, same.comment
        return [
            facts.Rule(
                netns=netns,
                family=family,
                backend="legacy",
                table=table,
                chain=chain,
                position=number,
                text=of_rule,
                verdict=verdict,
                proto=proto,
                src=src,
                dst=dst,
                in_interface=in_interface,
                out_interface=out_interface,
                dport=dport,
                sport=sport,
                to=to,
                comment=comment,
                packets=packets,
                bytes=octets,
            )
            for number, of_rule, packets, octets, src, dst, dport, sport, to in zip(
                count(position),
                map(text.__mod__, zip(*spelled, strict=True)),
                *[columns[part] for part in shape.counters],
                *[told[n] for n in shape.fields],
                strict=False,
            )
        ]


class Shapes:
    """The shapes that were met, by how their rules begin."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._known: dict[bytes, list[Shape]] = {}
        self._met = Met()

    def alike(self, family: facts.Family, blob: bytes, offset: int, stop: int) -> Alike | None:
        """The entries from `offset` to `stop`, in a row, that fit one shape that is known."""
        begin, end = _KIND[family]
        for shape in self._known.get(blob[offset + begin : offset + end], ()):
            found = shape.alike(blob, offset, stop)
            if found:
                return Alike(offset, offset + len(found) * shape.size, shape, found)
        return None

    def learn(self, family: facts.Family, entry: bytes) -> None:
        """From an entry that fits none."""
        kind = entry[slice(*_KIND[family])]
        if self._met.is_to_learn(kind):
            shape = make(family, entry, self._read)
            if shape is not None:
                self._known.setdefault(kind, []).append(shape)


# --- making one -------------------------------------------------------------------------------------------------

_WIDTH: dict[facts.Family, int] = {"ipv4": 4, "ipv6": 16}  # bytes of an address; two, and their masks, are in front
_KIND: dict[facts.Family, tuple[int, int]] = {"ipv4": (8, 92), "ipv6": (32, 144)}  # from the masks to the offsets
_COUNTERS: dict[facts.Family, int] = {"ipv4": 96, "ipv6": 152}  # two of 8 bytes, at the end of the entry itself
_EXTENSION = 32  # bytes of struct xt_entry_match and xt_entry_target, in front of their data

_address = lru_cache(maxsize=4096)(address)


@lru_cache(maxsize=4096)
def _port(raw: bytes) -> str:
    return str(int.from_bytes(raw, "big"))


# Ranges that are one address or one port where both ends are equal: the ends' offsets in an extension's data, how
# many bytes each has, as what these are unpacked, and how that is spelled.
_PORTS = ((0, 2, 2, "H", str), (4, 6, 2, "H", str))  # struct xt_tcp, xt_udp
_COMPAT = ((8, 12, 4, "4s", _address), (16, 18, 2, "2s", _port))  # struct nf_nat_ipv4_multi_range_compat
_RANGE4 = ((4, 20, 4, "4s", _address), (36, 38, 2, "2s", _port))  # struct nf_nat_range, nf_nat_range2
_RANGE6 = ((4, 20, 16, "16s", _address), (36, 38, 2, "2s", _port))
_RANGES: dict[tuple[facts.Family, str, int], tuple[tuple[int, int, int, str, Callable[[Any], str]], ...]] = {
    ("ipv4", "tcp", 0): _PORTS,
    ("ipv4", "udp", 0): _PORTS,
    ("ipv4", "DNAT", 0): _COMPAT,
    ("ipv4", "SNAT", 0): _COMPAT,
    ("ipv4", "DNAT", 2): _RANGE4,
    ("ipv6", "tcp", 0): _PORTS,
    ("ipv6", "udp", 0): _PORTS,
    ("ipv6", "DNAT", 1): _RANGE6,
    ("ipv6", "SNAT", 1): _RANGE6,
    ("ipv6", "DNAT", 2): _RANGE6,
}
_IN_CONTEXT = ("set", "SET")  # their data means something in one namespace only

# What is put into a place of so many bytes, but for the last of these: no other, spelled, is a part of it.
_OTHER = {2: b"\xeb", 4: b"\xf3\xf5\xf7", 16: b"\xfd\x0e" + bytes(12) + b"\xab"}


class _Place(Struct, frozen=True):
    at: int
    twin: int | None  # where the same stands once more
    size: int
    code: str  # of struct
    spell: Callable[[Any], str]

    def filled(self, entry: bytes, octets: bytes) -> bytes:
        """The entry with these in the place."""
        changed = bytearray(entry)
        for at in (self.at, self.twin):
            if at is not None:
                changed[at : at + self.size] = octets
        return bytes(changed)


def make(family: facts.Family, entry: bytes, read: Read) -> Shape | None:
    """The shape of a rule; None where its places cannot be told for certain."""
    plain = read(family, entry)
    if plain is None or any(name in _IN_CONTEXT for name, _, _ in (*plain.matches, plain.target)):
        return None
    filled = entry
    may_be: dict[str, tuple[_Place, bytes]] = {}  # by what they are spelled as, with what is put into them
    for place in _places(family, plain, entry):
        octets = _OTHER[place.size] + bytes([0x41 + len(may_be)])
        filled = place.filled(filled, octets)
        may_be[place.spell(Layout(place.code).unpack(octets)[0])] = place, octets
    told = read(family, filled) if may_be else None
    if told is None:
        return None
    places, other = {}, entry
    for spelled, (place, octets) in may_be.items():
        if spelled in told.rule.text:  # else no flag speaks of it
            places[spelled], other = place, place.filled(other, octets)
    shape = _shape(family, entry, told.rule, places) if places else None
    if shape is None or not (_says(shape, entry, plain.rule) and _says(shape, other, told.rule)):
        return None
    return shape


def _says(shape: Shape, entry: bytes, plain: facts.Rule) -> bool:
    """Whether it says of the entry what was read of it in the plain way."""
    found = Alike(0, 0, shape, shape.alike(entry, 0, len(entry)))
    return bool(found.entries) and found.rules(plain.netns, plain.table, plain.chain, plain.position) == [plain]


def _places(family: facts.Family, plain: Plain, entry: bytes) -> Iterator[_Place]:
    """Those that there may be."""
    width = _WIDTH[family]
    for n in (0, 1):
        if any(entry[(2 + n) * width : (3 + n) * width]):  # its mask
            yield _Place(n * width, None, width, f"{width}s", _address)
    at = _COUNTERS[family] + 16
    for name, revision, info in (*plain.matches, plain.target):
        at += _EXTENSION
        for low, high, size, code, spell in _RANGES.get((family, name, revision), ()):
            if high + size <= len(info) and info[low : low + size] == info[high : high + size]:
                yield _Place(at + low, at + high, size, code, spell)
        at += len(info)


def _shape(family: facts.Family, entry: bytes, told: facts.Rule, places: dict[str, _Place]) -> Shape | None:
    """Of a rule that is `told` with the keys of `places` in them; None where one is not told once."""
    order = sorted(places, key=told.text.find)
    text = _form(told.text, order)
    if text is None:
        return None
    fixed = [getattr(told, field) for field in _FIELDS]
    fields = [*range(len(_FIELDS))]
    forms: list[tuple[str, tuple[int, ...]]] = []
    for n, value in enumerate(fixed):
        within = sorted((spelled for spelled in order if spelled in (value or "")), key=str(value).find)
        form = _form(value, within) if within else None
        if form == "%s":
            fields[n] = len(_FIELDS) + order.index(value)
        elif form is not None:
            fields[n] = len(_FIELDS) + len(order) + len(forms)
            forms.append((form, tuple(map(order.index, within))))
    codes, numbers, common = _layout(family, entry, list(places.values()))
    layout, begin = Layout(codes), _COUNTERS[family]
    ends = [(numbers[place.at], numbers[place.twin]) for place in places.values() if place.twin is not None]
    return Shape(
        size=layout.size,
        unpack=layout.unpack_from,
        common=itemgetter(*common),
        expected=itemgetter(*common)(layout.unpack(entry)),
        lows=itemgetter(*[low for low, _ in ends]) if ends else bool,
        highs=itemgetter(*[high for _, high in ends]) if ends else bool,
        values=tuple((numbers[places[spelled].at], places[spelled].spell) for spelled in order),
        counters=(numbers[begin], numbers[begin + 8]),
        text=text.removeprefix(f"-A {told.chain}"),
        forms=tuple(forms),
        rule=told,
        fixed=tuple(fixed),
        fields=tuple(fields),
    )


_FIELDS = ("src", "dst", "dport", "sport", "to")


def _form(text: str, within: Sequence[str]) -> str | None:
    """The text with %s for each of those within it; None where it has not each once, in this order."""
    pieces = []
    for spelled in within:
        if text.count(spelled) != 1:
            return None
        before, _, text = text.partition(spelled)
        pieces.append(before)
    return "%s".join(piece.replace("%", "%%") for piece in (*pieces, text))


def _layout(family: facts.Family, entry: bytes, places: Sequence[_Place]) -> tuple[str, dict[int, int], list[int]]:
    """An entry as a format of struct; which part begins where; which parts are what all have in common."""
    counters, kind_ends = _COUNTERS[family], _KIND[family][1]
    codes = {kind_ends: f"{counters - kind_ends}x", counters: "Q", counters + 8: "Q"}  # `comefrom` is the kernel's own
    sizes = {kind_ends: counters - kind_ends, counters: 8, counters + 8: 8}
    for place in places:
        for at in (place.at, place.twin):
            if at is not None:
                codes[at], sizes[at] = place.code, place.size
    numbers: dict[int, int] = {}
    common: list[int] = []
    layout, end, number = "=", 0, 0
    for at in (*sorted(codes), len(entry)):
        if at > end:
            layout += f"{at - end}s"
            common.append(number)
            number += 1
        if at < len(entry):
            layout += codes[at]
            numbers[at] = number
            number += "x" not in codes[at]
            end = at + sizes[at]
    return layout, numbers, common
