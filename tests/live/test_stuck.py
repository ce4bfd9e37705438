"""What does not answer: a local disk that is gone, memory and paths that a container made so. The rest is told.

All of it hangs at a FUSE file system whose server is stopped, below something that looks like any other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.lab.host import LabHost
from tests.live.hostile_lab import cgroups_of, pid_of
from tests.live.report import COMMAND

_DISK = "/srv/disk"  # a file system of its own, with a data root in `docker`
_SERVED = "/srv/served"
_PATIENCE = 120  # seconds, for what takes a few: without a limit it would take for ever

# Like `mount -o loop` of a disk with a copy of the host's data root on it, but for its layers.
_IMAGE = """
mkdir -p /srv/disk /srv/served /srv/content
mkdir /srv/content/docker
cd /var/lib/docker
cp -a containers image network volumes /srv/content/docker
mkdir /srv/content/docker/overlay2
mke2fs -q -t ext4 -d /srv/content /srv/image 128M
rm -r /srv/content
"""

# It maps the file that is served, changes a page, and, when that cannot be written any more, maps something else over
# it: the kernel waits for the page to be written with the lock of all of its memory held, for which everybody waits who
# reads /proc/PID/cmdline.
_LOCKED = r"""
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
file = os.open("/srv/served/disk", os.O_RDWR)
page = libc.mmap(None, 4096, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, file, 0)
ctypes.memset(page, 1, 1)
libc.prctl(15, sys.argv[1].encode(), 0, 0, 0)
print("ready", flush=True)
sys.stdin.readline()
print("going", flush=True)
libc.mmap(page, 4096, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10, -1, 0)  # MAP_FIXED
"""


@pytest.fixture(scope="module")
def image(demo_host: LabHost) -> Iterator[LabHost]:
    demo_host.run(["sh", "-ec", _IMAGE])
    try:
        yield demo_host
    finally:
        demo_host.run(["rm", "-r", "/srv/image", _DISK, _SERVED])


class Server:
    """The server of the one file."""

    def __init__(self, host: LabHost) -> None:
        self._host = host
        command = [sys.executable, "-m", "tests.live.one_file", _SERVED, "/srv/image"]
        self._process = subprocess.Popen(
            host.command(["sh", "-c", 'echo $$; exec "$@"', "sh", *command]), stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._pid = self._process.stdout.readline().strip()
        assert self._process.stdout.readline() == "mounted\n"

    def stop(self) -> None:
        self._host.run(["kill", "-STOP", self._pid])

    def kill(self) -> None:
        """Whoever waits for it gets an error then."""
        with self._process:
            self._host.run(["kill", "-KILL", self._pid], check=False)
            self._process.kill()  # nsenter, which stopped itself when its child did


@contextmanager
def served(host: LabHost) -> Iterator[Server]:
    server = Server(host)
    try:
        yield server
    finally:
        server.kill()
        host.run(["umount", "--lazy", _SERVED])


@contextmanager
def dead_disk(host: LabHost) -> Iterator[None]:
    """The disk, mounted; nothing of it has been read yet when its server stops."""
    with served(host) as server:
        host.run(["mount", "-o", "loop,ro,noload", f"{_SERVED}/disk", _DISK])  # the loop device goes with the mount
        try:
            server.stop()
            yield
        finally:
            server.kill()
            host.run(["umount", "--lazy", _DISK])


@contextmanager
def stuck_processes(host: LabHost, name: str, count: int = 1, cgroups: Sequence[str] = ()) -> Iterator[list[int]]:
    """Processes with this name, in these cgroups, of which nobody gets the arguments; their pids on the host."""
    join = 'for cgroup in $0; do echo $$ >"$cgroup/cgroup.procs"; done; echo $$; exec "$@"'
    inside = ["unshare", "--mount"] if cgroups else []
    command = host.command(["sh", "-c", join, " ".join(cgroups), *inside, sys.executable, "-c", _LOCKED, name])
    processes: list[subprocess.Popen[str]] = []
    try:
        with served(host) as server:
            pids = []
            for _ in range(count):
                processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
                pids.append(int(told(processes[-1])))
                assert told(processes[-1]) == "ready"
            server.stop()
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
                assert told(process) == "going"
            yield pids
    finally:
        for process in processes:
            process.communicate()


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def asked(host: LabHost, *arguments: str, seconds: float = 1) -> CompletedProcess[str]:
    """A question and its answer, which was there in time, through a pipe that ended."""
    command = [*COMMAND, *arguments, "--timeout", str(seconds)]
    return host.run(command, check=False, timeout=_PATIENCE)


def report(host: LabHost, *arguments: str) -> tuple[int, Any]:
    done = asked(host, "report", "-o", "json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def unanswered(document: Any) -> dict[str, bool]:
    """What did not answer, and whether that is a minor gap."""
    return {gap["subject"]: gap.get("minor", False) for gap in document["gaps"] if "did not answer" in gap["why"]}


@pytest.fixture(scope="module")
def whole(image: LabHost) -> Any:
    code, document = report(image)
    assert code == 0
    return document


def test_a_disk_that_does_not_answer_is_a_gap_and_the_kernel_is_told(image: LabHost, whole: Any) -> None:
    with dead_disk(image):
        code, document = report(image, "--data-root", f"{_DISK}/docker")
        assert code == 3
        assert [*unanswered(document)]
        assert all(subject.startswith(_DISK) for subject in unanswered(document))
        for family in ("links", "bridges", "nat_rules"):
            assert len(document[family]) == len(whole[family])
        for question in (["containers"], ["volumes", "--size"], ["layers", "--size"], ["diff", "web1"], ["doctor"]):
            done = asked(image, *question, "--data-root", f"{_DISK}/docker")
            assert done.returncode == 3, (question, done.stderr)
            assert "Traceback" not in done.stderr
        done = asked(image, "containers", "--root", _DISK)
        assert (done.returncode, "did not answer" in done.stderr) == (3, True)
        done = asked(image, "snapshot", "-o", "/run/stuck.snapshot", "--data-root", f"{_DISK}/docker")
        assert done.returncode == 3
        done = asked(image, "containers", "--from", "/run/stuck.snapshot")
        assert (done.returncode, "did not answer" in done.stderr) == (3, True)


def test_nothing_is_left_of_it_when_the_disk_answers_again(image: LabHost) -> None:
    with dead_disk(image):
        report(image, "--data-root", f"{_DISK}/docker")
    while image.run(["pgrep", "-f", "hostinspect report"], check=False).stdout:
        time.sleep(0.1)


def test_a_completion_does_not_wait(image: LabHost) -> None:
    with dead_disk(image):
        environment = {
            "_HOSTINSPECT_COMPLETE": "bash_complete",
            "COMP_WORDS": f"hostinspect container --data-root {_DISK}/docker web",
            "COMP_CWORD": "4",
        }
        done = image.run([*COMMAND], env=environment, check=False, timeout=_PATIENCE)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_arguments_that_a_container_keeps_from_all_are_its_own_affair(image: LabHost, whole: Any) -> None:
    """Of a process with a daemon's name, in web1: everything else is told of it, and nothing else is missing."""
    cgroups = cgroups_of(image, pid_of(image, "web1"))
    with stuck_processes(image, "dockerd", cgroups=cgroups) as [pid]:
        code, document = report(image)
    assert code == 0
    assert unanswered(document) == {f"/proc/{pid}/cmdline": True}
    for family in ("containers", "links", "networks", "volumes"):
        assert len(document[family]) == len(whole[family])
    states = {container["id"]: container["state"] for container in document["containers"]}
    assert states == {container["id"]: container["state"] for container in whole["containers"]}
    assert any(pid in namespace["pids"] for namespace in document["netns"])


