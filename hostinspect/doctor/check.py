"""What a check is: a small function that looks for one thing that is wrong, registered by its id.

    @check("port-nobody-listens", "error", needs=PORTS)
    def nobody_listens(patient: Patient) -> Checked:
        \"\"\"A port is published, and nobody in the container listens on it.

        What it means, and what usually is behind it.
        \"\"\"
        yield Found(…)

The docstring is the explanation that `doctor --explain ID` prints and docs/doctor.md shows.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, get_args

from msgspec import Struct

from hostinspect.facts import Gap
from hostinspect.questions.answer import Answer
from hostinspect.topology import Node

if TYPE_CHECKING:
    from hostinspect.doctor.patient import Patient

Severity = Literal["critical", "error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # the gravest first

Kind = Literal[
    "address",
    "bridge",
    "chain",
    "container",
    "directory",
    "endpoint",
    "engine",
    "file system",
    "link",
    "mac",
    "mount",
    "network",
    "path",
    "port",
    "process",
    "rule",
    "socket",
    "sysctl",
    "volume",
]


class Finding(Node, frozen=True, kw_only=True):
    """Something that is wrong, or worth to know."""

    id: str  # of the check
    severity: Severity
    kind: Kind  # what the subject is
    subject: str  # its name
    summary: str  # one line
    evidence: tuple[str, ...]  # what was seen, one line each
    remedy: str  # what a person may run, or do
    docs: str  # where more is said


class CheckResult(Node, frozen=True, kw_only=True):
    """What came of a check."""

    id: str
    severity: Severity  # as a rule; a finding may be graver or milder
    title: str
    result: Literal["nothing", "found", "not judged"]


class Doctor(Answer, frozen=True, kw_only=True):
    """What `hostinspect doctor -o json` prints."""

    collected_at: str
    checks: tuple[CheckResult, ...]
    findings: tuple[Finding, ...]  # the gravest first
    gaps: tuple[Gap, ...]


class Found(Struct, frozen=True):
    """A finding as a check makes it; `severity` where it is another than the check's."""

    kind: Kind
    subject: str
    summary: str
    remedy: str
    evidence: tuple[str, ...] = ()
    severity: Severity | None = None


class Doubt(Struct, frozen=True):
    """Something that this check could not judge, while it judged the rest."""

    subject: str
    why: str
    remedy: str


Checked = Iterator["Found | Doubt"]


class Check(Struct, frozen=True):
    """A registered check."""

    id: str
    severity: Severity
    title: str
    explanation: str
    family: str  # the module that it is in
    needs: tuple[str, ...]  # families of facts
    certain: bool  # what it finds was seen: a hole in the facts hides something, and makes nothing up
    run: Callable[[Patient], Checked]

    @property
    def docs(self) -> str:
        """Its heading in the documentation."""
        return f"docs/doctor.md#{self.id}"


CHECKS: dict[str, Check] = {}


def word(text: str | None) -> str:
    """A name or path as one word of the shell: a remedy is pasted, and who runs in a container chooses names."""
    return shlex.quote(text or "?")


def check(
    id: str, severity: Severity, *, needs: tuple[str, ...], certain: bool = False
) -> Callable[[Callable[[Patient], Checked]], Callable[[Patient], Checked]]:
    """Register a function. Where a family that it `needs` has a grave gap, it is run only if it is `certain`."""

    def register(run: Callable[[Patient], Checked]) -> Callable[[Patient], Checked]:
        title, _, explanation = (inspect.getdoc(run) or "").partition("\n\n")
        family = run.__module__.rpartition(".")[2]
        CHECKS[id] = Check(
            id, severity, " ".join(title.split()), explanation.strip(), family, tuple(needs), certain, run
        )
        return run

    return register
