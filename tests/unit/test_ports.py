"""Ports: what of rule, proxy and listener is there and what should be, said in one word; and how that reads."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from hostinspect.correlate import correlate
from hostinspect.facts import (
    Address,
    Chain,
    ContainerRecord,
    Facts,
    FrozenCgroup,
    Gap,
    Link,
    ListeningSocket,
    NetworkNamespace,
    Process,
    RecordedPort,
    Rule,
    SocketHolder,
)
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.ports import HostPort, PortFilter, Ports, list_ports, parse_port
from hostinspect.render.screen import Screen
from hostinspect.render.table import choose_columns, render_table
from hostinspect.render.tables.ports import port_columns, port_rows
from tests.unit.asked import Asker, assert_fits
from tests.unit.factory import (
    BRIDGE_ADDRESS,
    DOCKER0,
    HOST_NETNS,
    HOST_VETH,
    WEB_ADDRESS,
    WEB_ETH0,
    WEB_ID,
    WEB_NETNS,
    host_process,
    host_with_web,
    record,
    web_process,
)

PORT = RecordedPort(proto="tcp", container_port=80, host_ip="0.0.0.0", host_port=8080)
PORT6 = replace(PORT, host_ip="::")
LISTENS = ListeningSocket(netns=WEB_NETNS, proto="tcp", family="ipv6", address="::", port=80, inode=77)
HELD = SocketHolder(inode=77, pid=500)
SIDE_ID = "d" * 64


def rule(position: int, text: str, verdict: str, chain: str = "DOCKER", **fields: object) -> Rule:
    where: dict[str, object] = {"netns": HOST_NETNS, "family": "ipv4", "backend": "nft", "table": "nat", "chain": chain}
    said = {"position": position, "text": f"-A {chain} {text}", "verdict": verdict}
    return Rule(**{**where, **said, **fields})  # type: ignore[arg-type]


def dnat(position: int = 1, dport: str = "8080", to: str = "172.17.0.2:80", **fields: object) -> Rule:
    chosen: dict[str, object] = {"in_interface": "!docker0", "proto": "tcp", "dport": dport, "to": to, **fields}
    text = f"! -i docker0 -p tcp -m tcp --dport {dport} -j DNAT --to-destination {to}"
    return rule(position, text, "DNAT", **chosen)  # type: ignore[arg-type]


JUMP = rule(1, "-m addrtype --dst-type LOCAL -j DOCKER", "DOCKER", chain="PREROUTING")
JUMP6 = replace(JUMP, family="ipv6")


def chains(family: str = "ipv4") -> tuple[Chain, ...]:
    base = Chain(netns=HOST_NETNS, family=family, backend="nft", table="nat", name="DOCKER")  # type: ignore[arg-type]
    hooked = {"type": "nat", "hook": "prerouting", "priority": -100, "policy": "ACCEPT"}
    return replace(base, name="PREROUTING", **hooked), base


def proxy(pid: int = 600, host_ip: str = "0.0.0.0", host_port: int = 8080, to: str = "172.17.0.2") -> Process:
    options = ("-proto", "tcp", "-host-ip", host_ip, "-host-port", str(host_port), "-container-ip", to)
    cmdline = ("/usr/bin/docker-proxy", *options, "-container-port", "80")
    return host_process(pid, comm="docker-proxy", cmdline=cmdline)


PROCESSES = (host_process(), host_process(300, comm="dockerd", cmdline=("/usr/sbin/dockerd",)), web_process())


def host(**changes: object) -> Facts:
    """A container with one port, published on all IPv4 addresses: a rule, a proxy, a server."""
    fields: dict[str, object] = {
        "containers": (record(ports=(PORT,)),),
        "chains": chains(),
        "rules": (JUMP, dnat()),
        "processes": (*PROCESSES, proxy()),
        "listening_sockets": (LISTENS,),
        "socket_holders": (HELD,),
    }
    return host_with_web(**{**fields, **changes})


def ports(facts: Facts, *words: str, every: bool = False) -> Ports:
    inspection = Inspection(facts)
    filters = [parsed for word in words if (parsed := parse_port(word))]
    names = [inspection.container(word) for word in words if not parse_port(word)]
    return list_ports(inspection, names, filters, every=every)


def one(facts: Facts) -> HostPort:
    (port,) = ports(facts).ports
    return port


def problems(facts: Facts) -> list[tuple[str, ...]]:
    return [port.problems for port in ports(facts).ports]


# --- one port, and everything that may be wrong with it ---


def test_all_is_well() -> None:
    port = one(host())
    assert (port.status, port.problems, port.via) == ("ok", (), ("dnat", "proxy"))
    assert (port.host_ip, port.host_port, port.proto) == ("0.0.0.0", 8080, "tcp")
    assert (port.container, port.container_name) == (WEB_ID, "web")
    assert (port.container_ip, port.container_port) == ("172.17.0.2", 80)
    (found,) = port.rules
    assert (found.family, found.backend, found.chain, found.position, found.to) == (
        "ipv4", "nft", "DOCKER", 1, "172.17.0.2:80",
    )  # fmt: skip
    assert port.proxy is not None and (port.proxy.pid, port.proxy.address, port.proxy.port) == (600, "172.17.0.2", 80)
    assert port.listening is not None
    assert (port.listening.pid, port.listening.comm, port.listening.address) == (500, "httpd", "::")
    assert port.elsewhere == ()


BEFORE = dnat(1, to="10.9.9.9:80", chain="PREROUTING")
LOOPBACK = replace(LISTENS, family="ipv4", address="127.0.0.1")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rules": (JUMP,)}, ("no rule",)),
        ({"rules": (dnat(),)}, ("rule not met",)),
        ({"rules": (JUMP, replace(dnat(), exact=False))}, ("no rule",)),
        ({"processes": PROCESSES}, ("no proxy",)),
        ({"rules": (JUMP,), "processes": PROCESSES}, ("no way in",)),
        ({"listening_sockets": ()}, ("nobody listens",)),
        ({"listening_sockets": (LOOPBACK,)}, ("loopback only",)),
        ({"listening_sockets": (replace(LISTENS, address="::1"),)}, ("loopback only",)),
        ({"listening_sockets": (replace(LISTENS, v6only=True),)}, ("other address only",)),
        ({"listening_sockets": (LOOPBACK, replace(LOOPBACK, address="172.18.0.9"))}, ("other address only",)),
        ({"listening_sockets": (replace(LISTENS, proto="udp"),)}, ("nobody listens",)),
        ({"rules": (JUMP,), "listening_sockets": ()}, ("nobody listens", "no rule")),
        ({"rules": (JUMP, dnat(to="172.17.0.9:80"))}, ("rule of nobody",)),
        ({"rules": (JUMP, dnat(to="172.17.0.1:80"))}, ("rule leads elsewhere",)),
        ({"rules": (JUMP, dnat(to="172.17.0.2:81"))}, ("rule leads elsewhere",)),
        ({"rules": (JUMP, dnat(1, to="172.17.0.9:80"), dnat(2))}, ("rule of nobody",)),
        ({"rules": (BEFORE, replace(JUMP, position=2), dnat())}, ("rule leads elsewhere",)),
        ({"rules": (JUMP, replace(BEFORE, position=2), dnat())}, ()),
        ({"rules": (JUMP, dnat(1), dnat(2, to="172.17.0.9:80"))}, ()),
        ({"processes": (*PROCESSES, proxy(to="172.17.0.9"))}, ("proxy of nobody",)),
        ({"processes": (*PROCESSES, proxy(to="172.17.0.1"))}, ("proxy leads elsewhere",)),
        ({"addresses": (BRIDGE_ADDRESS,)}, ("rule of nobody", "proxy of nobody")),
        ({"rules": (JUMP, dnat()), "processes": (*PROCESSES, proxy(), proxy(601, to="172.17.0.9"))}, ()),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_port(changes: dict[str, object], expected: tuple[str, ...]) -> None:
    found = ports(host(**changes)).ports
    recorded = [port for port in found if port.container == WEB_ID]
    assert recorded[0].problems == expected
    assert recorded[0].status == (expected[0] if expected else "ok")


def test_the_rule_that_takes_the_packets_is_named_and_not_told_again() -> None:
    port = one(host(rules=(JUMP, dnat(1, to="172.17.0.9:80"), dnat(2))))
    assert [(rule.position, rule.to) for rule in port.rules] == [(1, "172.17.0.9:80"), (2, "172.17.0.2:80")]


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "-A DOCKER -p tcp -m tcp --dport 8080 -m statistic --mode nth --every 2 -j DNAT --to 172.17.0.9:80"},
        {"src": "192.0.2.7/32"},
        {"in_interface": "eth1"},
        {"dst": "192.0.2.10/32"},
        {"proto": "udp"},
        {"dport": "8081:8090"},
        {"dport": "!8080"},
        {"exact": False},
    ],
)
def test_a_rule_that_takes_some_packets_only_decides_nothing(changes: dict[str, object]) -> None:
    other = replace(dnat(1, to="172.17.0.9:80"), **changes)
    found = ports(host(rules=(JUMP, other, dnat(2)))).ports
    assert [port.problems for port in found if port.container] == [()]


@pytest.mark.parametrize("dport", ["8080", "8000:9000", "80,8080", "8080,9000:9010", None])
def test_rules_for_several_ports_take_theirs(dport: str | None) -> None:
    other = replace(dnat(1, to="172.17.0.9:80"), dport=dport)
    found = ports(host(rules=(JUMP, other, dnat(2)))).ports
    assert [port.status for port in found if port.container] == ["rule of nobody"]


def test_a_redirect_leads_elsewhere_too() -> None:
    redirect = rule(1, "-p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 1", "REDIRECT", "PREROUTING", dport="8080")
    assert problems(host(rules=(redirect, replace(JUMP, position=2), dnat()))) == [("rule leads elsewhere",)]


def test_a_chain_that_leads_to_itself_is_walked_once() -> None:
    again = rule(2, "-j DOCKER", "DOCKER")
    assert one(host(rules=(JUMP, dnat(), again))).status == "ok"


def test_a_paused_server_does_not_answer() -> None:
    frozen = FrozenCgroup(path=f"/docker/{WEB_ID}")
    facts = host(containers=(record(ports=(PORT,), paused=True),), frozen_cgroups=(frozen,))
    assert problems(facts) == [("paused",)]


# --- what an engine was told to leave away ---


def test_without_iptables_a_proxy_is_all_there_is() -> None:
    assert one(host(chains=(), rules=())).status == "ok"
    told = host_process(300, comm="dockerd", cmdline=("dockerd", "--iptables=false"))
    stale = host(rules=(JUMP,), processes=(host_process(), told, web_process(), proxy()))
    assert one(stale).status == "ok"


def test_without_a_userland_proxy_a_rule_is_all_there_is() -> None:
    """Then it takes what comes from the container's own bridge too."""
    hairpin = replace(dnat(), in_interface=None)
    assert one(host(rules=(JUMP, hairpin), processes=PROCESSES)).status == "ok"
    told = host_process(300, comm="dockerd", cmdline=("dockerd", "--userland-proxy=false"))
    assert one(host(processes=(host_process(), told, web_process()))).status == "ok"


