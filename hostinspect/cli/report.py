"""`hostinspect report`: the whole topology of the host."""

from __future__ import annotations

import sys

from hostinspect.cli.echo import say
from hostinspect.cli.errors import NOT_ENOUGH_SEEN
from hostinspect.cli.options import common_options
from hostinspect.cli.parameters import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostinspect.cli.request import Request
    from hostinspect.topology import Topology


@command(
    *common_options("tree", "json", "yaml", "dot", "mermaid"),
    ahead="mountinfo",
)
def report(request: Request) -> int:
    """Print the whole topology: networks, the containers on them, ports, mounts, volumes.

    Exit status 3 says that something could not be seen; the gaps in the output say what, why, and what to do.

    \b
    Examples:
      hostinspect
      hostinspect -o json | jq '.containers[] | {name, state, pid}'
      hostinspect -o dot | dot -Tsvg > host.svg
    """
    from hostinspect.facts import OF_THE_REPORT

    topology = request.inspect(*OF_THE_REPORT).topology
    request.show(_render(topology, request))
    gaps = sum(not gap.minor for gap in topology.gaps)
    if not gaps:
        return 0
    if not request.quiet and (request.output != "tree" or not sys.stdout.isatty()):
        things = "1 thing" if gaps == 1 else f"{gaps} things"
        told = "notes in the picture" if request.output in ("dot", "mermaid") else "gaps at the end of the output"
        say(f"hostinspect: {things} could not be seen; the {told} say why")
    return NOT_ENOUGH_SEEN


def _render(topology: Topology, request: Request) -> str | bytes | Iterator[bytes]:
    """The report in the form asked for; each form loads its own libraries only."""
    if request.output == "json":
        from hostinspect.render.json import render_json_in_parts

        return render_json_in_parts(topology)
    document = request.document(topology)
    if document is not None:
        return document
    if request.output == "dot":
        from io import TextIOWrapper

        from hostinspect.render.dot import render_dot

        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # as graphviz reads it, whatever the locale
        return render_dot(topology, verbose=request.verbose, show_gaps=not request.quiet)
    if request.output == "mermaid":
        return _mermaid(topology, request)
    from hostinspect.render.tree import render_tree

    return render_tree(topology, request.screen(), verbose=request.verbose, show_gaps=not request.quiet)


def _mermaid(topology: Topology, request: Request) -> str:
    from hostinspect.render.mermaid import exceeds_limits, render_mermaid

    text = render_mermaid(topology, verbose=request.verbose, show_gaps=not request.quiet)
    if exceeds_limits(text) and not request.quiet:
        say("hostinspect: this is more than Mermaid draws by default (maxTextSize, maxEdges); -o dot has no limit")
    return text
