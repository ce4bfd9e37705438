"""What `doctor` alone asks for: space on disk, named paths, files without a name, sockets, a daemon's settings.

Nothing here waits for a server: a path is walked name by name, and before each step the mounts tell what file system it
is on. No file of a container is opened, and no link is followed but by its text.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from hostinspect.collectors.engines import DEFAULT_CONFIG_FILE
from hostinspect.collectors.gaps import PERMISSION, GapLog
from hostinspect.engines.docker.naming import is_id
from hostinspect.engines.docker.record import RecordError, decode
from hostinspect.facts import (
    BareDirectory,
    ContainerRecord,
    DaemonSettings,
    Engine,
    Facts,
    FileSystemSpace,
    Health,
    HeldFile,
    MountPoint,
    PathState,
    Process,
    StuckProcess,
    Sysctl,
    UnixSocketFile,
    VolumeRecord,
)
from hostinspect.kernel import procfs, waiting
from hostinspect.kernel.files import Directory
from hostinspect.kernel.filesystems import is_remote
from hostinspect.kernel.mountinfo import mountinfo
from hostinspect.kernel.remote import RemoteError, mount_of, not_touched, refuse_remote, walk
from hostinspect.kernel.rooted import directory_in, mode_in
from hostinspect.kernel.text import text

# Families of gaps, beside those of the other collectors.
SPACE = "space"
PATHS = "paths"
HELD_FILES = "open files"
OTHER_MOUNTS = "other mounts"
SOCKETS = "socket files"
SETTINGS = "settings"
STUCK = "stuck processes"

OF_A_RUNNING_HOST = (SPACE, HELD_FILES, OTHER_MOUNTS, SOCKETS, SETTINGS, STUCK)  # a disk tells nothing of these

SOCKET = "/run/docker.sock"  # /var/run is /run wherever dockerd runs today

_MAX_PATHS = 10_000
_MAX_FILES = 100_000  # descriptors looked at, of all processes
_MAX_GROUP_FILE = 1 << 20  # bytes
_MAX_CONFIG = 1 << 20
_MAX_INTERFACES = 2_000
_TWO_LOOKS = 0.5  # seconds between them at a process in state D
_DELETED = " (deleted)"
_MOUNT_ID = re.compile(rb"^mnt_id:\s*(\d+)$", re.M)
_SWITCHES = re.compile(rb"ctxt_switches:\s*(\d+)")


def collect_health(facts: Facts, gaps: GapLog, proc: str = "/proc") -> Health:
    """All of it, for a host whose other facts are known. What could not be read is a gap of the families above."""
    collector = _Collector(facts, gaps, proc)
    try:
        collector.fd = procfs.open_proc(proc)
    except OSError as error:
        for family in (SPACE, PATHS, HELD_FILES, OTHER_MOUNTS, STUCK):
            gaps.add(family, proc, error)
        return Health(sockets=tuple(_sockets(gaps)), settings=tuple(_settings(facts, gaps)))
    try:
        return collector.run()
    finally:
        os.close(collector.fd)


def collect_health_of_disk(facts: Facts, gaps: GapLog) -> Health:
    """What of it the disk at `facts.host.root` tells: what stands at the paths that records name."""
    root = facts.host.root or ""
    return Health(paths=tuple(_paths_of_disk(facts, gaps, root)), bare_directories=tuple(_bare(facts, gaps, root)))


def _paths_of_disk(facts: Facts, gaps: GapLog, root: str) -> Iterator[PathState]:
    """As `_Collector._paths`; what is not there may be on another disk, unless it is the engine's own."""
    wanted = [*dict.fromkeys(_named_paths(facts.containers, facts.volumes))]
    if len(wanted) > _MAX_PATHS:
        gaps.add(PATHS, "paths that records name", f"{len(wanted)}, the first {_MAX_PATHS} are looked at")
    homes = tuple(f"{engine.data_root}/" for engine in facts.engines)
    for path in wanted[:_MAX_PATHS]:
        try:
            mode = mode_in(root, path)
        except OSError as error:
            gaps.add(PATHS, path, error)
            continue
        if mode or path.startswith(homes):
            yield PathState(path=path, kind=_KINDS.get(stat.S_IFMT(mode), "other") if mode else "missing")
        else:
            gaps.add(
                PATHS,
                path,
                "it is not on this disk, and may have been on another",
                "mount that at its place beneath, too",
                minor=True,
            )