# --- IPv6 ---


def _six(**changes: object) -> Facts:
    endpoint = replace(record().endpoints[0], ip6="fd00::2", prefix_len6=64)
    fields: dict[str, object] = {
        "containers": (record(ports=(PORT, PORT6), endpoints=(endpoint,)),),
        "addresses": (
            WEB_ADDRESS,
            BRIDGE_ADDRESS,
            Address(netns=WEB_NETNS, ifindex=12, family="ipv6", address="fd00::2", prefix_len=64),
        ),
        "processes": (*PROCESSES, proxy(), proxy(601, "::", to="fd00::2")),
        "chains": (*chains(), *chains("ipv6")),
    }
    return host(**{**fields, **changes})


SIX = dnat(to="[fd00::2]:80", family="ipv6", src="!fe80::/10")


def test_ipv6_by_rule_and_proxy() -> None:
    four, six = ports(_six(rules=(JUMP, dnat(), JUMP6, SIX))).ports
    assert (four.status, four.container_ip) == ("ok", "172.17.0.2")
    assert (six.status, six.container_ip, six.host_ip) == ("ok", "fd00::2", "::")


def test_ipv6_without_its_rule() -> None:
    assert [port.status for port in ports(_six(rules=(JUMP, dnat(), JUMP6))).ports] == ["ok", "no rule"]


