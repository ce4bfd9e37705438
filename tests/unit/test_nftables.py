"""Rules of nf_tables: recorded messages against the lines of iptables-save and nft, and messages that are none."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostinspect.facts import Chain, Rule
from hostinspect.kernel import nftables
from hostinspect.kernel.netlink import NetlinkError, attributes
from hostinspect.kernel.nftables import datatypes, iptables, messages, native, shapes
from hostinspect.kernel.nftables.messages import GETCHAIN, GETRULE, Element
from hostinspect.kernel.nftables.native import Speller
from hostinspect.kernel.nftables.shapes import Shape, Shapes
from hostinspect.kernel.xtables import ipset
from hostinspect.kernel.xtables.extension import UnknownError
from tests.unit.packet_filter_fixtures import Replay, set_name


@pytest.fixture(autouse=True)
def recorded_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipset, "set_name", set_name)


def rules_of(replay: Replay) -> list[Rule]:
    return [record for record in nftables.read(replay, 7) if isinstance(record, Rule)]


IPTABLES = Replay("nft.txt")
NATIVE = Replay("native.txt")


def test_every_recorded_rule_of_iptables_nft() -> None:
    rules = rules_of(Replay("nft.txt"))
    assert sorted([r.text, str(r.packets), str(r.bytes)] for r in rules) == sorted(IPTABLES.rules)
    assert all(rule.exact for rule in rules)


def test_every_recorded_native_rule() -> None:
    rules = rules_of(Replay("native.txt"))
    assert sorted(r.text for r in rules) == sorted(text for (text,) in NATIVE.rules)
    assert all(rule.exact for rule in rules)


def test_sets_are_asked_for_only_when_a_rule_uses_one() -> None:
    replay = Replay("nft.txt")
    rules_of(replay)
    assert [int(request.partition(":")[0]) for request in replay.asked] == [GETCHAIN, GETRULE]


def test_a_namespace_without_tables_is_asked_once() -> None:
    replay = Replay("nft.txt")
    replay.answers.clear()
    assert list(nftables.read(replay, 7)) == []
    assert len(replay.asked) == 1


def test_the_fields_of_a_published_port() -> None:
    rule = next(r for r in rules_of(Replay("nft.txt")) if r.to == "172.17.0.2:80")
    assert rule == Rule(
        netns=7,
        family="ipv4",
        backend="nft",
        table="nat",
        chain="DOCKER",
        position=2,
        text="-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
        verdict="DNAT",
        proto="tcp",
        in_interface="!docker0",
        dport="8080",
        to="172.17.0.2:80",
        packets=1,
        bytes=60,
    )


def test_the_fields_of_a_native_published_port() -> None:
    rule = next(r for r in rules_of(Replay("native.txt")) if r.to == "192.168.0.2:80")
    assert (rule.verdict, rule.proto, rule.dport, rule.in_interface, rule.comment, rule.packets) == (
        "DNAT",
        "tcp",
        "8080",
        "!br-dummy",
        "DNAT",
        0,
    )


def test_the_fields_of_native_rules() -> None:
    fields = {
        rule.text: (rule.verdict, rule.src or rule.dst or rule.dport or rule.in_interface or rule.proto)
        for rule in rules_of(Replay("native.txt"))
    }
    for text, expected in {
        "tcp dport 80-90 accept": ("ACCEPT", "80:90"),
        "tcp dport != 80-90 accept": ("ACCEPT", "!80:90"),
        "tcp dport { 80, 443, 1000-2000 } accept": ("ACCEPT", "80,443,1000-2000"),
        'iifname "eth*" accept': ("ACCEPT", "eth+"),
        "ip saddr != 192.168.0.0/24 accept": ("ACCEPT", "!192.168.0.0/24"),
        "ip saddr @hosts accept": ("ACCEPT", "@hosts"),
        "meta l4proto icmp accept": ("ACCEPT", "icmp"),
        "meta l4proto != tcp accept": ("ACCEPT", "!tcp"),
        "masquerade": ("MASQUERADE", None),
        "jump other": ("other", None),
        "goto other": ("other", None),
        "continue": (None, None),
        "reject": ("REJECT", None),
    }.items():
        assert fields[text] == expected, text


def test_chains() -> None:
    chains = [record for record in nftables.read(Replay("nft.txt"), 7) if isinstance(record, Chain)]
    forward = next(c for c in chains if (c.family, c.table, c.name) == ("ipv4", "filter", "FORWARD"))
    assert forward == Chain(
        netns=7,
        family="ipv4",
        backend="nft",
        table="filter",
        name="FORWARD",
        type="filter",
        hook="forward",
        priority=0,
        policy="DROP",
        packets=5,
        bytes=6,
    )
    assert Chain(netns=7, family="ipv4", backend="nft", table="nat", name="DOCKER") in chains


class Changing(Replay):
    """Rules that a transaction changes after the chains were read: the first `times` times."""

    def __init__(self, times: int) -> None:
        super().__init__("nft.txt")
        self.times = times

    def dump(self, msg_type: int, body: bytes = b"", flags: int = 0) -> list[tuple[int, bytes]]:
        answers = super().dump(msg_type, body, flags)
        if msg_type == GETCHAIN and self.times > 0:
            self.times -= 1
            return [(kind, answer[:2] + b"\xab\xcd" + answer[4:]) for kind, answer in answers]
        return answers


def test_rules_that_changed_meanwhile_are_read_again() -> None:
    replay = Changing(2)
    assert len(rules_of(replay)) == len(IPTABLES.rules)
    assert len(replay.asked) == 6


def test_rules_that_never_hold_still_are_an_error() -> None:
    with pytest.raises(NetlinkError):
        rules_of(Changing(1000))


# --- rules made by hand: what other versions write --------------------------------------------------------------


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def expression(name: str, *attributes: bytes) -> bytes:
    return attribute(1, name.encode() + b"\0") + attribute(2, b"".join(attributes))


def data(kind: int, value: bytes) -> bytes:
    return attribute(kind, attribute(1, value))


def meta(key: int) -> bytes:
    return expression("meta", number(1, 1), number(2, key))


def payload(base: int, offset: int, length: int) -> bytes:
    return expression("payload", number(1, 1), number(2, base), number(3, offset), number(4, length))


def compare(value: bytes, operator: int = 0) -> bytes:
    return expression("cmp", number(1, 1), number(2, operator), data(3, value))


def bitwise(mask: bytes, xor: bytes | None = None) -> bytes:
    xor = bytes(len(mask)) if xor is None else xor
    return expression("bitwise", number(1, 1), number(2, 1), number(3, len(mask)), data(4, mask), data(5, xor))


def verdict(code: int) -> bytes:
    return expression("immediate", number(1, 0), attribute(2, attribute(2, number(1, code))))


def wide(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">Q", value))


def message(*expressions: bytes) -> bytes:
    """A rule of the chain INPUT of iptables' filter table, as in a dump."""
    listed = b"".join(attribute(1, e) for e in expressions)
    return b"\2\0\0\1" + attribute(1, b"filter\0") + attribute(2, b"INPUT\0") + wide(3, 9) + attribute(4, listed)


