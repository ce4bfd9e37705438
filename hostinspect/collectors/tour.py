"""The tour of the network namespaces with all that is read on it, as one task (`hostinspect.collectors.beside`)."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence

from hostinspect.collectors.found import Tour
from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.network import Reader, collect_network
from hostinspect.collectors.packet_filter import PacketFilter
from hostinspect.facts import RULES_OF_CONTAINERS, Host, MountPoint, Process, Sysctl


def tour_network(
    host: Host,
    processes: Sequence[Process],
    host_mounts: Sequence[MountPoint],
    families: Container[object],
    netns: Container[object],
    health: bool,
    later: Callable[[], Iterable[MountPoint]],
) -> Tour:
    """Links and addresses of every network namespace; routes, sockets and rules, so far as they are in `families`, of
    those in `netns`; with `health`, the sysctls of the host's interfaces. `later` is `collect_network`'s.
    """
    gaps = GapLog()
    readers: list[Reader] = []
    packet_filter = PacketFilter(gaps) if "rules" in families else None
    if packet_filter is not None:
        readers.append(_within(netns if RULES_OF_CONTAINERS in families else {host.netns}, packet_filter))
    sysctls: list[Sysctl] = []
    if health:
        from hostinspect.collectors.health import InterfaceSysctls

        readers.append(of_interfaces := InterfaceSysctls(host.netns, gaps))
        sysctls = of_interfaces.sysctls
    network = collect_network(
        processes,
        host_mounts,
        gaps,
        readers,
        later=later,
        routes=netns if "routes" in families else (),
        sockets=netns if "sockets" in families else (),
    )
    return Tour(
        network=network,
        chains=packet_filter.chains if packet_filter else (),
        rules=packet_filter.rules if packet_filter else (),
        sysctls=tuple(sysctls),
        gaps=gaps.as_tuple(),
    )


def _within(namespaces: Container[object], reader: Reader) -> Reader:
    """A reader that reads in these alone."""

    def read(netns: int) -> None:
        if netns in namespaces:
            reader(netns)

    return read
