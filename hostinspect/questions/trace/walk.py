"""The way of a packet through the namespaces of a host, and of the answer back, as the kernel would take them.

A `Walk` begins at a process in some namespace or at a link by which the packet comes in from outside, and writes a hop
for all that decides: translation, routes, filters, wires, addresses, sockets. It ends where the packet ends. What
cannot be told makes a hop `unknown`, and the way goes on as if that hop let the packet through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import ip_address
from shlex import quote
from typing import NamedTuple, NoReturn

from hostinspect.correlate.ports import Proxy
from hostinspect.facts import ListeningSocket, Rule
from hostinspect.questions.trace.answer import Evidence, Hop, Reached, State
from hostinspect.questions.trace.netfilter import Decision, Outcome, Passage, target_of
from hostinspect.questions.trace.rules import ANYTHING, OPEN, Address, Packet, Stage, address_of, matches
from hostinspect.questions.trace.words import (
    Words,
    bound,
    link_evidence,
    rule_evidence,
    spelled,
    sysctl_evidence,
    sysctl_name,
)
from hostinspect.questions.trace.world import Landing, World
from hostinspect.topology import Link

_LONGEST = 64  # namespaces that one way may go through: beyond is a loop
_SOLICITED_NODE = ip_address("ff02::1:ff00:0")  # the group of an address: with its last 24 bits
_SOLICITATION, _ADVERTISEMENT = 135, 136  # types of ICMPv6
_TOLD = 8  # rules of one chain that may decide
_STOPPED = {"T": "is stopped (SIGSTOP)", "t": "is stopped by a debugger", "Z": "is a zombie"}


class Flow(NamedTuple):
    """What the connection tracking of a namespace remembers of the first packet."""

    first: Packet  # as it came
    last: Packet  # as it left

    def translated(self, packet: Packet, *, is_early: bool) -> Packet:
        """A later packet, to other addresses: its destination before it is routed, its source after that."""
        if packet.reply:
            if is_early:
                return packet._replace(dst=self.first.src, dport=self.first.sport)
            return packet._replace(src=self.first.dst, sport=self.first.dport)
        if is_early:
            return packet._replace(dst=self.last.dst, dport=self.last.dport)
        return packet._replace(src=self.last.src, sport=self.last.sport)


class End(NamedTuple):
    """Where the packet ends: a socket."""

    netns: int
    packet: Packet
    socket: ListeningSocket
    pid: int | None


class EndedError(Exception):
    """The packet goes no further; the last hop says why."""


class Walk:
    """One packet, and the answer to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.words = Words(world)
        self.hops: list[Hop] = []
        self.first_fork: int | None = None  # position of the hop from which on the packet may as well be elsewhere
        self.reached: Reached | None = None
        self._flows: dict[int, list[Flow]] = {}
        self._origin: int | None = None  # namespace that it comes from; None: from outside
        self._entry: Link | None = None
        self._stage: Stage = "first"
        self._asked: Packet | None = None
        self.is_done = False  # True: the last packet that was sent has arrived
        self._steps = 0

    # --- beginnings ---

    def from_inside(self, netns: int, packet: Packet) -> None:
        """From a process in a namespace."""
        self._origin = netns
        self._run(lambda packet: self._originate(netns, packet), packet)

    def from_outside(self, link: Link, packet: Packet) -> None:
        """In by a link, from whoever is at its other end."""
        self._entry = link
        self._run(lambda packet: self._come_in(link, packet), packet)

    def _run(self, begin: Callable[[Packet], End], packet: Packet) -> None:
        """There, back, and what follows: a connection needs all three."""
        self._asked = packet
        try:
            end = begin(packet)
            proxy = self.world.proxies.get(end.pid or 0) if end.netns == self.world.host else None
            if proxy is not None:
                self._through(proxy, end)
        except EndedError:
            return
        self._answer(end, packet)
        if self.is_done and packet.proto == "tcp":
            self._later("further", lambda: begin(packet._replace(stage="further", state="ESTABLISHED")), "what follows")

    def _come_in(self, link: Link, packet: Packet) -> End:
        world = self.world
        if "UP" not in link.flags:
            self._end(
                "broken",
                "link",
                f"{link.ifname} is down",
                [link_evidence(link)],
                f"ip link set {quote(link.ifname)} up",
            )
        self._hop("ok", "source", f"{packet.src} comes in by {world.named(link)}", [link_evidence(link)])
        self._check_discovery(None, link, packet.src, packet.dst)
        for netns in world.holders(packet.dst):  # what is above the link takes its own frames before the host does
            for upper in world.places.links_in.get(netns, ()):
                lower = world.places.link(upper.lower)
                if lower == link and upper.kind in ("macvlan", "ipvlan") and world.answers(upper, packet.dst):
                    self._check_up(upper)
                    self._into_bridge(link, packet)
                    return self._receive(netns, upper, packet)
        return self._receive(link.netns, link, packet)

    # --- what a packet meets ---

    def _originate(self, netns: int, packet: Packet) -> End:
        """A packet made in a namespace: OUTPUT, a route, POSTROUTING."""
        world = self.world
        self._step()
        first = packet
        packet, flow = self._tracked(netns, packet)
        oif = self._out_of(netns, packet)
        packet = self._hook(netns, "output", packet._replace(oif=oif.ifname, iif=""), oif, flow)
        out = self._out_of(netns, packet)
        if "LOOPBACK" not in out.flags:
            self._check_way(*self._route(netns, packet), packet)
            return self._leave(netns, out, packet, first)
        if "UP" not in out.flags:
            self._end(
                "broken",
                "link",
                f"lo of {world.place(netns)} is down",
                [link_evidence(out)],
                f"{self.words.inside(netns)}ip link set lo up",
            )
        packet = self._hook(netns, "postrouting", packet._replace(oif=out.ifname, iif=""), out, flow)
        packet = self._hook(netns, "prerouting", packet._replace(iif=out.ifname, oif=""), None)
        return self._deliver(netns, out, packet, first)

    def _out_of(self, netns: int, packet: Packet) -> Link:
        """The link that a packet leaves by: lo for what the namespace has itself."""
        world = self.world
        if world.is_local(netns, packet.dst):
            lo = next((link for link in world.places.links_in.get(netns, ()) if "LOOPBACK" in link.flags), None)
            if lo is None:
                self._end("unknown", "link", f"the links of {world.place(netns)} were not seen", [])
            return lo
        return self._route(netns, packet)[0]

    def _route(self, netns: int, packet: Packet) -> tuple[Link, Address]:
        """The link and the next hop; ends where there is no route."""
        world = self.world
        place = world.place(netns)
        if netns not in world.places.links_in:
            self._end("unknown", "route", f"what is in {place} was not seen", [])
        found = world.route(netns, packet.dst)
        to = f"to {packet.dst}"
        if found.doubt:
            self._fork()
            self._hop("unknown", "route", f"{place}: {found.doubt}", [])
        if found.route is None:
            gateway = quote(self.words.gateway(netns, packet.dst.version))
            remedy = f"{self.words.inside(netns)}ip route add default via {gateway}"
            self._end("unknown" if found.doubt else "broken", "route", f"{place} has no route {to}", [], remedy)
        route = found.route
        text = f"{route.dst or 'default'}{' via ' + route.gateway if route.gateway else ''}"
        evidence = [Evidence(kind="route", id=f"{netns}/{route.dst or 'default'}", text=text)]
        if route.type != "unicast":
            remedy = f"{self.words.inside(netns)}ip route delete {route.type} {route.dst or 'default'}"
            self._end("broken", "route", f"{place}: the route {to} is {route.type}: {text}", evidence, remedy)
        if found.link is None or found.next_hop is None:
            self._end("unknown", "route", f"{place}: the route {to} leads to a link that was not seen", evidence)
        link = found.link
        if packet.src.is_loopback and "LOOPBACK" not in link.flags:
            if packet.src.version == 6:
                text = f"{packet.src} may not go out by {link.ifname}: IPv6 has no route_localnet"
                self._end("broken", "route", text, [link_evidence(link)])
            conf = world.conf.get((link.netns, link.ifindex))
            if conf is not None and conf.route_localnet is False:
                name = sysctl_name(link.ifname, "route_localnet")
                self._end(
                    "broken",
                    "route",
                    f"{packet.src} may not go out by {link.ifname}: {name} is 0",
                    [sysctl_evidence(name, "0")],
                    f"sysctl -w {quote(name)}=1",
                )
        return link, found.next_hop

    def _receive(self, netns: int, link: Link, packet: Packet, physin: str = "") -> End:
        """A packet that comes in by a link: PREROUTING, then to a socket here or on to another link."""
        world = self.world
        self._step()
        packet = first = _fresh(packet)._replace(iif=link.ifname, physin=physin)
        packet, flow = self._tracked(netns, packet)
        came = packet.dst
        packet = self._hook(netns, "prerouting", packet, link, flow)
        self._check_source(netns, link, packet)
        if world.is_local(netns, packet.dst):
            return self._deliver(netns, link, packet, first)
        if physin and packet.dst != came and world.filters_bridges(netns, packet.dst.version):
            found = world.route(netns, packet.dst)
            if found.link == link and found.next_hop is not None:
                return self._bridged(link, found.next_hop, packet, first)
        self._check_forwarding(netns, link, packet)
        out, next_hop = self._route(netns, packet)
        self._check_way(out, next_hop, packet)
        packet = self._hook(netns, "forward", packet._replace(oif=out.ifname), None)
        return self._leave(netns, out, packet, first)

    def _leave(self, netns: int, out: Link, packet: Packet, first: Packet) -> End:
        """POSTROUTING, and over the wire."""
        flow = self._tracked(netns, first)[1] if packet.state == "ESTABLISHED" else None
        packet = self._hook(netns, "postrouting", packet._replace(oif=out.ifname), out, flow)
        if self._stage == "first":
            self._flows.setdefault(netns, []).append(Flow(first, packet))
        if self._stage == "answer" and self._entry is not None and netns == self._entry.netns:
            self._has_left(out, self._entry, packet)
        link, next_hop = self._route(netns, packet)
        return self._send(link, next_hop, packet)

    def _bridged(self, bridge: Link, next_hop: Address, packet: Packet, first: Packet) -> End:
        """br_netfilter: what has got another destination on the bridge that it came in by stays on it."""
        world = self.world
        if packet.dst.version == 4 and world.forwards(bridge, 4) is False:
            name = "net.ipv4.ip_forward"
            text = (
                f"{name} is 0: whether {bridge.ifname} passes on what has got another destination is up to the kernel"
            )
            self._hop("unknown", "forwarding", text, [sysctl_evidence(name, "0")], f"sysctl -w {name}=1")
        landing = world.send(bridge, next_hop)
        port_in = world.link(bridge.netns, packet.physin)
        if landing.state == "there" and port_in is not None and landing.port_out == port_in:
            conf = world.conf.get((port_in.netns, port_in.ifindex))
            if conf is None or not conf.hairpin:
                text = f"it would leave {bridge.ifname} as it came, by {port_in.ifname}, whose hairpin mode is off"
                remedy = f"bridge link set dev {quote(port_in.ifname)} hairpin on"
                self._end("broken", "link", text, [link_evidence(bridge), link_evidence(port_in)], remedy)
        return self._land(bridge, next_hop, landing._replace(port_in=port_in), packet, first)

    def _has_left(self, out: Link, entry: Link, packet: Packet) -> NoReturn:
        """The answer is on its way to who asked from outside."""
        world = self.world
        if (problem := world.send(out, packet.dst)).state == "blocked":
            self._end("broken", "link", problem.text, [link_evidence(problem.at)] if problem.at else [], problem.remedy)
        self._check_who_answers(packet)
        self._check_discovery(out, None, packet.src, packet.dst)
        self.is_done = True
        if out == entry:
            self._end("ok", "answer", f"it leaves by {world.named(out)} to {packet.dst}", [link_evidence(out)])
        text = f"it leaves by {world.named(out)}, while {packet.dst} came in by {world.named(entry)}"
        self._end("unknown", "answer", text, [link_evidence(out), link_evidence(entry)])

    def _send(self, link: Link, next_hop: Address, packet: Packet) -> End:
        """Over the wire to who has the address of the next hop."""
        return self._land(link, next_hop, self.world.send(link, next_hop, packet.dst), packet, None)

    def _land(self, link: Link, next_hop: Address, landing: Landing, packet: Packet, first: Packet | None) -> End:
        """Where the wire leads; `first` is the packet as it came in by the bridge, where it has been looked at."""
        involved = (landing.bridge, landing.port_in, landing.port_out, landing.at)
        evidence = [link_evidence(part) for part in involved if part]
        if landing.state == "out":
            self.is_done = self._stage == "answer" and landing.link is not None and landing.link == self._entry
            text = f"{landing.text} to {next_hop}" + ("" if self.is_done else ": what is beyond was not seen")
            self._end("ok" if self.is_done else "unknown", "link", text, evidence or [link_evidence(link)])
        if landing.state in ("nobody", "blocked", "unknown") or landing.netns is None or landing.link is None:
            state: State = "unknown" if landing.state == "unknown" else "broken"
            subject = "address" if landing.state == "nobody" else "link"
            self._end(state, subject, landing.text, evidence, landing.remedy)
        self._check_discovery(link, landing.link, packet.src, next_hop)
        if landing.bridge is not None:
            packet = self._through_bridge(landing, landing.bridge, packet, first)
        self._hop(
            "ok", "link", self._way(link, landing), evidence or [link_evidence(link), link_evidence(landing.link)]
        )
        physin = landing.port_in.ifname if landing.port_in and landing.link == landing.bridge else ""
        return self._receive(landing.netns, landing.link, packet, physin)

    def _way(self, link: Link, landing: Landing) -> str:
        """`docker0 is up, veth13d6de4 forwards to eth0 of web1`."""
        world = self.world
        assert landing.link is not None
        if landing.bridge is None:
            return f"{world.named(link)} is up, at its other end is {world.named(landing.link)}"
        if landing.link == landing.bridge:
            by = f"{landing.port_in.ifname} forwards, " if landing.port_in else ""
            return f"{world.named(link)} is up, {by}{world.named(landing.bridge)} takes it"
        port = landing.port_out
        into = f"{port.ifname} forwards to " if port is not None and port != landing.bridge else "it goes to "
        return f"{world.named(landing.bridge)} is up, {into}{world.named(landing.link)}"

    def _through_bridge(self, landing: Landing, bridge: Link, packet: Packet, first: Packet | None) -> Packet:
        """The frame passes a bridge from port to port: what iptables and the bridge's own tables say to that."""
        world = self.world
        if chains := world.netfilter.of_bridge(bridge.netns):
            names = ", ".join(f"{chain.table} {chain.name}" for chain in chains)
            self._hop("unknown", "filter", f"rules of the bridge family see it, and are not walked: {names}", [])
        if landing.port_in is not None and landing.port_out == bridge:
            self._into_bridge(bridge, packet, landing.port_in.ifname)
        if landing.port_in is None or landing.port_out is None or landing.port_out == bridge:
            return packet
        filters = world.filters_bridges(bridge.netns, packet.dst.version)
        if filters is False or not world.netfilter.bases(bridge.netns, packet.family, "forward"):
            return packet
        if filters is None:
            text = f"whether iptables sees what goes through {world.named(bridge)} is not known"
            self._hop("unknown", "filter", text, [link_evidence(bridge)])
            return packet
        is_new = first is None
        first = first or _fresh(packet)._replace(iif=bridge.ifname, physin=landing.port_in.ifname)
        seen, flow = self._tracked(bridge.netns, first)
        if is_new:
            seen = self._hook(bridge.netns, "prerouting", seen, bridge, flow)
            self._check_bridged(bridge, first, seen)
        else:
            seen = packet
        seen = seen._replace(oif=bridge.ifname, physout=landing.port_out.ifname)
        seen = self._hook(bridge.netns, "forward", seen, None)
        seen = self._hook(bridge.netns, "postrouting", seen, bridge, flow)
        if self._stage == "first":
            self._flows.setdefault(bridge.netns, []).append(Flow(first, seen))
        return seen

    def _into_bridge(self, bridge: Link, packet: Packet, physin: str = "?") -> None:
        """A frame for a macvlan above a bridge: br_netfilter shows it to PREROUTING, and to nothing else."""
        if bridge.kind != "bridge" or not self.world.filters_bridges(bridge.netns, packet.dst.version):
            return
        # Since it goes no further, its connection is remembered by nobody, and each packet is the first.
        state = "INVALID" if packet.reply and packet.proto == "tcp" else "NEW"
        first = _fresh(packet)._replace(iif=bridge.ifname, physin=physin, state=state)
        seen = self._hook(bridge.netns, "prerouting", first, bridge if self._stage == "first" else None)
        self._check_bridged(bridge, first, seen)

    def _check_bridged(self, bridge: Link, before: Packet, after: Packet) -> None:
        if self._stage == "first" and (before.dst, before.dport) != (after.dst, after.dport):
            self._fork()
            text = f"what it does on {bridge.ifname} with another destination is not known"
            self._end("unknown", "link", text, [link_evidence(bridge)])

    # --- what may stop it ---

    def _check_source(self, netns: int, link: Link, packet: Packet) -> None:
        """fib_validate_source(): what comes from an address of the namespace's own, or should come by another link."""
        world = self.world
        if packet.src.version != 4 or "LOOPBACK" in link.flags:
            return
        conf = world.conf.get((link.netns, link.ifindex))
        if (packet.dst.is_loopback or packet.src.is_loopback) and conf is not None and conf.route_localnet is False:
            name = sysctl_name(link.ifname, "route_localnet")
            text = f"127.0.0.0/8 may not come in by {link.ifname}: {name} is 0"
            self._end("broken", "route", text, [sysctl_evidence(name, "0")], f"sysctl -w {quote(name)}=1")
        if world.is_local(netns, packet.src):
            text = f"{packet.src} comes in by {world.named(link)}, and is an address of {world.place(netns)} itself"
            self._end("broken", "rp_filter", text, [link_evidence(link)])
        back = world.route(netns, packet.src)
        if back.link == link:
            return
        mode = world.rp_filter(link)
        name = sysctl_name(link.ifname, "rp_filter")
        other = f"by {back.link.ifname}" if back.link else "nowhere"
        text = f"{packet.src} comes in by {world.named(link)}, and the way back is {other}"
        if mode == 1 or (mode == 2 and back.route is None):
            remedy = f"{self.words.inside(netns)}sysctl -w net.ipv4.conf.all.rp_filter=0 {quote(name)}=0"
            self._end(
                "broken", "rp_filter", f"{text}: rp_filter {mode} drops it", [sysctl_evidence(name, str(mode))], remedy
            )
        if mode is None:
            self._hop("unknown", "rp_filter", f"{text}: whether rp_filter drops it is not known", [])

    def _check_forwarding(self, netns: int, link: Link, packet: Packet) -> None:
        world, version = self.world, packet.dst.version
        forwards = world.forwards(link, version)
        name = "net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding"
        place = "" if netns == world.host else f" of {world.place(netns)}"
        if forwards is None:
            self._hop("unknown", "forwarding", f"whether {name}{place} is on is not known", [])
        elif forwards:
            self._hop("ok", "forwarding", f"{name}{place} is on", [sysctl_evidence(name, "1")])
        else:
            if version == 4 and netns == world.host and world.sysctls.get(name) == "1":
                name = sysctl_name(link.ifname, "forwarding")
            remedy = f"{self.words.inside(netns)}sysctl -w {quote(name)}=1"
            self._end(
                "broken",
                "forwarding",
                f"{name}{place} is 0: nothing is forwarded",
                [sysctl_evidence(name, "0")],
                remedy,
            )

    def _check_way(self, out: Link, next_hop: Address, packet: Packet) -> None:
        """Whether the route leads to the bridge that the container is on to which the packet goes."""
        world = self.world
        if self._stage != "first" or world.send(out, next_hop, packet.dst).state in ("there", "unknown"):
            return
        bridge, place = world.bridge_to(out.netns, packet.dst)
        if bridge is None or bridge == out:
            return
        found = world.route(out.netns, packet.dst)
        route = found.route.dst or "default" if found.route else "?"
        text = (
            f"the route to {packet.dst} of {place} leads by {out.ifname}, not by {bridge.ifname}, which {place} is on"
        )
        remedy = f"ip route delete {route} dev {quote(out.ifname)}"
        if "UP" not in bridge.flags:
            text, remedy = f"{bridge.ifname} is down: {text}", f"ip link set {quote(bridge.ifname)} up"
        elif gateway := world.lost_gateway(bridge):
            text = f"{bridge.ifname} has lost its address {gateway}: {text}"
            remedy = f"ip address add {quote(gateway)} dev {quote(bridge.ifname)}"
        self._end(
            "broken",
            "route",
            text,
            [link_evidence(out), link_evidence(bridge)],
            f"{self.words.inside(out.netns)}{remedy}",
        )

    def _check_discovery(self, asker: Link | None, owner: Link | None, source: Address, address: Address) -> None:
        """Whether neighbours find each other: of IPv6 by packets that the filter sees too. None is a link outside.

        Where these are dropped, a way is open as long as both remember each other.
        """
        if address.version != 6:
            return
        to_all = ip_address(int(_SOLICITED_NODE) | (int(address) & 0xFFFFFF))
        asks = Packet("ipv6", "ipv6-icmp", source, to_all, None, _SOLICITATION, state="UNTRACKED")
        tells = Packet("ipv6", "ipv6-icmp", address, source, None, _ADVERTISEMENT, state="UNTRACKED")
        for link, packet, hooks in (
            (asker, asks, ("output", "postrouting")),
            (owner, asks, ("prerouting", "input")),
            (owner, tells, ("output", "postrouting")),
            (asker, tells, ("prerouting", "input")),
        ):
            if link is not None and (by := self._stops(link, packet, hooks)) is not None:
                text = (
                    f"neighbours may not find each other: ICMPv6 {packet.dport}: {self.words.stopped(link.netns, by)}"
                )
                self._hop("unknown", "filter", text, [rule_evidence(rule) for rule in by.rules[:_TOLD]])
                return

    def _stops(self, link: Link, packet: Packet, hooks: Iterable[str]) -> Decision | None:
        """What drops a packet at one of these hooks, or may."""
        netfilter, ground = self.world.netfilter, self.world.ground(link.netns)
        for hook in hooks:
            is_out = hook in ("output", "postrouting")
            seen = packet._replace(oif=link.ifname) if is_out else packet._replace(iif=link.ifname)
            if (by := netfilter.passage(link.netns, hook, seen, ground, None).stopped_by) is not None:
                return by
        return None

    def _check_up(self, link: Link) -> None:
        if "UP" not in link.flags:
            remedy = f"{self.words.inside(link.netns)}ip link set {quote(link.ifname)} up"
            self._end("broken", "link", f"{self.world.named(link)} is down", [link_evidence(link)], remedy)

    def _hook(self, netns: int, hook: str, packet: Packet, link: Link | None, flow: Flow | None = None) -> Packet:
        """The packet as it passes a hook, translated where it has a `link` to be translated for.

        An answer is translated back, as its connection (`flow`) says.
        """
        world = self.world

        def translate(packet: Packet, rule: Rule | None, doubtful: tuple[Outcome, ...]) -> Packet:
            if self._stage == "first" and link is not None:
                return self._translated(netns, packet, rule, doubtful, link)
            if flow is None or packet.state != "ESTABLISHED":
                return packet
            return flow.translated(packet, is_early=hook in ("prerouting", "output"))

        passage = world.netfilter.passage(
            netns, hook, packet, world.ground(netns), translate if link is not None or flow is not None else None
        )
        if passage.stopped_by is not None:
            self._obstacle(netns, hook, passage, passage.stopped_by)
        elif hook in ("forward", "input", "output"):
            self._passed(netns, hook, passage)
        if passage.packet.state == OPEN:
            self._fork()
            self._hop(
                "unknown", "nat", f"{self.words.where(netns)}whether its connection is tracked cannot be told", []
            )
            return passage.packet._replace(state="NEW" if self._stage == "first" else "ESTABLISHED")
        return passage.packet

    def _obstacle(self, netns: int, hook: str, passage: Passage, by: Decision) -> None:
        """A chain drops the packet, or may."""
        rules = [rule_evidence(rule) for rule in by.rules[:_TOLD]]
        if not passage.is_open:
            self._end("broken", "filter", self.words.stopped(netns, by), rules, self.words.let_through(netns, by))
        if any(outcome.verdict == ANYTHING for outcome in by.outcomes):
            self._fork()
        self._hop("unknown", "filter", self.words.may_stop(netns, by), rules)

    def _passed(self, netns: int, hook: str, passage: Passage) -> None:
        """What lets the packet pass: a rule, or nobody's objection where there are rules."""
        deciding = [decision for decision in passage.decisions if decision.chain.table not in ("mangle", "raw")]
        if not deciding or (hook == "output" and not any(decision.rules for decision in deciding)):
            return
        said = "; ".join(self.words.accepts(decision) for decision in deciding)
        evidence = [rule_evidence(rule) for decision in deciding for rule in decision.rules]
        self._hop("ok", "filter", f"{self.words.where(netns)}{hook.upper()}: {said}", evidence)

    def _translated(
        self, netns: int, packet: Packet, rule: Rule | None, doubtful: tuple[Outcome, ...], link: Link
    ) -> Packet:
        """The packet with what a rule of the nat table gives it."""
        doubts = [o for o in doubtful if _effect(o) != (rule and _effect(Outcome("", rule)))]
        if doubts:
            rules = [rule_evidence(o.rule) for o in doubts if o.rule]
            name = next((self.words.named(o.rule) for o in doubts if o.rule), "a rule")
            self._fork()
            self._hop(
                "unknown",
                "nat",
                f"{self.words.where(netns)}{name}: whether it takes the packet first cannot be told",
                rules,
            )
        if rule is None:
            return packet
        if rule.verdict in ("DNAT", "REDIRECT"):
            return self._other_destination(netns, packet, rule, link)
        source: Address | None
        if rule.verdict == "MASQUERADE":
            found = self.world.route(netns, packet.dst)
            source = self.world.address_on(link, found.next_hop or packet.dst)
        else:
            target = target_of(rule)
            source = address_of(target[0]) if target else None
        if source is None:
            self._fork()
            self._hop(
                "unknown",
                "nat",
                f"{self.words.named(rule)} gives it a source that cannot be told",
                [rule_evidence(rule)],
            )
            return packet
        self._hop(
            "ok", "nat", f"{self.words.where(netns)}{self.words.named(rule)}: from {source} now", [rule_evidence(rule)]
        )
        return packet._replace(src=source, snat=True)

    def _other_destination(self, netns: int, packet: Packet, rule: Rule, link: Link) -> Packet:
        target = target_of(rule)
        if target is None:
            self._fork()
            text = f"{self.words.named(rule)} sends it to one of several: {rule.to}"
            self._end("unknown", "nat", text, [rule_evidence(rule)])
        address, port = target
        if rule.verdict == "REDIRECT":
            own = ip_address("127.0.0.1" if packet.family == "ipv4" else "::1")
            destination = own if "LOOPBACK" in link.flags or not packet.iif else self._primary(link, own.version)
        else:
            destination = address_of(address) if address else packet.dst
        if destination is None:
            self._end(
                "unknown", "nat", f"{self.words.named(rule)} sends it to where cannot be told", [rule_evidence(rule)]
            )
        others = [
            other
            for other in self.world.netfilter.translations(netns, packet.family)
            if other is not rule and other != rule and matches(other, packet, self.world.ground(netns))
        ]
        counted = "" if rule.packets is None else f" (packets so far: {rule.packets})"
        to = spelled(destination, port or packet.dport or 0)
        text = f"{self.words.where(netns)}{self.words.named(rule)}: {packet.proto} {packet.dport} → {to}{counted}"
        if others:
            text += "; it comes before " + " and ".join(
                f"{self.words.named(other)} → {other.to}" for other in others[:3]
            )
        self._hop("ok", "nat", text, [rule_evidence(rule), *map(rule_evidence, others)])
        return packet._replace(
            dst=destination,
            dport=port or packet.dport,
            dnat=True,
            original_dst=packet.dst,
            original_dport=packet.dport,
        )

    def _primary(self, link: Link, version: int) -> Address | None:
        return next((address for address, _ in self.world.addresses_of(link, version)), None)

    # --- the end ---

    def _deliver(self, netns: int, link: Link, packet: Packet, first: Packet) -> End:
        """INPUT, and a socket."""
        world = self.world
        flow = self._tracked(netns, first)[1] if packet.state == "ESTABLISHED" else None
        packet = self._hook(netns, "input", packet._replace(iif=link.ifname, oif=""), link, flow)
        place = world.place(netns)
        if self._stage == "answer":
            # Somebody outside may have a namespace of this host for a home.
            self._check_who_answers(packet)
            self.is_done = netns == self._origin or self._origin is None
            text = f"it comes to {place}" if self.is_done else f"it ends in {place}, which did not ask"
            self._end("ok" if self.is_done else "broken", "answer", text, [link_evidence(link)])
        if self._stage == "further":
            self.is_done = True
            raise EndedError
        self._flows.setdefault(netns, []).append(Flow(first, packet))
        namespace = world.places.namespaces.get(netns)
        if namespace is not None and namespace.role in ("ingress", "load-balancer"):
            self._fork()
            text = f"{place}: which task of the service answers is decided by IPVS, which is not read"
            self._end("unknown", "socket", text, [])
        return self._socket(netns, link, packet)

    def _socket(self, netns: int, link: Link, packet: Packet) -> End:
        world = self.world
        port = packet.dport or 0
        socket = world.socket_for(netns, packet.proto, packet.dst, port, world.in_link(link, packet.dst))
        place = world.place(netns)
        at = spelled(packet.dst, port)
        if socket is None:
            if not world.sockets_seen(netns, packet.proto):
                self._end("unknown", "socket", f"what listens in {place} on {packet.proto} {at} was not seen", [])
            others = world.sockets(netns, packet.proto, port)
            evidence = [self.words.socket_evidence(other) for other in others]
            text = f"{place}: nothing listens on {at}/{packet.proto}"
            remedy = f"start the server in {place}" if netns != world.host else f"start what is to answer at {at}"
            if others:
                who = self.words.who(others[0])
                text += f" ({who} listens on {self.words.bound_to(others[0])} only)"
                wildcard = "[::]" if packet.dst.version == 6 else "0.0.0.0"
                remedy = f"let the server in {place} listen on {wildcard}:{port}"
            self._end("broken", "socket", text, evidence, remedy)
        pids = world.holders_of(socket)
        pid = next((pid for pid in pids if pid in world.proxies), next(iter(pids), None))
        process = world.index.processes.get(pid or 0)
        container = world.index.container_by_pid.get(pid or 0)
        evidence = [self.words.socket_evidence(socket)]
        self.reached = Reached(
            address=socket.address,
            port=socket.port,
            pid=pid,
            comm=process.comm if process else None,
            container=container,
            container_name=world.places.name(container),
        )
        who = self.words.who(socket)
        stopped = _STOPPED.get(process.state) if process else None
        paused = world.places.containers.get(container or "")
        if paused is not None and paused.state == "paused":
            text = f"{place}: {who} listens on {bound(socket)}, and is paused"
            self._end("broken", "socket", text, evidence, f"docker unpause {world.word(paused)}")
        if stopped:
            self._end(
                "broken",
                "socket",
                f"{place}: {who} listens on {bound(socket)}, and {stopped}",
                evidence,
                f"kill -CONT {pid}",
            )
        if netns == world.host and pid in world.daemons and (packet.proto, port) in world.published:
            text = (
                f"no DNAT rule takes it, and {who} holds {bound(socket)} only so that nobody else does: "
                "there is no docker-proxy"
            )
            self._end("broken", "socket", text, evidence, "systemctl restart docker, which makes its rules anew")
        if pid in world.proxies:
            return End(netns, packet, socket, pid)
        self._hop("ok", "socket", f"{place}: {who} listens on {bound(socket)}", evidence)
        return End(netns, packet, socket, pid)

    def _through(self, proxy: Proxy, end: End) -> None:
        """docker-proxy takes the connection, and makes one of its own to the container."""
        world = self.world
        target = proxy.target
        to = address_of(target.address)
        evidence = [Evidence(kind="process", id=str(proxy.pid), text=f"docker-proxy to {target.address}:{target.port}")]
        if to is None:
            self._end("unknown", "proxy", f"docker-proxy (pid {proxy.pid}) leads to {target.address}", evidence)
        text = (
            f"no DNAT rule takes it; docker-proxy (pid {proxy.pid}) listens on {bound(end.socket)} and leads to "
            f"{spelled(to, target.port)}"
        )
        self._hop("ok", "proxy", text, evidence)
        source = world.source_for(end.netns, to)
        second = Walk(world)
        if source is None:
            text = f"{world.place(end.netns)} has no route to {to}"
            self._end("broken", "route", text, evidence)
        packet = Packet(
            family="ipv4" if to.version == 4 else "ipv6",
            proto=target.proto,
            src=source,
            dst=to,
            sport=None,
            dport=target.port,
        )
        second.from_inside(end.netns, packet)
        if second.first_fork is not None and self.first_fork is None:
            self.first_fork = len(self.hops) + second.first_fork
        self.hops += (hop for hop in second.hops if (hop.state, hop.subject) != ("ok", "answer"))
        self.reached = second.reached
        if not second.is_done:
            raise EndedError

    # --- the answer ---

    def _answer(self, end: End, asked: Packet) -> None:
        """The way back."""
        got = end.packet
        packet = Packet(
            family=got.family,
            proto=got.proto,
            src=got.dst,
            dst=got.src,
            sport=got.dport,
            dport=got.sport,
            state="ESTABLISHED",
            stage="answer",
        )

        def begin() -> None:
            self._check_answer_source(end)
            self._originate(end.netns, packet)

        evidence = self._later("answer", begin, "the answer")
        if evidence is not None:
            self._hop("ok", "answer", f"the answer: {self._back(end, asked)}", evidence)

    def _later(self, stage: Stage, begin: Callable[[], object], called: str) -> list[Evidence] | None:
        """Send a later packet of the connection. Its hops are told where one of them is not ok.

        Returns the evidence of its way where all is ok.
        """
        told, self.hops = self.hops, []
        self._stage, self.is_done = stage, False
        with suppress(EndedError):
            begin()
        later, self.hops = self.hops, told
        wrong = [hop for hop in later if hop.state != "ok"]
        for hop in wrong:
            self._hop(hop.state, "answer", f"{called}: {hop.text}", hop.evidence, hop.remedy)
        return None if wrong else [evidence for hop in later for evidence in hop.evidence]

    def _check_who_answers(self, packet: Packet) -> None:
        """An answer from another address than was asked belongs to no connection."""
        asked = self._asked
        if asked is not None and (packet.src, packet.sport) != (asked.dst, asked.dport):
            text = f"it comes from {spelled(packet.src, packet.sport or 0)}: it was not translated back"
            self._end("broken", "nat", text, [])

    def _back(self, end: End, asked: Packet) -> str:
        """How the answer goes, in few words."""
        world = self.world
        origin = world.place(self._origin) if self._origin is not None else str(asked.src)
        if end.netns == self._origin or world.is_local(end.netns, end.packet.src):
            return f"to {origin}, without leaving {world.place(end.netns)}"
        found = world.route(end.netns, end.packet.src)
        if self._entry is not None and self._entry.netns == end.netns:
            return f"by {world.named(self._entry)} to {origin}"
        by = f"via {found.route.gateway}" if found.route and found.route.gateway else "on the same link"
        out = f", by {world.named(self._entry)}" if self._entry is not None and self._entry.netns != end.netns else ""
        return f"{by}{out} to {origin}"

    def _check_answer_source(self, end: End) -> None:
        """A UDP server that listens on any address answers from the one that its route has."""
        if end.packet.proto != "udp" or not ip_address(end.socket.address).is_unspecified:
            return
        source = self.world.source_for(end.netns, end.packet.src)
        if source is not None and source != end.packet.dst:
            text = f"{self.words.who(end.socket)} may answer from {source}, not from {end.packet.dst}"
            self._hop("unknown", "answer", text, [self.words.socket_evidence(end.socket)])

    def _tracked(self, netns: int, packet: Packet) -> tuple[Packet, Flow | None]:
        """A later packet as the connection tracking of the namespace knows it; the first is new to it."""
        if self._stage == "first":
            return packet, None
        for flow in self._flows.get(netns, ()):
            if packet.reply:
                known = (flow.last.dst, flow.last.dport, flow.last.src)
            else:
                known = (flow.first.src, flow.first.sport, flow.first.dst)
            if known == (packet.src, packet.sport, packet.dst):
                last = flow.last
                if last.state == "UNTRACKED":
                    break
                packet = packet._replace(state="ESTABLISHED", dnat=last.dnat, snat=last.snat, connmark=last.connmark)
                return packet, flow
        if self._translates(netns, packet.family):
            text = f"{self.world.place(netns)} does not track its connection, and may translate it as a new one"
            self._hop("unknown", "nat", text, [])
        return packet._replace(state="INVALID" if packet.proto == "tcp" else "NEW"), None

    def _translates(self, netns: int, family: str) -> bool:
        """Whether the namespace has rules that translate."""
        return any(
            rule.netns == netns and rule.table == "nat" and rule.family == family and rule.chain != "DOCKER_OUTPUT"
            for rule in self.world.facts.rules
        )

    # --- hops ---

    def _fork(self) -> None:
        """From the next hop on, the packet may as well be elsewhere."""
        if self.first_fork is None:
            self.first_fork = len(self.hops)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _LONGEST:
            self._end("unknown", "route", "it goes round in a loop", [])

    def _hop(
        self, state: State, subject: str, text: str, evidence: Iterable[Evidence], remedy: str | None = None
    ) -> None:
        hop = Hop(state=state, subject=subject, text=text, evidence=tuple(dict.fromkeys(evidence)), remedy=remedy)
        if hop not in self.hops:
            self.hops.append(hop)

    def _end(
        self, state: State, subject: str, text: str, evidence: Iterable[Evidence], remedy: str | None = None
    ) -> NoReturn:
        self._hop(state, subject, text, evidence, remedy)
        raise EndedError


def _fresh(packet: Packet) -> Packet:
    """A packet in a namespace that has not looked at it yet."""
    return packet._replace(
        iif="",
        oif="",
        physin="",
        physout="",
        state="NEW",
        mark=0,
        connmark=0,
        dnat=False,
        snat=False,
        original_dst=None,
        original_dport=None,
    )


def _effect(outcome: Outcome) -> tuple[str | None, str | None] | None:
    """What a translation does to the packet; None of one that leaves it."""
    rule = outcome.rule
    return (rule.verdict, rule.to) if rule and rule.verdict in ("DNAT", "REDIRECT", "SNAT", "MASQUERADE") else None
