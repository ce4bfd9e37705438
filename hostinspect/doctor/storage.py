"""What is on disk and what is mounted: layers, directories, space."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping

from hostinspect.correlate.runtime import recorded_state
from hostinspect.doctor.check import Checked, Found, Severity, check, word
from hostinspect.doctor.containers import just_now
from hostinspect.doctor.patient import LAYER_HOMES, RECORDS, Patient
from hostinspect.facts import ContainerRecord, FileSystemSpace, HeldFile, MountPoint
from hostinspect.questions.layers import LayerDirectory, is_containerds, parent

LAYERS = (*RECORDS, "layers", "images")
_MOUNTS = (*LAYERS, "mounts", LAYER_HOMES)

_GB = 1_000_000_000
_LARGE = 100_000_000  # bytes that a file without a name holds, to be worth a warning
_NOTABLE = 1_000_000
_SETTLED = 60  # seconds after which a directory that the engine makes has its record


def _overlay_home(patient: Patient, upper: str | None, owners: Mapping[str, ContainerRecord | None]) -> str | None:
    """DATA-ROOT/overlay2/NAME of an upper directory of an engine here; of containerd …/snapshots/NUMBER.

    The latter only of those that have `owners`: others may be mounted for a moment, or are not Docker's.
    """
    if upper and upper in owners and is_containerds(upper):
        return parent(upper)
    for engine in patient.facts.engines:
        home = f"{engine.data_root}/overlay2/"
        if upper and upper.startswith(home):
            return home + upper[len(home) :].partition("/")[0]
    return None


def _records_by_upper(patient: Patient) -> dict[str, ContainerRecord | None]:
    """Whose upper directory each is: None where the layer's record names a container that is not there."""
    return {layer.upper: patient.index.records.get(layer.container_id) for layer in patient.facts.layers}


def _built(patient: Patient) -> set[str]:
    """Mount ids that a build has."""
    return {name for home in patient.facts.layer_homes for name in home.build_mounts}


@check("overlay-of-no-container", "warning", needs=_MOUNTS)
def overlay_of_no_container(patient: Patient) -> Checked:
    """An overlay of the engine is mounted, and no running container has it.

    Its directories cannot be removed: "device or resource busy". Left behind when a container was removed by force, or
    the engine was killed.
    """
    owners, built = _records_by_upper(patient), _built(patient)
    for mount in patient.index.mounts.get(patient.facts.host.mntns or 0, ()):
        home = _overlay_home(patient, mount.upperdir, owners)
        if mount.fstype != "overlay" or home is None or home.rpartition("/")[2].removesuffix("-init") in built:
            continue
        record = owners.get(mount.upperdir or "")
        if record is not None and (
            recorded_state(record) not in ("created", "exited", "dead")
            or record.id in patient.index.processes_by_container
            or just_now(patient, record.finished_at)
            or _shim_of(patient, record.id)
        ):
            continue
        whose = f"{record.name}, which does not run" if record else "no container"
        yield Found(
            "mount",
            mount.mount_point,
            f"{mount.mount_point} is mounted for {whose}",
            f"umount {word(mount.mount_point)}",
            (f"upper directory: {mount.upperdir}",),
        )


def _shim_of(patient: Patient, id_: str) -> bool:
    """Whether a shim still holds the mounts of a container: it is told of by itself."""
    return any(p.cmdline and id_ in p.cmdline for p in patient.facts.processes)


@check("mount-leaked", "warning", needs=(*_MOUNTS, "other mounts"))
def mount_leaked(patient: Patient) -> Checked:
    """A container's root is still mounted in another mount namespace, though not on the host any more.

    A service or container that was started meanwhile has a copy of the host's mounts, or mounted it elsewhere, and
    keeps it: "device or resource busy", when the container is removed (before Linux 3.18) or the disk unmounted.
    Restart who holds it; let services that need no mounts of their own do without, and mount into containers with
    rslave.
    """
    owners = _records_by_upper(patient)
    on_host = {m.upperdir for m in patient.index.mounts.get(patient.facts.host.mntns or 0, ()) if m.upperdir}
    daemons = {patient.index.processes[e.pid].mntns for e in patient.facts.engines if e.pid in patient.index.processes}
    own = {
        (process.mntns, id_) for id_, processes in patient.index.processes_by_container.items() for process in processes
    }
    holders: dict[str, dict[int, MountPoint]] = defaultdict(dict)
    for mount in (*patient.facts.mounts, *patient.health.other_mounts):
        if mount.mntns in (None, patient.facts.host.mntns, *daemons) or mount.upperdir in on_host:
            continue
        record = owners.get(mount.upperdir or "")
        if _overlay_home(patient, mount.upperdir, owners) is None or (record and (mount.mntns, record.id) in own):
            continue
        holders[mount.upperdir or ""].setdefault(mount.mntns or 0, mount)
    for upper, mounts in holders.items():
        record = owners.get(upper)
        whose = record.name if record else "a container that is gone"
        evidence = [f"{_who(patient, mntns)} has it on {mount.mount_point}" for mntns, mount in mounts.items()]
        pids = [next(iter(_members(patient, mntns)), None) for mntns in mounts]
        yield Found(
            "mount",
            upper.removesuffix("/diff"),
            f"the root of {whose} is held in {len(mounts)} mount namespace{'s' if len(mounts) > 1 else ''} "
            "besides the host's",
            "; ".join(
                f"nsenter -t {pid} -m umount {word(m.mount_point)}"
                for pid, m in zip(pids, mounts.values(), strict=True)
                if pid
            ),
            tuple(evidence),
        )


