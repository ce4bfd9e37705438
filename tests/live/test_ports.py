"""`ports` against docker port, docker ps, ss, ps and iptables; and against connections, with faults that are made."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.lab.host import LabHost, LabSpec
from tests.live.hosts import on_every_demo, on_random_hosts
from tests.live.observed import Observed, observe
from tests.live.oracle import expected_of
from tests.live.report import hostinspect

Key = tuple[str, str | None, int | None]  # protocol, host address and port


def ports(host: LabHost, *arguments: str) -> list[Any]:
    done = hostinspect(host, "ports", "-o", "json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found: list[Any] = json.loads(done.stdout)["ports"]
    return found


# --- against what the tools say ---


def docker_port(host: LabHost) -> set[tuple[str, str, str, int, int]]:
    """`docker port` of every running container: name, protocol, host address, host port, container port."""
    found = set()
    for name in host.docker("ps", "--format", "{{.Names}}").split():
        for line in host.docker("port", name).splitlines():
            match = re.fullmatch(r"(\d+)/(\w+) -> \[?([^\]]*)\]?:(\d*)", line)
            assert match, line
            if not match[4]:
                continue  # on a routed network: open, and no port of the host
            found.add((name, match[2], match[3], int(match[4]), int(match[1])))
    return found


def docker_ps(host: LabHost) -> set[tuple[str, str, str, int, int]]:
    """The column PORTS of `docker ps`, which takes runs of ports together."""
    found = set()
    for line in host.docker("ps", "--format", "{{.Names}}\t{{.Ports}}").splitlines():
        name, _, listed = line.partition("\t")
        for part in filter(lambda part: "->" in part, listed.split(", ")):
            match = re.fullmatch(r"\[?([^\]]*?)\]?:([\d-]*)->([\d-]+)/(\w+)", part)
            assert match, part
            if match[2] in ("", "0"):
                continue  # routed
            first, _, last = match[2].partition("-")
            inside = int(match[3].partition("-")[0])
            for n in range(int(last or first) - int(first) + 1):
                found.add((name, match[4], match[1], int(first) + n, inside + n))
    return found


def assert_as_docker_says(host: LabHost) -> None:
    told = {
        (port["container_name"], port["proto"], port["host_ip"], port["host_port"], port["container_port"])
        for port in ports(host)
        if port["via"] != ["host"]
    }
    assert told == docker_port(host) == docker_ps(host)


def assert_as_the_other_tools_say(host: LabHost) -> None:
    """Rules, proxies and listeners by iptables, ps and ss; and every socket that ss lists on the host, once."""
    observed = observe(host)
    every = ports(host, "--all")
    expected = {
        (container["name"], port["proto"], port["host_ip"], port["host_port"], port["container_port"]): port
        for container in expected_of(observed)["containers"]
        for port in container["ports"]
        if port["via"] != ["host"]
    }
    published = [port for port in every if port["via"] != ["host"] and port["status"] != "not running"]
    for port in published:
        of = port["container_name"], port["proto"], port["host_ip"], port["host_port"], port["container_port"]
        right = expected.pop(of)
        fields = ("family", "backend", "table", "chain", "position")
        assert [{name: rule[name] for name in fields} for rule in port["rules"]] == right["rules"]
        assert (port["proxy"] or {}).get("pid") == right["proxy_pid"]
        assert_same_listener(port, observed)
    assert expected == {}
    for (proto, host_ip, host_port, address, inside), proxy in observed.proxies.items():
        (port,) = [port for port in published if port["proxy"] and port["proxy"]["pid"] == proxy]
        assert (port["proto"], port["host_ip"], str(port["host_port"])) == (proto, host_ip, host_port)
        assert (port["proxy"]["address"], str(port["proxy"]["port"])) == (address, inside)
    listed = [
        (socket.proto, socket.address, socket.port, {pid for pid, _ in socket.holders})
        for socket in observed.namespaces[observed.host_netns].sockets
    ]
    for port in every:
        pid = port["listening"]["pid"] if port["via"] == ["host"] else (port["proxy"] or {}).get("pid")
        if port["via"] == ["host"] or pid:
            at = port["proto"], port["host_ip"], port["host_port"]
            found = next(s for s in listed if s[:3] == at and (pid in s[3] or (pid is None and not s[3])))
            listed.remove(found)
    assert listed == []


def assert_same_listener(port: Any, observed: Observed) -> None:
    """Whoever ss, in the container's namespace, has at the address that packets are sent to; or only elsewhere."""
    inspect = observed.containers[port["container"]]
    netns = observed.netns_by_pid[inspect["State"]["Pid"]]
    at = port["proto"], port["container_port"]
    sockets = [s for s in observed.namespaces[netns].sockets if (s.proto, s.port) == at]
    to = port["container_ip"] or ""
    answers = [
        (pid, comm, socket.address)
        for socket in sockets
        if socket.address == to
        or (socket.address == "0.0.0.0" and ":" not in to)
        or (socket.address == "::" and (":" in to or socket.any_family))
        for pid, comm in socket.holders[:1] or ((None, None),)
    ]
    told = port["listening"]
    if answers:
        assert (told["pid"], told["comm"], told["address"]) in answers
        assert port["elsewhere"] == []
    else:
        assert told is None
        assert sorted(listener["address"] for listener in port["elsewhere"]) == sorted(s.address for s in sockets)
        wanted = {"loopback only", "other address only"} if sockets else {"nobody listens", "not seen"}
        assert wanted & {*port["problems"]}


