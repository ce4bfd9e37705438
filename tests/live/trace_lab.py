"""A host full of ways to get lost: networks, containers and servers of every kind, and random faults and rules.

`Labyrinth` makes the containers once. `scenario(seed)` says what to break, as shell commands with those that mend it;
`QUESTIONS` are who asks whom. What `hostinspect trace` says of each is held against what a connection does.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

from hostinspect.questions.inspection import Inspection
from hostinspect.questions.trace import trace
from hostinspect.questions.trace.answer import Trace
from hostinspect.snapshot import read_snapshot
from tests.lab.host import CLIENT_ADDRESS, REPOSITORY, LabHost

PEERS = str(REPOSITORY / "tests" / "live" / "trace_peers.py")
CLIENT_ADDRESS6 = "2001:db8:2::50"
DOCKERD = ("--experimental", "--ip6tables", "--ipv6", "--fixed-cidr-v6=fd00:da::/64")

_IMAGE = r"""
files=$(mktemp -d)
mkdir -p "$files/bin" "$files/host"
cp "$(command -v busybox)" "$files/bin/busybox"
tar -C "$files" -c . | docker import - lab/peer >/dev/null
docker network create --ipv6 --subnet fd00:da:1::/64 --subnet 10.91.0.0/24 \
    --opt com.docker.network.bridge.name=n1 net1 >/dev/null
docker network create --subnet 10.92.0.0/24 --opt com.docker.network.bridge.name=n2 net2 >/dev/null
docker network create --subnet 10.93.0.0/24 --internal --opt com.docker.network.bridge.name=n3 net3 >/dev/null
docker network create --subnet 10.94.0.0/24 --opt com.docker.network.bridge.enable_icc=false \
    --opt com.docker.network.bridge.name=n4 net4 >/dev/null
docker network create --driver macvlan --opt parent=eth0 --subnet 192.0.2.0/24 --ip-range 192.0.2.192/26 \
    --gateway 192.0.2.10 mac >/dev/null
"""

# name: network, further options, where it listens
CONTAINERS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "web": ("bridge", ("-p", "8080:80", "-p", "5300:53/udp"), ("tcp:[::]:80", "udp:[::]:53")),
    "local": ("bridge", ("-p", "8081:80"), ("tcp:127.0.0.1:80",)),
    "silent": ("bridge", ("-p", "8082:80", "-p", "5301:53/udp"), ("tcp:0.0.0.0:81",)),
    "one": ("net1", ("-p", "192.0.2.10:8083:80", "-p", "5302:53/udp"), ("tcp:[::]:80", "udp:[::]:53")),
    "two": ("net1", ("-p", "127.0.0.1:8084:80"), ("tcp:0.0.0.0:80", "tcp:0.0.0.0:8080")),
    "three": ("net2", ("-p", "8085:8000"), ("tcp:0.0.0.0:8000", "udp:0.0.0.0:8000")),
    "both": ("net2", ("-p", "8086:80"), ("tcp:[::]:80",)),
    "inner": ("net3", (), ("tcp:0.0.0.0:80",)),
    "inner2": ("net3", (), ("tcp:0.0.0.0:80",)),
    "alone": ("net4", ("-p", "8087:80"), ("tcp:0.0.0.0:80",)),
    "alone2": ("net4", (), ("tcp:0.0.0.0:80",)),
    "mac1": ("mac", (), ("tcp:0.0.0.0:80",)),
    "mac2": ("mac", (), ("tcp:0.0.0.0:80",)),
    "onhost": ("host", (), ("tcp:0.0.0.0:8090", "tcp:%eth0:8093", "udp:192.0.2.10:5390", "tcp:[::1]:8091")),
    "joined": ("container:web", (), ("tcp:0.0.0.0:8092",)),
}


class Question(NamedTuple):
    """Who asks, and whom: `source` is trace's, `netns` where the connection is made from."""

    source: str
    proto: str
    address: str
    port: int

    @property
    def target(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}/{self.proto}"


class Case(NamedTuple):
    """What was said, and what was."""

    question: Question
    trace: Trace
    expected: str | None  # who answers by the trace; None: it cannot tell
    happened: str


class Fault(NamedTuple):
    """Something to break."""

    name: str
    do: str
    undo: str


