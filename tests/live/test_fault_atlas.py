"""Each fault is made, doctor names it and nothing else, trace breaks where it should, and undone it leaves no trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from tests.lab.host import ADDRESS, LabHost, LabSpec
from tests.live import faults
from tests.live.faults import FAULTS, HEALTHY, Fault
from tests.live.report import hostinspect

HOSTS = {"nft": LabSpec(), "legacy": LabSpec(firewall="legacy"), "sid": LabSpec(userland="sid")}

# The packet filter differs between these hosts, and in what is made of it; the rest of the kernel and disk does not.
_OF_THE_FILTER = [*FAULTS][: [*FAULTS].index("rp-filter")]
_NOT_ON = {("legacy", "two-firewalls"), ("sid", "forward-flushed")}  # it has one already; it has other chains
CASES = [
    *(("nft", name) for name in FAULTS),
    *((which, name) for which in ("legacy", "sid") for name in _OF_THE_FILTER if (which, name) not in _NOT_ON),
]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Callable[[str], LabHost]]:
    """Hosts of their own, made when first asked for: what is broken here is nobody else's.

    Not a parametrized fixture: pytest makes one anew for every case of a parametrization with further values.
    """
    with ExitStack() as stack:

        @cache
        def made(which: str) -> LabHost:
            host = stack.enter_context(LabHost(HOSTS[which]))
            host.seed()
            host.client(["true"])
            return host

        yield made


@pytest.fixture
def host(request: pytest.FixtureRequest, hosts: Callable[[str], LabHost]) -> LabHost:
    """One of these."""
    return hosts(request.param)


def findings(host: LabHost, *arguments: str) -> set[tuple[str, str]]:
    """What doctor reports: check and subject."""
    done = hostinspect(host, "doctor", "-o", "json", "--fail-on", "never", *arguments)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert not [gap for gap in answer["gaps"] if not gap.get("minor")]
    found = [(finding["id"], finding["subject"]) for finding in answer["findings"]]
    assert len(found) == len(set(found)), "told twice"
    return set(found)


def shell(host: LabHost, fault: Fault, part: str) -> dict[str, str]:
    """Run a part of a fault; returns what it says."""
    said = host.run(["sh", "-e"], input=fault.script(part)).stdout  # not in its arguments: pgrep would find it
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


@pytest.mark.parametrize(("host", "name"), CASES, indirect=["host"], ids=map("-".join, CASES))
def test_a_fault_is_named_and_nothing_else(name: str, host: LabHost) -> None:
    fault = FAULTS[name]
    said: dict[str, str] = {}
    try:
        said = {"backend": host.spec.firewall, **shell(host, fault, fault.make)}
        healthy = set() if fault.doctor else HEALTHY
        assert findings(host, *fault.doctor) - healthy == {
            (id_, subject.format(**said)) for id_, subject in fault.found
        }
        if fault.trace is not None:
            target = fault.trace[0].format(**said)
            broken = hop(host, target)
            assert broken == fault.trace[1]
            if target.isdecimal():
                gets_through = broken in ("", "owner")
                assert connects(host, target, patience=10 if gets_through else 1) == gets_through
    finally:
        shell(host, fault, fault.undo)
    assert findings(host) == HEALTHY


def hop(host: LabHost, target: str) -> str:
    """The first hop at which trace breaks over IPv4, from outside unless told; "" where it gets through."""
    done = hostinspect(host, "trace", *target.split(), "-o", "json")
    traces = [t for t in json.loads(done.stdout)["traces"] if t["family"] == "ipv4"]
    assert traces, done.stderr
    return next((step["subject"] for step in traces[0]["hops"] if step["state"] == "broken"), "")


def connects(host: LabHost, port: str, patience: int) -> bool:
    """Whether somebody outside gets an answer within so many seconds."""
    url = f"http://{ADDRESS}:{port}/"
    return host.client(["curl", "-s", "-o", "/dev/null", "-m", str(patience), url], check=False).returncode == 0


@pytest.mark.parametrize("host", ["nft"], indirect=True)
def test_a_daemon_that_is_killed(host: LabHost) -> None:
    """Last, for its restart ends every container."""
    port = host.docker("port", "web2", "80").splitlines()[0].rpartition(":")[2]
    host.kill_dockerd()
    found = findings(host) - HEALTHY
    assert ("engine-stopped", "/var/lib/docker") in found
    proxies = {("port-without-proxy", subject) for subject in ("8080/tcp", f"{port}/tcp", "127.0.0.1:8081/tcp")}
    assert {f for f in found if "[::]" not in f[1]} == {("engine-stopped", "/var/lib/docker"), *proxies}


def test_every_check_is_in_the_atlas_or_says_why_not() -> None:
    from hostinspect.doctor import CHECKS

    made = {id_ for fault in FAULTS.values() for id_, _ in fault.found} | {"engine-stopped"}
    # A memory limit needs a controller that not every machine hands on; the rest of the proof is in tests/unit.
    assert {*CHECKS} - made == {"killed-for-memory"}


def test_the_page_is_up_to_date() -> None:
    assert faults.PAGE.read_text(encoding="utf-8") == faults.page(), "python -m tests.live.faults"