@on_every_demo
def test_the_demo_scenario(demo: LabHost) -> None:
    assert_as_docker_says(demo)
    assert_as_the_other_tools_say(demo)
    assert {port["status"] for port in ports(demo)} == {"ok"}
    (stopped,) = ports(demo, "stopped1")
    assert (stopped["status"], stopped["host_port"], stopped["container_port"]) == ("not running", 8082, 80)


@on_random_hosts
def test_a_random_host(made_up: LabHost) -> None:
    assert_as_docker_says(made_up)
    assert_as_the_other_tools_say(made_up)
    wrong = {port["status"] for port in ports(made_up)} - {"ok", "nobody listens", "paused"}
    assert wrong <= {"loopback only", "other address only"}


# --- engines that make no proxies, or no rules ---

_SIX = """
files=$(mktemp -d); mkdir "$files/bin"; cp "$(command -v busybox)" "$files/bin/busybox"
ln -s busybox "$files/bin/httpd"
tar -C "$files" -c . | docker import - web >/dev/null; rm -r "$files"
docker network create --ipv6 --subnet fd00:9::/64 six >/dev/null
docker run --detach --name plain -p 8080:80 web httpd -f >/dev/null
docker run --detach --name six1 --network six -p 8081:80 web httpd -f >/dev/null
docker run --detach --name local -p 127.0.0.1:8082:80 web httpd -f >/dev/null
"""


@pytest.mark.parametrize("userland", ["host", "sid"])
@pytest.mark.parametrize("argument", ["--userland-proxy=false", "--iptables=false"])
def test_what_an_engine_leaves_away_is_not_missing(userland: str, argument: str) -> None:
    with LabHost(LabSpec(userland=userland, dockerd=(argument,))) as host:
        host.run(["sh", "-ec", _SIX])
        assert_as_docker_says(host)
        assert_as_the_other_tools_say(host)
        found = {(port["host_ip"], port["host_port"]): port for port in ports(host)}
        for (host_ip, host_port), port in found.items():
            expected = ["dnat"] if argument.startswith("--userland") else ["proxy"]
            if (userland, argument, host_ip, host_port) == ("sid", "--iptables=false", "::", 8081):
                expected = ["dnat", "proxy"]  # --ip6tables is an option of its own, and the default since 27
            if (userland, argument, host_ip) == ("host", "--userland-proxy=false", "::"):
                # 20.10 makes no rules for IPv6, and then nothing at all: its own socket keeps the port, and no more.
                assert (port["status"], port["via"]) == ("no way in", [])
            else:
                assert (port["status"], port["via"]) == ("ok", expected)


# --- faults ---


@dataclass
class Fault:
    """What is done to a host, and the ports that it changes, or adds, by what they then are."""

    make: str
    undo: str
    becomes: dict[tuple[str, int], str]
    reaches: dict[int, bool] = field(default_factory=dict)  # by port, from another machine over IPv4


_RUN = "docker run --detach --name f1 -p 18080:80"
_REMOVE = "docker rm --force f1"
_WEB = f"{_RUN} lab/web"
_NUMBER = "$(%s -t nat -nL DOCKER --line-numbers | sed -n 's/^\\([0-9]*\\) .*dpt:18080 .*/\\1/p')"
_BOTH = (("0.0.0.0", 18080), ("::", 18080))
# By name first: the shell that does this has the rest in its arguments too.
_PROXIES = "$(ps -C docker-proxy -o pid=,args= | sed -n 's/^ *\\([0-9]*\\) .* -host-ip %s -host-port %d .*/\\1/p')"
_KILL = f"kill {_PROXIES}"
_DNAT = "$IPTABLES -t nat -%s PREROUTING -p tcp --dport 18081 -j DNAT --to-destination %s"
_ADDRESS = "$(docker inspect --format '{{.NetworkSettings.IPAddress}}' %s)"
_INSIDE = "nsenter --net=/proc/$(docker inspect --format '{{.State.Pid}}' %s)/ns/net"
_MESH = "$(docker network inspect --format '{{range .Containers}}{{.Name}} {{.IPv4Address}}\n{{end}}' docker_gwbridge"
_MESH += " | sed -n 's,gateway_ingress-sbox \\(.*\\)/.*,\\1,p'):80"
_DELETE = f"$IPTABLES -t nat -D DOCKER {_NUMBER % '$IPTABLES'}"


