"""What containerd's tables and blobs say of Docker's containers and images; the real ones are read in tests/live."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hostinspect.engines.boltdb import Bolt, BoltError
from hostinspect.engines.docker.images import chain_ids
from hostinspect.engines.docker.snapshots import (
    METADATA,
    Home,
    Lease,
    is_of_buildkit,
    layers_of,
    parse_leases,
    parse_snapshots,
    read_home,
)
from hostinspect.engines.docker.stored_images import (
    parse_images,
    read_stored_history,
    read_stored_images,
    read_stored_layers,
)
from hostinspect.facts import BuildCacheRecord, ImageLayerRecord, ImageRecord, LayerRecord
from hostinspect.kernel.files import Directory
from tests.lab.bolt import leaf_page
from tests.unit.test_boltdb import bucket, table

Tree = dict[bytes, "bytes | Tree"]

ID, OTHER, GONE = "a" * 64, "b" * 64, "c" * 64
DIFFS = [f"sha256:{digit * 64}" for digit in "12"]
BOTTOM, TOP = chain_ids(DIFFS)
CACHED = "wqfltkcem0ku5l3aibe4gmczl"
_HOME = "io.containerd.snapshotter.v1.overlayfs"
_BLOBS = "io.containerd.content.v1.content/blobs/sha256"


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
        f"moby/1/{BOTTOM}": {**snapshot(b"\x01"), b"size": b"\x80\x10"},
        f"moby/2/{TOP}": snapshot(b"\x02", f"moby/1/{BOTTOM}"),
        f"moby/3/{ID}-init": snapshot(b"\x03", f"moby/2/{TOP}"),
        f"moby/4/{ID}": snapshot(b"\xac\x02", f"moby/3/{ID}-init"),
        **changes,
    }
    return {b"v1": {b"snapshots": {name.encode(): tree for name, tree in found.items()}}}


def layers(tree: Tree, *of: str) -> list[LayerRecord]:
    return [*layers_of(parse_snapshots(Bolt(file_of(tree))), "/store/snapshots", "/roots", of or (ID,))]


# --- the roots of containers ------------------------------------------------------------------------------------------


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
    assert layers(snapshots(**{f"k8s.io/9/{OTHER}": snapshot(b"\x09", f"moby/1/{BOTTOM}")}), OTHER) == []


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


# --- whose each directory is ------------------------------------------------------------------------------------------

_MOMENT = b"\x01" + (62_135_596_800 + 1_700_000_000).to_bytes(8, "big") + bytes(4) + b"\xff\xff"
_LEASES: Tree = {
    ID.encode(): {b"createdat": _MOMENT, b"snapshots": {b"overlayfs": {ID.encode(): b""}}},
    CACHED.encode(): {b"createdat": _MOMENT, b"snapshots": {b"overlayfs": {BOTTOM.encode(): b""}}},
    b"5193012-XQ90": {b"createdat": _MOMENT, b"content": {BOTTOM.encode(): b""}},
}
LEASES_FILE = file_of({b"v1": {b"moby": {b"leases": _LEASES}, b"k8s.io": {b"leases": {b"x": {}}}}})


def test_leases() -> None:
    assert parse_leases(Bolt(LEASES_FILE)) == (
        Lease("5193012-XQ90", 1_700_000_000, ()),
        Lease(ID, 1_700_000_000, (ID,)),
        Lease(CACHED, 1_700_000_000, (BOTTOM,)),
    )
    assert parse_leases(Bolt(file_of({b"v1": {}}))) == ()


def test_what_is_buildkits() -> None:
    for key in (CACHED, f"{CACHED}-view", f"{CACHED}-variants", f"{TOP}-view"):
        assert is_of_buildkit(key)
    for key in (ID, f"{ID}-init", TOP, "5193012-XQ90", f"extract-717114958-quwZ-{TOP}", "", "-view", "foo"):
        assert not is_of_buildkit(key)


class Notes:
    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, subject: str, why: str | OSError, remedy: str | None = None) -> None:
        self.told.append(f"{subject}: {why}")


def home(store: Path, tree: Tree, leases: bytes = LEASES_FILE) -> Home:
    """What is read of a store with these tables; its directories are there."""
    for number in (1, 2, 3, 300, 5, 6, 7, 999):
        (store / _HOME / "snapshots" / str(number) / "fs").mkdir(parents=True, exist_ok=True)
    (store / _HOME / "metadata.db").write_bytes(file_of(tree))
    (store / METADATA).parent.mkdir(exist_ok=True)
    (store / METADATA).write_bytes(leases)
    notes = Notes()
    with Directory(str(store)) as files:
        found = read_home(files, "/s", "/d", notes)
    assert found is not None and notes.told == []
    return found


_MORE = {
    f"moby/5/{GONE}-init": snapshot(b"\x05", f"moby/1/{BOTTOM}"),
    f"moby/6/{CACHED}": snapshot(b"\x06", f"moby/2/{TOP}"),
    "k8s.io/7/pod": snapshot(b"\x07"),
}


def test_every_snapshot_has_a_name_and_the_layers_are_those_of_images(tmp_path: Path) -> None:
    found = home(tmp_path, snapshots(**_MORE))
    assert {directory.name: directory.snapshot for directory in found.home.directories} == {
        "1": f"moby/{BOTTOM}",
        "2": f"moby/{TOP}",
        "3": f"moby/{ID}-init",
        "300": f"moby/{ID}",
        "5": f"moby/{GONE}-init",
        "6": f"moby/{CACHED}",
        "7": "k8s.io/pod",
        "999": None,
    }
    assert all(directory.has_diff and directory.modified for directory in found.home.directories)
    assert (found.home.data_root, found.home.path) == ("/d", f"/s/{_HOME}/snapshots")
    assert found.home.build_mounts == ("6",)
    assert found.home.writing == (1_700_000_000,), "of the lease that is neither a container's nor BuildKit's"
    assert {layer.chain_id: (layer.cache_id, layer.parent, layer.size) for layer in found.layers} == {
        BOTTOM: ("1", None, 2048),
        TOP: ("2", BOTTOM, 0),
        f"{ID}-init": ("3", TOP, 0),
        f"{GONE}-init": ("5", BOTTOM, 0),
        ID: ("300", f"{ID}-init", 0),
    }, "a container's too, which is known as such where there is one"
    assert found.build_cache == (
        BuildCacheRecord(data_root="/d", id=CACHED, parent=TOP),
        BuildCacheRecord(data_root="/d", id=CACHED, chain_id=BOTTOM),
    )


def test_without_a_place_for_snapshots_there_is_no_home(tmp_path: Path) -> None:
    notes = Notes()
    with Directory(str(tmp_path)) as files:
        assert read_home(files, "/s", "/d", notes) is None
    assert notes.told == []


@pytest.mark.parametrize("gone", [f"{_HOME}/metadata.db", METADATA])
def test_a_table_that_is_gone_is_told_where_there_are_snapshots(tmp_path: Path, gone: str) -> None:
    home(tmp_path, snapshots())
    (tmp_path / gone).unlink()
    notes = Notes()
    with Directory(str(tmp_path)) as files:
        read_home(files, "/s", "/d", notes)
    assert notes.told == [f"/s/{gone}: it is not there, and 8 snapshots are"]


def test_damaged_tables_are_told_and_the_directories_are_listed(tmp_path: Path) -> None:
    home(tmp_path, snapshots())
    for damaged in (f"{_HOME}/metadata.db", METADATA):
        (tmp_path / damaged).write_bytes(b"damaged")
    notes = Notes()
    with Directory(str(tmp_path)) as files:
        found = read_home(files, "/s", "/d", notes)
    assert found is not None
    assert {directory.snapshot for directory in found.home.directories} == {None}
    assert sorted(notes.told) == [
        f"/s/{METADATA}: not a BoltDB file: no valid meta page",
        f"/s/{_HOME}/metadata.db: not a BoltDB file: no valid meta page",
    ]


# --- images -----------------------------------------------------------------------------------------------------------

_NAMED = {
    "docker.io/library/app:1": TOP,
    "docker.io/me/app:2": TOP,
    f"moby-dangling@{BOTTOM}": BOTTOM,
}


def named(names: dict[str, str]) -> bytes:
    """meta.db with images of these names."""
    images: Tree = {
        name.encode(): {b"target": {b"digest": digest.encode()}, b"labels": {}} for name, digest in names.items()
    }
    others: Tree = {b"images": {b"docker.io/library/pod:1": {b"target": {b"digest": TOP.encode()}}}}
    return file_of({b"v1": {b"moby": {b"images": images}, b"k8s.io": others}})


IMAGES_FILE = named(_NAMED)
INDEX = json.dumps({"manifests": [{"digest": TOP, "annotations": {"a": "b"}, "platform": {"os": "linux"}}]}).encode()
MANIFEST = json.dumps({"config": {"digest": BOTTOM}, "layers": []}).encode()


def test_images_by_the_names_that_docker_shows() -> None:
    assert parse_images(Bolt(IMAGES_FILE), "/d") == tuple(
        sorted(
            (
                ImageRecord(data_root="/d", id=TOP, names=("app:1", "me/app:2")),
                ImageRecord(data_root="/d", id=BOTTOM, names=()),
            ),
            key=lambda image: image.id,
        )
    )
    assert parse_images(Bolt(file_of({b"v1": {}})), "/d") == ()


class Content:
    """A store's blobs."""

    def __init__(self, store: Path) -> None:
        self.store, self.notes = store, Notes()
        (store / _BLOBS).mkdir(parents=True)
        (store / METADATA).parent.mkdir()

    def add(self, value: Any) -> str:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        name = sha256(content).hexdigest()
        (self.store / _BLOBS / name).write_bytes(content)
        return f"sha256:{name}"

    def manifest(self, *diff_ids: str) -> str:
        steps = [{"created_by": f"make {diff_id[-1]}"} for diff_id in diff_ids]
        config = self.add({"rootfs": {"diff_ids": diff_ids}, "history": steps, "config": {"Env": ["SECRET=1"]}})
        return self.add({"config": {"digest": config}})

    def index(self, *manifests: str, attested: str = "") -> str:
        every: list[Any] = [{"digest": digest} for digest in manifests]
        if attested:
            every.append({"digest": attested, "annotations": {"vnd.docker.reference.type": "attestation-manifest"}})
        return self.add({"manifests": every})

    def layers(self, image_id: str, *layers: ImageLayerRecord) -> tuple[ImageRecord, tuple[ImageLayerRecord, ...]]:
        (self.store / METADATA).write_bytes(named({"docker.io/library/app:1": image_id}))
        with Directory(str(self.store)) as files:
            images = read_stored_images(files, "/s", "/d", self.notes) or ()
            ((image,), found) = read_stored_layers(files, "/s", images, layers, self.notes)
        assert (image.id, image.names) == (image_id, ("app:1",))
        return image, found


