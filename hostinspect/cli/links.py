"""`hostinspect links`."""

from __future__ import annotations

from hostinspect.cli.errors import UsageError
from hostinspect.cli.options import common_options, names_of
from hostinspect.cli.parameters import Argument, Flag, Option, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request
    from hostinspect.render.screen import Screen


@command(
    Argument("names", several=True, metavar="[CONTAINER|LINK]...", complete=names_of("containers")),
    Flag("-a", "--all", name="every", help="Those of every network namespace."),
    Option(
        "--netns",
        name="keys",
        metavar="NAMESPACE",
        several=True,
        complete=names_of("containers"),
        help="Those of a namespace: a container, an inode, a path or its last part, host; may be given several times.",
    ),
    *common_options("table", "json", "yaml", table=True),
    ahead="mountstats",
)
def links(request: Request, names: tuple[str, ...], every: bool, keys: tuple[str, ...]) -> int:
    """List the host's interfaces as `ip -brief link` does, with what is at the other end of each, and whose it is.

    With containers, list theirs, each with its end on the host; with links, these alone.

    \b
    Examples:
      hostinspect links
      hostinspect links web1
      hostinspect links veth13d6de4 -o json | jq -r '.links[].container_name'
      hostinspect links --all --sort namespace,ifindex --columns +ifindex
    """
    from hostinspect.questions.links import FAMILIES, LinkFinder, list_links

    if every and keys:
        raise UsageError("--all is every namespace: give it without --netns.")
    inspection = request.inspect(*FAMILIES)
    finder = LinkFinder(inspection)
    among = None if every else finder.host
    if keys:
        among = frozenset().union(*(request.find(inspection, finder.namespaces, key) for key in keys))
    if names:
        chosen = [link for name in names for link in request.find(inspection, lambda n: finder.links(n, among), name)]
    else:
        chosen = finder.every(among)
    answer = list_links(inspection, chosen)

    def draw(screen: Screen) -> str:
        from hostinspect.questions.places import HOST
        from hostinspect.render.tables.links import link_columns

        elsewhere = any(link.namespace != HOST for link in answer.links)
        return request.table(answer.links, link_columns(namespaces=elsewhere, verbose=request.verbose), screen)

    return request.reply(answer, draw)
