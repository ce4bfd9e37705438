"""The examples in the docstrings of what reads /proc are true."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "collectors.processes",
        "kernel.cgroups",
        "kernel.files",
        "kernel.host",
        "kernel.mountinfo",
        "kernel.procfs",
        "kernel.text",
    ],
)
def test_examples(module: str) -> None:
    failed, attempted = doctest.testmod(importlib.import_module(f"hostinspect.{module}"))
    assert attempted and not failed
