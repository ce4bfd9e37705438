"""What trace says of a way is what a connection does on it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from hostinspect.questions.trace import trace
from tests.lab.host import CLIENT_ADDRESS, LabHost, LabSpec
from tests.live.report import hostinspect
from tests.live.trace_lab import DOCKERD, Fault, Labyrinth, Question, describe, differs

SEEDS = range(12)
OTHER_SEEDS = range(100, 104)
FEW = 0.15  # of all questions may be left open


@pytest.fixture(scope="module")
def labyrinth() -> Iterator[Labyrinth]:
    with LabHost(LabSpec(dockerd=DOCKERD)) as host:
        yield Labyrinth(host)


def counted(labyrinth: Labyrinth, seeds: range) -> Counter[str]:
    """How many connections got through, did not, or were left open, none of them against what trace says."""
    found: Counter[str] = Counter()
    wrong: list[str] = []
    for seed in seeds:
        faults = labyrinth.scenario(seed)
        with labyrinth.broken(faults):
            cases = labyrinth.cases(labyrinth.questions)
        wrong += (f"seed {seed}: {describe(case, faults)}" for case in cases if differs(case))
        found.update("open" if c.expected is None else "nobody" if c.expected == "nothing" else "ok" for c in cases)
    assert not wrong, f"{len(wrong)} of {found.total()}:\n" + "\n\n".join(wrong[:10])
    # All three are there in number: to say "cannot be told" of everything would be no proof.
    assert found["ok"] > 200 and found["nobody"] > 200 and found["open"] < FEW * found.total(), found
    return found


def test_the_verdict_is_what_a_connection_does(labyrinth: Labyrinth) -> None:
    """Random rules and faults, some three hundred connections in each: from outside, the host and containers."""
    assert counted(labyrinth, SEEDS).total() > 3000


@pytest.mark.parametrize(
    "spec",
    [
        LabSpec(userland="sid", dockerd=(*DOCKERD, "--userland-proxy=false")),
        LabSpec(firewall="legacy", dockerd=DOCKERD),
    ],
    ids=["docker 28 without a userland proxy", "legacy"],
)
def test_other_engines(spec: LabSpec) -> None:
    with LabHost(spec) as host:
        counted(Labyrinth(host), OTHER_SEEDS)


def test_a_healthy_host_is_told_as_such(labyrinth: Labyrinth) -> None:
    inspection = labyrinth.inspect()
    for port, name in ((8080, "web"), (8085, "three"), (8086, "both"), (8087, "alone"), (8090, "onhost")):
        traces = trace(inspection, [str(port)]).traces
        assert [found.state for found in traces] == ["ok"] * len(traces), traces
        assert {found.reached.container_name for found in traces if found.reached} == {name}
        assert {found.family for found in traces} >= {"ipv4"}


WEB = Question(CLIENT_ADDRESS, "tcp", "192.0.2.10", 8080)

# A fault, whom it stops, the hop that breaks, words of its text, and whether its remedy is enough by itself.
ATLAS = (
    ("ip_forward", WEB, "forwarding", "net.ipv4.ip_forward is 0", True),
    ("forwarding of eth0", WEB, "forwarding", "net.ipv4.conf.eth0.forwarding is 0", True),
    ("docker0 down", WEB, "route", "docker0 is down: the route to 172.17.0.2 of web leads by eth0", True),
    ("docker0 without address", WEB, "route", "docker0 has lost its address 172.17.0.1/16", True),
    ("subnet elsewhere", WEB, "route", "leads by n2, not by docker0, which web is on", True),
    ("subnet unreachable", Question("host", "tcp", "10.91.0.2", 80), "route", "unreachable", True),
    ("{web} of web down", WEB, "link", "{web} is down", True),
    ("{web} of web nowhere", WEB, "link", "{web}, the host's end of eth0 of web, is not a port of docker0", True),
    ("{web} of web in n2", WEB, "link", "{web}, the host's end of eth0 of web, is a port of n2", True),
    ("eth0 of web down", WEB, "link", "eth0 of web is down", False),
    ("no way back of web", WEB, "answer", "the answer: web has no route to 192.0.2.50", True),
    ("wrong way back of web", WEB, "answer", "the answer: nobody on docker0 has 172.17.0.251", False),
    ("blackhole in web", WEB, "answer", "blackhole", True),
    ("web without address", WEB, "address", "nobody on docker0 has 172.17.0.2, which was given to web", False),
    ("web stopped", WEB, "socket", "is stopped", True),
    ("web paused", WEB, "socket", "is paused", True),
    ("in web: INPUT -p tcp --dport 80 -j DROP", WEB, "filter", "web, filter INPUT rule 1 drops it", True),
    ("in web: INPUT -s 192.0.2.0/24 -j REJECT", WEB, "filter", "web, filter INPUT rule 1 rejects it", True),
    ("in web: OUTPUT -p tcp --sport 80 -j DROP", WEB, "answer", "the answer: web, filter OUTPUT rule 1 drops it", True),
    ("policy in web", WEB, "filter", "web, filter INPUT: no rule accepts it, and its policy is DROP", True),
    ("filter emptied", WEB, "filter", "filter FORWARD: no rule accepts it, and its policy is DROP", False),
    ("legacy policy", WEB, "filter", "legacy filter FORWARD: no rule accepts it, and its policy is DROP", True),
    ("rp_filter", WEB, "rp_filter", "the way back is by n2: rp_filter 1 drops it", False),
    ("lo down", Question("host", "tcp", "127.0.0.1", 9000), "link", "lo of host is down", True),
    (None, Question(CLIENT_ADDRESS, "tcp", "192.0.2.10", 8081), "socket", "listens on 127.0.0.1:80 only", False),
    (None, Question(CLIENT_ADDRESS, "tcp", "192.0.2.10", 8082), "socket", "nothing listens on 172.17.0.4:80", False),
    (None, Question("web", "tcp", "10.92.0.2", 8000), "filter", "DOCKER-ISOLATION-STAGE-2", False),
    (None, Question("alone2", "tcp", "10.94.0.2", 80), "filter", "drops it", False),
    (None, Question("host", "tcp", "192.0.2.192", 80), "link", "a macvlan of eth0, which the host itself", False),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "question", "subject", "words", "is_enough"), ATLAS, ids=lambda value: str(value)[:40]
)
def test_the_hop_that_breaks_is_named(
    name: str | None, question: Question, subject: str, words: str, is_enough: bool, labyrinth: Labyrinth
) -> None:
    faults = [labyrinth.fault(name)] if name else []
    with labyrinth.broken(faults):
        (case,) = labyrinth.cases([question])
        assert (case.expected, case.happened) == ("nothing", "nothing"), describe(case, faults)
        hop = next(hop for hop in case.trace.hops if hop.state == "broken")
        assert hop.subject == subject and words.format(**labyrinth.links) in hop.text, describe(case, faults)
        assert case.trace.verdict == hop.text
        if is_enough:
            assert hop.remedy is not None
            labyrinth.host.run(["sh", "-c", hop.remedy])
            labyrinth.settle()
            (mended,) = labyrinth.cases([question])
            assert mended.happened != "nothing" and mended.trace.state == "ok", (hop.remedy, describe(mended, faults))


def test_what_cannot_be_told_is_not(labyrinth: Labyrinth) -> None:
    rules = (
        "iptables -I DOCKER-USER -m limit --limit 1/day -j DROP",
        "iptables -I DOCKER-USER -m statistic --mode random --probability 0.5 -j DROP",
        "iptables -t nat -I PREROUTING -m recent --name x --set -p tcp -j DNAT --to-destination 10.91.0.3:80",
        "iptables -I FORWARD -m string --string x --algo bm -j DROP",
    )
    for rule in rules:
        with labyrinth.broken([Fault(rule, rule, "")]):
            (found,) = trace(labyrinth.inspect(), [WEB.target], CLIENT_ADDRESS).traces
            assert found.state == "unknown", rule
            assert any(
                evidence.kind == "rule" for hop in found.hops if hop.state == "unknown" for evidence in hop.evidence
            )
    # What is not known of a rule that changes nothing does not matter, nor does what comes too late.
    harmless = (
        "iptables -I DOCKER-USER -m limit --limit 1/day -j LOG",
        "iptables -I DOCKER-USER -m limit --limit 1/day -j RETURN",
        "iptables -A FORWARD -m limit --limit 1/day -j DROP",
    )
    for rule in harmless:
        with labyrinth.broken([Fault(rule, rule, "")]):
            (found,) = trace(labyrinth.inspect(), [WEB.target], CLIENT_ADDRESS).traces
            assert found.state == "ok", rule


def test_a_port_taken_by_another_rule(labyrinth: Labyrinth) -> None:
    rule = "iptables -t nat -I DOCKER -p tcp --dport 8080 -j DNAT --to-destination 10.92.0.2:8000"
    with labyrinth.broken([Fault("shadow", rule, "")]):
        done = hostinspect(labyrinth.host, "trace", "8080/tcp", "--source", CLIENT_ADDRESS, "-o", "json")
        (found,) = json.loads(done.stdout)["traces"]
    assert done.returncode == 1
    assert found["reached"]["container_name"] == "three"
    assert found["verdict"] == "it is three that answers, and not web, whose port it should be"
    assert any("it comes before nat DOCKER rule" in hop["text"] for hop in found["hops"])


def test_a_container_by_name(labyrinth: Labyrinth) -> None:
    inspection = labyrinth.inspect()
    assert {(t.port, t.proto) for t in trace(inspection, ["web"]).traces} == {(8080, "tcp"), (5300, "udp")}
    assert {t.port for t in trace(inspection, ["web:80"]).traces} == {8080}
    (direct,) = trace(inspection, ["inner:80"], "inner2").traces
    assert (direct.state, direct.address) == ("ok", "10.93.0.2")
    (sidecar,) = trace(inspection, ["joined:8092"], "host").traces
    assert sidecar.state == "ok" and sidecar.reached is not None and sidecar.reached.container_name == "joined"
    (macvlan,) = trace(inspection, ["mac1:80"]).traces
    assert macvlan.state == "ok" and macvlan.address == "192.0.2.192"
    (unpublished,) = trace(inspection, ["inner:80"]).traces
    assert unpublished.state == "broken" and "does not publish 80/tcp" in unpublished.verdict


def test_a_probe_says_what_happened(labyrinth: Labyrinth) -> None:
    for port, state in ((8080, "ok"), (8082, "broken"), (7, "broken")):
        done = hostinspect(labyrinth.host, "trace", f"127.0.0.1:{port}", "--source", "host", "--probe", "-o", "json")
        (found,) = json.loads(done.stdout)["traces"]
        assert (found["state"], found["probe"]["state"]) == (state, state), found


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("8080",), 0),
        (("8082",), 1),
        (("70000",), 2),
        (("1.2.3:80",), 2),
        (("8080", "--probe"), 2),
        (("nobody:80",), 1),
        (("8080", "--source", "nobody"), 1),
    ],
)
def test_exit_codes(arguments: tuple[str, ...], code: int, labyrinth: Labyrinth) -> None:
    done = hostinspect(labyrinth.host, "trace", *arguments)
    assert done.returncode == code, done.stdout + done.stderr


def test_no_packet_is_sent(labyrinth: Labyrinth) -> None:
    counted = "iptables -t raw -L -v -x -n | awk '/ \\* +\\* /{ print $1 }'"
    rules = Fault("counters", "iptables -t raw -I OUTPUT; iptables -t raw -I PREROUTING", "")
    with labyrinth.broken([rules]):
        hostinspect(labyrinth.host, "trace", "8080")
        before = labyrinth.host.run(["sh", "-c", counted]).stdout
        for source in ("outside", "host", "two"):
            hostinspect(labyrinth.host, "trace", "8080", "--source", source)
        assert labyrinth.host.run(["sh", "-c", counted]).stdout == before
