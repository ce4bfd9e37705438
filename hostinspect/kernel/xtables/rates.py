"""Matches that count or draw lots: limit, hashlimit, statistic, recent, quota.

Layouts: linux/netfilter/xt_limit.h, xt_hashlimit.h, xt_statistic.h, xt_recent.h, xt_quota.h. The kernel keeps a rate
as the time between two packets (`avg`), in units of 1/10,000 s, or of 1/1,000,000 s since hashlimit's revision 2.
"""

from __future__ import annotations

from hostinspect.kernel.xtables.extension import Table, UnknownError, Values, Where, extension, flag_names, negation
from hostinspect.kernel.xtables.spelling import address, string

_UNITS = (("day", 86_400), ("hour", 3_600), ("min", 60), ("sec", 1))  # seconds
_LIMIT_SCALE = 10_000
_LIMIT_BURST = 5


def rate(avg: int, scale: int) -> tuple[str, int]:
    """`10/min` and the unit's seconds: the longest unit in which the rate is close to a whole number."""
    if avg == 0:
        return "inf", 0
    chosen = _UNITS[0]
    for unit in _UNITS[1:]:
        per = unit[1] * scale
        if avg > per or per // avg < per % avg:
            break
        chosen = unit
    return f"{chosen[1] * scale // avg}/{chosen[0]}", chosen[1]


def limit_options(avg: int, burst: int) -> str:
    return f" --limit {rate(avg, _LIMIT_SCALE)[0]}" + ("" if burst == _LIMIT_BURST else f" --limit-burst {burst}")


def limit(v: Values, _: Where) -> str:
    return limit_options(*v)


# --- hashlimit --------------------------------------------------------------------------------------------------

_MODES = {4: "srcip", 8: "srcport", 1: "dstip", 2: "dstport"}
_INVERT, _BYTES, _RATE_MATCH = 16, 32, 64
_BYTE_UNITS = (("m", 1 << 20), ("k", 1 << 10), ("", 1))
_BYTE_SHIFT = 4


def _bytes_cost(octets: int, unit: int) -> int:
    """What `avg` would be for this rate without its remainder in `unit`."""
    return 0xFFFFFFFF // (((octets & ~(unit - 1)) >> _BYTE_SHIFT & 0xFFFFFFFF) + 1)


def _byte_rate(avg: int, burst: int) -> tuple[str, int]:
    """`512kb/s --hashlimit-burst 1mb`, and the default expiry in milliseconds."""
    octets = ((0xFFFFFFFF // avg if avg else 0xFFFFFFFF) - 1) << _BYTE_SHIFT
    unit, size = next(u for u in _BYTE_UNITS if u[1] == 1 or (octets >= u[1] and _bytes_cost(octets, u[1]) == avg))
    text = f"{octets // size}{unit}b/s"
    if burst == 0:
        return text, 15_000
    octets *= burst
    unit, size = next((u, s) for u, s in _BYTE_UNITS if octets >= s or s == 1)
    return f"{text} --hashlimit-burst {octets // size}{unit}b", 60_000


def _hashlimit(revision: int, v: Values, where: Where) -> str:
    name, mode, avg, burst, size, maximum, gc_interval, expire, interval, srcmask, dstmask = v
    if mode & ~127:
        raise UnknownError
    text = " --hashlimit-above" if mode & _INVERT else " --hashlimit-upto"
    if mode & _BYTES:
        spelled, default_expire = _byte_rate(avg, burst)
        text += f" {spelled}"
    else:
        spelled, unit = rate(avg, _LIMIT_SCALE if revision == 1 else 1_000_000)
        default_expire = unit * 1000
        text += f" {spelled} --hashlimit-burst {burst}"
    if mode & 15:
        text += f" --hashlimit-mode {','.join(flag_names(mode & 15, _MODES))}"
    full = 32 if where.family == "ipv4" else 128
    text += f" --hashlimit-name {string(name)}"
    for option, value, default in (
        ("htable-size", size, 0),
        ("htable-max", maximum, 0),
        ("htable-gcinterval", gc_interval, 1000),
        ("htable-expire", expire, default_expire),
        ("srcmask", srcmask, full),
        ("dstmask", dstmask, full),
    ):
        text += f" --hashlimit-{option} {value}" if value != default else ""
    if revision == 3 and mode & _RATE_MATCH:
        text += " --hashlimit-rate-match"
        text += f" --hashlimit-rate-interval {interval}" if interval != 1 else ""
    return text


def hashlimit_1(v: Values, where: Where) -> str:
    return _hashlimit(1, (*v[:8], 1, *v[8:]), where)


def hashlimit_2(v: Values, where: Where) -> str:
    name, avg, burst, mode, *rest, srcmask, dstmask = v
    return _hashlimit(2, (name, mode, avg, burst, *rest, 1, srcmask, dstmask), where)


def hashlimit_3(v: Values, where: Where) -> str:
    name, avg, burst, mode, *rest = v
    return _hashlimit(3, (name, mode, avg, burst, *rest), where)


# --- the others -------------------------------------------------------------------------------------------------


def statistic_0(v: Values, _: Where) -> str:
    mode, flags, first, packet, _count = v
    if mode == 0:
        return f" --mode random{negation(flags & 1)} --probability {first / 0x80000000:.11f}"
    if mode == 1:
        return f" --mode nth{negation(flags & 1)} --every {first + 1} --packet {packet}"
    raise UnknownError


_RECENT = ((2, "set"), (1, "rcheck"), (4, "update"), (8, "remove"))


def _recent(v: Values, where: Where) -> str:
    seconds, hits, checks, invert, name, side, *mask = v
    if checks & ~63:
        raise UnknownError
    text = negation(invert) + "".join(f" --{option}" for bit, option in _RECENT if checks & bit)
    text += f" --seconds {seconds}" if seconds else ""
    text += " --reap" if checks & 32 else ""
    text += f" --hitcount {hits}" if hits else ""
    text += " --rttl" if checks & 16 else ""
    text += f" --name {string(name)}"
    if mask:
        text += f" --mask {address(mask[0][:4] if where.family == 'ipv4' else mask[0])}"
    return text + {0: " --rsource", 1: " --rdest"}.get(side, "")


def quota(v: Values, _: Where) -> str:
    flags, octets = v
    return f"{negation(flags & 1)} --quota {octets}"


MATCHES: Table = {
    ("limit", 0): extension("2I32x", limit),
    ("hashlimit", 1): extension("16s7I2B2x8x", hashlimit_1),
    ("hashlimit", 2): extension("255sx2Q5I2B2x8x", hashlimit_2),
    ("hashlimit", 3): extension("255sx2Q6I2B6x8x", hashlimit_3),
    ("statistic", 0): extension("2H3I8x", statistic_0),
    ("recent", 0): extension("2I2B200sB", _recent),
    ("recent", 1): extension("2I2B200sBx16s", _recent),
    ("quota", 0): extension("I4xQ8x", quota),
}
MATCHES_IPV4: Table = {}
MATCHES_IPV6: Table = {}
TARGETS: Table = {}
TARGETS_IPV4: Table = {}
TARGETS_IPV6: Table = {}