def _hand_made(to: str, becomes: str, reaches: bool = False) -> Fault:
    return Fault(_DNAT % ("A", to), _DNAT % ("D", to), {("0.0.0.0", 18081): becomes}, {18081: reaches})


FAULTS = {
    "none": Fault(_WEB, _REMOVE, dict.fromkeys(_BOTH, "ok"), {18080: True}),
    "rule deleted": Fault(
        f"{_WEB}; {_DELETE}", _REMOVE, {_BOTH[0]: "no rule", _BOTH[1]: "ok"}, {18080: True}
    ),
    "proxy killed": Fault(
        f"{_WEB}; {_KILL % ('0.0.0.0', 18080)}", _REMOVE, {_BOTH[0]: "no proxy", _BOTH[1]: "ok"}, {18080: True}
    ),
    "rule deleted, proxies killed": Fault(
        f"{_WEB}; {_DELETE}; {_KILL % ('0.0.0.0', 18080)}; {_KILL % ('::', 18080)}",
        _REMOVE, dict.fromkeys(_BOTH, "no way in"), {18080: False},
    ),
    "server on loopback": Fault(
        f"{_RUN} lab/base httpd -f -p 127.0.0.1:80", _REMOVE, dict.fromkeys(_BOTH, "loopback only"), {18080: False}
    ),
    "no server": Fault(f"{_RUN} lab/base", _REMOVE, dict.fromkeys(_BOTH, "nobody listens"), {18080: False}),
    "paused": Fault(f"{_WEB}; docker pause f1", _REMOVE, dict.fromkeys(_BOTH, "paused"), {18080: False}),
    "a sidecar serves": Fault(
        f"{_RUN} lab/base; docker run --detach --name f2 --network container:f1 lab/web",
        f"docker rm --force f2; {_REMOVE}", dict.fromkeys(_BOTH, "ok"), {18080: True},
    ),
    "a range": Fault(
        "docker run --detach --name f1 -p 18080-18082:80-82 lab/web", _REMOVE,
        {(ip, 18080 + n): "nobody listens" if n else "ok" for ip in ("0.0.0.0", "::") for n in range(3)},
        {18080: True, 18081: False},
    ),
    "udp": Fault(
        f"docker run --detach --name f1 -p 18080:53/udp lab/base; {_INSIDE % 'f1'} {sys.executable} -c"
        " 'import socket, time; s = socket.socket(2, 2); s.bind((\"\", 53)); time.sleep(30)' </dev/null >&0 2>&0 &",
        _REMOVE, dict.fromkeys(_BOTH, "ok"),
    ),
    "address taken away": Fault(
        f"{_WEB}; {_INSIDE % 'f1'} ip addr flush dev eth0",
        _REMOVE, {_BOTH[0]: "rule of nobody", _BOTH[1]: "proxy of nobody"}, {18080: False},
    ),
    "another rule first": Fault(
        f"{_WEB}; $IPTABLES -t nat -I DOCKER -p tcp --dport 18080 -j DNAT --to-destination {_ADDRESS % 'volweb'}:80",
        f"$IPTABLES -t nat -D DOCKER 1; {_REMOVE}",
        {_BOTH[0]: "rule leads elsewhere", _BOTH[1]: "ok"}, {18080: False},
    ),
    "a host's server": Fault(
        "docker run --detach --name f1 --network host lab/base httpd -f -p 18080", _REMOVE,
        {("::", 18080): "ok"}, {18080: True},
    ),
    "rule to nobody": _hand_made("172.17.99.99:80", "rule of nobody"),
    "rule to another host": _hand_made("198.51.100.77:80", "no container"),
    "rule to a container": _hand_made(f"{_ADDRESS % 'web1'}:80", "not recorded", reaches=True),
    "rule into the routing mesh": _hand_made(_MESH, "routing mesh"),
    "proxy of nobody": Fault(
        "/usr/sbin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 18081 -container-ip 172.17.99.99"
        " -container-port 80 </dev/null >/dev/null 2>&1 3>&1 &",
        _KILL % ("0.0.0.0", 18081), {("0.0.0.0", 18081): "proxy of nobody"}, {18081: False},
    ),
}  # fmt: skip


