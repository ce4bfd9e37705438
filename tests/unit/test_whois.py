"""What any token is: each kind of key on a small host, several answers, leftovers, and whatever a person may type."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hostinspect.cli.app import run
from hostinspect.facts import (
    Address,
    BuildCacheRecord,
    Chain,
    EndpointRecord,
    Facts,
    Gap,
    ImageLayerRecord,
    ImageRecord,
    LayerDirectoryRecord,
    LayerHomeRecord,
    LayerRecord,
    Link,
    ListeningSocket,
    MountPoint,
    NetworkNamespace,
    NetworkRecord,
    Nsid,
    Process,
    RecordedEndpoint,
    RecordedMount,
    RecordedPort,
    Rule,
    SandboxRecord,
    SocketHolder,
    Subnet,
    VolumeRecord,
)
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.whois import looks_like_layer, whois
from hostinspect.questions.whois.answer import KeyAnswer, Match
from hostinspect.questions.whois.key import Key, PortKey, normal_path
from hostinspect.render.schema import answer_schema
from hostinspect.render.screen import Screen
from hostinspect.render.whois import render_whois
from tests.unit.factory import (
    BRIDGE_ADDRESS,
    BRIDGE_NETWORK,
    DOCKER0,
    HOST_MNTNS,
    HOST_NETNS,
    HOST_VETH,
    NETWORK_ID,
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

ROOT = "/var/lib/docker"
OLD_ID, SIDE_ID, GONE_ID = "0c" * 32, "5d" * 32, "9a" * 32
ENDPOINT_ID, SANDBOX_ID = "f" * 64, "ab12" * 16
IMAGE_ID = "sha256:" + "1a" * 32
MOUNT_ID, LAYER_ID, BUILD_ID, STRAY_ID = "3b" * 32, "4c" * 32, "n0t0hexadecimal0at0all0xy", "6e" * 32
CHAIN_ID = "sha256:" + "7f" * 32
ANONYMOUS = "8d" * 32
SHORT = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LAN_ID = "c1" * 32


def process(pid: int, comm: str, *cmdline: str, ppid: int = 1) -> Process:
    return host_process(pid, comm=comm, ppid=ppid, cmdline=cmdline or None)


def proxy(pid: int, port: int, ip: str) -> Process:
    options = ("-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", str(port), "-container-ip", ip)
    return process(pid, "docker-proxy", "/usr/bin/docker-proxy", *options, "-container-port", "80", ppid=300)


def dnat(position: int, port: int, to: str) -> Rule:
    return Rule(
        netns=HOST_NETNS,
        family="ipv4",
        backend="nft",
        table="nat",
        chain="DOCKER",
        position=position,
        text=f"-A DOCKER ! -i docker0 -p tcp -m tcp --dport {port} -j DNAT --to-destination {to}",
        verdict="DNAT",
        proto="tcp",
        dport=str(port),
        to=to,
        packets=12,
    )


def mount(mntns: int, mount_id: int, device: str, root: str, mount_point: str, fstype: str = "ext4") -> MountPoint:
    return MountPoint(
        mntns=mntns,
        mount_id=mount_id,
        parent_id=1,
        device=device,
        root=root,
        mount_point=mount_point,
        options=("rw",),
        fstype=fstype,
        source="/dev/vda1" if fstype == "ext4" else fstype,
        upperdir=f"{ROOT}/overlay2/{MOUNT_ID}/diff" if fstype == "overlay" else None,
    )


WEB = record(
    image="nginx:1",
    image_id=IMAGE_ID,
    hostname="web.example",
    sandbox_id=SANDBOX_ID,
    sandbox_key=f"/var/run/docker/netns/{SANDBOX_ID[:12]}",
    driver="overlay2",
    endpoints=(
        RecordedEndpoint(
            network="bridge",
            network_id=NETWORK_ID,
            endpoint_id=ENDPOINT_ID,
            ip="172.17.0.2",
            prefix_len=16,
            gateway="172.17.0.1",
            mac="02:42:ac:11:00:02",
            aliases=("shop",),
            dns_names=("web", "shop"),
        ),
    ),
    ports=(RecordedPort(proto="tcp", container_port=80, host_ip="0.0.0.0", host_port=8080),),
    mounts=(
        RecordedMount(
            type="volume", name="data", source=f"{ROOT}/volumes/data/_data", destination="/data", driver="local"
        ),
        RecordedMount(type="bind", source="/srv/site", destination="/www", rw=False),
        RecordedMount(type="bind", source="/var/run/docker.sock", destination="/var/run/docker.sock"),
    ),
)
SIDE = record(id=SIDE_ID, name="side", pid=600, network_mode=f"container:{WEB_ID}", endpoints=())
OLD = record(
    id=OLD_ID,
    name="old",
    image="nginx:0",
    image_id=IMAGE_ID,
    running=False,
    pid=None,
    endpoints=(),
    port_bindings=(RecordedPort(proto="udp", container_port=53, host_ip="", host_port=5353, host_port_end=5355),),
    mounts=(
        RecordedMount(type="volume", name=ANONYMOUS, source=f"{ROOT}/volumes/{ANONYMOUS}/_data", destination="/v"),
    ),
)
PROCESSES = (
    host_process(),
    host_process(12, comm="kworker", ppid=2, cgroups=()),
    host_process(300, comm="dockerd", ppid=1),
    host_process(310, comm="containerd", ppid=300),
    process(320, "containerd-shim", "containerd-shim-runc-v2", "-namespace", "moby", "-id", WEB_ID),
    process(330, "containerd-shim", "containerd-shim-runc-v2", "-namespace", "moby", "-id", GONE_ID),
    proxy(340, 8080, "172.17.0.2"),
    proxy(350, 9090, "172.17.0.77"),
    host_process(22, comm="sshd"),
    web_process(),
    web_process(pid=501, ppid=500, comm="worker", starttime=1001),
    web_process(pid=600, comm="tail", cgroups=(f"/system.slice/docker-{SIDE_ID}.scope",), mntns=WEB_MNTNS + 100),
    web_process(pid=700, comm="ghost", cgroups=(f"/docker/{GONE_ID}",), netns=None, mntns=None),
)
LEFT_NETNS, OVERLAY_NETNS = 4026532301, 4026532302
LEFT_VETH = Link(netns=HOST_NETNS, ifindex=15, ifname="veth9", kind="veth", master=3, link=14, link_netnsid=1)
LEFT_ETH0 = Link(
    netns=LEFT_NETNS, ifindex=14, ifname="eth0", kind="veth", mac="02:42:ac:11:00:09", link=15, link_netnsid=0
)
LOST_VETH = Link(netns=HOST_NETNS, ifindex=17, ifname="veth7", kind="veth", master=3, link=16, link_netnsid=5)
ETH0 = Link(netns=HOST_NETNS, ifindex=2, ifname="eth0", mac="52:54:00:00:00:01", altnames=("enp1s0",), alias="uplink")
LO = Link(netns=HOST_NETNS, ifindex=1, ifname="lo", link_type="loopback", mac="00:00:00:00:00:00")
STALE_BRIDGE = Link(netns=HOST_NETNS, ifindex=4, ifname="br-0123456789ab", kind="bridge")
LAN = NetworkRecord(
    engine="docker",
    data_root=ROOT,
    id=LAN_ID,
    name="lan",
    driver="macvlan",
    parent="eth0",
    subnets=(Subnet(subnet="198.51.100.0/24", gateway="198.51.100.1"),),
)


def big_host(**changes: object) -> Facts:
    """web and side, which shares its namespace, run; old does not; GONE_ID is nobody's any more, and all over."""
    fields: dict[str, object] = {
        "processes": PROCESSES,
        "network_namespaces": (
            NetworkNamespace(inode=HOST_NETNS, pids=(1, 12, 22, 300), entered=True),
            NetworkNamespace(
                inode=WEB_NETNS, pids=(500, 501, 600), entered=True, paths=(f"/run/docker/netns/{SANDBOX_ID[:12]}",)
            ),
            NetworkNamespace(inode=LEFT_NETNS, entered=True, paths=("/run/docker/netns/77aa77aa77aa",)),
            NetworkNamespace(inode=LEFT_NETNS + 9, entered=True, paths=("/run/netns/blue",)),
        ),
        "nsids": (
            Nsid(netns=HOST_NETNS, nsid=0, target=WEB_NETNS),
            Nsid(netns=HOST_NETNS, nsid=1, target=LEFT_NETNS),
            Nsid(netns=WEB_NETNS, nsid=0, target=HOST_NETNS),
            Nsid(netns=LEFT_NETNS, nsid=0, target=HOST_NETNS),
        ),
        "links": (LO, ETH0, DOCKER0, STALE_BRIDGE, HOST_VETH, LEFT_VETH, LOST_VETH, WEB_ETH0, LEFT_ETH0),
        "addresses": (
            WEB_ADDRESS,
            BRIDGE_ADDRESS,
            Address(netns=WEB_NETNS, ifindex=12, family="ipv6", address="fd00::2", prefix_len=64),
            Address(netns=HOST_NETNS, ifindex=2, family="ipv4", address="192.0.2.10", prefix_len=24),
        ),
        "listening_sockets": (
            ListeningSocket(netns=WEB_NETNS, proto="tcp", family="ipv6", address="::", port=80, inode=1),
            ListeningSocket(netns=HOST_NETNS, proto="tcp", family="ipv4", address="0.0.0.0", port=8080, inode=2),
            ListeningSocket(netns=HOST_NETNS, proto="tcp", family="ipv4", address="0.0.0.0", port=22, inode=3),
        ),
        "socket_holders": (
            SocketHolder(inode=1, pid=500),
            SocketHolder(inode=2, pid=340),
            SocketHolder(inode=3, pid=22),
        ),
        "chains": (Chain(netns=HOST_NETNS, family="ipv4", backend="nft", table="nat", name="DOCKER"),),
        "rules": (dnat(1, 8080, "172.17.0.2:80"), dnat(2, 9090, "172.17.0.77:80")),
        "mounts": (
            mount(HOST_MNTNS, 20, "254:1", "/", "/"),
            mount(HOST_MNTNS, 21, "0:25", "/", "/run", "tmpfs"),
            mount(HOST_MNTNS, 22, "0:48", "/", f"{ROOT}/overlay2/{MOUNT_ID}/merged", "overlay"),
            mount(WEB_MNTNS, 30, "0:48", "/", "/", "overlay"),
            mount(WEB_MNTNS, 31, "254:1", f"{ROOT}/volumes/data/_data", "/data"),
            mount(WEB_MNTNS, 32, "254:1", "/srv/site", "/www"),
            mount(WEB_MNTNS, 33, "254:1", "/srv/by-hand", "/mnt"),
        ),
        "containers": (WEB, SIDE, OLD),
        "layers": (
            LayerRecord(
                container_id=WEB_ID,
                mount_id=MOUNT_ID,
                init_id=f"{MOUNT_ID}-init",
                lower=(f"{ROOT}/overlay2/{MOUNT_ID}-init/diff", f"{ROOT}/overlay2/{LAYER_ID}/diff"),
                upper=f"{ROOT}/overlay2/{MOUNT_ID}/diff",
                work=f"{ROOT}/overlay2/{MOUNT_ID}/work",
                merged=f"{ROOT}/overlay2/{MOUNT_ID}/merged",
            ),
        ),
        "networks": (BRIDGE_NETWORK, LAN),
        "endpoints": (
            EndpointRecord(
                id=ENDPOINT_ID,
                network_id=NETWORK_ID,
                name="web",
                sandbox_id=SANDBOX_ID,
                address="172.17.0.2",
                mac="02:42:ac:11:00:02",
                src_name="vethc0ffee0",
            ),
            EndpointRecord(
                id="dead" * 16,
                network_id=NETWORK_ID,
                name="gone",
                sandbox_id="77aa" * 16,
                address="172.17.0.77",
                mac="02:42:ac:11:00:77",
            ),
        ),
        "sandboxes": (
            SandboxRecord(id=SANDBOX_ID, container_id=WEB_ID),
            SandboxRecord(id="77aa" * 16, container_id=GONE_ID),
        ),
        "volumes": (
            VolumeRecord(engine="docker", data_root=ROOT, name="data", mountpoint=f"{ROOT}/volumes/data/_data"),
            VolumeRecord(
                engine="docker", data_root=ROOT, name=ANONYMOUS, mountpoint=f"{ROOT}/volumes/{ANONYMOUS}/_data"
            ),
            VolumeRecord(
                engine="docker", data_root=ROOT, name="2f" * 32, mountpoint=f"{ROOT}/volumes/{'2f' * 32}/_data"
            ),
        ),
        "images": (ImageRecord(data_root=ROOT, id=IMAGE_ID, names=("nginx:1",), layers=(CHAIN_ID,)),),
        "image_layers": (ImageLayerRecord(data_root=ROOT, chain_id=CHAIN_ID, cache_id=LAYER_ID),),
        "build_cache": (BuildCacheRecord(data_root=ROOT, id=BUILD_ID),),
        "layer_homes": (
            LayerHomeRecord(
                data_root=ROOT,
                path=f"{ROOT}/overlay2",
                directories=tuple(
                    LayerDirectoryRecord(name=name, link=SHORT if name == MOUNT_ID else None)
                    for name in (MOUNT_ID, f"{MOUNT_ID}-init", LAYER_ID, BUILD_ID, STRAY_ID)
                ),
            ),
        ),
    }
    return host_with_web(**{**fields, **changes})


