"""containers/ID/config.v2.json and hostconfig.json: what each container is, and what became of it.

The daemon writes both whole, through a temporary file and rename(2), whenever a container changes. So they are never
half-written, and with the daemon dead they say what it knew last. A file looks like this (much shortened):

    {"State": {"Running": true, "Pid": 810, "StartedAt": "2026-11-25T04:21:41.88Z", …}, "ID": "680380611d03…",
     "Config": {"Hostname": "…", "Image": "app:latest", "Env": […], …}, "Image": "sha256:34671e…",
     "NetworkSettings": {"SandboxID": "…", "Networks": {"my_net": {"NetworkID": "…", "IPAddress": "172.18.0.2", …}},
                         "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": null}},
     "MountPoints": {"/data": {"Type": "volume", "Name": "v", "Source": "…", "Relabel": "ro", "RW": false, …}}, …}

`docker inspect` shows the same but for these, all seen on 20.10 and 28.5: State.Status is derived from the flags;
GraphDriver comes from layerdb (see `layers`); Mounts' Mode is the file's "Relabel"; the Source of a local volume is
where that volume is now, whatever the file says (for an anonymous one it says nothing); SizeRw and the like are
computed. After a start that failed, the file keeps the endpoint that the daemon has given up: so addresses count only
while a container runs. SandboxID and SandboxKey are as in the file, which may name the last run's.

Before Docker 1.10 (2016) the file is config.json; there, networks and mounts may be in the forms of their time.

Config.Env, Config.Cmd, Path and Args, where secrets are, are skipped while decoding and never become objects.
"""

# Without `from __future__ import annotations`: msgspec has to evaluate them, which takes longer of a string.

from collections.abc import Iterator

import msgspec
from msgspec import Struct, field

from hostinspect.engines.docker.naming import is_id, is_name
from hostinspect.engines.docker.record import (
    DAMAGED,
    MAX_FILE,
    Note,
    Number,
    RecordError,
    at_most,
    decode,
    pairs,
    port,
    port_number,
    split_port,
    timestamp,
)
from hostinspect.facts import ContainerRecord, RecordedEndpoint, RecordedMount, RecordedPort
from hostinspect.kernel.files import Directory
from hostinspect.kernel.text import kept

# --- the fields of config.v2.json that are used -----------------------------------------------------------------


class _Health(Struct, rename="pascal"):
    status: str = ""


class _State(Struct, rename="pascal"):
    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = field(default=False, name="OOMKilled")
    dead: bool = False
    removal_in_progress: bool = False  # not written since Docker 28: it is not kept over a restart of the daemon
    pid: Number = 0
    exit_code: Number = 0
    started_at: str = ""
    finished_at: str = ""
    health: _Health | None = None


class _Config(Struct, rename="pascal"):
    hostname: str = ""
    image: str = ""
    labels: dict[str, str] | None = None
    exposed_ports: dict[str, msgspec.Raw] | None = None


class _Endpoint(Struct):
    network_id: str = field(default="", name="NetworkID")
    endpoint_id: str = field(default="", name="EndpointID")
    gateway: str = field(default="", name="Gateway")
    ip: str = field(default="", name="IPAddress")
    prefix_len: Number = field(default=0, name="IPPrefixLen")
    gateway6: str = field(default="", name="IPv6Gateway")
    ip6: str = field(default="", name="GlobalIPv6Address")
    prefix_len6: Number = field(default=0, name="GlobalIPv6PrefixLen")
    mac: str = field(default="", name="MacAddress")
    asked_mac: str = field(default="", name="DesiredMacAddress")  # since Docker 25
    aliases: tuple[str, ...] | None = field(default=None, name="Aliases")
    dns_names: tuple[str, ...] | None = field(default=None, name="DNSNames")


class _Binding(Struct):
    host_ip: str = field(default="", name="HostIp")
    host_port: str = field(default="", name="HostPort")


_PortMap = dict[str, list[_Binding] | None]


class _NetworkSettings(Struct, rename="pascal"):
    """Before Docker 1.9 a container had one network, and its endpoint's fields stood here; later they are repeated."""

    networks: dict[str, _Endpoint | None] | None = None
    ports: _PortMap | None = None
    sandbox_id: str = field(default="", name="SandboxID")
    sandbox_key: str = ""
    network_id: str = field(default="", name="NetworkID")
    endpoint_id: str = field(default="", name="EndpointID")
    gateway: str = ""
    ip: str = field(default="", name="IPAddress")
    prefix_len: Number = field(default=0, name="IPPrefixLen")
    mac: str = field(default="", name="MacAddress")


class _VolumeOptions(Struct):
    subpath: str = field(default="", name="Subpath")


class _Spec(Struct):
    volume_options: _VolumeOptions | None = field(default=None, name="VolumeOptions")


class _MountPoint(Struct, rename="pascal"):
    destination: str
    type: str = ""
    name: str = ""
    source: str = ""
    driver: str = ""
    relabel: str = ""
    rw: bool = field(default=True, name="RW")
    propagation: str = ""
    spec: _Spec | None = None


