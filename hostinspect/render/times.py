"""How long ago, in as few words as an answer needs."""

from __future__ import annotations

from datetime import datetime, timezone

_UNITS = (
    ("year", 365 * 86400),
    ("month", 30 * 86400),
    ("week", 7 * 86400),
    ("day", 86400),
    ("hour", 3600),
    ("minute", 60),
)


def ago(then: str | None, now: str) -> str | None:
    """The time between two RFC 3339 times in its largest unit, "3 days"; None where either is none, or out of order.

    >>> ago("2026-01-01T00:00:00.123456789Z", "2026-01-04T05:00:00Z")
    '3 days'
    """
    start, end = _parse(then), _parse(now)
    if start is None or end is None or end < start:
        return None
    seconds = int((end - start).total_seconds())
    for unit, length in _UNITS:
        count = seconds // length
        if count >= 2 or (count == 1 and unit != "week"):
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} s"


def uptime(then: str | None, now: str) -> str | None:
    """The same with the unit as one letter (`3h`, `12d`), for a line that has much else to say; `mo` is a month.

    >>> uptime("2026-01-05T00:00:00Z", "2026-01-05T03:10:00Z")
    '3h'
    """
    words = ago(then, now)
    if words is None:
        return None
    count, unit = words.split(" ")
    return count + ("mo" if unit.startswith("month") else unit[0])


def _parse(time: str | None) -> datetime | None:
    """Docker writes nanoseconds, which `fromisoformat` does not take; a second is exact enough here."""
    if time is None or len(time) < 20:
        return None
    zone = "+00:00" if time.endswith("Z") else time[-6:]
    try:
        parsed = datetime.fromisoformat(time[:19] + zone)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)