class Labyrinth:
    """The containers on one lab host."""

    def __init__(self, host: LabHost) -> None:
        self.host = host
        host.run(["sh", "-ec", _IMAGE])
        host.client(["ip", "-6", "route", "add", "default", "via", "2001:db8:2::10"])
        for name, (network, options, places) in CONTAINERS.items():
            serve = ["/bin/busybox", "chroot", "/host", sys.executable, PEERS, "serve", name, *places]
            host.docker(
                "run", "--detach", "--name", name, "--network", network, "--volume", "/:/host:ro", *options,
                "lab/peer", *serve, timeout=120,
            )  # fmt: skip
        host.docker("network", "connect", "net1", "both")
        host.run(
            ["sh", "-c", f"{sys.executable} {PEERS} serve host tcp:0.0.0.0:9000 tcp:127.0.0.1:9001 udp:0.0.0.0:9002 "
             "tcp:[::]:9003 >/dev/null 2>&1 &"]
        )  # fmt: skip
        self.pids = {name: host.docker("inspect", "-f", "{{.State.Pid}}", name) for name in CONTAINERS}
        self.links = {name: self._link(self.pids[name]) for name in ("web", "one", "three", "both")}
        self.addresses = {name: self._addresses(pid) for name, pid in self.pids.items()}
        self._wait_for_servers()
        self.questions = [*self._questions()]
        host.run(["sh", "-ec", _SAVE])

    def _link(self, pid: str) -> str:
        """The host's end of its eth0."""
        peer = self.host.run(["nsenter", "-t", pid, "-n", "ip", "-o", "link", "show", "eth0"]).stdout
        index = peer.partition("@if")[2].partition(":")[0]
        links = self.host.run(["ip", "-o", "link"]).stdout.splitlines()
        return next(line.split()[1].partition("@")[0] for line in links if line.startswith(f"{index}:"))

    def _addresses(self, pid: str) -> list[str]:
        found = json.loads(
            self.host.run(["nsenter", "-t", pid, "-n", "ip", "-j", "address", "show", "dev", "eth0"]).stdout
        )
        return [a["local"] for link in found for a in link["addr_info"] if a["scope"] == "global"]

    def _wait_for_servers(self) -> None:
        deadline = time.monotonic() + 60
        ask = [Question("host", "tcp", "127.0.0.1", 8090), Question("host", "tcp", self.addresses["both"][0], 80)]
        while self.probe(ask) != ["onhost", "both"] and time.monotonic() < deadline:
            time.sleep(0.1)

    def _questions(self) -> Iterator[Question]:
        ports = [
            ("tcp", port)
            for port in (8080, 8081, 8082, 8083, 8084, 8085, 8086, 8087, 8090, 8092, 8093, 9000, 9001, 9003)
        ]
        ports += [("udp", port) for port in (5300, 5301, 5302, 5390, 9002)]
        for proto, port in ports:
            yield Question(CLIENT_ADDRESS, proto, "192.0.2.10", port)
            yield Question("host", proto, "127.0.0.1", port)
            yield Question("host", proto, "192.0.2.10", port)
            for container in ("web", "one", "three", "mac1"):
                yield Question(container, proto, "192.0.2.10", port)
        for port in (8080, 8085, 8083, 9003, 8091):
            yield Question(CLIENT_ADDRESS6, "tcp", "2001:db8:2::10", port)
            yield Question("host", "tcp", "::1", port)
            yield Question("host", "tcp", "2001:db8:2::10", port)
            yield Question("two", "tcp", "2001:db8:2::10", port)
        for proto, port in (("udp", 5300), ("udp", 5302)):
            yield Question(CLIENT_ADDRESS6, proto, "2001:db8:2::10", port)
            yield Question("host", proto, "2001:db8:2::10", port)
        for name, inside in (
            *(("web", 80), ("web", 8092), ("local", 80), ("one", 80), ("two", 8080), ("three", 8000), ("both", 80)),
            *(("inner", 80), ("alone", 80), ("mac1", 80)),
        ):
            for address in self.addresses[name]:
                yield Question("host", "tcp", address, inside)
                yield Question(CLIENT_ADDRESS6 if ":" in address else CLIENT_ADDRESS, "tcp", address, inside)
                for container in ("web", "silent", "two", "both", "inner2", "alone2", "mac2", "onhost"):
                    yield Question(container, "tcp", address, inside)
        for name, container in (("web", "silent"), ("one", "two"), ("three", "both"), ("three", "web")):
            yield Question(container, "udp", self.addresses[name][0], 8000 if name == "three" else 53)

    # --- said and done ---

    def probe(self, questions: list[Question], patience: float = 1.0) -> list[str]:
        """Who answers each."""
        asked = [
            {"netns": self._netns(q.source), "proto": q.proto, "address": q.address, "port": q.port} for q in questions
        ]
        done = self.host.run([sys.executable, PEERS, "probe", str(patience)], input=json.dumps(asked))
        found: list[str] = json.loads(done.stdout)
        return found

    def _netns(self, source: str) -> str:
        if source == "host":
            return ""
        return "/run/netns/client" if source.startswith(("192", "2001")) else f"/proc/{self.pids[source]}/ns/net"

    def inspect(self) -> Inspection:
        path = "/tmp/trace.snapshot"
        self.host.run([sys.executable, "-m", "hostinspect", "snapshot", "-o", path])
        return Inspection(read_snapshot(f"/proc/{self.host.pid}/root{path}"))

    def cases(self, questions: list[Question]) -> list[Case]:
        """What trace says of each question, and what became of a connection; where they differ, asked again."""
        cases = self._once(questions, 0.6)
        for patience in (1.5, 4.0):
            again = [case.question for case in cases if differs(case)]
            if not again:
                break
            time.sleep(0.5)
            anew = {case.question: case for case in self._once(again, patience)}
            cases = [anew.get(case.question, case) for case in cases]
        return cases

    def _once(self, questions: list[Question], patience: float) -> list[Case]:
        inspection = self.inspect()
        happened = self.probe(questions, patience)
        cases = []
        for question, what in zip(questions, happened, strict=True):
            (found,) = trace(inspection, [question.target], question.source).traces
            cases.append(Case(question, found, said(found), what))
        return cases

    # --- faults ---

    def _run(self, command: str) -> None:
        """A command for a host whose docker has the nft backend: the one that it has not is the other one."""
        if self.host.spec.firewall == "legacy":
            command = command.replace("iptables-legacy", "iptables-nft")
        self.host.run(["sh", "-c", command])

    @contextmanager
    def broken(self, faults: list[Fault]) -> Iterator[None]:
        try:
            for fault in faults:
                self._run(fault.do)
            self.settle()
            yield
        finally:
            self._run("\n".join([fault.undo for fault in reversed(faults)] + [_RESTORE]))
            self.settle()

    def settle(self) -> None:
        """Until the kernel has followed up: a link that comes up is a port that forwards some time later."""
        before = ""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            now = self.host.run(["sh", "-c", "ip -o link; bridge -o link; ip route; ip -6 address"]).stdout
            if now == before and " state disabled" not in now and "tentative" not in now:
                return
            before = now
            time.sleep(0.15)

    def fault(self, name: str) -> Fault:
        """The fault of that name, in which {web} stands for web's link."""
        wanted = name.format(**self.links)
        return next(fault for fault in self._faults() if fault.name == wanted)

    def scenario(self, seed: int) -> list[Fault]:
        """What to break; nothing at all for seed 0."""
        random = Random(seed)
        if seed == 0:
            return []
        faults = random.sample([*self._faults()], random.choice((0, 1, 1, 2)))
        rules = [random_rule(random) for _ in range(random.choice((0, 1, 2, 4, 6)))]
        faults += [Fault(rule, rule, "") for rule in rules]
        return faults

    def _faults(self) -> Iterator[Fault]:
        sysctl = "sysctl -qw net.ipv4."
        yield Fault("ip_forward", f"{sysctl}ip_forward=0", f"{sysctl}ip_forward=1")
        yield Fault("forwarding of eth0", f"{sysctl}conf.eth0.forwarding=0", f"{sysctl}conf.eth0.forwarding=1")
        yield Fault(
            "route_localnet", f"{sysctl}conf.docker0.route_localnet=1", f"{sysctl}conf.docker0.route_localnet=0"
        )
        yield Fault(
            "rp_filter",
            f"{sysctl}conf.all.rp_filter=1; ip route add 192.0.2.50/32 dev n2",
            f"{sysctl}conf.all.rp_filter=0; ip route del 192.0.2.50/32 dev n2",
        )
        yield Fault("rp_filter alone", f"{sysctl}conf.all.rp_filter=1", f"{sysctl}conf.all.rp_filter=0")
        yield Fault("bridge-nf off", f"{_NF}iptables=0; {_NF}ip6tables=0", f"{_NF}iptables=1; {_NF}ip6tables=1")
        yield Fault("lo down", "ip link set lo down", "ip link set lo up; ip -6 address replace ::1/128 dev lo")
        for bridge, address in (("docker0", "172.17.0.1/16"), ("n1", "10.91.0.1/24"), ("n2", "10.92.0.1/24")):
            yield Fault(f"{bridge} down", f"ip link set {bridge} down", f"{_up(bridge)}")
            yield Fault(
                f"{bridge} without address",
                f"ip address del {address} dev {bridge}",
                f"ip address add {address} dev {bridge}",
            )
        yield Fault("subnet elsewhere", "ip route add 172.17.0.0/24 dev n2", "ip route del 172.17.0.0/24 dev n2")
        yield Fault(
            "subnet unreachable", "ip route add unreachable 10.91.0.0/25", "ip route del unreachable 10.91.0.0/25"
        )
        for name in ("web", "one", "three", "both"):
            link, pid = self.links[name], self.pids[name]
            network = {"web": "docker0", "one": "n1", "three": "n2", "both": "n2"}[name]
            other = "n1" if network == "n2" else "n2"
            yield Fault(f"{link} of {name} down", f"ip link set {link} down", f"ip link set {link} up")
            yield Fault(
                f"{link} of {name} nowhere", f"ip link set {link} nomaster", f"ip link set {link} master {network}"
            )
            yield Fault(
                f"{link} of {name} in {other}",
                f"ip link set {link} master {other}",
                f"ip link set {link} master {network}",
            )
            inside = f"nsenter -t {pid} -n "
            keep = "; ".join(f"{inside}ip {six} route show default >/run/route{six}.{name}" for six in ("-4", "-6"))
            give = (
                f"while read -r r; do {inside}ip route replace $r; done </run/route-4.{name}; "
                f"while read -r r; do {inside}ip -6 route replace $r; done </run/route-6.{name}"
            )
            addresses = self.addresses[name]
            yield Fault(f"no way back of {name}", f"{keep}; {inside}ip route del default", give)
            yield Fault(
                f"wrong way back of {name}",
                f"{keep}; {inside}ip route replace default via {_beside(addresses[0])}",
                give,
            )
            yield Fault(
                f"blackhole in {name}",
                f"{inside}ip route add blackhole 192.0.2.0/24",
                f"{inside}ip route del blackhole 192.0.2.0/24",
            )
            six = "".join(f"{inside}ip -6 address replace {a}/64 dev eth0 nodad; " for a in addresses if ":" in a)
            yield Fault(
                f"eth0 of {name} down",
                f"{keep}; {inside}ip link set eth0 down",
                f"{inside}ip link set eth0 up; {six}{give}",
            )
            length = 16 if network == "docker0" else 24
            yield Fault(
                f"{name} without address",
                f"{keep}; {inside}ip address del {addresses[0]}/{length} dev eth0",
                f"{inside}ip address add {addresses[0]}/{length} dev eth0; {give}",
            )
            yield Fault(f"{name} stopped", f"kill -STOP {pid}", f"kill -CONT {pid}")
            yield Fault(f"{name} paused", f"docker pause {name}", f"docker unpause {name}")
            rules = (
                "INPUT -p tcp --dport 80 -j DROP",
                "INPUT -s 192.0.2.0/24 -j REJECT",
                "INPUT -m conntrack --ctstate NEW -j DROP",
                "OUTPUT -m conntrack --ctstate ESTABLISHED -j DROP",
                "OUTPUT -p tcp --sport 80 -j DROP",
                "INPUT ! -s 172.16.0.0/12 -j DROP",
                "PREROUTING -t nat -p tcp --dport 80 -j REDIRECT --to-ports 81",
            )
            for rule in rules:
                yield Fault(
                    f"in {name}: {rule}",
                    f"{inside}iptables -A {rule}",
                    f"{inside}iptables -F; {inside}iptables -t nat -F",
                )
            yield Fault(f"policy in {name}", f"{inside}iptables -P INPUT DROP", f"{inside}iptables -P INPUT ACCEPT")
        yield Fault("nat emptied", "iptables -t nat -F DOCKER", "")
        yield Fault("nat not reached", "iptables -t nat -F PREROUTING", "")
        yield Fault("filter emptied", "iptables -F FORWARD; iptables -P FORWARD DROP", "")
        yield Fault("DOCKER emptied", "iptables -F DOCKER", "")
        yield Fault("no masquerade", "iptables -t nat -F POSTROUTING", "")
        for chain in ("INPUT", "OUTPUT", "FORWARD"):
            yield Fault(f"policy of {chain}", f"iptables -P {chain} DROP", "")
        yield Fault("legacy policy", "iptables-legacy -P FORWARD DROP", "")


