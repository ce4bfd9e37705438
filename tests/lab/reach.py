"""What of the machine must be reachable inside a lab host, so that the running interpreter runs there as here."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path

# The folders that a host with the machine's own userland does not share with the machine; init.sh makes them.
_PRIVATE = tuple(map(Path, ("/tmp", "/run", "/root", "/srv", "/etc", "/opt/containerd", "/var/lib/docker")))
_SYSTEM = tuple(map(Path, ("/", "/usr", "/usr/local")))


def visible_paths(tree: Path | None, wanted: Iterable[Path]) -> list[Path]:
    """`wanted`, the interpreter, its libraries and what it imports, as far as they are not there of themselves.

    `tree` is another userland's, None the machine's own. Parents come before what lies in them.
    """
    paths = {path.absolute() for path in wanted} | _interpreter()
    if tree is None:
        paths = {path for path in paths if any(private in path.parents for private in _PRIVATE)}
    else:
        paths |= {library for library in _libraries() if not (tree / library.relative_to("/")).exists()}
    return [path for path in sorted(paths) if path.exists() and not paths & set(path.parents)]


def _interpreter() -> set[Path]:
    """Its prefixes; of the system's interpreter, which has no folder of its own, what belongs to it."""
    paths = {Path(sys.prefix), Path(sys.base_prefix)}
    if Path(sys.base_prefix) in _SYSTEM:
        executable = Path(sys.executable)
        while executable.is_symlink():  # each is looked up on the way: venv → python3 → python3.11
            executable = executable.parent / executable.readlink()
            paths.add(executable)
        paths.add(Path(sysconfig.get_path("stdlib")))
        paths.add(executable)
    return paths - set(_SYSTEM)


@cache
def _libraries() -> frozenset[Path]:
    """The shared libraries of the interpreter and of the standard library's modules, by ldd(1)."""
    modules = (Path(sysconfig.get_path("stdlib")) / "lib-dynload").glob("*.so")
    # It fails where one of them is no dynamic executable, and lists the others all the same.
    listed = subprocess.run(["ldd", sys.executable, *modules], check=False, capture_output=True, text=True).stdout
    words = [line.split() for line in listed.splitlines()]
    return frozenset(Path(line[2]) for line in words if len(line) > 2 and line[1] == "=>" and line[2].startswith("/"))
