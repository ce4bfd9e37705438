"""Text from the host on its way to a terminal."""

from __future__ import annotations

import pytest

from hostinspect.render.text import safe
from hostinspect.render.times import ago, uptime


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("web\x1b[2Jup", r"web\x1b[2Jup"),
        ("a\x9b31mb", r"a\x9b31mb"),  # CSI as one C1 byte
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("del\x7f", r"del\x7f"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("a\u2066b\u2069", r"a\u2066b\u2069"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("line\u2028separator", r"line\u2028separator"),
        ("no-break\u00a0space", r"no-break\xa0space"),
        ("lone\ud800surrogate", r"lone\ud800surrogate"),
        ("tag\U000e0041", r"tag\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(hostile: str, shown: str) -> None:
    assert safe(hostile) == shown


@pytest.mark.parametrize("plain", ["web-1", "[red]bold[/red]", "wörk", "数据", "c:\\x1b", ""])
def test_everything_else_stays(plain: str) -> None:
    assert safe(plain) == plain


def test_spaces_cannot_pass_for_a_column() -> None:
    assert safe("web1   pid 1") == r"web1 \x20\x20pid 1"


def test_ascii_only_spells_our_own_signs_and_escapes_the_rest() -> None:
    assert safe("eth0 ↔ veth1 → a … ö", ascii_only=True) == r"eth0 <-> veth1 -> a ... \xf6"


@pytest.mark.parametrize(
    ("then", "words", "short"),
    [
        ("2026-01-05T02:59:58Z", "2 s", "2s"),
        ("2026-01-05T02:59:00Z", "1 minute", "1m"),
        ("2026-01-04T03:00:01.999999999Z", "23 hours", "23h"),
        ("2025-12-29T03:00:00Z", "7 days", "7d"),
        ("2025-12-20T03:00:00Z", "2 weeks", "2w"),
        ("2025-11-01T04:00:00+01:00", "2 months", "2mo"),
        ("2023-01-01T00:00:00Z", "3 years", "3y"),
    ],
)
def test_ago(then: str, words: str, short: str) -> None:
    assert ago(then, "2026-01-05T03:00:00Z") == words
    assert uptime(then, "2026-01-05T03:00:00Z") == short


@pytest.mark.parametrize("then", [None, "", "yesterday", "2026-01-05T03:00:01Z", "2026-99-05T03:00:01Z"])
def test_ago_of_no_time_or_of_the_future_is_not_told(then: str | None) -> None:
    assert ago(then, "2026-01-05T03:00:00Z") is None
    assert uptime(then, "2026-01-05T03:00:00Z") is None
