"""`nat` against iptables-save, iptables -L and nft list, in every network namespace and of both backends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.lab.host import LabHost
from tests.live.hosts import on_every_demo, on_random_hosts
from tests.live.observed import observe
from tests.live.oracle import OneOf, expected_of
from tests.live.report import hostinspect

NATIVE = Path(__file__).parent / "rules" / "native.nft"
_FAMILIES = {"ipv4": "iptables", "ipv6": "ip6tables"}


def nat(host: LabHost, *arguments: str) -> list[Any]:
    done = hostinspect(host, "nat", "-o", "json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found: list[Any] = json.loads(done.stdout)["namespaces"]
    return found


def chains(namespaces: list[Any]) -> Iterator[Any]:
    return (chain for namespace in namespaces for chain in namespace["chains"])


def settled(told: Callable[[], Any], expected: Callable[[], Any]) -> None:
    """Both say the same, where packets of the host's own move the counters meanwhile at one of some attempts."""
    for _ in range(5):
        ours, right = told(), expected()
        if ours == right:
            return
    assert ours == right


# --- iptables-save ---


def assert_as_saved(host: LabHost) -> None:
    """Every chain and rule of every namespace, with all that iptables-save -c says of it, and no more of them."""
    place = ("netns", "family", "backend", "table")

    def told() -> tuple[dict[Any, Any], dict[Any, Any]]:
        every = [*chains(nat(host, "--all"))]
        rules = [rule for chain in every for rule in chain["rules"]]
        assert all(rule["chain"] == chain["name"] for chain in every for rule in chain["rules"])
        return (
            {tuple(chain[name] for name in (*place, "name")): chain for chain in every},
            {tuple(rule[name] for name in (*place, "chain", "position")): rule for rule in rules},
        )

    def wrong() -> list[str]:
        report = expected_of(observe(host))
        found = []
        for ours, right, key in zip(
            told(), (report["nat_chains"], report["nat_rules"]), (("name",), ("chain", "position")), strict=True
        ):
            saved = {tuple(entry[name] for name in (*place, *key)): entry for entry in right}
            found += [f"{where}: only one of both" for where in ours.keys() ^ saved.keys()]
            for where in ours.keys() & saved.keys():
                for name, value in saved[where].items():
                    said = ours[where][name]
                    if not (value.accepts(said) if isinstance(value, OneOf) else value == said):
                        found.append(f"{where}: {name}: {value!r}, not {said!r}")
        return found

    settled(wrong, list)


@on_every_demo
def test_every_chain_and_rule_as_iptables_save_has_it(demo: LabHost) -> None:
    assert_as_saved(demo)


@on_random_hosts
def test_a_random_host(made_up: LabHost) -> None:
    assert_as_saved(made_up)


# --- iptables -L ---


class Listed(NamedTuple):
    """A chain of iptables -nvxL --line-numbers: its policy, or how many rules lead to it; and its rules."""

    policy: str | None
    references: int | None
    counters: tuple[int, int] | None
    rules: list[tuple[int, int, int, str]]  # number, packets, bytes, target


_CHAIN = re.compile(r"Chain (\S+) \((?:policy (\S+) (\d+) packets, (\d+) bytes|(\d+) references)\)")


def listed(host: LabHost, family: str, backend: str, path: str) -> dict[str, Listed]:
    argv = [f"{_FAMILIES[family]}-{backend}", "-t", "nat", "-nvxL", "--line-numbers"]
    found: dict[str, Listed] = {}
    for line in host.run(["nsenter", f"--net={path}", *argv]).stdout.splitlines():
        head = _CHAIN.fullmatch(line)
        if head:
            counters = (int(head[3]), int(head[4])) if head[2] else None
            rules: list[tuple[int, int, int, str]] = []
            found[head[1]] = Listed(head[2], None if head[2] else int(head[5]), counters, rules)
        elif line.strip() and not line.startswith("num"):
            number, packets, octets, target = line.split()[:4]
            rules.append((int(number), int(packets), int(octets), target))
    return found


def ours(namespace: Any, family: str, backend: str) -> dict[str, Listed]:
    found = {}
    for chain in namespace["chains"]:
        if (chain["family"], chain["backend"], chain["table"]) == (family, backend, "nat"):
            built_in = chain["policy"] is not None
            found[chain["name"]] = Listed(
                chain["policy"],
                None if built_in else len(chain["jumped_from"]),
                (chain["packets"] or 0, chain["bytes"] or 0) if built_in else None,
                [(r["position"], r["packets"], r["bytes"], r["verdict"]) for r in chain["rules"]],
            )
    return found


