"""`hostinspect diff` beside find(1) and `docker diff`: `python -m tests.bench.bench_diff [RUNS]`.

Makes a host with a container that has 100,000 changes: 60,000 files added, 20,000 of its image's changed and 20,000
deleted, in 1,000 directories; and one with 100,000 files in a single one. Prints the median of RUNS of each, whole
processes with start-up included, and how it compares to `find` over the same upper directory.
"""

from __future__ import annotations

import sys

from tests.bench.sides import HOSTINSPECT, show, take_turns
from tests.lab.host import LabHost, LabSpec

_SEED = r"""
files=$(mktemp -d)
cp "$(command -v busybox)" "$files/busybox"
python3 - "$files" <<'END'
import os, sys
for directory in range(400):
    os.makedirs(f"{sys.argv[1]}/image/{directory}")
    for file in range(100):
        with open(f"{sys.argv[1]}/image/{directory}/{file}", "w") as content:
            content.write("image")
END
tar -C "$files" -c . | docker import - bench >/dev/null
rm -rf "$files"
for name in spread flat; do
    docker run --detach --name "$name" --network none bench /busybox sleep 1000000 >/dev/null
done
merged() { docker inspect --format '{{.GraphDriver.Data.MergedDir}}' "$1"; }
python3 - "$(merged spread)" "$(merged flat)" <<'END'
import os, sys
spread, flat = sys.argv[1:]
for directory in range(400):
    for file in range(50):
        with open(f"{spread}/image/{directory}/{file}", "w") as content:
            content.write("changed")
        os.unlink(f"{spread}/image/{directory}/{file + 50}")
for directory in range(600):
    os.makedirs(f"{spread}/new/{directory}")
    for file in range(100):
        open(f"{spread}/new/{directory}/{file}", "w").close()
os.mkdir(f"{flat}/new")
for file in range(100_000):
    open(f"{flat}/new/{file}", "w").close()
END
"""


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with LabHost(LabSpec()) as host:
        host.run(["bash", "-ec", _SEED], timeout=600)
        for name in ("spread", "flat"):
            upper = host.docker("inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", name)
            ours = f"{HOSTINSPECT} diff {name}"
            commands = {
                "find": f"find {upper}",
                "find -printf": f"find {upper} -printf '%m %s %T@ %p\\n'",
                "docker diff": f"docker diff {name}",
                "diff": ours,
                "diff -0": f"{ours} -0",
                "diff -o json": f"{ours} -o json",
            }
            changes = host.run(["sh", "-c", f"{ours} | wc -l"], timeout=600).stdout.strip()
            print(f"\n{name}: {changes} changes, {runs} runs")
            show(take_turns(host, commands, runs), "find")


if __name__ == "__main__":
    main()
