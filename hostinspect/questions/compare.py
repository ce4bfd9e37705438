"""`hostinspect compare A [B]`: what changed of a host between two looks at it.

Things are known again by what stays the same while they live: containers and networks by their ids, a network
namespace by what it belongs to, a link by its namespace and name, a rule by its chain and text. What lives on is
compared field by field; `NOISE`, `PARTS` and `TOLD_ELSEWHERE` have all the fields of the topology that are not,
and why.

    >>> from tests.unit.sample import demo, make_topology
    >>> compare(demo(), demo()).changes
    ()
    >>> compare(make_topology([], []), demo()).changes[0].words
    'container bindtmp was added, running'
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from hostinspect.facts import RULES_OF_CONTAINERS, Gap
from hostinspect.questions.answer import Answer
from hostinspect.topology import LinkRef, NetworkNamespace, Node, OverlayFS, Topology

Family = Literal[
    "host",
    "engines",
    "containers",
    "networks",
    "endpoints",
    "ports",
    "listeners",
    "mounts",
    "volumes",
    "bridges",
    "links",
    "netns",
    "chains",
    "rules",
    "drift",
]

# By class and field: what differs between two looks at a host to which nothing happened.
NOISE: dict[tuple[str, str], str] = {
    ("Topology", "schema_version"): "of the program, not of the host",
    ("Topology", "gaps"): "what could not be seen is no change; the answer has the gaps of both sides",
    ("Host", "collected_at"): "the time of the look itself, which `before` and `after` tell",
    ("Host", "root"): "how it was looked at: a disk has gaps for all that it does not tell",
    ("NetworkNamespace", "pids"): "processes come and go; main processes and those that listen are told",
    ("NatChain", "packets"): "counts",
    ("NatChain", "bytes"): "counts",
    ("NatRule", "packets"): "counts",
    ("NatRule", "bytes"): "counts",
    ("NatRule", "position"): "moves when another rule comes or goes, which is told",
    ("RuleRef", "position"): "the same",
}

# What is compared by itself, as things of a family of their own.
PARTS: dict[tuple[str, str], Family] = {
    ("Host", "engines"): "engines",
    ("Container", "endpoints"): "endpoints",
    ("Container", "ports"): "ports",
    ("Container", "listeners"): "listeners",
    ("Container", "mounts"): "mounts",
    ("Container", "drift"): "drift",
    ("Network", "drift"): "drift",
}

# The other end of something that is told once: where.
TOLD_ELSEWHERE: dict[tuple[str, str], str] = {
    ("Network", "containers"): "endpoints",
    ("NetworkNamespace", "containers"): "containers: netns",
    ("NetworkNamespace", "host"): "host is the first word of its key",
    ("Bridge", "ports"): "links: master, container",
    ("Volume", "used_by"): "mounts",
    ("PublishedPort", "rules"): "ports: via, and rules",
    ("LinkRef", "netns"): "netns: inode",
    ("LinkRef", "ifindex"): "links: ifindex of that link",
}

# The families of facts that each rests on: a hole in one of them may look like a change.
_RECORDS = ("engines", "containers", "processes")
_RULES = ("rules", RULES_OF_CONTAINERS, "namespaces")
_LINKS = ("processes", "namespaces", "links", "addresses", "nsids")
_RESTS_ON: dict[Family, frozenset[str]] = {
    "host": frozenset(("host",)),
    "engines": frozenset(("engines", "processes")),
    "containers": frozenset((*_RECORDS, "cgroups", "mounts", "layers", "namespaces")),
    "networks": frozenset(("engines", "networks", *_LINKS)),
    "endpoints": frozenset((*_RECORDS, *_LINKS, "networks")),
    "ports": frozenset((*_RECORDS, *_RULES, "sockets")),
    "listeners": frozenset((*_RECORDS, "sockets", "namespaces")),
    "mounts": frozenset((*_RECORDS, "mounts")),
    "volumes": frozenset(("engines", "volumes")),
    "bridges": frozenset((*_LINKS, "networks", "engines")),
    "links": frozenset((*_LINKS, *_RECORDS)),
    "netns": frozenset((*_RECORDS, "namespaces", "networks", "mounts")),
    "chains": frozenset((*_RULES, *_RECORDS)),
    "rules": frozenset((*_RULES, *_RECORDS)),
    "drift": frozenset((*_RECORDS, *_LINKS, *_RULES, "cgroups", "mounts", "layers", "networks", "sockets")),
}
_ALL_FACTS = frozenset().union(*_RESTS_ON.values())


class Look(Node, frozen=True, kw_only=True):
    """One side of a comparison: which host was looked at, and when."""

    hostname: str | None
    boot_id: str | None
    collected_at: str


class TopologyChange(Node, frozen=True, kw_only=True):
    """One thing that came or went, or one field of a thing that is another."""

    kind: Literal["added", "removed", "changed"]
    family: Family
    key: str  # the same on both sides: by it the thing is known again
    subject: str  # the thing in words
    field: str | None  # of a thing that changed: as the report calls it, "labels[KEY]" and "overlay.upper" within one
    before: Any  # the field's value, or all fields of a thing that went; namespaces and links by their keys
    after: Any
    certain: bool  # False: something was not seen on one side, which may be all that there is to it
    words: str  # all of it


class Comparison(Answer, frozen=True, kw_only=True):
    """What changed, the host itself first, then family by family in the order of keys."""

    before: Look
    after: Look
    changes: tuple[TopologyChange, ...]
    gaps: tuple[Gap, ...]  # of both sides; each says of which


class Happening(Answer, frozen=True, kw_only=True):
    """A line of `hostinspect watch -o json`."""

    at: str  # when the look that found it began, RFC 3339
    event: Literal["change", "overrun", "gaps"]
    change: TopologyChange | None  # of a change
    words: str
    gaps: tuple[Gap, ...]  # of gaps: all that cannot be seen now; none, that everything can be seen again


def compare(before: Topology, after: Topology) -> Comparison:
    """Everything that is not the same, apart from noise. Swapped arguments give the same changes swapped."""
    old, new = _Side(before), _Side(after)
    return Comparison(
        before=old.look(),
        after=new.look(),
        changes=tuple(change for family in _RESTS_ON for change in _changes(family, old, new)),
        gaps=(*old.told_gaps("before"), *new.told_gaps("after")),
    )


class _Thing:
    """Something on one side; what is compared of it is made when it is asked for, for most things are the same."""

    def __init__(self, key: str, subject: str, node: Node, side: _Side) -> None:
        self.key, self.subject, self.node, self._side = key, subject, node, side

    @cached_property
    def values(self) -> dict[str, Any]:
        return _values(self.node, self._side)

    def equals(self, other: _Thing, *, same_namespaces: bool) -> bool:
        """Whether nothing of it is another; where all namespaces are called the same, equal nodes say so already."""
        return (same_namespaces and self.node == other.node) or self.values == other.values


class _Side:
    """A topology, and by which names its things are known on the other side too."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.names = {container.id: container.name for container in topology.containers}
        self.networks = {network.id: network.name or network.id[:12] for network in topology.networks}
        self.netns = _keys_of_namespaces(topology)
        self.unseen = frozenset(gap.collector for gap in topology.gaps if not gap.minor)

    def look(self) -> Look:
        host = self.topology.host
        return Look(hostname=host.hostname, boot_id=host.boot_id, collected_at=host.collected_at)

    def told_gaps(self, side: str) -> Iterator[Gap]:
        """Those that may hide a change."""
        for gap in self.topology.gaps:
            if gap.collector in _ALL_FACTS:
                yield replace(gap, subject=f"{side}: {gap.subject}")

    def namespace(self, inode: int | None) -> str | None:
        return None if inode is None else self.netns.get(inode, f"inode {inode}")

    def link(self, ref: LinkRef) -> str:
        return f"{self.namespace(ref.netns)} {ref.ifname}"

    def container(self, id_: str) -> str:
        return self.names.get(id_, id_[:12])

    def network(self, id_: str) -> str:
        return self.networks.get(id_, id_[:12])

    def of_namespace(self, inode: int) -> str:
        """ " of web1", nothing for the host's: what is said behind the name of a thing in it."""
        key = self.netns.get(inode, f"inode {inode}")
        return "" if key == _HOST else f" of {self.namespace_in_words(key)}"

    def namespace_in_words(self, key: str) -> str:
        if key == _HOST:
            return "the host"
        what, _, which = key.partition(" ")
        which, _, more = which.partition(" ")
        if what == "container":
            called = self.container(which)
        elif what in ("overlay", "ingress", "load-balancer"):
            called = f"{what} network {self.network(which)}"
        else:
            called = f"namespace {which}"
        return f"{called} {more}" if more else called


