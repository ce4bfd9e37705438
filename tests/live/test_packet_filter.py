"""Rules that the tools load into network namespaces of the test's own, read by us and by the tools. Needs root."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from pathlib import Path

import pytest

from hostinspect.facts import Gap, Rule
from tests.packet_filter import UNDECODED, Head, Seen, inside


def counted(rules: list[Rule]) -> list[tuple[str, str, str, int | None, int | None]]:
    return sorted((r.family, r.table, r.text, r.packets, r.bytes) for r in rules)


def heads(seen: Seen, backend: str) -> set[Head]:
    return {
        (c.family, c.table, c.name, c.policy, c.packets or 0, c.bytes or 0) for c in seen.chains if c.backend == backend
    }


def in_order(rules: list[Rule]) -> dict[tuple[str, str, str], list[str]]:
    """Texts by chain, with positions checked: 1, 2, 3, …"""
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for rule in rules:
        found[rule.family, rule.table, rule.chain].append(rule.text)
        assert rule.position == len(found[rule.family, rule.table, rule.chain])
    return found


@pytest.fixture(scope="module")
def nft() -> Seen:
    return inside("nft_rules")


@pytest.fixture(scope="module")
def legacy() -> Seen:
    return inside("legacy_rules")


def test_every_rule_of_iptables_nft_is_as_iptables_save_prints_it(nft: Seen) -> None:
    assert len(nft.rules) > 200
    assert counted(nft.rules) == sorted(nft.saved)
    assert not nft.gaps
    assert all(rule.exact and rule.backend == "nft" for rule in nft.rules)


def test_chains_of_iptables_nft_with_policy_and_counters(nft: Seen) -> None:
    assert heads(nft, "nft") == set(nft.heads)
    forward = next(c for c in nft.chains if (c.family, c.table, c.name) == ("ipv4", "filter", "FORWARD"))
    assert (forward.hook, forward.priority, forward.policy) == ("forward", 0, "DROP")
    nat = next(c for c in nft.chains if (c.family, c.table, c.name) == ("ipv4", "nat", "PREROUTING"))
    assert (nat.hook, nat.priority) == ("prerouting", -100)
    assert next(c for c in nft.chains if c.name == "DOCKER-USER").hook is None


def test_rules_are_in_order(nft: Seen, legacy: Seen) -> None:
    for seen in (nft, legacy):
        saved: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for family, table, text, *_counters in seen.saved:
            saved[family, table, text.split()[1]].append(text)
        assert in_order(seen.rules) == saved


def test_every_legacy_rule_is_as_iptables_legacy_save_prints_it(legacy: Seen) -> None:
    assert len(legacy.rules) > 200
    assert counted(legacy.rules) == sorted(legacy.saved)
    assert not legacy.gaps
    assert all(rule.exact and rule.backend == "legacy" for rule in legacy.rules)


def test_chains_of_legacy_tables_with_policy_and_counters(legacy: Seen) -> None:
    assert heads(legacy, "legacy") == set(legacy.heads)
    forward = next(c for c in legacy.chains if (c.family, c.table, c.name) == ("ipv4", "filter", "FORWARD"))
    assert (forward.hook, forward.priority, forward.policy, forward.packets) == ("forward", None, "DROP", 5)


def test_both_backends_read_the_same_rules_alike(nft: Seen, legacy: Seen) -> None:
    assert in_order(nft.rules) == in_order(legacy.rules)
    for ours, theirs in zip(
        sorted(nft.rules, key=lambda r: (r.family, r.table, r.chain, r.position)),
        sorted(legacy.rules, key=lambda r: (r.family, r.table, r.chain, r.position)),
        strict=True,
    ):
        for field in (
            "verdict",
            "proto",
            "src",
            "dst",
            "in_interface",
            "out_interface",
            "dport",
            "sport",
            "to",
            "comment",
        ):
            assert getattr(ours, field) == getattr(theirs, field), (field, ours, theirs)


Rules = dict[tuple[str, str], list[list[tuple[str, dict[str, list[str]]]]]]  # by table and chain


def options(text: str) -> list[tuple[str, dict[str, list[str]]]]:
    """The extensions of a saved rule as python-iptables tells them: names, and values by option."""
    found: list[tuple[str, dict[str, list[str]]]] = []
    words, invert, option = shlex.split(text), False, None
    for n, word in enumerate(words):
        if word in ("-m", "-j", "-g"):
            found.append((words[n + 1], {}))
            option = None
        elif word == "!":
            invert = True
        elif word.startswith("-") and not word.startswith("--"):
            invert = False  # of -s, -i and the like, which are no extensions
        elif word.startswith("--"):
            option = word[2:]
            found[-1][1][option] = ["!"] if invert else []
            invert = False
        elif option is not None:
            found[-1][1][option].append(word)
    return found


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_python_iptables_reads_the_same_legacy_rules(family: str, legacy: Seen) -> None:
    ours: Rules = defaultdict(list)
    for rule in legacy.rules:
        if rule.family == family:
            ours[rule.table, rule.chain].append(options(rule.text))
    library: Rules = defaultdict(list)
    for _family, table, chain, extensions in inside(f"library_{family}").library:
        # Of a rule that jumps or has no target it makes up a target without options.
        library[table, chain].append([(name, values) for name, values in extensions if name])
    assert library == ours


def test_a_namespace_with_both_backends_shows_both() -> None:
    seen = inside("both_backends")
    assert {rule.backend for rule in seen.rules} == {"nft", "legacy"}
    assert counted(seen.rules) == sorted(seen.saved)


def test_native_rules_are_as_nft_lists_them() -> None:
    seen = inside("native_rules")
    listed = {(family, table, chain): rules for family, table, chain, rules in seen.listed}
    assert in_order(seen.rules) == listed
    assert all(rule.exact for rule in seen.rules)
    dnat = next(rule for rule in seen.rules if rule.comment == "DNAT" and rule.family == "ipv4")
    assert (dnat.verdict, dnat.proto, dnat.dport, dnat.to, dnat.in_interface, dnat.packets) == (
        "DNAT",
        "tcp",
        "8080",
        "192.168.0.2:80",
        "!br-dummy",
        0,
    )
    six = next(rule for rule in seen.rules if rule.comment == "DNAT" and rule.family == "ipv6")
    assert (six.to, six.src, six.dport) == ("[fd49:efd7:54aa::1]:80", "!fe80::/10", "8080")
    drop = next(rule for rule in seen.rules if rule.comment == "UNPUBLISHED PORT DROP")
    assert (drop.verdict, drop.packets, drop.bytes) == ("DROP", 17, 1020)
    policies = {(chain.family, chain.table, chain.name): (chain.hook, chain.policy) for chain in seen.chains}
    assert policies["ipv4", "people", "source"] == ("postrouting", "DROP")
    assert policies["ipv4", "people", "other"] == (None, None)


def test_expressions_that_are_not_known_are_in_brackets() -> None:
    seen = inside("unknown_expressions")
    assert len(seen.rules) == sum(len(rules) for *_where, rules in seen.listed)
    assert all("[unknown " in rule.text and not rule.exact for rule in seen.rules)


def test_an_extension_that_is_not_known_is_in_brackets() -> None:
    seen = inside("undecoded_nft")
    assert [rule.text for rule in seen.rules] == [
        "-A INPUT [unknown match realm rev 0] -m state --state NEW -j ACCEPT",
        "-A INPUT -p ipcomp [unknown match ipcomp rev 0] [unknown target IDLETIMER rev 1]",
    ]
    assert not any(rule.exact for rule in seen.rules)


def test_python_iptables_helps_with_legacy_rules_that_are_not_known() -> None:
    seen = inside("undecoded_legacy")
    assert [rule.text for rule in seen.rules] == list(UNDECODED)
    assert counted(seen.rules) == sorted(seen.saved)
    assert all(rule.exact for rule in seen.rules)
    assert seen.legacy_tables == ("filter\n", "")  # the one that was there


def test_without_python_iptables_they_are_in_brackets() -> None:
    seen = inside("undecoded_without_library")
    assert [rule.exact for rule in seen.rules] == [False, False]
    assert seen.rules[0].text == "-A INPUT [unknown match realm rev 0] -m state --state NEW -j ACCEPT"


def test_looking_makes_no_tables() -> None:
    seen = inside("empty")
    assert (seen.chains, seen.rules, seen.gaps) == ([], [], [])
    assert seen.legacy_tables == ("", "")
    assert seen.nft_tables == ""


STARTS = re.compile(r"\b(?:execve|execveat|fork|vfork|clone3?|init_module|finit_module)\(")
SETS = re.compile(r"setsockopt\([^)]*(?:SOL_IP\b|SOL_IPV6|IPPROTO_IP|SOL_RAW)")


@pytest.mark.parametrize("scenario", ["empty", "undecoded_legacy"])
def test_no_process_is_started_and_no_option_of_the_filter_is_set(scenario: str, tmp_path: Path) -> None:
    """As strace(1) sees the reader; with python-iptables loaded in the second."""
    trace = tmp_path / "trace"
    calls = "execve,execveat,fork,vfork,clone,clone3,setsockopt,init_module,finit_module"
    inside("traced_" + scenario, "strace", "-f", "-o", str(trace), "-e", f"trace={calls}")
    lines = trace.read_text().split("traced-from-here")[-1].splitlines()
    assert len([line for line in lines if STARTS.search(line)]) == 0, lines
    assert len([line for line in lines if SETS.search(line)]) == 0, lines


def test_without_permission_there_is_one_gap_for_all_namespaces() -> None:
    seen = inside("as_nobody")
    assert (seen.chains, seen.rules) == ([], [])
    assert seen.gaps == [
        Gap(collector="rules", subject="rules of nf_tables", why="Operation not permitted", remedy="run as root"),
        Gap(collector="rules", subject="legacy rules of iptables", why="Operation not permitted", remedy="run as root"),
    ]