def test_ipv6_where_the_engine_makes_no_rules_for_it() -> None:
    assert [port.status for port in ports(_six(chains=chains())).ports] == ["ok", "ok"]


def test_a_proxy_takes_ipv6_to_a_container_without() -> None:
    """No rule can: with ip6tables as without."""
    facts = host(
        containers=(record(ports=(PORT, PORT6)),),
        chains=(*chains(), *chains("ipv6")),
        processes=(*PROCESSES, proxy(), proxy(601, "::")),
    )
    assert [(port.status, port.container_ip) for port in ports(facts).ports] == [("ok", "172.17.0.2")] * 2


def test_ipv6_without_proxy_and_rule() -> None:
    facts = host(containers=(record(ports=(PORT, PORT6)),), rules=(JUMP, replace(dnat(), in_interface=None)))
    assert [port.status for port in ports(facts).ports] == ["ok", "no way in"]


# --- whose process, whose namespace ---


def sidecar(mode: str = f"container:{WEB_ID}") -> ContainerRecord:
    return record(id=SIDE_ID, name="side", pid=501, network_mode=mode, endpoints=())


def side_process(netns: int = WEB_NETNS) -> Process:
    return web_process(pid=501, comm="nginx", netns=netns, mntns=5, cgroups=(f"/docker/{SIDE_ID}",))


