"""What this process gives up before it looks at anything: capabilities(7), no_new_privs (prctl(2)), seccomp(2).

Whoever finds a way to run code in hostinspect, by a file or a name of a container, is to be left with reading. `CALLS`
is the list of system calls that there are afterwards; docs/security.md says of each why, and a test holds both equal.
Every other call answers EPERM.

Landlock is not used: a process in a Landlock domain may not look at /proc/PID/ns, root or fd of any process outside
(`hook_ptrace_access_check`, also for reading), and these are what tells whose a namespace or a socket is.
"""

from __future__ import annotations

import errno
import os
import struct
import sys

from hostinspect.kernel import libc, waiting

# --- what may be called ------------------------------------------------------------------------------------------


class Test:
    """What an argument of a system call has to be: `value`, or for "without" none of its bits set.

    The first `argument` is 0; of each the lower 32 bits are looked at. `relation` is "is" or "without".
    """

    __slots__ = ("argument", "relation", "value")

    def __init__(self, argument: int, relation: str, value: int) -> None:
        self.argument, self.relation, self.value = argument, relation, value


class Call:
    """A system call that may be made: always, or where one of the `tests` holds.

    Its numbers are of arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
    """

    __slots__ = ("aarch64", "name", "tests", "x86_64")

    def __init__(self, name: str, x86_64: int | None, aarch64: int | None, tests: tuple[Test, ...] = ()) -> None:
        self.name, self.x86_64, self.aarch64, self.tests = name, x86_64, aarch64, tests


def _one_of(argument: int, *values: int) -> tuple[Test, ...]:
    return tuple(Test(argument, "is", value) for value in values)


_O_TMPFILE = 0x400000  # __O_TMPFILE: O_TMPFILE has O_DIRECTORY in it
_NO_WRITING = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND | _O_TMPFILE
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_CLONE_NEWNET = 0x40000000
_SIGKILL = 9
_AF_NETLINK, _IPPROTO_RAW = 16, 255
_SOL_SOCKET, _SOL_NETLINK = 1, 270
_FCNTL = (0, 1, 2, 3, 4, 1030, 1031, 1032)  # F_DUPFD, GETFD, SETFD, GETFL, SETFL, DUPFD_CLOEXEC, SETPIPE_SZ, GETPIPE_SZ
# TCGETS, TCGETS2 (isatty(3) of glibc 2.42), FIONCLEX, FIOCLEX, FIONBIO, TIOCGWINSZ, TIOCGPGRP;
# NS_GET_USERNS, NS_GET_PARENT, NS_GET_NSTYPE
_IOCTL = (0x5401, 0x802C542A, 0x5450, 0x5451, 0x5421, 0x5413, 0x540F, 0xB701, 0xB702, 0xB703)