_HOST = "host"


def _keys_of_namespaces(topology: Topology) -> dict[int, str]:
    """By inode: whose a namespace is, "container ID", else where it is mounted, else its inode, which may be reused."""
    owners: dict[int, str] = {}
    has_one = {container.id for container in topology.containers if container.netns is not None}
    for container in sorted(topology.containers, key=lambda c: (c.shares_netns_with is not None, c.id)):
        if container.netns is not None:
            joined = container.shares_netns_with
            # Of a namespace whose owner has ended it is still known whose it was, until that one has another.
            owner = container.id if joined is None or joined in has_one else joined
            owners.setdefault(container.netns, owner)
    keys: dict[int, str] = {}
    seen: dict[str, int] = defaultdict(int)
    for netns in topology.netns:
        key = _key_of_namespace(netns, owners)
        seen[key] += 1
        keys[netns.inode] = key if seen[key] == 1 else f"{key} #{seen[key]}"
    return keys


def _key_of_namespace(netns: NetworkNamespace, owners: Mapping[int, str]) -> str:
    if netns.host:
        return _HOST
    if netns.role == "engine":
        return "a rootless engine"
    if netns.inode in owners:
        return f"container {owners[netns.inode]}"
    if netns.network is not None:
        return f"{netns.role} {netns.network}"
    if netns.paths:
        return f"path {netns.paths[0]}"
    return f"inode {netns.inode}"


