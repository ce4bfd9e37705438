"""Messages that are alike are read as the plain way reads them, whatever stands in them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostinspect.facts import Address, Link, Route
from hostinspect.kernel.alike import OPEN, SAME, Attributes, Place, Shapes, Span, spans
from hostinspect.kernel.netlink import NLM_F_DUMP_INTR, NLMSG_DONE, DumpInterruptedError
from hostinspect.kernel.rtnetlink import ADDRESSES, LINKS, ROUTES, Dump
from tests.unit.netlink_bytes import names, recorded
from tests.unit.test_netlink import DONE, answered, message, payload
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
def untaught() -> Iterator[None]:
    for dump, _ in FAMILIES.values():
        dump.forget()
    yield
    for dump, _ in FAMILIES.values():
        dump.forget()


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
@settings(max_examples=40, derandomize=True, database=None)
@given(st.randoms(use_true_random=False))
def test_both_ways_say_the_same(family: str, random: Random) -> None:
    dump, _ = FAMILIES[family]
    dump.forget()
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
    assert LINKS._shapes.known == {}


def test_a_length_has_few_shapes_and_there_are_few_lengths() -> None:
    for mtu in range(100):
        by_shapes("link", [built(payload(4, struct.pack("=I", mtu)))])
    for length in range(1000):
        teach("link", [built(payload(20, b"x" * length))])
    assert max(map(len, LINKS._shapes.known.values())) == 8
    assert len(LINKS._shapes.known) < 256


def test_a_shape() -> None:
    link = Link(netns=7, ifindex=9, ifname="x0", link=3)
    of_link = Attributes({5: Place("link", "i"), 4: SAME, 7: OPEN, 18: Attributes({}, others=OPEN)})
    body = (
        bytes(16) + payload(5, b"\3\0\0\0") + payload(4, b"same") + payload(7, b"open") + payload(18, payload(1, b"in"))
    )
    shapes = Shapes()
    shapes.learn(body, [Span(4, 8, Place("ifindex", "i")), *spans(body, 16, len(body), of_link)], [link.__copy__])  # type: ignore[attr-defined]
    other = body.replace(b"open", b"else").replace(b"in", b"at").replace(b"\3\0\0\0", b"\4\0\0\0")
    shape = shapes.find(other)
    assert shape is not None
    assert shape.places(other) == (0, 4)
    assert shape.records((0, 4), 8) == [Link(netns=8, ifindex=0, ifname="x0", link=4)]
    assert shapes.find(body.replace(b"same", b"else")) is None
    assert shapes.find(body + b"\0") is None


# --- whole datagrams ----------------------------------------------------------------------------------------------

Answer = list[bytes]  # bodies


def datagrams(family: str, answer: Answer, *, at_once: int = 3, flags: int = 2, port: int = 77) -> list[bytes]:
    """What the kernel answers: so many messages in each datagram, and the end in one of its own."""
    kind = FAMILIES[family][1]
    each = [
        struct.pack("=IHHII", 16 + len(body), kind, flags, 1, port) + body + bytes(-len(body) % 4) for body in answer
    ]
    parts = [b"".join(each[start : start + at_once]) for start in range(0, len(each), at_once)]
    return [*parts, message(NLMSG_DONE, DONE, flags=flags)]


def asked(family: str, raw: list[bytes], netns: int = 7) -> list[Any] | None:
    """The records as a namespace's are read."""
    route, _ = answered(*raw)
    try:
        return FAMILIES[family][0].read(route, netns)
    except ValueError:
        return None


def asked_plainly(family: str, raw: list[bytes]) -> list[Any] | None:
    dump, _ = FAMILIES[family]
    route, _ = answered(*raw)
    try:
        return list(dump.parse(route.dump(dump.msg_type, dump.body), 7))
    except (ValueError, struct.error):
        return None


