"""A container in words: its line in the tree, and what belongs to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hostinspect.render.layout import Branch, Item, Line, Span, detail, item
from hostinspect.render.ports import other_listeners, port_lines
from hostinspect.render.times import ago, uptime
from hostinspect.render.view import View, is_as_recorded, is_running, mount_key, network_of_mode, short_id
from hostinspect.topology import Container, Drift, Endpoint, Mount, Network

_FEW = 5  # other users of a mount that are named without --verbose: everybody has /etc/localtime
_PLAIN_PROPAGATION = ("", "rprivate", "private")


def container_branch(view: View, container: Container, network: Network | None, columns: tuple[int, ...]) -> Branch:
    """A running container in full, as described under `network`; below it, those that share its namespace."""
    here = [e for e in container.endpoints if network is not None and e.network_id == network.id]
    items = [item(container.name, style="name"), *_places(view, container, here), *_identity(view, container)]
    if view.is_sharer(container):
        owner = view.name(container.shares_netns_with or "")
        items.insert(1, item(f"in {owner}'s network namespace"))
        columns = ()
    return Branch(
        Line(items, columns=columns),
        tuple(_details(view, container, here)),
        tuple(container_branch(view, sharer, None, ()) for sharer in view.sharers.get(container.id, ())),
    )


def mention(view: View, container: Container, network: Network, columns: tuple[int, ...]) -> Branch:
    """A container on a network other than the one it is described under."""
    here = [e for e in container.endpoints if e.network_id == network.id]
    home = view.networks[view.home[container.id]]
    items = [
        item(container.name),
        *_places(view, container, here),
        item(f"described under {home.name or short_id(home.id)}", style="dim"),
    ]
    return Branch(Line(items, columns=columns))


def stopped_branch(view: View, container: Container, columns: tuple[int, ...]) -> Branch:
    """A container without a process."""
    items = [item(container.name, style="name"), state_in_words(container, view.now), item(image_name(container))]
    if container.shares_netns_with is None:
        names = [e.network or short_id(e.network_id or "?") for e in container.endpoints]
        names = names or [network_of_mode(container.network_mode)]
        items.append(item(f"on {', '.join(names)}"))
    where = view.where(container.data_root)
    if where:
        items.append(item(where, style="dim"))
    details = [
        *drift_lines(container.drift),
        *_joined(view, container),
        *mount_lines(view, container),
        *layer_lines(view, container),
        *_identifiers(view, container),
    ]
    return Branch(Line(items, columns=columns), tuple(details))


# --- the line itself ---


def address_of(endpoint: Endpoint) -> str:
    """The address that stands in the address column."""
    return endpoint.ip or endpoint.ip6 or "no address"


def _places(view: View, container: Container, endpoints: Iterable[Endpoint]) -> Iterator[Item]:
    for endpoint in endpoints:
        if endpoint.interface is None and endpoint.ip is None and endpoint.ip6 is None:
            continue  # host and none
        network = view.networks.get(endpoint.network_id or "")
        lost = network is not None and network.subnets and endpoint.interface and not (endpoint.ip or endpoint.ip6)
        yield item(address_of(endpoint), style="bad" if lost else "")
        if endpoint.ip and endpoint.ip6:
            yield item(endpoint.ip6)
        if not view.is_disk:
            yield _wire(view, container, endpoint)


def _wire(view: View, container: Container, endpoint: Endpoint) -> Item:
    """`eth0 ↔ veth13d6de4`; for macvlan and ipvlan the device below; for what could not be followed, why."""
    if endpoint.interface is None:
        known = container.netns in view.links_in
        return item("no interface", style="bad") if known else item("interface not seen", style="warn")
    link = view.links_by_name.get((container.netns or 0, endpoint.interface))
    if endpoint.host_link is None:
        doubt = link.doubt if link and link.doubt else "not found"
        return item(f"{endpoint.interface} ↔ ", Span(f"? ({doubt})", "warn"))
    if link is not None and link.lower is not None:
        return item(f"{endpoint.interface} ({link.kind or 'link'} on {endpoint.host_link})")
    where = ""
    if endpoint.host_link_netns not in (None, view.host_netns):
        where = f" in {view.namespace_name(endpoint.host_link_netns or 0)}"
    return item(f"{endpoint.interface} ↔ {endpoint.host_link}{where}", *_wire_faults(view, endpoint))


def _wire_faults(view: View, endpoint: Endpoint) -> Iterator[Span]:
    """What keeps packets from passing although both ends are there."""
    netns = endpoint.host_link_netns or 0
    outer = view.links_by_name.get((netns, endpoint.host_link or ""))
    network = view.networks.get(endpoint.network_id or "")
    if outer is None:
        return
    if outer.operstate in ("down", "lowerlayerdown"):
        yield Span(f" is {outer.operstate}", "bad")
    if network is not None and network.bridge and endpoint.bridge != network.bridge:
        yield Span(f" is a port of {endpoint.bridge or 'no bridge'}, not of {network.bridge}", "bad")
    elif outer.port_state in ("disabled", "blocking"):
        yield Span(f" is {outer.port_state} on {endpoint.bridge}", "bad")


def _identity(view: View, container: Container) -> Iterator[Item]:
    if is_as_recorded(container):
        yield state_in_words(container, view.now)
    elif container.state != "running":
        yield item(container.state, style="warn")
    yield item(image_name(container))
    if container.pid is not None:
        yield item(f"pid {container.pid}")
    up = uptime(container.started_at, view.now)
    if up:
        yield item(f"started {up} ago" if is_as_recorded(container) else f"up {up}")


def image_name(container: Container) -> str:
    """What it was made of, as it was asked for; an id shortened."""
    if container.image is None:
        return f"image {short_id(container.image_id or '?')}"
    return short_id(container.image) if container.image.startswith("sha256:") else container.image


def state_in_words(container: Container, now: str) -> Item:
    """Of one without a process, in the words of `docker ps`: `exited (137) 3 days ago`."""
    words: str = container.state
    if is_as_recorded(container):
        return item(f"{words}, as recorded", style="warn" if words != "running" else "")
    if container.exit_code is not None:
        words += f" ({container.exit_code})"
    since = ago(container.created if container.state == "created" else container.finished_at, now)
    if since:
        words += f" {since} ago"
    return item(words, style="warn" if container.state in ("restarting", "dead", "removing") else "")


# --- what belongs to it ---


def _details(view: View, container: Container, here: list[Endpoint]) -> Iterator[Line]:
    if not is_as_recorded(container):  # else it says no more than the state
        yield from drift_lines(container.drift)
    if not view.is_sharer(container):
        yield from _joined(view, container)
    yield from _also_on(view, container, here)
    yield from _links_of_none(view, container)
    yield from port_lines(view, container)
    yield from other_listeners(view, container)
    yield from mount_lines(view, container)
    yield from layer_lines(view, container)
    yield from _identifiers(view, container)


def drift_lines(drift: Iterable[Drift]) -> Iterator[Line]:
    """What the engine recorded and the kernel has otherwise."""
    for change in drift:
        recorded = change.recorded if change.recorded is not None else "nothing"
        effective = change.effective if change.effective is not None else "nothing"
        yield detail("drift", item(f"{change.field}: recorded {recorded}, now {effective}", style="warn"), style="warn")


def _joined(view: View, container: Container) -> Iterator[Line]:
    """Of a container of `--network container:` that is not below the other one: whose namespace it is in."""
    if container.shares_netns_with is None:
        return
    owner = view.containers.get(container.shares_netns_with)
    name = view.name(container.shares_netns_with)
    if owner is None:
        yield detail("netns", item(f"that of container {name}, which is not there any more", style="warn"))
    elif is_running(container):
        yield detail("netns", item(f"that of {name}, which does not run", style="warn"))
    else:
        yield detail("netns", item(f"that of {name}"))


def _also_on(view: View, container: Container, here: list[Endpoint]) -> Iterator[Line]:
    """Its places on other networks, which name it too; and interfaces that are on no network known."""
    names = set()
    for endpoint in container.endpoints:
        network = view.networks.get(endpoint.network_id or "")
        if network is None:
            name = endpoint.network or "no network that is recorded"
            yield detail("also", item(f"on {name}"), *_places(view, container, [endpoint]))
        elif endpoint not in here:
            names.add(network.name or short_id(network.id))
    if names:
        yield detail("also", item(f"on {', '.join(sorted(names))}"))


def _links_of_none(view: View, container: Container) -> Iterator[Line]:
    """What is in the namespace of a container without any network: `lo only`, or what somebody put there by hand."""
    if container.netns in (None, view.host_netns) or any(e.interface for e in container.endpoints):
        return
    links = view.links_in.get(container.netns or 0, [])
    if container.network_mode == "none" and links:
        yield detail("links", item(", ".join(link.ifname for link in links) + (" only" if len(links) == 1 else "")))


def mount_lines(view: View, container: Container) -> Iterator[Line]:
    """Bind mounts, volumes and tmpfs, each with who else has it."""
    for mount in container.mounts:
        items = [item(_source(view, mount), "→ " if mount.type != "tmpfs" else "", mount.destination), _access(mount)]
        if mount.mode and (mount.type == "tmpfs" or view.verbose) and mount.mode not in ("rw", "ro"):
            items.append(item(mount.mode))
        if mount.propagation not in _PLAIN_PROPAGATION:
            items.append(item(mount.propagation))
        if mount.driver not in (None, "", "local"):
            items.append(item(f"driver {mount.driver}"))
        if mount.mounted is False:
            items.append(item("not mounted", style="bad"))
        others = _other_users(view, container, mount)
        if others:
            shown = others if view.verbose else others[:_FEW]
            more = f" and {len(others) - len(shown)} more" if len(shown) < len(others) else ""
            items.append(item(f"shared with {', '.join(shown)}{more}"))
        yield detail(mount.type, *items)


def _access(mount: Mount) -> Item:
    return item("rw" if mount.rw else "ro")


def _source(view: View, mount: Mount) -> str:
    if mount.type == "tmpfs":
        return ""
    source = mount.name if mount.type == "volume" and mount.name else mount.source or "?"
    if mount.type == "volume" and not view.verbose:
        source = volume_name(source)
    return f"{source}/{mount.subpath} " if mount.subpath else f"{source} "


def volume_name(name: str) -> str:
    """A volume's name, and of one that the engine made up the first twelve digits."""
    if len(name) == 64 and set(name) <= set("0123456789abcdef"):
        return f"{short_id(name)}…"
    return name