# --- things and their values ---------------------------------------------------------------------------------------


_SKIPPED = {
    name: frozenset(field for cls, field in (*NOISE, *TOLD_ELSEWHERE, *PARTS) if cls == name)
    for name in {cls for cls, _ in (*NOISE, *TOLD_ELSEWHERE, *PARTS)}
}
_NETNS = ("netns", "host_link_netns")


def _values(node: Node, side: _Side) -> dict[str, Any]:
    """What is compared of a thing, as JSON has it."""
    skipped = _SKIPPED.get(type(node).__name__, frozenset())
    values: dict[str, Any] = {}
    for field in node.__struct_fields__:
        if field in skipped:
            continue
        value = getattr(node, field)
        if field in _NETNS:
            values[field] = side.namespace(value)
        elif isinstance(value, LinkRef):
            values[field] = side.link(value)
        elif isinstance(value, OverlayFS):
            values |= {f"{field}.{name}": _plain(getattr(value, name)) for name in value.__struct_fields__}
        elif isinstance(value, dict):
            values |= {f"{field}[{key}]": one for key, one in value.items()}
        else:
            values[field] = _plain(value)
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [msgspec.to_builtins(one) for one in value] if value else []
    return msgspec.to_builtins(value) if isinstance(value, Node) else value


Things = Iterator[tuple[str, str, Node]]  # key, subject, what it is


def _host(side: _Side) -> Things:
    yield "host", "the host", side.topology.host


def _engines(side: _Side) -> Things:
    for engine in side.topology.host.engines:
        yield f"{engine.name} {engine.data_root}", f"{engine.name} ({engine.data_root})", engine


def _containers(side: _Side) -> Things:
    for container in side.topology.containers:
        yield container.id, container.name, container


def _endpoints(side: _Side) -> Things:
    for container in side.topology.containers:
        for endpoint in container.endpoints:
            network = endpoint.network_id or endpoint.network or endpoint.endpoint_id or endpoint.interface or "?"
            called = endpoint.network or (side.network(network) if endpoint.network_id else network)
            yield f"{container.id} {network}", f"{container.name} on {called}", endpoint


def _ports(side: _Side) -> Things:
    for container in side.topology.containers:
        for port in container.ports:
            ends = f"{port.host_port} → {port.container_port}/{port.proto}"
            where = "" if port.host_ip in ("0.0.0.0", "::") else f"{port.host_ip} "
            family = " (IPv6)" if port.host_ip == "::" else ""
            key = f"{container.id} {port.host_ip} {port.host_port} {port.container_port}/{port.proto}"
            yield key, f"port {where}{ends}{family} of {container.name}", port


def _listeners(side: _Side) -> Things:
    for container in side.topology.containers:
        for listener in container.listeners:
            where = f"{listener.proto} {listener.address} port {listener.port}"
            yield f"{container.id} {where}", f"listener on {where} in {container.name}", listener


def _mounts(side: _Side) -> Things:
    for container in side.topology.containers:
        for mount in container.mounts:
            what = f"{mount.type} {mount.name or mount.source or ''}".strip()
            words = f"mount of {what} on {mount.destination} in {container.name}"
            yield f"{container.id} {mount.destination}", words, mount


def _drift(side: _Side) -> Things:
    for container in side.topology.containers:
        for drift in container.drift:
            yield f"{container.id} {drift.field}", f"drift of {drift.field} in {container.name}", drift
    for network in side.topology.networks:
        for drift in network.drift:
            yield f"{network.id} {drift.field}", f"drift of {drift.field} in network {side.network(network.id)}", drift