@pytest.fixture
def content(tmp_path: Path) -> Content:
    return Content(tmp_path)


def layer(chain_id: str, parent: str | None = None) -> ImageLayerRecord:
    return ImageLayerRecord(data_root="/d", chain_id=chain_id, cache_id="1", parent=parent)


def test_an_image_has_the_layers_of_its_configuration(content: Content) -> None:
    image, found = content.layers(content.manifest(*DIFFS), layer(BOTTOM), layer(TOP, BOTTOM))
    assert image.layers == (BOTTOM, TOP)
    assert [one.diff_id for one in found] == DIFFS
    assert content.notes.told == []


def test_what_was_committed_has_the_init_layer_between(content: Content) -> None:
    between = f"{GONE}-init"
    image, found = content.layers(content.manifest(*DIFFS), layer(BOTTOM), layer(between, BOTTOM), layer(TOP, between))
    assert image.layers == (BOTTOM, between, TOP)
    assert [one.diff_id for one in found] == [DIFFS[0], None, DIFFS[1]]


def test_an_index_has_the_platforms_that_are_there_and_nothing_that_is_attested(content: Content) -> None:
    here, also = content.manifest(*DIFFS), content.manifest(DIFFS[1])
    index = content.index(here, f"sha256:{'9' * 64}", also, attested=content.manifest(f"sha256:{'3' * 64}"))
    assert content.layers(index)[0].layers == (DIFFS[1], BOTTOM, TOP)
    assert content.layers(content.index(f"sha256:{'9' * 64}"))[0].layers == ()
    assert content.notes.told == []


