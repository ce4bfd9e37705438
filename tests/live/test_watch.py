"""`hostinspect watch` on a real engine: each change once, nothing lost where events are, and quiet on a quiet host."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jsonschema
import pytest

from hostinspect.render.schema import answer_schema
from tests.lab.host import LabHost
from tests.live.report import COMMAND, hostinspect

_IMAGE = """
files=$(mktemp -d)
mkdir "$files/bin"
cp "$(command -v busybox)" "$files/bin/busybox"
chroot "$files" /bin/busybox --install -s /bin
tar -C "$files" -c . | docker import - small
rm -r "$files"
"""
_PATIENCE = 30  # seconds for what takes one

Line = dict[str, Any]


@pytest.fixture(scope="module")
def host() -> Iterator[LabHost]:
    """A host with nothing on it, where whatever changes is of these tests."""
    with LabHost() as fresh:
        fresh.run(["sh", "-ec", _IMAGE])
        fresh.docker("run", "--rm", "small", "true")  # whatever the first container of a host leaves behind
        yield fresh


class Watch:
    """A watch that runs."""

    def __init__(self, host: LabHost, arguments: tuple[str, ...], through: tuple[str, ...]) -> None:
        self._host = host
        # Its pid inside, by which it is interrupted.
        argv = ["sh", "-c", 'echo "pid $$" >&2; exec "$@"', "sh", *through, *COMMAND, "watch", "-v", *arguments]
        self._process = subprocess.Popen(
            host.command(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=host._environment(None),
        )
        self.lines: list[str] = []
        self.remarks: list[str] = []
        self._pid = self._until_remark("pid ").split()[1]
        self._until_remark("hostinspect: looked because of it is the first")

    def _until_remark(self, start: str) -> str:
        assert self._process.stderr is not None
        while line := self._process.stderr.readline():
            self.remarks.append(line.rstrip("\n"))
            if line.startswith(start):
                return line
        raise AssertionError(self.remarks)

    def until(self, done: Callable[[Line], bool]) -> Line:
        """The first of the further lines that is it."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            self.lines.append(line)
            if done(json.loads(line)):
                found: Line = json.loads(line)
                return found
        raise AssertionError(self.lines)

    def interrupt(self) -> int:
        """SIGINT; its exit status."""
        self._host.run(["kill", "-INT", self._pid])
        return self.ended()

    def ended(self) -> int:
        """Its exit status, when it has ended."""
        assert self._process.stdout is not None and self._process.stderr is not None
        self.lines += self._process.stdout.readlines()
        self.remarks += self._process.stderr.read().splitlines()
        return self._process.wait(_PATIENCE)

    def kill(self) -> None:
        with self._process:  # whose end closes the pipes, and waits
            if self._process.poll() is None:
                self._host.run(["kill", "-KILL", self._pid], check=False)


@contextmanager
def watching(host: LabHost, *arguments: str, through: tuple[str, ...] = ()) -> Iterator[Watch]:
    watch = Watch(host, arguments, through)
    try:
        yield watch
    finally:
        watch.kill()


def changes(watch: Watch) -> list[Line]:
    found = []
    validator = jsonschema.Draft202012Validator(answer_schema("watch"))
    for line in watch.lines:
        one = json.loads(line)
        validator.validate(one)
        if one["event"] == "change":
            assert one["words"] == one["change"]["words"]
            found.append(one["change"])
    return found


def assert_each_follows_from_the_one_before(told: list[Line]) -> None:
    """No change is told twice or skipped."""
    there: dict[tuple[str, str], str] = {}
    values: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for change in told:
        thing = (change["family"], change["key"])
        if change["kind"] == "changed":
            assert change["family"] == "rules" or there.get(thing) != "removed", change
            assert values[thing].get(change["field"], change["before"]) == change["before"], change
            values[thing][change["field"]] = change["after"]
        else:
            several = change["family"] == "rules"  # may have the same text
            assert several or there.get(thing) != change["kind"], change
            there[thing] = change["kind"]
            values[thing].clear()


def of_container(event: str) -> Callable[[Line], bool]:
    """A line that says this of the container."""
    return lambda line: line["event"] == "change" and line["words"].startswith(event)


