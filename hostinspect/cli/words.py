"""The words of the command line that are the same on every host: commands, the options of each, and values of these.

Told without click, by the declarations that it would tell them by. A test holds what is told equal to what click would
say. Whatever is not plain is left to click, and names to `hostinspect.cli.completion`.
"""

from __future__ import annotations

import os

from hostinspect.cli.commands import COMMANDS, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_VERSION = (("--version", "Show the version and exit."),)
_HELP = (("-h", "Show this message and exit."), ("--help", "Show this message and exit."))

# No quote, backslash or `=`: words that a shell takes apart at white space and nowhere else.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,+@% \t\n")


def complete(instruction: str) -> str | None:
    """What click tells the shell for `instruction`, `bash_complete` and its like; None where click has to be asked, or
    the host.
    """
    found = _found(*words) if (words := typed(instruction)) else None
    return None if found is None else told(instruction, found)


def typed(instruction: str) -> tuple[list[str], str] | None:
    """The words before the one that is to be completed, and how that begins; None where they are not plain.

    They are in COMP_WORDS and COMP_CWORD, as the scripts of `hostinspect completion` put them there.
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
        return before, incomplete
    if instruction in ("bash_complete", "zsh_complete") and position.isdecimal():
        return before[1 : int(position)], "".join(before[int(position) :][:1])
    return None


def told(instruction: str, found: Iterable[tuple[str, str]]) -> str:
    """Words, each with its help or "", as the shell is told them."""
    if instruction == "bash_complete":
        return "\n".join([f"plain,{word}" for word, _ in found])
    if instruction == "zsh_complete":
        return "\n".join([f"plain\n{word}\n{says or '_'}" for word, says in found])
    return "\n".join([f"plain,{word}\t{says}" if says else f"plain,{word}" for word, says in found])


def _found(before: list[str], incomplete: str) -> list[tuple[str, str]] | None:
    """The words that may stand where this one is typed, after those before it."""
    is_option = incomplete.startswith("-")
    words: Iterable[tuple[str, str]]
    if not before:
        words = (*_VERSION, *_HELP) if is_option else COMMANDS.items()
    elif not is_option:
        choices = _choices(before)
        if not choices:
            return None  # a name, or any text
        words = [(choice, "") for choice in choices]
    elif before[0] in COMMANDS and not any(word.startswith("-") for word in before):
        from hostinspect.cli.parameters import Option

        options = [p for p in load(before[0]).parameters if isinstance(p, Option)]
        words = (*((name, option.help) for option in options for name in option.names), *_HELP)
    else:
        return None  # an option that may have been given already
    return [word for word in words if word[0].startswith(incomplete)]


def _choices(before: list[str]) -> tuple[str, ...]:
    """The values that there are for what comes next."""
    from hostinspect.cli.plain import NotPlainError, awaited

    try:
        return awaited(before)[1].choices
    except NotPlainError:
        return ()
