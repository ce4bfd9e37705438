"""`hostinspect schema`."""

from __future__ import annotations

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema (draft 2020-12) of what `hostinspect report -o json` prints."""
    from hostinspect.render.schema import render_schema

    click.echo(render_schema(), nl=False)
