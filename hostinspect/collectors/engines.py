"""Engines of the host, and what each wrote down on disk. Asks no daemon, so a hanging or dead one makes no difference.

An engine is found by its daemon's command line, by /etc/docker/daemon.json, or because its default data root is there.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import msgspec
from msgspec import Struct, field

from hostinspect.collectors.containerd_store import ContainerdStore
from hostinspect.collectors.gaps import PERMISSION, GapLog
from hostinspect.collectors.processes import container_cgroup
from hostinspect.collectors.wanted import EVERYTHING
from hostinspect.engines.docker.containers import read_containers
from hostinspect.engines.docker.naming import CONTAINERD_DRIVER
from hostinspect.engines.docker.record import RecordError, decode
from hostinspect.facts import (
    BuildCacheRecord,
    ContainerRecord,
    EndpointRecord,
    Engine,
    Host,
    ImageLayerRecord,
    ImageRecord,
    LayerHomeRecord,
    LayerRecord,
    MountPoint,
    NetworkRecord,
    Process,
    SandboxRecord,
    VolumeRecord,
)
from hostinspect.kernel.files import Directory
from hostinspect.kernel.remote import RemoteError, has_remote, walk
from hostinspect.kernel.rooted import directory_in, mode_in, read_in, resolve_in
from hostinspect.kernel.text import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.engines.docker.networks import NetworkTable

DEFAULT_DATA_ROOT = "/var/lib/docker"
DEFAULT_CONFIG_FILE = "/etc/docker/daemon.json"
_MAX_CONFIG = 1 << 20  # bytes
_MAX_HOMES = 10_000


class EngineRecords(Struct, frozen=True, kw_only=True):
    """Everything that one engine wrote down, each tuple in the order of ids or names."""

    containers: tuple[ContainerRecord, ...] = ()
    layers: tuple[LayerRecord, ...] = ()
    networks: tuple[NetworkRecord, ...] = ()
    endpoints: tuple[EndpointRecord, ...] = ()
    sandboxes: tuple[SandboxRecord, ...] = ()
    volumes: tuple[VolumeRecord, ...] = ()
    images: tuple[ImageRecord, ...] = ()
    image_layers: tuple[ImageLayerRecord, ...] = ()
    build_cache: tuple[BuildCacheRecord, ...] = ()
    layer_homes: tuple[LayerHomeRecord, ...] = ()


# --- where engines are ------------------------------------------------------------------------------------------


class DaemonConfig(Struct):
    """What of daemon.json says where things are (dockerd(8), --config-file)."""

    data_root: str = field(default="", name="data-root")
    graph: str = ""  # data-root's name before Docker 17.05
    userns_remap: str = field(default="", name="userns-remap")


_config_decoder = msgspec.json.Decoder(DaemonConfig)


def parse_config(content: bytes) -> DaemonConfig:
    """daemon.json. Raises `RecordError`."""
    return decode(_config_decoder, content)


def parse_cmdline(cmdline: Sequence[str]) -> dict[str, str]:
    """dockerd's options that say where things are, by long name, from its command line. The last one wins.

    >>> parse_cmdline(["dockerd", "-H", "fd://", "--data-root", "/srv/docker", "--config-file=/etc/d.json"])
    {'data-root': '/srv/docker', 'config-file': '/etc/d.json'}
    """
    found: dict[str, str] = {}
    words = iter(cmdline[1:])
    for word in words:
        if word == "--":
            break
        option, is_joined, value = word.partition("=")
        name = _OPTIONS.get(option)
        if name is None and word.startswith("-g") and not is_joined:
            name, value, is_joined = "data-root", word[2:], "="  # -g/srv/docker
        if name:
            found[name] = value if is_joined else next(words, "")
    return found


_OPTIONS = {
    "--data-root": "data-root",
    "--graph": "data-root",
    "-g": "data-root",
    "--config-file": "config-file",
    "--userns-remap": "userns-remap",
}


def collect_engines(
    host: Host,
    processes: Iterable[Process],
    gaps: GapLog,
    data_roots: Sequence[str] = (),
    root: str = "",
    mounts: Sequence[MountPoint] = (),
) -> tuple[Engine, ...]:
    """The Docker engines of this host, by data root; running ones with their daemon's pid.

    With `data_roots`, these and no others. `root` is where the disk of another host is mounted: all paths are beneath
    it, and no processes belong to it, so those of rootless engines are looked for in the users' homes. `mounts` are
    those of our mount namespace: what is on one that may not answer is not asked. Gaps: a configuration that cannot be
    read, a daemon whose data root cannot be known. A daemon in a container is that container's affair.
    """
    found: dict[str, Engine] = {}
    strangers = []
    for process in processes:
        if not _is_daemon(process):
            continue
        if not _is_of_host(process, host):
            if not in_container(process.cgroups):
                strangers.append(process.pid)
            continue
        data_root = _data_root_of(process, gaps, mounts)
        if data_root:
            found[data_root] = Engine(name="docker", data_root=data_root, pid=process.pid)
    if data_roots:
        explicit = [_resolve(path, root) for path in data_roots]
        return tuple(found.get(path, Engine(name="docker", data_root=path)) for path in dict.fromkeys(explicit))
    config = _read_config(DEFAULT_CONFIG_FILE, gaps, root, mounts)
    at_rest = _remapped(config.data_root or config.graph or DEFAULT_DATA_ROOT, config.userns_remap, gaps, root, mounts)
    if root:
        for home in _homes(root):
            found.update((path, Engine(name="docker", data_root=path)) for path in _rootless(home, gaps, root))
    # A daemon that runs from /etc/docker/daemon.json has been found already, by the same path.
    if at_rest not in found and _may_be_data_root(at_rest, root, mounts):
        found[at_rest] = Engine(name="docker", data_root=at_rest)
    for pid in strangers:
        gaps.add(
            "engines",
            f"dockerd, pid {pid}",
            "it runs in a mount namespace of its own, so its paths are not the host's",
            "name its data root with --data-root, as the host sees it",
            minor=bool(found),
        )
    return tuple(engine for _, engine in sorted(found.items()))


def _homes(root: str) -> Iterator[str]:
    """The home directories in the /etc/passwd of a disk's host: passwd(5)."""
    try:
        users = text(_read("/etc/passwd", root)).splitlines()
    except OSError:
        return
    homes = dict.fromkeys(fields[5] for line in users if len(fields := line.split(":")) > 5 and fields[2] != "0")
    yield from [home for home in homes if home.startswith("/") and "\0" not in home][:_MAX_HOMES]


