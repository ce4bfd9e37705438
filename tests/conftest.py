"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# No test asserts a time: a busy machine is no defect of what it runs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
