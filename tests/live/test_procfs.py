"""Processes of this host: hostinspect's reader and psutil see the same; without root, what can be read is read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from hostinspect.collectors.cgroups import collect_frozen_cgroups
from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.host import collect_host
from hostinspect.collectors.mounts import collect_host_mounts, collect_mounts
from hostinspect.collectors.processes import collect_processes
from hostinspect.facts import Process
from hostinspect.kernel.cgroups import freezer_hierarchies

STATUS = {
    psutil.STATUS_RUNNING: "R",
    psutil.STATUS_SLEEPING: "S",
    psutil.STATUS_DISK_SLEEP: "D",
    psutil.STATUS_STOPPED: "T",
    psutil.STATUS_TRACING_STOP: "t",
    psutil.STATUS_ZOMBIE: "Z",
    psutil.STATUS_IDLE: "I",
}
RESTLESS = "RSD"  # those that a process changes between by itself


@pytest.fixture
def children() -> Iterator[dict[str, int]]:
    """A sleeping, a stopped and a dead but not yet awaited child, by state."""
    running = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    dead = subprocess.Popen(["true"])
    running[1].send_signal(19)  # SIGSTOP
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    os.waitid(os.P_PID, running[1].pid, os.WSTOPPED | os.WNOWAIT)
    yield {"S": running[0].pid, "T": running[1].pid, "Z": dead.pid}
    for process in running:
        process.kill()
    for process in (*running, dead):
        process.wait()


def by_pid(processes: tuple[Process, ...]) -> dict[int, Process]:
    return {process.pid: process for process in processes}


def test_the_same_as_psutil(children: dict[str, int]) -> None:
    before = by_pid(collect_processes(GapLog()))
    theirs = {}
    for process in psutil.process_iter():
        try:
            theirs[process.pid] = (process.ppid(), process.name(), process.status())
        except psutil.NoSuchProcess:
            continue
    after = by_pid(collect_processes(GapLog()))
    compared = 0
    for pid, ours in before.items():
        if pid not in after or after[pid].starttime != ours.starttime or after[pid].comm != ours.comm:
            continue  # began, ended or called execve(2) meanwhile
        assert pid in theirs
        ppid, name, status = theirs[pid]
        assert ppid in (ours.ppid, after[pid].ppid)
        is_kernels = ours.ppid == 2  # a worker's name says what it works on just now, and it often rests
        if "\\x" not in ours.comm and not is_kernels:
            assert name.startswith(ours.comm)  # psutil prolongs a cut name by the command line
        if ours.state == after[pid].state and ours.state not in RESTLESS and not is_kernels:
            assert STATUS[status] == ours.state
        compared += 1
    assert compared >= len(children)
    for state, pid in children.items():
        assert before[pid].state == state


def test_our_own_process_by_other_ways(children: dict[str, int]) -> None:
    processes = by_pid(collect_processes(GapLog()))
    ours = processes[os.getpid()]
    assert ours.ppid == os.getppid()
    assert ours.netns == Path("/proc/self/ns/net").stat().st_ino
    assert ours.mntns == Path("/proc/self/ns/mnt").stat().st_ino
    created = psutil.boot_time() + ours.starttime / os.sysconf("SC_CLK_TCK")
    assert abs(created - psutil.Process().create_time()) < 2
    assert list(ours.cgroups) == list(
        dict.fromkeys(line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines())
    )
    assert processes[children["Z"]].netns is None
    assert list(processes) == sorted(processes)


def test_a_name_that_is_made_to_mislead(tmp_path: Path) -> None:
    program = tmp_path / ") R (\n\N{SNOWMAN}"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    process = subprocess.Popen([program, "60"])
    try:
        while psutil.Process(process.pid).status() != psutil.STATUS_SLEEPING:
            time.sleep(0.01)
        record = by_pid(collect_processes(GapLog()))[process.pid]
        assert (record.comm, record.state, record.ppid) == (program.name, "S", os.getpid())
    finally:
        process.kill()
        process.wait()


def test_the_host() -> None:
    host = collect_host(GapLog())
    assert host.boot_time is not None and abs(host.boot_time - psutil.boot_time()) <= 1
    assert host.netns and host.mntns
    assert host.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def as_nobody(ask: Callable[[], object]) -> object:
    """What `ask` returns, through JSON, in a child that gave up root."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.write(write, json.dumps(ask()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        content = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(content)


