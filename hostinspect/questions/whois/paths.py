"""Paths: what directory of an engine, what volume, bind mount or layer they are in, however deep. No file is looked at.

Everything is by the text of the path, against paths in records and mount tables. So a path through a symbolic link is
found only as far as the link's own spelling is: the last resort looks for `overlay2/ID`, `volumes/NAME/_data` and
`containers/ID` anywhere in it, for a data root that is reached through a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec.structs import replace

from hostinspect.facts import MountPoint
from hostinspect.questions.whois.answer import KeyKind, Match, Reason, Ref
from hostinspect.questions.whois.chain import Chain, listed
from hostinspect.questions.whois.images import Images
from hostinspect.questions.whois.key import CONTAINER_ID, Key, normal_path
from hostinspect.questions.whois.known import Known
from hostinspect.questions.whois.layers import directories, of_directory

_HOMES = ("overlay2", "fuse-overlayfs")
_SNAPSHOT = re.compile(r"(.*/io\.containerd\.snapshotter\.v1\.[^/]+/snapshots)/([^/]+)((?:/.*)?)")
_OWN = (*_HOMES, "volumes", "containers", "image", "network", "swarm", "buildkit", "plugins")
_ENGINE_FILES = ("/run/docker.sock", "/run/docker.pid", "/run/docker", "/run/docker/netns", "/run/docker/containerd")
# Of these there is one, and a container that has it has it from docker, not from the path on the host.
_KERNELS_OWN = ("proc", "sysfs", "devtmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "nsfs", "securityfs", "debugfs")
_RUNTIME = ("/run/docker/", "/run/containerd/", "/var/lib/containerd/")
_SHORT_NAME = re.compile(r"(?:l/)?([A-Z0-9]{26})")
_ELSEWHERE = re.compile(
    r".*/(?:(overlay2|fuse-overlayfs|containers)/([0-9a-z]{25,64}(?:-init)?)|(volumes)/([^/]+)/_data)(/.*)?"
)


def by_path(known: Known, key: Key) -> Iterator[Match]:
    """All that a path is in. Within a data root that alone decides; elsewhere several containers may have bound it."""
    images = Images(known)
    for path in _absolute(known, key):
        found = [*_in_data_roots(known, images, path)]
        found += _binds(known, path, own=bool(found))
        found = found or [*_layers(known, images, path)]
        found = found or [*_runtime(known, path)]
        found = found or [*_elsewhere(known, images, path)] or [*_of_engine(known, path)]
        yield from found


def by_short_name(known: Known, key: Key) -> Iterator[Match]:
    """`l/SHORT` or SHORT of overlay2, as /proc/mounts has lower directories."""
    found = _SHORT_NAME.fullmatch(key.word)
    images = Images(known)
    directory = known.short_names.get(found[1]) if found else None
    if directory is not None and found is not None:
        summary, chain = of_directory(known, images, directory)
        chain = chain.after(f"{found[1]} is the short name of {directory}")
        yield chain.match("short name of a layer", summary, Ref(kind="layer", id=directory))


def _absolute(known: Known, key: Key) -> Iterator[str]:
    """The path from where the person is, and below each data root where it begins like something there."""
    word = key.word
    if not word.startswith("/") and word.partition("/")[0] in _OWN and "/" in word:
        for engine in known.facts.engines:
            path = normal_path(f"{engine.data_root}/{word}")
            if path.startswith(f"{engine.data_root}/") and path not in key.paths:
                yield path
    yield from key.paths


def below(path: str, directory: str) -> str | None:
    """What follows `directory` in `path`: "" for itself, "/…" for something in it, None for anything else."""
    if path == directory:
        return ""
    if directory == "/":
        return path
    return path[len(directory) :] if path.startswith(f"{directory}/") else None


# --- the data root ----------------------------------------------------------------------------------------------


def _in_data_roots(known: Known, images: Images, path: str) -> Iterator[Match]:
    for engine in sorted(known.facts.engines, key=lambda engine: -len(engine.data_root)):
        rest = below(path, engine.data_root)
        if rest is None:
            continue
        parts = rest.split("/")[1:]
        match = None
        if parts and parts[0] in _HOMES:
            match = _home(known, images, path, f"{engine.data_root}/{parts[0]}", parts[1:])
        elif len(parts) > 1 and parts[0] == "volumes" and parts[1] not in ("metadata.db", "backingFsBlockDev"):
            match = in_volume(known, path, engine.data_root, parts[1], "/".join(parts[2:]))
        elif len(parts) > 1 and parts[0] == "containers":
            match = _of_container(
                known, path, parts[1], "containers/ has a directory for each container's record and logs"
            )
        elif len(parts) > 1 and parts[0] == "image":
            match = _image_store(known, images, path, parts)
        if match is not None:
            yield match
        return


def _of_engine(known: Known, path: str) -> Iterator[Match]:
    """Whatever else is in a data root."""
    for engine in known.facts.engines:
        rest = below(path, engine.data_root)
        if rest is not None:
            ref = Ref(kind="engine", id=engine.data_root, name=engine.name)
            homes = tuple(f"/{home}" for home in _HOMES)
            what = "the data root" if not rest else "the home of all layers" if rest in homes else "files"
            said = Reason(text=f"{engine.data_root} is the data root of {engine.name}", about=ref)
            summary = f"{what} of the engine {engine.name}"
            yield Chain((said,), owner=ref).match("path", summary, Ref(kind="path", id=path))


def _home(known: Known, images: Images, path: str, home: str, parts: list[str]) -> Match | None:
    """A path in overlay2/: of a layer's directory, by its name or by its short one."""
    if not parts:
        return None
    directory, inner, said = f"{home}/{parts[0]}", parts[1:], None
    if parts[0] == "l":
        if len(parts) == 1:
            return None
        named = known.short_names.get(parts[1])
        if named is None:
            text = "no layer directory that was read has that short name"
            certain = bool(known.facts.layer_homes) and known.sees("layers", "engines")
            chain = Chain((Reason(text=text),), leftover=certain)
            return chain.match("short name of a layer", "a short name of no layer", Ref(kind="path", id=path))
        said = f"{parts[1]} is the short name of {named}"
        directory, inner = named, ["diff", *parts[2:]]
    summary, chain = of_directory(known, images, directory)
    chain = chain.after(said)
    kind: KeyKind = "layer"
    if inner:
        kind = "path in a layer"
        inside = "/" + "/".join(inner[1:])
        files = f"{inside} in {summary}" if len(inner) > 1 else f"the files of {summary}"
        where = {
            "diff": files,
            "fs": files,
            "merged": f"{inside} as seen in the container" if len(inner) > 1 else "the root of the container",
            "work": f"overlayfs's own work directory of {summary}",
        }.get(inner[0])
        said = f"it is in the layer directory {directory}"
        if inner[0] == "merged" and chain.owner is not None:
            summary = f"{inside if len(inner) > 1 else '/'} of container {chain.owner.name}"
        elif where is not None:
            summary = where
        chain = chain.after(said)
    return chain.match(kind, summary, Ref(kind="layer", id=directory))


