"""`hostinspect networks`."""

from __future__ import annotations

from hostinspect.cli.options import common_options, names_of
from hostinspect.cli.parameters import Argument, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request
    from hostinspect.render.screen import Screen


@command(
    Argument("names", several=True, metavar="[NETWORK]...", complete=names_of("networks")),
    *common_options("table", "json", "yaml", table=True),
    ahead="mountstats",
)
def networks(request: Request, names: tuple[str, ...]) -> int:
    """List every network; with names, show each as `docker network inspect` does, and what of it is on the host.

    A network is named by name, id or the beginning of one. Those of the swarm's that have no container on this host
    are known to its managers alone.

    \b
    Examples:
      hostinspect networks
      hostinspect networks my_net
      hostinspect networks --sort=-containers --columns name,subnet,members
      hostinspect networks -o json | jq '.networks[] | {name, on_it: [.members[].name]}'
    """
    from hostinspect.questions.networks import NEEDS, list_networks

    inspection = request.inspect(*NEEDS)
    chosen = [request.find(inspection, inspection.network, name) for name in dict.fromkeys(names)]
    answer = list_networks(inspection, chosen or None)

    def draw(screen: Screen) -> str:
        if not names or request.columns or request.sort or not request.header:
            from hostinspect.render.tables.networks import network_columns

            engines = len(inspection.topology.host.engines)
            columns = network_columns(answer.collected_at, verbose=request.verbose, engines=engines)
            return request.table(answer.networks, columns, screen)
        from hostinspect.render.network_details import network_branch

        return screen.draw_sections(
            network_branch(network, answer.collected_at, verbose=request.verbose) for network in answer.networks
        )

    return request.reply(answer, draw)
