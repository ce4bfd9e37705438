"""What every command has in common: the host it asks, the form of its answer, where that goes, and the exit code."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import click

from hostinspect.cli.places import existing_directories, existing_root

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hostinspect.cli.reading import More
    from hostinspect.facts import Facts, Gap
    from hostinspect.questions.answer import Answer
    from hostinspect.questions.inspection import Inspection
    from hostinspect.render.screen import Screen
    from hostinspect.render.table import Column
    from hostinspect.topology import Topology

NO = 1  # the answer is "no": nobody found, something broken
WRONG_USAGE = 2
NOT_ENOUGH_SEEN = 3

Family = Literal["containers", "networks", "volumes"]  # whose names may stand on the command line

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


_RECORDS = ("engines", "containers", "networks", "volumes")  # without these, a name may be of something not seen


class _SaidError(click.ClickException):
    """An answer, and no fault of whoever asked."""

    def show(self, file: Any = None) -> None:
        click.echo(f"hostinspect: {self.message}", file=file, err=True)


class NothingFoundError(_SaidError):
    """What was asked for is not there, or, where not all could be seen, may be."""

    def __init__(self, message: str, *, not_enough_seen: bool = False) -> None:
        self.exit_code: int = NOT_ENOUGH_SEEN if not_enough_seen else NO  # type: ignore[misc]
        if not_enough_seen:
            message += " But not all could be seen: run as root, or see the gaps of `hostinspect report`."
        super().__init__(message)


class NotEnoughSeenError(_SaidError):
    """What was asked for is not to be answered from what is there."""

    exit_code = NOT_ENOUGH_SEEN


class Request(NamedTuple):
    """The common options of one run."""

    output: str
    data_roots: tuple[str, ...]
    snapshot: str | None
    color: str
    pager: bool
    verbose: bool
    quiet: bool
    columns: tuple[str, ...] = ()
    sort: tuple[str, ...] = ()
    header: bool = True
    sandbox: bool = True
    root: str | None = None
    timeout: float = 0  # of which whoever supervises us has been told (`timeout_option`)

    # --- the host ---

    @property
    def is_of_this_host(self) -> bool:
        """Whether it is this host that is asked about: no snapshot, and no other's disk."""
        return self.snapshot is None and self.root is None

    def facts(self, *families: str, **more: Unpack[More]) -> Facts:
        """What is to be answered from: this host, read now, or a disk, or a snapshot, which has everything.

        Of the host only these `families` are read, where any are named; `more` are `collect`'s own keywords.
        """
        if self.root is not None and self.snapshot is not None:
            raise click.UsageError("--from and --root are two hosts: give one of them.")
        if self.snapshot is None:
            from hostinspect.cli.reading import collected

            return collected(self.root, self.data_roots, families, **more)
        from hostinspect.snapshot import SnapshotError, read_snapshot

        try:
            return read_snapshot(self.snapshot)
        except (OSError, SnapshotError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise click.UsageError(f"{self.snapshot} could not be read: {why}") from None

    def inspect(self, *families: str, **more: Unpack[More]) -> Inspection:
        """The same, with what it means."""
        from hostinspect.questions.inspection import Inspection

        return Inspection(self.facts(*families, **more))

    def find(self, inspection: Inspection, find: Callable[[str], T], name: str) -> T:
        """What `find`, a look-up of the inspection, finds by a name that a person gave.

        Raises `NothingFoundError` where there is none, click.UsageError where it may be one of several.
        """
        from hostinspect.questions.inspection import AmbiguousNameError, NameNotFoundError

        try:
            return find(name)
        except NameNotFoundError as error:
            unseen = any(gap.collector in _RECORDS and not gap.minor for gap in inspection.topology.gaps)
            raise NothingFoundError(str(error), not_enough_seen=unseen) from None
        except AmbiguousNameError as error:
            raise click.UsageError(f"{error} Give more of the id.") from None

    # --- the answer ---

    def screen(self) -> Screen:
        """What stdout is."""
        from hostinspect.cli.terminal import stdout_settings
        from hostinspect.render.screen import Screen

        return Screen(*stdout_settings(self.color))

    def reply(self, answer: Answer, draw: Callable[[Screen], str], *, code: int = 0) -> int:
        """Print the answer in the form asked for; `draw` makes the text for people. Returns the exit code.

        What was not seen of it is told on stderr, and makes exit code 3 of 0: a "no" (`code` 1) stands.
        """
        self.show(self.document(answer) or draw(self.screen()))
        return self.conclude(answer.gaps, code)

    def document(self, answer: Answer | Topology) -> str | bytes | None:
        """The answer as JSON or YAML where that is asked for."""
        if self.output == "json":
            from hostinspect.render.json import render_json

            return render_json(answer)
        if self.output == "yaml":
            from hostinspect.render.yaml import render_yaml

            return render_yaml(answer)
        return None

    def table(self, rows: Sequence[T], columns: Sequence[Column[T]], screen: Screen) -> str:
        """The rows with the columns, in the order and with the header asked for."""
        from hostinspect.render.table import ColumnError, choose_columns, render_table, sort_rows

        try:
            chosen = choose_columns(columns, self.columns, every=self.verbose)
            ordered = sort_rows(rows, columns, self.sort)
        except ColumnError as error:
            raise click.UsageError(str(error)) from None
        every = self.verbose or bool(self.columns)
        return render_table(ordered, chosen, screen, header=self.header, every=every)

    def show(self, text: str | bytes) -> None:
        """Print to stdout, on a terminal through the pager where that is asked for."""
        if self.pager and sys.stdout.isatty():
            os.environ.setdefault("LESS", "FRX")  # colours; and no pager for what fits the screen
            click.echo_via_pager(text.decode() if isinstance(text, bytes) else text, color=True)
        else:
            click.echo(text, nl=False, color=True)

    def conclude(self, gaps: Sequence[Gap], code: int = 0) -> int:
        """Tell the gaps on stderr; returns the exit code."""
        grave = [gap for gap in gaps if not gap.minor]
        if grave and not self.quiet:
            click.echo("hostinspect: not all of it could be seen:", err=True)
            for line in dict.fromkeys(f"{gap.subject}: {gap.why} → {gap.remedy}" for gap in grave):
                click.echo("  " + _safe(line), err=True)
        return code or (NOT_ENOUGH_SEEN if grave else 0)


def _safe(text: str) -> str:
    from hostinspect.render.text import safe

    return safe(text)


def confine(wanted: bool, *, writes: bool = False, connects: bool = False, executes: bool = False) -> None:
    """Give up what the command does not need (`hostinspect.kernel.sandbox.enter`), if this process is its alone."""
    if wanted and click.get_current_context().obj:
        from hostinspect.kernel.sandbox import enter

        enter(writes=writes, connects=connects, executes=executes)


def names_of(*families: Family) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """A `shell_complete` for a parameter that takes names of these."""

    def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        from hostinspect.cli.completion import complete_names

        return complete_names(ctx, param, incomplete, families)

    return names


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """A list with commas, as ps(1) and lsblk(8) take it."""
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


data_root_option = click.option(
    "--data-root",
    "data_roots",
    metavar="DIR",
    multiple=True,
    callback=existing_directories,
    help="An engine's directory that is not found by itself; may be given several times.",
)
sandbox_option = click.option(
    "--no-sandbox",
    "sandbox",
    is_flag=True,
    default=True,
    flag_value=False,
    help="Keep all privileges and system calls, on a host where doing without some goes wrong.",
)


def _limited(_ctx: click.Context, _param: click.Parameter, seconds: float) -> float:
    """Tell whoever supervises us."""
    from hostinspect.kernel import waiting

    waiting.limit(seconds)
    return seconds


timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, max=3600),
    default=5,
    callback=_limited,
    metavar="SECONDS",
    show_default=True,
    is_eager=True,  # before the directories, which are looked at within it
    help="Go on without what does not answer for so long; 0: wait for it.",
)
root_option = click.option(
    "--root",
    metavar="DIR",
    is_eager=True,  # before --data-root, which is beneath it then
    callback=existing_root,
    help="Answer from the disk of another host, mounted at DIR, and not from this host.",
)
_HOST_OPTIONS = [
    click.option(
        "--from",
        "snapshot",
        metavar="SNAPSHOT",
        help="Answer from a file of `hostinspect snapshot`, not from this host.",
    ),
    root_option,
    data_root_option,
    timeout_option,
    sandbox_option,
]
_DISPLAY_OPTIONS = [
    click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        help="auto: on a terminal, and without NO_COLOR.",
        show_default=True,
    ),
    click.option("--pager", is_flag=True, help="On a terminal, show it with $PAGER."),
    click.option("-v", "--verbose", is_flag=True, help="Whole ids and paths, and all that there is to tell."),
    click.option("-q", "--quiet", is_flag=True, help="Do not tell what could not be seen; the exit status still does."),
]
_TABLE_OPTIONS = [
    click.option(
        "--columns",
        metavar="NAME,…",
        callback=_names,
        help="These columns only; +NAME adds to the usual, of which a narrow terminal shows fewer.",
    ),
    click.option("--sort", metavar="NAME,…", callback=_names, help="Sort by these columns; -NAME in falling order."),
    click.option("--no-header", "header", is_flag=True, default=True, flag_value=False, help="No line of headers."),
]


def common_options(*outputs: str, table: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of a command that answers in these forms, the first by default; with a `table`, those for it.

    The command is called with a `Request` first, and its own parameters by name.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def called(**values: Any) -> Any:
            common = {name: values.pop(name) for name in Request._fields if name in values}
            request = Request(**common)
            pages = request.pager and sys.stdout.isatty()
            confine(request.sandbox, connects=values.get("probe", False), executes=pages)
            return command(request, **values)

        choice = click.option(
            "-o", "--output", type=click.Choice(outputs), default=outputs[0], help="What to print.", show_default=True
        )
        return _apply([choice, *_HOST_OPTIONS, *_DISPLAY_OPTIONS, *(_TABLE_OPTIONS if table else [])], called)

    return decorate


def _apply(options: Sequence[Callable[[F], F]], command: F) -> F:
    for option in reversed(options):
        command = option(command)
    return command