def test_a_sidecar_answers_at_its_owners_port() -> None:
    facts = host(
        containers=(record(ports=(PORT,)), sidecar()),
        processes=(*PROCESSES, proxy(), side_process()),
        socket_holders=(SocketHolder(inode=77, pid=501),),
    )
    port = one(facts)
    assert (port.status, port.container_name) == ("ok", "web")
    assert port.listening is not None
    assert (port.listening.container, port.listening.container_name, port.listening.comm) == (SIDE_ID, "side", "nginx")


HOST_SOCKET = replace(LISTENS, netns=HOST_NETNS, port=53, proto="udp", inode=78)


def test_the_host_network() -> None:
    facts = host_with_web(
        containers=(record(network_mode="host", endpoints=()),),
        processes=(host_process(), web_process(netns=HOST_NETNS)),
        listening_sockets=(HOST_SOCKET,),
        socket_holders=(SocketHolder(inode=78, pid=500),),
    )
    port = one(facts)
    assert (port.status, port.host_ip, port.host_port, port.proto, port.via) == ("ok", "::", 53, "udp", ("host",))
    assert port.dual_stack
    assert (port.container, port.container_port) == (WEB_ID, None)
    assert ports(facts, every=True).ports == (port,)


def test_networks_in_a_namespace_of_their_own_are_not_judged() -> None:
    """A rootless engine's: its rules are in rootlesskit's namespace."""
    inner = 4026532999
    facts = host(
        links=(replace(DOCKER0, netns=inner), replace(HOST_VETH, netns=inner), WEB_ETH0),
        network_namespaces=(*host().network_namespaces, NetworkNamespace(inode=inner, pids=(700,), entered=True)),
        nsids=tuple(
            replace(nsid, netns=inner if nsid.netns == HOST_NETNS else nsid.netns,
                    target=inner if nsid.target == HOST_NETNS else nsid.target)
            for nsid in host().nsids
        ),
        rules=(),
        processes=PROCESSES,
    )  # fmt: skip
    answer = ports(facts)
    assert [port.problems for port in answer.ports] == [("not seen",)]
    assert [gap.subject for gap in answer.gaps] == ["ports of web"]


# --- leftovers ---


def nobody(**changes: object) -> Facts:
    fields: dict[str, object] = {
        "containers": (),
        "processes": (host_process(),),
        "listening_sockets": (),
        "links": (DOCKER0,),
        "addresses": (BRIDGE_ADDRESS,),
    }
    return host(**{**fields, **changes})


