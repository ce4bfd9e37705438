"""`--root` of a host that is no more: the disk of a real dockerd, as a power failure left it.

Nothing is left to ask. So the answers are held against what Docker said while it ran, and value by value against the
files on the disk, read here without a line of hostinspect's (`tests/disk_listing.py`): every field that docker-explorer
lists, and beyond. `python -m tests.docker_explorer` compares with docker-explorer itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.disk_listing import DISK, Asked, AskedHere, answered, compared, images_of, written
from tests.lab.host import LabHost
from tests.live.report import COMMAND

# Beyond the demo scenario: what a listing has a field for.
_MORE = r"""
set -eu
docker create --name labelled --label 'quoted="a" \b' --label empty= --label 'utf8=Grüße' --label 'lines=1
2' --expose 53/udp --expose 9000-9002 --log-driver none lab/layered:2 >/dev/null
docker run --detach --name killed --volume /anonymous --mount type=tmpfs,destination=/fast lab/base >/dev/null
docker kill killed >/dev/null
docker run --detach --name restarting --restart always lab/base sh -c 'exit 7' >/dev/null
docker run --detach --name born lab/web >/dev/null
docker rename born renamed
docker commit --message 'a comment' --change 'LABEL of=image' changed lab/committed:1 >/dev/null
docker tag lab/committed:1 lab/committed:2
docker run --detach --name third lab/committed:2 >/dev/null
docker run --detach --name untagged lab/base sh -c 'rm -r /www; mkdir /www; ln /etc/passwd /www/linked' >/dev/null
docker wait untagged >/dev/null
docker commit untagged lab/gone >/dev/null
docker run --detach --name orphan lab/gone sleep 1000000 >/dev/null
docker rmi --force lab/gone >/dev/null
docker network create --subnet 198.51.100.128/25 --ip-range 198.51.100.192/26 --gateway 198.51.100.254 \
    --internal --label a=b --opt com.docker.network.bridge.name=br-named named >/dev/null
