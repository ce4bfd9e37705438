"""Messages that are alike are read as the plain way reads them, whatever stands in them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostinspect.facts import Address, Link, Route
from hostinspect.kernel.alike import OPEN, SAME, Attributes, Place, Shapes, make
from hostinspect.kernel.netlink import attribute_list
from hostinspect.kernel.rtnetlink import ADDRESSES, LINKS, ROUTES, Dump
from tests.unit.netlink_bytes import names, recorded
from tests.unit.test_netlink import payload
from tests.unit.test_rtnetlink import NEWADDR, NEWLINK, NEWROUTE, built, info

AnyDump = Dump[Any]
FAMILIES: dict[str, tuple[AnyDump, int]] = {
    "link": (LINKS, NEWLINK),
    "address": (ADDRESSES, NEWADDR),
    "route": (ROUTES, NEWROUTE),
}
BUILT = {
    "link": [
        built(),
        built(payload(16, b"\6"), payload(4, struct.pack("=I", 1500)), payload(5, struct.pack("=I", 0))),
        built(payload(1, bytes(20)), payload(37, struct.pack("=i", -1)), payload(20, b"alias\0")),
        built(info(b"macvlan", payload(1, struct.pack("=I", 4)))),
        built(info(b"vlan", payload(1, struct.pack("=H", 42)))),
    ],
    "address": [
        struct.pack("=BBBBI", 2, 24, 0, 0, 3) + payload(1, b"\x0a\0\0\2") + payload(2, b""),
        struct.pack("=BBBBI", 10, 64, 0, 253, 3) + payload(1, b"\xfe\x80" + bytes(14)),
        struct.pack("=BBBBI", 35, 8, 0, 0, 1),
    ],
    "route": [
        struct.pack("=BBBBBBBBI", 10, 0, 0, 0, 254, 3, 0, 1, 0)
        + payload(5, bytes(15) + b"\1")
        + payload(6, struct.pack("=I", 9)),
        struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0) + payload(9, struct.pack("=HBBi", 8, 0, 0, 3)),
    ],
}
MESSAGES = {family: [recorded(name) for name in names(f"{family}-")] + BUILT[family] for family in FAMILIES}


@pytest.fixture(autouse=True)
def untaught(monkeypatch: pytest.MonkeyPatch) -> None:
    for dump, _ in FAMILIES.values():
        monkeypatch.setattr(dump, "shapes", Shapes())


def plainly(family: str, messages: Iterable[bytes]) -> list[Any] | None:
    """None where they have another form."""
    dump, kind = FAMILIES[family]
    try:
        return list(dump.parse(((kind, body) for body in messages), 7))
    except (ValueError, struct.error):
        return None


def by_shapes(family: str, messages: Iterable[bytes]) -> list[Any] | None:
    dump, kind = FAMILIES[family]
    try:
        return dump.records([(kind, body) for body in messages], 7)
    except ValueError:
        return None


def teach(family: str, messages: Iterable[bytes]) -> None:
    """Know their shapes, from the second of each."""
    for body in messages:
        by_shapes(family, [body])
        by_shapes(family, [body])


def altered(body: bytes, random: Random) -> bytes:
    """Another message: other bytes, another length, other attributes."""
    raw = bytearray(body)
    match random.randrange(8):
        case 0:
            del raw[random.randrange(len(raw) + 1) :]
        case 1:
            raw += payload(random.randrange(70), random.randbytes(random.randrange(9)))
        case 2:  # an attribute for another
            at = random.randrange(len(raw) // 4) * 4
            raw[at : at + 4] = struct.pack("=HH", random.randrange(20), random.randrange(70))
        case _:
            for _ in range(random.randrange(1, 6)):
                at = random.randrange(len(raw))
                some = random.randbytes(random.choice((1, 1, 2, 4)))
                raw[at : at + len(some)] = some[: len(raw) - at]
    return bytes(raw)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_third_of_a_kind_needs_no_plain_way(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dump, kind = FAMILIES[family]
    shaped = [body for body in MESSAGES[family] if len(plainly(family, [body]) or ()) == 1]
    assert len(shaped) > 3
    expected = plainly(family, shaped)
    teach(family, shaped)
    monkeypatch.setattr(dump, "parse", None)
    assert dump.records([(kind, body) for body in shaped], 7) == expected


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, derandomize=True, database=None)
@given(st.randoms(use_true_random=False))
def test_both_ways_say_the_same(family: str, random: Random) -> None:
    dump, _ = FAMILIES[family]
    dump.shapes = Shapes()
    teach(family, random.sample(MESSAGES[family], 6))
    shaped = random.choice(MESSAGES[family])
    teach(family, [shaped])
    for _ in range(30):
        body = altered(shaped, random)
        assert by_shapes(family, [body]) == plainly(family, [body]), body.hex()


@pytest.mark.parametrize("family", FAMILIES)
def test_any_bytes_at_each_place(family: str) -> None:
    random = Random(family)
    for body in MESSAGES[family]:
        teach(family, [body])
        for at in range(len(body)):
            for value in {0, body[at] ^ random.randrange(1, 256)} - {body[at]}:
                other = body[:at] + bytes((value,)) + body[at + 1 :]
                assert by_shapes(family, [other]) == plainly(family, [other]), (at, other.hex())


@pytest.mark.parametrize("family", FAMILIES)
def test_in_the_order_of_the_kernel(family: str) -> None:
    messages = [body for body in MESSAGES[family] if plainly(family, [body]) is not None] * 4
    Random(1).shuffle(messages)
    for _ in range(3):
        assert by_shapes(family, messages) == plainly(family, messages)


def test_records_of_one_shape_have_nothing_in_common_that_changes() -> None:
    lo = (NEWLINK, recorded("link-lo"))
    first, second, third, fourth = (LINKS.records([lo], netns)[0] for netns in (1, 2, 3, 4))
    assert [link.netns for link in (first, second, third, fourth)] == [1, 2, 3, 4]


def test_what_is_there_twice_has_no_shape() -> None:
    twice = built(payload(37, struct.pack("=i", 1)), payload(37, struct.pack("=i", 2)))
    teach("link", [twice])
    assert LINKS.shapes.known == {}


def test_a_length_has_few_shapes_and_there_are_few_lengths() -> None:
    for mtu in range(100):
        by_shapes("link", [built(payload(4, struct.pack("=I", mtu)))])
    for length in range(1000):
        teach("link", [built(payload(20, b"x" * length))])
    assert max(map(len, LINKS.shapes.known.values())) == 8
    assert len(LINKS.shapes.known) < 256


def test_a_shape() -> None:
    link = Link(netns=7, ifindex=9, ifname="x0", link=3)
    of_link = Attributes({5: Place("link", "i"), 4: SAME, 7: OPEN, 18: Attributes({}, others=OPEN)})
    body = (
        bytes(16) + payload(5, b"\3\0\0\0") + payload(4, b"same") + payload(7, b"open") + payload(18, payload(1, b"in"))
    )
    shape = make(body, link, ((4, Place("ifindex", "i")),), 16, of_link)
    assert shape is not None
    assert attribute_list(body, 16)[2][1] == b"open"
    other = body.replace(b"open", b"else").replace(b"in", b"at").replace(b"\3\0\0\0", b"\4\0\0\0")
    assert shape.same(other) == shape.expected
    assert shape.places(other) == (0, 4)
    assert [field for field, _ in shape.fields] == ["ifindex", "link"]
    assert shape.copy() == link
    assert shape.same(body.replace(b"same", b"else")) != shape.expected


def test_kinds() -> None:
    assert {type(record) for family in FAMILIES for record in plainly(family, MESSAGES[family][:1]) or ()} == {
        Link,
        Address,
        Route,
    }