def test_a_rule_of_nobody() -> None:
    port = one(nobody())
    assert (port.status, port.container, port.container_ip, port.container_port) == (
        "rule of nobody", None, "172.17.0.2", 80,
    )  # fmt: skip
    assert [(rule.chain, rule.position) for rule in port.rules] == [("DOCKER", 1)]


def test_a_proxy_of_nobody_and_its_rule_are_one_row() -> None:
    facts = nobody(processes=(host_process(), proxy()))
    assert problems(facts) == [("rule of nobody", "proxy of nobody")]
    assert problems(replace(facts, rules=())) == [("proxy of nobody",)]


@pytest.mark.parametrize(
    ("chain", "to", "status"),
    [
        ("DOCKER", "10.9.9.9:80", "rule of nobody"),  # its network is gone as well
        ("PREROUTING", "172.17.0.77:80", "rule of nobody"),
        ("PREROUTING", "10.9.9.9:80", "no container"),
        ("PREROUTING", "172.17.0.1:80", "no container"),  # the bridge's own address
    ],
)
def test_rules_that_lead_to_no_container(chain: str, to: str, status: str) -> None:
    assert one(nobody(rules=(JUMP, dnat(2, to=to, chain=chain)))).status == status


def test_the_routing_mesh() -> None:
    """Swarm's ingress ports lead to ingress_sbox, on docker_gwbridge."""
    ingress = 4026532777
    facts = nobody(
        rules=(replace(JUMP, verdict="DOCKER-INGRESS"), dnat(to="172.19.0.2:8080", chain="DOCKER-INGRESS")),
        chains=(*chains(), replace(chains()[1], name="DOCKER-INGRESS")),
        network_namespaces=(
            NetworkNamespace(inode=HOST_NETNS, pids=(1,), entered=True),
            NetworkNamespace(inode=ingress, paths=("/run/docker/netns/ingress_sbox",), entered=True),
        ),
        links=(Link(netns=ingress, ifindex=9, ifname="eth1", kind="veth"),),
        addresses=(Address(netns=ingress, ifindex=9, family="ipv4", address="172.19.0.2", prefix_len=16),),
    )
    assert one(facts).status == "routing mesh"


def test_a_rule_that_a_person_made_for_a_container() -> None:
    facts = host(containers=(record(),), processes=PROCESSES)
    port = one(facts)
    assert (port.status, port.container, port.via) == ("not recorded", WEB_ID, ("dnat",))
    assert problems(replace(facts, listening_sockets=())) == [("nobody listens", "not recorded")]


@pytest.mark.parametrize(
    ("to", "port", "ends"), [("172.17.0.2", 80, (70, 90, 70, 90)), ("172.17.0.2:80", 80, (70, 90, 80, None))]
)
def test_one_rule_for_a_range(to: str, port: int, ends: tuple[int, ...]) -> None:
    found = one(host(containers=(record(),), processes=PROCESSES, rules=(JUMP, dnat(dport="70:90", to=to))))
    assert (found.host_port, found.host_port_end, found.container_port, found.container_port_end) == ends
    assert found.status == "not recorded" and found.listening is not None and found.listening.port == port


def test_one_rule_for_several_ports_is_several_ports() -> None:
    facts = nobody(rules=(JUMP, replace(dnat(), dport="80,443,8000:8010")))
    assert [(p.host_port, p.host_port_end) for p in ports(facts).ports] == [(80, None), (443, None), (8000, 8010)]


def test_a_rule_without_a_port_is_none_of_ports() -> None:
    assert ports(nobody(rules=(JUMP, replace(dnat(), dport=None)))).ports == ()
    assert ports(nobody(rules=(JUMP, replace(dnat(), to="172.17.0.2-172.17.0.9:80")))).ports == ()


# --- what could not be seen ---


def gap(collector: str, subject: str = "x") -> Gap:
    return Gap(collector=collector, subject=subject, why="Permission denied", remedy="run as root")


