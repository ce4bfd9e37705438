"""A host that does not run: what its disk says, mounted at a directory here.

Everything is read beneath that directory, by paths as that host has them (`hostinspect.kernel.rooted`); nothing of the
host that hostinspect runs on is looked at. What only a running kernel knows is one gap for each family of facts.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from msgspec.structs import asdict, replace

from hostinspect.collectors import records_of
from hostinspect.collectors.engines import DEFAULT_CONFIG_FILE, collect_engines
from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.wanted import EVERYTHING
from hostinspect.facts import OF_THE_KERNEL, Facts, Host
from hostinspect.kernel.host import parse_os_release
from hostinspect.kernel.rooted import mode_in, read_in
from hostinspect.kernel.text import text

NO_KERNEL = "a disk has no running kernel"
_ASK_IT = "ask the host itself while it runs, or a snapshot that was taken then (--from)"


_LIMIT = 64 << 10  # bytes of /etc/hostname, of os-release


def collect_disk(
    root: str,
    data_roots: Sequence[str] = (),
    families: Collection[str] = (),
    *,
    image_layers: bool = False,
    health: bool = False,
) -> Facts:
    """What the disk mounted at `root` says of its host; with `families`, the records of these alone.

    The other arguments are as of `hostinspect.collectors.collect`, `data_roots` as that host calls them. Raises no
    error of the disk's: what could not be read is in `gaps`.
    """
    gaps = GapLog()
    host = _host(root, gaps)
    engines = collect_engines(host, (), gaps, data_roots, root)
    if not engines:
        gaps.add(
            "engines",
            root,
            f"no data root of an engine is where {DEFAULT_CONFIG_FILE} there, or the default, has it",
            _remedy(root),
        )
    records = records_of(engines, gaps, families or EVERYTHING, image_layers=image_layers, root=root)
    for family in OF_THE_KERNEL:
        gaps.add(family, root, NO_KERNEL, _ASK_IT)
    facts = Facts(
        host=host,
        engines=engines,
        **asdict(records),
        gaps=gaps.as_tuple(),
    )
    if not health:
        return facts
    from hostinspect.collectors.health import OF_A_RUNNING_HOST, collect_health_of_disk

    for family in OF_A_RUNNING_HOST:
        gaps.add(family, root, NO_KERNEL, _ASK_IT)
    return replace(facts, health=collect_health_of_disk(facts, gaps), gaps=gaps.as_tuple())


def _remedy(root: str) -> str:
    """What to do where no engine is found; somebody may have named the data root itself."""
    with suppress(OSError):
        if mode_in(root, "/containers"):
            above, _, name = os.path.abspath(root).rpartition("/")
            return f"it looks like a data root itself: --root {above or '/'} --data-root /{name}"
    return "name it with --data-root, as that host calls it"


# --- the host ---------------------------------------------------------------------------------------------------


def _host(root: str, gaps: GapLog) -> Host:
    return Host(
        hostname=_first(root, ("/etc/hostname",), _hostname, gaps),
        kernel=None,
        os=_first(root, ("/etc/os-release", "/usr/lib/os-release"), _pretty_name, gaps),
        collected_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        root=os.path.abspath(root),
    )


def _hostname(content: bytes) -> str | None:
    """hostname(5): the first line that is no comment."""
    lines = (line.strip() for line in text(content).splitlines())
    return next((line for line in lines if line and not line.startswith("#")), None)


def _pretty_name(content: bytes) -> str | None:
    return parse_os_release(content).get("PRETTY_NAME")


def _first(root: str, paths: Sequence[str], parse: Callable[[bytes], str | None], gaps: GapLog) -> str | None:
    """What the first of the files that is there says. Without any, the answer stands all the same."""
    for path in paths:
        try:
            return parse(read_in(root, path, _LIMIT))
        except FileNotFoundError:
            continue
        except OSError as error:
            gaps.add("host", path, error, minor=True)
            return None
    gaps.add("host", paths[0], os.strerror(errno.ENOENT), "mount the disk that it is on at its place, too", minor=True)
    return None
