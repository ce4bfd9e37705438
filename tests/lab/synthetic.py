"""A host with thousands of containers, most of them *synthetic*: what an engine and a kernel would show of them is
there, made in seconds, and no engine made it.

A real engine makes the networks, and on each of them a container. Then it is killed, and these containers, which run
on, are what the others are made after: their records, with other ids, names, addresses and ports, on the disk; their
endpoints and sandboxes in local-kv.db; a process in namespaces, cgroups and mounts of its own (`synthetic.c`); a veth
pair; the rules of its port; a shim and two docker-proxies. What a synthetic container has not: embedded DNS's rules in
its namespace, and a program that does anything.

    with LabHost() as host:
        make(host, 1000)

Inside the host, `python -m tests.lab.synthetic COUNT` makes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

from tests.lab.bolt import bolt_file
from tests.lab.host import LabHost

PER_NETWORK = 900  # a bridge has 1,023 ports at most
FIRST_PORT = 10_000
_ROOT = Path("/var/lib/docker")
_TOOL = Path("/run/synthetic")
_BUCKET = b"libnetwork"

_TEMPLATES = r"""
network=0
while [ "$network" -lt "$1" ]; do
    docker network create --subnet "10.$((100 + network)).0.0/16" "syn$network" >/dev/null
    docker run --detach --name "template$network" --network "syn$network" --ip "10.$((100 + network)).0.2" \
        --publish "$((9000 + network)):80" --volume "template$network:/data" synthetic /busybox sleep 1000000 >/dev/null
    network=$((network + 1))
