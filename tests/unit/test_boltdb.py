"""BoltDB: real tables of dockerd, tables made by hand page by page, and hostile ones."""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostinspect.engines import boltdb
from hostinspect.engines.boltdb import Bolt, BoltError
from tests.lab.bolt import PAGE, leaf_page, meta_page
from tests.unit.docker_fixtures import RECORDED, lay_out

BRANCH, LEAF, FREELIST = 1, 2, 16


def branch_page(page_id: int, children: list[int]) -> bytes:
    header = struct.pack("<QHHI", page_id, BRANCH, len(children), 0)
    return header + b"".join(struct.pack("<IIQ", 0, 0, child) for child in children)


def bucket(root: int, inline: bytes = b"") -> bytes:
    return struct.pack("<QQ", root, 0) + inline


def table(*pages: bytes, root: int = 3, txid: int = 7) -> bytes:
    """A file of two metas, an empty freelist, and `pages` from page 3 on."""
    freelist = struct.pack("<QHHI", 2, FREELIST, 0, 0)
    parts = [meta_page(0, root, txid - 1), meta_page(1, root, txid), freelist, *pages]
    return b"".join(part.ljust(-(-len(part) // PAGE) * PAGE, b"\0") for part in parts)


def walk(content: bytes, *path: bytes) -> list[tuple[bytes, bytes]]:
    return list(Bolt(content).items(*path))


def everything(bolt: Bolt, *path: bytes, depth: int = 3) -> int:
    """Visit all items of all buckets, as deep as the readers of Docker's tables go; their number."""
    count = sum(1 for _ in bolt.items(*path))
    for name, items in bolt.buckets(*path):
        count += sum(1 for _ in items)
        if depth:
            count += everything(bolt, *path, name, depth=depth - 1)
    return count


# --- sound tables -----------------------------------------------------------------------------------------------


def test_leaf_at_the_root() -> None:
    assert walk(table(leaf_page(3, [(0, b"a", b"1"), (0, b"b", b"")]))) == [(b"a", b"1"), (b"b", b"")]


def test_branch_keeps_the_order() -> None:
    content = table(branch_page(3, [5, 4]), leaf_page(4, [(0, b"b", b"2")]), leaf_page(5, [(0, b"a", b"1")]))
    assert walk(content) == [(b"a", b"1"), (b"b", b"2")]


def test_bucket_in_line() -> None:
    content = table(leaf_page(3, [(1, b"bk", bucket(0, leaf_page(0, [(0, b"k", b"v")]))), (0, b"x", b"y")]))
    assert walk(content, b"bk") == [(b"k", b"v")]
    assert walk(content) == [(b"x", b"y")]
    assert [name for name, _ in Bolt(content).buckets()] == [b"bk"]


def test_bucket_on_a_page_of_its_own_in_a_bucket_in_line() -> None:
    inner = leaf_page(0, [(1, b"inner", bucket(4))])
    content = table(leaf_page(3, [(1, b"outer", bucket(0, inner))]), leaf_page(4, [(0, b"k", b"v")]))
    assert walk(content, b"outer", b"inner") == [(b"k", b"v")]
    assert [(name, list(items)) for name, items in Bolt(content).buckets(b"outer")] == [(b"inner", [(b"k", b"v")])]


def test_value_over_several_pages() -> None:
    value = bytes(range(256)) * 40
    assert walk(table(leaf_page(3, [(0, b"big", value)], overflow=2))) == [(b"big", value)]


def test_no_such_bucket_is_empty() -> None:
    assert walk(table(leaf_page(3, [(0, b"a", b"1")])), b"nowhere") == []
    assert walk(table(leaf_page(3, [(0, b"a", b"1")])), b"a") == []  # a key that is no bucket


def test_newer_meta_wins_and_an_invalid_one_is_passed_over() -> None:
    old, new = leaf_page(3, [(0, b"k", b"old")]), leaf_page(4, [(0, b"k", b"new")])
    rest = table(old, new)[2 * PAGE :]
    assert walk(meta_page(0, 4, 9) + meta_page(1, 3, 8) + rest) == [(b"k", b"new")]
    assert walk(meta_page(0, 3, 8) + meta_page(1, 4, 9) + rest) == [(b"k", b"new")]
    torn = bytearray(meta_page(0, 4, 9))
    torn[40] ^= 1  # a commit that has not been written whole
    assert walk(bytes(torn) + meta_page(1, 3, 8) + rest) == [(b"k", b"old")]


@pytest.mark.parametrize("page_size", [1024, 16384, 65536])
def test_page_size_of_another_machine(page_size: int) -> None:
    leaf = leaf_page(2, [(0, b"k", b"v")]).ljust(page_size, b"\0")
    content = meta_page(0, 2, 1, page_size=page_size) + meta_page(1, 2, 2, page_size=page_size) + leaf
    assert walk(content) == [(b"k", b"v")]
    assert walk(b"\0" * page_size + content[page_size:]) == [(b"k", b"v")]  # first meta lost


def test_byte_order_of_another_machine() -> None:
    leaf = leaf_page(2, [(0, b"k", b"v")], order=">").ljust(PAGE, b"\0")
    content = meta_page(0, 2, 1, order=">") + meta_page(1, 2, 2, order=">") + leaf
    assert walk(content) == [(b"k", b"v")]


# --- damaged and hostile ones -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no valid meta page"),
        (b"SQLite format 3\0" * 1024, "no valid meta page"),
        (table(), "page 3 is outside of the file"),
        (table(branch_page(3, [3])), "page 3 is reached twice"),
        (table(branch_page(3, [4]), branch_page(4, [3])), "reached twice"),
        (table(branch_page(3, [1])), "page 1 is outside"),
        (table(branch_page(3, [2])), "neither branch nor leaf"),
        (table(branch_page(3, [2**63])), "outside of the file"),
        (table(leaf_page(4, [])), "page 3 says that it is page 4"),
        (table(leaf_page(3, [(0, b"k", b"v")], overflow=9)), "page 3 ends outside of the file"),
        (table(struct.pack("<QHHI", 3, LEAF, 65535, 0)), "65535 elements do not fit"),
        (table(struct.pack("<QHHI", 3, BRANCH, 65535, 0)), "65535 elements do not fit"),
        (table(struct.pack("<QHHIIIII", 3, LEAF, 1, 0, 0, 2**32 - 1, 8, 8)), "ends outside of its page"),
        (table(struct.pack("<QHHI", 3, LEAF, 90, 0) + struct.pack("<IIII", 0, 0, 900, 900) * 90), "overlap"),
        (table(struct.pack("<QHHI", 3, 0, 0, 0)), "neither branch nor leaf"),
    ],
)
def test_damage_is_told_in_words(content: bytes, words: str) -> None:
    with pytest.raises(BoltError, match=words):
        everything(Bolt(content))


@pytest.mark.parametrize("value", [b"", b"\0" * 8, bucket(0), bucket(0, b"\0" * 20), bucket(0, branch_page(0, [3]))])
def test_damaged_bucket(value: bytes) -> None:
    with pytest.raises(BoltError):
        walk(table(leaf_page(3, [(1, b"bk", value)])), b"bk")


def test_deep_branches_end() -> None:
    pages = [branch_page(3 + depth, [4 + depth]) for depth in range(200)]
    content = table(*pages)
    content = meta_page(0, 3, 1, pages=500) + meta_page(1, 3, 2, pages=500) + content[2 * PAGE :]
    with pytest.raises(BoltError, match="deeper than"):
        walk(content)


@pytest.fixture(scope="session")
def real_tables(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    directory = tmp_path_factory.mktemp("tables")
    return [
        (data_root / path).read_bytes()
        for data_root in (lay_out(name, directory) for name in RECORDED)
        for path in ("volumes/metadata.db", "swarm/worker/tasks.db", "network/files/local-kv.db")
    ]


def test_real_tables(real_tables: list[bytes]) -> None:
    assert [everything(Bolt(content)) > 0 for content in real_tables] == [True] * len(real_tables)


@settings(max_examples=300)
@given(seed=st.randoms(use_true_random=False), damage=st.integers(1, 60))
def test_mutated_tables_end_in_an_answer_or_in_words(real_tables: list[bytes], seed: Random, damage: int) -> None:
    content = bytearray(seed.choice(real_tables))
    used = [index * PAGE for index in range(2, len(content) // PAGE) if any(content[index * PAGE : index * PAGE + 16])]
    for _ in range(damage):
        # Where structure is: headers and elements at the start of pages, the metas now and then.
        start = seed.choice(used) if seed.random() < 0.95 else 0
        content[start + seed.randrange(120)] = seed.choice((0, 1, 2, 255, seed.randrange(256)))
    if seed.random() < 0.2:
        del content[seed.randrange(len(content)) :]
    begin = time.monotonic()
    try:
        everything(Bolt(bytes(content)))
    except BoltError as error:
        assert str(error)
    assert time.monotonic() - begin < 5


@settings(max_examples=200)
@given(st.binary(max_size=3 * PAGE))
def test_any_pages_behind_valid_metas(pages: bytes) -> None:
    content = meta_page(0, 2, 1) + meta_page(1, 2, 2) + pages
    with suppress(BoltError):
        everything(Bolt(content))


# --- while the daemon writes ------------------------------------------------------------------------------------


def test_read_again_when_a_commit_comes_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(table(leaf_page(3, [(0, b"k", b"old")]), txid=7))
    real_read_all = boltdb._pread_all
    commits = [table(leaf_page(3, [(0, b"k", b"new")]), txid=9)]

    def read_all_then_commit(fd: int, limit: int) -> bytes:
        content = real_read_all(fd, limit)
        if commits:
            path.write_bytes(commits.pop())
        return content

    monkeypatch.setattr(boltdb, "_pread_all", read_all_then_commit)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert list(Bolt.read(fd).items()) == [(b"k", b"new")]
    finally:
        os.close(fd)


def test_give_up_on_a_file_that_never_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(table(leaf_page(3, []), txid=1000))
    txids = iter(range(1, 100))
    monkeypatch.setattr(boltdb, "_pread_all", lambda fd, limit: table(leaf_page(3, []), txid=next(txids)))
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(BoltError, match="changed under each"):
            Bolt.read(fd)
    finally:
        os.close(fd)


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(BoltError, match="more than the"):
            Bolt.read(fd)
    finally:
        os.close(fd)
