"""BoltDB files, read only and without a lock: what dockerd, libnetwork and swarmkit keep their tables in.

The format is etcd-io/bbolt's (its README, "Caveats & Limitations", and the layout of `page`, `meta` and `bucket`): a
file of pages, of which the first two are *meta* pages. Each meta names the root page of a tree; a commit writes the
tree's changed pages into free ones and then overwrites the older meta, so the valid meta with the higher transaction
id is the newest whole state. A page is

    id u64 · flags u16 · count u16 · overflow u32 · elements[count] · keys and values

and keys and values lie at `pos` bytes after the start of their own element. A value whose element has flag 1 is a
bucket: root page u64, sequence u64, and when root is 0 a whole leaf page follows in line.

dockerd holds flock(2) on these files for as long as it lives. Its lock is not taken and not waited for: the file is
copied with one bounded read, and the copy counts if the newest meta is the same after the read as it is in the copy
(pages of a state are overwritten by the next commit but one at the earliest). A copy, not a map: truncating a mapped
file kills the reader with SIGBUS.

A file is input from outside. Every number in it is checked, no page is visited twice, and whatever is wrong is a
`BoltError` in words.

    >>> Bolt(b"")
    Traceback (most recent call last):
    ...
    hostinspect.engines.boltdb.BoltError: not a BoltDB file: no valid meta page
"""

from __future__ import annotations

import os
import struct

from hostinspect.kernel import tape

TYPE_CHECKING = False
if TYPE_CHECKING:  # names are completed with next to nothing loaded (`hostinspect.cli.names`)
    from collections.abc import Iterator, Sequence

MAX_SIZE = 64 << 20  # bytes; a local-kv.db of 1,000 networks is about 2 MiB
MAX_DEPTH = 64  # of branch pages; a tree of 2**64 keys is not that deep
RETRIES = 8  # commits that may come in between before giving up

_MAGIC = 0xED0CDAED
_VERSION = 2
_BRANCH, _LEAF = 0x01, 0x02
_BUCKET = 0x01
_PAGE_HEADER = 16
_META_SIZE = 64
_PAGE_SIZES = tuple(1 << shift for shift in range(9, 17))  # 512 bytes to 64 KiB: the page sizes of Linux' machines


Item = tuple[bytes, bytes]  # key, value
_Element = tuple[bytes, bytes, bool]  # key, value, and whether the value is a bucket


class BoltError(Exception):
    """The file is not a BoltDB file, damaged, or did not stand still. `str()` says which, for a person."""


class _Meta:
    """The valid meta page at `offset`; raises `BoltError` where there is none."""

    def __init__(self, content: bytes, offset: int) -> None:
        start = offset + _PAGE_HEADER
        if len(content) < start + _META_SIZE:
            raise BoltError("no meta page")
        # A file is in its machine's byte order, and may be looked at on another machine.
        for order in "<>":
            fields = struct.unpack_from(order + "IIIIQQQQQQ", content, start)
            if fields[0] == _MAGIC:
                break
        else:
            raise BoltError("no meta page")
        self.page_size: int
        self.root: int
        self.page_count: int  # pages from here on were never written
        self.txid: int
        _, version, self.page_size, _, self.root, _, _, self.page_count, self.txid, checksum = fields
        if version != _VERSION or self.page_size not in _PAGE_SIZES:
            raise BoltError(f"version {version}, page size {self.page_size}: not known")
        if checksum != _fnv1a(content[start : start + _META_SIZE - 8]):
            raise BoltError("damaged meta page")
        self.order = order


