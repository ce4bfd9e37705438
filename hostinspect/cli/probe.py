"""`trace --probe`: what a connection does that is really made."""

from __future__ import annotations

import socket

from msgspec import structs

from hostinspect.questions.trace.answer import Probe, Trace, Traces
from hostinspect.render.text import safe

PATIENCE = 2  # seconds


def probed(answer: Traces) -> Traces:
    """The answer, with what became of one TCP connection to each target."""
    return structs.replace(answer, traces=tuple(structs.replace(trace, probe=_probe(trace)) for trace in answer.traces))


def _probe(trace: Trace) -> Probe:
    where = f"{trace.address} port {trace.port}"
    if trace.proto != "tcp":
        return Probe(state="unknown", text=f"a {trace.proto} port does not say whether anybody is there: not tried")
    try:
        with socket.create_connection((trace.address, trace.port), PATIENCE) as connection:
            connection.settimeout(0.2)
            return _said(connection, where)
    except TimeoutError:
        return Probe(state="broken", text=f"{where} does not answer within {PATIENCE} s")
    except OSError as error:
        return Probe(state="broken", text=f"{where}: {error.strerror or error}")


def _said(connection: socket.socket, where: str) -> Probe:
    """A docker-proxy takes every connection, and closes those at once that lead nowhere."""
    try:
        said = connection.recv(64)
    except TimeoutError:
        return Probe(state="ok", text=f"{where} takes the connection")
    if said:
        return Probe(
            state="ok", text=f"{where} takes the connection, and says {safe(said.decode('ascii', 'replace'))!r}"
        )
    return Probe(state="broken", text=f"{where} takes the connection, and closes it at once")
