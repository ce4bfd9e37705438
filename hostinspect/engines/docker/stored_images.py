"""containerd's images, for Docker's containerd image store: what they are called, of which layers, and how made.

    io.containerd.metadata.v1.bolt/meta.db                  v1/moby/images/NAME/target: digest
    io.containerd.content.v1.content/blobs/sha256/DIGEST    an index, a manifest, a configuration

An index names a manifest for each platform, of which those are there that were pulled or built, and for what is
attested of each; a manifest names its configuration, which has the form of imagedb/content (`images`). All three are
OCI's (image-spec). `docker image inspect` calls an image by the digest of its index, else of its manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hostinspect.engines.boltdb import Bolt
from hostinspect.engines.docker.images import chain_ids, parse_diff_ids, parse_history
from hostinspect.engines.docker.naming import is_id
from hostinspect.engines.docker.record import DAMAGED, MAX_FILE, Note, RecordError, at_most, decode
from hostinspect.engines.docker.snapshots import METADATA, NAMESPACE, is_chain
from hostinspect.engines.docker.table import read_table
from hostinspect.facts import ImageLayerRecord, ImageRecord, ImageStep
from hostinspect.kernel.files import Directory
from hostinspect.kernel.text import text

_BLOBS = "io.containerd.content.v1.content/blobs/sha256"
_DANGLING = "moby-dangling@"  # what docker calls an image without a name
_FAMILIAR = ("docker.io/library/", "docker.io/")  # what docker leaves out of a name
_ATTESTATION = "vnd.docker.reference.type"  # an annotation of BuildKit's
_PULL_AGAIN = "docker pull or build it again"
_MAX_MANIFESTS = 256  # an image of all of Go's platforms has some 50


class Descriptor(Struct):
    """Of a blob that a manifest names."""

    digest: str = ""
    annotations: dict[str, str] | None = None


class Manifest(Struct):
    """An index, which has manifests, or a manifest, which has a configuration."""

    manifests: list[Descriptor] | None = None
    config: Descriptor | None = None


_decoder = msgspec.json.Decoder(Manifest)


def parse_images(table: Bolt, data_root: str) -> tuple[ImageRecord, ...]:
    """The images that docker has there, by id, as it calls them. Raises `BoltError`."""
    names: dict[str, list[str]] = {}
    for key, items in table.within([b"target"], b"v1", NAMESPACE, b"images"):
        digest, name = text(dict(items).get(b"digest", b"")), text(key)
        if digest:
            names.setdefault(digest, []).extend([] if name.startswith(_DANGLING) else [_familiar(name)])
    return tuple(
        ImageRecord(data_root=data_root, id=digest, names=tuple(sorted(called)))
        for digest, called in sorted(names.items())
    )


def _familiar(name: str) -> str:
    """An image's name as docker shows it.

    >>> _familiar("docker.io/library/app:1"), _familiar("docker.io/me/app:1"), _familiar("ghcr.io/me/app:1")
    ('app:1', 'me/app:1', 'ghcr.io/me/app:1')
    """
    return next((name.removeprefix(prefix) for prefix in _FAMILIAR if name.startswith(prefix)), name)


def read_stored_images(store: Directory, path: str, data_root: str, note: Note) -> tuple[ImageRecord, ...] | None:
    """Every image that docker has in a containerd's opened directory, which is at `path`; None where it keeps none."""
    images = read_table(store, METADATA, path, note, lambda table: parse_images(table, data_root))
    return images if images is None else tuple(at_most(images, "images", f"{path}/{METADATA}", note))


