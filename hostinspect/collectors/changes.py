"""What a container has changed of its image, from the directories of its layers alone, in `docker diff`'s terms.

A is there and was not in the image, D was and is not, C is there in another state; a directory is C too when something
in it has changed. Of what is added each entry is told, of what is deleted only the topmost. The image is what is below
the topmost layer, the engine's init layer with its /etc/hosts and /dev/console included.

State is what `docker diff` compares: mode, owner, device number, and of all but directories size and time of
modification (whole seconds where one of the two has no fraction: image archives may not keep it). Where these are the
same, `docker diff` says that nothing has changed. Here extended attributes and, of files, contents are compared too,
and the root directory itself is looked at.

Speed: nothing is looked up below that cannot be there, and where only the topmost layer counts only that is listed.
"""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from posixpath import dirname
from typing import Any, Literal, NamedTuple

from hostinspect.collectors.gaps import PERMISSION, GapLog
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
from hostinspect.kernel.remote import own_mounts, refuse_remote
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


class Changes(NamedTuple):
    """What has changed, sorted, a directory before what is in it; None where it could not be read."""

    changes: tuple[Change, ...] | None
    gaps: tuple[Gap, ...]


def collect_changes(
    upper: str, lower: Sequence[str], work: str | None, *, userxattr: bool | None = None, root: str = ""
) -> Changes:
    """The changes in `upper` over the `lower` directories, topmost first; of a disk's, beneath `root`.

    Whether xattrs are called user.overlay.* is `userxattr`. For a container that is not mounted the owner of the file
    `link` beside `upper` tells, which overlay2 writes and leaves to itself: somebody but root is a rootless engine. All
    else there is given to the root of the container, which with userns-remap is another one under root's engine too.
    """
    gaps = GapLog()
    try:
        mounts = [] if root else own_mounts()  # a disk, which somebody mounted to be looked at, is
        for path in filter(None, (upper, *lower, work)):
            refuse_remote(path, mounts)
    except (OSError, ValueError) as error:
        gaps.add(COLLECTOR, upper, error if isinstance(error, OSError) else str(error), "docker diff it, if it answers")
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
        return directory.lstat("link").st_uid != 0
    return False


def _is_indexed(work: str, root: str) -> bool:
    """Whether hard links have been copied up under `index=on`: the kernel keeps an entry for each in work/index."""
    with suppress(OSError), directory_in(root, work) as directory:
        return bool(directory.listdir("index"))
    return False


class _Side(NamedTuple):
    """A name as the overlay has it, with its topmost layer or without."""

    parts: list[Part]
    found: Found | None

    @property
    def exists(self) -> bool:
        return self.found is not None and self.found.kind != WHITEOUT

    @property
    def is_directory(self) -> bool:
        return self.found is not None and self.found.kind == DIRECTORY

    @property
    def position(self) -> int:
        assert self.found is not None
        return self.found.position

    @property
    def part(self) -> Part:
        return self.parts[self.position]

    def status(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self.part.fd, follow_symlinks=False)


