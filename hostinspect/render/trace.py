"""`hostinspect trace` for reading: the way of a packet, a hop a line, and what to do below the hop that breaks."""

from __future__ import annotations

from collections.abc import Iterator

from hostinspect.questions.trace.answer import Trace, Traces
from hostinspect.render.layout import Branch, Line, Span, Style, item
from hostinspect.render.screen import Screen

_STYLES: dict[str, Style] = {"ok": "dim", "broken": "bad", "unknown": "warn"}
_WIDTH = len("unknown")


def render_trace(answer: Traces, screen: Screen, *, verbose: bool = False) -> str:
    """Each way below its heading, with an empty line between two; ends in a newline."""
    lines: list[str] = []
    for trace in answer.traces:
        if lines:
            lines.append("")
        for line in _lines(trace, verbose=verbose):
            lines += screen.draw(Branch(line))
    return "".join(f"{line}\n" for line in lines)


def _lines(trace: Trace, *, verbose: bool) -> Iterator[Line]:
    yield Line([item(Span(trace.target, "name"), f" {_heading(trace)}")], hang=4)
    for hop in trace.hops:
        yield _line(hop.state, hop.text)
        if hop.remedy is not None and hop.text == trace.verdict:
            yield _line("", hop.remedy)
        if verbose:
            for evidence in hop.evidence:
                yield _line("", f"{evidence.kind} {evidence.id}: {evidence.text}", "dim")
    if trace.probe is not None:
        yield _line(trace.probe.state, f"probe: {trace.probe.text}")


def _heading(trace: Trace) -> str:
    address = f"[{trace.address}]" if ":" in trace.address else trace.address
    asked = "" if trace.source == trace.source_address else f"{trace.source}, "
    return f"from {asked}{trace.source_address or '?'} to {address}:{trace.port}/{trace.proto}"


def _line(state: str, text: str, style: Style = "") -> Line:
    """The state, and beside it the text; what does not fit goes on a little further in."""
    items = [item(Span(state, _STYLES.get(state, ""))), item(Span(text, style))]
    return Line(items, columns=(_WIDTH,), hang=_WIDTH + 2)
