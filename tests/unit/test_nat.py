"""NAT: which chains do it, in what order, whose each rule is, and how that reads."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hostinspect.correlate import correlate
from hostinspect.facts import Chain, Facts, Gap, NetworkNamespace, Rule
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.nat import Nat, NatChainDetails, list_nat
from hostinspect.render.nat import nat_branches
from hostinspect.render.screen import Screen
from tests.unit.asked import Asker, assert_fits
from tests.unit.factory import HOST_NETNS, WEB_ID, WEB_NETNS, host_with_web, record

DOCKERS = "docker-bridges"


def chain(name: str, **fields: object) -> Chain:
    """One of the host, of iptables-nft's nat table."""
    where = {"netns": HOST_NETNS, "family": "ipv4", "backend": "nft", "table": "nat", "name": name}
    return Chain(**{**where, **fields})  # type: ignore[arg-type]


def hook(name: str, priority: int | None = -100, **fields: object) -> Chain:
    at = {"type": "nat", "hook": name.lower(), "priority": priority, "policy": "ACCEPT", "packets": 7, "bytes": 420}
    return chain(name, **{**at, **fields})


def rule(chain_name: str, position: int, text: str, verdict: str | None = None, **fields: object) -> Rule:
    where = {"netns": HOST_NETNS, "family": "ipv4", "backend": "nft", "table": "nat", "chain": chain_name}
    said = {"position": position, "text": text, "verdict": verdict, "packets": 1, "bytes": 60}
    return Rule(**{**where, **said, **fields})  # type: ignore[arg-type]


DNAT = rule(
    "DOCKER", 1, "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80", "DNAT",
    proto="tcp", dport="8080", to="172.17.0.2:80", in_interface="!docker0", packets=12, bytes=720,
)  # fmt: skip
JUMP = rule("PREROUTING", 1, "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER", "DOCKER")
OUT = rule(
    "POSTROUTING", 1, "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", "MASQUERADE", src="172.17.0.0/16"
)
CHAINS = (chain("DOCKER"), hook("POSTROUTING", 100), hook("OUTPUT"), hook("INPUT", 100), hook("PREROUTING"))


def host(**changes: object) -> Facts:
    fields: dict[str, object] = {"chains": CHAINS, "rules": (JUMP, OUT, DNAT)}
    return host_with_web(**{**fields, **changes})


def nat(facts: Facts, netns: int | None = HOST_NETNS) -> Nat:
    return list_nat(Inspection(facts), None if netns is None else {netns})


def chains_of(answer: Nat) -> list[NatChainDetails]:
    return [chain for namespace in answer.namespaces for chain in namespace.chains]


def names(facts: Facts) -> list[str]:
    return [chain.name for chain in chains_of(nat(facts))]


# --- which chains, in what order ---


def test_hooks_in_the_order_of_a_packet_then_the_others_by_name() -> None:
    facts = host(chains=(chain("B"), chain("A"), *CHAINS, hook("first", -200, hook="prerouting")))
    assert names(facts) == ["first", "PREROUTING", "INPUT", "OUTPUT", "POSTROUTING", "A", "B", "DOCKER"]


def test_what_stands_in_a_chain() -> None:
    prerouting, *_, docker = chains_of(nat(host()))
    assert (prerouting.hook, prerouting.priority, prerouting.policy) == ("prerouting", -100, "ACCEPT")
    assert (prerouting.packets, prerouting.bytes) == (7, 420)
    assert [(jump.chain, jump.position) for jump in docker.jumped_from] == [("PREROUTING", 1)]
    (dnat,) = docker.rules
    assert (dnat.position, dnat.packets, dnat.bytes, dnat.text) == (1, 12, 720, DNAT.text)
    assert (dnat.container, dnat.container_name, dnat.network_name) == (WEB_ID, "web", "bridge")
    masquerade = chains_of(nat(host()))[3].rules[0]
    assert (masquerade.container_name, masquerade.network_name) == (None, "bridge")


def test_other_tables_of_iptables_are_left_out() -> None:
    filtering = (chain("FORWARD", table="filter", type="filter", hook="forward"), chain("DOCKER", table="filter"))
    dropping = rule("FORWARD", 1, "-A FORWARD -j DOCKER", "DOCKER", table="filter")
    assert len(names(host(chains=(*CHAINS, *filtering), rules=(dropping,)))) == len(CHAINS)


NATIVE = (
    chain("pre", table="mine", family="inet", type="nat", hook="prerouting", priority=-150, policy="ACCEPT"),
    chain("fwd", table="mine", family="inet", type="filter", hook="forward", priority=0, policy="DROP"),
    chain("jumped", table="mine", family="inet"),
    chain("gone-to", table="mine", family="inet"),
    chain("translates", table="mine", family="inet"),
    chain("filters", table="mine", family="inet"),
    chain("jumped", table="other", family="inet"),
)


