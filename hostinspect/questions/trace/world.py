"""The networks of a host as its packets find them: addresses, routes and wires of every namespace, over facts alone."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property, lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from shlex import quote
from typing import Literal, NamedTuple

from hostinspect import facts
from hostinspect.correlate.ports import Forwarding, Proxy
from hostinspect.facts import ListeningSocket, Route
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.places import Places
from hostinspect.questions.trace.netfilter import Netfilter
from hostinspect.questions.trace.rules import Address, Ground
from hostinspect.topology import Container, Link

_MAIN, _DEFAULT = 254, 253  # routing tables that the rules of every host name
_LIMITED_BROADCAST = ip_address("255.255.255.255")

network_of = lru_cache(maxsize=4096)(ip_network)


class RouteFound(NamedTuple):
    """Where the routes of a namespace send a packet."""

    route: Route | None  # None: nowhere
    link: Link | None
    next_hop: Address | None  # the gateway, else the destination itself
    doubt: str | None = None  # why it may go elsewhere


class Landing(NamedTuple):
    """Where a frame ends that a link sends to who has an address."""

    state: Literal["there", "out", "nobody", "blocked", "unknown"]
    text: str
    netns: int | None = None
    link: Link | None = None  # that it comes in by: of a bridge's own address the bridge
    bridge: Link | None = None  # that it went through
    port_in: Link | None = None
    port_out: Link | None = None
    at: Link | None = None  # of what is wrong
    remedy: str | None = None


class World:
    """Look-ups over one inspection."""

    def __init__(self, inspection: Inspection) -> None:
        self.facts = inspection.facts
        self.index = inspection.index
        self.topology = inspection.topology
        self.places = Places(inspection.topology)
        self.netfilter = Netfilter(inspection.facts)
        self.host = self.places.host_netns or inspection.index.host_netns or 0
        self.sysctls = {sysctl.name: sysctl.value for sysctl in inspection.facts.sysctls}

    def word(self, container: Container | facts.ContainerRecord) -> str:
        """A container on the client's command line: by id where another engine has one of that name, and would act."""
        same = [other for other in self.topology.containers if other.name == container.name]
        return quote(container.name if len(same) < 2 else container.id)

    # --- links and addresses ---

    @cached_property
    def conf(self) -> dict[tuple[int, int], facts.Link]:
        """Links as they were read, for what the topology does not tell of them."""
        return {(link.netns, link.ifindex): link for link in self.facts.links}

    def link(self, netns: int, name: str) -> Link | None:
        return self.places.links_by_name.get((netns, name))

    def peer(self, link: Link) -> Link | None:
        return self.places.link(link.peer)

    @cached_property
    def addresses(self) -> dict[int, list[tuple[Address, facts.Address]]]:
        """The addresses of each namespace, in the order in which the kernel has them."""
        found: dict[int, list[tuple[Address, facts.Address]]] = defaultdict(list)
        for address in self.facts.addresses:
            found[address.netns].append((ip_address(address.address), address))
        return dict(found)

    @cached_property
    def _local(self) -> dict[int, frozenset[Address]]:
        return {netns: frozenset(address for address, _ in found) for netns, found in self.addresses.items()}

    def is_local(self, netns: int, address: Address) -> bool:
        """Whether the namespace takes packets to it for its own: table `local`, of which every address is one."""
        if address in self._local.get(netns, ()):
            return True
        return address.version == 4 and address.is_loopback and netns in self.places.links_in

    def addresses_of(self, link: Link, version: int) -> list[tuple[Address, facts.Address]]:
        return [
            (address, record)
            for address, record in self.addresses.get(link.netns, ())
            if record.ifindex == link.ifindex and address.version == version
        ]

    def holders(self, address: Address) -> list[int]:
        """The namespaces that have the address."""
        return [netns for netns, local in self._local.items() if address in local]

    def ground(self, netns: int) -> Ground:
        """What matches ask of this namespace."""

        def kind(address: Address) -> str | None:
            if self.is_local(netns, address):
                return "LOCAL"
            if address.is_multicast:
                return "MULTICAST"
            if address.version == 4:
                return "BROADCAST" if self._is_broadcast(netns, address) else "UNICAST"
            found = self.route(netns, address)
            return None if found.doubt else "UNICAST" if found.link else "UNREACHABLE"

        return Ground(kind)

    def _is_broadcast(self, netns: int, address: Address) -> bool:
        return address == _LIMITED_BROADCAST or any(
            own.version == 4
            and record.prefix_len < 31
            and network_of(f"{own}/{record.prefix_len}", strict=False).broadcast_address == address
            for own, record in self.addresses.get(netns, ())
        )

    # --- routes ---

    @cached_property
    def _routes(self) -> dict[tuple[int, int], list[tuple[IPv4Network | IPv6Network | None, Route]]]:
        found: dict[tuple[int, int], list[tuple[IPv4Network | IPv6Network | None, Route]]] = defaultdict(list)
        for route in self.facts.routes:
            network = network_of(route.dst, strict=False) if route.dst else None
            found[route.netns, 4 if route.family == "ipv4" else 6].append((network, route))
        return dict(found)

    def route(self, netns: int, address: Address) -> RouteFound:
        """The route of the longest prefix, and of those the one of the lowest metric, in the main table."""
        best: list[Route] = []
        rank: tuple[int, int] = (-1, 0)
        elsewhere = False
        for network, route in self._routes.get((netns, address.version), ()):
            if network is not None and address not in network:
                continue
            if route.table not in (_MAIN, _DEFAULT):
                elsewhere = True
                continue
            this = (network.prefixlen if network else 0, -route.metric)
            if this > rank:
                best, rank = [route], this
            elif this == rank:
                best.append(route)
        doubt = "routes of other tables than main may take it: which packets go by these is not read"
        if not best:
            return RouteFound(None, None, None, doubt if elsewhere else None)
        route = best[0]
        link = self.places.links.get((netns, route.ifindex or 0))
        gateway = ip_address(route.gateway) if route.gateway else address
        if len({(other.ifindex, other.gateway) for other in best}) > 1:
            return RouteFound(route, link, gateway, "it may go by any of several routes alike")
        return RouteFound(route, link, gateway, doubt if elsewhere else None)

    def source_for(self, netns: int, address: Address) -> Address | None:
        """The address that a process there sends from to `address`, if it does not choose itself."""
        if self.is_local(netns, address):
            return address
        found = self.route(netns, address)
        if found.route is None or found.link is None:
            return None
        if found.route.prefsrc:
            return ip_address(found.route.prefsrc)
        return self.address_on(found.link, found.next_hop or address)

    def address_on(self, link: Link, to: Address) -> Address | None:
        """The address of a link that goes with a next hop: of its subnet, else its first (inet_select_addr)."""
        own = [
            (address, record)
            for address, record in self.addresses_of(link, to.version)
            if record.scope not in ("host", "link") or (to.version == 6 and to.is_link_local)
        ]
        for address, record in own:
            if to in network_of(f"{address}/{record.prefix_len}", strict=False):
                return address
        if own:
            return own[0][0]
        for address, record in self.addresses.get(link.netns, ()):
            if address.version == to.version and record.scope == "global":
                return address
        return None

    def rp_filter(self, link: Link) -> int | None:
        """How sources are checked at this link; None where that is not known."""
        conf = self.conf.get((link.netns, link.ifindex))
        own = conf.rp_filter if conf else None
        if own == 1 or (own is not None and link.netns == self.host):
            every = self.sysctls.get("net.ipv4.conf.all.rp_filter", "0") if link.netns == self.host else "0"
            return max(own, int(every) if every.isdecimal() else 0)
        return None

    def forwards(self, link: Link, version: int) -> bool | None:
        """Whether what comes in by this link may go out by another one."""
        if version == 6:
            value = self.sysctls.get("net.ipv6.conf.all.forwarding")
            return None if value is None or link.netns != self.host else value != "0"
        conf = self.conf.get((link.netns, link.ifindex))
        if conf is not None and conf.forwarding is not None:
            return conf.forwarding
        value = self.sysctls.get("net.ipv4.ip_forward")
        return None if value is None or link.netns != self.host else value != "0"

    def filters_bridges(self, netns: int, version: int) -> bool | None:
        """Whether what goes through a bridge from port to port passes iptables; None where that is not known."""
        if netns != self.host:
            return None
        name = f"net.bridge.bridge-nf-call-ip{'6' if version == 6 else ''}tables"
        return self.sysctls.get(name, "0") != "0"

    # --- sockets ---

    def sockets(self, netns: int, proto: str, port: int) -> list[ListeningSocket]:
        return self.index.listening.get((netns, proto, port), [])

    def socket_for(self, netns: int, proto: str, address: Address, port: int, ifindex: int) -> ListeningSocket | None:
        """The socket that takes a packet: one bound to its address comes before one for any."""
        wildcard = None
        for socket in self.sockets(netns, proto, port):
            if socket.ifindex not in (None, ifindex):
                continue
            bound = ip_address(socket.address)
            if isinstance(bound, IPv6Address) and bound.ipv4_mapped:
                bound = bound.ipv4_mapped
            if bound == address:
                return socket
            if bound.is_unspecified and (
                bound.version == address.version or (bound.version == 6 and address.version == 4 and not socket.v6only)
            ):
                # One of IPv4 alone comes before one that takes both.
                wildcard = socket if wildcard is None or bound.version == address.version else wildcard
        return wildcard

    def in_link(self, link: Link, address: Address) -> int:
        """The ifindex that a packet is said to come in by: over lo it is that of the link that has the address."""
        if "LOOPBACK" in link.flags:
            own = (r.ifindex for a, r in self.addresses.get(link.netns, ()) if a == address)
            return next(own, link.ifindex)
        return link.ifindex

    def sockets_seen(self, netns: int, proto: str) -> bool:
        """Whether a socket that was not found is not there."""
        if netns not in self.places.links_in or proto not in ("tcp", "udp"):
            return False
        return not any(gap.collector == "sockets" and str(netns) in gap.subject for gap in self.topology.gaps)

    def holders_of(self, socket: ListeningSocket) -> list[int]:
        return self.index.holders.get(socket.inode, [])

    @cached_property
    def proxies(self) -> dict[int, Proxy]:
        """docker-proxies by pid."""
        return {proxy.pid: proxy for found in Forwarding(self.index).proxies.values() for proxy in found}

    @cached_property
    def daemons(self) -> frozenset[int | None]:
        """The engines' pids. Without a userland proxy dockerd binds the ports that it publishes, and never answers."""
        return frozenset(engine.pid for engine in self.topology.host.engines if engine.pid)

    @cached_property
    def published(self) -> frozenset[tuple[str, int | None]]:
        """Protocol and number of every port of the host that a container was given."""
        return frozenset((port.proto, port.host_port) for record in self.facts.containers for port in record.ports)

    # --- wires ---

    @cached_property
    def _ports(self) -> dict[tuple[int, str], list[Link]]:
        """The ports of each bridge, by its namespace and name."""
        ports: dict[tuple[int, str], list[Link]] = defaultdict(list)
        for link in self.topology.links:
            if link.master:
                ports[link.netns, link.master].append(link)
        return dict(ports)

    @cached_property
    def _upper(self) -> dict[tuple[int, int], list[Link]]:
        """macvlan and ipvlan links by the device below."""
        upper: dict[tuple[int, int], list[Link]] = defaultdict(list)
        for link in self.topology.links:
            if link.lower and link.kind in ("macvlan", "ipvlan"):
                upper[link.lower.netns, link.lower.ifindex].append(link)
        return dict(upper)

    def answers(self, link: Link, address: Address) -> bool:
        """Whether the namespace of a link answers who asks there for an address: of IPv4 for all that it has (ARP)."""
        if address.version == 4:
            return address in self._local.get(link.netns, ())
        return any(own == address for own, _ in self.addresses_of(link, 6))

    def place(self, netns: int) -> str:
        return self.places.namespace_name(netns)

    def send(self, link: Link, to: Address, destination: Address | None = None) -> Landing:
        """A frame sent by a link to who has the address `to`: where it lands. `destination` is what the packet says."""
        if (problem := self._not_up(link)) is not None:
            return problem
        upper = self._children(link, destination or to)
        if upper:
            text = (
                f"{destination or to} is on {self.named(upper[0])}, a {upper[0].kind} of {link.ifname}, "
                f"which the host itself and what it forwards cannot reach by {link.ifname}"
            )
            remedy = "give the host a macvlan interface of its own on the same parent"
            return Landing("blocked", text, at=link, remedy=remedy)
        if link.kind == "bridge":
            return self._switch(link, to, None)
        if link.kind == "veth":
            peer = self.peer(link)
            if peer is None:
                why = link.doubt or "its other end was not seen"
                return Landing("unknown", f"{self.named(link)}: {why}", at=link)
            return self._arrive(peer, to)
        if link.kind in ("macvlan", "ipvlan"):
            return self._from_upper(link, to)
        return Landing("out", f"it leaves by {self.named(link)}", link.netns, link)

    def named(self, link: Link) -> str:
        """A link, with whose it is where that is not the host."""
        return link.ifname if link.netns == self.host else f"{link.ifname} of {self.place(link.netns)}"

    def _not_up(self, link: Link) -> Landing | None:
        inside = "" if link.netns == self.host else f"nsenter -t {self._pid(link.netns)} -n "
        if "UP" not in link.flags:
            return Landing(
                "blocked", f"{self.named(link)} is down", at=link, remedy=f"{inside}ip link set {quote(link.ifname)} up"
            )
        if link.kind in ("veth", "macvlan", "ipvlan") and "LOWER_UP" not in link.flags:
            peer = self.peer(link) or self.places.link(link.lower)
            if peer is not None and "UP" not in peer.flags:
                return self._not_up(peer)
            return Landing("blocked", f"{self.named(link)} has no carrier", at=link)
        return None

    def _pid(self, netns: int) -> str:
        namespace = self.places.namespaces.get(netns)
        return str(namespace.pids[0]) if namespace and namespace.pids else "PID"

    def _arrive(self, link: Link, to: Address) -> Landing:
        """A frame that comes out of a veth."""
        if (problem := self._not_up(link)) is not None:
            return problem
        if link.master is None:
            if self.answers(link, to):
                return Landing("there", f"{self.named(link)} takes it", link.netns, link)
            return self._nobody(link, to)
        bridge = self.link(link.netns, link.master)
        if bridge is None or bridge.kind != "bridge":
            return Landing("unknown", f"{self.named(link)} is part of {link.master}, which is no bridge", at=link)
        if (problem := self._not_up(bridge)) is not None:
            return problem
        if link.port_state != "forwarding":
            return self._port_blocked(link)
        return self._switch(bridge, to, link)

    def _port_blocked(self, port: Link) -> Landing:
        return Landing(
            "blocked" if port.port_state else "unknown",
            f"{self.named(port)} is a port of {port.master} in state {port.port_state or 'not known'}, "
            "which forwards nothing",
            at=port,
            remedy=f"ip link set {quote(port.ifname)} up",
        )

    def _switch(self, bridge: Link, to: Address, port_in: Link | None) -> Landing:
        """A frame on a bridge, from itself or from one of its ports."""
        found: list[Landing] = []
        blocked: list[Landing] = []
        if port_in is not None and self.answers(bridge, to):
            found.append(Landing("there", f"{self.named(bridge)} takes it", bridge.netns, bridge, bridge, port_in))
        for upper in self._children(bridge, to):
            found.append(Landing("there", f"{self.named(upper)} takes it", upper.netns, upper, bridge, port_in, bridge))
        uplinks: list[Link] = []
        for port in self._ports.get((bridge.netns, bridge.ifname), ()):
            if port_in is not None and port.ifindex == port_in.ifindex:
                continue
            peer = self.peer(port)
            if peer is None or peer.master:
                uplinks.append(port)
            elif self.answers(peer, to):
                landing = Landing("there", f"{port.ifname} forwards it", peer.netns, peer, bridge, port_in, port)
                problem = self._not_up(port) or self._not_up(peer)
                if problem is None and port.port_state != "forwarding":
                    problem = self._port_blocked(port)
                (blocked if problem else found).append(problem or landing)
        if len(found) == 1:
            return found[0]
        if found:
            who = " and ".join(sorted({self.place(landing.netns or 0) for landing in found}))
            return Landing("unknown", f"{to} is taken by {who} alike, on {bridge.ifname}", at=bridge)
        if blocked:
            return blocked[0]
        if any("UP" in port.flags for port in uplinks):
            others = ", ".join(self.named(port) for port in uplinks)
            return Landing("out", f"it leaves {self.named(bridge)} by {others}", bridge.netns, bridge, bridge)
        return self._nobody(bridge, to)

    def _children(self, link: Link, to: Address) -> list[Link]:
        """Of the macvlan and ipvlan links above a device those whose namespace has the address."""
        return [upper for upper in self._upper.get((link.netns, link.ifindex), ()) if self.answers(upper, to)]

    def _nobody(self, link: Link, to: Address) -> Landing:
        """Nobody is there with the address; who has it elsewhere, and who should have it?"""
        where = self.named(link)
        for netns in self.holders(to):
            if netns == link.netns:
                continue
            for other, record in self.addresses.get(netns, ()):
                own = self.places.links.get((netns, record.ifindex))
                if other == to and own is not None:
                    return self._misplaced(where, link, own, to)
        text, remedy = f"nobody on {where} has {to}", None
        if link.kind == "bridge" and (gateway := self.lost_gateway(link)) and gateway.startswith(f"{to}/"):
            text += ", the gateway of its containers"
            remedy = f"ip address add {quote(gateway)} dev {quote(link.ifname)}"
        for container in self.facts.containers:
            if container.running and any(str(to) in (endpoint.ip, endpoint.ip6) for endpoint in container.endpoints):
                text += f", which was given to {container.name}"
                remedy = f"docker restart {self.word(container)}"
        return Landing("nobody", text, link.netns, link, at=link, remedy=remedy)

    def bridge_to(self, netns: int, address: Address) -> tuple[Link | None, str]:
        """The bridge, in a namespace, of the network that a container has an address on; and the container's name."""
        for container in self.topology.containers:
            for end in container.endpoints:
                network = self.places.networks.get(end.network_id or "")
                if str(address) in (end.ip, end.ip6) and network is not None and network.bridge:
                    return self.link(netns, network.bridge), container.name
        return None, ""

    def lost_gateway(self, bridge: Link) -> str | None:
        """The gateway, with its length, of the containers on a bridge, where the bridge does not have it."""
        for container in self.topology.containers:
            for end in container.endpoints:
                if (end.bridge, end.host_link_netns) == (bridge.ifname, bridge.netns):
                    gateway, length = end.gateway, end.prefix_len
                    if gateway and length is not None and gateway not in bridge.addresses:
                        return f"{gateway}/{length}"
        return None

    def _misplaced(self, where: str, link: Link, own: Link, to: Address) -> Landing:
        """The address is on a link that is not connected to where it is looked for."""
        outer = self.peer(own)
        holder = self.place(own.netns)
        if outer is None:
            text = f"nobody on {where} has {to}: it is on {self.named(own)}, which is not connected to it"
            return Landing("nobody", text, link.netns, link, at=own)
        end = f"{outer.ifname}, the host's end of {own.ifname} of {holder},"
        of_none = f"{end} is not a port of {where}, nor of any bridge"
        text = of_none if outer.master is None else f"{end} is a port of {outer.master}, not of {where}"
        remedy = f"ip link set {quote(outer.ifname)} master {quote(link.ifname)}" if link.kind == "bridge" else None
        return Landing("blocked", text, link.netns, link, at=outer, remedy=remedy)

    def _from_upper(self, link: Link, to: Address) -> Landing:
        """A frame sent by a macvlan or ipvlan link: to its siblings, or out of the device below."""
        lower = self.places.link(link.lower)
        if lower is None:
            return Landing("unknown", f"{self.named(link)}: the device below it was not seen", at=link)
        if (problem := self._not_up(lower)) is not None:
            return problem
        for sibling in self._children(lower, to):
            if sibling.netns == link.netns:
                continue
            if link.mode in ("bridge", "l2", "l3", "l3s"):
                problem = self._not_up(sibling)
                return problem or Landing("there", f"{lower.ifname} passes it on", sibling.netns, sibling)
            if link.mode == "private":
                text = f"links of {lower.ifname} in private mode do not reach each other"
                return Landing("blocked", text, at=link)
            return Landing("unknown", f"in {link.mode} mode the switch beside the host decides", at=link)
        if self.answers(lower, to):
            text = f"{self.named(link)} is a {link.kind} of {lower.ifname}, and cannot reach {lower.ifname} itself"
            return Landing("blocked", text, at=link)
        if lower.kind == "bridge":
            landing = self._switch(lower, to, None)
            return landing._replace(state="out") if landing.state == "nobody" else landing
        return Landing("out", f"it leaves by {lower.ifname}", lower.netns, lower)
