"""Extensions of iptables: the bytes of xtables matches and targets, as iptables-save(8) spells them.

The same bytes come from the legacy tables (`struct xt_entry_match` and `xt_entry_target` after `struct ipt_entry`) and,
through nft_compat, from nf_tables (NFTA_MATCH_INFO, NFTA_TARGET_INFO).

    >>> match("tcp", 0, bytes.fromhex("0000ffff901f901f00000000 00000000"), "ipv4")
    Clause(text=' --dport 8080', fields=(('dport', '8080'),), name=None)

One file holds one family of extensions, and is loaded when a rule uses one of them: a host where docker alone writes
rules never loads the rare ones.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import import_module
from struct import error as StructError  # noqa: N812

from hostinspect.facts import Family
from hostinspect.kernel.xtables.extension import Clause, Extension, Table, UnknownError, Where

__all__ = ["Clause", "UnknownError", "match", "target"]

# Where each extension is decoded.
_MATCHES = {
    "transport": "tcp udp udplite sctp dccp multiport icmp icmp6 esp ah tcpmss length",
    "conntrack": "conntrack state connmark connlimit connbytes helper",
    "rates": "limit hashlimit statistic recent quota",
    "packet": "addrtype comment iprange mark mac physdev rpfilter owner pkttype set",
    "rare": "tos dscp ecn ttl hl ipvs socket cgroup policy time string cpu cluster u32 nfacct eui64 frag hbh dst rt mh",
}
_TARGETS = {
    "nat": "DNAT SNAT MASQUERADE REDIRECT NETMAP TPROXY DNPT SNPT",
    "conntrack": "CT CONNMARK",
    "targets": "REJECT ECN TTL HL LOG NFLOG NFQUEUE MARK TCPMSS TCPOPTSTRIP TOS DSCP CLASSIFY CHECKSUM TEE TRACE"
    " SYNPROXY AUDIT SET",
}
_MATCH_HOME = {name: home for home, names in _MATCHES.items() for name in names.split()}
_TARGET_HOME = {name: home for home, names in _TARGETS.items() for name in names.split()}


@cache
def _table(home: str, kind: str, family: Family) -> Table:
    """The rows of one file for `kind` MATCHES or TARGETS: those of both families, then those of this one."""
    module = import_module(f"{__name__}.{home}")
    own = "IPV4" if family == "ipv4" else "IPV6"
    return {**getattr(module, kind), **getattr(module, f"{kind}_{own}")}


def _no_set_names(_index: int) -> str:
    raise UnknownError


def _decode(found: Extension, info: bytes, where: Where) -> Clause:
    if len(info) != -(-found.layout.size // 8) * 8:  # XT_ALIGN
        raise UnknownError
    try:
        clause = found.decode(found.layout.unpack_from(info), where)
    except (StructError, ValueError, OverflowError) as e:
        raise UnknownError from e
    return clause if isinstance(clause, Clause) else Clause(clause)


@lru_cache(maxsize=4096)
def _cached(kind: str, home: str, name: str, revision: int, info: bytes, family: Family) -> Clause:
    """Most rules of a host repeat a few matches: `-m addrtype --dst-type LOCAL`, `-m tcp --dport 80`."""
    found = _table(home, kind, family).get((name, revision))
    if found is None:
        raise UnknownError
    return _decode(found, info, Where(family, _no_set_names))


def match(name: str, revision: int, info: bytes, family: Family) -> Clause:
    """What a match's bytes (`info`, as long as the kernel has them) say in `family`.

    Raises `UnknownError` where the extension, its revision, its length or a value in it is not known to us, and nothing
    else whatever the bytes.
    """
    home = _MATCH_HOME.get(name)
    if home is None:
        raise UnknownError
    if name == "set":
        return _decode_set("MATCHES", home, name, revision, info, family)
    return _cached("MATCHES", home, name, revision, info, family)


def target(name: str, revision: int, info: bytes, family: Family) -> Clause:
    """As `match`, for a target."""
    home = _TARGET_HOME.get(name)
    if home is None:
        raise UnknownError
    if name == "SET":
        return _decode_set("TARGETS", home, name, revision, info, family)
    return _cached("TARGETS", home, name, revision, info, family)


def _decode_set(kind: str, home: str, name: str, revision: int, info: bytes, family: Family) -> Clause:
    """Sets go by an index that means something only in the network namespace we are in, now: never cached."""
    from hostinspect.kernel.xtables.ipset import set_name

    found = _table(home, kind, family).get((name, revision))
    if found is None:
        raise UnknownError
    return _decode(found, info, Where(family, set_name))
