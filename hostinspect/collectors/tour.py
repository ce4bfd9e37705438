"""The tour of the network namespaces with all that is read on it: by this process, or by two that share it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress

import msgspec

from hostinspect.collectors.found import NetworkFacts, Part, Tour, Visited
from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.network import Reader, Shared, collect_first, collect_network
from hostinspect.collectors.packet_filter import PacketFilter
from hostinspect.facts import RULES_OF_CONTAINERS, Chain, Host, MountPoint, Process, Rule, Sysctl
from hostinspect.kernel.beside import BesideFromStart, Line


class NetworkTour:
    """Links and addresses of network namespaces, those asked for and those without a process; of the former routes,
    sockets and rules, too, so far as they are in `families`. With `health`, the sysctls of the host's interfaces.

    `begin` leaves another process under way, until `result` or `close`.
    """

    def __init__(
        self,
        host: Host,
        processes: Sequence[Process],
        host_mounts: Sequence[MountPoint],
        families: Container[object],
        *,
        health: bool,
    ) -> None:
        self._host, self._processes, self._mounts = host, processes, host_mounts
        self._families, self._health = families, health
        self._routes, self._sockets = "routes" in families, "sockets" in families
        self._beside: BesideFromStart | None = None
        self._part: Part | None = None

    def begin(self, netns: Container[object]) -> None:
        """Have a fork of this process begin with these, where one is to be had."""
        with suppress(OSError):  # no more processes, descriptors or memory: not needed
            self._beside = BesideFromStart(
                lambda line: self._first(line, netns), msgspec.msgpack.encode, msgspec.msgpack.Decoder(Part).decode
            )

    def result(self, netns: Container[object], later: Callable[[], Iterable[MountPoint]]) -> Tour:
        """What was found, when all of `netns` is visited. `later` is `collect_network`'s."""
        reading = self._reading(netns)
        network = collect_network(
            self._processes,
            self._mounts,
            reading.gaps,
            reading.readers,
            later=later,
            shared=self._shared(),
            visits=netns,
            routes=self._routes,
            sockets=self._sockets,
        )
        order = {namespace.inode: at for at, namespace in enumerate(network.network_namespaces)}
        if self._part:
            reading.join(self._part.read, order)
        if self._beside:
            reading.put_in_order(order)
        return reading.tour(network)

    def _first(self, line: Line, netns: Container[object]) -> Part:
        """The part of the fork. Raises RuntimeError where it finds nothing, and the other goes on alone."""
        reading = self._reading(netns)
        visited = collect_first(
            line,
            self._processes,
            self._mounts,
            reading.gaps,
            reading.readers,
            visits=netns,
            routes=self._routes,
            sockets=self._sockets,
        )
        if visited is None:
            raise RuntimeError("our own namespace cannot be opened")
        return Part(visited=visited, read=reading.tour(NetworkFacts()))

    def _shared(self) -> Shared | None:
        beside = self._beside
        if beside is None:
            return None

        def visited() -> Visited | None:
            self._part = beside.result()
            return self._part.visited if self._part else None

        return Shared(beside.line, beside.wait_until_begun, visited)

    def _reading(self, netns: Container[object]) -> _Reading:
        return _Reading(self._host.netns, self._families, netns, health=self._health)

    def close(self) -> None:
        """Leave nothing under way."""
        if self._beside:
            self._beside.close()


class _Reading:
    """What `readers` read in each namespace, beside what `hostinspect.collectors.network` does."""

    def __init__(
        self, host: int | None, families: Container[object], netns: Container[object], *, health: bool
    ) -> None:
        self.gaps = GapLog()
        self.readers: list[Reader] = []
        self.chains: list[Chain] = []
        self.rules: list[Rule] = []
        self.sysctls: list[Sysctl] = []
        if "rules" in families:
            packet_filter = PacketFilter(self.gaps)
            self.chains, self.rules = packet_filter.chains, packet_filter.rules
            self.readers.append(_within(netns if RULES_OF_CONTAINERS in families else {host}, packet_filter))
        if health:
            from hostinspect.collectors.health import InterfaceSysctls

            self.readers.append(of_interfaces := InterfaceSysctls(host, self.gaps))
            self.sysctls = of_interfaces.sysctls

    def tour(self, network: NetworkFacts) -> Tour:
        """All of it, beside what was found of the network."""
        return Tour(
            network=network,
            chains=tuple(self.chains),
            rules=tuple(self.rules),
            sysctls=tuple(self.sysctls),
            gaps=self.gaps.as_tuple(),
        )

    def join(self, part: Tour, known: Container[int]) -> None:
        """Let what the other read in `known` namespaces be read here; of what both read, ours stays."""
        ours = {chain.netns for chain in self.chains}
        theirs = {chain.netns for chain in part.chains if chain.netns in known and chain.netns not in ours}
        self.chains += [chain for chain in part.chains if chain.netns in theirs]
        self.rules += [rule for rule in part.rules if rule.netns in theirs]
        self.sysctls += part.sysctls
        self.gaps.extend(part.gaps)

    def put_in_order(self, order: dict[int, int]) -> None:
        """Let all be in this order of the namespaces."""
        self.chains.sort(key=lambda chain: order.get(chain.netns, 0))
        self.rules.sort(key=lambda rule: order.get(rule.netns, 0))


def _within(namespaces: Container[object], reader: Reader) -> Reader:
    """A reader that reads in these alone."""

    def read(netns: int) -> None:
        if netns in namespaces:
            reader(netns)

    return read
