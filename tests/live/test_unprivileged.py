"""An ordinary user gets what can be seen, is told what could not be and why, and exit code 3."""

from __future__ import annotations

import json

from tests.lab.host import LabHost
from tests.live.report import hostinspect


def test_json_with_what_can_be_seen_and_gaps(demo_host: LabHost) -> None:
    done = hostinspect(demo_host, "--output", "json", user="nobody")
    assert done.returncode == 3
    answer = json.loads(done.stdout)
    links = {link["ifname"]: link["kind"] for link in answer["links"]}
    assert links["docker0"] == "bridge"
    assert list(links.values()).count("veth") >= 10
    assert answer["containers"] == []
    assert 0 < len(answer["gaps"]) < 15
    for gap in answer["gaps"]:
        assert gap["subject"]
        assert gap["why"]
        assert gap["remedy"]
    assert {gap["collector"] for gap in answer["gaps"]} >= {"engines", "rules", "namespaces"}
    assert "could not be seen" in done.stderr
    assert "run as root" in {gap["remedy"] for gap in answer["gaps"]}


def test_the_tree_says_so_in_words(demo_host: LabHost) -> None:
    done = hostinspect(demo_host, user="nobody")
    assert done.returncode == 3
    assert "docker0" in done.stdout
    assert "not seen" in done.stdout
    assert "run as root" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_root_sees_enough(demo_host: LabHost) -> None:
    done = hostinspect(demo_host)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_data_root_that_is_none_is_wrong_usage(demo_host: LabHost) -> None:
    done = hostinspect(demo_host, "--data-root", "/nowhere")
    assert done.returncode == 2
    assert "/nowhere" in done.stderr
