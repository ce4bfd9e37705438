"""`hostinspect containers`."""

from __future__ import annotations

import click

from hostinspect.cli.request import Request, common_options


@click.command()
@click.option("--running", is_flag=True, help="Only those that have a process.")
@common_options("table", "json", "yaml", table=True)
def containers(request: Request, running: bool) -> int:
    """List every container, as `docker ps --all` does, from the host itself.

    \b
    Examples:
      hostinspect containers
      hostinspect containers --sort=-created --columns name,state,netns
      hostinspect containers -o json | jq -r '.containers[].id'
    """
    from hostinspect.questions.containers import list_containers
    from hostinspect.render.tables.containers import container_columns

    answer = list_containers(request.inspect(), running=running)
    return request.reply(
        answer,
        lambda screen: request.table(
            answer.containers, container_columns(answer.collected_at, verbose=request.verbose), screen
        ),
    )
