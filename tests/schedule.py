"""How the tests are dealt out to the processes of pytest-xdist: the longest first, and each host to one process.

A unit is a file. But the tests on a host that takes long to make, and that few tests of each file ask for, are one
unit, whatever file they are in: so it is made once, and not once in each process.
"""

from __future__ import annotations

import re

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

_FEW_ASK_FOR = re.compile(r"::.*\[.*?\b(demo_host_legacy|demo_host_sid|random_host|random_host_sid)\b")


def unit(nodeid: str) -> str:
    """The host, if it is one of these, else the file."""
    host = _FEW_ASK_FOR.search(nodeid)
    return host[1] if host else nodeid.partition("::")[0]


def rank(name: str) -> int:
    """Units of a lower rank come first: what is short fills the gap at the end. sid may yet be in the making."""
    if not name.startswith("tests/"):
        return 1 if name.endswith("_sid") else 0
    return 2 if name.startswith("tests/live/") else 3


class Schedule(LoadFileScheduling):  # type: ignore[misc]
    """These units by their rank, of one rank those of more tests first."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        self.workqueue.move_to_end(min(self.workqueue, key=rank), last=False)
        super()._assign_work_unit(node)