def test_a_life_of_a_container_is_told_as_it_happens_and_once(host: LabHost) -> None:
    options = ("--name", "late", "--publish", "9999:80", "small")
    before = "/tmp/watch.before"
    assert hostinspect(host, "snapshot", "-o", before).returncode == 0
    with watching(host, "-o", "json") as watch:
        host.docker("run", "--detach", *options, "sh", "-c", "sleep 1; exec httpd -f -p 80")
        watch.until(of_container("container late was added"))
        # Nothing says that a server begins to listen: what follows a change finds it.
        watch.until(of_container("listener on tcp :: port 80 in late was added"))
        [id_] = {change["key"] for change in changes(watch) if change["family"] == "containers"}

        inside = ["nsenter", "--net", f"--target={host.docker('inspect', '--format={{.State.Pid}}', 'late')}"]
        host.run([*inside, "ip", "link", "set", "eth0", "mtu", "1400"])
        watch.until(of_container("link eth0 of late: MTU 1500 → 1400"))
        host.docker("stop", "--time", "0", "late")
        watch.until(of_container("late: stopped, running → exited"))
        host.docker("start", "late")
        watch.until(of_container("late: started, exited → running"))
        host.docker("rm", "--force", "late")
        watch.until(of_container("container late was removed"))
        assert watch.interrupt() == 130
    told = changes(watch)
    assert all(change["certain"] for change in told)
    assert_each_follows_from_the_one_before(told)
    of_it = [c for c in told if c["family"] == "containers" and c["field"] in (None, "state")]
    assert {change["key"] for change in of_it} == {id_}
    states = [c["after"] if c["field"] else (c["after"] or {"state": "removed"})["state"] for c in of_it]
    # A look may fall between two steps of the engine's; what it saw there is told as well.
    assert re.fullmatch("(created )?running exited running (exited |removing |dead )*removed", " ".join(states)), states
    port = [change for change in told if change["subject"] == "port 9999 → 80/tcp of late"]
    by_port = [change["kind"] for change in port if change["field"] is None]
    assert by_port == ["added", "removed", "added", "removed"]
    left = json.loads(hostinspect(host, "compare", before, "-o", "json").stdout)["changes"]
    assert {c["subject"] for c in left} <= {"link docker0", "bridge docker0"}  # whether it has a carrier
    causes = {cause for remark in watch.remarks for cause in re.findall(r"network|rules|mounts|processes", remark)}
    assert causes == {"network", "rules", "mounts", "processes"}


def test_events_that_are_lost_lead_to_another_look_which_is_said(host: LabHost) -> None:
    """A burst of addresses that come and go, with room for one message or two."""
    host.run(["ip", "link", "add", "burst", "up", "type", "bridge"])
    pair = "address add 10.9.8.7/32 dev burst\naddress delete 10.9.8.7/32 dev burst\n"
    try:
        with watching(host, "-o", "json", "--buffer", "1", "--pause", "1", "--for", "20") as watch:
            host.run(["ip", "-batch", "-"], input=pair * 1000 + "address add 10.9.8.6/32 dev burst\n")
            lost = watch.until(lambda line: bool(line["event"] == "overrun"))
            assert "ENOBUFS" in lost["words"]
            come = watch.until(of_container("link burst: addresses + 10.9.8.6"))
            assert come["at"] >= lost["at"]
            assert watch.interrupt() == 130
    finally:
        host.run(["ip", "link", "delete", "burst"])
    assert_each_follows_from_the_one_before(changes(watch))
    assert len([remark for remark in watch.remarks if "looked" in remark]) <= 4  # of 2001 events


def test_a_quiet_host_is_looked_at_once(host: LabHost) -> None:
    """What hostinspect itself does is no event, nor are processes that come and go."""
    with watching(host, "--for", "4", "--safety", "0", "--pause", "0.1") as watch:
        host.run(["sh", "-c", "for i in 1 2 3 4 5; do true | cat; done"])
        assert watch.ended() == 0
    looks = [remark for remark in watch.remarks if "looked" in remark]
    assert [re.sub(r":.*", "", look.partition(" because of ")[2]) for look in looks] == [
        "it is the first",
        "it was time",
    ]
    assert watch.lines == []


def test_lines_of_text_and_an_end_after_so_many(host: LabHost) -> None:
    with watching(host, "--count", "2") as watch:
        host.docker("network", "create", "late_net")
        assert watch.ended() == 0
    host.docker("network", "rm", "late_net")
    assert len(watch.lines) == 2
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(rf"{stamp}  network late_net was added\n", watch.lines[0])


def test_a_plain_user_is_told_what_he_cannot_see(host: LabHost) -> None:
    done = hostinspect(host, "watch", "--for", "0.1", user="nobody")
    assert (done.returncode, done.stdout) == (3, "")
    assert "not all of it could be seen" in done.stderr and "Traceback" not in done.stderr
    as_json = hostinspect(host, "watch", "--for", "0.1", "-q", "-o", "json", user="nobody")
    assert (as_json.returncode, as_json.stderr) == (3, "")
    [line] = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert (line["event"], bool(line["gaps"])) == ("gaps", True)


def test_memory_and_processor_time_have_a_bound_under_churn(host: LabHost) -> None:
    """Links and containers come and go all the time; what a look costs decides how often there is one."""
    churn = (
        "end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do docker run --rm small true;"
        "ip link add churn type bridge; ip link delete churn; done"
    )
    with watching(host, "-o", "json", "--for", "5", "--pause", "0.1") as watch:
        began = time.monotonic()
        host.run(["sh", "-c", churn])
        status = watch.ended()
        lasted = time.monotonic() - began
    assert status == 0
    assert_each_follows_from_the_one_before(changes(watch))
    costs = [int(cost) for cost in re.findall(r": (\d+) ms", "\n".join(watch.remarks))]
    print(f"{len(costs)} looks in {lasted:.1f} s took {sum(costs)} ms of processor time, {len(watch.lines)} lines")


def test_the_host_s_events_are_heard_from_another_network_namespace(host: LabHost) -> None:
    with watching(host, "-o", "json", through=("unshare", "--net")) as watch:
        host.run(["ip", "link", "add", "heard0", "type", "bridge"])
        watch.until(lambda line: "link heard0 was added" in line["words"])
        watch.interrupt()
    host.run(["ip", "link", "delete", "heard0"])
    assert any(re.match("hostinspect: looked because of .*network", remark) for remark in watch.remarks)
