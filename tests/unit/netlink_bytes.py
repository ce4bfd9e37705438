"""Netlink messages recorded on a host, by name."""

from __future__ import annotations

from pathlib import Path


def recorded(name: str) -> bytes:
    for line in (Path(__file__).parent / "fixtures/netlink.txt").read_text().splitlines():
        key, _, digits = line.partition(" ")
        if key == name:
            return bytes.fromhex(digits)
    raise KeyError(name)
