"""Docker's containerd image store, in a containerd of dockerd's own and in the host's: as good as an overlay2/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from subprocess import DEVNULL, run
from typing import Any

import pytest

from tests.lab.host import LabHost, LabSpec
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
    (doubt,) = answer["gaps"]
    assert (doubt["minor"], doubt["subject"]) == (True, "layer-directory-of-nothing, containerd's snapshots")


def test_what_is_read_is_enough(host: LabHost) -> None:
    names = host.docker("ps", "--all", "--format", "{{.Names}}").split()
    questions = [["layers"], ["containers"], ["volumes"], *(["container", name] for name in names[::3])]
    answers = asked(host, questions)
    assert len(answers) == len(questions)
    assert not differing(answers)
