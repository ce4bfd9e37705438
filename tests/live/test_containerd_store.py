"""Docker's containerd image store, in a containerd of dockerd's own and in the host's: as good as an overlay2/."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from subprocess import DEVNULL, run
from typing import Any

import pytest

from hostinspect.engines.docker.images import chain_ids
from tests.lab.host import LabHost, LabSpec
from tests.live import layers_lab
from tests.live.faults import HEALTHY
from tests.live.report import hostinspect, report
from tests.live.test_needs import asked, differing

_FEATURE = "--feature=containerd-snapshotter=true"
_CONTAINERD = """
containerd >/run/containerd.log 2>&1 &
for _ in $(seq 300); do [ -S /run/containerd/containerd.sock ] && exit; sleep 0.1; done
cat /run/containerd.log
exit 1
"""


@pytest.fixture(scope="module", params=["own", "system"])
def host(request: pytest.FixtureRequest) -> Iterator[LabHost]:
    with LabHost(LabSpec(userland="sid", dockerd=(_FEATURE,))) as started:
        if request.param == "system":
            started.kill_dockerd()
            run(started.command_in_cgroup(["sh", "-c", _CONTAINERD]), check=True, stdin=DEVNULL)
            started.start_dockerd()
        started.seed()
        yield started


def test_the_roots_of_containers_are_as_mounted(host: LabHost) -> None:
    found = report(host)
    assert found["gaps"] == [gap for gap in found["gaps"] if gap.get("minor")]
    mounts = json.loads(host.run(["findmnt", "-J", "-l", "-t", "overlay", "-o", "TARGET,OPTIONS"]).stdout)
    options = {mount["target"]: mount["options"] for mount in mounts["filesystems"]}
    running = [container for container in found["containers"] if container["pid"]]
    assert len(running) >= 14
    for container in running:
        overlay = container["overlay"]
        mounted = dict(option.partition("=")[::2] for option in options[overlay["merged"]].split(","))
        assert (mounted["upperdir"], mounted["workdir"]) == (overlay["upper"], overlay["work"])
        # containerd shortens what would be too long by the directory of all snapshots.
        lower = [
            path if path.startswith("/") else f"{_home(overlay)}/{path}" for path in mounted["lowerdir"].split(":")
        ]
        assert lower == overlay["lower"]
    store = {_home(container["overlay"]) for container in found["containers"]}
    assert len(store) == 1


def _home(overlay: dict[str, Any]) -> str:
    found = re.fullmatch(r"(/.*/snapshots)/\d+/fs", overlay["upper"])
    assert found is not None
    return found[1]


def test_what_containers_changed_is_as_docker_has_it_whether_they_run_or_not(host: LabHost) -> None:
    names = host.docker("ps", "--all", "--format", "{{.Names}}").split()
    for name in names:
        done = hostinspect(host, "diff", name)
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(done.stdout.splitlines()) == sorted(host.docker("diff", name).splitlines())
    assert {"changed", "stopped1"} <= {*names}


def test_images_are_known_by_their_names(host: LabHost) -> None:
    for image in host.docker("image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines():
        name, id_ = image.split()
        done = hostinspect(host, "whois", "-o", "json", name)
        (match, *_) = json.loads(done.stdout)["keys"][0]["matches"]
        assert (done.returncode, match["kind"], match["owner"]["id"]) == (0, "image name", id_)


def test_nothing_is_wrong(host: LabHost) -> None:
    done = hostinspect(host, "doctor", "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert {(finding["id"], finding["subject"]) for finding in answer["findings"]} <= HEALTHY
    assert answer["gaps"] == []


def test_what_is_read_is_enough(host: LabHost) -> None:
    names = host.docker("ps", "--all", "--format", "{{.Names}}").split()
    questions = [["layers"], ["containers"], ["volumes"], *(["container", name] for name in names[::3])]
    answers = asked(host, questions)
    assert len(answers) == len(questions)
    assert not differing(answers)


# --- whose each directory is ------------------------------------------------------------------------------------------


def layers(host: LabHost, *arguments: str) -> Any:
    done = hostinspect(host, "layers", "-o", "json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def ctr(host: LabHost, *words: str, namespace: str = "moby") -> str:
    """What containerd itself says."""
    script = """
        address=/run/containerd/containerd.sock
        ! pgrep -a -x containerd | grep -q /run/docker/ || address=/run/docker/containerd/containerd.sock
        exec ctr --address "$address" --namespace "$@"
    """
    return host.run(["sh", "-c", script, "sh", namespace, *words]).stdout


def keys(host: LabHost) -> set[str]:
    """Docker's snapshots."""
    return {line.split()[0] for line in ctr(host, "snapshots", "list").splitlines()[1:]}


def by_kind(answer: Any) -> dict[str, set[str]]:
    """What containerd calls them, or the names of directories that it does not know."""
    found: dict[str, set[str]] = defaultdict(set)
    for directory in answer["directories"]:
        found[directory["kind"]].add(directory["snapshot"] or directory["path"].rpartition("/")[2])
    return found


def images(host: LabHost) -> list[Any]:
    ids = dict.fromkeys(host.docker("image", "ls", "--all", "--quiet", "--no-trunc").split())
    found: list[Any] = host.docker_json("image", "inspect", *ids)
    return found


