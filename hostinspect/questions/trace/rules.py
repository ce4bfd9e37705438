"""Whether a rule takes a packet: iptables' matches and nft's plain expressions, by the text that iptables-save has.

The answer has three values. `None` is "that cannot be told from here": of a match on what is not in the facts (a set,
a rate, an owner, a time), of a value that the packet leaves open (its source port), of a rule that is not exact. A rule
asks for all of its matches at once, so that one that surely fails outweighs all that is open.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal, NamedTuple

from hostinspect.facts import Rule

Address = IPv4Address | IPv6Address
Stage = Literal["first", "answer", "further"]  # of a connection: its first packet, what answers, what follows
Maybe = bool | None
EPHEMERAL = (32768, 60999)  # net.ipv4.ip_local_port_range, as every kernel has it that was not told otherwise
_CLIENTS = (1024, 65535)  # what a client's port may be in the end


class Packet(NamedTuple):
    """The first packet of a connection, or an answer to it, at one point of its way."""

    family: str
    proto: str
    src: Address
    dst: Address
    sport: int | None  # None: a client's, of `EPHEMERAL`
    dport: int | None
    iif: str = ""
    oif: str = ""
    physin: str = ""  # the port of a bridge, where br_netfilter is asked
    physout: str = ""
    state: str = "NEW"  # of its connection: NEW, ESTABLISHED, INVALID, UNTRACKED, OPEN
    mark: int | None = 0
    connmark: int | None = 0
    dnat: bool = False
    snat: bool = False
    original_dst: Address | None = None  # before DNAT
    original_dport: int | None = None
    stage: Stage = "first"

    @property
    def reply(self) -> bool:
        """Whether it goes from the server to who asked."""
        return self.stage == "answer"


class Ground(NamedTuple):
    """What a match asks of the namespace that the packet is in."""

    kind_of_address: Callable[[Address], str | None]  # LOCAL, UNICAST, BROADCAST, MULTICAST…; None: not known


Test = Callable[[Packet, Ground], Maybe]
ANYTHING = "?"  # the target of a rule that does what is not known
OPEN = "?"  # the state of a connection that may be tracked or not


class Compiled(NamedTuple):
    """A rule, ready to be asked."""

    tests: tuple[Test, ...]
    target: str | None  # the verdict or the chain; None: it only counts
    is_goto: bool
    words: tuple[str, ...]  # the target's own options


def address_of(text: str | None) -> Address | None:
    """The address that a text is, or None: what an engine wrote down, or a rule leads to, may be anything."""
    try:
        return ip_address(text or "")
    except ValueError:
        return None


def negated(value: Maybe) -> Maybe:
    return None if value is None else not value


def matches(rule: Rule, packet: Packet, ground: Ground) -> Maybe:
    """Whether the rule takes the packet."""
    if not rule.exact:
        return None
    open_ = False
    for test in compiled(rule.text, rule.verdict).tests:
        found = test(packet, ground)
        if found is False:
            return False
        open_ = open_ or found is None
    return None if open_ else True


def only_destination(rule: Rule) -> tuple[Address | None, int | None]:
    """The one address and the one port that a packet to anywhere else surely fails a rule by; None: not one alone."""
    if not rule.exact or (_is_native(rule.text) and _unknown in compiled(rule.text, rule.verdict).tests):
        return None, None  # what nft has behind something unknown is not read as a match
    port = int(rule.dport) if rule.dport is not None and rule.dport.isdecimal() else None
    return address_of(rule.dst), port


@lru_cache(maxsize=8192)
def compiled(text: str, verdict: str | None) -> Compiled:
    """The rule's tests and target."""
    return _native(text, verdict) if _is_native(text) else _iptables(text, verdict)


def _is_native(text: str) -> bool:
    return not text.startswith("-A ")


# --- iptables ---------------------------------------------------------------------------------------------------


_PLAIN = re.compile(r"[^\s\"'\\]+(?: [^\s\"'\\]+)*")  # a text without quotes


def _iptables(text: str, verdict: str | None) -> Compiled:
    try:
        words = (text.split(" ") if _PLAIN.fullmatch(text) else shlex.split(text))[2:]
    except ValueError:
        return Compiled((_unknown,), verdict, is_goto=False, words=())
    tests: list[Test] = []
    module, unknown_module = "", False
    negation = False
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "!":
            negation = True
            continue
        if word in ("-j", "-g"):
            return Compiled(tuple(tests), verdict, word == "-g", tuple(words[position + 1 :]))
        if word == "-m":
            module = words[position] if position < len(words) else ""
            position += 1
            unknown_module = module not in _MODULES
            if unknown_module:
                tests.append(_unknown)
        elif not unknown_module:
            option = _OPTIONS.get((module, word)) or _OPTIONS.get(("", word))
            if option is None:
                tests.append(_unknown)
                unknown_module = True  # how many words it takes is not known either
                continue
            arguments = words[position : position + option.arguments]
            position += option.arguments
            test = _made(option, arguments)
            tests.append(_not(test) if negation else test)
        negation = False
    return Compiled(tuple(tests), verdict, is_goto=False, words=())