def ask(key: str, facts: Facts | None = None, cwd: str | None = "/root") -> KeyAnswer:
    return whois(Inspection(facts or big_host()), [key], cwd=cwd).keys[0]


def only(key: str, facts: Facts | None = None) -> Match:
    """The one answer to a key."""
    answer = ask(key, facts)
    assert len(answer.matches) == 1, [match.summary for match in answer.matches]
    return answer.matches[0]


def texts(match: Match) -> list[str]:
    return [reason.text for reason in match.reasons]


WEB_RUNS = f"web is container {WEB_ID[:12]}, image nginx:1, running as pid 500 (httpd)"
WEB_NAMESPACE = f"namespace {WEB_NETNS} is web's: pid 500 (httpd) is in cgroup /docker/{WEB_ID[:12]}…"
BRIDGE = f"bridge is network {NETWORK_ID[:12]}, driver bridge, 172.17.0.0/16; on it: web"


# --- keys that lead to a container ------------------------------------------------------------------------------

IN_WEB = [
    ("veth1", "interface", "the host end of eth0 in container web"),
    ("veth1@if12", "interface", "the host end of eth0 in container web"),
    ("veth1@if12:", "interface", "the host end of eth0 in container web"),
    ("/sys/class/net/veth1/operstate", "interface", "the host end of eth0 in container web"),
    ("13", "ifindex", "the host end of eth0 in container web"),
    ("if12", "ifindex", "eth0 in container web"),
    ("vethc0ffee0", "former interface name", "what eth0 of container web was called before"),
    ("172.17.0.2", "address", "eth0 of container web on network bridge"),
    ("172.17.0.2/16", "address", "eth0 of container web on network bridge"),
    ("172.17.0.2/32", "address", "eth0 of container web on network bridge"),
    ("172.17.0.2:80", "address", "eth0 of container web on network bridge"),
    ("::ffff:172.17.0.2", "address", "eth0 of container web on network bridge"),
    ("FD00:0:0::0002", "address", "eth0 of container web on network bridge"),
    ("[fd00::2]:80", "address", "eth0 of container web on network bridge"),
    ("02:42:AC:11:00:02", "mac", "eth0 in container web"),
    ("2:42:ac:11:0:2", "mac", "eth0 in container web"),
    ("02-42-ac-11-00-02", "mac", "eth0 in container web"),
    ("0242.ac11.0002", "mac", "eth0 in container web"),
    ("0242ac110002", "mac", "eth0 in container web"),
    ("500", "pid", "httpd, the main process of container web"),
    ("501", "pid", "worker, a process of container web"),
    ("/proc/501/fd/7", "pid", "worker, a process of container web"),
    ("320", "pid", "the shim of container web"),
    ("340", "pid", "docker-proxy for host port 0.0.0.0:8080/tcp of container web"),
    ("8080", "host port", "host port 0.0.0.0:8080/tcp → port 80/tcp of container web"),
    ("tcp/8080", "host port", "host port 0.0.0.0:8080/tcp → port 80/tcp of container web"),
    (":8080", "host port", "host port 0.0.0.0:8080/tcp → port 80/tcp of container web"),
    ("*:8080", "host port", "host port 0.0.0.0:8080/tcp → port 80/tcp of container web"),
    ("127.0.0.1:8080", "host port", "host port 0.0.0.0:8080/tcp → port 80/tcp of container web"),
    ("0.0.0.0:8080->80/tcp", "host port", "host port 0.0.0.0:8080/tcp → port 80/tcp of container web"),
    ("80/tcp", "container port", "port 80/tcp inside container web"),
    (str(WEB_NETNS), "network namespace", "the network namespace of container web"),
    (f"net:[{WEB_NETNS}]", "network namespace", "the network namespace of container web"),
    ("/proc/500/ns/net", "network namespace", "the network namespace of container web"),
    ("/proc/500/task/500/ns/net", "network namespace", "the network namespace of container web"),
    (f"/var/run/docker/netns/{SANDBOX_ID[:12]}", "network namespace", "the network namespace of container web"),
    (f"mnt:[{WEB_MNTNS}]", "mount namespace", "the mount namespace of container web"),
    ("/proc/500/ns/mnt", "mount namespace", "the mount namespace of container web"),
    (WEB_ID, "container id", "container web"),
    ("eeee", "container id", "container web"),
    ("web", "container name", "container web"),
    ("/web", "container name", "container web"),
    ("shop", "dns name", "a name of container web"),
    ("Shop.bridge.", "dns name", "a name of container web"),
    ("web.example", "hostname", "the hostname of container web"),
    (SANDBOX_ID, "sandbox id", "the sandbox of container web"),
    (ENDPOINT_ID[:20], "endpoint id", "the endpoint of container web on network bridge"),
    (f"docker-{WEB_ID}.scope", "cgroup", "the cgroup of container web"),
    (f"/docker/{WEB_ID}/init", "cgroup", "the cgroup of container web"),
    (f"docker/{WEB_ID}", "cgroup", "the cgroup of container web"),
    (f"/sys/fs/cgroup/memory/docker/{WEB_ID}/memory.stat", "cgroup", "the cgroup of container web"),
    (f"libpod-{WEB_ID}:x", "id within a word", "container web"),
    (f"{ROOT}/overlay2/{MOUNT_ID}", "layer", "the writable layer of container web"),
    (f"{ROOT}/overlay2/{MOUNT_ID}/diff/etc/x", "path in a layer", "/etc/x in the writable layer of container web"),
    (f"{ROOT}/overlay2/{MOUNT_ID}/merged/etc/x", "path in a layer", "/etc/x of container web"),
    (f"overlay2/{MOUNT_ID}/diff", "path in a layer", "the files of the writable layer of container web"),
    (f"/mnt/other/overlay2/{MOUNT_ID}/diff/a", "path in a layer", "/a in the writable layer of container web"),
    (f"{ROOT}/overlay2/{MOUNT_ID}-init/diff", "path in a layer", "the files of the init layer of container web"),
    (f"{ROOT}/overlay2/l/{SHORT}/a/b", "path in a layer", "/a/b in the writable layer of container web"),
    (f"l/{SHORT}", "short name of a layer", "the writable layer of container web"),
    (MOUNT_ID[:12], "layer id", "the writable layer of container web"),
    (f"{MOUNT_ID}-init", "layer id", "the init layer of container web"),
    (f"{ROOT}/containers/{WEB_ID}/hostname", "path", "files that docker keeps for container web"),
    (f"{ROOT}/image/overlay2/layerdb/mounts/{WEB_ID}/mount-id", "path", "files that docker keeps for container web"),
    (f"/run/docker/runtime-runc/moby/{WEB_ID}/state.json", "path", "what a runtime keeps for container web"),
    ("/srv/site", "bind mount", "/www of container web"),
    ("/srv//site/./a/../b/c", "path in a bind mount", "/www/b/c of container web"),
    ("/srv/by-hand/x", "path in a bind mount", "/mnt/x of container web"),
    ("/run/docker.sock", "bind mount", "/run/docker.sock of container web"),
    ("/www", "mount in a container", "where container web has /srv/site mounted, inside"),
    ("33", "mount id", "ext4 at /mnt in container web"),
    (dnat(1, 8080, "172.17.0.2:80").text, "rule", "nat DOCKER rule 1 (ipv4, nft)"),
    (f"[3:180] {dnat(1, 8080, '172.17.0.2:80').text}", "rule", "nat DOCKER rule 1 (ipv4, nft)"),
]


