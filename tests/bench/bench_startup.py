"""What is spent before the first byte is read, whole processes: `python -m tests.bench startup`.

All sides take turns on a throwaway host with the demo's containers; the last column is each one's ratio to Python that
does nothing.
"""

from __future__ import annotations

import shlex
import sys

from tests.bench.sides import HOSTINSPECT, show, take_turns
from tests.lab.host import LabHost, LabSpec

RUNS = 20

# As tests/unit/test_cli.py has it: all that `hostinspect -o json` loads where there are no legacy tables.
_REPORT = (
    "import gc; gc.disable(); import hostinspect.cli.app, hostinspect.cli.report, hostinspect.cli.request,"
    " hostinspect.cli.reading, hostinspect.collectors, hostinspect.collectors.tour,"
    " hostinspect.collectors.engines, hostinspect.questions.inspection, hostinspect.correlate, hostinspect.render.json"
)


def _python(script: str) -> str:
    """What is installed, not what is here; and without what Python does at the end, as `hostinspect.cli` has it."""
    return f"{sys.executable} -I -c {shlex.quote(f'{script}; import os; os._exit(0)')}"


def _complete(*words: str) -> str:
    typed = shlex.quote(" ".join(("hostinspect", *words)))
    return f"COMP_WORDS={typed} COMP_CWORD={len(words)} _HOSTINSPECT_COMPLETE=bash_complete {HOSTINSPECT}"


COMMANDS = {
    "python -c pass": f"{sys.executable} -c pass",
    "--version": f"{HOSTINSPECT} --version",
    "--help": f"{HOSTINSPECT} --help",
    "completion: command": _complete("re"),
    "completion: option": _complete("ports", "--"),
    "completion: value": _complete("ports", "-o", ""),
    "completion: container": _complete("container", "w"),
    "completion: network": _complete("networks", ""),
    "completion: volume": _complete("volumes", ""),
    "completion: any of these": _complete("whois", ""),
    "ports --help": f"{HOSTINSPECT} ports --help",
    "schema report": f"{HOSTINSPECT} schema report",
    "import click": _python("import click"),
    "import msgspec": _python("import msgspec"),
    "imports of a report": _python(_REPORT),
    "container web1": f"{HOSTINSPECT} container web1",
    "report -o json": f"{HOSTINSPECT} report -o json",
}


def main() -> None:
    with LabHost(LabSpec()) as host:
        host.seed()
        show(take_turns(host, COMMANDS, RUNS), "python -c pass")


if __name__ == "__main__":
    main()
