"""buildkit/snapshots.db and metadata_v2.db: which directories of overlay2/ the build cache has.

    ldwt51q9s4fr9sc7ja6i1d08f   parent ""                     a snapshot: its directory is called the same
    ygko4qf2hdviz5nv9y9irzx8g   parent sha256:…, iscommitted  one that another was made of
    kjio6mow0y9z1m6jkh6llicuw   committed ygko4qf2hd…         that other, with no directory of its own,
                                chainid sha256:…              and the layer it has become, with the same directory
    yknukobsw1jy900d3s9oonc2t   chainid sha256:…              a layer of an image that is built upon
    sha256:…                                                  and again

A bucket each (moby's builder-next/adapters/snapshot). Buckets of the last two kinds stay when the cache is pruned; the
cache has what is a bucket of "_main" in metadata_v2.db. With the containerd image store, snapshots are containerd's.
"""

from __future__ import annotations

from collections.abc import Iterator

from hostinspect.engines.boltdb import MAX_SIZE, Bolt, BoltError
from hostinspect.engines.docker.record import DAMAGED, MAX_ENTRIES, Note
from hostinspect.engines.docker.table import open_table
from hostinspect.facts import BuildCacheRecord
from hostinspect.kernel.files import Directory
from hostinspect.kernel.text import text

_SNAPSHOTS = "buildkit/snapshots.db"
_METADATA = "buildkit/metadata_v2.db"


def parse_snapshots(table: Bolt, data_root: str, metadata: Bolt | None = None) -> Iterator[BuildCacheRecord]:
    """The snapshots by id; without `metadata`, those too that a pruned cache left. Raises `BoltError`."""
    cached = {key for key, _ in metadata.buckets(b"_main")} if metadata else None
    for key, items in table.buckets():
        values = {name: text(value) for name, value in items}
        is_own = b"parent" in values or b"committed" in values
        if key.startswith(b"sha256:") or not (is_own or cached is None or key in cached):
            continue
        yield BuildCacheRecord(
            data_root=data_root,
            id=text(key),
            parent=values.get(b"parent") or None,
            committed=values.get(b"committed") or None,
            chain_id=values.get(b"chainid") or None,
        )


def read_build_cache(files: Directory, data_root: str, note: Note) -> Iterator[BuildCacheRecord]:
    """Every snapshot of the build cache under the opened data root."""
    table, metadata = (_open(files, path, data_root, note) for path in (_SNAPSHOTS, _METADATA))
    if table is None:
        return
    path = f"{data_root}/{_SNAPSHOTS}"
    try:
        for count, record in enumerate(parse_snapshots(table, data_root, metadata)):
            if count == MAX_ENTRIES:
                return note(path, f"more than {MAX_ENTRIES} snapshots, the rest is not read")
            yield record
    except BoltError as error:
        note(path, str(error), DAMAGED)


def _open(files: Directory, path: str, data_root: str, note: Note) -> Bolt | None:
    try:
        return open_table(files, path, MAX_SIZE)
    except FileNotFoundError:
        pass
    except OSError as error:
        note(f"{data_root}/{path}", error)
    except BoltError as error:
        note(f"{data_root}/{path}", str(error), DAMAGED)
    return None
