"""Rules loaded into network namespaces by the tools, for the recorder, the live tests and the benchmark.

Everything here changes the network namespace that it runs in, and so runs in a new one: see `inside`.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.packet_filter import PacketFilter
from hostinspect.facts import Chain, Gap, Rule

RULES = Path(__file__).parent / "live" / "rules"
SETS = {"docker-ext-bridges-v4": 2, "docker-ext-bridges-v6": 10}  # ipsets that the rule files use: NFPROTO_*

Counted = tuple[str, str, str, int, int]  # family, table, rule, packets, bytes
Extensions = tuple[str, str, str, list[tuple[str, dict[str, list[str]]]]]  # family, table, chain; names and options
Head = tuple[str, str, str, str | None, int, int]  # family, table, chain, policy, packets, bytes
SAVE = {
    ("nft", "ipv4"): "iptables-nft-save",
    ("nft", "ipv6"): "ip6tables-nft-save",
    ("legacy", "ipv4"): "iptables-legacy-save",
    ("legacy", "ipv6"): "ip6tables-legacy-save",
}


def run(*words: str, given: str | None = None) -> str:
    """A tool's output, as text that is valid UTF-8."""
    done = subprocess.run(
        words, check=False, input=given, capture_output=True, encoding="utf-8", errors="backslashreplace"
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(words)} failed: {done.stderr}")
    return done.stdout


def restore_file(name: str) -> str:
    """A rule file with counters for every rule, as `-c` of the restore commands wants them."""
    lines = (RULES / name).read_text().splitlines()
    return "\n".join(f"[0:0] {line}" if line.startswith("-A") else line for line in lines) + "\n"


def load(backend: str) -> None:
    """rules4 and rules6 into this namespace, with the sets that they name. `backend`: nft or legacy."""
    run("ip", "link", "set", "lo", "up")
    for name, family in SETS.items():
        create_ipset(name, family)
    restore(backend)


def restore(backend: str) -> None:
    """As `load`, where the sets are there already."""
    run(f"iptables-{backend}-restore", "--counters", given=restore_file("rules4"))
    run(f"ip6tables-{backend}-restore", "--counters", given=restore_file("rules6"))


def create_ipset(name: str, family: int) -> None:
    """An empty hash:net (linux/netfilter/ipset/ip_set.h), without ipset(8), which is seldom installed."""

    def attribute(kind: int, value: bytes) -> bytes:
        return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)

    body = bytes((family, 0, 0, 0))
    for kind, value in ((1, b"\6"), (2, name.encode() + b"\0"), (3, b"hash:net\0"), (4, b"\0"), (5, bytes((family,)))):
        body += attribute(kind, value)
    body += attribute(7 | 0x8000, b"")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netfilter:
        # NFNL_SUBSYS_IPSET, IPSET_CMD_CREATE; NLM_F_REQUEST | ACK | EXCL | CREATE
        netfilter.send(struct.pack("=IHHII", 16 + len(body), 6 << 8 | 2, 0x605, 1, 0) + body)
        (error,) = struct.unpack_from("=i", netfilter.recv(4096), 16)
    if error:
        raise AssertionError(f"ipset {name}: {os.strerror(-error)}")


def saved(backend: str, family: str) -> tuple[list[Head], list[Counted]]:
    """What iptables-save of a backend prints: chains and rules, in its order."""
    heads: list[Head] = []
    rules: list[Counted] = []
    table = ""
    for line in run(SAVE[backend, family], "--counters").splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            chain, policy, counters = line[1:].split()
            packets, octets = map(int, counters[1:-1].split(":"))
            heads.append((family, table, chain, None if policy == "-" else policy, packets, octets))
        elif line.startswith("["):
            counters, text = line.split(" ", 1)
            packets, octets = map(int, counters[1:-1].split(":"))
            rules.append((family, table, text, packets, octets))
    return heads, rules


_NFT_FAMILIES = {"ip": "ipv4", "ip6": "ipv6", "inet": "inet"}


def listed() -> dict[tuple[str, str, str], list[str]]:
    """The rules that `nft list ruleset` prints, by family, table and chain."""
    found: dict[tuple[str, str, str], list[str]] = {}
    table, chain = ("", ""), ""
    for line in run("nft", "list", "ruleset").splitlines():
        words = line.split()
        if line.startswith("table"):
            table = (_NFT_FAMILIES[words[1]], words[2])
        elif line.startswith(("\tset", "\tmap", "\t}")):
            chain = ""
        elif line.startswith("\tchain"):
            chain = words[1]
        elif chain and line.startswith("\t\t") and words[0] != "type":
            found.setdefault((*table, chain), []).append(line.strip())
    return found


# --- inside a namespace -----------------------------------------------------------------------------------------


class Seen(msgspec.Struct):
    """What was found in a namespace of a test: by us, and by the tools."""

    chains: list[Chain]
    rules: list[Rule]
    gaps: list[Gap]
    heads: list[Head] = []
    saved: list[Counted] = []
    listed: list[tuple[str, str, str, list[str]]] = []
    library: list[Extensions] = []
    legacy_tables: tuple[str, str] = ("", "")
    nft_tables: str = ""


def read(netns: int = 1) -> Seen:
    """By the collector, in this namespace."""
    gaps = GapLog()
    reader = PacketFilter(gaps)
    reader(netns)
    return Seen(list(reader.chains), list(reader.rules), list(gaps.as_tuple()))


