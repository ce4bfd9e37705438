"""python-iptables, for the few legacy rules with an extension that `hostinspect.kernel.xtables` does not decode.

It asks libxtables, which has every extension that is installed. It is optional (`pip install hostinspect[iptc]`), and
importing it starts ldconfig, gcc and modprobe; here it is loaded with these taken away, and only after the tables that
it opens are known to exist (opening one makes it otherwise). Its functions print to the process's standard output,
which is a pipe while they do.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from hostinspect.facts import Family
from hostinspect.kernel.text import text

_FOLDERS = ("/usr/local/lib", "/usr/lib64", "/lib64", "/usr/lib", "/lib")
_XTABLES_LIBDIR = "XTABLES_LIBDIR"  # where libxtables and python-iptables look for extensions


class Saved(NamedTuple):
    """A rule's extensions as libxtables saves them: name and options, None where it does not know one either."""

    matches: tuple[tuple[str, str] | None, ...]
    target: tuple[str, str] | None


def is_available() -> bool:
    """Whether python-iptables is installed and can be loaded."""
    return _load() is not None


def saved(family: Family, table: str, chain: str, position: int) -> Saved | None:
    """The extensions of a legacy rule of the network namespace we are in, `position` counted from 1.

    None where python-iptables is not there or fails. `table` must exist there already.
    """
    iptc = _load()
    if iptc is None:
        return None
    kind, of_rule = (iptc.Table, iptc.Rule) if family == "ipv4" else (iptc.Table6, iptc.Rule6)
    try:
        # Tables and chains are cached by their names, whatever the namespace.
        kind._cache.clear()
        iptc.Chain._cache.clear()
        opened = kind(table, autocommit=False)
        # Whether a target is a chain is looked up in every table there could be, which makes those that are not.
        of_rule.tables = [opened]
        try:
            rule = iptc.Chain(opened, chain).rules[position - 1]
            matches = tuple(_save(match, rule) for match in rule.matches)
            return Saved(matches, _save(rule.target, rule) if rule.target is not None else None)
        finally:
            opened.close()
            of_rule.tables = []
            kind._cache.clear()
    except Exception:  # a library of C structures and longjmp(3): whatever it raises, we have no text
        return None


def _save(extension: Any, rule: Any) -> tuple[str, str] | None:
    raw = extension._get_saved_buf(rule.get_ip())
    return None if raw is None else (extension._get_alias_name() or extension.name, text(raw.rstrip()))


@cache
def _load() -> ModuleType | None:
    """The package, imported without its side effects; None where it is not installed or does not load."""
    spec = importlib.util.find_spec("iptc")
    if spec is None or not spec.submodule_search_locations:
        return None
    extensions = os.environ.get(_XTABLES_LIBDIR) or _extension_folder()
    if extensions is None:
        return None  # it would ask ldconfig
    with _no_search_for_libraries(), _environment(_XTABLES_LIBDIR, extensions):
        try:
            _import_util(Path(spec.submodule_search_locations[0]) / "util.py")
            import iptc
        except Exception:
            return None
    module: ModuleType = iptc
    return module


def _import_util(path: Path) -> None:
    """Import `iptc.util` before the package does, and take modprobe out of it."""
    spec = importlib.util.spec_from_file_location("iptc.util", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules["iptc.util"] = module
    spec.loader.exec_module(module)
    module.load_kernel = _load_no_module  # type: ignore[attr-defined]


def _load_no_module(_name: str, exc_if_failed: bool = False) -> None:
    """In place of iptc.util.load_kernel."""


def library_folders() -> list[Path]:
    """Where a distribution keeps its libraries, of this machine's architecture first."""
    multiarch = sysconfig.get_config_var("MULTIARCH")
    own = [f"/usr/lib/{multiarch}", f"/lib/{multiarch}"] if multiarch else []
    return [Path(folder) for folder in (*own, *_FOLDERS) if Path(folder).is_dir()]


def find_library(name: str) -> str | None:
    """As ctypes.util.find_library, from the names of files alone: `ip4tc` is /usr/lib/…/libip4tc.so.2."""
    if name == "c":
        return "libc.so.6"
    stem = name if name.startswith("lib") else f"lib{name}"
    pattern = stem if ".so" in stem else f"{stem}.so*"
    for folder in library_folders():
        for found in sorted(folder.glob(pattern)):
            return str(found)
    return None


def _extension_folder() -> str | None:
    return next((str(folder / "xtables") for folder in library_folders() if (folder / "xtables").is_dir()), None)


@contextmanager
def _no_search_for_libraries() -> Iterator[None]:
    """ctypes.util.find_library starts ldconfig, gcc and ld."""
    before = ctypes.util.find_library
    ctypes.util.find_library = find_library
    try:
        yield
    finally:
        ctypes.util.find_library = before


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