@pytest.mark.parametrize(
    ("changes", "collector", "subject", "status"),
    [
        ({"rules": (), "chains": ()}, "rules", "x", "not seen"),
        ({"rules": (), "chains": (), "processes": PROCESSES}, "rules", "x", "not seen"),
        ({"processes": PROCESSES}, "processes", "x", "not seen"),
        ({"rules": (JUMP,), "processes": PROCESSES}, "processes", "x", "no rule"),
        ({"listening_sockets": ()}, "sockets", f"net:[{WEB_NETNS}]", "not seen"),
        ({"listening_sockets": ()}, "sockets", "net:[1]", "nobody listens"),
        ({"links": (DOCKER0,), "rules": (), "processes": PROCESSES}, "namespaces", "x", "not seen"),
        ({}, "rules", "x", "ok"),
    ],
)
def test_nothing_is_concluded_of_what_was_not_seen(
    changes: dict[str, object], collector: str, subject: str, status: str
) -> None:
    answer = ports(host(**changes, gaps=(gap(collector, subject),)))
    assert [port.status for port in answer.ports] == [status]
    assert gap(collector, subject) in answer.gaps


def test_a_leftover_is_none_where_containers_were_not_seen() -> None:
    assert one(nobody(gaps=(gap("engines"),))).status == "not seen"


def test_sctp_is_not_judged() -> None:
    facts = host(
        containers=(record(ports=(replace(PORT, proto="sctp"),)),),
        rules=(JUMP, replace(dnat(), proto="sctp", in_interface=None)),
        processes=PROCESSES,
    )
    answer = ports(facts)
    assert answer.ports[0].problems == ("not seen",)
    assert [gap.subject for gap in answer.gaps] == ["sctp sockets of web"]


# --- which ports ---


def everything() -> Facts:
    stopped = record(
        id="c" * 64, name="stopped", running=False, pid=None, endpoints=(),
        port_bindings=(
            RecordedPort(proto="tcp", container_port=80, host_ip="", host_port=1234),
            RecordedPort(proto="tcp", container_port=81, host_ip="", host_port=None),
            RecordedPort(proto="tcp", container_port=82, host_ip="::1", host_port=2000, host_port_end=2005),
        ),
    )  # fmt: skip
    sshd = host_process(40, comm="sshd")
    return host(
        containers=(record(ports=(PORT, PORT6)), stopped),
        processes=(*PROCESSES, proxy(), proxy(601, "::"), sshd),
        listening_sockets=(
            LISTENS,
            replace(LISTENS, netns=HOST_NETNS, family="ipv4", address="0.0.0.0", port=8080, inode=80),
            replace(LISTENS, netns=HOST_NETNS, port=8080, inode=81, v6only=True),
            replace(LISTENS, netns=HOST_NETNS, family="ipv4", address="0.0.0.0", port=22, inode=82),
            replace(LISTENS, netns=HOST_NETNS, port=22, inode=83, v6only=True),
            replace(LISTENS, netns=HOST_NETNS, port=4789, proto="udp", inode=84),
        ),
        socket_holders=(
            HELD,
            SocketHolder(inode=80, pid=600),
            SocketHolder(inode=81, pid=601),
            SocketHolder(inode=82, pid=40),
            SocketHolder(inode=83, pid=40),
        ),
    )  # fmt: skip


def _told(answer: Ports) -> list[tuple[str | None, int | None, str]]:
    return [(port.host_ip, port.host_port, port.status) for port in answer.ports]


WEB = [("0.0.0.0", 8080, "ok"), ("::", 8080, "ok")]
SSHD = [("0.0.0.0", 22, "ok"), ("::", 22, "ok")]
STOPPED = [(None, None, "not running"), (None, 1234, "not running"), ("::1", 2000, "not running")]


