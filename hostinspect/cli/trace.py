"""`hostinspect trace`."""

from __future__ import annotations

from hostinspect.cli.errors import NO, NOT_ENOUGH_SEEN, NotEnoughSeenError, UsageError
from hostinspect.cli.options import common_options, names_of
from hostinspect.cli.parameters import Argument, Flag, Option, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request
    from hostinspect.questions.trace.answer import Traces
    from hostinspect.render.screen import Screen


@command(
    Argument("targets", metavar="TARGET...", several=True, required=True, complete=names_of("containers")),
    Option(
        "--source",
        metavar="outside|host|CONTAINER|ADDRESS",
        default="outside",
        help="Who asks: somebody outside, a process on the host, one in a container, or whoever has an address.",
    ),
    Flag("--probe", help="Also try it: one connection from this host, which sends nothing."),
    *common_options("text", "json", "yaml"),
    ahead="mountstats",
)
def trace(request: Request, targets: tuple[str, ...], source: str, probe: bool) -> int:
    """Follow a packet to each TARGET as the kernel would, and say at which hop it breaks.

    A TARGET is a port of the host (8080, 8080/udp, 192.0.2.10:8080, [2001:db8::1]:53/udp) or of a container (web1:80;
    web1 alone is all that it publishes). No packet is sent: rules, routes, links and sockets are read. Somebody outside
    has the address 203.0.113.1 or 2001:db8:ffff::1, which no rule means. Exit status 1: it is broken; 3: it cannot be
    told.

    \b
    Examples:
      hostinspect trace 8080
      hostinspect trace web1:80 --source web2
      hostinspect trace 127.0.0.1:8080 --source host
      hostinspect trace 53/udp --source 198.51.100.7 -o json | jq '.traces[].verdict'
    """
    from hostinspect.questions.trace import HOST, NEEDS, OUTSIDE, TargetError
    from hostinspect.questions.trace import trace as ask

    if probe and (not request.is_of_this_host or source != HOST):
        raise UsageError("--probe connects from this host, now: it goes with --source host, without --from or --root.")
    inspection = request.inspect(*NEEDS)
    if inspection.topology.host.root is not None:
        raise NotEnoughSeenError("A disk has no running kernel, so no packet can be followed: ask while the host runs.")

    def answered(_: str) -> Traces:
        return ask(inspection, targets, source or OUTSIDE)

    try:
        answer = request.find(inspection, answered, "")
    except TargetError as error:
        raise UsageError(str(error)) from None
    if probe:
        from hostinspect.cli.probe import probed

        answer = probed(answer)
    states = {found.state for found in answer.traces}

    def draw(screen: Screen) -> str:
        from hostinspect.render.trace import render_trace

        return render_trace(answer, screen, verbose=request.verbose)

    code = NO if "broken" in states else NOT_ENOUGH_SEEN if "unknown" in states else 0
    return request.reply(answer, draw, code=code)