def in_volume(known: Known, path: str, data_root: str, name: str, rest: str) -> Match:
    """A path in an engine's volumes/NAME."""
    inside = rest.removeprefix("_data").strip("/")
    chain = known.volume(data_root, name)
    volume = next((volume for volume in known.volumes.get(name, ()) if volume.data_root == data_root), None)
    seen = []
    for user in volume.used_by if volume and inside else ():
        mount = next((m for m in known.containers[user.container].mounts if m.destination == user.destination), None)
        sub = normal_path(f"/{(mount.subpath if mount else None) or ''}")
        shown = below(f"/{inside}", sub) if sub != "/" else f"/{inside}"
        if shown is not None:
            seen.append(f"{known.container_name(user.container)} sees it as {user.destination.rstrip('/')}{shown}")
    chain = chain.then(*seen)
    shown_name = f"{name[:12]}, an anonymous one" if volume and volume.anonymous else name
    summary = f"{inside} in volume {shown_name}" if inside else f"volume {shown_name}"
    if volume is None:
        summary = f"a place for a volume {name}, and there is none"
    elif not volume.used_by:
        summary += ", used by nobody"
    return chain.match("path in a volume" if inside else "volume", summary, known.volume_ref(data_root, name))


def _of_container(known: Known, path: str, id_: str, said: str) -> Match | None:
    if not CONTAINER_ID.fullmatch(id_):
        return None
    chain = known.container(id_).after(said)
    there = id_ in known.containers
    sharers = [c.id for c in known.topology.containers if c.shares_netns_with == id_]
    if sharers and path.endswith(("/hosts", "/hostname", "/resolv.conf")):
        names = listed(map(known.container_name, sharers))
        chain = chain.then(f"in its network namespace, and with the same file: {names}")
        chain = replace(chain, containers=(id_, *sharers))
    summary = f"files that docker keeps for container {known.container_name(id_)}"
    if not there:
        summary = f"files for a container {id_[:12]} that no record is left of"
    return chain.match("path", summary, known.container_ref(id_))


