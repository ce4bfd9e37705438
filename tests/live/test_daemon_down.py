"""The same report while dockerd hangs and after it died: only what died with it may be missing."""

from __future__ import annotations

from typing import Any

from tests.lab.host import LabHost, LabSpec
from tests.live.report import hostinspect, parts_that_differ, report


def without(answer: Any, *, died: bool) -> Any:
    """The report without its time, and what is expected to change: the daemon, and what dies with it."""
    del answer["host"]["collected_at"]
    for engine in answer["host"]["engines"]:
        del engine["daemon"]
        if died:
            del engine["pid"]
    if died:
        for container in answer["containers"]:
            for port in container["ports"]:  # docker-proxy is dockerd's child and dies with it
                port["proxy_pid"] = None
                port["via"] = [way for way in port["via"] if way != "proxy"]
            container["drift"] = [d for d in container["drift"] if not d["field"].startswith("ports[[::]:")]
        for namespace in answer["netns"]:
            namespace["pids"] = [] if namespace["host"] else namespace["pids"]
    return answer


def test_a_frozen_daemon_changes_nothing_but_its_own_state(demo_host: LabHost) -> None:
    before = report(demo_host)
    with demo_host.frozen_dockerd():
        assert not demo_host.docker_answers()
        during = report(demo_host)
        tree = hostinspect(demo_host)
    assert [engine["daemon"] for engine in before["host"]["engines"]] == ["running"]
    assert [engine["daemon"] for engine in during["host"]["engines"]] == ["not responding"]
    assert tree.returncode == 0
    assert "not responding" in tree.stdout
    assert parts_that_differ(without(before, died=False), without(during, died=False)) == []


def test_after_the_daemon_died_the_containers_are_all_still_there() -> None:
    with LabHost(LabSpec()) as host:
        host.seed()
        before = report(host)
        host.kill_dockerd()
        after = report(host)
    assert [engine["daemon"] for engine in after["host"]["engines"]] == ["stopped"]
    assert [engine["pid"] for engine in after["host"]["engines"]] == [None]
    assert any(port["via"] == ["dnat", "proxy"] for c in before["containers"] for port in c["ports"])
    assert not any("proxy" in port["via"] for c in after["containers"] for port in c["ports"])
    assert parts_that_differ(without(before, died=True), without(after, died=True)) == []