_NF = "sysctl -qw net.bridge.bridge-nf-call-"
_SAVE = "iptables-save >/run/saved; ip6tables-save >/run/saved6"
_RESTORE = """
iptables-restore </run/saved; ip6tables-restore </run/saved6
iptables-legacy -F; iptables-legacy -X; iptables-legacy -t nat -F; iptables-legacy -t nat -X
for chain in INPUT FORWARD OUTPUT; do iptables-legacy -P $chain ACCEPT; done
nft delete table inet extra 2>/dev/null
for family in '' 6; do
    for table in raw mangle; do ip${family}tables -t $table -F; ip${family}tables -t $table -X; done
    for chain in INPUT OUTPUT; do ip${family}tables -P $chain ACCEPT; done
done
true
"""


def _up(bridge: str) -> str:
    six = {"docker0": "fd00:da::1/64", "n1": "fd00:da:1::1/64"}.get(bridge)
    return f"ip link set {bridge} up" + (f"; ip -6 address replace {six} dev {bridge} nodad" if six else "")


def _beside(address: str) -> str:
    return f"{address.rpartition('.')[0]}.251"


def said(found: Trace) -> str | None:
    """Who answers, by the trace: a name, "nothing", or None where it cannot tell."""
    decisive = next((hop for hop in found.hops if hop.state == "broken"), None)
    if found.state == "unknown" or (decisive and decisive.subject == "owner" and _is_open(found)):
        return None
    if found.state == "broken" and (decisive is None or decisive.subject != "owner"):
        return "nothing"
    assert found.reached is not None
    return found.reached.container_name or "host"


