"""`hostinspect doctor`."""

from __future__ import annotations

from hostinspect.cli.errors import NO, BadValueError
from hostinspect.cli.options import common_options
from hostinspect.cli.parameters import Flag, Option, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hostinspect.cli.parameters import Given, Parameter
    from hostinspect.cli.request import Request
    from hostinspect.doctor.check import Doctor
    from hostinspect.facts import Gap

_SEVERITIES = ("critical", "error", "warning", "info")
_NEVER = "never"


def _ids(values: tuple[str, ...], given: Given) -> tuple[str, ...]:
    """Ids of checks, with commas or one by one; what is none is wrong usage."""
    return tuple(_known(id_) for value in values for id_ in value.split(",") if id_)


def _id(value: str | None, given: Given) -> str | None:
    return _known(value) if value is not None else None


def _known(id_: str) -> str:
    from hostinspect.doctor import CHECKS

    if id_ not in CHECKS:
        from hostinspect.questions.inspection import similar

        close = similar(id_, CHECKS)
        hint = f"Did you mean {' or '.join(close)}?" if close else "`hostinspect doctor --list` lists them."
        raise BadValueError(f"there is no check {id_}. {hint}")
    return id_


def _complete(given: Given, parameter: Parameter, incomplete: str) -> list[str]:
    from hostinspect.doctor import CHECKS

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{id_}" for id_ in CHECKS if id_.startswith(last)]


@command(
    Option("--only", metavar="ID,…", several=True, convert=_ids, complete=_complete, help="Only these checks."),
    Option("--skip", metavar="ID,…", several=True, convert=_ids, complete=_complete, help="Not these checks."),
    Option(
        "--fail-on",
        choices=(*_SEVERITIES, _NEVER),
        default="error",
        help="Exit status 1 from this severity on.",
    ),
    Flag("--list", name="listing", help="List the checks, and look at nothing."),
    Option(
        "--explain",
        metavar="ID",
        convert=_id,
        complete=_complete,
        help="Say what a check means, and look at nothing.",
    ),
    *common_options("text", "json", "yaml", "sarif", "junit"),
    ahead="mountinfo",
)
def doctor(
    request: Request,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    fail_on: str,
    listing: bool,
    explain: str | None,
) -> int:
    """Look for everything wrong that can be seen, each with its evidence and a remedy. Nothing is changed.

    Exit status: 0 nothing from --fail-on upwards was found, 1 something was, 3 nothing was but not all could be judged.

    \b
    Examples:
      hostinspect doctor
      hostinspect doctor --only port-without-rule,forward-drops
      hostinspect doctor --fail-on warning -o junit > doctor.xml
      hostinspect doctor --explain rule-to-nobody
    """
    from hostinspect.doctor import examine, in_order
    from hostinspect.render.doctor import render_checks, render_doctor, render_explanation

    if explain is not None:
        request.show(render_explanation(next(check for check in in_order() if check.id == explain), request.screen()))
        return 0
    chosen = [check for check in in_order() if (not only or check.id in only) and check.id not in skip]
    if listing:
        request.show(render_checks(chosen, request.screen()))
        return 0
    inspection = request.inspect(image_layers=True, health=True)
    answer = examine(inspection, only, skip)
    if request.output in ("sarif", "junit"):
        request.show(_report(answer, request.output, fail_on))
    else:
        request.show(request.document(answer) or render_doctor(answer, request.screen(), verbose=request.verbose))
    return request.conclude(_by_reason(answer.gaps), NO if _has_failed(answer, fail_on) else 0)


def _by_reason(gaps: Sequence[Gap]) -> list[Gap]:
    """The gaps as they are told on stderr: one for all checks with the same reason."""
    from msgspec.structs import replace

    by_reason: dict[tuple[str, str, bool], list[Gap]] = {}
    for gap in gaps:
        by_reason.setdefault((gap.why, gap.remedy, gap.minor), []).append(gap)
    return [
        replace(same[0], subject=f"{len(same)} checks" if len(same) > 3 else ", ".join(gap.subject for gap in same))
        for same in by_reason.values()
    ]


def _report(answer: Doctor, output: str, fail_on: str) -> str:
    """The answer for a program that collects reports."""
    from hostinspect.doctor import CHECKS

    if output == "sarif":
        from hostinspect.render.sarif import render_sarif

        return render_sarif(answer, CHECKS)
    from hostinspect.render.junit import render_junit

    return render_junit(answer, CHECKS, frozenset(_failing(fail_on)))


def _failing(fail_on: str) -> Iterable[str]:
    """The severities that make a run fail."""
    return _SEVERITIES[: _SEVERITIES.index(fail_on) + 1] if fail_on != _NEVER else ()


def _has_failed(answer: Doctor, fail_on: str) -> bool:
    failing = {*_failing(fail_on)}
    return any(finding.severity in failing for finding in answer.findings)
