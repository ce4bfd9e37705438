"""What a command gives up before it looks at anything (`hostinspect.kernel.sandbox`)."""

from __future__ import annotations

import sys


def confine(wanted: bool, *, pages: bool = False, writes: bool = False, connects: bool = False) -> None:
    """Give up what the command does not need, if that is `wanted`. `pages`: it may show its answer by a pager."""
    if wanted:
        from hostinspect.kernel.sandbox import enter

        enter(writes=writes, connects=connects, executes=pages and sys.stdout.isatty())
