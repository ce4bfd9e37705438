"""The group of commands, and what becomes of everything that can go wrong below it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from hostinspect import __version__
from hostinspect.cli.help import HELP

DEFAULT = "report"
COMMANDS = {  # name: module and attribute, loaded when asked for
    "report": ("hostinspect.cli.report", "report"),
    "containers": ("hostinspect.cli.containers", "containers"),
    "container": ("hostinspect.cli.container", "container"),
    "networks": ("hostinspect.cli.networks", "networks"),
    "bridges": ("hostinspect.cli.bridges", "bridges"),
    "links": ("hostinspect.cli.links", "links"),
    "ports": ("hostinspect.cli.ports", "ports"),
    "nat": ("hostinspect.cli.nat", "nat"),
    "volumes": ("hostinspect.cli.volumes", "volumes"),
    "layers": ("hostinspect.cli.layers", "layers"),
    "diff": ("hostinspect.cli.diff", "diff"),
    "whois": ("hostinspect.cli.whois", "whois"),
    "trace": ("hostinspect.cli.trace", "trace"),
    "doctor": ("hostinspect.cli.doctor", "doctor"),
    "snapshot": ("hostinspect.cli.snapshot", "snapshot"),
    "compare": ("hostinspect.cli.compare", "compare"),
    "watch": ("hostinspect.cli.watch", "watch"),
    "schema": ("hostinspect.cli.schema", "schema"),
    "completion": ("hostinspect.cli.completion", "completion"),
}

# Exit codes beside click's 0 and 2, and 3 of `hostinspect.cli.report`. A bug must not look like an answer, and 1 is
# one; sysexits(3) has codes for these.
NOT_ENOUGH_SEEN = 3  # as `hostinspect.cli.request` has it, which is not loaded here
EX_SOFTWARE = 70
EX_IOERR = 74
INTERRUPTED = 130  # 128 + SIGINT, as a shell says it
KILLED = 128  # and the signal
BROKEN_PIPE = 141  # 128 + SIGPIPE


class Commands(click.Group):
    """Commands loaded one by one. Without a name it is the default one; options may stand before the name too."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`-o json`, `-o json report` and `report -o json` are the same."""
        if ctx.resilient_parsing and not args:
            return super().parse_args(ctx, args)  # completion of the first word
        if args[:1] not in (["--help"], ["-h"], ["--version"]) and (not args or args[0].startswith("-")):
            before, rest = self._options_before(ctx, args)
            args = [*(rest[:1] or [DEFAULT]), *before, *rest[1:]]
        return super().parse_args(ctx, args)

    def _options_before(self, ctx: click.Context, args: list[str]) -> tuple[list[str], list[str]]:
        """The options in front, by the default command's parser, and what follows from the first bare word on."""
        command = self.get_command(ctx, DEFAULT)
        assert command is not None
        with command.make_context(DEFAULT, [], parent=ctx, resilient_parsing=True) as default:
            parser = command.make_parser(default)
            parser.allow_interspersed_args = False
            _, rest, _ = parser.parse_args([*args])  # resilient: of a wrong option the command itself will tell
        return args[: len(args) - len(rest)], rest

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS:
            from difflib import get_close_matches

            close = get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {close[0]}?" if close else f" There are: {', '.join(COMMANDS)}."
            raise click.UsageError(f"No such command: {name}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: click.Context) -> str:
        return HELP.rstrip("\n")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hostinspect", message="%(prog)s %(version)s")
def hostinspect() -> None:
    """Shows what a Docker host is made of (`hostinspect.cli.help` has the text)."""


def run(arguments: Sequence[str], *, confined: bool = False) -> int:
    """Run a command line; returns the exit code. What a person can do something about never ends in a traceback.

    `confined`: this process is the command's alone, which gives up for good what it does not need
    (`hostinspect.kernel.sandbox`).
    """
    try:
        # Not click's main(): it makes exit code 1 of a closed pipe.
        with hostinspect.make_context("hostinspect", [*arguments], obj=confined) as ctx:
            code = hostinspect.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as request:
        return request.exit_code
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return BROKEN_PIPE
    except OSError as error:
        from hostinspect.kernel.waiting import NoAnswerError

        if isinstance(error, NoAnswerError):
            return excuse(error)
        if error.filename is None and error.errno is not None and not _is_debug():
            # Collectors turn what the host refuses into gaps; what is left is our own output.
            return _not_written(error)
        return _bug(error)
    except MemoryError:
        _say("there is not enough memory for it: see `ulimit -v`, and the limit of its cgroup")
        return NOT_ENOUGH_SEEN
    except Exception as error:
        from hostinspect.kernel.limit import NothingAnswersError

        return excuse(error) if isinstance(error, NothingAnswersError) else _bug(error)
    return code if isinstance(code, int) else 0


def excuse(error: BaseException) -> int:
    """Say why a command came to no end, as `hostinspect.kernel.limit` has it; returns the exit code."""
    from hostinspect.kernel.limit import KilledError, OutputError
    from hostinspect.kernel.waiting import REMEDY
    from hostinspect.render.text import safe

    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, KilledError):
        _say(f"its process was ended by signal {error.number}: see dmesg, where it was for want of memory")
        return KILLED + error.number
    if isinstance(error, OutputError):
        return BROKEN_PIPE if error.errno == errno.EPIPE else _not_written(error)
    _say(f"the host does not answer: {safe(str(error))} → {REMEDY}")
    return NOT_ENOUGH_SEEN


def _not_written(error: OSError) -> int:
    _say(f"the output could not be written: {os.strerror(error.errno or 0)}")
    _drop_stdout()
    return EX_IOERR


def _show(error: click.ClickException) -> None:
    """Arguments may come from a runbook that had them from a container: nothing in them may reach the terminal."""
    from io import StringIO

    from hostinspect.render.text import safe

    said = StringIO()
    error.show(said)
    click.echo("\n".join(map(safe, said.getvalue().splitlines())), err=True)


def _drop_stdout() -> None:
    """What is left in its buffer goes nowhere: Python flushes it once more at exit, and would complain."""
    from io import StringIO

    sys.stdout = StringIO()


def _is_debug() -> bool:
    return bool(os.environ.get("HOSTINSPECT_DEBUG"))


def _bug(error: Exception) -> int:
    """One line for the person at the shell; the traceback for whoever sets HOSTINSPECT_DEBUG."""
    if _is_debug():
        import traceback

        traceback.print_exception(error)
        return EX_SOFTWARE
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" at {os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place else ""
    _say(
        f"this is a bug in hostinspect {__version__}: {type(error).__name__}: {error}{where}\n"
        "The same command with HOSTINSPECT_DEBUG=1 before it says more; please report that."
    )
    return EX_SOFTWARE


def _say(message: str) -> None:
    click.echo(f"hostinspect: {message}", err=True)
