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
from _socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPPROTO_RAW, SOCK_CLOEXEC, SOCK_RAW, SOL_IP, socket
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from struct import Struct as Layout
from struct import calcsize
from struct import error as StructError  # noqa: N812
from typing import TYPE_CHECKING

from msgspec import Struct

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
from hostinspect.kernel.xtables.spelling import IFNAMSIZ, address, string

if TYPE_CHECKING:
    from hostinspect.kernel.iptc import Saved
    from hostinspect.kernel.xtables.shapes import Alike, Plain, Shapes

SO_GET_INFO, SO_GET_ENTRIES = 64, 65  # IPT_BASE_CTL and the next; the same numbers for IPv6
_INFO = Layout("@32sI5I5I2I")  # struct ipt_getinfo: name, valid_hooks, hook_entry, underflow, num_entries, size
_ENTRIES = Layout("@32sI4x")  # struct ipt_get_entries, up to its entries
_EXTENSION = Layout("@H29sB")  # struct xt_entry_match, xt_entry_target: size, name, revision; data follows
_VERDICT = Layout("@i")
_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")  # enum nf_inet_hooks
_VERDICTS = {-1: "DROP", -2: "ACCEPT", -4: "QUEUE", -5: "RETURN"}  # -NF_* - 1; XT_RETURN is -NF_REPEAT - 1
Saver = Callable[[facts.Family, str, str, int], "Saved | None"]  # family, table, chain, position
_NAMES_SIZE = 4096  # bytes; there are five tables
_WORTH_SHAPES = 1 << 13  # bytes of a table, some thirty rules, from which on they are less work
_ATTEMPTS = 5  # a table that is replaced between the two calls answers EAGAIN


class UnknownLayoutError(ValueError):
    """The blob is not one of the layout that we know."""


class Protocol(Struct, frozen=True):
    """iptables or ip6tables."""

    family: facts.Family
    domain: int
    level: int
    names: str  # the file that lists the tables of a namespace
    entry: Layout  # src, dst, head, target_offset, next_offset, counters
    head: Layout  # smsk, dmsk, iniface, outiface, their masks, proto, flags, invflags
    goto: int  # IPT_F_GOTO, IP6T_F_GOTO


IPV4 = Protocol(
    "ipv4",
    AF_INET,
    SOL_IP,
    "/proc/thread-self/net/ip_tables_names",
    Layout("@4s4s76s4x2H4x2Q"),
    Layout("@4s4s16s16s16s16sHBB"),
    0x02,
)
IPV6 = Protocol(
    "ipv6",
    AF_INET6,
    IPPROTO_IPV6,
    "/proc/thread-self/net/ip6_tables_names",
    Layout("@16s16s104s4x2H4x2Q"),
    Layout("@16s16s16s16s16s16sHxBB3x"),  # tos is not used by anyone
    0x04,
)
_F_FRAG = 0x01  # IPT_F_FRAG; IPv6's 0x01 only repeats that a protocol is given


class Table(Struct, frozen=True):
    """A table as the kernel gave it."""

    name: str
    hook_entry: dict[str, int]  # offset of the first rule of each built-in chain
    underflow: dict[str, int]  # offset of its policy, a rule itself
    blob: bytes


def is_registered(protocol: Protocol) -> bool:
    """Whether the kernel has the module now: it makes /proc/net/ip_tables_names in all namespaces at once."""
    try:
        os.stat(protocol.names)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # for `table_names` to say
    return True


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

    raw = socket(protocol.domain, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)
    try:
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
    finally:
        raw.close()
    raise OSError(errno.EAGAIN, f"the table {name} was being replaced each time it was read")


Extension = tuple[str, int, bytes]  # name, revision, and what its struct xt_entry_* has after these


class Entry(Struct, frozen=True):
    """One struct ipt_entry."""

    offset: int
    next: int
    source: bytes
    destination: bytes
    head: bytes  # of Protocol.head
    matches: bytes  # as they are, for `extensions`
    target: Extension
    packets: int
    bytes: int