def with_tools(*backends: str) -> Seen:
    """By the collector, then by the save command of each backend."""
    seen = read()
    for backend in backends:
        for family in ("ipv4", "ipv6"):
            heads, rules = saved(backend, family)
            seen.heads += heads
            seen.saved += rules
    return seen


def nft_rules() -> Seen:
    load("nft")
    return with_tools("nft")


def legacy_rules() -> Seen:
    load("legacy")
    return with_tools("legacy")


def library_ipv4() -> Seen:
    """By python-iptables, which must see the same extensions with the same options."""
    load("legacy")
    return Seen([], [], [], library=python_iptables("ipv4"))


def library_ipv6() -> Seen:
    """In a process of its own: once it has read IPv4 tables, python-iptables finds no targets of IPv6."""
    load("legacy")
    return Seen([], [], [], library=python_iptables("ipv6"))


def both_backends() -> Seen:
    load("nft")
    run("iptables-legacy-restore", "--counters", given=restore_file("rules4"))
    return with_tools("nft", "legacy")


def native_rules() -> Seen:
    run("ip", "link", "set", "lo", "up")
    run("nft", "-f", str(RULES / "native.nft"))
    seen = read()
    seen.listed = [(*where, rules) for where, rules in listed().items()]
    return seen


def unknown_expressions() -> Seen:
    run("nft", "-f", str(RULES / "unknown.nft"))
    seen = read()
    seen.listed = [(*where, rules) for where, rules in listed().items()]
    return seen


UNDECODED = (  # extensions that hostinspect leaves to libxtables
    "-A INPUT -m realm --realm 0x5 -m state --state NEW -j ACCEPT",
    "-A INPUT -p ipcomp -m ipcomp --ipcompspi 5 -j IDLETIMER --timeout 5 --label x",
)


def load_undecoded(backend: str) -> None:
    run(f"iptables-{backend}-restore", given="\n".join(("*filter", *UNDECODED, "COMMIT", "")))


def undecoded_nft() -> Seen:
    load_undecoded("nft")
    return with_tools("nft")


def undecoded_legacy() -> Seen:
    """`legacy_tables` are those that are there after we have looked, before the tools do."""
    load_undecoded("legacy")
    seen = read()
    tables = legacy_tables()
    seen = with_tools("legacy")
    seen.legacy_tables = tables
    return seen


def undecoded_without_library() -> Seen:
    load_undecoded("legacy")
    sys.modules["iptc"] = None  # type: ignore[assignment]  # as where it is not installed
    return with_tools("legacy")


def legacy_tables() -> tuple[str, str]:
    folder = Path("/proc/thread-self/net")
    return (folder / "ip_tables_names").read_text(), (folder / "ip6_tables_names").read_text()


def empty() -> Seen:
    """A namespace without tables, and what there is after we have looked."""
    seen = read()
    seen.legacy_tables = legacy_tables()
    seen.nft_tables = run("nft", "list", "tables")
    return seen


def traced_empty() -> Seen:
    return _traced()


def traced_undecoded_legacy() -> Seen:
    load_undecoded("legacy")
    return _traced()


def _traced() -> Seen:
    """The reading alone, marked in strace(1)'s output by a call that names a file that is not there."""
    with suppress(OSError):
        os.execv("/traced-from-here", ["traced-from-here"])
    return read()


def as_nobody() -> Seen:
    """Without capabilities, in a namespace with rules of both kinds."""
    load("nft")
    run("iptables-legacy-restore", "--counters", given=restore_file("rules4"))
    import_module("hostinspect.kernel.sockopt")  # nobody may not read where Python is
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
    gaps = GapLog()
    reader = PacketFilter(gaps)
    for netns in (1, 2, 3):
        reader(netns)
    return Seen(list(reader.chains), list(reader.rules), list(gaps.as_tuple()))


def python_iptables(family: str) -> list[Extensions]:
    """Family, table and chain of each rule, and its extensions with their options, by python-iptables."""
    from hostinspect.kernel import ip_tables
    from hostinspect.kernel.iptc import is_available

    if not is_available():
        raise AssertionError("python-iptables is not installed: pip install python-iptables")
    import iptc

    kind, protocol = (iptc.Table, ip_tables.IPV4) if family == "ipv4" else (iptc.Table6, ip_tables.IPV6)
    found: list[Extensions] = []
    for name in ip_tables.table_names(protocol):
        table = kind(name, autocommit=False)
        for chain in table.chains:
            for rule in chain.rules:
                extensions = [*rule.matches, *([rule.target] if rule.target else [])]
                found.append((family, name, chain.name, [_library_extension(e) for e in extensions]))
    return found


def _library_extension(extension: Any) -> tuple[str, dict[str, list[str]]]:
    return extension._get_alias_name() or extension.name, extension.get_all_parameters()


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        as_nobody,
        both_backends,
        empty,
        legacy_rules,
        library_ipv4,
        library_ipv6,
        native_rules,
        nft_rules,
        read,
        traced_empty,
        traced_undecoded_legacy,
        undecoded_legacy,
        undecoded_nft,
        undecoded_without_library,
        unknown_expressions,
    )
}


def inside(scenario: str, *tracer: str) -> Seen:
    """Run a scenario in a new network namespace, by root; `tracer` is a command to run it with."""
    words = ("unshare", "--net", *tracer, sys.executable, "-m", "tests.packet_filter", scenario)
    return msgspec.json.decode(run(*words), type=Seen)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(SCENARIOS[sys.argv[1]]()))
