"""Facts in a file: gzip around JSON (RFC 1952, RFC 8259), with the version of the form it is in.

    {"hostinspect_snapshot": 1, "written_by": "0.1.0", "facts": {"host": {…}, "processes": […], …},
     "raw": [{"source": "/proc/1/stat", "content": "…base64…"}, …]}

Records may gain fields that have a default within one version, so an older snapshot is read by a newer hostinspect.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from hostinspect import __version__
from hostinspect.facts import Facts
from hostinspect.kernel.raw import Raw

VERSION = 1

_MAX_FILE = 256 << 20  # bytes, as it is on disk
_MAX_CONTENT = 2 << 30  # bytes, unpacked: a file of zeros packs a thousandfold
_GZIP = b"\x1f\x8b"


class SnapshotError(Exception):
    """No snapshot, or one that cannot be read here; the message says why."""


class _Head(Struct):
    hostinspect_snapshot: int
    written_by: str = "?"


class _Snapshot(Struct, omit_defaults=True):
    hostinspect_snapshot: int
    written_by: str
    facts: Facts
    raw: tuple[Raw, ...] = ()


class _Facts(Struct):
    facts: Facts


def write_snapshot(facts: Facts, path: str, raw: Sequence[Raw] = ()) -> None:
    """Write the facts to `path`, with the bytes they were made of: all or nothing, for its owner alone (mode 0600).

    Raises OSError.
    """
    content = msgspec.json.encode(
        _Snapshot(hostinspect_snapshot=VERSION, written_by=__version__, facts=facts, raw=tuple(raw))
    )
    packed = gzip.compress(content, compresslevel=6, mtime=0)  # no time, no name: equal facts are equal bytes
    unfinished = f"{path}.{os.getpid()}.part"
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(packed)
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, path)  # noqa: PTH104
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)  # noqa: PTH108
        raise


def read_snapshot(path: str) -> Facts:
    """The facts in `path`. Raises OSError, `SnapshotError`."""
    with open(path, "rb") as file:  # noqa: PTH123
        packed = file.read(_MAX_FILE + 1)
    if not packed.startswith(_GZIP):
        raise SnapshotError("it is no snapshot of hostinspect: not a gzip file")
    if len(packed) > _MAX_FILE:
        raise SnapshotError(f"it is larger than {_MAX_FILE >> 20} MiB")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(packed, _MAX_CONTENT)
    except zlib.error as error:
        raise SnapshotError(f"it is damaged: {error}") from None
    if not unpacker.eof:
        raise SnapshotError("it is cut short" if len(content) < _MAX_CONTENT else "it unpacks to more than 2 GiB")
    try:
        head = msgspec.json.decode(content, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotError(f"it is no snapshot of hostinspect: {error}") from None
    if head.hostinspect_snapshot != VERSION:
        raise SnapshotError(
            f"it is in form {head.hostinspect_snapshot}, written by hostinspect {head.written_by}; "
            f"{__version__} reads form {VERSION}"
        )
    try:
        return msgspec.json.decode(content, type=_Facts).facts
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotError(f"it is damaged: {error}") from None
