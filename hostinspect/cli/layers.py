"""`hostinspect layers`."""

from __future__ import annotations

from hostinspect.cli.errors import UsageError
from hostinspect.cli.options import common_options, names_of, size_option
from hostinspect.cli.parameters import Argument, Flag, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request
    from hostinspect.facts import Gap, ImageStep
    from hostinspect.questions.inspection import Inspection
    from hostinspect.questions.layers import Layers
    from hostinspect.questions.sizes import Sizes
    from hostinspect.render.screen import Screen


@command(
    Argument("names", several=True, metavar="[CONTAINER]...", complete=names_of("containers")),
    Flag("--directories", help="Every directory of overlay2/ once, and whose it is."),
    Flag("--orphans", help="Only what belongs to nothing, or may."),
    Flag("--history", help="How each container's image was made, with the arguments of its build."),
    size_option,
    *common_options("table", "json", "yaml", table=True),
    ahead="mountinfo",
)
def layers(
    request: Request, names: tuple[str, ...], directories: bool, orphans: bool, history: bool, size: bool
) -> int:
    """Tell of what directories each container's root is made, and whose each directory of overlay2/ is.

    A container is named by name, id or the beginning of one; without names, it is all of them.

    \b
    Examples:
      hostinspect layers web1 -v
      hostinspect layers --directories --size --sort=-size
      hostinspect layers web1 --history
      hostinspect layers --orphans -o json | jq -r '.directories[].path'
    """
    from hostinspect.questions.layers import NEEDS, directories_of, list_layers, only_orphans

    if names and orphans:
        raise UsageError("What belongs to nothing is no container's: give --orphans without names.")
    if history and (directories or orphans):
        raise UsageError("A history is of a container's image: give --history without --directories or --orphans.")
    inspection = request.inspect(*NEEDS, image_layers=True)
    containers = [request.find(inspection, inspection.container, name) for name in dict.fromkeys(names)] or None

    def answered(sizes: Sizes | None = None) -> Layers:
        found = list_layers(inspection, containers, sizes)
        return only_orphans(found) if orphans else found

    answer = answered()
    if size:
        from hostinspect.cli.measure import measure

        answer = answered(measure(request, inspection, directories_of(answer)))
    if history:
        answer = _with_history(request, inspection, answer)

    def draw(screen: Screen) -> str:
        from hostinspect.render.tables.layers import directory_columns, directory_rows, layer_columns, layer_rows

        topology, verbose = inspection.topology, request.verbose
        roots = [engine.data_root for engine in topology.host.engines]
        if history:
            from hostinspect.render.tables.layers import history_columns, history_rows

            now = topology.host.collected_at
            return request.table([*history_rows(answer)], history_columns(now, roots, verbose=verbose), screen)
        if not directories and not orphans:
            rows = [*layer_rows(answer, every_path=bool(names) or verbose, verbose=verbose)]
            return request.table(rows, layer_columns(roots, sizes=size, verbose=verbose), screen)
        called = {container.id: container.name for container in topology.containers}
        now = topology.host.collected_at
        columns = directory_columns(roots, called, now, sizes=size, orphans=orphans, verbose=verbose)
        return request.table([*directory_rows(answer)], columns, screen)

    return request.reply(answer, draw)


def _with_history(request: Request, inspection: Inspection, answer: Layers) -> Layers:
    """The answer with how the images were made. A snapshot does not have it, and a gap says so."""
    from hostinspect.cli.reading import asked
    from hostinspect.facts import Gap
    from hostinspect.questions.layers import with_history

    if request.snapshot is not None:
        why, remedy = "a snapshot holds none", "run it on the host itself"
        return with_history(answer, {}, [Gap(collector="history", subject="history", why=why, remedy=remedy)])
    chosen = {container.id for container in answer.containers}
    records = [record for record in inspection.facts.containers if record.id in chosen]

    def read() -> tuple[dict[str, tuple[ImageStep, ...]], tuple[Gap, ...]]:
        from hostinspect.collectors.history import collect_history

        return collect_history(records, request.root or "")

    return with_history(answer, *asked(read))
