"""`hostinspect nat`: the chains that translate addresses, as they stand, and whose each rule is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from msgspec.structs import asdict

from hostinspect.correlate.rules import leads_to
from hostinspect.facts import Gap
from hostinspect.questions.answer import Answer, gaps_about
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.places import Places
from hostinspect.topology import NatChain, NatRule, Node

FAMILIES = ("host", "rules", "namespaces")
NEEDS = (*FAMILIES, "engines", "containers", "networks", "processes", "links", "addresses")

_Key = tuple[int, str, str, str, str]


class Jump(Node, frozen=True, kw_only=True):
    """A rule that leads to a chain."""

    chain: str
    position: int


class NatRuleDetails(NatRule, frozen=True, kw_only=True):
    """A rule as in the report, and what its container and network are called."""

    container_name: str | None
    network_name: str | None


class NatChainDetails(NatChain, frozen=True, kw_only=True):
    """A chain as in the report, with its rules by position."""

    jumped_from: tuple[Jump, ...]  # empty for a chain without hook: no packet gets there, or by way of a named map
    rules: tuple[NatRuleDetails, ...]


class NatNamespace(Node, frozen=True, kw_only=True):
    """The NAT of one network namespace."""

    netns: int
    name: str  # host, a container's name, or the name that pins it
    container: str | None  # id of the one whose it is
    chains: tuple[NatChainDetails, ...]  # by family, backend and table; those of a hook first, as packets meet them


class Nat(Answer, frozen=True, kw_only=True):
    """The NAT of these namespaces, the host's first."""

    namespaces: tuple[NatNamespace, ...]
    gaps: tuple[Gap, ...]


def list_nat(inspection: Inspection, namespaces: Collection[int] | None) -> Nat:
    """The NAT of these namespaces; with None of the host and of every other that has any."""
    topology = inspection.topology
    places = Places(topology)
    rules: dict[_Key, list[NatRule]] = defaultdict(list)
    for rule in topology.nat_rules:
        rules[rule.netns, rule.family, rule.backend, rule.table, rule.chain].append(rule)
    chains: dict[int, list[NatChainDetails]] = defaultdict(list)
    jumps = _jumps(topology.nat_chains, rules)
    for chain in topology.nat_chains:
        key = (chain.netns, chain.family, chain.backend, chain.table, chain.name)
        chains[chain.netns].append(
            NatChainDetails(
                **asdict(chain),
                jumped_from=tuple(jumps[key]),
                rules=tuple(_rule(places, rule) for rule in rules[key]),
            )
        )
    wanted = {places.host_netns, *chains} if namespaces is None else namespaces
    found = []
    for namespace in topology.netns:
        if namespace.inode in wanted:
            owner = next(iter(places.members(namespace.inode)), None) if not namespace.host else None
            found.append(
                NatNamespace(
                    netns=namespace.inode,
                    name=places.namespace_name(namespace.inode),
                    container=owner.id if owner else None,
                    chains=tuple(chains[namespace.inode]),
                )
            )
    found.sort(key=lambda namespace: (namespace.netns != places.host_netns, namespace.name, namespace.netns))
    return Nat(namespaces=tuple(found), gaps=gaps_about(topology, *FAMILIES))


def _jumps(chains: Iterable[NatChain], rules: Mapping[_Key, list[NatRule]]) -> dict[_Key, list[Jump]]:
    """The rules that lead to each chain, in the order of the chains that they are in."""
    jumps: dict[_Key, list[Jump]] = defaultdict(list)
    for chain in chains:
        table = (chain.netns, chain.family, chain.backend, chain.table)
        for rule in rules.get((*table, chain.name), ()):
            for name in sorted(leads_to(rule.text, rule.verdict)):
                target: _Key = (*table, name)
                jumps[target].append(Jump(chain=chain.name, position=rule.position))
    return jumps


def _rule(places: Places, rule: NatRule) -> NatRuleDetails:
    network = places.networks.get(rule.network or "")
    return NatRuleDetails(
        **asdict(rule),
        container_name=places.name(rule.container),
        network_name=network.name if network else None,
    )
