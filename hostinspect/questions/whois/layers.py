"""Directories of overlay2 and of other homes of layers: whose each is."""

from __future__ import annotations

from hostinspect.questions.whois.answer import Reason, Ref
from hostinspect.questions.whois.images import Images
from hostinspect.questions.whois.known import Chain, Known


def directories(known: Known, images: Images) -> dict[str, str]:
    """Every layer directory that is known of, by its name: the whole path."""
    found: dict[str, str] = {}
    for home in known.facts.layer_homes:
        found.update((directory.name, f"{home.path}/{directory.name}") for directory in home.directories)
    for layer in known.facts.layers:
        for path in (layer.upper, *layer.lower):
            directory = path.removesuffix("/diff")
            found.setdefault(directory.rpartition("/")[2], directory)
    return found


def of_directory(known: Known, images: Images, directory: str) -> tuple[str, Chain]:
    """What a directory in the storage driver's home is, in words, and whose."""
    name = directory.rpartition("/")[2]
    ref = Ref(kind="layer", id=directory)
    for layer in known.facts.layers:
        own, init = layer.upper.removesuffix("/diff"), layer.init_id
        who = known.container_name(layer.container_id)
        if directory == own:
            text = f"layerdb names {name[:12]} as the mount id of container {layer.container_id[:12]}"
            chain = known.container(layer.container_id).after(Reason(text=text, about=ref))
            return f"the writable layer of container {who}", chain
        if init is not None and name == init and directory.rpartition("/")[0] == own.rpartition("/")[0]:
            text = f"it is the init layer below {layer.upper}, with what docker puts into every container"
            chain = known.container(layer.container_id).after(Reason(text=text, about=ref))
            return f"the init layer of container {who}", chain
    chain_ = images.layer(directory)
    if chain_ is not None:
        if chain_.owner is not None and chain_.owner.kind == "image":
            others = images.images_of(directory)[1:]
            more = f" and {len(others)} more" if others else ""
            return f"a layer of image {chain_.owner.name}{more}", chain_
        if chain_.owner is not None and chain_.owner.kind == "build cache":
            return "a layer of the build cache", chain_
        return "a lower layer of containers" if chain_.containers else "a layer of no image", chain_
    listed_there = any(d.name == name for home in known.facts.layer_homes for d in home.directories)
    what = "a layer directory" if listed_there else "a place for a layer directory; none of that name is listed"
    if not known.facts.layer_homes:
        text = "whose it is was not read: image layers are not among what was collected"
        return "a layer directory", Chain((Reason(text=text, about=ref),))
    building = any(name.removesuffix("-init") in home.build_mounts for home in known.facts.layer_homes)
    if building:
        return "a layer directory that a build has mounted", Chain((Reason(text="BuildKit has it", about=ref),))
    certain = known.sees("layers", "images", "containers", "engines")
    text = "no record of a container, an image or the build cache names it"
    return f"{what} that belongs to nobody" if listed_there else what, Chain(
        (Reason(text=text, about=ref),), leftover=certain and listed_there
    )