def _image_store(known: Known, images: Images, path: str, parts: list[str]) -> Match | None:
    """image/DRIVER/layerdb/mounts/ID, layerdb/sha256/CHAIN, imagedb/{content,metadata}/sha256/ID."""
    match parts[2:]:
        case ["layerdb", "mounts", id_, *_]:
            return _of_container(known, path, id_, "layerdb/mounts/ says which layer directory is whose")
        case ["layerdb", "sha256", chain_id, *_]:
            every = known.layer_directories
            directory = next((path for path in every if every[path].chain_id == f"sha256:{chain_id}"), None)
            if directory is None:
                return None
            summary, chain = of_directory(known, images, directory)
            chain = chain.after(f"{chain_id[:12]} is a chain id; its directory is {directory}")
            return chain.match("chain id", summary, Ref(kind="layer", id=directory))
        case ["imagedb", "content" | "metadata", "sha256", id_, *_]:
            image = f"sha256:{id_}"
            if image not in images.by_id:
                return None
            ref = Ref(kind="image", id=image, name=images.name(image))
            return images.image(image).match("path", f"the record of image {images.name(image)}", ref)
    return None


# --- mounts -----------------------------------------------------------------------------------------------------


def _binds(known: Known, path: str, *, own: bool) -> Iterator[Match]:
    """The bind mounts of containers that a path is in: by the record's source, or by device and root of the mount.

    `own`: it is told of as a directory of the engine already, so that the mounts of it which docker makes itself, of
    /etc/hosts and the like, and those of volumes need no word.
    """
    told: set[tuple[str, str]] = set()
    for container in known.topology.containers:
        for mount in container.mounts:
            if mount.source is None or (mount.type == "volume" and own):
                continue
            source = normal_path(f"{mount.source}/{mount.subpath or ''}")
            rest = below(path, source)
            if rest is not None:
                told.add((container.id, normal_path(mount.destination)))
                access = "rw" if mount.rw else "ro"
                said = f"{source} is mounted in {container.name} at {mount.destination}, {access}"
                yield _bind(known, path, container.id, mount.destination, rest, source, said)
    if not own:
        yield from _volumes_of(known, path)
        yield from _mounted(known, path, told)


def _volumes_of(known: Known, path: str) -> Iterator[Match]:
    """Local volumes that are a directory from elsewhere: `--opt type=none --opt o=bind --opt device=DIR`."""
    for volume in known.topology.volumes:
        device, options = volume.options.get("device", ""), volume.options.get("o", "").split(",")
        if not device.startswith("/") or not {"bind", "rbind"} & {*options}:
            continue
        rest = below(path, normal_path(device))
        if rest is not None:
            match = in_volume(known, path, volume.data_root, volume.name, f"_data{rest}")
            yield replace(match, reasons=(Reason(text=f"volume {volume.name} is {device} of the host"), *match.reasons))


def _mounted(known: Known, path: str, told: set[tuple[str, str]]) -> Iterator[Match]:
    """The same from the kernel's mount tables: whatever the source was called, it is the same device and root."""
    outer = host_mount(known, path)
    if outer is None or outer.fstype in _KERNELS_OWN:
        return
    rest = below(path, outer.mount_point) or ""
    inner = normal_path(f"{outer.root.rstrip('/')}{rest}")
    for container in known.topology.containers:
        process = known.index.processes.get(container.pid or 0)
        if process is None or process.mntns in (None, known.facts.host.mntns):
            continue
        for mount in known.index.mounts.get(process.mntns or 0, ()):
            if mount.device != outer.device or (container.id, mount.mount_point) in told:
                continue
            shown = below(inner, mount.root)
            if shown is None or (mount.mount_point == "/" and mount.fstype != "overlay"):
                continue
            told.add((container.id, mount.mount_point))
            said = f"{outer.device}, root {mount.root} is mounted in {container.name} at {mount.mount_point}"
            yield _bind(known, path, container.id, mount.mount_point, shown, outer.mount_point, said)


def _bind(known: Known, path: str, id_: str, destination: str, rest: str, source: str, said: str) -> Match:
    inside = normal_path(f"{destination}{rest}")
    name = known.container_name(id_)
    kind: KeyKind = "path in a bind mount" if rest else "bind mount"
    chain = known.container(id_).after(said, f"{name} sees it as {inside}" if rest else None)
    return chain.match(kind, f"{inside} of container {name}", Ref(kind="path", id=path))


