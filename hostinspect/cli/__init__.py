"""The command line: options in, one call, one render, an exit code."""

from __future__ import annotations

import gc
import os
import sys

from hostinspect import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing alone takes half as long to load as Python to start
    from typing import NoReturn


_UNSUPERVISED = ("compare", "completion", "schema")  # they ask nothing of the host


def main() -> NoReturn:
    """The `hostinspect` command. `--help`, `--version` and most completions are answered before anything is loaded."""
    sys.dont_write_bytecode = True  # nothing is changed, not even beside our own code
    gc.disable()  # a run is over before there is any garbage worth looking for (docs/performance.md)
    arguments, instruction = sys.argv[1:], os.environ.get("_HOSTINSPECT_COMPLETE")
    told = _known(arguments, instruction)
    if told is not None:
        print(told, end="")  # noqa: T201
        _leave(0)
    if instruction is None and arguments and arguments[0] in _UNSUPERVISED:
        _leave(_run(arguments, instruction))
    from hostinspect.cli.supervision import supervised

    _leave(supervised(lambda: _leave(_run(arguments, instruction))))


def _known(arguments: list[str], instruction: str | None) -> str | None:
    """What is the same on every host."""
    if instruction is not None:
        from hostinspect.cli import words

        told = words.complete(instruction)
        return None if told is None else f"{told}\n"
    if arguments == ["--version"]:
        return f"hostinspect {__version__}\n"
    if arguments in (["--help"], ["-h"]):
        from hostinspect.cli.help import HELP

        return HELP
    return None


def _run(arguments: list[str], instruction: str | None) -> int:
    """Run a command line, or complete one as an `instruction` of the shell has it; returns the exit code."""
    if instruction is not None:
        from hostinspect.cli.completion import complete
        from hostinspect.kernel.sandbox import enter

        enter()
        return complete(instruction)
    from hostinspect.cli.app import run

    return run(arguments, confined=True)


def _leave(code: int) -> NoReturn:
    """End here. Python would first take apart all that there is, one thing at a time: a tenth of a run."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # closed, or full: Python says so in its own way
        sys.exit(code)
    os._exit(code)
