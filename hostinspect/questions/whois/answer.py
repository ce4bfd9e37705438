"""What `hostinspect whois` answers."""

from __future__ import annotations

from typing import Literal

from hostinspect.facts import Gap
from hostinspect.questions.answer import Answer
from hostinspect.topology import Node

Thing = Literal[
    "container", "network", "volume", "image", "build cache", "engine", "host",
    "link", "address", "port", "process", "netns", "mntns", "sandbox", "endpoint",
    "layer", "path", "cgroup", "mount", "rule", "chain",
]  # fmt: skip

KeyKind = Literal[
    "interface", "ifindex", "mac", "former interface name", "bridge name",
    "address", "subnet", "destination of a rule", "destination of a proxy",
    "host port", "recorded port", "container port",
    "pid", "network namespace", "mount namespace",
    "container id", "container name", "id within a word", "hostname", "dns name",
    "network id", "network name", "volume name", "image id", "image name", "sandbox", "sandbox id", "endpoint id",
    "layer", "layer id", "chain id", "short name of a layer", "path in a layer",
    "volume", "path in a volume", "bind mount", "path in a bind mount", "path",
    "cgroup", "device", "mount id", "mount point", "mount source", "mount in a container",
    "rule", "chain",
]  # fmt: skip


class Ref(Node, frozen=True, kw_only=True):
    """A thing, named as the report names it, so that it is found there."""

    kind: Thing
    id: str  # an id, a name, a number or a path; of a link "NETNS/IFINDEX", of a rule FAMILY/BACKEND/TABLE/CHAIN/N
    name: str | None = None


class Reason(Node, frozen=True, kw_only=True):
    """A link of the chain that leads from the key to whose it is."""

    text: str
    about: Ref | None = None  # what it leads to, where that has a name


class Match(Node, frozen=True, kw_only=True):
    """One thing that a key may mean."""

    kind: KeyKind  # what the key is of it
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