@pytest.mark.parametrize(
    ("words", "every", "expected"),
    [
        ((), False, WEB),
        ((), True, [STOPPED[0], *SSHD, *STOPPED[1:], ("::", 4789, "ok"), *WEB]),
        (("web",), False, WEB),
        (("stopped",), False, STOPPED),
        (("8080",), False, WEB),
        (("8080/tcp",), False, WEB),
        (("8080/udp",), False, []),
        (("22",), False, SSHD),
        (("1-100", "web"), False, [*SSHD, *WEB]),
        (("2003",), False, [STOPPED[2]]),
        (("ee", "1234"), False, [STOPPED[1], *WEB]),
    ],
)
def test_by_name_and_by_number(words: Sequence[str], every: bool, expected: list[object]) -> None:
    assert _told(ports(everything(), *words, every=every)) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("80", PortFilter(80, 80, None)),
        ("80/udp", PortFilter(80, 80, "udp")),
        ("80-90/tcp", PortFilter(80, 90, "tcp")),
        ("web", None),
        ("80/ip", None),
        ("123456", None),
        ("8o", None),
        ("-1", None),
    ],
)
def test_what_is_a_port(word: str, expected: PortFilter | None) -> None:
    assert parse_port(word) == expected


# --- how it reads ---


def _table(answer: Ports, width: int | None = None, **options: bool) -> list[str]:
    columns = choose_columns(port_columns(**options), (), every=False)
    return render_table(port_rows(answer.ports), columns, Screen(width=width)).splitlines()


def test_a_table_in_a_pipe() -> None:
    assert _table(ports(everything(), every=True)) == [
        "PORT                 CONTAINER  TO             RULE      PROXY     LISTENS      STATUS",
        "*:?/tcp              stopped    81             -         -         -            not running",
        "*:22/tcp             -          -              -         -         sshd (40)    ok",
        "*:1234/tcp           stopped    80             -         -         -            not running",
        "[::1]:2000-2005/tcp  stopped    82             -         -         -            not running",
        "*:4789/udp           -          -              -         -         no process   ok",
        "*:8080/tcp           web        172.17.0.2:80  DOCKER 1  600, 601  httpd (500)  ok",
    ]


def test_two_addresses_that_fare_differently_are_two_rows() -> None:
    rows = _table(ports(replace(everything(), rules=(JUMP,))))
    assert [(row.split()[0], row.split("  ")[-1].strip()) for row in rows[1:]] == [
        ("0.0.0.0:8080/tcp", "no rule"),
        ("[::]:8080/tcp", "ok"),
    ]


def _range(count: int) -> Facts:
    numbers = range(count)
    return host(
        containers=(record(ports=tuple(replace(PORT, host_port=8000 + n, container_port=9000 + n) for n in numbers)),),
        rules=(JUMP, *(dnat(n + 1, str(8000 + n), f"172.17.0.2:{9000 + n}") for n in numbers)),
        listening_sockets=tuple(replace(LISTENS, port=9000 + n, inode=n) for n in numbers),
        socket_holders=tuple(SocketHolder(inode=n, pid=500) for n in numbers),
        processes=(
            *PROCESSES,
            *(
                replace(
                    proxy(1000 + n, host_port=8000 + n),
                    cmdline=(*(proxy(host_port=8000 + n).cmdline or ())[:-1], str(9000 + n)),
                )
                for n in numbers
            ),
        ),
    )


def test_a_range_is_one_row() -> None:
    answer = ports(_range(1000))
    assert {port.status for port in answer.ports} == {"ok"}
    (row,) = _table(answer)[1:]
    assert re.split(" {2,}", row) == [
        "0.0.0.0:8000-8999/tcp",
        "web",
        "172.17.0.2:9000-9999",
        "DOCKER 1-1000",
        "1000 of them",
        "httpd (500)",
        "ok",
    ]
    assert len(port_rows(answer.ports, ranges=False)) == 1000


def test_a_port_of_a_range_that_fares_differently_parts_it() -> None:
    facts = _range(5)
    facts = replace(facts, listening_sockets=facts.listening_sockets[:2] + facts.listening_sockets[3:])
    assert [row.split()[0] for row in _table(ports(facts))[1:]] == [
        "0.0.0.0:8000-8001/tcp",
        "0.0.0.0:8002/tcp",
        "0.0.0.0:8003-8004/tcp",
    ]


