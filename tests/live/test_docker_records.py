"""What is read under the data root, against the daemon's own answers, object by object and field by field.

Also while the daemon is frozen (SIGSTOP): the answers are taken before, the records meanwhile.
"""

from __future__ import annotations

import json
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

import pytest

from tests import docker_oracle as oracle
from tests.live.observed import Host


class LabHost(Host, Protocol):
    """A lab host: commands can be run on it, and its pid 1 is known outside."""

    pid: int


class Answers:
    """What the daemon says, through its client on the host."""

    def __init__(self, host: LabHost) -> None:
        self._host = host
        containers = self._words("ps", "--all", "--quiet", "--no-trunc")
        self.containers = self._json("inspect", *containers)
        self.networks = self._json("network", "inspect", *self._words("network", "ls", "--quiet", "--no-trunc"))
        self.volumes = self._json("volume", "inspect", *self._words("volume", "ls", "--quiet"))
        images = self._words("image", "ls", "--quiet", "--no-trunc")
        self.images = self._json("image", "inspect", *dict.fromkeys(images))

    def _run(self, *arguments: str) -> str:
        return self._host.run(["docker", *arguments]).stdout

    def _words(self, *arguments: str) -> list[str]:
        return self._run(*arguments).split()

    def _json(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._run(*arguments))
        return found


def data_root(host: LabHost) -> Path:
    """The host's /var/lib/docker, seen from outside."""
    return Path(f"/proc/{host.pid}/root/var/lib/docker")


@pytest.fixture(scope="module", params=["demo_host", "demo_host_sid"])
def host(request: pytest.FixtureRequest) -> LabHost:
    found: LabHost = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def said(host: LabHost) -> Answers:
    return Answers(host)


@pytest.fixture(scope="module", params=["answering", "frozen"])
def read(host: LabHost, said: Answers, request: pytest.FixtureRequest) -> oracle.DataRoot:
    """The records, with the daemon as it is and with the daemon stopped; no test that follows finds it so."""
    if request.param == "answering":
        return oracle.DataRoot(data_root(host))
    host.run(["sh", "-c", "kill -STOP $(cat /run/docker.pid)"])
    try:
        return oracle.DataRoot(data_root(host))
    finally:
        host.run(["sh", "-c", "kill -CONT $(cat /run/docker.pid)"])


def test_nothing_is_unreadable(read: oracle.DataRoot) -> None:
    assert read.notes == []


def test_containers(said: Answers, read: oracle.DataRoot) -> None:
    assert read.containers.keys() == {of["Id"] for of in said.containers}
    for inspect in said.containers:
        container_id = inspect["Id"]
        engine, record = oracle.container_pair(inspect, read.containers[container_id], read.layers.get(container_id))
        assert record == engine


def test_networks(said: Answers, read: oracle.DataRoot) -> None:
    found = {of["Id"]: oracle.network_of_engine(of) for of in said.networks}
    records = {network_id: oracle.network_of_record(of) for network_id, of in read.networks.items()}
    assert records.keys() <= found.keys()
    # The ingress network is written down only where a task publishes a port through it.
    assert {found[network_id]["name"] for network_id in found.keys() - records.keys()} <= {"ingress"}
    for network_id, of in records.items():
        assert of == found[network_id]


def test_endpoints_of_local_networks(said: Answers, read: oracle.DataRoot) -> None:
    for network in said.networks:
        if network["Scope"] == "local":
            records = oracle.endpoints_of_records(read.endpoints.values(), network["Id"])
            assert records == oracle.endpoints_of_engine(network), network["Name"]


def test_volumes(said: Answers, read: oracle.DataRoot) -> None:
    assert {name: oracle.volume_of_record(of) for name, of in read.volumes.items()} == {
        of["Name"]: oracle.volume_of_engine(of) for of in said.volumes
    }


def test_image_names(said: Answers, read: oracle.DataRoot) -> None:
    assert oracle.image_names_of_records(read.images) == oracle.image_names_of_engine(said.images)


def test_sandboxes(said: Answers, read: oracle.DataRoot) -> None:
    sandboxes = {of.id: of.container_id for of in read.sandboxes.values()}
    for container in said.containers:
        sandbox_id = container["NetworkSettings"]["SandboxID"]
        if container["State"]["Running"] and sandbox_id:
            assert sandboxes[sandbox_id] == container["Id"]


def test_tables_while_the_daemon_writes_them(host: LabHost) -> None:
    """Networks and volumes come and go; what is read meanwhile is always one of the states in between."""
    before = oracle.DataRoot(data_root(host))
    script = """
        for number in 1 2 3 4 5; do
            docker network create busy-$number; docker volume create busy-$number
        done
        docker network rm busy-1 busy-2 busy-3 busy-4 busy-5; docker volume rm busy-1 busy-2 busy-3 busy-4 busy-5
    """
    writer = Thread(target=host.run, args=(["sh", "-c", script],))
    writer.start()
    seen = 0
    while writer.is_alive():
        meanwhile = oracle.DataRoot(data_root(host))
        assert meanwhile.notes == []
        assert meanwhile.networks.keys() >= before.networks.keys()
        assert meanwhile.volumes.keys() >= before.volumes.keys()
        assert all(name.startswith("busy-") for name in meanwhile.volumes.keys() - before.volumes.keys())
        seen = max(seen, len(meanwhile.networks.keys() - before.networks.keys()))
    writer.join()
    assert seen > 0
    after = oracle.DataRoot(data_root(host))
    assert (after.networks.keys(), after.volumes.keys()) == (before.networks.keys(), before.volumes.keys())
