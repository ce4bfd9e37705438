"""Links, addresses, routes, nsids and sockets of a host made here, beside what ip(8), ss(8) and pyroute2 say. Root."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
import pytest

from hostinspect.collectors import MANY_NAMESPACES
from hostinspect.facts import Address, Link, ListeningSocket, Nsid, Route
from tests.netns_host import NetnsHost, Seen

NAMED = ("a", "b", "overlay")
T = TypeVar("T", Link, Address, Route, Nsid, ListeningSocket)

HOST = """
netns add a
netns add b
netns add overlay
link add br0 type bridge stp_state 1
link set br0 up
addr add 10.9.0.1/24 dev br0
addr add fd09::1/64 dev br0 nodad
link add va master br0 type veth peer name eth0 netns a
link set va up alias "to a; 100%"
link property add dev va altname container-a altname wörk
link add vb mtu 1400 type veth peer name eth0 netns b
link set vb master br0
link add vp0 type veth peer name vp1
link set vp0 up
link add mv0 link vp0 type macvlan mode private
link set mv0 netns b
link add vxlan0 type vxlan id 4097 dstport 4789 local 10.9.0.1
link set vxlan0 netns overlay
link add p2p type veth peer name p2p1
link set p2p up
addr add 10.1.1.1 peer 10.1.1.2 dev p2p
route add blackhole 10.66.0.0/16
route add unreachable fd66::/32
route add prohibit 10.67.0.0/16 metric 7
route add 10.68.0.0/16 table 300 via 10.9.0.2 dev br0 src 10.9.0.1
route add 10.69.0.0/16 nexthop via 10.9.0.2 weight 1 nexthop via 10.9.0.3 weight 2
route add 10.70.0.1 via inet6 fd09::7 dev br0
route add default via 10.9.0.254
"""
NAMESPACE_A = """
link set lo up
link set eth0 up
addr add 10.9.0.2/24 dev eth0
addr add fd09::2/64 dev eth0 nodad
route add default via 10.9.0.1
route add default via fd09::1
"""
OVERLAY = """
link add br0 type bridge
link set vxlan0 master br0 up
link add veth0 master br0 type veth peer name eth1 netns a
link set veth0 up
"""

LISTEN = """
import socket, time
held = []
for family, kind, address, v6only in (
    (socket.AF_INET, socket.SOCK_STREAM, "0.0.0.0", False), (socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", False),
    (socket.AF_INET6, socket.SOCK_STREAM, "::", False), (socket.AF_INET6, socket.SOCK_STREAM, "::", True),
    (socket.AF_INET6, socket.SOCK_STREAM, "::1", True), (socket.AF_INET, socket.SOCK_DGRAM, "0.0.0.0", False),
    (socket.AF_INET6, socket.SOCK_DGRAM, "::", False), (socket.AF_INET6, socket.SOCK_DGRAM, "::ffff:127.0.0.1", False),
):
    held.append(socket.socket(family, kind))
    if family == socket.AF_INET6:
        held[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    held[-1].bind((address, 0))
    if kind == socket.SOCK_STREAM:
        held[-1].listen()
held.append(socket.create_connection(held[1].getsockname()))  # not listening, nor is the next
held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
held[-1].connect(("127.0.0.1", 9))
print("listening", flush=True)
time.sleep(3600)
"""


@pytest.fixture(scope="module")
def host() -> Iterator[NetnsHost]:
    with NetnsHost() as host:
        host.ip(HOST.splitlines())
        host.ip(NAMESPACE_A.splitlines(), "a")
        host.ip(OVERLAY.splitlines(), "overlay")
        host.ip(["link set mv0 up", "link set eth0 up"], "b")
        host.background("ip", "netns", "exec", "a", sys.executable, "-c", LISTEN)
        host.background(sys.executable, "-c", LISTEN)
        host.background("unshare", "--net", "sh", "-c", "ip link set lo up; echo ready; exec sleep infinity")
        yield host


@pytest.fixture(scope="module")
def seen(host: NetnsHost) -> Seen:
    return host.facts()


@pytest.fixture(scope="module")
def inodes(host: NetnsHost) -> dict[str | None, int]:
    """By name, the host's by None."""
    paths: dict[str | None, str] = {name: f"/run/netns/{name}" for name in NAMED}
    paths[None] = "/proc/1/ns/net"
    return {name: int(host.run("stat", "-L", "-c", "%i", path)) for name, path in paths.items()}


def records(seen: Seen, name: str, kind: type[T], netns: int | None = None) -> list[T]:
    found: list[T] = msgspec.convert(seen.facts[name], list[kind])  # type: ignore[valid-type]
    return [record for record in found if netns is None or record.netns == netns]


def ip_json(host: NetnsHost, name: str | None, *words: str) -> list[dict[str, Any]]:
    found = json.loads(host.run("ip", *(("-n", name) if name else ()), "-j", *words) or "[]")
    return [entry for entry in found if entry]  # ip leaves empty objects where it filtered


def test_nothing_is_missing(seen: Seen) -> None:
    assert seen.gaps == ()


def test_namespaces(host: NetnsHost, seen: Seen, inodes: dict[str | None, int]) -> None:
    found = {namespace.inode: namespace for namespace in seen.network_namespaces}
    assert all(namespace.entered for namespace in found.values())
    assert {inode: found[inode].paths for inode in inodes.values()} == {
        inode: (f"/run/netns/{name}",) if name else () for name, inode in inodes.items()
    }
    listed = json.loads(host.run("lsns", "--json", "-t", "net", "-o", "NS,PID,NPROCS"))["namespaces"]
    without_own = {namespace.inode: namespace.pids for namespace in found.values() if namespace.pids}
    assert {int(line["ns"]) for line in listed} == set(without_own)
    assert found[inodes["overlay"]].pids == ()
    assert len(found[inodes["a"]].pids) == 1
    assert len(set(found) - set(inodes.values())) == 1  # the one that has no name


def test_the_run_ends_where_it_began(seen: Seen, inodes: dict[str | None, int]) -> None:
    assert seen.here == inodes[None]


@pytest.mark.parametrize("name", [None, *NAMED])
def test_links_as_ip_shows_them(host: NetnsHost, seen: Seen, inodes: dict[str | None, int], name: str | None) -> None:
    links = records(seen, "links", Link, inodes[name])
    names = {link.ifindex: link.ifname for link in links}
    shown = []
    for link in links:
        entry: dict[str, Any] = {
            "ifindex": link.ifindex,
            "ifname": link.ifname,
            "flags": flags_as_ip_shows_them(set(link.flags)),
            "mtu": link.mtu,
            "operstate": link.operstate.upper(),
            "link_type": link.link_type,
            "address": link.mac,
            "ifalias": link.alias,
            "altnames": list(link.altnames),
            "master": names.get(link.master or 0),
            "kind": link.kind,
            "slave_kind": link.slave_kind,
            "link_netnsid": link.link_netnsid,
            "link": link.link if link.link_netnsid is not None else names.get(link.link or 0),
            "bridge_id": link.bridge_id,
            "stp": link.stp,
            "mode": link.mode,
            "vxlan_id": link.vxlan_id,
            "port_state": link.port_state,
        }
        shown.append(entry)
    expected = []
    for line in ip_json(host, name, "-d", "link"):
        info = line.get("linkinfo", {})
        config, slave = info.get("info_data", {}), info.get("info_slave_data", {})
        stp = config.get("stp_state")
        bridge_id = config.get("bridge_id")
        expected.append(
            {
                **{key: line[key] for key in ("ifindex", "ifname", "mtu", "operstate", "link_type", "address")},
                "flags": set(line["flags"]) - {"M-DOWN"},  # ip's own, where the other end is not up
                "ifalias": line.get("ifalias"),
                "altnames": line.get("altnames", []),
                "master": line.get("master"),
                "kind": info.get("info_kind"),
                "slave_kind": info.get("info_slave_kind"),
                "link_netnsid": line.get("link_netnsid"),
                "link": line.get("link_index", line.get("link")),
                "bridge_id": spelled_as_brctl(bridge_id) if bridge_id else None,
                "stp": bool(stp) if stp is not None else None,
                "mode": config.get("mode"),
                "vxlan_id": config.get("id") if info.get("info_kind") == "vxlan" else None,
                "port_state": slave.get("state"),
            }
        )
    assert shown == expected
    assert shown


def flags_as_ip_shows_them(flags: set[str]) -> set[str]:
    no_carrier = "UP" in flags and "RUNNING" not in flags
    return flags - {"RUNNING"} | ({"NO-CARRIER"} if no_carrier else set())


def spelled_as_brctl(bridge_id: str) -> str:
    """ "8000.2:42:a:b:c:d" as "8000.0242…"."""
    priority, _, mac = bridge_id.partition(".")
    return f"{priority}.{''.join(octet.zfill(2) for octet in mac.split(':'))}"


@pytest.mark.parametrize("name", [None, *NAMED])
def test_addresses_as_ip_shows_them(
    host: NetnsHost, seen: Seen, inodes: dict[str | None, int], name: str | None
) -> None:
    expected = [
        Address(
            netns=inodes[name],
            ifindex=line["ifindex"],
            family="ipv4" if address["family"] == "inet" else "ipv6",
            address=address["local"],
            prefix_len=address["prefixlen"],
            scope=address["scope"],
        )
        for line in ip_json(host, name, "addr")
        for address in line["addr_info"]
    ]
    found = records(seen, "addresses", Address, inodes[name])
    assert sorted(found, key=repr) == sorted(expected, key=repr)


@pytest.mark.parametrize("name", [None, *NAMED])
def test_routes_as_ip_shows_them(host: NetnsHost, seen: Seen, inodes: dict[str | None, int], name: str | None) -> None:
    ifindexes = {line["ifname"]: line["ifindex"] for line in ip_json(host, name, "link")}
    expected = []
    for family, option in (("ipv4", "-4"), ("ipv6", "-6")):
        for line in ip_json(host, name, option, "route", "show", "table", "all"):
            if line.get("table") == "local":
                continue
            dst = line["dst"] if line["dst"] != "default" else None
            if dst and "/" not in dst:
                dst += "/32" if family == "ipv4" else "/128"
            for hop in line.get("nexthops", [line]):
                expected.append(
                    {
                        "family": family,
                        "dst": dst,
                        "gateway": hop.get("gateway") or hop.get("via", {}).get("host"),
                        "ifindex": ifindexes[hop["dev"]] if "dev" in hop else None,
                        "prefsrc": line.get("prefsrc"),
                        "table": int(line.get("table", 254)),
                        "metric": line.get("metric", 0),
                        "type": line.get("type", "unicast"),
                    }
                )
    found = [
        {key: value for key, value in msgspec.structs.asdict(route).items() if key != "netns"}
        for route in records(seen, "routes", Route, inodes[name])
    ]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def list_ids(host: NetnsHost) -> dict[str | None, str]:
    return {name: host.run("ip", *(("-n", name) if name else ()), "netns", "list-id") for name in (None, *NAMED)}


def test_nsids_as_ip_lists_them(host: NetnsHost, seen: Seen, inodes: dict[str | None, int]) -> None:
    listed = {
        Nsid(netns=inodes[name], nsid=int(line.split()[1]), target=inodes[line.split(": ")[1].rstrip(")")])
        for name, lines in list_ids(host).items()
        for line in lines.splitlines()
        if "name: " in line
    }
    found = set(records(seen, "nsids", Nsid))
    assert {nsid for nsid in listed if nsid.netns == inodes[None]} == {
        nsid for nsid in found if nsid.netns == inodes[None]
    }
    assert {nsid for nsid in found if nsid.target != inodes[None]} <= listed


def test_every_netnsid_of_a_link_is_found(seen: Seen, inodes: dict[str | None, int]) -> None:
    links = records(seen, "links", Link)
    known = {(nsid.netns, nsid.nsid): nsid.target for nsid in records(seen, "nsids", Nsid)}
    by_place = {(link.netns, link.ifindex): link for link in links}
    veths = [link for link in links if link.kind == "veth" and link.link_netnsid is not None]
    assert {(link.netns, link.ifname) for link in veths} == {
        *((inodes[None], name) for name in ("va", "vb")),
        *((inodes["a"], name) for name in ("eth0", "eth1")),
        (inodes["b"], "eth0"),
        (inodes["overlay"], "veth0"),
    }
    for link in veths:
        assert link.link is not None
        peer = by_place[known[link.netns, link.link_netnsid or 0], link.link]
        assert peer.link_netnsid is not None
        assert (known[peer.netns, peer.link_netnsid], peer.link) == (link.netns, link.ifindex)


def test_names_are_asked_for_one_by_one_where_the_kernel_does_not_translate(seen: Seen, host: NetnsHost) -> None:
    program = (
        "import sys; from hostinspect.kernel import rtnetlink; rtnetlink.nsids_of = lambda route, target: {}\n"
        "import msgspec; from tests import netns_host; sys.stdout.buffer.write(msgspec.json.encode(netns_host.facts()))"
    )
    without = msgspec.json.decode(host.run(sys.executable, "-c", program), type=Seen)
    assert without.gaps == ()
    assert sorted(records(without, "nsids", Nsid), key=repr) == sorted(records(seen, "nsids", Nsid), key=repr)


STALE = {
    "made since": "[link for link in links if link.ifname != 'va']",
    "moved since": "[replace(link, link_netnsid=nsid['vb']) if link.ifname == 'va' else link for link in links]",
    "unnamed then": "[replace(link, link_netnsid=-1) if link.ifname == 'va' else link for link in links]",
}


@pytest.mark.parametrize("stale", STALE)
def test_a_name_is_asked_for_where_the_hosts_end_of_a_veth_does_not_say_it(
    seen: Seen, host: NetnsHost, inodes: dict[str | None, int], stale: str
) -> None:
    program = f"""
import msgspec, sys
from msgspec.structs import replace
from hostinspect.collectors import network
from tests import netns_host
dump, ask, asked = network._Tour._dump, network._Tour._ask_host, []
def stale(tour, route, of, family, inode):
    links = dump(tour, route, of, family, inode)
    if family != "links" or inode != tour.host:
        return links
    nsid = {{link.ifname: link.link_netnsid for link in links}}
    return {STALE[stale]}
def noted(tour, inode):
    asked.append(inode)
    ask(tour, inode)
network._Tour._dump, network._Tour._ask_host = stale, noted
sys.stdout.buffer.write(msgspec.json.encode((netns_host.facts(), asked)))
"""
    found, asked = msgspec.json.decode(host.run(sys.executable, "-c", program), type=tuple[Seen, list[int]])
    assert inodes["a"] in asked
    assert records(found, "nsids", Nsid) == records(seen, "nsids", Nsid)


def test_the_host_is_asked_for_the_names_of_those_alone_that_no_veth_leads_to(
    host: NetnsHost, inodes: dict[str | None, int]
) -> None:
    program = """
from hostinspect.collectors import network
from tests import netns_host
name, asked = network._Tour._name, []
def noted(tour, route, inode, fd, target):
    if inode == tour.host:
        asked.append(target)
    return name(tour, route, inode, fd, target)
network._Tour._name = noted
netns_host.facts()
print(*asked)
"""
    asked = {int(word) for word in host.run(sys.executable, "-c", program).split()}
    assert inodes["overlay"] in asked
    assert asked.isdisjoint({inodes["a"], inodes["b"]})


def test_no_nsid_is_made(host: NetnsHost) -> None:
    for name in (None, *NAMED):
        ip_json(host, name, "link")  # this makes those that it shows
    before = list_ids(host)
    host.facts()
    assert list_ids(host) == before


@pytest.mark.parametrize("name", [None, *NAMED])
def test_sockets_as_ss_shows_them(host: NetnsHost, seen: Seen, inodes: dict[str | None, int], name: str | None) -> None:
    inside = ("ip", "netns", "exec", name) if name else ()
    expected = set()
    for line in host.run(*inside, "ss", "-H", "-lntu", "-e").splitlines():
        proto, _, _, _, local, _, *rest = line.split()
        extended = dict(word.split(":", 1) for word in rest if ":" in word)
        address, _, port = local.rpartition(":")
        six = address == "*" or address.startswith("[")
        address = {"*": "::"}.get(address, address.strip("[]"))
        expected.add((proto, six, address, int(port), int(extended.get("ino", 0)), extended.get("v6only") == "1"))
    found = records(seen, "listening_sockets", ListeningSocket, inodes[name])
    assert {
        (socket.proto, socket.family == "ipv6", socket.address, socket.port, socket.inode, socket.v6only)
        for socket in found
    } == expected
    assert len(found) == {None: 9, "a": 8, "b": 0, "overlay": 0}[name]  # the ninth is that of vxlan0


def test_holders(seen: Seen, inodes: dict[str | None, int]) -> None:
    sockets = {socket.inode: socket for socket in records(seen, "listening_sockets", ListeningSocket) if socket.inode}
    (pid,) = next(namespace.pids for namespace in seen.network_namespaces if namespace.inode == inodes["a"])
    kernels = {inode for inode, socket in sockets.items() if socket.port == 4789}
    assert {holder.inode for holder in seen.holders} == set(sockets) - kernels
    assert kernels
    assert {holder.pid for holder in seen.holders if sockets[holder.inode].netns == inodes["a"]} == {pid}


@pytest.mark.parametrize(("name", "kind"), [("links", Link), ("addresses", Address), ("routes", Route)])
def test_the_same_as_pyroute2(
    host: NetnsHost, seen: Seen, inodes: dict[str | None, int], name: str, kind: type[T]
) -> None:
    decoded = json.loads(host.run(sys.executable, "-W", "ignore", "-m", "tests.netns_host", "pyroute2"))
    theirs = msgspec.convert(decoded[name], list[kind])  # type: ignore[valid-type]
    ours = [record for record in records(seen, name, kind) if record.netns in inodes.values()]
    assert sorted(ours, key=repr) == sorted(theirs, key=repr)


@pytest.mark.parametrize("name", [None, *NAMED])
def test_what_is_alike_is_read_in_the_plain_way_too(host: NetnsHost, name: str | None) -> None:
    program = """
from hostinspect.kernel import rtnetlink
from hostinspect.kernel.netlink import NETLINK_ROUTE, NetlinkSocket
plain = 0

def counted(parse):
    def count(messages, netns):
        global plain
        plain += 1
        return parse(messages, netns)
    return count

with NetlinkSocket(NETLINK_ROUTE) as route:
    for dump in (rtnetlink.LINKS, rtnetlink.ADDRESSES, rtnetlink.ROUTES):
        expected = dump.read(route, 7)
        assert list(dump.parse(route.dump(dump.msg_type, dump.body), 7)) == expected
        dump.parse = counted(dump.parse)
        for _ in range(10):
            before = plain
            assert dump.read(route, 7) == expected
        print(plain - before, len(expected))
"""
    inside = ("ip", "netns", "exec", name) if name else ()
    for line in host.run(*inside, sys.executable, "-c", program).splitlines():
        plain, records = map(int, line.split())
        assert records == 0 or plain < records


def test_few_descriptors_suffice(host: NetnsHost, seen: Seen) -> None:
    command = f"ulimit -n 24; exec {sys.executable} -m tests.netns_host facts"
    few = msgspec.json.decode(host.run("sh", "-c", command), type=Seen)
    assert few.gaps == ()
    assert few.facts["links"] == seen.facts["links"]


def test_without_the_capability_the_others_are_one_gap(host: NetnsHost, inodes: dict[str | None, int]) -> None:
    drop = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--")
    seen = msgspec.json.decode(host.run(*drop, sys.executable, "-m", "tests.netns_host", "facts"), type=Seen)
    assert {link.netns for link in records(seen, "links", Link)} == {inodes[None]}
    (gap,) = seen.gaps
    assert (gap.subject, gap.why, gap.minor) == ("4 network namespaces", "Operation not permitted", False)


def test_links_into_a_namespace_that_is_being_taken_apart_are_no_gap() -> None:
    """One that nobody is in is a gap while somebody holds it open, and none where it goes while we wait for that."""
    program = """
import os, subprocess
from hostinspect.collectors import network
from tests.netns_host import facts

ended = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE)
ended.stdout.readline()
subprocess.run(["ip", *f"link add lost type veth peer name eth0 netns {ended.pid}".split()], check=True)
held = os.open(f"/proc/{ended.pid}/ns/net", os.O_RDONLY)
ended.kill()
ended.wait()

def show():
    seen = facts()
    print([link.ifname for link in seen.facts["links"]], [gap.collector for gap in seen.gaps])

show()
wait = network.time.sleep
waited = []
def let_go(seconds):
    if not waited:
        os.close(held)
    waited.append(seconds)
    wait(seconds)

network.time.sleep = let_go
show()
"""
    with NetnsHost() as host:
        shown = host.run(sys.executable, "-c", program)
    assert shown.splitlines() == ["['lo', 'lost'] ['nsids']", "['lo'] []"]


def test_names_are_asked_for_when_the_links_of_the_host_are_read() -> None:
    """Whoever shares the tour from its end is not to be first: the kernel may give the names in between."""
    program = """
import subprocess, time
from hostinspect.collectors import MANY_NAMESPACES, collect, network

visit_first = network._Tour.visit_first

def late(self, line):
    time.sleep(0.3)
    for number, process in enumerate(others):
        subprocess.run(["ip", *f"link add v{number} type veth peer name eth0 netns {process.pid}".split()], check=True)
    visit_first(self, line)

network._Tour.visit_first = late
others = []
for _ in range(MANY_NAMESPACES):
    command = ["unshare", "--net", "--fork", "sh", "-c", "echo; exec sleep infinity"]  # not our own child
    others.append(subprocess.Popen(command, stdout=subprocess.PIPE))
    others[-1].stdout.readline()
facts = collect(families=("links",))
wires = {link.link_netnsid for link in facts.links if link.ifname.startswith("v")}
names = {nsid.nsid for nsid in facts.nsids if nsid.netns == facts.host.netns}
print(len(wires), wires == names, [gap for gap in facts.gaps if not gap.minor])
"""
    with NetnsHost() as host:
        shown = host.run(sys.executable, "-c", program)
    assert shown == f"{MANY_NAMESPACES} True []\n"


def test_without_root_there_is_no_host() -> None:
    """The fixture fails; it does not let the tests be skipped."""
    program = "import os; os.setuid(65534)\nimport subprocess\nsubprocess.run(['unshare', '--net', 'true'], check=True)"
    assert subprocess.run([sys.executable, "-c", program], stderr=subprocess.DEVNULL, check=False).returncode != 0


def test_the_kernel_translates_what_a_namespace_calls_another(host: NetnsHost) -> None:
    program = """
import os
from hostinspect.kernel import rtnetlink
from hostinspect.kernel.netlink import NETLINK_ROUTE, NetlinkSocket
names = {}
with NetlinkSocket(NETLINK_ROUTE) as route:
    for name in ("a", "overlay"):
        fd = os.open(f"/run/netns/{name}", os.O_RDONLY)
        names[name] = rtnetlink.nsid(route, fd)
    known = rtnetlink.nsids_of(route, names["a"])
print(list(known.values()).count(names["overlay"]))
"""
    assert host.run(sys.executable, "-c", program) == "1\n"
