"""`hostinspect doctor` for reading: findings by severity, each with its evidence and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from hostinspect.doctor.check import SEVERITIES, Check, Doctor, Finding, Severity
from hostinspect.render.layout import Branch, Line, Span, Style, item, wrap
from hostinspect.render.screen import Screen

_MARKS: dict[Severity, tuple[str, Style]] = {
    "critical": ("×", "bad"),
    "error": ("×", "bad"),
    "warning": ("!", "warn"),
    "info": ("·", "dim"),
}
_PLURALS: dict[Severity, str] = {"critical": "critical", "error": "errors", "warning": "warnings", "info": "infos"}


def render_doctor(answer: Doctor, screen: Screen, *, verbose: bool = False) -> str:
    """Ends in a line that sums it up; with `verbose`, every check and what came of it too."""
    lines: list[str] = []
    for severity in SEVERITIES:
        found = [finding for finding in answer.findings if finding.severity == severity]
        if not found:
            continue
        lines += screen.draw(Branch(Line([item(severity, style=_MARKS[severity][1])])))
        for finding in found:
            lines += screen.draw(_finding(finding))
        lines.append("")
    if verbose:
        for result in answer.checks:
            lines += _plain(Line([item(f"{result.result}:", style="dim"), item(result.id)], (11,), 13), screen)
        lines.append("")
    unjudged = [result.id for result in answer.checks if result.result == "not judged"]
    if unjudged:
        lines += _plain(Line([item("not judged:", style="warn"), *_listed(unjudged)], hang=2, gap=Span(" ")), screen)
        lines.append("")
    lines += _plain(Line([item(_summary(answer))]), screen)
    return "".join(f"{line}\n" for line in lines)


def _plain(line: Line, screen: Screen) -> Iterator[str]:
    """A line that nothing hangs below: what follows a break is indented by its `hang` alone."""
    items = [item(*(replace(span, text=screen.escape(span.text)) for span in spans)) for spans in line.items]
    return map(screen.paint, wrap(replace(line, items=items), screen.width))


def _finding(finding: Finding) -> Branch:
    mark, style = _MARKS[finding.severity]
    head = Line([item(mark, style=style), item(Span(finding.subject, "name")), item(finding.id, style=style)], hang=2)
    details = [Line([item(finding.summary)], hang=2)]
    details += (Line([item(evidence, style="dim")], hang=2) for evidence in finding.evidence)
    details.append(Line([item("→ ", finding.remedy)], hang=2))
    return Branch(head, details)


def _listed(ids: list[str]) -> Iterator[tuple[Span, ...]]:
    for id_ in ids[:-1]:
        yield item(f"{id_},")
    yield item(ids[-1])


def _summary(answer: Doctor) -> str:
    """`49 checks, 2 findings (1 error, 1 info), 1 not judged`."""
    counted = Counter(finding.severity for finding in answer.findings)
    kinds = [f"{counted[s]} {_PLURALS[s] if counted[s] != 1 else s}" for s in SEVERITIES if counted[s]]
    total = len(answer.findings)
    words = [f"{len(answer.checks)} check{'s' if len(answer.checks) != 1 else ''}"]
    words.append(f"{total or 'no'} finding{'s' if total != 1 else ''}" + (f" ({', '.join(kinds)})" if kinds else ""))
    unjudged = sum(result.result == "not judged" for result in answer.checks)
    if unjudged:
        words.append(f"{unjudged} not judged")
    return ", ".join(words)


def render_checks(checks: Iterable[Check], screen: Screen) -> str:
    """One line for each check."""
    every = [*checks]
    width = max((len(check.id) for check in every), default=0)
    lines: list[str] = []
    for check in every:
        items = [item(check.id, style="name"), item(check.severity, style=_MARKS[check.severity][1]), item(check.title)]
        lines += _plain(Line(items, (width, 8), 4), screen)
    return "".join(f"{line}\n" for line in lines)


def render_explanation(check: Check, screen: Screen) -> str:
    """What a check means."""
    lines = [
        *_plain(Line([item(check.id, style="name"), item(check.severity, style=_MARKS[check.severity][1])]), screen)
    ]
    for paragraph in (check.title, *filter(None, check.explanation.split("\n\n"))):
        lines += [*_plain(Line([item(" ".join(paragraph.split()))]), screen), ""]
    lines += _plain(Line([item(f"See {check.docs}", style="dim")]), screen)
    return "".join(f"{line}\n" for line in lines)
