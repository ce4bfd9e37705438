"""What a container has changed of its image, from the directories of its layers alone, in `docker diff`'s terms.

A is there and was not in the image, D was and is not, C is there in another state; a directory is C too when something
in it has changed. Of what is added each entry is told, of what is deleted only the topmost. The image is what is below
the topmost layer, the engine's init layer with its /etc/hosts and /dev/console included.

State is what `docker diff` compares: mode, owner, device number, and of all but directories size and time of
modification (whole seconds where one of the two has no fraction: image archives may not keep it). Where these are the
same, `docker diff` says that nothing has changed. Here extended attributes and, of files, contents are compared too,
and the root directory itself is looked at.

Speed: nothing is looked up below that cannot be there, and where only the topmost layer counts only that is listed.
What is added is told a directory at a time; and as text, since a record for each of a hundred thousand changes would be
a third of the time.
"""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from posixpath import dirname
from typing import Any, Literal, cast

from msgspec import Struct

from hostinspect.collectors.gaps import PERMISSION, GapLog
from hostinspect.collectors.mounts import collect_own_mounts
from hostinspect.facts import Change, Gap
from hostinspect.kernel.overlayfs import (
    DIRECTORY,
    TRUSTED,
    USER,
    WHITEOUT,
    Found,
    Overlay,
    Part,
    close,
    get_xattr,
    path_of,
    sees_trusted,
    xattr_names,
)
from hostinspect.kernel.remote import RemoteError, refuse_remote
from hostinspect.kernel.rooted import directory_in
from hostinspect.kernel.text import text

Kind = Literal["A", "C", "D"]

COLLECTOR = "changes"
MAX_PATH = 16 << 10  # characters, four times the longest path that a program can use
MAX_KEPT = 512 << 20  # bytes, about, of changes
MAX_COMPARED = 256 << 20  # bytes of files that look unchanged
MAX_GAPS = 100  # told one by one

_WORTH_LISTING = 64  # names in a directory, from which on listing the layers below is less work than asking for each
_CHUNK = 1 << 17
_OVERHEAD = 150  # bytes of a change besides its path
_SECOND = 1_000_000_000  # ns

# The engine's and the kernel's own doing at every copy: labels, and signatures that hold the inode number.
_NOT_THE_CONTAINERS = {"security.selinux", "security.ima", "security.evm"}


class Changes(Struct, frozen=True):
    """What has changed, sorted, a directory before what is in it; and what could not be seen."""

    lines: bytes | None  # "A /path", the path as it is, each ended by a NUL; None where it could not be read
    gaps: tuple[Gap, ...]

    @property
    def changes(self) -> tuple[Change, ...] | None:
        """The same, a record each."""
        return None if self.lines is None else tuple(map(_change, self.lines.split(b"\0")[:-1]))


def collect_changes(
    upper: str, lower: Sequence[str], work: str | None, *, userxattr: bool | None = None, root: str = ""
) -> Changes:
    """The changes in `upper` over the `lower` directories, topmost first; of a disk's, beneath `root`.

    Whether xattrs are called user.overlay.* is `userxattr`. For a container that is not mounted the owner of the file
    `link` beside `upper` tells, which overlay2 writes and leaves to itself: somebody but root is a rootless engine. All
    else there is given to the root of the container, which with userns-remap is another one under root's engine too.
    """
    gaps = GapLog()
    # A disk, which somebody mounted to be looked at, is.
    mounts = () if root else collect_own_mounts(COLLECTOR, gaps)
    if mounts is None:
        return Changes(None, gaps.as_tuple())
    try:
        for path in filter(None, (upper, *lower, work)):
            refuse_remote(path, mounts)
    except RemoteError as error:
        gaps.add(COLLECTOR, upper, error, "docker diff it, if it answers")
        return Changes(None, gaps.as_tuple())
    if userxattr is None:
        userxattr = _is_of_user(dirname(upper), root)
    if not userxattr and not sees_trusted():
        gaps.add(
            COLLECTOR, upper, "overlayfs shows its marks of hidden and renamed directories to root only", PERMISSION
        )
    if work and _is_indexed(work, root):
        gaps.add(
            COLLECTOR,
            upper,
            "it was mounted with index=on, and what changed under another name of a hard link is only in its index",
            "look at those files themselves",
        )
    try:
        overlay = Overlay((upper, *lower), USER if userxattr else TRUSTED, root)
    except OSError as error:
        gaps.add(COLLECTOR, error.filename or upper, error)
        return Changes(None, gaps.as_tuple())
    _allow_descriptors()
    with overlay:
        return Changes(_Comparison(overlay, upper, gaps).run(), gaps.as_tuple())


