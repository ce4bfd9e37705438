"""What a decoder of an xtables match or target is, and the errors and results they share.

An extension is named by its kind, name and revision (`struct xt_entry_match`, linux/netfilter/x_tables.h); its bytes
are a C structure that only that revision has. A table row gives the structure as a `struct` format, natively aligned,
and the function that spells it. Bytes of another length than the format's, padded to eight, are another layout:
`UnknownError`, as is a flag that has no spelling.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct as Layout
from typing import Any

from msgspec import Struct

from hostinspect.facts import Family


class UnknownError(Exception):
    """An extension, revision or value that is not known to us; the rule is shown with a bracket in its place."""


class Clause(Struct, frozen=True):
    """A decoded match or target."""

    text: str  # its options, each with a blank in front: " --dport 80"
    fields: tuple[tuple[str, str], ...] = ()  # what it says for the fields of `facts.Rule`
    name: str | None = None  # printed instead of its own name: "state" for a conntrack match made as -m state


class Where(Struct, frozen=True):
    """What a decoder must know besides its bytes."""

    family: Family
    set_name: Callable[[int], str]  # the name of an ipset by its index, UnknownError where it cannot be asked


Values = tuple[Any, ...]
Decoder = Callable[[Values, Where], "Clause | str"]


class Extension(Struct, frozen=True):
    layout: Layout
    decode: Decoder


Table = dict[tuple[str, int], Extension]  # (name, revision)


def extension(layout: str, decode: Decoder) -> Extension:
    return Extension(Layout("@" + layout), decode)


def negation(inverted: object) -> str:
    return " !" if inverted else ""


def inverted(is_inverted: object, value: str) -> str:
    """A field of `facts.Rule`: "!" in front when negated."""
    return f"!{value}" if is_inverted else value


def flag_names(bits: int, names: dict[int, str]) -> list[str]:
    """The names of the set bits in the order of `names`; UnknownError where one has none."""
    if bits & ~sum(names):
        raise UnknownError
    return [name for bit, name in names.items() if bits & bit]
