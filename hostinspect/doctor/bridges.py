"""Bridges and the networks that they are made for."""

from __future__ import annotations

import re

from hostinspect.doctor.check import Checked, Found, check, word
from hostinspect.doctor.patient import LINKS, RECORDS, Patient

PORT_LIMIT = 1023  # BR_MAX_PORTS - 1, net/bridge/br_private.h: port numbers have 10 bits and begin with 1
_NEARLY = 920  # 90 %

_ENGINES_NAME = re.compile(r"br-[0-9a-f]{12}")


@check("bridge-without-network", "warning", needs=(*RECORDS, *LINKS))
def bridge_without_network(patient: Patient) -> Checked:
    """A bridge is called as the engine calls its own, and no network has it.

    Left over from a network whose removal was interrupted, or whose record is lost. Its subnet stays a route of the
    host, which the next network may be given as well.
    """
    for bridge in patient.topology.bridges:
        if bridge.netns != patient.host_netns or bridge.network or not _ENGINES_NAME.fullmatch(bridge.name):
            continue
        yield Found(
            "bridge",
            bridge.name,
            f"{bridge.name} is a bridge of no network",
            f"ip link delete {word(bridge.name)}",
            (
                f"addresses: {', '.join(bridge.addresses) or 'none'}",
                f"ports: {', '.join(port.link for port in bridge.ports) or 'none'}",
            ),
        )


@check("network-without-bridge", "error", needs=(*RECORDS, *LINKS))
def network_without_bridge(patient: Patient) -> Checked:
    """A network's bridge is not there.

    No container can be started on it, and those that run reach nobody. Restarting the engine makes it anew.
    """
    if not any(engine.daemon != "stopped" for engine in patient.topology.host.engines) and not patient.running:
        return  # after a boot bridges are made when the engine starts
    for network in patient.bridge_networks:
        for drift in network.drift:
            if drift.field == "bridge":
                yield Found(
                    "network",
                    network.name or network.id,
                    f"the bridge {drift.recorded} of {network.name} is not there",
                    "systemctl restart docker",
                    (drift.effective or f"no link of the host is called {drift.recorded}",),
                )


@check("bridge-down", "error", needs=(*RECORDS, *LINKS))
def bridge_down(patient: Patient) -> Checked:
    """A network's bridge is down.

    Its containers reach nobody, not even each other.
    """
    for network in patient.bridge_networks:
        link = patient.index.host_links.get(network.bridge or "")
        if link is not None and link.kind == "bridge" and "UP" not in link.flags:
            yield Found(
                "bridge",
                link.ifname,
                f"{link.ifname}, the bridge of {network.name}, is down",
                f"ip link set {word(link.ifname)} up",
                (f"containers on it: {len(network.containers)}",),
            )


@check("bridge-without-gateway", "error", needs=(*RECORDS, *LINKS))
def bridge_without_gateway(patient: Patient) -> Checked:
    """A network's bridge does not have the gateway's address.

    Containers send what is for outside to that address, and nobody answers. Somebody flushed the addresses, or a
    network manager did.
    """
    for network in patient.bridge_networks:
        for drift in network.drift:
            if drift.field.endswith(".gateway"):
                subnet = drift.field.partition("[")[2].partition("]")[0]
                length = subnet.rpartition("/")[2]
                yield Found(
                    "bridge",
                    network.bridge or "",
                    f"{network.bridge} does not have {drift.recorded}, the gateway of {network.name}",
                    f"ip address add {word(f'{drift.recorded}/{length}')} dev {word(network.bridge)}",
                    (f"it has: {drift.effective or 'no address'}",),
                )


@check("bridge-port-limit", "warning", needs=("host", "namespaces", "links"), certain=True)
def port_limit(patient: Patient) -> Checked:
    """A bridge has nearly as many ports as the kernel allows: 1,023.

    The next container beyond fails to start: "adding interface … to bridge … failed: exchange full". Orphaned veths
    count too; spread what runs over several networks.
    """
    for bridge in patient.topology.bridges:
        if len(bridge.ports) < _NEARLY:
            continue
        orphans = sum(port.container is None for port in bridge.ports)
        full = len(bridge.ports) >= PORT_LIMIT
        yield Found(
            "bridge",
            bridge.name,
            f"{bridge.name} has {len(bridge.ports)} ports of {PORT_LIMIT}",
            "hostinspect doctor --only veth-orphaned; docker network create another",
            (f"{orphans} of them lead to no container",),
            "critical" if full else None,
        )
