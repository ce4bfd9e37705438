"""NAT rules and whose each one is."""

from __future__ import annotations

from collections.abc import Mapping

from hostinspect.correlate.index import Index
from hostinspect.correlate.networks import Networks
from hostinspect.correlate.ports import split_address
from hostinspect.facts import Rule
from hostinspect.topology import NatRule


def is_nat(rule: Rule) -> bool:
    """iptables' nat table, or docker's native nftables one, which holds nat and filter chains together."""
    return rule.table == "nat" or (rule.table.startswith("docker-bridges") and rule.chain.startswith("nat-"))


def describe_rules(
    index: Index, networks: Networks, by_address: Mapping[str, str], owners: Mapping[int, str]
) -> tuple[NatRule, ...]:
    """The rules of all nat tables, the host's first, in the order in which each chain is walked.

    `by_address` gives the container of an address, `owners` that of a namespace.
    """
    described = [_describe(index, rule, networks, by_address, owners) for rule in index.facts.rules if is_nat(rule)]
    described.sort(
        key=lambda r: (r.netns != index.host_netns, r.netns, r.family, r.backend, r.table, r.chain, r.position)
    )
    return tuple(described)


def _describe(
    index: Index, rule: Rule, networks: Networks, by_address: Mapping[str, str], owners: Mapping[int, str]
) -> NatRule:
    container = network = None
    if rule.netns != index.host_netns:
        container = owners.get(rule.netns)
    elif rule.exact:
        named = (split_address(rule.to)[0] if rule.to else None, _host(rule.src), _host(rule.dst))
        container = next((by_address[address] for address in named if address and address in by_address), None)
        network = _network(rule, networks)
    return NatRule(
        netns=rule.netns,
        family=rule.family,
        backend=rule.backend,
        table=rule.table,
        chain=rule.chain,
        position=rule.position,
        text=rule.text,
        verdict=rule.verdict,
        proto=rule.proto,
        dport=rule.dport,
        to=rule.to,
        in_interface=rule.in_interface,
        out_interface=rule.out_interface,
        src=rule.src,
        dst=rule.dst,
        packets=rule.packets,
        bytes=rule.bytes,
        container=container,
        network=network,
        exact=rule.exact,
    )


def _host(address: str | None) -> str | None:
    """An address that names one host, its /32 or /128 taken off; None for a prefix or a negation."""
    if address is None or address.startswith("!"):
        return None
    bare = address.removesuffix("/32" if ":" not in address else "/128")
    return None if "/" in bare else bare


def _network(rule: Rule, networks: Networks) -> str | None:
    for subnet in (rule.src, rule.dst):
        if subnet and subnet in networks.by_subnet:
            return networks.by_subnet[subnet]
    for interface in (rule.in_interface, rule.out_interface):
        bare = (interface or "").removeprefix("!").strip()
        if bare in networks.by_bridge:
            return networks.by_bridge[bare]
    return None
