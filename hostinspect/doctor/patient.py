"""The host that is examined: its facts and topology, with the look-ups that several checks need."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

from msgspec import Struct

from hostinspect.correlate.index import Index
from hostinspect.facts import ContainerRecord, DaemonSettings, Facts, Gap, Health
from hostinspect.questions.dnat import Dnat
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.layers import Layers, has_homes, list_layers
from hostinspect.questions.places import Places
from hostinspect.questions.ports import HostPort, list_ports
from hostinspect.questions.trace.world import World
from hostinspect.topology import Container, Endpoint, Link, Network, Topology

# Families of facts, as gaps name them.
RECORDS = ("host", "engines", "containers", "networks")
LINKS = ("host", "namespaces", "links", "addresses", "nsids")
RULES = ("host", "namespaces", "rules")
HEALTH = ("space", "paths", "open files", "other mounts", "socket files", "settings", "stuck processes")
LAYER_HOMES = "layer directories"

_USUAL_HOST = "unix:///run/docker.sock"  # of dockerd without --host

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Owned(Protocol):
    @property
    def data_root(self) -> str | None: ...


class Attachment(Struct, frozen=True):
    """A running container's place on a network, with both ends of its link where they are known."""

    container: Container
    endpoint: Endpoint
    network: Network | None
    inner: Link | None
    outer: Link | None


class Patient:
    """One inspection, examined."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self.facts: Facts = inspection.facts

    @cached_property
    def topology(self) -> Topology:
        return self._inspection.topology

    @cached_property
    def index(self) -> Index:
        return self._inspection.index

    @cached_property
    def places(self) -> Places:
        return Places(self.topology)

    @cached_property
    def dnat(self) -> Dnat:
        return Dnat(self.topology)

    @cached_property
    def ports(self) -> tuple[HostPort, ...]:
        """Every port of the host that leads to a container."""
        return list_ports(self._inspection).ports

    @cached_property
    def layers(self) -> Layers:
        return list_layers(self._inspection)

    @cached_property
    def world(self) -> World:
        """What `trace` walks in."""
        return World(self._inspection)

    @property
    def health(self) -> Health:
        return self.facts.health or Health()

    @property
    def host_netns(self) -> int:
        return self.index.host_netns or 0

    # --- what was not seen ---

    def holes(self, families: tuple[str, ...]) -> list[Gap]:
        """The grave gaps in these families of facts, and those that were not collected at all."""
        found = [gap for gap in self.topology.gaps if gap.collector in families and not gap.minor]
        asked = set(families)
        if (self.facts.health is None and not asked.isdisjoint(HEALTH)) or (
            LAYER_HOMES in asked and not has_homes(self.facts)
        ):
            found.append(
                Gap(
                    collector="doctor",
                    subject="what doctor alone asks for",
                    why="these facts were collected without it",
                    remedy="run it on the host, or take another snapshot",
                )
            )
        return found

    # --- containers and networks ---

    @cached_property
    def running(self) -> list[Container]:
        return [container for container in self.topology.containers if container.pid is not None]

    @cached_property
    def bridge_networks(self) -> list[Network]:
        """Those of the bridge driver whose bridges are to be on the host."""
        every = self.topology.networks
        return [n for n in every if n.driver == "bridge" and not n.config_only and not self.is_elsewhere(n)]

    def is_elsewhere(self, network: Network) -> bool:
        """Whether its engine has a network namespace of its own, as a rootless one has."""
        record = self.index.network_records.get(network.id)
        return record is not None and record.data_root in self.index.netns_elsewhere

    @property
    def uses_bridges(self) -> bool:
        """Whether a bridge network of an engine has its bridge."""
        return any(network.bridge in self.index.host_links for network in self.bridge_networks)

    def docker(self, thing: _Owned | None, *commands: str) -> str:
        """Commands of the client to the engine that a thing belongs to: where there are several, it is said which.

        Else they would go to the one at the usual socket, which may have something else of that name.
        """
        client = "docker"
        if len(self.facts.engines) > 1:
            settings = self.settings.get((thing and thing.data_root) or "")
            hosts = settings.hosts or (_USUAL_HOST,) if settings else ()
            host = next((host for host in hosts if host.startswith("unix://")), "HOST")
            client = f"docker --host {shlex.quote(host)}"
        return "; ".join(f"{client} {command}" for command in commands)

    def record(self, container: Container) -> ContainerRecord:
        return self.index.records[container.id]

    @cached_property
    def attachments(self) -> list[Attachment]:
        """Every place of a running container on a network that is its own, not the host's or another container's."""
        return [*self._attachments()]

    def _attachments(self) -> Iterator[Attachment]:
        for container in self.running:
            if container.netns == self.index.host_netns or container.shares_netns_with is not None:
                continue
            for endpoint in container.endpoints:
                inner = self.places.links_by_name.get((container.netns or 0, endpoint.interface or ""))
                network = self.places.networks.get(endpoint.network_id or "")
                yield Attachment(
                    container,
                    endpoint,
                    None if network is None or self.is_elsewhere(network) else network,
                    inner,
                    self.places.link(inner.peer or inner.lower) if inner else None,
                )

    @cached_property
    def has_swarm(self) -> bool:
        return any(network.scope == "swarm" for network in self.topology.networks)

    # --- the host ---

    @cached_property
    def sysctls(self) -> dict[str, str]:
        return {sysctl.name: sysctl.value for sysctl in self.facts.sysctls}

    @cached_property
    def settings(self) -> dict[str, DaemonSettings]:
        """What each running daemon was told, by data root."""
        return {settings.data_root: settings for settings in self.health.settings}

    @cached_property
    def makes_rules(self) -> bool:
        """Whether an engine on this host makes IPv4 rules, as far as it was not told otherwise."""
        return any(s.iptables for s in self.settings.values()) if self.settings else True

    @cached_property
    def uplinks(self) -> list[Link]:
        """The links of the host's default routes, IPv4's first, the preferred ones first."""
        routes = sorted(
            self.index.default_routes.get(self.host_netns, ()), key=lambda r: (r.family, r.table != 254, r.metric)
        )
        found = (self.places.links.get((self.host_netns, route.ifindex or 0)) for route in routes)
        return [*dict.fromkeys(link for link in found if link is not None)]


def ip_network(text: str) -> IPNetwork | None:
    """A subnet, or None for what is none."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