def native(chain_name: str, position: int, text: str, verdict: str | None = None) -> Rule:
    return rule(chain_name, position, text, verdict, table="mine", family="inet")


NATIVE_RULES = (
    native("pre", 1, "tcp dport 80 jump jumped", "jumped"),
    native("jumped", 1, 'iifname vmap { "a" : goto gone-to, "b" : drop }'),
    native("jumped", 2, 'accept comment "jump filters"', "ACCEPT"),
    native("translates", 1, "masquerade", "MASQUERADE"),
    native("fwd", 1, "jump filters", "filters"),
    native("filters", 1, "accept", "ACCEPT"),
)


def test_nfts_own_tables_as_far_as_they_do_nat() -> None:
    """By type, by what a rule does, by where such chains lead to; what filters is left out, whatever says `jump`."""
    answer = nat(host(chains=NATIVE, rules=NATIVE_RULES))
    assert [(chain.family, chain.table, chain.name) for chain in chains_of(answer)] == [
        ("inet", "mine", name) for name in ("pre", "gone-to", "jumped", "translates")
    ]
    assert [[(jump.chain, jump.position) for jump in chain.jumped_from] for chain in chains_of(answer)] == [
        [], [("jumped", 1)], [("pre", 1)], [],
    ]  # fmt: skip


def test_dockers_chains_that_a_map_leads_to() -> None:
    of_docker = {"table": DOCKERS, "type": None}
    found = names(host(chains=(chain("nat-x", **of_docker), chain("filter-x", **of_docker)), rules=()))
    assert found == ["nat-x"]


def test_both_backends_and_families_side_by_side() -> None:
    legacy = tuple(replace(c, backend="legacy", priority=None, type=None) for c in CHAINS)
    six = tuple(replace(c, family="ipv6") for c in CHAINS)
    tables = [(c.family, c.backend) for c in chains_of(nat(host(chains=(*six, *CHAINS, *legacy))))]
    assert [*dict.fromkeys(tables)] == [("ipv4", "legacy"), ("ipv4", "nft"), ("ipv6", "nft")]


# --- namespaces ---

RESOLVER = rule("OUTPUT", 1, "-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT", "DOCKER_OUTPUT", netns=WEB_NETNS)


def test_a_containers_own_chains() -> None:
    facts = host(chains=(*CHAINS, hook("OUTPUT", netns=WEB_NETNS)), rules=(JUMP, RESOLVER))
    every = nat(facts, None)
    assert [(n.name, n.container, len(n.chains)) for n in every.namespaces] == [("host", None, 5), ("web", WEB_ID, 1)]
    (inside,) = nat(facts, WEB_NETNS).namespaces
    assert inside.chains[0].rules[0].container_name == "web"


def test_namespaces_without_nat_are_told_only_when_asked_for() -> None:
    assert [n.name for n in nat(host(), None).namespaces] == ["host"]
    (inside,) = nat(host(), WEB_NETNS).namespaces
    assert (inside.name, inside.chains) == ("web", ())
    assert [n.name for n in nat(host(chains=(), rules=()), None).namespaces] == ["host"]


# --- how it reads ---


def _tree(answer: Nat) -> str:
    return Screen().draw_sections(nat_branches(answer))


def test_a_tree() -> None:
    assert _tree(nat(host())) == (
        "host  IPv4  nft\n"
        "├─ PREROUTING  hook prerouting  priority -100  policy ACCEPT  [7:420]\n"
        "│     1  [1:60]  -m addrtype --dst-type LOCAL -j DOCKER\n"
        "├─ INPUT  hook input  priority 100  policy ACCEPT  [7:420]\n"
        "├─ OUTPUT  hook output  priority -100  policy ACCEPT  [7:420]\n"
        "├─ POSTROUTING  hook postrouting  priority 100  policy ACCEPT  [7:420]\n"
        "│     1  [1:60]  -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE  # network bridge\n"
        "└─ DOCKER  from PREROUTING 1\n"
        "      1  [12:720]  ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80"
        "  # web, network bridge\n"
    )


