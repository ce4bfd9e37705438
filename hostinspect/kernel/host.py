r"""What a host is: os-release(5), /proc/sys/kernel/random/boot_id, uname(2).

>>> parse_os_release(b'NAME=Debian\n# a comment\nPRETTY_NAME="Debian GNU/Linux 12 (\\"bookworm\\")"\n')["PRETTY_NAME"]
'Debian GNU/Linux 12 ("bookworm")'
"""

from __future__ import annotations

import re

from hostinspect.kernel import waiting
from hostinspect.kernel.text import text

# Not compiled before they are needed: most lines are plain.
_ASSIGNMENT = r"""(?s)([A-Za-z_][A-Za-z0-9_]*)=(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s"'\\]*))\s*"""
_ESCAPED = r'\\(["$`\\])'
_LIMIT = 64 * 1024  # bytes; an os-release has some hundred


def os_release(root: str = "") -> dict[str, str]:
    """The variables of ROOT/etc/os-release, else ROOT/usr/lib/os-release (os-release(5)).

    Raises OSError, FileNotFoundError when there is neither.
    """
    try:
        return parse_os_release(_read(f"{root}/etc/os-release"))
    except FileNotFoundError:
        return parse_os_release(_read(f"{root}/usr/lib/os-release"))


def parse_os_release(raw: bytes) -> dict[str, str]:
    """The assignments of an os-release file; lines that are none are passed over, as the manual asks."""
    variables = {}
    for line in text(raw).split("\n"):
        if "=" not in line or line.startswith("#"):
            continue
        if found := _plain(line) or _assignment(line.strip()):
            variables[found[0]] = found[1]
    return variables


def _plain(line: str) -> tuple[str, str] | None:
    """Name and value, where it stands in double quotes without an escape, or is a word without quotes."""
    name, _, value = line.partition("=")
    if not name.isidentifier() or not name.isascii():
        return None
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
        return None if '"' in value or "\\" in value else (name, value)
    is_word = value.isascii() and value.replace(".", "").replace("-", "").isalnum()
    return (name, value) if is_word else None


def _assignment(line: str) -> tuple[str, str] | None:
    """Name and value of any assignment; None where it is none."""
    if not (found := re.fullmatch(_ASSIGNMENT, line)):
        return None
    name, double, single, bare = found.groups()
    return name, re.sub(_ESCAPED, r"\1", double) if double is not None else single or bare or ""


def boot_id(proc: str = "/proc") -> str:
    """The id of this boot, a UUID in /proc/sys/kernel/random/boot_id (random(4)). Raises OSError."""
    return text(_read(f"{proc}/sys/kernel/random/boot_id")).strip()


def _read(path: str) -> bytes:
    waiting.on(path, path)
    with open(path, "rb", buffering=0) as file:
        return file.read(_LIMIT)
