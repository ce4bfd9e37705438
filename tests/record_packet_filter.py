"""Record what this kernel says of the rules under tests/live/rules, for the unit tests; with what the tools print.

    unshare --net python -m tests.record_packet_filter tests/unit/fixtures/packet_filter

legacy.txt: `table`, family, name, where its chains begin and end, its blob (zlib, base64), then a line for each of its
rules: `rule`, family, text, packets, bytes, and its extensions as kind, name, revision, length and bytes (hex, without
the zeros at the end). nft.txt and native.txt: `dump`, request, kind and body (hex) of each message, then `rule` and the
text of each rule. Fields are apart by tabs, texts are those of the tools.
"""

from __future__ import annotations

import base64
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from hostinspect.kernel import ip_tables
from hostinspect.kernel.netlink import NETLINK_NETFILTER, NetlinkSocket
from hostinspect.kernel.nftables import read
from tests.packet_filter import RULES, listed, load, restore, run, saved
from tests.unit import plain_ip_tables


class Recorder(NetlinkSocket):
    """A socket that notes the answers to its dumps."""

    def __init__(self) -> None:
        super().__init__(NETLINK_NETFILTER)
        self.lines: list[str] = []

    def dump(self, msg_type: int, body: bytes = b"", flags: int = 0) -> list[tuple[int, bytes]]:
        answers = super().dump(msg_type, body, flags)
        self.lines += ["\t".join(("dump", f"{msg_type}:{body.hex()}", str(kind), a.hex())) for kind, a in answers]
        return answers


def legacy() -> list[str]:
    """A table a line, and its rules with what their extensions are."""
    lines = []
    for protocol in (ip_tables.IPV4, ip_tables.IPV6):
        for name in ip_tables.table_names(protocol):
            table = ip_tables.read_table(protocol, name)
            offsets = [f"{hook}:{table.hook_entry[hook]}:{table.underflow[hook]}" for hook in table.hook_entry]
            lines.append("\t".join(("table", protocol.family, name, " ".join(offsets), _packed(table.blob))))
            lines += [_rule(protocol, name, *found) for found in _entries(protocol, table) if found[1]]
    return lines


def _entries(protocol: ip_tables.Protocol, table: ip_tables.Table) -> Iterator[tuple[str, int, plain_ip_tables.Entry]]:
    entries = list(plain_ip_tables.entries(protocol, table.blob))
    return plain_ip_tables.walk(table, entries, plain_ip_tables.chain_heads(table, entries))


def _rule(protocol: ip_tables.Protocol, name: str, chain: str, position: int, entry: plain_ip_tables.Entry) -> str:
    texts = [
        (text, str(packets), str(octets))
        for _, table, text, packets, octets in saved("legacy", protocol.family)[1]
        if table == name and text.split()[1] == chain
    ]
    found = [("match", *match) for match in entry.matches]
    found += [("target", *entry.target)] if entry.target[0] else []
    return "\t".join(("rule", protocol.family, *texts[position - 1], *(_extension(*e) for e in found)))


def _extension(kind: str, name: str, revision: int, info: bytes) -> str:
    return f"{kind} {name} {revision} {len(info)} {info.rstrip(bytes(1)).hex()}"


def _packed(raw: bytes) -> str:
    """Rules are mostly zeros."""
    return base64.b64encode(zlib.compress(raw, 9)).decode()


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    load("nft")
    recorder = Recorder()
    with recorder:
        list(read(recorder, 1))
    rules = [f"rule\t{text}\t{n}\t{o}" for family in ("ipv4", "ipv6") for *_, text, n, o in saved("nft", family)[1]]
    (folder / "nft.txt").write_text("\n".join((*recorder.lines, *rules, "")))
    run("nft", "flush", "ruleset")
    run("nft", "-f", str(RULES / "native.nft"))
    recorder = Recorder()
    with recorder:
        list(read(recorder, 1))
    rules = [f"rule\t{text}" for texts in listed().values() for text in texts]
    (folder / "native.txt").write_text("\n".join((*recorder.lines, *rules, "")))
    restore("legacy")
    (folder / "legacy.txt").write_text("\n".join((*legacy(), "")))


if __name__ == "__main__":
    main()
