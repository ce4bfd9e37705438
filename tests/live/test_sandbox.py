"""What a run gives up before it looks at anything, and that none of it is missed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hostinspect.kernel.sandbox import CALLS, CAPABILITIES, CONNECTING, WRITING
from tests.lab.host import LabHost
from tests.live.report import hostinspect, without

REPO = Path(__file__).parents[2]

# Each is tried by a process that went in; what it changed, had it been let, is its own or harmless.
ATTEMPTS = {
    "open for writing": "open('/tmp/written', 'w')",
    "open for appending": "os.open('/dev/null', os.O_APPEND)",
    "a file without a name": "os.open('/tmp', os.O_TMPFILE | os.O_RDWR)",
    "mkdir": "os.mkdir('/tmp/made')",
    "unlink": "os.unlink('/tmp/none')",
    "rename": "os.rename('/tmp/none', '/tmp/nowhere')",
    "chmod": "os.chmod('/proc/self/comm', 0o644)",
    "chown": "os.chown('/tmp', -1, -1)",
    "utime": "os.utime('/tmp', (0, 0))",
    "setxattr": "os.setxattr('/tmp', 'user.x', b'')",
    "truncate": "os.truncate('/tmp/none', 0)",
    "symlink": "os.symlink('a', '/tmp/none')",
    "mknod": "os.mknod('/tmp/none')",
    "execve": "os.execv('/bin/true', ['true'])",
    "signal to another": "os.kill(os.getppid(), 0)",
    "a TCP socket": "socket.socket()",
    "a UNIX socket": "socket.socket(socket.AF_UNIX)",
    "an option of x_tables": "netlink.setsockopt(0, 64, b'')",
    "setuid": "os.setuid(0)",
    "chroot": "os.chroot('/')",
    "another's limits": "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)",
    "priority": "os.setpriority(os.PRIO_PROCESS, 0, 5)",
    "terminal input": "fcntl.ioctl(0, 0x5412, b'x')",
    "mount": "call(165, 0, 0, 0, 0, 0)",
    "setns into a mount namespace": "call(308, netlink.fileno(), 0x00020000)",
    "setns into any namespace": "call(308, netlink.fileno(), 0)",
    "unshare": "call(272, 0)",
    "clone with a new user namespace": "call(56, 0x10000011, 0, 0, 0, 0)",
    "ptrace": "call(101, 16, os.getppid(), 0, 0)",
    "init_module": "call(175, 0, 0, 0)",
    "bpf": "call(321, 0, 0, 0)",
    "io_uring": "call(425, 1, 0)",
    "reboot": "call(169, 0, 0, 0, 0)",
    "process_vm_writev": "call(311, os.getppid(), 0, 0, 0, 0, 0)",
    "x32's write": "call(0x40000001, 1, 0, 0)",
}
SCRIPT = """
import ctypes, fcntl, json, os, resource, socket, sys
from hostinspect.kernel.sandbox import enter
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
enter()
answers = {}
for name, attempt in json.load(sys.stdin).items():
    try:
        eval(attempt)
    except OSError as error:
        answers[name] = error.errno
    else:
        answers[name] = 0
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
answers["status"] = {name: status[name].strip() for name in ("CapEff", "CapPrm", "CapInh", "NoNewPrivs", "Seccomp")}
child = os.fork()
if not child:
    os._exit(0)
answers["fork"] = os.waitpid(child, 0)[1]
print(json.dumps(answers))
"""


def test_what_is_given_up_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(ATTEMPTS), cwd=REPO, capture_output=True, text=True, check=True
    )
    answers = json.loads(done.stdout)
    status = answers.pop("status")
    assert answers.pop("fork") == 0
    assert answers == dict.fromkeys(ATTEMPTS, 1)  # EPERM
    kept = sum(1 << number for number in CAPABILITIES)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16)
    assert int(status["CapEff"], 16) & ~kept == 0
    assert int(status["CapInh"], 16) == 0


def test_without_the_filter_the_attempts_are_answered_otherwise() -> None:
    """So it is the filter that refuses most of them, and not this machine."""
    harmless = {name: ATTEMPTS[name] for name in ("open for appending", "a TCP socket", "unshare", "priority", "chown")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("enter()", "pass")],
        input=json.dumps(harmless),
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(done.stdout)
    assert {name: answers[name] for name in harmless} == dict.fromkeys(harmless, 0)


@pytest.mark.parametrize("question", [("report",), ("doctor",), ("layers", "--size"), ("whois", "web1")], ids=" ".join)
@pytest.mark.parametrize("demo", ["demo_host", "demo_host_legacy"])
def test_nothing_that_was_given_up_is_missed(
    question: tuple[str, ...], demo: str, request: pytest.FixtureRequest
) -> None:
    host: LabHost = request.getfixturevalue(demo)
    answers = []
    for more in ([], ["--no-sandbox"]):
        done = hostinspect(host, *question, "-o", "json", *more)
        answer = json.loads(done.stdout)
        answers.append((done.returncode, done.stderr, without(answer, "packets", "bytes", "collected_at")))
    assert answers[0] == answers[1]


def test_a_closed_pipe_is_none_of_ours_to_complain_of(demo_host: LabHost) -> None:
    done = demo_host.run(["sh", "-c", f"{sys.executable} -m hostinspect -o json | head -c 1; echo ${{PIPESTATUS-}}"])
    assert (done.stdout.strip(), done.stderr) == ("{", "")


def test_the_numbers_are_those_of_the_kernel_s_headers() -> None:
    for machine, header in (
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        ("aarch64", "/usr/include/asm-generic/unistd.h"),
    ):
        text = Path(header).read_text(encoding="ascii")
        numbers = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)\b", text)}
        if machine == "aarch64":
            numbers["newfstatat"] = numbers["fstatat"]
        numbers |= {"statmount": 457, "listmount": 458}  # of Linux 6.8: newer than these headers
        for call in (*CALLS, *WRITING, *CONNECTING):
            assert getattr(call, machine) in (numbers.get(call.name), *([None] if machine == "aarch64" else [])), call


def test_the_documented_list_is_the_filter_s() -> None:
    text = (REPO / "docs/security.md").read_text(encoding="utf-8")
    listed = re.search(r"\n## System calls\n(.*?)\n## ", text, re.DOTALL)
    assert listed
    rows = re.findall(r"^\| (`.*?) \|", listed[1], re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(names) == sorted({call.name for call in (*CALLS, *WRITING)})
    capabilities = re.findall(r"^\| `(CAP_\w+)` \|", text, re.MULTILINE)
    assert sorted(capabilities) == sorted(CAPABILITIES.values())
