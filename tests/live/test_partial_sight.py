"""Whoever may not see all gets what can be seen, all of it true, is told what is missing and why, and exit status 3.

Each report of somebody who sees less is held against root's: what it says, root's says too.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from subprocess import CompletedProcess, run
from typing import Any

import pytest

from tests.lab.host import LabHost, LabSpec
from tests.live.report import COMMAND, report

_NOBODY = "setpriv --reuid=nobody --regid=nogroup --clear-groups"
_HIDEPID = "mount -t proc -o hidepid=invisible proc /proc"

# How somebody is put in a place where less can be seen: a script that runs "$@" there.
ORDINARY_USER = f'exec {_NOBODY} "$@"'
HIDEPID = f'exec unshare --mount sh -c \'{_HIDEPID}; exec {_NOBODY} "$@"\' sh "$@"'
HIDEPID_ROOT = (
    f"exec unshare --mount sh -c '{_HIDEPID}; exec setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace \"$@\"'"
    ' sh "$@"'
)
IN_A_CONTAINER = 'exec unshare --pid --fork --mount --net --mount-proc "$@"'
IN_A_USER_NAMESPACE = 'exec unshare --user --map-root-user "$@"'


def without(*capabilities: str) -> str:
    dropped = ",".join(f"-{capability}" for capability in capabilities)
    return f'exec setpriv --bounding-set={dropped} --inh-caps={dropped} "$@"'


def limited(*limits: str) -> str:
    return f'exec prlimit {" ".join(limits)} "$@"'


_LITTLE_LEFT = """
import importlib, pkgutil, resource, sys
import hostinspect.cli

for module in pkgutil.walk_packages(hostinspect.__path__, "hostinspect."):
    if "__main__" not in module.name:
        importlib.import_module(module.name)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + int(sys.argv.pop(1)),) * 2)
hostinspect.cli.main()
"""


def ask(host: LabHost, script: str) -> CompletedProcess[str]:
    return host.run(["sh", "-ec", script, "sh", *COMMAND, "report", "--output", "json"], check=False)


@pytest.fixture(scope="module")
def whole(demo_host: LabHost) -> Any:
    return report(demo_host)


# --- what is true -------------------------------------------------------------------------------------------------

# What tells an entry of a list from the others.
_KEYS = {
    "containers": ("id",),
    "networks": ("id",),
    "bridges": ("netns", "name"),
    "links": ("netns", "ifindex"),
    "netns": ("inode",),
    "nat_chains": ("netns", "family", "backend", "table", "name"),
    "nat_rules": ("netns", "family", "backend", "table", "chain", "position"),
    "volumes": ("name",),
    "engines": ("data_root",),
    "endpoints": ("endpoint_id",),
    "mounts": ("destination",),
    "ports": ("proto", "container_port", "host_ip", "host_port", "link"),
    "listeners": ("proto", "address", "port", "pid"),
    "used_by": ("container", "destination"),
}
# What is said of something of which nothing more is known.
_NOTHING_KNOWN = {("role", "other"), ("ingress", False)}
# Whatever changes from one report to the next; what says why something is not known.
_PASSED_OVER = {"collected_at", "packets", "bytes", "gaps", "doubt"}


def _is_nothing(path: tuple[str, ...], part: Any) -> bool:
    return isinstance(part, str | bool) and (path[-1], part) in _NOTHING_KNOWN


def untruths(part: Any, whole: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Where `part` says something that `whole` does not. To say nothing (null, an empty list) is no untruth."""
    if part is None or part in ([], {}) or part == whole or _is_nothing(path, part):
        return
    if isinstance(part, dict) and isinstance(whole, dict):
        for key, value in part.items():
            if key not in _PASSED_OVER:
                yield from untruths(value, whole.get(key), (*path, key))
    elif isinstance(part, list) and isinstance(whole, list) and isinstance(part[0], dict) and path[-1] in _KEYS:
        keys = _KEYS[path[-1]]
        known = {tuple(entry.get(key) for key in keys): entry for entry in whole}
        for entry in part:
            key = tuple(entry.get(key) for key in keys)
            yield from untruths(entry, known.get(key, "nothing"), (*path, str(key)))
    elif isinstance(part, list) and isinstance(whole, list):
        if missing := [entry for entry in part if entry not in whole]:
            yield f"{'.'.join(path)}: {missing}, not in {whole}"
    else:
        yield f"{'.'.join(path)}: {part}, not {whole}"


def test_what_is_not_so_is_found() -> None:
    whole = {"links": [{"netns": 1, "ifindex": 2, "ifname": "a", "flags": ["UP"]}]}
    for entry in (
        {"netns": 1, "ifindex": 2, "ifname": "b"},
        {"netns": 1, "ifindex": 3, "ifname": "a"},
        {"netns": 1, "ifindex": 2, "flags": ["UP", "LOWER_UP"]},
    ):
        assert [*untruths({"links": [entry]}, whole)]
    assert not [*untruths({"links": [{"netns": 1, "ifindex": 2, "ifname": None, "flags": []}]}, whole)]