def _bare(facts: Facts, gaps: GapLog, root: str = "", mounts: Sequence[MountPoint] = ()) -> Iterator[BareDirectory]:
    """Directories of containers/ without a config.v2.json."""
    known = {record.id for record in facts.containers}
    for data_root in (engine.data_root for engine in facts.engines):
        try:
            refuse_remote(data_root, mounts)
            with directory_in(root, data_root) as files:
                for name in files.listdir("containers"):
                    if not is_id(name) or name in known or files.exists(f"containers/{name}/config.v2.json"):
                        continue
                    try:
                        modified = int(files.lstat(f"containers/{name}").st_mtime)
                    except FileNotFoundError:
                        continue
                    yield BareDirectory(path=f"{data_root}/containers/{name}", modified=modified)
        except RemoteError:
            continue  # a gap of whoever reads its records
        except OSError as error:
            gaps.add("containers", f"{data_root}/containers", error)


class InterfaceSysctls:
    """A reader for `hostinspect.collectors.network`: forwarding and rp_filter of each interface of the host."""

    def __init__(self, host_netns: int | None, gaps: GapLog, proc: str = "/proc") -> None:
        self._host_netns, self._gaps, self._proc = host_netns, gaps, proc
        self.sysctls: list[Sysctl] = []

    def __call__(self, netns: int) -> None:
        """Read them in the namespace that this thread is in, if it is the host's."""
        if netns != self._host_netns:
            return
        conf = Path(self._proc, "sys/net/ipv4/conf")
        interfaces = sorted(path.name for path in conf.iterdir() if path.name not in ("all", "default"))
        if len(interfaces) > _MAX_INTERFACES:
            self._gaps.add(
                "sysctls",
                f"{conf}/*",
                f"{len(interfaces)} interfaces, the first {_MAX_INTERFACES} are read",
                minor=True,
            )
        for interface in interfaces[:_MAX_INTERFACES]:
            for name in ("forwarding", "rp_filter"):
                try:
                    value = text((conf / interface / name).read_bytes().strip())
                except FileNotFoundError:
                    continue  # it is gone meanwhile
                except OSError as error:
                    self._gaps.add("sysctls", f"{conf}/{interface}/{name}", error)
                    return
                # sysctl(8) writes a dot in an interface's name as a slash.
                spelled = text(os.fsencode(interface)).replace(".", "/")
                self.sysctls.append(Sysctl(name=f"net.ipv4.conf.{spelled}.{name}", value=value))


