"""`hostinspect whois` for reading: what a key is, and below it the reasons, one a line."""

from __future__ import annotations

from collections.abc import Iterator

from hostinspect.questions.whois.answer import KeyAnswer, Match, Whois
from hostinspect.render.layout import Branch, Line, Span, item
from hostinspect.render.screen import Screen

_MANY = 6  # answers; of more, the reasons are told with -v only


def render_whois(answer: Whois, screen: Screen, *, verbose: bool = False) -> str:
    """Each key's answers, the likeliest first, with an empty line between two; ends in a newline."""
    lines: list[str] = []
    for found in answer.keys:
        for section in _sections(found, many=len(answer.keys) > 1, verbose=verbose):
            if lines and (section.details or section.branches):
                lines.append("")
            lines += screen.draw(section)
    return "".join(f"{line}\n" for line in lines)


def _sections(found: KeyAnswer, *, many: bool, verbose: bool) -> Iterator[Branch]:
    key = Span(found.key, "name")
    if not found.matches:
        looked = [Line([item(f"not among {what}")], hang=4) for what in found.looked_at]
        if found.suggestions:
            looked.append(Line([item(f"Did you mean {' or '.join(found.suggestions)}?")]))
        yield Branch(Line([item("nothing here goes by ", key)]), looked)
        return
    short = len(found.matches) > _MANY and not verbose
    if len(found.matches) > 1:
        more = " (their reasons with -v)" if short else ""
        head = Line([item(key, f" may be any of {len(found.matches)}{more}, the likeliest first:")])
        yield Branch(head, [_summary(match) for match in found.matches] if short else ())
        if short:
            return
    for match in found.matches:
        prefix = (key, Span(": ")) if many and len(found.matches) == 1 else ()
        yield Branch(_summary(match, prefix), [Line([item(reason.text)], hang=4) for reason in match.reasons])


def _summary(match: Match, prefix: tuple[Span, ...] = ()) -> Line:
    parts: list[str | Span] = [*prefix, Span(match.summary, "name")]
    kind = Span(f" ({match.kind})", "dim")
    parts.append(kind)
    if match.leftover:
        whose = "left over: nobody's now" if match.owner is None else "left over"
        if match.formerly is not None and match.formerly != match.owner:
            whose += f", once of {match.formerly.kind} {match.formerly.name or match.formerly.id[:12]}"
        parts.append(Span(f" · {whose}", "warn"))
    return Line([item(*parts)], hang=4)
