"""hostinspect beside docker-explorer, on the data roots that docker-explorer publishes.

    git clone https://github.com/google/docker-explorer
    python -m tests.docker_explorer docker-explorer

docker-explorer (Apache License 2.0) lists what is on a Docker host's disk. Its repository has five data roots, and what
it lists of them in its tests.py. Nothing of it is in this repository: all is read from the clone, and unpacked into a
temporary directory. First its own tests of these listings are run, so that what it lists here is what it publishes;
then each value of its listing is held against hostinspect's. Exit status 1: they differ where `KNOWN` has no reason
for it, or no longer where it has one.

It runs the clone's code, so take one that you trust. It needs neither root nor docker-explorer's `requests`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.disk_listing import DISK, Asked, Difference, Listing, answered, compared, images_of

# The data roots in test_data/, and which of docker-explorer's test cases are about them.
DATA_ROOTS = {
    "overlay2.v2.tgz": ("TestOverlay2Storage", "TestDEMain"),
    "vols.v2.tgz": ("TestDEVolumes",),
    "overlay.v2.tgz": ("TestOverlayStorage",),
    "aufs.v2.tgz": ("TestAufsStorage",),
    "aufs.v1.tgz": ("TestAufsV1Storage",),
}


class Known(NamedTuple):
    """Values that differ, and why: `field` is a pattern, and `holds` judges theirs and ours."""

    data_root: str
    field: str
    holds: Callable[[Any, Any], bool]
    collector: str  # whose gap says so, in hostinspect's answer; "" where hostinspect has a value of its own
    reason: str


def _is_missing(_theirs: Any, mine: Any) -> bool:
    return mine is None


def _is_more(theirs: Any, mine: Any) -> bool:
    return mine is not None and {*mine} < {*theirs}


def _is_beneath_the_data_root(theirs: Any, mine: Any) -> bool:
    """Whether they are the same once the data root is taken from the sources of bind mounts."""
    volumes = "/docker/volumes/"
    cut = [[to, path if path.startswith(volumes) else path.removeprefix("/docker")] for to, path in theirs]
    return bool(cut == mine)


KNOWN = (
    Known(
        "overlay2.v2.tgz",
        "exposed_ports",
        _is_more,
        "",
        "docker-explorer lets a ContainerConfig in config.v2.json go before Config; dockerd has no such key there",
    ),
    Known(
        "vols.v2.tgz",
        "mount_points",
        _is_beneath_the_data_root,
        "",
        "docker-explorer looks for the source of a bind mount beneath the data root; it is a path of the host",
    ),
    Known(
        "aufs.v2.tgz",
        "mount_id|lower_dirs",
        _is_missing,
        "layers",
        "hostinspect does not know the layers of aufs",
    ),
    Known(
        "aufs.v1.tgz",
        "lower_dirs",
        _is_missing,
        "layers",
        "hostinspect does not know the layers of aufs",
    ),
)


# --- docker-explorer --------------------------------------------------------------------------------------------

# What `de.py list` and `de.py history` print, without tools/de.py itself, which loads what downloads need.
_EXPLORE = r"""
import json, sys
from docker_explorer import explorer

explored = explorer.Explorer()
explored.SetDockerDirectory(sys.argv[1])
explored.DetectDockerStorageVersion()
listing = {
    "containers": explored.GetContainersJson(),
    "running": [container["container_id"] for container in explored.GetContainersJson(only_running=True)],
    "repositories": json.loads(explored.GetRepositoriesString()),
    "further": {
        container.container_id: {
            "name": container.name,
            "created": container.creation_timestamp,
            "running": container.running,
            "storage_name": container.storage_name,
            "history": list(container.GetHistory(show_empty_layers=True).values()),
            "mount": container.storage_object.MakeMountCommands(container, "/mnt"),
        }
        for container in explored.GetAllContainers()
    },
}
print()
print(json.dumps(listing))
"""

# Only what downloads an image from a registry uses requests.
_PUBLISHED = r"""
import sys, types, unittest
try:
    import requests
except ImportError:
    sys.modules["requests"] = types.ModuleType("requests")
import tests

suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:], tests)
sys.exit(not unittest.TextTestRunner(verbosity=0).run(suite).wasSuccessful())
"""


def _run(clone: Path, program: str, *arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """A program on docker-explorer's modules; the clone is not written to."""
    environment = {**os.environ, "PYTHONPATH": str(clone), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=directory, env=environment)


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a data root as `directory`/docker."""
    directory.mkdir(exist_ok=True)
    # tar(1) keeps absolute links, as of an /etc/mtab, and writes through none.
    command = ["tar", "--extract", "--gzip", "--no-same-owner", "--file", str(archive), "--directory", str(directory)]
    subprocess.run(command, check=True)


def published(clone: Path, name: str) -> tuple[int, str]:
    """How many of docker-explorer's own tests of this data root pass here, and what it says where one does not."""
    passed = 0
    for case in DATA_ROOTS[name]:  # each removes the data root when it is done
        with tempfile.TemporaryDirectory() as directory:
            unpack(clone / "test_data" / name, Path(directory) / "test_data")
            done = _run(clone, _PUBLISHED, case, directory=Path(directory))
        ran = re.search(r"^Ran (\d+) tests?", done.stderr, re.M)
        if done.returncode or not ran:
            return passed, done.stderr
        passed += int(ran[1])
    return passed, ""


def explored(clone: Path, directory: Path) -> Listing:
    """What docker-explorer lists of `directory`/docker. Raises RuntimeError where it fails."""
    done = _run(clone, _EXPLORE, "docker", directory=directory)
    if done.returncode:
        raise RuntimeError(f"docker-explorer fails:\n{done.stderr}")
    return listing_of(json.loads(done.stdout.splitlines()[-1]), directory)


def listing_of(found: Mapping[str, Any], directory: Path) -> Listing:
    """docker-explorer's listing of `directory`/docker, with the paths as the host at `directory` calls them."""
    listing: Listing = {
        (DISK, "containers"): sorted(container["container_id"] for container in found["containers"]),
        (DISK, "running"): sorted(found["running"]),
    }
    for container in found["containers"]:
        further = found["further"][container["container_id"]]
        of = f"container {further['name'].removeprefix('/')}"
        for field, value in _fields(container, further, directory):
            listing[of, field] = value
    for repositories in found["repositories"]:
        for repository, references in repositories["Repositories"].items():
            for reference, image_id in references.items():
                # Before Docker 1.10 a tag alone.
                name = reference if reference.startswith(repository) else f"{repository}:{reference}"
                listing[f"image {name}", "image_id"] = image_id.removeprefix("sha256:")
    return listing


def _fields(container: Mapping[str, Any], further: Mapping[str, Any], directory: Path) -> Iterator[tuple[str, Any]]:
    for field in ("container_id", "image_name", "image_id"):
        yield field, container[field]
    yield "start_date", microseconds(container["start_date"])
    yield "labels", container.get("labels", {})
    yield "exposed_ports", sorted(container.get("exposed_ports", {}))
    yield "log_path", container.get("log_path")
    mount_points = [[mount["destination"], f"/{mount['source']}"] for mount in container.get("mount_points", ())]
    yield "mount_points", sorted(mount_points)
    if "mount_id" in container:
        yield "mount_id", container["mount_id"]
    if "upper_dir" in container:
        yield "upper_dir", f"/{container['upper_dir']}"
    for field in ("created", "running", "storage_name"):
        yield field, further[field]
    options = [command[command.index("-o") + 1] for command in further["mount"] if "--bind" not in command]
    if options:
        yield "lower_dirs", [_followed(path, directory) for path in lower_dirs(options)]
    for position, step in enumerate(further["history"]):
        yield f"history {position} created_at", microseconds(step["created_at"])
        yield f"history {position} container_cmd", step.get("container_cmd")
        yield f"history {position} comment", step.get("comment")


def lower_dirs(options: Sequence[str]) -> list[str]:
    """The directories below a container's own, topmost first, from the options of the commands that mount it.

    >>> lower_dirs(["ro,lowerdir=docker/overlay2/1f/diff:docker/overlay2/l/AB:docker/overlay2/l/CD"])
    ['docker/overlay2/l/AB', 'docker/overlay2/l/CD']
    >>> lower_dirs(["ro,br=docker/aufs/diff/1f=ro+wh", "ro,remount,append:docker/aufs/diff/2e=ro+wh"])
    ['docker/aufs/diff/2e']
    """
    overlay = [found[1] for option in options if (found := re.search(r"lowerdir=(.*)$", option))]
    if overlay:
        return overlay[0].split(":")[1:]
    return [found[1] for option in options if (found := re.search(r"append:(.*)=ro\+wh$", option))]


