"""hostinspect as the tests run it: the installed command's own code, in a process of its own, on a lab host."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from subprocess import CompletedProcess
from typing import Any

from tests.lab.host import LabHost

COMMAND = (sys.executable, "-m", "hostinspect")

# Every question that a person may ask of the demo scenario, and the forms of its answer.
QUESTIONS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("report",): ("tree", "json", "yaml", "dot", "mermaid"),
    ("containers",): ("table", "json", "yaml"),
    ("container", "web1", "stopped1"): ("text", "json", "yaml", "docker"),
    ("networks",): ("table", "json", "yaml"),
    ("networks", "my_net", "ov_net"): ("table", "json", "yaml"),
    ("bridges",): ("table", "json", "yaml"),
    ("links",): ("table", "json", "yaml"),
    ("links", "--all"): ("table", "json", "yaml"),
    ("ports",): ("table", "json", "yaml"),
    ("ports", "--all"): ("table", "json", "yaml"),
    ("nat",): ("tree", "table", "json", "yaml"),
    ("nat", "--all"): ("tree", "table", "json", "yaml"),
    ("volumes",): ("table", "json", "yaml"),
    ("volumes", "myvol01"): ("table", "json", "yaml"),
    ("layers",): ("table", "json", "yaml"),
    # Whether the daemon answers is what the tests change.
    ("doctor", "--skip", "engine-not-answering"): ("text", "json", "yaml", "sarif", "junit"),
    ("whois", "web1", "172.17.0.5", "8080"): ("text", "json", "yaml"),
    ("trace", "8080", "web2"): ("text", "json", "yaml"),
}

# Those whose answer is read from the disk when they are asked, and is in no snapshot.
DEEP_QUESTIONS = (("diff", "changed"), ("layers", "--size"), ("layers", "--history"), ("volumes", "--size"))


def hostinspect(host: LabHost, *arguments: str, user: str | None = None) -> CompletedProcess[str]:
    """The finished process, whatever its exit code."""
    return host.run([*COMMAND, *arguments], check=False, user=user)


def report(host: LabHost, *arguments: str) -> Any:
    """The report as JSON; the run must succeed without a word on stderr."""
    done = hostinspect(host, "report", "--output", "json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def without(answer: Any, *keys: str) -> Any:
    """A JSON document without what has one of these keys, however deep."""
    if isinstance(answer, dict):
        return {key: without(value, *keys) for key, value in answer.items() if key not in keys}
    return [without(value, *keys) for value in answer] if isinstance(answer, list) else answer


def parts_that_differ(a: Any, b: Any, path: Sequence[str] = ()) -> list[str]:
    """Where two JSON documents differ, as paths of keys; list items by their position."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [
            found
            for key in {**a, **b}
            for found in parts_that_differ(a.get(key, Ellipsis), b.get(key, Ellipsis), (*path, key))
        ]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [
            found
            for i, (left, right) in enumerate(zip(a, b, strict=True))
            for found in parts_that_differ(left, right, (*path, str(i)))
        ]
    return [] if a == b else [".".join(path)]
