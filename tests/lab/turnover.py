"""Containers that come and go by the dozen each second, and a log of what there was when.

Real ones, as fast as `docker run` and `docker rm` make them, and *synthetic* ones (`synthetic.py`) beside a daemon that
lives. Whatever can be used again is, at once: addresses, MACs, ifindexes and the kernel's inode numbers; and pids, of
which the host has few (kernel.pid_max of its pid namespace, since Linux 6.14; before it, they come round more slowly).

    with LabHost() as host, turnover(host) as comings:
        ...
    comings.log  # one Instance for each container that was

Inside the host, `python -m tests.lab.turnover RATE LOG` makes them until its stdin ends; then it removes all of them.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from tests.lab import synthetic
from tests.lab.errors import LabError
from tests.lab.host import LabHost
from tests.lab.synthetic import Synthetic, Template

RATE = 20  # starts a second, of both kinds together
NETWORK = "syn0"

_HANDS = 6  # that make synthetic containers beside each other, since most of it is waiting for the kernel
_ALIVE = 6  # at a time, of each hand
_SLOTS = 9  # addresses and ifindexes that these share
_AT_ONCE = 3
_PIDS = 2000  # of the host's pid namespace
_FIRST_IFINDEX = 70_000
_LOG = "/run/turnover.log"
_DOCKER = "/var/lib/docker"

_TEMPLATE = """
docker network create --subnet 10.100.0.0/16 --gateway 10.100.0.1 --ip-range 10.100.128.0/24 syn0 >/dev/null
docker run --detach --name template0 --network syn0 --ip 10.100.0.2 --volume template0:/data \
    synthetic /busybox sleep 1000000 >/dev/null
echo "$1" >/proc/sys/kernel/pid_max || :
"""


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """A container that was: all that may be said of it, and when that was so, in ns of CLOCK_BOOTTIME."""

    kind: str  # real, synthetic
    id: str
    pid: int
    netns: int
    mntns: int
    key: str  # its sandbox's name under /run/docker/netns
    ip: str
    mac: str
    host_link: str
    host_ifindex: int
    interface_ifindex: int
    bridge: str
    upper: str
    volume: str | None = None
    host_port: int | None = None
    began: int  # before anything of it was there
    ready: int  # when all of it was there
    dying: int  # before it was killed
    dead: int  # when its process was gone
    ended: int  # when nothing of it was there any more


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


# --- from outside -------------------------------------------------------------------------------------------------


class Comings:
    """What a turnover was; `log` is known at its end."""

    def __init__(self) -> None:
        self.log: list[Instance] = []
        self.seconds = 0.0

    @property
    def starts_per_second(self) -> float:
        return len(self.log) / self.seconds


@contextmanager
def turnover(host: LabHost, rate: int = RATE) -> Iterator[Comings]:
    """Containers come and go on `host`, which has none yet, until the end of the context. Raises LabError."""
    host.import_busybox("synthetic", "www")
    host.run(["sh", "-ec", _TEMPLATE, "sh", str(_PIDS)])
    comings = Comings()
    command = host.command_in_cgroup([sys.executable, "-m", "tests.lab.turnover", str(rate), _LOG])
    environment = {**os.environ, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin and process.stdout
        if process.stdout.readline() != "ready\n":
            raise LabError(f"lab host {host.name}: no containers come and go")
        begun = time.monotonic()
        try:
            yield comings
        finally:
            comings.seconds = time.monotonic() - begun
            process.stdin.close()
    if process.returncode:
        raise LabError(f"lab host {host.name}: containers came and went no more: {process.returncode}")
    lines = Path(f"/proc/{host.pid}/root{_LOG}").read_text().splitlines()
    comings.log += [msgspec.json.decode(line, type=Instance) for line in lines]


# --- inside -------------------------------------------------------------------------------------------------------


class Short(Synthetic):
    """A synthetic container that lives for a second, and has what another had before it."""

    @property
    def slot(self) -> int:
        return self.number % (_HANDS * _SLOTS)

    @property
    def ip(self) -> str:
        return f"10.100.0.{self.slot + 3}"


class Log:
    """Instances, a line each."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("w", buffering=1)  # noqa: SIM115
        self.count = 0

    def write(self, **values: Any) -> None:
        self._file.write(json.dumps(values) + "\n")
        self.count += 1