class _Comparison:
    """One overlay with its topmost layer, against it without."""

    def __init__(self, overlay: Overlay, upper: str, gaps: GapLog) -> None:
        self._overlay, self._upper, self._gaps = overlay, upper, gaps
        self._changes: list[Change | None] = []  # None: a directory of which is not known yet whether it has changed
        self._kept = 0  # bytes
        self._compared = 0  # bytes
        self._not_compared = 0  # files
        self._not_told = 0  # gaps

    def run(self) -> tuple[Change, ...]:
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
        return tuple(change for change in self._changes if change is not None)

    def _directory(self, path: str, new: list[Part], old: list[Part], *, is_told: bool) -> Iterator[Iterator[Any]]:
        """Tell the changes in one directory; yields one such for each directory in it. Closes `new` and `old`.

        It is C itself if there are any, where that is not told yet.
        """
        changes, overlay = self._changes, self._overlay
        position = len(changes)
        if not is_told:
            changes.append(None)
        try:
            only_top = new[1:] == old  # the rest is the same on both sides
            found = overlay.names(new[:1] if only_top else new)
            listed = overlay.names(old) if old and (not only_top or len(found) >= _WORTH_LISTING) else None
            names = found if only_top else {**(listed or {}), **found}
            for name in sorted(names):
                if self._kept > MAX_KEPT:
                    self._gap("", "it has more changes than are kept in memory", "look into the directory itself")
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
                        inner = self._within(beneath, name, _Side(new, here), _Side(old, there))
                    elif there is None or there.kind == WHITEOUT:
                        self._add("A", beneath)
                    elif self._is_changed(name, _Side(new, here), _Side(old, there)):
                        self._add("C", beneath)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # gone meanwhile: the container goes on
                except OSError as error:
                    self._gap(beneath, error)
                    continue
                if inner is not None:
                    yield inner
        except FileNotFoundError:
            pass
        except OSError as error:
            self._gap(path, error)
        finally:
            if path:
                close([*new, *old])
            if not is_told:
                if len(changes) == position + 1:
                    changes.pop()
                else:
                    changes[position] = _change("C", path)

    def _within(self, path: str, name: str, new: _Side, old: _Side) -> Iterator[Iterator[Any]] | None:
        """Tell the change of a directory itself; returns the comparison of what is in it."""
        before = self._overlay.directory(old.parts[old.position :], name) if old.is_directory else []
        try:
            is_shared = new.position == 0 and new.parts[1:] == old.parts
            now = self._overlay.directory(new.parts[new.position :], name, before if is_shared else None)
        except BaseException:
            close(before)
            raise
        if not now:  # gone meanwhile
            close(before)
            return None
        now = _shared(now, before)
        is_told = True
        if not old.exists:
            self._add("A", path)
        elif not before or not _is_same_directory(now[0], before[0], self._overlay.prefix):
            self._add("C", path)
        else:
            is_told = False
        if now != before and len(path) <= MAX_PATH:
            return self._directory(path, now, before, is_told=is_told)
        if now != before:
            self._gap(f"{path[:100]}…", "directories are nested deeper than is followed", "look into them yourself")
        close([*now, *before])
        return None

    def _is_changed(self, name: str, new: _Side, old: _Side) -> bool:
        """Whether something is another than before, or a file or a link in another state."""
        status, before = new.status(name), old.status(name)
        if _differ(status, before):
            return True
        if (status.st_dev, status.st_ino) == (before.st_dev, before.st_ino):
            return False
        prefix = self._overlay.prefix
        if _xattrs(path_of(new.part, name), prefix) != _xattrs(path_of(old.part, name), prefix):
            return True
        if stat.S_ISLNK(status.st_mode):
            self._not_compared += 1  # readlink(2) would move its access time
        elif stat.S_ISREG(status.st_mode) and status.st_size:
            if self._compared + status.st_size <= MAX_COMPARED:
                self._compared += status.st_size
                return not self._is_same_data(name, new, old)
            self._not_compared += 1
        return False

    def _is_same_data(self, name: str, new: _Side, old: _Side) -> bool:
        now = self._overlay.open_data(new.parts[new.position :], name)
        try:
            before = self._overlay.open_data(old.parts[old.position :], name)
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
        self._changes.append(Change(kind=kind, path=path) if path.isascii() else _change(kind, path))

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
        new.st_mode != old.st_mode
        or new.st_uid != old.st_uid
        or new.st_gid != old.st_gid
        or new.st_rdev != old.st_rdev
        or new.st_size != old.st_size
        or not _is_same_time(new.st_mtime_ns, old.st_mtime_ns)
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


def _change(kind: Kind, path: str) -> Change:
    raw = os.fsencode(path)
    try:
        return Change(kind=kind, path=raw.decode())
    except UnicodeDecodeError:
        return Change(kind=kind, path=text(raw), raw=raw)
