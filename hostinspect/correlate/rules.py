"""NAT chains, their rules, and whose each one is."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping

from hostinspect.correlate.index import Index
from hostinspect.correlate.networks import Networks
from hostinspect.correlate.ports import split_address
from hostinspect.facts import Chain, Rule
from hostinspect.topology import NatChain, NatRule

ChainKey = tuple[int, str, str, str, str]  # namespace, family, backend, table, name

_NAT_VERDICTS = ("DNAT", "SNAT", "MASQUERADE", "REDIRECT")
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_LEADS_TO = r"\b(?:jump|goto) ([^\s,}]+)"  # nft's spelling; one rule of a verdict map leads to several


def nat_chains(index: Index) -> set[ChainKey]:
    """The chains that do NAT: all of iptables' nat table; of native nftables, where one table may hold all sorts,
    those of type nat, those with a rule that translates, and those that such rules lead to.

    Docker's own (`nat-…` of docker-bridges) are jumped to by way of a named map, which is not read.
    """
    found: set[ChainKey] = {
        (*_table(chain), chain.name)
        for chain in index.facts.chains
        if chain.table == "nat" or chain.type == "nat" or _is_dockers(chain.table, chain.name)
    }
    below: dict[ChainKey, set[ChainKey]] = defaultdict(set)
    for rule in index.facts.rules:
        key: ChainKey = (*_table(rule), rule.chain)
        if rule.table == "nat" or rule.verdict in _NAT_VERDICTS or _is_dockers(rule.table, rule.chain):
            found.add(key)
        if rule.backend == "nft" and rule.table != "nat":
            below[key].update((*_table(rule), name) for name in leads_to(rule.text))
    todo = [*found]
    while todo:
        new = below[todo.pop()] - found
        found |= new
        todo += new
    return found


def leads_to(text: str, verdict: str | None = None) -> set[str]:
    """The chains that a rule jumps or goes to, by its text; iptables' spelling has one, which is the `verdict`."""
    if text.startswith("-A "):
        return {verdict} if verdict else set()
    return set(re.findall(_LEADS_TO, text.partition(' comment "')[0]))


def _table(of: Chain | Rule) -> tuple[int, str, str, str]:
    return of.netns, of.family, of.backend, of.table


def _is_dockers(table: str, chain: str) -> bool:
    return table == "docker-bridges" and chain.startswith("nat-")


def describe_chains(index: Index, chains: Collection[ChainKey]) -> tuple[NatChain, ...]:
    """These chains, the host's first; in each table those of a hook, in the order a packet meets them, go first."""
    described = [
        NatChain(
            netns=chain.netns,
            family=chain.family,
            backend=chain.backend,
            table=chain.table,
            name=chain.name,
            hook=chain.hook,
            priority=chain.priority,
            policy=chain.policy,
            packets=chain.packets,
            bytes=chain.bytes,
        )
        for chain in index.facts.chains
        if (*_table(chain), chain.name) in chains
    ]
    described.sort(
        key=lambda c: (
            c.netns != index.host_netns,
            c.netns,
            c.family,
            c.backend,
            c.table,
            _HOOKS.index(c.hook) if c.hook in _HOOKS else len(_HOOKS),
            c.priority or 0,
            c.name,
        )
    )
    return tuple(described)


def describe_rules(
    index: Index,
    chains: Collection[ChainKey],
    networks: Networks,
    by_address: Mapping[tuple[int | None, str], str],
    owners: Mapping[int, str],
) -> tuple[NatRule, ...]:
    """The rules of these chains, the host's first, in the order in which each chain is walked.

    `by_address` gives the container of an address as an engine in that namespace has it, `owners` that of a namespace.
    """
    described = [
        _describe(index, rule, networks, by_address, owners)
        for rule in index.facts.rules
        if (*_table(rule), rule.chain) in chains
    ]
    described.sort(
        key=lambda r: (r.netns != index.host_netns, r.netns, r.family, r.backend, r.table, r.chain, r.position)
    )
    return tuple(described)


def _describe(
    index: Index,
    rule: Rule,
    networks: Networks,
    by_address: Mapping[tuple[int | None, str], str],
    owners: Mapping[int, str],
) -> NatRule:
    container = network = None
    if rule.netns not in index.netns_of_engines:
        container = owners.get(rule.netns)
    elif rule.exact:
        named = (split_address(rule.to)[0] if rule.to else None, _host(rule.src), _host(rule.dst))
        found = (by_address.get((rule.netns, address)) for address in named if address)
        container = next(filter(None, found), None)
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
        if subnet and (rule.netns, subnet) in networks.by_subnet:
            return networks.by_subnet[rule.netns, subnet]
    for interface in (rule.in_interface, rule.out_interface):
        bare = (interface or "").removeprefix("!").strip()
        if (rule.netns, bare) in networks.by_bridge:
            return networks.by_bridge[rule.netns, bare]
    return None
