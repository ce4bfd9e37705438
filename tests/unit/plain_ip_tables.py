"""Legacy tables in the plain way, each rule by itself: what `hostinspect.kernel.ip_tables` must say as well."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import NamedTuple

from hostinspect import facts
from hostinspect.kernel.ip_tables import IPV4, Protocol, Table, UnknownLayoutError, interface
from hostinspect.kernel.xtables.rule import (
    INV_DSTIP,
    INV_FRAG,
    INV_PROTO,
    INV_SRCIP,
    INV_VIA_IN,
    INV_VIA_OUT,
    RuleText,
)
from hostinspect.kernel.xtables.spelling import string

_ENTRY = {
    "ipv4": Struct("@4s4s4s4s16s16s16s16sHBBI2HI2Q"),
    "ipv6": Struct("@16s16s16s16s16s16s16s16sHxBB3xI2HI2Q"),
}
_EXTENSION = Struct("@H29sB")
_VERDICT = Struct("@i")
_VERDICTS = {-1: "DROP", -2: "ACCEPT", -4: "QUEUE", -5: "RETURN"}
_F_FRAG = 0x01


class _Extension(NamedTuple):
    name: str
    revision: int
    info: bytes


class Entry(NamedTuple):
    """One struct ipt_entry."""

    offset: int
    next: int
    header: tuple[bytes, ...]  # addresses, masks, interfaces, their masks
    proto: int
    flags: int
    invert: int
    packets: int
    bytes: int
    matches: tuple[_Extension, ...]
    target: _Extension


def _extension(blob: bytes, offset: int, end: int) -> tuple[_Extension, int]:
    size, name, revision = _EXTENSION.unpack_from(blob, offset)
    if not _EXTENSION.size <= size <= end - offset:
        raise UnknownLayoutError("an extension is larger than its rule")
    return _Extension(string(name), revision, blob[offset + _EXTENSION.size : offset + size]), offset + size


def entries(protocol: Protocol, blob: bytes) -> Iterator[Entry]:
    """The rules of a blob, policies and heads of chains included. Raises `UnknownLayoutError`."""
    offset = 0
    while offset < len(blob):
        try:
            *header, proto, flags, invert, _cache, target_offset, next_offset, _from, packets, octets = _ENTRY[
                protocol.family
            ].unpack_from(blob, offset)
            if not _ENTRY[protocol.family].size <= target_offset < next_offset <= len(blob) - offset:
                raise UnknownLayoutError(f"a rule's offsets at {offset} make no sense")
            matches, at = [], offset + _ENTRY[protocol.family].size
            while at < offset + target_offset:
                found, at = _extension(blob, at, offset + target_offset)
                matches.append(found)
            target, _end = _extension(blob, offset + target_offset, offset + next_offset)
        except StructError as e:
            raise UnknownLayoutError(str(e)) from e
        after = offset + next_offset
        yield Entry(offset, after, tuple(header), proto, flags, invert, packets, octets, tuple(matches), target)
        offset = after


def _verdict(entry: Entry) -> int:
    if len(entry.target.info) < _VERDICT.size:
        raise UnknownLayoutError("a standard target without a verdict")
    verdict: int = _VERDICT.unpack_from(entry.target.info)[0]
    return verdict


def chain_heads(table: Table, rules: list[Entry]) -> dict[int, str]:
    """Offset of the first rule of each chain, and its name: hooks, and user's chains after their ERROR entry."""
    heads = {offset: name for name, offset in table.hook_entry.items()}
    for entry in rules:
        if entry.target.name == "ERROR" and entry.next < len(table.blob):  # the last one ends the table
            heads[entry.next] = string(entry.target.info)
    return heads


def decode(protocol: Protocol, table: Table, netns: int) -> Iterator[facts.Chain | facts.Rule]:
    rules = list(entries(protocol, table.blob))
    heads = chain_heads(table, rules)
    for chain, position, entry in walk(table, rules, heads):
        if position == 0:
            yield _chain(protocol, table, netns, chain, entry)
        else:
            yield _rule(protocol, table, netns, chain, position, entry, _spell(protocol, chain, entry, heads))


def walk(table: Table, rules: list[Entry], heads: dict[int, str]) -> Iterator[tuple[str, int, Entry]]:
    """The entries of a table by chain and position. Position 0 is the policy of a built-in chain or the beginning of a
    user's; the RETURN that ends one, which no tool shows, is left out."""
    policies = {offset: name for name, offset in table.underflow.items()}
    chain, position = "", 0
    for entry, following in zip_longest(rules, rules[1:]):
        if entry.offset in heads:
            chain, position = heads[entry.offset], 0
            if chain not in table.hook_entry:
                yield chain, 0, entry
        if entry.offset in policies:
            yield policies[entry.offset], 0, entry
        elif entry.target.name != "ERROR" and following is not None and following.target.name != "ERROR":
            position += 1
            yield chain, position, entry


def _chain(protocol: Protocol, table: Table, netns: int, name: str, entry: Entry) -> facts.Chain:
    policy = entry if name in table.underflow else None
    return facts.Chain(
        netns=netns,
        family=protocol.family,
        backend="legacy",
        table=table.name,
        name=name,
        hook=name.lower() if policy else None,
        policy=_VERDICTS.get(_verdict(policy)) if policy else None,
        packets=policy.packets if policy else None,
        bytes=policy.bytes if policy else None,
    )


def _spell(protocol: Protocol, chain: str, entry: Entry, heads: dict[int, str]) -> RuleText:
    spelled = RuleText(protocol.family, f"-A {chain}")
    source, destination, source_mask, destination_mask, iniface, outiface, in_mask, out_mask = entry.header
    spelled.address("s", "src", source, source_mask, entry.invert & INV_SRCIP)
    spelled.address("d", "dst", destination, destination_mask, entry.invert & INV_DSTIP)
    spelled.interface("i", "in_interface", interface(iniface, in_mask), entry.invert & INV_VIA_IN)
    spelled.interface("o", "out_interface", interface(outiface, out_mask), entry.invert & INV_VIA_OUT)
    spelled.protocol(entry.proto, entry.invert & INV_PROTO)
    if protocol is IPV4 and entry.flags & _F_FRAG:
        spelled.fragment(entry.invert & INV_FRAG)
    for match in entry.matches:
        spelled.match(*match)
    if entry.target.name:
        spelled.target(*entry.target)
    else:
        _jump(spelled, protocol, entry, heads)
    return spelled


def _rule(
    protocol: Protocol, table: Table, netns: int, chain: str, position: int, entry: Entry, spelled: RuleText
) -> facts.Rule:
    return facts.Rule(
        netns=netns,
        family=protocol.family,
        backend="legacy",
        table=table.name,
        chain=chain,
        position=position,
        text=spelled.text,
        verdict=spelled.verdict,
        packets=entry.packets,
        bytes=entry.bytes,
        exact=spelled.exact,
        **spelled.fields,
    )


def _jump(spelled: RuleText, protocol: Protocol, entry: Entry, heads: dict[int, str]) -> None:
    """A standard target: a verdict, or the offset of a chain's first rule."""
    verdict = _verdict(entry)
    if verdict == entry.next:
        return  # a rule without a target only counts: the kernel goes on with the next
    name = _VERDICTS.get(verdict) or heads.get(verdict)
    if name is None:
        spelled.unknown(f"verdict {verdict}")
    else:
        spelled.jump(name, goto=bool(entry.flags & protocol.goto))