class _Option(NamedTuple):
    arguments: int
    make: Callable[..., Test]


def _made(option: _Option, arguments: Sequence[str]) -> Test:
    try:
        return option.make(*arguments)
    except (ValueError, TypeError):
        return _unknown


def _unknown(_packet: Packet, _ground: Ground) -> Maybe:
    return None


def _always(_packet: Packet, _ground: Ground) -> Maybe:
    return True


def _never(_packet: Packet, _ground: Ground) -> Maybe:
    return False


def _not(test: Test) -> Test:
    return lambda packet, ground: negated(test(packet, ground))


def _in(text: str, take: Callable[[Packet], Address]) -> Test:
    network = ip_network(text, strict=False)
    return lambda packet, _: (address := take(packet)).version == network.version and address in network


def _between(text: str, take: Callable[[Packet], Address]) -> Test:
    low, _, high = text.partition("-")
    first, last = ip_address(low), ip_address(high or low)
    return lambda packet, _: (
        (address := take(packet)).version == first.version and int(first) <= int(address) <= int(last)
    )


def interface_matches(pattern: str, name: str) -> bool:
    """`eth0`, and `eth+` or nft's `eth*` for all that begin so."""
    if pattern.endswith(("+", "*")):
        return name.startswith(pattern[:-1])
    return pattern == name


def _interface(pattern: str, take: Callable[[Packet], str]) -> Test:
    return lambda packet, _: interface_matches(pattern, take(packet))


_PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp", "1": "icmp", "58": "ipv6-icmp", "icmpv6": "ipv6-icmp"}


def _protocol(name: str) -> Test:
    wanted = _PROTOCOLS.get(name, name)
    return lambda packet, _: wanted in (packet.proto, "all", "0")


def _port(port: int | None, ranges: Sequence[tuple[int, int]]) -> Maybe:
    """Whether a port is in one of the ranges; of a client's it may be open."""
    if port is not None:
        return any(first <= port <= last for first, last in ranges)
    if any(first <= EPHEMERAL[0] and EPHEMERAL[1] <= last for first, last in ranges):
        return True
    if all(last < _CLIENTS[0] for _, last in ranges):
        return False
    return None


def _ranges(text: str) -> list[tuple[int, int]]:
    """`80`, `8000:8010`, `:1023`, `80,443` (nft: `8000-8010`, `{ 80, 443 }`)."""
    found = []
    for part in text.strip("{} ").split(","):
        first, colon, last = part.strip().replace("-", ":").partition(":")
        found.append((int(first or 0), int(last) if last else 65535 if colon else int(first)))
    return found


def _ports(text: str, *take: Callable[[Packet], int | None]) -> Test:
    ranges = _ranges(text)

    def test(packet: Packet, _: Ground) -> Maybe:
        if packet.proto not in ("tcp", "udp", "sctp", "dccp", "udplite"):
            return False
        return _any(_port(port(packet), ranges) for port in take)

    return test


def _any(values: Iterator[Maybe]) -> Maybe:
    open_ = False
    for value in values:
        if value:
            return True
        open_ = open_ or value is None
    return None if open_ else False


def _address_type(names: str, take: Callable[[Packet], Address]) -> Test:
    wanted = names.split(",")

    def test(packet: Packet, ground: Ground) -> Maybe:
        kind = ground.kind_of_address(take(packet))
        return None if kind is None else kind in wanted

    return test


def _states(names: str) -> Test:
    wanted = names.split(",")

    def test(packet: Packet, _: Ground) -> Maybe:
        if packet.state == OPEN:
            return None
        return packet.state in wanted or ("DNAT" in wanted and packet.dnat) or ("SNAT" in wanted and packet.snat)

    return test


def _mark(text: str, take: Callable[[Packet], int | None]) -> Test:
    value, _, mask = text.partition("/")
    wanted, bits = int(value, 0), int(mask, 0) if mask else 0xFFFFFFFF

    def test(packet: Packet, _: Ground) -> Maybe:
        mark = take(packet)
        return None if mark is None else mark & bits == wanted

    return test


def _direction(name: str) -> Test:
    return lambda packet, _: packet.reply == (name == "REPLY")


