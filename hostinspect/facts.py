"""What was read, as its source says it: one immutable record per thing, named as its man page names it.

Records carry no meaning: that a link belongs to a container is for `hostinspect.correlate` to find. A snapshot is a
`Facts` written down, so everything here is plain data (strings, numbers, tuples) that serialises without loss.

Conventions: namespaces are named by their inode number (`net:[4026531840]` is 4026531840); ids are whole; times are
RFC 3339 strings; `None` means "not there" or "could not be read", and in the second case a `Gap` says so. Text that
came from bytes is decoded with `os.fsdecode`'s surrogateescape turned into `\\xNN` so that it is always valid UTF-8.
"""

# Without `from __future__ import annotations`: msgspec has to evaluate them, which takes longer of a string.

from typing import Literal

from msgspec import Struct

Family = Literal["ipv4", "ipv6", "inet", "bridge", "arp", "netdev"]
Backend = Literal["legacy", "nft"]

# Families of facts that may be asked for have the names that are in `Gap.collector`; but of rules, "rules" are those of
# the host's network namespace, and these all others; and of sockets, it takes this to know who holds those of the
# host's, beside containers, and the name servers in the namespaces of these.
RULES_OF_CONTAINERS = "rules of containers"
HOLDERS_ON_HOST = "holders of sockets of the host"

# What dockerd's name server is bound to in the namespaces of containers: the holder is no process of theirs.
RESOLVER = "127.0.0.11"

# What a report is made of.
OF_THE_REPORT = (
    *("host", "engines", "containers", "layers", "images", "networks", "volumes", "processes", "cgroups", "mounts"),
    *("namespaces", "links", "addresses", "routes", "sockets", "nsids", "rules", RULES_OF_CONTAINERS, "sysctls"),
)

# Families of facts that only a running kernel has: of a disk (`Host.root`), each is a gap.
OF_THE_KERNEL = (
    *("processes", "cgroups", "namespaces", "links", "addresses", "routes", "nsids", "sockets", "rules", "sysctls"),
    "mounts",
)