def _rootless(home: str, gaps: GapLog, root: str) -> Iterator[str]:
    """The data root of an engine that a user ran without being root, where its home on a disk has one."""
    path = f"{home.rstrip('/')}/.config/docker/daemon.json"
    config = DaemonConfig()
    with suppress(OSError):
        if mode_in(root, path):
            config = _read_config(path, gaps, root)
    data_root = _resolve(config.data_root or f"{home.rstrip('/')}/.local/share/docker", root)
    if _may_be_data_root(data_root, root):
        yield data_root


def _is_daemon(process: Process) -> bool:
    program = process.cmdline[0].rpartition("/")[2] if process.cmdline else process.comm
    return "dockerd" in (process.comm, program)


def _is_of_host(process: Process, host: Host) -> bool:
    """Whether a daemon sees the host's files. One in a container or in a namespace of its own does not."""
    if process.mntns is None or host.mntns is None:
        return not in_container(process.cgroups)
    if process.mntns == host.mntns:
        return True
    # A rootless daemon has a mount namespace of its own, with the host's home directories.
    return not in_container(process.cgroups) and bool(_home(process.pid))


def in_container(cgroups: Iterable[str]) -> bool:
    """Whether one of the cgroup paths names a container: 64 hexadecimal digits, however they are wrapped.

    >>> in_container(["/system.slice/docker-" + "ab" * 32 + ".scope"]), in_container(["/system.slice/docker.service"])
    (True, False)
    """
    return any(map(container_cgroup, cgroups))


def _home(pid: int) -> str | None:
    """The home directory of the ordinary user that a rootless daemon belongs to; None for root's and unknown ones."""
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None
    if not uid:
        return None
    import pwd

    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return None


