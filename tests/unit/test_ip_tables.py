"""Legacy tables: recorded blobs against the lines of iptables-legacy-save, and blobs that are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hostinspect.collectors import packet_filter
from hostinspect.collectors.gaps import GapLog
from hostinspect.facts import Chain, Rule
from hostinspect.kernel import ip_tables
from hostinspect.kernel.ip_tables import IPV4, IPV6, Protocol, Table, UnknownLayoutError, decode, interface
from hostinspect.kernel.xtables import ipset, shapes
from hostinspect.kernel.xtables.shapes import Shape, Shapes
from tests.unit import plain_ip_tables
from tests.unit.packet_filter_fixtures import LegacyRule, legacy, set_name

TABLES = legacy()


@pytest.fixture(autouse=True)
def recorded_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipset, "set_name", set_name)


@pytest.fixture
def nothing_kept() -> Iterator[None]:
    """Matches that were spelled before are not known, nor those that are spelled in the test after it."""
    ip_tables._kept_matches.cache_clear()
    yield
    ip_tables._kept_matches.cache_clear()


def by_chain(rules: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """In the order of chains' names; stable, so that rules of a chain stay in theirs."""
    return sorted(rules, key=lambda rule: rule[0].split()[1])


@pytest.mark.parametrize(
    ("protocol", "table", "saved"), TABLES, ids=lambda value: getattr(value, "name", getattr(value, "family", ""))
)
def test_a_recorded_table(protocol: Protocol, table: Table, saved: list[LegacyRule]) -> None:
    records = list(decode(protocol, table, 7))
    rules = [record for record in records if isinstance(record, Rule)]
    assert by_chain([(r.text, r.packets or 0, r.bytes or 0) for r in rules]) == by_chain(
        [(r.text, r.packets, r.bytes) for r in saved]
    )
    assert all(rule.exact and rule.backend == "legacy" and rule.netns == 7 for rule in rules)


def test_the_chains_of_a_table() -> None:
    protocol, table, _saved = next(found for found in TABLES if found[1].name == "nat")
    chains = [record for record in decode(protocol, table, 1) if isinstance(record, Chain)]
    assert chains[0] == Chain(
        netns=1,
        family="ipv4",
        backend="legacy",
        table="nat",
        name="PREROUTING",
        hook="prerouting",
        policy="ACCEPT",
        packets=12,
        bytes=720,
    )
    assert Chain(netns=1, family="ipv4", backend="legacy", table="nat", name="DOCKER-INGRESS") in chains


def test_the_fields_of_a_published_port() -> None:
    protocol, table, _saved = next(found for found in TABLES if found[1].name == "nat")
    rule = next(r for r in decode(protocol, table, 1) if isinstance(r, Rule) and r.dport == "8081")
    assert rule == Rule(
        netns=1,
        family="ipv4",
        backend="legacy",
        table="nat",
        chain="DOCKER",
        position=3,
        text="-A DOCKER -d 127.0.0.1/32 ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.18.0.3:80",
        verdict="DNAT",
        proto="tcp",
        dst="127.0.0.1",
        in_interface="!docker0",
        dport="8081",
        to="172.18.0.3:80",
        packets=0,
        bytes=0,
    )


def test_an_extension_that_is_not_known_to_us_may_be_to_another(
    monkeypatch: pytest.MonkeyPatch, nothing_kept: None
) -> None:
    from hostinspect.kernel import xtables
    from hostinspect.kernel.iptc import Saved

    def unknown(*_: object) -> None:
        raise xtables.UnknownError

    protocol, table, _saved = next(found for found in TABLES if found[1].name == "raw")
    monkeypatch.setattr(xtables, "match", unknown)
    asked = []

    def saved(family: str, of_table: str, chain: str, position: int) -> Saved | None:
        asked.append((family, of_table, chain, position))
        return Saved((("tcp", " --dport 9"),), ("DROP", "")) if position == 2 else None

    rules = [r for r in decode(protocol, table, 1, saved) if isinstance(r, Rule)]
    assert rules[0].exact
    assert rules[1].text == "-A PREROUTING -d 127.0.0.1/32 ! -i lo -p tcp -m tcp --dport 9 -j DROP"
    assert rules[1].exact
    assert rules[2].text == "-A PREROUTING -p udp [unknown match udp rev 0] -j CT --notrack"
    assert not rules[2].exact
    assert asked[:2] == [("ipv4", "raw", "PREROUTING", 2), ("ipv4", "raw", "PREROUTING", 3)]


