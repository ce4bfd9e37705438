"""The whole report, field by field, against what the daemon and the host's own tools say (see `oracle`)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.lab.host import LabHost, LabSpec
from tests.live import randomlab
from tests.live.hosts import on_every_demo
from tests.live.observed import observe
from tests.live.oracle import NOT_COMPARED, compare, differences, expected_of, settled_differences
from tests.live.report import hostinspect, report


@on_every_demo
def test_the_demo_scenario(demo: LabHost) -> None:
    assert settled_differences(demo, lambda: report(demo)) == []


def test_the_rules_all_the_same_where_no_firewall_tool_is_installed(demo_host: LabHost) -> None:
    observed = observe(demo_host)
    with demo_host.masked_tools():
        masked = demo_host.run(["sh", "-c", "iptables-save || nft list ruleset"], check=False)
        assert masked.returncode != 0
        answer = report(demo_host)
    assert [str(difference) for difference in compare(answer, observed)] == []


@on_every_demo
def test_json_and_yaml_are_what_the_schema_says(demo: LabHost) -> None:
    import yaml

    schema = json.loads(hostinspect(demo, "schema").stdout)
    kept = "/tmp/for-both-forms"  # between two looks, processes of the host's come and go: a health check's
    assert hostinspect(demo, "snapshot", "-o", kept).returncode == 0
    for of in ((), ("--from", kept)):
        answer = report(demo, *of)
        jsonschema.validate(answer, schema)
        as_yaml = yaml.safe_load(hostinspect(demo, "--output", "yaml", *of).stdout)
        jsonschema.validate(as_yaml, schema)
    assert as_yaml == answer


# --- random hosts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("userland", "seed"), [("host", 1), ("host", 2), ("host", 3), ("host", 4), ("host", 5), ("sid", 6), ("sid", 7)]
)
def test_a_random_host(userland: str, seed: int) -> None:
    """20 containers that a seeded generator made up; a failure shows the commands."""
    with LabHost(LabSpec(userland=userland)) as host:
        if not host.has_client():
            host.client(["true"])  # gives eth0 a carrier
        plan = randomlab.plan(seed, observe(host).version)
        randomlab.apply(host, plan)
        found = settled_differences(host, lambda: report(host))
        assert found == [], plan.script()


# --- the oracle itself ----------------------------------------------------------------------------------------------


def leaves(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of everything in a document that is no object and no list with something in it."""
    if isinstance(document, dict) and document:
        for key, value in document.items():
            yield from leaves(value, (*path, key))
    elif isinstance(document, list) and document:
        for i, value in enumerate(document):
            yield from leaves(value, (*path, i))
    else:
        yield path


def wrong(right: Any) -> Any:
    """Another value, of the same type where that is a number or a truth."""
    if isinstance(right, bool):
        return not right
    return right + 1_000_003 if isinstance(right, int) else "wrong"


def test_the_comparison_sees_every_field(demo_host: LabHost) -> None:
    """Fields of a right report are made wrong, one after the other; the comparison must notice each.

    Of fields that come many times, as a link's MAC, some of them.
    """
    expected = expected_of(observe(demo_host))
    answer = report(demo_host)
    assert [*differences(answer, expected)] == []
    tried: Counter[str] = Counter()
    unnoticed = set()
    for path in list(leaves(answer)):
        pattern = ".".join("[]" if isinstance(part, int) else part for part in path).replace(".[]", "[]")
        if tried[pattern] == 5 or any(pattern == silent or pattern.startswith(f"{silent}.") for silent in NOT_COMPARED):
            continue
        tried[pattern] += 1
        holder = answer
        for part in path[:-1]:
            holder = holder[part]
        right = holder[path[-1]]
        holder[path[-1]] = wrong(right)
        if not any(differences(answer, expected)):
            unnoticed.add(pattern)
        holder[path[-1]] = right
    assert len(tried) > 120
    assert unnoticed == set()
