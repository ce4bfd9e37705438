"""`hostinspect ports`."""

from __future__ import annotations

from hostinspect.cli.errors import NothingFoundError
from hostinspect.cli.options import common_options, names_of
from hostinspect.cli.parameters import Argument, Flag, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request
    from hostinspect.questions.ports import PortFilter
    from hostinspect.render.screen import Screen
    from hostinspect.topology import Container


@command(
    Argument("words", several=True, metavar="[NAME|PORT]...", complete=names_of("containers")),
    Flag("--all", name="every", help="Also what else listens on the host, and ports of containers that do not run."),
    *common_options("table", "json", "yaml", table=True),
    ahead="mountstats",
)
def ports(request: Request, words: tuple[str, ...], every: bool) -> int:
    """Show every port of the host that leads to a container: rule, proxy and listening process, and whether they agree.

    With names, the ports of these containers; with ports (8080, 8000-8010, 53/udp), whatever has them. The exit status
    is 0 whatever the STATUS of a row is: `doctor` and `trace` judge.

    \b
    Examples:
      hostinspect ports
      hostinspect ports web1 8443 53/udp
      hostinspect ports --all --columns port,listens
      hostinspect ports -o json | jq '.ports[] | select(.status != "ok")'
    """
    from hostinspect.facts import HOLDERS_ON_HOST
    from hostinspect.questions.ports import NEEDS, list_ports, parse_port

    named = any(parse_port(word) is not None for word in words)  # whatever has it is told, if it is no container's too
    inspection = request.inspect(*NEEDS, *([HOLDERS_ON_HOST] if every or named else []))
    filters: dict[str, PortFilter] = {}
    chosen: list[Container] = []
    for word in dict.fromkeys(words):
        port = parse_port(word)
        if port is not None:
            filters[word] = port
        else:
            chosen.append(request.find(inspection, inspection.container, word))
    answer = list_ports(inspection, chosen, [*filters.values()], every=every)
    for word, port in filters.items():
        if not any(port.accepts(found) for found in answer.ports):
            unseen = any(not gap.minor for gap in answer.gaps)
            raise NothingFoundError(f"Nothing has port {word} of the host.", not_enough_seen=unseen)

    def draw(screen: Screen) -> str:
        from hostinspect.render.tables.ports import port_columns, port_rows

        backends = {rule.backend for found in answer.ports for rule in found.rules}
        seen = not any(gap.collector in ("processes", "sockets") and not gap.minor for gap in answer.gaps)
        columns = port_columns(verbose=request.verbose, several_backends=len(backends) > 1, all_seen=seen)
        return request.table(port_rows(answer.ports, ranges=not request.verbose), columns, screen)

    return request.reply(answer, draw)
