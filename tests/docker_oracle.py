"""Docker's own answers, put side by side with the records: what the tests of records compare, recorded and live.

Each function gives one flat dict per object, once from the engine's JSON and once from the record, with the same keys.
`DataRoot` holds the records of a whole host, read through a path that need not be the one that the engine knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hostinspect.engines.docker.containers import read_containers
from hostinspect.engines.docker.images import read_images
from hostinspect.engines.docker.layers import read_layers
from hostinspect.engines.docker.networks import read_networks
from hostinspect.engines.docker.swarm import read_swarm_networks
from hostinspect.engines.docker.volumes import read_volumes
from hostinspect.facts import (
    ContainerRecord,
    EndpointRecord,
    ImageRecord,
    LayerRecord,
    NetworkRecord,
    RecordedPort,
    VolumeRecord,
)
from hostinspect.kernel.files import Directory

Flat = dict[str, Any]


class DataRoot:
    """The records under `path`, which the engine calls `name`; `notes` holds what could not be read."""

    def __init__(self, path: Path, name: str = "/var/lib/docker") -> None:
        self.notes: list[tuple[str, str]] = []
        with Directory(path) as files:
            self.containers = {record.id: record for record in read_containers(files, "docker", name, self._note)}
            self.layers = {record.container_id: record for record in read_layers(files, name, self._note)}
            self.volumes = {record.name: record for record in read_volumes(files, "docker", name, self._note)}
            self.images = tuple(read_images(files, name, self._note))
            table = read_networks(files, "docker", name, self._note)
            assert table
            self.endpoints, self.sandboxes = table.endpoints, table.sandboxes
            self.networks = {**table.networks, **read_swarm_networks(files, "docker", name, self._note)}

    def _note(self, subject: str, why: str | OSError, remedy: str | None = None) -> None:
        self.notes.append((subject, str(why)))


def _time(text: str | None) -> str | None:
    return None if not text or text.startswith("0001-") else text


# --- docker inspect ---------------------------------------------------------------------------------------------


def container_pair(inspect: Mapping[str, Any], record: ContainerRecord, layer: LayerRecord | None) -> tuple[Flat, Flat]:
    """What the engine says of a container, and what its records say."""
    engine, recorded = container_of_engine(inspect), container_of_record(record, layer)
    if not engine["dns_names"]:
        recorded["dns_names"] = {}  # not told to a client older than Docker 25
    return engine, recorded


def container_of_engine(inspect: Mapping[str, Any]) -> Flat:
    """GET /containers/ID/json."""
    state, host, network = inspect["State"], inspect["HostConfig"], inspect["NetworkSettings"]
    exposed = {**(network["Ports"] or {}), **(inspect["Config"].get("ExposedPorts") or {})}
    layers = dict(inspect["GraphDriver"]["Data"] or {})
    layers.pop("ID", None)  # Docker 28 repeats the container's
    return {
        "id": inspect["Id"],
        "name": inspect["Name"].removeprefix("/"),
        "image": inspect["Config"]["Image"] or None,
        "image_id": inspect["Image"] or None,
        "driver": inspect["Driver"] or None,
        "created": inspect["Created"],
        "hostname": inspect["Config"]["Hostname"] or None,
        "running": state["Running"],
        "paused": state["Paused"],
        "restarting": state["Restarting"],
        "dead": state["Dead"],
        "pid": state["Pid"] or None,
        "exit_code": state["ExitCode"],
        "started_at": _time(state["StartedAt"]),
        "finished_at": _time(state["FinishedAt"]),
        "network_mode": host["NetworkMode"] or None,
        # Only of a running one: of others, the engine sometimes tells the last one's.
        "sandbox": (network["SandboxID"], network["SandboxKey"]) if state["Running"] else None,
        "endpoints": sorted(
            _endpoint_of_engine(name, of, inspect["Id"]) for name, of in (network["Networks"] or {}).items()
        ),
        "dns_names": {
            name: tuple(of["DNSNames"] or ()) for name, of in (network["Networks"] or {}).items() if "DNSNames" in of
        },
        "ports": _ports_of_engine(network["Ports"]),
        "exposed_ports": sorted(exposed),
        "port_bindings": _ports_of_engine(host["PortBindings"]),
        "mounts": sorted(_mount_of_engine(mount) for mount in inspect["Mounts"]),
        "tmpfs": host.get("Tmpfs") or {},
        "labels": inspect["Config"]["Labels"] or {},
        "readonly_rootfs": host["ReadonlyRootfs"],
        "privileged": host["Privileged"],
        "restart_policy": host["RestartPolicy"]["Name"] or None,
        "layers": layers or None,
    }


def container_of_record(record: ContainerRecord, layer: LayerRecord | None) -> Flat:
    return {
        "id": record.id,
        "name": record.name,
        "image": record.image,
        "image_id": record.image_id,
        "driver": record.driver,
        "created": record.created,
        "hostname": record.hostname,
        "running": record.running,
        "paused": record.paused,
        "restarting": record.restarting,
        "dead": record.dead,
        "pid": record.pid,
        "exit_code": record.exit_code,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "network_mode": record.network_mode,
        "sandbox": (record.sandbox_id or "", record.sandbox_key or "") if record.running else None,
        "endpoints": sorted(
            (
                of.network,
                of.network_id or "",
                of.endpoint_id or "",
                of.gateway or "",
                of.ip or "",
                of.prefix_len or 0,
                of.gateway6 or "",
                of.ip6 or "",
                of.prefix_len6 or 0,
                of.mac or "",
                _without_short_id(of.aliases, record.id),
            )
            for of in record.endpoints
        ),
        "dns_names": {of.network: of.dns_names for of in record.endpoints},
        "ports": _ports_of_record(record.ports),
        "exposed_ports": list(record.exposed_ports),
        "port_bindings": _ports_of_record(record.port_bindings),
        "mounts": sorted(
            (
                mount.type,
                mount.destination,
                mount.name or "",
                mount.source or "",
                mount.driver or "",
                mount.mode,
                mount.rw,
                mount.propagation,
            )
            for mount in record.mounts
        ),
        "tmpfs": dict(record.tmpfs),
        "labels": dict(record.labels),
        "readonly_rootfs": record.readonly_rootfs,
        "privileged": record.privileged,
        "restart_policy": record.restart_policy,
        "layers": {
            "LowerDir": ":".join(layer.lower),
            "UpperDir": layer.upper,
            "WorkDir": layer.work,
            "MergedDir": layer.merged,
        }
        if layer
        else None,
    }


def _endpoint_of_engine(network: str, of: Mapping[str, Any], container_id: str) -> tuple[Any, ...]:
    return (
        network,
        of["NetworkID"],
        of["EndpointID"],
        of["Gateway"],
        of["IPAddress"],
        of["IPPrefixLen"],
        of["IPv6Gateway"],
        of["GlobalIPv6Address"],
        of["GlobalIPv6PrefixLen"],
        of["MacAddress"],
        _without_short_id(of["Aliases"] or (), container_id),
    )


def _without_short_id(aliases: Iterable[str], container_id: str) -> tuple[str, ...]:
    """Docker 25 and later keep the short id among DNSNames, but put it among Aliases for clients older than that."""
    return tuple(name for name in aliases if name != container_id[:12])


def _ports_of_engine(ports: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    return sorted(
        (port, binding["HostIp"], binding["HostPort"])
        for port, bindings in (ports or {}).items()
        for binding in bindings or ()
    )


def _ports_of_record(ports: Iterable[RecordedPort]) -> list[tuple[str, str, str]]:
    def host_port(port: RecordedPort) -> str:
        last = f"-{port.host_port_end}" if port.host_port_end else ""
        return f"{port.host_port}{last}" if port.host_port else ""

    return sorted((f"{port.container_port}/{port.proto}", port.host_ip, host_port(port)) for port in ports)


def _mount_of_engine(mount: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        mount["Type"],
        mount["Destination"],
        mount.get("Name") or "",
        mount.get("Source") or "",
        mount.get("Driver") or "",
        mount["Mode"],
        mount["RW"],
        mount["Propagation"],
    )


# --- docker network inspect -------------------------------------------------------------------------------------


def network_of_engine(inspect: Mapping[str, Any]) -> Flat:
    """GET /networks/ID.

    `created` is left out for the swarm: the engine tells when this node joined it, the record when it was made.
    """
    return {
        "id": inspect["Id"],
        "name": inspect["Name"],
        "driver": inspect["Driver"],
        "scope": inspect["Scope"],
        "internal": inspect["Internal"],
        "attachable": inspect["Attachable"],
        "ingress": inspect["Ingress"],
        "ipv6": inspect["EnableIPv6"],
        "config_only": inspect["ConfigOnly"],
        "created": inspect["Created"] if inspect["Scope"] == "local" else None,
        "subnets": sorted(
            # 20.10 writes the gateway of an IPv6 pool that it chose itself with a prefix.
            (of["Subnet"], of.get("Gateway", "").partition("/")[0], of.get("IPRange", ""))
            for of in inspect["IPAM"]["Config"] or ()
        ),
        "options": inspect["Options"] or {},
        "labels": inspect["Labels"] or {},
    }


def network_of_record(record: NetworkRecord) -> Flat:
    return {
        "id": record.id,
        "name": record.name,
        "driver": record.driver,
        "scope": record.scope,
        "internal": record.internal,
        "attachable": record.attachable,
        "ingress": record.ingress,
        "ipv6": record.ipv6,
        "config_only": record.config_only,
        "created": record.created if record.scope == "local" else None,
        "subnets": sorted((of.subnet, of.gateway or "", of.ip_range or "") for of in record.subnets),
        "options": dict(record.options),
        "labels": dict(record.labels),
    }


def endpoints_of_engine(inspect: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    """MAC and addresses of a network's endpoints, by endpoint id."""
    return {
        of["EndpointID"]: (of["MacAddress"], of["IPv4Address"], of["IPv6Address"])
        for of in (inspect.get("Containers") or {}).values()
    }


