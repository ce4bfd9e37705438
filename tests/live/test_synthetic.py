"""Synthetic containers are told as the real one that they are made after; and a host with more containers than the
process may have descriptors is told whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from hostinspect.engines.boltdb import Bolt
from tests.lab.bolt import bolt_file
from tests.lab.host import LabHost, LabSpec
from tests.lab.synthetic import make
from tests.live.report import COMMAND, report

COUNT = 300
_DESCRIPTORS = 256
_OWN = re.compile(r"[0-9a-f]{12,64}|veth[0-9a-f]{7}|s\d+|template\d+|10\.1\d\d\.\d+\.\d+|02:42(:[0-9a-f]{2}){4}")


@pytest.fixture(scope="module")
def host() -> Iterator[LabHost]:
    with LabHost(LabSpec()) as started:
        make(started, COUNT)
        yield started


def shape(value: Any) -> Any:
    """What is the same of all of them: no ids, names, addresses and numbers."""
    if isinstance(value, dict):
        return {key: shape(of) for key, of in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return _OWN.sub("*", value) if isinstance(value, str) else type(value).__name__


def test_each_is_told_as_the_real_one(host: LabHost) -> None:
    found = report(host)
    assert found["gaps"] == []
    containers = {container["name"]: container for container in found["containers"]}
    assert containers.keys() == {"template0", *(f"s{number}" for number in range(COUNT))}
    real = containers["template0"]
    assert (real["state"], real["drift"]) == ("running", [])
    assert [port["via"] for port in real["ports"]] == [["dnat", "proxy"], ["proxy"]]
    assert real["endpoints"][0]["host_link"] and real["mounts"][0]["mounted"]
    assert {json.dumps(shape(container)) for container in containers.values()} == {json.dumps(shape(real))}
    assert len({container["endpoints"][0]["ip"] for container in containers.values()}) == COUNT + 1
    assert len({container["netns"] for container in containers.values()}) == COUNT + 1
    assert not any(link["doubt"] for link in found["links"])


def test_few_descriptors_are_enough(host: LabHost) -> None:
    assert _DESCRIPTORS < COUNT
    limited = host.run(["sh", "-c", f'ulimit -n {_DESCRIPTORS}; exec "$@"', "sh", *COMMAND, "-o", "json"])
    few, many = json.loads(limited.stdout), report(host)
    for found in (few, many):
        found["host"].pop("collected_at")
        for counted in (*found["nat_rules"], *found["nat_chains"]):
            counted.pop("packets"), counted.pop("bytes")
    assert few == many


@pytest.mark.parametrize("count", [0, 1, 50, 20_000])
def test_the_database_is_one(count: int) -> None:
    items = {f"docker/network/v1.0/endpoint/{number:05}/": b"x" * (number % 300) for number in range(count)}
    items |= {"long": b"y" * 10_000} if count else {}
    content = bolt_file(b"libnetwork", [(key.encode(), value) for key, value in items.items()])
    assert dict(Bolt(content).items(b"libnetwork")) == {key.encode(): value for key, value in items.items()}