def _networks(side: _Side) -> Things:
    for network in side.topology.networks:
        yield network.id, f"network {side.network(network.id)}", network


def _bridges(side: _Side) -> Things:
    for bridge in side.topology.bridges:
        yield (
            f"{side.namespace(bridge.netns)} {bridge.name}",
            f"bridge {bridge.name}{side.of_namespace(bridge.netns)}",
            bridge,
        )


def _links(side: _Side) -> Things:
    for link in side.topology.links:
        yield f"{side.namespace(link.netns)} {link.ifname}", f"link {link.ifname}{side.of_namespace(link.netns)}", link


def _namespaces(side: _Side) -> Things:
    for netns in side.topology.netns:
        key = side.netns[netns.inode]
        yield key, f"network namespace of {side.namespace_in_words(key)}".replace("of namespace ", ""), netns


def _chains(side: _Side) -> Things:
    for chain in side.topology.nat_chains:
        place = f"{chain.family} {chain.backend} {chain.table} {chain.name}"
        yield (
            f"{side.namespace(chain.netns)} {place}",
            f"chain {chain.table} {chain.name} ({chain.family}){side.of_namespace(chain.netns)}",
            chain,
        )


def _rules(side: _Side) -> Things:
    for rule in side.topology.nat_rules:
        place = f"{rule.family} {rule.backend} {rule.table} {rule.chain}"
        called = f"{rule.table} rule ({rule.family}){side.of_namespace(rule.netns)}"
        yield f"{side.namespace(rule.netns)} {place} {rule.text}", called, rule


def _volumes(side: _Side) -> Things:
    for volume in side.topology.volumes:
        name = f"{volume.name[:12]}…" if volume.anonymous else volume.name
        yield f"{volume.data_root} {volume.name}", f"volume {name}", volume


_THINGS: dict[Family, Callable[[_Side], Things]] = {
    "host": _host,
    "engines": _engines,
    "containers": _containers,
    "networks": _networks,
    "endpoints": _endpoints,
    "ports": _ports,
    "listeners": _listeners,
    "mounts": _mounts,
    "volumes": _volumes,
    "bridges": _bridges,
    "links": _links,
    "netns": _namespaces,
    "chains": _chains,
    "rules": _rules,
    "drift": _drift,
}


# --- the comparison ------------------------------------------------------------------------------------------------


def _changes(family: Family, old: _Side, new: _Side) -> Iterator[TopologyChange]:
    """The changes of one family, by key; of things with the same key, the first with the first that it differs from."""
    before, after = _by_key(_THINGS[family](old), old), _by_key(_THINGS[family](new), new)
    unseen = _RESTS_ON[family]
    not_before, not_after = bool(unseen & old.unseen), bool(unseen & new.unseen)
    if family in _OF_BOTH_SIDES:
        not_before = not_after = not_before or not_after
    same_namespaces = old.netns == new.netns
    for key in sorted({*before, *after}):
        gone, come = _unlike(before.get(key, []), after.get(key, []), same_namespaces=same_namespaces)
        for was, now in zip(gone, come, strict=False):
            yield from _field_changes(family, was, now, (old, new), certain=not (not_before or not_after))
        for was in gone[len(come) :]:
            yield _one(family, "removed", was, certain=not not_after)
        for now in come[len(gone) :]:
            yield _one(family, "added", now, certain=not not_before)


# What a hole can add as well as take away. Whose a namespace is must be seen on both sides, or what is in it is not
# known again; and what is recorded differs from what is not seen.
_OF_BOTH_SIDES = ("bridges", "links", "netns", "chains", "rules", "drift")


def _by_key(things: Things, side: _Side) -> dict[str, list[_Thing]]:
    found: dict[str, list[_Thing]] = defaultdict(list)
    for key, subject, node in things:
        found[key].append(_Thing(key, subject, node, side))
    return found


def _unlike(before: list[_Thing], after: list[_Thing], *, same_namespaces: bool) -> tuple[list[_Thing], list[_Thing]]:
    """Those of each side that the other has no equal of."""
    come = [*after]
    gone = []
    for was in before:
        for position, now in enumerate(come):
            if was.equals(now, same_namespaces=same_namespaces):
                del come[position]
                break
        else:
            gone.append(was)
    return gone, come