def _allow_descriptors() -> None:
    """Every directory down to the one that is being read is open: as many as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _is_of_user(layer: str, root: str) -> bool:
    with suppress(OSError), directory_in(root, layer) as directory:
        # containerd keeps no such file, and its snapshots' directories for itself.
        return directory.lstat("" if directory.is_dir("fs") else "link").st_uid != 0
    return False


def _is_indexed(work: str, root: str) -> bool:
    """Whether hard links have been copied up under `index=on`: the kernel keeps an entry for each in work/index."""
    with suppress(OSError), directory_in(root, work) as directory:
        return bool(directory.listdir("index"))
    return False


class _Comparison:
    """One overlay with its topmost layer, against it without."""

    def __init__(self, overlay: Overlay, upper: str, gaps: GapLog) -> None:
        self._overlay, self._upper, self._gaps = overlay, upper, gaps
        self._lines: list[str] = []  # one or many in each; "": a directory of which is not known yet whether it has any
        self._kept = 0  # bytes
        self._compared = 0  # bytes
        self._not_compared = 0  # files
        self._not_told = 0  # gaps

    def run(self) -> bytes:
        new, old = self._overlay.root, self._overlay.root[1:]
        if old and not _is_same_directory(new[0], old[0], self._overlay.prefix):
            self._add("C", "/")
        # Directories may be nested deeper than Python calls, so each is a generator of those to go down to.
        open_directories = [self._directory("", [*new], old, is_told=True)]
        while open_directories:
            beneath = next(open_directories[-1], None)
            if beneath is None:
                open_directories.pop()
            else:
                open_directories.append(beneath)
        if self._not_told:
            self._gap("", f"{self._not_told} more files or directories could not be read")
        if self._not_compared:
            self._gap(
                "",
                f"{self._not_compared} files of the same size and time as the image's were not read to compare them",
                "compare them yourself, if somebody may have set their times back",
                minor=True,
            )
        return os.fsencode("".join(self._lines))

    def _directory(self, path: str, new: list[Part], old: list[Part], *, is_told: bool) -> Iterator[Iterator[Any]]:
        """Tell the changes in one directory; yields one such for each directory in it. Closes `new` and `old`.

        It is C itself if there are any, where that is not told yet.
        """
        lines = self._lines
        position = len(lines)
        if not is_told:
            lines.append("")
        try:
            yield from self._different(path, new, old) if old or len(new) > 1 else self._added(path, new)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._gap(path, error)
        finally:
            if path:
                close([*new, *old])
            if not is_told:
                if len(lines) == position + 1:
                    lines.pop()
                else:
                    lines[position] = f"C {path}\0"

    def _different(self, path: str, new: list[Part], old: list[Part]) -> Iterator[Iterator[Any]]:
        """What is in a directory, beside what was."""
        overlay = self._overlay
        only_top = new[1:] == old  # the rest is the same on both sides
        found = overlay.names(new[:1] if only_top else new)
        listed = overlay.names(old) if old and (not only_top or len(found) >= _WORTH_LISTING) else None
        for name in sorted(found if only_top else {**(listed or {}), **found}):
            if self._kept > MAX_KEPT and self._is_full():
                break
            beneath = f"{path}/{name}"
            try:
                here = found.get(name)
                there = listed.get(name) if listed is not None else overlay.find(old, name) if old else None
                inner = None
                if here is None or here.kind == WHITEOUT:
                    if there is not None and there.kind != WHITEOUT:
                        self._add("D", beneath)
                elif here.kind == DIRECTORY:
                    inner = self._within(beneath, name, new, here, old, there)
                elif there is None or there.kind == WHITEOUT:
                    self._add("A", beneath)
                elif self._is_changed(name, new, here, old, there):
                    self._add("C", beneath)
            except (FileNotFoundError, NotADirectoryError):
                continue  # gone meanwhile: the container goes on
            except OSError as error:
                self._gap(beneath, error)
                continue
            if inner is not None:
                yield inner

    def _added(self, path: str, new: list[Part]) -> Iterator[Iterator[Any]]:
        """What is in a directory of the topmost layer alone, where nothing was: `_different`, in fewer steps."""
        others, directories, _ = self._overlay.listing(new[0])
        names = sorted(others + directories)
        begin = 0
        for directory in sorted(directories):
            end = names.index(directory, begin)
            self._add_all(path, names[begin:end])
            if self._is_full():
                return
            begin, beneath = end + 1, f"{path}/{directory}"
            try:
                inner = self._within(beneath, directory, new, Found(DIRECTORY, 0), [], None)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                self._gap(beneath, error)
                continue
            if inner is not None:
                yield inner
        self._add_all(path, names[begin:])

    def _within(
        self, path: str, name: str, new: list[Part], here: Found, old: list[Part], there: Found | None
    ) -> Iterator[Iterator[Any]] | None:
        """Tell the change of a directory itself; returns the comparison of what is in it."""
        overlay, position = self._overlay, here.position
        was = there.kind if there is not None else WHITEOUT
        before = overlay.directory(old[there.position :], name) if there is not None and was == DIRECTORY else []
        try:
            is_shared = position == 0 and new[1:] == old
            now = overlay.directory(new[position:], name, before if is_shared else None)
        except BaseException:
            close(before)
            raise
        if not now:  # gone meanwhile
            close(before)
            return None
        now = _shared(now, before)
        is_told = True
        if was == WHITEOUT:
            self._add("A", path)
        elif not before or not _is_same_directory(now[0], before[0], overlay.prefix):
            self._add("C", path)
        else:
            is_told = False
        if now != before and len(path) <= MAX_PATH:
            return self._directory(path, now, before, is_told=is_told)
        if now != before:
            self._gap(f"{path[:100]}…", "directories are nested deeper than is followed", "look into them yourself")
        close([*now, *before])
        return None

    def _is_changed(self, name: str, new: list[Part], here: Found, old: list[Part], there: Found) -> bool:
        """Whether something is another than before, or a file or a link in another state."""
        status = os.stat(name, dir_fd=new[here.position].fd, follow_symlinks=False)
        before = there.status or os.stat(name, dir_fd=old[there.position].fd, follow_symlinks=False)
        if _differ(status, before):
            return True
        if (status.st_dev, status.st_ino) == (before.st_dev, before.st_ino):
            return False
        new, old, prefix = new[here.position :], old[there.position :], self._overlay.prefix
        if _xattrs(path_of(new[0], name), prefix) != _xattrs(path_of(old[0], name), prefix):
            return True
        if stat.S_ISLNK(status.st_mode):
            self._not_compared += 1  # readlink(2) would move its access time
        elif stat.S_ISREG(status.st_mode) and status.st_size:
            if self._compared + status.st_size <= MAX_COMPARED:
                self._compared += status.st_size
                return not self._is_same_data(name, new, old)
            self._not_compared += 1
        return False

    def _is_same_data(self, name: str, new: list[Part], old: list[Part]) -> bool:
        now = self._overlay.open_data(new, name)
        try:
            before = self._overlay.open_data(old, name)
        except BaseException:
            os.close(now)
            raise
        try:
            if os.path.sameopenfile(now, before):
                return True
            while True:
                chunk = os.read(now, _CHUNK)
                if chunk != os.read(before, _CHUNK):
                    return False
                if not chunk:
                    return True
        finally:
            os.close(now)
            os.close(before)

    def _add(self, kind: Kind, path: str) -> None:
        self._kept += len(path) + _OVERHEAD
        self._lines.append(f"{kind} {path}\0")

    def _add_all(self, directory: str, names: list[str]) -> None:
        """What has been added to a directory."""
        if not names:
            return
        begin = f"A {directory}/"
        lines = begin + f"\0{begin}".join(names) + "\0"
        size = len(lines) + len(names) * (_OVERHEAD - len("A \0"))
        if self._kept + size <= MAX_KEPT:
            self._kept += size
            self._lines.append(lines)
            return
        for name in names:
            if self._is_full():
                return
            self._add("A", f"{directory}/{name}")

    def _is_full(self) -> bool:
        if self._kept <= MAX_KEPT:
            return False
        self._gap("", "it has more changes than are kept in memory", "look into the directory itself")
        return True

    def _gap(self, path: str, why: str | OSError, remedy: str | None = None, *, minor: bool = False) -> None:
        if path and len(self._gaps) >= MAX_GAPS:
            self._not_told += 1
            return
        self._gaps.add(COLLECTOR, text(os.fsencode(self._upper + path)), why, remedy, minor=minor)


def _shared(now: list[Part], before: list[Part]) -> list[Part]:
    """`now`, with the parts that `before` has too taken from there, so that it shows what is the same."""
    known = {(part.layer, part.stat.st_ino): part for part in before}
    shared = []
    for part in now:
        same = known.get((part.layer, part.stat.st_ino), part)
        if same is not part:
            os.close(part.fd)
        shared.append(same)
    return shared


def _differ(new: os.stat_result, old: os.stat_result) -> bool:
    """Whether the status of two files that are no directories tells them apart."""
    return (
        new.st_size != old.st_size
        or not _is_same_time(new.st_mtime_ns, old.st_mtime_ns)
        or new.st_mode != old.st_mode
        or new.st_uid != old.st_uid
        or new.st_gid != old.st_gid
        or new.st_rdev != old.st_rdev
    )


def _is_same_time(new: int, old: int) -> bool:
    """Nanoseconds; equal also by the second where one of them has nothing finer."""
    return new == old or (new // _SECOND == old // _SECOND and not (new % _SECOND and old % _SECOND))


def _is_same_directory(new: Part, old: Part, prefix: str) -> bool:
    """Whether a directory itself is the same, whatever is in it; its time changes with that."""
    return (
        (new.stat.st_mode, new.stat.st_uid, new.stat.st_gid) == (old.stat.st_mode, old.stat.st_uid, old.stat.st_gid)
    ) and _xattrs(new.fd, prefix) == _xattrs(old.fd, prefix)


def _xattrs(file: int | str, prefix: str) -> dict[str, bytes]:
    """The extended attributes that an overlay shows of a file of its layers, but for what others put there."""
    found = {}
    for name in xattr_names(file):
        if not name.startswith(prefix) and name not in _NOT_THE_CONTAINERS:
            found[name] = get_xattr(file, name)  # empty where it is gone since
    return found


def _change(line: bytes) -> Change:
    kind, raw = cast("Kind", line[:1].decode()), line[2:]
    try:
        return Change(kind=kind, path=raw.decode())
    except UnicodeDecodeError:
        return Change(kind=kind, path=text(raw), raw=raw)
