"""The whole program beside the tools it stands beside: `python -m tests.bench report [RUNS]`.

Makes a host with the demo scenario, and on it times whole processes, start-up included, alternating. Prints the median
of RUNS, the spread, and each one's ratio to `docker inspect` of all containers, networks and volumes.
"""

from __future__ import annotations

import statistics
import sys
import time

from tests.lab.host import LabHost, LabSpec

_HOSTINSPECT = f"{sys.executable} -m hostinspect"
COMMANDS = {
    "docker inspect of all": (
        "docker inspect $(docker ps -qa) && docker network inspect $(docker network ls -q)"
        " && docker volume inspect $(docker volume ls -q)"
    ),
    "report -o json": f"{_HOSTINSPECT} -o json",
    "report (tree)": f"{_HOSTINSPECT}",
    "report -o yaml": f"{_HOSTINSPECT} -o yaml",
    "--version": f"{_HOSTINSPECT} --version",
    "--help": f"{_HOSTINSPECT} --help",
    "python -c pass": f"{sys.executable} -c pass",
}


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with LabHost(LabSpec()) as host:
        host.seed()
        for i in range(runs + 1):
            for name, command in COMMANDS.items():
                # Byte code is kept, as for an installed program, whatever the environment says.
                script = f"unset PYTHONDONTWRITEBYTECODE; {{ {command}; }} >/dev/null"
                start = time.perf_counter()
                host.run(["sh", "-c", script])
                if i:  # the first is a warm-up
                    seconds[name].append(time.perf_counter() - start)
        containers = len(host.docker("ps", "-qa").split())
    print(f"{containers} containers, {runs} runs; milliseconds with the way into the host")
    base = statistics.median(seconds["docker inspect of all"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        spread = f"{min(taken) * 1e3:.0f}-{max(taken) * 1e3:.0f}"
        print(f"{name:22} {median * 1e3:6.0f}  ({spread:>9})  {median / base:5.2f}x")


if __name__ == "__main__":
    main()
