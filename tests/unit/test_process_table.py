"""All processes as plain values, by one process or by two that share them."""

from __future__ import annotations

import marshal
import os
import select
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hostinspect.cli import reading
from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.processes import collect_processes
from hostinspect.kernel import process_table, waiting
from hostinspect.kernel.beside import Line

if TYPE_CHECKING:
    from hostinspect.kernel.process_table import Table


def process(proc: Path, pid: int, comm: str = "sleep", *, cgroup: str = "0::/a\n") -> None:
    folder = proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "stat").write_text(f"{pid} ({comm}) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 {pid}0 0 0 1 0\n")
    (folder / "cgroup").write_text(cgroup)
    (folder / "cmdline").write_text(f"{comm}\0-x\0")
    (folder / "ns/net").symlink_to("net:[4026531840]")
    (folder / "ns/mnt").symlink_to("mnt:[4026531841]")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "self").symlink_to("1")
    for pid in (1, 3, 4, 7, 20, 21, 300):
        process(tmp_path, pid, "dockerd" if pid == 7 else "sleep")
    (tmp_path / "4/stat").write_text("4 (no")  # it failed
    return tmp_path


def read(proc: Path, line: Line | None = None, *, backwards: bool = False) -> Table:
    fd = os.open(proc, os.O_PATH)
    until = None if line is None else line.from_end if backwards else line.from_start
    try:
        return process_table.read(fd, {b"dockerd"}, until, backwards=backwards)
    finally:
        os.close(fd)


def test_it_is_plain(proc: Path) -> None:
    table: Any = read(proc)
    assert marshal.loads(marshal.dumps(table)) == table
    assert [row[0] for row in table["rows"]] == [1, 3, 7, 20, 21, 300]
    assert [row[8] for row in table["rows"] if row[8] is not None] == [b"dockerd\0-x\0"]
    assert [pid for pid, _ in table["failed"]] == [4]


@pytest.mark.parametrize("where", [-1, 0, 1, 2, 4, 5, 20, 150, 300, 1000])
def test_two_that_share_it_find_all_of_it(proc: Path, where: int) -> None:
    line = Line()
    line.from_start(where)  # the other one is there, and reads so far
    ours = read(proc, line, backwards=True)
    theirs = read(proc, line)
    assert process_table.joined(theirs, ours) == read(proc)
    assert len(theirs["rows"]) + len(ours["rows"]) <= 7  # one at most was read by both


def test_records_of_a_table_are_those_of_the_files(proc: Path) -> None:
    gaps, again = GapLog(), GapLog()
    assert collect_processes(gaps, str(proc), read(proc)) == collect_processes(again, str(proc))
    assert gaps.as_tuple() == again.as_tuple() != ()


def test_mounts_are_read_ahead_of_one_process_for_each_namespace(proc: Path) -> None:
    for pid, mntns in ((1, 100), (3, 101), (7, 101), (20, 100), (21, 102), (300, 103)):
        link = proc / f"{pid}/ns/mnt"
        link.unlink()
        link.symlink_to(f"mnt:[{mntns}]")
        (proc / f"{pid}/mountinfo").write_text(f"mounts of {pid}")
    (proc / "21/mountinfo").unlink()
    fd = os.open(proc, os.O_PATH)
    try:
        table = process_table.read(fd, (), ahead=lambda pid: "mountinfo" if pid != 300 else None)
    finally:
        os.close(fd)
    assert table["ahead"] == {
        100: (1, "mountinfo", b"mounts of 1"),
        101: (3, "mountinfo", b"mounts of 3"),
        102: (21, "mountinfo", b""),  # whoever needs it asks again
    }


def test_what_does_not_answer_is_said(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on(kind: str, name: str, fd: int = -1) -> None:
        if kind == "cmdline":
            raise waiting.NoAnswerError("it did not answer within 5 s")

    monkeypatch.setattr(waiting, "on", on)
    gaps = GapLog()
    [dockerd] = [found for found in collect_processes(gaps, str(proc)) if found.comm == "dockerd"]
    assert dockerd.cmdline is None
    assert "it did not answer within 5 s" in [gap.why for gap in gaps.as_tuple()]


def test_a_fork_reads_while_its_parent_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostinspect.kernel.beside.has_processor_to_spare", lambda: True)
    reading.begin("mountstats")
    try:
        assert reading._processes is not None
        select.select([reading._processes._beside._from], [], [], 60)  # until it has read all that there is
        table = reading._processes.result()
    finally:
        reading.end()
        monkeypatch.setattr(reading, "_processes", None)
    assert table is not None
    assert {1, os.getpid()} <= {row[0] for row in table["rows"]}
    assert [row[0] for row in table["rows"]] == sorted({row[0] for row in table["rows"]})
    assert {name for pid, name, _ in table["ahead"].values() if pid != 1} == {"mountstats"}
    assert Path("/proc/self/mountstats").read_bytes() in [raw for _, _, raw in table["ahead"].values()]
