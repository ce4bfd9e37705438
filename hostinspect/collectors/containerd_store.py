"""What a containerd keeps for an engine: the layers of containers and images, with Docker's containerd image store."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping

from msgspec import Struct

from hostinspect.engines.docker.naming import CONTAINERD_DRIVER
from hostinspect.engines.docker.record import Note
from hostinspect.facts import (
    BuildCacheRecord,
    ContainerRecord,
    ImageLayerRecord,
    ImageRecord,
    LayerHomeRecord,
    LayerRecord,
)
from hostinspect.kernel.files import Directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostinspect.engines.docker.snapshots import Home


class Stored(Struct, frozen=True, kw_only=True):
    """What there is; `images` is None where no containerd says."""

    layers: tuple[LayerRecord, ...] = ()
    images: tuple[ImageRecord, ...] | None = None
    image_layers: tuple[ImageLayerRecord, ...] = ()
    build_cache: tuple[BuildCacheRecord, ...] = ()
    homes: tuple[LayerHomeRecord, ...] = ()


class ContainerdStore:
    """The containerd of an engine, of those that `stores` opens, each a directory with its path.

    With `image_layers`, the directories of all snapshots are listed at once, before what says whose they are is read.
    Only what is of the `families` layers and images is read. Raises OSError as opening does.
    """

    def __init__(
        self,
        stores: Callable[[], Iterator[tuple[Directory, str]]],
        data_root: str,
        notes: Mapping[str, Note],
        families: Container[object],
        *,
        image_layers: bool,
    ) -> None:
        self._stores, self._data_root, self._notes = stores, data_root, notes
        self._is_asked = {family: family in families for family in ("layers", "images")}
        self._homes: dict[str, Home | None] = {}
        if image_layers:
            from hostinspect.engines.docker.snapshots import read_home

            self._homes = {path: read_home(store, path, data_root, notes["layers"]) for store, path in stores()}

    def of(self, containers: Iterable[ContainerRecord], *, only: bool) -> Stored:
        """What the one has that has snapshots of these containers, else the first that has images of docker's.

        Nothing where none of these is in one, unless `only`: the engine keeps no images elsewhere.
        """
        of = {container.id for container in containers if container.driver == CONTAINERD_DRIVER}
        found: Stored | None = None
        if (of or only) and any(self._is_asked.values()):
            for store, path in self._stores():
                stored = self._read(store, path, of)
                if stored.layers:
                    return stored
                if found is None or (stored.images and not found.images):
                    found = stored
        return found or Stored()

    def _read(self, store: Directory, path: str, of: Container[str]) -> Stored:
        from hostinspect.engines.docker.snapshots import read_snapshots
        from hostinspect.engines.docker.stored_images import read_stored_images, read_stored_layers

        layers = read_snapshots(store, path, self._data_root, self._notes["layers"], of)
        is_asked = self._is_asked["images"]
        images = read_stored_images(store, path, self._data_root, self._notes["images"]) if is_asked else ()
        home = self._homes.get(path)
        if home is None:
            return Stored(layers=layers, images=images)
        image_layers = home.layers
        if images:
            images, image_layers = read_stored_layers(store, path, images, image_layers, self._notes["images"])
        return Stored(
            layers=layers,
            images=images,
            image_layers=image_layers,
            build_cache=home.build_cache,
            homes=(home.home,),
        )
