"""A whole rule as iptables-save(8) spells it, from its parts: shared by the legacy tables and those of nf_tables."""

from __future__ import annotations

from hostinspect import facts
from hostinspect.kernel import xtables
from hostinspect.kernel.xtables.extension import Clause, UnknownError, inverted
from hostinspect.kernel.xtables.spelling import address, prefix_length, protocol

INV_VIA_IN, INV_VIA_OUT, INV_SRCIP, INV_DSTIP, INV_FRAG, INV_PROTO = 0x01, 0x02, 0x08, 0x10, 0x20, 0x40

Words = tuple[str, str]  # the name and the options of an extension


class RuleText:
    """Grows a rule's text and its fields from left to right."""

    __slots__ = ("exact", "family", "fields", "text", "verdict")  # no dataclass: importing those takes milliseconds

    def __init__(self, family: facts.Family, text: str) -> None:
        self.family = family
        self.text = text
        self.fields: dict[str, str] = {}
        self.exact = True
        self.verdict: str | None = None

    def address(self, letter: str, name: str, addr: bytes | str, mask: bytes, invert: object) -> None:
        """`-s` and `-d`: not written when every address is meant. `addr` may be spelled already."""
        if not invert and not any(mask) and (self.family == "ipv6" or not any(addr)):
            return
        host, length = addr if isinstance(addr, str) else address(addr), prefix_length(mask)
        network = f"{host}/{address(mask) if length is None else length}"
        self.text += f"{' !' if invert else ''} -{letter} {network}"
        self.fields[name] = inverted(invert, host if length == len(mask) * 8 else network)

    def interface(self, letter: str, name: str, ifname: str, invert: object) -> None:
        """`-i` and `-o`; `ifname` ends in `+` where it is the beginning of a name."""
        if ifname:
            self.text += f"{' !' if invert else ''} -{letter} {ifname}"
            self.fields[name] = inverted(invert, ifname)

    def protocol(self, number: int, invert: object) -> None:
        if number:
            name = protocol(number)
            self.text += f"{' !' if invert else ''} -p {name}"
            self.fields["proto"] = inverted(invert, name)

    def fragment(self, invert: object) -> None:
        self.text += f"{' !' if invert else ''} -f"

    def match(self, name: str, revision: int, info: bytes, other: Words | None = None) -> None:
        """A match's bytes; `other` is what another reader has for it, should we not know it."""
        try:
            self.clause(name, xtables.match(name, revision, info, self.family))
        except UnknownError:
            if other is None:
                self.unknown(f"match {name} rev {revision}")
            else:
                self.text += f" -m {other[0]}{other[1]}"

    def clause(self, name: str, clause: Clause) -> None:
        """A match that is decoded already."""
        self.text += f" -m {clause.name or name}{clause.text}"
        for of_rule, value in clause.fields:
            self.fields.setdefault(of_rule, value)  # of two restrictions, the first

    def target(self, name: str, revision: int, info: bytes, other: Words | None = None) -> None:
        """As `match`, for the target."""
        self.verdict = name
        try:
            clause = xtables.target(name, revision, info, self.family)
        except UnknownError:
            if other is None:
                self.unknown(f"target {name} rev {revision}")
            else:
                self.decoded_target(other[0], Clause(other[1]))
            return
        self.decoded_target(name, clause)

    def decoded_target(self, name: str, clause: Clause) -> None:
        self.verdict = clause.name or name
        self.text += f" -j {self.verdict}{clause.text}"
        self.fields.update(clause.fields)

    def jump(self, chain: str, *, goto: bool = False) -> None:
        """A standard verdict or a chain."""
        self.verdict = chain
        self.text += f" -{'g' if goto else 'j'} {chain}"

    def unknown(self, what: str) -> None:
        self.text += f" [unknown {what}]"
        self.exact = False