def _tcp_flags(mask: str, wanted: str) -> Test:
    flags = {"SYN", "RST", "ACK", "FIN", "PSH", "URG"}
    bits = flags if mask == "ALL" else set(mask.split(",")) & flags
    want = flags if wanted == "ALL" else set(wanted.split(",")) & flags

    def test(packet: Packet, _: Ground) -> Maybe:
        if packet.proto != "tcp":
            return False
        if packet.stage == "first":
            return bits & {"SYN"} == want
        if packet.stage == "further":
            return bits & {"ACK"} == want
        found = {bits & flags == want for flags in ({"SYN", "ACK"}, {"ACK"})}  # the first answer, and the next ones
        return found.pop() if len(found) == 1 else None

    return test


def _icmp6_type(text: str) -> Test:
    """`135`, `135/0`; a packet of ICMPv6 has its type for a port."""
    wanted = int(text.partition("/")[0])
    return lambda packet, _: packet.proto == "ipv6-icmp" and packet.dport == wanted


_SRC: Callable[[Packet], Address] = lambda packet: packet.src  # noqa: E731
_DST: Callable[[Packet], Address] = lambda packet: packet.dst  # noqa: E731
_SPORT: Callable[[Packet], int | None] = lambda packet: packet.sport  # noqa: E731
_DPORT: Callable[[Packet], int | None] = lambda packet: packet.dport  # noqa: E731


def _original_dst(packet: Packet) -> Address:
    return packet.original_dst or packet.dst


_OPTIONS: dict[tuple[str, str], _Option] = {
    ("", "-s"): _Option(1, lambda text: _in(text, _SRC)),
    ("", "-d"): _Option(1, lambda text: _in(text, _DST)),
    ("", "-i"): _Option(1, lambda text: _interface(text, lambda packet: packet.iif)),
    ("", "-o"): _Option(1, lambda text: _interface(text, lambda packet: packet.oif)),
    ("", "-p"): _Option(1, _protocol),
    ("", "-f"): _Option(0, lambda: _never),  # a first packet is no fragment
    ("comment", "--comment"): _Option(1, lambda _: _always),
    ("multiport", "--dports"): _Option(1, lambda text: _ports(text, _DPORT)),
    ("multiport", "--sports"): _Option(1, lambda text: _ports(text, _SPORT)),
    ("multiport", "--ports"): _Option(1, lambda text: _ports(text, _SPORT, _DPORT)),
    ("tcp", "--tcp-flags"): _Option(2, _tcp_flags),
    ("tcp", "--syn"): _Option(0, lambda: _tcp_flags("FIN,SYN,RST,ACK", "SYN")),
    ("addrtype", "--src-type"): _Option(1, lambda text: _address_type(text, _SRC)),
    ("addrtype", "--dst-type"): _Option(1, lambda text: _address_type(text, _DST)),
    ("conntrack", "--ctstate"): _Option(1, _states),
    ("conntrack", "--ctproto"): _Option(1, _protocol),
    ("conntrack", "--ctdir"): _Option(1, _direction),
    ("conntrack", "--ctorigdst"): _Option(1, lambda text: _of_first(_in(text, _original_dst))),
    ("conntrack", "--ctorigdstport"): _Option(
        1, lambda text: _of_first(_ports(text, lambda packet: packet.original_dport or packet.dport))
    ),
    ("state", "--state"): _Option(1, _states),
    ("mark", "--mark"): _Option(1, lambda text: _mark(text, lambda packet: packet.mark)),
    ("connmark", "--mark"): _Option(1, lambda text: _mark(text, lambda packet: packet.connmark)),
    ("physdev", "--physdev-in"): _Option(1, lambda text: _interface(text, lambda packet: packet.physin)),
    ("physdev", "--physdev-out"): _Option(1, lambda text: _interface(text, lambda packet: packet.physout)),
    ("physdev", "--physdev-is-in"): _Option(0, lambda: lambda packet, _: bool(packet.physin)),
    ("physdev", "--physdev-is-out"): _Option(0, lambda: lambda packet, _: bool(packet.physout)),
    ("physdev", "--physdev-is-bridged"): _Option(0, lambda: lambda packet, _: bool(packet.physin and packet.physout)),
    ("iprange", "--src-range"): _Option(1, lambda text: _between(text, _SRC)),
    ("iprange", "--dst-range"): _Option(1, lambda text: _between(text, _DST)),
    ("pkttype", "--pkt-type"): _Option(1, lambda kind: _always if kind == "unicast" else _never),
    ("icmp", "--icmp-type"): _Option(1, lambda _: _never),
    ("icmp6", "--icmpv6-type"): _Option(1, _icmp6_type),
    **{(proto, "--dport"): _Option(1, lambda text: _ports(text, _DPORT)) for proto in ("tcp", "udp", "sctp")},
    **{(proto, "--sport"): _Option(1, lambda text: _ports(text, _SPORT)) for proto in ("tcp", "udp", "sctp")},
}
_MODULES = {module for module, _ in _OPTIONS if module}