def _followed(path: str, directory: Path) -> str:
    """What l/SHORT leads to."""
    link = directory / path
    return os.path.normpath(f"/{path}/../{link.readlink()}") if link.is_symlink() else f"/{path}"


def microseconds(time: str | None) -> str | None:
    """A time as docker-explorer prints it, whichever Python it runs on: to the microsecond; None for never.

    >>> microseconds("2018-05-16T10:51:39.625989533Z"), microseconds("2018-05-16T10:51:39.5+00:00")
    ('2018-05-16T10:51:39.625989', '2018-05-16T10:51:39.500000')
    >>> microseconds("2018-05-16T10:51:39"), microseconds("0001-01-01T00:00:00+00:00")
    ('2018-05-16T10:51:39.000000', None)
    """
    if time is None or time.startswith("0001-"):
        return None
    second, _, fraction = re.sub(r"(Z|\+00:00)$", "", time).partition(".")
    return f"{second}.{fraction[:6]:0<6}"


# --- side by side -----------------------------------------------------------------------------------------------


def of_hostinspect(run: Asked, theirs: Listing) -> Listing:
    """hostinspect's answers, with what docker-explorer cuts off cut off."""
    return {
        (of, field): microseconds(value) if field == "start_date" or field.endswith("created_at") else value
        for (of, field), value in answered(run, images_of(theirs)).items()
    }


def why(name: str, difference: Difference, run: Asked) -> Known | None:
    """The known reason of a difference. A value that hostinspect does not have is none unless it says so by a gap."""
    said = {collector for collector, _ in run.gaps} | {""}
    for known in KNOWN:
        is_about = known.data_root == name and known.collector in said and re.fullmatch(known.field, difference.field)
        if is_about and known.holds(difference.theirs, difference.mine):
            return known
    return None


def check(clone: Path, name: str) -> Counter[str]:
    """Compare one data root and print it; how many values "agree", are "nothing" to both, "differ" with a "reason"."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        unpack(clone / "test_data" / name, directory)
        theirs = explored(clone, directory)
        run = Asked(directory, "--data-root", "/docker")
        agree, differences = compared(theirs, of_hostinspect(run, theirs))
    passed, failure = published(clone, name)
    counts = Counter(
        agree=len(agree),
        nothing=sum(theirs[key] in (None, [], {}) for key in agree),
        differ=bool(failure),
    )
    print(f"{name}: {len(theirs[DISK, 'containers'])} containers, {passed} of docker-explorer's own tests pass")
    print(failure, end="")
    for field, count in Counter(_kind(field) for _, field in agree).items():
        print(f"  agree   {count:>3}  {field}")
    reasons = {known: 0 for known in KNOWN if known.data_root == name}
    for difference in differences:
        known = why(name, difference, run)
        if known:
            reasons[known] += 1
        else:
            counts["differ"] += 1
            of, field, value, mine = difference
            print(f"  DIFFER    1  {field}: {of}: docker-explorer {value!r}, hostinspect {mine!r}")
    for known, count in reasons.items():
        if count:
            print(f"  reason  {count:>3}  {known.field}: {known.reason}")
            counts["reason"] += count
        else:
            counts["differ"] += 1
            print(f"  DIFFER    1  {known.field}: they agree now, and KNOWN says: {known.reason}")
    return counts


def _kind(field: str) -> str:
    """The field without which step of a history it is of.

    >>> _kind("history 1 container_cmd")
    'history container_cmd'
    """
    return re.sub(r" \d+", "", field)


def main(arguments: Sequence[str]) -> int:
    """Compare all data roots of a clone; the exit status."""
    if len(arguments) != 1 or not Path(arguments[0], "docker_explorer").is_dir():
        print(__doc__, file=sys.stderr)
        return 2
    clone = Path(arguments[0]).resolve()
    total: Counter[str] = Counter()
    for name in DATA_ROOTS:
        total += check(clone, name)
    agree, reason, differ = total["agree"], total["reason"], total["differ"]
    print(f"{agree + reason + differ} values: {agree} agree ({total['nothing']} that there is nothing), ", end="")
    print(f"{reason} differ for a reason, {differ} for none.")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
