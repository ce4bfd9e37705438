"""Whether the engine notices: `docker run` with and without reports beside it: `python -m tests.bench latency [RUNS]`.

On a host with 50 containers, `docker run --rm` of a program that ends at once, alone, with `report -o json` in an
endless loop beside it, and with a loop that only takes the processor, taking turns.
"""

from __future__ import annotations

import statistics
import sys
import time

from tests.bench.bench_report import make
from tests.bench.sides import HOSTINSPECT
from tests.lab.host import LabHost, LabSpec

_BESIDE = {
    "alone": "sleep 1000000",
    "beside a loop of reports": f"unset PYTHONDONTWRITEBYTECODE; while :; do {HOSTINSPECT} -o json >/dev/null; done",
    "beside an empty loop": "while :; do :; done",
}
_RUN = ("docker", "run", "--rm", "--network", "net1", "bench", "/busybox", "true")
_LOOP = 'setsid sh -c "$1" >/dev/null 2>&1 & loop=$!; shift; "$@"; kill -9 -- -$loop'


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seconds: dict[str, list[float]] = {name: [] for name in _BESIDE}
    with LabHost(LabSpec()) as host:
        make(host, 50)
        for turn in range(runs + 1):
            for name, loop in _BESIDE.items():
                script = f"i=0; while [ $i -lt 5 ]; do {' '.join(_RUN)}; i=$((i + 1)); done"
                start = time.perf_counter()
                host.run(["bash", "-c", _LOOP, "bash", loop, "sh", "-c", script], timeout=120)
                if turn:
                    seconds[name].append((time.perf_counter() - start) / 5)
    print(f"docker run --rm, {runs} times five")
    base = statistics.median(seconds["alone"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        spread = f"{min(taken) * 1e3:.0f}-{max(taken) * 1e3:.0f}"
        print(f"{name:26} {median * 1e3:6.0f} ms ({spread})  {median / base:5.2f}x")


if __name__ == "__main__":
    main()
