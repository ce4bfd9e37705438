"""nf_tables: the rules of iptables-nft and of nft itself, from netlink dumps that change nothing.

    with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        records = list(read(netfilter, netns))

A socket of that protocol, or a request, would load nfnetlink and nf_tables where they are not: ask
`hostinspect.kernel.modules.is_present` first; without them there are no such rules.

A namespace without tables costs one dump. Every message says the generation of the ruleset that it is from; where two
dumps differ, a transaction came between, and both are made again.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from hostinspect import facts
from hostinspect.kernel.netlink import NetlinkError, NetlinkSocket
from hostinspect.kernel.nftables import messages

_ATTEMPTS = 5


class UnknownLayoutError(ValueError):
    """A chain or rule without the attributes that it must have."""


def read(netfilter: NetlinkSocket, netns: int) -> Iterator[facts.Chain | facts.Rule]:
    """The chains and rules of the socket's network namespace, of all families, in the kernel's order.

    Raises NetlinkError (EPERM without CAP_NET_ADMIN in that namespace; EAGAIN where the rules are being changed
    without a pause), UnknownLayoutError. An expression that is not known is shown in brackets, with `exact=False`.
    """
    try:
        chains, rules = _consistent(netfilter)
    except (KeyError, ValueError) as e:
        raise UnknownLayoutError(f"a message of nf_tables has another layout: {e}") from e
    yield from _chains(chains, netns)
    if rules:
        yield from _rules(netfilter, chains, rules, netns)


def _consistent(netfilter: NetlinkSocket) -> tuple[list[messages.Chain], list[messages.Rule]]:
    """Chains and rules of one generation."""
    for _ in range(_ATTEMPTS):
        generations, chains = messages.dump(netfilter, messages.GETCHAIN)
        if not chains:
            return [], []
        of_rules, rules = messages.dump(netfilter, messages.GETRULE)
        if len(generations | of_rules) == 1:
            return [messages.parse_chain(*m) for m in chains], [messages.parse_rule(*m) for m in rules]
    raise NetlinkError(errno.EAGAIN, f"the rules were changed while they were read, {_ATTEMPTS} times in a row")


def _chains(chains: list[messages.Chain], netns: int) -> Iterator[facts.Chain]:
    for chain in chains:
        yield facts.Chain(netns=netns, backend="nft", **chain._asdict())


def _foreign(chains: list[messages.Chain]) -> set[tuple[str, str]]:
    """Tables (family, name) that iptables has not made: by their family, name, and the names of their base chains."""
    from hostinspect.kernel.nftables import iptables

    return {
        (chain.family, chain.table)
        for chain in chains
        if chain.family not in ("ipv4", "ipv6")
        or chain.table not in iptables.TABLES
        or (chain.hook is not None and chain.name not in iptables.CHAINS)
    }


def _rules(
    netfilter: NetlinkSocket, chains: list[messages.Chain], rules: list[messages.Rule], netns: int
) -> Iterator[facts.Rule]:
    from hostinspect.kernel.nftables import iptables

    foreign = _foreign(chains)
    positions: dict[tuple[str, str, str], int] = {}
    native = None
    for rule in rules:
        where = (rule.family, rule.table, rule.chain)
        position = positions[where] = positions.get(where, 0) + 1
        if where[:2] not in foreign:
            try:
                spelled, packets, octets = iptables.spell(rule)
            except iptables.NotIptablesError:
                pass  # then as nft spells it
            else:
                yield facts.Rule(
                    netns=netns,
                    family=rule.family,
                    backend="nft",
                    table=rule.table,
                    chain=rule.chain,
                    position=position,
                    text=spelled.text,
                    verdict=spelled.verdict,
                    packets=packets,
                    bytes=octets,
                    exact=spelled.exact,
                    **spelled.fields,
                )
                continue
        if native is None:
            from hostinspect.kernel.nftables.native import Speller

            native = Speller(netfilter)
        yield native.rule(rule, netns, position)
