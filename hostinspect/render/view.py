"""A topology with the look-ups that its description needs, and how much of it is asked for."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

from hostinspect.questions.places import Places
from hostinspect.topology import Bridge, Container, Link, Mount, Network, NetworkNamespace, Topology

GWBRIDGE = "docker_gwbridge"
SHORT = 12  # as docker shortens an id
DEFAULT_DATA_ROOT = "/var/lib/docker"

MountKey = tuple[str, str, str]  # "volume", data root and name; or "bind", nothing and the directory


class View(Places):
    """Look-ups by the keys that the parts of a topology refer to each other with."""

    def __init__(self, topology: Topology, *, verbose: bool = False) -> None:
        super().__init__(topology)
        self.verbose = verbose
        self.now = topology.host.collected_at

    @property
    def is_disk(self) -> bool:
        """Whether a disk is all that was looked at: then nothing runs, and what ran is as recorded."""
        return self.topology.host.root is not None

    def where(self, data_root: str | None) -> str | None:
        """`in /srv/docker`: whose something is, where there are several engines; None of the one at the usual place."""
        if len(self.topology.host.engines) < 2 or data_root in (None, DEFAULT_DATA_ROOT):
            return None
        return f"in {data_root}"

    # --- containers ---

    @cached_property
    def running(self) -> list[Container]:
        """Those with a process: running or paused."""
        return [container for container in self.topology.containers if is_running(container)]

    @cached_property
    def running_in(self) -> dict[int, list[Container]]:
        """The running containers in each network namespace."""
        members: dict[int, list[Container]] = defaultdict(list)
        for container in self.running:
            if container.netns is not None:
                members[container.netns].append(container)
        return dict(members)

    @cached_property
    def sharers(self) -> dict[str, list[Container]]:
        """Running containers that joined another one's network namespace, by that one's id."""
        sharers: dict[str, list[Container]] = defaultdict(list)
        for container in self.running:
            owner = self._running_owner(container)
            if owner is not None and not self._is_circular(container):
                sharers[owner.id].append(container)
        return dict(sharers)

    def _running_owner(self, container: Container) -> Container | None:
        owner = self.containers.get(container.shares_netns_with or "")
        return owner if owner is not None and is_running(owner) else None

    def _is_circular(self, container: Container) -> bool:
        """Whether its record, by way of others, names itself: then none of them is below another."""
        seen: set[str] = set()
        owner: Container | None = container
        while owner is not None:
            if owner.id in seen:
                return True
            seen.add(owner.id)
            owner = self._running_owner(owner)
        return False

    @cached_property
    def home(self) -> dict[str, str]:
        """The network under which each running container is described in full: that which it was started on.

        Where it is not on it any more, the first other one; docker_gwbridge, the way out of overlay networks, last.
        A container in another one's namespace is described with that one, and is not in here.
        """
        return {c.id: home for c in self.running if not self.is_sharer(c) and (home := self._home(c))}

    def _home(self, container: Container) -> str | None:
        mode = network_of_mode(container.network_mode)
        candidates = [self.networks[e.network_id] for e in container.endpoints if e.network_id in self.networks]
        if not candidates:
            named = [n for n in self.topology.networks if n.driver in ("host", "null") and n.name == mode]
            candidates = [network for network in named if network.data_root == container.data_root]
        candidates.sort(key=lambda n: (mode not in (n.name, n.id), n.name == GWBRIDGE, n.name or "", n.id))
        return candidates[0].id if candidates else None

    def is_sharer(self, container: Container) -> bool:
        """Whether it is described below the container whose network namespace it joined."""
        return any(container is sharer for sharer in self.sharers.get(container.shares_netns_with or "", ()))

    def name(self, container: str | None) -> str:
        """A container's name, by id; of one not known, the short id."""
        known = super().name(container)
        return short_id(container or "") if known is None else known

    @cached_property
    def mounts_of(self) -> dict[MountKey, list[tuple[Container, Mount]]]:
        """Who has what mounted; see `mount_key`."""
        users: dict[MountKey, list[tuple[Container, Mount]]] = defaultdict(list)
        for container in self.topology.containers:
            for mount in container.mounts:
                key = mount_key(container, mount)
                if key is not None:
                    users[key].append((container, mount))
        return dict(users)

    # --- namespaces and links ---

    def namespace_name(self, inode: int) -> str:
        """What ip-netns(8) or docker would call a namespace: the last part of the path that pins it, else the inode."""
        namespace = self.namespaces.get(inode)
        if namespace is None or not namespace.paths:
            return f"namespace {inode}"
        return namespace.paths[0].rsplit("/", 1)[-1]

    def bridge_of(self, network: Network) -> Bridge | None:
        """A network's bridge: on the host, or in the hidden namespace of an overlay network."""
        netns = network.netns if network.netns is not None else self.host_netns
        return self.bridges.get((netns or 0, network.bridge or ""))

    def peer_namespace(self, link: Link) -> NetworkNamespace | None:
        """Where a veth's other end is."""
        return self.namespaces.get(link.peer.netns) if link.peer else None

    @cached_property
    def host_backends(self) -> frozenset[str]:
        """Those in which the host's own namespace has NAT rules: legacy, nft, or both."""
        return frozenset(rule.backend for rule in self.topology.nat_rules if rule.netns == self.host_netns)

    # --- what could be seen ---

    def listeners_known(self, netns: int | None, proto: str) -> bool:
        """Whether the listening sockets of a namespace were read, so that "nothing listens" can be said.

        Those of SCTP can be read only where the kernel has a module for that loaded, and nobody says whether it has.
        """
        if netns is None or netns not in self.links_in or proto not in ("tcp", "udp"):
            return False
        return not any(gap.collector == "sockets" and str(netns) in gap.subject for gap in self.topology.gaps)

    @cached_property
    def uses_dnat(self) -> bool:
        """Whether the engine makes rules for published ports, so that an IPv4 one without is worth a look.

        With `--iptables=false` none has any. For IPv6, a proxy alone is what most versions make.
        """
        return self.knows("rules") and any("dnat" in p.via for c in self.topology.containers for p in c.ports)

    def knows(self, *collectors: str) -> bool:
        """Whether these families of facts have no grave gap, so that what was not found there is not there."""
        return self._unseen.isdisjoint(collectors)

    @cached_property
    def _unseen(self) -> frozenset[str]:
        return frozenset(gap.collector for gap in self.topology.gaps if not gap.minor)


