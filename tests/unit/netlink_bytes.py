"""Netlink messages recorded on a host, by name."""

from __future__ import annotations

from pathlib import Path

FILE = Path(__file__).parent / "fixtures/netlink.txt"


def names(beginning: str) -> list[str]:
    """Those with this beginning."""
    every = [line.partition(" ")[0] for line in FILE.read_text().splitlines()]
    return [name for name in every if name.startswith(beginning)]


def recorded(name: str) -> bytes:
    for line in FILE.read_text().splitlines():
        key, _, digits = line.partition(" ")
        if key == name:
            return bytes.fromhex(digits)
    raise KeyError(name)
