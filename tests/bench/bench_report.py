"""hostinspect beside docker, whole processes: `python -m tests.bench report [CONTAINERS…]`, of 10, 160 and 300.

Real containers on a throwaway host, each on docker0 or a network of its own, half of them with a published port, three
quarters with a volume. All sides take turns; the last column is each one's ratio to `docker inspect` of all containers.
At the end, what a straight line through the two largest hosts says of 1,000.
"""

from __future__ import annotations

import sys

from tests.bench.sides import HOSTINSPECT, Side, show, take_turns, wait_until_idle
from tests.lab.host import LabHost, LabSpec

RUNS = 10

# Four at a time, as many as a small machine takes.
_MAKE = r"""
docker network create net1 >/dev/null
docker network create net2 >/dev/null
seq "$1" | xargs -P 4 -I{} sh -ec '
    network=bridge publish= volume=
    [ $(({} % 3)) = 0 ] || network=net$(({} % 3))
    [ $(({} % 2)) = 0 ] || publish="--publish $((20000 + {})):80"
    [ $(({} % 4)) = 0 ] || volume="--volume vol{}:/data"
    docker run --detach --name c{} --network $network $publish $volume bench /busybox sleep 1000000 >/dev/null'
"""

_COMPLETE = "_HOSTINSPECT_COMPLETE=bash_complete COMP_WORDS='hostinspect re' COMP_CWORD=1"
_NO_FORK = (
    "import gc; gc.disable(); from hostinspect import collectors; collectors.has_processor_to_spare = lambda: False;"
    ' from hostinspect.cli.app import run; run(["-o", "json"])'
)

COMMANDS = {
    "docker inspect": "docker inspect $(docker ps -qa)",
    "report -o json": f"{HOSTINSPECT} -o json",
    "the same, no fork": f"{sys.executable} -I -c '{_NO_FORK}'",  # -I: what is installed, not what is here
    "report (tree)": HOSTINSPECT,
    "containers": f"{HOSTINSPECT} containers",
    "container c1": f"{HOSTINSPECT} container c1",
    "ports": f"{HOSTINSPECT} ports",
    "links": f"{HOSTINSPECT} links",
    "nat": f"{HOSTINSPECT} nat",
    "volumes": f"{HOSTINSPECT} volumes",
    "whois veth...": f"{HOSTINSPECT} whois $(basename $(ls -d /sys/class/net/veth* | head -n 1))",
    "doctor": f"{HOSTINSPECT} doctor || true",
    "--help": f"{HOSTINSPECT} --help",
    "--version": f"{HOSTINSPECT} --version",
    "completion": f"{_COMPLETE} {HOSTINSPECT}",
    "python -c pass": f"{sys.executable} -c pass",
}


_BASE = "docker inspect"
_FAR = 1000


def make(host: LabHost, count: int) -> None:
    """So many containers on a host that has none."""
    host.import_busybox("bench")
    host.run(["sh", "-ec", _MAKE, "sh", str(count)], timeout=1200)


def main() -> None:
    measured: list[tuple[int, dict[str, Side]]] = []
    for count in [int(word) for word in sys.argv[1:]] or [10, 160, 300]:
        with LabHost(LabSpec()) as host:
            make(host, count)
            running = len(host.docker("ps", "-q").split())
            print(f"\n{running} running containers, {RUNS} runs each", flush=True)
            wait_until_idle()
            sides = take_turns(host, COMMANDS, RUNS)
            show(sides, _BASE)
            measured.append((running, sides))
    if len(measured) > 1:
        (few, before), (many, after) = measured[-2:]
        far = {
            name: side.seconds + (side.seconds - before[name].seconds) / (many - few) * (_FAR - many)
            for name, side in after.items()
        }
        print(f"\n{_FAR} containers, extrapolated from {few} and {many}")
        for name, seconds in far.items():
            print(f"{name:24} {seconds * 1e3:6.0f} ms {seconds / far[_BASE]:7.2f}")


if __name__ == "__main__":
    main()
