"""Published ports in words."""

from __future__ import annotations

from msgspec.structs import replace

from hostinspect.facts import Gap
from hostinspect.render.layout import Line, wrap
from hostinspect.render.ports import group_ports, other_listeners, port_lines
from hostinspect.render.view import View
from hostinspect.topology import Container, Listener, Listening, PublishedPort, RuleRef, Topology
from tests.unit.sample import HOST_NETNS, make_container, make_id, make_port, make_rule, make_topology

NETNS = 4026532201


def _rule(position: int, **changes: object) -> RuleRef:
    fields: dict[str, object] = {"family": "ipv4", "backend": "nft", "table": "nat", "chain": "DOCKER"}
    return RuleRef(**{**fields, "position": position, **changes})  # type: ignore[arg-type]


def _web(*ports: PublishedPort, **changes: object) -> Container:
    return make_container("web", netns=NETNS, ports=ports, **changes)


def _texts(lines: list[Line]) -> list[str]:
    return ["".join(span.text for span in row) for line in lines for row in wrap(line, None)]


def _told(container: Container, topology: Topology | None = None) -> list[str]:
    return _texts([*port_lines(View(topology or make_topology([container])), container)])


def test_both_families_of_a_port_are_one() -> None:
    web = _web(make_port(80, 8080), make_port(80, 8080, "::", via=("proxy",), rules=()))
    assert _told(web) == ["port     8080 → 80/tcp on all addresses  DNAT rule 3 + proxy  httpd (529) listens on *:80"]


def test_one_family_is_named() -> None:
    assert "8080 → 80/tcp on all IPv4 addresses" in _told(_web(make_port(80, 8080)))[0]
    assert "8080 → 80/tcp on all IPv6 addresses" in _told(_web(make_port(80, 8080, "::")))[0]


def test_an_address_of_its_own_stands_with_the_port() -> None:
    assert "127.0.0.1:8080 → 80/tcp  " in _told(_web(make_port(80, 8080, "127.0.0.1")))[0]
    assert "[fd00::1]:8080 → 80/tcp  " in _told(_web(make_port(80, 8080, "fd00::1")))[0]


def test_a_run_of_ports_is_a_range_with_its_rules() -> None:
    ports = [make_port(80 + n, 8080 + n, rules=(_rule(3 + n),), listening=None) for n in range(3)]
    assert _told(_web(*ports)) == [
        "port     8080-8082 → 80-82/tcp on all IPv4 addresses  DNAT rules 3-5 + proxy  nothing listens on 80-82"
    ]


def test_a_range_ends_where_something_differs() -> None:
    ports = [
        make_port(80, 8080),
        make_port(81, 8081),
        make_port(82, 8082, listening=None),
        make_port(83, 8084, listening=None),
        make_port(84, 8085, proto="udp", listening=None),
    ]
    assert [[member[0].host_port for member in group.members] for group in group_ports(ports)] == [
        [8080, 8081],
        [8082],
        [8084],
        [8085],
    ]


def test_two_host_ports_of_one_container_port_are_two_lines() -> None:
    assert [line.split()[1] for line in _told(_web(make_port(80, 8080), make_port(80, 8081)))] == ["8080", "8081"]


def test_who_listens_on_loopback_only_is_named() -> None:
    loopback = Listener(proto="tcp", address="127.0.0.1", port=80, pid=9, comm="apache2")
    web = _web(make_port(80, 8080, listening=None), listeners=(loopback,))
    assert _told(web)[0].endswith("apache2 (9) listens on 127.0.0.1:80 only")


def test_a_listener_of_another_container_in_the_namespace_counts() -> None:
    web = _web(make_port(80, 8080, listening=None))
    loopback = Listener(proto="tcp", address="::1", port=80, pid=9, comm="envoy")
    sidecar = make_container("sidecar", netns=NETNS, shares_netns_with=web.id, listeners=(loopback,))
    assert _told(web, make_topology([web, sidecar]))[0].endswith("envoy (9) listens on [::1]:80 only")


