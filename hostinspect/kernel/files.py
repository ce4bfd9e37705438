"""Reading files and directories that somebody hostile may have prepared, changing nothing about them.

A data root holds what containers and their admins put there. So beneath a `Directory` no symbolic link is ever
followed, no `..` is walked, nothing but a regular file is opened for reading (a FIFO would hang us, a device node may
act when it is opened), no read is longer than its limit, and no access time is touched where the kernel allows it.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as path:
    ...     os.symlink("/etc/passwd", os.path.join(path, "config.v2.json"))
    ...     with Directory(path) as data_root:
    ...         data_root.read("config.v2.json")
    Traceback (most recent call last):
    hostinspect.kernel.files.RefusedError: config.v2.json is a symbolic link, which is not followed here

The walk opens one component at a time with O_NOFOLLOW, which refuses what openat2(2) with RESOLVE_BENEATH |
RESOLVE_NO_SYMLINKS refuses, on every kernel. Opened directories of the last path are kept, so that neighbours are one
openat(2) away: 4 µs a file more than a plain open(), of which half is looking at what it is before. openat2 through
ctypes would be 4 µs faster with that look too, and ctypes takes 2 to 4 ms to load (tests/bench/bench_files.py).
"""

from __future__ import annotations

import errno
import os
import stat

from hostinspect.kernel import tape, waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

DEFAULT_LIMIT = 16 * 1024 * 1024  # bytes; the largest config.v2.json seen is some hundred KiB

_NOATIME = os.O_NOATIME
_WALK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK and O_NOCTTY matter only if a FIFO or terminal is put there between our lstat(2) and open(2).
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class RefusedError(OSError):
    """Not read, on purpose: the words say why. Its `errno` is None, so that a `Gap` shows these words."""


class FileTooLargeError(RefusedError):
    """The file holds more bytes than the caller is willing to read."""


class Directory:
    """A directory, and safe access to what is beneath it. A context manager; not for several threads at once.

    `path` itself is the person's or the engine's word and may be a symbolic link (/var/lib/docker often is one).
    `relative` arguments are paths beneath it, "/" between components; "" is the directory itself where that makes
    sense. They may come from a hostile file: anything but plain names is `RefusedError`.

    Raises OSError when `path` cannot be opened or is no directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        waiting.on(self.path, self.path)
        try:
            # O_PATH asks for no permission but search, and reading the directory is not what we came for.
            self.fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except ValueError as error:  # NUL bytes, lone surrogates
            raise RefusedError(f"{self.path!r} is no path: {error}") from None
        self._walked: list[tuple[str, int]] = []  # components of the last parent directory, and their descriptors
        self._parent_path: str | None = ""
        self._parent_fd = self.fd

    @classmethod
    def opened(cls, path: str, fd: int) -> Directory:
        """The directory open at `fd`, which is the object's from now on, as one that is called `path`."""
        directory = cls.__new__(cls)
        directory.path, directory._walked, directory._parent_path = path, [], ""
        directory.fd = directory._parent_fd = fd
        return directory

    def read(self, relative: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """The content of the regular file `relative`.

        Raises FileTooLargeError beyond `limit` bytes, RefusedError for anything but a regular file, OSError as open(2)
        does.
        """
        fd, size = self._open(relative)
        try:
            if size <= limit:
                content = os.read(fd, min(size or 4095, limit) + 1)
                # Another size than it said: it is being written to, or its file system (proc, cgroup) says 0 of all.
                while content and len(content) != size and len(content) <= limit:
                    more = os.read(fd, min(65536, limit + 1 - len(content)))
                    if not more:
                        break
                    content += more
                if len(content) <= limit:
                    if tape.running:
                        tape.running.keep(content, "", fd)
                    return content
        finally:
            os.close(fd)
        raise FileTooLargeError(f"{relative} has more than {limit} bytes, which is more than is read")

    def open(self, relative: str) -> int:
        """A descriptor of the regular file `relative`, read-only and close-on-exec, for mmap(2). Close it.

        Raises as `read`, but looks at no size.
        """
        return self._open(relative)[0]

    def listdir(self, relative: str = "") -> list[str]:
        """Sorted names in the directory `relative`; bytes that are no UTF-8 as `os.fsdecode` has them.

        Raises RefusedError for a symbolic link, OSError as open(2) does.
        """
        parent, name = self._parent(relative)
        fd = _open(name or ".", _LIST, parent)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def readlink(self, relative: str) -> str:
        """Where the symbolic link `relative` points, without following it; decoded by `os.fsdecode`.

        readlink(2) moves the link's access time, where that is kept, and nothing can prevent it.
        Raises OSError as readlink(2) does: EINVAL when it is no link.
        """
        parent, name = self._parent(relative)
        return os.readlink(name, dir_fd=parent)

    def lstat(self, relative: str = "") -> os.stat_result:
        """stat(2) of `relative` itself, also of a link. Raises OSError, RefusedError."""
        parent, name = self._parent(relative)
        return os.stat(name, dir_fd=parent, follow_symlinks=False) if name else os.fstat(parent)

    def exists(self, relative: str = "") -> bool:
        """Whether there is something of that name, a dangling link too. Raises OSError when that cannot be told."""
        return self._mode(relative) != 0

    def is_dir(self, relative: str = "") -> bool:
        """Whether `relative` is a directory; a link to one is not. Raises OSError when that cannot be told."""
        return stat.S_ISDIR(self._mode(relative))

    def is_file(self, relative: str) -> bool:
        """Whether `relative` is a regular file; a link to one is not. Raises OSError when that cannot be told."""
        return stat.S_ISREG(self._mode(relative))

    def directory(self, relative: str) -> Directory:
        """The directory `relative` as a `Directory` of its own. Close it. Raises OSError, RefusedError."""
        parent, name = self._parent(relative)
        return Directory.opened(f"{self.path}/{relative}", _open(name or ".", _WALK, parent))

    def close(self) -> None:
        """Give back all descriptors. The object is of no use afterwards; closing twice does nothing."""
        self._forget(0)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = self._parent_fd = -1
            self._parent_path = ""

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, relative: str) -> tuple[int, int]:
        """Descriptor and size of the regular file `relative`."""
        parent, name = self._parent(relative)
        return _open_file(name or ".", parent, relative)

    def _mode(self, relative: str) -> int:
        try:
            return self.lstat(relative).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def _parent(self, relative: str) -> tuple[int, str]:
        """Descriptor of the directory that `relative` is in, and its name there; this one and "" for itself.

        The descriptor stays ours, and open until another directory is asked for.
        """
        parent, _, name = relative.rpartition("/")
        if (name in _NO_NAMES and relative) or "\0" in name or not (name.isascii() or _is_encodable(name)):
            raise RefusedError(f"{relative!r} is not a path of plain names")
        if relative[:1] == "/":
            raise RefusedError(f"{relative!r} is not beneath {self.path}")
        waiting.on(self.path, f"{self.path}/{relative}")
        if parent != self._parent_path:
            names = parent.split("/") if parent else []
            if not _NO_NAMES.isdisjoint(names) or "\0" in parent or not (parent.isascii() or _is_encodable(parent)):
                raise RefusedError(f"{relative!r} is not a path of plain names")
            self._parent_fd = self._walk(names)
            self._parent_path = parent
        return self._parent_fd, name

    def _walk(self, names: list[str]) -> int:
        """Descriptor of the directory that is reached by `names` from this one."""
        self._parent_path = None  # until it is known again
        walked, fd = self._walked, self.fd
        for depth, name in enumerate(names):
            if depth < len(walked):
                if walked[depth][0] == name:
                    fd = walked[depth][1]
                    continue
                self._forget(depth)
            fd = _open(name, _WALK, fd)
            walked.append((name, fd))
        return fd

    def _forget(self, depth: int) -> None:
        while len(self._walked) > depth:
            os.close(self._walked.pop()[1])


