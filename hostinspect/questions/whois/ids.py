"""Ids, whole or their beginning: of containers, networks, images, volumes, sandboxes, endpoints, layers, tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from hostinspect.questions.layers import parent
from hostinspect.questions.whois.answer import Match, Ref
from hostinspect.questions.whois.chain import short
from hostinspect.questions.whois.images import Images
from hostinspect.questions.whois.key import CONTAINER_ID, Key
from hostinspect.questions.whois.known import Known
from hostinspect.questions.whois.layers import directories, of_directory
from hostinspect.questions.whois.namespaces import network_namespace

_SURE = 4  # digits; of fewer, only a beginning that is one id's alone counts


def by_id(known: Known, key: Key) -> Iterator[Match]:
    """`ef5102d4901a`, `sha256:…`: what it is the id of, or the beginning of the id."""
    if not key.is_short_number and len(key.word) >= _SURE:
        yield from _beginning(known, key)


def by_number(known: Known, key: Key) -> Iterator[Match]:
    """A number as the beginning of an id, which it is least likely to be; of four digits at least."""
    if key.is_short_number and len(key.word) >= _SURE:
        yield from _beginning(known, key)


def by_few_digits(known: Known, key: Key) -> Iterator[Match]:
    """`e`, `ef5`: the beginning of one id alone, as docker takes it too."""
    if key.number is None and len(key.word) < _SURE:
        yield from _beginning(known, key)


def by_id_within(known: Known, key: Key) -> Iterator[Match]:
    """A container's whole id in something else: `docker-ID.scope`, `libpod-ID`, a line of a log."""
    word = key.word
    if "/" in word or key.id is not None or word.endswith((".scope", ".service")):  # a cgroup, for `cgroups`
        return
    for id_ in dict.fromkeys(CONTAINER_ID.findall(word.lower())):
        if id_ in known.containers:
            chain = known.container(id_)
            yield chain.match("id within a word", f"container {known.container_name(id_)}", known.container_ref(id_))


def _beginning(known: Known, key: Key) -> Iterator[Match]:
    prefix = key.id
    if prefix is None:
        return
    images = Images(known)
    if not prefix.endswith("-init"):
        for id_ in _starting(prefix, known.containers):
            chain = known.container(id_)
            yield chain.match("container id", f"container {known.container_name(id_)}", known.container_ref(id_))
        for id_ in _starting(prefix, known.networks):
            yield known.network(id_).match("network id", f"network {known.network_name(id_)}", known.network_ref(id_))
        anonymous = [volume for volume in known.topology.volumes if volume.anonymous]
        for name in _starting(prefix, (volume.name for volume in anonymous)):
            for volume in anonymous:
                if volume.name == name:
                    ref = known.volume_ref(volume.data_root, name)
                    yield known.volume(volume.data_root, name).match("volume name", "an anonymous volume", ref)
        for id_ in _starting(prefix, (*images.by_id, *images.users), "sha256:"):
            chain = images.image(id_)
            yield chain.match("image id", f"image {images.name(id_)}", Ref(kind="image", id=id_, name=images.name(id_)))
        yield from _sandboxes(known, prefix)
        yield from _endpoints(known, prefix)
        yield from _gone(known, prefix)
    yield from _layers(known, images, prefix)


def _starting(prefix: str, ids: Iterable[str], scheme: str = "") -> list[str]:
    found = [id_ for id_ in dict.fromkeys(ids) if id_.removeprefix(scheme).lower().startswith(prefix)]
    return found if len(prefix) >= _SURE or len(found) == 1 else []


def _sandboxes(known: Known, prefix: str) -> Iterator[Match]:
    """Sandboxes: of a running one, its namespace says whose it is; else the record."""
    owners = {record.sandbox_id: record.id for record in known.facts.containers if record.sandbox_id}
    owners.update({sandbox.id: sandbox.container_id for sandbox in known.facts.sandboxes})
    for id_ in _starting(prefix, owners):
        inode = known.index.netns_by_path.get(f"/run/docker/netns/{short(id_)}")
        said = f"sandbox {short(id_)} is recorded for container {short(owners[id_])}"
        if inode is not None:
            match = network_namespace(known, inode, said, f"its namespace is mounted at /run/docker/netns/{short(id_)}")
            yield _as_sandbox(match, id_)
        elif owners[id_] in known.containers or not owners[id_].startswith(("lb-", "ingress")):
            chain = known.container(owners[id_]).after(said, "its namespace is not mounted now")
            summary = f"a sandbox of container {known.container_name(owners[id_])}"
            yield chain.match("sandbox id", summary, Ref(kind="sandbox", id=id_))


def _as_sandbox(match: Match, id_: str) -> Match:
    summary = match.summary.replace("the network namespace of", "the sandbox of")
    return replace(match, kind="sandbox id", subject=Ref(kind="sandbox", id=id_), summary=summary)


def _endpoints(known: Known, prefix: str) -> Iterator[Match]:
    for id_ in _starting(prefix, (*known.index.endpoint_records, *known.places_by_endpoint)):
        chain = known.endpoint(id_)
        place = known.places_by_endpoint.get(id_)
        whose = f" of container {place.container.name}" if place else ""
        network = known.network_name(chain.network)
        yield chain.match("endpoint id", f"the endpoint{whose} on network {network}", Ref(kind="endpoint", id=id_))


def _gone(known: Known, prefix: str) -> Iterator[Match]:
    """Ids of containers that no engine has a record of, and that something else still names."""
    traces: dict[str, list[str]] = {}

    def trace(id_: str | None, text: Callable[[], str]) -> None:
        if id_ and id_ not in known.containers and id_.startswith(prefix) and CONTAINER_ID.fullmatch(id_):
            traces.setdefault(id_, []).append(text())

    for process in known.facts.processes:
        for word in {*process.cgroups, *(process.cmdline or ())}:
            for id_ in CONTAINER_ID.findall(word):
                trace(id_, lambda p=process: f"{known.process_name(p.pid)} is of it")  # type: ignore[misc]
    for sandbox in known.facts.sandboxes:
        trace(sandbox.container_id, lambda s=sandbox: f"sandbox {short(s.id)} is recorded for it")  # type: ignore[misc]
    for layer in known.facts.layers:
        trace(layer.container_id, lambda la=layer: f"its layer directory is {parent(la.upper)}")  # type: ignore[misc]
    for container in known.topology.containers:
        trace(container.shares_netns_with, lambda c=container: f"{c.name} was started in its namespace")  # type: ignore[misc]
    for id_ in _starting(prefix, traces):
        chain = known.gone(id_).after(*dict.fromkeys(traces[id_]))
        yield chain.match("container id", "a container that no record is left of", Ref(kind="container", id=id_))


def _layers(known: Known, images: Images, prefix: str) -> Iterator[Match]:
    """Directories in the storage driver's home, and chain ids of image layers."""
    every = directories(known)
    bare, init = prefix.removesuffix("-init"), prefix.endswith("-init")
    for name in _starting(bare, (name for name in every if name.endswith("-init") == init)):
        summary, chain = of_directory(known, images, every[name])
        yield chain.match("layer id", summary, Ref(kind="layer", id=every[name]))
    for path, directory in known.layer_directories.items():
        chain_id = directory.chain_id
        if chain_id and len(prefix) >= _SURE and chain_id.removeprefix("sha256:").startswith(prefix):
            summary, chain = of_directory(known, images, path)
            chain = chain.after(f"{short(chain_id)} is a chain id; its directory is {path}")
            yield chain.match("chain id", summary, Ref(kind="layer", id=path))