def _fnv1a(content: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in content:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def _newest_meta(content: bytes) -> _Meta:
    """The valid meta page with the higher transaction id. The second one starts at the page size, whatever it is."""
    found: _Meta | None = None
    for offset in (0, *_PAGE_SIZES):
        try:
            meta = _Meta(content, offset)
        except BoltError:
            continue
        if offset not in (0, meta.page_size):
            continue
        if found is None or meta.txid > found.txid:
            found = meta
        if offset:
            break
    if found is None:
        raise BoltError("not a BoltDB file: no valid meta page")
    return found


class Bolt:
    """One state of a BoltDB file, held in memory.

    `Bolt(content)` takes a whole file's bytes; `Bolt.read(fd)` copies them from an open file that another process may
    be writing. Both raise `BoltError`; `read` raises `OSError` where the file cannot be read.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._meta = _newest_meta(content)
        self._element_branch = struct.Struct(self._meta.order + "IIQ")  # pos, key size, page
        self._element_leaf = struct.Struct(self._meta.order + "IIII")  # flags, pos, key size, value size
        self._header = struct.Struct(self._meta.order + "QHHI")  # id, flags, count, overflow
        self._bucket = struct.Struct(self._meta.order + "QQ")  # root, sequence

    @classmethod
    def read(cls, fd: int, limit: int = MAX_SIZE) -> Bolt:
        """Copy the file at `fd`, at most `limit` bytes, again while commits come in between."""
        for _ in range(RETRIES):
            content = _pread_all(fd, limit)
            bolt = cls(content)
            metas = os.pread(fd, _PAGE_SIZES[-1] + _PAGE_HEADER + _META_SIZE, 0)
            if _newest_meta(metas).txid == bolt.txid:
                if tape.running:
                    tape.running.keep(content, "", fd)
                return bolt
        raise BoltError(f"it changed under each of {RETRIES} reads")

    @property
    def txid(self) -> int:
        """Transaction that wrote this state; it grows with every commit."""
        return self._meta.txid

    def items(self, *path: bytes) -> Iterator[Item]:
        """Keys and values in the bucket at `path`, in key order, without its sub-buckets. No such bucket: none."""
        return _items(self._bucket_at(path, _Walk(len(self._content), len(path))))

    def buckets(self, *path: bytes) -> Iterator[tuple[bytes, Iterator[Item]]]:
        """The buckets in the bucket at `path`, in order, each with its items; without a path, the file's own."""
        walk = _Walk(len(self._content), len(path) + 1)
        for key, value, is_bucket in self._bucket_at(path, walk):
            if is_bucket:
                yield key, _items(self._open_bucket(value, walk))

    def within(self, inner: Sequence[bytes], *path: bytes) -> Iterator[tuple[bytes, Iterator[Item]]]:
        """As `buckets`, with the items of the bucket at `inner` in each; none of one without that."""
        walk = _Walk(len(self._content), len(path) + 1 + len(inner))
        for key, value, is_bucket in self._bucket_at(path, walk):
            if is_bucket:
                yield key, _items(self._below(self._open_bucket(value, walk), inner, walk))

    def _bucket_at(self, path: Sequence[bytes], walk: _Walk) -> Iterator[_Element]:
        return self._below(self._tree(self._meta.root, walk), path, walk)

    def _below(self, elements: Iterator[_Element], path: Sequence[bytes], walk: _Walk) -> Iterator[_Element]:
        """What is in the bucket at `path` from that of these `elements` on."""
        for name in path:
            value = next((value for key, value, is_bucket in elements if is_bucket and key == name), None)
            if value is None:
                return
            elements = self._open_bucket(value, walk)
        yield from elements

    def _open_bucket(self, value: bytes, walk: _Walk) -> Iterator[_Element]:
        if len(value) < self._bucket.size:
            raise BoltError("a bucket shorter than its header")
        root: int = self._bucket.unpack_from(value)[0]
        if root:
            return self._tree(root, walk)
        return self._leaf(value[self._bucket.size :], walk)

    def _tree(self, root: int, walk: _Walk) -> Iterator[_Element]:
        """The leaf elements below a page, left to right."""
        waiting = [(root, 0)]
        while waiting:
            page_id, depth = waiting.pop()
            if depth > MAX_DEPTH:
                raise BoltError(f"branches deeper than {MAX_DEPTH} pages")
            page = self._page(page_id, walk)
            _, flags, count, _ = self._header.unpack_from(page)
            if flags & _LEAF:
                yield from self._leaf(page, walk)
            elif flags & _BRANCH:
                if len(page) < _PAGE_HEADER + count * self._element_branch.size:
                    raise BoltError(f"page {page_id}: {count} elements do not fit into it")
                children = self._element_branch.iter_unpack(page[_PAGE_HEADER : _PAGE_HEADER + count * 16])
                waiting.extend((child, depth + 1) for _, _, child in reversed(list(children)))
            else:
                raise BoltError(f"page {page_id}: neither branch nor leaf (flags {flags:#x})")

    def _page(self, page_id: int, walk: _Walk) -> bytes:
        """A page with its overflow pages. Each page of the file may be had once in a walk, which rules out cycles."""
        size = self._meta.page_size
        start = page_id * size
        if not 2 <= page_id < self._meta.page_count or start + _PAGE_HEADER > len(self._content):
            raise BoltError(f"page {page_id} is outside of the file")
        own_id, _, _, overflow = self._header.unpack_from(self._content, start)
        if own_id != page_id:
            raise BoltError(f"page {page_id} says that it is page {own_id}")
        end = start + (overflow + 1) * size
        if end > len(self._content):
            raise BoltError(f"page {page_id} ends outside of the file")
        walk.claim(page_id, overflow)
        return self._content[start:end]

    def _leaf(self, page: bytes, walk: _Walk) -> Iterator[_Element]:
        if len(page) < _PAGE_HEADER:
            raise BoltError("a page shorter than its header")
        _, flags, count, _ = self._header.unpack_from(page)
        if not flags & _LEAF:
            raise BoltError(f"a page in line that is no leaf (flags {flags:#x})")
        if len(page) < _PAGE_HEADER + count * self._element_leaf.size:
            raise BoltError(f"{count} elements do not fit into their page")
        for start in range(_PAGE_HEADER, _PAGE_HEADER + count * 16, 16):
            flags, pos, key_size, value_size = self._element_leaf.unpack_from(page, start)
            middle = start + pos + key_size
            if middle + value_size > len(page):
                raise BoltError("a key or value ends outside of its page")
            walk.spend(key_size + value_size)
            yield page[start + pos : middle], page[middle : middle + value_size], bool(flags & _BUCKET)


def _items(elements: Iterator[_Element]) -> Iterator[Item]:
    return ((key, value) for key, value, is_bucket in elements if not is_bucket)


class _Walk:
    """What one walk has used of the file: a hostile one is stopped before it costs more than reading all of it."""

    def __init__(self, size: int, depth: int) -> None:
        self._seen: set[int] = set()
        # A bucket in line is part of the value of the one around it, so its bytes are paid for at each depth.
        self._left = (depth + 1) * size

    def claim(self, page_id: int, overflow: int) -> None:
        pages = range(page_id, page_id + overflow + 1)
        if not self._seen.isdisjoint(pages):
            raise BoltError(f"page {page_id} is reached twice")
        self._seen.update(pages)

    def spend(self, size: int) -> None:
        """Keys and values do not overlap in a sound file, so together they are no longer than it."""
        self._left -= size
        if self._left < 0:
            raise BoltError("keys and values overlap")


def _pread_all(fd: int, limit: int) -> bytes:
    """The file's bytes; `BoltError` past `limit`. pread(2), so that a shared file position does not matter."""
    size = os.fstat(fd).st_size
    if size > limit:
        raise BoltError(f"{size} bytes, more than the {limit} that are read")
    parts: list[bytes] = []
    offset = 0
    while offset <= limit:
        part = os.pread(fd, max(size - offset, 0) + 1, offset)
        if not part:
            return b"".join(parts)
        parts.append(part)
        offset += len(part)
    raise BoltError(f"it grew past the {limit} bytes that are read")
