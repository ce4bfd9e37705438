"""Images, and the read-only layers that they are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

from hostinspect.facts import BuildCacheRecord, ImageLayerRecord, ImageRecord
from hostinspect.questions.whois.answer import Reason, Ref
from hostinspect.questions.whois.known import Chain, Known, listed, short


class Images:
    """The images of one inspection, and whose each layer directory is. Layers are there where they were read only."""

    def __init__(self, known: Known) -> None:
        self._known = known

    @cached_property
    def by_id(self) -> dict[str, ImageRecord]:
        return {image.id: image for image in self._known.facts.images}

    @cached_property
    def users(self) -> dict[str, list[str]]:
        """The containers made from each image."""
        users: dict[str, list[str]] = defaultdict(list)
        for container in self._known.topology.containers:
            if container.image_id:
                users[container.image_id].append(container.id)
        return dict(users)

    @cached_property
    def layers(self) -> dict[str, ImageLayerRecord]:
        """Image layers by the directory's name in the driver's home."""
        return {layer.cache_id: layer for layer in self._known.facts.image_layers}

    @cached_property
    def by_chain(self) -> dict[str, list[str]]:
        """The images that each layer is of, by chain id; first those that it is the topmost of."""
        images: dict[str, list[str]] = defaultdict(list)
        for image in sorted(self._known.facts.images, key=lambda image: (len(image.layers), image.names, image.id)):
            for chain_id in image.layers:
                images[chain_id].append(image.id)
        return dict(images)

    @cached_property
    def build_cache(self) -> dict[str, BuildCacheRecord]:
        """Snapshots of the build cache by the directory's name."""
        return {record.committed or record.id: record for record in self._known.facts.build_cache}

    @cached_property
    def lower_users(self) -> dict[str, list[str]]:
        """The containers that have each directory as a lower one."""
        users: dict[str, list[str]] = defaultdict(list)
        for container in self._known.topology.containers:
            for lower in container.overlay.lower if container.overlay else ():
                users[lower].append(container.id)
        return dict(users)

    @cached_property
    def short_names(self) -> dict[str, str]:
        """overlay2/l/SHORT: the directory that it is short for, by its whole path."""
        return {
            directory.link: f"{home.path}/{directory.name}"
            for home in self._known.facts.layer_homes
            for directory in home.directories
            if directory.link
        }

    def name(self, id_: str) -> str:
        """What an image is called: its first name, else its short id."""
        image = self.by_id.get(id_)
        return image.names[0] if image and image.names else short(id_)

    def image(self, id_: str) -> Chain:
        """The end of a chain that leads to an image, and to the containers made from it."""
        ref = Ref(kind="image", id=id_, name=self.name(id_))
        users = tuple(self.users.get(id_, ()))
        image = self.by_id.get(id_)
        named = listed(image.names) if image and image.names else "without a name"
        text = f"image {short(id_)} is {named}" if image else f"image {short(id_)} has no record any more"
        reasons = (Reason(text=text, about=ref), self._made(users))
        return Chain(reasons, owner=ref, containers=users)

    def _made(self, users: Iterable[str]) -> Reason:
        names = listed(map(self._known.container_name, users))
        return Reason(text=f"containers made from it: {names}" if names else "no container is made from it")

    def images_of(self, directory: str) -> list[str]:
        """The images that a layer is of, by its directory in the driver's home."""
        record = self.layers.get(directory.rpartition("/")[2])
        return self.by_chain.get(record.chain_id, []) if record else []

    def layer(self, directory: str) -> Chain | None:
        """Whose a read-only layer is, by its directory in the driver's home; None where no record names it."""
        name = directory.rpartition("/")[2]
        users = self.lower_users.get(f"{directory}/diff", [])
        names = listed(map(self._known.container_name, users))
        above = (
            Reason(text=f"a lower directory of {names}") if names else Reason(text="no container has it below its own")
        )
        record = self.layers.get(name)
        images = self.images_of(directory)
        ref = Ref(kind="layer", id=directory)
        if record is not None and images:
            said = f"it is the layer {short(record.chain_id)} of {listed(map(self.name, images))}"
            owner = Ref(kind="image", id=images[0], name=self.name(images[0]))
            return Chain((Reason(text=said, about=owner), above), owner, containers=tuple(users))
        if name in self.build_cache:
            cached = self.build_cache[name]
            text = f"it is snapshot {cached.id} of the build cache"
            return Chain(
                (Reason(text=text, about=ref), above), Ref(kind="build cache", id=cached.id), containers=tuple(users)
            )
        if record is not None:
            text = f"it is the layer {short(record.chain_id)}, of no image that has a record"
            removing = Reason(text="its removal was begun, and not ended") if record.removing else None
            certain = self._known.sees("images", "layers")
            return Chain((Reason(text=text, about=ref), above), leftover=certain, containers=tuple(users)).then(
                removing
            )
        if users:
            return Chain(
                (above,),
                Ref(kind="container", id=users[0], name=self._known.container_name(users[0])),
                containers=tuple(users),
            )
        return None
