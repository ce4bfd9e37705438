"""`make fuzz`: damaged inputs for every parser by turns, until SECONDS are over or Ctrl-C.

What a parser does not withstand is written to tests/unit/fixtures/fuzz, from where `make test` reads it ever after.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from random import Random

from tests.fuzz.targets import FOUND, Target, every, mutated, withstood

_TURN = 0.5  # seconds for a target at a time


def keep(target: Target, raw: bytes) -> None:
    """Write down an input that was not withstood, under a name of its own."""
    path = FOUND / f"{target.name}.{hashlib.sha256(raw).hexdigest()[:12]}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(raw)


def turn(target: Target, random: Random, seconds: float) -> tuple[int, set[str]]:
    """Inputs tried in so many seconds, and in words what came of those that were not withstood, each kept once."""
    tried, found, end = 0, set[str](), time.monotonic() + seconds
    while time.monotonic() < end:
        raw = mutated(target.seeds, random)
        tried += 1
        try:
            withstood(target, raw)
        except Exception as error:
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
            words = f"{type(error).__name__} at {where}: {error}"[:300]
            if not any(known.startswith(f"{type(error).__name__} at {where}") for known in found):
                keep(target, raw)
                found.add(words)
    return tried, found


def main() -> int:
    seconds = float(os.environ.get("SECONDS") or "inf")
    seed = int(os.environ.get("SEED") or time.time_ns())
    random, targets = Random(seed), every()
    print(f"{len(targets)} targets, SEED={seed}")
    tried: dict[str, int] = dict.fromkeys((target.name for target in targets), 0)
    spent = dict.fromkeys(tried, 0.0)
    found: dict[str, set[str]] = {}
    end = time.monotonic() + seconds
    per_turn = min(_TURN, seconds / len(targets))
    try:
        while time.monotonic() < end:
            for target in targets:
                begun = time.monotonic()
                count, words = turn(target, random, per_turn)
                tried[target.name] += count
                spent[target.name] += time.monotonic() - begun
                for word in words - found.setdefault(target.name, set()):
                    print(f"{target.name}: {word}", flush=True)
                found[target.name] |= words
    except KeyboardInterrupt:
        print()
    for name, count in tried.items():
        if spent[name]:
            rate, bad = count / spent[name], len(found.get(name, ()))
            print(f"{name:<28} {count:>10,} inputs {rate:>9,.0f}/s {bad:>3} not withstood")
    print(f"{sum(tried.values()):,} inputs in all; what was not withstood is in {FOUND}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
