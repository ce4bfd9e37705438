"""A Docker host as a topology, made by hand: the demo scenario, for the tests of what is made of a topology."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from hostinspect.facts import Gap
from hostinspect.topology import (
    Bridge,
    BridgePort,
    Container,
    Drift,
    Endpoint,
    Engine,
    Host,
    Link,
    LinkRef,
    Listener,
    Listening,
    Mount,
    NatRule,
    NetnsRole,
    Network,
    NetworkNamespace,
    OverlayFS,
    PublishedPort,
    RuleRef,
    Subnet,
    Topology,
    Volume,
    VolumeUser,
)

HOST_NETNS = 4026531840
NOW = "2026-01-05T03:00:00Z"
ROOT = "/var/lib/docker"

HOST = Host(
    hostname="web-01",
    kernel="6.1.0-28-amd64",
    os="Debian GNU/Linux 12 (bookworm)",
    boot_id="7f1b2c3d-0000-4000-8000-000000000001",
    collected_at=NOW,
    engines=(Engine(name="docker", data_root=ROOT, daemon="running", version="28.5.2", pid=211),),
)


def make_id(name: str) -> str:
    """64 hex digits that differ for different names."""
    return (name.encode().hex() + "0123456789abcdef" * 4)[:64]


def make_network(name: str, **changes: object) -> Network:
    fields: dict[str, object] = {
        "id": make_id(f"net-{name}"),
        "name": name,
        "data_root": ROOT,
        "driver": "bridge",
        "scope": "local",
        "internal": False,
        "attachable": False,
        "ingress": False,
        "ipv6": False,
        "config_only": False,
        "created": "2026-01-01T00:00:00Z",
        "subnets": (),
        "bridge": None,
        "parent": None,
        "mode": None,
        "vxlan_ids": (),
        "netns": None,
        "options": {},
        "labels": {},
        "containers": (),
        "drift": (),
    }
    return Network(**{**fields, **changes})  # type: ignore[arg-type]


def make_container(name: str, **changes: object) -> Container:
    """A running container without network, mounts or ports."""
    upper = f"{ROOT}/overlay2/{make_id('layer-' + name)}"
    lower = tuple(f"{ROOT}/overlay2/{make_id(f'{number}-' + name)}/diff" for number in range(3, 0, -1))
    fields: dict[str, object] = {
        "id": make_id(name),
        "name": name,
        "data_root": ROOT,
        "image": "app:latest",
        "image_id": f"sha256:{make_id('image')}",
        "state": "running",
        "pid": 300 + len(name),
        "created": "2026-01-04T23:58:00Z",
        "started_at": "2026-01-05T00:00:00.123456789Z",
        "finished_at": None,
        "exit_code": None,
        "health": None,
        "hostname": make_id(name)[:12],
        "cgroup": f"/docker/{make_id(name)}",
        "netns": None,
        "network_mode": "default",
        "shares_netns_with": None,
        "endpoints": (),
        "ports": (),
        "exposed_ports": (),
        "listeners": (),
        "mounts": (),
        "storage_driver": "overlay2",
        "overlay": OverlayFS(lower=lower, upper=f"{upper}/diff", work=f"{upper}/work", merged=f"{upper}/merged"),
        "labels": {},
        "drift": (),
    }
    return Container(**{**fields, **changes})  # type: ignore[arg-type]


def stopped(name: str, **changes: object) -> Container:
    fields: dict[str, object] = {
        "state": "exited",
        "pid": None,
        "finished_at": "2026-01-02T03:00:00Z",
        "exit_code": 0,
        "netns": None,
    }
    return make_container(name, **{**fields, **changes})


def make_endpoint(
    network: Network, ip: str | None, interface: str | None, host_link: str | None, **changes: object
) -> Endpoint:
    fields: dict[str, object] = {
        "network": network.name,
        "network_id": network.id,
        "endpoint_id": make_id(f"{network.name}{ip}"),
        "interface": interface,
        "ip": ip,
        "prefix_len": 16 if ip else None,
        "ip6": None,
        "prefix_len6": None,
        "gateway": network.subnets[0].gateway if network.subnets else None,
        "gateway6": None,
        "mac": "02:42:ac:11:00:02" if interface else None,
        "host_link": host_link,
        "host_link_netns": HOST_NETNS if host_link else None,
        "bridge": network.bridge if host_link else None,
    }
    return Endpoint(**{**fields, **changes})  # type: ignore[arg-type]


def make_link(netns: int, ifindex: int, ifname: str, **changes: object) -> Link:
    fields: dict[str, object] = {
        "netns": netns,
        "ifindex": ifindex,
        "ifname": ifname,
        "kind": "veth",
        "mac": "02:42:ac:11:00:02",
        "mtu": 1500,
        "operstate": "up",
        "flags": ("BROADCAST", "MULTICAST", "UP", "LOWER_UP"),
        "master": None,
        "addresses": (),
        "prefixes": (),
        "link_index": None,
        "link_netnsid": None,
        "peer": None,
        "lower": None,
        "doubt": None,
        "container": None,
        "port_state": None,
        "mode": None,
        "vxlan_id": None,
        "vlan_id": None,
        "alias": None,
        "altnames": (),
    }
    return Link(**{**fields, **changes})  # type: ignore[arg-type]


def make_rule(position: int, text: str, **changes: object) -> NatRule:
    fields: dict[str, object] = {
        "netns": HOST_NETNS,
        "family": "ipv4",
        "backend": "nft",
        "table": "nat",
        "chain": "DOCKER",
        "position": position,
        "text": text,
        "verdict": None,
        "proto": None,
        "dport": None,
        "to": None,
        "in_interface": None,
        "out_interface": None,
        "src": None,
        "dst": None,
        "packets": 12,
        "bytes": 720,
        "container": None,
        "network": None,
        "exact": True,
    }
    return NatRule(**{**fields, **changes})  # type: ignore[arg-type]


def make_port(container_port: int, host_port: int, host_ip: str = "0.0.0.0", **changes: object) -> PublishedPort:
    fields: dict[str, object] = {
        "proto": "tcp",
        "container_port": container_port,
        "host_ip": host_ip,
        "host_port": host_port,
        "via": ("dnat", "proxy"),
        "rules": (RuleRef(family="ipv4", backend="nft", table="nat", chain="DOCKER", position=3),),
        "proxy_pid": 4000 + container_port,
        "listening": Listening(pid=529, comm="httpd", address="0.0.0.0"),
    }
    return PublishedPort(**{**fields, **changes})  # type: ignore[arg-type]


def make_mount(type_: str, name: str | None, destination: str, **changes: object) -> Mount:
    fields: dict[str, object] = {
        "type": type_,
        "name": name,
        "source": f"{ROOT}/volumes/{name}/_data" if name else None,
        "destination": destination,
        "driver": "local" if type_ == "volume" else None,
        "mode": "",
        "rw": True,
        "propagation": "",
        "subpath": None,
        "mounted": True,
    }
    return Mount(**{**fields, **changes})  # type: ignore[arg-type]


def make_volume(name: str, **changes: object) -> Volume:
    fields: dict[str, object] = {
        "name": name,
        "data_root": ROOT,
        "driver": "local",
        "mountpoint": f"{ROOT}/volumes/{name}/_data",
        "options": {},
        "labels": {},
        "anonymous": False,
        "created": "2026-01-01T00:00:00Z",
        "used_by": (),
    }
    return Volume(**{**fields, **changes})  # type: ignore[arg-type]


def make_topology(
    containers: Iterable[Container] = (), networks: Iterable[Network] = (), **changes: object
) -> Topology:
    """A topology of these, with the namespaces that they name: each has its lo, so that it counts as entered."""
    containers, networks = tuple(containers), tuple(networks)
    inodes = dict.fromkeys(c.netns for c in containers if c.netns not in (None, HOST_NETNS))
    namespaces = [
        NetworkNamespace(inode=HOST_NETNS, paths=(), pids=(1,), containers=(), host=True, role="host", network=None)
    ]
    links = [make_link(HOST_NETNS, 1, "lo", kind=None, addresses=("127.0.0.1", "::1"))]
    for inode in inodes:
        members = tuple(c.id for c in containers if c.netns == inode)
        pids = tuple(c.pid for c in containers if c.netns == inode and c.pid)
        namespaces.append(
            NetworkNamespace(
                inode=inode or 0, paths=(), pids=pids, containers=members, host=False, role="container", network=None
            )
        )
        links.append(make_link(inode or 0, 1, "lo", kind=None, addresses=("127.0.0.1", "::1")))
    fields: dict[str, object] = {
        "host": HOST,
        "containers": containers,
        "networks": networks,
        "bridges": (),
        "links": tuple(links),
        "netns": tuple(namespaces),
        "nat_chains": (),
        "nat_rules": (),
        "volumes": (),
        "gaps": (),
    }
    return Topology(**{**fields, **changes})  # type: ignore[arg-type]


# --- the demo scenario -------------------------------------------------------------------------------------------

BRIDGE = make_network("bridge", subnets=(Subnet(subnet="172.17.0.0/16", gateway="172.17.0.1"),), bridge="docker0")
MY_NET = make_network(
    "my_net", subnets=(Subnet(subnet="172.18.0.0/16", gateway="172.18.0.1"),), bridge="br-f9fbbb759d5d"
)
GWBRIDGE = make_network(
    "docker_gwbridge", subnets=(Subnet(subnet="172.19.0.0/16", gateway="172.19.0.1"),), bridge="docker_gwbridge"
)
MACVLAN = make_network(
    "mv_net",
    driver="macvlan",
    mode="bridge",
    parent="eth0",
    subnets=(Subnet(subnet="192.0.2.0/24", gateway="192.0.2.1"),),
)
OVERLAY = make_network(
    "ov_net",
    id="k3j5d6abcdefghijklmnopqrs",
    driver="overlay",
    scope="swarm",
    attachable=True,
    subnets=(Subnet(subnet="10.0.1.0/24", gateway="10.0.1.1"),),
    bridge="br0",
    vxlan_ids=(4097,),
    netns=4026532900,
)
INGRESS = make_network(
    "ingress",
    id="ing1n6abcdefghijklmnopqrs",
    driver="overlay",
    scope="swarm",
    ingress=True,
    subnets=(Subnet(subnet="10.0.0.0/24", gateway="10.0.0.1"),),
    bridge="br0",
    vxlan_ids=(4096,),
    netns=4026532901,
)
HOST_NET = make_network("host", driver="host")
NONE_NET = make_network("none", driver="null")


def _containers() -> list[Container]:
    volume = make_mount("volume", "myvol01", "/root/test", mode="z")
    anonymous = make_id("anonymous-volume")
    dnat = RuleRef(family="ipv4", backend="nft", table="nat", chain="DOCKER", position=3)
    loopback_rule = replace(dnat, position=5)
    return [
        make_container(
            "volweb",
            netns=4026532201,
            pid=316,
            endpoints=(
                make_endpoint(BRIDGE, "172.17.0.2", "eth0", "veth5fb49fa"),
                make_endpoint(MY_NET, "172.18.0.4", "eth1", "veth77d01aa"),
            ),
            mounts=(volume,),
        ),
        make_container(
            "rwro",
            netns=4026532202,
            pid=355,
            endpoints=(make_endpoint(BRIDGE, "172.17.0.3", "eth0", "veth0a1b2c3"),),
            mounts=(
                make_mount("volume", "myvol01", "/ro", rw=False, mode="ro"),
                make_mount("volume", "myvol01", "/rw"),
            ),
        ),
        make_container(
            "bindtmp",
            netns=4026532203,
            pid=402,
            endpoints=(make_endpoint(BRIDGE, "172.17.0.4", "eth0", "vethc0ffee1"),),
            mounts=(
                make_mount("bind", None, "/data", source="/srv/data", rw=False, mode="ro", propagation="rprivate"),
                make_mount("tmpfs", None, "/scratch", mode="size=16m"),
            ),
        ),
        make_container(
            "web1",
            netns=4026532204,
            pid=529,
            endpoints=(make_endpoint(BRIDGE, "172.17.0.5", "eth0", "veth13d6de4"),),
            ports=(make_port(80, 8080), make_port(80, 8080, "::", via=("proxy",), rules=())),
            listeners=(Listener(proto="tcp", address="0.0.0.0", port=80, pid=529, comm="httpd"),),
        ),
        make_container(
            "web2",
            netns=4026532205,
            pid=598,
            endpoints=(make_endpoint(BRIDGE, "172.17.0.6", "eth0", "veth2475451"),),
            ports=(make_port(80, 32768, listening=None, rules=(replace(dnat, position=4),)),),
            drift=(Drift(field="endpoints[bridge].ip", recorded="172.17.0.9", effective="172.17.0.6"),),
        ),
        make_container(
            "sidecar",
            netns=4026532204,
            pid=611,
            network_mode=f"container:{make_id('web1')}",
            shares_netns_with=make_id("web1"),
            listeners=(Listener(proto="tcp", address="127.0.0.1", port=9901, pid=611, comm="envoy"),),
        ),
        make_container(
            "paused1",
            state="paused",
            netns=4026532206,
            pid=650,
            endpoints=(make_endpoint(BRIDGE, "172.17.0.7", "eth0", "veth99f0b1c"),),
        ),
        make_container(
            "net3",
            netns=HOST_NETNS,
            pid=640,
            network_mode="host",
            endpoints=(make_endpoint(HOST_NET, None, None, None),),
            ports=(
                make_port(
                    9000,
                    9000,
                    via=("host",),
                    rules=(),
                    proxy_pid=None,
                    listening=Listening(pid=640, comm="httpd", address="0.0.0.0"),
                ),
            ),
            listeners=(Listener(proto="tcp", address="0.0.0.0", port=9000, pid=640, comm="httpd"),),
        ),
        make_container(
            "no-net",
            netns=4026532207,
            pid=702,
            network_mode="none",
            endpoints=(make_endpoint(NONE_NET, None, None, None),),
        ),
        make_container(
            "mysql_app",
            image="mysql:8.0",
            netns=4026532208,
            pid=812,
            network_mode="my_net",
            endpoints=(make_endpoint(MY_NET, "172.18.0.2", "eth0", "vethaa11bb2"),),
            listeners=(
                Listener(proto="tcp", address="::", port=3306, pid=812, comm="mysqld"),
                Listener(proto="tcp", address="::", port=33060, pid=812, comm="mysqld"),
            ),
            mounts=(make_mount("volume", anonymous, "/var/lib/mysql"),),
        ),
        make_container(
            "wp_app",
            image="wordpress:6",
            netns=4026532209,
            pid=866,
            network_mode="my_net",
            endpoints=(make_endpoint(MY_NET, "172.18.0.3", "eth0", "vethcc33dd4"),),
            ports=(make_port(80, 8081, "127.0.0.1", rules=(loopback_rule,), listening=None),),
            listeners=(Listener(proto="tcp", address="127.0.0.1", port=80, pid=866, comm="apache2"),),
        ),
        make_container(
            "mv1",
            netns=4026532210,
            pid=901,
            network_mode="mv_net",
            endpoints=(make_endpoint(MACVLAN, "192.0.2.50", "eth0", "eth0", bridge=None),),
        ),
        make_container(
            "ov1",
            netns=4026532211,
            pid=950,
            network_mode="ov_net",
            endpoints=(
                make_endpoint(GWBRIDGE, "172.19.0.3", "eth1", "veth4d4d4d4"),
                make_endpoint(OVERLAY, "10.0.1.5", "eth0", "veth1", host_link_netns=4026532900, bridge="br0"),
            ),
        ),
        stopped("stopped1", state="created", started_at=None, finished_at=None, exit_code=None),
        stopped("old", exit_code=137, mounts=(make_mount("volume", "myvol01", "/old", mounted=None),)),
    ]


def _hidden(inode: int, path: str, role: NetnsRole, network: Network | None, **changes: object) -> NetworkNamespace:
    """A namespace without containers."""
    fields: dict[str, object] = {
        "inode": inode,
        "paths": (path,),
        "pids": (),
        "containers": (),
        "host": False,
        "role": role,
        "network": network.id if network else None,
    }
    return NetworkNamespace(**{**fields, **changes})  # type: ignore[arg-type]


def _bridge(netns: int, network: Network, address: str, ports: Iterable[tuple[str, str | None]]) -> Bridge:
    return Bridge(
        name=network.bridge or "",
        id="8000.0242a1b2c3d4",
        stp=False,
        netns=netns,
        addresses=(address,),
        ports=tuple(BridgePort(link=link, container=make_id(name) if name else None) for link, name in ports),
        network=network.id,
    )


def demo() -> Topology:
    """The scenario that `make demo` seeds."""
    containers = _containers()
    by_name = {container.name: container for container in containers}
    plain = make_topology(containers, (BRIDGE, GWBRIDGE, HOST_NET, INGRESS, MACVLAN, MY_NET, NONE_NET, OVERLAY))
    networks = tuple(
        replace(
            n, containers=tuple(c.id for c in containers if c.pid and any(e.network_id == n.id for e in c.endpoints))
        )
        for n in plain.networks
    )
    inner, outer = _veths(containers)
    hidden = [
        _hidden(4026532900, "/run/docker/netns/1-k3j5d6abcd", "overlay", OVERLAY),
        _hidden(4026532901, "/run/docker/netns/1-ing1n6abcd", "overlay", INGRESS),
        _hidden(4026532902, "/run/docker/netns/ingress_sbox", "ingress", INGRESS),
        _hidden(4026532903, "/run/docker/netns/lb_k3j5d6abc", "load-balancer", OVERLAY),
        _hidden(4026532950, "/run/netns/blue", "other", None, pids=(1204,)),
    ]
    bridges = (
        _bridge(HOST_NETNS, MY_NET, "172.18.0.1", [("veth77d01aa", "volweb"), ("vethaa11bb2", "mysql_app")]),
        _bridge(HOST_NETNS, BRIDGE, "172.17.0.1", [("veth13d6de4", "web1"), ("veth6666666", None)]),
        _bridge(HOST_NETNS, GWBRIDGE, "172.19.0.1", [("veth4d4d4d4", "ov1"), ("veth8888888", None)]),
        replace(_bridge(HOST_NETNS, BRIDGE, "192.168.122.1", []), name="virbr0", network=None),
        _bridge(4026532900, OVERLAY, "10.0.1.1", [("veth1", "ov1"), ("vxlan0", None)]),
        _bridge(4026532901, INGRESS, "10.0.0.1", [("veth0", None), ("vxlan0", None)]),
    )
    return replace(
        plain,
        networks=networks,
        netns=(*plain.netns, *hidden),
        bridges=bridges,
        links=(*plain.links, *inner, *outer, *_other_links()),
        nat_rules=_rules(by_name),
        volumes=_volumes(by_name),
        gaps=(
            Gap(
                collector="links",
                subject="namespace 4026532950",
                why="it vanished while it was read",
                remedy="run it again",
                minor=True,
            ),
        ),
    )


def _veths(containers: Iterable[Container]) -> tuple[list[Link], list[Link]]:
    """Both ends of every endpoint."""
    inner, outer = [], []
    for ifindex, (container, endpoint) in enumerate(((c, e) for c in containers for e in c.endpoints), 20):
        if endpoint.interface is None or container.netns is None or endpoint.host_link is None:
            continue
        netns = endpoint.host_link_netns or 0
        far = LinkRef(netns=netns, ifindex=ifindex, ifname=endpoint.host_link)
        near = LinkRef(netns=container.netns, ifindex=ifindex + 100, ifname=endpoint.interface)
        macvlan = endpoint.network == "mv_net"
        inner.append(
            make_link(
                container.netns,
                near.ifindex,
                near.ifname,
                kind="macvlan" if macvlan else "veth",
                peer=None if macvlan else far,
                lower=far if macvlan else None,
                addresses=(endpoint.ip,),
                container=container.id,
            )
        )
        if not macvlan:
            outer.append(
                make_link(
                    netns,
                    ifindex,
                    far.ifname,
                    peer=near,
                    master=endpoint.bridge,
                    port_state="forwarding",
                    container=container.id,
                )
            )
    return inner, outer


def _ref(netns: int, ifindex: int, ifname: str) -> LinkRef:
    return LinkRef(netns=netns, ifindex=ifindex, ifname=ifname)


def _other_links() -> list[Link]:
    ingress_eth0 = _ref(4026532902, 10, "eth0")
    ingress_eth1 = _ref(4026532902, 12, "eth1")
    lb_eth0 = _ref(4026532903, 14, "eth0")
    return [
        make_link(HOST_NETNS, 2, "eth0", kind=None, addresses=("192.0.2.10",)),
        make_link(HOST_NETNS, 3, "docker0", kind="bridge", addresses=("172.17.0.1",)),
        make_link(HOST_NETNS, 4, "br-f9fbbb759d5d", kind="bridge", addresses=("172.18.0.1",)),
        make_link(HOST_NETNS, 5, "docker_gwbridge", kind="bridge", addresses=("172.19.0.1",)),
        make_link(HOST_NETNS, 6, "virbr0", kind="bridge", operstate="down", addresses=("192.168.122.1",)),
        make_link(HOST_NETNS, 13, "veth8888888", master="docker_gwbridge", peer=ingress_eth1),
        make_link(
            HOST_NETNS, 66, "veth6666666", master="docker0", doubt="its peer, ifindex 65, is in a namespace not found"
        ),
        make_link(HOST_NETNS, 70, "veth7070707", peer=_ref(4026532950, 71, "eth0")),
        make_link(4026532900, 2, "br0", kind="bridge", addresses=("10.0.1.1",)),
        make_link(4026532900, 3, "vxlan0", kind="vxlan", vxlan_id=4097, master="br0"),
        make_link(4026532900, 15, "veth2", master="br0", peer=lb_eth0),
        make_link(4026532901, 2, "br0", kind="bridge", addresses=("10.0.0.1",)),
        make_link(4026532901, 3, "vxlan0", kind="vxlan", vxlan_id=4096, master="br0"),
        make_link(4026532901, 11, "veth0", master="br0", peer=ingress_eth0),
        make_link(4026532902, 10, "eth0", addresses=("10.0.0.2",), peer=_ref(4026532901, 11, "veth0")),
        make_link(4026532902, 12, "eth1", addresses=("172.19.0.2",), peer=_ref(HOST_NETNS, 13, "veth8888888")),
        make_link(4026532903, 14, "eth0", addresses=("10.0.1.2",), peer=_ref(4026532900, 15, "veth2")),
        make_link(4026532950, 71, "eth0", addresses=("10.9.9.9",), peer=_ref(HOST_NETNS, 70, "veth7070707")),
    ]


def _rules(by_name: dict[str, Container]) -> tuple[NatRule, ...]:
    def dnat(position: int, dport: int, to: str, owner: str | None) -> NatRule:
        return make_rule(
            position,
            f"-A DOCKER ! -i docker0 -p tcp -m tcp --dport {dport} -j DNAT --to-destination {to}",
            verdict="DNAT",
            proto="tcp",
            dport=str(dport),
            to=to,
            container=by_name[owner].id if owner else None,
        )

    def masquerade(position: int, network: Network) -> NatRule:
        subnet = network.subnets[0].subnet
        return make_rule(
            position,
            f"-A POSTROUTING -s {subnet} ! -o {network.bridge} -j MASQUERADE",
            chain="POSTROUTING",
            verdict="MASQUERADE",
            src=subnet,
            out_interface=f"!{network.bridge}",
            network=network.id,
        )

    return (
        dnat(3, 8080, "172.17.0.5:80", "web1"),
        dnat(4, 32768, "172.17.0.6:80", "web2"),
        dnat(5, 8081, "172.18.0.3:80", "wp_app"),
        dnat(6, 9090, "172.17.0.77:90", None),
        masquerade(1, BRIDGE),
        masquerade(2, MY_NET),
        masquerade(3, GWBRIDGE),
        make_rule(
            1,
            "-A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp -j DNAT --to-destination 127.0.0.11:41001",
            netns=4026532208,
            chain="DOCKER_OUTPUT",
            container=by_name["mysql_app"].id,
        ),
    )


def _volumes(by_name: dict[str, Container]) -> tuple[Volume, ...]:
    def user(name: str, destination: str, *, rw: bool = True) -> VolumeUser:
        return VolumeUser(container=by_name[name].id, destination=destination, rw=rw)

    return (
        make_volume("dangling01"),
        make_volume(make_id("anonymous-volume"), anonymous=True, used_by=(user("mysql_app", "/var/lib/mysql"),)),
        make_volume(
            "myvol01",
            used_by=(
                user("old", "/old"),
                user("rwro", "/ro", rw=False),
                user("rwro", "/rw"),
                user("volweb", "/root/test"),
            ),
        ),
        make_volume("tmpvol", options={"type": "tmpfs", "device": "tmpfs", "o": "size=10m"}),
    )