ACCEPT = verdict(1)


def text(*expressions: bytes, family: str = "ipv4") -> str:
    assert family in ("ipv4", "ipv6")
    rule = messages.Rule("ipv4" if family == "ipv4" else "ipv6", "filter", "INPUT", list(expressions), b"")
    return iptables.spell(rule)[0].text


@pytest.mark.parametrize(
    ("expressions", "spelled"),
    [
        # iptables before 1.8.8 compared whole addresses with a mask
        ((payload(1, 12, 4), bitwise(b"\xff\xff\0\0"), compare(b"\x0a\0\0\0")), "-s 10.0.0.0/16"),
        ((payload(1, 12, 2), compare(b"\x0a\0")), "-s 10.0.0.0/16"),
        ((payload(1, 16, 4), compare(b"\x0a\0\0\1", 1)), "! -d 10.0.0.1/32"),
        ((payload(1, 9, 1), compare(b"\x06")), "-p tcp"),
        ((payload(1, 6, 2), bitwise(b"\x1f\xff"), compare(b"\0\0", 1)), "-f"),
        ((meta(6), compare(b"eth")), "-i eth+"),
        ((meta(7), compare(b"INVAL/D\0")), "! -o +"),
        (
            (meta(16), compare(b"\x11"), payload(2, 0, 4), compare(b"\0\x35\0\x36")),
            "-p udp -m udp --sport 53 --dport 54",
        ),
        ((meta(16), compare(b"\x06"), payload(2, 2, 2), compare(b"\4\0", 5)), "-p tcp -m tcp --dport 1024:65535"),
        ((meta(16), compare(b"\x06"), payload(2, 2, 2), compare(b"\4\0", 2)), "-p tcp -m tcp --dport 0:1023"),
        ((meta(16), compare(b"\x01"), payload(2, 0, 2), compare(b"\3\1")), "-p icmp -m icmp --icmp-type 3/1"),
        ((payload(1, 8, 1), compare(b"\x05", 2)), "-m ttl --ttl-lt 5"),
        ((meta(19), compare(b"\x01")), "-m pkttype --pkt-type broadcast"),
        ((meta(3), bitwise(b"\xff\0\0\0"), compare(b"\x01\0\0\0", 1)), "-m mark ! --mark 0x1/0xff"),
    ],
)
def test_what_other_versions_of_iptables_write(expressions: tuple[bytes, ...], spelled: str) -> None:
    assert text(*expressions, ACCEPT) == f"-A INPUT {spelled} -j ACCEPT"