def test_an_image_that_lost_its_content_is_told(content: Content) -> None:
    """Else its layers would seem to be nobody's."""
    lost = f"sha256:{'9' * 64}"
    for image in (
        lost,
        content.add({"config": {"digest": lost}}),
        content.index(content.add({"config": {"digest": lost}})),
    ):
        content.notes.told.clear()
        assert content.layers(image)[0].layers == ()
        assert content.notes.told == [f"/s/{_BLOBS}: {image}: the image has a name, and its content is not there"]


def test_one_that_was_removed_meanwhile_is_not(content: Content) -> None:
    (content.store / METADATA).write_bytes(named({}))
    images = (ImageRecord(data_root="/d", id=f"sha256:{'9' * 64}"),)
    with Directory(str(content.store)) as files:
        (image,), _ = read_stored_layers(files, "/s", images, (), content.notes)
    assert (image.layers, content.notes.told) == ((), [])


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (b"{", "not the JSON that the engine writes"),
        ({"config": {"digest": "../../../../etc/shadow"}}, "'../../../../etc/shadow' is no digest"),
        ({"manifests": [{"digest": "sha512:00"}]}, "'sha512:00' is no digest"),
        ({"config": {"digest": 3}}, "not the JSON that the engine writes"),
    ],
)
def test_a_damaged_or_hostile_blob_is_told(content: Content, image: Any, told: str) -> None:
    assert content.layers(content.add(image))[0].layers == ()
    (note,) = content.notes.told
    assert told in note


def test_a_damaged_configuration_is_told(content: Content) -> None:
    image = content.add({"config": {"digest": content.add(b'{"rootfs": []}')}})
    assert content.layers(image)[0].layers == ()
    (note,) = content.notes.told
    assert "not the JSON" in note


def test_an_index_without_end_ends(content: Content) -> None:
    """One that names itself cannot be made by digests; one may lie under a name that is not its own."""
    name = "7" * 64
    (content.store / _BLOBS / name).write_bytes(
        json.dumps({"manifests": [{"digest": f"sha256:{name}"}] * 999}).encode()
    )
    assert content.layers(f"sha256:{name}")[0].layers == ()


def test_how_an_image_was_made(content: Content) -> None:
    manifest = content.manifest(*DIFFS)
    with Directory(str(content.store)) as files:
        for image in (manifest, content.index(manifest)):
            steps = read_stored_history(files, "/s", image, content.notes)
            assert [(step.command, step.chain_id) for step in steps] == [("make 1", BOTTOM), ("make 2", TOP)]
        with pytest.raises(FileNotFoundError):
            read_stored_history(files, "/s", f"sha256:{'9' * 64}", content.notes)
