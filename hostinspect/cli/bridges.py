"""`hostinspect bridges`."""

from __future__ import annotations

from hostinspect.cli.options import common_options, names_of
from hostinspect.cli.parameters import Argument, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request
    from hostinspect.render.screen import Screen


@command(
    Argument("names", several=True, metavar="[BRIDGE]...", complete=names_of("networks")),
    *common_options("table", "json", "yaml", table=True),
    ahead="mountstats",
)
def bridges(request: Request, names: tuple[str, ...]) -> int:
    """List every bridge and its ports, as `brctl show` does, with the container behind each port.

    Those in other namespaces come too: of overlay networks, of containers. A bridge is named by its name, or by the
    network that it is of. In a pipe every line names its bridge; on a terminal it stands above its ports.

    \b
    Examples:
      hostinspect bridges
      hostinspect bridges docker0 --columns interface,container,inside --no-header
      hostinspect bridges -o json | jq -r '.bridges[].ports[] | select(.container == null) | .link'
    """
    from msgspec.structs import replace

    from hostinspect.questions.bridges import FAMILIES, find_bridges, list_bridges

    inspection = request.inspect(*FAMILIES)
    answer = list_bridges(inspection)
    if names:
        chosen = [
            bridge
            for name in names
            for bridge in request.find(inspection, lambda key: find_bridges(answer.bridges, key), name)
        ]
        answer = replace(answer, bridges=tuple(bridge for bridge in answer.bridges if bridge in chosen))

    def draw(screen: Screen) -> str:
        from hostinspect.render.tables.bridges import bridge_columns, bridge_rows

        called = {container.id: container.name for container in inspection.topology.containers}
        columns = bridge_columns(called, verbose=request.verbose)
        return request.table([*bridge_rows(answer.bridges)], columns, screen)

    return request.reply(answer, draw)
