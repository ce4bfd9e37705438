"""Command lines read without click: the same command and values as click has, or it is asked."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hostinspect.cli import by_click, plain
from hostinspect.cli.commands import COMMANDS, load
from hostinspect.cli.parameters import Argument, Command, Flag, Number, Option, Parameter

SEED = 20_240_607
LINES = 150  # of each command

OPERANDS = ["web1", "8080", "a/b", "53/udp", "ports", "bash", "", "-", "é", "\udcff", "a=b", "/", "a,b"]
ODD = [
    *("--", "-x", "--xyz", "--help", "-h", "--version", "--outpu=json", "--outpu", "-", "--=", "-=", "--verbose=1"),
    *("-o=json", "-vqo", "-vqx", "-ov", "-v-", "--o", "---", "-voq", "-h=", "\0", "repot", "-json", "-0", "-a"),
]
NUMBERS = [
    *("1", "0", "5", "0.5", ".5", "5.", "007", "3600", "3601", "-1", "+1", "1e3", "nan", "inf", " 1", "1_0", "٣", "."),
    *("", "x", "9" * 19, "9" * 5000, "1073741824", "1073741825", "0.0", "1.5.2"),
]


def by_click_alone(arguments: Sequence[str]) -> tuple[Command, dict[str, Any]] | int:
    return by_click.parse(arguments)


def _values(parameter: Parameter, chance: random.Random) -> str:
    """Something for it: mostly right."""
    if parameter.choices:
        return chance.choice([*parameter.choices, *parameter.choices, "xml", "", parameter.choices[0].upper()])
    if isinstance(parameter, Number):
        return chance.choice(NUMBERS)
    if parameter.name in ("root", "data_roots"):
        return chance.choice(["/", "/tmp", "/nowhere", "/etc/passwd", "", "a\0b"])
    if parameter.name in ("only", "skip", "explain"):
        return chance.choice(["forward-drops", "forward-drops,port-without-rule", "nothing", "", ","])
    return chance.choice([*OPERANDS, "-x", "--", "--output", "name,+state", "-created", "/etc/passwd"])


def _option(option: Option, chance: random.Random) -> list[str]:
    name = chance.choice(option.names)
    if isinstance(option, Flag):
        return [name]
    value = _values(option, chance)
    return chance.choice([[name, value], [f"{name}={value}"] if name.startswith("--") else [name + value]])


def _lines(name: str, chance: random.Random) -> Iterator[list[str]]:
    command = load(name)
    options = [parameter for parameter in command.parameters if isinstance(parameter, Option)]
    operands = [parameter for parameter in command.parameters if isinstance(parameter, Argument)]
    for _ in range(LINES):
        words = [_option(option, chance) for option in chance.choices(options, k=chance.randrange(5) if options else 0)]
        words += [_option(option, chance) for option in options if option.required and chance.random() < 0.8]
        words += [[_values(p, chance)] for p in operands if chance.random() < 0.8]
        words += [[chance.choice(OPERANDS)] for _ in range(chance.randrange(2))]
        if chance.random() < 0.2:
            words.append([chance.choice(ODD)])
        if chance.random() < 0.3:  # short flags in one word
            words.append(["-" + "".join(chance.choices("vqao0", k=chance.randrange(1, 4)))])
        chance.shuffle(words)
        before = words[: chance.randrange(3)] if chance.random() < 0.3 else []
        line = [*before, [name], *words[len(before) :]]
        yield [*itertools.chain(*line)]


def _asked(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether it was read without click; and then as click reads it."""
    found = plain.parse(arguments)
    assert capsys.readouterr() == ("", "")
    if found is None:
        return False
    said = by_click_alone(arguments)
    assert isinstance(said, tuple), f"wrong usage: {arguments} {capsys.readouterr().err}"
    assert found == said, arguments
    assert {name: type(value) for name, value in found[1].items()} == {name: type(v) for name, v in said[1].items()}
    return True


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_read_without_click_is_what_click_reads(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(f"{SEED} {name}")
    read = sum(_asked(line, capsys) for line in _lines(name, chance))
    assert read > LINES // 20


def test_every_short_line_of_odd_words(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*ODD, "report", "container", "web1", "-o", "json", "-v", "", "--output=yaml", "--null"]
    for line in itertools.chain([[]], itertools.product(words), itertools.product(words, repeat=2)):
        _asked([*line], capsys)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-o json",
        "-ojson",
        "--output=json -q",
        "--output json report",
        "-o json ports --all",
        "container web1 -v web2",
        "container -o docker web1",
        "ports -vq --columns name,+state --sort -created --no-header --timeout 0.5",
        "links -av",
        "diff -0 web1",
        "doctor --only forward-drops --skip port-without-rule,rule-to-nobody --fail-on never",
        "snapshot -o x --redact --root / --data-root /tmp --data-root /",
        "watch --for 1 --count 2 --pause 0.5 --safety 0 --buffer 4096",
        "compare /nowhere /etc/passwd",
        "whois - 172.17.0.5:80",
        "schema",
        "schema ports",
        "completion bash",
    ],
)
def test_plain_lines_are_read_without_click(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _asked(line.split(), capsys)


@pytest.mark.parametrize(
    "line",
    [
        *("--help", "-h", "--version", "report --help", "report -h", "repot", "-o xml", "--outpu json", "report extra"),
        *("container", "container -- web1", "report -o", "report --quiet=1", "report --timeout 1e3", "schema a b"),
        *("--data-root /nowhere", "doctor --only nothing", "watch --pause 0", "compare", "-- report", "snapshot"),
    ],
)
def test_of_all_else_click_is_asked(line: str) -> None:
    assert plain.parse(line.split()) is None


def test_a_file_that_may_not_be_read_is_for_click_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").touch()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert plain.parse(["compare", str(tmp_path / "x")]) is None
    assert by_click_alone(["compare", str(tmp_path / "x")]) == 2
