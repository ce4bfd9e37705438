"""`hostinspect nat`: the chains as branches, each with its rules; or one row a rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from msgspec import Struct

from hostinspect.questions.nat import Nat, NatChainDetails, NatNamespace, NatRuleDetails
from hostinspect.render.layout import Branch, Item, Line, Style, item
from hostinspect.render.table import Column
from hostinspect.render.view import short_id

_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6", "inet": "IPv4 and IPv6"}


def nat_branches(answer: Nat) -> Iterator[Branch]:
    """A branch for each table, with the namespace, family and backend it is of; empty namespaces are one line."""
    empty = []
    for namespace in answer.namespaces:
        if not namespace.chains:
            empty.append(namespace.name)
        for _, chains in groupby(namespace.chains, lambda c: (c.family, c.backend, c.table)):
            yield _table(namespace, [*chains])
    if empty:
        unseen = any(gap.collector in ("rules", "namespaces") and not gap.minor for gap in answer.gaps)
        words = "no NAT was seen" if unseen else "no NAT"
        yield Branch(Line([item(", ".join(empty), style="name"), item(words, style="warn" if unseen else "dim")]))


def _table(namespace: NatNamespace, chains: list[NatChainDetails]) -> Branch:
    first = chains[0]
    words = [item(namespace.name, style="name"), item(_FAMILIES.get(first.family, first.family)), item(first.backend)]
    if first.table != "nat":
        words.append(item(f"table {first.table}"))
    return Branch(Line(words), (), [_chain(chain) for chain in chains])


def _chain(chain: NatChainDetails) -> Branch:
    columns = _widths(chain.rules)
    return Branch(
        Line([item(chain.name, style="name"), *_heading(chain)]),
        [Line(_rule(rule), columns=columns, hang=sum(columns) + 2 * len(columns)) for rule in chain.rules],
    )


def _heading(chain: NatChainDetails) -> Iterator[Item]:
    if chain.hook is not None:
        yield item(f"hook {chain.hook}")
        if chain.priority is not None:
            yield item(f"priority {chain.priority}")
    else:
        yield _origin(chain)
    if chain.policy is not None:
        yield item(f"policy {chain.policy}", style="" if chain.policy == "ACCEPT" else "warn")
    if chain.packets is not None:
        yield item(_counters(chain.packets, chain.bytes))


def _origin(chain: NatChainDetails) -> Item:
    if not chain.jumped_from:
        by_map = chain.backend == "nft" and chain.table != "nat"
        return item("no rule but perhaps a map leads here" if by_map else "no rule leads here", style="dim")
    places = groupby(chain.jumped_from, lambda jump: jump.chain)
    return item("from ", ", ".join(f"{name} {' '.join(str(j.position) for j in jumps)}" for name, jumps in places))


def _rule(rule: NatRuleDetails) -> list[Item]:
    """`4  [12:720]  ! -i docker0 -p tcp … -j DNAT --to-destination 172.17.0.5:80  # web1`."""
    words = [
        item(str(rule.position)),
        item(_counters(rule.packets, rule.bytes), style="dim"),
        item(_text(rule), style="" if rule.exact else "warn"),
    ]
    owner = _owner(rule)
    return [*words, item(f"# {owner}", style="dim")] if owner else words


def _widths(rules: Iterable[NatRuleDetails]) -> tuple[int, int]:
    positions, counters = [0], [0]
    for rule in rules:
        positions.append(len(str(rule.position)))
        counters.append(len(_counters(rule.packets, rule.bytes)))
    return max(positions), max(counters)


def _counters(packets: int | None, octets: int | None) -> str:
    """As iptables-save(8) writes them."""
    return "[-]" if packets is None or octets is None else f"[{packets}:{octets}]"


def _text(rule: NatRuleDetails) -> str:
    """The rule without the name of its chain."""
    return rule.text.removeprefix(f"-A {rule.chain}").removeprefix(" ") or "(counts only)"


def _owner(rule: NatRuleDetails) -> str | None:
    """The container that the rule is made for, and the network that it names."""
    container = rule.container_name or (short_id(rule.container) if rule.container else None)
    network = rule.network_name or (short_id(rule.network) if rule.network else None)
    return ", ".join(filter(None, (container, network and f"network {network}"))) or None


# --- as a table ---


class RuleRow(Struct, frozen=True):
    """A rule and where it stands."""

    namespace: NatNamespace
    chain: NatChainDetails
    rule: NatRuleDetails


def rule_rows(answer: Nat) -> list[RuleRow]:
    """Every rule, by chain and position."""
    return [
        RuleRow(namespace, chain, rule)
        for namespace in answer.namespaces
        for chain in namespace.chains
        for rule in chain.rules
    ]


def rule_columns(answer: Nat, *, verbose: bool = False) -> list[Column[RuleRow]]:
    """The columns; the namespace where there are several, the table where one is not called nat."""
    several = len(answer.namespaces) > 1
    named = any(chain.table != "nat" for namespace in answer.namespaces for chain in namespace.chains)
    return [
        Column("NAMESPACE", lambda row: item(row.namespace.name, style="name"), several, _namespace),
        Column("FAMILY", lambda row: row.rule.family, spare=3),
        Column("BACKEND", lambda row: row.rule.backend, spare=4),
        Column("TABLE", lambda row: row.rule.table, shown=named),
        Column("CHAIN", lambda row: row.rule.chain),
        Column("NUM", lambda row: row.rule.position),
        Column("PACKETS", lambda row: row.rule.packets),
        Column("BYTES", lambda row: row.rule.bytes, spare=5),
        Column("RULE", lambda row: item(_text(row.rule), style=_style(row.rule)), sort=lambda row: _text(row.rule)),
        Column("CONTAINER", lambda row: row.rule.container_name),
        Column("NETWORK", lambda row: row.rule.network_name, spare=2),
        Column("VERDICT", lambda row: row.rule.verdict, shown=False),
        Column("PROTO", lambda row: row.rule.proto, shown=False),
        Column("DPORT", lambda row: row.rule.dport, shown=False),
        Column("TO", lambda row: row.rule.to, shown=False),
        Column("HOOK", lambda row: row.chain.hook, shown=False),
        Column("NETNS", lambda row: row.namespace.netns, shown=False),
        Column("CONTAINER ID", lambda row: _id(row.rule.container, verbose), shown=False),
        Column("NETWORK ID", lambda row: _id(row.rule.network, verbose), shown=False),
    ]


def _namespace(row: RuleRow) -> str:
    return row.namespace.name


def _style(rule: NatRuleDetails) -> Style:
    return "" if rule.exact else "warn"


def _id(id_: str | None, verbose: bool) -> str | None:
    return id_ if verbose or id_ is None else short_id(id_)
