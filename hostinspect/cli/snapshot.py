"""`hostinspect snapshot`."""

from __future__ import annotations

import os

import click

from hostinspect.cli.request import NOT_ENOUGH_SEEN, confine, data_root_option, sandbox_option


@click.command()
@click.option("-o", "--output", metavar="FILE", required=True, help="The file to write; mode 0600.")
@data_root_option
@sandbox_option
def snapshot(output: str, data_roots: tuple[str, ...], sandbox: bool) -> int:
    """Write all that can be read of this host to one file, for other commands to answer from (--from).

    \b
    Examples:
      hostinspect snapshot -o before.hostinspect
      hostinspect ports --from before.hostinspect
    """
    from hostinspect.collectors import collect
    from hostinspect.snapshot import write_snapshot

    confine(sandbox, writes=True)
    facts = collect(data_roots, image_layers=True, health=True)
    try:
        write_snapshot(facts, output)
    except OSError as error:
        raise click.UsageError(f"{output} could not be written: {os.strerror(error.errno or 0)}") from None
    return NOT_ENOUGH_SEEN if any(not gap.minor for gap in facts.gaps) else 0
