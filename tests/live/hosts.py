"""Which of the session's hosts (`conftest.py`) a test is run on."""

from __future__ import annotations

import pytest

DEMO_HOSTS = ("demo_host", "demo_host_legacy", "demo_host_sid")
RANDOM_HOSTS = ("random_host", "random_host_sid")

on_every_demo = pytest.mark.parametrize("demo", DEMO_HOSTS, indirect=True)
on_random_hosts = pytest.mark.parametrize("made_up", RANDOM_HOSTS, indirect=True)
