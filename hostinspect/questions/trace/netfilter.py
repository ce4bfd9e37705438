"""What the packet filter of a namespace does with a packet: its chains, legacy and nft together, as the kernel does.

At each hook the base chains are asked in the order of their priority, whichever program made them, and each may drop.
A chain is walked with all that is possible: where it cannot be told whether a rule takes the packet, both go on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple, Protocol

from hostinspect.correlate.ports import split_address
from hostinspect.facts import Chain, Facts, Rule
from hostinspect.questions.trace.rules import (
    ANYTHING,
    OPEN,
    Address,
    Ground,
    Packet,
    compiled,
    matches,
    only_destination,
)

# Of legacy tables, which do not say theirs: linux/netfilter_ipv4.h, enum nf_ip_hook_priorities.
_PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
_SRCNAT = 100  # nat at the hooks input and postrouting
_CONNTRACK = -200

_TRANSLATIONS = ("DNAT", "REDIRECT", "SNAT", "MASQUERADE")
_ENDS = ("ACCEPT", "DROP", "REJECT", *_TRANSLATIONS)
_GOES_ON = {
    *("LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "CT", "NOTRACK", "TCPMSS", "CHECKSUM", "SET", "TRACE", "TOS", "DSCP"),
    *("TTL", "HL", "CLASSIFY", "ECN", "AUDIT", "TCPOPTSTRIP", "SECMARK", "CONNSECMARK", "RATEEST", "IDLETIMER", "LED"),
    *("TEE", "HMARK", "CONTINUE"),
}
_STEPS = 200_000  # rules that are looked at in one chain; a table may be made to have no end

Key = tuple[int, str, str, str, str]  # namespace, family, backend, table, chain


class Outcome(NamedTuple):
    """What may become of a packet in a chain."""

    verdict: str  # one of _ENDS, RETURN, GO_ON or ANYTHING
    rule: Rule | None = None  # that decides; None: the chain ended
    is_sure: bool = True  # False: it is not known whether the rule takes the packet


_RETURN, _GO_ON = Outcome("RETURN"), Outcome("CONTINUE")


class Decision(NamedTuple):
    """What a base chain decides: for sure where there is one outcome."""

    chain: Chain
    outcomes: tuple[Outcome, ...]

    @property
    def rules(self) -> list[Rule]:
        """The rules that decide, or may."""
        return [outcome.rule for outcome in self.outcomes if outcome.rule]


class Passage(NamedTuple):
    """A packet that has come to a hook: how it goes on."""

    packet: Packet  # as it leaves, if it does
    decisions: tuple[Decision, ...]  # of those base chains that do not let everything pass by an empty chain
    stopped_by: Decision | None = None  # drops it, or may
    is_open: bool = False  # it cannot be told whether it passes


class Translator(Protocol):
    """What translates addresses at a hook: asked once, between the chains before and behind it."""

    def __call__(self, packet: Packet, rule: Rule | None, doubtful: tuple[Outcome, ...]) -> Packet:
        """The packet as it goes on; `doubtful` is what else its nat chains may do."""


class _Rules:
    """The rules of one chain, in their order."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.every = sorted(rules, key=lambda rule: rule.position)

    @cached_property
    def _by_destination(self) -> tuple[dict[Address, list[int]], dict[int, list[int]], list[int]]:
        """Where in `every` those stand that ask for one address, those that ask for one port, and all others."""
        of_address: dict[Address, list[int]] = defaultdict(list)
        of_port: dict[int, list[int]] = defaultdict(list)
        others: list[int] = []
        for n, rule in enumerate(self.every):
            address, port = only_destination(rule)
            if address is not None:
                of_address[address].append(n)
            elif port is not None:
                of_port[port].append(n)
            else:
                others.append(n)
        return of_address, of_port, others

    def for_packet(self, packet: Packet) -> list[Rule]:
        """Those that may take it: the engine's chains have a rule for each port, which is no other packet's."""
        of_address, of_port, others = self._by_destination
        found = [*others, *of_address.get(packet.dst, ())]
        for port in of_port if packet.dport is None else (packet.dport,):
            found += of_port.get(port, ())
        return [self.every[n] for n in sorted(found)]


