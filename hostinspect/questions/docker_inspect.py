"""A container in the layout of `docker inspect`, so that what was written for that goes on working without a daemon.

Every key is the engine's own and means the same; a key that is not here is not known here, or is never read:
Config.Env, Config.Cmd, Config.Entrypoint, Path, Args and State.Error, which may hold secrets. Values are effective.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hostinspect.facts import ContainerRecord, RecordedPort
from hostinspect.questions.container import ContainerDetail
from hostinspect.questions.inspection import Inspection
from hostinspect.topology import Endpoint, Mount

_NEVER = "0001-01-01T00:00:00Z"  # Go's zero time
_DEFAULT_NETWORK = "bridge"  # whose endpoint NetworkSettings repeats in itself, until Docker 28
_REPEATED = (
    *("EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen"),
    *("IPAddress", "IPPrefixLen", "IPv6Gateway", "MacAddress"),
)
_NO_ENDPOINT: dict[str, Any] = {key: 0 if key.endswith("Len") else "" for key in _REPEATED}

Json = dict[str, Any]


def docker_inspect(inspection: Inspection, containers: Iterable[ContainerDetail]) -> list[Json]:
    """What `docker inspect` would print of these containers, as far as it can be known."""
    return [_container(container, inspection.index.records[container.id]) for container in containers]


def _container(container: ContainerDetail, record: ContainerRecord) -> Json:
    return {
        "Id": container.id,
        "Created": container.created or _NEVER,
        "State": _state(container, record),
        "Image": container.image_id or "",
        "ResolvConfPath": record.resolv_conf_path or "",
        "HostnamePath": record.hostname_path or "",
        "HostsPath": record.hosts_path or "",
        "LogPath": container.log_path or "",
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": container.storage_driver or "",
        "HostConfig": _host_config(container, record),
        "GraphDriver": _graph_driver(container),
        "Mounts": [_mount(mount) for mount in container.mounts if mount.destination not in dict(record.tmpfs)],
        "Config": {
            "Hostname": container.hostname or "",
            **({"ExposedPorts": {port: {} for port in container.exposed_ports}} if container.exposed_ports else {}),
            "Image": container.image or "",
            "Labels": container.labels,
        },
        "NetworkSettings": _network_settings(container, record),
    }


def _state(container: ContainerDetail, record: ContainerRecord) -> Json:
    return {
        "Status": container.state,
        "Running": container.state in ("running", "paused", "restarting"),
        "Paused": container.state == "paused",
        "Restarting": container.state == "restarting",
        "OOMKilled": container.oom_killed,
        "Dead": container.state == "dead",
        "Pid": container.pid or 0,
        "ExitCode": (record.exit_code or 0) if container.pid is None else 0,
        "StartedAt": container.started_at or _NEVER,
        "FinishedAt": container.finished_at or _NEVER,
        **({"Health": {"Status": container.health}} if container.health else {}),
    }


def _host_config(container: ContainerDetail, record: ContainerRecord) -> Json:
    return {
        "NetworkMode": container.network_mode or "",
        "PortBindings": _port_map((), record.port_bindings),
        "RestartPolicy": {
            "Name": container.restart_policy or "",
            "MaximumRetryCount": container.restart_max_retries,
        },
        "AutoRemove": container.auto_remove,
        "Privileged": container.privileged,
        "ReadonlyRootfs": container.readonly_rootfs,
        **({"Tmpfs": dict(record.tmpfs)} if record.tmpfs else {}),
    }


def _graph_driver(container: ContainerDetail) -> Json:
    overlay = container.overlay
    directories = {}
    if overlay is not None:
        directories = {
            "LowerDir": ":".join(overlay.lower),
            "MergedDir": overlay.merged or "",
            "UpperDir": overlay.upper or "",
            "WorkDir": overlay.work or "",
        }
    return {"Data": directories or None, "Name": container.storage_driver or ""}


def _mount(mount: Mount) -> Json:
    return {
        "Type": mount.type,
        **({"Name": mount.name} if mount.name else {}),
        "Source": mount.source or "",
        "Destination": mount.destination,
        **({"Driver": mount.driver} if mount.driver else {}),
        "Mode": mount.mode,
        "RW": mount.rw,
        "Propagation": mount.propagation,
    }


def _network_settings(container: ContainerDetail, record: ContainerRecord) -> Json:
    recorded = {endpoint.network for endpoint in record.endpoints}  # docker_gwbridge, say, is libnetwork's business
    networks = {e.network: _endpoint(e) for e in container.endpoints if e.network in recorded}
    default = networks.get(_DEFAULT_NETWORK) or _NO_ENDPOINT
    return {
        "SandboxID": container.sandbox_id or "",
        "Ports": _ports(container, record),
        "SandboxKey": container.sandbox_key or "",
        **{key: default[key] for key in _REPEATED},
        "Networks": networks,
    }


def _ports(container: ContainerDetail, record: ContainerRecord) -> Json:
    """The recorded ports in their order, then those that a DNAT rule alone makes; of one that did not run, none."""
    if container.pid is None and container.state not in ("running", "paused"):
        return {}
    made = [
        RecordedPort(proto=p.proto, container_port=p.container_port, host_ip=p.host_ip, host_port=p.host_port)
        for p in container.ports
        if "host" not in p.via
    ]
    return _port_map(record.sandbox_ports, dict.fromkeys((*record.ports, *made)))


def _port_map(exposed: Iterable[str], bindings: Iterable[RecordedPort]) -> Json:
    """`{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": null}`."""
    ports: dict[str, list[Json] | None] = dict.fromkeys(exposed)
    for binding in bindings:
        key = f"{binding.container_port}/{binding.proto}"
        bound = ports.get(key) or []
        ports[key] = [*bound, {"HostIp": binding.host_ip, "HostPort": _host_port(binding)}]
    return ports


def _host_port(binding: RecordedPort) -> str:
    if binding.host_port is None:
        return ""
    return f"{binding.host_port}-{binding.host_port_end}" if binding.host_port_end else str(binding.host_port)


def _endpoint(endpoint: Endpoint) -> Json:
    return {
        "Aliases": list(endpoint.aliases) or None,
        "NetworkID": endpoint.network_id or "",
        "EndpointID": endpoint.endpoint_id or "",
        "Gateway": endpoint.gateway or "",
        "IPAddress": endpoint.ip or "",
        "IPPrefixLen": endpoint.prefix_len or 0,
        "IPv6Gateway": endpoint.gateway6 or "",
        "GlobalIPv6Address": endpoint.ip6 or "",
        "GlobalIPv6PrefixLen": endpoint.prefix_len6 or 0,
        "MacAddress": endpoint.mac or "",
        "DNSNames": list(endpoint.dns_names) or None,
    }