def test_who_may_be_a_daemon_and_does_not_say_is_a_gap(image: LabHost, whole: Any) -> None:
    with stuck_processes(image, "dockerd") as [pid]:
        code, document = report(image)
    assert code == 3
    assert unanswered(document) == {f"/proc/{pid}/cmdline": False}
    assert len(document["containers"]) == len(whole["containers"])


def test_after_some_arguments_no_others_are_asked_for(image: LabHost) -> None:
    """Each takes its time; of the rest it is said."""
    cgroups = cgroups_of(image, pid_of(image, "web1"))
    with stuck_processes(image, "conmon", 5, cgroups) as pids:
        _, document = report(image)
    assert {f"/proc/{pid}/cmdline" for pid in pids} <= unanswered(document).keys()
    whys = {gap["why"] for gap in document["gaps"] if "did not answer" in gap["why"]}
    assert any("others of its kind" in why for why in whys)


def test_a_namespace_below_what_may_not_answer_is_not_looked_for(image: LabHost) -> None:
    """Mounted on the file that is served, in a container's own mount namespace, and no process is in it any more."""
    cgroups = cgroups_of(image, pid_of(image, "web1"))
    hide = (
        'for cgroup in $0; do echo $$ >"$cgroup/cgroup.procs"; done; exec unshare --mount sh -c '
        f"'unshare --net mount --bind /proc/self/ns/net {_SERVED}/disk; stat -Lc %i {_SERVED}/disk; exec sleep 600'"
    )
    with served(image) as server:
        command = image.command(["sh", "-c", f"echo $$; {hide.replace('$0', '$1')}", "sh", " ".join(cgroups)])
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            pid, inode = process.stdout.readline().strip(), process.stdout.readline().strip()
            try:
                server.stop()
                code, document = report(image)
            finally:
                image.run(["kill", "-KILL", pid])
    assert code == 3
    (gap,) = [gap for gap in document["gaps"] if not gap.get("minor", False)]
    assert gap["subject"] == f"net:[{inode}]"
    assert "may not answer" in gap["why"]


def test_without_a_limit_it_is_waited_for(image: LabHost) -> None:
    """So it is the limit that ends the wait."""
    with dead_disk(image), pytest.raises(subprocess.TimeoutExpired):
        image.run([*COMMAND, "report", "--timeout", "0", "--data-root", f"{_DISK}/docker"], timeout=3)


def test_watch_goes_on(image: LabHost) -> None:
    """What did not answer is not asked at each look, and those who still wait for it do not add up."""
    with dead_disk(image):
        done = asked(
            image, "watch", "--for", "12", "--pause", "0.1", "--safety", "0.5", "-v", "--data-root", f"{_DISK}/docker"
        )
        assert done.returncode == 3
        looks = [line for line in done.stderr.splitlines() if "looked because" in line]
        assert len(looks) > 3
        waiting = image.run(["pgrep", "-fc", "hostinspect watch"], check=False).stdout
        assert int(waiting) <= 4