@pytest.mark.parametrize(
    "expressions",
    [
        (compare(b"\x06"),),  # of a register that nothing was loaded into
        (payload(1, 12, 4), bitwise(b"\xff\xff\0\0", b"\1\0\0\0"), compare(b"\x0a\0\0\0")),
        (payload(1, 12, 4), compare(b"\x0a\0\0\0", 2)),
        (payload(1, 1, 1), compare(b"\x10")),
        (payload(2, 2, 2), compare(b"\0\x50")),  # a port of no protocol
        (meta(4), compare(b"\1\0\0\0")),
        (expression("numgen"),),
        (verdict(3),),
        (meta(16), compare(b"\x06"), payload(2, 13, 1), compare(b"\x40")),  # a flag that libxt_tcp has no name for
        (payload(1, 12, 4), compare(b"\x0a\0\0\1"), payload(1, 12, 4), compare(b"\x0a\0\0\2")),
        (payload(1, 12, 4), bitwise(b"\xff" * 8), compare(b"\x0a\0\0\1")),  # a mask longer than the address
        (payload(1, 12, 4), bitwise(b"\x0f" * 8), compare(b"\x0a\0\0\1")),
    ],
)
def test_what_iptables_cannot_have_written(expressions: tuple[bytes, ...]) -> None:
    with pytest.raises(iptables.NotIptablesError):
        text(*expressions)


@pytest.mark.parametrize(
    ("expressions", "spelled"),
    [
        ((expression("numgen"), ACCEPT), "[unknown numgen expression] accept"),
        ((meta(99), compare(b"\1"), ACCEPT), "[unknown cmp expression] accept"),
        # a value that could be another's is forgotten with the expression that is not known
        (
            (meta(6), expression("osf"), compare(b"lo\0"), ACCEPT),
            "[unknown osf expression] [unknown cmp expression] accept",
        ),
        ((b"",), "[unknown malformed expression]"),
        (
            (payload(1, 12, 4), bitwise(b"\xff" * 4, b"\1\0\0\0"), compare(b"\x0a\0\0\0")),
            "[unknown bitwise expression] [unknown cmp expression]",
        ),
        ((payload(1, 12, 4), bitwise(b"\xff" * 8), compare(b"\x0a\0\0\1"), ACCEPT), "[unknown cmp expression] accept"),
    ],
)
def test_native_expressions_that_are_not_known(expressions: tuple[bytes, ...], spelled: str) -> None:
    rule = Speller(None).rule(messages.Rule("ipv4", "t", "c", list(expressions), b""), 1, 1)
    assert (rule.text, rule.exact) == (spelled, False)


def test_a_comparison_with_more_bytes_than_an_interface_index_has() -> None:
    """The kernel takes such a rule from whoever owns a network namespace."""
    expressions = [payload(1, 0, 16), meta(4), compare(b"\xff" * 16), ACCEPT]
    rule = Speller(None).rule(messages.Rule("ipv4", "t", "c", expressions, b""), 1, 1)
    assert rule.text == f"iif {(1 << 128) - 1} accept"


def test_an_interval_whose_ends_differ_in_length_is_not_known() -> None:
    ends = [Element(b"\xff", 0, {}, None), Element(b"\x01\0\0", 1, {}, None)]
    with pytest.raises(datatypes.UnknownExpressionError):
        native._intervals(ends, datatypes.NUMBER)


