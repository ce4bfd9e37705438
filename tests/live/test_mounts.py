"""Mounts of this host: the same as findmnt(8) says, and what the kernel makes of names meant to confuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.mounts import collect_host_mounts, collect_mounts
from hostinspect.collectors.processes import collect_processes
from hostinspect.facts import MountPoint
from hostinspect.kernel.mountinfo import parse_mountinfo

NASTY = ["lo:w", "l,w", "l w", "l\\w", "l\nw", "ab#c", "\\:", "ü\udcff"]  # the last with a byte that is no UTF-8


def test_the_same_as_findmnt() -> None:
    columns = "ID,PARENT,TARGET,SOURCE,FSTYPE,FSROOT,MAJ:MIN,VFS-OPTIONS"
    command = ["findmnt", "-J", "-l", "-v", "-F", "/proc/self/mountinfo", "-o", columns]
    for _ in range(5):  # other tests may mount in between
        ours = parse_mountinfo(Path("/proc/self/mountinfo").read_bytes())
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if ours == parse_mountinfo(Path("/proc/self/mountinfo").read_bytes()):
            break
    theirs = {int(entry["id"]): entry for entry in json.loads(answer)["filesystems"]}
    assert [mount.mount_id for mount in ours] == list(theirs)
    for mount in ours:
        entry = theirs[mount.mount_id]
        assert mount.parent_id == int(entry["parent"])
        assert mount.mount_point == entry["target"]
        assert mount.source == entry["source"]
        assert mount.fstype == entry["fstype"]
        assert mount.root == entry["fsroot"]
        assert mount.device == entry["maj:min"].strip()
        assert ",".join(mount.options) == entry["vfs-options"]


def test_a_containers_namespace_is_found() -> None:
    """A process whose recorded pid is told, in a mount namespace of its own."""
    child = subprocess.Popen(
        [
            "unshare",
            "-m",
            "--propagation",
            "private",
            "sh",
            "-c",
            "mount -t tmpfs only-here /mnt && echo && exec sleep 60",
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        gaps = GapLog()
        processes = collect_processes(gaps)
        mounts = collect_mounts(processes, collect_host_mounts(gaps), gaps, pids=(child.pid,))
        (found,) = [mount for mount in mounts if mount.source == "only-here"]
        assert (found.mount_point, found.fstype) == ("/mnt", "tmpfs")
        assert found.mntns == Path(f"/proc/{child.pid}/ns/mnt").stat().st_ino
        assert mounts[0].mntns != found.mntns
    finally:
        child.kill()
        child.communicate()


@pytest.fixture
def layers(tmp_path: Path) -> Iterator[Path]:
    for name in (*NASTY, "up:,p", "wo rk", "merged"):
        (tmp_path / name).mkdir()
    yield tmp_path


def overlay(script: str, base: Path) -> MountPoint:
    """The overlay at `base`/merged that `script` mounts in a mount namespace of its own."""
    command = ["unshare", "-m", "--propagation", "private", sys.executable, "-c", SYSCALLS + script, str(base)]
    answer = subprocess.run(command, capture_output=True, check=False)
    assert answer.returncode == 0, answer.stderr.decode()
    (found,) = [mount for mount in parse_mountinfo(answer.stdout) if mount.mount_point == f"{base}/merged"]
    return found


SYSCALLS = f"""
import ctypes, os, sys
base = os.fsencode(sys.argv[1])
names = [os.fsencode(name) for name in {NASTY!r}]
libc = ctypes.CDLL(None, use_errno=True)
def check(answer):
    if answer < 0:
        print(os.strerror(ctypes.get_errno()), file=sys.stderr)
        sys.exit(9)
    return answer
def finish():
    with open("/proc/self/mountinfo", "rb") as mountinfo:
        sys.stdout.buffer.write(mountinfo.read())
"""

BY_MOUNT = r"""
for character in (b"\\", b":", b","):
    names = [name.replace(character, b"\\" + character) for name in names]
options = b"lowerdir=" + b":".join(base + b"/" + name for name in names)
options += b",upperdir=" + base + b"/up:\,p,workdir=" + base + b"/wo rk"
check(libc.mount(b"overlay", base + b"/merged", b"overlay", 0, options))
finish()
"""

# x86-64 and arm64 have the same numbers for these: fsopen, fsconfig, fsmount, move_mount.
BY_FSCONFIG = """
context = check(libc.syscall(430, b"overlay", 0))
for name in names:
    check(libc.syscall(431, context, 1, b"lowerdir+", base + b"/" + name, 0))
check(libc.syscall(431, context, 1, b"upperdir", base + b"/up:,p", 0))
check(libc.syscall(431, context, 1, b"workdir", base + b"/wo rk", 0))
check(libc.syscall(431, context, 6, None, None, 0))
check(libc.syscall(429, check(libc.syscall(432, context, 0, 0)), b"", -100, base + b"/merged", 4))
finish()
"""


# A kernel before 6.5 has no `lowerdir+`, so nobody can have mounted anything with it there.
WAYS = {"mount": BY_MOUNT}
if tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 5):
    WAYS["fsconfig"] = BY_FSCONFIG


@pytest.mark.parametrize("script", WAYS.values(), ids=WAYS)
def test_names_of_layers_meant_to_confuse(layers: Path, script: str) -> None:
    found = overlay(script, layers)
    assert found.lowerdir == tuple(f"{layers}/{name}".replace("\udcff", "\\xff") for name in NASTY)
    assert found.upperdir == f"{layers}/up:,p"
    assert found.workdir == f"{layers}/wo rk"
