"""Manual pages, made of what `--help` says: `python -m hostinspect.cli.man DIRECTORY` (`make man`).

man(7) as groff and mandoc take it, in UTF-8.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from pathlib import Path

import click

from hostinspect import __version__
from hostinspect.cli.by_click import hostinspect
from hostinspect.cli.commands import COMMANDS
from hostinspect.cli.help import HELP

PROGRAM = "hostinspect"
_HEADING = re.compile(r"^(\S.*):$", re.M)
_INDENT = 2  # of what stands below a heading of HELP, and in a docstring's unwrapped paragraphs


def pages() -> Iterator[tuple[str, str]]:
    """Every page: its file name and its text."""
    yield f"{PROGRAM}.1", main_page()
    with click.Context(hostinspect, info_name=PROGRAM, **hostinspect.context_settings) as parent:
        for name in COMMANDS:
            command = hostinspect.get_command(parent, name)
            assert command is not None
            with click.Context(command, info_name=name, parent=parent) as ctx:
                yield f"{PROGRAM}-{name}.1", command_page(command, ctx)


def main_page() -> str:
    """hostinspect(1): the sections of `hostinspect --help`."""
    usage, _, rest = HELP.partition("\n\n")
    description, *sections = _HEADING.split(rest)
    lines = [
        *_head(PROGRAM, "shows what a Docker host is made of"),
        *_section("SYNOPSIS", [_escape(usage.removeprefix("Usage: "))]),
        *_section("DESCRIPTION", map(_escape, _dedent(description))),
    ]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        lines += _section(title.upper(), _verbatim(body))
    return _page([*lines, *_see_also(COMMANDS)])


def command_page(command: click.Command, ctx: click.Context) -> str:
    """hostinspect-COMMAND(1): its docstring, arguments and options."""
    paragraphs = cleandoc(command.help or "").split("\n\n")
    title, _, text = paragraphs[0].replace("\n", " ").partition(". ")
    name = f"{PROGRAM}-{ctx.info_name}"
    described = [[_escape(text or f"{title.rstrip('.')}.")]]
    examples: list[str] = []
    for paragraph in paragraphs[1:]:
        if paragraph.startswith("\b\nExamples:"):
            examples = [*_verbatim(paragraph.removeprefix("\b\nExamples:"))]
        else:
            described.append([*_verbatim(paragraph[2:])] if paragraph.startswith("\b\n") else [_escape(paragraph)])
    lines = [
        *_head(name, title.rstrip(".")),
        *_section("SYNOPSIS", [_escape(" ".join((PROGRAM, str(ctx.info_name), *command.collect_usage_pieces(ctx))))]),
        *_section("DESCRIPTION", _joined(described)),
        *_section("OPTIONS", _options(command, ctx)),
    ]
    if examples:
        lines += _section("EXAMPLES", examples)
    return _page([*lines, *_see_also([])])


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        option, words = record or ("", "")
        if words:
            yield ".TP"
            yield rf"\fB{_escape(option)}\fR"
            yield _escape(words)


def _head(name: str, title: str) -> list[str]:
    return [
        f'.TH "{name.upper()}" 1 "" "{PROGRAM} {__version__}" "{PROGRAM}"',
        ".SH NAME",
        rf"{_escape(name)} \- {_escape(title[:1].lower() + title[1:])}",
    ]


def _see_also(commands: Iterable[str]) -> list[str]:
    names = [f"{PROGRAM}-{name}" for name in commands] or [PROGRAM]
    return _section("SEE ALSO", [", ".join(rf"\fB{_escape(name)}\fR(1)" for name in names)])


def _section(title: str, body: Iterable[str]) -> list[str]:
    return [f".SH {title}", *body]


def _joined(paragraphs: Iterable[Iterable[str]]) -> Iterator[str]:
    for position, paragraph in enumerate(paragraphs):
        if position:
            yield ".PP"
        yield from paragraph


def _verbatim(text: str) -> Iterator[str]:
    """Lines as they are, without the indentation that they have in common."""
    yield ".nf"
    yield from (_escape(line) for line in _dedent(text))
    yield ".fi"


def _dedent(text: str) -> list[str]:
    lines = text.strip("\n").splitlines()
    return [line.removeprefix(" " * _INDENT) for line in lines]


def _escape(text: str) -> str:
    """Text that roff leaves alone."""
    escaped = text.strip("\n").replace("\\", r"\e").replace("-", r"\-").replace("~", r"\(ti").replace("^", r"\(ha")
    return "\n".join(rf"\&{line}" if line[:1] in (".", "'") else line for line in escaped.splitlines())


def _page(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def main(directory: str) -> None:
    """Write every page into the directory; what else is there goes."""
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.1"):
        old.unlink()
    for name, text in pages():
        (target / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
