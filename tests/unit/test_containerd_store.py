"""What containerd's tables say of Docker's containers and images; the real ones are read in tests/live."""

from __future__ import annotations

import pytest

from hostinspect.engines.boltdb import Bolt, BoltError
from hostinspect.engines.docker.snapshots import parse_images, parse_snapshots
from hostinspect.facts import ImageRecord, LayerRecord
from tests.lab.bolt import leaf_page
from tests.unit.test_boltdb import bucket, table

Tree = dict[bytes, "bytes | Tree"]

ID, OTHER = "a" * 64, "b" * 64
TOP, BOTTOM = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


def items(tree: Tree) -> list[tuple[int, bytes, bytes]]:
    return [
        (0, key, value) if isinstance(value, bytes) else (1, key, bucket(0, leaf_page(0, items(value))))
        for key, value in sorted(tree.items())
    ]


def file_of(tree: Tree) -> bytes:
    return table(leaf_page(3, items(tree)))


def snapshot(number: bytes, parent: str = "") -> Tree:
    return {b"id": number, b"kind": b"\x03", **({b"parent": parent.encode()} if parent else {})}


def snapshots(**changes: Tree) -> Tree:
    """A container upon its init layer upon two layers of an image."""
    found = {
        f"moby/1/{BOTTOM}": snapshot(b"\x01"),
        f"moby/2/{TOP}": snapshot(b"\x02", f"moby/1/{BOTTOM}"),
        f"moby/3/{ID}-init": snapshot(b"\x03", f"moby/2/{TOP}"),
        f"moby/4/{ID}": snapshot(b"\xac\x02", f"moby/3/{ID}-init"),
        **changes,
    }
    return {b"v1": {b"snapshots": {name.encode(): tree for name, tree in found.items()}}}


def layers(tree: Tree, *of: str) -> list[LayerRecord]:
    return [*parse_snapshots(Bolt(file_of(tree)), "/store", "/roots", of or (ID,))]


def test_the_snapshots_below_a_container() -> None:
    assert layers(snapshots()) == [
        LayerRecord(
            container_id=ID,
            mount_id="300",
            init_id="3",
            parent=TOP,
            lower=("/store/snapshots/3/fs", "/store/snapshots/2/fs", "/store/snapshots/1/fs"),
            upper="/store/snapshots/300/fs",
            work="/store/snapshots/300/work",
            merged=f"/roots/{ID}",
        )
    ]
    assert layers(snapshots(), OTHER) == []


def test_without_an_init_layer() -> None:
    (record,) = layers(snapshots(**{f"moby/4/{ID}": snapshot(b"\x04", f"moby/2/{TOP}")}))
    assert (record.init_id, record.parent) == (None, TOP)


@pytest.mark.parametrize("parent", [f"moby/9/{BOTTOM}", f"moby/4/{ID}", ""])
def test_one_whose_parents_are_not_there_or_without_end_is_left_out(parent: str) -> None:
    assert layers(snapshots(**{f"moby/4/{ID}": snapshot(b"\x04", parent)})) == []


@pytest.mark.parametrize("number", [b"", b"\x80", b"\xff" * 10])
def test_a_damaged_number_is_told(number: bytes) -> None:
    with pytest.raises(BoltError, match="no number of a snapshot"):
        layers(snapshots(**{f"moby/4/{ID}": snapshot(number)}))


_NAMED = {
    "docker.io/library/app:1": TOP,
    "docker.io/me/app:2": TOP,
    f"moby-dangling@{BOTTOM}": BOTTOM,
}
_IMAGES: Tree = {
    name.encode(): {b"target": {b"digest": digest.encode()}, b"labels": {}} for name, digest in _NAMED.items()
}
_OTHER: Tree = {b"images": {b"docker.io/library/pod:1": {b"target": {b"digest": TOP.encode()}}}}
IMAGES_FILE = file_of({b"v1": {b"moby": {b"images": _IMAGES}, b"k8s.io": _OTHER}})


def test_images_by_the_names_that_docker_shows() -> None:
    assert parse_images(Bolt(IMAGES_FILE), "/d") == (
        ImageRecord(data_root="/d", id=TOP, names=("app:1", "me/app:2")),
        ImageRecord(data_root="/d", id=BOTTOM, names=()),
    )
    assert parse_images(Bolt(file_of({b"v1": {}})), "/d") == ()