def hold_layers(host: LabHost) -> Any:
    """Hold what is told of all directories to what docker and containerd say; returns the answer."""
    answer = layers(host)
    of_image = {image["Id"]: image["RootFS"]["Layers"] for image in images(host)}
    having: dict[str, set[str]] = defaultdict(set)
    for image in images(host):
        for chain_id in chain_ids(image["RootFS"]["Layers"]):
            having[chain_id] |= {*image["RepoTags"]} or {image["Id"]}
    said = {one["Id"]: one for one in host.docker_json("inspect", *host.docker("ps", "-aq", "--no-trunc").split())}
    assert said.keys() == {container["id"] for container in answer["containers"]}
    for container in answer["containers"]:
        image = [lower for lower in container["lower"] if lower["chain_id"]]
        assert [lower["diff_id"] for lower in image[::-1]] == of_image[said[container["id"]]["Image"]]
        assert container["lower"][0]["kind"] == "init"
        assert {lower["kind"] for lower in container["lower"][1:]} == {"image"}
        for lower in image:
            assert {*lower["images"]} == having[lower["chain_id"]]
    kinds = by_kind(answer)
    every = {f"moby/{key}" for key in keys(host)}
    own = {f"moby/{id_}" for id_ in said}
    assert kinds["container"] == own
    assert kinds["init"] == {f"{name}-init" for name in own}
    cached = {name for name in every if re.fullmatch(r"moby/([0-9a-z]{25}(-.*)?|.*-view)", name)}
    assert kinds["build cache"] == cached
    assert kinds["image"] == every - own - kinds["init"] - cached
    assert {name for name in kinds["image"] if not name.endswith("-init")} == {f"moby/{chain}" for chain in having}
    return answer


def test_every_snapshot_and_whose_it_is(host: LabHost) -> None:
    answer = hold_layers(host)
    assert {directory["kind"] for directory in answer["directories"]} == {"container", "init", "image"}
    assert len(answer["directories"]) > 30


def test_how_each_image_was_made(host: LabHost) -> None:
    found = {container["id"]: container["history"] for container in layers(host, "--history")["containers"]}
    for said in host.docker_json("inspect", *host.docker("ps", "-aq", "--no-trunc").split()):
        # Beside the steps of the image's own, docker counts an image that it was made from by its parent's name.
        lines = host.docker("history", "--no-trunc", "--format", "{{json .}}", said["Image"]).splitlines()
        steps = [json.loads(line) for line in lines]
        assert [step["command"] or "" for step in found[said["Id"]]] == [step["CreatedBy"] for step in steps[::-1]]
        assert [step["comment"] or "" for step in found[said["Id"]]] == [step["Comment"] for step in steps[::-1]]


_LEAVE = r"""
cd "$1"
mkdir -p 999/fs new-123/fs
find . -mindepth 1 -maxdepth 1 -exec touch -d '1 hour ago' {} +
"""


def test_what_is_left_over_and_what_is_not_dockers() -> None:
    """What docker built, committed and removed; and once it has pruned everything, what is left was nobody's."""
    with LabHost(LabSpec(userland="sid", dockerd=(_FEATURE,))) as host:
        assert layers(host)["directories"] == []
        host.run(["sh", "-c", "echo nameserver 127.0.0.1 >/etc/resolv.conf"])  # whom BuildKit asks for lab/base
        layers_lab.make_images(host)
        answer = hold_layers(host)
        kinds = by_kind(answer)
        assert len(kinds["build cache"]) > 5
        assert sum(name.endswith("-init") for name in kinds["image"]) == 1, "of a container that was committed"
        ctr(host, "snapshots", "prepare", "by-hand")
        ctr(host, "snapshots", "prepare", "pod", namespace="k8s.io")
        home = answer["directories"][0]["path"].rpartition("/")[0]
        host.run(["sh", "-c", _LEAVE, "sh", home])
        kinds |= {
            "nothing": {"999", "new-123"},
            "no image": {"moby/by-hand"},
            "other namespace": {"k8s.io/pod"},
        }
        assert by_kind(layers(host)) == kinds
        assert by_kind(layers(host, "--orphans")) == {kind: kinds[kind] for kind in ("nothing", "no image")}
        found = {one["subject"]: one["remedy"] for one in findings(host)}
        (path,) = [path for path in found if path not in (f"{home}/999", f"{home}/new-123")]
        assert "snapshots remove by-hand" in found[path]
        host.run(["sh", "-c", "docker rm --force $(docker ps --all --quiet) && docker image prune --all --force"])
        prune = ["curl", "-sS", "-X", "POST", "--unix-socket", "/run/docker.sock", "http://docker/build/prune?all=1"]
        host.run(prune)
        assert keys(host) == {"by-hand"}
        left = by_kind(layers(host))
        assert left == {kind: kinds[kind] for kind in ("no image", "other namespace")}, "containerd removed the rest"


def findings(host: LabHost) -> Any:
    done = hostinspect(host, "doctor", "-o", "json", "--only", "layer-directory-of-nothing")
    return json.loads(done.stdout)["findings"]


def test_a_layer_that_is_written_is_not_called_nothing(host: LabHost) -> None:
    """As a large pull makes one, which has a lease until it is done."""
    pid = host.run(["cat", "/run/docker.pid"]).stdout
    started = int(host.run(["sh", "-c", f'date -d "$(ps -o lstart= -p {pid})" +%s']).stdout)
    before = {directory["path"] for directory in layers(host)["directories"]}

    def kind() -> str:
        (found,) = [one for one in layers(host)["directories"] if one["path"] not in before]
        host.run(["touch", "-d", f"@{started + 2}", found["path"]])  # since the daemon started, and not just now
        (found,) = [one for one in layers(host)["directories"] if one["path"] not in before]
        return str(found["kind"])

    ctr(host, "snapshots", "prepare", "extract-1-x")
    try:
        time.sleep(max(0.0, started + 2 + 12 - time.time()))
        assert kind() == "no image"
        ctr(host, "leases", "create", "--id", "pull")
        assert kind() == "unknown"
        ctr(host, "leases", "delete", "pull")
        assert kind() == "no image"
    finally:
        ctr(host, "snapshots", "remove", "extract-1-x")
