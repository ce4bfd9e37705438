"""Run by root in a directory that somebody else filled, hostinspect loads nothing from there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).parent / "hostinspect")
_TRAP = "import os, sys\nos.write(2, b'loaded ' + __file__.encode())\nos._exit(99)\n"
_CONFIGURATION = ("hostinspect.toml", ".hostinspect", ".hostinspectrc", "hostinspect.ini", "pyproject.toml", ".env")


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """A directory with a module of every name that a run could import, and a configuration of any usual name."""
    for name in {*sys.stdlib_module_names, "click", "msgspec", "yaml", "rich", "iptc", "hostinspect", "tests"}:
        (tmp_path / f"{name}.py").write_text(_TRAP)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(_TRAP)
    for name in ("sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text(_TRAP)
    for name in _CONFIGURATION:
        (tmp_path / name).write_text("output = 'yaml'\nquiet = true\n")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["schema", "report"],
        ["-o", "json"],
        ["-o", "yaml"],
        ["containers"],
        ["doctor", "--list"],
    ],
    ids=" ".join,
)
def test_nothing_is_loaded_from_the_current_directory(arguments: list[str], trapped: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [COMMAND, *arguments], cwd=trapped, env=environment, capture_output=True, text=True, check=False
    )
    assert "loaded" not in done.stderr
    assert done.returncode in (0, 3)  # what can be seen of this machine is another matter
    if arguments == ["-o", "json"]:
        assert done.stdout.startswith("{")


def test_the_trap_works(trapped: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import click"], cwd=trapped, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr[:7]) == (99, "loaded ")
