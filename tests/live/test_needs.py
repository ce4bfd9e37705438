"""Each question reads what it needs and no more: the answer is the one that it has of everything.

And of everything it makes no difference whether a fork looks at the network meanwhile.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.lab.host import LabHost
from tests.live.hosts import on_random_hosts
from tests.live.observed import observe
from tests.live.report import COMMAND, without
from tests.live.whois_keys import expected_of, more_of

# Runs in one process on the host: the command as it is, then with all families read whatever it asks for.
_ASK = r"""
import contextlib, io, json, sys
from hostinspect import collectors
from hostinspect.cli.app import run

some = collectors.collect
seen = {}  # everything that was read last, by what more was asked for: it is the same for most questions

def everything(data_roots=(), *, families=None, only=None, meanwhile=None, **more):
    if meanwhile:
        meanwhile()
    asked = data_roots, *sorted(more.items())
    if asked not in seen:
        seen[asked] = some(data_roots, **more)
    return seen[asked]

def answer(argv, collect):
    collectors.collect = collect
    said = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(said, write_through=True)):
        code = run([argv[0], "-o", "json", *argv[1:]])
        answer = json.loads(said.getvalue() or b"null")
    if answer:
        answer.pop("collected_at", None)
        answer.get("host", {}).pop("collected_at", None)
    return code, answer

for line in sys.stdin:
    argv = json.loads(line)
    for _ in range(3):  # a container may come or go in between
        pair = answer(argv, some), answer(argv, everything)
        if pair[0] == pair[1]:
            break
        seen.clear()
    print(json.dumps([argv, *pair]))
"""

QUESTIONS = (
    *(
        ["report"],
        ["containers"],
        ["networks"],
        ["bridges"],
        ["links"],
        ["links", "--all"],
        ["ports"],
        ["ports", "--all"],
    ),
    *(["nat"], ["nat", "--all"], ["volumes"], ["layers"], ["layers", "--directories"]),
)


def asked(host: LabHost, questions: list[list[str]]) -> list[tuple[list[str], object, object]]:
    lines = "".join(json.dumps(argv) + "\n" for argv in questions)
    done = host.run([COMMAND[0], "-c", _ASK], input=lines, timeout=300)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def differing(answers: list[tuple[list[str], object, object]]) -> list[list[str]]:
    """But for counters, which packets of the host's own move."""
    moving = ("packets", "bytes", "ppid")
    return [argv for argv, *of_both in answers if without(of_both[0], *moving) != without(of_both[1], *moving)]