def _is_open(found: Trace) -> bool:
    return any(hop.state == "unknown" for hop in found.hops)


def differs(case: Case) -> bool:
    return case.expected is not None and case.expected != case.happened


# --- rules ------------------------------------------------------------------------------------------------------

_SOURCES = ("192.0.2.50", "192.0.2.0/24", "172.17.0.0/16", "10.91.0.0/24", "10.92.0.0/24", "0.0.0.0/0", "192.0.2.10")
_DESTINATIONS = (*_SOURCES, "172.17.0.2", "10.91.0.2", "10.92.0.2", "127.0.0.1", "127.0.0.0/8")
_LINKS = ("eth0", "docker0", "n1", "n2", "n+", "lo", "veth+", "client")
_PORTS = ("80", "8080", "8000:8100", "53", "5300", "1:1023", "9000", ":79")
_MATCHES = (
    "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate RELATED,ESTABLISHED",
    "-m conntrack ! --ctstate NEW",
    "-m conntrack --ctstate INVALID",
    "-m conntrack --ctstate DNAT",
    "-m conntrack ! --ctstate DNAT",
    "-m state --state NEW",
    "-m addrtype --dst-type LOCAL",
    "-m addrtype ! --dst-type LOCAL",
    "-m addrtype --src-type LOCAL",
    "-m addrtype --dst-type UNICAST",
    "-m mark --mark 0x1",
    "-m mark ! --mark 0x1/0x1",
    "-m comment --comment 'said \"so\"'",
    "-m iprange --src-range 192.0.2.40-192.0.2.60",
    "-m iprange ! --dst-range 172.17.0.2-172.17.0.3",
    "-m physdev --physdev-is-bridged",
    "-m physdev ! --physdev-is-bridged",
    "-m pkttype --pkt-type unicast",
    "-m conntrack --ctorigdstport 8080",
    "-m conntrack --ctdir ORIGINAL",
    "-m limit --limit 1000/sec --limit-burst 1000",
    "-m owner --uid-owner 0",
    "-m statistic --mode random --probability 1.0",
)


