"""Names of containers, networks and volumes for somebody who is typing, read with next to nothing loaded: msgspec alone
takes twice as long.

Of a plain host alone: its engine is where it usually is, without a configuration of its own, and no file system may be
on the way that does not answer. Else, and where a record is not as Docker writes it, all records are to be read as for
any answer (`hostinspect.cli.completion`). Tests hold both equal.
"""

from __future__ import annotations

import os
import stat

from hostinspect.engines.boltdb import Bolt, BoltError
from hostinspect.engines.docker.naming import is_id, is_name
from hostinspect.engines.docker.table import open_table
from hostinspect.engines.programs import ENGINE_COMMS
from hostinspect.engines.protobuf import Message, ProtobufError, fields
from hostinspect.kernel import procfs, waiting
from hostinspect.kernel.files import Directory
from hostinspect.kernel.filesystems import is_remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hostinspect.cli.options import Family

_WAY = ("/var", "/var/lib", "/var/lib/docker")
_TASKS = "swarm/worker/tasks.db"
_CONFIGURATION = "/etc/docker/daemon.json"
_OPTIONS = ("--data-root", "--graph", "-g", "--config-file", "--userns-remap")  # dockerd's that say where things are
_APART = ("/proc/", "/sys/", "/run/")  # what is mounted beneath these is on no way of ours
_MOST = 4096  # containers, and volumes
_RECORD, _TABLE = 8 << 20, 16 << 20  # bytes of a config.v2.json, of a database
_FILE = 4 << 20  # bytes of a file of /proc
MADE_UP = 64  # digits of an anonymous volume's name


class NotPlainError(Exception):
    """It takes more to tell."""


def names_of(families: Collection[Family]) -> set[str]:
    """The names of all that there are in these families, but for those that the engine made up, and for what is no
    name: that is the work of somebody who hopes for a shell that runs it. Raises NotPlainError, OSError, ValueError.
    """
    with Directory("/proc") as proc:
        _check_mounts(proc.read("1/mountinfo", _FILE).decode())
        _check_way()
        _check_daemons(proc)
    with Directory(_WAY[-1]) as files:
        try:
            return {name for family in families for name in _FAMILIES[family](files) if is_name(name)}
        except (BoltError, ProtobufError):
            raise NotPlainError from None


# --- whether the host is plain ----------------------------------------------------------------------------------------


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
    host = procfs.parse_namespace(proc.readlink("1/ns/mnt"))
    for pid in procfs.pids(proc.fd):
        try:
            process = procfs.open_process(proc.fd, pid)
        except procfs.GONE:
            continue
        try:
            comm = procfs.read("comm", process).removesuffix(b"\n")
            if comm not in ENGINE_COMMS:
                continue
            words = procfs.parse_cmdline(procfs.raw_cmdline(process))
            if comm != b"dockerd" and "".join(words[:1]).rpartition("/")[2] != "dockerd":
                continue
            is_other = os.fstat(process).st_uid != 0 or procfs.namespace(process, "mnt") != host
        except procfs.GONE:
            continue
        finally:
            os.close(process)
        if is_other or any(word.startswith(_OPTIONS) for word in words):
            raise NotPlainError


# --- names in records, as Docker writes these -------------------------------------------------------------------------


def _containers(files: Directory) -> Iterator[str]:
    ids = [name for name in files.listdir("containers") if is_id(name)]
    _check_number(len(ids))
    return (name_in(files.read(f"containers/{id_}/config.v2.json", _RECORD), id_) for id_ in ids)


def _networks(files: Directory) -> Iterator[str]:
    """Those of local-kv.db and, where it is in a swarm, of the node's tasks: `hostinspect.engines.docker.swarm`."""
    begin = b"docker/network/v1.0/network/"
    for key, value in open_table(files, "network/files/local-kv.db", _TABLE).items(b"libnetwork"):
        if key.startswith(begin):
            yield network_in(value[8:], key[len(begin) :].rstrip(b"/").decode())
    if files.exists(_TASKS):
        for _, task in open_table(files, _TASKS, _TABLE).buckets(b"v1", b"tasks"):
            for number, attachment in fields(dict(task).get(b"data", b"")):
                if number == 11 and isinstance(attachment, bytes):
                    yield Message(attachment).message(1).message(3).message(1).string(1)


def _volumes(files: Directory) -> Iterator[str]:
    names = {name for name in files.listdir("volumes") if is_name(name)} - {"metadata.db"}
    recorded = {*_recorded(open_table(files, "volumes/metadata.db", _TABLE))}
    _check_number(len(names | recorded))
    for name in names | recorded:
        if len(name) != MADE_UP and (name in recorded or files.is_dir(f"volumes/{name}")):
            yield name


def _recorded(table: Bolt) -> Iterator[str]:
    for name, value in table.items(b"volumes"):
        if not value.startswith(b'{"Name":"%b","Driver":"' % name) or not value.endswith(b"}"):
            raise NotPlainError
        yield name.decode()


_FAMILIES = {"containers": _containers, "networks": _networks, "volumes": _volumes}


def _check_number(things: int) -> None:
    if things > _MOST:
        raise NotPlainError


def network_in(record: bytes, id_: str) -> str:
    """The network's name in its record in local-kv.db. Raises NotPlainError.

    Its keys are sorted: what else users have named, options and labels, stands before the last of this key.

    >>> network_in(b'{"id":"0f","inDelete":false,"labels":{"a":"","name":"x"},"name":"my_net","networkType":""}', "0f")
    'my_net'
    """
    before, _, behind = record.rpartition(b',"name":"')
    name, quote, rest = behind.partition(b'"')
    is_whole = quote and rest.startswith(b',"networkType":"') and rest.endswith(b"}")
    if not is_whole or b'"inDelete":false,' not in before or f'"id":"{id_}"'.encode() not in before:
        raise NotPlainError
    return name.decode()


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
    told = name.decode()
    if not is_name(told) or f'"ID":"{id_}"'.encode() not in record:
        raise NotPlainError
    return told
