"""Records of an engine that somebody has exchanged: each is a gap in words, and all the others are read as before."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hostinspect.collectors.engines import EngineRecords, collect_records
from hostinspect.collectors.gaps import GapLog
from hostinspect.correlate import correlate
from hostinspect.facts import Engine, Facts, Gap, Host
from tests.unit.docker_fixtures import lay_out

CANARY = "canary-5d1f7c3b9e02"
ID = "e" * 64


def sparse(path: Path, _: Path) -> None:
    with path.open("wb") as file:
        file.write(b'{"Name": "')
        file.truncate(1 << 30)


def huge(path: Path, _: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


def nested(path: Path, _: Path) -> None:
    path.write_bytes(b'{"State": ' + b'{"a": ' * 100_000 + b"1" + b"}" * 100_001)


def lists(path: Path, _: Path) -> None:
    path.write_bytes(b"[" * 100_000 + b"]" * 100_000)


def cut(path: Path, _: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_early(path: Path, _: Path) -> None:
    os.truncate(path, 17)


def empty(path: Path, _: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path, _: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def not_text(path: Path, _: Path) -> None:
    path.write_bytes(b'{"ID": "\xff\xfe\xed\xa0\x80", "Name": "\\ud800"}')


def numbers(path: Path, _: Path) -> None:
    path.write_bytes(b'{"ID": 1e999, "Name": ' + b"9" * 5000 + b"}")


def fifo(path: Path, _: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path, _: Path) -> None:
    path.unlink()
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))  # zeros without end


def link(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to(outside / path.name)


def link_to_proc(path: Path, _: Path) -> None:
    path.unlink()
    path.symlink_to("/proc/self/environ")


def directory(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


def parent_link(path: Path, outside: Path) -> None:
    """The directory that it is in is a link to one that is outside, with such a file in it."""
    path.parent.rename(path.parent.with_name("was-" + path.parent.name))
    path.parent.symlink_to(outside)


DAMAGE: tuple[Callable[[Path, Path], None], ...] = (
    *(sparse, huge, nested, lists, cut, cut_early, empty, zeros, not_text, numbers),
    *(fifo, device, link, link_to_proc, directory, parent_link),
)
FILES = (
    "containers/{id}/config.v2.json",
    "containers/{id}/hostconfig.json",
    "network/files/local-kv.db",
    "volumes/metadata.db",
    "volumes/tmpvol/opts.json",
    "swarm/worker/tasks.db",
    "image/overlay2/repositories.json",
    "image/overlay2/layerdb/mounts/{id}/mount-id",
    "image/overlay2/layerdb/mounts/{id}/init-id",
    "image/overlay2/layerdb/mounts/{id}/parent",
    "overlay2/{mount}/link",
    "overlay2/{mount}/lower",
)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out("docker-28.5", tmp_path_factory.mktemp("hostile"))


def collected(data_root: Path) -> tuple[EngineRecords, tuple[Gap, ...]]:
    gaps = GapLog()
    return collect_records(Engine(name="docker", data_root=str(data_root)), gaps, image_layers=True), gaps.as_tuple()


def victim(data_root: Path) -> tuple[str, str]:
    """A container and its mount id."""
    mounts = data_root / "image/overlay2/layerdb/mounts"
    for path in sorted(mounts.iterdir()):
        mount = (path / "mount-id").read_text()
        if (data_root / "containers" / path.name).is_dir() and (data_root / "overlay2" / mount).is_dir():
            return path.name, mount
    raise AssertionError("none")


@contextmanager
def kept(path: Path) -> Iterator[None]:
    """As it was, afterwards, with the directory that it is in."""
    backup = path.parent.with_name(f"backup-{path.parent.name}")
    shutil.copytree(path.parent, backup, symlinks=True)
    try:
        yield
    finally:
        if path.parent.is_symlink():
            path.parent.unlink()
            shutil.rmtree(path.parent.with_name("was-" + path.parent.name))
        else:
            shutil.rmtree(path.parent)
        backup.rename(path.parent)


@pytest.mark.parametrize("name", FILES)
def test_a_record_that_was_exchanged(name: str, data_root: Path, tmp_path: Path) -> None:
    id_, mount = victim(data_root)
    path = data_root / name.format(id=id_, mount=mount)
    if not path.exists():  # not every recording has each
        assert name.endswith(("repositories.json", "init-id", "parent"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    before, _ = collected(data_root)
    config = json.loads((data_root / f"containers/{id_}/config.v2.json").read_bytes())
    (tmp_path / "config.v2.json").write_text(json.dumps({**config, "Name": f"/{CANARY}"}))
    for other in ("hostconfig.json", "opts.json", "repositories.json"):
        (tmp_path / other).write_text(json.dumps({"NetworkMode": CANARY, "MountDevice": CANARY, "Repositories": {}}))
    for word in ("mount-id", "init-id", "parent", "link", "lower"):
        (tmp_path / word).write_text(CANARY)
    for damage in DAMAGE:
        with kept(path):
            damage(path, tmp_path)
            records, gaps = collected(data_root)
        told = msgspec.json.encode((records, gaps)).decode()
        assert CANARY not in told, damage
        assert "SHELL=" not in told and "PATH=" not in told, damage
        others = {record.id: record for record in records.containers if record.id != id_}
        assert others == {record.id: record for record in before.containers if record.id != id_}, damage
        for gap in gaps:
            assert len(gap.why) < 500 and gap.remedy, damage
        facts = Facts(host=HOST, engines=(Engine(name="docker", data_root=str(data_root)),), gaps=gaps, **_all(records))
        correlate(facts)


def _all(records: EngineRecords) -> dict[str, Any]:
    return {name: getattr(records, name) for name in EngineRecords.__struct_fields__}


HOST = Host(
    hostname="h",
    kernel="6",
    os=None,
    boot_id=None,
    collected_at="2026-01-01T00:00:00Z",
    boot_time=None,
    clock_ticks=100,
)

OUTSIDE = (
    "../../../../etc",
    "l/../../../etc",
    "/etc",
    "l//etc",
    "l/..",
    "..",
    "l/\x1b[31m",
    "l/A:" * 5000,
    "\udcff",
    "-",
)


@pytest.mark.parametrize("name", ["lower", "link"])
@pytest.mark.parametrize("value", OUTSIDE, ids=[ascii(value[:20]) for value in OUTSIDE])
def test_a_layer_that_is_said_to_be_outside(name: str, value: str, data_root: Path) -> None:
    _, mount = victim(data_root)
    path = data_root / "overlay2" / mount / name
    with kept(path):
        path.write_bytes(os.fsencode(value))
        records, _ = collected(data_root)
    for layer in records.layers:
        for directory_ in (*layer.lower, layer.upper, layer.work, layer.merged):
            relative = directory_.removeprefix(f"{data_root}/overlay2/").split("/")
            assert len(relative) == 2 and relative[0].removesuffix("-init").isalnum(), directory_


@pytest.mark.parametrize("name", ["mount-id", "init-id", "parent"])
@pytest.mark.parametrize("value", ["../../../etc", "/etc", "..", "x" * 300, "\x1b[31m", "a/b", ID + "/../.."])
def test_an_id_that_is_a_path(name: str, value: str, data_root: Path) -> None:
    id_, _ = victim(data_root)
    path = data_root / "image/overlay2/layerdb/mounts" / id_ / name
    with kept(path):
        path.write_text(value)
        records, _ = collected(data_root)
    assert not [layer for layer in records.layers if "/etc" in layer.upper or ".." in layer.upper]
