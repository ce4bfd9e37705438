"""What the facts mean: hosts, containers, networks and volumes, each with what belongs to it.

These classes are the JSON of `hostinspect report`: field for field, in this order, and `hostinspect schema` is made
from them. Conventions: ids are whole; `netns` values are inode numbers; addresses carry no prefix unless the field's
name says so; `None` is "not known" or "not there", and where it should have been known a gap says why. Values are
effective, as the kernel has them now; where the engine recorded another, `drift` holds both. Of a disk (`host.root`)
nothing is effective: values are the recorded ones, and what ran when it was taken is drift to nothing.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from hostinspect.facts import Gap

SCHEMA_VERSION = "1.0"

ContainerState = Literal["running", "paused", "restarting", "created", "exited", "dead", "removing"]
DaemonState = Literal["running", "not responding", "stopped"]
Via = Literal["dnat", "proxy", "host"]
NetnsRole = Literal["host", "engine", "container", "overlay", "ingress", "load-balancer", "other"]


class Node(Struct, frozen=True, kw_only=True, gc=False):
    """Base of everything in a `Topology`: in no cycle, so the garbage collector need not know it."""


class Engine(Node, frozen=True, kw_only=True):
    """A container engine on the host."""

    name: str
    data_root: str
    daemon: DaemonState | None  # None: its process may be hidden
    version: str | None = None
    pid: int | None = None


class Host(Node, frozen=True, kw_only=True):
    """The machine the report is about."""

    hostname: str | None
    kernel: str | None  # None of a disk
    os: str | None
    boot_id: str | None
    collected_at: str
    engines: tuple[Engine, ...]
    root: str | None = None  # where its disk was mounted, if that is all that was looked at


class Drift(Node, frozen=True, kw_only=True):
    """A difference between what the engine recorded and what the kernel does."""

    field: str  # "state", "endpoints[my_net].ip", "mounts[/root/test].rw", "ports[8080/tcp]"
    recorded: str | None
    effective: str | None


class Endpoint(Node, frozen=True, kw_only=True):
    """A container's place on a network."""

    network: str | None
    network_id: str | None
    endpoint_id: str | None
    interface: str | None  # in the container's namespace
    ip: str | None
    prefix_len: int | None
    ip6: str | None
    prefix_len6: int | None
    gateway: str | None
    gateway6: str | None
    mac: str | None
    host_link: str | None  # veth: the other end; macvlan and ipvlan: the lower device
    host_link_netns: (
        int | None
    )  # where host_link is: the host's, a rootless engine's, or a hidden one of an overlay network
    bridge: str | None  # that host_link is a port of, in host_link's namespace
    aliases: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()  # what the embedded DNS answers for it on this network, where recorded


class Listener(Node, frozen=True, kw_only=True):
    """A process that listens: with pid and comm None where nobody could be seen holding the socket."""

    proto: str
    address: str
    port: int
    pid: int | None
    comm: str | None


class Listening(Node, frozen=True, kw_only=True):
    """Who answers at a published port, inside the container."""

    pid: int | None
    comm: str | None
    address: str


class RuleRef(Node, frozen=True, kw_only=True):
    """Where a rule stands: its entry in `nat_rules` of the host's namespace."""

    family: str
    backend: str
    table: str
    chain: str
    position: int


class PublishedPort(Node, frozen=True, kw_only=True):
    """A port of the host that leads to a container, one entry per host address as `docker inspect` has it."""

    proto: str
    container_port: int
    host_ip: str
    host_port: int
    via: tuple[Via, ...]  # empty: recorded, but neither rule nor proxy leads there
    rules: tuple[RuleRef, ...]
    proxy_pid: int | None
    listening: Listening | None


class Mount(Node, frozen=True, kw_only=True):
    """A bind, volume or tmpfs mount of a container, in `docker inspect`'s terms."""

    type: str
    name: str | None
    source: str | None
    destination: str
    driver: str | None
    mode: str
    rw: bool
    propagation: str
    subpath: str | None
    mounted: bool | None  # None: the container does not run, or its mounts could not be read


class OverlayFS(Node, frozen=True, kw_only=True):
    """The layers of a container's root: overlayfs directories on the host."""

    lower: tuple[str, ...]  # topmost first
    upper: str | None
    work: str | None
    merged: str | None


class Container(Node, frozen=True, kw_only=True):
    """A container, running or not."""

    id: str
    name: str
    data_root: str  # its engine's
    image: str | None
    image_id: str | None
    state: ContainerState
    pid: int | None
    created: str | None
    started_at: str | None
    finished_at: str | None
    exit_code: int | None  # of the last run; None while it runs, or before, or if it ran when the disk was taken
    health: str | None  # as last recorded: starting, healthy, unhealthy; None without a check, or a process
    hostname: str | None
    cgroup: str | None
    netns: int | None
    network_mode: str | None
    shares_netns_with: str | None  # id of the container of `--network container:`
    endpoints: tuple[Endpoint, ...]
    ports: tuple[PublishedPort, ...]
    exposed_ports: tuple[str, ...]
    listeners: tuple[Listener, ...]  # sockets that this container's own processes listen on
    mounts: tuple[Mount, ...]
    storage_driver: str | None
    overlay: OverlayFS | None
    labels: dict[str, str]
    drift: tuple[Drift, ...]


