"""Everything wrong that can be seen: one small function per finding, over the facts of one tour.

`check` says what a check is, `patient` is what it looks at; there is one module for each family of findings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib import import_module

from hostinspect.doctor.check import CHECKS, SEVERITIES, Check, CheckResult, Doctor, Doubt, Finding
from hostinspect.doctor.patient import Patient
from hostinspect.facts import Gap
from hostinspect.questions.inspection import Inspection

__all__ = ["CHECKS", "examine"]

FAMILIES = (  # each module registers its checks
    "engine",
    "ports",
    "filters",
    "links",
    "bridges",
    "networks",
    "addresses",
    "containers",
    "processes",
    "storage",
    "volumes",
    "exposure",
)
for _family in FAMILIES:
    import_module(f"hostinspect.doctor.{_family}")


def in_order() -> list[Check]:
    """Every check, family by family, each in the order of its module."""
    return sorted(CHECKS.values(), key=lambda check: FAMILIES.index(check.family))


def examine(inspection: Inspection, only: Collection[str] = (), skip: Collection[str] = ()) -> Doctor:
    """Run the checks with these ids, or all; without those to skip.

    One whose families of facts have a grave gap is not judged, which is a grave gap of its own; what it finds is told
    all the same where it rests on what was seen alone.
    """
    patient = Patient(inspection)
    results: list[CheckResult] = []
    findings: list[Finding] = []
    gaps: list[Gap] = []
    for check in in_order():
        if (only and check.id not in only) or check.id in skip:
            continue
        holes = patient.holes(check.needs)
        found: list[Finding] = []
        if not holes or check.certain:
            for outcome in check.run(patient):
                if isinstance(outcome, Doubt):
                    gaps.append(_doubt(check, outcome))
                else:
                    found.append(
                        Finding(
                            id=check.id,
                            severity=outcome.severity or check.severity,
                            kind=outcome.kind,
                            subject=outcome.subject,
                            summary=outcome.summary,
                            evidence=outcome.evidence,
                            remedy=outcome.remedy,
                            docs=check.docs,
                        )
                    )
        gaps += _not_judged(check, holes)
        findings += found
        result = CheckResult(
            id=check.id,
            severity=check.severity,
            title=check.title,
            result="found" if found else "not judged" if holes else "nothing",
        )
        results.append(result)
    # Stable: within a severity, in the order of the checks.
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Doctor(
        collected_at=patient.facts.host.collected_at,
        checks=tuple(results),
        findings=tuple(findings),
        gaps=tuple(gaps),
    )


def _not_judged(check: Check, holes: list[Gap]) -> Iterator[Gap]:
    if not holes:
        return
    first = holes[0]
    more = f", and {len(holes) - 1} more" if len(holes) > 1 else ""
    yield Gap(
        collector="doctor",
        subject=check.id,
        why=f"could not be judged: {first.subject}: {first.why}{more}",
        remedy=first.remedy,
    )


def _doubt(check: Check, doubt: Doubt) -> Gap:
    return Gap(
        collector="doctor",
        subject=f"{check.id}, {doubt.subject}",
        why=f"could not be judged: {doubt.why}",
        remedy=doubt.remedy,
        minor=True,
    )