def host_mount(known: Known, path: str) -> MountPoint | None:
    """The mount of the host that a path is in: the deepest, and of several on one point the last."""
    best = None
    for mount in known.index.mounts.get(known.facts.host.mntns or 0, ()):
        if below(path, mount.mount_point) is not None and (
            best is None or len(mount.mount_point) >= len(best.mount_point)
        ):
            best = mount
    return best


# --- layers elsewhere, and what runtimes keep -------------------------------------------------------------------------


def _layers(known: Known, images: Images, path: str) -> Iterator[Match]:
    """Containerd's snapshots, and directories of overlay mounts that are in no home of Docker's."""
    snapshot = _SNAPSHOT.fullmatch(path)
    if snapshot is not None and f"{snapshot[1]}/{snapshot[2]}" in known.layer_directories:
        match = _home(known, images, path, snapshot[1], [snapshot[2], *snapshot[3].split("/")[1:]])
        yield from (match,) if match else ()
        return
    for container in known.topology.containers:
        overlay = container.overlay
        if overlay is None:
            continue
        for what, directory in (("upper", overlay.upper), ("work", overlay.work), ("merged", overlay.merged)):
            rest = below(path, directory) if directory else None
            if rest is not None:
                chain = known.container(container.id).after(f"{directory} is its {what} directory")
                inside = f"{rest} in " if rest else ""
                summary = f"{inside}the {what} directory of container {container.name}"
                yield chain.match(
                    "path in a layer" if rest else "layer", summary, Ref(kind="layer", id=directory or "")
                )
                return
    for lower in dict.fromkeys(
        lower for container in known.topology.containers if container.overlay for lower in container.overlay.lower
    ):
        rest = below(path, lower)
        if rest is not None:
            users = [c for c in known.topology.containers if c.overlay and lower in c.overlay.lower]
            names = listed(container.name for container in users)
            chain = known.container(users[0].id) if len(users) == 1 else Chain(containers=tuple(c.id for c in users))
            inside = f"{rest} in " if rest else ""
            chain = chain.after(f"{lower} is a lower directory of {names}")
            summary = (
                f"{inside}a lower layer of {f'container {names}' if len(users) == 1 else f'{len(users)} containers'}"
            )
            yield chain.match("path in a layer" if rest else "layer", summary, Ref(kind="layer", id=lower))
            return


def _runtime(known: Known, path: str) -> Iterator[Match]:
    """What dockerd and containerd keep under /run and elsewhere: by the container's id in the path."""
    if path in _ENGINE_FILES and known.facts.engines:
        engine = known.facts.engines[0]
        ref = Ref(kind="engine", id=engine.data_root, name=engine.name)
        chain = Chain((Reason(text=f"{engine.name} makes it when its daemon starts", about=ref),), owner=ref)
        yield chain.match("path", f"of the engine {engine.name} itself", Ref(kind="path", id=path))
        return
    if not path.startswith(_RUNTIME):
        return
    for id_ in CONTAINER_ID.findall(path):
        chain = known.container(id_).after("its path has the container's id in it")
        there = (
            f"container {known.container_name(id_)}"
            if id_ in known.containers
            else "a container that no record is left of"
        )
        yield chain.match("path", f"what a runtime keeps for {there}", known.container_ref(id_))
        return


def _elsewhere(known: Known, images: Images, path: str) -> Iterator[Match]:
    """A data root by another name: the end of the path is one that is known."""
    found = _ELSEWHERE.fullmatch(path)
    if found is None:
        return
    said = "by the end of the path alone: no data root that was found is spelled like its beginning"
    family, id_, _, name, rest = found.groups()
    match: Match | None = None
    volumes = known.volumes.get(name or "", [])
    if volumes:
        for volume in volumes:
            match = in_volume(known, path, volume.data_root, volume.name, f"_data{rest or ''}")
            yield replace(match, reasons=(Reason(text=said), *match.reasons))
        return
    if family == "containers" and id_ in known.containers:
        match = _of_container(known, path, id_, said)
    elif family in _HOMES and id_ in (every := directories(known)):
        match = _home(known, images, path, every[id_].rpartition("/")[0], [id_, *(rest or "").split("/")[1:]])
    if match is not None:
        yield replace(match, reasons=(Reason(text=said), *match.reasons)) if family != "containers" else match