def test_comments_of_userdata() -> None:
    assert messages.comment(b"\0\x06hello\0") == b"hello"
    assert messages.comment(b"\x01\x02xx\0\x03hi\0") == b"hi"
    assert messages.comment(b"\x01\x02xx") is None
    assert messages.comment(b"") is None


@given(st.lists(st.binary(max_size=80), max_size=4), st.binary(max_size=20))
def test_no_expression_raises(raws: list[bytes], userdata: bytes) -> None:
    rule = messages.Rule("ipv4", "filter", "INPUT", raws, userdata)
    Speller(None).rule(rule, 1, 1)
    try:
        iptables.spell(rule)
    except iptables.NotIptablesError:
        return


# --- shapes: rules that are alike, held equal to the plain way ----------------------------------------------------


def plainly(body: bytes, *, foreign: bool, position: int = 1) -> Rule:
    """The record of a rule, each expression read by itself."""
    rule = messages.parse_rule(messages.FAMILIES[body[0]], attributes(body, 4))
    if foreign:
        return Speller(None).rule(rule, 7, position)
    spelled, packets, octets = iptables.spell(rule)
    return Rule(
        netns=7,
        family=rule.family,
        backend="nft",
        table=rule.table,
        chain=rule.chain,
        position=position,
        text=spelled.text,
        verdict=spelled.verdict,
        packets=packets,
        bytes=octets,
        exact=spelled.exact,
        **spelled.fields,
    )


BY_IPTABLES = [body for _, body in IPTABLES.answers[f"{GETRULE}:00000000"]]
BY_NFT = [body for _, body in NATIVE.answers[f"{GETRULE}:00000000"]]
SHAPED = [
    (body, shape)
    for bodies, foreign in ((BY_IPTABLES, False), (BY_NFT, True))
    for body in bodies
    if (shape := shapes.make(body, foreign=foreign)) is not None
]


def by_shape(shape: Shape, body: bytes, positions: shapes.Positions | None = None) -> Rule | None:
    """The record of a rule where no shape but this is known."""
    known = Shapes()
    known._known[shape.unpack.__self__.size] = [shape]  # type: ignore[attr-defined]
    return known.rule(body, 7, {} if positions is None else positions, {shape.table} if shape.is_foreign else ())


def test_most_recorded_rules_have_a_shape() -> None:
    by_iptables = [shape for _, shape in SHAPED if not shape.is_foreign]
    by_nft = [shape for _, shape in SHAPED if shape.is_foreign]
    assert len(by_iptables) > 0.9 * len(BY_IPTABLES)
    assert len(by_nft) > 0.7 * len(BY_NFT)
    assert sum(len(shape.values) for shape in by_iptables) > 40
    assert sum(len(shape.extensions) for shape in by_iptables) > 50
    assert sum(len([value for value in shape.values if value[2]]) for shape in by_nft) > 20
    assert sum(len(shape.joined) for shape in by_nft) > 2


@pytest.mark.parametrize("number_of_rule", range(len(SHAPED)))
def test_a_rule_fits_its_own_shape(number_of_rule: int) -> None:
    body, shape = SHAPED[number_of_rule]
    assert by_shape(shape, body) == plainly(body, foreign=shape.is_foreign)


@given(st.data())
def test_what_a_shape_says_is_what_the_plain_way_says(draw: st.DataObject) -> None:
    body, shape = draw.draw(st.sampled_from(SHAPED))
    parts = list(shape.unpack(body))
    few = st.integers(0, 3)
    for value in shape.values:
        of_part = parts[value[0]]
        if isinstance(of_part, int):
            most = 0xFFFF if value[0] not in (shape.counters or ()) else 2**64 - 1
            parts[value[0]] = draw.draw(st.one_of(st.sampled_from([0, 1, 53, 0xFFFE, 0xFFFF]), st.integers(0, most)))
        else:
            size = len(of_part)
            parts[value[0]] = draw.draw(
                st.one_of(st.sampled_from([bytes(size), b"\xff" * size]), st.binary(min_size=size, max_size=size))
            )
    for extension in shape.extensions:
        info = bytearray(parts[extension[0]])
        for at in draw.draw(st.lists(st.integers(0, len(info) - 1), max_size=4)) if info else ():
            info[at] = draw.draw(st.one_of(few, st.integers(0, 255)))
        parts[extension[0]] = bytes(info)
    for counter in shape.counters or ():
        parts[counter] = draw.draw(st.integers(0, 2**64 - 1))
    alike = shape.unpack.__self__.pack(*parts)  # type: ignore[attr-defined]
    positions: shapes.Positions = {}
    found = by_shape(shape, alike, positions)
    if found is None:
        assert positions == {}  # it is counted where it is read plainly
        assert any(fields_of(extension, parts, shape) != extension[4] for extension in shape.extensions)
    else:
        assert found == plainly(alike, foreign=shape.is_foreign)


