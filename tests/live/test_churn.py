"""While 20 containers start and stop each second, every report is true, and is whole of what was there all the time.

`make churn` makes a thousand reports in the same way.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.lab.host import LabHost, LabSpec
from tests.lab.sightings import Check, Outcome, run
from tests.lab.turnover import turnover
from tests.live.report import hostinspect, without

_SECONDS = 40
_WHOLE = 10


@pytest.fixture(scope="module")
def host() -> Iterator[LabHost]:
    with LabHost(LabSpec()) as started:
        yield started


@pytest.fixture(scope="module")
def outcome(host: LabHost) -> Outcome:
    return run(host, _SECONDS, 1000, _WHOLE)


@pytest.fixture(scope="module")
def check(outcome: Outcome) -> Check:
    checked = Check(outcome.log)
    for sighting in outcome.sightings:
        checked(sighting)
    return checked


def test_there_was_churn(outcome: Outcome) -> None:
    kinds = Counter(instance.kind for instance in outcome.log)
    assert kinds["real"] and kinds["synthetic"]
    used = len(outcome.log)
    assert len({instance.netns for instance in outcome.log}) < used
    assert len({instance.host_ifindex for instance in outcome.log}) < used
    assert len({instance.ip for instance in outcome.log}) < used


def test_no_correlation_is_wrong(check: Check, outcome: Outcome) -> None:
    assert len(outcome.sightings) > _WHOLE
    assert check.correlations > len(outcome.sightings)
    assert check.wrong == []


def test_what_was_there_all_the_time_is_told_whole(check: Check) -> None:
    assert check.unseen == []


def test_what_came_or_went_is_no_gap(outcome: Outcome) -> None:
    assert [gap for sighting in outcome.sightings for gap in sighting.grave_gaps] == []


def test_nothing_is_left_open(outcome: Outcome) -> None:
    assert outcome.before == outcome.after


def test_no_process_and_no_namespace_is_left(host: LabHost, outcome: Outcome) -> None:
    assert outcome.sightings
    processes = host.run(["ps", "-eo", "args="]).stdout.splitlines()
    assert [process for process in processes if "hostinspect" in process or "sightings" in process] == []
    # The host's own, and that of the one container that stayed.
    assert len(host.run(["lsns", "--type", "net", "--noheadings", "--output", "NS"]).stdout.split()) == 2


# What a container's answer has of others: counters, where its rules stand between theirs, and the shim's parent.
_OF_OTHERS = ("packets", "bytes", "position", "ppid")


def test_a_container_that_stays_is_told_alike_all_the_time() -> None:
    """It alone and the host are looked at, whatever becomes of the others meanwhile."""
    with LabHost() as host, turnover(host):
        answers = [hostinspect(host, "container", "-o", "json", "template0") for _ in range(60)]
    assert {(answer.returncode, answer.stderr) for answer in answers} == {(0, "")}
    told = [without(json.loads(answer.stdout)["containers"], *_OF_OTHERS) for answer in answers]
    assert told[0][0]["links"][1]["peer"]
    assert [one for one in told if one != told[0]] == []