# The most frequent first: before Linux 5.11, which remembers what is always allowed, each is compared in turn.
CALLS = (
    Call("openat", 257, 56, (Test(2, "without", _NO_WRITING),)),
    Call("read", 0, 63),
    Call("close", 3, 57),
    Call("newfstatat", 262, 79),
    Call("readlink", 89, None),
    Call("readlinkat", 267, 78),
    Call("getdents64", 217, 61),
    Call("fstat", 5, 80),
    Call("lseek", 8, 62),
    Call("sendto", 44, 206),
    Call("recvfrom", 45, 207),
    Call("recvmsg", 47, 212),
    Call("setns", 308, 268, _one_of(1, _CLONE_NEWNET)),
    Call("socket", 41, 198, (*_one_of(0, _AF_NETLINK), *_one_of(2, _IPPROTO_RAW))),
    Call("bind", 49, 200),
    Call("connect", 42, 203),
    Call("setsockopt", 54, 208, _one_of(1, _SOL_SOCKET, _SOL_NETLINK)),
    Call("getsockopt", 55, 209),
    Call("getsockname", 51, 204),
    Call("sendmsg", 46, 211),
    Call("recvmmsg", 299, 243),
    Call("mmap", 9, 222),
    Call("munmap", 11, 215),
    Call("mremap", 25, 216),
    Call("mprotect", 10, 226),
    Call("madvise", 28, 233),
    Call("brk", 12, 214),
    Call("membarrier", 324, 283),
    Call("open", 2, None, (Test(1, "without", _NO_WRITING),)),
    Call("stat", 4, None),
    Call("lstat", 6, None),
    Call("statx", 332, 291),
    Call("statfs", 137, 43),
    Call("fstatfs", 138, 44),
    Call("access", 21, None),
    Call("faccessat", 269, 48),
    Call("faccessat2", 439, 439),
    Call("pread64", 17, 67),
    Call("readv", 19, 65),
    Call("preadv", 295, 69),
    Call("getcwd", 79, 17),
    Call("getxattr", 191, 8),
    Call("lgetxattr", 192, 9),
    Call("fgetxattr", 193, 10),
    Call("listxattr", 194, 11),
    Call("llistxattr", 195, 12),
    Call("flistxattr", 196, 13),
    Call("listmount", 458, 458),
    Call("statmount", 457, 457),
    Call("write", 1, 64),
    Call("writev", 20, 66),
    Call("fcntl", 72, 25, _one_of(1, *_FCNTL)),
    Call("ioctl", 16, 29, _one_of(1, *_IOCTL)),
    Call("dup", 32, 23),
    Call("dup2", 33, None),
    Call("dup3", 292, 24),
    Call("pipe", 22, None),
    Call("pipe2", 293, 59),
    Call("close_range", 436, 436),
    Call("poll", 7, None),
    Call("ppoll", 271, 73),
    Call("select", 23, None),
    Call("pselect6", 270, 72),
    Call("epoll_create1", 291, 20),
    Call("epoll_ctl", 233, 21),
    Call("epoll_wait", 232, None),
    Call("epoll_pwait", 281, 22),
    Call("pidfd_open", 434, 434),
    Call("clone", 56, 220, (Test(0, "without", _NEW_NAMESPACES),)),
    Call("fork", 57, None),
    Call("wait4", 61, 260),
    Call("waitid", 247, 95),
    Call("kill", 62, 129, _one_of(1, _SIGKILL)),
    Call("exit", 60, 93),
    Call("exit_group", 231, 94),
    Call("rt_sigaction", 13, 134),
    Call("rt_sigprocmask", 14, 135),
    Call("rt_sigreturn", 15, 139),
    Call("sigaltstack", 131, 132),
    Call("restart_syscall", 219, 128),
    Call("futex", 202, 98),
    Call("set_robust_list", 273, 99),
    Call("rseq", 334, 293),
    Call("gettid", 186, 178),
    Call("getpid", 39, 172),
    Call("getppid", 110, 173),
    Call("getuid", 102, 174),
    Call("geteuid", 107, 175),
    Call("getgid", 104, 176),
    Call("getegid", 108, 177),
    Call("getgroups", 115, 158),
    Call("uname", 63, 160),
    Call("sysinfo", 99, 179),
    Call("getrlimit", 97, 163),
    Call("prlimit64", 302, 261, _one_of(0, 0)),
    Call("getrusage", 98, 165),
    Call("times", 100, 153),
    Call("time", 201, None),
    Call("gettimeofday", 96, 169),
    Call("clock_gettime", 228, 113),
    Call("clock_getres", 229, 114),
    Call("clock_nanosleep", 230, 115),
    Call("nanosleep", 35, 101),
    Call("sched_getaffinity", 204, 123),
    Call("sched_yield", 24, 124),
    Call("getcpu", 309, 168),
    Call("getrandom", 318, 278),
    Call("capget", 125, 90),
)

# What some commands need beside.
WRITING = (  # `snapshot`: one file, whose path a filter cannot see
    Call("openat", 257, 56),
    Call("fsync", 74, 82),
    Call("rename", 82, None),
    Call("renameat", 264, 38),
    Call("unlink", 87, None),
    Call("unlinkat", 263, 35),
)
CONNECTING = (Call("socket", 41, 198, _one_of(0, 2, 10)),)  # `trace --probe`: AF_INET, AF_INET6

# --- what may be done --------------------------------------------------------------------------------------------

CAPABILITIES = {  # capabilities(7): number and name of those that reading needs
    2: "CAP_DAC_READ_SEARCH",  # files of other users, whatever their mode
    3: "CAP_FOWNER",  # O_NOATIME on them
    12: "CAP_NET_ADMIN",  # nf_tables' and x_tables' rules
    13: "CAP_NET_RAW",  # the raw socket that x_tables is asked by
    19: "CAP_SYS_PTRACE",  # /proc/PID/ns, root, fd of other users' processes
    21: "CAP_SYS_ADMIN",  # setns(2); trusted.overlay.* xattrs
}
_DAC_OVERRIDE = 1  # to write a snapshot into another user's directory

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 38, 22
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 4
_CAPABILITY_VERSION_3 = 0x20080522


