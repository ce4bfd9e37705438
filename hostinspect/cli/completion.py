"""Completion in the shell: `hostinspect completion SHELL`, and the names that only the host knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

if TYPE_CHECKING:
    from hostinspect.collectors.engines import EngineRecords
    from hostinspect.facts import Facts

Family = Literal["containers", "networks", "volumes"]

PROGRAM = "hostinspect"
VARIABLE = "_HOSTINSPECT_COMPLETE"  # click's name for it: set by the script, to ask for completions

# What docker takes for a name. Anything else is the work of somebody who hopes for a shell that runs it.
_PLAIN_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")

_LOAD = {
    "bash": "hostinspect completion bash > /etc/bash_completion.d/hostinspect",
    "zsh": "hostinspect completion zsh > /usr/local/share/zsh/site-functions/_hostinspect",
    "fish": "hostinspect completion fish > /etc/fish/completions/hostinspect.fish",
}


@click.command()
@click.argument("shell", type=click.Choice([*_LOAD]))
def completion(shell: str) -> None:
    """Print the completion script for bash, zsh or fish.

    It completes commands, options, and the names of containers, networks and volumes.

    \b
    Examples:
      source <(hostinspect completion bash)
      hostinspect completion zsh > /usr/local/share/zsh/site-functions/_hostinspect
      hostinspect completion fish > /etc/fish/completions/hostinspect.fish
    """
    from hostinspect.cli.app import hostinspect

    script = get_completion_class(shell)
    assert script is not None
    # Not its own source(): that of bash starts a bash to ask for its version.
    click.echo(ShellComplete.source(script(hostinspect, {}, PROGRAM, VARIABLE)))


def complete(instruction: str) -> int:
    """Answer the script: `bash_complete`, `zsh_complete`, `fish_complete`. Returns the exit code.

    Never a word on stderr, whatever goes wrong: it would stand in the middle of what is being typed.
    """
    from hostinspect.cli.app import hostinspect

    shell, _, action = instruction.partition("_")
    script = get_completion_class(shell)
    if script is None or action != "complete":
        return 1
    try:
        click.echo(script(hostinspect, {}, PROGRAM, VARIABLE).complete())
    except Exception:
        return 1
    return 0


def names_of(*families: Family) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """A `shell_complete` for parameters that take the names of these."""

    def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        given = {*(ctx.params.get(param.name or "") or ())} if param.nargs != 1 else set()
        return [
            CompletionItem(name, help=family.removesuffix("s"))
            for family, name in _names(ctx, families)
            if name.startswith(incomplete) and name not in given
        ]

    return names


def _names(ctx: click.Context, families: Sequence[Family]) -> list[tuple[Family, str]]:
    """The names by family; those made up by the engine, and what is no name, left out."""
    found: dict[tuple[Family, str], None] = {}
    for records in _records(ctx.params.get("snapshot"), tuple(ctx.params.get("data_roots") or ())):
        for family in families:
            for record in getattr(records, family):
                if _PLAIN_NAME.fullmatch(record.name) and not (family == "volumes" and len(record.name) == 64):
                    found[family, record.name] = None
    return sorted(found)


def _records(snapshot: str | None, data_roots: tuple[str, ...]) -> Iterable[Facts | EngineRecords]:
    """What the engines wrote down, here or in a snapshot. The kernel is not asked: names are not its business."""
    if snapshot is not None:
        from hostinspect.snapshot import read_snapshot

        yield read_snapshot(snapshot)
        return
    from hostinspect.collectors.engines import collect_engines, collect_records
    from hostinspect.collectors.gaps import GapLog
    from hostinspect.collectors.host import collect_host
    from hostinspect.collectors.processes import collect_processes

    gaps = GapLog()  # nobody is told
    host = collect_host(gaps)
    for engine in collect_engines(host, tuple(collect_processes(gaps)), gaps, data_roots):
        yield collect_records(engine, gaps)
