"""`hostinspect layers` against docker inspect, image inspect, system df, du and, for orphans, docker's own pruning."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.host import LabHost, LabSpec
from tests.live import layers_lab
from tests.live.hosts import on_random_hosts
from tests.live.layers_lab import make_layers
from tests.live.report import hostinspect

HOME = "/var/lib/docker/overlay2"


def layers(host: LabHost, *arguments: str) -> Any:
    """The answer as JSON; the run must succeed without a word on stderr."""
    done = hostinspect(host, "layers", "--output", "json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def api(host: LabHost, path: str, *options: str) -> Any:
    """What the engine answers to a request that its client has no command for."""
    said = host.run(["curl", "-sS", "--unix-socket", "/run/docker.sock", *options, f"http://docker{path}"]).stdout
    return json.loads(said)


def du(host: LabHost, *options: str, paths: list[str]) -> dict[str, int]:
    """Of each directory by itself: du counts an inode of two of them once."""
    script = 'for path; do du -sx "$options" "$path"; done'.replace('"$options"', " ".join(options))
    said = host.run(["sh", "-c", script, "sh", *paths]).stdout
    return {path: int(size) for size, path in (line.split("\t", 1) for line in said.splitlines())}


def directories(host: LabHost) -> set[str]:
    """Those of layers in overlay2/."""
    found = ["find", HOME, "-mindepth", "1", "-maxdepth", "1", "-type", "d", "-not", "-name", "l"]
    return {*host.run(found).stdout.split()}


def images(host: LabHost) -> list[Any]:
    """docker image inspect of all of them, also of those without a name."""
    ids = dict.fromkeys(host.docker("image", "ls", "--all", "--quiet", "--no-trunc").split())
    found: list[Any] = host.docker_json("image", "inspect", *ids)
    return found


def directories_of_image(image: Any) -> list[str]:
    """The directories of its layers, topmost first."""
    graph = image["GraphDriver"]["Data"]
    paths = [graph["UpperDir"], *filter(None, graph.get("LowerDir", "").split(":"))]
    return [path.removesuffix("/diff") for path in paths]


def compare(host: LabHost) -> Any:
    """Hold all that is told to what docker says; returns the answer."""
    answer = layers(host, "--size")
    said = host.docker_json("inspect", "--size", *host.docker("ps", "--all", "--quiet", "--no-trunc").split())
    mounted = host.run(["findmnt", "--list", "--noheadings", "--output", "TARGET", "--types", "overlay"]).stdout.split()
    having: dict[str, set[str]] = defaultdict(set)
    recorded: dict[str, int] = {}
    for image in images(host):
        for directory in directories_of_image(image):
            having[directory] |= {*image["RepoTags"]} or {image["Id"]}
        recorded[image["Id"]] = image["Size"]
    found = {container["id"]: container for container in answer["containers"]}
    by_path = {directory["path"]: directory for directory in answer["directories"]}
    assert found.keys() == {of["Id"] for of in said}
    for of in said:
        container, graph = found[of["Id"]], of["GraphDriver"]["Data"]
        assert container["name"] == of["Name"].removeprefix("/")
        assert (container["upper"], container["work"], container["merged"]) == (
            graph["UpperDir"],
            graph["WorkDir"],
            graph["MergedDir"],
        )
        assert container["mounted"] is (container["merged"] in mounted) is of["State"]["Running"]
        assert [lower["path"] for lower in container["lower"]] == graph["LowerDir"].split(":")
        assert [lower["kind"] for lower in container["lower"]] == ["init", *["image"] * (len(container["lower"]) - 1)]
        for lower in container["lower"][1:]:
            assert set(lower["images"]) == having[lower["path"].removesuffix("/diff")]
        # What the container wrote is the directory without the driver's own two files.
        own = host.run(["cat", f"{container['upper'][:-5]}/link", f"{container['upper'][:-5]}/lower"]).stdout
        assert container["size"]["apparent"] - len(own) == of.get("SizeRw", 0)
    for image in images(host):
        sizes = [by_path[path]["recorded_size"] for path in directories_of_image(image)]
        assert sum(sizes) == image["Size"]
    assert by_path.keys() == directories(host)
    for path, directory in by_path.items():
        assert set(directory["images"]) == having.get(path, set())
    return answer


def assert_sizes(host: LabHost, answer: Any) -> None:
    """Every directory is as du says, whatever it is."""
    paths = [directory["path"] for directory in answer["directories"]]
    allocated, inodes = du(host, "--block-size=1", paths=paths), du(host, "--inodes", paths=paths)
    for directory in answer["directories"]:
        size = directory["size"]
        assert size["complete"]
        assert (size["allocated"], size["inodes"]) == (allocated[directory["path"]], inodes[directory["path"]])


@pytest.mark.parametrize("demo", ["demo_host", "demo_host_sid"], indirect=True)
def test_the_demo_scenario(demo: LabHost) -> None:
    answer = compare(demo)
    assert {directory["kind"] for directory in answer["directories"]} == {"container", "init", "image"}
    assert answer["stray_links"] == []
    assert_sizes(demo, answer)


@on_random_hosts
def test_a_random_host(made_up: LabHost) -> None:
    answer = compare(made_up)
    assert not {"nothing", "no image", "unknown"} & {directory["kind"] for directory in answer["directories"]}
    assert_sizes(made_up, answer)


# --- what belongs to nothing ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["host", "sid"])
def host(request: pytest.FixtureRequest) -> Iterator[LabHost]:
    with LabHost(LabSpec(userland=request.param)) as made:
        make_layers(made)
        yield made


def by_kind(answer: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for directory in answer["directories"]:
        found[directory["kind"]].add(directory["path"].removeprefix(f"{HOME}/"))
    return found


def test_the_build_cache(host: LabHost) -> None:
    """What BuildKit has, in a container as layers, in the cache alone, and as an image."""
    answer = layers(host)
    kinds = by_kind(answer)
    built = next(container for container in answer["containers"] if container["name"] == "built")
    said = host.docker_json("inspect", "built")[0]["GraphDriver"]["Data"]["LowerDir"].split(":")
    assert [lower["path"] for lower in built["lower"]] == said
    assert [lower["images"][0] for lower in built["lower"][1:4]] == ["lab/built:latest"] * 3
    every = api(host, "/system/df")["BuildCache"]
    cached = [snapshot for snapshot in every if not snapshot["Description"].startswith("from ")]  # lab/base's own layer
    assert len(cached) > 5
    as_image = {path.removeprefix(f"{HOME}/") for image in images(host) for path in directories_of_image(image)}
    of_buildkit = {name for names in kinds.values() for name in names if len(name) == 25}
    assert kinds["build cache"] == of_buildkit - as_image
    assert len(of_buildkit) == len(cached)


def test_a_build_that_runs_is_not_called_nothing(host: LabHost) -> None:
    """While a step of it runs, what it has made so far is asked for; a step ends when it was."""
    script = r"""
        mkdir -p /tmp/slow && cd /tmp/slow
        printf 'FROM lab/base\nRUN sleep 1001 || echo a >/a\nRUN sleep 1002 || echo b >/b\n' >Dockerfile
        (tar -c . | curl -sS --unix-socket /run/docker.sock --data-binary @- -H 'Content-Type: application/x-tar' \
            'http://docker/build?version=2&t=lab/slow' >said; touch done) &
        rm -f done
        for step in 1001 1002; do
            until pgrep -f "^sleep $step" >/dev/null || [ -e done ]; do sleep 0.05; done
            "$@" layers --orphans -o json; "$@" layers --orphans -o json
            pkill -KILL -f "^sleep $step"
        done
        while ! [ -e done ]; do "$@" layers --orphans -o json; done; wait
    """
    before = by_kind(layers(host, "--orphans"))
    said = host.run(["sh", "-c", script, "sh", sys.executable, "-m", "hostinspect"]).stdout
    decoder, seen = json.JSONDecoder(), 0
    while said:
        found, end = decoder.raw_decode(said)
        said = said[end:].lstrip()
        assert {name: by_kind(found)[name] for name in ("nothing", "no image")} == {
            name: before[name] for name in ("nothing", "no image")
        }
        seen += 1
    assert seen > 2
    host.docker("rmi", "lab/slow")


def test_a_layer_that_is_written_is_not_called_nothing(host: LabHost) -> None:
    """An import that takes its time, as a large pull does: its directory has no record until it is complete."""
    begin = r"""
        cd /tmp; head -c 1000000 /dev/zero >content; tar -c content >archive; rm -f go
        {
            { head -c 500000 archive; until [ -e go ]; do sleep 0.1; done; tail -c +500001 archive; } |
                docker import - lab/slow
        } >imported 2>&1 &
    """
    pid = host.run(["cat", "/run/docker.pid"]).stdout
    started = int(host.run(["sh", "-c", f'date -d "$(ps -o lstart= -p {pid})" +%s']).stdout)
    before = {directory["path"] for directory in layers(host)["directories"]}
    host.run(["sh", "-c", begin])
    try:
        while not (new := directories(host) - before):
            time.sleep(0.1)
        [path] = new
        time.sleep(max(0.0, started + 2 + 12 - time.time()))
        host.run(["touch", "-d", f"@{started + 2}", path])  # too old to be "made just now"
        [during] = [directory for directory in layers(host)["directories"] if directory["path"] == path]
        assert (during["kind"], "is writing a layer now" in during["why"]) == ("unknown", True)
        assert layers_lab.NOBODYS in by_kind(layers(host))["nothing"]  # older than the daemon: not of what it writes
    finally:
        host.run(["touch", "/tmp/go"])
    while not host.docker("images", "--quiet", "lab/slow"):
        time.sleep(0.1)
    [after] = [directory for directory in layers(host)["directories"] if directory["path"] == path]
    assert (after["kind"], after["images"]) == ("image", ["lab/slow:latest"])
    host.docker("rmi", "lab/slow")


def test_orphans_are_what_docker_does_not_prune(host: LabHost) -> None:
    """All is taken away by docker itself: what is then left is what was called nobody's."""
    kinds = by_kind(layers(host))
    assert {layers_lab.NOBODYS, layers_lab.BY_HAND} < kinds["nothing"]
    assert len(kinds["nothing"]) == 2 + 4
    assert kinds["no image"] == {layers_lab.LAYER}
    assert kinds["being removed"] == {layers_lab.BEGUN}
    orphans = layers(host, "--orphans")
    assert by_kind(orphans).keys() == {"nothing", "no image"}
    assert orphans["stray_links"] == [f"{HOME}/l/{layers_lab.STRAY}"]
    lines = hostinspect(host, "layers", "--orphans", "--columns", "directory", "--no-header").stdout.splitlines()
    assert len(lines) == 2 + 4 + 1 + 1
    [base] = host.docker_json("image", "inspect", "lab/base")
    kept = {directories_of_image(base)[0].removeprefix(f"{HOME}/")}  # by docker, for a container that is not there
    host.run(["sh", "-c", "docker rm --force $(docker ps --all --quiet)"])
    host.docker("image", "prune", "--all", "--force")
    api(host, "/build/prune?all=1", "-X", "POST")
    left = host.run(["ls", HOME]).stdout.split()
    assert {*left} - {"l"} == kinds["nothing"] | kinds["no image"] | kinds["being removed"] | kept
    host.run(["sh", "-c", f"find {HOME} -mindepth 1 -maxdepth 1 -exec touch -d '1 hour ago' {{}} +"])
    kinds["no image"] |= kept
    del kinds["image"], kinds["container"], kinds["init"], kinds["build cache"]
    assert by_kind(layers(host)) == kinds
    host.run(["sh", "-c", "kill $(cat /run/docker.pid); while pgrep -x dockerd; do sleep 0.05; done"])
    host.start_dockerd()
    assert layers_lab.BEGUN not in host.run(["ls", HOME]).stdout.split()
    assert "being removed" not in by_kind(layers(host))