def endpoints_of_records(records: Iterable[EndpointRecord], network_id: str) -> dict[str, tuple[str, str, str]]:
    return {
        of.id: (
            of.mac or "",
            f"{of.address}/{of.prefix_len}" if of.address else "",
            f"{of.address6}/{of.prefix_len6}" if of.address6 else "",
        )
        for of in records
        if of.network_id == network_id
    }


# --- docker volume inspect, docker image ls ---------------------------------------------------------------------


def volume_of_engine(inspect: Mapping[str, Any]) -> Flat:
    """GET /volumes/NAME, but for CreatedAt, whose meaning changed with Docker 23."""
    return {
        "name": inspect["Name"],
        "driver": inspect["Driver"],
        "mountpoint": inspect["Mountpoint"],
        "options": inspect["Options"] or {},
        "labels": inspect["Labels"] or {},
    }


def volume_of_record(record: VolumeRecord) -> Flat:
    return {
        "name": record.name,
        "driver": record.driver,
        "mountpoint": record.mountpoint,
        "options": dict(record.options),
        "labels": dict(record.labels),
    }


def image_names_of_engine(images: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """GET /images/json: the names of images that have one."""
    names = {
        image["Id"]: [
            name for name in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())) if "<none>" not in name
        ]
        for image in images
    }
    return {image_id: sorted(of) for image_id, of in names.items() if of}


def image_names_of_records(records: Iterable[ImageRecord]) -> dict[str, list[str]]:
    return {record.id: list(record.names) for record in records}
