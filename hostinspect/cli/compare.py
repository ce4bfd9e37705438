"""`hostinspect compare`."""

from __future__ import annotations

from hostinspect.cli.errors import NO, UsageError
from hostinspect.cli.options import common_options
from hostinspect.cli.parameters import File, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request
    from hostinspect.render.screen import Screen


@command(
    File("before", metavar="SNAPSHOT", required=True),
    File("after", metavar="[SNAPSHOT]"),
    *common_options("text", "json", "yaml"),
)
def compare(request: Request, before: str, after: str | None) -> int:
    """Tell what changed between two snapshots, or between a snapshot and now.

    What differs by itself is left out: counters, times of the looks, positions of rules that only moved.

    Exit status 1 says that something changed, 0 that nothing did, and 3 that nothing was seen to change, but not all
    could be seen.

    \b
    Examples:
      hostinspect compare before.hostinspect
      hostinspect compare before.hostinspect after.hostinspect
      hostinspect compare before.hostinspect -o json | jq -r '.changes[].words'
    """
    from msgspec.structs import replace

    from hostinspect.questions.compare import compare as compare_topologies

    if after is not None and not request.is_of_this_host:
        raise UsageError("--from and --root stand for the second SNAPSHOT: give one of them.")
    then = replace(request, snapshot=before, root=None).inspect().topology  # first: of a bad file it is told at once
    now = replace(request, snapshot=after or request.snapshot).inspect().topology
    answer = compare_topologies(then, now)

    def draw(screen: Screen) -> str:
        from hostinspect.render.compare import render_comparison

        return render_comparison(answer, screen)

    return request.reply(answer, draw, code=NO if any(change.certain for change in answer.changes) else 0)
