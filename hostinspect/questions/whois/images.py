"""Images, and the containers made from them."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

from hostinspect.facts import ImageRecord
from hostinspect.questions.whois.answer import Reason, Ref
from hostinspect.questions.whois.chain import Chain, listed, short
from hostinspect.questions.whois.known import Known


class Images:
    """The images of one inspection; those without a name only where image layers were read."""

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

    def name(self, id_: str) -> str:
        """What an image is called: its first name, else its short id."""
        image = self.by_id.get(id_)
        return image.names[0] if image and image.names else short(id_)

    def ref(self, called: str) -> Ref:
        """An image by one of its names, or by its id."""
        id_ = next((image.id for image in self._known.facts.images if called in image.names), called)
        return Ref(kind="image", id=id_, name=self.name(called) if called == id_ else called)

    def image(self, id_: str) -> Chain:
        """The end of a chain that leads to an image, and to the containers made from it."""
        ref = self.ref(id_)
        users = tuple(self.users.get(id_, ()))
        image = self.by_id.get(id_)
        named = listed(image.names) if image and image.names else "without a name"
        text = f"image {short(id_)} is {named}" if image else f"no record of image {short(id_)} was read"
        names = listed(map(self._known.container_name, users))
        made = f"containers made from it: {names}" if names else "no container is made from it"
        return Chain((Reason(text=text, about=ref), Reason(text=made)), owner=ref, containers=users)
