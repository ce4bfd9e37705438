"""The command line: options in, one call, one render, an exit code."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from hostinspect import __version__


def main() -> NoReturn:
    """The `hostinspect` command. `--help` and `--version` are answered before anything is loaded."""
    gc.disable()  # a run is over before there is any garbage worth looking for (docs/performance.md)
    arguments = sys.argv[1:]
    if "_HOSTINSPECT_COMPLETE" in os.environ:
        from hostinspect.cli.completion import complete

        sys.exit(complete(os.environ["_HOSTINSPECT_COMPLETE"]))
    if arguments == ["--version"]:
        print(f"hostinspect {__version__}")  # noqa: T201
        sys.exit(0)
    if arguments in (["--help"], ["-h"]):
        from hostinspect.cli.help import HELP

        print(HELP, end="")  # noqa: T201
        sys.exit(0)
    from hostinspect.cli.app import run

    sys.exit(run(arguments))