def _members(patient: Patient, mntns: int) -> list[int]:
    return [process.pid for process in patient.facts.processes if process.mntns == mntns]


def _who(patient: Patient, mntns: int) -> str:
    pids = _members(patient, mntns)
    process = patient.index.processes[pids[0]] if pids else None
    container = patient.places.name(patient.index.container_by_pid.get(pids[0])) if pids else None
    if container:
        return f"container {container}"
    return f"{process.comm} ({process.pid})" if process else f"mnt:[{mntns}]"


@check("layer-directory-of-nothing", "warning", needs=(*LAYERS, LAYER_HOMES))
def layer_of_nothing(patient: Patient) -> Checked:
    """A directory in overlay2/ belongs to no container, image or build.

    It takes space that `docker system prune` does not find. Left behind by a removal, a pull or a build that was
    interrupted.
    """
    for directory in patient.layers.directories:
        if directory.kind in ("nothing", "no image"):
            yield Found(
                "directory",
                directory.path,
                f"{directory.path} belongs to nothing",
                _remedy(directory),
                tuple(filter(None, (directory.why, directory.modified and f"last changed {directory.modified}"))),
                None if directory.kind == "nothing" else "info",
            )


def _remedy(directory: LayerDirectory) -> str:
    look = "hostinspect layers --orphans --size"
    if directory.snapshot is None:
        return f"{look}; then, with the engine stopped: rm -r {word(directory.path)}"
    namespace, _, key = directory.snapshot.partition("/")
    return f"{look}; then ctr --namespace {namespace} snapshots remove {word(key)}, with --address of its socket"


@check("container-directory-of-nothing", "warning", needs=(*RECORDS, "paths"))
def directory_of_nothing(patient: Patient) -> Checked:
    """A directory in containers/ has no record in it.

    What is left of a container whose removal was interrupted. The engine passes it by; logs in it may be large.
    """
    now = _now(patient)
    for bare in patient.health.bare_directories:
        if now - bare.modified >= _SETTLED:
            yield Found(
                "directory",
                bare.path,
                f"{bare.path} is the directory of no container",
                f"rm -r {word(bare.path)}",
                ("there is no config.v2.json in it",),
            )


def _now(patient: Patient) -> float:
    from datetime import datetime

    try:
        return datetime.fromisoformat(patient.facts.host.collected_at.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return time.time()


# --- space ------------------------------------------------------------------------------------------------------


@check("disk-nearly-full", "warning", needs=("engines", "space"), certain=True)
def disk_nearly_full(patient: Patient) -> Checked:
    """The file system under a data root is nearly full.

    Containers cannot write, images cannot be pulled, and the engine may not even record what it does: "no space left on
    device".
    """
    for space in patient.health.file_systems:
        used = space.size - space.free
        whole = used + space.available  # as df(1) counts: what is kept for root is not there
        if not whole:
            continue
        severity = _gravity(space.available / whole, space.available < 20 * _GB)
        if severity:
            yield Found(
                "file system",
                space.mount_point,
                f"{space.mount_point} is {100 * used / whole:.0f} % full: {_in_units(space.available)} are left",
                "hostinspect layers --size; docker system df; docker system prune",
                _where(space),
                severity,
            )


@check("inodes-nearly-used-up", "warning", needs=("engines", "space"), certain=True)
def inodes_nearly_used_up(patient: Patient) -> Checked:
    """The file system under a data root has hardly any inodes left.

    "No space left on device" though df(1) shows space: many small files, of layers or of one container.
    """
    for space in patient.health.file_systems:
        if not space.inodes:
            continue
        severity = _gravity(space.inodes_free / space.inodes, space.inodes_free < 1_000_000)
        if severity:
            yield Found(
                "file system",
                space.mount_point,
                f"{space.mount_point} has {space.inodes_free} inodes left of {space.inodes}",
                "du --inodes -xs /var/lib/docker/*; docker system prune",
                _where(space),
                severity,
            )


def _gravity(left: float, is_little: bool) -> Severity | None:
    """A large file system has room for much in its last tenth."""
    if not is_little or left >= 0.1:
        return None
    return "critical" if left < 0.01 else "error" if left < 0.05 else "warning"


def _where(space: FileSystemSpace) -> tuple[str, ...]:
    return (f"the data root {space.path} is on it: {space.fstype} of {space.source}",)


def _in_units(size: int) -> str:
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}"


@check("deleted-file-held", "warning", needs=("engines", "processes", "mounts", "open files"), certain=True)
def deleted_file_held(patient: Patient) -> Checked:
    """A process holds a large file open that was deleted.

    Its space is free only when the process closes it or ends: "df says full, du does not find it". A log that was
    deleted and not truncated, most often.
    """
    held: dict[int, list[HeldFile]] = defaultdict(list)
    for file in patient.health.held_files:
        held[file.pid].append(file)
    for pid, files in held.items():
        total = sum(file.allocated for file in files)
        if total < _NOTABLE:
            continue
        container = patient.places.name(patient.index.container_by_pid.get(pid))
        whose = f" in {container}" if container else ""
        files.sort(key=lambda file: -file.allocated)
        yield Found(
            "process",
            f"{files[0].comm} {pid}",
            f"{files[0].comm} ({pid}){whose} holds {_in_units(total)} of deleted files",
            f"ls -l /proc/{pid}/fd | grep deleted; then restart it",
            tuple(f"{file.path}: {_in_units(file.allocated)}" for file in files[:5]),
            None if total >= _LARGE else "info",
        )
