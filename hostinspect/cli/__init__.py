"""The command line: options in, one call, one render, an exit code."""

from __future__ import annotations

import gc
import os
import sys

from hostinspect import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing alone takes half as long to load as Python itself
    from typing import NoReturn


def main() -> NoReturn:
    """The `hostinspect` command. `--help`, `--version` and most completions are answered before anything is loaded."""
    gc.disable()  # a run is over before there is any garbage worth looking for (docs/performance.md)
    arguments = sys.argv[1:]
    instruction = os.environ.get("_HOSTINSPECT_COMPLETE")
    if instruction is not None:
        from hostinspect.cli import words

        told = words.complete(instruction)
        if told is None:
            from hostinspect.cli.completion import complete

            sys.exit(complete(instruction))
        print(told)  # noqa: T201
        sys.exit(0)
    if arguments == ["--version"]:
        print(f"hostinspect {__version__}")  # noqa: T201
        sys.exit(0)
    if arguments in (["--help"], ["-h"]):
        from hostinspect.cli.help import HELP

        print(HELP, end="")  # noqa: T201
        sys.exit(0)
    from hostinspect.cli.app import run

    sys.exit(run(arguments))
