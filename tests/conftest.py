"""What holds for every test."""

from __future__ import annotations

import pytest
from hypothesis import settings

# No test asserts a time: a busy machine is no defect of what it runs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The width of whatever the tests are shown on is not theirs."""
    monkeypatch.delenv("COLUMNS", raising=False)