# --- who sees what ------------------------------------------------------------------------------------------------

# Families, and how much of each is to be seen: "all", "host" (what is in the host's network namespace), "none".
_EVERY = ("containers", "networks", "volumes", "links", "nat_rules")
_PEOPLE = {
    "an ordinary user": (ORDINARY_USER, {"links": "host"}),
    "an ordinary user, hidepid=2": (HIDEPID, {"links": "host"}),
    "an ordinary user, one process": (limited("--nproc=1", *_NOBODY.split()), {"links": "host"}),
    "root without CAP_NET_ADMIN": (without("net_admin"), dict.fromkeys(_EVERY[:4], "all")),
    "root without CAP_SYS_ADMIN": (
        without("sys_admin"),
        {**dict.fromkeys(_EVERY[:3], "all"), "links": "host", "nat_rules": "host"},
    ),
    "root without any capability": (without("all"), {**dict.fromkeys(_EVERY[:3], "all"), "links": "host"}),
    "root of a user namespace": (IN_A_USER_NAMESPACE, {**dict.fromkeys(_EVERY[:3], "all"), "links": "host"}),
    "root without CAP_SYS_PTRACE": (without("sys_ptrace"), dict.fromkeys(_EVERY, "all")),
    "root without CAP_SYS_PTRACE, hidepid=2": (HIDEPID_ROOT, dict.fromkeys(_EVERY, "all")),
}


@pytest.mark.parametrize("who", _PEOPLE)
def test_the_largest_true_report(demo_host: LabHost, whole: Any, who: str) -> None:
    script, expected = _PEOPLE[who]
    done = ask(demo_host, script)
    assert done.returncode == 3, done.stderr
    part = json.loads(done.stdout)
    assert [*untruths(part, whole)] == []
    host = next(namespace["inode"] for namespace in whole["netns"] if namespace["host"])
    for family in _EVERY:
        seen = expected.get(family, "none")
        wanted = [entry for entry in whole[family] if seen == "all" or (seen == "host" and entry["netns"] == host)]
        assert len(part[family]) == len(wanted), family
    grave = [gap for gap in part["gaps"] if not gap.get("minor")]
    assert 0 < len(grave) < 15
    assert all(gap["subject"] and gap["why"] and gap["remedy"] for gap in grave)
    assert "could not be seen" in done.stderr


@pytest.mark.parametrize(
    "script",
    [
        without("dac_override", "dac_read_search"),  # all of it is root's own
        limited("--nofile=64"),
        limited("--nofile=16"),
        limited("--nproc=1"),
        limited("--as=80000000"),
        'exec unshare --mount --uts --ipc "$@"',
    ],
)
def test_what_root_does_not_need(demo_host: LabHost, whole: Any, script: str) -> None:
    done = ask(demo_host, script)
    assert (done.returncode, done.stderr) == (0, "")
    part = json.loads(done.stdout)
    assert [*untruths(part, whole)] == []
    assert [*untruths(whole, part)] == []


