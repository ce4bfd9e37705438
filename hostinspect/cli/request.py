"""What every command has in common: the host it asks, the form of its answer, where that goes, and the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from hostinspect.cli.confinement import confine
from hostinspect.cli.echo import say, write
from hostinspect.cli.errors import NOT_ENOUGH_SEEN, NothingFoundError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hostinspect.cli.reading import More
    from hostinspect.facts import Facts, Gap
    from hostinspect.questions.answer import Answer
    from hostinspect.questions.inspection import Inspection
    from hostinspect.render.screen import Screen
    from hostinspect.render.table import Column
    from hostinspect.topology import Topology

T = TypeVar("T")

_last: Inspection | None = None  # not let go of: to take it apart, just before the end, takes 3 % of a report
_RECORDS = ("engines", "containers", "networks", "volumes")  # without these, a name may be of something not seen


class Request(Struct, frozen=True, kw_only=True):
    """The parameters of one run that several commands have (`hostinspect.cli.options`)."""

    alone: bool  # whether this process is the command's own: else nothing is given up, and it must not be forked
    output: str
    data_roots: tuple[str, ...]
    timeout: float  # of which whoever supervises us knows (`hostinspect.kernel.limit`); 0: none
    sandbox: bool
    snapshot: str | None = None
    root: str | None = None
    color: str = "never"
    pager: bool = False
    verbose: bool = False
    quiet: bool = False
    columns: tuple[str, ...] = ()
    sort: tuple[str, ...] = ()
    header: bool = True

    # --- this process ---

    def confine(self, *, writes: bool = False) -> None:
        """Give up what the command does not need."""
        confine(self.sandbox and self.alone, pages=self.pager, writes=writes)

    # --- the host ---

    @property
    def is_of_this_host(self) -> bool:
        """Whether it is this host that is asked about: no snapshot, and no other's disk."""
        return self.snapshot is None and self.root is None

    def facts(self, *families: str, **more: Unpack[More]) -> Facts:
        """What is to be answered from: this host, read now, or a disk, or a snapshot, which has everything.

        Of the host only these `families` are read, where any are named; `more` are `collect`'s own keywords.
        """
        if self.root is not None and self.snapshot is not None:
            raise UsageError("--from and --root are two hosts: give one of them.")
        if self.snapshot is None:
            from hostinspect.cli.reading import collected

            return collected(self.root, self.data_roots, families, **more)
        from hostinspect.snapshot import SnapshotError, read_snapshot

        try:
            return read_snapshot(self.snapshot)
        except (OSError, SnapshotError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UsageError(f"{self.snapshot} could not be read: {why}") from None

    def inspect(self, *families: str, **more: Unpack[More]) -> Inspection:
        """The same, with what it means."""

        def load() -> None:
            import_module("hostinspect.questions.inspection")
            import_module("hostinspect.correlate")

        global _last
        more["meanwhile"] = load
        facts = self.facts(*families, **more)
        from hostinspect.questions.inspection import Inspection

        _last = Inspection(facts)
        return _last

    def find(self, inspection: Inspection, find: Callable[[str], T], name: str) -> T:
        """What `find`, a look-up of the inspection, finds by a name that a person gave.

        Raises `NothingFoundError` where there is none, UsageError where it may be one of several.
        """
        from hostinspect.questions.inspection import AmbiguousNameError, NameNotFoundError

        try:
            return find(name)
        except NameNotFoundError as error:
            unseen = any(gap.collector in _RECORDS and not gap.minor for gap in inspection.topology.gaps)
            raise NothingFoundError(str(error), not_enough_seen=unseen) from None
        except AmbiguousNameError as error:
            raise UsageError(str(error)) from None

    # --- the answer ---

    def screen(self) -> Screen:
        """What stdout is."""
        from hostinspect.cli.terminal import stdout_settings
        from hostinspect.render.screen import Screen

        return Screen(*stdout_settings(self.color))

    def reply(self, answer: Answer, draw: Callable[[Screen], str], *, code: int = 0) -> int:
        """Print the answer in the form asked for; `draw` makes the text for people. Returns the exit code.

        What was not seen of it is told on stderr, and makes exit code 3 of 0: a "no" (`code` 1) stands.
        """
        self.show(self.document(answer) or draw(self.screen()))
        return self.conclude(answer.gaps, code)

    def document(self, answer: Answer | Topology) -> str | bytes | None:
        """The answer as JSON or YAML where that is asked for."""
        if self.output == "json":
            from hostinspect.render.json import render_json

            return render_json(answer)
        if self.output == "yaml":
            from hostinspect.render.yaml import render_yaml

            return render_yaml(answer)
        return None

    def table(self, rows: Sequence[T], columns: Sequence[Column[T]], screen: Screen) -> str:
        """The rows with the columns, in the order and with the header asked for."""
        from hostinspect.render.table import ColumnError, choose_columns, render_table, sort_rows

        try:
            chosen = choose_columns(columns, self.columns, every=self.verbose)
            ordered = sort_rows(rows, columns, self.sort)
        except ColumnError as error:
            raise UsageError(str(error)) from None
        every = self.verbose or bool(self.columns)
        return render_table(ordered, chosen, screen, header=self.header, every=every)

    def show(self, text: str | bytes | Iterator[bytes]) -> None:
        """Print to stdout, on a terminal through the pager where that is asked for; what comes in parts, as they do."""
        if self.pager and sys.stdout.isatty():
            os.environ.setdefault("LESS", "FRX")  # colours; and no pager for what fits the screen
            from click import echo_via_pager

            text = text if isinstance(text, (str, bytes)) else b"".join(text)
            echo_via_pager(text.decode() if isinstance(text, bytes) else text, color=True)
        else:
            for part in (text,) if isinstance(text, (str, bytes)) else text:
                write(part)

    def conclude(self, gaps: Sequence[Gap], code: int = 0) -> int:
        """Tell the gaps on stderr; returns the exit code."""
        grave = [gap for gap in gaps if not gap.minor]
        if grave and not self.quiet:
            say("hostinspect: not all of it could be seen:")
            for line in dict.fromkeys(f"{gap.subject}: {gap.why} → {gap.remedy}" for gap in grave):
                say("  " + _safe(line))
        return code or (NOT_ENOUGH_SEEN if grave else 0)


def _safe(text: str) -> str:
    from hostinspect.render.text import safe

    return safe(text)