class Subnet(Node, frozen=True, kw_only=True):
    """One address pool of a network."""

    subnet: str
    gateway: str | None
    ip_range: str | None = None


class Network(Node, frozen=True, kw_only=True):
    """A network of an engine."""

    id: str
    name: str | None  # None: known from the kernel only
    data_root: str | None  # its engine's; None: no engine's records have it
    driver: str | None
    scope: str
    internal: bool
    attachable: bool
    ingress: bool
    ipv6: bool
    config_only: bool  # a template that other networks are created from, never a network itself
    created: str | None
    subnets: tuple[Subnet, ...]
    bridge: str | None  # in the host's namespace, unless `netns` says another
    parent: str | None
    mode: str | None  # macvlan, ipvlan
    vxlan_ids: tuple[int, ...]  # overlay: the VNIs
    netns: int | None  # overlay: its hidden namespace; bridge: a rootless engine's
    options: dict[str, str]
    labels: dict[str, str]
    containers: tuple[str, ...]  # ids of those that are on it now
    drift: tuple[Drift, ...]


class BridgePort(Node, frozen=True, kw_only=True):
    """A port of a bridge and the container at the other end."""

    link: str
    container: str | None


class Bridge(Node, frozen=True, kw_only=True):
    """A Linux bridge, as brctl(8) shows it."""

    name: str
    id: str | None
    stp: bool | None
    netns: int
    addresses: tuple[str, ...]
    ports: tuple[BridgePort, ...]
    network: str | None  # id


class LinkRef(Node, frozen=True, kw_only=True):
    """A link, named so that it is found in `links`."""

    netns: int
    ifindex: int
    ifname: str


class Link(Node, frozen=True, kw_only=True):
    """A network interface in one of the host's namespaces."""

    netns: int
    ifindex: int
    ifname: str
    kind: str | None
    mac: str | None
    mtu: int
    operstate: str
    flags: tuple[str, ...]  # in the words and order of ip(8): NO-CARRIER where it is up and does not run
    master: str | None
    addresses: tuple[str, ...]
    prefixes: tuple[str, ...]  # the same addresses as "172.17.0.1/16"
    link_index: int | None  # ifindex of peer or lower device as the kernel names it, seen or not
    link_netnsid: int | None  # where that is, as this namespace calls it; None: in this one
    peer: LinkRef | None  # veth
    lower: LinkRef | None  # macvlan, ipvlan, vlan, vxlan: the device below
    doubt: str | None  # why peer or lower is left open although the kernel names one
    container: str | None  # whose it is, or whose its peer is
    port_state: str | None
    mode: str | None
    vxlan_id: int | None
    vlan_id: int | None
    alias: str | None
    altnames: tuple[str, ...]


class NetworkNamespace(Node, frozen=True, kw_only=True):
    """A network namespace and who is in it."""

    inode: int
    paths: tuple[str, ...]
    pids: tuple[int, ...]
    containers: tuple[str, ...]
    host: bool
    role: NetnsRole
    network: str | None  # id, for the hidden namespaces of overlay networks


class NatChain(Node, frozen=True, kw_only=True):
    """A chain that translates addresses, or that such a chain leads to; its rules are in `nat_rules`."""

    netns: int
    family: str
    backend: str
    table: str
    name: str
    hook: str | None  # None: only rules lead to it
    priority: int | None  # nft's
    policy: str | None
    packets: int | None  # that the policy decided on
    bytes: int | None


class NatRule(Node, frozen=True, kw_only=True):
    """A rule of a nat table, as it stands."""

    netns: int
    family: str
    backend: str
    table: str
    chain: str
    position: int
    text: str
    verdict: str | None
    proto: str | None
    dport: str | None
    to: str | None
    in_interface: str | None
    out_interface: str | None
    src: str | None
    dst: str | None
    packets: int | None
    bytes: int | None
    container: str | None  # whose address it leads to or comes from, or in whose namespace it stands
    network: str | None  # id of the network whose subnet or bridge it names
    exact: bool  # False: `text` holds something hostinspect does not know, in brackets


class VolumeUser(Node, frozen=True, kw_only=True):
    """A container's use of a volume."""

    container: str
    destination: str
    rw: bool


class Volume(Node, frozen=True, kw_only=True):
    """A named or anonymous volume. Each engine has volumes of its own, which may be called the same."""

    name: str
    data_root: str  # its engine's
    driver: str
    mountpoint: str | None
    options: dict[str, str]
    labels: dict[str, str]
    anonymous: bool
    created: str | None
    used_by: tuple[VolumeUser, ...]


class Topology(Node, frozen=True, kw_only=True):
    """The whole of one host."""

    schema_version: str = SCHEMA_VERSION
    host: Host
    containers: tuple[Container, ...]
    networks: tuple[Network, ...]
    bridges: tuple[Bridge, ...]
    links: tuple[Link, ...]
    netns: tuple[NetworkNamespace, ...]
    nat_chains: tuple[NatChain, ...]
    nat_rules: tuple[NatRule, ...]
    volumes: tuple[Volume, ...]
    gaps: tuple[Gap, ...]