@on_random_hosts
def test_what_is_read_is_enough(made_up: LabHost) -> None:
    host = made_up
    names = host.docker("ps", "-a", "--format", "{{.Names}}").split()
    questions = [[*question] for question in QUESTIONS]
    questions += [[command, name] for command in ("container", "ports", "trace", "diff") for name in names[::2]]
    questions += [["networks", name] for name in host.docker("network", "ls", "--format", "{{.Name}}").split()]
    questions += [["volumes", name] for name in host.docker("volume", "ls", "--quiet").split()]
    published = {*re.findall(r":(\d+)->", host.docker("ps", "--format", "{{.Ports}}"))}
    questions += [["ports", port] for port in sorted(published)[:5]]
    keys = [expected.key for expected in expected_of(observe(host), more_of(host))]
    every_nth = max(1, len(keys) // 80)
    questions += [["whois", "--", key] for key in dict.fromkeys(keys[::every_nth])]
    answers = asked(host, questions)
    assert len(answers) == len(questions)
    assert sum(of_some[0] == 0 for _, of_some, _ in answers) > len(answers) / 2  # type: ignore[index]
    assert not differing(answers)


# A veth between two containers, and an address that is another container's by its record.
_LED_ELSEWHERE = r"""
docker network create net >/dev/null
run() { name=$1; shift; docker run --detach --name "$name" "$@" box /busybox sleep 1000000 >/dev/null; }
run one --network none; run two --network none
run three --publish 8080:80; run four --network net; run five --network container:three; run six --network host
pid() { docker inspect --format '{{.State.Pid}}' "$1"; }
ip link add eth7 netns "$(pid one)" type veth peer name eth8 netns "$(pid two)"
four=$(docker inspect --format '{{.NetworkSettings.Networks.net.IPAddress}}' four)
run seven; nsenter --target "$(pid seven)" --net ip address replace "$four/16" dev eth0
"""

_VISITED = """
import json, sys
from hostinspect.collectors import collect
from hostinspect.questions.container import NEEDS
from hostinspect.questions.inspection import called

def visited(name):
    facts = collect(families=NEEDS, only=called([name]))
    pids = {c.pid for c in facts.containers if c.name == name} | {1}
    theirs = {p.netns for p in facts.processes if p.pid in pids}
    free = {n.inode for n in facts.network_namespaces if not n.pids}
    return {link.netns for link in facts.links} - free == theirs

print(json.dumps({name: visited(name) for name in sys.argv[1:]}))
"""


def test_of_a_container_what_it_is_connected_to() -> None:
    """No other's namespace is gone to but where its links lead there, or where an address of its is another's."""
    names = ("one", "two", "three", "four", "five", "six", "seven")
    with LabHost() as host:
        host.import_busybox("box")
        host.run(["sh", "-euc", _LED_ELSEWHERE])
        answers = asked(host, [["container", name] for name in names])
        alone = json.loads(host.run([COMMAND[0], "-c", _VISITED, *names]).stdout)
    assert not differing(answers)
    assert [of_some[0] for _, of_some, _ in answers] == [0] * len(names)  # type: ignore[index]
    (link,) = (n for n in answers[0][1][1]["containers"][0]["links"] if n["ifname"] == "eth7")  # type: ignore[index]
    assert link["peer"]["ifname"] == "eth8"
    assert alone == {name: name not in ("one", "two", "seven") for name in names}


_AHEAD = """
import os
from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.mounts import collect_host_mounts, collect_mounts
from hostinspect.collectors.processes import collect_processes
from hostinspect.engines.programs import ENGINE_COMMS
from hostinspect.kernel import process_table, procfs

proc = procfs.open_proc()
for name, whole in ("mountinfo", range(1 << 40)), ("mountstats", ()):
    table = process_table.read(proc, ENGINE_COMMS, ahead=lambda pid: "mountinfo" if pid == 1 else name)
    processes, gaps = collect_processes(GapLog(), table=table), GapLog()
    ahead, plain = (
        collect_mounts(processes, collect_host_mounts(gaps, ahead=of), gaps, whole=whole, ahead=of)
        for of in (table["ahead"], None)
    )
    print(ahead == plain, len(table["ahead"]) > 5, any(mount.mntns != plain[0].mntns for mount in plain), len(gaps))
"""


def test_mounts_that_were_read_ahead_are_the_mounts(demo_host: LabHost) -> None:
    told = demo_host.run([COMMAND[0], "-c", _AHEAD]).stdout
    assert told == "True True True 0\nTrue True False 0\n"


_BOTH = """
import json, os, sys
from hostinspect import collectors
from hostinspect.collectors.network import _Tour
from hostinspect.collectors.tour import NetworkTour
from hostinspect.kernel.beside import Line
from msgspec import to_builtins

ALONE, LATE, LAST, HOST = "alone", "late", "last", "host"
here, visit, from_end, begin = os.getpid(), _Tour._visit, Line.from_end, NetworkTour.begin

def visited(tour, namespace):
    if way == LATE and os.getpid() != here and len(tour.visited) > 3:
        os._exit(1)
    visit(tour, namespace)

def is_ours(line, position):
    return way != LAST and from_end(line, position)

def begun(tour, netns):
    begin(tour, {tour._host.netns} if way == HOST else netns)

_Tour._visit, Line.from_end, NetworkTour.begin = visited, is_ours, begun

def facts(of):
    global way
    way = of
    collectors.has_processor_to_spare = lambda: way != ALONE
    found = to_builtins(collectors.collect(image_layers=True, health=True))
    for of in found["health"]["file_systems"]:
        del of["free"], of["available"], of["inodes_free"]  # this machine's, who else may write to it
    return found

def differing():
    forked, alone = facts(sys.argv[1]), facts(ALONE)
    moving = {"host", "gaps"}  # the time; gaps of the network come in another place
    same = sorted(map(str, forked["gaps"])) == sorted(map(str, alone["gaps"]))
    return [key for key in forked if forked[key] != alone[key] and key not in moving] + ["gaps"] * (not same)

print(json.dumps([differing() for _ in range(5)]))
"""


@pytest.mark.parametrize("way", ["both", "late", "last", "host"])
def test_two_find_what_is_found_by_one(demo_host: LabHost, way: str) -> None:
    """Also where the fork dies under way, where it has to visit all, and where it visits the host's alone."""
    rounds = json.loads(demo_host.run([COMMAND[0], "-c", _BOTH, way]).stdout)
    # Counters move with packets of the host's own, and processes of the engine come and go: not every time.
    assert not set.intersection(*map(set, rounds))