docker network connect --ip 198.51.100.130 --alias also named third
docker network connect named killed
"""

_DATA_ROOT = "/mnt/data/docker"  # as the host calls it, by links at /var/lib/docker


class Dead:
    """The disk at `root`, and what docker said before."""

    def __init__(self, host: LabHost, root: Path) -> None:
        self.root, self.data_root = root, root / _DATA_ROOT[1:]
        self.networks = host.docker_json("network", "inspect", *host.docker("network", "ls", "--quiet").split())
        # Of one that is started again and again it would be of another moment.
        names = [name for name in host.docker("ps", "--all", "--format", "{{.Names}}").split() if name != "restarting"]
        self.changes = {name: host.docker("diff", name).splitlines() for name in names}
        host.kill_dockerd()
        for directory in (self.data_root.parent, root / "var/lib", root / "etc/docker"):
            directory.mkdir(parents=True)
        # -x: what is mounted beneath, as every container's root is, is on no disk.
        source = f"/proc/{host.pid}/root/var/lib/docker"
        subprocess.run(["cp", "-a", "-x", source, str(self.data_root)], check=True)
        (root / "var/lib/docker").symlink_to(_DATA_ROOT)
        (root / "etc/hostname").write_text("dead-02\n")
        (root / "etc/os-release").write_text('PRETTY_NAME="Dead Linux 2"\n')
        self.written = written(self.data_root, _DATA_ROOT)
        self.images = images_of(self.written)

    def value(self, name: str, field: str) -> Any:
        return self.written[f"container {name}", field]

    def ask(self, *question: str, code: int = 0) -> str:
        """What a process of its own prints."""
        done = subprocess.run(
            [*COMMAND, *question, "--root", str(self.root)], check=False, capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dead]:
    """The disk outlives the host: when the tests begin there is no process, no mount and no namespace of it."""
    root = tmp_path_factory.mktemp("evidence") / "disk"
    try:
        with LabHost() as host:
            host.seed()
            host.run(["sh", "-c", _MORE], timeout=120)
            disk = Dead(host, root)
        yield disk
    finally:
        shutil.rmtree(root, ignore_errors=True)


# --- as the files say, and as docker said -------------------------------------------------------------------------


def test_every_value_as_the_files_say(dead: Dead) -> None:
    run = Asked(dead.root)
    agree, differ = compared(dead.written, answered(run, dead.images))
    assert differ == [] and run.gaps == {}
    assert len(agree) > 500


def test_that_the_files_say_enough(dead: Dead) -> None:
    """What is compared is there: no field is nothing everywhere."""
    fields: dict[str, list[Any]] = {}
    for (_, field), value in dead.written.items():
        fields.setdefault(field, []).append(value)
    assert [field for field, values in fields.items() if all(value in (None, [], {}, "") for value in values)] == []
    assert {*fields["status"]} >= {"running", "paused", "exited", "created"}
    assert {*fields["exit_code"]} >= {None, 0, 3, 137}
    assert dead.value("labelled", "labels") == {"quoted": '"a" \\b', "empty": "", "utf8": "Grüße", "lines": "1\n2"}
    assert dead.value("third", "labels") == {"of": "image"}
    assert dead.value("labelled", "exposed_ports") == ["53/udp", "9000/tcp", "9001/tcp", "9002/tcp"]
    assert dead.value("labelled", "log_path") is None
    assert [destination for destination, _ in dead.value("killed", "mount_points")] == ["/anonymous"]
    assert dead.value("third", "history 0 comment") == "a comment"
    assert dead.value("third", "history")[-2][1].startswith("sh -c mkdir /app")
    assert len(dead.value("third", "lower_dirs")) == len(dead.value("third", "history")) + 1 == 5
    assert ["named", "198.51.100.130"] in dead.value("third", "networks")
    assert len(dead.images) >= 7


def test_networks(dead: Dead) -> None:
    networks = {network["id"]: network for network in json.loads(dead.ask("networks", "-o", "json"))["networks"]}
    local = [said for said in dead.networks if said["Scope"] == "local"]
    assert {said["Name"] for said in local} >= {"bridge", "host", "none", "my_net", "mv_net", "named"}
    ids = {key[0].removeprefix("container "): value for key, value in dead.written.items() if key[1] == "container_id"}
    for said in local:
        mine = networks[said["Id"]]
        assert (mine["name"], mine["driver"], mine["internal"]) == (said["Name"], said["Driver"], said["Internal"])
        assert (mine["options"], mine["labels"]) == (said["Options"] or {}, said["Labels"] or {})
        assert [(pool["subnet"], pool["gateway"], pool["ip_range"]) for pool in mine["subnets"]] == [
            (pool["Subnet"], pool.get("Gateway"), pool.get("IPRange")) for pool in said["IPAM"]["Config"] or ()
        ]
        members = {id_ for id_ in said["Containers"] if id_ in ids.values()}  # docker_gwbridge has others
        assert {*mine["containers"]} - {ids["restarting"]} == members - {ids["restarting"]}
    named = networks[next(said["Id"] for said in local if said["Name"] == "named")]
    assert (named["bridge"], named["containers"]) == ("br-named", [ids["third"]])


def test_changes(dead: Dead) -> None:
    told = 0
    for name, said in dead.changes.items():
        mine = dead.ask("diff", name).splitlines()
        # Beyond docker's: contents and extended attributes, and the root directory itself.
        assert {*said} <= {*mine} and all(line in said or line.startswith("C /") for line in mine), name
        told += len(said)
    assert told > 10
    assert "D /www/index.html" in dead.changes["untagged"] and "A /www/linked" in dead.changes["untagged"]


def test_nothing_is_made_up_of_a_kernel(dead: Dead) -> None:
    report = json.loads(dead.ask("report", "-o", "json", code=3))
    for table in ("bridges", "links", "netns", "nat_rules", "nat_chains"):
        assert report[table] == []
    for container in report["containers"]:
        assert [container[field] for field in ("pid", "netns", "cgroup", "listeners")] == [None, None, None, []]
        assert container["state"] == dead.value(container["name"], "status")


# --- nothing is written -------------------------------------------------------------------------------------------

_QUESTIONS = (
    ("containers",),
    ("container", "web1", "third", "killed"),
    ("networks",),
    ("volumes", "--size"),
    ("layers", "--history"),
    ("diff", "changed"),
    ("whois", "third", "198.51.100.130"),
)
_READ_ONLY = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; ! touch "$1/written" 2>/dev/null; shift; exec "$@"'


def _without_time(text: str) -> Any:
    answer = json.loads(text)
    answer.pop("collected_at", None)
    return answer


def _stamps(root: Path) -> dict[str, tuple[int, ...]]:
    stamps: dict[str, tuple[int, ...]] = {}
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            status = (Path(directory) / name).lstat()
            stamps[f"{directory}/{name}"] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return stamps


def test_a_disk_that_is_mounted_read_only(dead: Dead) -> None:
    before = _stamps(dead.root)
    for question in _QUESTIONS:
        command = [*COMMAND, *question, "-o", "json", "--root", str(dead.root)]
        private = ["unshare", "--mount", "sh", "-ec", _READ_ONLY, "sh", str(dead.root), *command]
        done = subprocess.run(private, check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert _without_time(done.stdout) == _without_time(dead.ask(*question, "-o", "json"))
    assert _stamps(dead.root) == before
    assert len(before) > 1000


# --- links inside the disk ----------------------------------------------------------------------------------------


@contextmanager
def exchanged(root: Path, name: str, made: Callable[[Path], object]) -> Iterator[None]:
    """With something else at `name`. What is there is kept beside the disk meanwhile, and is the same afterwards."""
    path = root / name
    kept = Path(f"{root}.{name.replace('/', '.')}")
    was = os.path.lexists(path)
    if was:
        path.rename(kept)
    try:
        made(path)
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        if was:
            kept.rename(path)


_LAYOUTS: dict[str, dict[str, str]] = {
    "absolute": {"var/lib/docker": "/mnt/data/docker"},
    "relative": {"var/lib/docker": "../../mnt/data/docker"},
    "over the top": {"var/lib/docker": "../../../../../../../../mnt/data/docker"},
    "with dots": {"var/lib/docker": "/mnt/./data/../data//docker/."},
    "a directory on the way": {"var/lib": "/mnt/lib", "mnt/lib": "data", "mnt/moved": "nowhere"},
    "a link to a link": {"var/lib/docker": "/srv/a", "srv": "mnt", "mnt/a": "../b", "b": "/mnt/data/docker"},
}


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_links_on_the_way_to_the_data_root(layout: str, dead: Dead) -> None:
    expected = json.loads(dead.ask("layers", "-o", "json"))
    with links(dead.root, _LAYOUTS[layout]):
        assert json.loads(dead.ask("layers", "-o", "json")) == expected
    assert len(expected["containers"]) == len(dead.written[DISK, "containers"])


def links(root: Path, targets: dict[str, str]) -> ExitStack:
    """With these links on the disk."""
    stack = ExitStack()
    for name, target in targets.items():
        stack.enter_context(exchanged(root, name, partial(_link, target)))
    return stack


def _link(target: str, path: Path) -> None:
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("config", "targets"),
    [
        ("/srv/engine", {"srv": "mnt", "mnt/engine": "/mnt/data/docker"}),
        ("/../../mnt/data/docker", {}),
        ("/mnt/data/docker", {"etc/docker/daemon.json": "../../usr/daemon.json"}),
    ],
)
def test_links_on_the_way_to_what_daemon_json_says(config: str, targets: dict[str, str], dead: Dead) -> None:
    expected = json.loads(dead.ask("layers", "-o", "json"))
    content = json.dumps({"data-root": config})
    at = "usr/daemon.json" if "etc/docker/daemon.json" in targets else "etc/docker/daemon.json"
    (dead.root / "usr").mkdir(exist_ok=True)
    nothing = {"var/lib/docker": "/nowhere"}
    with exchanged(dead.root, at, lambda path: path.write_text(content)), links(dead.root, nothing | targets):
        assert json.loads(dead.ask("layers", "-o", "json")) == expected


@pytest.mark.parametrize("target", ["{elsewhere}", "/var/lib/docker", "docker", "../../../../../..{elsewhere}", "/etc"])
def test_a_link_that_leads_nowhere_on_the_disk(target: str, dead: Dead, tmp_path: Path) -> None:
    """Though it leads somewhere on the machine that it is mounted at: to a data root, or to /etc."""
    (tmp_path / "elsewhere/containers").mkdir(parents=True)
    to = target.format(elsewhere=tmp_path / "elsewhere")
    with links(dead.root, {"var/lib/docker": to}):
        answer = json.loads(dead.ask("containers", "-o", "json", code=3))
    assert answer["containers"] == []
    assert any(gap["collector"] == "engines" and not gap.get("minor") for gap in answer["gaps"])


# --- records that cannot be read ----------------------------------------------------------------------------------


def _cut(path: Path) -> None:
    path.write_text('{"ID": "')


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.mkdir()


def _word(path: Path) -> None:
    path.write_text("../../../../etc")


def _missing(path: Path) -> None:
    pass


_LAYERS = ("mount_id", "upper_dir", "lower_dirs")
_OF_CONTAINER = "container third"


class Record(NamedTuple):
    """A file of the data root, what is done to it, which values are lost by that, and whose gap about what tells it."""

    name: str
    damages: tuple[Callable[[Path], None], ...]
    loses: Callable[[str, str], bool]
    collector: str
    subject: str


_HOME = "containers/{id}/"
_MOUNT = "image/overlay2/layerdb/mounts/{id}"
_RECORDS = (
    Record(
        f"{_HOME}config.v2.json",
        (_cut, _fifo, _directory, _missing, partial(_link, "/mnt/data/kept.json")),
        lambda of, field: of == _OF_CONTAINER or (of == DISK and field != "volumes"),
        "containers",
        "containers/{id}",
    ),
    Record(
        f"{_HOME}hostconfig.json",
        (_cut, _fifo, _directory),
        lambda *_: False,
        "containers",
        f"{_HOME}hostconfig.json",
    ),
    Record(
        f"{_MOUNT}/mount-id",
        (_word, _fifo, _missing),
        lambda of, field: of == _OF_CONTAINER and field in _LAYERS,
        "layers",
        _MOUNT,
    ),
    Record(
        "overlay2/{mount}/lower",
        (_word, _fifo, _directory),
        lambda of, field: of == _OF_CONTAINER and field in _LAYERS,
        "layers",
        _MOUNT,
    ),
    Record(
        "image/overlay2/imagedb/content/sha256/{image}",
        (_cut, _missing, partial(_link, "/etc/hostname")),
        lambda of, field: of == _OF_CONTAINER and field.startswith("history"),
        "history",
        "image sha256:{image}",
    ),
    Record(
        "image/overlay2/repositories.json",
        (_cut, _fifo),
        lambda of, _: of.startswith("image "),
        "images",
        "image/overlay2/repositories.json",
    ),
    Record(
        "network/files/local-kv.db",
        (_cut, _fifo, _directory),
        lambda *_: False,
        "networks",
        "network/files/local-kv.db",
    ),
    Record("volumes/metadata.db", (_cut, _fifo), lambda *_: False, "volumes", "volumes/metadata.db"),
)


@pytest.mark.parametrize("record", _RECORDS, ids=lambda record: record.name)
def test_a_record_that_cannot_be_read(record: Record, dead: Dead) -> None:
    """It costs what is in it, and nothing else; what is lost is told."""
    id_, mount, image = (dead.value("third", field) for field in ("container_id", "mount_id", "image_id"))
    name, subject = (text.format(id=id_, mount=mount, image=image) for text in (record.name, record.subject))
    lost = {key for key in dead.written if record.loses(*key)}
    for damage in record.damages:
        run = AskedHere(dead.root)
        with exchanged(dead.root, f"{_DATA_ROOT[1:]}/{name}", damage):
            agree, differ = compared(dead.written, answered(run, dead.images))
        assert {(of, field) for of, field, _, _ in differ} == lost, damage
        assert len(agree) + len(lost) == len(dead.written)
        assert [of for told, of in run.gaps if told == record.collector and of.endswith(subject)], (damage, run.gaps)
        for of, _, theirs, mine in differ:
            if of == DISK:
                assert {*theirs} - {*mine} == {id_}
            else:
                assert mine is None


def test_the_disk_is_as_it_was(dead: Dead) -> None:
    """After all that was exchanged on it."""
    assert written(dead.data_root, _DATA_ROOT) == dead.written
