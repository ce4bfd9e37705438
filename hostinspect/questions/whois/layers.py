"""Directories of overlay2 and of other homes of layers: whose each is, as `hostinspect layers` finds it."""

from __future__ import annotations

from msgspec.structs import replace

from hostinspect.questions.layers import LayerDirectory, is_containerds, parent
from hostinspect.questions.whois.answer import Reason, Ref
from hostinspect.questions.whois.chain import Chain, listed, short
from hostinspect.questions.whois.images import Images
from hostinspect.questions.whois.known import Known


def directories(known: Known) -> dict[str, str]:
    """Every layer directory that is known of, by its name: the whole path. Containerd's have numbers for names."""
    found = {path.rpartition("/")[2]: path for path in known.layer_directories if not is_containerds(path)}
    for layer in known.facts.layers:
        for path in (layer.upper, *layer.lower):
            directory = path.removesuffix("/diff")
            if directory != path:
                found.setdefault(directory.rpartition("/")[2], directory)
    return found


def of_directory(known: Known, images: Images, directory: str) -> tuple[str, Chain]:
    """What a directory in the storage driver's home is, in words, and whose."""
    own = _of_container(known, directory)
    if own is not None:
        return own
    found = known.layer_directories.get(directory)
    ref = Ref(kind="layer", id=directory)
    if found is None:
        users = [
            container.id
            for container in known.topology.containers
            if container.overlay and any(parent(lower) == directory for lower in container.overlay.lower)
        ]
        if users:
            return "a lower layer of containers", replace(_below(known, users), owner=known.container_ref(users[0]))
        text = "no directory of that name was there" if known.layer_directories else "whose it is was not read"
        return "a place for a layer directory", Chain((Reason(text=text, about=ref),))
    chain = _below(known, found.containers)
    match found.kind:
        case "image":
            return _of_images(images, found, chain)
        case "build cache":
            cached = Reason(text="no image has it, and the build cache does", about=ref)
            owner = Ref(kind="build cache", id=directory.rpartition("/")[2])
            return "a layer of the build cache", replace(chain, owner=owner).after(cached)
        case "being removed":
            return "a layer that is being removed", Chain((Reason(text=found.why or "", about=ref),))
        case "other namespace":
            return "a snapshot that is not docker's", Chain((Reason(text=found.why or "", about=ref),))
        case "unknown":
            return "a layer directory that may be somebody's", Chain((Reason(text=found.why or "", about=ref),))
    chain = Chain((Reason(text=found.why or "nothing names it", about=ref),), leftover=True)
    if found.kind == "no image":
        return "a layer of no image", chain
    if found.containers:
        gone = known.gone(found.containers[0])
        return "the layer of a container that no record is left of", gone.after(*chain.reasons)
    return "a layer directory that belongs to nobody", chain


def _of_container(known: Known, directory: str) -> tuple[str, Chain] | None:
    """The writable layer of a container, or the init layer below it."""
    ref = Ref(kind="layer", id=directory)
    for layer in known.facts.layers:
        own, id_ = parent(layer.upper), layer.container_id
        if id_ not in known.containers:
            continue
        if directory == own:
            mount_id = short(layer.mount_id)
            text = f"layerdb names {mount_id} as the mount id of container {short(id_)}"
            if is_containerds(directory):
                text = f"containerd has snapshot {mount_id} for container {short(id_)}"
            chain = known.container(id_).after(Reason(text=text, about=ref))
            return f"the writable layer of container {known.container_name(id_)}", chain
        if layer.init_id and directory == f"{parent(own)}/{layer.init_id}":
            text = f"it is the init layer below {layer.upper}, with what docker puts into every container"
            chain = known.container(id_).after(Reason(text=text, about=ref))
            return f"the init layer of container {known.container_name(id_)}", chain
    return None


def _of_images(images: Images, found: LayerDirectory, chain: Chain) -> tuple[str, Chain]:
    layer = f"it is the layer {short(found.chain_id)}" if found.chain_id else "it is a layer between others"
    if not found.images:
        text = Reason(text=f"{layer}, of no image that has a record: only containers have it")
        return "a layer of an image that is gone", chain.after(text)
    owner = images.ref(found.images[0])
    more = f" and {len(found.images) - 1} more" if len(found.images) > 1 else ""
    names = (short(image) if image.startswith("sha256:") else image for image in found.images)
    text = Reason(text=f"{layer} of {listed(names)}", about=owner)
    return f"a layer of image {owner.name}{more}", replace(chain, owner=owner).after(text)


def _below(known: Known, users: tuple[str, ...] | list[str]) -> Chain:
    names = listed(sorted(map(known.container_name, users)))
    text = f"a lower directory of {names}" if names else "no container has it below its own"
    return Chain((Reason(text=text),), containers=tuple(users))
