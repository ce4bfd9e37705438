# ruff: noqa: E501 - shell commands are kept on one line
"""Random Docker hosts: 20 containers and what belongs to them, all from one seed.

`plan(seed, version)` is pure: the same seed gives the same commands. `Plan.script()` is what a person pastes into a shell
to have the host that a test failed on; `apply` runs it, the containers of one wave at a time side by side, and `remove`
leaves the engine as it was.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from textwrap import indent

from tests.live.observed import Host

BASE_IMAGE = "random/plain:1"  # busybox
IMAGE = "random/declares:1"  # a layer more, with ports, a volume and a label of its own
CONTAINERS = 20

# What a plan finds on the host's disk. /srv/shared is a mount whose events propagate; `link` leads to another directory.
_FILES = f"""
mkdir -p /srv/r/plain/inner '/srv/r/with space' /srv/r/shared /srv/r/deep/a/b
echo x > /srv/r/file; echo y > '/srv/r/with space/f'
ln -sfn /srv/r/plain /srv/r/link
mountpoint -q /srv/r/shared || {{ mount -t tmpfs shared /srv/r/shared; mount --make-rshared /srv/r/shared; }}
mkdir -p /srv/r/shared/sub
for parent in rp0 rp1; do
    ip link show $parent >/dev/null 2>&1 || {{ ip link add $parent type bridge; ip link set $parent up; }}
