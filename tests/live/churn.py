"""Random changes to a tree, and what differs between two trees: the other side of the comparison in test_diff.py.

    python -m tests.live.churn grow ROOT SEED COUNT       make COUNT random things beneath ROOT
    python -m tests.live.churn change ROOT SEED COUNT     make COUNT random changes beneath ROOT
    python -m tests.live.churn compare NEW OLD            print what differs, as JSON

Both are about trees as a program sees them, an overlay's merged directory among them: nothing here knows of layers,
nor of hostinspect.
"""

from __future__ import annotations

# Names are any bytes, and what is done to them is called as the kernel calls it.
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH108, PTH114, PTH115, PTH116, PTH118, PTH123, PTH208, PTH211
import json
import os
import random
import shutil
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress

Difference = tuple[str, str]  # A, C or D, and the path as os.fsdecode has it

# Few, so that what is deleted is often made again.
NAMES = ["a", "b", "c", "d", "e", "ü", "n\nl", "two  spaces", "\\xff", "\udcff", "\udcc3(", "-", "\u202e"]


# --- what differs -----------------------------------------------------------------------------------------------


def differences(new: str, old: str, *, thorough: bool) -> list[Difference]:
    """What is in `new` beside `old`, in docker's terms.

    Not `thorough`: as Docker compares, by status and file capabilities, without the root itself. Thorough: by xattrs,
    contents and targets of links too, and with the root.
    """
    found: list[Difference] = []
    if thorough and not _is_same(new, old, thorough=True):
        found.append(("C", "/"))
    _compare(new, old, "", found, thorough=thorough)
    return found


def _compare(new: str, old: str | None, path: str, found: list[Difference], *, thorough: bool) -> None:
    names, before = _names(new + path), _names(old and old + path)
    for name in sorted(names | before):
        beneath = f"{path}/{name}"
        if name not in names:
            found.append(("D", beneath))
            continue
        is_directory = _is_directory(new + beneath)
        position = len(found)
        if name not in before:
            found.append(("A", beneath))
        elif not _is_same(new + beneath, f"{old}{beneath}", thorough=thorough):
            found.append(("C", beneath))
        is_told = len(found) > position
        if is_directory:
            was_directory = old is not None and _is_directory(old + beneath)  # and no link to one
            _compare(new, old if was_directory else None, beneath, found, thorough=thorough)
            if not is_told and len(found) > position:
                found.insert(position, ("C", beneath))


def _names(path: str | None) -> set[str]:
    return set(os.listdir(path)) if path is not None and _is_directory(path) else set()


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_same(new: str, old: str, *, thorough: bool) -> bool:
    now, before = os.lstat(new), os.lstat(old)
    if any(getattr(now, field) != getattr(before, field) for field in ("st_mode", "st_uid", "st_gid", "st_rdev")):
        return False
    if not stat.S_ISDIR(now.st_mode):
        (second, rest), (second_before, rest_before) = divmod(now.st_mtime_ns, 10**9), divmod(before.st_mtime_ns, 10**9)
        if now.st_size != before.st_size or second != second_before or (rest != rest_before and rest and rest_before):
            return False
    if _xattrs(new, thorough=thorough) != _xattrs(old, thorough=thorough):
        return False
    if thorough and stat.S_ISLNK(now.st_mode):
        return os.readlink(new) == os.readlink(old)
    return not (thorough and stat.S_ISREG(now.st_mode)) or _content(new) == _content(old)


def _xattrs(path: str, *, thorough: bool) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in names
        if name == "security.capability" or (thorough and not name.startswith("security."))
    }


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


# --- random changes ---------------------------------------------------------------------------------------------