def test_a_tree_of_less() -> None:
    assert _tree(nat(host(chains=(), rules=()))) == "host  no NAT\n"
    gap = Gap(collector="rules", subject="rules of nf_tables", why="Operation not permitted", remedy="run as root")
    assert _tree(nat(host(chains=(), rules=(), gaps=(gap,)))) == "host  no NAT was seen\n"
    of_map = _tree(
        nat(
            host(
                chains=(chain("nat-x", table=DOCKERS),),
                rules=(rule("nat-x", 1, "masquerade", table=DOCKERS, packets=None),),
            )
        )
    )
    assert of_map == (
        "host  IPv4  nft  table docker-bridges\n"
        "└─ nat-x  no rule but perhaps a map leads here\n"
        "      1  [-]  masquerade\n"
    )  # fmt: skip
    assert "└─ DOCKER  no rule leads here\n" in _tree(nat(host(rules=())))
    assert "1  [1:60]  (counts only)" in _tree(nat(host(rules=(rule("DOCKER", 1, "-A DOCKER"),))))


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asker:
    return Asker(monkeypatch, capsys)


def read(ask: Asker, facts: Facts) -> None:
    ask.read(correlate(facts), facts)


def test_the_command(ask: Asker) -> None:
    read(ask, host(chains=(*CHAINS, hook("OUTPUT", netns=WEB_NETNS)), rules=(JUMP, OUT, DNAT, RESOLVER)))
    assert [n["name"] for n in ask.json("nat")["namespaces"]] == ["host"]
    assert [n["name"] for n in ask.json("nat", "--all")["namespaces"]] == ["host", "web"]
    for key in ("web", WEB_ID[:6], str(WEB_NETNS), "/proc/500/ns/net"):
        assert [n["name"] for n in ask.json("nat", "--netns", key)["namespaces"]] == ["web"]
    assert [n["name"] for n in ask.json("nat", "--netns", "web", "--netns=host")["namespaces"]] == ["host", "web"]
    unknown = ask("nat", "--netns", "wbe")
    assert (unknown.code, unknown.out) == (1, "") and "Did you mean web?" in unknown.err
    assert ask("nat").out == _tree(nat(host()))


def test_a_row_a_rule(ask: Asker) -> None:
    read(ask, host(chains=(*CHAINS, hook("OUTPUT", netns=WEB_NETNS)), rules=(JUMP, OUT, DNAT, RESOLVER)))
    rows = ask("nat", "-o", "table").out.splitlines()
    assert rows[0].split() == ["FAMILY", "BACKEND", "CHAIN", "NUM", "PACKETS", "BYTES", "RULE", "CONTAINER", "NETWORK"]
    assert len(rows) == 4 and rows[3].split()[:6] == ["ipv4", "nft", "DOCKER", "1", "12", "720"]
    every = ask("nat", "--all", "-o", "table", "--no-header").out.splitlines()
    assert [row.split()[0] for row in every] == ["host"] * 3 + ["web"]
    by_use = ask("nat", "-o", "table", "--sort=-packets", "--columns", "chain,packets,to", "--no-header").out
    assert by_use.splitlines()[0].split() == ["DOCKER", "12", "172.17.0.2:80"]


def test_a_gap_is_3(ask: Asker) -> None:
    gap = Gap(collector="rules", subject="rules of nf_tables", why="Operation not permitted", remedy="run as root")
    read(ask, host(chains=(), rules=(), gaps=(gap,)))
    reply = ask("nat")
    assert (reply.code, reply.out) == (3, "host  no NAT was seen\n")
    assert "rules of nf_tables: Operation not permitted → run as root" in reply.err


def test_hostile_texts_fit_and_are_not_obeyed(ask: Asker) -> None:
    hostile = "a\x1b[31m\u202e\nb\x9b  c"
    itself = rule(hostile, 1, f"-A {hostile} -j {hostile}", hostile)
    rules = (itself, replace(DNAT, exact=False), replace(DNAT, position=2))
    chains = (hook(hostile, hook="prerouting"), chain("DOCKER"))
    read(ask, host(containers=(record(name=hostile),), chains=chains, rules=rules))
    for columns in (80, 120):
        for output in ("tree", "table"):
            assert_fits(ask("nat", "-o", output, columns=columns).out.splitlines(), columns)
    assert_fits(ask("nat", columns=40).out.splitlines(), 40)
    assert ask("nat", "-o", "table", "--no-header").out.count("\n") == 3
    (namespace,) = ask.json("nat")["namespaces"]
    assert namespace["chains"][0]["name"] == hostile


def test_whose_namespace_it_is_where_it_has_no_container(ask: Asker) -> None:
    ingress = 4026532777
    namespace = NetworkNamespace(inode=ingress, paths=("/run/docker/netns/ingress_sbox",), entered=True)
    namespaces = (*host().network_namespaces, namespace)
    read(ask, host(network_namespaces=namespaces, chains=(hook("OUTPUT", netns=ingress),), rules=()))
    assert ask("nat", "--netns", "ingress_sbox").out.startswith("ingress_sbox  IPv4  nft\n")