done
docker image inspect {IMAGE} >/dev/null 2>&1 || {{
    files=$(mktemp -d)
    mkdir "$files/bin" "$files/etc" "$files/tmp"
    cp "$(command -v busybox)" "$files/bin/busybox"
    for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$files/bin/$applet"; done
    tar -C "$files" -c . | docker import - {BASE_IMAGE}
    rm -r "$files"
    docker run --name builder {BASE_IMAGE} sh -c 'mkdir -p /run /var /declared && ln -sfn /run /var/run && echo l > /layer'
    docker commit --change 'EXPOSE 80/tcp 53/udp' --change 'VOLUME /declared' --change 'LABEL of="the image"' builder {IMAGE}
    docker rm --force builder
}} >/dev/null
"""

Argv = list[str]


@dataclass
class Plan:
    """The commands that make a random host, in waves: those of one wave do not depend on each other."""

    seed: int
    waves: list[tuple[str, list[Argv]]] = field(default_factory=list)

    def script(self) -> str:
        """A shell script of the whole."""
        lines = [f"# seed {self.seed}", _FILES.strip()]
        for title, commands in self.waves:
            lines += [f"# {title}", *map(shlex.join, commands)]
        return "\n".join(lines) + "\n"


class PlanError(Exception):
    """The engine refused what the generator thought of: a defect of the generator, or a limit of the engine."""


def apply(host: Host, plan: Plan) -> None:
    """Run all commands; raises `PlanError` with the first that fails."""
    host.run(["sh", "-e", "-c", _FILES])
    for _, commands in plan.waves:
        # No more than 8 at a time, of each the command and its words where it fails.
        jobs = []
        for i, argv in enumerate(commands, 1):
            command = shlex.join(argv)
            jobs.append(f"{{ out=$({command} 2>&1) || printf 'FAILED %s\\n%s\\n' {shlex.quote(command)} \"$out\"; }} &")
            if i % 8 == 0:
                jobs.append("wait")
        output = host.run(["sh", "-c", "\n".join([*jobs, "wait"])]).stdout
        if "FAILED" in output:
            raise PlanError(f"seed {plan.seed}:\n{indent(output, '  ')}\n{plan.script()}")


def plan(seed: int, version: tuple[int, ...]) -> Plan:
    """The commands for a seed, with nothing that an engine of `version` does not know."""
    return _Generator(seed, version).plan()


@dataclass
class _Network:
    name: str
    driver: str
    ipv4: ipaddress.IPv4Network | None  # None: the engine chooses
    ipv6: ipaddress.IPv6Network | None
    used: set[int] = field(default_factory=set)


@dataclass
class _Container:
    name: str
    fate: str
    network: str  # "bridge", "none", "host", "container:NAME", or a network's name
    argv: Argv = field(default_factory=list)
    depends: bool = False  # on another container


# What becomes of a container, and how often.
_FATES = {
    "running": 11,
    "paused": 2,
    "exited": 2,
    "created": 2,
    "killed": 1,
    "restarted": 1,
    "flapping": 1,
    "broken": 1,
}
_LABELS = ("", "x", "a b", 'q"uote', "ünïcode ☂", "a=b,c", "{json: [1]}", "back\\slash")


class _Generator:
    def __init__(self, seed: int, version: tuple[int, ...]) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.version = version
        self.next_port = 20000 + 100 * (seed % 100)
        self.networks: list[_Network] = []
        self.containers: list[_Container] = []
        self.volumes: list[str] = []

    def plan(self) -> Plan:
        networks = list(self._networks())
        volumes = list(self._volumes())
        fates = self.random.choices([*_FATES], [*_FATES.values()], k=CONTAINERS)
        for i, fate in enumerate(fates):
            self._container(i, fate)
        first = [c.argv for c in self.containers if not c.depends]
        second = [c.argv for c in self.containers if c.depends]
        return Plan(
            self.seed,
            [
                ("networks", networks),
                ("volumes", volumes),
                ("a directory in one of them", [*self._subpath()]),
                ("containers", first),
                ("containers that lean on others", second),
                ("further networks", [*self._connections()]),
                ("what becomes of them", [*self._fates()]),
            ],
        )

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # --- networks

    def _networks(self) -> Iterator[Argv]:
        for i in range(self.random.randint(4, 6)):
            name = self.random.choice((f"net{i}", f"Net_{i}.x", f"n-{i}"))
            network = _Network(name, "bridge", None, None)
            argv = ["docker", "network", "create"]
            if self._chance(0.8):
                argv += self._subnet(i, network)
            if self._chance(0.45):
                network.ipv6 = ipaddress.IPv6Network(f"fd00:{self.seed % 0xFFFF:x}:{i:x}::/64")
                argv += ["--ipv6", "--subnet", str(network.ipv6)]
                if self._chance(0.4):
                    argv += ["--gateway", str(network.ipv6[0xFE])]
            if self._chance(0.2):
                argv += ["--internal"]
            if self._chance(0.2):
                argv += ["--attachable"]
            for option, probability in (
                (f"com.docker.network.bridge.name=rb{i}.{self.seed % 1000}", 0.3),
                ("com.docker.network.bridge.enable_icc=false", 0.2),
                ("com.docker.network.bridge.enable_ip_masquerade=false", 0.2),
                ("com.docker.network.bridge.host_binding_ipv4=127.0.0.1", 0.15),
                ("com.docker.network.driver.mtu=1400", 0.2),
                *((("com.docker.network.bridge.gateway_mode_ipv4=routed", 0.1),) if self.version >= (27,) else ()),
                *((("com.docker.network.container_iface_prefix=net", 0.1),) if self.version >= (23,) else ()),
            ):
                if self._chance(probability):
                    argv += ["--opt", option]
            yield [*argv, *self._labels(0.3), name]
            self.networks.append(network)
        for i in range(self.random.randint(0, 2)):
            pool = ipaddress.IPv4Network(f"10.{200 + i}.{self.seed % 250}.0/24")
            mode = self.random.choice(("bridge", "private", "vepa"))
            name = f"mac{i}"
            self.networks.append(_Network(name, "macvlan", pool, None))
            options = ["--opt", f"parent=rp{i}", *self._one_of([], ["--opt", f"macvlan_mode={mode}"])]
            yield ["docker", "network", "create", "--driver", "macvlan", "--subnet", str(pool), *options, name]
        if self._chance(0.3):
            yield ["docker", "network", "create", "--config-only", "--label", "template=yes", "template"]

    def _subnet(self, i: int, network: _Network) -> Argv:
        network.ipv4 = pool = ipaddress.IPv4Network(
            f"10.{50 + i}.{self.seed % 250}.0/{self.random.choice((24, 25, 26))}"
        )
        argv = ["--subnet", str(pool)]
        if self._chance(0.4):
            argv += ["--gateway", str(self.random.choice((pool[1], pool[-2], pool[5])))]
        if self._chance(0.3):
            argv += ["--ip-range", str(list(pool.subnets(1))[self.random.randint(0, 1)])]
        return argv

    def _one_of(self, *choices: Argv) -> Argv:
        return self.random.choice(choices)

    def _labels(self, probability: float) -> Argv:
        argv: Argv = []
        while self._chance(probability) and len(argv) < 8:
            argv += ["--label", f"l{len(argv) // 2}={self.random.choice(_LABELS)}"]
        return argv

    def _place(self, network: _Network) -> Argv:
        """Options of `docker run` and `network connect` for an address of one's own and further names."""
        argv: Argv = []
        offset = self.random.choice([n for n in range(20, 60) if n not in network.used])
        if network.ipv4 and self._chance(0.35):
            argv += ["--ip", str(network.ipv4[offset])]
            network.used.add(offset)
        if network.ipv6 and self._chance(0.35):
            argv += ["--ip6", str(network.ipv6[0x100 + offset])]
            network.used.add(offset)
        return argv

    # --- volumes

    def _volumes(self) -> Iterator[Argv]:
        options: tuple[Argv, ...] = (
            [],
            [],
            ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m"],
            ["--opt", "type=none", "--opt", "o=bind", "--opt", "device=/srv/r/deep"],
        )
        for i in range(self.random.randint(3, 6)):
            name = self.random.choice((f"vol{i}", f"Vol_{i}.x", f"v-{i}"))
            self.volumes.append(name)
            yield ["docker", "volume", "create", *self._one_of(*options), *self._labels(0.4), name]
        if self.version >= (26,):
            yield ["docker", "volume", "create", "withsub"]

    def _subpath(self) -> Iterator[Argv]:
        if self.version >= (26,):
            mkdir = ["mkdir", "-p", "/v/dir/sub"]
            yield ["docker", "run", "--rm", "--pull", "never", "--volume", "withsub:/v", BASE_IMAGE, *mkdir]

    # --- containers

    def _container(self, i: int, fate: str) -> None:
        name = self.random.choice((f"c{i}", f"c{i}-x.y_z", f"C{i}", f"c_{i}"))
        running = [c for c in self.containers if c.fate in ("running", "paused") and not c.depends]
        network = self._network_of(running)
        container = _Container(name, fate, network, depends=network.startswith("container:"))
        verb = ["create"] if fate in ("created", "broken") else ["run", "--detach"]
        verb += ["--pull", "never"]
        argv = ["docker", *verb, "--name", name]
        named = next((n for n in self.networks if n.name == network), None)
        if network != "bridge" or self._chance(0.2):
            argv += ["--network", network]
        if named:
            argv += self._place(named)
            argv += self._one_of([], [], ["--network-alias", f"alias{i}", "--network-alias", "all"])
        if not container.depends:
            if network != "host":
                argv += self._one_of([], [], ["--hostname", f"host{i}"], ["--hostname", f"h{i}", "--domainname", "lan"])
            if named or network == "bridge":
                if self.version >= (25,) and self._chance(0.1):
                    argv += ["--mac-address", f"02:42:ac:ff:{self.seed % 250:02x}:{i:02x}"]
                argv += self._ports(fate, named)
        argv += self._mounts(i, container)
        argv += self._odds(i, fate)
        argv += self._labels(0.3)
        container.argv = [*argv, IMAGE if self._chance(0.6) else BASE_IMAGE, *self._command(container, i)]
        self.containers.append(container)

    def _network_of(self, running: Sequence[_Container]) -> str:
        shared = [c.name for c in running if c.network not in ("none",)]
        kind = self.random.choices(("named", "bridge", "none", "host", "container"), (55, 18, 6, 8, 13))[0]
        if kind == "container" and shared:
            return f"container:{self.random.choice(shared)}"
        if kind == "named":
            return self.random.choice(self.networks).name
        return kind if kind != "container" else "bridge"

    def _command(self, container: _Container, i: int) -> Argv:
        if container.fate == "exited":
            return ["sh", "-c", f"exit {self.random.choice((0, 1, 3, 42))}"]
        if container.fate == "flapping":
            return ["false"]
        if container.fate == "broken":
            return ["/no/such/program"]
        if container.network == "host" or container.network.startswith("container:"):
            return self._one_of(["sleep", "9999"], ["httpd", "-f", "-p", str(8100 + i)])  # a port that nobody has yet
        return self._one_of(
            ["sleep", "9999"],
            ["httpd", "-f", "-p", "80"],
            ["httpd", "-f", "-p", "127.0.0.1:80"],
            ["sh", "-c", "nc -u -l -p 53 >/dev/null & exec httpd -f -p 0.0.0.0:80"],
            ["sh", "-c", "httpd -p 8000; httpd -p 8001; exec sleep 9999"],
        )

    def _odds(self, i: int, fate: str) -> Argv:
        argv: Argv = []
        for options, probability in (
            (["--read-only"], 0.15),
            (["--init"], 0.0 if fate == "broken" else 0.1),  # an init starts, whatever it is to run
            (["--security-opt", "no-new-privileges"], 0.08),
            (["--cgroup-parent", f"/random{i}"], 0.08),
            (["--cgroupns", "private"], 0.1),
            (["--pid", "host"], 0.06),
            (["--ipc", "shareable"], 0.06),
            (["--memory", "64m"], 0.1),
            (["--user", "1000:1000"], 0.05),
            (["--env", "SECRET=hunter2"], 0.2),
        ):
            if self._chance(probability):
                argv += options
        return argv

    def _port(self, count: int = 1) -> int:
        self.next_port += count
        return self.next_port - count

    def _ports(self, fate: str, network: _Network | None) -> Argv:
        if network and network.driver == "macvlan":
            return []
        argv: Argv = []
        publish = "--publish"
        if self._chance(0.15):
            argv += ["--publish-all", "--expose", "9000-9002"]
        while self._chance(0.5) and len(argv) < 8:
            host = self._port(4)
            asked = self._one_of(
                [publish, f"{host}:80"],
                [publish, "80"],
                [publish, f"127.0.0.1:{host}:80"],
                [publish, f"192.0.2.10:{host}:8000/tcp"],
                [publish, f"{host}-{host + 2}:8000-8002"],
                [publish, f"{host}-{host + 3}:80"],
                [publish, f"{host}:53/udp", publish, f"{host}:53/tcp"],
                [publish, f"0.0.0.0:{host}:8001"],
                [publish, f"[::1]:{host}:80"],
                [publish, f"[::]:{host}:8001"],
                [publish, "127.0.0.1::8001/udp"],
                ["--expose", "7000/udp"],
            )
            # Asked twice for a port of its choice, Docker 28 now and then chooses one that it has just taken.
            if asked[1] not in argv:
                argv += asked
        return argv

    def _mounts(self, i: int, container: _Container) -> Argv:
        argv: Argv = []
        taken: set[str] = set()
        volume = self.random.choice(self.volumes)
        choices: list[tuple[str, Argv]] = [
            ("/data", ["--volume", f"{volume}:/data"]),
            ("/data", ["--volume", f"{volume}:/data:ro"]),
            ("/data", ["--volume", f"{volume}:/data:nocopy"]),
            ("/data", ["--mount", f"type=volume,source={volume},target=/data,readonly"]),
            ("/b", ["--volume", "/srv/r/plain:/b"]),
            ("/b", ["--volume", "/srv/r/plain:/b", "--volume", f"{volume}:/b/inner"]),
            ("/b", ["--volume", "/srv/r/link:/b:ro"]),
            ("/sp", ["--mount", "type=bind,source=/srv/r/with space,target=/dst with space"]),
            ("/f", ["--volume", "/srv/r/file:/etc/file:ro"]),
            ("/f", ["--mount", "type=bind,source=/srv/r/file,target=/etc/file"]),
            ("/sh", ["--volume", "/srv/r/shared:/sh:rshared"]),
            ("/sh", ["--volume", "/srv/r/shared:/sh:rslave"]),
            ("/sh", ["--mount", "type=bind,source=/srv/r/shared/sub,target=/sh,bind-propagation=slave,readonly"]),
            ("/sh", ["--mount", "type=bind,source=/srv/r/shared,target=/sh,bind-propagation=private"]),
            ("/t", ["--tmpfs", "/t"]),
            ("/t", ["--tmpfs", "/t:rw,size=1m,mode=1777"]),
            ("/t", ["--tmpfs", "/t:ro,noexec"]),
            ("/m", ["--mount", "type=tmpfs,target=/m,tmpfs-size=1m"]),
            ("/a", ["--volume", "/anonymous"]),
            ("/a", ["--mount", "type=volume,target=/anonymous/deep/er"]),
            ("/a", ["--mount", "type=volume,target=/anonymous,volume-label=made=here"]),
            ("/o", ["--mount", f"type=volume,source=opt{i},target=/o,volume-opt=type=tmpfs,volume-opt=device=tmpfs"]),
            ("/r", ["--volume", f"{volume}:/var/run/vol"]),  # a link in the image: it is mounted at /run/vol
            ("/r", ["--volume", "/srv/r/file:/var/run/docker.sock"]),
            ("/x", ["--volume", "/srv/r/deep:/x//y/../z/"]),
            ("/n", ["--volume", f"/srv/r/new{i}:/n"]),  # the engine makes the directory
        ]
        if self.version >= (26,):
            choices.append(("/w", ["--mount", "type=volume,source=withsub,target=/w,volume-subpath=dir/sub"]))
        while self._chance(0.55) and len(argv) < 12:
            place, options = self.random.choice(choices)
            if place not in taken:
                taken.add(place)
                argv += options
        # Docker looks for a volume behind each tmpfs of the other container, and says that the image is missing.
        givers = [c.name for c in self.containers if not c.depends and not any("type=tmpfs" in w for w in c.argv)]
        if givers and self._chance(0.08):
            container.depends = True
            argv += ["--volumes-from", self.random.choice(givers) + self.random.choice(("", ":ro"))]
        if container.fate == "flapping":
            argv += ["--restart", "always"]
        elif self._chance(0.2) and container.fate not in ("exited", "broken", "killed"):
            argv += ["--restart", self.random.choice(("unless-stopped", "on-failure:3"))]
        return argv

    # --- afterwards

    def _connections(self) -> Iterator[Argv]:
        for container in self.containers:
            if container.network in ("none", "host") or container.network.startswith("container:"):
                continue
            if container.fate not in ("running", "paused", "created", "restarted"):
                continue
            others = [n for n in self.networks if n.name != container.network]
            for network in self.random.sample(others, self.random.choice((0, 0, 0, 1, 1, 2))):
                aliases = self._one_of([], [], ["--alias", "further", "--alias", container.name.lower() + "x"])
                yield ["docker", "network", "connect", *self._place(network), *aliases, network.name, container.name]

    def _fates(self) -> Iterator[Argv]:
        for i, container in enumerate(self.containers):
            match container.fate:
                case "paused":
                    yield ["docker", "pause", container.name]
                case "killed":
                    yield ["docker", "kill", container.name]
                case "restarted":
                    yield ["docker", "restart", "--time", "0", container.name]
                case "broken":
                    yield ["sh", "-c", f"! docker start {container.name}"]
                case "running" if self._chance(0.15):
                    yield ["docker", "exec", "--detach", container.name, "httpd", "-f", "-p", str(8200 + i)]
                case "running" if self._chance(0.1):
                    yield ["docker", "rename", container.name, f"re.named-{container.name}"]


def stop_what_restarts(host: Host) -> None:
    """Of containers that end and are started again and again, docker's answers of two moments do not fit together."""
    script = """
        docker ps --all --quiet | xargs -r docker inspect --format '{{.RestartCount}} {{.Id}}' |
            awk '$1 > 0 { print $2 }' | xargs -r docker stop --time 0
    """
    host.run(["sh", "-c", script])
