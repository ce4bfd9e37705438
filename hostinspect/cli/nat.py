"""`hostinspect nat`."""

from __future__ import annotations

from hostinspect.cli.options import common_options
from hostinspect.cli.parameters import Flag, Option, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request
    from hostinspect.render.screen import Screen


@command(
    Option(
        "--netns",
        name="keys",
        metavar="NAMESPACE",
        several=True,
        help="A container, or a namespace's name, path or inode, in place of the host; may be given several times.",
    ),
    Flag("--all", name="every", help="Every namespace that has NAT of its own."),
    *common_options("tree", "table", "json", "yaml", table=True),
    ahead="mountstats",
)
def nat(request: Request, keys: tuple[str, ...], every: bool) -> int:
    """Show the chains that translate addresses as they stand: numbered, with counters, and whose each rule is.

    Both backends of iptables, and nft's own tables. Rules are spelled as iptables-save(8) and nft(8) do. The options
    --columns, --sort and --no-header are for -o table.

    \b
    Examples:
      hostinspect nat
      hostinspect nat --netns web1
      hostinspect nat --all -o table | grep DNAT
      hostinspect nat -o table --columns chain,num,packets,rule --sort=-packets
      hostinspect nat -o json | jq '.namespaces[].chains[] | {name, policy, packets}'
    """
    from hostinspect.facts import RULES_OF_CONTAINERS
    from hostinspect.questions.links import LinkFinder
    from hostinspect.questions.nat import NEEDS, list_nat

    inspection = request.inspect(*NEEDS, *([RULES_OF_CONTAINERS] if keys or every else []))
    finder = LinkFinder(inspection)
    found = [request.find(inspection, finder.namespaces, key) for key in keys]
    wanted = None if every else frozenset().union(*found) if keys else finder.host
    answer = list_nat(inspection, wanted)

    def draw(screen: Screen) -> str:
        from hostinspect.render.nat import nat_branches, rule_columns, rule_rows

        if request.output == "table":
            return request.table(rule_rows(answer), rule_columns(answer, verbose=request.verbose), screen)
        return screen.draw_sections(nat_branches(answer))

    return request.reply(answer, draw)
