"""`hostinspect container`."""

from __future__ import annotations

from hostinspect.cli.options import common_options, names_of
from hostinspect.cli.parameters import Argument, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request


@command(
    Argument("names", metavar="NAME…", several=True, required=True, complete=names_of("containers")),
    *common_options("text", "json", "yaml", "docker"),
)
def container(request: Request, names: tuple[str, ...]) -> int:
    """Show all of a container, as `docker inspect` does and beyond it, from the host itself.

    NAME is a container's name, its id, or the beginning of its id. With `-o docker` the answer is in docker inspect's
    own layout; environment and arguments are never read, so they are in no answer.

    \b
    Examples:
      hostinspect container web1
      hostinspect container -v web1 37e29a3b
      hostinspect container -o docker web1 | jq -r '.[].GraphDriver.Data.UpperDir'
    """
    from hostinspect.questions.container import NEEDS, describe_containers
    from hostinspect.questions.inspection import called

    inspection = request.inspect(*NEEDS, only=called(names))
    found = [request.find(inspection, inspection.container, name) for name in names]
    answer = describe_containers(inspection, found)
    if request.output == "docker":
        from hostinspect.questions.docker_inspect import docker_inspect
        from hostinspect.render.json import render_json

        request.show(render_json(docker_inspect(inspection, answer.containers)))
        return request.conclude(answer.gaps)
    from hostinspect.render.container import render_containers

    return request.reply(
        answer, lambda screen: render_containers(answer, inspection.topology, screen, verbose=request.verbose)
    )
