"""Writes a BoltDB file of one bucket, as libnetwork's local-kv.db is: for hosts with more than an engine can make."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

PAGE = 4096
_BRANCH, _LEAF, _META, _FREELIST = 1, 2, 4, 16
_HEADER, _ELEMENT = 16, 16
_BUCKET_FLAG = 1

Item = tuple[int, bytes, bytes]  # flags, key, value


def bolt_file(bucket: bytes, items: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The file (bbolt: page.go, bucket.go), its bucket a tree of as many pages as it takes."""
    pages = _Pages()
    level = [pages.leaf(group) for group in _groups([(0, key, value) for key, value in sorted(items)])]
    while len(level) > 1:
        level = [pages.branch(group) for group in _branches(level)]
    root, _ = level[0]
    top, _ = pages.leaf([(_BUCKET_FLAG, bucket, struct.pack("<QQ", root, 0))])
    freelist = struct.pack("<QHHI", 2, _FREELIST, 0, 0).ljust(PAGE, b"\0")
    metas = [meta_page(number, top, transaction, pages.next) for number, transaction in enumerate((1, 2))]
    return b"".join((*metas, freelist, *pages.written))


class _Pages:
    """Pages from the fourth on, in their order."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.next = 3

    def leaf(self, items: Sequence[Item]) -> tuple[int, bytes]:
        page = leaf_page(self.next, items)
        page = leaf_page(self.next, items, overflow=-(-len(page) // PAGE) - 1)
        return self._add(page), items[0][1] if items else b""

    def branch(self, children: Sequence[tuple[int, bytes]]) -> tuple[int, bytes]:
        elements, tail = b"", b""
        for index, (page, key) in enumerate(children):
            position = (len(children) - index) * _ELEMENT + len(tail)
            elements += struct.pack("<IIQ", position, len(key), page)
            tail += key
        header = struct.pack("<QHHI", self.next, _BRANCH, len(children), 0)
        return self._add(header + elements + tail), children[0][1]

    def _add(self, page: bytes) -> int:
        number, size = self.next, -(-len(page) // PAGE)
        self.written.append(page.ljust(size * PAGE, b"\0"))
        self.next += size
        return number


def _groups(items: Sequence[Item]) -> Iterable[list[Item]]:
    """Items that fit a page; a longer one has pages of its own."""
    group: list[Item] = []
    size = _HEADER
    for item in items:
        needed = _ELEMENT + len(item[1]) + len(item[2])
        if group and size + needed > PAGE:
            yield group
            group, size = [], _HEADER
        group.append(item)
        size += needed
    yield group


def _branches(children: Sequence[tuple[int, bytes]]) -> Iterable[Sequence[tuple[int, bytes]]]:
    per_page = (PAGE - _HEADER) // (_ELEMENT + max(len(key) for _, key in children))
    return (children[start : start + per_page] for start in range(0, len(children), per_page))


def leaf_page(number: int, items: Sequence[Item], overflow: int = 0, order: str = "<") -> bytes:
    """A leaf, unpadded; `overflow` is how many pages it has beyond the first."""
    elements, tail = b"", b""
    for index, (flags, key, value) in enumerate(items):
        position = (len(items) - index) * _ELEMENT + len(tail)
        elements += struct.pack(order + "IIII", flags, position, len(key), len(value))
        tail += key + value
    return struct.pack(order + "QHHI", number, _LEAF, len(items), overflow) + elements + tail


def meta_page(
    number: int, root: int, transaction: int, pages: int = 16, page_size: int = PAGE, order: str = "<"
) -> bytes:
    """A meta page of a file of that many pages, whose root bucket is on page `root`."""
    body = struct.pack(order + "IIIIQQQQQ", 0xED0CDAED, 2, page_size, 0, root, 0, 2, pages, transaction)
    checksum = struct.pack(order + "Q", _fnv1a(body))
    return (struct.pack(order + "QHHI", number, _META, 0, 0) + body + checksum).ljust(page_size, b"\0")


def _fnv1a(content: bytes) -> int:
    """The 64-bit FNV-1a hash."""
    found = 0xCBF29CE484222325
    for byte in content:
        found = (found ^ byte) * 0x100000001B3 % (1 << 64)
    return found