@pytest.mark.parametrize(("key", "kind", "summary"), IN_WEB, ids=lambda value: str(value)[:40])
def test_a_key_of_the_container(key: str, kind: str, summary: str) -> None:
    match = only(key)
    assert (match.kind, match.summary) == (kind, summary)
    assert match.owner is not None and (match.owner.kind, match.owner.id, match.owner.name) == (
        "container",
        WEB_ID,
        "web",
    )
    assert WEB_ID in match.containers and not match.leftover and match.formerly is None
    assert WEB_RUNS in texts(match)


def test_the_chain_of_a_veth_goes_link_by_link() -> None:
    match = only("veth1")
    assert texts(match) == [
        "veth1 (13) is a port of docker0, network bridge",
        f"its peer is eth0, ifindex 12 in namespace {WEB_NETNS}, which points back at 13",
        WEB_NAMESPACE,
        "side shares it",
        WEB_RUNS,
    ]
    assert match.network == NETWORK_ID
    assert match.containers == (WEB_ID, SIDE_ID)
    assert [reason.about and reason.about.kind for reason in match.reasons] == [None, None, "netns", None, "container"]


def test_the_chain_of_a_port() -> None:
    assert texts(only("8080")) == [
        "nat DOCKER rule 1: tcp 8080 → 172.17.0.2:80, 12 packets",
        "docker-proxy, pid 340: tcp 0.0.0.0:8080 → 172.17.0.2:80",
        "httpd, pid 500, listens on [::]:80/tcp",
        WEB_RUNS,
    ]


