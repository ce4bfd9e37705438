"""Names: of containers, networks, volumes, images, hosts; in DNS."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from hostinspect.questions.whois.answer import Match, Ref
from hostinspect.questions.whois.chain import HOST, Chain
from hostinspect.questions.whois.images import Images
from hostinspect.questions.whois.key import Key
from hostinspect.questions.whois.known import Known
from hostinspect.topology import Container


def by_name(known: Known, key: Key) -> Iterator[Match]:
    """What a container (`web1`, `/web1`), a network, a volume or an image (`nginx`, `nginx:1`) is called."""
    word = key.word
    for container in known.topology.containers:
        if word.removeprefix("/") == container.name:
            chain = known.container(container.id).then(*_places(known, container.id))
            yield chain.match("container name", f"container {container.name}", known.container_ref(container.id))
    for network in known.topology.networks:
        if word == network.name:
            chain = known.network(network.id)
            if network.bridge:
                chain = chain.then(f"its bridge is {network.bridge}")
            yield chain.match("network name", f"network {network.name}", known.network_ref(network.id))
    for volume in known.volumes.get(word, ()):
        chain = known.volume(volume.data_root, word)
        chain = chain.then(f"it is at {volume.mountpoint}" if volume.mountpoint else None)
        yield chain.match("volume name", f"volume {word}", known.volume_ref(volume.data_root, word))
    yield from _images(known, word)


def by_host_name(known: Known, key: Key) -> Iterator[Match]:
    """What a container calls itself, or is called in the embedded DNS: its name, an alias, `NAME.NETWORK`."""
    name = key.word.rstrip(".").lower()
    if not name:
        return
    host = (known.facts.host.hostname or "").lower()  # a container in its namespaces has the same, and is not called so
    if name == host:
        yield Chain(owner=HOST).match("hostname", "the name of the host itself", HOST)
    for container in known.topology.containers:
        called = []
        network = None
        for endpoint in container.endpoints:
            answers = {alias.lower() for alias in (*endpoint.aliases, *endpoint.dns_names)}
            on = (endpoint.network or "").lower()
            if name in answers or (
                name.removesuffix(f".{on}") in (answers | {container.name.lower()}) and name.endswith(f".{on}")
            ):
                network = endpoint.network_id
                at = endpoint.ip or endpoint.ip6
                called.append(f"on network {endpoint.network} it answers to {name}" + (f", at {at}" if at else ""))
        if called and name != container.name.lower():
            chain = replace(known.container(container.id).after(*called), network=network)
            yield chain.match("dns name", f"a name of container {container.name}", known.container_ref(container.id))
        elif (
            (container.hostname or "").lower() == name not in (container.name.lower(), host, _joined(known, container))
        ):
            chain = known.container(container.id).after(f"{container.name}'s hostname is {container.hostname}")
            yield chain.match(
                "hostname", f"the hostname of container {container.name}", known.container_ref(container.id)
            )


def _joined(known: Known, container: Container) -> str | None:
    """The hostname of the container whose namespace it joined, which is its own then."""
    owner = known.containers.get(container.shares_netns_with or "")
    return (owner.hostname or "").lower() if owner else None


def _places(known: Known, id_: str) -> Iterator[str]:
    for endpoint in known.containers[id_].endpoints:
        at = " ".join(filter(None, (endpoint.ip, endpoint.ip6)))
        link = f", {endpoint.interface} ↔ {endpoint.host_link}" if endpoint.interface and endpoint.host_link else ""
        yield f"on network {known.network_name(endpoint.network_id)}: {at or 'no address'}{link}"


def _images(known: Known, word: str) -> Iterator[Match]:
    images = Images(known)
    bare = word.removeprefix("docker.io/library/").removeprefix("docker.io/")
    told = set()
    for image in known.facts.images:
        for name in image.names:
            repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
            if bare and bare in (name, repository):
                told.add(image.id)
                ref = Ref(kind="image", id=image.id, name=name)
                yield images.image(image.id).match("image name", f"image {name}", ref)
                break
    known_names = known.sees("images", "layers", "engines") and known.facts.images
    for container in known.topology.containers:
        asked, id_ = container.image or "", container.image_id or container.image or ""
        if word and word in (asked, asked.partition(":")[0]) and id_ not in told:
            told.add(id_)
            since = "that name is gone, or another's" if known_names else "what has that name now could not be seen"
            chain = images.image(id_).after(f"{container.name} was made from what {asked} was then; {since}")
            yield chain.match("image name", f"image {asked}, as it was", Ref(kind="image", id=id_, name=asked))