class Netfilter:
    """The chains of every namespace."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    @cached_property
    def _rules(self) -> dict[Key, _Rules]:
        rules: dict[Key, list[Rule]] = defaultdict(list)
        for rule in self._facts.rules:
            rules[rule.netns, rule.family, rule.backend, rule.table, rule.chain].append(rule)
        return {where: _Rules(found) for where, found in rules.items()}

    @cached_property
    def _bases(self) -> dict[tuple[int, str, str], list[Chain]]:
        """Base chains by namespace, family and hook, in the order of their priorities."""
        bases: dict[tuple[int, str, str], list[Chain]] = defaultdict(list)
        for chain in self._facts.chains:
            if chain.hook:
                bases[chain.netns, chain.family, chain.hook].append(chain)
        for found in bases.values():
            found.sort(key=priority)
        return dict(bases)

    @cached_property
    def _backends(self) -> dict[int, set[str]]:
        found: dict[int, set[str]] = defaultdict(set)
        for chain in self._facts.chains:
            if self._rules.get(key(chain)) or chain.policy == "DROP":
                found[chain.netns].add(chain.backend)
        return dict(found)

    def backends(self, netns: int) -> set[str]:
        """The backends, legacy and nft, that have something to say in a namespace."""
        return self._backends.get(netns, set())

    def bases(self, netns: int, family: str, hook: str) -> list[Chain]:
        """The base chains that a packet of the family meets."""
        found = [*self._bases.get((netns, family, hook), ()), *self._bases.get((netns, "inet", hook), ())]
        return sorted(found, key=priority)

    def of_bridge(self, netns: int) -> list[Chain]:
        """Base chains of the bridge family with rules: which see every frame, and are not walked."""
        hooks = ("prerouting", "input", "forward", "output", "postrouting")
        return [
            chain
            for hook in hooks
            for chain in self._bases.get((netns, "bridge", hook), ())
            if self._rules.get(key(chain)) or chain.policy == "DROP"
        ]

    def translations(self, netns: int, family: str) -> Iterable[Rule]:
        """Every rule of the namespace that gives another destination."""
        for (inode, of, *_), rules in self._rules.items():
            if inode == netns and of in (family, "inet"):
                yield from (rule for rule in rules.every if rule.verdict in ("DNAT", "REDIRECT"))

    def passage(self, netns: int, hook: str, packet: Packet, ground: Ground, translate: Translator | None) -> Passage:
        """How the packet passes the hook. Without `translate`, its connection was translated, or not, before."""
        decisions: list[Decision] = []
        stopped: Decision | None = None
        before: list[Chain] = []
        after: list[Chain] = []
        for chain in self.bases(netns, packet.family, hook):
            if not is_nat(chain):
                (before if priority(chain) < _nat_priority(hook) else after).append(chain)
        for chains in (before, after):
            for chain in chains:
                decision, packet = self._decide(chain, packet, ground)
                if self._rules.get(key(chain)) or chain.policy == "DROP":
                    decisions.append(decision)
                verdicts = {outcome.verdict for outcome in decision.outcomes}
                if verdicts <= {"DROP", "REJECT"}:
                    return Passage(packet, tuple(decisions), decision)
                if verdicts & {"DROP", "REJECT", ANYTHING}:
                    stopped = stopped or decision
            if chains is before and translate is not None:
                rule, doubtful = self._translation(netns, hook, packet, ground)
                packet = translate(packet, rule, doubtful)
        return Passage(packet, tuple(decisions), stopped, stopped is not None)

    def _decide(self, chain: Chain, packet: Packet, ground: Ground) -> tuple[Decision, Packet]:
        """What a base chain does, and the packet with the marks that it leaves."""
        known = packet.state
        if priority(chain) < _CONNTRACK and packet.iif != "lo" and known not in ("UNTRACKED", OPEN):
            packet = packet._replace(state="INVALID")  # nobody has looked at its connection yet
        walk = _Walk(self._rules, packet, ground, chain)
        decision = Decision(chain, walk.outcomes())
        packet = walk.packet
        return decision, packet._replace(state=known) if packet.state == "INVALID" else packet

    def _translation(
        self, netns: int, hook: str, packet: Packet, ground: Ground
    ) -> tuple[Rule | None, tuple[Outcome, ...]]:
        """The rule that translates a new connection, and what may come before it."""
        found: Rule | None = None
        doubtful: tuple[Outcome, ...] = ()
        if packet.state != "NEW":
            return None, ()
        for chain in filter(is_nat, self.bases(netns, packet.family, hook)):
            decision, _ = self._decide(chain, packet, ground)
            if found is not None:
                # Of two tables with one priority, the one that was made later is asked first: which that is, is not
                # told by the kernel.
                if chain.backend != found.backend:
                    doubtful += tuple(outcome for outcome in decision.outcomes if outcome.verdict in _TRANSLATIONS)
                continue
            if {outcome.verdict for outcome in decision.outcomes} & {*_TRANSLATIONS, ANYTHING}:
                # The one that surely takes it if no other does: the last.
                last = decision.outcomes[-1]
                found = last.rule if last.verdict in _TRANSLATIONS else None
                doubtful += tuple(outcome for outcome in decision.outcomes if not outcome.is_sure)
        return found, doubtful


def is_nat(chain: Chain) -> bool:
    """Whether it translates addresses; in nft's tables a chain of any name may."""
    return chain.type == "nat" if chain.type else chain.table == "nat"


def _nat_priority(hook: str) -> int:
    return _SRCNAT if hook in ("input", "postrouting") else _PRIORITIES["nat"]


def key(chain: Chain) -> Key:
    """Where its rules are."""
    return chain.netns, chain.family, chain.backend, chain.table, chain.name


def priority(chain: Chain) -> int:
    """Its place among those of its hook."""
    if chain.priority is not None:
        return chain.priority
    if chain.table == "nat":
        return _nat_priority(chain.hook or "")
    return _PRIORITIES.get(chain.table, 0)