def _data_root_of(process: Process, gaps: GapLog, mounts: Sequence[MountPoint]) -> str | None:
    """A daemon's data root: its command line, else its daemon.json, else the default."""
    if process.cmdline is None:
        gaps.add("engines", f"dockerd, pid {process.pid}", "its command line could not be read", PERMISSION)
        return None
    options = parse_cmdline(process.cmdline)
    home = _home(process.pid)
    default, config_file = DEFAULT_DATA_ROOT, DEFAULT_CONFIG_FILE
    if home:
        default, config_file = f"{home}/.local/share/docker", f"{home}/.config/docker/daemon.json"
    config = _read_config(options.get("config-file") or config_file, gaps, mounts=mounts)
    data_root = options.get("data-root") or config.data_root or config.graph or default
    if not data_root.startswith("/"):
        try:
            data_root = os.path.join(os.readlink(f"/proc/{process.pid}/cwd"), data_root)
        except OSError as error:
            gaps.add("engines", f"dockerd, pid {process.pid}, data root {data_root}", error)
            return None
    return _remapped(data_root, options.get("userns-remap") or config.userns_remap, gaps, mounts=mounts)


def _read_config(path: str, gaps: GapLog, root: str = "", mounts: Sequence[MountPoint] = ()) -> DaemonConfig:
    try:
        return parse_config(_read(path, root, mounts))
    except FileNotFoundError:
        pass
    except OSError as error:
        gaps.add("engines", path, error)
    except RecordError as error:
        gaps.add("engines", path, str(error), "correct the file; dockerd does not start with it either")
    return DaemonConfig()


def _read(path: str, root: str, mounts: Sequence[MountPoint] = ()) -> bytes:
    """A file of the configuration: of this host by its name alone, of a disk's by whatever links that host has."""
    if root:
        return read_in(root, path, _MAX_CONFIG)
    directory, _, name = path.rpartition("/")
    _refuse(directory, root, mounts)
    with Directory(directory or "/") as files:
        return files.read(name, _MAX_CONFIG)


def _remapped(data_root: str, remap: str, gaps: GapLog, root: str = "", mounts: Sequence[MountPoint] = ()) -> str:
    """The real path of the data root; with userns-remap, its sub-directory UID.GID of the first ids of the user."""
    data_root = _resolve(data_root, root, mounts)
    if not remap or remap == "host":
        return data_root
    user, _, group = remap.partition(":")
    user = "dockremap" if user == "default" else user
    uid, gid = _first_subid("subuid", user, root), _first_subid("subgid", group or user, root)
    if uid is not None and gid is not None:
        return f"{data_root}/{uid}.{gid}"
    try:
        _refuse(data_root, root, mounts)
        with directory_in(root, data_root) as files:
            names = [name for name in files.listdir() if name.count(".") == 1 and name.replace(".", "").isdecimal()]
    except OSError:
        names = []
    if len(names) == 1:
        return f"{data_root}/{names[0]}"
    gaps.add(
        "engines",
        f"{data_root}, userns-remap {remap}",
        f"/etc/subuid and /etc/subgid do not say whose it is, and there are {len(names)} directories that it may be",
        "name the one with --data-root",
    )
    return data_root


def _first_subid(file: str, name: str, root: str) -> int | None:
    """The first id of a user's or group's range in /etc/subuid or /etc/subgid (subuid(5))."""
    try:
        content = text(_read(f"/etc/{file}", root))
    except OSError:
        return None
    for line in content.splitlines():
        owner, _, rest = line.partition(":")
        first = rest.partition(":")[0]
        if owner == name and first.isdecimal():
            return int(first)
    return None


def _refuse(path: str, root: str, mounts: Sequence[MountPoint]) -> None:
    """Raises `RemoteError` where the way to `path` leads over a file system that may not answer; else nothing."""
    if root or not has_remote(mounts):
        return
    try:
        walk(path, mounts)
    except RemoteError:
        raise
    except (OSError, ValueError):
        pass  # whoever opens it will tell


def _resolve(path: str, root: str, mounts: Sequence[MountPoint] = ()) -> str:
    """`path` without symbolic links, as the daemon names its data root; as it is where that cannot be told.

    Of one that leads to a file system that may not answer, links are followed so far only.
    """
    try:
        return resolve_in(root, path) if root or not path.startswith("/") else walk(path, mounts)[0]
    except RemoteError as error:
        return error.path
    except (OSError, ValueError):  # too many links; opening it will say so
        return path


