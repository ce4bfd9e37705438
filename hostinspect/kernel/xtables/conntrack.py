"""Matches and targets on connection tracking: conntrack, state, connmark, connlimit, connbytes, helper; CT, CONNMARK.

Layouts: linux/netfilter/xt_conntrack.h, xt_state.h, xt_connmark.h, xt_connlimit.h, xt_connbytes.h, xt_helper.h,
xt_CT.h; bits of state and status: nf_conntrack_common.h.
"""

from __future__ import annotations

from typing import Any

from hostinspect.kernel.xtables.extension import (
    Clause,
    Table,
    UnknownError,
    Values,
    Where,
    extension,
    flag_names,
    negation,
)
from hostinspect.kernel.xtables.spelling import mark, nf_with_mask, quoted, span, string

# In the order in which they are written.
_STATES = {1: "INVALID", 8: "NEW", 4: "RELATED", 2: "ESTABLISHED", 256: "UNTRACKED", 64: "SNAT", 128: "DNAT"}
_STATES_OF_STATE = {1: "INVALID", 8: "NEW", 4: "RELATED", 2: "ESTABLISHED", 64: "UNTRACKED"}
_STATUSES = {1: "EXPECTED", 2: "SEEN_REPLY", 4: "ASSURED", 8: "CONFIRMED"}

_STATE, _PROTO, _ORIGSRC, _ORIGDST, _REPLSRC, _REPLDST, _STATUS, _EXPIRES = (1 << n for n in range(8))
_ORIGSRC_PORT, _ORIGDST_PORT, _REPLSRC_PORT, _REPLDST_PORT, _DIRECTION, _ALIAS = (1 << n for n in range(8, 14))
_ADDRESSES = ((_ORIGSRC, "origsrc"), (_ORIGDST, "origdst"), (_REPLSRC, "replsrc"), (_REPLDST, "repldst"))
_PORTS = (
    (_ORIGSRC_PORT, "origsrcport"),
    (_ORIGDST_PORT, "origdstport"),
    (_REPLSRC_PORT, "replsrcport"),
    (_REPLDST_PORT, "repldstport"),
)


def _conntrack(v: Values, where: Where, ports: list[tuple[int, int]]) -> Clause:
    """Everything but the ports, whose byte order and upper ends differ between revisions."""
    expires_min, expires_max, l4proto = v[8:11]
    match, invert, state, status = v[15:19]
    text = ""

    def add(bit: int, option: str, value: Any) -> None:
        nonlocal text
        text += f"{negation(invert & bit)} --{option} {value}"

    if match & _STATE:
        names = ",".join(flag_names(state, _STATES))
        add(_STATE, "state" if match & _ALIAS else "ctstate", names)
    if match & _PROTO:
        add(_PROTO, "ctproto", l4proto)
    for n, (bit, name) in enumerate(_ADDRESSES):
        if match & bit:
            add(bit, f"ct{name}", nf_with_mask(v[2 * n], v[2 * n + 1], where.family))
    for (bit, name), (low, high) in zip(_PORTS, ports, strict=True):
        if match & bit:
            add(bit, f"ct{name}", span(low, high or low))
    if match & _STATUS:
        add(_STATUS, "ctstatus", ",".join(flag_names(status, _STATUSES)) or "NONE")
    if match & _EXPIRES:
        add(_EXPIRES, "ctexpire", span(expires_min, expires_max))
    if match & _DIRECTION:
        text += f" --ctdir {'REPLY' if invert & _DIRECTION else 'ORIGINAL'}"
    return Clause(text, name="state" if match & _ALIAS else None)


def conntrack_1_2(v: Values, where: Where) -> Clause:
    return _conntrack(v, where, [(int.from_bytes(port, "big"), 0) for port in v[11:15]])


def conntrack_3(v: Values, where: Where) -> Clause:
    return _conntrack(v, where, list(zip(v[11:15], v[19:23], strict=True)))


def state(v: Values, _: Where) -> str:
    return f" --state {','.join(flag_names(v[0], _STATES_OF_STATE))}"


def connmark(v: Values, _: Where) -> str:
    value, mask, invert = v
    return f"{negation(invert)} --mark {mark(value, mask)}"


def connlimit(v: Values, where: Where) -> str:
    mask, limit, flags = v
    if flags & ~3:
        raise UnknownError
    mask = mask[:4] if where.family == "ipv4" else mask
    bits = len(mask) * 8
    for n in range(0, len(mask), 4):  # the tools count the zeros at the end of each 32 bits
        bits -= (~int.from_bytes(mask[n : n + 4], "big") & 0xFFFFFFFF).bit_length()
    text = f" --connlimit-{'upto' if flags & 1 else 'above'} {limit} --connlimit-mask {bits}"
    return text + (" --connlimit-daddr" if flags & 2 else " --connlimit-saddr")


