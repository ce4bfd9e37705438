"""The output that the documentation shows: run again on a seeded host, and compared or replaced.

    python -m tests.docs [FILE…]    show what the blocks of docs/*.md and README.md would hold now, and replace it

A block is a fence of `console` whose lines beginning with "$ " are commands. What another host would have another
name for is written as the shell says it in a comment before the block, and filled in anew with the output:

    <!-- hostinspect whois $(hostinspect links …) -->
    ```console
    $ hostinspect whois veth13d6de4
    the host end of eth0 in container web1
    ```

A line of a single `…` stands for lines that are left out. Two outputs are the same when they hold the same words,
whatever the line breaks: ids, numbers and names that are made up differ from host to host.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.lab.host import LabHost, LabSpec

REPOSITORY = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"(?:<!--(?P<spoken>[^>]*)-->\n)?```console\n(?P<body>.*?)^```$", re.M | re.S)
_LEFT_OUT = "…"
_WIDTH = 80

# In this order: what a run of the same scenario has another of.
_VARIES = (
    (re.compile(r"Linux \d\S*"), "KERNEL"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),  # its fraction has as many digits as it likes
    (re.compile(r"lab-[0-9a-f]{6}|\bdocs-host\b"), "HOST"),
    (re.compile(r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "MAC"),
    (re.compile(r"\b(veth|br-|sha256:)?[0-9a-f]{7,64}(-init)?(?![a-z0-9])…?"), r"\1ID"),
    # Swarm's, whole or as docker cuts them.
    (
        re.compile(r"\b(lb_)[a-z0-9]{9}\b|\b\d+-[a-z0-9]{10}\b|\b[a-z0-9]{10,12}…|\b([a-z0-9]{12}|[a-z0-9]{25})\b"),
        r"\1ID",
    ),
    (re.compile(r"\b[A-Z0-9]{26}\b"), "SHORT"),
    (re.compile(r"\d+"), "N"),
    (re.compile(r"\bN ?(s|m|h|seconds?|minutes?|hours?|[kMG]?i?B)\b"), "N"),
)


class Block(NamedTuple):
    """A block of one file: its commands, each with the lines below it, and the comment's words for them."""

    file: Path
    span: tuple[int, int]
    spoken: tuple[str, ...]
    exchanges: tuple[tuple[str, tuple[str, ...]], ...]


def pages() -> list[Path]:
    """Every page that may hold such blocks. Runbooks come last: what is minutes old has a wider column for its age."""
    docs = REPOSITORY / "docs"
    return [REPOSITORY / "README.md", *sorted(docs.rglob("*.md"), key=lambda page: (page.parent != docs, page))]


def blocks(file: Path) -> Iterator[Block]:
    """The blocks of a page whose commands are hostinspect's."""
    for match in _BLOCK.finditer(file.read_text(encoding="utf-8")):
        exchanges: list[tuple[str, list[str]]] = []
        for line in match["body"].splitlines():
            if line.startswith("$ "):
                exchanges.append((line[2:], []))
            else:
                assert exchanges, f"{file}: a console block begins with a command: {line}"
                exchanges[-1][1].append(line)
        spoken = tuple(line.strip() for line in (match["spoken"] or "").strip().splitlines())
        assert not spoken or len(spoken) == len(exchanges), f"{file}: as many commands in the comment as below it"
        yield Block(file, match.span("body"), spoken, tuple((command, (*lines,)) for command, lines in exchanges))


def run(host: LabHost, block: Block) -> list[tuple[str, list[str]]]:
    """The commands as they are for this host, each with what it prints, as a terminal of 80 columns shows it."""
    exchanges = []
    for position, (shown, _) in enumerate(block.exchanges):
        command = _shell(host, f"cat <<END\n{block.spoken[position]}\nEND").strip() if block.spoken else shown
        exchanges.append((command, _shell(host, command).splitlines()))
    return exchanges


def _shell(host: LabHost, command: str) -> str:
    program = f'hostinspect() {{ {shlex.quote(sys.executable)} -m hostinspect "$@"; }}; exec 2>&1; '
    done = host.run(["sh", "-c", program + command], check=False, env={"COLUMNS": str(_WIDTH), "LANG": "C.UTF-8"})
    return done.stdout


def differences(expected: Sequence[str], seen: Sequence[str]) -> list[str]:
    """The words that only one of two outputs has; where lines are left out, those missing from the expected one do
    not count."""
    before, now = _words(expected), _words(seen)
    before.pop(_LEFT_OUT, None)
    gone = [f"- {word}" for word in (before - now).elements()]
    return gone if _LEFT_OUT in expected else [*gone, *(f"+ {word}" for word in (now - before).elements())]


def _words(lines: Iterable[str]) -> Counter[str]:
    text = "\n".join(lines)
    for pattern, stands_for in _VARIES:
        text = pattern.sub(stands_for, text)
    # A comma's place depends on which of two made-up ids is the first.
    return Counter(word.rstrip(",") for word in text.split() if not set(word) <= set("│├└─"))


def shortened(output: Sequence[str], like: Sequence[str]) -> list[str]:
    """The output with as many lines left out as `like` shows it with."""
    if _LEFT_OUT not in like:
        return [*output]
    first = like.index(_LEFT_OUT)
    last = len(like) - first - 1
    return [*output[:first], _LEFT_OUT, *output[len(output) - last :]]


def replace_output(host: LabHost, file: Path) -> None:
    """Write what the commands print now into the page."""
    text = file.read_text(encoding="utf-8")
    seen = [(block, run(host, block)) for block in blocks(file)]
    for block, exchanges in reversed(seen):
        lines = []
        for (command, output), (_, old) in zip(exchanges, block.exchanges, strict=True):
            lines += [f"$ {command}", *shortened(output, old)]
        start, end = block.span
        text = text[:start] + "".join(f"{line.rstrip()}\n" for line in lines) + text[end:]
    file.write_text(text, encoding="utf-8")


def main(names: Sequence[str]) -> None:
    """Replace the output in these pages, or in all."""
    with LabHost(LabSpec(name="docs-host")) as host:
        host.seed()
        for file in [Path(name).resolve() for name in names] or pages():
            if any(blocks(file)):
                replace_output(host, file)


if __name__ == "__main__":
    main(sys.argv[1:])