def test_where_a_server_listens_if_not_at_the_port_on_any_address() -> None:
    def listens(**socket: object) -> str:
        (row,) = _table(ports(host(listening_sockets=(replace(LISTENS, **socket),))))[1:]
        return re.split(" {2,}", row)[5]

    assert listens() == "httpd (500)"
    assert listens(address="172.17.0.2") == "httpd (500) 172.17.0.2:80"
    assert listens(address="127.0.0.1") == "httpd (500) 127.0.0.1:80"
    assert listens(address="::1") == "httpd (500) [::1]:80"
    assert listens(v6only=True) == "httpd (500) [::]:80"
    assert listens(inode=1) == "no process"


def test_where_packets_are_led_instead() -> None:
    (row,) = _table(ports(host(rules=(JUMP, dnat(1, to="172.17.0.9:80"), dnat(2)))))[1:]
    assert "DOCKER 1 to 172.17.0.9:80, DOCKER 2" in row and row.endswith("rule of nobody")


def test_a_rule_with_family_backend_and_table_where_they_are_not_the_usual() -> None:
    answer = ports(_six(rules=(JUMP, dnat(), JUMP6, replace(SIX, table="mine"))))
    rows = _table(answer, several_backends=True)
    assert "nft DOCKER 1" in rows[1]
    assert "IPv6 nft mine DOCKER 1" in rows[-1]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asker:
    return Asker(monkeypatch, capsys)


def asked_of(ask: Asker, facts: Facts) -> Asker:
    ask.read(correlate(facts), facts)
    return ask


def test_the_command(ask: Asker) -> None:
    asked_of(ask, everything())
    answer = ask.json("ports", "--all")
    assert [port["status"] for port in answer["ports"]].count("not running") == 3
    assert ask("ports", "8080", "--no-header", "--columns", "port,status,packets").out == "*:8080/tcp  ok  -\n"
    assert ask("ports", "--all", "--no-header", "--sort=-port", "--columns=port").out.split()[:2] == [
        "*:8080/tcp",
        "*:4789/udp",
    ]
    assert ask("ports", "stopped", "-v", "--columns", "container-id", "--no-header").out.split() == ["c" * 64] * 3


def test_a_bad_row_is_no_failure_and_nothing_found_is(ask: Asker) -> None:
    asked_of(ask, host(rules=(JUMP,)))
    assert ask("ports").code == 0
    nothing = ask("ports", "9")
    assert (nothing.code, nothing.out, nothing.err) == (1, "", "hostinspect: Nothing has port 9 of the host.\n")
    assert ask("ports", "wbe").code == 1
    asked_of(ask, host(gaps=(gap("rules"),)))
    assert ask("ports").code == 3
    assert ask("ports", "9").code == 3


def test_hostile_texts_fit_and_are_not_obeyed(ask: Asker) -> None:
    hostile = "a\x1b[31m\u202e\nb\x9b  c"
    facts = host(
        containers=(record(name=hostile, ports=(PORT,)),),
        processes=(*PROCESSES[:2], web_process(comm=hostile), proxy()),
        rules=(replace(JUMP, verdict=hostile), dnat(chain=hostile)),
        chains=(chains()[0], replace(chains()[1], name=hostile)),
    )
    asked_of(ask, facts)
    for columns in (60, 80, 120):
        assert_fits(ask("ports", columns=columns).out.splitlines(), columns)
    line = ask("ports", "--no-header").out
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    assert ask.json("ports")["ports"][0]["container_name"] == hostile


@pytest.mark.parametrize("host_ip", ["", "a\x1b[31m", "1.2.3.4.5", "::1%x"])
def test_a_record_may_hold_anything_for_an_address(host_ip: str) -> None:
    recorded = replace(PORT, host_ip=host_ip)
    answer = ports(host(containers=(record(ports=(recorded,), port_bindings=(recorded,)),)), "web", every=True)
    assert host_ip in [port.host_ip for port in answer.ports]
    assert all(line.isprintable() for line in _table(answer))


def test_equal_facts_are_equal_bytes(ask: Asker) -> None:
    facts = everything()
    asked_of(ask, facts)
    first = ask("ports", "--all", "-o", "json").out
    asked_of(ask, replace(facts, listening_sockets=facts.listening_sockets[::-1], processes=facts.processes[::-1]))
    assert ask("ports", "--all", "-o", "json").out == first