def is_as_recorded(container: Container) -> bool:
    """Whether its record alone says that it runs: on a disk nothing does, and hidden processes are not seen."""
    return container.pid is None and container.state in ("running", "paused")


def is_running(container: Container) -> bool:
    """Whether it has a process now."""
    return container.pid is not None or container.state in ("running", "paused")


def network_of_mode(network_mode: str | None) -> str:
    """The name or id of the network that a container was started on. Docker's default one is `bridge`."""
    return "bridge" if network_mode in (None, "", "default") else network_mode


def misses_bridge(network: Network) -> bool:
    """Whether a bridge should be there and is not; of a bridge network without one else, the engine is at rest."""
    return any(change.field == "bridge" for change in network.drift)


def mount_key(container: Container, mount: Mount) -> MountKey | None:
    """What two containers that share a mount have in common: the volume of an engine, or the directory of the host."""
    if mount.type == "volume" and mount.name:
        return volume_key(container.data_root, mount.name)
    return ("bind", "", mount.source) if mount.type == "bind" and mount.source else None


def volume_key(data_root: str, name: str) -> MountKey:
    """The same of a volume: each engine may have one of that name."""
    return "volume", data_root, name


def short_id(id_: str) -> str:
    """An id as docker shortens it, and as its commands take it: without the algorithm, 12 digits."""
    return id_.removeprefix("sha256:")[:SHORT]
