"""`hostinspect schema`."""

from __future__ import annotations

import click


def _answers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from hostinspect.render.schema import ANSWERS

    return [name for name in ANSWERS if name.startswith(incomplete)]


@click.command()
@click.argument("command", default="report", shell_complete=_answers)
def schema(command: str) -> None:
    """Print the JSON Schema (draft 2020-12) of what COMMAND prints with `-o json`; of the report by default.

    \b
    Examples:
      hostinspect schema > report.json
      hostinspect schema ports | jq '."$defs" | keys'
    """
    from hostinspect.render.schema import ANSWERS, render_schema

    if command not in ANSWERS:
        raise click.UsageError(f"{command} prints no JSON. These do: {', '.join(ANSWERS)}.")
    click.echo(render_schema(command), nl=False)
