"""buildkit/snapshots.db: which directories of overlay2/ the build cache has.

    ldwt51q9s4fr9sc7ja6i1d08f   parent ""                     a snapshot: its directory is called the same
    ygko4qf2hdviz5nv9y9irzx8g   parent sha256:…, iscommitted  one that another was made of
    kjio6mow0y9z1m6jkh6llicuw   committed ygko4qf2hd…         that other, with no directory of its own,
                                chainid sha256:…              and the layer it has become, with the same directory
    sha256:…                                                  a layer of an image that is built upon

A bucket each (moby's builder-next/adapters/snapshot). With the containerd image store, snapshots are containerd's.
"""

from __future__ import annotations

from collections.abc import Iterator

from hostinspect.engines.boltdb import MAX_SIZE, Bolt, BoltError
from hostinspect.engines.docker.record import DAMAGED, MAX_ENTRIES, Note
from hostinspect.engines.docker.table import open_table
from hostinspect.facts import BuildCacheRecord
from hostinspect.kernel.files import Directory
from hostinspect.kernel.text import text

_TABLE = "buildkit/snapshots.db"


def parse_snapshots(table: Bolt, data_root: str) -> Iterator[BuildCacheRecord]:
    """The snapshots by id. Raises `BoltError`."""
    for key, items in table.buckets():
        values = {name: text(value) for name, value in items}
        yield BuildCacheRecord(
            data_root=data_root,
            id=text(key),
            parent=values.get(b"parent") or None,
            committed=values.get(b"committed") or None,
            chain_id=values.get(b"chainid") or None,
        )


def read_build_cache(files: Directory, data_root: str, note: Note) -> Iterator[BuildCacheRecord]:
    """Every snapshot of the build cache under the opened data root."""
    path = f"{data_root}/{_TABLE}"
    try:
        for count, record in enumerate(parse_snapshots(open_table(files, _TABLE, MAX_SIZE), data_root)):
            if count == MAX_ENTRIES:
                return note(path, f"more than {MAX_ENTRIES} snapshots, the rest is not read")
            yield record
    except FileNotFoundError:
        return
    except OSError as error:
        note(path, error)
    except BoltError as error:
        note(path, str(error), DAMAGED)
