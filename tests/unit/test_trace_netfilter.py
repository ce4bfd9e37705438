"""Chains as the kernel walks them: jumps, gotos, policies, priorities, and all that may be where it is open."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hostinspect.facts import Chain, Facts, Rule
from hostinspect.questions.trace.netfilter import Netfilter, Outcome, Passage, target_of
from hostinspect.questions.trace.rules import Packet, matches, only_destination
from tests.unit.factory import HOST
from tests.unit.packet_filter_fixtures import Replay
from tests.unit.test_nftables import rules_of
from tests.unit.test_trace_rules import GROUND, PACKET

OPEN = "-m limit --limit 1/day"  # a match of which nobody knows


def base(hook: str = "forward", **changes: Any) -> Chain:
    fields: dict[str, Any] = {"netns": 1, "family": "ipv4", "backend": "nft", "table": "filter", "name": hook.upper()}
    return Chain(**{**fields, "type": "filter", "hook": hook, "priority": 0, "policy": "ACCEPT", **changes})


def rules(chain: str, *texts: str, **changes: Any) -> list[Rule]:
    """`-s 10.0.0.0/8 -j DROP` and so on, in one chain."""
    found = []
    for position, text in enumerate(texts, 1):
        words = text.split()
        verdict = next((words[n + 1] for n, word in enumerate(words) if word in ("-j", "-g")), None)
        to = next((words[n + 1] for n, word in enumerate(words) if word.startswith("--to-")), None)
        fields: dict[str, Any] = {"netns": 1, "family": "ipv4", "backend": "nft", "table": "filter"}
        fields |= {"chain": chain, "position": position, "text": f"-A {chain} {text}", "verdict": verdict, "to": to}
        found.append(Rule(**{**fields, **changes}))
    return found


def passage(
    chains: list[Chain], of: list[Rule], hook: str = "forward", packet: Packet = PACKET, *, nat: bool = False
) -> tuple[Passage, Rule | None, tuple[Outcome, ...]]:
    """How the packet passes, the rule that translates it, and what may come before that."""
    asked: list[tuple[Rule | None, tuple[Outcome, ...]]] = []

    def translate(packet: Packet, rule: Rule | None, doubtful: tuple[Outcome, ...]) -> Packet:
        asked.append((rule, doubtful))
        return packet

    netfilter = Netfilter(Facts(host=HOST, chains=tuple(chains), rules=tuple(of)))
    found = netfilter.passage(1, hook, packet, GROUND, translate if nat else None)
    return found, *(asked[0] if asked else (None, ()))


def verdict(*of: Rule, chains: tuple[Chain, ...] = (base(),)) -> str:
    found, *_ = passage([*chains], [*of])
    return "open" if found.is_open else "drop" if found.stopped_by else "accept"


def test_the_first_rule_that_takes_it_decides() -> None:
    assert verdict(*rules("FORWARD", "-s 10.0.0.0/8 -j DROP", "-j ACCEPT", "-j DROP")) == "accept"
    assert verdict(*rules("FORWARD", "-j DROP", "-j ACCEPT")) == "drop"
    assert verdict(*rules("FORWARD", "-j REJECT")) == "drop"
    assert verdict() == "accept"
    assert verdict(chains=(base(policy="DROP"),)) == "drop"
    assert verdict(*rules("FORWARD", "-j RETURN"), chains=(base(policy="DROP"),)) == "drop"


def test_jumps_come_back_and_gotos_do_not() -> None:
    user = rules("USER", "-s 10.0.0.0/8 -j DROP")
    assert verdict(*rules("FORWARD", "-j USER", "-j DROP"), *user) == "drop"
    assert verdict(*rules("FORWARD", "-g USER", "-j DROP"), *user) == "accept"
    # From a chain that was gone to, it goes back to where the one before was jumped to.
    middle = rules("MIDDLE", "-g USER", "-j ACCEPT")
    assert verdict(*rules("FORWARD", "-j MIDDLE", "-j DROP"), *middle, *user) == "drop"
    assert verdict(*rules("FORWARD", "-j USER", "-j DROP"), *rules("USER", "-j RETURN", "-j ACCEPT")) == "drop"
    assert verdict(*rules("FORWARD", "-j EMPTY", "-j DROP")) == "drop"


def test_what_goes_on_does_not_decide() -> None:
    for target in ("LOG", "MARK --set-xmark 0x1/0xffffffff", "NFLOG", "TCPMSS --clamp-mss-to-pmtu", "CT --notrack"):
        assert verdict(*rules("FORWARD", f"-j {target}", "-j DROP")) == "drop"
    assert verdict(*rules("FORWARD", "-s 192.0.2.50/32", "-j DROP")) == "drop"


def test_targets_that_are_not_known_leave_it_open() -> None:
    for target in ("NFQUEUE", "TPROXY", "SYNPROXY"):
        assert verdict(*rules("FORWARD", f"-j {target}")) == "open"
        assert verdict(*rules("FORWARD", f"-s 10.0.0.0/8 -j {target}")) == "accept"


def test_an_open_match_is_open_only_where_it_matters() -> None:
    assert verdict(*rules("FORWARD", f"{OPEN} -j DROP", "-j ACCEPT")) == "open"
    assert verdict(*rules("FORWARD", f"{OPEN} -j ACCEPT", "-j DROP")) == "open"
    assert verdict(*rules("FORWARD", f"{OPEN} -j DROP", "-j DROP")) == "drop"
    assert verdict(*rules("FORWARD", f"{OPEN} -j ACCEPT", "-j ACCEPT")) == "accept"
    assert verdict(*rules("FORWARD", f"{OPEN} -j RETURN", "-j DROP")) == "open"
    assert verdict(*rules("FORWARD", f"{OPEN} -j RETURN")) == "accept"
    assert verdict(*rules("FORWARD", "-j ACCEPT", f"{OPEN} -j DROP")) == "accept"
    assert verdict(*rules("FORWARD", f"{OPEN} -j LOG")) == "accept"
    assert verdict(*rules("FORWARD", f"{OPEN} -j USER"), *rules("USER", "-j RETURN")) == "accept"
    assert verdict(*rules("FORWARD", f"{OPEN} -j USER"), *rules("USER", "-j DROP")) == "open"
    assert verdict(*rules("FORWARD", "[unknown match x] -j DROP", exact=False)) == "open"


def test_marks_decide_later() -> None:
    marked = ["-m mark --mark 0x1 -j DROP"]
    assert verdict(*rules("FORWARD", "-j MARK --set-xmark 0x1/0xffffffff", *marked)) == "drop"
    assert verdict(*rules("FORWARD", "-s 10.0.0.0/8 -j MARK --set-xmark 0x1/0xffffffff", *marked)) == "accept"
    assert verdict(*rules("FORWARD", f"{OPEN} -j MARK --set-xmark 0x1/0xffffffff", *marked)) == "open"
    assert (
        verdict(*rules("FORWARD", f"{OPEN} -j USER", *marked), *rules("USER", "-j MARK --set-xmark 0x1/0x1")) == "open"
    )
    mangle = base(table="mangle", priority=-150)
    found, *_ = passage([base(), mangle], [
        *rules("FORWARD", "-j MARK --set-xmark 0x1/0xffffffff", table="mangle"), *rules("FORWARD", *marked)
    ])  # fmt: skip
    assert found.stopped_by is not None and not found.is_open


def test_each_base_chain_may_drop() -> None:
    legacy = base(backend="legacy", type=None, priority=None)
    drop = rules("FORWARD", "-j DROP", backend="legacy")
    assert verdict(*rules("FORWARD", "-j ACCEPT"), *drop, chains=(base(), legacy)) == "drop"
    assert (
        verdict(*rules("FORWARD", "-j ACCEPT"), chains=(base(), base(family="inet", table="t", policy="DROP")))
        == "drop"
    )
    assert verdict(*drop, chains=(base(),)) == "accept"  # a chain that no hook leads to


def test_dnat_the_first_rule_wins_and_others_are_not_asked() -> None:
    chain = base("prerouting", table="nat", type="nat", priority=-100)
    to_web = "-p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80"
    to_api = "-p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.3:80"
    of = rules("PREROUTING", to_web, to_api, table="nat")
    _, rule, doubtful = passage([chain], of, "prerouting", nat=True)
    assert rule == of[0] and not doubtful
    _, rule, doubtful = passage([chain], rules("PREROUTING", "-j ACCEPT", to_web, table="nat"), "prerouting", nat=True)
    assert rule is None and not doubtful
    of = rules("PREROUTING", f"{OPEN} {to_api}", to_web, table="nat")
    _, rule, doubtful = passage([chain], of, "prerouting", nat=True)
    assert rule == of[1] and [outcome.rule for outcome in doubtful] == [of[0]]
    _, rule, doubtful = passage([chain], of, "prerouting", PACKET._replace(state="ESTABLISHED"), nat=True)
    assert rule is None and not doubtful


def test_two_nat_tables_of_one_priority() -> None:
    nft = base("prerouting", table="nat", type="nat", priority=-100)
    legacy = base("prerouting", table="nat", type=None, priority=None, backend="legacy")
    to = "-j DNAT --to-destination 172.17.0.{}:80"
    of = [*rules("PREROUTING", to.format(2), table="nat")]
    of += rules("PREROUTING", to.format(3), table="nat", backend="legacy")
    _, rule, doubtful = passage([nft, legacy], of, "prerouting", nat=True)
    assert rule == of[0] and [outcome.rule for outcome in doubtful] == [of[1]]


def test_before_conntrack_a_connection_has_no_state() -> None:
    raw = base("prerouting", table="raw", priority=-300)
    for match, is_dropped in (("--ctstate NEW", False), ("--ctstate INVALID", True)):
        of = rules("PREROUTING", f"-m conntrack {match} -j DROP", table="raw")
        found, *_ = passage([raw], of, "prerouting")
        assert (found.stopped_by is not None) is is_dropped
    of = rules("PREROUTING", "-j CT --notrack", table="raw")
    found, rule, _ = passage([raw], of, "prerouting", nat=True)
    assert (found.packet.state, rule) == ("UNTRACKED", None)


def test_what_never_ends_is_open() -> None:
    assert verdict(*rules("FORWARD", "-j A"), *rules("A", "-j B"), *rules("B", "-j A")) == "open"
    deep = [rule for n in range(40) for rule in rules(f"C{n}", f"-j C{n + 1}", f"-j C{n + 1}")]
    assert verdict(*rules("FORWARD", "-j C0"), *deep) == "open"


def test_targets_of_translation() -> None:
    def target(to: str) -> object:
        return target_of(rules("PREROUTING", f"-j DNAT --to-destination {to}")[0])

    assert target("172.17.0.2:80") == ("172.17.0.2", 80)
    assert target("172.17.0.2") == ("172.17.0.2", None)
    assert target("[fd00::2]:80") == ("fd00::2", 80)
    assert target(":8080") == (None, 8080)
    assert target("172.17.0.2-172.17.0.9:80") is None
    assert target("172.17.0.2:80-90") is None
    assert target("172.17.0.2:80-80") == ("172.17.0.2", 80)


# --- any chains -------------------------------------------------------------------------------------------------

_SURE = ("-s 192.0.2.0/24", "-s 10.0.0.0/8", "")
_TARGETS = ("ACCEPT", "DROP", "RETURN", "LOG", "A", "B")
some_rules = st.lists(st.tuples(st.sampled_from(_SURE), st.sampled_from(_TARGETS)), max_size=6)


def walked(chains: dict[str, list[tuple[str, str]]], name: str) -> str:
    """What becomes of the packet, by the plainest reading."""
    for match, target in chains.get(name, []):
        if match == "-s 10.0.0.0/8":
            continue
        if target in ("ACCEPT", "DROP", "RETURN"):
            return target
        if target in chains and (found := walked(chains, target)) != "RETURN":
            return found
    return "RETURN"


@given(some_rules, some_rules, some_rules, st.sampled_from(("ACCEPT", "DROP")))
def test_any_chains(forward: Any, a: Any, b: Any, policy: str) -> None:
    chains = {
        "FORWARD": forward,
        "A": [(match, target if target != "A" else "B") for match, target in a],
        "B": [(match, target if target not in "AB" else "DROP") for match, target in b],
    }
    of = [rule for name, content in chains.items() for rule in rules(name, *(f"{m} -j {t}" for m, t in content))]
    expected = walked(chains, "FORWARD")
    expected = policy if expected == "RETURN" else expected
    assert verdict(*of, chains=(base(policy=policy),)) == expected.lower()


@given(some_rules, st.integers(0, 5), st.sampled_from(("ACCEPT", "DROP")))
def test_an_open_rule_is_both(forward: list[tuple[str, str]], at: int, target: str) -> None:
    """With a rule that is open, the answer is that with the rule and that without it, or open where these differ."""
    plain = [f"{match} -j {goal}" for match, goal in forward if goal not in "AB"]
    at = min(at, len(plain))
    without = verdict(*rules("FORWARD", *plain))
    taken = verdict(*rules("FORWARD", *plain[:at], f"-j {target}", *plain[at:]))
    both = verdict(*rules("FORWARD", *plain[:at], f"{OPEN} -j {target}", *plain[at:]))
    assert both == (without if without == taken else "open")


# --- rules that are passed by ---------------------------------------------------------------------------------------

_DST, _DPORT = ("172.17.0.2", "172.17.0.3", "!172.17.0.2", "172.17.0.0/16", None), ("80", "8080", "!80", "80:90", None)


def _published(dst: str | None, dport: str | None, target: str) -> Rule:
    """A rule as it is read, with the fields that say again what is in its text."""
    match = _option("-d", dst, "/32" if dst and "/" not in dst else "") + " -p tcp -m tcp" + _option("--dport", dport)
    return rules("FORWARD", f"{match} -j {target}".strip(), dst=dst, dport=dport)[0]


def _option(name: str, value: str | None, more: str = "") -> str:
    return f"{' !' if value.startswith('!') else ''} {name} {value.removeprefix('!')}{more}" if value else ""


@given(
    st.lists(
        st.builds(
            _published, st.sampled_from(_DST), st.sampled_from(_DPORT), st.sampled_from(("DROP", "LOG", "ACCEPT"))
        ),
        max_size=8,
    ),
    st.sampled_from(("172.17.0.2", "172.17.0.3", "10.0.0.1")),
    st.sampled_from((80, 85, 8080, None)),
)
def test_what_is_not_looked_at_would_not_have_taken_it(found: list[Rule], dst: str, dport: int | None) -> None:
    """Rules without the fields are looked at one after the other."""
    of = [replace(rule, position=n) for n, rule in enumerate(found, 1)]
    packet = PACKET._replace(dst=ip_address(dst), dport=dport)
    looked_at, *_ = passage([base()], [replace(rule, dst=None, dport=None) for rule in of], packet=packet)
    passed_by, *_ = passage([base()], of, packet=packet)
    assert _decided(passed_by) == _decided(looked_at)


def _decided(found: Passage) -> list[tuple[str, int | None, bool]]:
    outcomes = [outcome for decision in found.decisions for outcome in decision.outcomes]
    return [(o.verdict, o.rule.position if o.rule else None, o.is_sure) for o in outcomes]


@pytest.mark.parametrize("recorded", ["nft.txt", "native.txt"])
def test_the_only_destination_of_recorded_rules(recorded: str) -> None:
    """A packet to another one is surely not taken."""
    only = [(rule, *only_destination(rule)) for rule in rules_of(Replay(recorded))]
    for rule, address, port in only:
        for packet in (
            PACKET._replace(dst=ip_address("198.51.100.1")) if address else None,
            PACKET._replace(dport=1) if port else None,
        ):
            assert packet is None or matches(rule, packet, GROUND) is False
    assert any(address for _, address, _ in only) and any(port for _, _, port in only)


def test_nothing_is_passed_by_for_what_is_behind_something_unknown() -> None:
    unknown = "meta cgroup 1 ip daddr 172.17.0.3 drop"
    rule = replace(rules("FORWARD", "-j DROP")[0], text=unknown, verdict="DROP", dst="172.17.0.3")
    assert verdict(rule) == "open"
    assert verdict(replace(rule, text=unknown.removeprefix("meta cgroup 1 "))) == "accept"
    assert verdict(replace(rule, exact=False)) == "open"