def test_an_address_with_a_port_tells_who_listens_there() -> None:
    assert "httpd, pid 500, listens on [::]:80/tcp" in texts(only("172.17.0.2:80"))
    assert "nothing listens on 172.17.0.2:81" in texts(only("172.17.0.2:81"))


def test_what_a_key_says_wrongly_is_told() -> None:
    assert texts(only("veth1@if99"))[0] == "its other end is not if99 now"
    assert texts(only("172.17.0.2/24"))[1] == "its prefix is /16, not /24"


# --- networks, volumes, images, the engine, the host ------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "kind", "summary", "owner"),
    [
        ("bridge", "network name", "network bridge", ("network", NETWORK_ID)),
        ("bbbb", "network id", "network bridge", ("network", NETWORK_ID)),
        ("docker0", "interface", "the bridge of network bridge", ("network", NETWORK_ID)),
        ("3", "ifindex", "the bridge of network bridge", ("network", NETWORK_ID)),
        ("172.17.0.1", "address", "the gateway of network bridge, on its bridge docker0", None),
        ("172.17.0.0/16", "subnet", "a subnet of network bridge", ("network", NETWORK_ID)),
        ("172.17.0.200", "address", "nobody's: a free address of network bridge", ("network", NETWORK_ID)),
        ("198.51.100.1", "address", "the gateway of network lan", ("network", LAN_ID)),
        ("br-bbbbbbbbbbbb", "bridge name", "what the bridge of network bridge is called, and there is none", None),
        ("data", "volume name", "volume data", ("volume", "data")),
        (f"{ROOT}/volumes/data/_data", "volume", "volume data", ("volume", "data")),
        (f"{ROOT}/volumes/data/_data/a/b c", "path in a volume", "a/b c in volume data", ("volume", "data")),
        ("volumes/data/_data/x", "path in a volume", "x in volume data", ("volume", "data")),
        (ANONYMOUS[:9], "volume name", "an anonymous volume", None),
        ("nginx", "image name", "image nginx:1", ("image", IMAGE_ID)),
        ("nginx:1", "image name", "image nginx:1", ("image", IMAGE_ID)),
        (IMAGE_ID, "image id", "image nginx:1", ("image", IMAGE_ID)),
        ("1a1a1a1a", "image id", "image nginx:1", ("image", IMAGE_ID)),
        (LAYER_ID, "layer id", "a layer of image nginx:1", ("image", IMAGE_ID)),
        (CHAIN_ID, "chain id", "a layer of image nginx:1", ("image", IMAGE_ID)),
        (f"{ROOT}/overlay2/{LAYER_ID}/diff/bin/sh", "path in a layer", "/bin/sh in a layer of image nginx:1", None),
        (f"{ROOT}/image/overlay2/layerdb/sha256/{'7f' * 32}/size", "chain id", "a layer of image nginx:1", None),
        (f"{ROOT}/image/overlay2/imagedb/content/sha256/{'1a' * 32}", "path", "the record of image nginx:1", None),
        (f"{ROOT}/overlay2/{BUILD_ID}/diff", "path in a layer", "the files of a layer of the build cache", None),
        (BUILD_ID, "layer id", "a layer of the build cache", ("build cache", BUILD_ID)),
        (ROOT, "path", "the data root of the engine docker", ("engine", ROOT)),
        (f"{ROOT}/network/files/local-kv.db", "path", "files of the engine docker", ("engine", ROOT)),
        (f"{ROOT}/overlay2", "path", "the home of all layers of the engine docker", ("engine", ROOT)),
        ("/run/docker.pid", "path", "of the engine docker itself", ("engine", ROOT)),
        ("300", "pid", "docker's daemon", ("engine", ROOT)),
        ("310", "pid", "containerd of docker's daemon", ("engine", ROOT)),
        ("/proc/12", "pid", "kworker, a process of the host", ("host", "host")),
        ("enp1s0", "interface", "eth0, an interface of the host itself", ("host", "host")),
        ("uplink", "interface", "eth0, an interface of the host itself", ("host", "host")),
        ("192.0.2.10", "address", "eth0 of the host", ("host", "host")),
        (f"mnt:[{HOST_MNTNS}]", "mount namespace", "the mount namespace of the host", ("host", "host")),
        ("/proc/1/ns/net", "network namespace", "the network namespace of the host", ("host", "host")),
        ("blue", "network namespace", "network namespace blue, no container's", ("host", "host")),
        ("22/tcp", "host port", "port 22/tcp of the host, no container's", ("host", "host")),
        ("web-01", "hostname", "the name of the host itself", ("host", "host")),
        ("/run", "mount point", "tmpfs at /run on the host", ("host", "host")),
        ("0:25", "device", "tmpfs at /run on the host", ("host", "host")),
        ("/dev/vda1", "mount source", "ext4 at / on the host", ("host", "host")),
        ("DOCKER", "chain", "a chain of ipv4 nat (nft) in the host: 2 rules", ("host", "host")),
        ("5354/udp", "recorded port", "host port 5354/udp that container old would publish", ("container", OLD_ID)),
        ("old", "container name", "container old", ("container", OLD_ID)),
        ("nginx:0", "image name", "image nginx:0, as it was", ("image", IMAGE_ID)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_key_of_something_else(key: str, kind: str, summary: str, owner: tuple[str, str] | None) -> None:
    match = only(key)
    assert (match.kind, match.summary) == (kind, summary)
    assert not match.leftover
    assert match.owner is not None
    if owner is not None:
        assert (match.owner.kind, match.owner.id) == owner


def test_a_volume_tells_who_uses_it_and_where_a_path_is_seen() -> None:
    match = only(f"{ROOT}/volumes/data/_data/a/b")
    assert texts(match) == ["data is a volume of driver local", "web has it at /data, rw", "web sees it as /data/a/b"]
    assert (match.volume, match.containers) == ("data", (WEB_ID,))


def test_an_image_tells_who_is_made_from_it() -> None:
    assert texts(only("nginx:1")) == ["image 1a1a1a1a1a1a is nginx:1", "containers made from it: old, web"]
    assert set(only("nginx:1").containers) == {OLD_ID, WEB_ID}


@pytest.mark.parametrize(
    ("key", "what"),
    [("172.16.0.0/12", "more than a subnet"), ("172.17.4.0/24", "a part of a subnet"), ("172.17.0.0/16", "a subnet")],
)
def test_a_subnet_around_or_within_that_of_a_network(key: str, what: str) -> None:
    assert (only(key).kind, only(key).summary) == ("subnet", f"{what} of network bridge")


def test_a_volume_that_is_a_directory_from_elsewhere() -> None:
    options = (("type", "none"), ("o", "bind"), ("device", "/srv/deep"))
    volume = VolumeRecord(engine="docker", data_root=ROOT, name="deep", mountpoint=f"{ROOT}/v/_data", options=options)
    match = only("/srv/deep/a/b", big_host(volumes=(volume,)))
    assert match.summary == "a/b in volume deep, used by nobody"
    assert texts(match)[0] == "volume deep is /srv/deep of the host"


def test_loopback_and_the_embedded_resolver_are_nobodys() -> None:
    assert only("127.0.0.1").summary == "a loopback address, nobody's alone"
    assert only("::1").owner is None
    assert only("127.0.0.11").summary == "docker's embedded DNS resolver, inside of a container"


# --- several answers --------------------------------------------------------------------------------------------


def test_a_number_is_all_that_it_may_be_and_the_likeliest_first() -> None:
    facts = big_host(processes=(*PROCESSES, web_process(pid=13, comm="nc"), web_process(pid=8080, comm="x")))
    assert [(match.kind, match.summary) for match in ask("13", facts).matches] == [
        ("pid", "nc, a process of container web"),
        ("ifindex", "the host end of eth0 in container web"),
    ]
    assert [match.kind for match in ask("8080", facts).matches] == ["host port", "pid"]
    assert [match.kind for match in ask("12").matches] == ["ifindex", "pid"]  # a container's before the kernel's
    assert [match.kind for match in ask("22").matches] == ["host port", "pid", "mount id"]
    assert ask("1").matches[0].summary == "init, a process of the host"
    assert [match.kind for match in ask("if1").matches] == ["ifindex"]


def test_an_interface_name_that_many_have_lists_them_all() -> None:
    matches = ask("eth0").matches
    assert [match.summary for match in matches] == [
        "eth0 in container web",
        "eth0 in namespace /run/docker/netns/77aa77aa77aa",
        "eth0, an interface of the host itself",
    ]


def test_a_name_that_two_kinds_of_things_have() -> None:
    volume = VolumeRecord(engine="docker", data_root=ROOT, name="web", mountpoint=f"{ROOT}/volumes/web/_data")
    kinds = [match.kind for match in ask("web", big_host(volumes=(volume,))).matches]
    assert kinds == ["container name", "volume name"]


def test_short_beginnings_of_ids_count_where_they_are_of_one_alone() -> None:
    twin = record(id="e" * 63 + "0", name="twin", running=False, pid=None, endpoints=())
    facts = big_host(containers=(WEB, SIDE, OLD, twin))
    assert {match.summary for match in ask("eeeee", facts).matches} == {
        "container web",
        "container twin",
    }
    assert not [match for match in ask("ee", facts).matches if match.kind == "container id"]
    assert [match.summary for match in ask("5d").matches] == ["container side"]


def test_two_containers_that_bind_one_directory() -> None:
    other = record(
        id=OLD_ID,
        name="old",
        running=False,
        pid=None,
        endpoints=(),
        mounts=(RecordedMount(type="bind", source="/srv", destination="/all"),),
    )
    matches = ask("/srv/site/x", big_host(containers=(WEB, SIDE, other))).matches
    assert {match.summary for match in matches} == {"/all/site/x of container old", "/www/x of container web"}


def test_layers_that_no_home_of_dockers_has() -> None:
    """With containerd's image store the snapshots are below the data root, and mounts alone tell whose they are."""
    home = f"{ROOT}/containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots"
    root = MountPoint(
        mntns=WEB_MNTNS,
        mount_id=30,
        parent_id=1,
        device="0:48",
        root="/",
        mount_point="/",
        options=("rw",),
        fstype="overlay",
        source="overlay",
        upperdir=f"{home}/11/fs",
        lowerdir=(f"{home}/10/fs", f"{home}/1/fs"),
        workdir=f"{home}/11/work",
    )
    facts = big_host(mounts=(root,), layers=(), layer_homes=(), image_layers=(), images=())
    assert only(f"{home}/11/fs/etc/x", facts).summary == "/etc/x in the upper directory of container web"
    assert only(f"{home}/1/fs/x", facts).summary == "/x in a lower layer of container web"
    assert only(f"{home}/99/fs", facts).summary == "files of the engine docker"
    assert texts(only("nginx:1", facts))[0].endswith("what has that name now could not be seen")


# --- what is left over ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (GONE_ID, "container id"),
        (GONE_ID[:12], "container id"),
        ("330", "pid"),
        ("700", "pid"),
        (f"/docker/{GONE_ID}", "cgroup"),
        (f"{ROOT}/containers/{GONE_ID}/config.v2.json", "path"),
        (f"/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/{GONE_ID}/log", "path"),
        (str(LEFT_NETNS), "network namespace"),
        ("/run/docker/netns/77aa77aa77aa", "network namespace"),
        ("veth9", "interface"),
        ("02:42:ac:11:00:09", "mac"),
        ("02:42:ac:11:00:77", "mac"),
        ("172.17.0.77:80", "destination of a rule"),
        ("172.17.0.77", "destination of a rule"),
        ("9090", "host port"),
        ("350", "pid"),
        ("deaddead", "endpoint id"),
        ("77aa77aa77aa", "sandbox id"),
    ],
)
def test_what_is_left_of_a_container_that_is_gone(key: str, kind: str) -> None:
    match = next(match for match in ask(key).matches if match.kind == kind)
    assert match.leftover and match.owner is None
    assert match.formerly is not None and (match.formerly.kind, match.formerly.id) == ("container", GONE_ID)
    assert f"no engine here has a container {GONE_ID[:12]} any more; gone is what libnetwork calls it" in texts(match)