HOSTS = [("host", "nft"), ("host", "legacy"), ("sid", "nft")]
CASES = [(host, fault) for host in HOSTS for fault in FAULTS if host[1] == "nft" or "rule" in fault]


@pytest.fixture(scope="module")
def own_hosts() -> Iterator[Callable[[LabSpec], LabHost]]:
    """Hosts of their own for the faults, each made once."""
    with ExitStack() as stack:

        @functools.cache
        def own_host(spec: LabSpec) -> LabHost:
            host = stack.enter_context(LabHost(spec))
            host.seed()
            host.client(["true"])
            return host

        yield own_host


@pytest.fixture
def broken(request: pytest.FixtureRequest, own_hosts: Callable[[LabSpec], LabHost]) -> LabHost:
    userland, firewall = request.param
    return own_hosts(LabSpec(userland=userland, firewall=firewall))


def told(host: LabHost) -> dict[Key, Any]:
    """The ports without what changes with others: numbers of rules, and how often they were used."""
    found = {}
    for port in ports(host):
        rules = [{**rule, "position": None, "packets": None, "bytes": None} for rule in port["rules"]]
        found[port["proto"], port["host_ip"], port["host_port"]] = {**port, "rules": rules}
    return found


def reaches(host: LabHost, port: int, patience: int) -> bool:
    """Whether somebody outside gets an answer within so many seconds."""
    url = f"http://192.0.2.10:{port}/"
    done = host.client(["curl", "--silent", "--max-time", str(patience), url], check=False)
    return done.returncode == 0


def shell(host: LabHost, script: str) -> None:
    iptables = f"iptables-{host.spec.firewall}"
    host.run(["sh", "-ec", f"IPTABLES={iptables}; {script}"])


@pytest.mark.parametrize(
    ("broken", "fault"), CASES, indirect=["broken"], ids=[" ".join((*host, "-", fault)) for host, fault in CASES]
)
def test_a_fault_is_seen_and_changes_nothing_else(fault: str, broken: LabHost) -> None:
    made = FAULTS[fault]
    before = told(broken)
    try:
        shell(broken, made.make)
        after = settled(broken, made)
        answers = {port: reaches(broken, port, 10 if does else 2) for port, does in made.reaches.items()}
    finally:
        shell(broken, made.undo)
    changed = {key[1:]: port["status"] for key, port in after.items() if before.get(key) != port}
    assert changed == made.becomes
    assert before.keys() <= after.keys()
    assert answers == made.reaches
    settle_back(broken, before)


def settled(host: LabHost, made: Fault) -> dict[Key, Any]:
    """What is told once it is as it should become, or is not after all.

    A server begins to listen, and a killed process ends, a moment after it was told to.
    """
    for _ in range(20):
        found = told(host)
        now = {key[1:]: port["status"] for key, port in found.items()}
        if all(now.get(key) == status for key, status in made.becomes.items()):
            break
    return found


def settle_back(host: LabHost, before: dict[Key, Any]) -> None:
    for _ in range(20):
        if told(host) == before:
            return
    assert told(host) == before


@pytest.mark.parametrize("broken", HOSTS, indirect=True, ids=" ".join)
def test_a_chain_that_no_rule_leads_to(broken: LabHost) -> None:
    """Without the jump from PREROUTING every port is left to its proxy; those on loopback never needed it."""
    before = told(broken)
    jump = "PREROUTING -m addrtype --dst-type LOCAL -j DOCKER"
    shell(broken, f"$IPTABLES -t nat -D {jump}")
    try:
        after = told(broken)
        assert reaches(broken, 8080, 10)
    finally:
        shell(broken, f"$IPTABLES -t nat -I {jump}")
    changed = {key[1:]: port["status"] for key, port in after.items() if before[key] != port}
    assert changed == {("0.0.0.0", 8080): "rule not met", ("0.0.0.0", 32768): "rule not met"}
    assert told(broken) == before


def test_what_a_plain_user_cannot_see_is_said(demo_host: LabHost) -> None:
    done = hostinspect(demo_host, "ports", "-o", "json", user="nobody")
    assert done.returncode == 3
    assert {port["status"] for port in json.loads(done.stdout)["ports"]} <= {"not seen"}
    assert "rules" in {gap["collector"] for gap in json.loads(done.stdout)["gaps"]}
    by_number = hostinspect(demo_host, "ports", "9", user="nobody")
    assert (by_number.returncode, by_number.stdout) == (3, "")
