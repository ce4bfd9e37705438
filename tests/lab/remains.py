"""Where the pieces of a lab host lie on the machine, and how they are removed.

`python remains.py NAME` removes what is left of one whose processes have ended. The process that watches over a host
does so when the host ends, whatever ended it; so this file needs nothing but the standard library.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

DISK = Path(os.environ.get("HOSTINSPECT_LAB_DISK", "/var/tmp/hostinspect-lab"))
"""NAME/ of each host: its files, its description, and the lock that its processes hold, all in one place: whoever sees
the files sees the lock too, from another mount namespace as well. Must be able to be the upper layer of an overlay."""

CGROUP = "hostinspect-lab"
"""NAME/ of each host, in every hierarchy."""


@dataclass(frozen=True)
class Hierarchy:
    """A mounted cgroup hierarchy."""

    folder: Path
    controllers: str  # as /proc/self/cgroup names them: "cpu,cpuacct", "name=systemd"; "" is cgroup v2

    @property
    def mount(self) -> str:
        """Type, options and folder: how it is mounted again in another cgroup namespace (cgroups(7))."""
        if not self.controllers:
            return f"cgroup2 rw {self.folder}"
        named = "none," if self.controllers.startswith("name=") else ""
        return f"cgroup {named}{self.controllers} {self.folder}"


def hierarchies() -> list[Hierarchy]:
    """The hierarchies of /proc/self/cgroup that are mounted, by /proc/self/mountinfo; v1 before v2."""
    mounted: dict[frozenset[str], Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ")
        fstype, _, options = after.split(" ", 2)
        # Not a hierarchy's part, mounted alone somewhere.
        folder = Path(before.split()[4])
        if fstype == "cgroup2":
            mounted.setdefault(frozenset(), folder)
        elif fstype == "cgroup":
            mounted.setdefault(frozenset(options.split(",")), folder)
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        controllers = line.split(":", 2)[1]
        wanted = frozenset(controllers.split(",")) if controllers else frozenset()
        for options_, folder in mounted.items():
            if wanted <= options_ and bool(wanted) == bool(options_):
                found.append(Hierarchy(folder, controllers))
                break
    return sorted(found, key=lambda hierarchy: not hierarchy.controllers)


def make_cgroups(name: str) -> list[Path]:
    """A cgroup for the host in every hierarchy, with the controllers that there are."""
    made = []
    for hierarchy in hierarchies():
        folder = hierarchy.folder / CGROUP / name
        folder.mkdir(parents=True)
        if "cpuset" in hierarchy.controllers:
            # Empty in a new cgroup of v1, and no process can then be moved there.
            for path in (folder.parent, folder):
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (path / file).write_text((path.parent / file).read_text())
        elif not hierarchy.controllers:
            # The machine's root cgroup is left as it is: what it does not hand on, the host does without.
            for controller in (folder.parent / "cgroup.controllers").read_text().split():
                (folder.parent / "cgroup.subtree_control").write_text(f"+{controller}")
        made.append(folder)
    return made


def cgroups_to_join(name: str) -> list[Path]:
    """The host's cgroup in every hierarchy, as a process can be moved into it.

    Where there is v2 alone, the cgroup itself hands its controllers on and takes no processes; init.sh has made lab/.
    """
    return [cgroup / "lab" if (cgroup / "lab").is_dir() else cgroup for cgroup in _cgroups(name)]


def thaw(name: str) -> None:
    """Let paused containers go on: in the freezer of cgroup v1, a process does not even die."""
    for hierarchy in hierarchies():
        if hierarchy.controllers == "freezer":
            for folder, _, _ in os.walk(hierarchy.folder / CGROUP / name):  # which passes over what goes meanwhile
                with suppress(OSError):
                    Path(folder, "freezer.state").write_text("THAWED")


def remove(name: str) -> None:
    """Remove the cgroups and files of a host without processes; pieces that are not there are passed over.

    Raises OSError where something is in the way.
    """
    for cgroup in _cgroups(name):
        _remove_cgroup(cgroup)
    with registry():
        _remove_folder(DISK / name)  # last: as long as there is something, gc() finds it by this
        for hierarchy in hierarchies():
            _remove_if_empty(hierarchy.folder / CGROUP)
        _remove_if_empty(DISK)


def _remove_cgroup(folder: Path, patience: float = 10) -> None:
    deadline = time.monotonic() + patience
    while folder.exists():
        try:
            for path, _, _ in os.walk(folder, topdown=False):
                Path(path).rmdir()
        except FileNotFoundError:
            continue
        except OSError:  # a process that has ended leaves its cgroup a moment later
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _remove_folder(folder: Path) -> None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mounted = Path(line.split()[4])
        if folder == mounted or folder in mounted.parents:
            raise OSError(f"{mounted} is mounted on this machine: umount it, then `python -m tests.lab gc`")
    if folder.exists():
        shutil.rmtree(folder)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


@contextmanager
def registry() -> Iterator[None]:
    """DISK, locked: nobody else adds or removes a host meanwhile. It is made where there is none."""
    while True:
        DISK.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(DISK, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:  # 0: the one who held it before has removed it
                yield
                return
        finally:
            os.close(lock)


def taken(name: str) -> bool:
    """Whether there is anything of a host of that name, alive or not, ours or somebody's who shares our cgroups."""
    return any(folder.exists() for folder in (DISK / name, *_cgroups(name)))


def alive(name: str) -> bool:
    """Whether a process of the host, or the one that watches over it, lives.

    They hold the lock on its folder; that its cgroups hold a process is proof enough too.
    """
    try:
        lock = os.open(DISK / name, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return any(processes.read_text() for cgroup in _cgroups(name) for processes in cgroup.rglob("cgroup.procs"))


def _cgroups(name: str) -> list[Path]:
    return [hierarchy.folder / CGROUP / name for hierarchy in hierarchies()]


def names() -> list[str]:
    """Every host of which there are files, alive or not.

    Cgroups do not count: their filesystem may be shared with somebody whose files, and locks, we do not see.
    """
    return sorted(path.name for path in DISK.iterdir() if path.is_dir()) if DISK.is_dir() else []


def dead() -> list[str]:
    """The hosts of which there are files, but no process."""
    if not names():
        return []
    with registry():
        return [name for name in names() if not alive(name)]


def gc() -> list[str]:
    """Remove what is left of the dead; returns their names. Raises OSError as `remove()` does."""
    found = dead()
    for name in found:
        remove(name)
    return found


if __name__ == "__main__":
    remove(sys.argv[1])
