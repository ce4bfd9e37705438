"""What `python -m tests.record_packet_filter` recorded on Linux 6.18 with iptables 1.8.9 and nft 1.0.6."""

from __future__ import annotations

import base64
import zlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import msgspec

from hostinspect.facts import Family
from hostinspect.kernel.ip_tables import IPV4, IPV6, Protocol, Table
from hostinspect.kernel.netlink import NetlinkSocket
from hostinspect.kernel.xtables.extension import UnknownError

_FOLDER = Path(__file__).parent / "fixtures" / "packet_filter"
PROTOCOLS: dict[str, Protocol] = {"ipv4": IPV4, "ipv6": IPV6}


class Extension(NamedTuple):
    kind: str
    name: str
    revision: int
    info: bytes


class LegacyRule(NamedTuple):
    family: Family
    text: str
    packets: int
    bytes: int
    extensions: list[Extension]


def _lines(name: str) -> list[list[str]]:
    return [line.split("\t") for line in (_FOLDER / name).read_text().splitlines()]


def legacy() -> list[tuple[Protocol, Table, list[LegacyRule]]]:
    """Tables with the rules that iptables-legacy-save printed of each, in the table's order."""
    found: list[tuple[Protocol, Table, list[LegacyRule]]] = []
    for kind, *fields in _lines("legacy.txt"):
        if kind == "table":
            family, name, offsets, blob = fields
            ends = [offset.split(":") for offset in offsets.split()]
            table = Table(
                name,
                {hook: int(start) for hook, start, _ in ends},
                {hook: int(policy) for hook, _, policy in ends},
                zlib.decompress(base64.b64decode(blob)),
            )
            found.append((PROTOCOLS[family], table, []))
        else:
            found[-1][2].append(_legacy_rule(fields))
    return found


def _legacy_rule(fields: list[str]) -> LegacyRule:
    family, text, packets, octets, *extensions = fields
    return LegacyRule(
        msgspec.convert(family, Family), text, int(packets), int(octets), [_extension(e) for e in extensions]
    )


def _extension(words: str) -> Extension:
    kind, name, revision, length, digits = words.split(" ")
    return Extension(kind, name, int(revision), bytes.fromhex(digits).ljust(int(length), b"\0"))


class Replay(NetlinkSocket):
    """A socket that answers dumps with what was recorded; no socket at all."""

    def __init__(self, name: str) -> None:
        self.answers: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self.rules: list[list[str]] = []
        self.asked: list[str] = []
        for kind, *fields in _lines(name):
            if kind == "dump":
                request, message, body = fields
                self.answers[request].append((int(message), bytes.fromhex(body)))
            else:
                self.rules.append(fields)

    def dump(self, msg_type: int, body: bytes = b"", flags: int = 0) -> list[tuple[int, bytes]]:
        request = f"{msg_type}:{body.hex()}"
        self.asked.append(request)
        return self.answers.get(request, [])


def set_name(index: int) -> str:
    """The names of the two ipsets, by the index that they had."""
    names = {0: "docker-ext-bridges-v4", 1: "docker-ext-bridges-v6"}
    if index not in names:
        raise UnknownError
    return names[index]