def random_rule(random: Random) -> str:
    """A command that adds a rule somewhere."""
    kind = random.choices(
        ("filter", "chain", "nat", "snat", "raw", "mangle", "legacy", "native", "six"), (40, 10, 14, 5, 6, 5, 8, 6, 8)
    )[0]
    target = random.choice(("DROP", "DROP", "DROP", "REJECT", "ACCEPT", "RETURN", "LOG"))
    match = _match(random)
    where = random.choice(("DOCKER-USER", "DOCKER-USER", "FORWARD", "FORWARD", "INPUT", "OUTPUT"))
    match kind:
        case "filter":
            return f"iptables -I {where} {match(where)} -j {target}"
        case "six":
            chain = random.choice(("FORWARD", "INPUT", "OUTPUT"))
            links = {"FORWARD": ("-i eth0", "-o n1"), "INPUT": ("-i eth0",), "OUTPUT": ("-o n1",)}[chain]
            proto = random.choice(("", "-p tcp", "-p tcp --dport 80", "-p udp", "-s fd00:da::/64", *links))
            return f"ip6tables -I {chain} {proto} -j {target}"
        case "chain":
            jump = random.choice(("-j", "-g"))
            return (
                f"iptables -N extra; iptables -I {where} {match(where)} {jump} extra; "
                f"iptables -A extra {match('')} -j RETURN; iptables -A extra {match('')} -j {target}"
            )
        case "nat":
            chain = random.choice(("PREROUTING", "PREROUTING", "OUTPUT", "DOCKER"))
            proto = random.choice(("tcp", "udp"))
            port = random.choice(("8080", "8085", "9000", "8000:8100", "5300"))
            to = random.choice(
                ("DNAT --to-destination 172.17.0.2:80", "DNAT --to-destination 10.92.0.2:8000", "RETURN", "ACCEPT",
                 "DNAT --to-destination 10.91.0.9:80", "DNAT --to-destination 192.0.2.10:8090",
                 "REDIRECT --to-ports 9000")
            )  # fmt: skip
            if "10.91.0.9" in to or ":" in port:
                proto = "tcp"
            extra = random.choice(("", "-m addrtype --dst-type LOCAL", "-d 192.0.2.10", "-s 192.0.2.50"))
            return f"iptables -t nat -I {chain} -p {proto} {extra} --dport {port} -j {to}"
        case "snat":
            return "iptables -t nat -I POSTROUTING " + random.choice(
                ("-o docker0 -j MASQUERADE", "-o n2 -s 192.0.2.50 -j SNAT --to-source 10.92.0.1", "-o n1 -j MASQUERADE",
                 "-o docker0 -j SNAT --to-source 192.0.2.10", "-p tcp -o n+ -j ACCEPT")
            )  # fmt: skip
        case "raw":
            chain = random.choice(("PREROUTING", "OUTPUT"))
            return f"iptables -t raw -I {chain} {match(chain, early=True)} -j " + random.choice(
                ("DROP", "CT --notrack")
            )
        case "mangle":
            chain = random.choice(("PREROUTING", "FORWARD", "OUTPUT", "POSTROUTING", "INPUT"))
            to = random.choice(("MARK --set-mark 0x1", "MARK --set-xmark 0x1/0x3", "DROP"))
            return f"iptables -t mangle -A {chain} {match(chain)} -j {to}"
        case "legacy":
            chain = random.choice(("FORWARD", "INPUT", "OUTPUT"))
            return f"iptables-legacy -I {chain} {match(chain)} -j {target.replace('LOG', 'DROP')}"
        case _:
            hook = random.choice(("forward", "input", "output"))
            body = random.choice(
                ("tcp dport 80 drop", "iifname eth0 tcp dport { 80, 8000 } drop", "ct state established,related accept",
                 "ip saddr 192.0.2.50 drop", "ip daddr != 172.17.0.0/16 counter accept", "oifname docker0 reject",
                 "udp dport 53 drop", "meta l4proto udp drop", "tcp dport 1-100 accept", "ip6 daddr fd00:da::/64 drop")
            )  # fmt: skip
            policy = random.choice(("accept", "accept", "drop")) if hook == "forward" else "accept"
            base = f"type filter hook {hook} priority -5; policy {policy};"
            return f"nft 'table inet extra {{ chain {hook}{random.randrange(1000)} {{ {base} {body}; }}; }}'"