done
"""


def make(host: LabHost, count: int) -> None:
    """`count` synthetic containers on a host that has none yet; its engine is dead afterwards."""
    host.import_busybox("synthetic")
    host.run(["sh", "-ec", _TEMPLATES, "sh", str(networks_for(count))])
    host.kill_dockerd()
    host.run([sys.executable, "-m", "tests.lab.synthetic", str(count)], timeout=600)


def networks_for(count: int) -> int:
    return max(1, -(-count // PER_NETWORK))


class Template(NamedTuple):
    """What a real container left behind on the disk."""

    network: int
    config: str
    hostconfig: str
    id: str
    pid: int
    mount_id: str
    sandbox: str
    endpoint: str
    ip: str
    mac: str
    host_port: int
    bridge: str
    items: tuple[tuple[bytes, bytes], ...]  # its endpoint's and its sandbox's of local-kv.db


class Synthetic(NamedTuple):
    """A container that is to be."""

    number: int
    template: Template

    @property
    def name(self) -> str:
        return f"s{self.number}"

    def hex(self, what: str) -> str:
        """An id of it: 64 hexadecimal digits."""
        return hashlib.sha256(f"{what} {self.number}".encode()).hexdigest()

    @property
    def id(self) -> str:
        return self.hex("container")

    @property
    def ip(self) -> str:
        within = self.number % PER_NETWORK + 3
        return str(IPv4Address(self.template.ip) + within)

    @property
    def mac(self) -> str:
        return "02:42:" + IPv4Address(self.ip).packed.hex(":")

    @property
    def host_port(self) -> int:
        return FIRST_PORT + self.number

    @property
    def veth(self) -> str:
        return f"veth{self.hex('veth')[:7]}"

    def rewritten(self, text: str) -> str:
        """A text of the template's, with all that is this container's own in it."""
        of = self.template
        for old, new in (
            (of.id, self.id),
            (of.id[:12], self.id[:12]),
            (of.sandbox, self.hex("sandbox")),
            (of.sandbox[:12], self.hex("sandbox")[:12]),
            (of.endpoint, self.hex("endpoint")),
            (of.mount_id, self.hex("mount")),
            (f"template{of.network}", self.name),
            (f'"{of.ip}"', f'"{self.ip}"'),
            (f'"{of.ip}/', f'"{self.ip}/'),
            (of.mac, self.mac),
            (f'"{of.host_port}"', f'"{self.host_port}"'),
            (f'"HostPort":{of.host_port},', f'"HostPort":{self.host_port},'),
        ):
            text = text.replace(old, new)
        return text

    @property
    def record(self) -> Path:
        return _ROOT / "containers" / self.id

    @property
    def layer(self) -> Path:
        return _ROOT / "overlay2" / self.hex("mount")

    @property
    def short_names(self) -> tuple[str, str]:
        """Under overlay2/l, of its own layer and of its init layer."""
        return self.hex("link")[:26].upper(), self.hex("init")[:26].upper()


# --- what the engine wrote ------------------------------------------------------------------------------------------


def read_templates() -> list[Template]:
    from hostinspect.engines.boltdb import Bolt

    items = list(Bolt((_ROOT / "network/files/local-kv.db").read_bytes()).items(_BUCKET))
    found = []
    for record in (_ROOT / "containers").iterdir():
        config = (record / "config.v2.json").read_text()
        read: dict[str, Any] = json.loads(config)
        network = int(read["Name"].removeprefix("/template"))
        endpoint = read["NetworkSettings"]["Networks"][f"syn{network}"]
        sandbox = read["NetworkSettings"]["SandboxID"]
        own = (endpoint["EndpointID"].encode(), sandbox.encode())
        found.append(
            Template(
                network=network,
                config=config,
                hostconfig=(record / "hostconfig.json").read_text(),
                id=read["ID"],
                pid=read["State"]["Pid"],
                mount_id=(_ROOT / "image/overlay2/layerdb/mounts" / read["ID"] / "mount-id").read_text(),
                sandbox=sandbox,
                endpoint=endpoint["EndpointID"],
                ip=endpoint["IPAddress"],
                mac=endpoint["MacAddress"],
                host_port=9000 + network,
                bridge=f"br-{endpoint['NetworkID'][:12]}",
                items=tuple((key, value) for key, value in items if any(id_ in key for id_ in own)),
            )
        )
    return sorted(found)


def write_records(every: Sequence[Synthetic], pids: Sequence[int]) -> None:
    for container, pid in zip(every, pids, strict=True):
        of = container.template
        config = container.rewritten(of.config).replace(f'"Pid":{of.pid},', f'"Pid":{pid},')
        for name, content in (
            ("hostconfig.json", container.rewritten(of.hostconfig)),
            ("config.v2.json", config),
        ):
            written = container.record / f".tmp-{name}"  # as the engine does: whole, or not there
            written.write_text(content)
            written.rename(container.record / name)


def write_files(every: Sequence[Synthetic]) -> None:
    """All that must be there before the processes: layers, volumes, and what is mounted into containers."""
    for container in every:
        template = container.template
        old, new = _ROOT / "overlay2" / template.mount_id, container.layer
        own, init = container.short_names
        for directory, name, lower in (
            (new, own, [f"l/{init}", *(old / "lower").read_text().split(":")[1:]]),
            (new.with_name(f"{new.name}-init"), init, (old / "lower").read_text().split(":")[1:]),
        ):
            for part in ("diff", "work", *(("merged",) if directory is new else ())):
                (directory / part).mkdir(parents=True)
            (directory / "link").write_text(name)
            (directory / "lower").write_text(":".join(lower))
            (_ROOT / "overlay2/l" / name).symlink_to(f"../{directory.name}/diff")
        layerdb = _ROOT / "image/overlay2/layerdb/mounts"
        (layerdb / container.id).mkdir()
        for name in ("mount-id", "init-id", "parent"):
            text = (layerdb / template.id / name).read_text()
            (layerdb / container.id / name).write_text(text.replace(template.mount_id, new.name))
        (_ROOT / "volumes" / container.name / "_data").mkdir(parents=True)
        container.record.mkdir()
        for name in ("resolv.conf", "hostname", "hosts"):
            (container.record / name).touch()


def write_networks(every: Sequence[Synthetic]) -> None:
    from hostinspect.engines.boltdb import Bolt

    path = _ROOT / "network/files/local-kv.db"
    items = dict(Bolt(path.read_bytes()).items(_BUCKET))
    for container in every:
        for key, value in container.template.items:
            new = container.rewritten(value[8:].decode()).encode()  # behind 8 bytes of index
            items[container.rewritten(key.decode()).encode()] = value[:8] + new
    path.write_bytes(bolt_file(_BUCKET, items.items()))


# --- what the kernel has --------------------------------------------------------------------------------------------


def spawn(every: Sequence[Synthetic]) -> list[int]:
    """The containers' processes."""
    lines = []
    for container in every:
        lower = [str(_ROOT / "overlay2" / name) for name in (container.layer / "lower").read_text().split(":")]
        directories = [str(container.layer / name) for name in ("diff", "work", "merged")]
        volume = str(_ROOT / "volumes" / container.name / "_data")
        lines.append(" ".join((container.id, ":".join(lower), *directories, volume, str(container.record))))
    done = _tool("spawn", lines)
    return [int(pid) for pid in done.split()]