def _may_be_data_root(path: str, root: str, mounts: Sequence[MountPoint] = ()) -> bool:
    """Whether an engine has been at `path`: it has containers/, or may have it where we may not look."""
    try:
        _refuse(f"{path}/containers", root, mounts)
        return mode_in(root, f"{path}/containers") != 0
    except (PermissionError, RemoteError):
        return True
    except OSError:
        return False


# --- what they wrote down ---------------------------------------------------------------------------------------


class _Notes:
    """Turns what a reader could not read into gaps; refused permissions under a data root into a single one."""

    def __init__(self, collector: str, data_root: str, gaps: GapLog) -> None:
        self._collector, self._data_root, self._gaps = collector, data_root, gaps

    def __call__(self, subject: str, why: str | OSError, remedy: str | None = None) -> None:
        if isinstance(why, PermissionError):
            self._gaps.add("engines", self._data_root, f"its files may not be read: {why.strerror}", PERMISSION)
        else:
            self._gaps.add(self._collector, subject, why, remedy)


def collect_records(
    engine: Engine,
    gaps: GapLog,
    root: str = "",
    *,
    mounts: Sequence[MountPoint] = (),
    families: Container[object] = EVERYTHING,
    image_layers: bool = False,
    containers: Iterable[ContainerRecord] | None = None,
    layers_of: Container[str] | None = None,
) -> EngineRecords:
    """Everything that `engine` wrote down under its data root, which is beneath `root`; layers of images if asked for.

    Beside the containers, only what is of one of the `families` layers, networks, volumes and images. `containers` are
    not read again where they are known; layers only of those whose id is in `layers_of`, if that is given.

    What is unreadable or damaged is a gap each, and the rest is read; what goes away meanwhile is none. Without
    permission there is one gap for the whole data root.
    """
    data_root = engine.data_root
    notes = {
        family: _Notes(family, data_root, gaps) for family in ("containers", "layers", "networks", "volumes", "images")
    }
    chains: tuple[ImageLayerRecord, ...] = ()
    build_cache: tuple[BuildCacheRecord, ...] = ()
    homes: tuple[LayerHomeRecord, ...] = ()
    try:
        _refuse(data_root, root, mounts)
        with directory_in(root, data_root) as files:
            if not files.exists("containers"):
                gaps.add(
                    "engines", data_root, "no data root of Docker: it has no containers/", "name it with --data-root"
                )
                return EngineRecords()
            if image_layers:
                from hostinspect.engines.docker.build_cache import read_build_cache
                from hostinspect.engines.docker.image_layers import read_image_layers, read_layer_homes

                homes = tuple(read_layer_homes(files, data_root, notes["layers"]))  # before whose they are
                chains = tuple(read_image_layers(files, data_root, notes["layers"]))
                build_cache = tuple(read_build_cache(files, data_root, notes["layers"]))
            stores = partial(containerd_stores, files, data_root, root, mounts)
            store = ContainerdStore(stores, data_root, notes, families, image_layers=image_layers)
            if containers is None:
                containers = read_containers(files, engine.name, data_root, notes["containers"], at_rest=bool(root))
            containers = tuple(containers)
            theirs = tuple(container for container in containers if layers_of is None or container.id in layers_of)
            stored = store.of(theirs, only=not files.exists("image"))
            layers: tuple[LayerRecord, ...] = ()
            if "layers" in families:
                from hostinspect.engines.docker.layers import read_layers

                layers = tuple(read_layers(files, data_root, notes["layers"], layers_of))
                layers += stored.layers
                has_names = stored.images is not None
                _note_unknown_layers(files, theirs, layers, gaps, data_root, has_names=has_names, of_disk=bool(root))
            table: NetworkTable | None = None
            swarm: dict[str, NetworkRecord] = {}
            if "networks" in families:
                from hostinspect.engines.docker.networks import read_networks
                from hostinspect.engines.docker.swarm import read_swarm_networks

                table = read_networks(files, engine.name, data_root, notes["networks"])
                swarm = read_swarm_networks(files, engine.name, data_root, notes["networks"])
            volumes: tuple[VolumeRecord, ...] = ()
            if "volumes" in families:
                from hostinspect.engines.docker.volumes import read_volumes

                volumes = tuple(read_volumes(files, engine.name, data_root, notes["volumes"], at_rest=bool(root)))
            images: tuple[ImageRecord, ...] = ()
            if "images" in families:
                from hostinspect.engines.docker.images import read_images

                images = tuple(read_images(files, data_root, notes["images"], layers=image_layers))
                images += stored.images or ()
    except PermissionError as error:
        _Notes("engines", data_root, gaps)(data_root, error)
        return EngineRecords()
    except RemoteError as error:
        gaps.add("engines", data_root, error, f"--data-root {data_root}, if it answers")
        return EngineRecords()
    except OSError as error:
        gaps.add("engines", data_root, error, "name the engine's data root with --data-root")
        return EngineRecords()
    return EngineRecords(
        containers=containers,
        layers=layers,
        networks=tuple(_networks(table, swarm)),
        endpoints=tuple(table.endpoints.values()) if table else (),
        sandboxes=tuple(table.sandboxes.values()) if table else (),
        volumes=volumes,
        images=images,
        image_layers=chains + stored.image_layers,
        build_cache=build_cache + stored.build_cache,
        layer_homes=homes + stored.homes,
    )


