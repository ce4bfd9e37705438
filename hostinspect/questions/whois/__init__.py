"""`hostinspect whois KEY…`: what any token that a person may have in hand is, whose, and why.

One module per kind of key. Each has *lookers*, functions of what is `Known` and a `Key` that yield matches; the table
below says in what order they are asked, what each looks in, and which families of facts it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from hostinspect.facts import HOLDERS_ON_HOST, RULES_OF_CONTAINERS
from hostinspect.questions.answer import gaps_about
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.whois import (
    addresses,
    cgroups,
    ids,
    links,
    mounts,
    names,
    namespaces,
    paths,
    ports,
    processes,
    rules,
)
from hostinspect.questions.whois.answer import KeyAnswer, Match, Whois
from hostinspect.questions.whois.key import Key, is_loopback
from hostinspect.questions.whois.known import Known

__all__ = ["looks_like_layer", "needs", "whois"]


class Looker(Struct, frozen=True):
    """A way to find what a key means.

    `takes` says whether a key has the shape; `looked_at` is what was gone through, with its number; `needs` are the
    families of facts without which it may miss something. What `is_weak` finds is told after what others find; one that
    `is_last` is asked only where they find nothing.
    """

    look: Callable[[Known, Key], Iterator[Match]]
    takes: Callable[[Key], bool]
    looked_at: Callable[[Known], str]
    needs: tuple[str, ...]
    is_weak: bool = False
    is_last: bool = False


_RECORDS = ("engines", "containers", "networks", "volumes")
_LAYERS = ("engines", "containers", "layers", "images")


def _is_word(key: Key) -> bool:
    return bool(key.word)


def _is_name(key: Key) -> bool:
    return bool(key.word) and not key.word.startswith("/")


def _is_path(key: Key) -> bool:
    return "/" in key.word or bool(key.paths)


def _is_number(key: Key) -> bool:
    return key.number is not None


def _counted(count: int, one: str, more: str | None = None) -> str:
    return f"{count} {one if count == 1 else more or one + 's'}"


LOOKERS = (
    Looker(
        namespaces.by_inode,
        lambda key: key.namespace is not None,
        lambda known: f"inodes of {_counted(len(known.namespaces), 'network namespace')} and of mount namespaces",
        ("namespaces", "processes"),
    ),
    Looker(
        namespaces.by_path,
        lambda key: bool(key.paths),
        lambda known: f"paths of {_counted(len(known.namespaces), 'network namespace')}",
        ("namespaces", "processes", "mounts"),
    ),
    Looker(
        links.by_name,
        _is_word,
        lambda known: f"names of {_counted(len(known.links), 'interface')}",
        ("namespaces",),
    ),
    Looker(
        links.by_mac,
        lambda key: key.mac is not None,
        lambda known: f"MACs of {_counted(len(known.links), 'interface')}",
        ("namespaces", "networks"),
    ),
    Looker(
        addresses.by_rule_target,
        lambda key: key.address is not None,
        lambda known: (
            f"destinations of {_counted(len(known.host_rules), 'NAT rule')} and "
            f"{_counted(len(known.proxies), 'docker-proxy', 'docker-proxies')}"
        ),
        ("rules", "processes", "namespaces"),
    ),
    Looker(
        addresses.by_address,
        lambda key: key.address is not None,
        lambda known: (
            f"{_counted(len(known.facts.addresses), 'address', 'addresses')} of interfaces, endpoints, "
            f"gateways and {_counted(len(known.subnets), 'subnet')}"
        ),
        ("namespaces", *_RECORDS),
    ),
    Looker(addresses.by_subnet, lambda key: key.address is not None, lambda known: "", ("networks",)),
    Looker(
        ports.by_host_port,
        lambda key: key.port is not None,
        lambda known: "ports of the host: published, taken by rules and proxies, listened on",
        ("sockets", "rules", "processes", "namespaces", "containers", "engines"),
    ),
    Looker(
        processes.by_pid,
        lambda key: key.number is not None or any(path.startswith("/proc/") for path in key.paths),
        lambda known: f"{_counted(len(known.facts.processes), 'process', 'processes')}",
        ("processes", "containers", "engines"),
    ),
    Looker(
        links.by_ifindex,
        lambda key: key.number is not None or key.word.lstrip("@").startswith("if"),
        lambda known: f"ifindexes of {_counted(len(known.links), 'interface')}",
        ("namespaces",),
    ),
    Looker(
        names.by_name,
        _is_word,
        lambda known: (
            f"names of {_counted(len(known.containers), 'container')}, "
            f"{_counted(len(known.networks), 'network')}, {_counted(len(known.topology.volumes), 'volume')} and images"
        ),
        (*_RECORDS, "images"),
    ),
    Looker(
        ids.by_id,
        lambda key: key.id is not None and not key.is_short_number,
        lambda known: "ids of containers, networks, images, sandboxes, endpoints, layers and anonymous volumes",
        (*_RECORDS, "layers", "images"),
    ),
    Looker(
        ids.by_few_digits,
        lambda key: key.id is not None and key.number is None,
        lambda known: "",
        (*_RECORDS, "layers", "images"),
        is_last=True,
    ),
    Looker(ids.by_id_within, _is_name, lambda known: "", _RECORDS),
    Looker(paths.by_short_name, _is_word, lambda known: "", _LAYERS),
    Looker(
        paths.by_path,
        _is_path,
        lambda known: "directories of engines, layers, volumes, and bind mounts of containers",
        (*_LAYERS, "volumes", "mounts"),
    ),
    Looker(
        cgroups.by_path,
        lambda key: "/" in key.word or key.word.endswith((".scope", ".service")),
        lambda known: "cgroups of all processes",
        ("processes", "containers", "engines"),
    ),
    Looker(
        mounts.by_device,
        lambda key: key.device is not None,
        lambda known: f"devices of {_counted(len(known.facts.mounts), 'mount')}",
        ("mounts",),
    ),
    Looker(
        rules.by_text,
        lambda key: " -j " in key.word or key.word.startswith(("-A ", "[")),
        lambda known: f"the text of {_counted(len(known.facts.rules), 'rule')}",
        ("rules",),
    ),
    Looker(
        rules.by_chain, _is_name, lambda known: f"names of {_counted(len(known.facts.chains), 'chain')}", ("rules",)
    ),
    Looker(
        names.by_host_name,
        _is_name,
        lambda known: "hostnames, network aliases and DNS names of containers",
        _RECORDS,
    ),
    Looker(namespaces.by_name, _is_name, lambda known: "names that `ip netns` lists", ("namespaces", "mounts")),
    Looker(
        links.by_former_name, _is_name, lambda known: "names that interfaces had before they were moved", ("networks",)
    ),
    Looker(links.by_bridge_name, _is_name, lambda known: "", ("namespaces", "networks")),
    Looker(
        mounts.by_mount_point,
        lambda key: bool(key.paths),
        lambda known: "mount points of the host",
        ("mounts",),
        is_weak=True,
    ),
    Looker(mounts.by_source, lambda key: key.word.startswith("/dev/"), lambda known: "", ("mounts",), is_weak=True),
    Looker(
        mounts.by_destination,
        _is_path,
        lambda known: "mount points inside of containers",
        ("containers", "engines", "mounts"),
        is_weak=True,
    ),
    Looker(
        ports.by_container_port,
        lambda key: key.port is not None and (key.port.host is None or is_loopback(key.port.host)),
        lambda known: "ports inside of containers",
        ("sockets", "namespaces", "containers", "engines"),
        is_weak=True,
    ),
    Looker(mounts.by_mount_id, _is_number, lambda known: "mount ids", ("mounts",), is_weak=True),
    Looker(
        ids.by_number,
        lambda key: key.is_short_number,
        lambda known: "beginnings of ids",
        (*_RECORDS, "layers", "images"),
        is_last=True,
    ),
)

_BUILDKIT, _SHORT_NAME = 25, 26  # characters, of base 36 and of base 32
_NAMES = ("container name", "container id", "network name", "network id", "volume name", "image name", "image id")
_OF_ENGINES = ("container", "network", "volume", "image")
_CLOSE = 3


def whois(inspection: Inspection, keys: Sequence[str], *, cwd: str | None = None) -> Whois:
    """What each key may mean. `cwd` is where a relative path starts; None where the facts are not of this host."""
    known = Known(inspection)
    asked = [Key(text, cwd) for text in keys]
    needed = {family for key in asked for looker in LOOKERS if looker.takes(key) for family in looker.needs}
    answers = tuple(_answer(known, key) for key in asked)
    # Of a disk, what records say of a key stands; that a key is nothing takes the kernel.
    found = all(answer.matches for answer in answers)
    return Whois(keys=answers, gaps=gaps_about(inspection.topology, *sorted(needed), of_records=found))


def needs(texts: Iterable[str]) -> set[str]:
    """The families of facts that must be read for these keys: those that lookers need, and those of what they tell."""
    keys = [Key(text) for text in texts]
    families = {
        *("host", "processes", "cgroups", "namespaces", "links", "addresses", "nsids"),
        *("engines", "containers", "networks", "volumes", "images", "layers", "rules"),
    }
    if any(map(_is_name, keys)):
        families.add(RULES_OF_CONTAINERS)  # a chain may be called so
    for key in keys:
        if key.number is not None or key.port or key.address or not _is_plain(key):
            families |= {"sockets", HOLDERS_ON_HOST}
        if key.number is not None or key.device or not _is_plain(key) or looks_like_layer(key.text):
            families.add("mounts")
    return families


def _is_plain(key: Key) -> bool:
    """Whether it is a single name: no path, no rule."""
    return key.word not in (".", "..") and not {"/", " ", "["} & {*key.word}


def looks_like_layer(text: str) -> bool:
    """Whether a key may be a layer or an image, so that image layers must be read for it, which takes longer."""
    key = Key(text)
    if key.id is None or key.is_short_number:
        return "/" in key.word
    bare = key.id.removesuffix("-init")
    return len(bare) in (_BUILDKIT, _SHORT_NAME) or (len(bare) > 3 and not bare.strip("0123456789abcdef"))


def _answer(known: Known, key: Key) -> KeyAnswer:
    lookers = [looker for looker in LOOKERS if looker.takes(key)]
    matches = [*_found(known, key, lookers)]
    return KeyAnswer(
        key=key.text,
        matches=tuple(matches),
        looked_at=tuple(dict.fromkeys(filter(None, (looker.looked_at(known) for looker in lookers)))),
        suggestions=() if matches else _suggestions(known, key),
    )


def _found(known: Known, key: Key, lookers: Iterable[Looker]) -> Iterator[Match]:
    """All matches, the likeliest first: what is an engine's before what is the host's, and weak ones last.

    Two lookers may find one thing, as the name of an anonymous volume is also its id: it is told once.
    """
    found: list[tuple[bool, bool, int, bool, Match]] = []
    for position, looker in enumerate(sorted(lookers, key=lambda looker: looker.is_last)):
        if looker.is_last and found:
            break
        for match in looker.look(known, key):
            found.append((looker.is_weak, *_likelihood(match, position), match))
    found.sort(key=lambda item: item[:-1])
    told = set()
    for *_, match in found:
        same = (match.subject, match.owner, match.summary if match.kind not in _NAMES else "")
        if same not in told:
            told.add(same)
            yield match


def _likelihood(match: Match, position: int) -> tuple[bool, int, bool]:
    """What sorts matches: an engine's or not, the kind of key, a container's or not."""
    kind = match.owner.kind if match.owner else None
    return not (match.leftover or kind in _OF_ENGINES), position, kind != "container"


def _suggestions(known: Known, key: Key) -> tuple[str, ...]:
    """Names that are nearly what was asked for."""
    from difflib import get_close_matches

    if not 2 <= len(key.word) <= 128 or "/" in key.word:
        return ()
    every: list[str | None] = [link.ifname for link in known.topology.links]
    for named in (known.topology.containers, known.topology.networks, known.topology.volumes):
        every += [thing.name for thing in named]
    every += [name for image in known.facts.images for name in image.names]
    every += [address.address for address in known.facts.addresses]
    return tuple(get_close_matches(key.word, dict.fromkeys(filter(None, every)), n=_CLOSE))
