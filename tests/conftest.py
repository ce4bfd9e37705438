"""What holds for every test."""

from __future__ import annotations

import compileall
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.schedule import Schedule

# No test asserts a time: a busy machine is no defect of what it runs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Compile what the tests run thousands of times in a process of its own.

    hostinspect writes no bytecode, and a lab host cannot: it sees the repository read-only. Half the processor time of
    a run from source is compiling.

    What ends a program ends those that the tests start, though the tests themselves be run by nohup(1), or by a shell
    in the background: both have signals ignored, which goes on to whatever is started.
    """
    for number, action in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, action)
    if not hasattr(config, "workerinput"):  # once, not in each process of pytest-xdist
        for code in ("hostinspect", "tests/lab"):
            compileall.compile_dir(_REPOSITORY / code, quiet=1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Schedule | None:
    """For `--dist loadfile` the one of `schedule.py`."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.schedule import Schedule

    return Schedule(config, log)


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The width of whatever the tests are shown on is not theirs."""
    monkeypatch.delenv("COLUMNS", raising=False)