class _Collector:
    def __init__(self, facts: Facts, gaps: GapLog, proc: str) -> None:
        self.facts, self.gaps, self.proc = facts, gaps, proc
        self.fd = -1
        self.host_mounts = [mount for mount in facts.mounts if mount.mntns == facts.host.mntns]
        self.data_roots = [engine.data_root for engine in facts.engines]

    def run(self) -> Health:
        is_home = self._is_at_home()
        bare = tuple(_bare(self.facts, self.gaps, mounts=self.host_mounts))
        stuck = self._stuck()
        return Health(
            file_systems=tuple(self._file_systems()) if is_home else (),
            paths=tuple(self._paths()) if is_home else (),
            held_files=tuple(self._held_files()),
            other_mounts=tuple(self._other_mounts()),
            sockets=tuple(_sockets(self.gaps)),
            settings=tuple(_settings(self.facts, self.gaps)),
            stuck=stuck,
            bare_directories=bare,
        )

    def _is_at_home(self) -> bool:
        """Whether we see the host's files: else a path would be another one, on a file system that is not known."""
        why: str | OSError = "hostinspect is in another mount namespace than the host"
        try:
            process = os.open("self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
            try:
                if self.facts.host.mntns in (None, procfs.namespace(process, "mnt")):
                    return True
            finally:
                os.close(process)
        except OSError as error:
            why = error
        for family in (SPACE, PATHS):
            self.gaps.add(family, "paths of the host", why, "enter it too: nsenter -t 1 -m")
        return False

    # --- the disk ---

    def _file_systems(self) -> Iterator[FileSystemSpace]:
        for data_root in self.data_roots:
            mount = mount_of(data_root, self.host_mounts)
            if mount is None:
                self.gaps.add(SPACE, data_root, "no mount is known that it is on", PERMISSION)
                continue
            if is_remote(mount.fstype):
                self.gaps.add(SPACE, data_root, not_touched(mount), f"df {data_root}, if the server answers")
                continue
            try:
                with Directory(data_root) as root:
                    waiting.on("statvfs", data_root)
                    found = os.fstatvfs(root.fd)
            except OSError as error:
                self.gaps.add(SPACE, data_root, error)
                continue
            yield FileSystemSpace(
                path=data_root,
                mount_point=mount.mount_point,
                fstype=mount.fstype,
                source=mount.source,
                size=found.f_blocks * found.f_frsize,
                free=found.f_bfree * found.f_frsize,
                available=found.f_bavail * found.f_frsize,
                inodes=found.f_files,
                inodes_free=found.f_ffree,
            )

    def _paths(self) -> Iterator[PathState]:
        wanted = [*dict.fromkeys(_named_paths(self.facts.containers, self.facts.volumes))]
        if len(wanted) > _MAX_PATHS:
            self.gaps.add(PATHS, "paths that records name", f"{len(wanted)}, the first {_MAX_PATHS} are looked at")
        for path in wanted[:_MAX_PATHS]:
            try:
                _, mode = walk(path, self.host_mounts)
            except RemoteError as error:
                self.gaps.add(PATHS, path, not_touched(error.mount), f"ls -d {path}, if it answers", minor=True)
                continue
            except (OSError, ValueError) as error:
                self.gaps.add(PATHS, path, error if isinstance(error, OSError) else str(error))
                continue
            yield PathState(path=path, kind=_KINDS.get(stat.S_IFMT(mode), "other") if mode else "missing")

    # --- processes ---

    def _held_files(self) -> Iterator[HeldFile]:
        """Files on a data root's file system, or in a container's root, that have no name any more."""
        devices = self._devices()
        looked_at = refused = 0
        for process in self.facts.processes:
            mounts = self._mounts_by_id.get(process.mntns or 0)
            if mounts is None:
                continue
            try:
                held, seen = self._held_by(process, mounts, devices)
            except procfs.GONE:
                continue
            except PermissionError:
                refused += 1
                continue
            except OSError as error:
                self.gaps.add(HELD_FILES, f"{self.proc}/{process.pid}/fd", error)
                continue
            yield from held
            looked_at += seen
            if looked_at > _MAX_FILES:
                self.gaps.add(HELD_FILES, "open files", f"more than {_MAX_FILES}: not all were looked at")
                return
        if refused:
            self.gaps.add(HELD_FILES, f"open files of {refused} processes", "Permission denied", PERMISSION)

    @property
    def _mounts_by_id(self) -> dict[int, dict[int, MountPoint]]:
        if not hasattr(self, "_by_id"):
            self._by_id: dict[int, dict[int, MountPoint]] = {}
            for mount in self.facts.mounts:
                self._by_id.setdefault(mount.mntns or 0, {})[mount.mount_id] = mount
        return self._by_id

    def _devices(self) -> set[str]:
        """Of the data roots' file systems, and of the overlays that are made on them."""
        on = [mount_of(root, self.host_mounts) for root in self.data_roots]
        devices = {mount.device for mount in on if mount is not None and not is_remote(mount.fstype)}
        uppers = tuple(f"{root}/" for root in self.data_roots)
        devices |= {m.device for m in self.facts.mounts if m.upperdir and m.upperdir.startswith(uppers)}
        return devices

    def _held_by(
        self, process: Process, mounts: dict[int, MountPoint], devices: set[str]
    ) -> tuple[list[HeldFile], int]:
        found: dict[int, HeldFile] = {}
        waiting.on("fd", f"{self.proc}/{process.pid}/fd")
        directory = os.open(f"{process.pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            names = os.listdir(directory)
            for name in names:
                try:
                    path = os.readlink(name, dir_fd=directory)
                    if path[:1] != "/" or not path.endswith(_DELETED):
                        continue
                    mount = mounts.get(self._mount_id(process.pid, name))
                    if mount is None or mount.device not in devices:
                        continue
                    status = os.stat(name, dir_fd=directory)  # through /proc: the open file itself, no path
                except procfs.GONE:
                    continue  # closed meanwhile
                if stat.S_ISREG(status.st_mode) and not status.st_nlink:
                    found[status.st_ino] = HeldFile(
                        pid=process.pid,
                        comm=process.comm,
                        path=text(os.fsencode(path.removesuffix(_DELETED))),
                        device=mount.device,
                        inode=status.st_ino,
                        allocated=status.st_blocks * 512,
                    )
        finally:
            os.close(directory)
        return [*found.values()], len(names)

    def _mount_id(self, pid: int, name: str) -> int:
        """The mount that an open file was reached by: mnt_id of /proc/PID/fdinfo/FD."""
        process = procfs.open_process(self.fd, pid)
        try:
            found = _MOUNT_ID.search(procfs.read(f"fdinfo/{name}", process))
        finally:
            os.close(process)
        return int(found[1]) if found else -1

    def _stuck(self) -> tuple[StuckProcess, ...]:
        """Main processes of containers, and daemons, in state D that do not leave it between two looks.

        The freezer of cgroup v1 (`docker pause`) puts processes into that state too.
        """
        asked = {*(r.pid for r in self.facts.containers), *(engine.pid for engine in self.facts.engines)}
        frozen = {cgroup.path for cgroup in self.facts.frozen_cgroups}
        uninterruptible = [
            p for p in self.facts.processes if p.state == "D" and p.pid in asked and frozen.isdisjoint(p.cgroups)
        ]
        first = {process.pid: look for process in uninterruptible if (look := self._look(process.pid))}
        if not first:
            return ()
        waiting.rest()
        time.sleep(_TWO_LOOKS)
        found = []
        for pid, before in first.items():
            after = self._look(pid)
            if after is not None and after[:2] == before[:2] and before[0] == "D":
                found.append(StuckProcess(pid=pid, wchan=after[2]))
        return tuple(found)

    def _look(self, pid: int) -> tuple[str, tuple[bytes, ...], str | None] | None:
        """State, context switches and wchan of a process now; None of one that is gone."""
        try:
            process = procfs.open_process(self.fd, pid)
        except OSError:
            return None
        try:
            state = procfs.stat(process).state
            switches = tuple(_SWITCHES.findall(procfs.read("status", process)))
            try:
                wchan = text(procfs.read("wchan", process))
            except OSError:
                wchan = ""
            return state, switches, wchan if wchan not in ("", "0") else None
        except procfs.GONE:
            return None
        except (OSError, ValueError) as error:
            self.gaps.add(STUCK, f"{self.proc}/{pid}", error if isinstance(error, OSError) else str(error))
            return None
        finally:
            os.close(process)

    def _other_mounts(self) -> Iterator[MountPoint]:
        """Overlays beneath the data roots that are mounted where neither the host nor a container looks."""
        known = {mount.mntns for mount in self.facts.mounts}
        members: dict[int, list[int]] = {}
        for process in self.facts.processes:
            if process.mntns is not None and process.mntns not in known:
                members.setdefault(process.mntns, []).append(process.pid)
        roots = tuple(f"{root}/" for root in self.data_roots)
        refused = 0
        for mntns, pids in members.items():
            try:
                mounts = self._mounts_of(mntns, pids)
            except PermissionError:
                refused += 1
                continue
            except (OSError, ValueError) as error:
                subject = f"{self.proc}/{pids[0]}/mountinfo"
                self.gaps.add(OTHER_MOUNTS, subject, error if isinstance(error, OSError) else str(error))
                continue
            yield from (mount for mount in mounts if mount.upperdir and mount.upperdir.startswith(roots))
        if refused:
            subject = f"mountinfo of {refused} mount namespaces"
            self.gaps.add(OTHER_MOUNTS, subject, "Permission denied", PERMISSION)

    def _mounts_of(self, mntns: int, pids: Iterable[int]) -> list[MountPoint]:
        """What is mounted in a namespace, as one of `pids` sees it; nothing where all of them are gone."""
        for pid in pids:
            try:
                process = procfs.open_process(self.fd, pid)
            except procfs.GONE:
                continue
            try:
                if procfs.namespace(process, "mnt") == mntns:
                    return mountinfo(process, mntns)
            except procfs.GONE:
                continue
            finally:
                os.close(process)
        return []


# --- paths ------------------------------------------------------------------------------------------------------

_KINDS: dict[int, Literal["directory", "file", "socket"]] = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFSOCK: "socket",
}


def _named_paths(containers: Iterable[ContainerRecord], volumes: Iterable[VolumeRecord]) -> Iterator[str]:
    """Sources of bind mounts, mountpoints of local volumes, and the devices of those that are bind mounts."""
    for container in containers:
        for mount in container.mounts:
            if mount.type == "bind" and mount.source and mount.source.startswith("/"):
                yield mount.source
    for volume in volumes:
        if volume.driver == "local" and volume.mountpoint:
            yield volume.mountpoint
        options = dict(volume.options)
        device = options.get("device", "")
        if device.startswith("/") and "bind" in options.get("o", "").split(","):
            yield device


# --- the daemon's door ------------------------------------------------------------------------------------------


def _sockets(gaps: GapLog) -> Iterator[UnixSocketFile]:
    """The engine's socket, where it is usually."""
    try:
        status = os.lstat(SOCKET)
    except FileNotFoundError:
        return
    except OSError as error:
        gaps.add(SOCKETS, SOCKET, error)
        return
    if not stat.S_ISSOCK(status.st_mode):
        return
    try:
        group, members = _group(status.st_gid)
    except (OSError, ValueError) as error:
        gaps.add(SOCKETS, "/etc/group, /etc/passwd", error if isinstance(error, OSError) else str(error))
        group, members = None, ()
    yield UnixSocketFile(
        path=SOCKET,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        group=group,
        members=members,
    )


def _group(gid: int) -> tuple[str | None, tuple[str, ...]]:
    """The name of a group and who is in it: group(5), passwd(5). Others' directories (LDAP) are not asked."""
    with Directory("/etc") as etc:
        groups = text(etc.read("group", _MAX_GROUP_FILE)).splitlines()
        users = text(etc.read("passwd", _MAX_GROUP_FILE)).splitlines()
    number = str(gid)
    name, members = None, set()
    for fields in (line.split(":") for line in groups):
        if len(fields) == 4 and fields[2] == number:
            name = name or fields[0]
            members |= {*filter(None, fields[3].split(","))}
    for fields in (line.split(":") for line in users):
        if len(fields) >= 4 and fields[3] == number:
            members.add(fields[0])
    return name, tuple(sorted(members))


class _DaemonFile(Struct):
    """What of daemon.json is asked for (dockerd(8), --config-file)."""

    hosts: list[str] = []
    tlsverify: bool = False
    iptables: bool = True
    ip6tables: bool | None = None


_decoder = msgspec.json.Decoder(_DaemonFile)


def _settings(facts: Facts, gaps: GapLog) -> Iterator[DaemonSettings]:
    processes = {process.pid: process for process in facts.processes}
    for engine in facts.engines:
        process = processes.get(engine.pid or 0)
        if process is not None:
            yield _settings_of(engine, process.cmdline or (), gaps)


def _settings_of(engine: Engine, cmdline: Sequence[str], gaps: GapLog) -> DaemonSettings:
    given = _Given.of(cmdline)
    config = given.last("config-file") or DEFAULT_CONFIG_FILE
    directory, _, name = config.rpartition("/")
    file = _DaemonFile()
    try:
        with Directory(directory or "/") as files:
            file = decode(_decoder, files.read(name, _MAX_CONFIG))
    except FileNotFoundError:
        pass
    except (OSError, RecordError) as error:
        gaps.add(SETTINGS, config, error if isinstance(error, OSError) else str(error))
    ip6tables = given.flag("ip6tables")
    return DaemonSettings(
        data_root=engine.data_root,
        hosts=(*given.values.get("host", ()), *file.hosts),
        tlsverify=bool(given.flag("tlsverify")) or file.tlsverify,
        iptables=given.flag("iptables") is not False and file.iptables,
        ip6tables=file.ip6tables if ip6tables is None else ip6tables,
    )


class _Given(NamedTuple):
    """dockerd's options on its command line, by long name."""

    values: dict[str, list[str]]

    @classmethod
    def of(cls, cmdline: Sequence[str]) -> _Given:
        """Options with a value (`-H unix://…`, `--host=…`) and flags (`--tlsverify`, `--iptables=false`)."""
        values: dict[str, list[str]] = {}
        words = iter(cmdline[1:])
        for word in words:
            option, is_joined, value = word.partition("=")
            name = {"-H": "--host"}.get(option, option)
            if name in ("--host", "--config-file"):
                values.setdefault(name[2:], []).append(value if is_joined else next(words, ""))
            elif word.startswith("-H"):
                values.setdefault("host", []).append(word[2:])
            elif name in ("--tlsverify", "--iptables", "--ip6tables"):
                values.setdefault(name[2:], []).append(value if is_joined else "true")
        return cls(values)

    def last(self, name: str) -> str | None:
        return self.values[name][-1] if name in self.values else None

    def flag(self, name: str) -> bool | None:
        """Go's strconv.ParseBool, of a flag that was given."""
        value = self.last(name)
        return None if value is None else value.lower() in ("1", "t", "true")
