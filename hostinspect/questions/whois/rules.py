"""Packet filter: a whole rule, a chain; `addresses` and `ports` find rules by where they lead."""

from __future__ import annotations

from collections.abc import Iterator

from hostinspect.facts import Rule
from hostinspect.questions.whois.answer import Match, Reason, Ref
from hostinspect.questions.whois.chain import HOST, Chain, listed, rule_ref
from hostinspect.questions.whois.key import Key, canonical
from hostinspect.questions.whois.known import Known
from hostinspect.questions.whois.links import whose


def by_text(known: Known, key: Key) -> Iterator[Match]:
    """A rule as iptables-save prints it; counters in front, `[3:180]`, do not matter."""
    words = key.word.split()
    if words and words[0].startswith("[") and words[0].endswith("]"):
        words = words[1:]
    if len(words) < 2:
        return
    text = " ".join(words)
    for rule in known.facts.rules:
        if " ".join(rule.text.split()) == text:
            yield _rule(known, rule)


def by_chain(known: Known, key: Key) -> Iterator[Match]:
    """The name of a chain: `DOCKER-USER`."""
    word = key.word
    for chain in known.facts.chains:
        if chain.name != word or not word:
            continue
        rules = [
            r
            for r in known.facts.rules
            if (r.netns, r.family, r.backend, r.table, r.chain)
            == (chain.netns, chain.family, chain.backend, chain.table, chain.name)
        ]
        callers = dict.fromkeys(
            r.chain
            for r in known.facts.rules
            if (r.netns, r.family, r.backend, r.table) == (chain.netns, chain.family, chain.backend, chain.table)
            and r.verdict == chain.name
        )
        ref = Ref(kind="chain", id="/".join((chain.family, chain.backend, chain.table, chain.name)), name=chain.name)
        end = known.namespace(chain.netns) if chain.netns != known.host_netns else Chain(owner=HOST)
        count = f"{len(rules)} rule{'' if len(rules) == 1 else 's'}"
        hooked = f"it is at the hook {chain.hook}, policy {chain.policy}" if chain.hook else None
        called = f"rules of {listed(callers)} jump to it" if callers else None
        summary = f"a chain of {chain.family} {chain.table} ({chain.backend}) in {whose(known, chain.netns)}: {count}"
        yield end.after(hooked, called).match("chain", summary, ref)


def _rule(known: Known, rule: Rule) -> Match:
    where = f"{rule.table} {rule.chain} rule {rule.position} ({rule.family}, {rule.backend})"
    said = Reason(text=f"it is {where} in {whose(known, rule.netns)}", about=rule_ref(rule))
    described = next(
        (r for r in known.topology.nat_rules if (r.netns, *_place(r)) == (rule.netns, *_place(rule))), None
    )
    if rule.netns != known.host_netns:
        chain = known.namespace(rule.netns)
    elif described is not None and described.container is not None:
        chain = known.container(described.container)
    elif rule.to and (ip := canonical(rule.to.rpartition(":")[0] or rule.to)) is not None:
        chain = known.target(ip)
    elif described is not None and described.network is not None:
        chain = known.network(described.network)
    else:
        chain = Chain(owner=HOST)
    return chain.after(said).match("rule", where, rule_ref(rule))


def _place(rule: object) -> tuple[object, ...]:
    return tuple(getattr(rule, name) for name in ("family", "backend", "table", "chain", "position"))
