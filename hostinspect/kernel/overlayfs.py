"""What overlayfs writes into its layers, and how its directories come together of them: without mounting anything.

    meaning                how it is kept                                                        since Linux
    whiteout               a character device 0:0                                                3.18
                           an empty file with xattr `whiteout`, in a directory with `opaque` x   6.7, lower layers
    opaque directory       xattr `opaque` y: nothing of the layers below shows through           3.18
    renamed directory      xattr `redirect`: /PATH from the root, or another NAME beside it      4.10
    metadata-only copy     xattr `metacopy`: the data is in the layers below, by `redirect` too  4.19

The xattrs are trusted.overlay.*, which only CAP_SYS_ADMIN sees; with the mount option `userxattr` (5.11, for rootless
engines) user.overlay.*, and then the others mean nothing, as these do otherwise. `origin`, `impure`, `nlink`, `upper`,
`uuid` and `protattr` are about inode numbers and flags, not about what is there.

Sources: Documentation/filesystems/overlayfs.rst; fs/overlayfs/namei.c (ovl_lookup), readdir.c, util.c. Not followed are
data-only lower layers (6.5), and `index=on`, under which a hard link's other names change with it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Container, Sequence
from types import TracebackType
from typing import NamedTuple

from hostinspect.kernel.files import RefusedError, open_directory, open_file
from hostinspect.kernel.rooted import directory_in

TRUSTED = "trusted.overlay."
USER = "user.overlay."

# What is called so in a directory. Only the first is told from the rest, and a whiteout says that there is nothing.
DIRECTORY, OTHER, WHITEOUT = "directory", "other", "whiteout"

MAX_NAMES = 2_000_000  # of one directory

_CAP_SYS_ADMIN = 21  # capabilities(7), linux/capability.h
_ALL_IDS = ["0", "0", "4294967295"]  # uid_map of the first user namespace, user_namespaces(7)


class Part(NamedTuple):
    """One layer's directory, open: a merged directory is a list of them, topmost first."""

    layer: int  # its position in the overlay, the topmost is 0
    fd: int
    stat: os.stat_result
    has_xwhiteouts: bool = False  # empty files in it may be whiteouts


class Found(NamedTuple):
    """What a name is in a merged directory."""

    kind: str
    position: int  # of the part that has it
    status: os.stat_result | None = None  # where it took one to tell


