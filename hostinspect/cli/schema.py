"""`hostinspect schema`."""

from __future__ import annotations

from hostinspect.cli.echo import write
from hostinspect.cli.errors import UsageError
from hostinspect.cli.parameters import Argument, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.parameters import Given, Parameter


def _answers(given: Given, parameter: Parameter, incomplete: str) -> list[str]:
    from hostinspect.render.schema import ANSWERS

    return [name for name in ANSWERS if name.startswith(incomplete)]


@command(
    Argument("command", default="report", complete=_answers),
    asks=False,
)
def schema(command: str) -> None:
    """Print the JSON Schema (draft 2020-12) of what COMMAND prints with `-o json`; of the report by default.

    \b
    Examples:
      hostinspect schema > report.json
      hostinspect schema ports | jq '."$defs" | keys'
    """
    from hostinspect.render.schema import ANSWERS, render_schema

    if command not in ANSWERS:
        raise UsageError(f"{command} prints no JSON. These do: {', '.join(ANSWERS)}.")
    write(render_schema(command))