def join_cgroups(every: Sequence[Synthetic], pids: Sequence[int]) -> None:
    for hierarchy in hierarchies():
        parent = hierarchy / "docker"
        if (clone := parent / "cgroup.clone_children").exists():
            clone.write_text("1")  # else a new cpuset is empty, and takes nobody
        for container, pid in zip(every, pids, strict=True):
            own = parent / container.id
            own.mkdir()
            (own / "cgroup.procs").write_text(str(pid))


def hierarchies() -> list[Path]:
    """Where the template's cgroups are, which is wherever its id is."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    points = [Path(fields[4]) for fields in mounts if fields[fields.index("-") + 1] in ("cgroup", "cgroup2")]
    return [point for point in points if (point / "docker").is_dir()]


def plug_in(every: Sequence[Synthetic], pids: Sequence[int]) -> None:
    """A veth pair, an address and a default route for each."""
    batch = []
    for container, pid in zip(every, pids, strict=True):
        peer = f"peer name eth0 address {container.mac} netns {pid}"
        batch.append(f"link add {container.veth} master {container.template.bridge} up type veth {peer}")
    _run(["ip", "-batch", "-"], batch)
    configure(every, pids)


def configure(every: Sequence[Synthetic], pids: Sequence[int]) -> None:
    """What plugged-in ones have in their namespace: address and route; and the name that pins it."""
    netns = Path("/run/docker/netns")
    _tool(
        "configure",
        [
            f"{pid} {container.ip} 255.255.0.0 {_gateway(container)} {netns / container.hex('sandbox')[:12]}"
            for container, pid in zip(every, pids, strict=True)
        ],
    )


def _gateway(container: Synthetic) -> str:
    return str(IPv4Address(container.template.ip) - 1)


def publish(every: Sequence[Synthetic]) -> None:
    """The rules of their ports, each after its template's, and the proxies."""
    saved = _run(["iptables-save"]).splitlines()
    batch = []
    table = ""
    for line in saved:
        if line.startswith("*"):
            batch.append(line)
            table = line
        elif line == "COMMIT" and table:
            batch.append(line)
        elif line.startswith("-A "):
            for container in every:
                of = container.template
                if f" {of.ip}/32 " in line or f" {of.ip}:80" in line:
                    new = line.replace(f" {of.ip}/32", f" {container.ip}/32").replace(f" {of.ip}:", f" {container.ip}:")
                    batch.append(new.replace(f"--dport {of.host_port} ", f"--dport {container.host_port} "))
    _run(["iptables-restore", "--noflush"], batch)
    for template in {container.template for container in every}:
        _forward(template.ip, template.host_port)  # its own proxies died with the engine
    for container in every:
        _background("containerd-shim-runc-v2", "-namespace", "moby", "-id", container.id)
        _forward(container.ip, container.host_port)


def _forward(ip: str, port: int) -> None:
    """docker-proxies for port 80 at an address."""
    for host in ("0.0.0.0", "::"):
        options = {"proto": "tcp", "host-ip": host, "host-port": str(port), "container-ip": ip, "container-port": "80"}
        _background("docker-proxy", *(word for name, value in options.items() for word in (f"-{name}", value)))


# --- running things -------------------------------------------------------------------------------------------------


def compile_tool() -> None:
    """`synthetic.c`, which is also what the shims and proxies are."""
    _TOOL.mkdir(exist_ok=True)
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["gcc", "-O1", "-static", "-o", _TOOL / "synthetic", source], check=True)
    for name in ("docker-proxy", "containerd-shim-runc-v2"):
        shutil.copy(_TOOL / "synthetic", _TOOL / name)


def _tool(what: str, lines: Sequence[str]) -> str:
    return _run([str(_TOOL / "synthetic"), what], lines)


def _run(words: Sequence[str], lines: Sequence[str] = ()) -> str:
    return subprocess.run(
        words, input="".join(f"{line}\n" for line in lines), stdout=subprocess.PIPE, check=True, text=True
    ).stdout


def _background(*words: str) -> None:
    path = str(_TOOL / words[0])
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    os.posix_spawn(path, [path, *words[1:]], {}, file_actions=nowhere)


def _containers(count: int, templates: Sequence[Template]) -> Iterator[Synthetic]:
    for number in range(count):
        yield Synthetic(number, templates[number // PER_NETWORK])


def main(count: int) -> None:
    compile_tool()
    every = [*_containers(count, read_templates())]
    write_files(every)
    pids = spawn(every)
    join_cgroups(every, pids)
    write_records(every, pids)
    write_networks(every)
    plug_in(every, pids)
    publish(every)


if __name__ == "__main__":
    main(int(sys.argv[1]))