_NO_NAMES = frozenset(("", ".", ".."))


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _open(name: str, flags: int, dir_fd: int) -> int:
    """open(2) of one component, leaving its access time alone; a symbolic link is refused in words."""
    try:
        try:
            return os.open(name, flags | _NOATIME, dir_fd=dir_fd)
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
            return os.open(name, flags, dir_fd=dir_fd)  # not our file: O_NOATIME is for owner and root only
    except OSError as error:
        # ENOTDIR is the answer to O_DIRECTORY, ELOOP to O_NOFOLLOW alone.
        if error.errno in (errno.ENOTDIR, errno.ELOOP) and _is_link(name, dir_fd):
            raise RefusedError(f"{name} is a symbolic link, which is not followed here") from None
        raise


def open_directory(name: str, dir_fd: int) -> int:
    """A descriptor of the directory `name`, one component, in the one open as `dir_fd`, to list it. Close it.

    Raises RefusedError for a symbolic link, OSError as open(2) does.
    """
    waiting.on("directories", name, dir_fd)
    return _open(name, _LIST, dir_fd)


def open_file(name: str, dir_fd: int) -> int:
    """A descriptor of the regular file `name`, one component, in the directory open as `dir_fd`. Close it.

    Raises RefusedError for anything but a regular file, OSError as open(2) does.
    """
    waiting.on("files", name, dir_fd)
    return _open_file(name, dir_fd, name)[0]


def _open_file(name: str, dir_fd: int, relative: str) -> tuple[int, int]:
    """Descriptor and size of a regular file; `relative` is what an error calls it."""
    # Looked at before open(2), because opening a FIFO wakes its writer and opening a device may do anything; and
    # after it, because what is there may have been exchanged in between.
    mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
    if not stat.S_ISREG(mode):
        raise _not_regular(mode, relative)
    fd = _open(name, _READ, dir_fd)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise _not_regular(found.st_mode, relative)
    return fd, found.st_size


def _is_link(name: str, dir_fd: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _not_regular(mode: int, relative: str) -> RefusedError:
    if stat.S_ISLNK(mode):
        return RefusedError(f"{relative} is a symbolic link, which is not followed here")
    return RefusedError(f"{relative} is {_KINDS.get(stat.S_IFMT(mode), 'of no known kind')}, not a regular file")


_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
