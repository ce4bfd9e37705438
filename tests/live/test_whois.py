"""whois, asked for every key of every object of a host (see `whois_keys`), and for what is left over of others."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.lab.host import LabHost, LabSpec
from tests.live.hosts import on_random_hosts
from tests.live.observed import observe
from tests.live.report import COMMAND, hostinspect
from tests.live.whois_keys import Expected, expected_of, more_of

_ATTEMPTS = 3


def ask(host: LabHost, keys: list[str], *options: str, codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """The answers by key, from one run."""
    lines = "".join(f"{key}\n" for key in dict.fromkeys(keys))
    done = host.run([*COMMAND, "whois", "--output", "json", *options, "-"], check=False, input=lines)
    assert done.returncode in codes, done.stderr
    return {answer["key"]: answer for answer in json.loads(done.stdout)["keys"]}


# What a number or a path is least likely to be, and is told all the same: the oracle does not list all of these.
_FAR_FETCHED = ("mount id", "container port", "mount in a container", "mount point")


def unmet(host: LabHost, codes: tuple[int, ...] = (0, 1)) -> tuple[list[str], int]:
    """What whois does not answer as expected, attempt after attempt (a container that is restarted over and over
    changes in between); and how much was expected.

    Each key's owner must be named, and of no key may a container be named that has nothing to do with it.
    """
    failed: set[str] = set()
    for attempt in range(_ATTEMPTS):
        every = expected_of(observe(host), more_of(host))
        answers = ask(host, [expected.key for expected in every], codes=codes)
        now = {str(expected) for expected in every if not expected.is_met_by(answers[expected.key])}
        now |= set(strangers(every, answers))
        failed = now if attempt == 0 else failed & now
        if not failed:
            break
    return sorted(failed), len(every)


def strangers(every: list[Expected], answers: dict[str, Any]) -> Iterator[str]:
    """Containers that an answer names as the owner, and no expectation of that key."""
    known: dict[str, set[str]] = defaultdict(set)
    for expected in every:
        known[expected.key].add(expected.id)
    for key, answer in answers.items():
        for match in answer["matches"]:
            owner = match["owner"] or {"kind": "nobody"}
            if owner["kind"] == "container" and owner["id"] not in known[key] and match["kind"] not in _FAR_FETCHED:
                yield f"{key}: {match['kind']}: {match['summary']}"


@pytest.mark.parametrize("demo", ["demo_host", "demo_host_sid"], indirect=True)
def test_every_key_of_the_demo_scenario(demo: LabHost) -> None:
    failed, asked = unmet(demo)
    assert not failed, "\n".join(failed)
    assert asked > 900


def test_every_key_with_containerds_image_store() -> None:
    """There is no overlay2/ and no image/ then: of layers and of images' names containerd's tables tell."""
    with LabHost(LabSpec(userland="sid", dockerd=("--feature=containerd-snapshotter=true",))) as host:
        host.seed()
        failed, asked = unmet(host)
        assert not failed, "\n".join(failed)
        assert asked > 700


@on_random_hosts
def test_every_key_of_a_random_host(made_up: LabHost) -> None:
    failed, asked = unmet(made_up)
    assert not failed, "\n".join(failed)
    assert asked > 900


def test_a_snapshot_answers_as_the_host_does(demo_host: LabHost) -> None:
    keys = [expected.key for expected in expected_of(observe(demo_host), more_of(demo_host))]
    snapshot = "/tmp/whois.hostinspect"
    try:
        assert hostinspect(demo_host, "snapshot", "--output", snapshot).returncode == 0
        live = ask(demo_host, keys, codes=(0, 1))
        replayed = ask(demo_host, keys, "--from", snapshot, codes=(0, 1))
    finally:
        demo_host.run(["rm", "--force", snapshot])
    assert [key for key in live if _lasting(live[key]) != _lasting(replayed[key])] == []


def _lasting(answer: Any) -> str:
    """An answer without what changes from one look to the next: counters. What was looked at differs too: a relative
    path means nothing for a snapshot."""
    return re.sub(r"\d+ packets?\b", "N packets", json.dumps(answer["matches"]))


def test_an_answer_is_what_the_schema_says(demo_host: LabHost) -> None:
    schema = json.loads(hostinspect(demo_host, "schema", "whois").stdout)
    for key in ("eth0", "8080", "172.17.0.200", "nobody-at-all", "1"):
        done = hostinspect(demo_host, "whois", key, "--output", "json")
        jsonschema.validate(json.loads(done.stdout), schema)
        assert done.returncode == (1 if key == "nobody-at-all" else 0)


def test_what_nobody_has_is_a_no_and_says_what_was_looked_at(demo_host: LabHost) -> None:
    keys = ("veth0000000", "203.0.113.7", "02:42:00:00:00:01", "4194303", "net:[1]", "/no/such/path", "ab" * 32, "a b")
    for key in keys:
        done = hostinspect(demo_host, "whois", key)
        assert (done.returncode, done.stderr) == (1, ""), key
        assert done.stdout.startswith(f"nothing here goes by {key}\n   not among "), key


def test_an_ordinary_user_learns_that_not_all_could_be_seen(demo_host: LabHost) -> None:
    done = hostinspect(demo_host, "whois", "172.17.0.5", user="nobody")
    assert done.returncode == 3
    assert "who is there could not be seen" in done.stdout  # the proxy that leads there has a command line for all
    assert "nobody" not in done.stdout
    assert "run as root" in done.stderr


# --- what is left over ------------------------------------------------------------------------------------------


def test_leftovers() -> None:
    """A container's record is deleted behind a killed daemon's back: its process, veth, rule, proxy, layer, mount,
    namespace and volume are still there, and each says that it is nobody's, and whose it was.
    """
    with LabHost() as host:
        host.seed()
        seen = observe(host)
        id_ = next(id_ for id_, c in seen.containers.items() if c["Name"] == "/web1")
        sharer = next(id_ for id_, c in seen.containers.items() if c["Name"] == "/sidecar")
        container = seen.containers[id_]
        pid, sandbox = container["State"]["Pid"], container["NetworkSettings"]["SandboxKey"]
        layer = container["GraphDriver"]["Data"]["UpperDir"].removesuffix("/diff")
        inside = next(link for link in seen.namespaces[seen.netns_by_pid[pid]].links if link["ifname"] == "eth0")
        on_host = seen.namespaces[seen.host_netns]
        veth = next(link["ifname"] for link in on_host.links if link["ifindex"] == inside["link_index"])
        endpoint = container["NetworkSettings"]["Networks"]["bridge"]
        host.kill_dockerd()
        root = seen.info["DockerRootDir"]
        for gone in (id_, sharer):
            host.run(["rm", "--recursive", f"{root}/containers/{gone}"])
        keys = {
            "the process": str(pid),
            "the cgroup": f"/docker/{id_}",
            "the id": id_,
            "the beginning of the id": id_[:12],
            "the directory": f"{root}/containers/{id_}",
            "the sandbox": sandbox,
            "the veth": veth,
            "the endpoint": endpoint["EndpointID"],
            "the layer": f"{layer}/diff/x",
        }
        answers = ask(host, [*keys.values(), endpoint["IPAddress"], "8080"], codes=(0, 1, 3))
        for what, key in keys.items():
            found = [m for m in answers[key]["matches"] if m["leftover"] and (m["formerly"] or {}).get("id") == id_]
            assert found, (what, answers[key])

        # Now its processes go too, and those of mysql_app, which has its record still: only the names under
        # /run/docker/netns keep their namespaces, and the veths in them.
        other = next(c for c in seen.containers.values() if c["Name"] == "/mysql_app")
        inside = next(
            n for n in seen.namespaces[seen.netns_by_pid[other["State"]["Pid"]]].links if n["ifname"] == "eth0"
        )
        others = next(link["ifname"] for link in on_host.links if link["ifindex"] == inside["link_index"])
        for process in (pid, seen.containers[sharer]["State"]["Pid"], other["State"]["Pid"]):
            host.run(["kill", "-KILL", str(process)])
            alive = f"grep --quiet '^State:.[^ZX]' /proc/{process}/status"
            host.run(["sh", "-c", f"while {alive}; do sleep 0.05; done 2>/dev/null"])
        answers = ask(host, [veth, sandbox, others, str(inside["ifindex"])], codes=(0, 1, 3))
        for key in (veth, sandbox):
            assert [(m["leftover"], m["formerly"]["id"]) for m in answers[key]["matches"]] == [(True, id_)], answers[
                key
            ]
        stopped = answers[others]["matches"][0]
        assert (stopped["leftover"], stopped["owner"]["id"]) == (True, other["Id"]), stopped

        # At last nobody has the address that the rule and the endpoint's record still name.
        host.run(["umount", sandbox.replace("/var/run", "/run")])
        host.run(["sh", "-c", f"while ip link show {veth}; do sleep 0.05; done 2>/dev/null"])
        answers = ask(
            host,
            ["8080", endpoint["IPAddress"], f"{endpoint['IPAddress']}:80", endpoint["EndpointID"]],
            codes=(0, 1, 3),
        )
        for key, answer in answers.items():
            found = [m for m in answer["matches"] if m["leftover"] and (m["formerly"] or {}).get("id") == id_]
            assert found, (key, answer)
        assert any(m["kind"] == "destination of a rule" for m in answers[f"{endpoint['IPAddress']}:80"]["matches"])


def test_things_that_never_were_a_containers(demo_host: LabHost) -> None:
    """A rule to an address nobody has, a layer directory nobody knows, a namespace that `ip netns` made."""
    root = demo_host.docker("info", "--format", "{{.DockerRootDir}}")
    rule = "DOCKER --protocol tcp --dport 9999 --jump DNAT --to-destination 172.17.9.9:99"
    stray = f"{root}/overlay2/{'f' * 64}"
    demo_host.run(
        ["sh", "-ec", f"iptables -t nat -A {rule}; mkdir {stray}; touch --date=yesterday {stray}; ip netns add stray"]
    )
    try:
        answers = ask(demo_host, ["172.17.9.9:99", "9999", stray, "f" * 64, "stray", "/run/netns/stray"])
    finally:
        demo_host.run(["sh", "-ec", f"iptables -t nat -D {rule}; rmdir {stray}; ip netns delete stray"])
    for key in ("172.17.9.9:99", "9999", stray, "f" * 64):
        first = answers[key]["matches"][0]
        assert (first["leftover"], first["owner"]) == (True, None), answers[key]
    assert answers["9999"]["matches"][0]["reasons"][0]["text"].endswith("tcp 9999 → 172.17.9.9:99, 0 packets")
    for key in ("stray", "/run/netns/stray"):
        assert answers[key]["matches"][0]["owner"]["kind"] == "host"
