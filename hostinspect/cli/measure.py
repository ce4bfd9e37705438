"""How much directories hold, measured with a bar on the terminal when it takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hostinspect.cli.request import Request
from hostinspect.facts import DirectoryUsage, Gap

if TYPE_CHECKING:
    from hostinspect.questions.inspection import Inspection
    from hostinspect.questions.sizes import Sizes

_PATIENCE = 1.0  # seconds before there is a bar
_PAUSE = 0.1  # seconds between two looks of it

_Measured = tuple[tuple[DirectoryUsage, ...], tuple[Gap, ...]]


def measure(request: Request, inspection: Inspection, paths: Sequence[str]) -> Sizes:
    """What each of the directories holds. A snapshot does not have it, and a gap says so."""
    from hostinspect.cli.reading import asked
    from hostinspect.questions.sizes import Sizes

    if request.snapshot is not None:
        gap = Gap(
            collector="usage",
            subject="sizes",
            why="a snapshot holds none",
            remedy="run it on the host itself",
        )
        return Sizes(gaps=[gap])
    roots = [engine.data_root for engine in inspection.facts.engines]

    def measured() -> _Measured:
        from hostinspect.collectors.usage import collect_usage

        with Progress(len(paths), quiet=request.quiet) as progress:
            return collect_usage(paths, roots, progress.tick, root=request.root or "")

    return Sizes(*asked(measured))


class Progress:
    """A bar on stderr, where that is a terminal and the work takes longer than a person likes to wait for."""

    def __init__(self, length: int, *, quiet: bool) -> None:
        self._length, self._silent = length, quiet or not sys.stderr.isatty()
        self._next = time.monotonic() + _PATIENCE
        self._done = self._shown = self._names = 0
        self._bar: Any = None

    def tick(self, path: str, names: int) -> None:
        """So many names of `path` have been counted; 0 says that it is done."""
        self._names += names
        self._done += not names
        if self._silent or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PAUSE
        if self._bar is None:
            from click import progressbar

            self._bar = progressbar(
                length=self._length,
                label="measuring",
                file=sys.stderr,
                show_pos=True,
                item_show_func=lambda counted: f"{counted or 0:,} files",
            )
            self._bar.__enter__()
        self._bar.current_item = self._names
        self._bar.make_step(self._done - self._shown)
        self._shown = self._done
        self._bar.render_progress()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)
            from click import echo

            echo("\x1b[1A\x1b[2K", nl=False, err=True, color=True)  # it goes when the answer comes
