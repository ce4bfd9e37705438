"""How iptables-save(8) spells values: addresses with masks, quoted strings, marks, protocols, rates.

Every function returns text without a blank in front. Spelling is that of iptables 1.8.9; it has not changed in years,
and `tests/live/test_packet_filter.py` holds it equal to the tools that are installed.
"""

from __future__ import annotations

import re
from _socket import AF_INET, AF_INET6, inet_ntop
from functools import lru_cache

IFNAMSIZ = 16  # bytes with the final NUL, linux/if.h

# xtables_chain_protos of libxtables: these names are used whatever /etc/protocols says.
_PROTOCOLS = {
    1: "icmp",
    6: "tcp",
    17: "udp",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    132: "sctp",
    135: "mobility-header",
    136: "udplite",
}
_UNQUOTED = frozenset(b"_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_ESCAPED = rb"""["'\\]"""


def string(raw: bytes) -> str:
    """A NUL-terminated field as text that is always valid UTF-8: bytes that are not are written `\\xNN`."""
    return raw.split(b"\0", 1)[0].decode(errors="backslashreplace")


def quoted(raw: bytes) -> str:
    """A string option's value, in quotes where it holds more than letters, digits, `_` and `-`."""
    raw = raw.split(b"\0", 1)[0]
    if raw and _UNQUOTED.issuperset(raw):
        return raw.decode()
    return '"' + re.sub(_ESCAPED, rb"\\\g<0>", raw).decode(errors="backslashreplace") + '"'


def address(raw: bytes) -> str:
    """4 or 16 bytes in network order as inet_ntop(3) writes them."""
    return inet_ntop(AF_INET if len(raw) == 4 else AF_INET6, raw)


def prefix_length(mask: bytes) -> int | None:
    """The number of leading ones of a mask, None where zeros are between ones."""
    bits = int.from_bytes(mask, "big")
    width = len(mask) * 8
    ones = bits.bit_count()
    return ones if bits == ((1 << ones) - 1) << (width - ones) else None


def with_mask(addr: bytes, mask: bytes) -> str:
    """`10.0.0.0/8`, a host's address without its mask, a mask with holes as an address."""
    length = prefix_length(mask)
    if length == len(mask) * 8:
        return address(addr)
    return f"{address(addr)}/{address(mask) if length is None else length}"


def nf_address(raw: bytes, family: str) -> str:
    """A `union nf_inet_addr` (16 bytes, IPv4 in the first four), linux/netfilter.h."""
    return address(raw[:4] if family == "ipv4" else raw)


def nf_with_mask(addr: bytes, mask: bytes, family: str) -> str:
    return with_mask(addr[:4], mask[:4]) if family == "ipv4" else with_mask(addr, mask)


def span(low: int, high: int, separator: str = ":") -> str:
    """`80`, or `8000:8010` where there are two ends."""
    return str(low) if low == high else f"{low}{separator}{high}"


def mark(value: int, mask: int) -> str:
    return f"{value:#x}" if mask == 0xFFFFFFFF else f"{value:#x}/{mask:#x}"


def mac(raw: bytes) -> str:
    return raw.hex(":")


def protocol(number: int) -> str:
    """An IP protocol's name: libxtables' own, else that of /etc/protocols, else its number."""
    return _PROTOCOLS.get(number) or _etc_protocols().get(number) or str(number)


@lru_cache(maxsize=1)
def _etc_protocols() -> dict[int, str]:
    """protocols(5), read only when a rule names a rare protocol: first name of each number."""
    names: dict[int, str] = {}
    try:
        with open("/etc/protocols", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return names
    for line in lines:
        words = line.partition("#")[0].split()
        if len(words) >= 2 and words[1].isdecimal():
            names.setdefault(int(words[1]), words[0])
    return names


def etc_protocol(number: int) -> str:
    """An IP protocol as getprotobynumber(3) names it, for the few extensions that do not ask libxtables first."""
    return _etc_protocols().get(number) or str(number)


def set_dimensions(dim: int, flags: int) -> str:
    """`src,dst`: a bit of `flags` for each dimension from 1 says whether it is taken from the source."""
    return ",".join("src" if flags & 1 << n else "dst" for n in range(1, dim + 1))
