"""All processes of a proc file system at once, as plain values: a fork that has loaded nothing can read them, and say
them by marshal (`hostinspect.kernel.beside`).
"""

from __future__ import annotations

import os

from hostinspect.kernel import procfs
from hostinspect.kernel.beside import BesideFromStart
from hostinspect.kernel.waiting import NoAnswerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any, TypeAlias, TypedDict

    from hostinspect.kernel.beside import Line

    # pid, parent, comm, state, start time (`procfs.Stat`); inodes of the network and mount namespace, None where there
    # are none; the cgroup file, None of a kernel thread; the cmdline file, None where it was not read; whether its
    # namespaces may not be seen; why its arguments are not known
    Row: TypeAlias = tuple[
        int, int, bytes, str, int, int | None, int | None, bytes | None, bytes | None, bool, str | None
    ]
    Why: TypeAlias = tuple[int | None, str, bool]  # errno, words, and whether it did not answer

    # By mount namespace: a process in it, the name of one of its files (`procfs`), and what that file has.
    Ahead: TypeAlias = dict[int, tuple[int, str, bytes]]

    class Table(TypedDict):
        rows: list[Row]  # by pid
        unlisted: Why | None  # why there are none
        is_ours: bool  # whether the procfs is of a pid namespace that we are in
        has_init: bool  # whether pid 1 is listed
        hidden: list[int]  # pids of those of which not even stat may be read (hidepid=noaccess)
        failed: list[tuple[int, Why]]  # pids, and why they are left out
        ahead: Ahead  # read for whoever asks for mounts later


def read(
    proc: int,
    comms: Container[bytes],
    until: Callable[[int], bool] | None = None,
    *,
    backwards: bool = False,
    ahead: Callable[[int], str | None] = lambda pid: None,
) -> Table:
    """All that `proc`, the descriptor of a procfs, has; the arguments of those alone whose name is in `comms`.

    By pid, or `backwards`, and as long as `until` says True of the next one. One that ends meanwhile is left out.
    `ahead` says which file is to be read with the first process of a mount namespace. Raises nothing of the host's.
    """
    table: Table = {
        "rows": [],
        "unlisted": None,
        "is_ours": procfs.own_pid(proc) is not None,
        "has_init": True,
        "hidden": [],
        "failed": [],
        "ahead": {},
    }
    try:
        pids = procfs.pids(proc)
    except OSError as error:
        table["unlisted"] = _why(error)
        return table
    table["has_init"] = 1 in pids or not pids
    if backwards:
        pids.reverse()
    for pid in pids:
        if until and not until(pid):
            break
        try:
            process = procfs.open_process(proc, pid)
        except procfs.GONE:
            continue
        try:
            row = _row(process, comms)
            table["rows"].append(row)
            mntns = row[6]
            if mntns is not None and mntns not in table["ahead"] and (name := ahead(pid)):
                table["ahead"][mntns] = pid, name, _file(process, name)
        except procfs.GONE:
            continue
        except PermissionError:
            table["hidden"].append(pid)
        except (OSError, ValueError) as error:
            table["failed"].append((pid, _why(error)))
        finally:
            os.close(process)
    return table


class Shared:
    """The processes of /proc, read by a fork of this process, and the last of them by us when we want the result.

    Until we do, there is time: the fork reads the mounts of pid 1, and of each mount namespace the file that is called
    `ahead`, if any. Raises OSError where no fork is to be had.
    """

    def __init__(self, comms: Container[bytes], ahead: str | None = None) -> None:
        self._comms, self._ahead = comms, ahead
        self._beside = BesideFromStart(self._theirs)

    def result(self) -> Table | None:
        """All of them, once; None where they are to be read anew."""
        ours = self._read(self._beside.line.from_end, backwards=True)
        theirs: Table | None = self._beside.result()
        if ours is None or theirs is None or theirs["unlisted"]:
            return None
        return joined(theirs, ours)

    def close(self) -> None:
        """Leave nothing under way."""
        self._beside.close()

    def _theirs(self, line: Line) -> Table | None:
        """What the fork reads."""

        def ahead(pid: int) -> str | None:
            return "mountinfo" if pid == 1 else self._ahead if line.is_alone() else None

        return self._read(line.from_start, ahead=ahead)

    def _read(self, until: Callable[[int], bool], **more: Any) -> Table | None:
        try:
            proc = procfs.open_proc()
        except OSError:
            return None
        try:
            return read(proc, self._comms, until, **more)
        finally:
            os.close(proc)


def joined(first: Table, rest: Table) -> Table:
    """Two tables of the same procfs as one; of what is in both, that of the first."""
    rows = {row[0]: row for row in (*rest["rows"], *first["rows"])}
    return {
        **first,
        "rows": [rows[pid] for pid in sorted(rows)],
        "hidden": sorted({*first["hidden"], *rest["hidden"]}),
        "failed": sorted({**dict(rest["failed"]), **dict(first["failed"])}.items()),
    }


def _row(process: int, comms: Container[bytes]) -> Row:
    stat = procfs.stat(process)
    if stat.flags & procfs.PF_KTHREAD:
        return stat.pid, stat.ppid, stat.comm, stat.state, stat.starttime, None, None, None, None, False, None
    cgroup = procfs.read("cgroup", process)
    netns = mntns = cmdline = unanswered = None
    is_refused = False
    try:
        netns = procfs.namespace(process, "net")
        mntns = procfs.namespace(process, "mnt")
    except PermissionError:
        is_refused = True
    except procfs.GONE:
        pass  # a zombie, or it became one
    if stat.comm in comms:
        try:
            cmdline = procfs.raw_cmdline(process)
        except NoAnswerError as error:
            unanswered = str(error)
    return (
        stat.pid,
        stat.ppid,
        stat.comm,
        stat.state,
        stat.starttime,
        netns,
        mntns,
        cgroup,
        cmdline,
        is_refused,
        unanswered,
    )


def _file(process: int, name: str) -> bytes:
    """What it has, or nothing: whoever needs it asks again."""
    try:
        return procfs.read_records(name, process)
    except OSError:
        return b""


def _why(error: OSError | ValueError) -> Why:
    return getattr(error, "errno", None), str(error), isinstance(error, NoAnswerError)
