"""The words of the command line that are the same on every host: commands, and the options of each, with their help.

Written out, as `hostinspect.cli.help` is, so that a shell can be told of them without loading click. A test holds what
is told equal to what click would say. Names and values, and whatever else is not plain, are left to click.
"""

from __future__ import annotations

import os

Words = tuple[tuple[str, str], ...]  # each with its help

COMMANDS: dict[str, str] = {
    "report": "Print the whole topology: networks, the...",
    "containers": "List every container, as `docker ps --all`...",
    "container": "Show all of a container, as `docker...",
    "networks": "List every network; with names, show each...",
    "bridges": "List every bridge and its ports, as `brctl...",
    "links": "List the host's interfaces as `ip -brief...",
    "ports": "Show every port of the host that leads to...",
    "nat": "Show the chains that translate addresses...",
    "volumes": "List every volume and who uses it; with...",
    "layers": "Tell of what directories each container's...",
    "diff": "Show what a container has changed of its...",
    "whois": "Tell what each KEY is, whose it is, and...",
    "trace": "Follow a packet to each TARGET as the...",
    "doctor": "Look for everything wrong that can be...",
    "snapshot": "Write all that can be read of this host to...",
    "compare": "Tell what changed between two snapshots,...",
    "watch": "Print each change of the host as it...",
    "schema": "Print the JSON Schema (draft 2020-12) of...",
    "completion": "Print the completion script for bash, zsh...",
}

_VERSION: Words = (("--version", "Show the version and exit."),)
_HELP: Words = (("-h", "Show this message and exit."), ("--help", "Show this message and exit."))
_ROOT: Words = (("--root", "Answer from the disk of another host, mounted at DIR, and not from this host."),)
_DATA_ROOT: Words = (("--data-root", "An engine's directory that is not found by itself; may be given several times."),)
_TIMEOUT: Words = (("--timeout", "Go on without what does not answer for so long; 0: wait for it."),)
_SANDBOX: Words = (
    ("--no-sandbox", "Keep all privileges and system calls, on a host where doing without some goes wrong."),
)
_COMMON: Words = (
    ("-o", "What to print."),
    ("--output", "What to print."),
    ("--from", "Answer from a file of `hostinspect snapshot`, not from this host."),
    *_ROOT,
    *_DATA_ROOT,
    *_TIMEOUT,
    *_SANDBOX,
    ("--color", "auto: on a terminal, and without NO_COLOR."),
    ("--pager", "On a terminal, show it with $PAGER."),
    ("-v", "Whole ids and paths, and all that there is to tell."),
    ("--verbose", "Whole ids and paths, and all that there is to tell."),
    ("-q", "Do not tell what could not be seen; the exit status still does."),
    ("--quiet", "Do not tell what could not be seen; the exit status still does."),
)
_TABLE: Words = (
    *_COMMON,
    ("--columns", "These columns only; +NAME adds to the usual, of which a narrow terminal shows fewer."),
    ("--sort", "Sort by these columns; -NAME in falling order."),
    ("--no-header", "No line of headers."),
)
_SIZE: Words = (("--size", "How much each takes on disk; walks through all of it."),)

OPTIONS: dict[str, Words] = {
    "report": _COMMON,
    "containers": (
        ("--running", "Only those that docker ps lists: also paused, also restarting."),
        ("--state", "Only those in this state; repeatable."),
        ("--network", "Only those on this network; repeatable."),
        *_TABLE,
    ),
    "container": _COMMON,
    "networks": _TABLE,
    "bridges": _TABLE,
    "links": (
        ("-a", "Those of every network namespace."),
        ("--all", "Those of every network namespace."),
        (
            "--netns",
            "Those of a namespace: a container, an inode, a path or its last part, host; may be given several times.",
        ),
        *_TABLE,
    ),
    "ports": (("--all", "Also what else listens on the host, and ports of containers that do not run."), *_TABLE),
    "nat": (
        (
            "--netns",
            "A container, or a namespace's name, path or inode, in place of the host; may be given several times.",
        ),
        ("--all", "Every namespace that has NAT of its own."),
        *_TABLE,
    ),
    "volumes": (
        ("--dangling", "Only those that no container has, running or not."),
        ("--anonymous", "Only those whose name the engine made up."),
        ("--driver", "Only those of this driver."),
        *_SIZE,
        *_TABLE,
    ),
    "layers": (
        ("--directories", "Every directory of overlay2/ once, and whose it is."),
        ("--orphans", "Only what belongs to nothing, or may."),
        ("--history", "How each container's image was made, with the arguments of its build."),
        *_SIZE,
        *_TABLE,
    ),
    "diff": (
        ("-0", "End each line with a NUL and escape nothing, for xargs -0."),
        ("--null", "End each line with a NUL and escape nothing, for xargs -0."),
        *_COMMON,
    ),
    "whois": _COMMON,
    "trace": (
        (
            "--source",
            "Who asks: somebody outside, a process on the host, one in a container, or whoever has an address.",
        ),
        ("--probe", "Also try it: one connection from this host, which sends nothing."),
        *_COMMON,
    ),
    "doctor": (
        ("--only", "Only these checks."),
        ("--skip", "Not these checks."),
        ("--fail-on", "Exit status 1 from this severity on."),
        ("--list", "List the checks, and look at nothing."),
        ("--explain", "Say what a check means, and look at nothing."),
        *_COMMON,
    ),
    "snapshot": (
        ("-o", "The file to write; mode 0600."),
        ("--output", "The file to write; mode 0600."),
        ("--redact", "Replace names, addresses and paths, alike everywhere; to show to others."),
        ("--raw", "Add the bytes that were read: environments and passwords may be in them."),
        *_ROOT,
        *_DATA_ROOT,
        *_TIMEOUT,
        *_SANDBOX,
    ),
    "compare": _COMMON,
    "watch": (
        ("-o", "What to print."),
        ("--output", "What to print."),
        ("--for", "End after so long; without, at SIGINT."),
        ("--count", "End after so many changes."),
        ("--pause", "Between two looks, at least."),
        ("--safety", "Look after so long without an event, too; 0: do not."),
        ("--buffer", "What the kernel may keep of events; net.core.rmem_default by default."),
        *_DATA_ROOT,
        *_TIMEOUT,
        *_SANDBOX,
        ("-v", "Tell of each look on stderr: why, and what it cost."),
        ("--verbose", "Tell of each look on stderr: why, and what it cost."),
        ("-q", "Changes only, nothing on stderr."),
        ("--quiet", "Changes only, nothing on stderr."),
    ),
    "schema": (),
    "completion": (),
}

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
        words = (*_VERSION, *_HELP) if is_option else tuple(COMMANDS.items())
    elif is_option and before[0] in COMMANDS and not any(word.startswith("-") for word in before):
        words = (*OPTIONS[before[0]], *_HELP)
    else:
        return None  # a name, a value, or an option that may have been given already
    return [word for word in words if word[0].startswith(incomplete)]