def _networks(table: NetworkTable | None, swarm: dict[str, NetworkRecord]) -> Iterator[NetworkRecord]:
    """Networks of local scope and of the swarm, by id."""
    for _, network in sorted({**swarm, **(table.networks if table else {})}.items()):
        yield network


def containerd_stores(
    files: Directory, data_root: str, root: str, mounts: Sequence[MountPoint]
) -> Iterator[tuple[Directory, str]]:
    """The directories, with their paths, of the engine's own containerd and of the host's, where they are there.

    One that cannot be opened says nothing, which is told of the layers that are not known then.
    """
    from hostinspect.engines.docker.snapshots import OWN_STORE, SYSTEM_STORE

    with suppress(OSError), files.directory(OWN_STORE) as store:
        yield store, f"{data_root}/{OWN_STORE}"
    with suppress(OSError):
        _refuse(SYSTEM_STORE, root, mounts)
        with directory_in(root, SYSTEM_STORE) as store:
            yield store, SYSTEM_STORE


def _note_unknown_layers(
    files: Directory,
    containers: tuple[ContainerRecord, ...],
    layers: tuple[LayerRecord, ...],
    gaps: GapLog,
    data_root: str,
    *,
    has_names: bool,
    of_disk: bool,
) -> None:
    """Say whose layers are not known: all of a storage driver that is no overlay, or one without its record.

    `has_names`: those of images are known whatever the storage driver.
    """
    from hostinspect.engines.docker.layers import DRIVERS, FIRST_DRIVER

    known = {layer.container_id for layer in layers}
    told = {gap.subject for gap in gaps.as_tuple()}
    unknown: dict[str, list[ContainerRecord]] = {}
    for container in containers:
        if container.id in known:
            continue
        is_going = container.dead or container.removal_in_progress or not files.exists(f"containers/{container.id}")
        if container.driver and container.driver not in (*DRIVERS, FIRST_DRIVER):
            if container.driver != CONTAINERD_DRIVER or not is_going:
                unknown.setdefault(container.driver, []).append(container)
            continue
        subject = f"{data_root}/image/{container.driver}/layerdb/mounts/{container.id}"
        if subject not in told and not is_going:
            gaps.add(
                "layers",
                subject,
                f"container {container.name} has no readable record of its layers",
                f"look through {data_root}/{container.driver}, where no name says whose it is"
                if of_disk
                else "docker rm it: it cannot be started without",
            )
    for driver, of_driver in sorted(unknown.items()):
        is_named = files.exists(f"image/{driver}/repositories.json") or files.exists(f"repositories-{driver}")
        names = "" if is_named or (has_names and driver == CONTAINERD_DRIVER) else " and names of images"
        gaps.add(
            "layers",
            f"{data_root}, storage driver {driver}",
            f"layers of {len(of_driver)} containers{names} are not written down where overlay2 does it",
            f"look into {data_root}/{driver} by what {driver} does"
            if of_disk
            else "start the containers that do not run: while they run, their mounts tell",
            minor=not of_disk and all(container.running for container in of_driver),
        )
