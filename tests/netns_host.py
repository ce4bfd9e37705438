"""A host of its own for tests of the network, in namespaces of its own and without an engine; needs root.

`python -m tests.netns_host facts`, run inside it, prints what hostinspect reads; `pyroute2` what pyroute2 does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from hostinspect.facts import Address, Gap, Link, NetworkNamespace, Route, SocketHolder

REPOSITORY = Path(__file__).parent.parent

START = """set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
ip link set lo up
echo ready
exec sleep infinity
"""


class NetnsHost:
    """Processes, mounts and links of its own, and /run empty. A context manager; nothing of it stays."""

    def __init__(self) -> None:
        self._background: list[subprocess.Popen[str]] = []

    def __enter__(self) -> NetnsHost:
        namespaces = ("--pid", "--mount", "--net", "--uts")
        self._process = subprocess.Popen(
            ("unshare", "--fork", "--kill-child", *namespaces, "sh", "-c", START), stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self._process.wait()
            raise RuntimeError("no namespaces could be made for the test: it needs root")
        pid = self._process.pid
        self.pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()  # its child goes with it, and all processes of that one's pid namespace
        for process in (self._process, *self._background):
            process.communicate()

    def command(self, *words: str) -> tuple[str, ...]:
        """The command that runs `words` inside."""
        return ("nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--uts", "--", *words)

    def run(self, *words: str, stdin: str | None = None) -> str:
        """Run it inside, and return what it prints. Raises CalledProcessError."""
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(
            self.command(*words), input=stdin, stdout=subprocess.PIPE, text=True, check=True, env=environment
        ).stdout

    def background(self, *words: str) -> None:
        """Start it inside, and wait for its first line; it ends with the host."""
        process = subprocess.Popen(self.command(*words), stdout=subprocess.PIPE, text=True)
        self._background.append(process)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"{words} ended at once")

    def ip(self, batch: Sequence[str], netns: str | None = None) -> None:
        """Run commands of ip(8), in the named namespace."""
        self.run("ip", *(("-n", netns) if netns else ()), "-batch", "-", stdin="\n".join(batch) + "\n")

    def facts(self) -> Seen:
        """What hostinspect reads inside."""
        return msgspec.json.decode(self.run(sys.executable, "-m", "tests.netns_host", "facts"), type=Seen)


class Seen(msgspec.Struct, kw_only=True):
    """`NetworkFacts`, socket holders and gaps of a run inside."""

    network_namespaces: tuple[NetworkNamespace, ...]
    facts: dict[str, Any]
    holders: tuple[SocketHolder, ...]
    gaps: tuple[Gap, ...]
    here: int  # the namespace that the run began and ended in
    seconds: float


def facts() -> Seen:
    from hostinspect.collectors.gaps import GapLog
    from hostinspect.collectors.mounts import collect_host_mounts, collect_mounts
    from hostinspect.collectors.network import collect_network
    from hostinspect.collectors.processes import collect_processes
    from hostinspect.collectors.sockets import OpenSockets

    gaps = GapLog()
    processes = collect_processes(gaps)
    mounts = collect_mounts(processes, collect_host_mounts(gaps), gaps)
    start = time.perf_counter()
    network = collect_network(processes, mounts, gaps)
    seconds = time.perf_counter() - start
    return Seen(
        network_namespaces=network.network_namespaces,
        facts={
            name: getattr(network, name)
            for name in ("nsids", "links", "addresses", "routes", "listening_sockets", "sysctls")
        },
        holders=OpenSockets(processes, gaps).holders_of(network.listening_sockets),
        gaps=gaps.as_tuple(),
        here=Path("/proc/thread-self/ns/net").stat().st_ino,
        seconds=seconds,
    )


# --- the plain way ----------------------------------------------------------------------------------------------


def by_pyroute2() -> dict[str, list[Link] | list[Address] | list[Route]]:
    """The host's and all named namespaces' links, addresses and routes as pyroute2 reads them."""
    import pyroute2

    found: dict[str, list[Any]] = {"links": [], "addresses": [], "routes": []}
    host = Path("/proc/1/ns/net").stat().st_ino
    names = {path.stat().st_ino: path.name for path in Path("/run/netns").iterdir()}
    for inode, name in {host: None, **names}.items():
        with pyroute2.NetNS(name) if name else pyroute2.IPRoute() as route:
            found["links"] += [pyroute2_link(link, inode) for link in route.get_links()]
            found["addresses"] += [pyroute2_address(address, inode) for address in route.get_addr()]
            for message in (*route.get_routes(family=2), *route.get_routes(family=10)):
                found["routes"] += pyroute2_routes(message, inode)
    return found


FLAGS = (
    *("UP", "BROADCAST", "DEBUG", "LOOPBACK", "POINTOPOINT", "NOTRAILERS", "RUNNING", "NOARP", "PROMISC", "ALLMULTI"),
    *("MASTER", "SLAVE", "MULTICAST", "PORTSEL", "AUTOMEDIA", "DYNAMIC", "LOWER_UP", "DORMANT", "ECHO"),
)
PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")


def pyroute2_link(link: Any, netns: int) -> Link:
    info = link.get_attr("IFLA_LINKINFO")
    config = info and info.get_attr("IFLA_INFO_DATA")
    slave = info and info.get_attr("IFLA_INFO_SLAVE_DATA")

    def of(config: Any, name: str) -> Any:
        return config.get_attr(name) if hasattr(config, "get_attr") else None

    bridge_id = of(config, "IFLA_BR_BRIDGE_ID")
    stp = of(config, "IFLA_BR_STP_STATE")
    state = of(slave, "IFLA_BRPORT_STATE")
    hairpin = of(slave, "IFLA_BRPORT_MODE")
    properties = link.get_attr("IFLA_PROP_LIST")
    ipv4 = link.get_nested("IFLA_AF_SPEC", "AF_INET")
    return Link(
        netns=netns,
        ifindex=link["index"],
        ifname=link.get_attr("IFLA_IFNAME"),
        kind=info and info.get_attr("IFLA_INFO_KIND"),
        slave_kind=info and info.get_attr("IFLA_INFO_SLAVE_KIND"),
        link_type={1: "ether", 772: "loopback"}[link["ifi_type"]],
        mac=link.get_attr("IFLA_ADDRESS"),
        mtu=link.get_attr("IFLA_MTU"),
        operstate=link.get_attr("IFLA_OPERSTATE").lower(),
        flags=tuple(name for bit, name in enumerate(FLAGS) if link["flags"] & 1 << bit),
        alias=link.get_attr("IFLA_IFALIAS"),
        altnames=tuple(properties.get_attrs("IFLA_ALT_IFNAME")) if properties else (),
        master=link.get_attr("IFLA_MASTER"),
        link=link.get_attr("IFLA_LINK") or None,
        link_netnsid=link.get_attr("IFLA_LINK_NETNSID"),
        port_state=PORT_STATES[state] if state is not None else None,
        hairpin=bool(hairpin) if hairpin is not None else None,
        bridge_id=bridge_id and f"{swapped(bridge_id['prio'])}.{bridge_id['addr'].replace(':', '')}",
        stp=bool(stp) if stp is not None else None,
        mode=of(config, "IFLA_MACVLAN_MODE"),
        vxlan_id=of(config, "IFLA_VXLAN_ID"),
        forwarding=bool(ipv4["forwarding"]),
        rp_filter=ipv4["rp_filter"],
        route_localnet=bool(ipv4["route_localnet"]),
    )


def swapped(priority: int) -> str:
    """pyroute2 takes the two bytes for a number of the machine's; to brctl(8) and ip(8) they are big-endian."""
    return priority.to_bytes(2, sys.byteorder).hex()


