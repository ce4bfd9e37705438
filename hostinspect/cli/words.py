"""The words of the command line that are the same on every host: commands, and the options of each, with their help.

Told without click, by the declarations that it would tell them by. A test holds what is told equal to what click would
say. Names and values, and whatever else is not plain, are left to click.
"""

from __future__ import annotations

import os

from hostinspect.cli.commands import COMMANDS, load
from hostinspect.cli.parameters import Option

_VERSION = (("--version", "Show the version and exit."),)
_HELP = (("-h", "Show this message and exit."), ("--help", "Show this message and exit."))

# No quote, backslash or `=`: words that a shell takes apart at white space and nowhere else.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,+@% \t\n")


def complete(instruction: str) -> str | None:
    """What click tells the shell for `instruction`, `bash_complete` and its like; None where click has to be asked.

    The words are in COMP_WORDS and COMP_CWORD, as the scripts of `hostinspect completion` put them there.
    """
    words = os.environ.get("COMP_WORDS", "")
    position = os.environ.get("COMP_CWORD", "")
    if not _PLAIN.issuperset(words) or not _PLAIN.issuperset(position):
        return None
    before = words.split()
    if instruction == "fish_complete":  # which says what is being typed, not where
        incomplete = position
        if incomplete.split() != [incomplete] * bool(incomplete):
            return None
        del before[:1]
        if incomplete and before[-1:] == [incomplete]:
            del before[-1]
    elif instruction in ("bash_complete", "zsh_complete") and position.isdecimal():
        incomplete = "".join(before[int(position) :][:1])
        before = before[1 : int(position)]
    else:
        return None
    found = _found(before, incomplete)
    if found is None:
        return None
    if instruction == "bash_complete":
        return "\n".join([f"plain,{word}" for word, _ in found])
    if instruction == "zsh_complete":
        return "\n".join([f"plain\n{word}\n{says}" for word, says in found])
    return "\n".join([f"plain,{word}\t{says}" for word, says in found])


def _found(before: list[str], incomplete: str) -> list[tuple[str, str]] | None:
    """The words that may stand where this one is typed, after those before it."""
    is_option = incomplete.startswith("-")
    if not before:
        words: tuple[tuple[str, str], ...] = (*_VERSION, *_HELP) if is_option else tuple(COMMANDS.items())
    elif is_option and before[0] in COMMANDS and not any(word.startswith("-") for word in before):
        options = [p for p in load(before[0]).parameters if isinstance(p, Option)]
        words = (*((name, option.help) for option in options for name in option.names), *_HELP)
    else:
        return None  # a name, a value, or an option that may have been given already
    return [word for word in words if word[0].startswith(incomplete)]
