"""Matches and targets of xtables: recorded bytes against iptables-save's own words, and bytes that are not any."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostinspect.facts import Family
from hostinspect.kernel import xtables
from hostinspect.kernel.xtables import ipset
from hostinspect.kernel.xtables.extension import UnknownError
from hostinspect.kernel.xtables.spelling import protocol, quoted
from tests.unit.packet_filter_fixtures import Extension, LegacyRule, legacy, set_name

RULES = [rule for _protocol, _table, rules in legacy() for rule in rules]


@pytest.fixture(autouse=True)
def recorded_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipset, "set_name", set_name)


def spell(extension: Extension, family: Family) -> str:
    kind, name, revision, info = extension
    clause = (xtables.match if kind == "match" else xtables.target)(name, revision, info, family)
    return f" -{kind[0] if kind == 'match' else 'j'} {clause.name or name}{clause.text}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.text)
def test_the_extensions_of_a_recorded_rule(rule: LegacyRule) -> None:
    spelled = "".join(spell(extension, rule.family) for extension in rule.extensions)
    has_target = any(extension.kind == "target" for extension in rule.extensions)
    text = rule.text if has_target else rule.text.rpartition(" -j ")[0].rpartition(" -g ")[0] or rule.text
    assert rule.text.endswith(spelled) if has_target else spelled in rule.text, text


def test_every_extension_of_the_tables_is_recorded_or_tested_below() -> None:
    """So that none is added without bytes of a real rule."""
    recorded = {(e.kind, e.name, e.revision) for rule in RULES for e in rule.extensions}
    decoded = {("match", name) for name in xtables._MATCH_HOME} | {("target", name) for name in xtables._TARGET_HOME}
    elsewhere = {("match", name) for name in ("ipvs", "state", "cluster", "nfacct", "eui64", "udplite")} | {
        ("target", name) for name in ("AUDIT", "SYNPROXY", "DNPT", "SNPT")
    }
    assert {(kind, name) for kind, name, _ in recorded} | elsewhere == decoded


ADDRESS = bytes([10, 0, 0, 1]) + bytes(12)
MASK = bytes([255, 255, 0, 0]) + bytes(12)
PREFIX6 = bytes.fromhex("fd000000000000000000000000000000")


@pytest.mark.parametrize(
    ("kind", "name", "revision", "info", "family", "text"),
    [
        # -m ipvs: this kernel has it not; what swarm's ingress and its load balancers write
        ("match", "ipvs", 0, struct.pack("=16s16s2s2B2s2B", b"", b"", b"", 0, 0, b"", 0, 1), "ipv4", " --ipvs"),
        (
            "match",
            "ipvs",
            0,
            struct.pack("=16s16s2s2B2s2B", ADDRESS, MASK, b"\0\x50", 6, 0, b"", 2 | 16, 2 | 4 | 8 | 16 | 32),
            "ipv4",
            " ! --vproto 6 --vaddr 10.0.0.1/16 --vport 80 --vdir REPLY --vmethod MASQ",
        ),
        # revisions that kernels no longer have, or iptables no longer writes
        ("match", "state", 0, struct.pack("=I", 2 | 4), "ipv4", " --state RELATED,ESTABLISHED"),
        ("match", "addrtype", 0, struct.pack("=2H2I", 0, 4, 0, 1), "ipv4", " ! --dst-type LOCAL"),
        ("match", "multiport", 0, struct.pack("=2B15H", 1, 2, 80, 443, *[0] * 13), "ipv4", " --dports 80,443"),
        (
            "match",
            "conntrack",
            1,
            struct.pack("=128s2IH2s2s2s2s2H2B", b"", 0, 0, 0, b"", b"\0\x50", b"", b"", 1 | 512, 0, 6, 0),
            "ipv4",
            " --ctstate RELATED,ESTABLISHED --ctorigdstport 80",
        ),
        ("match", "tos", 0, struct.pack("=2B", 0x10, 1), "ipv4", " ! --tos 0x10"),
        ("match", "cluster", 0, struct.pack("=4I", 2, 1, 7, 1), "ipv4", None),
        ("match", "nfacct", 0, struct.pack("=32s8x", b"web"), "ipv4", " --nfacct-name  web"),
        ("match", "eui64", 0, bytes(4), "ipv6", ""),
        ("match", "udplite", 0, struct.pack("=4HB", 0, 65535, 9, 9, 0), "ipv4", " --dport 9"),
        ("match", "set", 1, struct.pack("=H2B", 0, 2, 2), "ipv4", " --match-set docker-ext-bridges-v4 src,dst"),
        ("match", "quota", 0, struct.pack("=I4xQ8x", 1, 5), "ipv4", " ! --quota 5"),
        ("target", "AUDIT", 0, bytes([1]), "ipv4", " --type drop"),
        (
            "target",
            "SYNPROXY",
            0,
            struct.pack("=2BH", 1 | 2 | 4 | 8, 7, 1460),
            "ipv4",
            " --sack-perm --timestamp --wscale 7 --mss 1460",
        ),
        ("target", "MARK", 1, struct.pack("@LB", 5, 2), "ipv4", " --or-mark 0x5"),
        ("target", "CT", 0, struct.pack("=2H2I16s8x", 1, 0, 0, 0, b""), "ipv4", " --notrack"),
        ("target", "NFQUEUE", 0, struct.pack("=H", 3), "ipv4", " --queue-num 3"),
        ("target", "SNPT", 0, struct.pack("=16s16s2B2x", PREFIX6, b"", 8, 0), "ipv6", " --src-pfx fd00::/8"),
        ("target", "DNPT", 0, struct.pack("=16s16s2B2x", b"", PREFIX6, 0, 8), "ipv6", " --dst-pfx fd00::/8"),
        (
            "target",
            "SET",
            1,
            struct.pack("=H2BH2B", 0, 1, 2, 0xFFFF, 0, 0),
            "ipv4",
            " --add-set docker-ext-bridges-v4 src",
        ),
    ],
)
def test_an_extension_made_by_hand(
    kind: str, name: str, revision: int, info: bytes, family: Family, text: str | None
) -> None:
    padded = info.ljust(-(-len(info) // 8) * 8, b"\0")
    decode = xtables.match if kind == "match" else xtables.target
    expected = (
        text
        if text is not None
        else (" ! --cluster-local-nodemask 0x00000001 --cluster-total-nodes 2 --cluster-hash-seed 0x00000007")
    )
    assert decode(name, revision, padded, family).text == expected


def test_fields_of_dnat() -> None:
    info = struct.pack("=I16s16s2s2s2s6x", 3, ADDRESS, ADDRESS, b"\0\x50", b"\0\x50", b"")
    clause = xtables.target("DNAT", 2, info, "ipv4")
    assert (clause.text, clause.fields) == (" --to-destination 10.0.0.1:80", (("to", "10.0.0.1:80"),))


@pytest.mark.parametrize(
    ("name", "revision", "length"),
    [("tcp", 0, 8), ("tcp", 0, 24), ("tcp", 1, 16), ("nothing", 0, 8), ("hl", 0, 8)],
)
def test_another_name_revision_or_length_is_unknown(name: str, revision: int, length: int) -> None:
    with pytest.raises(UnknownError):
        xtables.match(name, revision, bytes(length), "ipv4")


def test_a_flag_without_a_name_is_unknown() -> None:
    with pytest.raises(UnknownError):
        xtables.match("rpfilter", 0, bytes([0x80]).ljust(8, b"\0"), "ipv4")


@pytest.mark.parametrize(
    ("raw", "spelled"),
    [
        (b"plain_word-1", "plain_word-1"),
        (b"", '""'),
        (b"two words", '"two words"'),
        (b'say "it\'s"\\', '"say \\"it\\\'s\\"\\\\"'),
        ("Größe".encode(), '"Größe"'),
        (b"\xff", '"\\xff"'),
        (b"ends\0here", "ends"),
    ],
)
def test_quoting(raw: bytes, spelled: str) -> None:
    assert quoted(raw) == spelled


def test_protocols_have_libxtables_names_first() -> None:
    assert [protocol(number) for number in (6, 58, 136, 135, 253)] == [
        "tcp",
        "ipv6-icmp",
        "udplite",
        "mobility-header",
        "253",
    ]


KNOWN = [
    (kind, name, revision, family, row.layout.size)
    for kind, homes, decoders in (("match", xtables._MATCHES, "MATCHES"), ("target", xtables._TARGETS, "TARGETS"))
    for home in homes
    for family in ("ipv4", "ipv6")
    for (name, revision), row in xtables._table(home, decoders, family).items()
]


@given(st.sampled_from(KNOWN), st.data())
def test_no_bytes_raise_anything_but_unknown(known: tuple[str, str, int, Family, int], data: st.DataObject) -> None:
    kind, name, revision, family, size = known
    padded = -(-size // 8) * 8
    some = data.draw(st.binary(min_size=0, max_size=min(padded, 96)))
    info = some.ljust(padded, data.draw(st.sampled_from([b"\0", b"\xff", b"\x01"])))
    try:
        clause = (xtables.match if kind == "match" else xtables.target)(name, revision, info, family)
    except UnknownError:
        return
    assert clause.text == "" or clause.text.startswith(" ")
    clause.text.encode()


@given(st.text(max_size=20), st.integers(0, 255), st.binary(max_size=64))
def test_no_name_raises_anything_but_unknown(name: str, revision: int, info: bytes) -> None:
    for decode in (xtables.match, xtables.target):
        try:
            decode(name, revision, info, "ipv4")
        except UnknownError:
            continue
