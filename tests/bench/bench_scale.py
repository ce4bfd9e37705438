"""What one more container costs: `python -m tests.bench scale [CONTAINERS…]`, of 100 to 5,000.

Synthetic hosts (`tests.lab.synthetic`), `report -o json` as a whole process. Prints what each container more than on
the host before takes, memory beyond 60 MB for each, and the least-squares fits of the time, and of the processors'
time, as a + b·n + c·n². With twenty thousand processes a machine may be busy with itself: it says how much. And the
same steps for each container, which nothing can make quadratic, take longer there: so the floor takes turns with the
report, links and addresses of each container's namespace by a program that parses nothing (`floor.c`).
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench.sides import HOSTINSPECT, Side, show, take_turns, wait_until_idle
from tests.lab.host import LabHost, LabSpec
from tests.lab.synthetic import make, networks_for

RUNS = 5
_BASE = 60 * 1024  # KiB
_SOURCE, _PROGRAM = Path(__file__).with_name("floor.c"), "/run/floor"  # the host's own /run
COMMANDS = {
    "report -o json": f"{HOSTINSPECT} -o json",
    "floor": f"{_PROGRAM} /run/docker/netns/*",
    "python -c pass": f"{sys.executable} -c pass",
}


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [100, 300, 1000, 3000, 5000]
    measured: list[tuple[int, Side, Side]] = []  # containers, report, floor
    for count in counts:
        with LabHost(LabSpec()) as host:
            make(host, count)
            host.run(["cc", "-O2", "-o", _PROGRAM, str(_SOURCE)])
            containers = count + networks_for(count)
            busy = wait_until_idle()
            print(f"\n{containers} containers, {RUNS} runs; all else takes {busy:.0%} of the processors", flush=True)
            sides = take_turns(host, COMMANDS, RUNS)
            show(sides, "python -c pass")
            side, floor = sides["report -o json"], sides["floor"]
            of_each = (side.memory - _BASE) / containers
            print(f"a container: {side.seconds / containers * 1e6:.0f} µs, {of_each:.0f} KiB beyond 60 MB")
            if measured:
                fewer, before, lower = measured[-1]
                more = (containers - fewer) / 1e6
                print(f"one more than {fewer}: {(side.seconds - before.seconds) / more:.0f} µs, ", end="")
                print(f"{(side.cpu - before.cpu) / more:.0f} µs of processors, ", end="")
                print(f"{(floor.cpu - lower.cpu) / more:.0f} µs of the floor", flush=True)
            measured.append((containers, side, floor))
    if len(measured) >= 3:
        print()
        _show_fit("time", [(containers, side.seconds) for containers, side, _ in measured])
        _show_fit("processors' time", [(containers, side.cpu) for containers, side, _ in measured])
        _show_fit("the floor's", [(containers, floor.cpu) for containers, _, floor in measured])


def _show_fit(name: str, points: list[tuple[int, float]]) -> None:
    a, b, c = fit(points)
    last, whole = points[-1]
    print(f"{name}: {a * 1e3:.0f} ms + {b * 1e6:.0f} µs·n + {c * 1e9:.2f} ns·n²; ", end="")
    print(f"{c * last**2 / whole:.0%} of that at {last} grow with the square")


def fit(points: list[tuple[int, float]]) -> tuple[float, float, float]:
    """The coefficients of the parabola with the least squares of relative differences."""
    rows = [[1 / y, n / y, n * n / y, 1.0] for n, y in points]
    normal = [[sum(row[i] * row[j] for row in rows) for j in range(4)] for i in range(3)]
    for i in range(3):  # Gauss and Jordan
        pivot = max(range(i, 3), key=lambda k: abs(normal[k][i]))
        normal[i], normal[pivot] = normal[pivot], normal[i]
        normal[i] = [value / normal[i][i] for value in normal[i]]
        for k in range(3):
            if k != i:
                normal[k] = [v - normal[k][i] * w for v, w in zip(normal[k], normal[i], strict=True)]
    return normal[0][3], normal[1][3], normal[2][3]


if __name__ == "__main__":
    main()
