"""`hostinspect layers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hostinspect.cli.measure import measure, size_option
from hostinspect.cli.request import Request, common_options, names_of

if TYPE_CHECKING:
    from hostinspect.questions.inspection import Inspection
    from hostinspect.questions.layers import Layers
    from hostinspect.render.screen import Screen


@click.command()
@click.argument("names", nargs=-1, metavar="[CONTAINER]...", shell_complete=names_of("containers"))
@click.option("--directories", is_flag=True, help="Every directory of overlay2/ once, and whose it is.")
@click.option("--orphans", is_flag=True, help="Only what belongs to nothing, or may.")
@size_option
@common_options("table", "json", "yaml", table=True)
def layers(request: Request, names: tuple[str, ...], directories: bool, orphans: bool, size: bool) -> int:
    """Tell of what directories each container's root is made, and whose each directory of overlay2/ is.

    A container is named by name, id or the beginning of one; without names, it is all of them.

    \b
    Examples:
      hostinspect layers web1 -v
      hostinspect layers --directories --size --sort=-size
      hostinspect layers --orphans -o json | jq -r '.directories[].path'
    """
    from hostinspect.questions.layers import directories_of, list_layers, only_orphans

    if names and orphans:
        raise click.UsageError("What belongs to nothing is no container's: give --orphans without names.")
    inspection = request.inspect(image_layers=True)
    containers = [request.find(inspection, inspection.container, name) for name in dict.fromkeys(names)] or None
    answer = list_layers(inspection, containers)
    answer = only_orphans(answer) if orphans else answer
    if size:
        sizes = measure(request, inspection, directories_of(answer))
        answer = list_layers(inspection, containers, sizes)
        answer = only_orphans(answer) if orphans else answer
    by_directory = directories or orphans
    return request.reply(
        answer, lambda screen: _draw(request, inspection, answer, screen, by_directory, bool(names), size)
    )


def _draw(
    request: Request,
    inspection: Inspection,
    answer: Layers,
    screen: Screen,
    by_directory: bool,
    every_path: bool,
    size: bool,
) -> str:
    from hostinspect.render.tables.layers import directory_columns, directory_rows, layer_columns, layer_rows

    topology, verbose = inspection.topology, request.verbose
    roots = [engine.data_root for engine in topology.host.engines]
    if by_directory:
        names = {container.id: container.name for container in topology.containers}
        columns = directory_columns(roots, names, topology.host.collected_at, sizes=size, verbose=verbose)
        return request.table([*directory_rows(answer)], columns, screen)
    rows = [*layer_rows(answer, every_path=every_path or verbose, verbose=verbose)]
    return request.table(rows, layer_columns(roots, sizes=size, verbose=verbose), screen)