def _ifindexes(veth: str) -> dict[str, int]:
    device = Path("/sys/class/net") / veth
    return {
        "host_ifindex": int((device / "ifindex").read_text()),
        "interface_ifindex": int((device / "iflink").read_text()),
    }


def _namespaces(pid: int) -> dict[str, int]:
    return {f"{kind}ns": Path(f"/proc/{pid}/ns/{kind}").stat().st_ino for kind in ("net", "mnt")}


class Shorts:
    """Synthetic containers, the oldest of which make room for new ones."""

    def __init__(self, template: Template, log: Log, hand: int) -> None:
        self.template, self.log = template, log
        self.hand, self.count = hand, 0
        self.hierarchies = synthetic.hierarchies()
        self.alive: deque[tuple[Short, dict[str, Any]]] = deque()

    def begin(self) -> None:
        began = now()
        numbers = [(self.count + more) * _HANDS + self.hand for more in range(_AT_ONCE)]
        every = [Short(number, self.template) for number in numbers]
        self.count += _AT_ONCE
        synthetic.write_files(every)
        pids = synthetic.spawn(every)
        synthetic.join_cgroups(every, pids)
        synthetic.write_records(every, pids)
        name = f"{self.hand}{self.count % 6}"
        lines = [f"link add come{name} index {80_000 + self.hand} type veth peer name go{name}"]  # in the host alone
        for one, pid in zip(every, pids, strict=True):
            peer = f"peer name eth0 address {one.mac} netns {pid}"
            bridge = one.template.bridge
            lines.append(f"link add {one.veth} index {_FIRST_IFINDEX + one.slot} master {bridge} up type veth {peer}")
        _ip(lines)
        synthetic.configure(every, pids)
        _ip([f"link delete come{name}"])
        for one, pid in zip(every, pids, strict=True):
            what = {
                "kind": "synthetic",
                "id": one.id,
                "pid": pid,
                **_namespaces(pid),
                "key": one.hex("sandbox")[:12],
                "ip": one.ip,
                "mac": one.mac,
                "host_link": one.veth,
                **_ifindexes(one.veth),
                "bridge": one.template.bridge,
                "upper": str(one.layer / "diff"),
                "volume": one.name,
                "began": began,
                "ready": now(),
            }
            self.alive.append((one, what))

    def end(self, count: int) -> None:
        going = [self.alive.popleft() for _ in range(min(count, len(self.alive)))]
        for _, what in going:
            what["dying"] = now()
            _kill(what["pid"])
            what["dead"] = now()
        _ip([f"link delete {one.veth}" for one, _ in going])
        mounted = [f"/run/docker/netns/{one.hex('sandbox')[:12]}" for one, _ in going]
        mounted += [str(one.layer / "merged") for one, _ in going]
        if mounted:
            subprocess.run(["umount", "--lazy", *mounted], check=True)
        for one, what in going:
            self.remove(one)
            what["ended"] = now()
            self.log.write(**what)

    def remove(self, one: Short) -> None:
        Path(f"/run/docker/netns/{one.hex('sandbox')[:12]}").unlink()
        for hierarchy in self.hierarchies:
            _rmdir(hierarchy / "docker" / one.id)
        shutil.rmtree(one.record)
        shutil.rmtree(f"{_DOCKER}/image/overlay2/layerdb/mounts/{one.id}")
        for directory in (one.layer, one.layer.with_name(f"{one.layer.name}-init")):
            shutil.rmtree(directory)
        for name in one.short_names:
            Path(f"{_DOCKER}/overlay2/l/{name}").unlink()
        shutil.rmtree(f"{_DOCKER}/volumes/{one.name}")


