"""doctor on hosts on which nothing is wrong: silence; and what it says of made-up ones, against the real tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.host import LabHost, LabSpec
from tests.live.faults import HEALTHY
from tests.live.hosts import on_every_demo, on_random_hosts
from tests.live.report import hostinspect


def ask(host: LabHost, *arguments: str) -> Any:
    """The answer as JSON; all must have been judged."""
    done = hostinspect(host, "doctor", "-o", "json", *arguments)
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert [gap for gap in answer["gaps"] if not gap.get("minor")] == []
    return answer


@on_every_demo
def test_the_healthy_demo_gives_nothing_above_info(demo: LabHost) -> None:
    found = ask(demo)["findings"]
    assert {(finding["id"], finding["subject"]) for finding in found} == HEALTHY
    assert {finding["severity"] for finding in found} == {"info"}


@pytest.mark.parametrize(
    ("userland", "dockerd"), [("host", ("--experimental", "--ip6tables")), ("sid", ())], ids=["host", "sid"]
)
def test_networks_that_all_are_internal(userland: str, dockerd: tuple[str, ...]) -> None:
    """The engine jumps to fewer of its chains, and that is no fault; to the others it does."""
    with LabHost(LabSpec(userland=userland, dockerd=("--bridge=none", *dockerd))) as host:
        host.docker("network", "create", "--internal", "--ipv6", "--subnet", "fd00:9::/64", "inner")
        assert {finding["severity"] for finding in ask(host)["findings"]} <= {"info"}
        host.run(["iptables", "-D", "FORWARD", "-j", "DOCKER-USER"])
        grave = [finding for finding in ask(host)["findings"] if finding["severity"] != "info"]
        assert [(finding["id"], finding["subject"]) for finding in grave] == [
            ("docker-chain-unreachable", "ipv4 filter DOCKER-USER")
        ]


@on_random_hosts
def test_of_a_made_up_host_only_what_its_containers_do(made_up: LabHost) -> None:
    """Its containers publish more ports than they listen on, and nobody broke anything."""
    findings = ask(made_up)["findings"]
    grave = [finding for finding in findings if finding["severity"] != "info"]
    assert {finding["id"] for finding in grave} <= {"port-nobody-listens", "port-loopback-only", "port-other-address"}
    for finding in grave:
        name, _, port = finding["summary"].partition(" leads to ")[2].partition(",")[0].rpartition(":")
        udp = finding["subject"].endswith("/udp")
        pid = made_up.docker("inspect", "--format", "{{.State.Pid}}", name)
        ss = ["nsenter", "-t", pid, "-n", "ss", "-Hln", "-u" if udp else "-t", f"sport = :{port}"]
        listening = [line.split()[3].rpartition(":")[0] for line in made_up.run(ss).stdout.splitlines()]
        if finding["id"] == "port-nobody-listens":
            assert listening == []
        else:
            assert listening and "*" not in listening


@on_random_hosts
def test_volumes_and_what_is_exposed_as_docker_has_it(made_up: LabHost) -> None:
    findings = ask(made_up)["findings"]
    by_id = {
        id_: {finding["subject"] for finding in findings if finding["id"] == id_}
        for id_ in ("volume-dangling", "volume-unused", "privileged-container")
    }
    dangling = {*made_up.docker("volume", "ls", "-q", "--filter", "dangling=true").split()}
    assert by_id["volume-dangling"] == dangling
    inspected = made_up.docker_json("inspect", *made_up.docker("ps", "-aq", "--no-trunc").split())
    used = {
        mount["Name"]
        for container in inspected
        if container["State"]["Running"]
        for mount in container["Mounts"]
        if mount["Type"] == "volume"
    }
    every = {*made_up.docker("volume", "ls", "-q").split()}
    assert by_id["volume-unused"] == every - used - dangling
    privileged = {c["Name"].removeprefix("/") for c in inspected if c["HostConfig"]["Privileged"]}
    assert by_id["privileged-container"] == privileged


def test_the_disk_as_df_has_it(demo_host: LabHost) -> None:
    demo_host.run(["sh", "-ec", "mkdir -p /srv/df; mount -t tmpfs -o size=16m tmpfs /srv/df; mkdir /srv/df/containers"])
    try:
        for megabytes, expected in ((8, []), (14, []), (15, ["warning"]), (16, ["critical"])):
            fill = f"dd if=/dev/zero of=/srv/df/file bs=1M count={megabytes} status=none || :"
            demo_host.run(["sh", "-ec", fill])
            used = demo_host.run(["df", "--output=pcent", "/srv/df"]).stdout.split()[1].rstrip("%")
            findings = ask(demo_host, "--data-root", "/srv/df", "--only", "disk-nearly-full", "--fail-on", "never")[
                "findings"
            ]
            assert [finding["severity"] for finding in findings] == expected, used
            assert all(finding["summary"].startswith(f"/srv/df is {used} % full") for finding in findings)
    finally:
        demo_host.run(["sh", "-ec", "umount /srv/df; rmdir /srv/df"])
