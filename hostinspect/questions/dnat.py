"""Where the host sends what arrives at one of its ports: its DNAT rules in the order in which a packet meets them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property

from hostinspect.correlate.rules import leads_to
from hostinspect.topology import NatRule, RuleRef, Topology

ANY = ("0.0.0.0", "::")

# What a rule may ask for beside what its fields say, and still take every packet to a port of the host.
_MATCHES = {"tcp", "udp", "sctp", "multiport", "comment", "addrtype"}
_MATCH = re.compile(r"-m (\S+)")
_NATIVE = re.compile(
    r'(iifname != "[^"]*" )?(fib daddr type local )?(ip6? daddr \S+ )?((tcp|udp|sctp) dport \S+ )?'
    r'(counter (packets \d+ bytes \d+ )?)?(dnat|redirect)( ip6?)?( to \S+)?( comment ".*")?'
)

Place = tuple[str, str, str]  # family, backend, table


class Dnat:
    """The rules of the host's namespace that give packets another destination."""

    def __init__(self, topology: Topology) -> None:
        host = {namespace.inode for namespace in topology.netns if namespace.host}
        self._chains = [chain for chain in topology.nat_chains if chain.netns in host]
        self._rules: dict[tuple[Place, str], list[NatRule]] = defaultdict(list)
        for rule in topology.nat_rules:
            if rule.netns in host:
                self._rules[_place(rule), rule.chain].append(rule)

    @cached_property
    def by_ref(self) -> dict[RuleRef, NatRule]:
        """Every rule by where it stands."""
        return {reference(rule): rule for rules in self._rules.values() for rule in rules}

    @cached_property
    def rules(self) -> list[NatRule]:
        """Those with the verdict DNAT, whether a packet meets them or not."""
        return [rule for rules in self._rules.values() for rule in rules if rule.verdict == "DNAT"]

    @cached_property
    def met(self) -> dict[Place, list[NatRule]]:
        """DNAT and REDIRECT rules that a packet from outside may meet, by table: from the prerouting hook on."""
        met: dict[Place, list[NatRule]] = defaultdict(list)
        for chain in self._chains:
            if chain.hook == "prerouting":
                place = chain.family, chain.backend, chain.table
                met[place] += self._walk(place, chain.name, frozenset())
        return dict(met)

    def _walk(self, place: Place, chain: str, above: frozenset[str]) -> Iterator[NatRule]:
        for rule in self._rules.get((place, chain), ()):
            if rule.verdict in ("DNAT", "REDIRECT"):
                yield rule
            for name in leads_to(rule.text, rule.verdict) - above - {chain}:
                yield from self._walk(place, name, above | {chain})

    def is_met(self, rule: NatRule) -> bool:
        """Whether a packet from outside may meet this rule; True where jumps by way of a named map are not known."""
        return _place(rule) in self._with_maps or reference(rule) in self._met

    @cached_property
    def _met(self) -> frozenset[RuleRef]:
        return frozenset(reference(rule) for rules in self.met.values() for rule in rules)

    @cached_property
    def _with_maps(self) -> frozenset[Place]:
        """Tables with jumps that are not read."""
        return frozenset(
            place
            for (place, _), rules in self._rules.items()
            if place[2] == "docker-bridges" or any(" vmap @" in rule.text for rule in rules)
        )

    def takers(self, proto: str, host_ip: str, port: int) -> list[NatRule]:
        """Of each table the first rule met that takes every packet to this port.

        One that asks for more, such as a source, takes some packets only: it decides nothing here.
        """
        family = "ipv6" if ":" in host_ip else "ipv4"
        found = []
        for place, (by_port, wide) in self._plain.items():
            if place[0] in (family, "inet"):
                several = sorted((*by_port.get(port, ()), *wide))
                met = self.met[place]
                found += [met[n] for n in several if _takes(met[n], proto, host_ip, port)][:1]
        return found

    @cached_property
    def _plain(self) -> dict[Place, tuple[dict[int, list[int]], list[int]]]:
        """Of the rules met, by position in `met`, those that ask for no more: for one port each, and for more."""
        plain = {}
        for place, rules in self.met.items():
            by_port: dict[int, list[int]] = defaultdict(list)
            wide = []
            for n, rule in enumerate(rules):
                if rule.exact and _asks_for_no_more(rule):
                    ports = port_ranges(rule.dport)
                    if len(ports) == 1 and ports[0][0] == ports[0][1]:
                        by_port[ports[0][0]].append(n)
                    elif ports or rule.dport is None:
                        wide.append(n)
            plain[place] = by_port, wide
        return plain


def reference(rule: NatRule) -> RuleRef:
    """Where a rule stands."""
    return RuleRef(family=rule.family, backend=rule.backend, table=rule.table, chain=rule.chain, position=rule.position)


def without_prefix(address: str) -> str:
    """An address without the length that names it alone."""
    return address.removesuffix("/128" if ":" in address else "/32")


def port_ranges(dport: str | None) -> list[tuple[int, int]]:
    """`80`, `8000:8010` (nft: `8000-8010`), `80,443` (nft: `{ 80, 443 }`) as ranges; none for a negated one."""
    if dport is None or dport.startswith("!"):
        return []
    found = []
    for part in dport.strip("{} ").split(","):
        first, _, last = part.strip().replace("-", ":").partition(":")
        if not first.isdecimal() or not (last or first).isdecimal():
            return []
        found.append((int(first), int(last or first)))
    return found


def _takes(rule: NatRule, proto: str, host_ip: str, port: int) -> bool:
    """Whether a rule that asks for no more than its fields say takes every packet to this port."""
    if rule.proto not in (None, proto) or rule.out_interface:
        return False
    if any(only and not only.startswith("!") for only in (rule.src, rule.in_interface)):
        return False
    if rule.dst is not None and without_prefix(rule.dst) != host_ip:
        return False
    return rule.dport is None or any(first <= port <= last for first, last in port_ranges(rule.dport))


def _asks_for_no_more(rule: NatRule) -> bool:
    if rule.text.startswith("-A "):
        return _MATCHES.issuperset(_MATCH.findall(rule.text))
    return _NATIVE.fullmatch(rule.text) is not None


def _place(rule: NatRule) -> Place:
    return rule.family, rule.backend, rule.table