@pytest.mark.parametrize(
    ("ifname", "mask", "spelled"),
    [
        (b"eth0".ljust(16, b"\0"), b"\xff" * 5 + bytes(11), "eth0"),
        (b"eth".ljust(16, b"\0"), b"\xff" * 3 + bytes(13), "eth+"),
        (bytes(16), bytes(16), ""),
        (b"+".ljust(16, b"\0"), bytes(16), ""),
        (b"a" * 15 + b"\0", b"\xff" * 16, "a" * 15),
    ],
)
def test_interfaces(ifname: bytes, mask: bytes, spelled: str) -> None:
    assert interface(ifname, mask) == spelled


def test_without_the_module_there_are_no_tables() -> None:
    absent = replace(IPV4, names="/nowhere/ip_tables_names")
    assert ip_tables.table_names(absent) == []
    assert not ip_tables.is_registered(absent)


def test_a_list_of_tables_that_may_not_be_seen_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert ip_tables.is_registered(replace(IPV4, names=str(tmp_path / "file")))
    assert ip_tables.is_registered(replace(IPV4, names=str(tmp_path / "file" / "below")))  # ENOTDIR


def test_without_the_module_namespaces_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Protocol] = []

    def table_names(protocol: Protocol) -> list[str]:
        asked.append(protocol)
        return []

    monkeypatch.setattr(ip_tables, "is_registered", lambda protocol: protocol is IPV6)
    monkeypatch.setattr(ip_tables, "table_names", table_names)
    monkeypatch.setattr(packet_filter, "is_present", lambda _module: False)
    reader = packet_filter.PacketFilter(GapLog())
    for netns in (1, 2):
        reader(netns)
    assert asked == [IPV6, IPV6]


@given(st.sampled_from([IPV4, IPV6]), st.binary(max_size=600))
def test_no_blob_raises_anything_but_unknown_layout(protocol: Protocol, blob: bytes) -> None:
    table = Table("filter", {"INPUT": 0}, {"INPUT": 0}, blob)
    try:
        list(decode(protocol, table, 1))
    except UnknownLayoutError:
        return


@given(
    st.sampled_from(TABLES),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=8),
    st.sampled_from([0, ip_tables._WORTH_SHAPES]),
)
def test_a_damaged_table_is_read_as_plainly_or_of_an_unknown_layout(
    found: tuple[Protocol, Table, list[LegacyRule]], damage: list[tuple[int, int]], worth: int
) -> None:
    protocol, table, _saved = found
    blob = bytearray(table.blob)
    for at, octet in damage:
        blob[at % len(blob)] = octet
    damaged = replace(table, blob=bytes(blob))
    try:
        plainly = list(plain_ip_tables.decode(protocol, damaged, 1))
    except UnknownLayoutError:
        with pytest.raises(UnknownLayoutError):
            decode(protocol, damaged, 1)
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ip_tables, "_WORTH_SHAPES", worth)
            assert decode(protocol, damaged, 1) == plainly


# --- shapes: rules that are alike, held equal to the plain way ----------------------------------------------------

ENTRIES = [
    (protocol, table.blob[entry.offset : entry.next])
    for protocol, table, _saved in TABLES
    for entry in plain_ip_tables.entries(protocol, table.blob)
]
SHAPED = [
    (protocol, entry, shape)
    for protocol, entry in ENTRIES
    if (shape := shapes.make(protocol.family, entry, ip_tables._alone)) is not None
]


def chain_of(*entries: bytes) -> Table:
    """A table with these in its only chain."""
    return Table("filter", {"INPUT": 0}, {}, b"".join((*entries, entries[-1])))  # the last one ends it


def by_shape(protocol: Protocol, shape: Shape, entry: bytes, *more: bytes) -> list[Chain | Rule] | None:
    """What is told of the entries where no shape but this is known; None where their layout is not."""
    begin, end = shapes._KIND[protocol.family]
    with pytest.MonkeyPatch.context() as patch:
        only = Shapes(lambda *_: None)
        only._known[entry[begin:end]] = [shape]
        patch.setattr(ip_tables, "shapes", lambda: only)
        patch.setattr(ip_tables, "_WORTH_SHAPES", 0)
        try:
            return decode(protocol, chain_of(entry, *more), 1)
        except UnknownLayoutError:
            return None


