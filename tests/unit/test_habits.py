"""What every command has in common: help with examples that work, manual pages, completion in three shells."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hostinspect.cli import completion, man, words
from hostinspect.cli.app import run
from hostinspect.cli.by_click import hostinspect
from hostinspect.cli.commands import COMMANDS
from hostinspect.cli.completion import complete
from hostinspect.snapshot import write_snapshot
from tests.unit.factory import host_with_web

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = REPOSITORY / "docs" / "man"


def _command(name: str) -> click.Command:
    command = hostinspect.get_command(click.Context(hostinspect, **hostinspect.context_settings), name)
    assert command is not None
    return command


def _help(name: str) -> str:
    parent = click.Context(hostinspect, info_name="hostinspect", **hostinspect.context_settings)
    with click.Context(_command(name), info_name=name, parent=parent) as c:
        return c.get_help()


def _examples(name: str) -> list[list[str]]:
    """The arguments of each hostinspect in a command's examples."""
    text = _help(name).partition("Examples:\n")[2].partition("\n\n")[0]
    return [
        shlex.split(call)
        for line in text.splitlines()
        for call in re.findall(r"hostinspect ([^|>)&;]*)", line)
    ]  # fmt: skip


# --- help ---


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_examples_that_are_right_usage(name: str) -> None:
    examples = _examples(name)
    assert examples, f"hostinspect {name} --help has no examples"
    for arguments in examples:
        command = arguments[0] if arguments and not arguments[0].startswith("-") else "report"
        rest = arguments[1:] if arguments[:1] == [command] else arguments
        _command(command).make_context(command, rest, parent=click.Context(hostinspect, **hostinspect.context_settings))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_and_every_option_is_explained(name: str) -> None:
    assert max(map(len, _help(name).splitlines())) <= 100
    for parameter in _command(name).params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


# --- manual pages ---


def _written() -> dict[str, str]:
    return {page.name: page.read_text(encoding="utf-8") for page in PAGES.glob("*")}


def test_the_manual_pages_in_the_repository_are_those_of_the_help() -> None:
    assert _written() == dict(man.pages()), "make man"


@pytest.mark.parametrize("name", [name for name, _ in man.pages()])
def test_groff_has_no_complaint_of_a_manual_page(name: str) -> None:
    groff = ["groff", "-man", "-K", "utf8", "-T", "utf8", "-ww", "-z", str(PAGES / name)]
    done = subprocess.run(groff, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_manual_page_says_what_the_help_says() -> None:
    groff = ["groff", "-man", "-K", "utf8", "-T", "ascii", "-P-c", str(PAGES / "hostinspect-containers.1")]
    text = re.sub(r".\x08", "", subprocess.run(groff, capture_output=True, text=True, check=True).stdout)
    words = " ".join(text.split())
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "SEE ALSO"):
        assert f"\n{title}\n" in text
    assert "hostinspect containers -o json | jq -r '.containers[].id'" in words
    assert "These columns only; +NAME adds to the usual" in words


# --- completion ---