@lru_cache(maxsize=4096)
def extensions(matches: bytes) -> tuple[Extension, ...]:
    """The matches of a rule. Raises `UnknownLayoutError`."""
    found, at, end = [], 0, len(matches)
    while at < end:
        one, size = _extension(matches[at:])
        found.append(one)
        at += size
    return tuple(found)


@lru_cache(maxsize=4096)
def _target_of(raw: bytes) -> Extension:
    return _extension(raw)[0]


def _extension(raw: bytes) -> tuple[Extension, int]:
    """The extension that `raw` begins with, and its size."""
    try:
        size, name, revision = _EXTENSION.unpack_from(raw)
    except StructError as e:
        raise UnknownLayoutError(str(e)) from e
    if not _EXTENSION.size <= size <= len(raw):
        raise UnknownLayoutError("an extension is larger than its rule")
    return (string(name), revision, raw[_EXTENSION.size : size]), size


def entries(protocol: Protocol, table: Table) -> list[Entry | Alike]:
    """The rules of a table, policies and heads of chains included. Raises `UnknownLayoutError`."""
    if calcsize("P") != 8:
        raise UnknownLayoutError("a 32-bit program sees other structures")
    if len(table.blob) >= _WORTH_SHAPES:
        return _by_shapes(protocol, table)
    blob = table.blob
    offset, end = 0, len(blob)
    found: list[Entry | Alike] = []
    while offset < end:
        entry = _entry(protocol, blob, offset)
        found.append(entry)
        offset = entry.next
    return found


def _by_shapes(protocol: Protocol, table: Table) -> list[Entry | Alike]:
    family, blob, known = protocol.family, table.blob, shapes()
    offset, end = 0, len(blob)
    policies = {*table.underflow.values()}  # each is read by itself, and where a chain begins another row does
    stops = sorted({end, *policies, *table.hook_entry.values()}, reverse=True)
    found: list[Entry | Alike] = []
    while offset < end:
        while stops[-1] <= offset:
            stops.pop()
        entry: Entry | Alike | None = None
        if offset not in policies:
            entry = known.alike(family, blob, offset, stops[-1])
        if entry is None:
            entry = _entry(protocol, blob, offset)
            known.learn(family, blob[offset : entry.next])
        found.append(entry)
        offset = entry.next
    return found


def _entry(protocol: Protocol, blob: bytes, offset: int) -> Entry:
    try:
        source, destination, head, target_offset, next_offset, packets, octets = protocol.entry.unpack_from(
            blob, offset
        )
    except StructError as e:
        raise UnknownLayoutError(str(e)) from e
    begin = protocol.entry.size
    if not begin <= target_offset < next_offset <= len(blob) - offset:
        raise UnknownLayoutError(f"a rule's offsets at {offset} make no sense")
    target_at, after = offset + target_offset, offset + next_offset
    matches = blob[offset + begin : target_at]
    extensions(matches)
    target = _target_of(blob[target_at:after])
    return Entry(offset, after, source, destination, head, matches, target, packets, octets)


def _alone(family: facts.Family, raw: bytes) -> Plain | None:
    """One entry, for what its shape is: not that of a jump to another place of its table, or not known to us."""
    from hostinspect.kernel.xtables.shapes import Plain

    protocol = IPV4 if family == "ipv4" else IPV6
    entry = _entry(protocol, raw, 0)
    if not entry.target[0] and _verdict(entry) not in _VERDICTS:
        return None
    matches, target = _matches(family, entry.matches), _target(protocol, entry, {})
    if not (matches.exact and target.exact):
        return None
    return Plain(_rule(protocol, "", 0, "", 0, entry, matches, target), extensions(entry.matches), entry.target)


@lru_cache(maxsize=1)
def shapes() -> Shapes:
    """Those of all namespaces."""
    from hostinspect.kernel.xtables.shapes import Shapes

    return Shapes(_alone)


def _verdict(entry: Entry) -> int:
    info = entry.target[2]
    if len(info) < _VERDICT.size:
        raise UnknownLayoutError("a standard target without a verdict")
    verdict: int = _VERDICT.unpack_from(info)[0]
    return verdict