def fields_of(extension: shapes.Extension, parts: list[bytes], shape: Shape) -> list[str] | None:
    """The fields that an extension's bytes have; None where they cannot be read or have another name."""
    try:
        part, decode, extension_name, revision, _names = extension
        clause = decode(extension_name, revision, parts[part], shape.family)
    except UnknownError:
        return None
    return None if clause.name else [name for name, _ in clause.fields]


@given(st.sampled_from(SHAPED), st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 255)), max_size=3))
def test_a_rule_that_fits_a_shape_by_chance_is_read_as_plainly(
    found: tuple[bytes, Shape], damage: list[tuple[int, int]]
) -> None:
    body, shape = found
    broken = bytearray(body)
    for at, octet in damage:
        broken[at % len(broken)] = octet
    record = by_shape(shape, bytes(broken))
    if record is not None:
        assert record == plainly(bytes(broken), foreign=shape.is_foreign)


def test_rules_of_foreign_tables_have_other_shapes() -> None:
    known, body = Shapes(), BY_IPTABLES[0]
    shape = shapes.make(body, foreign=False)
    assert shape is not None
    for _ in range(2):
        known.learn(body, foreign=False)
    positions: shapes.Positions = {}
    assert known.rule(body, 7, positions, {shape.table}) is None
    assert positions == {}
    known.learn(body, foreign=True)
    foreign = known.rule(body, 7, positions, {shape.table})
    assert foreign is not None
    assert foreign == plainly(body, foreign=True)
    assert known.rule(body, 7, {}, ()) == plainly(body, foreign=False)


def test_positions_are_counted_by_chain() -> None:
    body, shape = SHAPED[0]
    positions = {shape.chain: 4}
    records = [by_shape(shape, body, positions) for _ in range(3)]
    assert [record.position for record in records if record] == [5, 6, 7]


def test_a_shape_is_learned_from_the_second_of_its_kind_and_not_without_end() -> None:
    known, body = Shapes(), BY_IPTABLES[0]
    known.learn(body, foreign=False)
    assert known.rule(body, 7, {}, ()) is None
    known.learn(body, foreign=False)
    assert known.rule(body, 7, {}, ()) == plainly(body, foreign=False)
    for _ in range(100):
        known.learn(body, foreign=False)
    assert len(known._known[len(body)]) <= 8
    for size in range(10_000):
        known.learn(bytes(size), foreign=False)
    assert len(known._met) <= 256


@pytest.mark.parametrize(
    "expressions",
    [
        # one port by two comparisons: `--dport 80` of the first would be `--dport 70:80` with another value
        (meta(16), compare(b"\x06"), payload(2, 2, 2), compare(b"\0\x50"), compare(b"\0\x51", 2)),
        (meta(16), compare(b"\x06"), payload(2, 2, 2), compare(b"\0\x50"), compare(b"\0\x51")),
        (meta(16), compare(b"\x06"), payload(2, 2, 2), compare(b"\0\x50"), payload(2, 0, 4), compare(b"\0\1\0\2")),
        (expression("counter", wide(1, 1), wide(2, 2)), expression("counter", wide(1, 1), wide(2, 2))),
        (expression("counter", attribute(1, b"\1"), attribute(2, b"\2")),),
    ],
)
def test_rules_of_which_nothing_is_learned(expressions: tuple[bytes, ...]) -> None:
    body = message(*expressions)
    assert plainly(body, foreign=False).text.startswith("-A INPUT")
    assert shapes.make(body, foreign=False) is None


def test_a_text_with_a_percent_sign() -> None:
    body = message(meta(6), compare(b"%s%d\0"), payload(1, 12, 4), compare(b"\x0a\0\0\1"))
    shape = shapes.make(body, foreign=False)
    assert shape is not None
    found = by_shape(shape, body)
    assert found is not None
    assert found == plainly(body, foreign=False)
    assert found.text == "-A INPUT -s 10.0.0.1/32 -i %s%d"


