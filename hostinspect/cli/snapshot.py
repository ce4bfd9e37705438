"""`hostinspect snapshot`."""

from __future__ import annotations

import os
from contextlib import nullcontext

import click

from hostinspect.cli.request import (
    NOT_ENOUGH_SEEN,
    confine,
    data_root_option,
    root_option,
    sandbox_option,
    timeout_option,
)


@click.command()
@click.option("-o", "--output", metavar="FILE", required=True, help="The file to write; mode 0600.")
@click.option("--redact", is_flag=True, help="Replace names, addresses and paths, alike everywhere; to show to others.")
@click.option("--raw", is_flag=True, help="Add the bytes that were read: environments and passwords may be in them.")
@root_option
@data_root_option
@timeout_option
@sandbox_option
def snapshot(
    output: str,
    redact: bool,
    raw: bool,
    root: str | None,
    data_roots: tuple[str, ...],
    timeout: float,
    sandbox: bool,
) -> int:
    """Write all that can be read of this host to one file, for other commands to answer from (--from).

    \b
    Examples:
      hostinspect snapshot -o before.hostinspect
      hostinspect ports --from before.hostinspect
      hostinspect snapshot --redact -o for-the-bug-report.hostinspect
    """
    from hostinspect.cli.reading import collected
    from hostinspect.kernel.tape import recording
    from hostinspect.snapshot import write_snapshot

    if redact and raw:
        raise click.UsageError("--raw is what was read, as it was: it does not go with --redact.")
    confine(sandbox, writes=True)
    with recording() if raw else nullcontext() as tape:
        facts = collected(root, data_roots, image_layers=True, health=True)
    if redact:
        from hostinspect import redaction

        facts = redaction.redact(facts)
    try:
        write_snapshot(facts, output, tape.entries if tape else ())
    except OSError as error:
        raise click.UsageError(f"{output} could not be written: {os.strerror(error.errno or 0)}") from None
    return NOT_ENOUGH_SEEN if any(not gap.minor for gap in facts.gaps) else 0
