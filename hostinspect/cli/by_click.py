"""The command line as click has it, made of the declarations of parameters (`hostinspect.cli.parameters`).

It tells what is wrong with a line, prints help, completes words, and reads what is not plain. No command runs in it: it
says which, with what values, as `hostinspect.cli.plain` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from hostinspect import __version__
from hostinspect.cli.commands import COMMANDS, DEFAULT, load
from hostinspect.cli.errors import BadValueError
from hostinspect.cli.help import HELP
from hostinspect.cli.parameters import Command, File, Flag, Number, Option, Parameter


class Commands(click.Group):
    """Commands loaded one by one. Without a name it is the default one; options may stand before the name too."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _command(load(cmd_name)) if cmd_name in COMMANDS else None

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


def parse(arguments: Sequence[str]) -> tuple[Command, dict[str, Any]] | int:
    """The command of a line, and a value for each of its parameters; the exit code where all has been said."""
    try:
        with hostinspect.make_context("hostinspect", [*arguments]) as ctx:
            called: tuple[Command, dict[str, Any]] = hostinspect.invoke(ctx)
            return called
    except click.exceptions.Exit as request:
        return request.exit_code
    except click.ClickException as error:
        _show(error)
        return error.exit_code


def tell_wrong_usage(command: Command, message: str) -> None:
    """Tell it with the usage of the command."""
    with click.Context(hostinspect, info_name="hostinspect", **hostinspect.context_settings) as parent:
        _show(click.UsageError(message, click.Context(_command(command), parent, command.name)))


def _show(error: click.ClickException) -> None:
    """Arguments may come from a runbook that had them from a container: nothing in them may reach the terminal."""
    from io import StringIO

    from hostinspect.render.text import safe

    said = StringIO()
    error.show(said)
    click.echo("\n".join(map(safe, said.getvalue().splitlines())), err=True)


# --- what click makes of a declaration ---


def _command(command: Command) -> click.Command:
    def called(**values: Any) -> tuple[Command, dict[str, Any]]:
        return command, values

    parameters = [_parameter(parameter) for parameter in command.parameters]
    return click.Command(command.name, callback=called, params=parameters, help=command.help)


def _parameter(parameter: Parameter) -> click.Parameter:
    settings: dict[str, Any] = {
        "type": _type(parameter),
        "metavar": parameter.metavar,
        "is_eager": parameter.first,
        "callback": _callback(parameter),
        "shell_complete": _shell_complete(parameter),
    }
    if not isinstance(parameter, Option):
        if parameter.default is not None:
            settings["default"] = parameter.default
        nargs = -1 if parameter.several else 1
        return click.Argument([parameter.name], nargs=nargs, required=parameter.required, **settings)
    names = [*parameter.names, parameter.name]
    if isinstance(parameter, Flag):
        flag = {"is_flag": True} if parameter.given else {"is_flag": True, "default": True, "flag_value": False}
        return click.Option(names, help=parameter.help, **flag)
    if parameter.default is not None and not parameter.several:
        settings |= {"default": parameter.default, "show_default": True}
    return click.Option(names, help=parameter.help, multiple=parameter.several, required=parameter.required, **settings)


def _type(parameter: Parameter) -> click.ParamType[Any] | None:
    if parameter.choices:
        return click.Choice(parameter.choices)
    if isinstance(parameter, File):
        return click.Path()
    if isinstance(parameter, Number):
        kind = click.IntRange if parameter.whole else click.FloatRange
        return kind(min=parameter.least, max=parameter.most, min_open=parameter.above)
    return None


def _callback(parameter: Parameter) -> Callable[[click.Context, click.Parameter, Any], Any] | None:
    convert = parameter.convert
    if convert is None:
        return None

    def converted(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            return convert(value, ctx.params)
        except BadValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return converted


def _shell_complete(parameter: Parameter) -> Callable[[click.Context, click.Parameter, str], list[str]] | None:
    complete = parameter.complete
    if complete is None:
        return None
    return lambda ctx, param, incomplete: complete(ctx.params, parameter, incomplete)
