"""Docker's records of 160 containers: `python -m tests.bench.bench_records [RUNS]`.

The containers are copies of the recorded ones of the unit tests. On a host with an answering Docker, its own containers
are read too, beside `docker inspect` of all of them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hostinspect.collectors.engines import collect_records
from hostinspect.collectors.gaps import GapLog
from hostinspect.engines.docker.containers import read_containers
from hostinspect.engines.docker.layers import read_layers
from hostinspect.engines.docker.networks import read_networks
from hostinspect.engines.docker.swarm import read_swarm_networks
from hostinspect.engines.docker.volumes import read_volumes
from hostinspect.facts import Engine
from hostinspect.kernel.files import Directory
from tests.unit.docker_fixtures import lay_out

CONTAINERS = 160
DATA_ROOT = "/var/lib/docker"


def another_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def multiply(data_root: Path) -> None:
    """Copies of the recorded containers, each with a layer of its own, until there are CONTAINERS."""
    mounts = data_root / "image/overlay2/layerdb/mounts"
    templates = sorted(path.name for path in (data_root / "containers").iterdir())
    for number in range(CONTAINERS - len(templates)):
        old, new = templates[number % len(templates)], another_id(f"container {number}")
        mount_id = (mounts / old / "mount-id").read_text()
        copy_id, short = another_id(f"layer {number}"), f"{number:026}"
        (data_root / "containers" / new).mkdir()
        for name in ("config.v2.json", "hostconfig.json"):
            content = (data_root / "containers" / old / name).read_text()
            (data_root / "containers" / new / name).write_text(content.replace(old, new))
        (mounts / new).mkdir()
        (mounts / new / "mount-id").write_text(copy_id)
        (mounts / new / "init-id").write_text(f"{copy_id}-init")
        (mounts / new / "parent").write_text((mounts / old / "parent").read_text())
        lower = (data_root / "overlay2" / mount_id / "lower").read_text().partition(":")[2]
        for layer, link in ((copy_id, short[::-1].replace("0", "T")), (f"{copy_id}-init", short)):
            (data_root / "overlay2" / layer).mkdir()
            (data_root / "overlay2" / layer / "link").write_text(link)
        (data_root / "overlay2" / copy_id / "lower").write_text(f"l/{short}:{lower}")


def best(runs: int, work: Callable[[], object]) -> float:
    """Milliseconds of the fastest run: what the work costs when nothing else is going on."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times) * 1000


def unexpected(subject: str, why: str | OSError, remedy: str | None = None) -> None:
    raise SystemExit(f"{subject}: {why}")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory() as directory:
        data_root = lay_out("docker-28.5", Path(directory))
        multiply(data_root)
        with Directory(data_root) as files:
            parts: dict[str, Callable[[], object]] = {
                f"{CONTAINERS} containers": lambda: list(read_containers(files, "docker", DATA_ROOT, unexpected)),
                f"{CONTAINERS} layers": lambda: list(read_layers(files, DATA_ROOT, unexpected)),
                "local-kv.db": lambda: read_networks(files, "docker", DATA_ROOT, unexpected),
                "tasks.db": lambda: read_swarm_networks(files, "docker", DATA_ROOT, unexpected),
                "volumes": lambda: list(read_volumes(files, "docker", DATA_ROOT, unexpected)),
            }
            for name, work in parts.items():
                print(f"{name:<20} {best(runs, work):7.2f} ms")
        engine = Engine(name="docker", data_root=str(data_root))
        print(f"{'everything':<20} {best(runs, lambda: collect_records(engine, GapLog())):7.2f} ms")
    beside_docker_inspect(runs)


def beside_docker_inspect(runs: int) -> None:
    """The same of this host, if it has a Docker that answers."""
    if not os.access(f"{DATA_ROOT}/containers", os.R_OK | os.X_OK):
        return
    listed = subprocess.run(["docker", "ps", "-aq", "--no-trunc"], capture_output=True, text=True, check=False)
    ids = listed.stdout.split()
    if listed.returncode or not ids:
        return
    inspect = best(5, lambda: subprocess.run(["docker", "inspect", *ids], stdout=subprocess.DEVNULL, check=True))
    engine = Engine(name="docker", data_root=DATA_ROOT)
    ours = best(runs, lambda: collect_records(engine, GapLog()))
    print(
        f"this host, {len(ids)} containers: docker inspect {inspect:.1f} ms, "
        f"all records {ours:.1f} ms, {ours / inspect:.0%} of it"
    )


if __name__ == "__main__":
    main()
