"""Two engines on one host, as dockerd(8) has it ("Run multiple daemons"), with things of the same names.

What is said of one's is the same whether the other is looked at or not; and where one is at rest, what it recorded is
no fault.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from subprocess import DEVNULL, run
from typing import Any

import pytest

from tests.lab.host import LabHost, LabSpec
from tests.live.report import hostinspect, report

FIRST, SECOND = "/var/lib/docker", "/srv/second"
_SOCKETS = {FIRST: "/run/docker.sock", SECOND: "/run/second.sock"}

_START = rf"""
ip link add second0 type bridge; ip address add 10.66.0.1/24 dev second0; ip link set second0 up
mkdir {SECOND}
dockerd --exec-opt=native.cgroupdriver=cgroupfs --data-root {SECOND} --exec-root /run/second \
    --pidfile /run/second.pid --host unix://{_SOCKETS[SECOND]} --bridge second0 \
    --default-address-pool base=10.99.0.0/16,size=24 >/run/second.log 2>&1 &
for _ in $(seq 300); do
    docker --host unix://{_SOCKETS[SECOND]} version && exit
    sleep 0.1
done >/dev/null 2>&1
cat /run/second.log
exit 1
"""

_MAKE = r"""
DOCKER_HOST=unix://$1
export DOCKER_HOST
docker network create net >/dev/null
docker network create --internal inner >/dev/null
docker volume create data >/dev/null
docker volume create unused >/dev/null
run() { name=$1; shift; docker run --detach --name "$name" "$@" >/dev/null; }
run web --network net --publish "$2:80" --volume data:/data box /busybox httpd -f -p 80
run default --publish "$2$2:80" --volume data:/data:ro box /busybox httpd -f -p 80
run internal --network inner --volume /home:/home box /busybox sleep 1000000
run guest --network container:web box /busybox sleep 1000000
docker create --name made --volume data:/elsewhere box /busybox true >/dev/null
"""

_END = """
docker ps --quiet | xargs docker stop --time 0 >/dev/null
read -r pid </run/docker.pid || :
kill -KILL "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
"""


@pytest.fixture(scope="module", params=["host", "sid"])
def host(request: pytest.FixtureRequest) -> Iterator[LabHost]:
    with LabHost(LabSpec(userland=request.param)) as started:
        run(started.command_in_cgroup(["sh", "-c", _START]), check=True, stdin=DEVNULL)
        started.import_busybox("box")
        started.run(["sh", "-ec", f"docker save box | docker --host unix://{_SOCKETS[SECOND]} load"])
        for socket, port in zip(_SOCKETS.values(), ("80", "90"), strict=True):
            started.run(["sh", "-ec", _MAKE, "sh", socket, port])
        yield started


def docker(host: LabHost, data_root: str, *arguments: str) -> list[str]:
    return host.docker("--host", f"unix://{_SOCKETS[data_root]}", *arguments).split()


def answer(host: LabHost, *question: str) -> Any:
    done = hostinspect(host, *question, "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_each_is_told_as_if_it_were_alone(host: LabHost) -> None:
    alone = [report(host, "--data-root", data_root) for data_root in (FIRST, SECOND)]
    both = report(host)
    assert [engine["data_root"] for engine in both["host"]["engines"]] == sorted((FIRST, SECOND))
    for family, count in (("containers", 5), ("networks", 5), ("volumes", 2)):
        found = [thing for topology in alone for thing in topology[family]]
        assert len(found) == 2 * count
        assert sorted(both[family], key=json.dumps) == sorted(found, key=json.dumps)
        alone_in_full = [answer(host, family, "--data-root", root)[family] for root in (FIRST, SECOND)]
        in_full = answer(host, family)[family]
        assert sorted(in_full, key=json.dumps) == sorted(chain(*alone_in_full), key=json.dumps)


def test_who_uses_a_volume_is_as_each_engine_says(host: LabHost) -> None:
    for data_root in (FIRST, SECOND):
        expected = {*docker(host, data_root, "ps", "--all", "--quiet", "--no-trunc", "--filter", "volume=data")}
        assert len(expected) == 3
        for volumes in (report(host)["volumes"], answer(host, "volumes")["volumes"]):
            (volume,) = [v for v in volumes if (v["name"], v["data_root"]) == ("data", data_root)]
            assert {use["container"] for use in volume["used_by"]} == expected
        dangling = docker(host, data_root, "volume", "ls", "--quiet", "--filter", "dangling=true")
        told = answer(host, "volumes", "--dangling")["volumes"]
        assert [volume["name"] for volume in told if volume["data_root"] == data_root] == dangling == ["unused"]


def test_people_are_told_whose_is_whose(host: LabHost) -> None:
    for table in ("containers", "networks", "volumes"):
        lines = hostinspect(host, table).stdout.splitlines()
        assert "DATA ROOT" in lines[0]
        assert sum(SECOND in line for line in lines) == len(lines[1:]) / 2
    tree = hostinspect(host).stdout
    assert tree.count(f"in {SECOND}") == 1 + 5 + 1 + 2  # the engine, its networks, what does not run, its volumes
    assert "shared with default (ro), made (rw)" in tree
    refused = hostinspect(host, "volumes", "data")
    assert refused.returncode == 2
    assert f"data (in {SECOND}), data (in {FIRST}). Name its engine with --data-root." in refused.stderr
    named = hostinspect(host, "volumes", "data", "--data-root", SECOND)
    assert (named.returncode, f"{SECOND}/volumes/data/_data" in named.stdout) == (0, True)
    ambiguous = hostinspect(host, "container", "web")
    assert f"(web in {SECOND})" in ambiguous.stderr and f"(web in {FIRST})" in ambiguous.stderr


def test_whois_tells_both_volumes_of_a_name(host: LabHost) -> None:
    (key,) = answer(host, "whois", "data")["keys"]
    for data_root in (FIRST, SECOND):
        (match,) = [m for m in key["matches"] if m["subject"]["id"] == f"{data_root}/volumes/data"]
        expected = docker(host, data_root, "ps", "--all", "--quiet", "--no-trunc", "--filter", "volume=data")
        assert sorted(match["containers"]) == sorted(expected)
        (inside,) = answer(host, "whois", f"{data_root}/volumes/data/_data/x")["keys"][0]["matches"]
        assert inside["owner"] == match["owner"]
        assert sorted(inside["containers"]) == sorted(expected)


def removals(host: LabHost) -> set[str]:
    return {f["remedy"] for f in answer(host, "doctor", "--only", "volume-dangling")["findings"]}


def test_a_remedy_says_which_engine_it_is_for(host: LabHost) -> None:
    """Given to the other one, it would take away what that has of the name."""
    assert removals(host) == {f"docker --host unix://{socket} volume rm unused" for socket in _SOCKETS.values()}


def test_the_way_to_a_container_is_by_its_id_in_a_remedy(host: LabHost) -> None:
    for data_root in (FIRST, SECOND):
        (id_,) = docker(host, data_root, "ps", "--all", "--quiet", "--no-trunc", "--filter", "name=made")
        done = hostinspect(host, "trace", id_)
        assert (done.returncode, f"docker start {id_}" in done.stdout) == (1, True)


def test_nothing_is_wrong_with_one_at_rest(host: LabHost) -> None:
    """Last, since it ends the first engine. Its bridges are left at first, and gone then, as after a boot."""
    host.run(["sh", "-ec", _END])
    second = f"docker --host unix://{_SOCKETS[SECOND]} volume rm unused"
    assert removals(host) == {second, "docker --host HOST volume rm unused"}
    for is_left in (True, False):
        assert {finding["severity"] for finding in answer(host, "doctor")["findings"]} <= {"info"}
        networks = [network for network in report(host)["networks"] if network["data_root"] == FIRST]
        assert [network["drift"] for network in networks] == [[]] * 5
        bridges = {network["bridge"] for network in networks} - {None}
        assert len(bridges) == (3 if is_left else 0)
        for bridge in bridges:
            host.run(["ip", "link", "delete", bridge])
    tree = hostinspect(host).stdout
    assert "broken" not in tree and tree.count("its engine is at rest") == 3
