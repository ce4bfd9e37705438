"""What goes wrong with a lab host, in words for the person at the shell."""

from __future__ import annotations

import subprocess


class LabError(RuntimeError):
    """A host or a userland that could not be made, entered or removed; says what to do."""


class LabCommandError(subprocess.CalledProcessError):
    """A command on a host that failed; its message holds what the command said."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stderr or self.stdout or ''}".rstrip()