def pyroute2_address(address: Any, netns: int) -> Address:
    return Address(
        netns=netns,
        ifindex=address["index"],
        family="ipv4" if address["family"] == 2 else "ipv6",
        address=address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS"),
        prefix_len=address["prefixlen"],
        scope={0: "global", 253: "link", 254: "host"}[address["scope"]],
    )


def pyroute2_routes(route: Any, netns: int) -> Iterator[Route]:
    kind = {1: "unicast", 6: "blackhole", 7: "unreachable", 8: "prohibit"}.get(route["type"])
    if kind is None or route.get_attr("RTA_TABLE") == 255:
        return
    hops = route.get_attr("RTA_MULTIPATH") or [route]
    for hop in hops:
        via = hop.get_attr("RTA_VIA")
        dst = route.get_attr("RTA_DST")
        yield Route(
            netns=netns,
            family="ipv4" if route["family"] == 2 else "ipv6",
            dst=f"{dst}/{route['dst_len']}" if dst else None,
            gateway=hop.get_attr("RTA_GATEWAY") or (via and via["addr"]),
            ifindex=hop["oif"] if hop is not route else hop.get_attr("RTA_OIF"),
            prefsrc=route.get_attr("RTA_PREFSRC"),
            table=route.get_attr("RTA_TABLE"),
            metric=route.get_attr("RTA_PRIORITY") or 0,
            type=kind,
        )


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode({"facts": facts, "pyroute2": by_pyroute2}[sys.argv[1]]()))
