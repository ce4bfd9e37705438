"""What the packet filter does with a packet that is to be forwarded, as far as the rules' own words decide it.

A rule that asks for something not known of the packet (a source, a mark, a limit) may take it or not. What may drop it
is then passed by, for it is meant for some packets; what may accept it leaves a doubt, and a drop after that is none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Literal, NamedTuple

from hostinspect.correlate.rules import leads_to
from hostinspect.doctor.patient import Patient, ip_network
from hostinspect.facts import Chain, Rule
from hostinspect.questions.dnat import port_ranges

_DROPS = ("DROP", "REJECT")
_NOTHING = ("LOG", "NFLOG", "MARK", "CONNMARK", "TRACE", "CLASSIFY", "DSCP", "TOS", "TCPMSS", "TTL", "CT", None)
_KNOWN = {"tcp", "udp", "sctp", "comment", "conntrack", "state"}
_MATCH = re.compile(r" -m (\S+)")
_STATES = re.compile(r" (! )?--(?:ctstate|state) (\S+)")
_OTHER_CONNTRACK = re.compile(r" --ct(?!state)\S+| --tcp-\S+| ! --[sd]ports?\b")

TableKey = tuple[str, str, str]  # family, backend, table


class Packet(NamedTuple):
    """The first packet of a connection. None: any, or not known."""

    family: Literal["ipv4", "ipv6"]
    in_interface: str
    out_interface: str
    src: str | None
    dst: str | None
    proto: str | None
    dport: int | None


class Decision(NamedTuple):
    """What becomes of a packet: None where it cannot be told. `by` names the rule, or the chain with the policy."""

    verdict: Literal["ACCEPT", "DROP"] | None
    kind: Literal["rule", "chain"]
    by: str
    text: str = ""
    remedy: str = ""


class Filters:
    """The chains of the host's forward hook, in the order in which a packet meets them."""

    def __init__(self, patient: Patient) -> None:
        host = patient.host_netns
        self._rules: dict[tuple[TableKey, str], list[Rule]] = defaultdict(list)
        for rule in patient.facts.rules:
            if rule.netns == host:
                self._rules[(rule.family, rule.backend, rule.table), rule.chain].append(rule)
        self._bases = sorted(
            (chain for chain in patient.facts.chains if chain.netns == host and chain.hook == "forward"),
            key=lambda chain: chain.priority or 0,
        )

    def forward(self, packet: Packet) -> Decision:
        """Every base chain has to let it pass."""
        decision = Decision("ACCEPT", "chain", "FORWARD")
        doubt: Decision | None = None
        for base in self._bases:
            if base.family not in (packet.family, "inet"):
                continue
            decision = _Walk(self._rules, base, packet).run()
            if decision.verdict == "DROP":
                return decision
            doubt = decision if decision.verdict is None else doubt
        return doubt or decision


class _Walk:
    """A packet on its way from one base chain."""

    def __init__(self, rules: dict[tuple[TableKey, str], list[Rule]], base: Chain, packet: Packet) -> None:
        self.rules, self.base, self.packet = rules, base, packet
        self.table: TableKey = (base.family, base.backend, base.table)
        self.doubt: Rule | None = None  # the first rule that may have accepted it

    def run(self) -> Decision:
        found = self._chain(self.base.name, frozenset())
        if found is not None:
            return found
        if self.base.policy == "DROP":
            return self._drop(Decision("DROP", "chain", f"the policy of {self._name()}", remedy=self._accept()))
        return Decision("ACCEPT", "chain", f"the policy of {self._name()}")

    def _name(self) -> str:
        return f"{self.base.table} {self.base.name} ({self.base.backend})"

    def _accept(self) -> str:
        return "systemctl restart docker"

    def _drop(self, decision: Decision) -> Decision:
        if self.doubt is None:
            return decision
        return Decision(None, "rule", _place(self.doubt), self.doubt.text)

    def _chain(self, chain: str, above: frozenset[str]) -> Decision | None:
        """What the rules of a chain decide; None where it falls through, or returns."""
        for rule in self.rules.get((self.table, chain), ()):
            match = matches(rule, self.packet)
            if match is False:
                continue
            targets = leads_to(rule.text, rule.verdict) if rule.verdict not in (*_DROPS, "ACCEPT", "RETURN") else set()
            targets = {name for name in targets if (self.table, name) in self.rules}
            if match is None or (targets and len(targets) > 1):
                if self._may_accept(rule, targets, above):
                    self.doubt = self.doubt or rule
                continue
            if rule.verdict == "ACCEPT":
                return Decision("ACCEPT", "rule", _place(rule), rule.text)
            if rule.verdict in _DROPS:
                return self._drop(Decision("DROP", "rule", _place(rule), rule.text, _delete(rule)))
            if rule.verdict == "RETURN":
                return None
            for name in targets - above:
                found = self._chain(name, above | {chain, name})
                if found is not None:
                    return found
                if " -g " in rule.text:
                    return None
            if not targets and rule.verdict not in _NOTHING and not self._is_empty(rule):
                self.doubt = self.doubt or rule  # a queue, or a target that is not known
        return None

    def _is_empty(self, rule: Rule) -> bool:
        """Whether it jumps to a chain without rules."""
        return rule.verdict is not None and rule.text.startswith("-A ") and rule.verdict.startswith("DOCKER")

    def _may_accept(self, rule: Rule, targets: set[str], above: frozenset[str]) -> bool:
        """Whether a rule that may match may let the packet pass, or lead it past what follows."""
        if rule.verdict in _DROPS or (rule.verdict in _NOTHING and not targets and rule.exact and not _is_map(rule)):
            return False
        if not targets:
            return not self._is_empty(rule)
        todo, seen = [*targets - above], set(targets)
        while todo:
            for below in self.rules.get((self.table, todo.pop()), ()):
                if below.verdict == "ACCEPT" or not below.exact or _is_map(below):
                    return True
                new = {n for n in leads_to(below.text, below.verdict) if (self.table, n) in self.rules} - seen
                seen |= new
                todo += new
        return False


