"""A host with 1,000 network namespaces: `python -m tests.bench.bench_network [NAMESPACES [RUNS]]`. Needs root, 30 s.

Links and addresses of every namespace: by a C program that makes the same system calls and parses nothing (`floor.c`,
compiled for it), by our readers, by pyroute2 (a few namespaces, scaled to all) and by `ip -all netns exec ip -j addr`
(which shows both); then all that the collector reads: routes, listening sockets, names of
namespaces and the host's own thousand links too. Prints milliseconds, and ratios of the medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.netns_host import NetnsHost, facts

PYROUTE2_NAMESPACES = 30
NAMES = Path("/run/netns")
FLOOR = "/run/floor"  # the host's own /run


def build(host: NetnsHost, count: int) -> None:
    numbers = range(count)
    host.ip([f"netns add n{number}" for number in numbers])
    host.ip(["link add br0 type bridge", "link set br0 up"])
    host.ip([f"link add v{number} master br0 up type veth peer name eth0 netns n{number}" for number in numbers])
    for number in numbers:
        address = f"10.0.{number // 256}.{number % 256}/16"
        host.ip(["link set lo up", "link set eth0 up", f"addr add {address} dev eth0"], f"n{number}")


def floor() -> float:
    done = subprocess.run((FLOOR, *map(str, NAMES.iterdir())), stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout)


def ours() -> float:
    from hostinspect.kernel.netlink import NETLINK_ROUTE, NetlinkSocket
    from hostinspect.kernel.netns import Found, Visitor
    from hostinspect.kernel.rtnetlink import addresses, links

    namespaces = [Found(path.stat().st_ino, ways=[str(path)]) for path in NAMES.iterdir()]
    start = time.perf_counter()
    with Visitor() as visitor:
        for namespace in namespaces:
            fd = visitor.open(namespace)
            visitor.enter(fd, namespace.inode)
            with NetlinkSocket(NETLINK_ROUTE) as route:
                links(route, namespace.inode)
                addresses(route, namespace.inode)
            os.close(fd)
    return time.perf_counter() - start


def pyroute2() -> float:
    """Without the 100 ms that importing it takes."""
    import pyroute2

    names = [path.name for path in NAMES.iterdir()]
    some = names[:PYROUTE2_NAMESPACES]
    start = time.perf_counter()
    for name in some:
        with pyroute2.NetNS(name) as route:
            list(route.get_links())
            list(route.get_addr())
    return (time.perf_counter() - start) * len(names) / len(some)


def ip() -> float:
    start = time.perf_counter()
    subprocess.run(("ip", "-all", "netns", "exec", "ip", "-j", "addr"), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def collector() -> float:
    return facts().seconds


WAYS = {
    "links and addresses, the floor in C": floor,
    "links and addresses, hostinspect": ours,
    "links and addresses, pyroute2 (scaled)": pyroute2,
    "links and addresses, ip -all netns exec": ip,
    "everything, hostinspect's collector": collector,
}


def main(count: int, runs: int) -> None:
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with NetnsHost() as host:
        build(host, count)
        host.run("gcc", "-O2", "-o", FLOOR, str(Path(__file__).with_name("floor.c")))
        for _ in range(runs):  # taking turns, so that a busy moment hits all
            for number, way in enumerate(WAYS):
                inside = host.run(
                    sys.executable, "-W", "ignore", "-m", "tests.bench.bench_network", "inside", str(number)
                )
                seconds[way].append(float(inside))
    base = statistics.median(seconds["links and addresses, the floor in C"])
    print(f"{count} namespaces, {runs} runs: median (fastest to slowest), for one namespace, times the first")
    for way, measured in seconds.items():
        median = statistics.median(measured)
        spread = f"{min(measured) * 1e3:.0f} to {max(measured) * 1e3:.0f}"
        print(f"{way:42} {median * 1e3:8.0f} ms ({spread}) {median / count * 1e6:8.0f} µs {median / base:6.1f}x")


if __name__ == "__main__":
    if sys.argv[1:2] == ["inside"]:
        print(list(WAYS.values())[int(sys.argv[2])]())
    else:
        numbers = [int(word) for word in sys.argv[1:]]
        main(*numbers, *(1000, 5)[len(numbers) :])
