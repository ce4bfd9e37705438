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

from collections.abc import Container, Iterator
from itertools import islice

from hostinspect.engines.boltdb import Bolt
from hostinspect.engines.docker.record import MAX_ENTRIES, Note
from hostinspect.engines.docker.table import read_table
from hostinspect.facts import BuildCacheRecord
from hostinspect.kernel.files import Directory
from hostinspect.kernel.text import text

_SNAPSHOTS = "buildkit/snapshots.db"
_METADATA = "buildkit/metadata_v2.db"


def parse_cached(metadata: Bolt) -> set[bytes]:
    """The ids of what the cache has. Raises `BoltError`."""
    return {key for key, _ in metadata.buckets(b"_main")}


def parse_snapshots(table: Bolt, data_root: str, cached: Container[bytes] | None = None) -> Iterator[BuildCacheRecord]:
    """The snapshots by id; without what is `cached`, those too that a pruned cache left. Raises `BoltError`."""
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


def read_build_cache(files: Directory, data_root: str, note: Note) -> tuple[BuildCacheRecord, ...]:
    """Every snapshot of the build cache under the opened data root."""
    cached = read_table(files, _METADATA, data_root, note, parse_cached)
    most = MAX_ENTRIES + 1
    found = read_table(
        files, _SNAPSHOTS, data_root, note, lambda t: tuple(islice(parse_snapshots(t, data_root, cached), most))
    )
    if found and len(found) == most:
        note(f"{data_root}/{_SNAPSHOTS}", f"more than {MAX_ENTRIES} snapshots, the rest is not read")
    return (found or ())[:MAX_ENTRIES]