def enter(*, writes: bool = False, connects: bool = False, executes: bool = False) -> None:
    """Give up all that reading does not need, for good, for this process and all that it makes.

    `writes`, `connects`: may also make the calls of WRITING, CONNECTING. `executes`: without the filter, for the pager
    that a person asked for, which gains nothing by being executed. Where the kernel has no seccomp, or this machine is
    neither x86_64 nor aarch64, there is no filter; nothing is raised.
    """
    prctl = libc.function("prctl")
    _keep_capabilities(CAPABILITIES.keys() | ({_DAC_OVERRIDE} if writes else set()))
    if waiting.page is not None:
        prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)  # without whoever watches there is nobody to tell
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if executes:
        return
    more = (*(WRITING if writes else ()), *(CONNECTING if connects else ()))
    machine = os.uname().machine
    if machine not in _ARCHITECTURES or sys.maxsize < 1 << 32:
        return
    code = program(machine, (*more, *CALLS))
    instructions = libc.words(struct.unpack(f"={len(code) // 4}I", code))
    sock_fprog = struct.pack("@HP", len(code) // 8, libc.addressof(instructions))
    # Without SPEC_ALLOW, kernels before 5.16 make all that follows slower, against attacks between threads.
    seccomp = _ARCHITECTURES[machine][1]
    if libc.function("syscall")(seccomp, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW, sock_fprog):
        prctl(_PR_SET_SECCOMP, 2, sock_fprog, 0, 0)


def _keep_capabilities(kept: set[int]) -> None:
    """Drop all capabilities but those `kept`, of those that there are (capset(2))."""
    header = libc.words((_CAPABILITY_VERSION_3, 0))
    sets = libc.words((0,) * 6)  # effective, permitted, inheritable of 0..31; the same of 32..63
    if libc.function("capget")(header, sets):
        return
    for word in (0, 1):
        mask = sum(1 << number - 32 * word for number in kept if number // 32 == word)
        sets[3 * word] &= mask
        sets[3 * word + 1] &= mask
        sets[3 * word + 2] = 0
    libc.function("capset")(header, sets)


# --- the filter, as bytes ----------------------------------------------------------------------------------------

_ARCHITECTURES = {"x86_64": (0xC000003E, 317), "aarch64": (0xC00000B7, 277)}  # AUDIT_ARCH_…, number of seccomp(2)
_X32 = 0x40000000  # bit of the numbers of x32's calls

# linux/bpf_common.h, linux/seccomp.h
_LOAD, _IS, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


def program(machine: str, calls: tuple[Call, ...]) -> bytes:
    """The filter that allows `calls` alone: struct sock_filter one after the other, 8 bytes each (seccomp(2)).

    A call that is named twice is allowed where either says so. clone3(2), whose flags are in memory, answers ENOSYS,
    and libc takes clone(2). Calls by way of another architecture's numbers end the process.
    """
    deny = _instruction(_RETURN, _ERRNO | errno.EPERM)
    allow = _instruction(_RETURN, _ALLOW)
    code = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_IS, _ARCHITECTURES[machine][0], 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        code += [_instruction(_AT_LEAST, _X32, 0, 1), deny]
    for name, number, tests in _merged(machine, calls):
        answer = [_instruction(_RETURN, _ERRNO | errno.ENOSYS)] if name == "clone3" else [] if tests else [allow]
        for test in tests:
            answer.append(_instruction(_LOAD, _ARGUMENTS + 8 * test.argument))
            is_value = test.relation == "is"
            answer.append(_instruction(_IS, test.value, 0, 1) if is_value else _instruction(_ANY_BIT, test.value, 1, 0))
            answer.append(allow)
        if tests:
            answer.append(deny)
        code += [_instruction(_IS, number, 0, len(answer)), *answer]
    return b"".join((*code, deny))


def _merged(machine: str, calls: tuple[Call, ...]) -> list[tuple[str, int, tuple[Test, ...]]]:
    """Name, number and tests of each call of this machine, once; no tests: always."""
    merged: dict[str, tuple[int, tuple[Test, ...]]] = {}
    for call in (*calls, Call("clone3", 435, 435)):
        number = call.x86_64 if machine == "x86_64" else call.aarch64
        if number is None:
            continue
        before = merged.get(call.name)
        tests = call.tests if before is None else before[1] and call.tests and before[1] + call.tests
        merged[call.name] = (number, tests)
    return [(name, number, tests) for name, (number, tests) in merged.items()]


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
