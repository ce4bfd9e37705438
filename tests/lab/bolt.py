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
    metas = [_meta(number, top, pages.next, transaction) for number, transaction in enumerate((1, 2))]
    return b"".join((*metas, freelist, *pages.written))


class _Pages:
    """Pages from the fourth on, in their order."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.next = 3

    def leaf(self, items: Sequence[Item]) -> tuple[int, bytes]:
        elements, tail = b"", b""
        for index, (flags, key, value) in enumerate(items):
            position = (len(items) - index) * _ELEMENT + len(tail)
            elements += struct.pack("<IIII", flags, position, len(key), len(value))
            tail += key + value
        return self._page(_LEAF, len(items), elements + tail), items[0][1] if items else b""

    def branch(self, children: Sequence[tuple[int, bytes]]) -> tuple[int, bytes]:
        elements, tail = b"", b""
        for index, (page, key) in enumerate(children):
            position = (len(children) - index) * _ELEMENT + len(tail)
            elements += struct.pack("<IIQ", position, len(key), page)
            tail += key
        return self._page(_BRANCH, len(children), elements + tail), children[0][1]

    def _page(self, kind: int, count: int, body: bytes) -> int:
        number = self.next
        size = -(-(_HEADER + len(body)) // PAGE)
        content = struct.pack("<QHHI", number, kind, count, size - 1) + body
        self.written.append(content.ljust(size * PAGE, b"\0"))
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


def _meta(number: int, root: int, pages: int, transaction: int) -> bytes:
    body = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, PAGE, 0, root, 0, 2, pages, transaction)
    header = struct.pack("<QHHI", number, _META, 0, 0)
    return (header + body + struct.pack("<Q", _fnv1a(body))).ljust(PAGE, b"\0")


def _fnv1a(content: bytes) -> int:
    """The 64-bit FNV-1a hash."""
    found = 0xCBF29CE484222325
    for byte in content:
        found = (found ^ byte) * 0x100000001B3 % (1 << 64)
    return found