class Record(Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of everything in `Facts`: frozen, comparable, serialisable; in no cycle, so it is no garbage collector's."""


class Gap(Record, frozen=True, kw_only=True):
    """Something that could not be seen: data, not an exception."""

    collector: str  # the family of facts that has a hole: "links", "containers", …
    subject: str  # what was tried, on what: a path, a namespace, a pid
    why: str  # what the host answered
    remedy: str  # what the person at the shell can do
    minor: bool = False  # True: the answer stands without it, so that alone it makes no exit code 3


# --- the host ---------------------------------------------------------------------------------------------------


class Host(Record, frozen=True, kw_only=True):
    """The machine: uname(2), /proc/sys/kernel/random/boot_id, os-release(5); of a disk hostname(5), os-release(5)."""

    hostname: str | None  # None: its disk does not say
    kernel: str | None  # utsname.release; None of a disk
    os: str | None = None  # PRETTY_NAME of /etc/os-release
    boot_id: str | None = None
    collected_at: str  # RFC 3339, UTC, when the tour began
    boot_time: int | None = None  # seconds since the epoch, btime of /proc/stat
    clock_ticks: int = 100  # starttime's unit, sysconf(_SC_CLK_TCK)
    netns: int | None = None  # the host's network namespace: that of pid 1, else our own
    mntns: int | None = None  # the host's mount namespace, likewise
    root: str | None = None  # where its disk was mounted, if that is all that was read: nothing of it runs


class Sysctl(Record, frozen=True, kw_only=True):
    """One value under /proc/sys that decides about forwarding; per namespace, here the host's."""

    name: str  # "net.ipv4.ip_forward"
    value: str


class Process(Record, frozen=True, kw_only=True):
    """A process: /proc/PID/stat, cgroup and ns links (proc(5))."""

    pid: int
    ppid: int
    comm: str
    state: str  # one letter, proc_pid_stat(5)
    starttime: int  # clock ticks since boot, field 22 of stat
    netns: int | None = None  # None: /proc/PID/ns/net could not be read
    mntns: int | None = None
    cgroups: tuple[str, ...] = ()  # distinct cgroup paths over all hierarchies, in /proc/PID/cgroup order
    cmdline: tuple[str, ...] | None = None  # read only for engine processes (dockerd, docker-proxy, shims)

    @property
    def has_ended(self) -> bool:
        """Whether it is a zombie, or dead: it has no namespaces any more, and is listed for its parent alone."""
        return self.state in "ZX"


class FrozenCgroup(Record, frozen=True, kw_only=True):
    """A cgroup that the freezer has stopped: `docker pause`. v1 freezer.state, v2 cgroup.events `frozen 1`."""

    path: str  # as /proc/PID/cgroup spells it


# --- network namespaces and what is in them ---------------------------------------------------------------------


class NetworkNamespace(Record, frozen=True, kw_only=True):
    """A network namespace, by its nsfs inode (namespaces(7)); found through processes, names or mounts."""

    inode: int
    paths: tuple[str, ...] = ()  # nsfs bind mounts that pin it: /run/docker/netns/KEY, /run/netns/NAME, …
    pids: tuple[int, ...] = ()  # every process in it, ascending
    entered: bool = False  # False: its links could not be read, a Gap says why


class Nsid(Record, frozen=True, kw_only=True):
    """RTM_GETNSID: in `netns`, the namespace `target` is called `nsid` (ip-netns(8) list-id)."""

    netns: int
    nsid: int
    target: int


class Link(Record, frozen=True, kw_only=True):
    """A network interface: RTM_NEWLINK (rtnetlink(7)), without statistics."""

    netns: int
    ifindex: int
    ifname: str
    kind: str | None = None  # IFLA_INFO_KIND: veth, bridge, macvlan, …; None for a physical one or lo
    slave_kind: str | None = None  # IFLA_INFO_SLAVE_KIND: what its master is
    link_type: str = "ether"  # ARPHRD_*: ether, loopback, none, …
    mac: str | None = None  # IFLA_ADDRESS where it is 6 bytes
    mtu: int = 0  # bytes, IFLA_MTU
    operstate: str = "unknown"  # IFLA_OPERSTATE, RFC 2863, lower case
    flags: tuple[str, ...] = ()  # IFF_*: UP, LOWER_UP, LOOPBACK, …
    alias: str | None = None  # IFLA_IFALIAS
    altnames: tuple[str, ...] = ()
    master: int | None = None  # IFLA_MASTER: ifindex of its bridge or bond, in the same namespace
    link: int | None = None  # IFLA_LINK: ifindex of peer or lower device
    link_netnsid: int | None = None  # IFLA_LINK_NETNSID: where `link` is, in `netns`'s words; -1: elsewhere, unnamed
    port_state: str | None = None  # IFLA_BRPORT_STATE: disabled, listening, learning, forwarding, blocking
    hairpin: bool | None = None  # IFLA_BRPORT_MODE: the bridge sends back by a port what came in by it
    bridge_id: str | None = None  # "8000.0242a1b2c3d4" as brctl(8) spells it
    stp: bool | None = None  # IFLA_BR_STP_STATE
    mode: str | None = None  # macvlan: private, vepa, bridge, passthru, source; ipvlan: l2, l3, l3s
    vxlan_id: int | None = None  # the VNI, IFLA_VXLAN_ID
    vlan_id: int | None = None  # IFLA_VLAN_ID
    forwarding: bool | None = None  # IPv4, net.ipv4.conf.IFNAME.forwarding: of IFLA_AF_SPEC, as are the next two
    rp_filter: int | None = None  # 0 no, 1 strict, 2 loose; that of `all` counts where it is higher
    route_localnet: bool | None = None  # 127.0.0.0/8 may come in and go out here


class Address(Record, frozen=True, kw_only=True):
    """An address of a link: RTM_NEWADDR."""

    netns: int
    ifindex: int
    family: Literal["ipv4", "ipv6"]
    address: str  # IFA_LOCAL, else IFA_ADDRESS; no prefix
    prefix_len: int
    scope: str = "global"  # global, site, link, host


class Route(Record, frozen=True, kw_only=True):
    """A unicast route of the main or another table: RTM_NEWROUTE, `local` table left out."""

    netns: int
    family: Literal["ipv4", "ipv6"]
    dst: str | None  # "172.17.0.0/16"; None is the default route
    gateway: str | None = None
    ifindex: int | None = None  # RTA_OIF
    prefsrc: str | None = None
    table: int = 254
    metric: int = 0
    type: str = "unicast"  # RTN_*: unicast, blackhole, unreachable, prohibit


class ListeningSocket(Record, frozen=True, kw_only=True):
    """A TCP socket in LISTEN, or an unconnected bound UDP one: sock_diag(7)."""

    netns: int
    proto: str  # tcp, udp, sctp
    family: Literal["ipv4", "ipv6"]
    address: str  # "0.0.0.0" and "::" for any
    port: int
    inode: int
    ifindex: int | None = None  # SO_BINDTODEVICE: takes only what comes in by this link
    v6only: bool = False  # IPv6 socket that takes no IPv4: IPV6_V6ONLY; with "::" and False it serves both


class SocketHolder(Record, frozen=True, kw_only=True):
    """A process that holds a listening socket open: /proc/PID/fd."""

    inode: int
    pid: int


# --- packet filter ----------------------------------------------------------------------------------------------


class Chain(Record, frozen=True, kw_only=True):
    """A chain of a table, as it stands in the kernel."""

    netns: int
    family: Family
    backend: Backend
    table: str
    name: str
    type: str | None = None  # nft base chains: filter, nat, route; None for legacy
    hook: str | None = None  # prerouting, input, forward, output, postrouting; None for a user's chain
    priority: int | None = None  # nft base chains; None for legacy
    policy: str | None = None  # ACCEPT or DROP on a base chain
    packets: int | None = None
    bytes: int | None = None


class Rule(Record, frozen=True, kw_only=True):
    """A rule of a chain. `text` says it in full; the other fields repeat what correlation needs.

    `exact` is False where an extension or expression is not known to us: then `text` says so in brackets, no field
    but the counters may be relied on, and nothing is concluded from the rule.
    """

    netns: int
    family: Family
    backend: Backend
    table: str
    chain: str
    position: int  # from 1, as `iptables -L --line-numbers`
    text: str  # iptables-save spelling ("-A DOCKER … -j DNAT --to-destination …"), or nft's for native rules
    verdict: str | None = None  # ACCEPT, DROP, RETURN, DNAT, SNAT, MASQUERADE, REDIRECT, … or the chain jumped to
    proto: str | None = None
    src: str | None = None  # address or prefix; "!" in front when negated, here and below
    dst: str | None = None
    in_interface: str | None = None
    out_interface: str | None = None
    dport: str | None = None  # "80", "8000:8010"
    sport: str | None = None
    to: str | None = None  # "172.17.0.5:80", "[fd00::2]:80", "172.17.0.5", ":80"
    comment: str | None = None
    packets: int | None = None
    bytes: int | None = None
    exact: bool = True


# --- mounts -----------------------------------------------------------------------------------------------------


class MountPoint(Record, frozen=True, kw_only=True):
    """One line of /proc/PID/mountinfo (proc_pid_mountinfo(5)), octal escapes resolved."""

    mntns: int | None
    mount_id: int
    parent_id: int
    device: str  # "0:48"
    root: str
    mount_point: str  # as seen from the root of the process it was read through
    options: tuple[str, ...]  # of the mount: rw, nosuid, …
    propagation: tuple[str, ...] = ()  # optional fields: shared:1, master:2, propagate_from:3, unbindable
    fstype: str
    source: str
    super_options: tuple[str, ...] = ()  # of the file system, split at commas; overlay's are in Overlay fields below
    lowerdir: tuple[str, ...] = ()  # overlay only, topmost first
    upperdir: str | None = None
    workdir: str | None = None


# --- what the engine wrote down ---------------------------------------------------------------------------------


class Engine(Record, frozen=True, kw_only=True):
    """An engine found on the host, running or not."""

    name: str  # "docker"
    data_root: str
    version: str | None = None  # only where a file or process says it
    pid: int | None = None  # of the daemon


class RecordedEndpoint(Record, frozen=True, kw_only=True):
    """NetworkSettings.Networks[name] of config.v2.json: a container's place on a network, as recorded.

    Empty strings and zeros of the record are None here.
    """

    network: str
    network_id: str | None = None
    endpoint_id: str | None = None
    gateway: str | None = None
    ip: str | None = None
    prefix_len: int | None = None
    gateway6: str | None = None
    ip6: str | None = None
    prefix_len6: int | None = None
    mac: str | None = None
    aliases: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()  # since Docker 25


class RecordedPort(Record, frozen=True, kw_only=True):
    """One binding of NetworkSettings.Ports (what became of it), or of HostConfig.PortBindings (what was asked)."""

    proto: str
    container_port: int
    host_ip: str
    host_port: int | None  # None: asked for without a number; the engine chooses
    host_port_end: int | None = None  # asked for as a range, from host_port on: the engine chooses one of it


class RecordedMount(Record, frozen=True, kw_only=True):
    """One MountPoints entry of config.v2.json; fields and spelling of `docker inspect`'s Mounts."""

    type: str  # bind, volume, tmpfs, …
    name: str | None = None  # volume
    source: str | None = None  # absolute path on the host
    destination: str
    driver: str | None = None
    mode: str = ""  # "Relabel" in the file
    rw: bool = True
    propagation: str = ""
    subpath: str | None = None  # volume-subpath of Docker 26 and later


class ContainerRecord(Record, frozen=True, kw_only=True):
    """containers/ID/config.v2.json and hostconfig.json under the data root, without environment and arguments."""

    engine: str
    data_root: str
    id: str
    name: str
    image: str | None = None  # Config.Image: as it was asked for
    image_id: str | None = None  # sha256:…
    driver: str | None = None  # overlay2, …
    created: str | None = None
    hostname: str | None = None
    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = False
    dead: bool = False
    removal_in_progress: bool = False
    pid: int | None = None
    exit_code: int | None = None
    started_at: str | None = None  # None where the record has year 1: never
    finished_at: str | None = None
    health: str | None = None  # starting, healthy, unhealthy: State.Health.Status; None without a health check
    restart_count: int = 0
    network_mode: str | None = None  # default, bridge, host, none, container:ID, or a network's name
    sandbox_id: str | None = None
    sandbox_key: str | None = None  # /var/run/docker/netns/…
    endpoints: tuple[RecordedEndpoint, ...] = ()
    ports: tuple[RecordedPort, ...] = ()  # NetworkSettings.Ports, bound ones
    exposed_ports: tuple[str, ...] = ()  # "80/tcp": NetworkSettings.Ports' and Config.ExposedPorts' keys
    sandbox_ports: tuple[str, ...] = ()  # NetworkSettings.Ports' keys alone: while it runs, and with bridges
    port_bindings: tuple[RecordedPort, ...] = ()  # HostConfig.PortBindings
    mounts: tuple[RecordedMount, ...] = ()
    tmpfs: tuple[tuple[str, str], ...] = ()  # HostConfig.Tmpfs: destination, options
    labels: tuple[tuple[str, str], ...] = ()
    readonly_rootfs: bool = False
    privileged: bool = False
    auto_remove: bool = False
    restart_policy: str | None = None
    restart_max_retries: int = 0  # of the policy on-failure; 0 is no limit
    log_path: str | None = None  # only of logging drivers that write one: json-file
    hostname_path: str | None = None
    hosts_path: str | None = None
    resolv_conf_path: str | None = None


class LayerRecord(Record, frozen=True, kw_only=True):
    """layerdb/mounts/ID/* and overlay2/MOUNT-ID/{link,lower}: a container's layers on disk, overlay2 driver.

    With the containerd image store, its snapshot and those below it.
    """

    container_id: str
    mount_id: str  # of containerd the snapshot's number
    init_id: str | None = None
    parent: str | None = None  # chain id of the image's top layer, sha256:…
    lower: tuple[str, ...] = ()  # absolute diff directories, topmost first, l/SHORT resolved
    upper: str
    work: str
    merged: str  # where it is mounted while the container runs


class Subnet(Record, frozen=True, kw_only=True):
    """One pool of a network, as `docker network inspect`'s IPAM.Config says it (gateway without its prefix)."""

    subnet: str
    gateway: str | None = None
    ip_range: str | None = None


class NetworkRecord(Record, frozen=True, kw_only=True):
    """docker/network/v1.0/network/NID of local-kv.db, joined with the driver's own record of the same network."""

    engine: str
    data_root: str
    id: str
    name: str
    driver: str  # bridge, host, null, macvlan, ipvlan, overlay
    scope: str = "local"
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    ipv6: bool = False
    config_only: bool = False  # a template for `docker network create --config-from`: never a network itself
    created: str | None = None
    subnets: tuple[Subnet, ...] = ()
    bridge: str | None = None  # BridgeName of the driver's record, or the com.docker.network.bridge.name option
    parent: str | None = None  # macvlan, ipvlan
    mode: str | None = None  # macvlan, ipvlan
    options: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class EndpointRecord(Record, frozen=True, kw_only=True):
    """docker/network/v1.0/endpoint/NID/EID of local-kv.db."""

    id: str
    network_id: str
    name: str | None = None
    sandbox_id: str | None = None
    address: str | None = None
    prefix_len: int | None = None
    address6: str | None = None
    prefix_len6: int | None = None
    mac: str | None = None
    src_name: str | None = None  # the name its interface had before it was moved into the sandbox
    dns_names: tuple[str, ...] = ()  # what the embedded DNS answers for it; since Docker 25
    port_map: tuple[RecordedPort, ...] = ()


class SandboxRecord(Record, frozen=True, kw_only=True):
    """docker/network/v1.0/sandbox/SID of local-kv.db: whose a namespace is."""

    id: str  # its key is the first 12; "ingress_sbox" and "lb_NID" for swarm's
    container_id: str  # "ingress-sbox", "lb-NETWORK" for swarm's
    endpoints: tuple[tuple[str, str], ...] = ()  # network id, endpoint id


class VolumeRecord(Record, frozen=True, kw_only=True):
    """A directory of volumes/ under the data root, with its record in metadata.db and opts.json where there is one."""

    engine: str
    data_root: str
    name: str
    driver: str = "local"
    mountpoint: str | None = None  # None: another driver's, not for us to guess
    options: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    created: str | None = None


class ImageRecord(Record, frozen=True, kw_only=True):
    """An image of image/DRIVER/repositories.json: its id and its names; with image layers, those without a name too."""

    data_root: str
    id: str
    names: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()  # chain ids, the lowest first: rootfs.diff_ids of imagedb/content/sha256/ID


# Of image layers: read only when asked for (`layers`, a snapshot), since a report needs none of it.


class ImageLayerRecord(Record, frozen=True, kw_only=True):
    """layerdb/sha256/CHAIN/*, or a snapshot of containerd: a layer, of an image or kept by the build cache."""

    data_root: str
    chain_id: str  # sha256:…; of containerd the snapshot's key, which is another one for what is between layers
    cache_id: str  # its directory in the driver's home, overlay2/CACHE-ID; of containerd the snapshot's number
    parent: str | None = None  # chain id, or key, of the layer below
    diff_id: str | None = None  # sha256:… of its tar archive
    size: int | None = None  # bytes of the files in that archive; of containerd on disk
    removing: bool = False  # CHAIN-RANDOM-removing: its removal was begun, and not ended


class BuildCacheRecord(Record, frozen=True, kw_only=True):
    """A bucket of buildkit/snapshots.db: a snapshot of the build cache; of containerd a lease of it."""

    data_root: str
    id: str  # 25 of base 36; its directory in the driver's home is called so, unless `committed` or `chain_id` tells,
    # or it is containerd's (`LayerHomeRecord.build_mounts`)
    parent: str | None = None  # another snapshot's id, or a chain id
    committed: str | None = None  # the snapshot that it was made of, whose directory it has
    chain_id: str | None = None  # the layer that it has become, or that it stands for


class LayerDirectoryRecord(Record, frozen=True, kw_only=True):
    """A directory in the home of overlay2, or of containerd's snapshotter."""

    name: str  # mount id, mount id and "-init", cache id, or anything; of containerd the snapshot's number
    link: str | None = None  # its short name, from its file `link`
    has_diff: bool = True
    modified: int | None = None  # seconds since the epoch, st_mtime
    snapshot: str | None = None  # containerd's name of it: NAMESPACE/KEY, the namespace of Docker's being moby


class LayerHomeRecord(Record, frozen=True, kw_only=True):
    """overlay2/ under the data root, the storage driver's home, as it was listed before whose each directory is.

    With the containerd image store, snapshots/ of its snapshotter.
    """

    data_root: str
    path: str
    directories: tuple[LayerDirectoryRecord, ...] = ()
    short_names: tuple[str, ...] = ()  # l/*: symbolic links to ../NAME/diff
    build_mounts: tuple[str, ...] = ()  # mount ids of layerdb/mounts/ that BuildKit has while it builds; its snapshots
    writing: tuple[int, ...] = ()  # st_mtime of layerdb/tmp/*: layers being written, or that a daemon died of writing;
    # of containerd when each lease began that is neither a container's nor BuildKit's


class ImageStep(Record, frozen=True, kw_only=True, omit_defaults=False):
    """An entry of an image's history: `docker history`. Read when asked for: it may hold the arguments of a build."""

    created: str | None = None
    command: str | None = None  # created_by
    comment: str | None = None
    chain_id: str | None = None  # of the layer that it made; None: it made none, or which is not to be told


class Change(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A difference between a container's root and its image's: one line of `docker diff`. Read when asked for."""

    kind: Literal["A", "C", "D"]  # added, changed, deleted
    path: str  # from the container's root
    raw: bytes | None = None  # the path itself where it is no UTF-8; base64 in JSON and YAML


class DirectoryUsage(Record, frozen=True, kw_only=True):
    """What a directory holds on its own file system, each inode once: stat(2) of all in it. Read when asked for."""

    path: str
    allocated: int  # bytes on disk, st_blocks of all inodes, as du(1)
    apparent: int  # bytes of all but directories, st_size, as `docker system df` counts
    inodes: int
    complete: bool = True  # False: a Gap says what in it could not be counted


class FileSystemSpace(Record, frozen=True, kw_only=True):
    """statvfs(3) of the file system that an engine's data root is on."""

    path: str  # the data root
    mount_point: str
    fstype: str
    source: str
    size: int  # bytes
    free: int  # bytes that root may still write, f_bfree
    available: int  # bytes that others may still write, f_bavail
    inodes: int  # 0 where they are made as needed (btrfs)
    inodes_free: int


class PathState(Record, frozen=True, kw_only=True):
    """What stands at a path of the host that a record names: a volume's directory, a bind's source."""

    path: str
    kind: Literal["directory", "file", "socket", "other", "missing"]


class HeldFile(Record, frozen=True, kw_only=True):
    """A file without a name any more that a process holds open: /proc/PID/fd, fdinfo. Counted once per process."""

    pid: int
    comm: str
    path: str  # as it was called, from the process's root
    device: str  # "254:1" of the file system; an overlay's own for a container's file
    inode: int
    allocated: int  # bytes on disk, st_blocks


class UnixSocketFile(Record, frozen=True, kw_only=True):
    """A socket in the file system: who may connect."""

    path: str
    mode: int  # permission bits
    uid: int
    gid: int
    group: str | None = None  # /etc/group
    members: tuple[str, ...] = ()  # of that group: group(5), and passwd(5) of those whose own group it is


class DaemonSettings(Record, frozen=True, kw_only=True):
    """What dockerd was told, on its command line or in its daemon.json."""

    data_root: str
    hosts: tuple[str, ...] = ()  # tcp://0.0.0.0:2375, unix:///run/docker.sock, fd://
    tlsverify: bool = False
    iptables: bool = True
    ip6tables: bool | None = None  # None: not told; the default differs from version to version


class StuckProcess(Record, frozen=True, kw_only=True):
    """A container's main process, or a daemon, in state D in two looks, without a context switch in between."""

    pid: int
    wchan: str | None = None  # where in the kernel, /proc/PID/wchan


class BareDirectory(Record, frozen=True, kw_only=True):
    """A directory of containers/ without a config.v2.json."""

    path: str
    modified: int  # seconds since the epoch, st_mtime


class Health(Record, frozen=True, kw_only=True):
    """What `doctor` alone asks for. None in `Facts`: it was not collected."""

    file_systems: tuple[FileSystemSpace, ...] = ()
    paths: tuple[PathState, ...] = ()
    held_files: tuple[HeldFile, ...] = ()
    other_mounts: tuple[MountPoint, ...] = ()  # overlays in mount namespaces of neither the host nor a container
    sockets: tuple[UnixSocketFile, ...] = ()
    settings: tuple[DaemonSettings, ...] = ()
    stuck: tuple[StuckProcess, ...] = ()
    bare_directories: tuple[BareDirectory, ...] = ()


class Facts(Struct, frozen=True, kw_only=True):
    """Everything of one tour over one host. Tuples are in the order read; correlation sorts."""

    host: Host
    engines: tuple[Engine, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    processes: tuple[Process, ...] = ()
    frozen_cgroups: tuple[FrozenCgroup, ...] = ()
    network_namespaces: tuple[NetworkNamespace, ...] = ()
    nsids: tuple[Nsid, ...] = ()
    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    listening_sockets: tuple[ListeningSocket, ...] = ()
    socket_holders: tuple[SocketHolder, ...] = ()
    chains: tuple[Chain, ...] = ()
    rules: tuple[Rule, ...] = ()
    mounts: tuple[MountPoint, ...] = ()
    containers: tuple[ContainerRecord, ...] = ()
    layers: tuple[LayerRecord, ...] = ()
    networks: tuple[NetworkRecord, ...] = ()
    endpoints: tuple[EndpointRecord, ...] = ()
    sandboxes: tuple[SandboxRecord, ...] = ()
    volumes: tuple[VolumeRecord, ...] = ()
    images: tuple[ImageRecord, ...] = ()
    image_layers: tuple[ImageLayerRecord, ...] = ()
    build_cache: tuple[BuildCacheRecord, ...] = ()
    layer_homes: tuple[LayerHomeRecord, ...] = ()
    health: Health | None = None
    gaps: tuple[Gap, ...] = ()