def test_without_root_what_can_be_read_is_read() -> None:
    def ask() -> list[object]:
        gaps = GapLog()
        processes = collect_processes(gaps)
        collect_host(gaps)
        mounts = collect_mounts(processes, collect_host_mounts(gaps), gaps)
        return [
            len(processes),
            len(mounts),
            [os.getpid() in by_pid(processes), processes[0].comm, processes[0].netns],
            [(gap.collector, gap.why, gap.remedy) for gap in gaps.as_tuple()],
        ]

    answer = as_nobody(ask)
    assert isinstance(answer, list)
    processes, _mounts, (seen, comm, netns), gaps = answer
    assert processes > 1 and seen and comm and netns is None
    assert ["processes", "Permission denied", "run as root"] in gaps
    assert ["host", "Permission denied", "run as root"] in gaps
    assert len(gaps) <= 5  # counted, not one for each process


WITHOUT_ROOT = """
import os
from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.processes import collect_processes
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
gaps = GapLog()
print([process.pid for process in collect_processes(gaps)], *(f"{gap.subject}: {gap.why}" for gap in gaps.as_tuple()))
"""


@pytest.mark.parametrize(
    ("hidepid", "says"),
    [
        ("noaccess", "] 1 processes: Permission denied (hidepid)"),
        ("invisible", "] /proc: pid 1 is not in it: other users' processes are hidden (hidepid)"),
    ],
)
def test_hidepid(hidepid: str, says: str) -> None:
    script = f'mount -o remount,hidepid={hidepid} /proc || exit 9; "$0" -c "$1"; exit $?'
    answer = subprocess.run(
        ["unshare", "-mpf", "--mount-proc", "sh", "-c", script, sys.executable, WITHOUT_ROOT],
        capture_output=True,
        check=False,
        text=True,
        timeout=20,
    )
    if answer.returncode == 9:
        pytest.fail(f"no hidepid={hidepid} here: {answer.stderr}")
    assert answer.returncode == 0, answer.stderr
    assert says in answer.stdout


def test_a_cgroup_is_frozen_and_thawed() -> None:
    """What `docker pause` does, on the first hierarchy that can."""
    processes = collect_processes(GapLog())
    mounts = collect_mounts(processes, collect_host_mounts(GapLog()), GapLog())
    ours = next((mount.mntns for mount in mounts), None)
    hierarchies = freezer_hierarchies(mount for mount in mounts if mount.mntns == ours)
    assert hierarchies
    hierarchy = hierarchies[0]
    name = f"/hostinspect-{os.getpid():064x}"
    cgroup = Path(hierarchy.mount_point + name)
    control, frozen, thawed = (
        ("freezer.state", "FROZEN", "THAWED") if hierarchy.version == 1 else ("cgroup.freeze", "1", "0")
    )
    try:
        cgroup.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    child = subprocess.Popen(["sleep", "60"])
    try:
        (cgroup / "cgroup.procs").write_text(str(child.pid))

        def look() -> bool:
            gaps = GapLog()
            found = collect_frozen_cgroups(collect_processes(gaps), mounts, gaps)
            return name in [record.path for record in found]

        assert not look()
        (cgroup / control).write_text(frozen)
        assert any(look() for _ in range(100))  # freezing takes a moment
        (cgroup / control).write_text(thawed)
        assert not all(look() for _ in range(100))
    finally:
        (cgroup / control).write_text(thawed)
        child.kill()
        child.wait()
        for _ in range(100):
            try:
                cgroup.rmdir()
                break
            except OSError:
                time.sleep(0.02)  # the dead are still leaving