def _rmdir(cgroup: Path) -> None:
    for _ in range(100):  # its last process is taken out of it a moment after its end
        try:
            cgroup.rmdir()
        except OSError:
            time.sleep(0.002)
        else:
            return


def _kill(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


def _ip(lines: list[str]) -> None:
    # The interface of a container that has just ended may go by itself, and take its peer along.
    subprocess.run(
        ["ip", "-force", "-batch", "-"],
        input="\n".join(lines) + "\n",
        text=True,
        check=False,
        stderr=subprocess.DEVNULL,
    )


def _real(log: Log, stop: threading.Event) -> None:
    """`docker run` and `docker rm`, one after the other."""
    while not stop.is_set():
        began = now()
        id_ = _docker("run", "--detach", "--network", NETWORK, "--publish", "80", "--volume", "/data", "synthetic",
                      "/busybox", "httpd", "-f", "-p", "80", "-h", "/www")  # fmt: skip
        what = _seen(id_) if id_ else None
        ready = now()
        stop.wait(0.3)
        dying = now()
        if id_:
            _docker("rm", "--force", "--volumes", id_)
        if what:
            log.write(**what, began=began, ready=ready, dying=dying, dead=now(), ended=now())


def _seen(id_: str) -> dict[str, Any] | None:
    (told,) = json.loads(_docker("inspect", id_))
    pid = told["State"]["Pid"]
    endpoint = told["NetworkSettings"]["Networks"][NETWORK]
    shown = subprocess.run(
        ["nsenter", "-t", str(pid), "-n", "ip", "-j", "link", "show", "eth0"],
        capture_output=True,
        text=True,
        check=False,
    )
    if shown.returncode:
        return None
    (link,) = json.loads(shown.stdout)
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection((endpoint["IPAddress"], 80), timeout=30):
            break
        time.sleep(0.005)  # its server has not begun to listen yet
    (veth,) = [
        device.name
        for device in Path("/sys/class/net").iterdir()
        if device.name.startswith("veth") and _read(device / "ifindex") == str(link["link_index"])
    ]
    mount_id = Path(f"{_DOCKER}/image/overlay2/layerdb/mounts/{id_}/mount-id").read_text()
    return {
        "kind": "real",
        "id": id_,
        "pid": pid,
        **_namespaces(pid),
        "key": told["NetworkSettings"]["SandboxKey"].rpartition("/")[2],
        "ip": endpoint["IPAddress"],
        "mac": endpoint["MacAddress"],
        "host_link": veth,
        "host_ifindex": link["link_index"],
        "interface_ifindex": link["ifindex"],
        "bridge": f"br-{endpoint['NetworkID'][:12]}",
        "upper": f"{_DOCKER}/overlay2/{mount_id}/diff",
        "volume": told["Mounts"][0]["Name"],
        "host_port": int(told["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]),
    }


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def _synthetic(shorts: Shorts, log: Log, rate: int, stop: threading.Event) -> None:
    """What the real ones do not reach."""
    begun = time.monotonic()
    while not stop.is_set():
        if (time.monotonic() - begun) * rate < log.count:
            stop.wait(_AT_ONCE / rate)
            continue
        shorts.end(_AT_ONCE)
        shorts.begin()


def main(rate: int, path: str) -> None:
    os.environ["SYNTHETIC_LISTENS"] = "1"
    os.nice(-20)  # the reports, and whatever else the machine has to do, are not to slow it down
    synthetic.compile_tool()
    log = Log(path)
    template = synthetic.read_templates()[0]
    hands = [Shorts(template, log, hand) for hand in range(_HANDS)]
    for shorts in hands:
        for _ in range(_ALIVE // _AT_ONCE):
            shorts.begin()
    stop = threading.Event()
    threads = [threading.Thread(target=_synthetic, args=(shorts, log, rate, stop)) for shorts in hands]
    threads.append(threading.Thread(target=_real, args=(log, stop)))
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    for shorts in hands:
        shorts.end(len(shorts.alive))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
