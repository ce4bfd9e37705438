"""Whose a thing is, and why; and how things are called in the reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from hostinspect import facts
from hostinspect.questions.whois.answer import KeyKind, Match, Reason, Ref
from hostinspect.questions.whois.key import CONTAINER_ID
from hostinspect.topology import NatRule

HOST = Ref(kind="host", id="host")
_SHORT = 12  # as docker shortens an id


class Chain(Struct, frozen=True):
    """Whose a thing is, and why: what a `Match` has beside the key itself."""

    reasons: tuple[Reason, ...] = ()
    owner: Ref | None = None
    leftover: bool = False
    formerly: Ref | None = None
    containers: tuple[str, ...] = ()
    network: str | None = None
    volume: str | None = None

    def after(self, *reasons: Reason | str | None) -> Chain:
        """The same with these reasons in front."""
        return replace(self, reasons=(*_reasons(reasons), *self.reasons))

    def then(self, *reasons: Reason | str | None) -> Chain:
        """The same with these reasons behind."""
        return replace(self, reasons=(*self.reasons, *_reasons(reasons)))

    def match(self, kind: KeyKind, summary: str, subject: Ref) -> Match:
        """The match that this chain is of."""
        return Match(
            kind=kind,
            summary=summary,
            subject=subject,
            owner=self.owner,
            leftover=self.leftover,
            formerly=self.formerly,
            containers=self.containers,
            network=self.network,
            volume=self.volume,
            reasons=self.reasons,
        )


def _reasons(given: Iterable[Reason | str | None]) -> Iterator[Reason]:
    for reason in given:
        if reason:
            yield Reason(text=reason) if isinstance(reason, str) else reason


def short(id_: str) -> str:
    """An id as docker shortens it."""
    return id_.removeprefix("sha256:")[:_SHORT]


def shown_cgroup(path: str) -> str:
    """A cgroup path with its ids cut, for reading."""
    return CONTAINER_ID.sub(lambda found: f"{short(found[0])}…", path)


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names with commas; of more than `most` the first, and how many more there are."""
    every = [*names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def socket_address(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def rule_ref(rule: NatRule | facts.Rule) -> Ref:
    place = (rule.family, rule.backend, rule.table, rule.chain, str(rule.position))
    return Ref(kind="rule", id="/".join(place), name=rule.text)


def covers(ports: str, port: int) -> bool:
    """Whether `80` or `8000:8010` or `8000-8010` has a port in it."""
    first, _, last = ports.replace("-", ":").partition(":")
    if not first.isdecimal() or (last and not last.isdecimal()):
        return False
    return int(first) <= port <= int(last or first)
