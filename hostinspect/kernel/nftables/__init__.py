"""nf_tables: the rules of iptables-nft and of nft itself, from netlink dumps that change nothing.

    with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        records = read(netfilter, netns)

A socket of that protocol, or a request, would load nfnetlink and nf_tables where they are not: ask
`hostinspect.kernel.modules.is_present` first; without them there are no such rules.

A namespace without tables costs one dump, that is a question and an answer: NFT_MSG_GETGEN, whose generation is 1 until
something is loaded, costs the same. Every message says the generation of the ruleset that it is from; where two dumps
differ, a transaction came between, and both are made again.
"""

from __future__ import annotations

import errno
from functools import lru_cache
from typing import Any

from hostinspect import facts
from hostinspect.kernel.netlink import NetlinkError, NetlinkSocket, attributes
from hostinspect.kernel.nftables import messages

_ATTEMPTS = 5
_FEW = 32  # chains: as many as a container may have to be remembered for the next

Tables = frozenset[tuple[facts.Family, str]]


class UnknownLayoutError(ValueError):
    """A chain or rule without the attributes that it must have."""


def read(netfilter: NetlinkSocket, netns: int) -> list[facts.Chain | facts.Rule]:
    """The chains and then the rules of the socket's network namespace, of all families, in the kernel's order.

    Raises NetlinkError (EPERM without CAP_NET_ADMIN in that namespace; EAGAIN where the rules are being changed
    without a pause), UnknownLayoutError. An expression that is not known is shown in brackets, with `exact=False`.
    """
    chains, rules = _consistent(netfilter)
    if not chains:
        return []
    try:
        raw = tuple([body[:1] + body[messages.NFGENMSG :] for body in chains])
        fields, foreign = _few_chains(raw) if len(raw) <= _FEW else _chains(raw)
    except (KeyError, ValueError) as e:
        raise _unknown(e) from e
    found: list[facts.Chain | facts.Rule] = [facts.Chain(netns=netns, backend="nft", **of) for of in fields]
    if rules:
        found += _rules(netfilter, rules, foreign, netns)
    return found


def _consistent(netfilter: NetlinkSocket) -> tuple[list[bytes], list[bytes]]:
    """The messages of chains and of rules, of one generation."""
    for _ in range(_ATTEMPTS):
        chains = messages.dump(netfilter, messages.GETCHAIN)
        if not chains:
            return [], []
        rules = messages.dump(netfilter, messages.GETRULE)
        if len({body[2 : messages.NFGENMSG] for bodies in (chains, rules) for body in bodies}) == 1:
            return chains, rules
    raise NetlinkError(errno.EAGAIN, f"the rules were changed while they were read, {_ATTEMPTS} times in a row")


def _unknown(error: Exception) -> UnknownLayoutError:
    return UnknownLayoutError(f"a message of nf_tables has another layout: {error}")


def _chains(raw: tuple[bytes, ...]) -> tuple[list[dict[str, Any]], Tables]:
    """The fields of each chain (the family's byte, and its attributes), and the tables that iptables has not made: by
    their family, name, and the names of their base chains. Raises ValueError, KeyError on another layout."""
    from hostinspect.kernel.nftables import iptables

    chains = [messages.parse_chain(messages.FAMILIES[body[0]], attributes(body, 1)) for body in raw]
    foreign = frozenset(
        (chain["family"], chain["table"])
        for chain in chains
        if chain["family"] not in ("ipv4", "ipv6")
        or chain["table"] not in iptables.TABLES
        or (chain["hook"] is not None and chain["name"] not in iptables.CHAINS)
    )
    return chains, foreign


# Containers with embedded DNS have the same chains, byte for byte.
_few_chains = lru_cache(maxsize=64)(_chains)


def _rules(netfilter: NetlinkSocket, rules: list[bytes], foreign: Tables, netns: int) -> list[facts.Rule]:
    from hostinspect.kernel.nftables import iptables
    from hostinspect.kernel.nftables.shapes import SHAPES

    found: list[facts.Rule] = []
    positions: dict[tuple[facts.Family, str, str], int] = {}
    native = None
    for body in rules:
        record = SHAPES.rule(body, netns, positions, foreign)
        if record is not None:
            found.append(record)
            continue
        try:
            rule = messages.parse_rule(messages.FAMILIES[body[0]], attributes(body, messages.NFGENMSG))
        except (KeyError, ValueError) as e:
            raise _unknown(e) from e
        where = (rule.family, rule.table, rule.chain)
        position = positions[where] = positions.get(where, 0) + 1
        if where[:2] not in foreign:
            try:
                spelled, packets, octets = iptables.spell(rule)
            except iptables.NotIptablesError:
                pass  # then as nft spells it
            else:
                SHAPES.learn(body, foreign=False)
                found.append(
                    facts.Rule(
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
                )
                continue
        if native is None:
            from hostinspect.kernel.nftables.native import Speller

            native = Speller(netfilter)
        if where[:2] in foreign:
            SHAPES.learn(body, foreign=True)
        found.append(native.rule(rule, netns, position))
    return found
