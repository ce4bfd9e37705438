"""What stands below the networks: containers that do not run, volumes, what belongs to nobody, NAT, and gaps."""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from hostinspect.facts import Gap
from hostinspect.render.containers import stopped_branch, users_in_words, volume_name
from hostinspect.render.layout import Branch, Item, Line, Span, detail, item
from hostinspect.render.networks import link_ends, table_columns, wires
from hostinspect.render.view import View, is_running
from hostinspect.topology import Bridge, Link, NatRule, Volume

_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
_FEW = 3  # subjects of one sort of gap that are named without --verbose


def remaining_branches(view: View) -> Iterator[Branch]:
    """The sections after the networks, those left out that have nothing to tell."""
    yield from _section("not running", _stopped(view))
    yield from _section("volumes", (_volume(view, volume) for volume in view.topology.volumes))
    yield from _section("other bridges", _foreign_bridges(view))
    yield from _section("other namespaces", _foreign_namespaces(view))
    yield from _section("other veths", _foreign_veths(view))
    yield from _nat(view)


def _section(title: str, branches: Iterable[Branch]) -> Iterator[Branch]:
    branches = list(branches)
    if branches:
        yield Branch(Line([item(title, style="name")]), (), branches)


def _stopped(view: View) -> Iterator[Branch]:
    containers = [container for container in view.topology.containers if not is_running(container)]
    columns = table_columns(None, containers)
    return (stopped_branch(view, container, columns) for container in containers)


# --- volumes ---


def _volume(view: View, volume: Volume) -> Branch:
    name = volume.name if view.verbose else volume_name(volume.name)
    items = [item(name)]
    if volume.anonymous:
        items.append(item("anonymous", style="dim"))
    where = view.where(volume.data_root)
    if where:
        items.append(item(where, style="dim"))
    users = users_in_words((view.name(user.container), user.rw) for user in volume.used_by)
    items.append(item(f"used by {', '.join(users) or 'nobody'}"))
    if volume.driver != "local":
        items.append(item(f"driver {volume.driver}"))
    items += [item(f"{key}={value}") for key, value in sorted(volume.options.items())]
    details = []
    if view.verbose:
        if volume.mountpoint:
            details.append(detail("path", item(volume.mountpoint)))
        details += [detail("label", item(f"{key}={value}")) for key, value in sorted(volume.labels.items())]
    return Branch(Line(items), details)


# --- what is no engine's ---


def _foreign_bridges(view: View) -> Iterator[Branch]:
    for bridge in view.topology.bridges:
        if bridge.network is None:
            yield Branch(Line([item(bridge.name), *_bridge_items(view, bridge)]))


def _bridge_items(view: View, bridge: Bridge) -> Iterator[Item]:
    if bridge.netns != view.host_netns:
        yield item(f"in {view.namespace_name(bridge.netns)}")
    addresses = [address for address in bridge.addresses if not address.startswith("fe80:")]
    if addresses:
        yield item(" ".join(addresses))
    ports = [f"{p.link} ({view.name(p.container)})" if p.container else p.link for p in bridge.ports]
    if ports:
        yield item(f"ports {', '.join(ports)}")


def _foreign_namespaces(view: View) -> Iterator[Branch]:
    """Namespaces that are neither the host's, nor a container's, nor told with a network."""
    closed: list[str] = []
    for namespace in view.topology.netns:
        left_over = namespace.role == "container" and not namespace.containers and not namespace.pids
        told = namespace.network in view.networks and namespace.role != "other"
        if namespace.host or told or (namespace.role in ("container", "overlay") and not left_over):
            continue
        if namespace.inode not in view.links_in and not namespace.pids:
            closed.append(view.namespace_name(namespace.inode))
            continue
        items = [item(view.namespace_name(namespace.inode))]
        if left_over:
            items.append(item("left over: no container and no process is in it", style="warn"))
        elif namespace.role == "engine":
            items.append(item("a rootless engine's", style="dim"))
        elif namespace.role != "other":
            items.append(item("swarm's", style="dim"))
        elif namespace.pids:
            items.append(_pids(namespace.pids))
        else:
            items.append(item("no process" if view.knows("processes") else "no process seen", style="dim"))
        yield Branch(Line([*items, *wires(view, namespace)]))
    if closed:
        yield Branch(Line([item("not entered:", style="dim"), item(", ".join(closed))]))


def _pids(pids: tuple[int, ...]) -> Item:
    if len(pids) == 1:
        return item(f"pid {pids[0]}")
    return item(f"{len(pids)} processes, first pid {pids[0]}")


def _foreign_veths(view: View) -> Iterator[Branch]:
    """Veths of the host that lead to no container and no namespace told above, and that are no port of a bridge."""
    for link in view.links_in.get(view.host_netns or 0, ()):
        if link.kind == "veth" and link.container is None and not link.master and not _is_told(view, link):
            if link.doubt:
                yield Branch(Line([item(link.ifname), item(f"↔ ? ({link.doubt})", style="warn")]))
            else:
                yield Branch(Line([item(link_ends(view, link))]))


