"""The commands that there are; the module of each is loaded when it is asked for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.cli.parameters import Command

DEFAULT = "report"

# With the beginning of its help, as completion tells it: loading all of them takes longer than Python to start.
COMMANDS = {
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


def load(name: str) -> Command:
    """The command of that name, which is one of COMMANDS: the function of that name in the module of that name."""
    command: Command = getattr(__import__(f"hostinspect.cli.{name}", fromlist=[name]), name)
    return command
