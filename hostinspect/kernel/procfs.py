"""Processes as /proc has them: one function per file, named after it, each beside its parser of bytes.

Every function takes the descriptor of a /proc/PID directory (`process`), so that all that is read about a pid is of
one process, also when the number is given to another meanwhile. A process that ends answers ENOENT or ESRCH, which
`GONE` names; most of its files stay readable while it is a zombie, not its namespaces (ENOENT).

    >>> found = parse_stat(b"7 (a) R (b) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 431 0 0 ")
    >>> found.pid, found.comm, found.state, found.ppid, found.flags, found.starttime
    (7, b'a) R (b', 'S', 1, 4194560, 431)
    >>> parse_cgroup(b"4:memory:/docker/4f1c\\n0::/system.slice/ssh.service\\n")
    ('/docker/4f1c', '/system.slice/ssh.service')
    >>> parse_namespace("net:[4026531840]")
    4026531840
"""

from __future__ import annotations

import os

from hostinspect.kernel import tape, waiting
from hostinspect.kernel.text import kept, text

GONE = (FileNotFoundError, ProcessLookupError)

PF_KTHREAD = 0x00200000  # of `Stat.flags`: a kernel thread (include/linux/sched.h)

CMDLINE_LIMIT = 64 * 1024  # bytes; a docker-proxy's has some 200

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_CLOEXEC


class Stat:
    """The fields of /proc/PID/stat that are used; the names are the manual's (proc_pid_stat(5))."""

    __slots__ = ("comm", "flags", "pid", "ppid", "starttime", "state")

    def __init__(self, pid: int, comm: bytes, state: str, ppid: int, flags: int, starttime: int) -> None:
        self.pid, self.ppid = pid, ppid
        self.comm = comm  # at most 15 bytes of a process's own choice, 63 of a kernel thread's
        self.state = state  # one letter
        self.flags = flags  # PF_*
        self.starttime = starttime  # clock ticks since boot

    @property
    def has_ended(self) -> bool:
        """Whether it is a zombie, or dead."""
        return self.state in "ZX"


def open_proc(proc: str = "/proc") -> int:
    """A descriptor of the proc file system mounted at `proc`. Close it. Raises OSError."""
    return os.open(proc, _DIRECTORY)


def open_process(proc: int, pid: int) -> int:
    """A descriptor of /proc/PID, `proc` being that of /proc. Close it. Raises OSError."""
    return os.open(str(pid), _DIRECTORY, dir_fd=proc)


def pids(proc: int) -> list[int]:
    """All pids in /proc, ascending. Raises OSError."""
    listed = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
    try:
        return sorted(int(name) for name in os.listdir(listed) if name.isdecimal())
    finally:
        os.close(listed)


def own_pid(proc: int) -> int | None:
    """Our pid as this proc file system counts; None when we are not in its pid namespace, or it is no procfs.

    /proc/self is a link to the reader's pid in the pid namespace that the procfs was mounted for, and dangles for a
    reader from outside (pid_namespaces(7)).
    """
    try:
        target = os.readlink("self", dir_fd=proc)
    except OSError:
        return None
    return int(target) if target.isdecimal() else None


def stat(process: int) -> Stat:
    """/proc/PID/stat (proc_pid_stat(5)). Raises OSError, ValueError."""
    return parse_stat(read("stat", process, 1024))


def stat_of(pid: int, proc: str = "/proc") -> Stat:
    """The same, of whichever process has this pid now.

    A process that was seen before with this pid and start time is the same one, and was there all the while.
    """
    fd = os.open(f"{proc}/{pid}/stat", _READ)
    try:
        return parse_stat(os.read(fd, 1024))
    finally:
        os.close(fd)


def parse_stat(raw: bytes) -> Stat:
    """The content of /proc/PID/stat. Raises ValueError when it is none.

    The name in parentheses may itself hold parentheses, blanks and newlines: the last one closes it.
    """
    close = raw.rfind(b")")
    pid, opened, comm = raw[:close].partition(b" (")
    fields = raw[close + 2 :].split(b" ", 20)  # from the 3rd field of the manual on, starttime is the 22nd
    if not opened or len(fields) < 20:
        raise ValueError(f"not the form of /proc/PID/stat: {text(raw[:80])}")
    return Stat(int(pid), comm, text(fields[0]), int(fields[1]), int(fields[6]), int(fields[19]))


