"""`hostinspect containers`."""

from __future__ import annotations

from hostinspect.cli.options import common_options, names_of
from hostinspect.cli.parameters import Flag, Option, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request

STATES = ("running", "paused", "restarting", "created", "exited", "dead", "removing")


@command(
    Flag("--running", help="Only those that docker ps lists: also paused, also restarting."),
    Option("--state", name="states", choices=STATES, several=True, help="Only those in this state; repeatable."),
    Option(
        "--network",
        name="networks",
        metavar="NAME",
        several=True,
        complete=names_of("networks"),
        help="Only those on this network; repeatable.",
    ),
    *common_options("table", "json", "yaml", table=True),
    ahead="mountinfo",
)
def containers(request: Request, running: bool, states: tuple[str, ...], networks: tuple[str, ...]) -> int:
    """List every container, as `docker ps --all` does, from the host itself.

    \b
    Examples:
      hostinspect containers
      hostinspect containers --network my_net --columns name,networks
      hostinspect containers --sort=-created --columns +created,netns
      hostinspect containers -o json | jq -r '.containers[].id'
    """
    from hostinspect.questions.containers import FAMILIES, list_containers
    from hostinspect.render.tables.containers import container_columns

    inspection = request.inspect(*FAMILIES)
    answer = list_containers(
        inspection,
        running=running,
        states=states,
        networks=[request.find(inspection, inspection.network, name) for name in networks],
    )
    return request.reply(
        answer,
        lambda screen: request.table(
            answer.containers,
            container_columns(
                answer.collected_at,
                {container.id: container.name for container in inspection.topology.containers},
                verbose=request.verbose,
                engines=len(inspection.topology.host.engines),
            ),
            screen,
        ),
    )