class _ContainerFile(Struct, rename="pascal"):
    """config.v2.json. `volumes` is of Docker before 1.8, in config.json: sources by destination."""

    name: str
    state: _State
    id: str = field(name="ID")
    config: _Config | None = None
    image: str = ""
    driver: str = ""
    created: str = ""
    restart_count: Number = 0
    log_path: str = ""
    hostname_path: str = ""
    hosts_path: str = ""
    resolv_conf_path: str = ""
    network_settings: _NetworkSettings | None = None
    mount_points: dict[str, _MountPoint] | None = None
    volumes: dict[str, str] | None = None
    volumes_rw: dict[str, bool] | None = field(default=None, name="VolumesRW")


class _RestartPolicy(Struct, rename="pascal"):
    name: str = ""
    maximum_retry_count: Number = 0


class _HostConfig(Struct, rename="pascal"):
    network_mode: str = ""
    port_bindings: _PortMap | None = None
    tmpfs: dict[str, str] | None = None
    readonly_rootfs: bool = False
    privileged: bool = False
    auto_remove: bool = False
    restart_policy: _RestartPolicy | None = None


_container_decoder = msgspec.json.Decoder(_ContainerFile)
_hostconfig_decoder = msgspec.json.Decoder(_HostConfig)


# --- bytes to records -------------------------------------------------------------------------------------------


def parse_container(config: bytes, hostconfig: bytes | None, engine: str, data_root: str) -> ContainerRecord:
    """The record of one container from its two files; `hostconfig` None where that file is missing.

    Empty strings, zeros and times of year 1 are None. Raises `RecordError` naming the file.
    """
    try:
        container = decode(_container_decoder, config)
        settings = container.network_settings or _NO_NETWORK_SETTINGS
        ports = tuple(_bindings(settings.ports)) if settings.ports else ()
    except RecordError as error:
        raise RecordError(f"config.v2.json: {error}") from None
    try:
        host = decode(_hostconfig_decoder, hostconfig) if hostconfig is not None else _NO_HOST_CONFIG
        port_bindings = tuple(_bindings(host.port_bindings)) if host.port_bindings else ()
    except RecordError as error:
        raise RecordError(f"hostconfig.json: {error}") from None
    state = container.state
    asked = container.config or _NO_CONFIG
    restart = host.restart_policy or _NO_RESTART_POLICY
    return ContainerRecord(
        engine=engine,
        data_root=data_root,
        id=container.id,
        name=container.name.removeprefix("/"),
        image=asked.image or None,
        image_id=kept(container.image) or None,
        driver=container.driver or None,
        created=timestamp(container.created),
        hostname=asked.hostname or None,
        running=state.running,
        paused=state.paused,
        restarting=state.restarting,
        oom_killed=state.oom_killed,
        dead=state.dead,
        removal_in_progress=state.removal_in_progress,
        pid=state.pid or None,
        exit_code=state.exit_code,
        started_at=timestamp(state.started_at),
        finished_at=timestamp(state.finished_at),
        health=state.health.status or None if state.health else None,
        restart_count=container.restart_count,
        network_mode=host.network_mode or None,
        sandbox_id=settings.sandbox_id or None,
        sandbox_key=settings.sandbox_key or None,
        endpoints=tuple(_endpoints(_networks(settings, host.network_mode), state.running)),
        ports=ports,
        exposed_ports=tuple(sorted({**(settings.ports or {}), **(asked.exposed_ports or {})})),
        sandbox_ports=tuple(sorted(settings.ports or {})),
        port_bindings=port_bindings,
        mounts=tuple(_mounts(_mount_points(container), data_root)),
        tmpfs=pairs(host.tmpfs),
        labels=pairs(asked.labels),
        readonly_rootfs=host.readonly_rootfs,
        privileged=host.privileged,
        auto_remove=host.auto_remove,
        restart_policy=restart.name or None,
        restart_max_retries=restart.maximum_retry_count,
        log_path=container.log_path or None,
        hostname_path=container.hostname_path or None,
        hosts_path=container.hosts_path or None,
        resolv_conf_path=container.resolv_conf_path or None,
    )


def _networks(settings: _NetworkSettings, mode: str) -> dict[str, _Endpoint | None]:
    """The endpoints by network; of Docker before 1.9, which knew no other than that of its mode, the only one."""
    if settings.networks is not None or not settings.ip:
        return settings.networks or {}
    endpoint = _Endpoint(
        network_id=settings.network_id,
        endpoint_id=settings.endpoint_id,
        gateway=settings.gateway,
        ip=settings.ip,
        prefix_len=settings.prefix_len,
        mac=settings.mac,
    )
    return {"bridge" if mode in ("", "default") else mode: endpoint}


def _mount_points(container: _ContainerFile) -> dict[str, _MountPoint]:
    """The mounts by destination; of Docker before 1.8, which did not say of what type they are, those of `volumes`."""
    if container.mount_points is not None:
        return container.mount_points
    rw = container.volumes_rw or {}
    return {
        destination: _MountPoint(destination=destination, source=source, rw=rw.get(destination, True))
        for destination, source in (container.volumes or {}).items()
    }


