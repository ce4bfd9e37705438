"""Network namespaces: which there are, and going into one after the other (network_namespaces(7), setns(2)).

A namespace is known by the inode of its file in nsfs. It lives as long as a process is in it, something is mounted on
its file (`ip netns add`, Docker's sandboxes), or somebody holds it open; the first two are looked for here.

A path may be replaced, and a pid given to another, between being found and being used, and what is at a path may hang
whoever opens it (a FIFO) or act on it (a device). So a file is opened for nothing but its inode first (O_PATH), and
entered only when that is the namespace that was meant. An inode, too, is given to the next namespace as soon as one is
gone; it is the same one for certain where a process that was seen in it is in it still.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType

from msgspec import Struct, field

from hostinspect.facts import MountPoint, Process
from hostinspect.kernel import procfs, waiting
from hostinspect.kernel.filesystems import is_remote
from hostinspect.kernel.remote import RemoteError

CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703  # ioctl_nsfs(2), since Linux 4.11

DIRECTORIES = ("/run/docker/netns", "/var/run/docker/netns", "/run/netns", "/var/run/netns")

_LOOK, _READ = os.O_PATH | os.O_CLOEXEC, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_REFUSALS = 4  # by processes of a namespace, before its paths are tried
_ROOT = re.compile(r"net:\[(\d+)\]")


class LostError(RuntimeError):
    """The thread could not go back to the namespace it came from. Whatever it does next, it does elsewhere: stop."""


class VanishedError(FileNotFoundError):
    """The namespace is not where it was found any more."""


class Found(Struct):
    """A network namespace and the ways to it."""

    inode: int
    pids: list[int] = field(default_factory=list)  # processes in it, ascending
    starttimes: dict[int, int] = field(default_factory=dict)  # of these, clock ticks since boot
    paths: list[str] = field(default_factory=list)  # where it is mounted, as its mount namespace spells it
    ways: list[str] = field(default_factory=list)  # the same places, as we reach them
    barred: MountPoint | None = None  # a file system on the way to another of them, which may not answer


def find(
    processes: Iterable[Process],
    mounts: Iterable[MountPoint],
    host_mntns: int | None = None,
    proc: str = "/proc",
    directories: Iterable[str] = DIRECTORIES,
) -> dict[int, Found]:
    """All network namespaces with a process in them or a mount of them, by inode.

    `mounts` may be those of several mount namespaces. `paths` are those of the host's (`host_mntns`); those of another
    only where the host has none (the engine runs in a mount namespace of its own), since a container that has the
    host's /run repeats all of them. Namespaces in `directories` that no mount told of are added, which happens where
    mountinfo could not be read. What cannot be read there is left out.
    """
    namespaces: dict[int, Found] = {}
    way_into: dict[int | None, str] = {None: ""}  # by mount namespace: what to put in front of a path
    own_mntns = _inode(f"{proc}/thread-self/ns/mnt")
    if own_mntns is not None:
        way_into[own_mntns] = ""
    for process in processes:
        if process.netns is not None:
            found = namespaces.get(process.netns)
            if found is None:
                found = namespaces[process.netns] = Found(process.netns)
            found.pids.append(process.pid)
            found.starttimes[process.pid] = process.starttime
        if process.mntns is not None:
            way_into.setdefault(process.mntns, f"{proc}/{process.pid}/root")
    for found in namespaces.values():
        found.pids.sort()
    known = _add_mounts(namespaces, mounts, host_mntns, way_into)
    _add_directories(namespaces, directories, known, proc)
    return namespaces


def _add_mounts(
    namespaces: dict[int, Found],
    mounts: Iterable[MountPoint],
    host_mntns: int | None,
    way_into: Mapping[int | None, str],
) -> set[str]:
    """Add what nsfs mounts name; the paths of those in our own mount namespace."""
    known = set()
    elsewhere: dict[int, list[str]] = {}
    mounts = [*mounts]
    remote = [mount for mount in mounts if is_remote(mount.fstype)]
    for mount in mounts:
        if mount.fstype != "nsfs" or not (root := _ROOT.match(mount.root)):
            continue
        inode = int(root[1])
        found = namespaces.setdefault(inode, Found(inode))
        way = way_into.get(mount.mntns)
        bar = next((other for other in remote if other.mntns == mount.mntns and _is_beneath(mount, other)), None)
        if bar is not None:
            found.barred = bar
        elif way is not None and way + mount.mount_point not in found.ways:
            found.ways.append(way + mount.mount_point)
        if way == "":
            known.add(mount.mount_point)
        if host_mntns is None or mount.mntns in (None, host_mntns):
            if mount.mount_point not in found.paths:
                found.paths.append(mount.mount_point)
        else:
            elsewhere.setdefault(inode, []).append(mount.mount_point)
    for inode, paths in elsewhere.items():
        if not namespaces[inode].paths:
            namespaces[inode].paths = list(dict.fromkeys(paths))
    return known


def _is_beneath(mount: MountPoint, other: MountPoint) -> bool:
    return mount.mount_point.startswith(f"{other.mount_point.rstrip('/')}/")


def _add_directories(namespaces: dict[int, Found], directories: Iterable[str], known: set[str], proc: str) -> None:
    """Add the namespaces in `directories` whose paths are not `known`. A plain file there is none: its mount is gone,
    or in another mount namespace.
    """
    try:
        nsfs = os.stat(f"{proc}/thread-self/ns/net").st_dev
    except OSError:
        return
    seen = set()
    for directory in directories:
        try:
            waiting.on(directory, directory)
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) in seen:
                continue  # /var/run is a link to /run
            seen.add((status.st_dev, status.st_ino))
            for name in sorted(os.listdir(fd)):
                path = f"{directory}/{name}"
                if path in known:
                    continue
                with suppress(OSError):
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if status.st_dev == nsfs and _is_network(path, status.st_ino):
                        found = namespaces.setdefault(status.st_ino, Found(status.st_ino))
                        found.paths.append(path)
                        found.ways.append(path)
        finally:
            os.close(fd)


def _is_network(path: str, inode: int) -> bool:
    """Whether a file of nsfs is a network namespace; the file system says nothing of its kind but to this ioctl."""
    import fcntl  # seldom needed

    fds = os.open("/proc/thread-self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = _open_checked(path, None, inode, fds)
    finally:
        os.close(fds)
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError as error:
        if error.errno != errno.ENOTTY:
            raise
        return True  # an old kernel: entering it will tell
    finally:
        os.close(fd)


class Visitor:
    """Goes from one network namespace into another, and at the end always back. A context manager.

    Only the calling thread moves, and sockets made before stay where they are. Leaving raises LostError where the way
    back is barred, which no collector catches.

    Raises OSError when the own namespace cannot be opened (/proc is not mounted).
    """

    def __init__(self, proc: str = "/proc") -> None:
        self.proc = proc
        self._home = os.open(f"{proc}/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._fds = os.open(f"{proc}/thread-self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            os.close(self._home)
            raise
        status = os.fstat(self._home)
        self._nsfs = status.st_dev
        self.home = self.here = status.st_ino  # inodes of the namespace we came from, and are in

    def open(self, namespace: Found) -> int:
        """A descriptor of the namespace's file, read-only. Close it.

        While it is open, the inode is no other namespace's. Raises VanishedError when it is at none of its places any
        more, else OSError as the last of them answers.
        """
        return self.reach(namespace)[0]

    def reach(self, namespace: Found) -> tuple[int, bool]:
        """The same, and whether a process that was found in it is in it still, or none was found.

        Else what is at a path with that inode may be another namespace than the one that they were in.
        """
        if namespace.inode == self.home:
            return os.dup(self._home), True
        refused: OSError | None = None
        refusals = 0
        for pid in namespace.pids:
            try:
                fd = self._open_of(pid, namespace)
            except (FileNotFoundError, ProcessLookupError):
                continue
            except (OSError, ValueError) as error:
                refused = error if isinstance(error, OSError) else OSError(errno.EIO, str(error))
                refusals += 1
                if refusals == _REFUSALS:
                    break
                continue
            return fd, True
        same = bool(refused) or not namespace.pids
        for way in namespace.ways:
            try:
                return _open_checked(way, self._nsfs, namespace.inode, self._fds), same
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                refused = error
        if refused is None and namespace.barred:
            refused = RemoteError(namespace.barred, namespace.barred.mount_point)
        raise refused or VanishedError(errno.ENOENT, f"net:[{namespace.inode}] is gone")

    def _open_of(self, pid: int, namespace: Found) -> int:
        """The same, of the process `pid` of those found in it. Raises FileNotFoundError where it is not in it now."""
        waiting.on("ns/net", f"{self.proc}/{pid}/ns/net")
        # A link of the kernel's own: there is nothing at its end that could hang us.
        fd = os.open(f"{self.proc}/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # The start time after the namespace was opened: what was so before and is so now was so all the time.
            if os.fstat(fd).st_ino == namespace.inode:
                starttime = procfs.stat_of(pid, self.proc).starttime
                if starttime == namespace.starttimes.get(pid):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        raise VanishedError(errno.ENOENT, f"{pid} is another process now, or in another namespace")

    def paths_now(self, namespace: Found) -> list[str]:
        """Those of its paths that lead to a namespace with its inode now, or of which that cannot be told from here.

        Tables of mounts are read before, and not at one moment: an inode may be in one for a namespace that has gone
        since, and twice, for that and for one that came.
        """
        return [path for path in namespace.paths if _may_lead_to(namespace, path)]

    def enter(self, fd: int, inode: int) -> None:
        """Go into the namespace of `fd`, whose inode is `inode`.

        Raises OSError: EPERM without CAP_SYS_ADMIN here and in the user namespace that owns it; EINVAL when it is no
        network namespace.
        """
        if inode != self.here:
            if waiting.page is not None:
                waiting.on("setns", f"net:[{inode}] of setns(2)")
            setns(fd, CLONE_NEWNET)
            self.here = inode

    def leave(self) -> None:
        """Go back home. Raises LostError."""
        if self.here == self.home:
            return
        try:
            setns(self._home, CLONE_NEWNET)
        except OSError as error:
            raise LostError(f"no way back from net:[{self.here}] to net:[{self.home}]: {error}") from error
        self.here = self.home

    def __enter__(self) -> Visitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.leave()
        finally:
            os.close(self._fds)
            os.close(self._home)


def setns(fd: int, nstype: int) -> None:
    """setns(2) of the calling thread. Raises OSError."""
    global _setns
    if _setns is None:
        _setns = getattr(os, "setns", None) or _setns_of_libc()
    _setns(fd, nstype)


_setns: Callable[[int, int], None] | None = None


def _setns_of_libc() -> Callable[[int, int], None]:
    """setns(2) for Python before 3.12, which has no os.setns(). Raises OSError where it was built without ctypes."""
    try:
        from hostinspect.kernel import libc
    except ImportError as error:
        raise OSError(errno.ENOSYS, f"setns(2) needs Python 3.12 or ctypes: {error}") from None

    function = libc.function("setns")

    def call(fd: int, nstype: int) -> None:
        if function(fd, nstype):
            number = libc.get_errno()
            raise OSError(number, os.strerror(number))

    return call


def _open_checked(path: str, device: int | None, inode: int, fds: int) -> int:
    """Open `path` read-only where it is the file `inode` of `device`; raises VanishedError where it is another. `fds`
    is a descriptor of /proc/thread-self/fd, which takes four look-ups to find.
    """
    if waiting.page is not None:
        waiting.on(path, path)
    looked_at = os.open(path, _LOOK)
    try:
        status = os.fstat(looked_at)
        if status.st_ino != inode or (device is not None and status.st_dev != device):
            raise VanishedError(errno.ENOENT, f"{path} is not net:[{inode}] any more")
        # O_NONBLOCK for the case that a file system was given the very device number of nsfs, which cannot be.
        return os.open(str(looked_at), _READ, dir_fd=fds)
    finally:
        os.close(looked_at)


def _may_lead_to(namespace: Found, path: str) -> bool:
    ways = [way for way in namespace.ways if way.endswith(path)]
    for way in ways:
        try:
            waiting.on(way, way)
            if os.stat(way).st_ino == namespace.inode:
                return True
        except PermissionError:
            return True
        except OSError:
            continue
    return not ways


def _inode(path: str) -> int | None:
    with suppress(OSError):
        return os.stat(path).st_ino
    return None
