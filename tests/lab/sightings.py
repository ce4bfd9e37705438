"""Reports in a row on a host of which containers come and go, each held against the log of what there was.

A *sighting* is one report and the interval in which it was made. Whatever it says of a container in the log must have
been so in that interval; and one that was there for all of it, whole, must be told whole.

Inside the host, `python -m tests.lab.sightings SECONDS COUNT` makes as many in one process as there is time for, COUNT
at the most: each is a line of two times and the report, the last one what that process had open before and after.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.lab.host import LabHost
from tests.lab.turnover import Instance, now, turnover

# --- what of a report is looked at --------------------------------------------------------------------------------


class Listener(Struct):
    pid: int | None


class Port(Struct):
    host_port: int
    via: list[str]
    listening: Listener | None


class Endpoint(Struct):
    interface: str | None
    ip: str | None
    mac: str | None
    host_link: str | None
    bridge: str | None


class Mount(Struct):
    name: str | None
    mounted: bool | None


class Overlay(Struct):
    upper: str | None


class Drift(Struct):
    field: str
    recorded: str | None
    effective: str | None


class Container(Struct):
    id: str
    pid: int | None
    netns: int | None
    endpoints: list[Endpoint]
    ports: list[Port]
    listeners: list[Listener]
    mounts: list[Mount]
    overlay: Overlay | None
    drift: list[Drift]


class Peer(Struct):
    netns: int
    ifindex: int
    ifname: str


class Link(Struct):
    netns: int
    ifindex: int
    ifname: str
    mac: str | None
    master: str | None
    peer: Peer | None
    container: str | None


class BridgePort(Struct):
    link: str
    container: str | None


class Bridge(Struct):
    netns: int
    name: str
    ports: list[BridgePort]


class Namespace(Struct):
    inode: int
    paths: list[str]
    pids: list[int]
    containers: list[str]
    host: bool


class Rule(Struct):
    netns: int
    dport: str | None
    to: str | None
    container: str | None


class Gap(Struct, frozen=True):
    collector: str
    subject: str
    why: str
    minor: bool = False


class Report(Struct):
    containers: list[Container]
    links: list[Link]
    bridges: list[Bridge]
    netns: list[Namespace]
    nat_rules: list[Rule]
    gaps: list[Gap]


class Sighting(Struct):
    begun: int  # ns of CLOCK_BOOTTIME, as in the log
    done: int
    report: Report

    @property
    def grave_gaps(self) -> list[Gap]:
        return [gap for gap in self.report.gaps if not gap.minor]


class Open(Struct, frozen=True):
    """What a process has that could leak."""

    descriptors: int
    threads: int
    children: int
    netns: int  # that its thread is in


# --- making them --------------------------------------------------------------------------------------------------


def one_process(host: LabHost) -> Sighting:
    """A report by a process of its own, with exit code 0 or 3. Raises AssertionError where it ends otherwise."""
    begun = now()
    done = host.run([sys.executable, "-m", "hostinspect", "report", "--output", "json"], check=False)
    ended = now()
    assert done.returncode in (0, 3), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return Sighting(begun, ended, msgspec.json.decode(done.stdout, type=Report))


class Row:
    """Reports of one process: a stream, and then `before` and `after`, what it had open."""

    before: Open
    after: Open

    def __init__(self, host: LabHost, seconds: float, count: int) -> None:
        self._command = host.command([sys.executable, "-m", "tests.lab.sightings", str(seconds), str(count)])

    def __iter__(self) -> Iterator[Sighting]:
        with subprocess.Popen(self._command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                begun, done, report = line.split(b" ", 2)
                if begun == b"open":
                    self.before, self.after = msgspec.json.decode(report, type=tuple[Open, Open])
                else:
                    yield Sighting(int(begun), int(done), msgspec.json.decode(report, type=Report))
        assert process.returncode == 0


def _open() -> Open:
    gc.collect()
    tasks = [*Path("/proc/self/task").iterdir()]
    return Open(
        descriptors=len([*Path("/proc/self/fd").iterdir()]),
        threads=len(tasks),
        children=sum(len((task / "children").read_text().split()) for task in tasks),
        netns=Path("/proc/thread-self/ns/net").stat().st_ino,
    )


def main(seconds: float, count: int) -> None:
    from hostinspect.collectors import collect
    from hostinspect.correlate import correlate
    from hostinspect.render.json import render_json

    collect()  # whatever is opened once
    before = _open()
    until = time.monotonic() + seconds
    for _ in range(count):
        begun = now()
        topology = correlate(collect())
        done = now()
        line = msgspec.json.encode(msgspec.json.decode(render_json(topology)))
        sys.stdout.buffer.write(b"%d %d %s\n" % (begun, done, line))
        if time.monotonic() > until:
            break
    sys.stdout.buffer.write(b"open - " + msgspec.json.encode((before, _open())) + b"\n")


class Outcome(Struct):
    """What a run of reports showed."""

    sightings: list[Sighting]
    before: Open  # what the process that made most of them had open, before the first
    after: Open  # and after the last
    log: list[Instance]
    starts_per_second: float


def run(host: LabHost, seconds: float, count: int, whole: int) -> Outcome:
    """Reports while containers come and go: as many as one process makes in that time, `count` at the most, and then
    `whole` more, each by a process of its own.
    """
    with turnover(host) as comings:
        row = Row(host, seconds, count)
        sightings = [*row]
        sightings += [one_process(host) for _ in range(whole)]
    return Outcome(sightings, row.before, row.after, comings.log, comings.starts_per_second)


# --- holding them against the log ---------------------------------------------------------------------------------


class Check:
    """What is wrong, in words, of any number of sightings; `unseen`: what was whole and was not told so."""

    def __init__(self, log: Sequence[Instance]) -> None:
        self.by_id = {instance.id: instance for instance in log}
        self.by_link = {instance.host_link: instance for instance in log}
        self.by_key = {instance.key: instance for instance in log}
        self.by_pid: dict[int, list[Instance]] = defaultdict(list)
        for instance in log:
            self.by_pid[instance.pid].append(instance)
        self.wrong: list[str] = []
        self.unseen: list[str] = []
        self.correlations = 0
        self.drift: Counter[str] = Counter()

    def __call__(self, sighting: Sighting) -> None:
        self._now = sighting
        report = sighting.report
        self._host = next(namespace.inode for namespace in report.netns if namespace.host)
        for container in report.containers:
            if instance := self.by_id.get(container.id):
                self._container(container, instance)
        for link in report.links:
            self._link(link)
        for bridge in report.bridges:
            for port in bridge.ports:
                if instance := self.by_link.get(port.link):
                    self._holds(port.container in (None, instance.id), f"bridge port {port}", instance)
                    self._holds(bridge.name == instance.bridge, f"port of {bridge.name}", instance)
        for namespace in report.netns:
            self._namespace(namespace)
        for rule in report.nat_rules:
            if rule.netns == self._host and (instance := self.by_id.get(rule.container or "")):
                self._holds(rule.to in (None, f"{instance.ip}:80"), f"{rule}", instance)
                self._holds(not rule.to or rule.dport == str(instance.host_port), f"{rule}", instance)
        self._whole({container.id: container for container in report.containers})

    def _holds(self, so: bool, what: str, instance: Instance) -> None:
        self.correlations += 1
        if not (so and self._overlaps(instance)):
            self.wrong.append(f"[{self._now.begun}, {self._now.done}] {what} of {instance}")

    def _overlaps(self, instance: Instance) -> bool:
        return instance.began <= self._now.done and instance.ended >= self._now.begun

    def _container(self, container: Container, instance: Instance) -> None:
        def holds(so: bool, what: str) -> None:
            self._holds(so, f"{what} in {container}", instance)

        for drift in container.drift:
            self.drift[drift.field.partition("[")[0]] += 1
        if container.pid is not None:
            alive = instance.dead >= self._now.begun
            holds(container.pid == instance.pid and alive, f"pid {container.pid}")
        if container.netns is not None:
            holds(container.netns == instance.netns, f"netns {container.netns}")
        for endpoint in container.endpoints:
            holds(endpoint.ip in (None, instance.ip), f"{endpoint}")
            if endpoint.mac and endpoint.interface and instance.ready < self._now.begun:  # the engine sets it later
                holds(endpoint.mac == instance.mac, f"{endpoint}")
            holds(endpoint.host_link in (None, instance.host_link), f"{endpoint}")
            holds(endpoint.bridge in (None, instance.bridge), f"{endpoint}")
        for port in container.ports:
            holds(port.host_port == instance.host_port, f"{port}")
            holds(port.listening is None or port.listening.pid in (None, instance.pid), f"{port}")
        for listener in container.listeners:
            holds(listener.pid == instance.pid, f"{listener}")
        for mount in container.mounts:
            holds(mount.name == instance.volume, f"{mount}")
        if container.overlay:
            holds(container.overlay.upper == instance.upper, f"{container.overlay}")

    def _link(self, link: Link) -> None:
        if link.netns == self._host and (instance := self.by_link.get(link.ifname)):
            self._holds(link.ifindex == instance.host_ifindex, f"{link}", instance)
            self._holds(link.container in (None, instance.id), f"{link}", instance)
            self._holds(link.master in (None, instance.bridge), f"{link}", instance)
            if link.peer and link.peer.netns != self._host:  # where the engine makes it, to move it then
                peer = (link.peer.netns, link.peer.ifindex)
                self._holds(peer == (instance.netns, instance.interface_ifindex), f"{link}", instance)
        elif link.netns != self._host and link.ifname == "eth0" and (instance := self.by_id.get(link.container or "")):
            self._holds(link.netns == instance.netns, f"{link}", instance)
            self._holds(link.peer is None or link.peer.ifname == instance.host_link, f"{link}", instance)
        elif link.ifname.startswith(("come", "go")) and link.peer:
            self.correlations += 1
            if link.ifname.replace("come", "go") != link.peer.ifname.replace("come", "go"):
                self.wrong.append(f"[{self._now.begun}, {self._now.done}] {link}")

    def _namespace(self, namespace: Namespace) -> None:
        if namespace.host:
            return
        of = [self.by_id[id_] for id_ in namespace.containers if id_ in self.by_id]
        of += [self.by_key[key] for path in namespace.paths if (key := path.rpartition("/")[2]) in self.by_key]
        for instance in of:
            self._holds(instance.netns == namespace.inode, f"{namespace}", instance)
            self._holds(instance.id == of[0].id, f"{namespace}", instance)
            for pid in namespace.pids:
                main = [one for one in self.by_pid[pid] if one.netns == namespace.inode and self._overlaps(one)]
                self._holds(not main or instance in main, f"{namespace}", instance)

    def _whole(self, told: dict[str, Container]) -> None:
        for instance in self.by_id.values():
            if instance.ready > self._now.begun or instance.dying < self._now.done:
                continue
            container = told.get(instance.id)
            whole = container is not None and (
                container.pid is not None
                and container.netns is not None
                and len(container.endpoints) == 1
                and container.endpoints[0].host_link is not None
                and container.endpoints[0].bridge is not None
                and len(container.listeners) > 0
                and all(mount.mounted for mount in container.mounts)
                and container.overlay is not None
                and not container.drift
                and all(port.via for port in container.ports)
            )
            if not whole:
                self.unseen.append(f"[{self._now.begun}, {self._now.done}] {instance}: {container}")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