@pytest.mark.parametrize(
    "expressions",
    [
        (meta(4), compare(b"\1\0\0\0"), ACCEPT),  # iif: the name of an interface in one namespace
        (meta(6), expression("lookup", attribute(1, b"__set0\0"), number(2, 1)), ACCEPT),
        (expression("numgen"),),
        # a constant that is used twice
        (
            expression("immediate", number(1, 1), data(2, b"\x0a\0\0\1")),
            expression("meta", number(2, 3), number(3, 1)),
            expression("nat", number(1, 1), number(2, 2), number(3, 1)),
        ),
    ],
)
def test_native_rules_of_which_nothing_is_learned(expressions: tuple[bytes, ...]) -> None:
    assert shapes.make(message(*expressions), foreign=True) is None


def test_a_range_of_native_ports_is_no_place() -> None:
    """A value that is compared twice as the beginning and the end of a range stays what all have in common."""
    tcp = (meta(16), compare(b"\x06"), payload(2, 2, 2))
    shape = shapes.make(message(*tcp, compare(b"\0\x50", 5), compare(b"\0\x5a", 3), ACCEPT), foreign=True)
    assert shape is not None
    assert shape.text == "tcp dport 80-90 accept"
    assert shape.values == ()


RECORDED = [
    body for request, answers in NATIVE.answers.items() if request.startswith(f"{GETRULE}:") for _, body in answers
]
RECORDED += [
    body for request, answers in IPTABLES.answers.items() if request.startswith(f"{GETRULE}:") for _, body in answers
]


@given(st.sampled_from(RECORDED), st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 255)), max_size=6))
def test_no_damaged_message_raises_anything_but_unknown_layout(body: bytes, damage: list[tuple[int, int]]) -> None:
    broken = bytearray(body)
    for at, octet in damage:
        broken[4 + at % (len(broken) - 4)] = octet
    replay = Replay("nft.txt")
    replay.answers[f"{GETRULE}:00000000"] = [(0, bytes(broken))]
    generation = bytes(broken[2:4])
    chains = replay.answers[f"{GETCHAIN}:00000000"]
    replay.answers[f"{GETCHAIN}:00000000"] = [(kind, c[:2] + generation + c[4:]) for kind, c in chains]
    try:
        list(nftables.read(replay, 1))
    except nftables.UnknownLayoutError:
        return


def values(body: bytes, at: int, end: int) -> list[list[tuple[int, int]]]:
    """Of each value in a message that is no attributes itself: the attributes that it is in, from the outermost on."""
    found: list[list[tuple[int, int]]] = []
    while at + 4 <= end:
        length = struct.unpack_from("=H", body, at)[0]
        if length < 4 or at + length > end:
            return []
        inner = values(body, at + 4, at + length) if length >= 12 else []
        found += [[(at, at + length), *path] for path in inner or [[]]]
        at += (length + 3) & ~3
    return found if at >= end else []


def with_value(body: bytes, path: list[tuple[int, int]], value: bytes) -> bytes:
    """`body` with another value, of any length, in place of one that `values` found."""
    for start, end in reversed(path):
        kind = struct.unpack_from("=H", body, start + 2)[0]
        value = attribute(kind, value)
        outer = next((span for span in reversed(path) if span[0] < start), None)
        head, tail = (outer[0] + 4, outer[1]) if outer else (0, len(body))
        value = body[head:start] + value + body[(end + 3) & ~3 : max(tail, (end + 3) & ~3)]
    return value


@given(st.sampled_from(RECORDED), st.data())
def test_no_value_of_any_length_raises(body: bytes, drawn: st.DataObject) -> None:
    """A container that may change its own rules writes what the kernel takes: 16 bytes where an index has four."""
    path = drawn.draw(st.sampled_from(values(body, messages.NFGENMSG, len(body))))
    old = body[path[-1][0] + 4 : path[-1][1]]
    assert with_value(body, path, old) == body
    broken = with_value(body, path, drawn.draw(st.binary(max_size=20) | st.sampled_from([b"\xff" * 16, old * 2])))
    a = attributes(broken, messages.NFGENMSG)
    for family in ("ipv4", "ipv6", "inet"):
        try:
            rule = messages.parse_rule(family, a)
        except (KeyError, ValueError):
            return  # for `read` to call an unknown layout
        Speller(None).rule(rule, 1, 1)
        try:
            iptables.spell(rule)
        except iptables.NotIptablesError:
            continue
