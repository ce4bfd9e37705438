"""`hostinspect compare` on a real engine: all that a change of the host is told as, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from hostinspect.render.schema import answer_schema
from tests.lab.host import LabHost
from tests.live.report import hostinspect

BEFORE = "/tmp/before.snapshot"

Told = set[tuple[str, ...]]  # kind, family, subject, and the field where one changed


@pytest.fixture
def host(demo_host: LabHost) -> Iterator[LabHost]:
    """The demo host, without what the tests make on it once they are over."""
    yield demo_host
    demo_host.run(["sh", "-c", f"docker rm --force late; docker network rm late_net; rm -f {BEFORE}"], check=False)


def looked_at(host: LabHost) -> None:
    """Write down how it is now."""
    assert hostinspect(host, "snapshot", "-o", BEFORE).returncode == 0


def changes(host: LabHost, *arguments: str) -> list[dict[str, Any]]:
    """What changed since."""
    done = hostinspect(host, "compare", BEFORE, *arguments, "-o", "json")
    answer = json.loads(done.stdout)
    jsonschema.validate(answer, answer_schema("compare"), cls=jsonschema.Draft202012Validator)
    assert (done.returncode, done.stderr) == (1 if answer["changes"] else 0, "")
    assert all(change["certain"] for change in answer["changes"])
    found: list[dict[str, Any]] = answer["changes"]
    return found


_MADE_UP = re.compile(r"\b(veth|br-)[0-9a-f]+")


def told(host: LabHost) -> Told:
    """The changes with one name for all that are made up; without addresses of IPv6, which come a while later."""
    found = set()
    for change in changes(host):
        words = (change["kind"], change["family"], _MADE_UP.sub(r"\1X", change["subject"]), change["field"])
        found.add(tuple(word for word in words if word))
    return found - {("changed", family, f"{family[:-1]} br-X", "addresses") for family in ("links", "bridges")} - {
        ("changed", "links", "link br-X", "prefixes")
    }  # fmt: skip


def fields(family: str, subject: str, *names: str) -> Told:
    return {("changed", family, subject, name) for name in names}


_PORTS = ("port 9999 → 80/tcp of late", "port 9999 → 80/tcp (IPv6) of late")
_RUN = {
    *((family, subject) for family, subject in (("ports", _PORTS[0]), ("ports", _PORTS[1]))),
    ("links", "link eth0 of late"),
    ("links", "link lo of late"),
    ("links", "link vethX"),
    ("netns", "network namespace of late"),
    ("listeners", "listener on tcp :: port 80 in late"),
    ("rules", "nat rule (ipv4)"),
    ("rules", "nat rule (ipv4) of late"),
    *(("chains", f"chain nat {chain} (ipv4) of late") for chain in ("DOCKER_OUTPUT", "DOCKER_POSTROUTING")),
    *(("chains", f"chain nat {chain} (ipv4) of late") for chain in ("OUTPUT", "POSTROUTING")),
}
_STATE = ("state", "pid", "cgroup", "netns", "exit_code", "finished_at")
_PLACE = ("endpoint_id", "interface", "ip", "prefix_len", "gateway", "mac", "host_link", "host_link_netns", "bridge")


def _wait_for_listener(host: LabHost) -> None:
    script = "until docker exec late nc -w 1 127.0.0.1 80 </dev/null; do sleep 0.02; done"
    host.run(["timeout", "20", "sh", "-c", script])


def test_a_life_of_a_container(host: LabHost) -> None:
    looked_at(host)
    assert told(host) == set()

    host.docker("network", "create", "late_net")
    assert told(host) == {
        ("added", "networks", "network late_net"),
        ("added", "bridges", "bridge br-X"),
        ("added", "links", "link br-X"),
        ("added", "rules", "nat rule (ipv4)"),
    }
    looked_at(host)

    options = ("--name", "late", "--publish", "9999:80", "--network", "late_net", "--volume", "/srv/site:/s:ro")
    host.docker("run", "--detach", *options, "lab/base", "httpd", "-f", "-p", "80")
    _wait_for_listener(host)
    up = fields("links", "link br-X", "operstate", "flags")
    assert told(host) == up | {("added", *what) for what in _RUN} | {
        ("added", "containers", "late"),
        ("added", "endpoints", "late on late_net"),
        ("added", "mounts", "mount of bind /srv/site on /s in late"),
    }
    looked_at(host)

    host.docker("stop", "--time", "0", "late")
    stopped = fields("containers", "late", *_STATE) | fields("endpoints", "late on late_net", *_PLACE)
    stopped |= fields("mounts", "mount of bind /srv/site on /s in late", "mounted")
    stopped |= {("removed", *what) for what in _RUN}
    seen = told(host)
    assert {one for one in seen if one[2] != "link br-X"} == stopped
    looked_at(host)

    host.docker("start", "late")
    _wait_for_listener(host)
    kinds = {"added": "removed", "removed": "added", "changed": "changed"}
    back = {(kinds[kind], *rest) for kind, *rest in stopped} - fields("containers", "late", "finished_at")
    assert {one for one in told(host) if one[2] != "link br-X"} == back | fields("containers", "late", "started_at")
    looked_at(host)

    host.docker("rm", "--force", "late")
    gone = {("removed", *what) for what in _RUN} | {
        ("removed", "containers", "late"),
        ("removed", "endpoints", "late on late_net"),
        ("removed", "mounts", "mount of bind /srv/site on /s in late"),
    }
    assert {one for one in told(host) if one[2] != "link br-X"} == gone


def test_a_restart_in_words(host: LabHost) -> None:
    host.docker("run", "--detach", "--name", "late", "lab/base", "sleep", "1d")
    [before] = host.docker_json("inspect", "late")
    looked_at(host)
    host.docker("restart", "--time", "0", "late")
    [after] = host.docker_json("inspect", "late")
    text = hostinspect(host, "compare", BEFORE)
    assert text.returncode == 1
    assert f"late: restarted, pid {before['State']['Pid']} → {after['State']['Pid']}, started " in text.stdout
    [pid] = [change for change in changes(host) if change["family"] == "containers" and change["field"] == "pid"]
    assert (pid["key"], pid["before"], pid["after"]) == (before["Id"], before["State"]["Pid"], after["State"]["Pid"])
    assert not [change for change in changes(host) if change["kind"] != "changed" and "veth" not in change["subject"]]


def test_two_files_by_anybody_and_with_a_frozen_daemon(host: LabHost) -> None:
    looked_at(host)
    host.docker("network", "create", "late_net")
    after = f"{BEFORE}.after"
    try:
        with host.frozen_dockerd():
            assert hostinspect(host, "snapshot", "-o", after).returncode == 0
        host.run(["chmod", "644", BEFORE, after])
        two = hostinspect(host, "compare", BEFORE, after, user="nobody")
        assert (two.returncode, two.stderr) == (1, "")
        assert "network late_net was added\n" in two.stdout
        assert "daemon running → not responding" in two.stdout
        assert two.stdout == hostinspect(host, "compare", BEFORE, "--from", after).stdout
    finally:
        host.run(["rm", after])


def test_a_plain_user_is_told_that_nothing_is_certain(host: LabHost) -> None:
    """What he cannot see has not gone."""
    looked_at(host)
    host.run(["chmod", "644", BEFORE])
    done = hostinspect(host, "compare", BEFORE, "-o", "json", user="nobody")
    assert done.returncode == 3 and "run as root" in done.stderr
    found = json.loads(done.stdout)["changes"]
    assert found and not any(change["certain"] for change in found)
    assert "or could not be seen" in hostinspect(host, "compare", BEFORE, user="nobody").stdout


def test_a_disk_tells_what_is_written_on_it_for_certain(host: LabHost) -> None:
    """The host's own, while it runs: nothing else has changed."""
    looked_at(host)
    unchanged = hostinspect(host, "compare", BEFORE, "--root", "/")
    assert unchanged.returncode == 3 and "or could not be seen" in unchanged.stdout
    host.docker("network", "create", "late_net")
    found = [change["words"] for change in changes_against_disk(host) if change["certain"]]
    assert found == ["network late_net was added"]


def changes_against_disk(host: LabHost) -> list[dict[str, Any]]:
    done = hostinspect(host, "compare", BEFORE, "--root", "/", "-o", "json")
    assert done.returncode == 1
    found: list[dict[str, Any]] = json.loads(done.stdout)["changes"]
    return found