def test_nothing_listens_is_said_only_where_the_sockets_were_read() -> None:
    web = _web(make_port(80, 8080, listening=None))
    seen = make_topology([web])
    assert _told(web, seen)[0].endswith("nothing listens on 80")
    not_entered = replace(seen, links=())
    assert _told(web, not_entered)[0].endswith("whether anything listens on 80 was not seen")
    gap = Gap(collector="sockets", subject=f"sockets of net:[{NETNS}] (pid 9)", why="EBUSY", remedy="run it again")
    assert _told(web, replace(seen, gaps=(gap,)))[0].endswith("whether anything listens on 80 was not seen")


def test_nobody_knows_of_sctp() -> None:
    web = _web(make_port(80, 8080, proto="sctp", listening=None))
    assert _told(web)[0].endswith("whether anything listens on 80 was not seen")


def test_a_socket_whose_process_was_not_found() -> None:
    web = _web(make_port(80, 8080, listening=Listening(pid=None, comm=None, address="172.17.0.2")))
    assert _told(web)[0].endswith("a process not seen listens on 172.17.0.2:80")


def test_a_port_to_which_nothing_leads() -> None:
    web = _web(make_port(80, 8080, via=(), rules=(), proxy_pid=None))
    assert "no rule or proxy leads here" in _told(web)[0]
    gap = Gap(collector="rules", subject="rules", why="Permission denied", remedy="run as root")
    assert "rule or proxy not seen" in _told(web, replace(make_topology([web]), gaps=(gap,)))[0]


def test_one_family_to_which_nothing_leads() -> None:
    web = _web(make_port(80, 8080), make_port(80, 8080, "::", via=(), rules=(), proxy_pid=None))
    assert "DNAT rule 3 + proxy  no rule or proxy leads here from ::" in _told(web)[0]


def test_rules_say_where_they_are_when_it_is_not_plain() -> None:
    web = _web(make_port(80, 8080, via=("dnat",), rules=(_rule(3), _rule(2, family="ipv6"))))
    assert "DNAT rule 3 + IPv6 DNAT rule 2  " in _told(web)[0]
    native = _web(make_port(80, 8080, via=("dnat",), rules=(_rule(3, chain="nat-prerouting-and-output"),)))
    assert "DNAT rule 3 of nat-prerouting-and-output  " in _told(native)[0]
    both = make_topology([web], nat_rules=(make_rule(1, "-A X"), make_rule(1, "-A X", backend="legacy")))
    assert "DNAT rule 3 (nft) + IPv6 DNAT rule 2 (nft)  " in _told(web, both)[0]


def test_a_container_in_the_hosts_namespace_listens_on_the_host() -> None:
    listening = Listening(pid=640, comm="httpd", address="::")
    port = make_port(9000, 9000, "::", via=("host",), rules=(), proxy_pid=None, listening=listening)
    assert _told(make_container("net3", netns=HOST_NETNS, ports=(port,))) == [
        "port     9000/tcp on all addresses  httpd (640)"
    ]


def test_other_listeners_leave_out_what_the_ports_told() -> None:
    listeners = tuple(
        Listener(proto="tcp", address=address, port=port, pid=529, comm="httpd")
        for address, port in (("0.0.0.0", 80), ("0.0.0.0", 443), ("::", 443), ("127.0.0.1", 9901))
    )
    web = _web(make_port(80, 8080), listeners=listeners)
    told = _texts([*other_listeners(View(make_topology([web])), web)])
    assert told == ["listen   httpd (529) on *:443/tcp, 127.0.0.1:9901/tcp"]


def test_a_sidecar_does_not_repeat_its_owners_ports() -> None:
    listener = Listener(proto="tcp", address="0.0.0.0", port=80, pid=9, comm="envoy")
    web = _web(make_port(80, 8080))
    sidecar = make_container("sidecar", netns=NETNS, shares_netns_with=make_id("web"), listeners=(listener,))
    assert not [*other_listeners(View(make_topology([web, sidecar])), sidecar)]
