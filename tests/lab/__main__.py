"""`python -m tests.lab`: start, enter, list and remove throwaway Docker hosts."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from tests.lab import remains
from tests.lab.errors import LabCommandError, LabError
from tests.lab.host import Firewall, LabHost, LabSpec, running
from tests.lab.userland import SUITES, ensure_userland

_spec_options = (
    click.option("--name", default="", help="Also its hostname. [default: one is made up]"),
    click.option("--userland", default="host", type=click.Choice(["host", *SUITES]), show_default=True),
    click.option("--firewall", default="nft", type=click.Choice(["nft", "legacy"]), show_default=True),
    click.option("--dockerd", multiple=True, metavar="ARGUMENT", help="For dockerd; may be given more than once."),
)


def _how_to(host: LabHost) -> str:
    lab = f"{sys.executable} -m tests.lab"
    return f"enter it:   {lab} enter {host.name}\nremove it:  {lab} stop {host.name}"


@contextmanager
def _errors() -> Iterator[None]:
    """Errors of the lab as messages, with exit code 1."""
    try:
        yield
    except (LabError, LabCommandError) as error:
        raise click.ClickException(str(error)) from error


@click.group()
def lab() -> None:
    """Throwaway Docker hosts on this machine; needs root."""


def _with_spec_options(command: click.decorators.FC) -> click.decorators.FC:
    for option in reversed(_spec_options):
        command = option(command)
    return command


@lab.command()
@_with_spec_options
@click.option("--seed/--no-seed", default=True, help="With the demo scenario, or empty.", show_default=True)
@click.option("--detach", is_flag=True, help="Return at once; otherwise it lives until Ctrl-C.")
def start(name: str, userland: str, firewall: str, dockerd: tuple[str, ...], seed: bool, detach: bool) -> None:
    """Start a host."""
    with _errors():
        host = LabHost(_spec(name, userland, firewall, dockerd, detach)).start()
        try:
            if seed:
                host.seed()
            click.echo(_how_to(host))
            if not detach:
                click.echo("It lives until Ctrl-C.")
                with suppress(KeyboardInterrupt):
                    host.wait()
                host.stop()
        except BaseException:
            host.stop()
            raise


def _spec(name: str, userland: str, firewall: str, dockerd: tuple[str, ...], detached: bool) -> LabSpec:
    backend: Firewall = "legacy" if firewall == "legacy" else "nft"
    return LabSpec(name=name, userland=userland, firewall=backend, dockerd=dockerd, detached=detached)


@lab.command()
@click.option("--name", default="", help="Also its hostname. [default: one is made up]")
@click.option("--containers", default=1000, show_default=True, type=click.IntRange(1, 20_000))
def synthetic(name: str, containers: int) -> None:
    """Start a host with that many containers, made in seconds; its engine is dead, and it is kept."""
    from tests.lab.synthetic import make

    with _errors():
        host = LabHost(LabSpec(name=name, detached=True)).start()
        try:
            make(host, containers)
        except BaseException:
            host.stop()
            raise
        click.echo(_how_to(host))


@lab.command()
@click.option("--reports", default=1000, show_default=True, help="By one process.", type=click.IntRange(1))
@click.option("--whole", default=100, show_default=True, help="More, each by a process of its own.")
def churn(reports: int, whole: int) -> None:
    """Reports in a row while 20 containers start and stop each second; says what was wrong about them."""
    from tests.lab.sightings import Check
    from tests.lab.sightings import run as run_reports

    with _errors(), LabHost(LabSpec()) as host:
        outcome = run_reports(host, float("inf"), reports, whole)
    check = Check(outcome.log)
    for sighting in outcome.sightings:
        check(sighting)
    grave = [gap for sighting in outcome.sightings for gap in sighting.grave_gaps]
    real = sum(instance.kind == "real" for instance in outcome.log)
    click.echo(f"{len(outcome.log)} containers came and went, {real} of them docker's own", nl=False)
    click.echo(f", {outcome.starts_per_second:.1f} each second")
    click.echo(f"{len(outcome.sightings)} reports, {check.correlations} correlations, {len(check.wrong)} wrong")
    click.echo(f"{len(check.unseen)} containers not told whole, {len(grave)} grave gaps")
    click.echo(f"before: {outcome.before}\nafter:  {outcome.after}")
    for line in (*check.wrong, *check.unseen, *map(str, grave)):
        click.echo(line, err=True)
    sys.exit(bool(check.wrong or check.unseen or grave or outcome.before != outcome.after))


@lab.command()
@click.option("--for", "seconds", default=3600.0, show_default=True, help="Seconds.", type=click.FloatRange(20))
@click.option("--rate", default=20, show_default=True, help="Containers that start each second.")
def watch(seconds: float, rate: int) -> None:
    """What `hostinspect watch` takes of a host on which containers come and go; fails where it grows."""
    from tests.lab.watched import watch as watch_host

    with _errors(), LabHost(LabSpec()) as host:
        outcome = watch_host(host, seconds, rate)
    events = ", ".join(f"{count} {event}" for event, count in outcome.events.items())
    click.echo(f"{outcome.containers} containers came and went in {outcome.samples[-1].at:.0f} s")
    click.echo(f"{outcome.looks} looks, and lines: {events}")
    click.echo(f"{outcome.processor:.1%} of a processor")
    for name, third in zip(("second", "last"), outcome.thirds(), strict=True):
        memory, descriptors = max(s.memory for s in third), max(s.descriptors for s in third)
        click.echo(f"in the {name} third of the time at most {memory / 1e6:.1f} MB and {descriptors} descriptors")
    sys.exit(not outcome.is_bounded)


@lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def enter(name: str, command: tuple[str, ...]) -> None:
    """A root shell on a host, or COMMAND instead."""
    with _errors():
        host = LabHost.attach(name)
    host.become(command or ("bash", "-i"))


@lab.command()
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that run.")
def stop(names: tuple[str, ...], every: bool) -> None:
    """Remove hosts without a trace."""
    with _errors():
        for host in running() if every else [LabHost.attach(name) for name in names]:
            host.stop()
            click.echo(f"{host.name} is removed")


@lab.command("list")
def list_() -> None:
    """The hosts that run: name, pid 1, userland, firewall."""
    for host in running():
        click.echo(f"{host.name}\t{host.pid}\t{host.spec.userland}\t{host.spec.firewall}")


@lab.command()
def gc() -> None:
    """Remove what is left of hosts that died together with what watched over them."""
    for name in remains.gc():
        click.echo(f"{name} is removed")


@lab.command()
@click.argument("suite", type=click.Choice([*SUITES]))
def userland(suite: str) -> None:
    """Make the userland of SUITE, where there is none yet, and print its folder."""
    with _errors():
        click.echo(ensure_userland(suite))


@lab.command(context_settings={"ignore_unknown_options": True})
@_with_spec_options
@click.option("--command", help="Instead of hostinspect.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(
    name: str,
    userland: str,
    firewall: str,
    dockerd: tuple[str, ...],
    command: str | None,
    arguments: tuple[str, ...],
) -> None:
    """Start a host with the demo scenario, run hostinspect with ARGUMENTS on it, and remove it.

    With KEEP=1 in the environment the host is kept.
    """
    keep = os.environ.get("KEEP", "") not in ("", "0")
    argv = shlex.split(command) if command else [sys.executable, "-m", "hostinspect"]
    with _errors():
        click.echo("A throwaway Docker host with the demo scenario: about ten seconds …", err=True)
        host = LabHost(_spec(name, userland, firewall, dockerd, keep)).start()
        try:
            host.seed()
            status = host.run_here([*argv, *arguments])
        except BaseException:
            host.stop()
            raise
        if keep:
            click.echo(f"\n{_how_to(host)}", err=True)
        else:
            host.stop()
    sys.exit(status)


if __name__ == "__main__":
    lab(prog_name="python -m tests.lab")
