"""Hosts for the tests against real engines: each is made when the first test asks for it, and kept for the session.

A test that freezes or kills a daemon, or takes tools away, gives them back: others use the same host.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.errors import LabError
from tests.lab.host import LabHost, LabSpec
from tests.live import randomlab
from tests.live.observed import observe


@pytest.fixture(scope="session", autouse=True)
def _as_root() -> None:
    """Without root nothing here can run; that is a failure, not a reason to skip."""
    if os.geteuid() != 0:
        pytest.fail("the tests in tests/live make namespaces and hosts: run them as root", pytrace=False)


@contextmanager
def _seeded(spec: LabSpec) -> Iterator[LabHost]:
    """A host with the demo scenario. Where none can be had, the tests fail: nothing is skipped."""
    try:
        host = LabHost(spec).start()
    except LabError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        host.seed()
        yield host
    finally:
        host.stop()


@pytest.fixture(scope="session")
def demo_host() -> Iterator[LabHost]:
    """The demo scenario on this machine's Docker, with iptables-nft."""
    with _seeded(LabSpec()) as host:
        yield host


@pytest.fixture(scope="session")
def demo_host_legacy() -> Iterator[LabHost]:
    """The same with iptables-legacy."""
    with _seeded(LabSpec(firewall="legacy")) as host:
        yield host


@pytest.fixture(scope="session")
def demo_host_sid() -> Iterator[LabHost]:
    """The same on Debian sid's Docker, in sid's userland."""
    with _seeded(LabSpec(userland="sid")) as host:
        yield host


@contextmanager
def _made_up(seed: int, spec: LabSpec) -> Iterator[LabHost]:
    """A host of 20 containers that a seeded generator made up; the commands are in the output of the setup."""
    with LabHost(spec) as host:
        if not host.has_client():
            host.client(["true"])  # gives eth0 a carrier
        plan = randomlab.plan(seed, observe(host).version)
        print(plan.script())
        randomlab.apply(host, plan)
        randomlab.stop_what_restarts(host)
        yield host


@pytest.fixture(scope="session")
def random_host() -> Iterator[LabHost]:
    """A made-up host on this machine's Docker."""
    with _made_up(11, LabSpec()) as host:
        yield host


@pytest.fixture(scope="session")
def random_host_sid() -> Iterator[LabHost]:
    """A made-up host on Debian sid's Docker."""
    with _made_up(12, LabSpec(userland="sid")) as host:
        yield host


@pytest.fixture
def demo(request: pytest.FixtureRequest) -> LabHost:
    """One of the demo hosts, by name (`hosts.on_every_demo`)."""
    host: LabHost = request.getfixturevalue(request.param)
    return host


@pytest.fixture
def made_up(request: pytest.FixtureRequest) -> LabHost:
    """One of the random hosts, by name (`hosts.on_random_hosts`)."""
    host: LabHost = request.getfixturevalue(request.param)
    return host
