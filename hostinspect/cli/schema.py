"""`hostinspect schema`."""

from __future__ import annotations

import click


@click.command()
@click.argument("command", default="report")
def schema(command: str) -> None:
    """Print the JSON Schema (draft 2020-12) of what COMMAND prints with `-o json`; of the report by default."""
    from hostinspect.render.schema import ANSWERS, render_schema

    if command not in ANSWERS:
        raise click.UsageError(f"{command} prints no JSON. These do: {', '.join(ANSWERS)}.")
    click.echo(render_schema(command), nl=False)