@pytest.mark.parametrize(
    ("key", "summary"),
    [
        (f"{ROOT}/overlay2/{STRAY_ID}", "a layer directory that belongs to nobody"),
        (STRAY_ID, "a layer directory that belongs to nobody"),
        (f"{ROOT}/overlay2/l/{SHORT[::-1]}", "a short name of no layer"),
        (f"{ROOT}/volumes/lost/_data/x", "a place for a volume lost, and there is none"),
        ("br-0123456789ab", "the bridge br-0123456789ab of a network that is not there"),
    ],
)
def test_what_was_never_recorded(key: str, summary: str) -> None:
    match = only(key)
    assert (match.summary, match.leftover, match.owner) == (summary, True, None)


def test_an_anonymous_volume_that_nobody_uses_is_left_over() -> None:
    match = only("2f" * 32)
    assert match.leftover and match.owner is not None and match.owner.kind == "volume"
    assert "no container uses it" in texts(match)
    assert not only("data").leftover


def test_a_veth_whose_other_end_is_not_to_be_found_is_not_called_a_leftover() -> None:
    match = only("veth7")
    assert (match.owner, match.leftover) == (None, False)
    assert match.summary == "veth7, whose other end could not be found"
    assert texts(match)[1] == "its peer, ifindex 16, is in a namespace not found (nsid 5)"


