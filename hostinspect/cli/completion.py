"""Completion in the shell: `hostinspect completion SHELL`, and the names that only the host knows."""

from __future__ import annotations

from hostinspect.cli.echo import write
from hostinspect.cli.parameters import Argument, File, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hostinspect.cli.options import Family
    from hostinspect.cli.parameters import Given, Parameter
    from hostinspect.collectors.engines import EngineRecords
    from hostinspect.facts import Facts

PROGRAM = "hostinspect"
VARIABLE = "_HOSTINSPECT_COMPLETE"  # click's name for it: set by the script, to ask for completions

_PATIENCE = 1.0  # seconds for what does not answer: somebody is typing

_SHELLS = ("bash", "zsh", "fish")


@command(
    Argument("shell", choices=_SHELLS, required=True),
    asks=False,
)
def completion(shell: str) -> None:
    """Print the completion script for bash, zsh or fish.

    It completes commands, options, and the names of containers, networks and volumes.

    \b
    Examples:
      source <(hostinspect completion bash)
      hostinspect completion zsh > /usr/local/share/zsh/site-functions/_hostinspect
      hostinspect completion fish > /etc/fish/completions/hostinspect.fish
    """
    from click.shell_completion import ShellComplete, get_completion_class

    from hostinspect.cli.by_click import hostinspect

    script = get_completion_class(shell)
    assert script is not None
    # Not its own source(): that of bash starts a bash to ask for its version.
    write(f"{ShellComplete.source(script(hostinspect, {}, PROGRAM, VARIABLE))}\n")


def complete(instruction: str) -> int:
    """Answer the script: `bash_complete`, `zsh_complete`, `fish_complete`. Returns the exit code. This process is its
    alone.

    Never a word on stderr, whatever goes wrong: it would stand in the middle of what is being typed.
    """
    try:
        told = _told(instruction)
        if told is None:
            told = _told_by_click(instruction)
        if told is not None:
            write(f"{told}\n")
    except Exception:
        return 1
    return 1 if told is None else 0


def _told(instruction: str) -> str | None:
    """What the shell is told of names, in a plain line; None where click has to be asked."""
    from hostinspect.cli import plain, words
    from hostinspect.cli.errors import BadValueError

    typed = words.typed(instruction)
    if typed is None or not typed[0] or typed[1].startswith("-"):
        return None
    before, incomplete = typed
    try:
        command, parameter, arguments = plain.awaited(before)
        if isinstance(parameter, File) or parameter.choices:
            return None
        given = plain.values_of(command, arguments, whole=False)
    except (plain.NotPlainError, BadValueError):
        return None
    names = parameter.complete(given, parameter, incomplete) if parameter.complete else []
    return words.told(instruction, [(name, "") for name in names])


def _told_by_click(instruction: str) -> str | None:
    """What click tells the shell, however odd the line is; None where it does not know such a shell."""
    from click.shell_completion import get_completion_class

    from hostinspect.cli.by_click import hostinspect

    shell, _, action = instruction.partition("_")
    script = get_completion_class(shell)
    if script is None or action != "complete":
        return None
    return script(hostinspect, {}, PROGRAM, VARIABLE).complete()


def complete_names(given: Given, parameter: Parameter, incomplete: str, families: Sequence[Family]) -> list[str]:
    """The names in these families that begin so, but for those that are there already."""
    before = {*(given.get(parameter.name) or ())} if parameter.several else set()
    from hostinspect.cli.reading import asked  # not for `hostinspect completion`, which reads nothing
    from hostinspect.kernel import waiting

    waiting.limit(_PATIENCE)
    names = asked(lambda: _names(given, families))
    return [name for name in names if name.startswith(incomplete) and name not in before]


def _names(given: Given, families: Sequence[Family]) -> list[str]:
    """The names, sorted; those that the engine made up, and what is no name, left out."""
    elsewhere = given.get("snapshot") or given.get("root") or given.get("data_roots")
    if not elsewhere:
        from hostinspect.cli.names import NotPlainError, names_of

        try:
            return sorted(names_of(families))
        except (NotPlainError, OSError, ValueError):
            pass
    return _names_in_records(given, families)


def _names_in_records(given: Given, families: Sequence[Family]) -> list[str]:
    """The same, whatever the host is like."""
    from hostinspect.cli.names import MADE_UP
    from hostinspect.engines.docker.naming import is_name

    found: set[str] = set()
    snapshot, root = given.get("snapshot"), given.get("root")
    for records in _records(snapshot, root, tuple(given.get("data_roots") or ()), families):
        for family in families:
            for record in getattr(records, family):
                if is_name(record.name) and not (family == "volumes" and len(record.name) == MADE_UP):
                    found.add(record.name)
    return sorted(found)


def _records(
    snapshot: str | None, root: str | None, data_roots: tuple[str, ...], families: Sequence[Family]
) -> Iterable[Facts | EngineRecords]:
    """What the engines wrote down, here, on a disk or in a snapshot. Names are not the kernel's business."""
    if root is not None:
        from hostinspect.collectors.disk import collect_disk

        yield collect_disk(root, data_roots, families)
        return
    if snapshot is not None:
        from hostinspect.snapshot import read_snapshot

        yield read_snapshot(snapshot)
        return
    from hostinspect.collectors.engines import collect_engines, collect_records
    from hostinspect.collectors.gaps import GapLog
    from hostinspect.collectors.host import collect_host
    from hostinspect.collectors.mounts import collect_host_mounts
    from hostinspect.collectors.processes import collect_processes

    gaps = GapLog()  # nobody is told
    host, mounts = collect_host(gaps), collect_host_mounts(gaps)
    for engine in collect_engines(host, tuple(collect_processes(gaps)), gaps, data_roots, mounts=mounts):
        yield collect_records(engine, gaps, mounts=mounts, families=families)
