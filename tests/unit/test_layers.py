"""Whose each directory of overlay2/ is: a recorded host against the engine's own answers, then each way to doubt."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hostinspect.collectors.engines import collect_records
from hostinspect.collectors.gaps import GapLog
from hostinspect.engines.boltdb import Bolt
from hostinspect.engines.docker.build_cache import parse_cached, parse_snapshots
from hostinspect.engines.docker.image_layers import read_image_layers, read_layer_homes
from hostinspect.engines.docker.images import chain_ids, parse_diff_ids
from hostinspect.engines.docker.layers import is_layer_id
from hostinspect.engines.docker.record import RecordError
from hostinspect.facts import DirectoryUsage, Engine, Facts, Gap, Host, LayerHomeRecord, MountPoint, Process
from hostinspect.kernel.files import Directory
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.layers import Layers, directories_of, list_layers, only_orphans
from hostinspect.questions.sizes import Sizes
from hostinspect.render.screen import Screen
from hostinspect.render.table import choose_columns, render_table
from hostinspect.render.tables.layers import directory_columns, directory_rows, layer_columns, layer_rows
from tests.lab.bolt import leaf_page
from tests.live import layers_lab
from tests.unit.docker_fixtures import answers, lay_out
from tests.unit.test_boltdb import bucket, table

A, B = "a" * 64, "b" * 64
NOW = 2_000_000_000  # after anything recorded


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """A recorded host of `tests.live.layers_lab`."""
    found = lay_out("layers-28.5", tmp_path)
    for directory in (found / "overlay2").iterdir():
        os.utime(directory, (NOW - 3600, NOW - 3600))
    return found


def facts_of(data_root: Path, **changes: object) -> Facts:
    """What is read there, on a host without processes."""
    gaps = GapLog()
    engine = Engine(name="docker", data_root=str(data_root))
    records = collect_records(engine, gaps, image_layers=True)
    host = Host(hostname="h", kernel="k", collected_at="2033-05-18T03:33:20Z", boot_time=NOW - 86400, mntns=1)
    families = {family: getattr(records, family) for family in records.__struct_fields__}
    found = Facts(host=host, engines=(engine,), gaps=gaps.as_tuple(), **families)
    return replace(found, **changes)


def ask(facts: Facts, **options: Any) -> Layers:
    return list_layers(Inspection(facts), **options)


def kinds(layers: Layers) -> dict[str, str]:
    """Kind by the name of the directory."""
    return {directory.path.rpartition("/")[2]: directory.kind for directory in layers.directories}


def home(facts: Facts) -> LayerHomeRecord:
    [found] = facts.layer_homes
    return found


# --- the recorded host ----------------------------------------------------------------------------------------------


def test_images_as_docker_image_inspect(data_root: Path) -> None:
    """RootFS.Layers, GraphDriver.Data and RepoTags of every image, also of those without a name."""
    said = answers(data_root)["image_inspect"]
    facts = facts_of(data_root)
    assert facts.gaps == ()
    layers = {layer.chain_id: layer for layer in facts.image_layers if not layer.removing}
    images = {image.id: image for image in facts.images}
    assert images.keys() == {image["Id"] for image in said}
    assert any(not image.names for image in images.values())
    for image in said:
        record = images[image["Id"]]
        assert sorted(name for name in record.names if "@" not in name) == sorted(image["RepoTags"])
        assert [layers[chain].diff_id for chain in record.layers] == image["RootFS"]["Layers"]
        directories = [f"/var/lib/docker/overlay2/{layers[chain].cache_id}/diff" for chain in reversed(record.layers)]
        graph = image["GraphDriver"]["Data"]
        assert directories == [graph["UpperDir"], *filter(None, graph.get("LowerDir", "").split(":"))]
        assert sum(layers[chain].size or 0 for chain in record.layers) == image["Size"]


def test_the_build_cache_as_docker_system_df(data_root: Path) -> None:
    """Every snapshot that it lists is a bucket; and each has a directory, or is a layer that has one."""
    facts = facts_of(data_root)
    records = {record.id: record for record in facts.build_cache}
    chains = {layer.chain_id for layer in facts.image_layers}
    names = {directory.name for directory in home(facts).directories}
    said = [snapshot["ID"] for snapshot in answers(data_root)["build_cache"]]
    assert len(said) > 5
    for snapshot in said:
        record = records[snapshot]
        assert record.chain_id in chains if record.chain_id else (record.committed or record.id) in names


def test_whose_every_directory_is(data_root: Path) -> None:
    facts = facts_of(data_root)
    found = ask(facts)
    assert found.gaps == ()
    by_kind: dict[str, set[str]] = {}
    for name, kind in kinds(found).items():
        by_kind.setdefault(kind, set()).add(name)
    names = {container.name: container.id for container in facts.containers}
    mounts = {layer.container_id: layer.mount_id for layer in facts.layers}
    assert by_kind["container"] == {mounts[id_] for id_ in names.values()}
    assert by_kind["init"] == {f"{mounts[id_]}-init" for id_ in names.values()}
    assert by_kind["being removed"] == {layers_lab.BEGUN}
    assert by_kind["no image"] == {layers_lab.LAYER}
    [gone] = set(mounts) - set(names.values())
    nothing = by_kind["nothing"] - {layers_lab.NOBODYS, layers_lab.BY_HAND, mounts[gone], f"{mounts[gone]}-init"}
    [left] = {name.removesuffix("-init") for name in nothing}
    assert nothing == {left, f"{left}-init"}
    assert len(by_kind["build cache"]) == len(answers(data_root)["build_cache"]) - 4  # 3 of an image, 1 is the base's
    assert "unknown" not in by_kind
    assert {path.rpartition("/")[2] for path in found.stray_links} == {layers_lab.STRAY}
    assert kinds(only_orphans(found)).keys() == by_kind["nothing"] | by_kind["no image"]


def test_the_layers_of_a_container(data_root: Path) -> None:
    inspection = Inspection(facts_of(data_root))
    [built] = list_layers(inspection, [inspection.container("built")]).containers
    top = f"{data_root}/overlay2/"
    assert [lower.kind for lower in built.lower] == ["init", "image", "image", "image", "image"]
    assert [lower.images[0] for lower in built.lower[1:]] == ["lab/built:latest"] * 3 + ["lab/base:latest"]
    assert built.upper == f"{built.lower[0].path.removesuffix('-init/diff')}/diff"
    assert built.work == f"{built.upper.removesuffix('/diff')}/work"
    said = next(of for of in answers(data_root)["containers"] if of["Name"] == "/built")["GraphDriver"]["Data"]
    assert [path.path.removeprefix(top) for path in built.lower] == [
        path.removeprefix("/var/lib/docker/overlay2/") for path in said["LowerDir"].split(":")
    ]
    assert built.mounted is None  # this host's mounts were not read


def test_an_image_removed_below_a_container(data_root: Path) -> None:
    inspection = Inspection(facts_of(data_root))
    layers = list_layers(inspection, [inspection.container("bare")])
    own = layers.containers[0].lower[1]
    assert (own.kind, own.images) == ("image", ())
    [directory] = [of for of in layers.directories if of.path == own.path.removesuffix("/diff")]
    assert (directory.kind, directory.containers) == ("image", (inspection.container("bare").id,))
    assert layers.stray_links == ()  # nobody's, so not this container's


def test_whether_it_is_mounted(data_root: Path) -> None:
    facts = facts_of(data_root)
    merged = next(layer.merged for layer in facts.layers if layer.container_id == facts.containers[0].id)
    mount = MountPoint(
        mntns=1, mount_id=1, parent_id=0, device="0:1", root="/", mount_point=merged, options=("rw",), fstype="overlay",
        source="overlay",
    )  # fmt: skip
    found = ask(replace(facts, mounts=(mount,)))
    assert {container.mounted for container in found.containers} == {True, False}


def test_sizes_are_those_of_the_whole_directory(data_root: Path) -> None:
    facts = facts_of(data_root)
    paths = directories_of(ask(facts))
    assert paths == [f"{data_root}/overlay2/{directory.name}" for directory in home(facts).directories]
    usages = [DirectoryUsage(path=path, allocated=n, apparent=1, inodes=1) for n, path in enumerate(paths)]
    gap = Gap(collector="usage", subject="x", why="y", remedy="z")
    found = ask(facts, sizes=Sizes(usages, [gap]))
    assert [of.size.allocated for of in found.directories if of.size] == [*range(len(paths))]
    for container in found.containers:
        for path, size in ((container.upper, container.size), *((of.path, of.size) for of in container.lower)):
            assert size is not None
            assert paths[size.allocated] == str(path).removesuffix("/diff")
    assert found.gaps == (gap,)


# --- doubt ----------------------------------------------------------------------------------------------------------


def orphans(facts: Facts) -> set[str]:
    return {kind for name, kind in kinds(ask(facts)).items() if name in (layers_lab.NOBODYS, layers_lab.LAYER)}


def with_daemon(facts: Facts, started: int, **changes: object) -> Facts:
    """The same with a daemon that started so many seconds ago."""
    ticks = (NOW - started - (NOW - 86400)) * 100
    process = Process(pid=300, ppid=1, comm="dockerd", state="S", starttime=ticks)
    engines = tuple(replace(engine, pid=300) for engine in facts.engines)
    homes = tuple(replace(of, **changes) for of in facts.layer_homes)
    return replace(facts, engines=engines, processes=(process,), layer_homes=homes)


def test_what_was_made_just_now_is_not_called_nothing(data_root: Path) -> None:
    facts = with_daemon(facts_of(data_root), started=7200)
    assert orphans(facts) == {"nothing", "no image"}
    young = tuple(replace(of, modified=NOW - 3) for of in home(facts).directories)
    assert orphans(with_daemon(facts, started=7200, directories=young)) == {"unknown"}
    without = replace(facts, processes=(), layer_homes=(replace(home(facts), directories=young),))
    assert orphans(without) == {"nothing", "no image"}  # nobody is there to write a record


def test_while_a_layer_is_written_what_the_daemon_made_is_not_called_nothing(data_root: Path) -> None:
    facts = facts_of(data_root)
    assert orphans(with_daemon(facts, started=7200, writing=(NOW - 60,))) == {"unknown"}
    assert orphans(with_daemon(facts, started=1800, writing=(NOW - 60,))) == {"nothing", "no image"}  # made before it
    assert orphans(with_daemon(facts, started=30, writing=(NOW - 60,))) == {"nothing", "no image"}  # another died of it


@pytest.mark.parametrize(
    "damaged",
    [
        "buildkit/snapshots.db",
        f"image/overlay2/layerdb/sha256/{layers_lab.LAYER}/cache-id",
        f"image/overlay2/layerdb/sha256/{layers_lab.LAYER}/size",
        "image/overlay2/repositories.json",
    ],
)
def test_where_a_record_is_damaged_nothing_is_called_nothing(data_root: Path, damaged: str) -> None:
    (data_root / damaged).write_bytes(b"no record")
    facts = facts_of(data_root)
    assert facts.gaps
    assert orphans(facts) == {"unknown"}
    assert ask(facts).gaps
    assert "build cache" in kinds(ask(facts)).values() or damaged.endswith(".db")


def test_a_damaged_image(data_root: Path) -> None:
    [victim, *_] = (data_root / "image/overlay2/imagedb/content/sha256").iterdir()
    victim.write_bytes(b"{")
    facts = facts_of(data_root)
    [gap] = facts.gaps
    assert gap.subject.endswith(victim.name)
    assert next(image.layers for image in facts.images if image.id == f"sha256:{victim.name}") == ()
    assert orphans(facts) == {"unknown"}


def test_facts_of_a_report_know_no_owners(data_root: Path) -> None:
    facts = replace(facts_of(data_root), layer_homes=(), image_layers=(), build_cache=())
    found = ask(facts)
    assert found.directories == ()
    assert {lower.kind for of in found.containers for lower in of.lower} == {"init", "unknown"}
    [gap] = found.gaps
    assert "without it" in gap.why


def test_no_build_cache_and_no_links(data_root: Path) -> None:
    (data_root / "buildkit/snapshots.db").unlink()
    for link in (data_root / "overlay2/l").iterdir():
        link.unlink()
    (data_root / "overlay2/l").rmdir()
    facts = facts_of(data_root)
    assert facts.gaps == ()
    assert ask(facts).stray_links == ()
    assert "build cache" not in kinds(ask(facts)).values()


def test_what_a_pruned_build_cache_leaves() -> None:
    """A bucket that only stands for a layer of an image stays; that it is cached, metadata_v2.db alone says."""
    chain = f"sha256:{A}".encode()
    base, built, made = (letter.encode() * 25 for letter in "abc")
    buckets = {
        base: [(0, b"chainid", chain)],
        built: [(0, b"chainid", chain), (0, b"committed", made)],
        made: [(0, b"iscommitted", b""), (0, b"parent", chain)],
        chain: [],
    }
    snapshots = Bolt(
        table(leaf_page(3, [(1, key, bucket(0, leaf_page(0, of))) for key, of in sorted(buckets.items())]))
    )

    def found(*cached: bytes) -> dict[str, tuple[str | None, ...]]:
        main = leaf_page(0, [(1, key, bucket(0, leaf_page(0, []))) for key in cached])
        metadata = Bolt(table(leaf_page(3, [(1, b"_main", bucket(0, main))])))
        records = parse_snapshots(snapshots, "/d", parse_cached(metadata))
        return {record.id: (record.parent, record.committed, record.chain_id) for record in records}

    everything = {
        base.decode(): (None, None, chain.decode()),
        built.decode(): (None, made.decode(), chain.decode()),
        made.decode(): (chain.decode(), None, None),
    }
    assert found(base, built) == everything
    assert found() == {key: value for key, value in everything.items() if key != base.decode()}
    assert {record.id for record in parse_snapshots(snapshots, "/d")} == everything.keys()


# --- hostile files --------------------------------------------------------------------------------------------------


class Notes(list[tuple[str, str]]):
    def __call__(self, subject: str, why: str | OSError, remedy: str | None = None) -> None:
        self.append((subject, str(why)))


@pytest.mark.parametrize(
    ("name", "word"),
    [("cache-id", "../../etc"), ("cache-id", "x"), ("size", "-1"), ("size", "1e3"), ("size", "9" * 30), ("diff", "é")],
)
def test_a_layer_record_that_is_none(tmp_path: Path, name: str, word: str) -> None:
    layer = tmp_path / "image/overlay2/layerdb/sha256" / A
    layer.mkdir(parents=True)
    (layer / "cache-id").write_text(B)
    (layer / name).write_text(word)
    notes = Notes()
    with Directory(tmp_path) as files:
        assert [*read_image_layers(files, "/var/lib/docker", notes)] == []
    [(subject, _)] = notes
    assert subject == f"/var/lib/docker/image/overlay2/layerdb/sha256/{A}"


def test_a_home_with_all_sorts_of_things(tmp_path: Path) -> None:
    overlay2 = tmp_path / "overlay2"
    (overlay2 / "l").mkdir(parents=True)
    (overlay2 / os.fsdecode(b"bad\xff")).mkdir()
    (overlay2 / A).symlink_to("/etc")
    os.mkfifo(overlay2 / "backingFsBlockDev")
    (overlay2 / B / "diff").mkdir(parents=True)
    (overlay2 / B / "link").symlink_to("/etc/passwd")
    notes = Notes()
    with Directory(tmp_path) as files:
        [found] = read_layer_homes(files, "/d", notes)
    assert [of.name for of in found.directories] == ["bad\\xff"]
    assert [subject for subject, _ in notes] == [f"/d/overlay2/{B}"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"rootfs": {"diff_ids": [1]}}', b"[" * 100_000])
def test_an_image_that_is_none(content: bytes) -> None:
    with pytest.raises(RecordError):
        parse_diff_ids(content)


def test_chain_ids() -> None:
    assert parse_diff_ids(b'{"rootfs": {"type": "layers"}, "config": {"Env": ["A=secret"]}}') == ()
    assert chain_ids([]) == ()


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        (A, True),
        (f"{A}-init", True),
        ("ygko4qf2hdviz5nv9y9irzx8g", True),
        ("l", False),
        ("by-hand", False),
        (A.upper(), False),
        ("YGKO4QF2HDVIZ5NV9Y9IRZX8G", False),
        ("ygko4qf2hdviz5nv9y9irzx8", False),
    ],
)
def test_names_of_layers(name: str, is_one: bool) -> None:
    assert is_layer_id(name) is is_one


# --- tables ---------------------------------------------------------------------------------------------------------


def test_tables(data_root: Path) -> None:
    facts = facts_of(data_root)
    found = ask(facts)
    roots = [str(data_root)]
    rows = [*layer_rows(found, every_path=True, verbose=False)]
    drawn = render_table(
        rows, choose_columns(layer_columns(roots, sizes=True, verbose=False), (), every=False), Screen()
    )
    bare = [line.split() for line in drawn.splitlines() if line.startswith("bare")]
    assert [words[1] for words in bare] == ["merged", "upper", "work", "lower", "lower", "lower"]
    assert "no image any more" in drawn
    assert f"overlay2/l/{layers_lab.STRAY}" in drawn
    names = {container.id: container.name for container in facts.containers}
    columns = directory_columns(roots, names, facts.host.collected_at, sizes=False, orphans=False, verbose=True)
    every = render_table([*directory_rows(found)], choose_columns(columns, (), every=True), Screen())
    assert len(every.splitlines()) == 1 + len(home(facts).directories) + 1
    [nobodys] = [line for line in every.splitlines() if line.startswith(f"{data_root}/overlay2/{layers_lab.NOBODYS}")]
    assert nobodys.split()[1] == "nothing"
    assert "no record of the engine names it" in nobodys


def test_json_is_what_the_schema_says(data_root: Path) -> None:
    import jsonschema

    from hostinspect.render.json import render_json
    from hostinspect.render.schema import answer_schema

    jsonschema.validate(json.loads(render_json(ask(facts_of(data_root)))), answer_schema("layers"))
