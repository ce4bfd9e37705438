"""A fixed number of inputs for every parser, the same ones each time; `make fuzz` goes on from there."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostinspect.kernel.xtables import ipset
from tests.fuzz.targets import FOUND, Target, every, mutated, withstood
from tests.unit.packet_filter_fixtures import set_name

TARGETS = {target.name: target for target in every()}
DRAWN, MUTATED = 60, 600  # inputs for each target
_fixed = settings(max_examples=DRAWN, derandomize=True, database=None, suppress_health_check=[*HealthCheck])

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@pytest.fixture(autouse=True)
def recorded_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipset, "set_name", set_name)


@each_target
def test_what_is_real_is_read(target: Target) -> None:
    assert target.seeds
    for seed in target.seeds:
        target.parse(seed)


@each_target
def test_any_bytes(target: Target) -> None:
    @_fixed
    @given(st.binary(max_size=2000))
    def parse(raw: bytes) -> None:
        withstood(target, raw)

    parse()


@each_target
def test_damaged_inputs(target: Target) -> None:
    random = Random(target.name)
    for _ in range(MUTATED):
        withstood(target, mutated(target.seeds, random))


@pytest.mark.parametrize("path", sorted(FOUND.glob("*.*")), ids=lambda path: path.name)
def test_what_was_once_not_withstood(path: Path) -> None:
    withstood(TARGETS[path.name.rpartition(".")[0]], path.read_bytes())
