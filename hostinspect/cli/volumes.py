"""`hostinspect volumes`."""

from __future__ import annotations

from hostinspect.cli.options import common_options, names_of, size_option
from hostinspect.cli.parameters import Argument, Flag, Option, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request
    from hostinspect.questions.sizes import Sizes
    from hostinspect.questions.volumes import Volumes
    from hostinspect.render.screen import Screen


@command(
    Argument("names", several=True, metavar="[VOLUME]...", complete=names_of("volumes")),
    Flag("--dangling", help="Only those that no container has, running or not."),
    Flag("--anonymous", help="Only those whose name the engine made up."),
    Option("--driver", metavar="NAME", help="Only those of this driver."),
    size_option,
    *common_options("table", "json", "yaml", table=True),
    ahead="mountinfo",
)
def volumes(
    request: Request, names: tuple[str, ...], dangling: bool, anonymous: bool, driver: str | None, size: bool
) -> int:
    """List every volume and who uses it; with names, show each as `docker volume inspect` does, and more.

    Of an anonymous volume the beginning of its name is enough.

    \b
    Examples:
      hostinspect volumes --dangling --size
      hostinspect volumes myvol01
      hostinspect volumes -o json | jq '.volumes[] | {name, used_by: [.used_by[].name]}'
    """
    from hostinspect.questions.volumes import NEEDS, directories_of, having, list_volumes

    inspection = request.inspect(*NEEDS, only=having(names))
    chosen = [request.find(inspection, inspection.volume, name) for name in dict.fromkeys(names)] or None

    def answered(sizes: Sizes | None = None) -> Volumes:
        return list_volumes(inspection, chosen, dangling=dangling, anonymous=anonymous, driver=driver, sizes=sizes)

    answer = answered()
    if size:
        from hostinspect.cli.measure import measure

        answer = answered(measure(request, inspection, directories_of(answer)))

    def draw(screen: Screen) -> str:
        from hostinspect.render.tables.volumes import volume_branch, volume_columns

        now = answer.collected_at
        if not names or request.columns or request.sort or not request.header:
            engines = len(inspection.topology.host.engines)
            columns = volume_columns(now, sizes=size, verbose=request.verbose, engines=engines)
            return request.table(answer.volumes, columns, screen)
        called = {container.id: container.name for container in inspection.topology.containers}
        return screen.draw_sections(volume_branch(volume, now, names=called) for volume in answer.volumes)

    return request.reply(answer, draw)