def target_of(rule: Rule) -> tuple[str | None, int | None] | None:
    """The address and port that a DNAT, REDIRECT or SNAT rule gives; None where it may be one of several."""
    address, port = split_address(rule.to or "")
    if "-" in address or (port and not port.isdecimal()):
        first, _, last = port.partition("-")
        if "-" in address or first != last:
            return None
        port = first
    return address or None, int(port) if port else None


class _Walk:
    """A packet on its way through one base chain. `packet` gets the marks that rules put on it."""

    def __init__(self, rules: dict[Key, _Rules], packet: Packet, ground: Ground, base: Chain) -> None:
        self._rules = rules
        self.packet = packet
        self._ground = ground
        self._base = base
        self._steps = 0

    def outcomes(self) -> tuple[Outcome, ...]:
        """All that may become of it, in the order in which that is met; the policy where the chain ends."""
        found = self._chain(self._base.name, frozenset())
        policy = "DROP" if self._base.policy == "DROP" else "ACCEPT"
        ends = [outcome for outcome in found if outcome.verdict == "RETURN"]
        rest = [outcome for outcome in found if outcome.verdict != "RETURN"]
        # Two ways to one verdict are one outcome, but for translations.
        return (*rest, Outcome(policy)) if ends else tuple(rest)

    def _chain(self, name: str, above: frozenset[str]) -> list[Outcome]:
        if name in above or len(above) > 16:  # NFT_JUMP_STACK_SIZE; the kernel loads no loops
            return [Outcome(ANYTHING)]
        where = (self._base.netns, self._base.family, self._base.backend, self._base.table, name)
        found: list[Outcome] = []
        rules = self._rules.get(where)
        for rule in rules.for_packet(self.packet) if rules else ():
            self._steps += 1
            if self._steps > _STEPS:
                return [*found, Outcome(ANYTHING, rule, is_sure=False)]
            taken = matches(rule, self.packet, self._ground)
            if taken is False:
                continue
            outcomes = self._outcomes_of(rule, above | {name}, is_sure=taken is True)
            found += (outcome for outcome in outcomes if outcome.verdict != "CONTINUE")
            if taken and not any(outcome.verdict == "CONTINUE" for outcome in outcomes):
                return found
        return [*found, _RETURN]

    def _outcomes_of(self, rule: Rule, above: frozenset[str], *, is_sure: bool) -> list[Outcome]:
        rule_ = compiled(rule.text, rule.verdict)
        target = rule_.target if rule.exact else ANYTHING
        if target is None or target in _GOES_ON:
            self._leave_marks(target, rule_.words, is_sure=is_sure)
            return [_GO_ON]
        if target in _ENDS:
            return [Outcome(target, rule, is_sure)]
        if target == "RETURN":
            return [_RETURN]
        where = (rule.netns, rule.family, rule.backend, rule.table, target)
        if target == ANYTHING or (where not in self._rules and not self._is_chain(rule, target)):
            return [Outcome(ANYTHING, rule, is_sure=False)]
        before = self.packet
        below = self._chain(target, above)
        if not is_sure:
            below = [outcome._replace(is_sure=False) for outcome in below]
            if self.packet != before:
                self.packet = self.packet._replace(mark=None, connmark=None)
        back = _RETURN if rule_.is_goto else _GO_ON
        return [back if outcome.verdict == "RETURN" else outcome for outcome in below]

    def _is_chain(self, rule: Rule, name: str) -> bool:
        """Whether this is the name of an empty chain; those are written in capitals that targets have too."""
        return not rule.text.startswith("-A ") or name not in _UNKNOWN_TARGETS

    def _leave_marks(self, target: str | None, words: tuple[str, ...], *, is_sure: bool) -> None:
        packet = self.packet
        if target in ("NOTRACK", "CT") and (target == "NOTRACK" or "--notrack" in words):
            self.packet = packet._replace(state="UNTRACKED" if is_sure else OPEN)
        elif target == "MARK":
            mark = _marked(packet.mark, words) if is_sure else None
            self.packet = packet._replace(mark=mark)
        elif target == "CONNMARK":
            if "--set-xmark" in words:
                self.packet = packet._replace(connmark=_marked(packet.connmark, words) if is_sure else None)
            elif packet.mark != packet.connmark:
                self.packet = packet._replace(mark=None, connmark=None)


_UNKNOWN_TARGETS = {"NFQUEUE", "QUEUE", "TPROXY", "SYNPROXY", "NETMAP", "DNPT", "SNPT", "CLUSTERIP", "STOLEN"}


def _marked(mark: int | None, words: tuple[str, ...]) -> int | None:
    """`--set-xmark VALUE/MASK`: the bits of the mask are cleared, those of the value turned over."""
    if mark is None or "--set-xmark" not in words:
        return None
    value, _, mask = words[words.index("--set-xmark") + 1].partition("/")
    try:
        return (mark & ~int(mask or "0xffffffff", 0)) ^ int(value, 0)
    except ValueError:
        return None
