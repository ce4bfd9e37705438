"""A command asked of a topology made by hand, instead of this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import jsonschema
import pytest

from hostinspect.cli.app import run
from hostinspect.facts import Facts, Host
from hostinspect.questions.inspection import Inspection
from hostinspect.render.schema import answer_schema
from hostinspect.topology import Topology
from tests.unit.sample import NOW

NO_FACTS = Facts(host=Host(hostname="web-01", kernel="6.1.0", collected_at=NOW))


def inspected(topology: Topology, facts: Facts = NO_FACTS) -> Inspection:
    """An inspection of these."""
    inspection = Inspection(facts)
    inspection.topology = topology
    return inspection


class Reply(NamedTuple):
    """What came of a command line."""

    code: int
    out: str
    err: str


class Asker:
    """Runs command lines that read a topology."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        for name in ("COLUMNS", "NO_COLOR", "LC_ALL", "LC_CTYPE", "HOSTINSPECT_DEBUG"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("LANG", "C.UTF-8")

    def read(self, topology: Topology, facts: Facts = NO_FACTS) -> None:
        """What the host turns out to be."""
        self._monkeypatch.setattr("hostinspect.collectors.collect", lambda data_roots, **more: facts)
        self._monkeypatch.setattr("hostinspect.correlate.correlate", lambda facts, index: topology)

    def __call__(self, *arguments: str, columns: int | None = None) -> Reply:
        """The command as in a pipe, or as on a terminal of so many columns."""
        if columns is None:
            self._monkeypatch.delenv("COLUMNS", raising=False)
        else:
            self._monkeypatch.setenv("COLUMNS", str(columns))
        code = run(arguments)
        out, err = self._capsys.readouterr()
        return Reply(code, out, err)

    def json(self, *arguments: str) -> Any:
        """The answer as JSON, held against its schema."""
        reply = self(*arguments, "-o", "json")
        assert reply.code == 0, reply.err
        answer = json.loads(reply.out)
        jsonschema.validate(answer, answer_schema(arguments[0]), cls=jsonschema.Draft202012Validator)
        return answer


def assert_fits(lines: Sequence[str], columns: int) -> None:
    """Every line fits and holds nothing that a terminal would obey."""
    from rich.cells import cell_len

    for line in lines:
        assert cell_len(line) <= columns, line
        assert line.isprintable(), repr(line)
