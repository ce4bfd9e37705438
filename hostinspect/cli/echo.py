"""What is written to stdout and stderr, as click.echo does it; by click itself where it knows better than Python."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


def write(text: str | bytes) -> None:
    """Write to stdout, at once, as it is."""
    stream = sys.stdout
    if not _takes_everything(stream):
        from click import echo

        echo(text, nl=False, color=True)
    elif isinstance(text, str):
        stream.write(text)
        stream.flush()
    else:
        stream.flush()
        stream.buffer.write(text)
        stream.buffer.flush()


def say(line: str) -> None:
    """Write a line to stderr, at once; in a pipe without colours."""
    if not _takes_everything(sys.stderr) or "\x1b" in line:
        from click import echo

        echo(line, err=True)
    else:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _takes_everything(stream: TextIO | None) -> bool:
    """Whether all of Unicode may be written to it, and bytes. Not where Python thinks of ASCII, or it is closed."""
    return (getattr(stream, "encoding", None) or "").lower() == "utf-8" and hasattr(stream, "buffer")