def _of_first(test: Test) -> Test:
    """A match on the connection's first packet, whose values an answer does not carry."""
    return lambda packet, ground: test(packet, ground) if packet.stage == "first" else None


# --- native nftables --------------------------------------------------------------------------------------------

_SET = r'(?!v?map )(?:\{ [^}]*\}|"[^"]*"|\S+)'
_EXPRESSIONS: tuple[tuple[re.Pattern[str], Callable[..., Test]], ...] = (
    (
        re.compile(rf"(iif|oif)(?:name)? (!= )?({_SET})"),
        lambda which, inverted, names: _inverted(inverted, _named(which, names)),
    ),
    (
        re.compile(rf"(ip6?) (saddr|daddr) (!= )?({_SET})"),
        lambda *found: _nets(*found),  # noqa: PLW0108 - made below
    ),
    (
        re.compile(rf"(tcp|udp|sctp|th) (dport|sport) (!= )?({_SET})"),
        lambda *found: _native_ports(*found),  # noqa: PLW0108
    ),
    (
        re.compile(rf"ct state (!= )?({_SET})"),
        lambda inverted, names: _inverted(inverted, _states(names.upper().strip("{} ").replace(" ", ""))),
    ),
    (
        re.compile(rf"(?:meta l4proto|ip protocol|ip6 nexthdr) (!= )?({_SET})"),
        lambda inverted, names: _inverted(inverted, _one_of(names, lambda packet: packet.proto)),
    ),
    (
        re.compile(rf"meta nfproto (!= )?({_SET})"),
        lambda inverted, name: _inverted(inverted, _one_of(name, lambda packet: packet.family)),
    ),
    (
        re.compile(rf"fib (daddr|saddr) type (!= )?({_SET})"),
        lambda which, inverted, kind: _inverted(
            inverted, _address_type(kind.upper(), _DST if which == "daddr" else _SRC)
        ),
    ),
    (re.compile(r"counter(?: packets \d+ bytes \d+)?"), lambda: _always),
)
_VERDICT = re.compile(
    r"(accept|drop|reject|return|continue|jump|goto|log|dnat|snat|masquerade|redirect)\b[^{}]*?( comment \".*\")?"
)
_COMMENT = re.compile(r'comment ".*"')


def _native(text: str, verdict: str | None) -> Compiled:
    """A rule as nft lists it; whatever is not one of `_EXPRESSIONS` makes it open."""
    tests: list[Test] = []
    rest = text.strip()
    while rest:
        for pattern, make in _EXPRESSIONS:
            if found := pattern.match(rest):
                tests.append(_made(_Option(0, make), found.groups()))
                rest = rest[found.end() :].lstrip()
                break
        else:
            if _COMMENT.fullmatch(rest):
                return Compiled(tuple(tests), None, is_goto=False, words=())
            if not _VERDICT.fullmatch(rest):
                return Compiled((*tests, _unknown), verdict or ANYTHING, is_goto=False, words=())
            break
    return Compiled(tuple(tests), verdict, rest.startswith("goto "), tuple(rest.split()))


def _inverted(inverted: str | None, test: Test) -> Test:
    return _not(test) if inverted else test


def _members(text: str) -> list[str]:
    return [part.strip().strip('"') for part in text.strip("{} ").split(",")]


def _one_of(text: str, take: Callable[[Packet], str]) -> Test:
    members = {_PROTOCOLS.get(name, name) for name in _members(text)}
    return lambda packet, _: take(packet) in members


def _named(which: str, text: str) -> Test:
    members = _members(text)
    return lambda packet, _: any(
        interface_matches(name, packet.iif if which == "iif" else packet.oif) for name in members
    )


def _nets(family: str, which: str, inverted: str | None, text: str) -> Test:
    tests = [
        (_between if "-" in member else _in)(member, _SRC if which == "saddr" else _DST) for member in _members(text)
    ]
    wanted = "ipv4" if family == "ip" else "ipv6"
    within = _inverted(inverted, lambda packet, ground: _any(test(packet, ground) for test in tests))
    return lambda packet, ground: packet.family == wanted and within(packet, ground)


def _native_ports(proto: str, which: str, inverted: str | None, text: str) -> Test:
    ports = _inverted(inverted, _ports(text, _DPORT if which == "dport" else _SPORT))
    return lambda packet, ground: proto in (packet.proto, "th") and ports(packet, ground)
