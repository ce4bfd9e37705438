"""What a command takes: declared once, by the module of the command, and loaded with next to nothing.

`hostinspect.cli.plain` reads a plain command line by it; `hostinspect.cli.by_click` makes of it what click needs, for
all else: help, errors, manual pages, odd forms, completion.
"""

from __future__ import annotations

import os

from hostinspect.cli.errors import BadValueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    Given: TypeAlias = Mapping[str, Any]  # the values of parameters that were looked at before
    Convert: TypeAlias = "Callable[[Any, Given], Any]"
    Complete: TypeAlias = "Callable[[Given, Parameter, str], list[str]]"


_DIGITS = 18  # of a plain number


class Parameter:
    """`name` is that of the function's keyword; `choices` are the values that there are, if it takes these alone.

    `convert` makes the value of what was given, or of the default, and raises BadValueError. Those that are `first` are
    converted before all others. `complete` lists what may stand there, given how it begins.
    """

    __slots__ = ("choices", "complete", "convert", "default", "first", "metavar", "name", "required", "several")

    def __init__(
        self,
        name: str,
        *,
        metavar: str | None = None,
        choices: tuple[str, ...] = (),
        default: Any = None,
        several: bool = False,
        required: bool = False,
        first: bool = False,
        convert: Convert | None = None,
        complete: Complete | None = None,
    ) -> None:
        self.name, self.metavar, self.choices = name, metavar, choices
        self.default: Any = () if several and default is None else default
        self.several, self.required, self.first = several, required, first
        self.convert, self.complete = convert, complete

    def absent(self) -> Any:
        """The value where it is not given."""
        return self.default

    def read(self, text: str) -> Any:
        """The value that a plain `text` stands for. Raises BadValueError, also where it is odd."""
        if self.choices and text not in self.choices:
            raise BadValueError(text)
        return text


class Argument(Parameter):
    """An operand; `several` takes all that there are."""

    __slots__ = ()


class File(Argument):
    """An operand that is the path of a file, which may be read if it is there."""

    __slots__ = ()

    def read(self, text: str) -> Any:
        if "\0" in text or (os.path.lexists(text) and not os.access(text, os.R_OK)):
            raise BadValueError(text)
        return text


class Option(Parameter):
    """An option with a value, by any of its `names`; `several` may be given several times. Its default is told."""

    __slots__ = ("help", "names")

    def __init__(self, *names: str, help: str, name: str = "", **more: Any) -> None:
        super().__init__(name or names[-1].lstrip("-").replace("-", "_"), **more)
        self.names, self.help = names, help


class Flag(Option):
    """An option without a value: True where it is given, or what `given` says, and not so otherwise."""

    __slots__ = ("given",)

    def __init__(self, *names: str, given: bool = True, **more: Any) -> None:
        super().__init__(*names, default=not given, **more)
        self.given = given


class Number(Option):
    """An option with a number from `least` on, or `above` it, and up to `most`; a `whole` one, or a float."""

    __slots__ = ("above", "least", "most", "whole")

    def __init__(
        self,
        *names: str,
        least: int = 0,
        above: bool = False,
        most: int | None = None,
        whole: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(*names, **more)
        self.least, self.above, self.most, self.whole = least, above, most, whole

    def absent(self) -> Any:
        return self.default if self.whole or self.default is None else float(self.default)

    def read(self, text: str) -> Any:
        digits = text if self.whole else text.replace(".", "", 1)
        if not digits.isdecimal() or not text.isascii() or len(text) > _DIGITS:
            raise BadValueError(text)
        number = int(text) if self.whole else float(text)
        if number < self.least or (self.above and number == self.least) or (self.most and number > self.most):
            raise BadValueError(text)
        return number


class Command:
    """A function, and the parameters that it is called with by name.

    With `asks` it asks a host, and gets a `hostinspect.cli.request.Request` first, of the parameters that every command
    has. It is confined by then (`hostinspect.kernel.sandbox`), unless it `confines_itself`. `ahead` is the file of all
    mount namespaces that it will need (`hostinspect.cli.reading`).
    """

    __slots__ = ("ahead", "asks", "confines_itself", "function", "name", "parameters")

    def __init__(
        self,
        function: Callable[..., int | None],
        parameters: tuple[Parameter, ...],
        asks: bool,
        confines_itself: bool,
        ahead: str | None,
    ) -> None:
        self.name, self.function, self.parameters = function.__name__, function, parameters
        self.asks, self.confines_itself, self.ahead = asks, confines_itself, ahead

    @property
    def help(self) -> str:
        """Its docstring, as click takes it."""
        return self.function.__doc__ or ""

    def run(self, values: dict[str, Any], *, alone: bool) -> int:
        """Run it with a value for each parameter; returns the exit code. `alone`: this process is the command's own."""
        if not self.asks:
            return self.function(**values) or 0
        from hostinspect.cli import reading

        if not self.confines_itself:
            from hostinspect.cli.confinement import confine

            confine(values["sandbox"] and alone, pages=values.get("pager", False), connects=values.get("probe", False))
            if alone and values.get("root") is None and values.get("snapshot") is None:
                reading.begin(self.ahead)
        try:
            from hostinspect.cli.request import Request  # and all that it needs, while the fork of `begin` reads

            common = {name: values.pop(name) for name in Request.__struct_fields__ if name in values}
            return self.function(Request(**common, alone=alone), **values) or 0
        finally:
            reading.end()


def command(
    *parameters: Parameter, asks: bool = True, confines_itself: bool = False, ahead: str | None = None
) -> Callable[[Callable[..., int | None]], Command]:
    """Declare the function below to be a command; its docstring is its help."""
    return lambda function: Command(function, parameters, asks, confines_itself, ahead)
