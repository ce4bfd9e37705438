"""`--root`: the disk of the demo host, as it is when its power fails, against what docker said while it ran.

It is looked at from the running host itself, which has the same engine, the same containers and the same paths: what is
not read off the disk would show.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hostinspect.render.schema import answer_schema
from tests.lab.host import REPOSITORY, LabHost
from tests.live.report import COMMAND, QUESTIONS, hostinspect
from tests.live.test_container import differences

# /var/lib/docker is a link to where another disk was mounted, as that host calls it. Files are changed no more: dockerd
# is stopped meanwhile (SIGSTOP). -x: what is mounted beneath, as every container's root is, is on no disk.
_TAKE = r"""
set -eu
mkdir -p "$1/mnt/disk" "$1/var/lib" "$1/etc" "$1/usr/lib"
cp -a -x /var/lib/docker "$1/mnt/disk/docker"
ln -s /mnt/disk/docker "$1/var/lib/docker"
ln -s ../usr/lib/os-release "$1/etc/os-release"
echo 'PRETTY_NAME="Dead Linux 1"' >"$1/usr/lib/os-release"
echo dead-01 >"$1/etc/hostname"
"""

_DATA_ROOT = "/mnt/disk/docker"
_WHAT_RAN = ("running", "paused")

# Of the families that no disk has: what these answer stands without them.
_OF_RECORDS = (
    ("containers",),
    ("container", "web1", "stopped1"),
    ("networks",),
    ("networks", "my_net"),
    ("volumes",),
    ("volumes", "--size"),
    ("volumes", "myvol01"),
    ("layers",),
    ("layers", "--size"),
    ("layers", "--history"),
    ("diff", "changed"),
    ("whois", "web1", "myvol01", "my_net"),
)
_OF_THE_KERNEL = (
    ("report",),
    ("bridges",),
    ("links",),
    ("ports",),
    ("nat",),
    ("doctor",),
    ("whois", "docker0x"),
    ("trace", "8080"),
)


class Dead:
    """The disk, and what docker said of the host when it was taken."""

    def __init__(self, host: LabHost, root: str) -> None:
        self.host, self.root = host, root
        names = host.docker("ps", "--all", "--quiet", "--no-trunc").split()
        self.containers: dict[str, Any] = {c["Id"]: c for c in host.docker_json("inspect", *names)}
        self.networks = host.docker_json("network", "inspect", *host.docker("network", "ls", "--quiet").split())
        self.volumes = host.docker_json("volume", "inspect", *host.docker("volume", "ls", "--quiet").split())
        self.changes = {
            container["Name"]: host.docker("diff", id_).splitlines() for id_, container in self.containers.items()
        }
        with host.frozen_dockerd():
            host.run(["sh", "-c", _TAKE, "sh", root], timeout=120)

    def ask(self, *arguments: str, code: int = 0, root: str | None = None) -> str:
        done = hostinspect(self.host, *arguments, "--root", root or self.root)
        assert done.returncode == code, done.stderr
        assert (done.stderr == "") == (code == 0)
        return done.stdout

    def json(self, *arguments: str, code: int = 0, root: str | None = None) -> Any:
        return json.loads(self.ask(*arguments, "-o", "json", code=code, root=root))


@pytest.fixture(scope="module")
def dead(demo_host: LabHost) -> Iterator[Dead]:
    try:
        yield Dead(demo_host, "/tmp/evidence/disk")
    finally:
        demo_host.run(["rm", "-rf", "/tmp/evidence"])


def moved(said: Any) -> Any:
    """What docker said, with the data root as it is after its link."""
    return json.loads(json.dumps(said).replace("/var/lib/docker/", f"{_DATA_ROOT}/"))


def test_docker_inspect_of_every_container(dead: Dead) -> None:
    names = [container["Name"].removeprefix("/") for container in dead.containers.values()]
    mine = {c["Id"]: c for c in json.loads(dead.ask("container", "-o", "docker", *names))}
    assert len(mine) == len(dead.containers) >= 16
    wrong = []
    for id_, said in dead.containers.items():
        # As recorded, whichever way it leads: log and hosts files by the daemon's own name, which is the resolved one.
        found = differences(mine[id_], moved(said), said["Name"])
        wrong += [
            line for line in found if not re.match(r"/[^ ]*\.(State\.Pid|LogPath|H\w+Path|ResolvConfPath):", line)
        ]
    assert wrong == []
    assert {container["State"]["Pid"] for container in mine.values()} == {0}


def test_what_ran_is_told_as_recorded(dead: Dead) -> None:
    report = dead.json("report", code=3)
    host = report["host"]
    assert (host["hostname"], host["os"], host["root"]) == ("dead-01", "Dead Linux 1", dead.root)
    assert (host["kernel"], host["boot_id"]) == (None, None)
    assert host["engines"] == [
        {"name": "docker", "data_root": _DATA_ROOT, "daemon": None, "version": None, "pid": None}
    ]
    for container in report["containers"]:
        said = dead.containers[container["id"]]["State"]
        assert container["state"] == said["Status"]
        assert (container["pid"], container["netns"], container["cgroup"]) == (None, None, None)
        drift = {change["field"]: (change["recorded"], change["effective"]) for change in container["drift"]}
        if said["Status"] in _WHAT_RAN:
            assert drift == {"state": (said["Status"], None), "pid": (str(said["Pid"]), None)}
        else:
            assert drift == {}
    assert {c["state"] for c in report["containers"]} >= {"running", "paused", "exited", "created"}
    for table in ("bridges", "links", "netns", "nat_rules", "nat_chains"):
        assert report[table] == []
    tree = dead.ask(code=3)
    running = sum(c["State"]["Running"] for c in dead.containers.values())
    assert tree.startswith(f"dead-01 · the disk at {dead.root} · Dead Linux 1 · docker in {_DATA_ROOT} · ")
    assert f"({running} running when it was taken)" in tree and "running, as recorded" in tree
    assert "drift" not in tree and "broken" not in tree
    assert "a disk has no running kernel" in tree


def test_a_path_by_either_name(dead: Dead) -> None:
    [layer] = dead.json("layers", "changed")["containers"]
    for path in (layer["upper"], f"{dead.root}{layer['upper']}"):
        [key] = dead.json("whois", f"{path}/etc/app.conf")["keys"]
        assert {match["owner"]["name"] for match in key["matches"]} == {"changed"}


def test_networks_volumes_and_layers(dead: Dead) -> None:
    networks = {network["id"]: network for network in dead.json("networks")["networks"]}
    for said in dead.networks:
        if said["Scope"] != "local":
            continue  # of the swarm's, its managers know more than the disk of a node
        mine = networks[said["Id"]]
        assert (mine["name"], mine["driver"], mine["internal"]) == (said["Name"], said["Driver"], said["Internal"])
        assert mine["options"] == said["Options"] or not said["Options"]
        pools = [(pool["Subnet"], pool.get("Gateway")) for pool in said["IPAM"]["Config"] or ()]
        assert [(pool["subnet"], pool["gateway"]) for pool in mine["subnets"]] == pools
        members = {id_ for id_, endpoint in said["Containers"].items() if id_ in dead.containers}
        assert {*mine["containers"]} == members
    volumes = {volume["name"]: volume for volume in dead.json("volumes", "--size")["volumes"]}
    assert {*volumes} == {said["Name"] for said in dead.volumes}
    for said in dead.volumes:
        mine = volumes[said["Name"]]
        assert (mine["driver"], mine["mountpoint"]) == (said["Driver"], moved(said)["Mountpoint"])
        assert (mine["options"], mine["labels"]) == (said["Options"] or {}, said["Labels"] or {})
        users = {
            id_
            for id_, container in dead.containers.items()
            if said["Name"] in {mount.get("Name") for mount in container["Mounts"]}
        }
        assert {use["container"] for use in mine["used_by"]} == users
    layers = {container["id"]: container for container in dead.json("layers", "--size")["containers"]}
    for id_, said in dead.containers.items():
        graph = moved(said)["GraphDriver"]["Data"]
        assert layers[id_]["upper"] == graph["UpperDir"]
        assert [lower["path"] for lower in layers[id_]["lower"]] == graph["LowerDir"].split(":")
        assert layers[id_]["size"]["complete"] and layers[id_]["mounted"] is None
    [changed] = [layer for layer in layers.values() if layer["name"] == "changed"]
    assert all(lower["images"] for lower in changed["lower"] if lower["kind"] == "image")


def test_the_history_of_every_image_as_docker_history_has_it(dead: Dead) -> None:
    layers = dead.json("layers", "--history")["containers"]
    assert layers == [
        {**layer, **{key: moved(layer[key]) for key in ("upper", "work", "merged", "lower")}, "mounted": None}
        for layer in json.loads(hostinspect(dead.host, "layers", "--history", "-o", "json").stdout)["containers"]
    ]
    for image in {layer["image"] for layer in layers}:
        lines = dead.host.docker("history", "--no-trunc", "--format", "{{json .}}", image).splitlines()
        said = [(step["CreatedBy"], step["Comment"]) for step in map(json.loads, reversed(lines))]
        for layer in layers:
            if layer["image"] == image:
                assert [(step["command"] or "", step["comment"] or "") for step in layer["history"]] == said
                made = [step["chain_id"] for step in layer["history"] if step["chain_id"]]
                assert made == [lower["chain_id"] for lower in reversed(layer["lower"]) if lower["kind"] == "image"]


def test_diff_of_every_container(dead: Dead) -> None:
    told = 0
    for name, said in dead.changes.items():
        mine = dead.ask("diff", name.removeprefix("/")).splitlines()
        # Beyond docker's: contents and extended attributes, and the root directory itself.
        assert {*said} <= {*mine} and all(line in said or line.startswith("C /") for line in mine)
        told += len(said)
    assert told > 3


@pytest.mark.parametrize("question", [*_OF_RECORDS, *_OF_THE_KERNEL], ids=" ".join)
def test_exit_codes_and_schema(question: tuple[str, ...], dead: Dead) -> None:
    """0 where the answer stands without a kernel, 3 where it does not; never a 1, and never a bug."""
    code = 0 if question in _OF_RECORDS else 3
    text = dead.ask(*question, code=code)
    if question[0] == "trace":
        assert text == ""
        return
    answer = dead.json(*question, code=code)
    jsonschema.validate(answer, answer_schema(question[0]), cls=jsonschema.Draft202012Validator)
    assert any("a disk has no running kernel" in gap["why"] for gap in answer["gaps"]) or question[0] == "diff"


def test_a_plain_user_is_told_what_was_not_seen(dead: Dead) -> None:
    for question in (("containers",), ("diff", "changed"), ("layers", "--history"), ("whois", "web1")):
        done = hostinspect(dead.host, *question, "--root", dead.root, user="nobody")
        assert done.returncode == 3
        assert "run as root" in done.stderr and "bug" not in done.stderr


@pytest.mark.parametrize("form", QUESTIONS[("report",)])
def test_every_form_of_the_report(form: str, dead: Dead) -> None:
    assert "web1" in dead.ask("-o", form, code=3)


def test_a_snapshot_of_a_disk_answers_as_the_disk(dead: Dead) -> None:
    path = f"{dead.root}.snapshot"
    assert hostinspect(dead.host, "snapshot", "-o", path, "--root", dead.root).returncode == 3
    try:
        for question in (("report",), ("containers",), ("volumes",), ("layers",), ("doctor",), ("whois", "web1")):
            mine = hostinspect(dead.host, *question, "-o", "json", "--from", path)
            live = hostinspect(dead.host, *question, "-o", "json", "--root", dead.root)
            assert _without_time(mine.stdout) == _without_time(live.stdout)
            if question[0] not in ("report", "doctor"):  # whose snapshot tells the gaps of all families
                assert mine.returncode == live.returncode
    finally:
        dead.host.run(["rm", "-f", path])


def _without_time(text: str) -> Any:
    answer = json.loads(text)
    answer.get("host", answer).pop("collected_at", None)
    return {key: value for key, value in answer.items() if key != "gaps"}


# --- nothing but the disk -----------------------------------------------------------------------------------------

_CALL = re.compile(r'(\w+)\((?:(?:AT_FDCWD|\d+)(?:<([^>]*)>)?, )?"([^"]*)"')
_CODE = tuple(f"{path}/" for path in {sys.prefix, sys.base_prefix, str(REPOSITORY), *filter(None, sys.path)})
# What a process is: its libraries, its locale; what it may do (/proc/self/status, uid_map), and names of its own
# descriptors, which is how extended attributes are read beneath a directory.
_OUR_OWN = re.compile(
    r".*/lib/python\d+\.zip|/dev/null|/etc/(ld\.so\.\w+|locale\.alias|localtime)|(/etc|/usr/lib)/ssl/openssl\.cnf|/usr/share/(locale|zoneinfo)/.*"
    r"|(/usr)?/lib(64)?/(.*\.so[.\d]*|locale/.*|x86_64-linux-gnu/?.*|gconv/.*)|/proc/self/(status|uid_map|fd/\d+/?.*)"
    r"|/proc/\d+/fd/\d+/.*"
)


def looked_at(trace: str) -> Iterator[tuple[str, str]]:
    """The paths of system calls that strace -y shows, each with its call; not of those about a descriptor itself."""
    for line in trace.splitlines():
        found = _CALL.search(line)
        if found and found[3] and not found[1].startswith("exec"):
            _, directory, path = found.groups()
            yield os.path.normpath(path if path.startswith("/") else f"{directory or ''}/{path}"), line


def strangers(trace: str, root: str) -> list[str]:
    return [
        line
        for path, line in looked_at(trace)
        if not f"{path}/".startswith((f"{root}/", *_CODE)) and not _OUR_OWN.fullmatch(path) and path not in _ABOVE
    ]


_ABOVE = {str(above) for code in _CODE for above in Path(code).parents} | {"/usr/bin", "/usr/local/bin"}


@pytest.mark.parametrize(
    "question",
    [*_OF_RECORDS, *_OF_THE_KERNEL, ("report", "-o", "dot"), ("container", "-o", "docker", "web1")],
    ids=" ".join,
)
def test_nothing_but_the_disk_is_looked_at(question: tuple[str, ...], dead: Dead) -> None:
    ask = shlex.join([*COMMAND, *question, "--root", dead.root])
    script = f"strace -f -y -qq -e trace=%file,%network,%process,setns -o /tmp/trace.root {ask} >/dev/null 2>&1; "
    traced = dead.host.run(["sh", "-c", f"{script} cat /tmp/trace.root; rm /tmp/trace.root"], timeout=120).stdout
    on_disk = [path for path, _ in looked_at(traced) if path.startswith(f"{dead.root}/")]
    assert len(on_disk) > 50
    assert strangers(traced, dead.root) == []
    calls = re.findall(r"^.*\b(?:socket|connect|setns|clone3?|fork|vfork)\(.*$", traced, re.M)
    assert [call for call in calls if "clone(child_stack=NULL, flags=CLONE_CHILD_" not in call] == []  # who asks


def test_the_judge_of_paths() -> None:
    good = [
        'openat(AT_FDCWD, "/e/disk/etc/hostname", O_RDONLY) = 3',
        'newfstatat(4</e/disk/mnt/disk/docker>, "containers", {}, AT_SYMLINK_NOFOLLOW) = 0',
        'openat(5</e/disk>, "mnt", O_PATH) = 6',
        'getxattr("/proc/self/fd/7/etc", "trusted.overlay.opaque", 0x7f, 64) = -1 ENODATA',
    ]
    bad = [
        'openat(AT_FDCWD, "/etc/hostname", O_RDONLY) = 3',
        'openat(AT_FDCWD, "/proc/1/cgroup", O_RDONLY) = 3',
        'openat(4</proc>, "1", O_PATH) = 3',
        'newfstatat(AT_FDCWD, "/var/lib/docker", {}, 0) = 0',
        'readlink("/e/disk/../outside", "x", 4096) = 1',
        'openat(5</var/lib/docker>, "containers", O_PATH) = 6',
        'openat(AT_FDCWD, "/usr/lib/os-release", O_RDONLY) = 3',
        'openat(AT_FDCWD, "/proc/self/mountinfo", O_RDONLY) = 3',
    ]
    assert strangers("\n".join([*good, *bad]), "/e/disk") == bad


# --- a hostile disk -----------------------------------------------------------------------------------------------

_HOSTILE = r"""
set -eu
cp -al "$1" "$2"
docker=$2/mnt/disk/docker
replace() { rm -rf "$2"; ln -s "$1" "$2"; }
replace "/var/lib/docker/containers/$3/config.v2.json" "$docker/containers/$3/config.v2.json"
replace /etc "$4"
replace ../../../../../../../../../../../../etc "$5"
rm -f "$docker/network/files/local-kv.db"
mkfifo "$docker/network/files/local-kv.db"
replace /proc/self/environ "$docker/volumes/metadata.db"
ln -s /var/lib/docker/volumes/myvol01 "$docker/volumes/evil"
mkdir "$2/etc/docker"
ln -s ../../../../../../../../../etc/passwd "$2/etc/docker/daemon.json"
"""


def test_links_that_lead_out_of_a_hostile_disk_end_in_it(dead: Dead) -> None:
    root = f"{dead.root}.hostile"
    by_name = {container["Name"]: container for container in dead.containers.values()}
    layers = dead.json("container", "changed", "old", "web1")["containers"]
    uppers = {container["name"]: f"{root}{container['overlay']['upper']}" for container in layers}
    web1 = by_name["/web1"]["Id"]
    arguments = [dead.root, root, web1, uppers["changed"], uppers["old"]]
    dead.host.run(["sh", "-c", _HOSTILE, "sh", *arguments])
    try:
        found = dead.json("containers", code=3, root=root)
        assert "web1" not in [container["name"] for container in found["containers"]]
        assert any(web1 in gap["subject"] and "symbolic link" in gap["why"] for gap in found["gaps"])
        networks = dead.json("networks", code=3, root=root)
        assert any("FIFO" in gap["why"] for gap in networks["gaps"])
        volumes = dead.json("volumes", code=3, root=root)
        assert any("metadata.db" in gap["subject"] and "symbolic link" in gap["why"] for gap in volumes["gaps"])
        for name in ("changed", "old"):  # of the disk's own /etc: four names, and none of the living
            lines = dead.ask("diff", name, root=root).splitlines()
            added = {line.split(" ", 1)[1].split("/")[1] for line in lines if line.startswith("A ")}
            assert added == {"docker", "hostname", "os-release"}
        report = dead.json("report", code=3, root=root)
        assert any(gap["subject"] == "/etc/docker/daemon.json" for gap in report["gaps"]) or report["containers"]
    finally:
        dead.host.run(["rm", "-rf", root])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--root", "/nowhere"), "/nowhere: No such file or directory"),
        (("--root", "/etc/passwd"), "/etc/passwd: Not a directory"),
        (("--root", ""), "No such file or directory"),
        (("--root", "/", "--from", "/etc/passwd"), "--from and --root are two hosts"),
        (("--root", "/", "--data-root", "/nowhere"), "/nowhere beneath /: No such file or directory"),
        (("--data-root", "/etc/passwd", "--root", "/"), "/etc/passwd beneath /: Not a directory"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], says: str, demo_host: LabHost) -> None:
    done = hostinspect(demo_host, "containers", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and "Traceback" not in done.stderr


def test_a_disk_without_an_engine(demo_host: LabHost) -> None:
    done = hostinspect(demo_host, "containers", "--root", "/srv")
    assert done.returncode == 3
    assert "name it with --data-root, as that host calls it" in done.stderr
