"""What is read under the data root, against the daemon's own answers, object by object and field by field.

Also while the daemon is frozen (SIGSTOP): the answers are taken before, the records meanwhile.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests import docker_oracle as oracle
from tests.live.observed import Host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


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
def read(host: LabHost, said: Answers, request: pytest.FixtureRequest) -> Iterator[oracle.DataRoot]:
    """The records, with the daemon as it is and with the daemon stopped."""
    if request.param == "answering":
        yield oracle.DataRoot(data_root(host))
        return
    host.run(["sh", "-c", "kill -STOP $(cat /run/docker.pid)"])
    try:
        yield oracle.DataRoot(data_root(host))
    finally:
        host.run(["sh", "-c", "kill -CONT $(cat /run/docker.pid)"])


def test_nothing_is_unreadable(read: oracle.DataRoot) -> None:
    assert read.notes == []


def test_containers(said: Answers, read: oracle.DataRoot) -> None:
    found = {of["Id"]: oracle.container_of_engine(of) for of in said.containers}
    records = {
        container_id: oracle.container_of_record(record, read.layers.get(container_id))
        for container_id, record in read.containers.items()
    }
    assert records.keys() == found.keys()
    for container_id, of in found.items():
        assert records[container_id] == of


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