def _other_users(view: View, container: Container, mount: Mount) -> list[str]:
    """Other containers that have the same volume, or the same directory of the host, and how."""
    key = mount_key(container, mount)
    users = view.mounts_of.get(key, ()) if key else ()
    return users_in_words([(other.name, candidate.rw) for other, candidate in users if other is not container])


def users_in_words(users: Iterable[tuple[str, bool]]) -> list[str]:
    """`rwro (ro, rw)`: who uses something, and how."""
    access: dict[str, dict[str, None]] = {}
    for name, rw in users:
        access.setdefault(name, {})["rw" if rw else "ro"] = None
    return [f"{name} ({', '.join(sorted(ways))})" for name, ways in access.items()]


def layer_lines(view: View, container: Container) -> Iterator[Line]:
    """The layers of the root: how many, and the upper directory; all of them with --verbose."""
    overlay = container.overlay
    if overlay is None:
        return
    if not view.verbose:
        upper = [item(f"upper {_short_path(view, overlay.upper)}", style="dim")] if overlay.upper else []
        yield detail("layers", item(f"{len(overlay.lower)} lower", style="dim"), *upper)
        return
    for label, path in (("upper", overlay.upper), ("work", overlay.work), ("merged", overlay.merged)):
        if path:
            yield detail(label, item(path))
    for path in overlay.lower:
        yield detail("lower", item(path))