def test_a_rule_to_an_address_in_a_namespace_that_nobody_is_in() -> None:
    address = Address(netns=LEFT_NETNS, ifindex=14, family="ipv4", address="172.17.0.77", prefix_len=16)
    match = next(m for m in ask("9090", big_host(addresses=(WEB_ADDRESS, address))).matches if m.kind == "host port")
    assert match.summary == "host port 9090/tcp, taken by a rule"
    assert f"172.17.0.77 is eth0 in namespace {LEFT_NETNS}" in texts(match)
    assert match.leftover and match.formerly is not None and match.formerly.id == GONE_ID


def test_a_namespace_that_a_container_made_is_told_as_its_own_making_and_after_the_engines() -> None:
    """As Docker in Docker does: with a bridge, and addresses that others have."""
    nested = 4026531001  # sorts before all others
    mine = web_process(pid=700, ppid=500, comm="nested", starttime=2000, netns=nested)
    host = big_host(
        processes=(*PROCESSES, mine),
        network_namespaces=(
            *big_host().network_namespaces,
            NetworkNamespace(inode=nested, pids=(700,), entered=True),
        ),
        links=(*big_host().links, replace(WEB_ETH0, netns=nested, ifname="veth1")),
        addresses=(replace(WEB_ADDRESS, netns=nested), *big_host().addresses),
    )
    match = only(f"net:[{nested}]", host)
    assert match.summary == f"network namespace {nested}, made within container web"
    assert match.containers == (WEB_ID,) and match.owner is not None and match.owner.id == WEB_ID
    assert "none is a container's" not in "".join(texts(match))
    real, fake = ask("172.17.0.2", host).matches
    assert "eth0 of container web" in real.summary and f"namespace {nested}" in fake.summary