_WHAT = {0: "packets", 1: "bytes", 2: "avgpkt"}
_WHICH = {0: "original", 1: "reply", 2: "both"}


def connbytes(v: Values, _: Where) -> str:
    start, end, what, which = v
    if what not in _WHAT or which not in _WHICH:
        raise UnknownError
    invert = start > end  # a range that ends before it begins is a negated one
    start, end = min(start, end), max(start, end)
    upto = f":{end}" if 0 < end < 2**64 - 1 else ""
    return (
        f"{negation(invert)} --connbytes {start}{upto} --connbytes-mode {_WHAT[what]} --connbytes-dir {_WHICH[which]}"
    )


def helper(v: Values, _: Where) -> str:
    invert, name = v
    return f"{negation(invert)} --helper {quoted(name)}"


# --- targets ----------------------------------------------------------------------------------------------------

_NOTRACK, _NOTRACK_ALIAS, _ZONE_ORIG, _ZONE_REPLY, _ZONE_MARK = 1, 2, 4, 8, 16
# enum ip_conntrack_events: the bits a CT target can ask for, by the names that libxt_CT has for them.
_EVENTS = {
    1 << 0: "new",
    1 << 1: "related",
    1 << 2: "destroy",
    1 << 3: "reply",
    1 << 4: "assured",
    1 << 5: "protoinfo",
    1 << 6: "helper",
    1 << 7: "mark",
    1 << 8: "natseqinfo",
    1 << 9: "secmark",
}
_EXPECT_EVENTS = {1: "new"}
_ZONES = {0: "--zone", _ZONE_ORIG: "--zone-orig", _ZONE_REPLY: "--zone-reply", _ZONE_ORIG | _ZONE_REPLY: "--zone"}


def ct(v: Values, _: Where) -> Clause:
    flags, zone, events, expect_events, helper_name, *timeout = v
    if flags & _NOTRACK_ALIAS:
        return Clause("", name="NOTRACK")
    text = " --notrack" if flags & _NOTRACK else ""
    if helper_name[0]:
        text += f" --helper {string(helper_name)}"
    if timeout and timeout[0][0]:
        text += f" --timeout {string(timeout[0])}"
    if events:
        text += f" --ctevents {','.join(flag_names(events, _EVENTS))}"
    if expect_events:
        text += f" --expevents {','.join(flag_names(expect_events, _EXPECT_EVENTS))}"
    if flags & _ZONE_MARK or zone:
        text += f" {_ZONES[flags & (_ZONE_ORIG | _ZONE_REPLY)]} {'mark' if flags & _ZONE_MARK else zone}"
    return Clause(text)


def connmark_target(v: Values, _: Where) -> str:
    ctmark, ctmask, nfmask, *shift, mode = v
    if mode > 2:
        raise UnknownError
    text = (
        f" --set-xmark {ctmark:#x}/{ctmask:#x}",
        f" --save-mark --nfmask {nfmask:#x} --ctmask {ctmask:#x}",
        f" --restore-mark --nfmask {nfmask:#x} --ctmask {ctmask:#x}",
    )[mode]
    if shift and shift[1]:
        if shift[0] > 1:
            raise UnknownError
        text += f" --{('left', 'right')[shift[0]]}-shift-mark {shift[1]}"
    return text


_MTINFO = "16s16s16s16s16s16s16s16s2IH"
_CT = "2H2I16s"

MATCHES: Table = {
    ("conntrack", 1): extension(_MTINFO + "2s2s2s2s2H2B", conntrack_1_2),
    ("conntrack", 2): extension(_MTINFO + "2s2s2s2s4H", conntrack_1_2),
    ("conntrack", 3): extension(_MTINFO + "4H4H4H", conntrack_3),
    ("state", 0): extension("I", state),
    ("connmark", 1): extension("2IB", connmark),
    ("connlimit", 1): extension("16s2I8x", connlimit),
    ("connbytes", 0): extension("2Q2B", connbytes),
    ("helper", 0): extension("i30s", helper),
}
MATCHES_IPV4: Table = {}
MATCHES_IPV6: Table = {}
TARGETS: Table = {
    ("CT", 0): extension(_CT + "8x", ct),
    ("CT", 1): extension(_CT + "32s8x", ct),
    ("CT", 2): extension(_CT + "32s8x", ct),
    ("CONNMARK", 1): extension("3IB", connmark_target),
    ("CONNMARK", 2): extension("3I3B", connmark_target),
}
TARGETS_IPV4: Table = {}
TARGETS_IPV6: Table = {}