def _completed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """What bash is told for the last of the words."""
    monkeypatch.setenv("COMP_WORDS", shlex.join(["hostinspect", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    assert complete("bash_complete") == 0
    out, err = capsys.readouterr()
    assert err == ""
    return [line.partition(",")[2] for line in out.splitlines()]


@pytest.mark.parametrize(
    ("words", "among", "not_among"),
    [
        (("",), [*COMMANDS], ["-o"]),
        (("cont",), ["containers", "container"], ["report"]),
        (("-o", ""), ["tree", "json", "yaml"], ["table"]),
        (("containers", "-o", ""), ["table", "json", "yaml"], ["tree"]),
        (("containers", "--"), ["--columns", "--from", "--no-header"], []),
        (("schema", "con"), ["containers"], ["report"]),
        (("completion", ""), ["bash", "zsh", "fish"], []),
    ],
)
def test_commands_and_options_are_completed(
    words: tuple[str, ...],
    among: list[str],
    not_among: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    completions = _completed(capsys, monkeypatch, *words)
    assert {*among} <= {*completions} and not {*not_among} & {*completions}


# Each way to ask for completion as JSON in, and what click alone says, in a process of its own: it keeps its --help
# option from the first time that it was asked for.
ASK_CLICK = """
import json, os, sys
from hostinspect.cli.completion import _told_by_click
for instruction, typed, position in json.load(sys.stdin):
    os.environ.update(COMP_WORDS=typed, COMP_CWORD=position)
    print(json.dumps(_told_by_click(instruction)))
"""

_BEFORE = [
    *([], *([name] for name in COMMANDS), ["trace", "8080"], ["container", "a/b", "c:d"], ["schema", "a", "b"]),
    *(["report", "-o"], ["ports", "-v", "--output"], ["links", "web", "--color"], ["watch", "-o"], ["ports", "-vo"]),
    *(["containers", "--state"], ["containers", "--state", "paused", "--state"], ["doctor", "-q", "--fail-on"]),
    *(["containers", "--sort", "-o"], ["ports", "--sort", "-o", "x"], ["links", "--xyz", "-o"], ["nat", "-q", "-o"]),
]
_TYPED = [*COMMANDS, *{name[:2] for name in COMMANDS}, "", "x", "-", "--", "--co", "-v", "--help", "_", "/x", "-x"]
_ODD = [
    ("hostinspect report --color", "2"),
    ("hostinspect report\n-", "2"),
    ("/usr/bin/hostinspect re", "1"),
    ("hostinspect  report   --", "2"),
    ("hostinspect re", "0"),
    ("hostinspect re", "7"),
    ("", "1"),
]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_without_click_says_what_click_says(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [(f"{shell}_complete", *typed) for typed in _ODD]
    for before in _BEFORE:
        for typed in _TYPED:
            position = typed if shell == "fish" else str(1 + len(before))
            asked.append((f"{shell}_complete", " ".join(["hostinspect", *before, typed]), position))
    told = {}
    for case in asked:
        monkeypatch.setenv("COMP_WORDS", case[1])
        monkeypatch.setenv("COMP_CWORD", case[2])
        if (answer := words.complete(case[0])) is not None:
            told[case] = answer
    assert len(told) > len(_TYPED) + 5 * len(_BEFORE)
    command = [sys.executable, "-c", ASK_CLICK]
    by_click = subprocess.run(
        command, input=json.dumps([*told]), cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert [*told.values()] == [json.loads(line) for line in by_click.stdout.splitlines()]


@pytest.mark.parametrize(
    ("typed", "position", "instruction"),
    [
        ("hostinspect 're", "1", "bash_complete"),
        ("hostinspect report\\ -", "1", "bash_complete"),
        ("hostinspect report --color=a", "2", "bash_complete"),
        ("hostinspect report -v -", "3", "bash_complete"),  # has been given
        ("hostinspect report -- -", "3", "bash_complete"),
        ("hostinspect -o json", "2", "bash_complete"),
        ("hostinspect repot -", "2", "bash_complete"),
        ("hostinspect re", "-1", "bash_complete"),
        ("hostinspect re", "", "bash_complete"),
        ("hostinspect re", " ", "fish_complete"),
        ("hostinspect re", "1", "tcsh_complete"),
        ("hostinspect re", "1", "bash_source"),
    ],
)
def test_what_is_not_plain_is_left_to_click(
    typed: str, position: str, instruction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", position)
    assert words.complete(instruction) is None


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_names_without_click_are_those_that_click_says(
    shell: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    snapshot = tmp_path / "x.hostinspect"
    write_snapshot(host_with_web(), str(snapshot))
    lines = ("", "web", "web -v", "--netns", "-q --network", "--sort", "--timeout x", "--only", "--netns web --netns")
    told = names = 0
    for command, line, typed in itertools.product(COMMANDS, lines, ("", "w", "web", "x", "forward", "forward-drops,")):
        before = ["hostinspect", command, "--from", str(snapshot), *line.split()]
        monkeypatch.setenv("COMP_WORDS", " ".join([*before, typed]))
        monkeypatch.setenv("COMP_CWORD", typed if shell == "fish" else str(len(before)))
        found = completion._told(f"{shell}_complete")
        if found is not None:
            assert found == completion._told_by_click(f"{shell}_complete"), (before, typed)
            told += 1
            names += "web" in found
    assert told > 100 and names > 20


@pytest.mark.parametrize("instruction", ["tcsh_complete", "bash_source", "", "bash_complete_x"])
def test_no_other_instruction_is_obeyed(instruction: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert complete(instruction) == 1
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    """A `hostinspect` for a shell's PATH."""
    file = tmp_path / "hostinspect"
    file.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m hostinspect "$@"\n')
    file.chmod(0o755)
    yield file


BASH = """
source <(hostinspect completion bash)
complete -p hostinspect
COMP_WORDS=(hostinspect container) COMP_CWORD=1
_hostinspect_completion hostinspect
printf '%s\\n' "${COMPREPLY[@]}"
"""

# zsh completes only while somebody types: what it would be told is printed instead.
ZSH = """
compdef() { print -- compdef "$@" }
compadd() { local array=${@[-1]}; print -l -- "${(@P)array}" }
_describe() { local array=$3; print -l -- "${(@P)array}" }
eval "$(hostinspect completion zsh)"
words=(hostinspect container) CURRENT=2
_hostinspect_completion
"""

FISH = """
hostinspect completion fish | source
complete --do-complete "hostinspect container"
"""


@pytest.mark.parametrize(("shell", "script"), [("bash", BASH), ("zsh", ZSH), ("fish", FISH)])
def test_the_shells_themselves_complete(shell: str, script: str, program: Path) -> None:
    path = f"{program.parent}:/usr/local/bin:/usr/bin:/bin"
    env = {"PATH": path, "HOME": str(program.parent), "LANG": "C.UTF-8"}
    done = subprocess.run([shell, "-c", script], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    completions = {line.split("\t")[0].split(":")[0].strip() for line in done.stdout.splitlines()}
    assert {"container", "containers"} <= completions and "report" not in completions


# --- messages ---


def test_what_a_wrong_argument_holds_does_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["\x07a\u202eb\x9b2J"]) == 2
    err = capsys.readouterr().err
    assert r"\x07a\u202eb\x9b2J" in err
    assert err.replace("\n", "").isprintable()


# --- the pager ---

PAGED = """
import hostinspect.collectors, hostinspect.correlate, sys
from tests.unit.sample import demo
hostinspect.collectors.collect = lambda data_roots, **more: None
hostinspect.correlate.correlate = lambda facts, index, topology=demo(): topology
from hostinspect.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("asked", "terminal", "paged"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_a_pager_only_on_a_terminal_and_when_asked(asked: bool, terminal: bool, paged: bool, tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\nprintenv LESS >{tmp_path}/less\nexec cat >{tmp_path}/paged\n")
    pager.chmod(0o755)
    env = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(REPOSITORY),
        "PAGER": str(pager),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
    }
    command = [sys.executable, "-c", PAGED, *(["--pager"] if asked else [])]
    ours, theirs = os.openpty() if terminal else os.pipe()
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, stdin=theirs if terminal else subprocess.DEVNULL, env=env
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while block := os.read(ours, 65536):
                shown += block
        assert process.wait(60) == 0
    os.close(ours)
    told = (tmp_path / "paged").read_bytes() if paged else shown
    assert b"web-01" in told and (tmp_path / "paged").exists() is paged
    assert not paged or (b"web-01" not in shown and (tmp_path / "less").read_text() == "FRX\n")