def _match(random: Random):  # type: ignore[no-untyped-def]  # a closure over the source of chance
    def match(chain: str, *, early: bool = False) -> str:
        words = []
        if random.random() < 0.35:
            words.append(f"{random.choice(('', '', '! '))}-s {random.choice(_SOURCES[:5])}")
        if random.random() < 0.35:
            words.append(f"{random.choice(('', '', '! '))}-d {random.choice(_DESTINATIONS[:5] + _DESTINATIONS[7:])}")
        if random.random() < 0.35 and chain not in ("OUTPUT", "POSTROUTING", ""):
            words.append(f"{random.choice(('', '', '! '))}-i {random.choice(_LINKS)}")
        if random.random() < 0.35 and chain not in ("INPUT", "PREROUTING", ""):
            words.append(f"{random.choice(('', '', '! '))}-o {random.choice(_LINKS)}")
        if random.random() < 0.5:
            words.append(f"-p {random.choice(('tcp', 'tcp', 'udp'))}")
            ports = random.choice(_PORTS)
            if random.random() < 0.3:
                words.append(f"-m multiport {random.choice(('', '! '))}--dports 80,{ports.lstrip(':')}")
            elif random.random() < 0.6:
                words.append(f"{random.choice(('', '', '! '))}--{random.choice(('dport', 'dport', 'sport'))} {ports}")
        usable = [m for m in _MATCHES if not (early and ("ctstate" in m or "ctorig" in m or "ctdir" in m))]
        if chain != "OUTPUT":
            usable = [m for m in usable if "owner" not in m]
        if chain not in ("FORWARD", "DOCKER-USER"):
            usable = [m for m in usable if "physdev" not in m]
        if random.random() < 0.45:
            words.append(random.choice(usable))
        return " ".join(words)

    return match


