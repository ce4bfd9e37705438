"""A command line is run: what becomes of everything that can go wrong below it."""

from __future__ import annotations

import errno
import os
import sys

from hostinspect import __version__
from hostinspect.cli import plain
from hostinspect.cli.echo import say
from hostinspect.cli.errors import NOT_ENOUGH_SEEN, WRONG_USAGE, SaidError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from hostinspect.cli.parameters import Command

# Exit codes beside those of `hostinspect.cli.errors`. A bug must not look like an answer, and 1 is one; sysexits(3) has
# codes for these.
EX_SOFTWARE = 70
EX_IOERR = 74
INTERRUPTED = 130  # 128 + SIGINT, as a shell says it
KILLED = 128  # and the signal
BROKEN_PIPE = 141  # 128 + SIGPIPE


def run(arguments: Sequence[str], *, confined: bool = False) -> int:
    """Run a command line; returns the exit code. What a person can do something about never ends in a traceback.

    `confined`: this process is the command's alone, which gives up for good what it does not need
    (`hostinspect.kernel.sandbox`).
    """
    try:
        called = plain.parse(arguments)
        if called is None:
            from hostinspect.cli import by_click

            told = by_click.parse(arguments)
            if isinstance(told, int):
                return told
            called = told
        code = _called(*called, alone=confined)
        sys.stdout.flush()
    except KeyboardInterrupt:
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
    return code


def _called(command: Command, values: dict[str, Any], *, alone: bool) -> int:
    """Run the command; what it raises to be told is told. Returns the exit code."""
    try:
        return command.run(values, alone=alone)
    except UsageError as error:
        from hostinspect.cli.by_click import tell_wrong_usage

        tell_wrong_usage(command, str(error))
        return WRONG_USAGE
    except SaidError as error:
        from hostinspect.render.text import safe

        message = f"hostinspect: {error}"
        if "\x1b" in message:
            from click import unstyle

            message = unstyle(message)
        say("\n".join(map(safe, message.splitlines())))
        return error.exit_code


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
    say(f"hostinspect: {message}")
