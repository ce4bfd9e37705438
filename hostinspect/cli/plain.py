"""Plain command lines, read without click, which takes longer than Python itself to load.

Only what is wholly plain is read, by the declarations of parameters: a command by its name, or none, its options by
theirs, with right values. Of all else, and of everything that is wrong, click is asked (`hostinspect.cli.by_click`). A
test holds both equal.
"""

from __future__ import annotations

from hostinspect.cli.commands import COMMANDS, DEFAULT, load
from hostinspect.cli.errors import BadValueError
from hostinspect.cli.parameters import Argument, Flag, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from hostinspect.cli.parameters import Command, Parameter


class NotPlainError(Exception):
    """Click has to be asked."""


def parse(arguments: Sequence[str]) -> tuple[Command, dict[str, Any]] | None:
    """The command of a line, and a value for each of its parameters; None where click has to be asked."""
    try:
        command, rest = _split(arguments)
        return command, values_of(command, rest)
    except (NotPlainError, BadValueError):
        return None


def awaited(before: Sequence[str]) -> tuple[Command, Parameter, list[str]]:
    """The command, that of its parameters which the word after these is for, and the arguments before that.

    Raises NotPlainError.
    """
    command, arguments = _load(before[0]), [*before[1:]]
    if arguments:
        *rest, last = arguments
        for parameter in command.parameters:
            if isinstance(parameter, Option) and not isinstance(parameter, Flag) and last in parameter.names:
                for _ in _read(command, rest):
                    pass  # the last one is no value itself
                return command, parameter, rest
    operands = sum(option is None for _, option, _ in _read(command, arguments))
    for parameter in command.parameters:
        if isinstance(parameter, Argument):
            if parameter.several or not operands:
                return command, parameter, arguments
            operands -= 1
    raise NotPlainError


def _split(arguments: Sequence[str]) -> tuple[Command, list[str]]:
    """The command and its arguments, with those in front of its name, which are options of the default command."""
    if arguments and not arguments[0].startswith("-"):
        return _load(arguments[0]), [*arguments[1:]]
    for position, option, _ in _read(_load(DEFAULT), arguments):
        if option is None:
            return _load(arguments[position]), [*arguments[:position], *arguments[position + 1 :]]
    return _load(DEFAULT), [*arguments]


def _load(name: str) -> Command:
    if name not in COMMANDS:
        raise NotPlainError
    return load(name)


def _read(command: Command, arguments: Sequence[str]) -> Iterator[tuple[int, Option | None, str]]:
    """Each option with its value, and each operand with None, where it stands. Of a flag there is no value."""
    options = {name: p for p in command.parameters if isinstance(p, Option) for name in p.names}
    words = iter(enumerate(arguments))
    for position, word in words:
        if not word.startswith("-") or word == "-":
            yield position, None, word
            continue
        if word.startswith("--"):
            name, is_joined, value = word.partition("=")
        else:
            name, value = word[:2], word[2:]
            while value and isinstance(flag := options.get(name), Flag):
                yield position, flag, ""  # and others behind the same dash
                name, value = f"-{value[0]}", value[1:]
            is_joined = value
        option = options.get(name)
        if option is None or (is_joined and isinstance(option, Flag)):
            raise NotPlainError
        if not is_joined and not isinstance(option, Flag):
            following = next(words, None)
            if following is None:
                raise NotPlainError
            value = following[1]
        yield position, option, value


def values_of(command: Command, arguments: Sequence[str], *, whole: bool = True) -> dict[str, Any]:
    """A value for each parameter; where the line is not `whole`, some may be missing that it takes.

    Raises NotPlainError, and BadValueError where one is wrong.
    """
    given: dict[str, list[str]] = {}  # in the order of the line
    operands = []
    for _, option, value in _read(command, arguments):
        if option is None:
            operands.append(value)
        else:
            given.setdefault(option.name, []).append(value)
    order = {name: position - len(given) for position, name in enumerate(given)}  # what is on the line comes first
    for parameter in command.parameters:
        if isinstance(parameter, Argument):
            given[parameter.name] = operands if parameter.several else operands[:1]
            operands = [] if parameter.several else operands[1:]
    if operands:
        raise NotPlainError
    values: dict[str, Any] = {}
    for parameter in sorted(command.parameters, key=lambda p: (not p.first, order.get(p.name, 0))):
        value = _value(parameter, given.get(parameter.name, []), whole)
        values[parameter.name] = parameter.convert(value, values) if parameter.convert else value
    return values


def _value(parameter: Parameter, given: Sequence[str], whole: bool) -> Any:
    if not given:
        if parameter.required and whole:
            raise NotPlainError
        return parameter.absent()
    if isinstance(parameter, Flag):
        return parameter.given
    return tuple(map(parameter.read, given)) if parameter.several else parameter.read(given[-1])
