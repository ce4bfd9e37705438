"""The parameters that several commands have."""

from __future__ import annotations

from hostinspect.cli.parameters import Flag, Number, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from hostinspect.cli.parameters import Complete, Given, Parameter

    Family: TypeAlias = Literal["containers", "networks", "volumes"]  # whose names may stand on the command line


def names_of(*families: Family) -> Complete:
    """The completion of a parameter that takes names of these."""

    def names(given: Given, parameter: Parameter, incomplete: str) -> list[str]:
        from hostinspect.cli.completion import complete_names

        return complete_names(given, parameter, incomplete, families)

    return names


def _names(value: str | None, given: Given) -> tuple[str, ...]:
    """A list with commas, as ps(1) and lsblk(8) take it."""
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


def _limited(seconds: float, given: Given) -> float:
    """Tell whoever supervises us."""
    from hostinspect.kernel import waiting

    waiting.limit(seconds)
    return seconds


def _existing_directories(values: tuple[str, ...], given: Given) -> tuple[str, ...]:
    if values:
        from hostinspect.cli.places import existing_directories

        return existing_directories(values, given)
    return values


def _existing_root(value: str | None, given: Given) -> str | None:
    if value is not None:
        from hostinspect.cli.places import existing_root

        return existing_root(value)
    return None


data_root_option = Option(
    "--data-root",
    name="data_roots",
    metavar="DIR",
    several=True,
    convert=_existing_directories,
    help="An engine's directory that is not found by itself; may be given several times.",
)
sandbox_option = Flag(
    "--no-sandbox",
    name="sandbox",
    given=False,
    help="Keep all privileges and system calls, on a host where doing without some goes wrong.",
)
timeout_option = Number(
    "--timeout",
    most=3600,
    default=5,
    metavar="SECONDS",
    first=True,  # the directories are looked at within it
    convert=_limited,
    help="Go on without what does not answer for so long; 0: wait for it.",
)
root_option = Option(
    "--root",
    metavar="DIR",
    first=True,  # --data-root is beneath it then
    convert=_existing_root,
    help="Answer from the disk of another host, mounted at DIR, and not from this host.",
)
size_option = Flag("--size", help="How much each takes on disk; walks through all of it.")

_HOST_OPTIONS = (
    Option(
        "--from",
        name="snapshot",
        metavar="SNAPSHOT",
        help="Answer from a file of `hostinspect snapshot`, not from this host.",
    ),
    root_option,
    data_root_option,
    timeout_option,
    sandbox_option,
)
_DISPLAY_OPTIONS = (
    Option(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="auto: on a terminal, and without NO_COLOR.",
    ),
    Flag("--pager", help="On a terminal, show it with $PAGER."),
    Flag("-v", "--verbose", help="Whole ids and paths, and all that there is to tell."),
    Flag("-q", "--quiet", help="Do not tell what could not be seen; the exit status still does."),
)
_TABLE_OPTIONS = (
    Option(
        "--columns",
        metavar="NAME,…",
        convert=_names,
        help="These columns only; +NAME adds to the usual, of which a narrow terminal shows fewer.",
    ),
    Option("--sort", metavar="NAME,…", convert=_names, help="Sort by these columns; -NAME in falling order."),
    Flag("--no-header", name="header", given=False, help="No line of headers."),
)


def output_option(*outputs: str) -> Option:
    """In which of these forms the answer is to be, the first by default."""
    return Option("-o", "--output", choices=outputs, default=outputs[0], help="What to print.")


def common_options(*outputs: str, table: bool = False) -> tuple[Option, ...]:
    """The options of a command that answers in these forms, the first by default; with a `table`, those for it."""
    return (output_option(*outputs), *_HOST_OPTIONS, *_DISPLAY_OPTIONS, *(_TABLE_OPTIONS if table else ()))