UNSEEN = (
    Gap(collector="engines", subject=ROOT, why="Permission denied", remedy="run as root"),
    Gap(collector="processes", subject="/proc", why="hidepid", remedy="run as root"),
    Gap(collector="namespaces", subject="8 namespaces", why="Permission denied", remedy="run as root"),
)


@pytest.mark.parametrize(
    "key", [GONE_ID, "330", f"/docker/{GONE_ID}", str(LEFT_NETNS), "172.17.0.77:80", "9090", STRAY_ID]
)
def test_nothing_is_called_left_over_where_not_all_was_seen(key: str) -> None:
    answer = whois(Inspection(big_host(gaps=UNSEEN)), [key])
    assert not any(match.leftover for match in answer.keys[0].matches)
    assert answer.gaps


# --- what nobody has --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "looked_at"),
    [
        ("vet1", "names of 9 interfaces"),
        ("203.0.113.7", "4 addresses of interfaces, endpoints, gateways and 2 subnets"),
        ("4194303", "13 processes"),
        ("02:00:00:00:00:99", "MACs of 9 interfaces"),
        ("net:[5]", "inodes of 4 network namespaces and of mount namespaces"),
        ("/no/where", "directories of engines, layers, volumes, and bind mounts of containers"),
        ("1:2", "devices of 7 mounts"),
        ("a b", "names of 9 interfaces"),
    ],
)
def test_an_unknown_key_says_what_was_looked_at(key: str, looked_at: str) -> None:
    answer = ask(key)
    assert answer.matches == ()
    assert looked_at in answer.looked_at


def test_an_unknown_name_suggests_what_it_may_have_been() -> None:
    assert ask("vet1").suggestions[0] == "veth1"
    assert "docker0" in ask("dcoker0").suggestions
    assert ask("8080").suggestions == ()


# --- what a person may type -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    ["", " ", "\0", "a\0b", "../../../../etc/passwd", "\x1b[31mred", "x" * 100_000, "9" * 5000, "²", "1" * 21, "::",
     "[", "[]", "[::", "0x10", "-1", "1/", "/", "//", ".", "..", "@", "@if", "if", "veth@", ":80", ":", "->", "1->2",
     "99999", "0", "65536/tcp", "/proc//ns/net", "/proc/99999999999/ns/net", "l/", "sha256:", "-init", "\udcff\ud800",
     "%", "fe80::1%eth0", "1.2.3.4/99", "::/129", "mnt:[]", "-A", "-A x", "[1:2]", "/sys/fs/cgroup", "/sys/fs/cgroup/",
     "/var/run", "/run/docker/netns/", "overlay2/", "overlay2/..", "volumes//_data", "docker-.scope", "a/b" * 2000],
)  # fmt: skip
def test_strange_keys_are_answered(key: str) -> None:
    answer = ask(key)
    assert answer.looked_at or answer.matches or not answer.key.strip() or len(answer.key) > 4096 or "\0" in answer.key


@settings(deadline=None)
@given(
    st.text(max_size=200)
    | st.from_regex(r"[0-9a-f.:/@\[\]-]{1,40}", fullmatch=True)
    | st.from_regex(r"/(proc|var/lib/docker|sys/fs/cgroup|run)(/[a-z0-9._-]{0,12}){0,5}", fullmatch=True)
)
def test_any_text_is_answered(text: str) -> None:
    answer = whois(_INSPECTION, [text], cwd="/")
    drawn = render_whois(answer, Screen())
    assert all(line.isprintable() for line in drawn.splitlines())
    jsonschema.validate(json.loads(_json(answer)), _SCHEMA)


_INSPECTION = Inspection(big_host())
_SCHEMA = answer_schema("whois")


def _json(answer: object) -> str:
    from hostinspect.render.json import render_json
    from hostinspect.topology import Node

    assert isinstance(answer, Node)
    return render_json(answer).decode()