class Churn:
    """A tree, and the things that may be done to it. What the file system refuses is not done."""

    def __init__(self, root: str, seed: int) -> None:
        self.root, self.random = root, random.Random(seed)

    def grow(self, count: int) -> None:
        for _ in range(count):
            with suppress(OSError):
                self.random.choice([self.create, self.make_directory, self.nest, self.symlink, self.make_special])()

    def change(self, count: int) -> None:
        actions: list[Callable[[], None]] = [
            *(3 * [self.create, self.delete, self.write, self.rename, self.make_directory]),
            *(2 * [self.make_again, self.replace]),
            *(self.chmod, self.chown, self.touch, self.open_only, self.write_and_set_back, self.link, self.symlink),
            *(self.make_special, self.set_xattr, self.nest),
        ]
        for _ in range(count):
            with suppress(OSError):
                self.random.choice(actions)()

    def paths(self, wanted: Callable[[int], bool] = lambda mode: True) -> list[str]:
        found = []
        for directory, directories, files in os.walk(self.root):
            directories.sort()
            found += [os.path.join(directory, name) for name in sorted(directories + files)]
        return [path for path in found if wanted(os.lstat(path).st_mode)]

    def any(self, wanted: Callable[[int], bool] = lambda mode: True) -> str:
        found = self.paths(wanted)
        if not found:
            raise FileNotFoundError
        return self.random.choice(found)

    def new(self) -> str:
        """A path to make something at; there may be something. Never one that leads through a link."""
        path = os.path.join(self.random.choice([self.root, *self.paths(stat.S_ISDIR)]), self.random.choice(NAMES))
        if os.path.islink(path):
            raise FileExistsError(path)
        return path

    def create(self) -> None:
        path = self.new()
        if not _is_directory(path):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK), "w") as file:
                file.write("x" * self.random.randrange(4))

    def write(self) -> None:
        with open(self.any(stat.S_ISREG), "r+") as file:
            file.write(self.random.choice(["", "1", "22", "333"]))

    def write_and_set_back(self) -> None:
        """Another content of the same size, and the time of modification as it was."""
        path = self.any(stat.S_ISREG)
        status = os.stat(path)
        with open(path, "r+b") as file:
            file.write(self.random.randbytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def open_only(self) -> None:
        """Copied up, and not changed."""
        os.close(os.open(self.any(stat.S_ISREG), os.O_RDWR))

    def touch(self) -> None:
        os.utime(self.any(), (0, self.random.choice([1, 1.5, 2**31])), follow_symlinks=False)

    def chmod(self) -> None:
        os.chmod(
            self.any(lambda mode: not stat.S_ISLNK(mode)), self.random.choice([0o755, 0o700, 0o644, 0o4755, 0o1777])
        )

    def chown(self) -> None:
        os.chown(self.any(), self.random.randrange(3), self.random.randrange(3), follow_symlinks=False)

    def set_xattr(self) -> None:
        path = self.any(lambda mode: stat.S_ISDIR(mode) or stat.S_ISREG(mode))
        os.setxattr(path, "user.test", self.random.choice([b"1", b"2"]))

    def delete(self) -> None:
        self.remove(self.any())

    def remove(self, path: str) -> None:
        if _is_directory(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def rename(self) -> None:
        os.rename(self.any(), self.new())

    def make_directory(self) -> None:
        os.mkdir(self.new())

    def nest(self) -> None:
        os.makedirs(os.path.join(self.new(), *self.random.choices(NAMES, k=3)))

    def make_again(self) -> None:
        """Delete a directory and make it again, with some of the names that were in it."""
        path = self.any(stat.S_ISDIR)
        names = sorted(os.listdir(path))
        shutil.rmtree(path)
        os.mkdir(path)
        for name in names:
            if self.random.random() < 0.5:
                os.mkdir(os.path.join(path, name))

    def replace(self) -> None:
        """A file by a directory, a directory by a file."""
        path = self.any()
        was_directory = _is_directory(path)
        self.remove(path)
        if was_directory:
            with open(path, "w") as file:
                file.write("was a directory")
        else:
            os.makedirs(os.path.join(path, self.random.choice(NAMES)))

    def link(self) -> None:
        os.link(self.any(lambda mode: not stat.S_ISDIR(mode)), self.new(), follow_symlinks=False)

    def symlink(self) -> None:
        os.symlink(self.random.choice(["a", "b/c", "/nowhere/at/all", "dangling"]), self.new())

    def make_special(self) -> None:
        path = self.new()
        kind = self.random.randrange(4)
        if kind == 0:
            os.mkfifo(path)
        elif kind == 1:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        elif kind == 2:
            os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 0))
        else:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)


def main() -> None:
    verb, root, *rest = sys.argv[1:]
    if verb in ("grow", "change"):
        churn = Churn(root, int(rest[0]))
        (churn.grow if verb == "grow" else churn.change)(int(rest[1]))
    else:
        print(json.dumps({way: differences(root, rest[0], thorough=way == "truth") for way in ("docker", "truth")}))


if __name__ == "__main__":
    main()
