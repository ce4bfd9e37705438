"""`hostinspect watch`."""

from __future__ import annotations

import os
import sys

from hostinspect.cli.echo import say, write
from hostinspect.cli.errors import NOT_ENOUGH_SEEN
from hostinspect.cli.options import data_root_option, output_option, sandbox_option, timeout_option
from hostinspect.cli.parameters import Flag, Number, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from hostinspect.cli.request import Request
    from hostinspect.cli.watching import Look
    from hostinspect.facts import Gap
    from hostinspect.questions.compare import Happening
    from hostinspect.topology import Topology

_OVERRUN = "events were lost (ENOBUFS): everything was read again; what came and went in between was not seen"
_SEEN_AGAIN = "everything can be seen again"


@command(
    output_option("text", "json"),
    Number("--for", name="lasting", above=True, metavar="SECONDS", help="End after so long; without, at SIGINT."),
    Number("--count", least=1, whole=True, metavar="N", help="End after so many changes."),
    Number("--pause", above=True, default=0.5, metavar="SECONDS", help="Between two looks, at least."),
    Number(
        "--safety",
        default=60,
        metavar="SECONDS",
        help="Look after so long without an event, too; 0: do not.",
    ),
    Number(
        "--buffer",
        least=1,
        most=1 << 30,
        whole=True,
        metavar="BYTES",
        help="What the kernel may keep of events; net.core.rmem_default by default.",
    ),
    data_root_option,
    timeout_option,
    sandbox_option,
    Flag("-v", "--verbose", help="Tell of each look on stderr: why, and what it cost."),
    Flag("-q", "--quiet", help="Changes only, nothing on stderr."),
    confines_itself=True,
)
def watch(
    request: Request, lasting: float | None, count: int | None, pause: float, safety: float, buffer: int | None
) -> int:
    """Print each change of the host as it happens, once: a line each, as `hostinspect compare` puts it.

    The kernel's own events lead to a look at the host: of links, addresses and routes, of mounts, of nftables, of
    containers' processes that end. At most a tenth of one processor is used.

    Exit status 0 after --for or --count, or 3 where not all can be seen; 130 when interrupted.

    \b
    Examples:
      hostinspect watch
      hostinspect watch --for 60 -o json | jq -r 'select(.event == "change").change.words'
      hostinspect watch --count 1 -q && echo something changed
    """
    import gc
    from importlib import import_module
    from math import inf

    from hostinspect.cli.reading import asked
    from hostinspect.cli.watching import Limits, listen, looks, new_gaps
    from hostinspect.correlate import correlate
    from hostinspect.facts import OF_THE_REPORT, Facts
    from hostinspect.kernel.limit import Limit

    def look() -> Topology:
        return correlate(limit.run(lambda: request.facts(*OF_THE_REPORT), Facts))

    gc.enable()  # off for other commands, which are over before it matters
    limit = Limit(request.timeout if request.alone else 0)
    limits = Limits(pause, safety or inf, lasting or inf)
    teller = _Teller(request, count)
    told: tuple[Gap, ...] = ()
    import_module("hostinspect.collectors.tour")  # here, and not in the fork of each look
    import_module("hostinspect.collectors.engines")
    with asked(lambda: listen(buffer)) as events:
        request.confine()  # now: to hear other namespaces takes CAP_NET_BROADCAST when a socket is made, and no more
        for found in looks(look, events, limits):
            gaps = new_gaps(told, found.topology)
            if gaps is not None:
                told = gaps
                teller.tell_gaps(found, gaps)
            teller.tell(found, everywhere=events.everywhere)
            if teller.is_done:
                break
    return NOT_ENOUGH_SEEN if told else 0


class _Teller:
    """Writes lines, each at once, and no more changes than are asked for."""

    def __init__(self, request: Request, count: int | None) -> None:
        self._request = request
        self._left = count

    @property
    def is_done(self) -> bool:
        return self._left == 0

    def tell(self, look: Look, *, everywhere: bool) -> None:
        """What a look found; of the first one, that there was one."""
        self._remark(look, everywhere=everywhere)
        if look.overrun:
            self._write([self._happening(look, "overrun", words=_OVERRUN)])
        if look.comparison is None:
            return
        if self._request.output == "json":
            changes = look.comparison.changes[: self._left]
            self._write([self._happening(look, "change", change=c, words=c.words) for c in changes])
            told_of = len(changes)
        else:
            from hostinspect.render.compare import told

            lines = [", ".join(one.parts) for one in told(look.comparison.changes)][: self._left]
            self._write([self._happening(look, "change", words=line) for line in lines])
            told_of = len(lines)
        if self._left is not None:
            self._left -= told_of

    def tell_gaps(self, look: Look, gaps: tuple[Gap, ...]) -> None:
        """What cannot be seen, where that is something else than before."""
        if self._request.output == "json":
            words = f"{len(gaps)} things cannot be seen" if gaps else _SEEN_AGAIN
            self._write([self._happening(look, "gaps", words=words, gaps=gaps)])
        elif gaps:
            self._request.conclude(gaps)
        elif not self._request.quiet:
            say(f"hostinspect: {_SEEN_AGAIN}")

    def _remark(self, look: Look, *, everywhere: bool) -> None:
        if self._request.quiet:
            return
        from hostinspect.render.text import safe

        if look.comparison is None:
            host = look.topology.host.hostname
            where = "" if everywhere else ", events of containers' own networks left out"
            say(safe(f"hostinspect: watching {host}{where}; Ctrl-C ends it"))
        if self._request.verbose:
            why = " and ".join(look.causes) or ("it is the first" if look.comparison is None else "it was time")
            say(f"hostinspect: looked because of {why}: {look.cost * 1000:.0f} ms of processor time")

    def _happening(self, look: Look, event: str, **more: object) -> Happening:
        from hostinspect.questions.compare import Happening

        fields = {"at": look.topology.host.collected_at, "event": event, "change": None, "gaps": (), **more}
        return Happening(**fields)  # type: ignore[arg-type]

    def _write(self, happenings: Iterable[Happening]) -> None:
        if self._request.output == "json":
            from hostinspect.render.json import render_json_line

            write(b"".join(map(render_json_line, happenings)))
        else:
            from hostinspect.cli.terminal import wants_ascii
            from hostinspect.render.text import safe

            ascii_only = wants_ascii(sys.stdout, os.environ)
            for one in happenings:
                write(f"{one.at}  {safe(one.words, ascii_only=ascii_only)}\n")
        sys.stdout.flush()