def with_shapes(family: str) -> Answer:
    """Bodies of messages that have shapes, and some that are passed over."""
    dump, _ = FAMILIES[family]
    return [body for body in MESSAGES[family] if dump._is_passed_over(body) or len(plainly(family, [body]) or ()) == 1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_an_answer_that_is_like_others_is_not_taken_apart(family: str, at_once: int) -> None:
    raw = datagrams(family, with_shapes(family), at_once=at_once)
    expected = asked_plainly(family, raw)
    assert expected
    for _ in range(12):
        assert asked(family, raw) == expected
    route, _ = answered(*datagrams(family, with_shapes(family), at_once=at_once, port=78))
    messages = FAMILIES[family][0].ask(route)
    assert len(messages) == len(raw) - 1
    assert {kind for kind, _ in messages} == {-1}
    assert FAMILIES[family][0].records(messages, 7) == expected


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40, derandomize=True, database=None)
@given(st.randoms(use_true_random=False))
def test_an_answer_is_read_as_the_plain_way_reads_it(family: str, random: Random) -> None:
    FAMILIES[family][0].forget()
    answer = random.sample(with_shapes(family), random.randrange(1, 7))
    at_once = random.randrange(1, 8)
    for _ in range(5):
        asked(family, datagrams(family, answer, at_once=at_once))
    for _ in range(15):
        other = list(answer)
        number = random.randrange(len(other))
        other[number] = altered(other[number], random)
        raw = datagrams(family, other, at_once=at_once, port=random.randrange(1 << 32))
        if random.random() < 0.3:
            raw[0] = altered(raw[0], random)
        assert asked_safely(asked, family, raw) == asked_safely(asked_plainly, family, raw)


def asked_safely(ask: Callable[[str, list[bytes]], list[Any] | None], family: str, raw: list[bytes]) -> object:
    """With the errors of a socket that is never answered."""
    try:
        return ask(family, raw)
    except OSError as error:
        return str(error)


def taught_link() -> list[bytes]:
    """An answer that is known."""
    raw = datagrams("link", [recorded("link-lo"), recorded("link-va")])
    for _ in range(5):
        asked("link", raw)
    assert LINKS._datagrams.known
    return raw


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_with_its_end_in_the_same_datagram(family: str) -> None:
    (datagram, done) = datagrams(family, with_shapes(family), at_once=100)
    expected = asked_plainly(family, [datagram, done])
    for _ in range(12):
        assert asked(family, [datagram + done]) == expected


def test_a_disturbed_answer_is_none_that_is_like_others() -> None:
    again = [in_turn(datagram, 2) for datagram in taught_link()]
    disturbed = datagrams("link", [recorded("link-lo"), recorded("link-va")], flags=2 | NLM_F_DUMP_INTR)
    route, kernel = answered(*disturbed, *again)
    assert LINKS.read(route, 7) == plainly("link", [recorded("link-lo"), recorded("link-va")])
    assert len(kernel.sent) == 2


def test_a_disturbed_answer_teaches_nothing() -> None:
    taught_link()
    LINKS._datagrams = Shapes()
    disturbed = datagrams("link", [recorded("link-lo"), recorded("link-va")], flags=2 | NLM_F_DUMP_INTR)
    for _ in range(2):
        route, _ = answered(*[in_turn(datagram, number) for number in range(1, 9) for datagram in disturbed])
        with pytest.raises(DumpInterruptedError):
            LINKS.ask(route)
    assert LINKS._datagrams.known == {}


def test_an_answer_to_an_earlier_question_is_none_of_ours() -> None:
    first, done = taught_link()
    route, _ = answered(first, in_turn(done, 2))
    route._sequence = 1
    assert LINKS.read(route, 7) == []


def test_an_answer_disturbed_each_time_is_what_was_last_said() -> None:
    first, _ = taught_link()
    raw = []
    for number in range(1, 9):
        raw += [in_turn(first, number), message(NLMSG_DONE, DONE, number, flags=2 | NLM_F_DUMP_INTR)]
    route, _ = answered(*raw)
    with pytest.raises(DumpInterruptedError) as raised:
        LINKS.ask(route)
    assert LINKS.records(raised.value.messages, 7) == plainly("link", [recorded("link-lo"), recorded("link-va")])


def in_turn(datagram: bytes, sequence: int) -> bytes:
    """With another sequence number in each message."""
    raw, at = bytearray(datagram), 0
    while at < len(raw):
        raw[at + 8 : at + 12] = struct.pack("=I", sequence)
        at += struct.unpack_from("=I", raw, at)[0] + 3 & ~3
    return bytes(raw)


def test_kinds() -> None:
    assert {type(record) for family in FAMILIES for record in plainly(family, MESSAGES[family][:1]) or ()} == {
        Link,
        Address,
        Route,
    }
