"""`hostinspect report`: the whole topology of the host."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hostinspect.topology import Topology

NOT_ENOUGH_SEEN = 3


def _directories(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Each must be a directory. One that may not even be looked at is for the collectors to report as a gap."""
    for value in values:
        try:
            is_directory = os.path.isdir(value)  # noqa: PTH112 - pathlib is not loaded yet, and not needed
            is_there = is_directory or os.path.lexists(value)
        except ValueError:
            is_directory = is_there = False
        if not is_directory and not _may_not_look(value):
            problem = "is not a directory" if is_there else "does not exist"
            raise click.BadParameter(
                f"{value} {problem}. Name the directory that `docker info` calls Docker Root Dir, "
                "usually /var/lib/docker.",
                ctx,
                param,
            )
    return values


def _may_not_look(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return False


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Choice(["tree", "json", "yaml"]),
    default="tree",
    help="What to print.",
    show_default=True,
)
@click.option(
    "--data-root",
    "data_roots",
    metavar="DIR",
    multiple=True,
    callback=_directories,
    help="An engine's directory that is not found by itself; may be given several times.",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="auto: on a terminal, and without NO_COLOR.",
    show_default=True,
)
@click.option("-v", "--verbose", is_flag=True, help="Whole ids and paths, every layer, label and rule.")
@click.option("-q", "--quiet", is_flag=True, help="Do not tell what could not be seen; the exit status still does.")
def report(output: str, data_roots: tuple[str, ...], color: str, verbose: bool, quiet: bool) -> int:
    """Print the whole topology: networks, the containers on them, ports, mounts, volumes.

    Exit status 3 says that something could not be seen; the gaps in the output say what, why, and what to do.
    """
    from hostinspect.collectors import collect
    from hostinspect.correlate import correlate

    topology = correlate(collect(data_roots))
    click.echo(_render(topology, output, color, verbose=verbose, quiet=quiet), nl=False, color=True)
    gaps = sum(not gap.minor for gap in topology.gaps)
    if not gaps:
        return 0
    if not quiet and (output != "tree" or not sys.stdout.isatty()):
        things = "1 thing" if gaps == 1 else f"{gaps} things"
        click.echo(f"hostinspect: {things} could not be seen; the gaps at the end of the output say why", err=True)
    return NOT_ENOUGH_SEEN


def _render(topology: Topology, output: str, color: str, *, verbose: bool, quiet: bool) -> str:
    """The report in the form asked for; each form loads its own libraries only."""
    if output == "json":
        from hostinspect.render.json import render_json

        return render_json(topology)
    if output == "yaml":
        from hostinspect.render.yaml import render_yaml

        return render_yaml(topology)
    from hostinspect.cli.terminal import stdout_settings
    from hostinspect.render.tree import render_tree

    width, colored, ascii_only = stdout_settings(color)
    return render_tree(
        topology, width=width, color=colored, ascii_only=ascii_only, verbose=verbose, show_gaps=not quiet
    )