def _is_map(rule: Rule) -> bool:
    return " vmap " in rule.text


def matches(rule: Rule, packet: Packet) -> bool | None:
    """Whether a rule takes the packet; None where it asks for more than is known of either."""
    unsure = not rule.exact
    for own, wanted in ((packet.in_interface, rule.in_interface), (packet.out_interface, rule.out_interface)):
        if wanted is not None and not _interface(own, wanted):
            return False
    for address, prefix in ((packet.src, rule.src), (packet.dst, rule.dst)):
        if prefix is not None:
            within = _within(address, prefix)
            if within is False:
                return False
            unsure = unsure or within is None
    if rule.proto is not None and rule.proto not in ("all", packet.proto):
        if packet.proto is not None:
            return False
        unsure = True
    if rule.dport is not None:
        ranges = port_ranges(rule.dport)
        if packet.dport is None or not ranges:
            unsure = True
        elif not any(first <= packet.dport <= last for first, last in ranges):
            return False
    if rule.sport is not None:
        unsure = True
    if rule.text.startswith("-A "):
        states = _STATES.search(rule.text)
        if states is not None and ("NEW" in states[2].split(",")) == bool(states[1]):
            return False
        if not _KNOWN.issuperset(_MATCH.findall(rule.text)) or _OTHER_CONNTRACK.search(rule.text):
            unsure = True
    elif not _is_plain_native(rule.text):
        if re.search(r"\bct state (\{ )?(established|related|invalid)", rule.text) and "new" not in rule.text:
            return False
        unsure = True
    return None if unsure else True


_NATIVE = re.compile(
    r"((iifname|oifname) (!= )?\"[^\"]*\" )*(ip6? [sd]addr \S+ )*((tcp|udp) dport \S+ )?"
    r"(counter( packets \d+ bytes \d+)? ?)?(drop|accept|return|(jump|goto) \S+|reject.*)?( comment \".*\")?"
)


def _is_plain_native(text: str) -> bool:
    return _NATIVE.fullmatch(text) is not None


def _interface(own: str, wanted: str) -> bool:
    bare = wanted.removeprefix("!").strip()
    same = own.startswith(bare[:-1]) if bare[-1:] in ("+", "*") else own == bare
    return same != wanted.startswith("!")


def _within(address: str | None, prefix: str) -> bool | None:
    bare = prefix.removeprefix("!").strip()
    if address is None:
        return None
    own, net = ip_network(address), ip_network(bare)
    if own is None or net is None:
        return None
    return (own.network_address in net) != prefix.startswith("!")


def _place(rule: Rule) -> str:
    return f"{rule.table} {rule.chain} rule {rule.position} ({rule.backend})"


def _delete(rule: Rule) -> str:
    if not rule.text.startswith("-A "):
        family = {"ipv4": "ip", "ipv6": "ip6"}.get(rule.family, rule.family)
        return f"nft -a list chain {family} {rule.table} {rule.chain}"
    program = ("ip6tables" if rule.family == "ipv6" else "iptables") + ("-legacy" if rule.backend == "legacy" else "")
    return f"{program} -t {rule.table} -D {rule.chain} {rule.position}"