def parse_cgroup(raw: bytes) -> tuple[str, ...]:
    """The paths in /proc/PID/cgroup (cgroups(7)), one for each hierarchy, in its order. Raises ValueError.

    From the root of the reader's cgroup namespace: "/../x" is beside it. A path may hold colons, never a newline
    (cgroup_mkdir refuses it). One ending in " (deleted)" is that of a zombie whose cgroup is gone.
    """
    paths = []
    for line in raw.split(b"\n"):
        if not line:
            continue
        hierarchy, _, path = line.split(b":", 2)
        int(hierarchy)
        paths.append(text(path))
    return tuple(paths)


def namespace(process: int, kind: str) -> int:
    """The inode of /proc/PID/ns/KIND (namespaces(7)), KIND being "net", "mnt", …

    Raises OSError: EACCES without ptrace access, ENOENT for a zombie.
    """
    return parse_namespace(os.readlink("ns/" + kind, dir_fd=process))


def parse_namespace(target: str) -> int:
    """The inode in a link like "net:[4026531840]". Raises ValueError when it is none."""
    return int(target[target.index("[") + 1 : -1])


def raw_cmdline(process: int, limit: int = CMDLINE_LIMIT) -> bytes:
    """/proc/PID/cmdline (proc_pid_cmdline(5)), its first `limit` bytes; b"" of a zombie. Raises OSError."""
    return read("cmdline", process, limit, limit)


def parse_cmdline(raw: bytes) -> tuple[str, ...]:
    """The arguments in /proc/PID/cmdline: each ends in a NUL, unless the process overwrote them."""
    if not raw:
        return ()
    return tuple(kept(text(argument)) for argument in raw.removesuffix(b"\0").split(b"\0"))


def read(name: str, process: int, size: int = 4096, limit: int = 1 << 24) -> bytes:
    """At most `limit` bytes of /proc/PID/NAME, in one read(2) where it has less than `size`. Raises OSError.

    Only for files that the kernel answers whole (single_open, as stat, cgroup and cmdline): a short read is the end.
    """
    waiting.on(name, name, process)
    fd = os.open(name, _READ, dir_fd=process)
    try:
        content = os.read(fd, size)
        while len(content) % size == 0 and len(content) < limit:
            more = os.read(fd, size)
            if not more:
                break
            content += more
        if tape.running:
            tape.running.keep(content, name, process)
        return content
    finally:
        os.close(fd)


def read_records(name: str, process: int) -> bytes:
    """All of /proc/PID/NAME, whose records the kernel hands out a page at a time (mountinfo). Raises OSError."""
    waiting.on(name, name, process)
    fd = os.open(name, _READ, dir_fd=process)
    try:
        pages = []
        while page := os.read(fd, 4096):  # never given more at once, and a larger buffer costs its allocation
            pages.append(page)
        if tape.running:
            tape.running.keep(b"".join(pages), name, process)
        return b"".join(pages)
    finally:
        os.close(fd)


def content(path: str) -> bytes:
    """All of a file of /proc, or of another that only the host's root writes, by its path. Raises OSError."""
    waiting.on(path.rpartition("/")[2], path)
    fd = os.open(path, _READ)  # open() takes six system calls more
    try:
        found = os.read(fd, 8192)
        more = found
        while more:
            more = os.read(fd, 65536)
            found += more
    finally:
        os.close(fd)
    if tape.running:
        tape.running.keep(found, path)
    return found


def btime(proc: int) -> int | None:
    """When the host was booted, in seconds since the epoch: btime of /proc/stat (proc_stat(5)). Raises OSError."""
    return parse_btime(read("stat", proc, 1 << 16))


def parse_btime(raw: bytes) -> int | None:
    """The value of the line `btime` in /proc/stat; None when there is none. Raises ValueError when it is no number."""
    _, found, rest = raw.partition(b"\nbtime ")
    return int(rest.split(b"\n", 1)[0]) if found else None