class Overlay:
    """The layers of an overlay, opened; a context manager.

    Nothing is followed out of a layer: no symbolic link, no mount, no path that is not of plain names; and nothing but
    directories and regular files is opened. Names are decoded by `os.fsdecode`. Raises OSError when a layer cannot be
    opened, with its path. `root` is where the disk of their host is mounted.
    """

    def __init__(self, layers: Sequence[str], prefix: str = TRUSTED, root: str = "") -> None:
        self.prefix, self._on = prefix, root
        self.root: list[Part] = []
        self._opaque, self._redirect = f"{prefix}opaque", f"{prefix}redirect"
        self._metacopy, self._whiteout = f"{prefix}metacopy", f"{prefix}whiteout"
        self._devices_0: dict[int, set[int]] = {}  # the inodes that are known as such, by st_dev
        try:
            for layer, path in enumerate(layers):
                self.root.append(self._open_layer(layer, path))
        except BaseException:
            self.close()
            raise

    def _open_layer(self, layer: int, path: str) -> Part:
        try:
            # The path is the engine's or the kernel's word, and may lead through a link: /var/lib/docker often is one.
            with directory_in(self._on, path) as directory:
                fd = open_directory(".", directory.fd)
            return Part(layer, fd, os.fstat(fd), has_xwhiteouts=get_xattr(fd, self._opaque) == b"x")
        except OSError as error:
            error.filename = path
            raise

    def close(self) -> None:
        """Give back the layers' descriptors."""
        close(self.root)
        self.root = []

    def __enter__(self) -> Overlay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- names --------------------------------------------------------------------------------------------------

    def names(self, parts: Sequence[Part]) -> dict[str, Found]:
        """Everything in a merged directory, and its whiteouts. Raises RefusedError beyond `MAX_NAMES`."""
        found: dict[str, Found] = {}
        for position, part in enumerate(parts):
            here: dict[str, Found] = {}
            for kind, names in zip((OTHER, DIRECTORY, WHITEOUT), self.listing(part, found), strict=True):
                here.update(dict.fromkeys(names, Found(kind, position)))  # one for all: they would be half of the time
            found = {**here, **found} if found else here
            _check_number(len(found))
        return found

    def listing(self, part: Part, above: Container[str] = ()) -> tuple[list[str], list[str], list[str]]:
        """The names in one layer's directory: of what is neither, of directories, and of whiteouts.

        Those that are `above` may be taken for what they are not. Raises RefusedError beyond `MAX_NAMES`.
        """
        others: list[str] = []
        directories: list[str] = []
        whiteouts: list[str] = []
        rest: list[os.DirEntry[str]] = []
        with os.scandir(part.fd) as entries:
            for entry in entries:  # as little as there may be to do for each: there may be a hundred thousand
                if entry.is_file(follow_symlinks=False):
                    others.append(entry.name)
                else:
                    rest.append(entry)
        if part.has_xwhiteouts:
            files, others = others, []
            for name in files:
                (whiteouts if name not in above and self._is_whiteout(part, name) else others).append(name)
        devices_0 = self._devices_0.setdefault(part.stat.st_dev, set())
        for entry in rest:  # os.DirEntry tells no kinds of device apart
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            elif entry.inode() in devices_0:
                whiteouts.append(entry.name)
            elif entry.is_symlink() or entry.name in above or not self._is_device_0(part, entry, devices_0):
                others.append(entry.name)
            else:
                whiteouts.append(entry.name)
        _check_number(len(others) + len(directories) + len(whiteouts))
        return others, directories, whiteouts

    def _is_device_0(self, part: Part, entry: os.DirEntry[str], known: set[int]) -> bool:
        """Whether it is a whiteout; its inode is `known` from then on.

        Since 5.8 those that an overlay makes are one inode with many names, so that one is looked at.
        """
        try:
            status = os.stat(entry.name, dir_fd=part.fd, follow_symlinks=False)
        except FileNotFoundError:
            return True  # gone since it was listed
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != 0:
            return False
        if (status.st_dev, status.st_ino) == (part.stat.st_dev, entry.inode()):
            known.add(status.st_ino)
        return True

    def find(self, parts: Sequence[Part], name: str) -> Found | None:
        """What `name` is in a merged directory, looked up in each layer; None where none has it."""
        for position, part in enumerate(parts):
            try:
                status = os.stat(name, dir_fd=part.fd, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if self._is_whiteout(part, name, status):
                return Found(WHITEOUT, position)
            return Found(DIRECTORY if stat.S_ISDIR(status.st_mode) else OTHER, position, status)
        return None

    def _is_whiteout(self, part: Part, name: str, status: os.stat_result | None = None) -> bool:
        try:
            status = status or os.stat(name, dir_fd=part.fd, follow_symlinks=False)
            if stat.S_ISCHR(status.st_mode):
                return status.st_rdev == 0
            is_candidate = part.has_xwhiteouts and stat.S_ISREG(status.st_mode) and status.st_size == 0
            return is_candidate and self._whiteout in xattr_names(path_of(part, name))
        except FileNotFoundError:
            return True  # gone since it was listed

    # --- directories --------------------------------------------------------------------------------------------

    def directory(self, parts: Sequence[Part], name: str, below: Sequence[Part] | None = None) -> list[Part]:
        """The merged directory `name` in another: which layers' directories it is made of. `close` them.

        `below` is what the parts after the first make of `name`, where that is open already. Empty where there is no
        directory of that name. Raises OSError, RefusedError.
        """
        found: list[Part] = []
        waiting, where = parts, name
        try:
            while waiting:
                above, waiting = waiting[0], waiting[1:]
                try:
                    part, is_last, following = self._reach(above, where)
                except NotADirectoryError:  # a whiteout or a file: hides the layers below
                    break
                if part is not None:
                    if below is not None and not is_last and following == name:
                        return [part, *below]
                    below = None
                    found.append(part)
                    if following != where and following.startswith("/"):
                        waiting = self.root[part.layer + 1 :]
                if is_last:
                    break
                where = following
        except BaseException:
            close(found)
            raise
        return found

    def _reach(self, base: Part, where: str) -> tuple[Part | None, bool, str]:
        """The directory at `where` in one layer: a name in `base`, or a path from the layer's root, then `base`.

        Also whether it hides those below, and where they are to be looked for: redirects on the way count although the
        way may end. Raises NotADirectoryError where something else is in the way.
        """
        root, names = ("/", where[1:].split("/")) if where.startswith("/") else ("", [where])
        part, is_last, following = base, False, where
        for depth, name in enumerate(names):
            try:
                fd = open_directory(name, part.fd)
            except FileNotFoundError:
                return None, is_last, following
            except RefusedError:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
            finally:
                if part is not base:
                    os.close(part.fd)
            try:
                part, is_opaque, redirect = self._look_at(fd, base.layer)
            except BaseException:
                os.close(fd)
                raise
            if is_opaque:
                is_last = True
            elif redirect is not None and redirect.startswith("/"):
                is_last = False
                following = "/".join((redirect, *names[depth + 1 :]))
            elif redirect is not None:
                following = root + "/".join((*names[:depth], redirect, *names[depth + 1 :]))
        return part, is_last, following

    def _look_at(self, fd: int, layer: int) -> tuple[Part, bool, str | None]:
        """A directory, whether it is opaque, and its redirect."""
        status = os.fstat(fd)
        if status.st_dev != self.root[layer].stat.st_dev:
            raise RefusedError("another file system is mounted there, which is not part of the layer")
        xattrs = xattr_names(fd)
        opacity = get_xattr(fd, self._opaque) if self._opaque in xattrs else b""
        redirect = self._redirection(fd) if self._redirect in xattrs else None
        return Part(layer, fd, status, opacity == b"x"), opacity == b"y", redirect

    def _redirection(self, fd: int) -> str:
        redirect = os.fsdecode(get_xattr(fd, self._redirect))
        names = redirect[1:].split("/") if redirect.startswith("/") else [redirect]
        if any(name in ("", ".", "..") or "/" in name or "\0" in name for name in names):
            raise RefusedError(f"its overlay redirect {redirect!r} is no path of plain names")
        return redirect

    # --- content ------------------------------------------------------------------------------------------------

    def open_data(self, parts: Sequence[Part], name: str) -> int:
        """A descriptor of what the regular file `name` holds, which a metadata-only copy has in the layers below.

        `parts` begin with the one that has the file. Raises OSError; RefusedError where that is no regular file.
        """
        waiting, where, is_last = parts, name, False
        while waiting and not is_last:
            above, waiting = waiting[0], waiting[1:]
            fd, is_last, where = self._open(above, where)
            if fd is None:
                continue
            try:
                xattrs = xattr_names(fd)
                if self._metacopy not in xattrs:
                    return fd
                redirect = self._redirection(fd) if self._redirect in xattrs else None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            if redirect is not None:
                where = redirect
                waiting = self.root[above.layer + 1 :] if redirect.startswith("/") else waiting
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _open(self, above: Part, where: str) -> tuple[int | None, bool, str]:
        """The file at `where` in one layer, as `_reach` has directories."""
        parent, slash, name = where.rpartition("/")
        part: Part | None = above
        is_last = False
        if parent:
            part, is_last, parent = self._reach(above, parent)
        if part is None:
            return None, is_last, f"{parent}/{name}"
        try:
            return open_file(name, part.fd), is_last, f"{parent}{slash}{name}"
        except FileNotFoundError:
            return None, is_last, f"{parent}{slash}{name}"
        finally:
            if part is not above:
                os.close(part.fd)


def _check_number(names: int) -> None:
    if names > MAX_NAMES:
        raise RefusedError(f"a directory has more than {MAX_NAMES} names")


def close(parts: Sequence[Part]) -> None:
    """Give back their descriptors, each once."""
    for fd in {part.fd for part in parts}:
        os.close(fd)


def path_of(part: Part, name: str) -> str:
    """A path of `name`, for the system calls about xattrs: they take no descriptor of a directory."""
    return f"/proc/self/fd/{part.fd}/{name}"


def xattr_names(file: int | str) -> list[str]:
    """The names of the extended attributes of a file, not following a link; none where the file system has none."""
    try:
        return os.listxattr(file, follow_symlinks=False) if isinstance(file, str) else os.listxattr(file)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise


def get_xattr(file: int | str, name: str) -> bytes:
    """The value of an extended attribute, not following a link; empty where there is none."""
    try:
        return os.getxattr(file, name, follow_symlinks=False) if isinstance(file, str) else os.getxattr(file, name)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return b""
        raise


def sees_trusted() -> bool:
    """Whether trusted.* xattrs are shown to this process: to others they look as if they were not there.

    It takes CAP_SYS_ADMIN in the first user namespace: /proc/self/status (proc_pid_status(5)), /proc/self/uid_map.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
        with open("/proc/self/uid_map", encoding="ascii") as uid_map:
            return bool(effective >> _CAP_SYS_ADMIN & 1) and uid_map.read().split() == _ALL_IDS
    except (OSError, StopIteration, ValueError):
        return os.geteuid() == 0