def chain_heads(table: Table, rules: Sequence[Entry | Alike]) -> dict[int, str]:
    """Offset of the first rule of each chain, and its name: hooks, and user's chains after their ERROR entry."""
    heads = {offset: name for name, offset in table.hook_entry.items()}
    for entry in rules:
        if isinstance(entry, Entry) and entry.target[0] == "ERROR" and entry.next < len(table.blob):  # the last ends it
            heads[entry.next] = string(entry.target[2])
    return heads


def decode(protocol: Protocol, table: Table, netns: int, saved: Saver | None = None) -> list[facts.Chain | facts.Rule]:
    """The chains and rules of a table, in its order; `position` counts from 1 in each chain.

    An extension that is not known makes its rule inexact, with a bracket in its text, unless `saved` (which is
    `hostinspect.kernel.iptc.saved`) knows it. Raises `UnknownLayoutError`.
    """
    rules = entries(protocol, table)
    heads = chain_heads(table, rules)
    found: list[facts.Chain | facts.Rule] = []
    for chain, position, entry in walk(table, rules, heads):
        if position == 0:
            found.append(_chain(protocol, table, netns, chain, entry))
            continue
        if not isinstance(entry, Entry):
            found += entry.rules(netns, table.name, chain, position)
            continue
        matches, target = _matches(protocol.family, entry.matches), _target(protocol, entry, heads)
        if saved is not None and not (matches.exact and target.exact):
            known = saved(protocol.family, table.name, chain, position)
            if known is not None:
                of_entry = extensions(entry.matches)
                others = known.matches if len(known.matches) == len(of_entry) else (None,) * len(of_entry)
                matches = _spell_matches(protocol.family, of_entry, others)
                target = _spell_target(protocol, entry, heads, known.target)
        found.append(_rule(protocol, table.name, netns, chain, position, entry, matches, target))
    return found


def walk(
    table: Table, rules: Sequence[Entry | Alike], heads: dict[int, str]
) -> Iterator[tuple[str, int, Entry | Alike]]:
    """The entries of a table by chain and position. Position 0 is the policy of a built-in chain or the beginning of a
    user's; the RETURN that ends one, which no tool shows, is left out."""
    policies = {offset: name for name, offset in table.underflow.items()}
    # ERROR begins a user's chain, or ends the table. It has no shape.
    is_error = [*(isinstance(entry, Entry) and entry.target[0] == "ERROR" for entry in rules), True]
    chain, position = "", 0
    for n, entry in enumerate(rules):
        if entry.offset in heads:
            chain, position = heads[entry.offset], 0
            if chain not in table.hook_entry:
                yield chain, 0, entry
        if entry.offset in policies:
            yield policies[entry.offset], 0, entry
        elif isinstance(entry, Entry):
            if not is_error[n] and not is_error[n + 1]:
                position += 1
                yield chain, position, entry
        else:
            if is_error[n + 1]:
                entry.entries.pop()
            if entry.entries:
                yield chain, position + 1, entry
            position += len(entry.entries)


def _chain(protocol: Protocol, table: Table, netns: int, name: str, entry: Entry | Alike) -> facts.Chain:
    policy = entry if isinstance(entry, Entry) and name in table.underflow else None
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


# --- a rule, from parts that are the same in many --------------------------------------------------------------

_address = lru_cache(maxsize=4096)(address)


# `-s` or `-d` with a mask: the address that is not written (b"": none is), the text before and behind any other, what
# is before it in the field, and whether what is behind it is in the field, too. None where no address is written.
_Form = tuple[bytes, str, str, str, bool] | None


class _Head(Struct, frozen=True):
    """What a rule says before its extensions, but for its addresses."""

    source: _Form
    destination: _Form
    flags: int
    spelled: RuleText


