"""`hostinspect volumes` against docker volume ls and inspect, system df, du and findmnt; also where a mount hangs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.host import LabHost
from tests.live.hosts import on_random_hosts
from tests.live.report import COMMAND, hostinspect
from tests.live.test_layers import api, du

VOLUMES = "/var/lib/docker/volumes"

# A FUSE file system whose server never answers: stat(2) of its root waits until the server is gone.
_DEAD_MOUNT = """
import ctypes, os, sys, time
fd = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
if ctypes.CDLL(None, use_errno=True).mount(b"dead", sys.argv[1].encode(), b"fuse", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
print("mounted", flush=True)
time.sleep(120)
"""


def volumes(host: LabHost, *arguments: str) -> Any:
    """The answer as JSON; the run must succeed without a word on stderr."""
    done = hostinspect(host, "volumes", "--output", "json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)["volumes"]


def compare(host: LabHost) -> None:
    """Hold all that is told to what docker and the host's tools say."""
    found = {volume["name"]: volume for volume in volumes(host, "--size")}
    names = host.docker("volume", "ls", "--quiet").split()
    assert [*found] == sorted(names)
    said = {volume["Name"]: volume for volume in host.docker_json("volume", "inspect", *names)}
    containers = host.docker_json("inspect", *host.docker("ps", "--all", "--quiet", "--no-trunc").split())
    targets = host.run(["findmnt", "--list", "--noheadings", "--output", "TARGET"]).stdout.split()
    for name, volume in found.items():
        engine = said[name]
        assert (volume["driver"], volume["mountpoint"]) == (engine["Driver"], engine["Mountpoint"])
        assert (volume["options"], volume["labels"]) == (engine["Options"] or {}, engine["Labels"] or {})
        uses = [(use["container"], use["destination"], use["rw"]) for use in volume["used_by"]]
        assert sorted(uses) == sorted(
            (of["Id"], mount["Destination"], mount["RW"])
            for of in containers
            for mount in of["Mounts"]
            if mount["Type"] == "volume" and mount["Name"] == name
        )
        assert (volume["mount"] is not None) == (engine["Mountpoint"] in targets)
        states = {of["Id"]: of["State"] for of in containers}
        assert [use["mounted"] for use in volume["used_by"]] == [
            True if states[use["container"]]["Running"] else None for use in volume["used_by"]
        ]
    dangling = host.docker("volume", "ls", "--quiet", "--filter", "dangling=true").split()
    assert [volume["name"] for volume in volumes(host, "--dangling")] == sorted(dangling)
    paths = [volume["mountpoint"] for volume in found.values()]
    allocated, inodes = du(host, "--block-size=1", paths=paths), du(host, "--inodes", paths=paths)
    for volume in found.values():
        size, path = volume["size"], volume["mountpoint"]
        assert (size["allocated"], size["inodes"]) == (allocated[path], inodes[path])
    for engine in api(host, "/system/df")["Volumes"]:
        usage = engine["UsageData"]
        assert usage["RefCount"] == len({use["container"] for use in found[engine["Name"]]["used_by"]})
        if usage["Size"] >= 0:
            assert found[engine["Name"]]["size"]["apparent"] == usage["Size"]


@pytest.mark.parametrize("demo", ["demo_host", "demo_host_sid"], indirect=True)
def test_the_demo_scenario(demo: LabHost) -> None:
    compare(demo)
    [scratch] = volumes(demo, "scratch")
    [mount] = json.loads(demo.run(["findmnt", "--json", scratch["mountpoint"]]).stdout)["filesystems"]
    assert (scratch["needs_mount"], scratch["mount"]["fstype"]) == (True, mount["fstype"])
    assert set(mount["options"].split(",")) == set(scratch["mount"]["options"])
    [user] = scratch["used_by"]
    assert (user["name"], scratch["mount"]["containers"]) == ("bindtmp", [user["container"]])


@pytest.mark.parametrize("demo", ["demo_host_sid"], indirect=True)
def test_what_is_created_with_options_is_mounted_while_somebody_runs(demo: LabHost) -> None:
    host = demo
    host.docker("volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "late")
    try:
        [late] = volumes(host, "late")
        assert (late["needs_mount"], late["mount"], late["used_by"]) == (True, None, [])
        assert "not mounted" in hostinspect(host, "volumes", "--columns", "mount").stdout
        host.docker("run", "--detach", "--name", "late", "-v", "late:/x", "lab/base")
        [late] = volumes(host, "late")
        assert late["mount"]["containers"] == [late["used_by"][0]["container"]]
        host.docker("stop", "--time", "0", "late")
        [late] = volumes(host, "late")
        assert (late["mount"], [use["state"] for use in late["used_by"]]) == (None, ["exited"])
    finally:
        host.run(["sh", "-c", "docker rm --force late; docker volume rm late"])


def test_no_password_of_a_share_is_told(demo_host: LabHost) -> None:
    """docker volume inspect tells it."""
    options = ("type=cifs", "device=//nas.example/backup", "o=username=backup,password=hunter2,vers=3.0")
    demo_host.docker("volume", "create", *(word for option in options for word in ("--opt", option)), "share")
    try:
        [share] = volumes(demo_host, "share")
        snapshot = "hostinspect snapshot -o /tmp/share.snapshot; zcat /tmp/share.snapshot; rm /tmp/share.snapshot"
        facts = demo_host.run(["sh", "-c", snapshot.replace("hostinspect", '"$@"', 1), "sh", *COMMAND]).stdout
        assert "hunter2" in demo_host.docker("volume", "inspect", "share")
    finally:
        demo_host.docker("volume", "rm", "share")
    assert share["options"]["o"] == "username=backup,password=***,vers=3.0"
    assert "nas.example" in facts
    assert "hunter2" not in facts


@on_random_hosts
def test_a_random_host(made_up: LabHost) -> None:
    compare(made_up)


# --- one file system, and nobody waited for --------------------------------------------------------------------------


_MOUNT_IT = 'python3 -c "$1" "$2" >"$3" 2>&1 & echo $! >"$3.pid"; until [ -s "$3" ]; do sleep 0.02; done; cat "$3"'
_LEAVE_IT = 'umount --lazy "$1"; kill "$(cat "$2.pid")"; rm "$2" "$2.pid"'


@contextmanager
def dead_mount(host: LabHost, path: str) -> Iterator[None]:
    """With a mount on `path` that whoever looks at it waits for."""
    said = f"/tmp/dead{path.replace('/', '-')}"
    assert host.run(["sh", "-c", _MOUNT_IT, "sh", _DEAD_MOUNT, path, said]).stdout == "mounted\n"
    try:
        assert host.run(["timeout", "-s", "KILL", "1", "stat", path], check=False).returncode != 0
        yield
    finally:
        host.run(["sh", "-c", _LEAVE_IT, "sh", path, said])


def test_a_dead_mount_is_not_waited_for(demo_host: LabHost) -> None:
    """On a volume it is a gap; beneath one it is no part of it; and neither keeps the rest from being told."""
    host = demo_host
    host.run(["mkdir", f"{VOLUMES}/myvol01/_data/beneath"])
    before = {volume["name"]: volume for volume in volumes(host, "--size")}
    try:
        with dead_mount(host, f"{VOLUMES}/dangling/_data"), dead_mount(host, f"{VOLUMES}/myvol01/_data/beneath"):
            done = host.run([*COMMAND, "volumes", "--size", "--output", "json"], check=False, timeout=20)
            listed = host.run([*COMMAND, "volumes"], timeout=20)
    finally:
        host.run(["rmdir", f"{VOLUMES}/myvol01/_data/beneath"])
    assert done.returncode == 3
    answer = json.loads(done.stdout)
    after = {volume["name"]: volume for volume in answer["volumes"]}
    [gap] = answer["gaps"]
    assert (gap["subject"], "fuse from dead" in gap["why"]) == (f"{VOLUMES}/dangling/_data", True)
    assert after["dangling"]["size"] is None
    assert after["dangling"]["mount"]["fstype"] == "fuse"
    sizes = before["myvol01"]["size"]
    assert after["myvol01"]["size"] == {**sizes, "inodes": sizes["inodes"] - 1, "allocated": sizes["allocated"] - 4096}
    assert "fuse from dead" in listed.stdout


def test_a_volume_moved_elsewhere_by_a_link(demo_host: LabHost) -> None:
    """Docker follows it; we say that we do not."""
    host = demo_host
    host.run(["sh", "-c", f"mv {VOLUMES}/dangling/_data /srv/moved && ln -s /srv/moved {VOLUMES}/dangling/_data"])
    try:
        done = hostinspect(host, "volumes", "dangling", "--size")
    finally:
        host.run(["sh", "-c", f"rm {VOLUMES}/dangling/_data && mv /srv/moved {VOLUMES}/dangling/_data"])
    assert done.returncode == 3
    assert "symbolic link" in done.stderr
