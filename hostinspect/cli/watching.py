"""One look at the host after another: when the kernel says that something changed, and never more often than is cheap.

    event ──► quiet for a moment, and rested ──► look ──► compare with the look before ──► event …

An event says when to look, and the look says what changed. So no event needs to be understood, and where some were
lost nothing is but what came and went in between.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from hostinspect.facts import Gap
from hostinspect.kernel import modules
from hostinspect.kernel.events import Events, Taken
from hostinspect.kernel.netns import Visitor
from hostinspect.questions.compare import Comparison, compare
from hostinspect.topology import Topology

QUIET = 0.1  # seconds without an event, after which a look is worth its while
LONGEST = 1.0  # seconds that are waited for such a moment
REST = 9  # times the processor time of a look: a tenth of one processor is the most that is used
SETTLE = 2.0  # seconds after a change, until what has no events is looked for: a server that begins to listen
STRETCH = 4  # times longer each time that nothing more was found: 2, 8, 32 s,
SETTLED = 30.0  # and no more
TRIES = 3  # looks, where one did not see what the one before did: something vanished under way
_STEP = 0.05  # seconds between two drains, so that a flood costs little


class Limits(NamedTuple):
    """How often to look, and for how long; in seconds."""

    pause: float  # from one look to the next at least
    safety: float  # without an event at most; may be infinite
    lasting: float  # altogether


class Look(NamedTuple):
    """What a look found."""

    topology: Topology
    comparison: Comparison | None  # with the look before; None: it is the first
    causes: tuple[str, ...]  # the events that led to it; none, where it was time
    overrun: bool  # events were lost before it
    cost: float  # seconds of processor time


def listen(receive_buffer: int | None) -> Events:
    """Listen to the host's events: in the network namespace of pid 1 where that may be entered, else in our own.

    Raises OSError.
    """
    with Visitor() as visitor:
        with suppress(OSError):
            fd = os.open("/proc/1/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                visitor.enter(fd, os.fstat(fd).st_ino)
            finally:
                os.close(fd)
        return Events(receive_buffer=receive_buffer)


def looks(look: Callable[[], Topology], events: Events, limits: Limits) -> Iterator[Look]:
    """The first look, then one whenever something may have changed, until the time is over."""
    end = time.monotonic() + limits.lasting
    begun = _processor_time()
    before = _look(look, events)
    yield Look(before, None, (), False, _processor_time() - begun)
    settle = SETTLE
    while True:
        now = time.monotonic()
        rested = now + max(limits.pause, REST * (_processor_time() - begun))  # from the look to the lines that told it
        taken, over = _wait(events, rested, due=now + min(settle, limits.safety), end=end)
        if over and not taken.causes:
            return
        begun = _processor_time()
        topology = _look(look, events)
        for _ in range(TRIES - 1):
            if _grave(topology) <= _grave(before):
                break
            time.sleep(max(limits.pause, REST * (_processor_time() - begun)))
            topology = _look(look, events)
        comparison = compare(before, topology)
        settle = SETTLE if comparison.changes else settle * STRETCH if settle < SETTLED else math.inf
        before = topology
        yield Look(topology, comparison, taken.causes, taken.overrun, _processor_time() - begun)
        if over:
            return


def _grave(topology: Topology) -> set[tuple[str, str]]:
    """What could not be seen, but for its own changing words."""
    return {(gap.collector, gap.why) for gap in topology.gaps if not gap.minor}


def _processor_time() -> float:
    """Seconds that this process and its forks have used."""
    return sum(os.times()[:4])


def _look(look: Callable[[], Topology], events: Events) -> Topology:
    """A look, from which on the ends of the main processes that it saw are events."""
    modules.forget()
    events.listen_to_rules()
    topology = look()
    containers = (container.pid for container in topology.containers)
    engines = (engine.pid for engine in topology.host.engines)
    events.follow(pid for pid in (*containers, *engines) if pid is not None)
    return topology


def _wait(events: Events, rested: float, *, due: float, end: float) -> tuple[Taken, bool]:
    """Wait for events and a quiet moment after them, or until a look is due; what there was, and whether it is the end.

    Not before `rested`, but for the end. Times are of time.monotonic().
    """
    causes: dict[str, None] = {}
    messages, overrun = 0, False
    first = last = 0.0
    while True:
        now = time.monotonic()
        if now >= end:
            break
        if now >= rested and (now >= due or (causes and (now >= last + QUIET or now >= first + LONGEST))):
            break
        if causes:
            time.sleep(min(_STEP, end - now))
        else:
            events.wait(min(max(due, rested), end, now + _LONGEST_POLL) - now)
        taken = events.take()
        if taken.causes:
            last = time.monotonic()
            first = first or last
            causes |= dict.fromkeys(taken.causes)
            messages += taken.messages
            overrun |= taken.overrun
    return Taken(tuple(causes), messages, overrun), time.monotonic() >= end


_LONGEST_POLL = 3600.0  # seconds: poll(2) takes milliseconds in an int


def new_gaps(told: tuple[Gap, ...], topology: Topology) -> tuple[Gap, ...] | None:
    """What cannot be seen now, where that is something else than was told last."""
    gaps = tuple(gap for gap in topology.gaps if not gap.minor)
    return None if gaps == told else gaps
