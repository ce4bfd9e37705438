"""`hostinspect snapshot`."""

from __future__ import annotations

import os

from hostinspect.cli.errors import NOT_ENOUGH_SEEN, UsageError
from hostinspect.cli.options import data_root_option, root_option, sandbox_option, timeout_option
from hostinspect.cli.parameters import Flag, Option, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.request import Request


@command(
    Option("-o", "--output", metavar="FILE", required=True, help="The file to write; mode 0600."),
    Flag("--redact", help="Replace names, addresses and paths, alike everywhere; to show to others."),
    Flag("--raw", help="Add the bytes that were read: environments and passwords may be in them."),
    root_option,
    data_root_option,
    timeout_option,
    sandbox_option,
    confines_itself=True,
)
def snapshot(request: Request, redact: bool, raw: bool) -> int:
    """Write all that can be read of this host to one file, for other commands to answer from (--from).

    \b
    Examples:
      hostinspect snapshot -o before.hostinspect
      hostinspect ports --from before.hostinspect
      hostinspect snapshot --redact -o for-the-bug-report.hostinspect
    """
    from contextlib import nullcontext

    from hostinspect.kernel.tape import Tape
    from hostinspect.snapshot import write_snapshot

    if redact and raw:
        raise UsageError("--raw is what was read, as it was: it does not go with --redact.")
    request.confine(writes=True)
    with Tape() if raw else nullcontext() as tape:
        facts = request.facts(image_layers=True, health=True)
    if redact:
        from hostinspect import redaction

        facts = redaction.redact(facts)
    try:
        write_snapshot(facts, request.output, tape.entries if tape else ())
    except OSError as error:
        raise UsageError(f"{request.output} could not be written: {os.strerror(error.errno or 0)}") from None
    return NOT_ENOUGH_SEEN if any(not gap.minor for gap in facts.gaps) else 0