def _one(family: Family, kind: Literal["added", "removed"], thing: _Thing, *, certain: bool) -> TopologyChange:
    values = thing.values
    subject = f"container {thing.subject}" if family == "containers" else thing.subject
    if kind == "added":
        words = f"{subject} was added" + (f", {values['state']}" if family == "containers" else "")
        if family == "drift":
            words += f": recorded {_word(values['recorded'])}, effective {_word(values['effective'])}"
    else:
        words = f"{subject} {'was removed' if family in _RECORDED else 'is gone'}"
    if family == "rules":
        words += f": {values['text']}"
    if not certain:
        words += ", or was not seen before" if kind == "added" else ", or could not be seen"
    return TopologyChange(
        kind=kind,
        family=family,
        key=thing.key,
        subject=thing.subject,
        field=None,
        before=values if kind == "removed" else None,
        after=values if kind == "added" else None,
        certain=certain,
        words=words,
    )


_RECORDED = ("containers", "networks", "volumes")  # what a person removes; anything else goes with something


def _field_changes(
    family: Family, was: _Thing, now: _Thing, sides: tuple[_Side, _Side], *, certain: bool
) -> Iterator[TopologyChange]:
    for field in dict.fromkeys((*was.values, *now.values)):
        before, after = was.values.get(field), now.values.get(field)
        if before == after and (field in was.values) == (field in now.values):
            continue
        words = _field_in_words(family, field, was.values, now.values, sides)
        known = certain and not (family == "host" and None in (before, after))  # a host has all of them
        yield TopologyChange(
            kind="changed",
            family=family,
            key=now.key,
            subject=now.subject,
            field=field,
            before=before,
            after=after,
            certain=known,
            words=f"{now.subject}: {words}" + ("" if known else ", or not all could be seen"),
        )


# --- in words ------------------------------------------------------------------------------------------------------

_LABELS = {
    "started_at": "started",
    "finished_at": "finished",
    "ip": "address",
    "ip6": "IPv6 address",
    "prefix_len": "prefix length",
    "prefix_len6": "IPv6 prefix length",
    "mac": "MAC",
    "mtu": "MTU",
    "rw": "writable",
    "stp": "STP",
    "netns": "namespace",
    "host_link_netns": "namespace of the host link",
    "inode": "inode",
}
_RUNS = ("running", "paused", "restarting")
_MOVES = {  # of a container's state
    ("paused", "running"): "unpaused",
    **{(state, "paused"): "paused" for state in _RUNS},
    **{(state, "running"): "started" for state in ("created", "exited", "dead")},
    **{(state, "exited"): "stopped" for state in _RUNS},
}
_CONTAINERS = ("container", "shares_netns_with")


def _field_in_words(
    family: Family, field: str, was: Mapping[str, Any], now: Mapping[str, Any], sides: tuple[_Side, _Side]
) -> str:
    before, after = was.get(field), now.get(field)
    arrow = f"{_value(field, before, sides[0])} → {_value(field, after, sides[1])}"
    if family == "host" and field == "boot_id":
        return f"it was started again in between, or is another host: boot_id {arrow}"
    if family == "containers":
        if field == "state":
            return f"{_MOVES.get((before, after), 'state')}, {before} → {after}"  # type: ignore[arg-type]
        if field == "pid" and before and after:
            return f"restarted, pid {arrow}"
    label = _LABELS.get(field, field.replace("_", " ") if "[" not in field else field)
    if isinstance(before, list) and isinstance(after, list):
        gained = [one for one in after if one not in before]
        lost = [one for one in before if one not in after]
        parts = [f"+ {', '.join(_word(one) for one in gained)}"] * bool(gained)
        parts += [f"- {', '.join(_word(one) for one in lost)}"] * bool(lost)
        return f"{label} {' '.join(parts) or 'in another order'}"
    return f"{label} {arrow}"


def _value(field: str, value: Any, side: _Side) -> str:
    if isinstance(value, str):
        if field in _CONTAINERS:
            return side.container(value)
        if field == "network" and value in side.networks:
            return side.network(value)
        if field in _NETNS:
            return side.namespace_in_words(value)
        if field in ("peer", "lower"):
            place, _, ifname = value.rpartition(" ")
            return ifname + ("" if place == _HOST else f" of {side.namespace_in_words(place)}")
    if field == "listening" and isinstance(value, dict):
        return f"{value['comm'] or 'somebody'} ({value['pid'] or '?'}) on {value['address']}"
    return _word(value)


_LONG = 64  # digits of an id
_DIGITS = frozenset("0123456789abcdef")


def _word(value: Any) -> str:
    """A value in few words: ids as docker(1) cuts them."""
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_word(one) for one in value)
    if isinstance(value, dict):
        return " ".join(f"{name} {_word(one)}" for name, one in value.items() if one not in (None, []))
    text = str(value)
    digits = text.removeprefix("sha256:")
    return digits[:12] if len(digits) == _LONG and _DIGITS.issuperset(digits) else text or '""'