@pytest.mark.parametrize("left", [1 << 20, 1 << 18])
def test_too_little_memory_is_said(demo_host: LabHost, left: int) -> None:
    """`left` bytes, when all code is loaded: what Python itself takes differs from one to the next."""
    done = demo_host.run([sys.executable, "-c", _LITTLE_LEFT, str(left), "report", "-o", "json"], check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "not enough memory" in done.stderr


def test_in_a_container_of_its_own_nobody_is_said_to_have_ended(demo_host: LabHost, whole: Any) -> None:
    done = ask(demo_host, IN_A_CONTAINER)
    assert done.returncode == 3
    part = json.loads(done.stdout)
    assert {c["id"]: c["state"] for c in part["containers"]} == {c["id"]: c["state"] for c in whole["containers"]}
    assert [container["drift"] for container in part["containers"] if container["drift"]] == []
    assert [engine["daemon"] for engine in part["host"]["engines"]] == [None]
    assert not any(namespace["host"] for namespace in part["netns"])
    (gap,) = [gap for gap in part["gaps"] if not gap.get("minor")]
    assert "a pid namespace of its own" in gap["why"]
    assert "docker run --pid=host" in gap["remedy"]


def test_the_way_out_of_the_container_is_as_the_gap_says(demo_host: LabHost, whole: Any) -> None:
    """By the host's /proc, which is mounted into it at another place."""
    enter = 'nsenter --mount=/tmp/proc/1/ns/mnt --net=/tmp/proc/1/ns/net "$@"'
    script = f"mkdir /tmp/proc; mount --bind /proc /tmp/proc; mount -t proc proc /proc; exec {enter}"
    done = ask(demo_host, f"unshare --pid --fork --mount sh -ec '{script}' sh \"$@\"; rmdir /tmp/proc")
    assert (done.returncode, done.stderr) == (0, "")
    part = json.loads(done.stdout)
    for family in _EVERY:
        assert [*untruths(part[family], whole[family], (family,))] == []
        assert [*untruths(whole[family], part[family], (family,))] == []


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        (("links",), "/proc/thread-self/ns/net"),
        (("diff", "changed"), "/proc/self/mountinfo"),
        (("layers", "--size"), "/proc/self/mountinfo"),
    ],
)
def test_a_proc_that_we_are_not_in_is_named(demo_host: LabHost, question: tuple[str, ...], subject: str) -> None:
    """The host's, for who has not entered its pid namespace."""
    entered = [word for word in demo_host.command([*COMMAND, *question]) if word != "--pid"]
    done = run(entered, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert f"  {subject}: No such file or directory → enter the host's pid namespace too (nsenter -p)" in done.stderr


def test_a_file_that_is_refused_is_a_gap_and_the_rest_is_told(demo_host: LabHost, whole: Any) -> None:
    """As a security module refuses root some files: here those of one container, which are another user's."""
    refused = next(container for container in whole["containers"] if container["name"] == "web1")
    directory = f"/var/lib/docker/containers/{refused['id']}"
    before = demo_host.run(["stat", "--format", "%u:%g %a", directory]).stdout.split()
    demo_host.run(["sh", "-c", f"chown nobody:nogroup {directory}; chmod 0700 {directory}"])
    try:
        done = ask(demo_host, without("dac_override", "dac_read_search"))
    finally:
        demo_host.run(["sh", "-c", f"chown {before[0]} {directory}; chmod {before[1]} {directory}"])
    assert done.returncode == 3, done.stderr
    part = json.loads(done.stdout)
    names = {container["name"] for container in whole["containers"]}
    assert {container["name"] for container in part["containers"]} == names - {"web1"}
    for family in ("networks", "volumes", "netns", "bridges"):
        assert len(part[family]) == len(whole[family])
    for container in part["containers"]:
        assert [*untruths([container], whole["containers"], ("containers",))] == []
    (gap,) = [gap for gap in part["gaps"] if not gap.get("minor")]
    assert (gap["collector"], gap["why"]) == ("engines", "its files may not be read: Permission denied")


# --- where the data root is ---------------------------------------------------------------------------------------

_SOME = r"""
docker run --detach --name one --publish 8080:80 --volume kept:/data some /busybox httpd -f -p 80 >/dev/null
docker create --name two some /busybox true >/dev/null
"""


@pytest.fixture(scope="module")
def moved_host() -> Iterator[LabHost]:
    """A host whose engine is told of other data roots by the tests."""
    with LabHost(LabSpec()) as started:
        yield started


def _restart(host: LabHost, *arguments: str) -> None:
    host.run(["sh", "-ec", "docker ps --quiet | xargs -r docker kill >/dev/null"])
    host.kill_dockerd()
    host.spec = LabSpec(name=host.name, dockerd=arguments)
    host.start_dockerd()
    host.import_busybox("some")
    host.run(["sh", "-ec", _SOME])


@pytest.mark.parametrize(
    ("prepare", "arguments", "data_root"),
    [
        ("", ("--userns-remap=default",), r"/var/lib/docker/\d+\.\d+"),
        ("mkdir /srv/disk; mount -t tmpfs disk /srv/disk", ("--data-root=/srv/disk/docker",), "/srv/disk/docker"),
        ("ln -s disk/docker /srv/link", ("--data-root=/srv/link",), "/srv/disk/docker"),
    ],
)
def test_a_data_root_elsewhere(moved_host: LabHost, prepare: str, arguments: tuple[str, ...], data_root: str) -> None:
    moved_host.run(["sh", "-ec", prepare])
    moved_host.run(["sh", "-c", "docker rm --force one two"], check=False)
    _restart(moved_host, *arguments)
    found = report(moved_host)
    (engine,) = [engine for engine in found["host"]["engines"] if engine["daemon"] == "running"]
    assert engine["data_root"] == moved_host.docker("info", "--format", "{{.DockerRootDir}}")
    assert re.fullmatch(data_root, engine["data_root"])
    one, two = found["containers"]
    assert (one["name"], one["state"], two["name"], two["state"]) == ("one", "running", "two", "created")
    (told,) = moved_host.docker_json("inspect", "one")
    assert (one["pid"], one["id"]) == (told["State"]["Pid"], told["Id"])
    assert one["endpoints"][0]["host_link"] and one["endpoints"][0]["bridge"] == "docker0"
    assert [mount["mounted"] for mount in one["mounts"]] == [True]
    assert (one["drift"], found["gaps"]) == ([], [])
    assert found["volumes"][0]["mountpoint"] == told["Mounts"][0]["Source"]
    for container in (one, two):
        assert container["overlay"]["upper"].startswith(f"{engine['data_root']}/overlay2/")
