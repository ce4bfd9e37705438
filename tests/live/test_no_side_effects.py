"""hostinspect changes nothing: the host before and after it, and the system calls that it makes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path

import pytest

from hostinspect.kernel.sandbox import CALLS
from tests.lab.host import LabHost
from tests.live.report import COMMAND, DEEP_QUESTIONS, QUESTIONS, report

# Everything of a host that a run could have changed. Counters go on by themselves, so rules are listed without.
_STATE = r"""
for ns in /proc/1/ns/net /run/docker/netns/*; do
    echo "== $ns $(stat --dereference --format %i "$ns")"
    nsenter --net="$ns" sh -c '
        cat /proc/self/net/ip_tables_names /proc/self/net/ip6_tables_names 2>/dev/null
        ip netns list-id; ip -details link | grep -v timer; ip address | sed "s/ tentative//"; ip route
        nft --stateless list ruleset
        iptables-save | grep -v "^[#:]"; ip6tables-save | grep -v "^[#:]"' 2>&1
done
cat /proc/modules 2>/dev/null
cat /proc/self/mountinfo
ls -lR --time-style=full-iso /run/docker/netns
docker ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.State}}'
"""

# Where a namespace was, an engine leaves an empty file, and removes it within a minute: not between the two looks.
_TIDY = r"""
for ns in /run/docker/netns/*; do
    [ "$(stat --file-system --format %T "$ns")" = nsfs ] || rm -f "$ns"
done
"""

# The engine itself writes to its log files and databases now and then; hence two looks at an idle host. Symbolic links
# are left out of the access times: to read where one leads is to access it, and nothing prevents that.
_FILES = r"""
cd /var/lib/docker
find . -printf '%p %y %m %u %g %s %T@ %C@\n' | sort
find . -type f -printf '%p %A@\n' | sort
find . -type f -size -4M -print0 | sort -z | xargs -0 cat | cksum
"""


def state(host: LabHost) -> str:
    return host.run(["sh", "-c", _STATE]).stdout


def files(host: LabHost) -> list[str]:
    """Taken after the reading in `_FILES` itself: its cat moves access times, a find alone does not."""
    host.run(["sh", "-c", _FILES])
    return host.run(["sh", "-c", _FILES]).stdout.splitlines()


@pytest.mark.parametrize("demo", ["demo_host", "demo_host_legacy", "demo_host_sid"])
def test_the_host_is_the_same_before_and_after(demo: str, request: pytest.FixtureRequest) -> None:
    host: LabHost = request.getfixturevalue(demo)
    host.run(["sh", "-c", _TIDY])
    before = state(host), files(host)
    for question in (*QUESTIONS, *DEEP_QUESTIONS):
        assert host.run([*COMMAND, *question]).stdout
    after = state(host), host.run(["sh", "-c", _FILES]).stdout.splitlines()
    assert before[0].splitlines() == after[0].splitlines()
    assert len(before[1]) > 500
    assert before[1] == after[1]


def test_two_reports_of_an_unchanged_host_are_the_same_but_for_their_time(demo_host: LabHost) -> None:
    first, second = report(demo_host), report(demo_host)
    assert first["host"].pop("collected_at") <= second["host"].pop("collected_at")
    assert first == second


# The types of messages that ask, by protocol; strace names them only for sockets of its own network namespace.
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")
_QUESTIONS = {
    "NETLINK_ROUTE": {18, 22, 26, 90},  # RTM_GETLINK, GETADDR, GETROUTE, GETNSID
    "NETLINK_SOCK_DIAG": {18, 20},  # TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY
    "NETLINK_NETFILTER": {10 << 8 | message for message in (1, 4, 7, 10, 13, 16)},  # NFT_MSG_GET…
}
_ASKING = re.compile(r"RTM_GET\w+|TCPDIAG_GETSOCK|SOCK_DIAG_BY_FAMILY|NFNL_SUBSYS_NFTABLES<<8\|NFT_MSG_GET\w+")


SNAPSHOT = ("snapshot", "-o", "/tmp/trace.snapshot")
WATCH = ("watch", "--for", "0.1")
COMPARE = ("compare", "/tmp/trace.before")


# On the host with legacy tables, where the most ways of reading are taken, all; on the others each command once; and on
# those that were made up, where no container has a name that is known, all that needs none.
_ASKED = (*QUESTIONS, *DEEP_QUESTIONS, SNAPSHOT, WATCH, COMPARE)
_TRACED = [
    (demo, question)
    for demo in ("demo_host_legacy", "demo_host", "demo_host_sid", "random_host", "random_host_sid")
    for question in _ASKED
    if demo == "demo_host_legacy" or question == next(q for q in _ASKED if q[0] == question[0])
    if not demo.startswith("random") or len(question) == 1 or question[0] in ("doctor", "snapshot", "watch", "compare")
]


@pytest.mark.parametrize(
    ("demo", "question"), _TRACED, ids=lambda value: "_".join(value) if isinstance(value, tuple) else value
)
def test_no_system_call_that_changes_the_host(
    question: tuple[str, ...],
    demo: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """All that are made, from the first on: those of the list in docs/security.md alone, in the ways that it says."""
    host: LabHost = request.getfixturevalue(demo)
    if question is COMPARE:
        host.run([*COMMAND, "snapshot", "-o", COMPARE[1]])
    by_process = traced([*question, *(() if question is SNAPSHOT else ("-o", "json"))], host, tmp_path)
    host.run(["rm", "-f", SNAPSHOT[2], COMPARE[1]])
    record_property("system calls", sum(map(len, by_process)))
    assert sum(map(len, by_process)) > 2000
    # Itself, the fork that asks, and two of that, one after the other: one reads the processes meanwhile, and one looks
    # at the network. A snapshot has the first alone read them; each look of `watch` is another.
    assert len(by_process) <= 3 + (question not in (SNAPSHOT, COMPARE))
    assert by_process[0][0].startswith("execve(")  # the interpreter's own start
    # The one that watches gives up nothing; it reads nothing of the host, and is held to the same list.
    watching, command = (by_process[0][1:], by_process[1]) if question is not COMPARE else ([], by_process[0][1:])
    locked = next(n for n, call in enumerate(command) if call.startswith("seccomp("))
    assert command[locked].endswith("= 0")
    start, rest = [*watching, *command[:locked]], [*command[locked + 1 :], *chain(*by_process[2:])]
    assert harmful(call for call in start if call.partition("(")[0] not in _START) == []
    made = harmful(rest)
    if question is SNAPSHOT:
        made = [call for call in made if not re.search(r"/tmp/trace\.snapshot|^fsync\(", call)]
    assert made == []
    refused = [call for call in rest if "= -1 EPERM" in call]
    assert refused == []  # by the filter, or for want of a capability that was dropped


_TYPED = {"_HOSTINSPECT_COMPLETE": "bash_complete", "COMP_WORDS": "hostinspect container we", "COMP_CWORD": "2"}


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [([], _TYPED), (["completion", "bash"], {}), (["schema"], {}), (["--help"], {}), (["--version"], {})],
    ids=["names that are completed", "completion", "schema", "--help", "--version"],
)
def test_what_is_no_question_changes_nothing_either(
    arguments: list[str], typed: dict[str, str], demo_host: LabHost, tmp_path: Path
) -> None:
    """Most of these ask the host nothing, and so give up nothing before."""
    environment = [f"{name}={value}" for name, value in typed.items()]
    calls = [*chain(*traced(arguments, demo_host, tmp_path, ["env", *environment] if environment else []))]
    assert len(calls) > 200
    given_up = _START | ({"seccomp", "kill"} if typed else set())
    assert harmful(call for call in calls[1:] if call.partition("(")[0] not in given_up) == []


def traced(arguments: list[str], host: LabHost, where: Path, through: Sequence[str] = ()) -> list[list[str]]:
    """The system calls of a run on the host, from the interpreter's execve(2) on; then those of its forks in turn.

    strace is this machine's: the host's userland may have none. What leads into the host is left out.
    """
    output = where / "of"
    command = ["strace", "-ff", "-qq", "-ttt", "-o", str(output), *host.command([*through, *COMMAND, *arguments])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stderr
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in where.iterdir()]
    run: list[list[str]] = []
    forks: list[list[str]] = []
    for text in sorted(texts):  # each begins with its time; pids begin anew when they are used up
        calls = [call.group(1) for line in text.splitlines() if (call := re.match(r"[\d.]+ (\w+\(.*)", line))]
        executed = [n for n, call in enumerate(calls) if call.startswith("execve(")]
        if executed and f'execve("{COMMAND[0]}"' in calls[executed[-1]]:
            run.append(calls[executed[-1] :])
        elif not executed:
            forks.append(calls)
    assert len(run) == 1
    return run + forks


# What Python does of its own before our first line, and what we give up; all of it is about this process alone.
_START = {"arch_prctl", "set_tid_address", "capset", "prctl"}
_CALLS = {call.name for call in CALLS}


def harmful(calls: Iterable[str]) -> list[str]:
    """Those of the calls that strace shows, in their order, that could leave the host other than it was."""
    found = []
    protocols: dict[str, str] = {}  # of open sockets, by descriptor
    for call in calls:
        name, _, rest = call.partition("(")
        if name == "socket":
            protocols[call.rpartition("= ")[2]] = re.split(r"[,)] ?", rest)[2]
        if not _is_harmless(name, call, protocols.get(rest.partition(",")[0], "")):
            found.append(call)
    return found


def _is_harmless(name: str, call: str, protocol: str) -> bool:
    if name in ("open", "openat"):
        return not _WRITES.search(call)
    if name == "socket":
        return bool(re.match(r"socket\((AF_NETLINK|AF_INET6?), SOCK_RAW\|SOCK_CLOEXEC, (NETLINK_|IPPROTO_RAW)", call))
    if name in ("bind", "connect"):
        return "sa_family=AF_NETLINK" in call
    if name == "setns":
        return "CLONE_NEWNET" in call
    if name == "clone":  # a fork of our own, that shares nothing and is in no namespace of its own
        return re.findall(r"CLONE_\w+|SIG\w+", call) == ["CLONE_CHILD_CLEARTID", "CLONE_CHILD_SETTID", "SIGCHLD"]
    if name == "setsockopt":  # options of our own netlink sockets; SOL_IP and SOL_IPV6 would write tables
        return bool(re.search(r", (SOL_NETLINK|SOL_SOCKET), ", call))
    if name == "prlimit64":  # of this process
        return call.startswith("prlimit64(0, ")
    if name in ("sendto", "sendmsg"):
        kinds = re.findall(r"nlmsg_type=([^,}]+)", call)
        return bool(kinds) and all(_asks(kind, protocol) for kind in kinds)
    return name in _CALLS and name != "kill"


def _asks(kind: str, protocol: str) -> bool:
    number = re.match(r"0x[0-9a-f]+|\d+", kind)
    return int(number[0], 0) in _QUESTIONS.get(protocol, ()) if number else bool(_ASKING.fullmatch(kind))


def test_the_judge_of_system_calls() -> None:
    netlink = [
        "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE) = 3",
        "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_NETFILTER) = 4",
    ]
    harmless = [
        'openat(AT_FDCWD, "/etc/os-release", O_RDONLY|O_CLOEXEC) = 3',
        "setns(5, CLONE_NEWNET) = 0",
        "clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = 9",
        "sendto(3, [{nlmsg_len=20, nlmsg_type=RTM_GETLINK, nlmsg_flags=NLM_F_REQUEST}]) = 20",
        "sendto(3, [{nlmsg_len=20, nlmsg_type=0x5a /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST}]) = 20",
        "sendto(4, [{nlmsg_len=20, nlmsg_type=0xa07 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST}]) = 20",
    ]
    bad = [
        'openat(AT_FDCWD, "/tmp/x", O_WRONLY|O_CREAT, 0666) = 3',
        "setns(5, CLONE_NEWNS) = 0",
        "setsockopt(3, SOL_IP, IPT_SO_SET_REPLACE, 0x7f, 100) = 0",
        "sendto(3, [{nlmsg_len=20, nlmsg_type=RTM_NEWNSID, nlmsg_flags=NLM_F_REQUEST}]) = 20",
        "sendto(3, [{nlmsg_len=20, nlmsg_type=0x58 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST}]) = 20",
        "sendto(4, [{nlmsg_len=20, nlmsg_type=0xa06 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST}]) = 20",
        "clone(child_stack=NULL, flags=CLONE_NEWNS|CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD) = 9",
        'execve("/bin/sh", ["sh"], 0x7ffe) = 0',
        "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 3",
        'connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
        'mount("none", "/mnt", "tmpfs", 0, NULL) = 0',
        "ptrace(PTRACE_ATTACH, 1) = 0",
        "kill(1, SIGTERM) = 0",
    ]
    assert harmful([*netlink, *harmless, *bad]) == bad
