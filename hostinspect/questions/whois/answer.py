"""What `hostinspect whois` answers."""

from __future__ import annotations

from hostinspect.facts import Gap
from hostinspect.questions.answer import Answer
from hostinspect.topology import Node


class Ref(Node, frozen=True, kw_only=True):
    """A thing, named as the report names it, so that it is found there."""

    kind: str  # container, network, volume, image, engine, host; link, address, process, port, netns, …
    id: str  # an id, a name, a number or a path; of a link "NETNS/IFINDEX", of a rule FAMILY/BACKEND/TABLE/CHAIN/N
    name: str | None = None


class Reason(Node, frozen=True, kw_only=True):
    """A link of the chain that leads from the key to whose it is."""

    text: str
    about: Ref | None = None  # what it leads to, where that has a name


class Match(Node, frozen=True, kw_only=True):
    """One thing that a key may mean."""

    kind: str  # what the key is of it: "interface", "ifindex", "pid", "host port", "path in a volume", …
    summary: str  # in words, on one line
    subject: Ref
    owner: Ref | None  # whose it is in the end; None: nobody's that is there now, or it could not be known
    leftover: bool  # True: what it belonged to is gone, or does not run, and it is still there
    formerly: Ref | None  # of a leftover: whose it was, where a record says so
    containers: tuple[str, ...]  # ids of all whom it concerns: the owner, those that share or use it
    network: str | None  # id
    volume: str | None  # name
    reasons: tuple[Reason, ...]


class KeyAnswer(Node, frozen=True, kw_only=True):
    """All that one key may mean, the likeliest first."""

    key: str
    matches: tuple[Match, ...]
    looked_at: tuple[str, ...]  # what a key of this shape was looked for in
    suggestions: tuple[str, ...]  # of an unknown key: names that are nearly the same


class Whois(Answer, frozen=True, kw_only=True):
    """Every key that was asked about, in that order."""

    keys: tuple[KeyAnswer, ...]
    gaps: tuple[Gap, ...]
