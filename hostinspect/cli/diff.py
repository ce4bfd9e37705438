"""`hostinspect diff`."""

from __future__ import annotations

import os
import sys

from hostinspect.cli.echo import write
from hostinspect.cli.errors import UsageError
from hostinspect.cli.options import common_options, names_of
from hostinspect.cli.parameters import Argument, Flag, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request
    from hostinspect.collectors.changes import Changes
    from hostinspect.facts import Gap
    from hostinspect.questions.diff import Layers


@command(
    Argument("name", required=True, complete=names_of("containers")),
    Flag("-0", "--null", help="End each line with a NUL and escape nothing, for xargs -0."),
    *common_options("table", "json", "yaml"),
)
def diff(request: Request, name: str, null: bool) -> int:
    """Show what a container has changed of its image, as `docker diff` does, from its directories on the host.

    NAME is a container's name, its id, or a beginning of the id that is its own. A is added, C changed, D deleted.
    The container may run or not.

    \b
    Examples:
      hostinspect diff web1
      hostinspect diff -o json web1 | jq -r '.changes[] | select(.kind == "D").path'
      hostinspect diff -0 web1 | grep -z '^A /etc/'
    """
    from hostinspect.cli.reading import asked
    from hostinspect.cli.terminal import wants_ascii
    from hostinspect.questions.diff import NEEDS, Diff, layers_of
    from hostinspect.questions.inspection import called
    from hostinspect.render.changes import render_changes

    if null and request.output != "table":
        raise UsageError("--null is for lines, not for -o json or yaml.")
    inspection = request.inspect(*NEEDS, only=called([name]))
    container = request.find(inspection, inspection.container, name)
    layers = layers_of(inspection, container) if request.snapshot is None else _no_files(request.snapshot)
    found = asked(lambda: _changes(layers, request.root or ""))
    if request.output != "table":
        answer = Diff(id=container.id, name=container.name, changes=found.changes, gaps=found.gaps)
        request.show(request.document(answer) or "")
    elif null:
        write(found.lines or b"")
    else:
        # Not by way of a `Screen`: plain lines need none, and a diff may have very many.
        ascii_only = wants_ascii(sys.stdout, os.environ)
        request.show(render_changes(found.lines or b"", ascii_only=ascii_only))
    return request.conclude(found.gaps)


def _changes(layers: Layers | Gap, root: str) -> Changes:
    from hostinspect.collectors.changes import Changes, collect_changes
    from hostinspect.facts import Gap

    if isinstance(layers, Gap):
        return Changes(None, (layers,))
    return collect_changes(layers.upper, layers.lower, layers.work, userxattr=layers.userxattr, root=root)


def _no_files(snapshot: str) -> Gap:
    from hostinspect.facts import Gap

    return Gap(
        collector="changes",
        subject=snapshot,
        why="a snapshot has no files of containers in it",
        remedy="ask on the host itself, without --from",
    )