def _short_path(view: View, path: str) -> str:
    """A path below an engine's data root, with its long ids cut to twelve digits: `overlay2/3fe0a1b2c3d4…/diff`."""
    for engine in view.topology.host.engines:
        path = path.removeprefix(engine.data_root.rstrip("/") + "/")
    return "/".join(volume_name(part) for part in path.split("/"))


def _identifiers(view: View, container: Container) -> Iterator[Line]:
    """With --verbose: what other tools know the container by."""
    if not view.verbose:
        return
    yield detail("id", item(container.id))
    if container.image_id:
        yield detail("image", item(container.image_id))
    if container.netns is not None:
        yield detail("netns", item(str(container.netns)))
    if container.cgroup:
        yield detail("cgroup", item(container.cgroup))
    for endpoint in container.endpoints:
        if endpoint.mac or endpoint.gateway or endpoint.dns_names:
            items = [item(endpoint.network or "?")]
            if endpoint.mac:
                items.append(item(f"mac {endpoint.mac}"))
            if endpoint.gateway or endpoint.gateway6:
                items.append(item(f"gateway {' '.join(filter(None, (endpoint.gateway, endpoint.gateway6)))}"))
            names = dict.fromkeys((*endpoint.dns_names, *endpoint.aliases))
            if names:
                items.append(item(f"names {' '.join(names)}"))
            yield detail("net", *items)
    for when, time in (
        ("created", container.created),
        ("started", container.started_at),
        ("ended", container.finished_at),
    ):
        if time:
            yield detail("time", item(f"{when} {time}"))
    for key, value in sorted(container.labels.items()):
        yield detail("label", item(f"{key}={value}"))
