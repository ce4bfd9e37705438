"""`--root` value by value: recorded data roots as their files say; and the comparison with docker-explorer itself."""

from __future__ import annotations

import doctest
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests import docker_explorer
from tests.disk_listing import DISK, AskedHere, Difference, Listing, answered, compared, images_of, written
from tests.unit.docker_fixtures import lay_out
from tests.unit.test_disk import disk_of


@pytest.mark.parametrize(
    ("name", "containers"), [("docker-20.10", 20), ("docker-28.5", 20), ("layers-28.5", 3)], ids=lambda value: value
)
def test_a_recorded_data_root_as_its_files_say(name: str, containers: int, tmp_path: Path) -> None:
    root = disk_of(lay_out(name, tmp_path), tmp_path)
    theirs = written(root / "mnt/docker", "/mnt/docker")
    asked = AskedHere(root)
    agree, differ = compared(theirs, answered(asked, images_of(theirs)))
    assert differ == []
    assert len(theirs[DISK, "containers"]) >= containers and len(agree) > 20 * containers
    assert {collector for collector, _ in asked.gaps} <= {"history"}  # the recordings have not every image


def test_values_that_differ_and_those_that_are_missing() -> None:
    theirs: Listing = {("container a", "image_id"): "1", ("container a", "labels"): {}, ("container b", "name"): "b"}
    mine: Listing = {("container a", "image_id"): "2", ("container a", "labels"): {}, ("container a", "more"): 1}
    assert compared(theirs, mine) == (
        [("container a", "labels")],
        [Difference("container a", "image_id", "1", "2"), Difference("container b", "name", "b", None)],
    )


def test_the_examples() -> None:
    assert doctest.testmod(docker_explorer).failed == 0


# --- python -m tests.docker_explorer CLONE ------------------------------------------------------------------------

# A stand-in for the clone, which is no part of this repository: the same modules and calls, which list what is given.
_EXPLORER = """
import json, os

class Storage:
    def MakeMountCommands(self, container, directory):
        return []

class Container:
    def __init__(self, listed):
        self.__dict__ = {**listed, "storage_object": Storage()}

    def GetHistory(self, show_empty_layers):
        return {}

class Explorer:
    def SetDockerDirectory(self, path):
        self.listed = json.load(open(os.path.join(path, "listed.json")))

    def DetectDockerStorageVersion(self):
        pass

    def GetContainersJson(self, only_running=False):
        return [c for c in self.listed["containers"] if c["container_id"] in self.listed["running"] or not only_running]

    def GetRepositoriesString(self):
        return json.dumps([{"Repositories": self.listed["repositories"]}])

    def GetAllContainers(self):
        return [Container(listed) for listed in self.listed["further"]]
"""

_TESTS = """
import unittest

class TestStandIn(unittest.TestCase):
    def test_that_it_lists_what_it_publishes(self):
        self.assertEqual({!r}, "passes")
"""


def clone_of(tmp_path: Path, *, own_tests: str = "passes", **wrong: Any) -> Path:
    """A clone whose data root is a recorded one, and whose listing is right but for `wrong` values of one container."""
    data_root = lay_out("layers-28.5", tmp_path)
    listing = written(data_root, "/docker")
    names = {of for of, _ in listing if of.startswith("container ")}
    containers, further = [], []
    for of in sorted(names):
        fields = {field: value for (name, field), value in listing.items() if name == of}
        if of == min(names):
            fields |= wrong
        mount_points = [{"destination": to, "source": path[1:]} for to, path in fields["mount_points"]]
        listed = {"start_date": fields["start_date"] or "0001-01-01T00:00:00Z", "mount_points": mount_points}
        for field in ("container_id", "image_name", "image_id", "labels", "log_path", "mount_id"):
            listed[field] = fields[field]
        containers.append({**listed, "exposed_ports": dict.fromkeys(fields["exposed_ports"])})
        own = {"name": of.removeprefix("container "), "creation_timestamp": fields["created"]}
        further.append({**own, **{field: fields[field] for field in ("container_id", "running", "storage_name")}})
    images = {name: listing[f"image {name}", "image_id"] for name in images_of(listing)}
    found = {
        "containers": containers,
        "running": listing[DISK, "running"],
        "repositories": {"": images},
        "further": further,
    }
    (data_root / "listed.json").write_text(json.dumps(found))
    clone = tmp_path / "clone"
    (clone / "docker_explorer").mkdir(parents=True)
    (clone / "docker_explorer/__init__.py").touch()
    (clone / "docker_explorer/explorer.py").write_text(_EXPLORER)
    (clone / "tests.py").write_text(_TESTS.format(own_tests))
    (clone / "test_data").mkdir()
    with tarfile.open(clone / "test_data/recorded.tgz", "w:gz") as archive:
        archive.add(data_root, "docker")
    return clone


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_explorer, "DATA_ROOTS", {"recorded.tgz": ("TestStandIn",)})
    monkeypatch.setattr(docker_explorer, "KNOWN", ())
    monkeypatch.setattr(docker_explorer, "Asked", AskedHere)


def known(field: str) -> docker_explorer.Known:
    return docker_explorer.Known("recorded.tgz", field, lambda theirs, _: theirs == "other", "", "it is another one")


def test_all_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert docker_explorer.main([str(clone_of(tmp_path))]) == 0
    said = capsys.readouterr().out
    assert "3 containers, 1 of docker-explorer's own tests pass" in said
    assert "0 differ for a reason, 0 for none" in said and "DIFFER" not in said


def test_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clone = clone_of(tmp_path, image_name="other")
    assert docker_explorer.main([str(clone)]) == 1
    said = capsys.readouterr().out
    assert "image_name: container " in said and "docker-explorer 'other', hostinspect 'lab" in said
    assert said.endswith("1 for none.\n")


def test_a_difference_for_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = clone_of(tmp_path, image_name="other")
    monkeypatch.setattr(docker_explorer, "KNOWN", (known("image_name"),))
    assert docker_explorer.main([str(clone)]) == 0
    assert "reason    1  image_name: it is another one" in capsys.readouterr().out


def test_a_reason_that_is_none_any_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_explorer, "KNOWN", (known("image_name"),))
    assert docker_explorer.main([str(clone_of(tmp_path))]) == 1
    assert "they agree now" in capsys.readouterr().out


def test_a_value_that_is_missing_without_a_gap_has_no_reason(tmp_path: Path) -> None:
    asked = AskedHere(tmp_path)
    reason = docker_explorer.Known("a.tgz", "mount_id", lambda _, mine: mine is None, "layers", "not known")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docker_explorer, "KNOWN", (reason,))
        difference = Difference("container a", "mount_id", "1", None)
        assert docker_explorer.why("a.tgz", difference, asked) is None
        asked.gaps["layers", "a"] = "not known"
        assert docker_explorer.why("a.tgz", difference, asked) == reason
        assert docker_explorer.why("b.tgz", difference, asked) is None
        assert docker_explorer.why("a.tgz", difference._replace(mine="2"), asked) is None


def test_what_it_publishes_is_not_what_it_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert docker_explorer.main([str(clone_of(tmp_path, own_tests="fails"))]) == 1
    assert "AssertionError" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["/nowhere"], ["a", "b"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert docker_explorer.main(arguments) == 2
    assert "python -m tests.docker_explorer docker-explorer" in capsys.readouterr().err