@on_every_demo
def test_numbers_counters_policies_and_references_as_iptables_lists_them(demo: LabHost) -> None:
    """After some connections, so that there is something to count; in the host's namespace and in a container's."""
    for _ in range(3):
        demo.client(["curl", "--silent", "--max-time", "5", "http://192.0.2.10:8080/"])
    pid = demo.docker("inspect", "--format", "{{.State.Pid}}", "mysql_app")
    demo.docker("exec", "mysql_app", "sh", "-c", "nslookup wp_app 127.0.0.11 || true")
    backend = demo.spec.firewall
    for key, path in (("host", "/proc/1/ns/net"), ("mysql_app", f"/proc/{pid}/ns/net")):
        for family in ("ipv4", "ipv6") if key == "host" else ("ipv4",):
            tables = [*{(c["family"], c["backend"]) for c in chains(nat(demo, "--netns", key))}]
            if (family, backend) in tables:
                settled(
                    lambda key=key, family=family: _without_empty(ours(nat(demo, "--netns", key)[0], family, backend)),  # type: ignore[misc]
                    lambda path=path, family=family: _without_empty(listed(demo, family, backend, path)),  # type: ignore[misc]
                )
    docker = next(c for c in chains(nat(demo)) if c["name"] == "DOCKER" and c["family"] == "ipv4")
    used = next(rule for rule in docker["rules"] if rule["dport"] == "8080")
    assert used["packets"] >= 3 and used["container_name"] == "web1"


def _without_empty(found: dict[str, Listed]) -> dict[str, Listed]:
    """iptables-nft lists a built-in chain also where there is none."""
    return {
        name: chain
        for name, chain in found.items()
        if chain.rules or chain.references is not None or (chain.policy, chain.counters) != ("ACCEPT", (0, 0))
    }


def test_both_backends_at_once(demo_host: LabHost) -> None:
    rule = "PREROUTING -p tcp --dport 7 -j DNAT --to-destination 172.17.0.99:7"
    demo_host.run(["sh", "-ec", f"iptables-legacy -t nat -A {rule}"])
    try:
        found = {(chain["backend"], rule["text"]) for chain in chains(nat(demo_host)) for rule in chain["rules"]}
        assert_as_saved(demo_host)
    finally:
        demo_host.run(["sh", "-ec", f"iptables-legacy -t nat -D {rule}"])
    assert ("legacy", "-A PREROUTING -p tcp -m tcp --dport 7 -j DNAT --to-destination 172.17.0.99:7") in found
    assert ("nft", "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER") in found


# --- nft ---

_MINE = """
add table inet mine
add chain inet mine first { type nat hook prerouting priority dstnat - 5; policy accept; }
add chain inet mine second
add chain inet mine unused
add chain inet mine filters { type filter hook input priority 0; }
add rule inet mine first iifname vmap { "lo" : accept, "eth9" : jump second }
add rule inet mine second tcp dport 8085 counter dnat ip to 172.17.0.2:80
add rule inet mine filters tcp dport 9 drop
"""


def test_nfts_own_tables_as_nft_lists_them() -> None:
    """Every chain of type nat, with its hook, priority, policy and rules; and those that it leads to."""
    ours = {"ip": "ipv4", "ip6": "ipv6", "inet": "inet"}
    with LabHost() as host:
        host.run(["nft", "-f", str(NATIVE)])
        host.run(["nft", "-f", "-"], input=_MINE)
        ruleset = json.loads(host.run(["nft", "--json", "list", "ruleset"]).stdout)["nftables"]
        told = {(chain["family"], chain["table"], chain["name"]): chain for chain in chains(nat(host))}
        tree = hostinspect(host, "nat").stdout
    listed = [entry["chain"] for entry in ruleset if "chain" in entry]
    of_nat = [chain for chain in listed if chain.get("type") == "nat"]
    assert len(of_nat) > 10
    for chain in of_nat:
        found = told[ours[chain["family"]], chain["table"], chain["name"]]
        assert (found["hook"], found["priority"], found["policy"]) == (
            chain["hook"],
            chain["prio"],
            chain["policy"].upper(),
        )
    for (family, table, name), chain in told.items():
        rules = [
            entry["rule"]
            for entry in ruleset
            if "rule" in entry
            and (ours.get(entry["rule"]["family"]), entry["rule"]["table"], entry["rule"]["chain"])
            == (family, table, name)
        ]
        assert [rule["position"] for rule in chain["rules"]] == [*range(1, len(rules) + 1)]
    names = {name for family, table, name in told if table == "mine"}
    assert names == {"first", "second"}
    assert "table mine" in tree and "from first 1" in tree
    mapped = {name for family, table, name in told if (family, table) == ("ipv4", "docker-bridges")}
    assert "nat-postrouting-out__br-dummy" in mapped and "filter-FORWARD" not in mapped
