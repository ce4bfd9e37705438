"""`hostinspect containers`."""

from __future__ import annotations

import click

from hostinspect.cli.request import Request, common_options, names_of

STATES = ("running", "paused", "restarting", "created", "exited", "dead", "removing")


@click.command()
@click.option("--running", is_flag=True, help="Only those that docker ps lists: also paused, also restarting.")
@click.option(
    "--state", "states", type=click.Choice(STATES), multiple=True, help="Only those in this state; repeatable."
)
@click.option(
    "--network",
    "networks",
    metavar="NAME",
    multiple=True,
    shell_complete=names_of("networks"),
    help="Only those on this network; repeatable.",
)
@common_options("table", "json", "yaml", table=True)
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
            ),
            screen,
        ),
    )