def _is_told(view: View, link: Link) -> bool:
    peer = view.peer_namespace(link)
    return peer is not None and not peer.host


# --- NAT ---


def _nat(view: View) -> Iterator[Branch]:
    """How many rules there are in what backend, for whom the host masquerades, and rules that lead to nobody."""
    rules = [rule for rule in view.topology.nat_rules if rule.netns == view.host_netns]
    inside = len(view.topology.nat_rules) - len(rules)
    counts = Counter((rule.backend, rule.family) for rule in rules)
    words = [
        item(f"{count} {_FAMILIES.get(family, family)} rule{'s' if count > 1 else ''} ({backend})")
        for (backend, family), count in sorted(counts.items())
    ]
    if view.is_disk:
        return
    if not words:
        words = [item("no rule" if view.knows("rules", "namespaces") else "no rule seen")]
    if inside:
        words.append(item(f"{inside} more in other namespaces", style="dim"))
    yield Branch(
        Line([item("nat", style="name"), *words]),
        [*_masquerade(view, rules), *_dead_ends(view, rules), *_texts(view, rules)],
    )


def _masquerade(view: View, rules: Iterable[NatRule]) -> Iterator[Line]:
    named: dict[str, None] = {}
    for rule in rules:
        if rule.verdict == "MASQUERADE" and rule.container is None:
            network = view.networks.get(rule.network or "")
            named[(network.name if network else None) or rule.src or rule.text] = None
    if named:
        yield detail("out", item("MASQUERADE for ", ", ".join(named)))


def _dead_ends(view: View, rules: Iterable[NatRule]) -> Iterator[Line]:
    """DNAT rules to an address of a docker network that nobody has."""
    subnets = [
        subnet for network in view.topology.networks for pool in network.subnets if (subnet := _subnet(pool.subnet))
    ]
    taken = {address for link in view.topology.links for address in link.addresses}
    for rule in rules:
        address = _address(rule.to) if rule.verdict == "DNAT" and rule.exact and rule.container is None else None
        if address is None or str(address) in taken or not any(address in subnet for subnet in subnets):
            continue
        nobody = "nobody" if view.knows("namespaces", "links", "addresses") else "nobody seen"
        what = f"{rule.chain} {rule.position}: {rule.proto or ''} {rule.dport or ''} → {rule.to} leads to {nobody}"
        yield detail("rule", item(" ".join(what.split()), style="bad"), style="bad")


def _address(to: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    text = to or ""
    text = (
        text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0] if text.count(":") == 1 else text
    )
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _subnet(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _texts(view: View, rules: Iterable[NatRule]) -> Iterator[Line]:
    """With --verbose every rule as it stands; without, how many hold something that is not known."""
    rules = list(rules)
    if view.verbose:
        for rule in rules:
            hits = f"[{rule.packets}:{rule.bytes}] " if rule.packets is not None and rule.bytes is not None else ""
            yield Line([item(f"{rule.family} {rule.chain} {rule.position}"), item(hits + rule.text)], hang=4)
        return
    unknown = sum(not rule.exact for rule in rules)
    if unknown:
        yield detail("rules", item(f"{unknown} hold something hostinspect does not know: see --verbose", style="warn"))


# --- gaps ---


def gap_branches(view: View) -> Iterator[Branch]:
    """What could not be seen, why, and what to do; of many of one sort the first few."""
    gaps: dict[tuple[str, str, str, bool], list[Gap]] = defaultdict(list)
    for gap in _of_the_same(view.topology.gaps):
        gaps[gap.collector, gap.why, gap.remedy, gap.minor].append(gap)
    ordered = sorted(gaps.items(), key=lambda entry: entry[0][3])
    branches = [_gap(view, same) for _, same in ordered]
    yield from _section("not seen", branches)


def _of_the_same(gaps: Iterable[Gap]) -> Iterator[Gap]:
    """Several families that one thing does not have, for one reason, as one: what a disk is without."""
    families: dict[tuple[str, str, str, bool], list[str]] = defaultdict(list)
    for gap in gaps:
        families[gap.subject, gap.why, gap.remedy, gap.minor].append(gap.collector)
    for (subject, why, remedy, minor), collectors in families.items():
        yield Gap(collector=", ".join(collectors), subject=subject, why=why, remedy=remedy, minor=minor)


def _gap(view: View, gaps: list[Gap]) -> Branch:
    first = gaps[0]
    shown = gaps if view.verbose else gaps[:_FEW]
    subjects = ", ".join(gap.subject for gap in shown)
    if len(shown) < len(gaps):
        subjects += f" and {len(gaps) - len(shown)} more (all with --verbose)"
    mark = Span(first.collector, "dim" if first.minor else "warn")
    return Branch(Line([item(mark, f" {subjects}: {first.why}")]), [Line([item(f"→ {first.remedy}")], hang=2)])