def describe(case: Case, faults: list[Fault]) -> str:
    """For whoever reads that a test failed."""
    question = case.question
    lines = [f"{question.source} → {question.target}: trace says {case.expected}, it was {case.happened}"]
    lines += [f"  fault: {fault.do}" for fault in faults]
    lines += [f"  {hop.state:8} {hop.text}" for hop in case.trace.hops]
    return "\n".join(lines)


__all__ = ["CONTAINERS", "DOCKERD", "Case", "Fault", "Labyrinth", "Question", "describe", "differs", "said"]


def _by_hand(seeds: list[int], userland: str = "host", firewall: str = "nft", *dockerd: str) -> None:
    """Run scenarios, and print where trace and truth differ.

    python -m tests.live.trace_lab FIRST LAST [USERLAND [FIREWALL [DOCKERD-ARGUMENT…]]]
    """
    from collections import Counter

    from tests.lab.host import LabSpec

    spec = LabSpec(userland=userland, firewall=firewall, dockerd=(*DOCKERD, *dockerd))  # type: ignore[arg-type]
    with LabHost(spec) as host:
        labyrinth = Labyrinth(host)
        counted: Counter[str] = Counter()
        for seed in seeds:
            faults = labyrinth.scenario(seed)
            began = time.monotonic()
            with labyrinth.broken(faults):
                cases = labyrinth.cases(labyrinth.questions)
            kinds = Counter(
                "open" if c.expected is None else "nothing" if c.expected == "nothing" else "ok" for c in cases
            )
            counted += kinds
            print(
                f"seed {seed}: {dict(kinds)} {time.monotonic() - began:.1f} s  {[f.name for f in faults]}", flush=True
            )
            wrong = [case for case in cases if differs(case)]
            for case in wrong[:4]:
                print(describe(case, faults), flush=True)
            counted["wrong"] += len(wrong)
        print(counted)


if __name__ == "__main__":
    _by_hand([*range(int(sys.argv[1]), int(sys.argv[2]))], *sys.argv[3:])