def read_stored_layers(
    store: Directory, path: str, images: tuple[ImageRecord, ...], layers: tuple[ImageLayerRecord, ...], note: Note
) -> tuple[tuple[ImageRecord, ...], tuple[ImageLayerRecord, ...]]:
    """These images with the layers of each, and these layers with their diff ids, as far as there are configurations.

    An image of several platforms has the layers of all that are there, those of the first one last. Beside those of its
    configuration it has whatever else is between: the init layer of a container that it was made of. One that has lost
    its configuration is noted, since any layer may be one of its.
    """
    blobs = _Blobs(store, path, note)
    parents = {layer.chain_id: layer.parent for layer in layers}
    diff_of: dict[str, str] = {}
    found = []
    for image in images:
        chains: list[tuple[str, ...]] = []
        for digest, content in blobs.configurations(image.id):
            try:
                diff_ids = parse_diff_ids(content)
            except RecordError as error:
                note(f"{path}/{_BLOBS}: {digest}", str(error), DAMAGED)
                continue
            chain = chain_ids(diff_ids)
            diff_of.update(zip(chain, diff_ids, strict=True))
            chains.append(tuple(_with_what_is_between(chain, parents)))
        found.append(replace(image, layers=tuple(dict.fromkeys(chain for one in chains[::-1] for chain in one))))
    if blobs.lost:
        there = {image.id for image in read_table(store, METADATA, path, note, lambda t: parse_images(t, "")) or ()}
        for image_id in there.intersection(blobs.lost):  # of which some were removed meanwhile
            note(f"{path}/{_BLOBS}: {image_id}", "the image has a name, and its content is not there", _PULL_AGAIN)
    return tuple(found), tuple(replace(layer, diff_id=diff_of.get(layer.chain_id)) for layer in layers)


def _with_what_is_between(chain: tuple[str, ...], parents: Mapping[str, str | None]) -> Iterator[str]:
    for chain_id in chain:
        parent = parents.get(chain_id)
        if parent is not None and not is_chain(parent):
            yield parent
        yield chain_id


def read_stored_history(store: Directory, path: str, image_id: str, note: Note) -> tuple[ImageStep, ...]:
    """How the image was made, for the first of its platforms that is there.

    Raises `RecordError`, OSError: FileNotFoundError where it is not there.
    """
    for _, content in _Blobs(store, path, note).configurations(image_id):
        return parse_history(content)
    raise FileNotFoundError(image_id)


def parse_manifest(content: bytes) -> Manifest:
    """An index or a manifest. Raises `RecordError`."""
    return decode(_decoder, content)


class _Blobs:
    """What a containerd keeps by its digest; what cannot be read is noted."""

    def __init__(self, store: Directory, path: str, note: Note) -> None:
        self._store, self._path, self._note = store, path, note
        self.lost: list[str] = []  # ids of images that were asked for, and of which something is not there

    def configurations(self, image_id: str) -> Iterator[tuple[str, bytes]]:
        """That of each platform that is there, with its digest."""
        top = self._read(image_id)
        if top is None:
            self.lost.append(image_id)
            return
        manifest = self._manifest(image_id, top)
        manifests = [manifest]
        for descriptor in (manifest.manifests or ())[:_MAX_MANIFESTS]:
            content = None if _ATTESTATION in (descriptor.annotations or {}) else self._read(descriptor.digest)
            if content is not None:
                manifests.append(self._manifest(descriptor.digest, content))
        for manifest in manifests:
            if manifest.config is not None:
                content = self._read(manifest.config.digest)
                if content is None:
                    self.lost.append(image_id)
                else:
                    yield manifest.config.digest, content

    def _manifest(self, digest: str, content: bytes) -> Manifest:
        try:
            return parse_manifest(content)
        except RecordError as error:
            self._note(f"{self._path}/{_BLOBS}: {digest}", str(error), DAMAGED)
        return Manifest()

    def _read(self, digest: str) -> bytes | None:
        """None where it is not there: of another platform, or removed since. One of nothing where that was noted."""
        hexadecimal = digest.removeprefix("sha256:")
        subject = f"{self._path}/{_BLOBS}"
        if digest == hexadecimal or not is_id(hexadecimal):
            self._note(subject, f"{digest!r} is no digest that is looked for", DAMAGED)
            return b"{}"
        try:
            return self._store.read(f"{_BLOBS}/{hexadecimal}", MAX_FILE)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._note(f"{subject}/{hexadecimal}", error)
        return b"{}"
