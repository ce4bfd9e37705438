"""Paths of a host whose disk is mounted at a directory here, as that host would follow them and never out of it.

`root` is that directory, the person's own word. A symbolic link beneath it is that host's: an absolute one begins at
`root`, and `..` ends there, as with openat2(2)'s RESOLVE_IN_ROOT. The walk opens one component at a time with O_PATH |
O_NOFOLLOW and takes a link by its text, which is the same on every kernel, needs no ctypes, and cannot be outrun by
somebody who exchanges a directory for a link meanwhile: `..` gives the descriptor it came from back.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     os.makedirs(f"{root}/mnt/disk/docker")
    ...     os.symlink("/mnt/disk/docker", f"{root}/data")
    ...     os.symlink("../../../../../../etc", f"{root}/out")
    ...     resolve_in(root, "/data/containers"), resolve_in(root, "/out/passwd")
    ('/mnt/disk/docker/containers', '/etc/passwd')

With an empty `root` each of these is about this host itself, and the kernel follows the links.
"""

from __future__ import annotations

import errno
import os
import stat

from hostinspect.kernel import waiting
from hostinspect.kernel.files import Directory, RefusedError

MAX_LINKS = 40  # followed in one path, as many as the kernel does

_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def resolve_in(root: str, path: str) -> str:
    """`path` without symbolic links, as the host at `root` names it; from where nothing is there on, as it is written.

    Raises OSError where `root` cannot be opened, for too many links, and for what is no path.
    """
    if not root:
        waiting.on(path, path)
        return os.path.realpath(path)
    with _Walk(root) as walk:
        walk.go(path)
        return walk.path


def directory_in(root: str, path: str) -> Directory:
    """The directory that `path` leads to. Close it. Raises OSError as open(2) does."""
    if not root:
        return Directory(path)
    with _Walk(root) as walk:
        walk.go(path)
        return Directory.opened(path, walk.take(os.O_DIRECTORY))


def read_in(root: str, path: str, limit: int) -> bytes:
    """The content of the regular file that `path` leads to. Raises as `Directory.read`."""
    resolved = resolve_in(root, path)
    above, _, name = resolved.rpartition("/")
    with directory_in(root, above or "/") as directory:
        return directory.read(name, limit)


def mode_in(root: str, path: str) -> int:
    """st_mode of what `path` leads to, 0 where there is nothing. Raises OSError when that cannot be told."""
    try:
        if not root:
            waiting.on(path, path)
            return os.stat(path).st_mode
        with _Walk(root) as walk:
            walk.go(path)
            return os.fstat(walk.take()).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


class _Walk:
    """A way from `root` on: the names passed, and the descriptor of each that is there."""

    def __init__(self, root: str) -> None:
        self._names: list[str] = []
        self._missing: OSError | None = None  # why the last name could not be opened
        self._root = root
        waiting.on(root, root)
        self._fds = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]

    def __enter__(self) -> _Walk:
        return self

    def __exit__(self, *exception: object) -> None:
        self._back_to(-1)

    @property
    def path(self) -> str:
        return "/" + "/".join(self._names)

    def take(self, flags: int = 0) -> int:
        """A descriptor of what the way has come to: O_PATH, the walk's own unless there are `flags`.

        Raises the OSError of the first name that could not be opened.
        """
        if self._missing is not None:
            raise self._missing
        here = self._fds[-1]
        if flags & os.O_DIRECTORY:
            if not stat.S_ISDIR(os.fstat(here).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.path)
            return os.dup(here)
        return here

    def go(self, path: str) -> None:
        """Go on by `path`. Raises OSError for too many links, and RefusedError for what is no path."""
        names = path.split("/")[::-1]
        links = 0
        while names:
            name = names.pop()
            if name in ("", "."):
                continue
            if name == "..":
                self._back_to(max(len(self._names) - 1, 0))
                continue
            target = self._step(name)
            if target is None:
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                self._back_to(0)
            names.extend(target.split("/")[::-1])

    def _step(self, name: str) -> str | None:
        """One name further; where it is a link, only where that leads."""
        if self._missing is not None:
            self._names.append(name)
            return None
        waiting.on(self._root, f"{self._root}{self.path}/{name}")
        try:
            fd = os.open(name, _STEP, dir_fd=self._fds[-1])
        except ValueError as error:  # NUL bytes, lone surrogates
            raise RefusedError(f"{name!r} is no name: {error}") from None
        except OSError as error:
            self._missing = error
            self._names.append(name)
            return None
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            try:
                return os.readlink("", dir_fd=fd)
            finally:
                os.close(fd)
        self._names.append(name)
        self._fds.append(fd)
        return None

    def _back_to(self, depth: int) -> None:
        """To the directory that is `depth` names from `root`; -1 gives all back."""
        del self._names[max(depth, 0) :]
        while len(self._fds) > depth + 1:
            os.close(self._fds.pop())
        if len(self._fds) == depth + 1:
            self._missing = None
