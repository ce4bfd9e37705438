"""Every check on a small host in facts: silent where all is well, and naming the one thing that is not."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from msgspec.structs import replace

from hostinspect.correlate import correlate
from hostinspect.doctor import CHECKS, examine, in_order
from hostinspect.doctor.check import SEVERITIES
from hostinspect.facts import (
    BareDirectory,
    Chain,
    ContainerRecord,
    DaemonSettings,
    EndpointRecord,
    Facts,
    FileSystemSpace,
    Gap,
    Health,
    HeldFile,
    LayerDirectoryRecord,
    LayerHomeRecord,
    LayerRecord,
    Link,
    ListeningSocket,
    MountPoint,
    NetworkRecord,
    PathState,
    RecordedMount,
    Route,
    Rule,
    SandboxRecord,
    SocketHolder,
    StuckProcess,
    Subnet,
    Sysctl,
    UnixSocketFile,
    VolumeRecord,
)
from hostinspect.questions.inspection import Inspection
from tests.unit.asked import Asker, assert_fits
from tests.unit.factory import (
    BRIDGE_ADDRESS,
    BRIDGE_NETWORK,
    DOCKER0,
    HOST_MNTNS,
    HOST_NETNS,
    HOST_VETH,
    WEB_ADDRESS,
    WEB_ETH0,
    WEB_ID,
    WEB_MNTNS,
    WEB_NETNS,
    host_process,
    host_with_web,
    record,
    web_process,
)
from tests.unit.test_ports import HELD, JUMP, LISTENS, PORT, PROCESSES, chains, dnat, proxy, rule

ROOT = "/var/lib/docker"
OTHER_ID = "a" * 64
OVERLAY = f"{ROOT}/overlay2/{'c' * 64}"
UP = ("UP", "LOWER_UP", "RUNNING")
GB = 1_000_000_000

# --- a host on which all is well --------------------------------------------------------------------------------

SHIM = host_process(
    400, comm="containerd-shim", cmdline=("containerd-shim-runc-v2", "-namespace", "moby", "-id", WEB_ID)
)
PIPES = (*PROCESSES, SHIM, proxy())
ETH0 = Link(netns=HOST_NETNS, ifindex=2, ifname="eth0", mtu=1500, flags=UP, mac="02:00:00:00:00:01")
LINKS = (
    ETH0,
    replace(DOCKER0, flags=UP, mtu=1500),
    replace(HOST_VETH, flags=UP, mtu=1500, mac="02:00:00:00:00:02"),
    replace(WEB_ETH0, flags=UP, mtu=1500),
)
ROUTES = (
    Route(netns=HOST_NETNS, family="ipv4", dst=None, gateway="192.0.2.1", ifindex=2),
    Route(netns=HOST_NETNS, family="ipv4", dst="172.17.0.0/16", ifindex=3),
    Route(netns=WEB_NETNS, family="ipv4", dst=None, gateway="172.17.0.1", ifindex=12),
)
SPACE = FileSystemSpace(
    path=ROOT, mount_point="/", fstype="ext4", source="/dev/vda", size=100 * GB, free=60 * GB, available=55 * GB,
    inodes=10_000_000, inodes_free=9_000_000,
)  # fmt: skip
SOCKET = UnixSocketFile(path="/run/docker.sock", mode=0o660, uid=0, gid=105, group="docker")
HEALTH = Health(file_systems=(SPACE,), sockets=(SOCKET,), settings=(DaemonSettings(data_root=ROOT, hosts=("fd://",)),))
ROOT_MOUNT = MountPoint(
    mntns=HOST_MNTNS, mount_id=1, parent_id=0, device="254:0", root="/", mount_point="/", options=("rw",),
    fstype="ext4", source="/dev/vda",
)  # fmt: skip
WEB_OVERLAY = MountPoint(
    mntns=HOST_MNTNS, mount_id=9, parent_id=1, device="0:50", root="/", mount_point=f"{OVERLAY}/merged",
    options=("rw",), fstype="overlay", source="overlay", upperdir=f"{OVERLAY}/diff", workdir=f"{OVERLAY}/work",
)  # fmt: skip
WEB_LAYER = LayerRecord(
    container_id=WEB_ID, mount_id="c" * 64, upper=f"{OVERLAY}/diff", work=f"{OVERLAY}/work", merged=f"{OVERLAY}/merged"
)
HOME = LayerHomeRecord(
    data_root=ROOT, path=f"{ROOT}/overlay2", directories=(LayerDirectoryRecord(name="c" * 64, modified=1_000),)
)
SYSCTLS = tuple(
    Sysctl(name=name, value=value)
    for name, value in (
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.all.rp_filter", "0"),
        ("net.bridge.bridge-nf-call-iptables", "1"),
        ("net.ipv4.conf.docker0.forwarding", "1"),
        ("net.ipv4.conf.eth0.forwarding", "1"),
        ("net.ipv4.conf.eth0.rp_filter", "0"),
    )
)


def table_chain(table: str, name: str, hook: str | None = None, policy: str | None = None) -> Chain:
    return Chain(
        netns=HOST_NETNS, family="ipv4", backend="nft", table=table, name=name, hook=hook, policy=policy,
        type="filter" if hook else None, priority=0 if hook else None,
    )  # fmt: skip


def filter_rule(position: int, text: str, verdict: str, chain: str = "FORWARD", **fields: object) -> Rule:
    return rule(position, text, verdict, chain=chain, table="filter", **fields)


CHAINS = (
    *chains(),
    table_chain("nat", "OUTPUT", "output", "ACCEPT"),
    table_chain("nat", "POSTROUTING", "postrouting", "ACCEPT"),
    table_chain("filter", "FORWARD", "forward", "DROP"),
    table_chain("filter", "DOCKER"),
    table_chain("filter", "DOCKER-USER"),
)
NAT = (
    JUMP,
    rule(1, "-m addrtype --dst-type LOCAL -j DOCKER", "DOCKER", chain="OUTPUT"),
    rule(1, "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", "MASQUERADE", chain="POSTROUTING", src="172.17.0.0/16"),
)
FORWARD = (
    filter_rule(1, "-j DOCKER-USER", "DOCKER-USER"),
    filter_rule(
        2, "-o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "ACCEPT", out_interface="docker0"
    ),
    filter_rule(3, "-o docker0 -j DOCKER", "DOCKER", out_interface="docker0"),
    filter_rule(4, "-i docker0 ! -o docker0 -j ACCEPT", "ACCEPT", in_interface="docker0", out_interface="!docker0"),
    filter_rule(1, "-j RETURN", "RETURN", chain="DOCKER-USER"),
)
TO_WEB = filter_rule(
    1, "-d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT", "ACCEPT", chain="DOCKER",
    dst="172.17.0.2/32", in_interface="!docker0", out_interface="docker0", proto="tcp", dport="80",
)  # fmt: skip
RULES = (*NAT, dnat(), *FORWARD, TO_WEB)


def healthy(**changes: object) -> Facts:
    """A host with one container that publishes one port; nothing is wrong with it."""
    fields: dict[str, object] = {
        "containers": (record(ports=(PORT,)),),
        "chains": CHAINS,
        "rules": RULES,
        "processes": PIPES,
        "links": LINKS,
        "routes": ROUTES,
        "sysctls": SYSCTLS,
        "listening_sockets": (LISTENS,),
        "socket_holders": (HELD,),
        "mounts": (ROOT_MOUNT, WEB_OVERLAY, replace(WEB_OVERLAY, mntns=WEB_MNTNS, mount_point="/")),
        "layers": (WEB_LAYER,),
        "layer_homes": (HOME,),
        "health": HEALTH,
        **changes,
    }
    return host_with_web(**fields)


def found(facts: Facts, *only: str) -> list[tuple[str, str]]:
    """Checks and subjects, in the order of the answer; what could not be judged is a failure."""
    answer = examine(Inspection(facts), only)
    assert not [gap for gap in answer.gaps if not gap.minor]
    return [(finding.id, finding.subject) for finding in answer.findings]


def without(rules: tuple[Rule, ...], *gone: Rule) -> tuple[Rule, ...]:
    return tuple(kept for kept in rules if kept not in gone)


def sysctl(name: str, value: str) -> tuple[Sysctl, ...]:
    return (*(s for s in SYSCTLS if s.name != name), Sysctl(name=name, value=value))


def with_health(**changes: object) -> Facts:
    return healthy(health=replace(HEALTH, **changes))


def stopped(**changes: object) -> ContainerRecord:
    """A second container, which does not run."""
    fields: dict[str, object] = {
        "id": OTHER_ID, "name": "old", "running": False, "pid": None, "endpoints": (), "exit_code": 0,
        "started_at": "2025-01-01T00:00:00Z", "finished_at": "2025-01-02T00:00:00Z",
    }  # fmt: skip
    return record(**{**fields, **changes})


def with_other(**changes: object) -> Facts:
    return healthy(containers=(record(ports=(PORT,)), stopped(**changes)))


def network(subnet: str, **changes: object) -> NetworkRecord:
    fields: dict[str, object] = {
        "id": "7" * 64, "name": "second", "bridge": None, "subnets": (Subnet(subnet=subnet),), "driver": "macvlan",
    }  # fmt: skip
    return replace(BRIDGE_NETWORK, **{**fields, **changes})


def test_a_healthy_host() -> None:
    assert found(healthy()) == []


# --- each check, on a host where one thing is wrong -------------------------------------------------------------

LOOPBACK = replace(LISTENS, family="ipv4", address="127.0.0.1")
TAKEN = ListeningSocket(netns=HOST_NETNS, proto="tcp", family="ipv4", address="0.0.0.0", port=8082, inode=88)
ORPHAN = Link(netns=HOST_NETNS, ifindex=20, ifname="vetha1b2c3d", kind="veth", link=21, flags=UP, master=3)
ORPHANS_PEER = Link(netns=HOST_NETNS, ifindex=21, ifname="veth0000001", kind="veth", link=20, flags=UP)
SECOND_VETH = Link(netns=HOST_NETNS, ifindex=30, ifname="veth3", kind="veth", master=3, link=31, link_netnsid=0)
SECOND_ETH = Link(netns=WEB_NETNS, ifindex=31, ifname="eth9", kind="veth", link=30, link_netnsid=0, flags=UP)
NO_BRIDGE = tuple(link for link in LINKS if link.ifname != "docker0")
API = ListeningSocket(netns=HOST_NETNS, proto="tcp", family="ipv4", address="0.0.0.0", port=2375, inode=99)
BIND = RecordedMount(type="bind", source="/srv/site", destination="/www")
VOLUME = VolumeRecord(engine="docker", data_root=ROOT, name="v", mountpoint=f"{ROOT}/volumes/v/_data")
USES_VOLUME = RecordedMount(type="volume", name="v", source=VOLUME.mountpoint, destination="/v", driver="local")
NEW_DIRECTORY = LayerDirectoryRecord(name="d" * 64, modified=1_000)

BROKEN: list[tuple[str, str, Facts]] = [
    ("port-without-rule", "8080/tcp", healthy(rules=without(RULES, dnat()))),
    ("port-without-proxy", "8080/tcp", healthy(processes=(*PROCESSES, SHIM))),
    (
        "rule-to-nobody",
        "nat DOCKER rule 2 (nft)",
        healthy(rules=(*RULES, dnat(2, dport="9999", to="172.17.0.99:80"))),
    ),
    ("port-with-two-rules", "8080/tcp", healthy(rules=(*RULES, dnat(2)))),
    ("port-with-two-rules", "8080/tcp", healthy(rules=(*RULES, dnat(2, to="172.17.0.1:80")))),
    (
        "port-with-two-rules",
        "8080/tcp",
        healthy(
            rules=(*without(RULES, JUMP), dnat(to="10.9.9.9:80", chain="PREROUTING"), replace(JUMP, position=2))
        ),
    ),
    (
        "proxy-without-container",
        "docker-proxy 601",
        healthy(processes=(*PIPES, proxy(601, host_port=9997, to="172.17.0.99"))),
    ),
    ("port-nobody-listens", "8080/tcp", healthy(listening_sockets=())),
    ("port-loopback-only", "8080/tcp", healthy(listening_sockets=(LOOPBACK,))),
    ("port-other-address", "8080/tcp", healthy(listening_sockets=(replace(LOOPBACK, address="172.18.0.9"),))),
    (
        "port-taken",
        "8082/tcp",
        replace(with_other(port_bindings=(replace(PORT, host_port=8082),)), listening_sockets=(LISTENS, TAKEN)),
    ),
    (
        "endpoint-of-no-container",
        "gone",
        healthy(endpoints=(EndpointRecord(id="5" * 64, network_id=BRIDGE_NETWORK.id, name="gone", port_map=(PORT,)),)),
    ),
    ("port-not-recorded", "9998/tcp", healthy(rules=(*RULES, dnat(2, dport="9998")))),
    (
        "docker-chain-missing",
        "ipv4 filter DOCKER",
        healthy(
            chains=tuple(c for c in CHAINS if (c.table, c.name) != ("filter", "DOCKER")),
            rules=(*without(RULES, TO_WEB, FORWARD[2]), replace(TO_WEB, chain="FORWARD", position=9)),
        ),
    ),
    ("docker-chain-unreachable", "ipv4 nat DOCKER", healthy(rules=without(RULES, JUMP))),
    ("docker-chain-unreachable", "ipv4 nat DOCKER", healthy(rules=without(RULES, NAT[1]))),
    ("docker-chain-unreachable", "ipv4 filter DOCKER-USER", healthy(rules=without(RULES, FORWARD[0]))),
    ("forward-drops", "the policy of filter FORWARD (nft)", healthy(rules=without(RULES, TO_WEB))),
    ("forward-drops", "the policy of filter FORWARD (nft)", healthy(rules=without(RULES, FORWARD[3]))),
    ("forward-drops", "the policy of filter FORWARD (nft)", healthy(rules=without(RULES, FORWARD[1]))),
    (
        "forward-drops",
        "filter DOCKER-USER rule 1 (nft)",
        healthy(rules=(*without(RULES, FORWARD[4]), filter_rule(1, "-j DROP", "DROP", chain="DOCKER-USER"))),
    ),
    ("network-not-masqueraded", "bridge", healthy(rules=without(RULES, NAT[2]))),
    (
        "two-firewalls",
        "legacy and nft",
        healthy(rules=(*RULES, replace(filter_rule(1, "-j ACCEPT", "ACCEPT", chain="INPUT"), backend="legacy"))),
    ),
    ("ip-forward-off", "net.ipv4.ip_forward", healthy(sysctls=sysctl("net.ipv4.ip_forward", "0"))),
    (
        "ip-forward-off",
        "net.ipv4.conf.docker0.forwarding",
        healthy(sysctls=sysctl("net.ipv4.conf.docker0.forwarding", "0")),
    ),
    (
        "rp-filter-strict",
        "net.ipv4.conf.eth0.rp_filter",
        healthy(
            sysctls=sysctl("net.ipv4.conf.eth0.rp_filter", "1"),
            links=(*LINKS, replace(ETH0, ifindex=5, ifname="eth1", mac="02:00:00:00:00:09")),
            routes=(*ROUTES, replace(ROUTES[0], ifindex=5, metric=100)),
        ),
    ),
    (
        "bridge-nf-call-off",
        "bridge",
        healthy(
            sysctls=sysctl("net.bridge.bridge-nf-call-iptables", "0"),
            networks=(replace(BRIDGE_NETWORK, options=(("com.docker.network.bridge.enable_icc", "false"),)),),
        ),
    ),
    (
        "endpoint-without-link",
        "web",
        healthy(
            links=LINKS[:2],
            addresses=(BRIDGE_ADDRESS,),
            containers=(record(),),
            rules=without(RULES, dnat()),
            processes=(*PROCESSES, SHIM),
        ),
    ),
    ("veth-orphaned", "vetha1b2c3d", healthy(links=(*LINKS, ORPHAN, ORPHANS_PEER))),
    (
        "veth-orphaned",
        "vetha1b2c3d",
        healthy(links=(*LINKS, replace(ORPHAN, ifindex=21, link=20), replace(ORPHANS_PEER, ifindex=20, link=21))),
    ),
    ("veth-not-in-bridge", "veth1", healthy(links=(*LINKS[:2], replace(LINKS[2], master=None), LINKS[3]))),
    ("veth-not-in-bridge", "veth1", healthy(links=(*LINKS[:2], replace(LINKS[2], master=2), LINKS[3]))),
    ("link-down", "veth1", healthy(links=(*LINKS[:2], replace(LINKS[2], flags=()), LINKS[3]))),
    ("link-down", "web:eth0", healthy(links=(*LINKS[:3], replace(LINKS[3], flags=())))),
    (
        "bridge-without-network",
        "br-0123456789ab",
        healthy(links=(*LINKS, replace(DOCKER0, ifindex=40, ifname="br-0123456789ab"))),
    ),
    (
        "network-without-bridge",
        "second",
        healthy(networks=(BRIDGE_NETWORK, network("10.5.0.0/16", driver="bridge", bridge="br-gone"))),
    ),
    ("bridge-down", "docker0", healthy(links=(LINKS[0], replace(LINKS[1], flags=()), *LINKS[2:]))),
    ("bridge-without-gateway", "docker0", healthy(addresses=(WEB_ADDRESS,))),
    (
        "bridge-port-limit",
        "big",
        healthy(
            links=(
                *LINKS,
                replace(DOCKER0, ifindex=100, ifname="big"),
                *(replace(ETH0, ifindex=1000 + n, ifname=f"p{n}", master=100) for n in range(920)),
            )
        ),
    ),
    ("subnets-overlap", "bridge", healthy(networks=(BRIDGE_NETWORK, network("172.17.4.0/24")))),
    (
        "subnets-overlap",
        "bridge",
        healthy(routes=(*ROUTES, replace(ROUTES[1], dst="172.17.8.0/24", ifindex=2))),
    ),
    ("subnets-overlap", "bridge", healthy(routes=(*ROUTES, replace(ROUTES[1], dst="172.16.0.0/12", ifindex=2)))),
    ("mtu-too-large", "bridge", healthy(links=(replace(ETH0, mtu=1400), *LINKS[1:]))),
    ("no-default-route", "web", healthy(routes=ROUTES[:2], containers=(record(
        ports=(PORT,), endpoints=(replace(record().endpoints[0], gateway="172.17.0.1"),)),))),
    (
        "address-used-twice",
        "172.17.0.2",
        healthy(
            links=(*LINKS, replace(SECOND_VETH, flags=UP), SECOND_ETH),
            addresses=(WEB_ADDRESS, BRIDGE_ADDRESS, replace(WEB_ADDRESS, ifindex=31)),
        ),
    ),
    (
        "mac-used-twice",
        "02:42:ac:11:00:02",
        healthy(links=(*LINKS, replace(SECOND_VETH, flags=UP), replace(SECOND_ETH, mac=WEB_ETH0.mac))),
    ),
    (
        "address-differs",
        "web",
        healthy(
            addresses=(replace(WEB_ADDRESS, address="172.17.0.77"), BRIDGE_ADDRESS),
            containers=(record(),),
            rules=without(RULES, dnat()),
            processes=(*PROCESSES, SHIM),
        ),
    ),
    ("running-without-process", "old", with_other(running=True, pid=4711)),
    (
        "stopped-with-process",
        "old",
        replace(
            with_other(), processes=(*PIPES, web_process(pid=700, ppid=1, cgroups=(f"/docker/{OTHER_ID}",)))
        ),
    ),
    ("restart-loop", "old", with_other(running=True, restarting=True, restart_count=7)),
    ("restart-loop", "web", healthy(containers=(record(ports=(PORT,), restart_count=4),))),
    ("container-unhealthy", "web", healthy(containers=(record(ports=(PORT,), health="unhealthy"),))),
    ("killed-for-memory", "old", with_other(oom_killed=True, exit_code=137)),
    ("record-in-the-future", "old", with_other(finished_at="2126-01-01T00:00:00Z")),
    ("record-in-the-future", "bridge", healthy(networks=(replace(BRIDGE_NETWORK, created="2026-01-01T00:02:00Z"),))),
    (
        "main-process-zombie",
        "old",
        replace(
            with_other(running=True, pid=700),
            processes=(*PIPES, web_process(pid=700, state="Z", netns=None, cgroups=(f"/docker/{OTHER_ID}",))),
        ),
    ),
    ("main-process-stuck", "web", with_health(stuck=(StuckProcess(pid=500, wchan="rpc_wait_bit_killable"),))),
    (
        "shim-without-container",
        "containerd-shim 401",
        healthy(processes=(*PIPES, replace(SHIM, pid=401, cmdline=("s", "-namespace", "moby", "-id", "9" * 64)))),
    ),
    (
        "shim-missing",
        "web",
        healthy(processes=(*PROCESSES[:2], replace(web_process(), ppid=1), proxy())),
    ),
    (
        "overlay-of-no-container",
        f"{ROOT}/overlay2/x/merged",
        healthy(
            mounts=(ROOT_MOUNT, WEB_OVERLAY, replace(
                WEB_OVERLAY, mount_point=f"{ROOT}/overlay2/x/merged", upperdir=f"{ROOT}/overlay2/x/diff")),
        ),
    ),
    (
        "overlay-of-no-container",
        f"{OVERLAY}/merged",
        replace(with_other(), layers=(replace(WEB_LAYER, container_id=OTHER_ID),)),
    ),
    (
        "mount-leaked",
        f"{ROOT}/overlay2/x",
        with_health(other_mounts=(replace(WEB_OVERLAY, mntns=77, upperdir=f"{ROOT}/overlay2/x/diff"),)),
    ),
    (
        "layer-directory-of-nothing",
        f"{ROOT}/overlay2/{'d' * 64}",
        healthy(layer_homes=(replace(HOME, directories=(*HOME.directories, NEW_DIRECTORY)),)),
    ),
    (
        "container-directory-of-nothing",
        f"{ROOT}/containers/{'9' * 64}",
        with_health(bare_directories=(BareDirectory(path=f"{ROOT}/containers/{'9' * 64}", modified=1_000),)),
    ),
    ("disk-nearly-full", "/", with_health(file_systems=(replace(SPACE, free=6 * GB, available=5 * GB),))),
    ("inodes-nearly-used-up", "/", with_health(file_systems=(replace(SPACE, inodes_free=90_000),))),
    (
        "deleted-file-held",
        "httpd 500",
        with_health(held_files=(
            HeldFile(pid=500, comm="httpd", path="/log", device="0:50", inode=5, allocated=200_000_000),)),
    ),
    ("volume-dangling", "v", healthy(volumes=(VOLUME,))),
    ("volume-unused", "v", replace(with_other(mounts=(USES_VOLUME,)), volumes=(VOLUME,))),
    (
        "volume-path-missing",
        "v",
        replace(
            with_health(paths=(PathState(path=VOLUME.mountpoint or "", kind="missing"),)),
            containers=(record(ports=(PORT,), mounts=(USES_VOLUME,)),),
            volumes=(VOLUME,),
        ),
    ),
    (
        "volume-source-gone",
        "v",
        replace(
            with_health(paths=(PathState(path="/srv/gone", kind="missing"),)),
            containers=(record(ports=(PORT,), mounts=(USES_VOLUME,)),),
            volumes=(replace(VOLUME, options=(("device", "/srv/gone"), ("o", "bind"), ("type", "none"))),),
        ),
    ),
    (
        "bind-source-gone",
        "web",
        replace(
            with_health(paths=(PathState(path="/srv/site", kind="missing"),)),
            containers=(record(ports=(PORT,), mounts=(BIND,)),),
        ),
    ),
    (
        "bind-source-gone",
        "web",
        healthy(
            containers=(record(ports=(PORT,), mounts=(BIND,)),),
            mounts=(ROOT_MOUNT, WEB_OVERLAY, replace(
                ROOT_MOUNT, mntns=WEB_MNTNS, mount_point="/www", root="/srv/site//deleted")),
        ),
    ),
    (
        "engine-not-answering",
        ROOT,
        healthy(processes=tuple(replace(p, state="T") if p.comm == "dockerd" else p for p in PIPES)),
    ),
    (
        "engine-not-answering",
        ROOT,
        replace(
            with_health(stuck=(StuckProcess(pid=300),)),
            processes=tuple(replace(p, state="D") if p.comm == "dockerd" else p for p in PIPES),
        ),
    ),
    ("engine-stopped", ROOT, healthy(processes=tuple(p for p in PIPES if p.comm != "dockerd"))),
    (
        "api-on-tcp",
        "2375/tcp",
        replace(
            with_health(settings=(DaemonSettings(data_root=ROOT, hosts=("tcp://0.0.0.0:2375",)),)),
            listening_sockets=(LISTENS, API),
            socket_holders=(HELD, SocketHolder(inode=99, pid=300)),
        ),
    ),
    ("socket-open-to-all", "/run/docker.sock", with_health(sockets=(replace(SOCKET, mode=0o666),))),
    ("socket-group-members", "/run/docker.sock", with_health(sockets=(replace(SOCKET, members=("ann", "bob")),))),
    ("sensitive-bind-mount", "old", with_other(mounts=(replace(BIND, source="/var/run/docker.sock"),))),
    ("privileged-container", "old", with_other(privileged=True)),
    (
        "uplink-down",
        "second",
        healthy(
            networks=(BRIDGE_NETWORK, network("198.51.100.0/24", parent="eth7")),
            containers=(
                record(ports=(PORT,), endpoints=(*record().endpoints, replace(
                    record().endpoints[0], network="second", network_id="7" * 64, ip=None, mac=None))),),
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("id_", "subject", "facts"), BROKEN, ids=[f"{n}-{id_}" for n, (id_, *_) in enumerate(BROKEN)])
def test_a_check_names_what_is_wrong_and_no_other_does(id_: str, subject: str, facts: Facts) -> None:
    assert found(facts) == [(id_, subject)]


def test_every_check_has_a_case() -> None:
    assert {id_ for id_, *_ in BROKEN} == {*CHECKS}


# --- what looks wrong and is not --------------------------------------------------------------------------------

UNRELATED_BRIDGE = replace(DOCKER0, ifindex=41, ifname="virbr0", flags=UP)
FINE: dict[str, Facts] = {
    "nobody-uses-bridges": healthy(containers=(), networks=(), chains=(), rules=(), processes=PROCESSES[:2], mounts=(),
                                   layers=(), layer_homes=(), links=LINKS[:1], listening_sockets=()),
    "rules-are-not-the-engines": replace(
        with_health(settings=(DaemonSettings(data_root=ROOT, iptables=False),)),
        chains=(), rules=(), containers=(record(),), processes=(*PROCESSES, SHIM)),
    "a-veth-of-somebody": healthy(links=(
        *LINKS, replace(ORPHAN, ifname="client", master=None), replace(ORPHANS_PEER, ifname="peer"))),
    "a-bridge-of-somebody": healthy(links=(*LINKS, UNRELATED_BRIDGE)),
    "a-port-of-its-own-network": with_other(port_bindings=(replace(PORT, host_port=8083),)),
    "strict-rp-filter-and-one-way-out": healthy(sysctls=sysctl("net.ipv4.conf.all.rp_filter", "1")),
    "bridge-nf-call-off-and-nobody-counts-on-it": healthy(sysctls=sysctl("net.bridge.bridge-nf-call-iptables", "0")),
    "dockerd-reads-a-disk": healthy(
        processes=tuple(replace(p, state="D") if p.comm == "dockerd" else p for p in PIPES)),
    "some-may-not-come-in": healthy(rules=(
        *without(RULES, FORWARD[4]),
        filter_rule(1, "-s 203.0.113.0/24 -j DROP", "DROP", chain="DOCKER-USER", src="203.0.113.0/24"),
        filter_rule(2, "-m limit --limit 1/sec -j DROP", "DROP", chain="DOCKER-USER"),
        filter_rule(3, "-m conntrack --ctstate INVALID -j DROP", "DROP", chain="DOCKER-USER"))),
    "a-rule-for-some-sources": healthy(rules=(
        *RULES, dnat(2, src="203.0.113.9/32"))),
    "a-route-to-elsewhere": healthy(routes=(*ROUTES, replace(ROUTES[1], dst="10.0.0.0/8", ifindex=2))),
    "macvlan-in-the-hosts-subnet": healthy(
        networks=(BRIDGE_NETWORK, network("192.0.2.0/24", parent="eth0")),
        routes=(*ROUTES, replace(ROUTES[1], dst="192.0.2.0/24", ifindex=2))),
    "a-small-part-of-a-large-disk": with_health(
        file_systems=(replace(SPACE, size=20_000 * GB, free=1_000 * GB, available=1_000 * GB),)),
    "small-deleted-files": with_health(held_files=(
        HeldFile(pid=500, comm="mysqld", path="/tmp/ib1", device="0:50", inode=5, allocated=4096),)),
    "made-just-now": with_health(bare_directories=(
        BareDirectory(path=f"{ROOT}/containers/{'9' * 64}", modified=1_767_225_590),)),
    "a-clock-a-little-ahead": with_other(finished_at="2026-01-01T00:00:30.5+00:00"),
    "a-shim-of-another-engine": healthy(processes=(
        *PIPES, replace(SHIM, pid=401, cmdline=("s", "-namespace", "k8s.io", "-id", "9" * 64)))),
    "stopped-this-moment": replace(
        with_other(finished_at="2025-12-31T23:59:58Z"),
        processes=(*PIPES, replace(SHIM, pid=401, cmdline=("s", "-namespace", "moby", "-id", OTHER_ID)))),
    "endpoints-of-containers-and-of-swarm": healthy(
        networks=(BRIDGE_NETWORK, network("10.0.0.0/24", driver="overlay", scope="swarm")),
        sandboxes=(SandboxRecord(id="8" * 64, container_id=WEB_ID, endpoints=()),
                   SandboxRecord(id="ingress_sbox", container_id="ingress-sbox", endpoints=())),
        endpoints=(
            EndpointRecord(id="f" * 64, network_id=BRIDGE_NETWORK.id, name="web"),
            EndpointRecord(id="1" * 64, network_id=BRIDGE_NETWORK.id, name="x", sandbox_id="8" * 64),
            EndpointRecord(id="2" * 64, network_id=BRIDGE_NETWORK.id, name="y", sandbox_id="ingress_sbox"),
            EndpointRecord(id="3" * 64, network_id="7" * 64), EndpointRecord(id="4" * 64, network_id="9" * 64))),
    "a-rootless-engine": healthy(
        sysctls=sysctl("net.ipv4.ip_forward", "0"), links=(ETH0, replace(LINKS[3], link=None)), rules=(), chains=(),
        containers=(record(),),
        processes=(host_process(), replace(PROCESSES[1], netns=55, mntns=56), web_process(), SHIM)),
    "an-api-with-certificates": replace(
        with_health(settings=(DaemonSettings(data_root=ROOT, hosts=("tcp://0.0.0.0:2376",), tlsverify=True),)),
        listening_sockets=(LISTENS, replace(API, port=2376)), socket_holders=(HELD, SocketHolder(inode=99, pid=300))),
    "a-swarms-manager": healthy(
        listening_sockets=(LISTENS, replace(API, port=2377)), socket_holders=(HELD, SocketHolder(inode=99, pid=300))),
    "restarted-long-ago": healthy(
        containers=(record(ports=(PORT,), restart_count=9, started_at="2025-06-01T00:00:00Z"),)),
    "the-daemon-has-mounts-of-its-own": healthy(
        processes=tuple(replace(p, mntns=78) if p.comm == "dockerd" else p for p in PIPES),
        mounts=(ROOT_MOUNT, replace(WEB_OVERLAY, mntns=78), replace(WEB_OVERLAY, mntns=WEB_MNTNS, mount_point="/"))),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_what_is_not_wrong(name: str) -> None:
    assert found(FINE[name]) == []


@pytest.mark.parametrize(
    ("facts", "id_", "severity"),
    [
        (healthy(rules=without(RULES, dnat())), "port-without-rule", "warning"),  # the proxy leads there
        (healthy(rules=without(RULES, dnat()), processes=(*PROCESSES, SHIM)), "port-without-rule", "error"),
        (healthy(rules=(*RULES, dnat(2))), "port-with-two-rules", "warning"),
        (healthy(rules=(*RULES, dnat(2, to="172.17.0.1:80"))), "port-with-two-rules", "error"),
        (healthy(rules=without(RULES, NAT[1])), "docker-chain-unreachable", "warning"),
        (healthy(routes=(*ROUTES, replace(ROUTES[1], dst="172.16.0.0/12", ifindex=2))), "subnets-overlap", "info"),
        (with_health(file_systems=(replace(SPACE, free=0, available=0),)), "disk-nearly-full", "critical"),
        (with_health(file_systems=(replace(SPACE, free=9 * GB, available=8 * GB),)), "disk-nearly-full", "warning"),
        (with_other(mounts=(BIND,)), "bind-source-gone", None),
        (healthy(listening_sockets=()), "port-nobody-listens", "warning"),  # by docker run -P
        (
            healthy(listening_sockets=(), containers=(record(ports=(PORT,), port_bindings=(PORT,)),)),
            "port-nobody-listens",
            "error",
        ),
    ],
)  # fmt: skip
def test_severities(facts: Facts, id_: str, severity: str | None) -> None:
    severities = [f.severity for f in examine(Inspection(facts)).findings if f.id == id_]
    assert severities == ([severity] if severity else [])


def test_port_taken_from_a_container_that_runs() -> None:
    thief = host_process(900, comm="nc")
    held = ListeningSocket(netns=HOST_NETNS, proto="tcp", family="ipv4", address="0.0.0.0", port=8080, inode=66)
    facts = healthy(
        processes=(*PROCESSES, SHIM, thief),
        listening_sockets=(LISTENS, held),
        socket_holders=(HELD, SocketHolder(inode=66, pid=900)),
    )
    assert found(facts) == [("port-taken", "8080/tcp"), ("port-without-proxy", "8080/tcp")]


def test_port_taken_by_another_container_may_be_meant_so() -> None:
    facts = with_other(port_bindings=(PORT,))
    held = ListeningSocket(netns=HOST_NETNS, proto="tcp", family="ipv4", address="0.0.0.0", port=8080, inode=66)
    facts = replace(facts, listening_sockets=(LISTENS, held), socket_holders=(HELD, SocketHolder(inode=66, pid=600)))
    (finding,) = examine(Inspection(facts)).findings
    assert (finding.id, finding.severity) == ("port-taken", "info")
    assert finding.summary == "old asks for 8080/tcp, which web has"


# --- what could not be judged -----------------------------------------------------------------------------------


def gap(collector: str, **changes: Any) -> Gap:
    return Gap(**{"collector": collector, "subject": "it", "why": "no", "remedy": "run as root", **changes})


def unjudged(facts: Facts) -> set[str]:
    return {gap.subject for gap in examine(Inspection(facts)).gaps if not gap.minor}


def test_a_hole_in_the_facts_is_a_gap_for_each_check_that_needs_them() -> None:
    for family in {need for check in CHECKS.values() for need in check.needs}:
        needing = {check.id for check in CHECKS.values() if family in check.needs}
        assert unjudged(healthy(gaps=(gap(family),))) == needing
        assert unjudged(healthy(gaps=(gap(family, minor=True),))) == set()


def test_with_a_hole_only_what_was_seen_is_told() -> None:
    facts = healthy(rules=without(RULES, dnat()), gaps=(gap("rules"),))
    assert "port-without-rule" not in {finding.id for finding in examine(Inspection(facts)).findings}
    twice = healthy(
        links=(*LINKS, replace(SECOND_VETH, flags=UP), replace(SECOND_ETH, mac=WEB_ETH0.mac)), gaps=(gap("links"),)
    )
    answer = examine(Inspection(twice))
    assert [finding.id for finding in answer.findings] == ["mac-used-twice"]
    assert "mac-used-twice" in {gap.subject for gap in answer.gaps}


def test_facts_that_were_collected_for_a_report() -> None:
    missing = unjudged(healthy(health=None, layer_homes=()))
    assert "disk-nearly-full" in missing and "layer-directory-of-nothing" in missing
    assert "port-without-rule" not in missing


def test_a_rule_that_is_not_known_leaves_a_doubt() -> None:
    unknown = replace(filter_rule(1, "[? strange] -j ACCEPT", "ACCEPT", chain="DOCKER-USER"), exact=False)
    facts = healthy(rules=(*without(RULES, FORWARD[4], TO_WEB), unknown))
    answer = examine(Inspection(facts), ["forward-drops"])
    assert answer.findings == ()
    assert [(g.subject.partition(",")[0], g.minor) for g in answer.gaps] == [("forward-drops", True)]


def test_health_that_the_engine_does_not_write_down() -> None:
    starting = record(ports=(PORT,), health="starting", started_at="2025-12-31T00:00:00Z")
    answer = examine(Inspection(healthy(containers=(starting,))))
    assert [(g.subject, g.minor) for g in answer.gaps] == [("container-unhealthy, web", True)]
    just_now = replace(starting, started_at="2025-12-31T23:59:00Z")
    assert examine(Inspection(healthy(containers=(just_now,)))).gaps == ()


def test_every_remedy_is_one_word_for_each_name() -> None:
    hostile = "/srv/$(reboot); x'y"
    facts = replace(
        with_health(paths=(PathState(path=hostile, kind="missing"),)),
        containers=(record(ports=(PORT,), mounts=(replace(BIND, source=hostile),)),),
    )
    (finding,) = examine(Inspection(facts)).findings
    import shlex

    assert shlex.split(finding.remedy.partition("; docker")[0]) == ["mkdir", "-p", hostile]


# --- the registry and the page ----------------------------------------------------------------------------------


def test_the_registry() -> None:
    assert len(CHECKS) >= 45
    for check in in_order():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", check.id)
        assert check.severity in SEVERITIES
        assert check.title.endswith(".") and len(check.title) <= 120
        assert check.needs
    assert [check.id for check in in_order()] == [*dict.fromkeys(check.id for check in in_order())]


def test_the_page_has_every_check() -> None:
    from tests.doctor_page import PAGE, reference

    text = PAGE.read_text(encoding="utf-8")
    assert reference() in text, "python -m tests.doctor_page"
    for check in in_order():
        assert f"\n### {check.id}\n" in text


# --- the command ------------------------------------------------------------------------------------------------

BAD = healthy(
    rules=(*without(RULES, dnat()), dnat(2, dport="9999", to="172.17.0.99:80")),
    volumes=(VOLUME,),
    gaps=(gap("images"),),
)
HOSTILE = 'a\x1b[31m\u202e\nb\x9b  c<&"]]>\ud800'


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asker:
    return Asker(monkeypatch, capsys)


def asked_of(ask: Asker, facts: Facts) -> Asker:
    ask.read(correlate(facts), facts)
    return ask


def test_the_text(ask: Asker) -> None:
    asked_of(ask, BAD)
    reply = ask("doctor")
    assert reply.code == 1
    lines = reply.out.splitlines()
    assert lines[0] == "error" and lines[1].split() == [
        "×", "nat", "DOCKER", "rule", "2", "(nft)", "rule-to-nobody",
    ]  # fmt: skip
    assert "   → iptables -t nat -D DOCKER 2" in lines
    count = len(CHECKS)
    unseen = sum("images" in check.needs for check in CHECKS.values())
    assert lines[-1] == f"{count} checks, 3 findings (1 error, 1 warning, 1 info), {unseen} not judged"
    assert "could not be judged: it: no → run as root" in reply.err
    for columns in (40, 80, 120):
        assert_fits(ask("doctor", columns=columns).out.splitlines(), columns)


def test_nothing_wrong(ask: Asker) -> None:
    asked_of(ask, healthy())
    assert ask("doctor") == (0, f"{len(CHECKS)} checks, no findings\n", "")
    assert f"nothing:     {in_order()[0].id}" in ask("doctor", "-v").out


def test_exit_codes(ask: Asker) -> None:
    asked_of(ask, healthy(volumes=(VOLUME,)))
    codes = {fail_on: ask("doctor", "--fail-on", fail_on).code for fail_on in (*SEVERITIES, "never")}
    assert codes == {"critical": 0, "error": 0, "warning": 0, "info": 1, "never": 0}
    asked_of(ask, BAD)
    codes = {fail_on: ask("doctor", "--fail-on", fail_on).code for fail_on in (*SEVERITIES, "never")}
    assert codes == {"critical": 3, "error": 1, "warning": 1, "info": 1, "never": 3}


def test_only_and_skip(ask: Asker) -> None:
    asked_of(ask, BAD)
    answer = json.loads(ask("doctor", "-o", "json", "--only", "rule-to-nobody,volume-dangling").out)
    assert [finding["id"] for finding in answer["findings"]] == ["rule-to-nobody", "volume-dangling"]
    assert [check["id"] for check in answer["checks"]] == ["rule-to-nobody", "volume-dangling"]
    assert ask("doctor", "--only", "volume-dangling").code == 0
    skipped = json.loads(ask("doctor", "-o", "json", "--skip", "rule-to-nobody", "--skip", "port-without-rule").out)
    assert [finding["id"] for finding in skipped["findings"]] == ["volume-dangling"]
    wrong = ask("doctor", "--only", "rule-to-nobdy")
    assert wrong.code == 2 and "Did you mean rule-to-nobody" in wrong.err


def test_list_and_explain_look_at_nothing(ask: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("hostinspect.collectors.collect")
    listed = ask("doctor", "--list").out
    assert [line.split()[0] for line in listed.splitlines()] == [check.id for check in in_order()]
    for check in in_order():
        explained = ask("doctor", "--explain", check.id)
        assert explained.code == 0 and check.title in explained.out
    assert ask("doctor", "--explain", "nothing-of-that").code == 2


def test_json_is_what_the_schema_says(ask: Asker) -> None:
    from hostinspect.render.schema import answer_schema

    asked_of(ask, BAD)
    answer = json.loads(ask("doctor", "-o", "json").out)
    jsonschema.validate(answer, answer_schema("doctor"), cls=jsonschema.Draft202012Validator)
    assert [finding["severity"] for finding in answer["findings"]] == ["error", "warning", "info"]


def sarif(ask: Asker) -> dict[str, Any]:
    (run_,) = json.loads(ask("doctor", "-o", "sarif").out)["runs"]
    return run_  # type: ignore[no-any-return]


def test_sarif(ask: Asker) -> None:
    asked_of(ask, BAD)
    document = json.loads(ask("doctor", "-o", "sarif").out)
    assert document["version"] == "2.1.0" and document["$schema"].endswith("sarif-2.1.0.json")
    found_ = sarif(ask)
    rules = found_["tool"]["driver"]["rules"]
    assert [rule_["id"] for rule_ in rules] == [check.id for check in in_order()]
    assert [result["level"] for result in found_["results"]] == ["error", "warning", "note"]
    for result in found_["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"] and result["locations"][0]["logicalLocations"][0]["name"]
    assert "could not be judged" in found_["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_junit(ask: Asker) -> None:
    asked_of(ask, BAD)
    root = ET.fromstring(ask("doctor", "-o", "junit").out)
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert {*cases} == {*CHECKS}
    assert root.get("failures") == "1" and root.get("tests") == str(len(CHECKS))
    assert cases["rule-to-nobody"].find("failure") is not None
    assert cases["port-without-rule"].find("failure") is None
    assert cases["port-without-rule"].findtext("system-out")
    assert cases["layer-directory-of-nothing"].find("skipped") is not None
    strict = ET.fromstring(ask("doctor", "-o", "junit", "--fail-on", "info").out)
    assert strict.get("failures") == "3"


@pytest.mark.parametrize("output", ["text", "json", "yaml", "sarif", "junit"])
def test_hostile_texts_are_not_obeyed(output: str, ask: Asker) -> None:
    facts = replace(
        with_health(paths=(PathState(path=HOSTILE[:-1], kind="missing"),)),
        containers=(record(name=HOSTILE[:-1], ports=(PORT,), mounts=(replace(BIND, source=HOSTILE[:-1]),)),),
    )
    asked_of(ask, facts)
    reply = ask("doctor", "-o", output)
    assert reply.code == 1
    assert (reply.out + reply.err).replace("\n", "").isprintable()
    if output == "junit":
        ET.fromstring(reply.out)
