"""Names of containers for somebody who is typing, read with next to nothing loaded: msgspec alone takes twice as long.

Of a plain host alone: its engine is where it usually is, without a configuration of its own, and no file system may be
on the way that does not answer. Else, and where a record is not as Docker writes it, all records are to be read as for
any answer (`hostinspect.cli.completion`). Tests hold both equal.
"""

from __future__ import annotations

import os
import stat

from hostinspect.kernel import waiting
from hostinspect.kernel.files import Directory
from hostinspect.kernel.filesystems import is_remote

_WAY = ("/var", "/var/lib", "/var/lib/docker", "/var/lib/docker/containers")
_CONFIGURATION = "/etc/docker/daemon.json"
_OPTIONS = ("--data-root", "--graph", "-g", "--config-file", "--userns-remap")  # dockerd's that say where things are
_APART = ("/proc/", "/sys/", "/run/")  # what is mounted beneath these is on no way of ours
_MOST = 4096  # containers
_RECORD = 8 << 20  # bytes of a config.v2.json
_FILE = 4 << 20  # bytes of a file of /proc


class NotPlainError(Exception):
    """It takes more to tell."""


def names_of_containers() -> list[str]:
    """The names of all containers, in no order. Raises NotPlainError, OSError."""
    with Directory("/proc") as proc:
        _check_mounts(proc.read("1/mountinfo", _FILE).decode())
        _check_way()
        _check_daemons(proc)
    with Directory(_WAY[-1]) as containers:
        ids = [name for name in containers.listdir() if len(name) == 64 and not name.strip("0123456789abcdef")]
        if len(ids) > _MOST:
            raise NotPlainError
        return [name_in(containers.read(f"{id_}/config.v2.json", _RECORD), id_) for id_ in ids]


def _check_mounts(mountinfo: str) -> None:
    for line in mountinfo.splitlines():
        point = line.split(" ", 5)[4]
        if is_remote(line.partition(" - ")[2].partition(" ")[0]) and not point.startswith(_APART):
            raise NotPlainError


def _check_way() -> None:
    for path in _WAY:
        waiting.on(path, path)
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise NotPlainError
    waiting.on(_CONFIGURATION, _CONFIGURATION)
    try:
        os.lstat(_CONFIGURATION)
    except (FileNotFoundError, NotADirectoryError):
        return
    raise NotPlainError


def _check_daemons(proc: Directory) -> None:
    """Whether each is root's, of the host, and told nothing of where its things are."""
    mine = os.getpid()
    host = proc.readlink("1/ns/mnt")
    for name in proc.listdir():
        if not name.isdecimal() or int(name) == mine:
            continue
        try:
            words = os.fsdecode(proc.read(f"{name}/cmdline", _FILE)).split("\0")
            comm = proc.read(f"{name}/comm", _FILE)
            if comm != b"dockerd\n" and words[0].rpartition("/")[2] != "dockerd":
                continue
            is_other = proc.lstat(name).st_uid != 0 or proc.readlink(f"{name}/ns/mnt") != host
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        if is_other or any(word.startswith(_OPTIONS) for word in words):
            raise NotPlainError


def name_in(record: bytes, id_: str) -> str:
    """The container's name in its config.v2.json. Raises NotPlainError.

    The key that is meant stands before "Driver", as Docker writes it. Labels may have such names too, but are sorted,
    and within a string a quote has a backslash in front.

    >>> name_in(b'{"ID":"0f","Config":{"Labels":{"A":"","Name":"/a"}},"Name":"/web1","Driver":"overlay2"}', "0f")
    'web1'
    """
    for part in record.split(b',"Name":"/')[1:]:
        name, _, behind = part.partition(b'"')
        if behind.startswith(b',"Driver":"'):
            break
    else:
        raise NotPlainError
    is_name = name[:1].isalnum() and name.replace(b"_", b"").replace(b".", b"").replace(b"-", b"").isalnum()
    if not is_name or f'"ID":"{id_}"'.encode() not in record:
        raise NotPlainError
    return name.decode()
