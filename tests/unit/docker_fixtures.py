"""Recorded data roots (tests/record_docker.py says how) laid out on disk again."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures"
RECORDED = ("docker-20.10", "docker-28.5")


def lay_out(name: str, directory: Path) -> Path:
    """Unpack a recorded data root below `directory`."""
    data_root = directory / name
    with tarfile.open(FIXTURES / f"{name}.tar.gz") as archive:
        for member in archive:
            path = data_root / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            if member.isdir():
                path.mkdir(exist_ok=True)
            elif member.issym():
                path.symlink_to(member.linkname)
            else:
                content = archive.extractfile(member)
                assert content
                path.write_bytes(content.read())
    return data_root


def answers(data_root: Path) -> dict[str, Any]:
    """What the engine said of it."""
    found: dict[str, Any] = json.loads((data_root / "answers.json").read_bytes())
    return found