def _endpoints(networks: dict[str, _Endpoint | None], running: bool) -> Iterator[RecordedEndpoint]:
    for network, endpoint in sorted(networks.items()):
        if endpoint is None:
            yield RecordedEndpoint(network=network)
            continue
        if not running:
            yield RecordedEndpoint(
                network=network,
                network_id=kept(endpoint.network_id) or None,
                mac=endpoint.mac or None if endpoint.mac == endpoint.asked_mac else None,
                aliases=endpoint.aliases or (),
                dns_names=endpoint.dns_names or (),
            )
            continue
        yield RecordedEndpoint(
            network=network,
            network_id=kept(endpoint.network_id) or None,
            endpoint_id=endpoint.endpoint_id or None,
            gateway=endpoint.gateway or None,
            ip=endpoint.ip or None,
            prefix_len=endpoint.prefix_len or None,
            gateway6=endpoint.gateway6 or None,
            ip6=endpoint.ip6 or None,
            prefix_len6=endpoint.prefix_len6 or None,
            mac=endpoint.mac or None,
            aliases=endpoint.aliases or (),
            dns_names=endpoint.dns_names or (),
        )


def _bindings(ports: _PortMap) -> Iterator[RecordedPort]:
    """The bindings of a port map, by port. A port without any is exposed only."""
    for key, bindings in sorted(ports.items()):
        if bindings:
            number, proto = split_port(key)
            for binding in bindings:
                # "8080", "8000-8010" (one of these), "" or "0" (any).
                first, dash, last = binding.host_port.partition("-")
                start = port_number(first) if first or dash else 0
                yield port(proto, number, binding.host_ip, start, port_number(last) if dash else start)


def _mounts(mounts: dict[str, _MountPoint], data_root: str) -> Iterator[RecordedMount]:
    for _, mount in sorted(mounts.items()):
        options = mount.spec.volume_options if mount.spec else None
        source = mount.source
        if mount.driver == "local" and is_name(mount.name):
            source = f"{data_root}/volumes/{mount.name}/_data"
        yield RecordedMount(
            type=mount.type or ("volume" if mount.name else "bind"),  # not written before Docker 1.12
            name=mount.name or None,
            source=source or None,
            destination=mount.destination,
            driver=mount.driver or None,
            mode=mount.relabel,
            rw=mount.rw,
            propagation=mount.propagation,
            subpath=options.subpath or None if options else None,
        )


_NO_CONFIG = _Config()
_NO_NETWORK_SETTINGS = _NetworkSettings()
_NO_HOST_CONFIG = _HostConfig()
_NO_RESTART_POLICY = _RestartPolicy()


# --- files to records -------------------------------------------------------------------------------------------


def read_containers(
    files: Directory, engine: str, data_root: str, note: Note, *, at_rest: bool = False
) -> Iterator[ContainerRecord]:
    """Every container under the opened data root, by id. One that goes away meanwhile is left out.

    `at_rest`: nothing goes away meanwhile, for it is the data root of a host that does not run.
    """
    path = f"{data_root}/containers"
    try:
        with files.directory("containers") as containers:
            ids = [name for name in containers.listdir() if is_id(name)]
            for container_id in at_most(ids, "containers", path, note):
                try:
                    yield _read_container(containers, container_id, engine, data_root, note)
                except (FileNotFoundError, NotADirectoryError):
                    # Removed between listing and reading, or left behind by a removal that failed.
                    if at_rest and containers.exists(f"{container_id}/hostconfig.json"):
                        note(f"{path}/{container_id}", "its config.v2.json is missing", "look at what else is in there")
                except OSError as error:
                    note(f"{path}/{container_id}", error)
                except RecordError as error:
                    note(f"{path}/{container_id}", str(error), DAMAGED)
    except OSError as error:
        note(path, error)


def _read_container(
    containers: Directory, container_id: str, engine: str, data_root: str, note: Note
) -> ContainerRecord:
    try:
        config = containers.read(f"{container_id}/config.v2.json", MAX_FILE)
    except FileNotFoundError:
        config = containers.read(f"{container_id}/config.json", MAX_FILE)  # before Docker 1.10
    path = f"{data_root}/containers/{container_id}/hostconfig.json"
    hostconfig: bytes | None = None
    try:
        hostconfig = containers.read(f"{container_id}/hostconfig.json", MAX_FILE)
    except FileNotFoundError:
        pass  # the daemon, too, goes on without it
    except OSError as error:
        note(path, error)
    try:
        record = parse_container(config, hostconfig, engine, data_root)
    except RecordError as error:
        record = parse_container(config, None, engine, data_root)  # all that it is; else this is damaged, too
        note(path, str(error).removeprefix("hostconfig.json: "), DAMAGED)
    if record.id != container_id:
        raise RecordError(f"config.v2.json: it is that of {record.id!r}")
    return record