@lru_cache(maxsize=1024)
def _head(protocol: Protocol, raw: bytes) -> _Head:
    source_mask, destination_mask, iniface, outiface, in_mask, out_mask, proto, flags, invert = protocol.head.unpack(
        raw
    )
    spelled = RuleText(protocol.family, "")
    spelled.interface("i", "in_interface", interface(iniface, in_mask), invert & INV_VIA_IN)
    spelled.interface("o", "out_interface", interface(outiface, out_mask), invert & INV_VIA_OUT)
    spelled.protocol(proto, invert & INV_PROTO)
    if protocol is IPV4 and flags & _F_FRAG:
        spelled.fragment(invert & INV_FRAG)
    source = _form(protocol.family, "s", source_mask, invert & INV_SRCIP)
    return _Head(source, _form(protocol.family, "d", destination_mask, invert & INV_DSTIP), flags, spelled)


def _form(family: facts.Family, letter: str, mask: bytes, invert: int) -> _Form:
    """Told from how one address is written, here as a NUL."""
    spelled = RuleText(family, "")
    spelled.address(letter, letter, "\0", mask, invert)
    if not spelled.text:
        return None
    before, _, behind = spelled.text.partition("\0")
    sign, _, of_field = spelled.fields[letter].partition("\0")
    return b"" if invert or any(mask) else bytes(len(mask)), before, behind, sign, bool(of_field)


def _matches(family: facts.Family, raw: bytes) -> RuleText:
    return _kept_matches(family, raw) or _spell_matches(family, extensions(raw))


@lru_cache(maxsize=4096)
def _kept_matches(family: facts.Family, raw: bytes) -> RuleText | None:
    """None where they mean something else in each namespace."""
    of_rule = extensions(raw)
    return None if any(name == "set" for name, _, _ in of_rule) else _spell_matches(family, of_rule)


def _spell_matches(
    family: facts.Family, of_rule: tuple[Extension, ...], others: tuple[Words | None, ...] | None = None
) -> RuleText:
    """As `others` have them where we do not know them."""
    spelled = RuleText(family, "")
    for n, match in enumerate(of_rule):
        spelled.match(*match, others[n] if others else None)
    return spelled


def _target(protocol: Protocol, entry: Entry, heads: dict[int, str]) -> RuleText:
    name, revision, info = entry.target
    if name and name != "SET":
        return _kept_target(protocol.family, name, revision, info)
    return _spell_target(protocol, entry, heads)


@lru_cache(maxsize=4096)
def _kept_target(family: facts.Family, name: str, revision: int, info: bytes) -> RuleText:
    spelled = RuleText(family, "")
    spelled.target(name, revision, info)
    return spelled


def _spell_target(protocol: Protocol, entry: Entry, heads: dict[int, str], other: Words | None = None) -> RuleText:
    spelled = RuleText(protocol.family, "")
    if entry.target[0]:
        spelled.target(*entry.target, other)
    else:
        _jump(spelled, protocol, entry, heads)
    return spelled


def _rule(
    protocol: Protocol,
    table: str,
    netns: int,
    chain: str,
    position: int,
    entry: Entry,
    matches: RuleText,
    target: RuleText,
) -> facts.Rule:
    family, head = protocol.family, _head(protocol, entry.head)
    spelled = head.spelled
    fields = {**matches.fields, **spelled.fields}  # of two restrictions, the first
    text = f"-A {chain}"
    for addr, name, form in ((entry.source, "src", head.source), (entry.destination, "dst", head.destination)):
        if form is not None and addr != form[0]:
            _, before, behind, sign, whole = form
            host = _address(addr)
            text += before + host + behind
            fields[name] = sign + host + behind if whole else sign + host
    fields.update(target.fields)
    return facts.Rule(
        netns=netns,
        family=family,
        backend="legacy",
        table=table,
        chain=chain,
        position=position,
        text=f"{text}{spelled.text}{matches.text}{target.text}",
        verdict=target.verdict,
        packets=entry.packets,
        bytes=entry.bytes,
        exact=matches.exact and target.exact,
        **fields,
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
        spelled.jump(name, goto=bool(_head(protocol, entry.head).flags & protocol.goto))


def interface(ifname: bytes, mask: bytes) -> str:
    """`eth0`; `eth+` where the mask ends before the name's NUL; "" where none is meant."""
    length = next((n for n, octet in enumerate(mask) if not octet), len(mask))
    name = string(ifname[:length])
    return name + "+" if 0 < length < IFNAMSIZ and len(name) == length else name