def test_hostile_names_are_shown_escaped() -> None:
    hostile = record(name="web\x1b[2J\u202e", endpoints=())
    answer = whois(Inspection(host_with_web(containers=(hostile,))), ["500", "a\x1b[31m\nb"])
    drawn = render_whois(answer, Screen())
    assert "\x1b" not in drawn and "\u202e" not in drawn
    assert r"web\x1b[2J\u202e" in drawn and r"a\x1b[31m\nb" in drawn


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("8080", PortKey(8080)),
        ("8080/udp", PortKey(8080, "udp")),
        ("UDP/53", PortKey(53, "udp")),
        (":::8080", PortKey(8080, None, "::")),
        ("[::]:8080->80/tcp", PortKey(8080, "tcp", "::")),
        ("*:8080", PortKey(8080)),
        ("localhost:8080", PortKey(8080, None, "127.0.0.1")),
        ("127.0.0.1:53->53/udp", PortKey(53, "udp", "127.0.0.1")),
        ("[::1]:80", PortKey(80, None, "::1")),
        ("fd00::2:80", None),
        ("0", None),
        ("65536", None),
        ("1.2.3:80", None),
        ("8080/http", None),
    ],
)
def test_spellings_of_a_port(text: str, port: PortKey | None) -> None:
    assert Key(text).port == port


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/var/run/docker.sock", "/run/docker.sock"),
        ("//var//run/../run/x/", "/run/x"),
        ("/a/../../b", "/b"),
        ("/", "/"),
        ("/var/running", "/var/running"),
    ],
)
def test_normal_paths(path: str, normal: str) -> None:
    assert normal_path(path) == normal


def test_a_relative_path_starts_where_the_person_is() -> None:
    assert Key("site/a", "/srv").paths == ("/srv/site/a",)
    assert Key("./a", "/srv").paths == ("/srv/a",)
    assert Key("site", "/srv").paths == ()  # a name
    assert Key("site/a").paths == ()  # of another host's snapshot
    assert ask("site/a", cwd="/srv").matches[0].summary == "/www/a of container web"


@pytest.mark.parametrize(
    ("key", "needed"), [("/x", True), ("3b3b", True), ("nginx:1", False), ("8080", False), ("veth1@if7", False)]
)
def test_image_layers_are_read_for_keys_that_may_be_one(key: str, needed: bool) -> None:
    assert looks_like_layer(key) is needed


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The big host instead of this one; what `collect` was asked for."""
    asked: list[dict[str, object]] = []

    def collect(data_roots: object, **more: object) -> Facts:
        asked.append(more)
        return big_host()

    monkeypatch.setattr("hostinspect.collectors.collect", collect)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("COLUMNS", raising=False)
    return asked


def test_the_text(collected: list[dict[str, object]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["whois", "veth1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "the host end of eth0 in container web (interface)"
    assert out[1] == "   veth1 (13) is a port of docker0, network bridge"
    assert [more["image_layers"] for more in collected] == [False]


def test_several_answers_say_so(collected: list[dict[str, object]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["whois", "eth0"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("eth0 may be any of 3, the likeliest first:\n\neth0 in container web (interface)\n")
    assert " · left over: nobody's now, once of container gone\n" in out


def test_several_keys_each_have_their_heading(
    collected: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["whois", "veth1", "nobody", "data"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("veth1: the host end of eth0 in container web (interface)\n")
    assert "\n\nnothing here goes by nobody\n   not among names of 9 interfaces\n" in out
    assert "\n\ndata: volume data (volume name)\n" in out


def test_exit_codes(
    collected: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["whois", "nobody"]) == 1
    assert run(["whois"]) == 2
    monkeypatch.setattr("hostinspect.collectors.collect", lambda data_roots, **more: big_host(gaps=UNSEEN))
    assert run(["whois", "nobody"]) == 3
    assert "not all of it could be seen" in capsys.readouterr().err


def test_json_and_yaml_are_what_the_schema_says(
    collected: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ["veth1", "8080", GONE_ID, "nobody", f"{ROOT}/overlay2/{MOUNT_ID}"]
    assert run(["whois", "-o", "json", *keys]) == 1
    answer = json.loads(capsys.readouterr().out)
    jsonschema.validate(answer, _SCHEMA, cls=jsonschema.Draft202012Validator)
    assert [found["key"] for found in answer["keys"]] == keys
    assert answer["keys"][0]["matches"][0]["owner"] == {"kind": "container", "id": WEB_ID, "name": "web"}
    assert run(["whois", "-o", "yaml", *keys]) == 1
    assert yaml.safe_load(capsys.readouterr().out) == answer
    assert [more["image_layers"] for more in collected] == [True, True]


def test_keys_from_standard_input(
    collected: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    listed = tmp_path / "keys"
    listed.write_bytes(b"veth1\n\n  \n/srv/site/\xff\n")
    with listed.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert run(["whois", "-o", "json", "data", "-"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [found["key"] for found in answer["keys"]] == ["data", "veth1", r"/srv/site/\xff"]
    with (tmp_path / "none").open("w+") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert run(["whois", "-"]) == 2


# --- facts that are missing -------------------------------------------------------------------------------------

FAMILIES = [name for name in Facts.__struct_fields__ if name not in ("host", "gaps")]


@pytest.mark.parametrize("family", FAMILIES)
def test_without_any_one_family_of_facts_every_key_is_answered(family: str) -> None:
    """As a record that was deleted, or could not be read, leaves the others that name it."""
    every = [key for key, *_ in IN_WEB] + [GONE_ID, "330", "700", "veth9", "172.17.0.77:80", "9090", STRAY_ID, "data"]
    answer = whois(Inspection(big_host(**{family: ()})), every)
    assert len(answer.keys) == len(every)
    jsonschema.validate(json.loads(_json(answer)), _SCHEMA)
    render_whois(answer, Screen(width=40))


def test_a_container_without_a_record_whose_layers_have_one() -> None:
    facts = big_host(containers=(SIDE, OLD))
    match = next(match for match in ask("500", facts).matches if match.kind == "pid")
    assert match.summary == "httpd, a process of a container that no record is left of"
    assert match.formerly is not None and match.formerly.id == WEB_ID
    assert texts(match)[0] == f"pid 500 (httpd) is in cgroup /docker/{WEB_ID[:12]}…"
    for key in (f"{ROOT}/overlay2/{MOUNT_ID}/diff/x", WEB_ID[:12], ENDPOINT_ID):
        assert any(m.formerly is not None and m.formerly.id == WEB_ID for m in ask(key, facts).matches), key