def plainly(protocol: Protocol, *entries: bytes) -> list[Chain | Rule] | None:
    try:
        return list(plain_ip_tables.decode(protocol, chain_of(*entries), 1))
    except UnknownLayoutError:
        return None


def test_many_recorded_rules_have_a_shape() -> None:
    assert len(SHAPED) > 50
    assert {protocol.family for protocol, _, _ in SHAPED} == {"ipv4", "ipv6"}
    assert sum(len(shape.values) for _, _, shape in SHAPED) > 1.5 * len(SHAPED)
    assert {form for _, _, shape in SHAPED for form, _ in shape.forms} >= {"!%s", "%s:%s", "[%s]:%s", "%s/24", ":%s"}


def ends_of(shape: Shape) -> list[tuple[int, int]]:
    """The parts that are the ends of a range."""
    numbers = tuple(range(len(shape.unpack(bytes(shape.size), 0))))
    if shape.lows is bool:
        return []
    lows, highs = shape.lows(numbers), shape.highs(numbers)
    return [(lows, highs)] if isinstance(lows, int) else [*zip(lows, highs, strict=True)]


@given(st.data())
def test_what_a_shape_says_is_what_the_plain_way_says(draw: st.DataObject) -> None:
    protocol, entry, shape = draw.draw(st.sampled_from(SHAPED))
    entries = [another(draw, entry, shape) for _ in range(draw.draw(st.integers(1, 3)))]
    assert by_shape(protocol, shape, *entries) == plainly(protocol, *entries)


def another(draw: st.DataObject, entry: bytes, shape: Shape) -> bytes:
    """An entry like it, which nearly always fits."""
    layout = shape.unpack.__self__  # type: ignore[attr-defined]
    parts = list(layout.unpack(entry))
    ends = ends_of(shape)
    for part in {*(part for part, _ in shape.values), *(part for pair in ends for part in pair)}:
        size = 0 if isinstance(parts[part], int) else len(parts[part])
        parts[part] = draw.draw(st.binary(min_size=size, max_size=size) if size else st.integers(0, 0xFFFF))
    for low, high in ends:
        if draw.draw(st.integers(0, 7)):
            parts[high] = parts[low]
    for part in shape.counters:
        parts[part] = draw.draw(st.integers(0, 2**64 - 1))
    alike: bytes = layout.pack(*parts)
    fits = all(parts[low] == parts[high] for low, high in ends)
    assert bool(shape.alike(alike, 0, len(alike))) is fits
    return alike


@given(st.sampled_from(SHAPED), st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4))
def test_a_rule_that_fits_a_shape_by_chance_is_read_as_plainly(
    found: tuple[Protocol, bytes, Shape], damage: list[tuple[int, int]]
) -> None:
    protocol, entry, shape = found
    broken = bytearray(entry)
    for at, octet in damage:
        broken[at % len(broken)] = octet
    assert by_shape(protocol, shape, bytes(broken)) == plainly(protocol, bytes(broken))


def test_rules_that_mean_something_in_their_place_only_have_no_shape() -> None:
    """Jumps, by the offset they lead to, and sets, by their index; and what is not known to us."""
    for protocol, entry, shape in SHAPED:
        [found] = plain_ip_tables.entries(protocol, entry)
        assert not {"set", "SET", "ERROR"} & {found.target.name, *(match.name for match in found.matches)}
        assert found.target.name or plain_ip_tables._verdict(found) < 0
        assert shape.rule.exact


def test_a_shape_is_made_of_the_second_rule_and_fits_the_third() -> None:
    protocol, entry, _shape = SHAPED[0]
    known = Shapes(ip_tables._alone)
    for times in range(2):
        assert known.alike(protocol.family, entry * 3, 0, 3 * len(entry)) is None, times
        known.learn(protocol.family, entry)
    for number in range(1, 4):
        found = known.alike(protocol.family, entry * 3, 0, number * len(entry))
        assert found is not None
        assert (found.next, len(found.entries)) == (number * len(entry), number)
