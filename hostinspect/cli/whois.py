"""`hostinspect whois`."""

from __future__ import annotations

import os
import sys

from hostinspect.cli.errors import NO, UsageError
from hostinspect.cli.options import common_options, names_of
from hostinspect.cli.parameters import Argument, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request
    from hostinspect.render.screen import Screen


@command(
    Argument(
        "keys", metavar="KEY...", several=True, required=True, complete=names_of("containers", "networks", "volumes")
    ),
    *common_options("text", "json", "yaml"),
    ahead="mountstats",
)
def whois(request: Request, keys: tuple[str, ...]) -> int:
    """Tell what each KEY is, whose it is, and why: the chain from the key to the container, network or volume.

    A KEY is any token in hand: an interface, ifindex, address, MAC, port, pid, namespace, id, name, cgroup, device,
    rule, or a path however deep. `-` reads keys from standard input, one a line. A path is taken by its text: no file
    is looked at and no link followed. Exit status 1: one of the keys is nothing here.

    \b
    Examples:
      hostinspect whois veth13d6de4
      hostinspect whois 172.17.0.5:80 8080/udp 02:42:ac:11:00:05
      hostinspect whois /var/lib/docker/overlay2/0d3f5044b5a8/diff/etc/x
      hostinspect whois -o json 4711 | jq -r '.keys[].matches[].owner.name'
    """
    from hostinspect.questions.whois import looks_like_layer, needs
    from hostinspect.questions.whois import whois as ask

    asked = [_of_disk(key, request.root) for key in _expanded(keys)]
    if not asked:
        raise UsageError("No key on standard input.")
    inspection = request.inspect(*needs(asked), image_layers=any(map(looks_like_layer, asked)))
    answer = ask(inspection, asked, cwd=_cwd() if request.is_of_this_host else None)
    unknown = any(not found.matches for found in answer.keys)
    # Of a key that is not found where not all was seen, nothing is known: that is 3, which the gaps make of 0.
    unseen = any(not gap.minor for gap in answer.gaps)

    def draw(screen: Screen) -> str:
        from hostinspect.render.whois import render_whois

        return render_whois(answer, screen, verbose=request.verbose)

    return request.reply(answer, draw, code=NO if unknown and not unseen else 0)


def _expanded(keys: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for key in keys:
        if key == "-":
            found += [os.fsdecode(line.rstrip(b"\n")) for line in sys.stdin.buffer if line.strip()]
        else:
            found.append(key)
    return found


def _of_disk(key: str, root: str | None) -> str:
    """A path below where a disk is mounted, as the host of that disk calls it."""
    return key[len(root) :] if root is not None and root != "/" and key.startswith(f"{root}/") else key


def _cwd() -> str | None:
    """Where a relative path starts; None in a directory that is gone."""
    try:
        return os.getcwd()
    except OSError:
        return None
