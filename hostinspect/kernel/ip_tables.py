"""The legacy tables of iptables and ip6tables: getsockopt(2) on a raw socket, as libiptc makes it.

`IPT_SO_GET_INFO` tells a table's size and where its chains begin, `IPT_SO_GET_ENTRIES` gives the rules as one blob of
`struct ipt_entry` (linux/netfilter_ipv4/ip_tables.h; `struct ip6t_entry` in linux/netfilter_ipv6/ip6_tables.h), in the
64-bit layout. Layouts have been the same since 2.6.

Asking for a table that a namespace has not makes it and may load its module, so only tables that
/proc/net/ip_tables_names lists are asked for.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from itertools import zip_longest
from struct import Struct, calcsize
from struct import error as StructError  # noqa: N812
from typing import TYPE_CHECKING, NamedTuple

from hostinspect import facts
from hostinspect.kernel.xtables.rule import (
    INV_DSTIP,
    INV_FRAG,
    INV_PROTO,
    INV_SRCIP,
    INV_VIA_IN,
    INV_VIA_OUT,
    RuleText,
    Words,
)
from hostinspect.kernel.xtables.spelling import IFNAMSIZ, string

if TYPE_CHECKING:
    from hostinspect.kernel.iptc import Saved

SO_GET_INFO, SO_GET_ENTRIES = 64, 65  # IPT_BASE_CTL and the next; the same numbers for IPv6
_INFO = Struct("@32sI5I5I2I")  # struct ipt_getinfo: name, valid_hooks, hook_entry, underflow, num_entries, size
_ENTRIES = Struct("@32sI4x")  # struct ipt_get_entries, up to its entries
_EXTENSION = Struct("@H29sB")  # struct xt_entry_match, xt_entry_target: size, name, revision; data follows
_VERDICT = Struct("@i")
_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")  # enum nf_inet_hooks
_VERDICTS = {-1: "DROP", -2: "ACCEPT", -4: "QUEUE", -5: "RETURN"}  # -NF_* - 1; XT_RETURN is -NF_REPEAT - 1
Saver = Callable[[facts.Family, str, str, int], "Saved | None"]  # family, table, chain, position
_NAMES_SIZE = 4096  # bytes; there are five tables
_ATTEMPTS = 5  # a table that is replaced between the two calls answers EAGAIN


class UnknownLayoutError(ValueError):
    """The blob is not one of the layout that we know."""


class Protocol(NamedTuple):
    """iptables or ip6tables."""

    family: facts.Family
    domain: int
    level: int
    names: str  # the file that lists the tables of a namespace
    entry: Struct  # src, dst, smsk, dmsk, iniface, outiface, their masks, proto, …, next_offset, comefrom, counters
    goto: int  # IPT_F_GOTO, IP6T_F_GOTO


IPV4 = Protocol(
    "ipv4",
    socket.AF_INET,
    socket.SOL_IP,
    "/proc/thread-self/net/ip_tables_names",
    Struct("@4s4s4s4s16s16s16s16sHBBI2HI2Q"),
    0x02,
)
IPV6 = Protocol(
    "ipv6",
    socket.AF_INET6,
    socket.IPPROTO_IPV6,
    "/proc/thread-self/net/ip6_tables_names",
    Struct("@16s16s16s16s16s16s16s16sHxBB3xI2HI2Q"),  # tos is not used by anyone
    0x04,
)
_F_FRAG = 0x01  # IPT_F_FRAG; IPv6's 0x01 only repeats that a protocol is given


class Table(NamedTuple):
    """A table as the kernel gave it."""

    name: str
    hook_entry: dict[str, int]  # offset of the first rule of each built-in chain
    underflow: dict[str, int]  # offset of its policy, a rule itself
    blob: bytes


def table_names(protocol: Protocol) -> list[str]:
    """The legacy tables of this network namespace (/proc/net/ip_tables_names); none where the module is absent."""
    try:
        fd = os.open(protocol.names, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        return os.read(fd, _NAMES_SIZE).decode().split()
    finally:
        os.close(fd)


def read_table(protocol: Protocol, name: str) -> Table:
    """One table that `table_names` lists. Raises OSError: EPERM without CAP_NET_ADMIN."""
    from hostinspect.kernel.sockopt import getsockopt

    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(protocol.domain, kind, socket.IPPROTO_RAW) as raw:
        for _ in range(_ATTEMPTS):
            answer = getsockopt(raw, protocol.level, SO_GET_INFO, _INFO.pack(name.encode(), *[0] * 13))
            _name, valid_hooks, *offsets, _count, size = _INFO.unpack(answer)
            request = _ENTRIES.pack(name.encode(), size)
            try:
                blob = getsockopt(raw, protocol.level, SO_GET_ENTRIES, request, _ENTRIES.size + size)
            except OSError as e:
                if e.errno != errno.EAGAIN:
                    raise
                continue
            hooks = [n for n in range(len(_HOOKS)) if valid_hooks & 1 << n]
            return Table(
                name,
                {_HOOKS[n]: offsets[n] for n in hooks},
                {_HOOKS[n]: offsets[5 + n] for n in hooks},
                blob[_ENTRIES.size :],
            )
    raise OSError(errno.EAGAIN, f"the table {name} was being replaced each time it was read")


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
    if calcsize("P") != 8:
        raise UnknownLayoutError("a 32-bit program sees other structures")
    offset = 0
    while offset < len(blob):
        try:
            *header, proto, flags, invert, _cache, target_offset, next_offset, _from, packets, octets = (
                protocol.entry.unpack_from(blob, offset)
            )
            if not protocol.entry.size <= target_offset < next_offset <= len(blob) - offset:
                raise UnknownLayoutError(f"a rule's offsets at {offset} make no sense")
            matches, at = [], offset + protocol.entry.size
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


def decode(
    protocol: Protocol, table: Table, netns: int, saved: Saver | None = None
) -> Iterator[facts.Chain | facts.Rule]:
    """The chains and rules of a table, in its order; `position` counts from 1 in each chain.

    An extension that is not known makes its rule inexact, with a bracket in its text, unless `saved` (which is
    `hostinspect.kernel.iptc.saved`) knows it. Raises `UnknownLayoutError`.
    """
    rules = list(entries(protocol, table.blob))
    heads = chain_heads(table, rules)
    for chain, position, entry in walk(table, rules, heads):
        if position == 0:
            yield _chain(protocol, table, netns, chain, entry)
            continue
        spelled = _spell(protocol, chain, entry, heads)
        if not spelled.exact and saved is not None:
            known = saved(protocol.family, table.name, chain, position)
            spelled = spelled if known is None else _spell(protocol, chain, entry, heads, known)
        yield _rule(protocol, table, netns, chain, position, entry, spelled)


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


def _spell(protocol: Protocol, chain: str, entry: Entry, heads: dict[int, str], known: Saved | None = None) -> RuleText:
    """The rule's text; an extension that we do not know as `known` has it."""
    spelled = RuleText(protocol.family, f"-A {chain}")
    source, destination, source_mask, destination_mask, iniface, outiface, in_mask, out_mask = entry.header
    spelled.address("s", "src", source, source_mask, entry.invert & INV_SRCIP)
    spelled.address("d", "dst", destination, destination_mask, entry.invert & INV_DSTIP)
    spelled.interface("i", "in_interface", interface(iniface, in_mask), entry.invert & INV_VIA_IN)
    spelled.interface("o", "out_interface", interface(outiface, out_mask), entry.invert & INV_VIA_OUT)
    spelled.protocol(entry.proto, entry.invert & INV_PROTO)
    if protocol is IPV4 and entry.flags & _F_FRAG:
        spelled.fragment(entry.invert & INV_FRAG)
    others: tuple[Words | None, ...] = (None,) * len(entry.matches)
    if known is not None and len(known.matches) == len(entry.matches):
        others = known.matches
    for match, other in zip(entry.matches, others, strict=True):
        spelled.match(*match, other)
    if entry.target.name:
        spelled.target(*entry.target, known.target if known is not None else None)
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


def interface(ifname: bytes, mask: bytes) -> str:
    """`eth0`; `eth+` where the mask ends before the name's NUL; "" where none is meant."""
    length = next((n for n, octet in enumerate(mask) if not octet), len(mask))
    name = string(ifname[:length])
    return name + "+" if 0 < length < IFNAMSIZ and len(name) == length else name
