"""The directories that a person names: looked at within the time limit, before anything else is done."""

from __future__ import annotations

import os
import stat
from functools import partial

from hostinspect.cli.errors import BadValueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hostinspect.cli.parameters import Given


def existing_directories(values: tuple[str, ...], given: Given) -> tuple[str, ...]:
    """Each must be a directory, of the disk at --root where that is given.

    One that may not even be looked at, or does not answer, is for the collectors to report as a gap.
    """
    root = given.get("root")
    for value in values:
        look = partial(_of_host, value) if root is None else partial(_of_disk, root, value)
        problem = _asked(look)
        if problem:
            what = "that `docker info` calls Docker Root Dir" if root is None else "as that host called it"
            raise BadValueError(f"{problem}. Name the directory {what}, usually /var/lib/docker.")
    return values


def existing_root(value: str) -> str:
    """A directory that may be opened: everything else is for the collectors to report."""
    problem = _asked(lambda: _of_root(value))
    if problem:
        raise BadValueError(f"{problem}. Name the directory at which the disk is mounted.")
    return os.path.abspath(value)


def _asked(look: Callable[[], str]) -> str:
    """What is wrong with it; nothing where it does not answer."""
    from hostinspect.cli.reading import asked
    from hostinspect.kernel.waiting import NoAnswerError

    try:
        return asked(look)
    except NoAnswerError:
        return ""


def _of_host(path: str) -> str:
    from hostinspect.kernel import waiting

    waiting.on(path, path)
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            return ""
        is_there = True
    except PermissionError:
        return ""
    except (OSError, ValueError):
        is_there = os.path.lexists(path)
    return f"{path} is not a directory" if is_there else f"{path} does not exist"


def _of_disk(root: str, path: str) -> str:
    from hostinspect.kernel.rooted import directory_in

    try:
        directory_in(root, path).close()
    except PermissionError:
        return ""
    except OSError as error:
        return f"{path} beneath {root}: {_words(error)}"
    return ""


def _of_root(path: str) -> str:
    from hostinspect.kernel import waiting

    waiting.on(path, path)
    try:
        os.close(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except (OSError, ValueError) as error:
        return f"{path}: {_words(error)}"
    return ""


def _words(error: OSError | ValueError) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
