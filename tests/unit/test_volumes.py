"""Volumes: who uses each, what is mounted on it, and how that reads. The records are held to docker's elsewhere."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from msgspec.structs import replace

from hostinspect.cli import measure
from hostinspect.cli.app import run
from hostinspect.facts import DirectoryUsage, Facts, MountPoint, RecordedMount, VolumeRecord
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.sizes import Sizes
from hostinspect.questions.volumes import Volumes, directories_of, list_volumes
from hostinspect.render.json import render_json
from hostinspect.render.schema import answer_schema
from hostinspect.render.screen import Screen
from hostinspect.render.sizes import in_units
from hostinspect.render.tables.volumes import volume_branch
from tests.unit.docker_fixtures import lay_out
from tests.unit.factory import HOST_MNTNS, WEB_ID, WEB_MNTNS, host_with_web, record
from tests.unit.test_layers import facts_of

ROOT = "/var/lib/docker"
ANONYMOUS = "d" * 64


def volume(name: str, **changes: object) -> VolumeRecord:
    fields: dict[str, object] = {
        "engine": "docker",
        "data_root": ROOT,
        "name": name,
        "mountpoint": f"{ROOT}/volumes/{name}/_data",
        "created": "2025-12-30T00:00:00Z",
    }
    return VolumeRecord(**{**fields, **changes})  # type: ignore[arg-type]


def mounted(
    mntns: int, mount_point: str, root: str = "/", fstype: str = "ext4", source: str = "/dev/sda1"
) -> MountPoint:
    return MountPoint(
        mntns=mntns, mount_id=1, parent_id=0, device="8:1", root=root, mount_point=mount_point, options=("rw",),
        fstype=fstype, source=source, super_options=("rw", "vers=4.2"),
    )  # fmt: skip


def used(name: str, destination: str, **changes: object) -> RecordedMount:
    fields: dict[str, object] = {
        "type": "volume", "name": name, "source": f"{ROOT}/volumes/{name}/_data", "destination": destination,
        "driver": "local",
    }  # fmt: skip
    return RecordedMount(**{**fields, **changes})  # type: ignore[arg-type]


def a_host(**changes: object) -> Facts:
    """A plain volume with two users, an NFS one that is mounted, another that is not, a plugin's, one with a quota."""
    data = f"{ROOT}/volumes/data/_data"
    nfs = {"options": (("device", ":/export"), ("o", "addr=192.0.2.7"), ("type", "nfs"))}
    fields: dict[str, object] = {
        "volumes": (
            volume("data", labels=(("team", "a"),)),
            volume("far", **nfs),
            volume("farther", **nfs),
            volume("cloud", driver="rexray", mountpoint=None, created=None),
            volume("quota", options=(("size", "1000"),)),
            volume(ANONYMOUS),
        ),
        "containers": (
            record(
                mounts=(
                    used("data", "/a"),
                    used("data", "/b", rw=False, subpath="x"),
                    used("far", "/far"),
                    used(ANONYMOUS, "/c", propagation="rshared"),
                )
            ),
            record(
                id="9" * 64, name="old", running=False, pid=None, mounts=(used("data", "/old"), used("far", "/far"))
            ),
        ),
        "mounts": (
            mounted(HOST_MNTNS, "/"),
            mounted(HOST_MNTNS, f"{ROOT}/volumes/far/_data", fstype="nfs4", source="192.0.2.7:/export"),
            mounted(WEB_MNTNS, "/", "/web"),
            mounted(WEB_MNTNS, "/a", data),
            mounted(WEB_MNTNS, "/far", fstype="nfs4", source="192.0.2.7:/export"),
        ),
    }
    return host_with_web(**{**fields, **changes})


def ask(facts: Facts, **options: object) -> Volumes:
    return list_volumes(Inspection(facts), **options)  # type: ignore[arg-type]


def test_who_uses_a_volume() -> None:
    found = {of.name: of for of in ask(a_host()).volumes}
    uses = [(use.name, use.state, use.destination, use.rw, use.subpath, use.mounted) for use in found["data"].used_by]
    assert uses == [
        ("old", "exited", "/old", True, None, None),
        ("web", "running", "/a", True, None, True),
        ("web", "running", "/b", False, "x", False),
    ]
    assert found["cloud"].used_by == ()
    assert found[ANONYMOUS].used_by[0].propagation == "rshared"


def test_what_is_mounted_on_it() -> None:
    found = {of.name: of for of in ask(a_host()).volumes}
    assert {name for name, of in found.items() if of.needs_mount} == {"far", "farther"}
    assert {name for name, of in found.items() if of.mount} == {"far"}
    mount = found["far"].mount
    assert mount is not None
    assert (mount.fstype, mount.source, mount.options) == ("nfs4", "192.0.2.7:/export", ("rw", "vers=4.2"))
    assert mount.containers == (WEB_ID,)  # the other does not run


def test_only_some() -> None:
    facts = a_host()
    inspection = Inspection(facts)

    def names(**options: object) -> list[str]:
        return [of.name for of in ask(facts, **options).volumes]

    assert names() == sorted(["cloud", "data", "far", "farther", "quota", ANONYMOUS])
    assert names(dangling=True) == ["cloud", "farther", "quota"]
    assert names(dangling=True, driver="rexray") == ["cloud"]
    assert names(anonymous=True) == [ANONYMOUS]
    assert names(volumes=[inspection.volume("far"), inspection.volume("data")]) == ["far", "data"]


def test_what_there_is_to_measure() -> None:
    facts = a_host()
    paths = directories_of(ask(facts))
    assert [path.split("/")[-2] for path in paths] == [
        name for name in (of.name for of in ask(facts).volumes) if name != "cloud"
    ]
    found = ask(facts, sizes=Sizes([DirectoryUsage(path=paths[0], allocated=4096, apparent=5, inodes=2)]))
    assert [of.size.apparent if of.size else None for of in found.volumes if of.mountpoint][:2] == [5, None]


def test_one_in_full() -> None:
    facts = a_host()
    found = {of.name: of for of in ask(facts).volumes}
    names = {WEB_ID: "web"}

    def words(name: str) -> str:
        return "\n".join(Screen().draw(volume_branch(found[name], facts.host.collected_at, names=names)))

    assert "mounted  nfs4 from 192.0.2.7:/export  rw,vers=4.2  for web" in words("far")
    assert "mounted  no: its driver mounts it when a container with it starts" in words("farther")
    assert "mounted" not in words("data").splitlines()[1]
    assert "web  → /b  ro  its x only  running  not mounted" in words("data")
    assert "known to its driver alone" in words("cloud")
    assert "used by nobody" in words("cloud")
    assert "rshared" in words(ANONYMOUS)


def test_json_is_what_the_schema_says() -> None:
    jsonschema.validate(json.loads(render_json(ask(a_host()))), answer_schema("volumes"))


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1000, "1 kB"), (999_499, "999 kB"), (999_500, "1 MB"), (1 << 63, "9.22 EB")]
)
def test_bytes_in_words(size: int, words: str) -> None:
    assert in_units(size) == words


# --- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What is collected is a recorded data root, and its directories are there to be measured."""
    found = lay_out("layers-28.5", tmp_path)
    asked: list[dict[str, bool]] = []

    def collect(data_roots: object, **more: bool) -> Facts:
        asked.append(more)
        facts = facts_of(found)
        made = volume("data", data_root=str(found), mountpoint=f"{found}/volumes/data/_data")
        return replace(facts, volumes=(made, volume(ANONYMOUS, mountpoint=f"{found}/volumes/{ANONYMOUS}/_data")))

    (found / "volumes/data/_data").mkdir(parents=True)
    (found / "volumes/data/_data/file").write_bytes(b"x" * 9000)
    monkeypatch.setattr("hostinspect.collectors.collect", collect)
    yield found
    assert asked


def test_volumes_at_the_shell(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["volumes", "--size", "--columns", "volume-name,bytes,size"]) == 0
    out, err = capsys.readouterr()
    rows = [line.split("  ")[0] for line in out.splitlines()]
    assert rows == ["VOLUME NAME", "data", f"{ANONYMOUS[:12]}…"]
    assert err == ""
    assert run(["volumes", "data", "--size", "-o", "json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["volumes"]
    assert (found["size"]["apparent"], found["size"]["inodes"]) == (9000, 2)
    assert run(["volumes", "data", ANONYMOUS[:3]]) == 0
    assert ANONYMOUS in capsys.readouterr().out


def test_a_volume_that_is_not_there(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["volumes", "dta"]) == 1
    assert capsys.readouterr().err == "hostinspect: No such volume: dta. Did you mean data?\n"


def test_layers_at_the_shell(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layers", "built"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["merged", "upper", "work", *["lower"] * 5]
    assert run(["layers", "--orphans", "--size", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {of["kind"] for of in found["directories"]} == {"nothing", "no image"}
    assert all(of["size"]["complete"] for of in found["directories"])
    assert len(found["stray_links"]) == 1
    assert run(["layers", "--directories", "-o", "yaml"]) == 0
    capsys.readouterr()
    assert run(["layers", "built", "--orphans"]) == 2
    assert "without names" in capsys.readouterr().err


def test_a_snapshot_holds_no_sizes(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = str(tmp_path / "snapshot")
    assert run(["snapshot", "-o", snapshot]) == 0
    assert run(["layers", "--directories", "--from", snapshot]) == 0
    replayed = capsys.readouterr().out
    assert run(["layers", "--directories"]) == 0
    assert capsys.readouterr().out == replayed
    for command in ("layers", "volumes"):
        assert run([command, "--size", "--from", snapshot]) == 3
        assert "a snapshot holds none" in capsys.readouterr().err


# --- the bar --------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("patience", "quiet", "drawn"), [(0.0, False, True), (9.0, False, False), (0.0, True, False)])
def test_a_bar_where_it_takes_long(monkeypatch: pytest.MonkeyPatch, patience: float, quiet: bool, drawn: bool) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(measure, "_PATIENCE", patience)
    monkeypatch.setattr(measure, "_PAUSE", 0.0)
    with measure.Progress(2, quiet=quiet) as progress:
        for path in ("a", "b"):
            progress.tick(path, 1500)
            progress.tick(path, 0)
    shown = terminal.getvalue()
    assert ("measuring" in shown, "2/2" in shown, "3,000 files" in shown) == (drawn, drawn, drawn)


def test_no_bar_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(measure, "_PATIENCE", 0.0)
    with measure.Progress(1, quiet=False) as progress:
        progress.tick("a", 1)
    assert stream.getvalue() == ""
