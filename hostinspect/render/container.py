"""One container in full: the sections and words of `docker inspect`, and below them what only the kernel knows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from hostinspect.questions.container import (
    ContainerDetail,
    ContainerDetails,
    ContainerLink,
    ContainerProcess,
    PortBinding,
)
from hostinspect.render.containers import drift_lines, image_name, mount_lines, state_in_words
from hostinspect.render.layout import Branch, Item, Line, Span, item
from hostinspect.render.ports import listener_address, port_lines
from hostinspect.render.screen import Screen
from hostinspect.render.times import ago, uptime
from hostinspect.render.view import View, is_as_recorded, short_id
from hostinspect.topology import Endpoint, Mount, NatRule, Topology

_LABEL_WIDTH = 14
_FEW = 3  # lower directories that are shown without --verbose: an image may have a hundred
_MANY = 24  # processes, likewise
_DEEPEST = 8  # generations of processes that are drawn as a tree; a container may make any number
_STATES = {  # proc_pid_stat(5), as ps(1) explains them
    "D": "waits for a device",
    "R": "runs",
    "T": "stopped",
    "X": "dead",
    "Z": "zombie",
    "t": "traced",
}


def render_containers(answer: ContainerDetails, topology: Topology, screen: Screen, *, verbose: bool = False) -> str:
    """Every container of the answer, ending in a newline."""
    view = View(topology, verbose=verbose)
    return screen.draw_sections(_container(view, container) for container in answer.containers)


def _container(view: View, container: ContainerDetail) -> Branch:
    sections = (
        _section("State", _state(view, container)),
        _section("HostConfig", _host_config(view, container)),
        _section("GraphDriver", _graph_driver(view, container)),
        _section("Mounts", (), _mounts(view, container)),
        _section("Config", _config(container)),
        _section("NetworkSettings", _network_settings(view, container), _networks(view, container)),
        _section("Links", (), (_link(view, link) for link in container.links if view.verbose or link.ifname != "lo")),
        _section("NAT rules", _nat_rules(view, container)),
        _section("Listeners", _listeners(container)),
        _section("Namespaces", _namespaces(view, container)),
        _section("Processes", (), _processes(view, container)),
    )
    details = [
        *([] if is_as_recorded(container) else map(_aligned, drift_lines(container.drift))),
        Line([item("Id", style="dim"), item(container.id)]),  # in one piece in 80 columns
        _moment("Created", container.created, view.now),
        _entry("Image", _id(view, container.image_id)),
        *([_entry("LogPath", container.log_path)] if container.log_path else []),
        _entry("RestartCount", container.restart_count),
        _entry("Driver", container.storage_driver),
        *([_entry("DataRoot", container.data_root)] if len(view.topology.host.engines) > 1 else []),
    ]
    return Branch(_headline(view, container), details, [branch for section in sections for branch in section])


def _headline(view: View, container: ContainerDetail) -> Line:
    items = [item(container.name, style="name")]
    if container.pid is None:
        items.append(state_in_words(container, view.now))
    else:
        items.append(item(container.state, style="" if container.state == "running" else "warn"))
    items.append(item(image_name(container)))
    if container.pid is not None:
        up = uptime(container.started_at, view.now)
        items += [item(f"pid {container.pid}"), *([item(f"up {up}")] if up else [])]
    return Line(items)


# --- lines ---


def _section(title: str, details: Iterable[Line | None], branches: Iterable[Branch] = ()) -> Iterator[Branch]:
    """The section, if anything is in it."""
    lines, below = [line for line in details if line is not None], [*branches]
    if lines or below:
        yield Branch(Line([item(title, style="name")]), lines, below)


def _entry(key: str, value: str | int | bool | Item | None, *more: Item) -> Line:
    """A key of docker inspect and its value; nothing is "-", as in tables."""
    if value is None or value == "" or value == ():
        value = item("-", style="dim")
    elif not isinstance(value, tuple):
        value = item(str(value).lower() if isinstance(value, bool) else str(value))
    return Line([item(key, style="dim"), value, *more], columns=(_LABEL_WIDTH,), hang=_LABEL_WIDTH + 2)


def _aligned(line: Line) -> Line:
    """A line of the report, with its label as wide as those here."""
    return replace(line, columns=(_LABEL_WIDTH,), hang=_LABEL_WIDTH + 2)


def _moment(key: str, time: str | None, now: str) -> Line:
    since = ago(time, now)
    return _entry(key, time, *([item(f"{since} ago", style="dim")] if since else []))


def _id(view: View, id_: str | None) -> str | None:
    return id_ if id_ is None or view.verbose else short_id(id_)


# --- the sections of docker inspect ---


def _state(view: View, container: ContainerDetail) -> Iterator[Line]:
    state = container.state
    recorded = [item("as recorded: no process of it was seen", style="dim")] if is_as_recorded(container) else []
    yield _entry("Status", item(state, style="" if state == "running" else "warn"), *recorded)
    if container.health:
        words = item(f"{container.health}, as last recorded", style="bad" if container.health == "unhealthy" else "")
        yield _entry("Health", words)
    flags = {
        "Running": state in ("running", "paused", "restarting"),
        "Paused": state == "paused",
        "Restarting": state == "restarting",
        "OOMKilled": container.oom_killed,
        "Dead": state == "dead",
    }
    for key, value in flags.items():
        if value or view.verbose or key in ("Running", "Paused"):
            yield _entry(key, value)
    was = next((change.recorded for change in container.drift if change.field == "pid" and not change.effective), None)
    main = next((process.comm for process in container.processes if process.pid == container.pid), "")
    of_pid = main or (f"was {was}" if was and is_as_recorded(container) else "")
    yield _entry("Pid", container.pid, *([item(of_pid)] if of_pid else []))
    if container.exit_code is not None:
        yield _entry("ExitCode", container.exit_code)
    yield _moment("StartedAt", container.started_at, view.now)
    if container.finished_at or view.verbose:
        yield _moment("FinishedAt", container.finished_at, view.now)


def _host_config(view: View, container: ContainerDetail) -> Iterator[Line]:
    joined = container.shares_netns_with
    if joined is not None and not view.verbose:
        yield _entry("NetworkMode", f"container:{view.name(joined)}")
    else:
        yield _entry("NetworkMode", container.network_mode)
    for binding in container.port_bindings:
        yield _entry("PortBindings", _asked(binding))
    retries = f":{container.restart_max_retries}" if container.restart_max_retries else ""
    yield _entry("RestartPolicy", f"{container.restart_policy or 'no'}{retries}")
    if container.auto_remove or view.verbose:
        yield _entry("AutoRemove", container.auto_remove)
    yield _entry("Privileged", item("true", style="warn") if container.privileged else "false")
    yield _entry("ReadonlyRootfs", container.readonly_rootfs)


def _asked(binding: PortBinding) -> str:
    """In the words of --publish: `127.0.0.1:8080:80/tcp`, `8000-8010:80/tcp`, `:80/tcp` for any port."""
    host_ip = f"[{binding.host_ip}]" if ":" in binding.host_ip else binding.host_ip
    port = str(binding.host_port or "")
    if binding.host_port_end is not None:
        port += f"-{binding.host_port_end}"
    return f"{host_ip}:{port}:".removeprefix(":" if port else "") + f"{binding.container_port}/{binding.proto}"


def _graph_driver(view: View, container: ContainerDetail) -> Iterator[Line]:
    overlay = container.overlay
    yield _entry("Name", container.storage_driver)
    if overlay is None:
        return
    shown = overlay.lower if view.verbose else overlay.lower[:_FEW]
    for path in shown:
        yield _entry("LowerDir", path)
    if len(shown) < len(overlay.lower):
        yield _entry("", item(f"and {len(overlay.lower) - len(shown)} more below", style="dim"))
    yield _entry("MergedDir", overlay.merged)
    yield _entry("UpperDir", overlay.upper)
    yield _entry("WorkDir", overlay.work)


def _mounts(view: View, container: ContainerDetail) -> Iterator[Branch]:
    """Each as the report has it; the rest of docker inspect's words below."""
    lines = mount_lines(view, view.containers[container.id])  # the view's own, to be told from other users of a mount
    for mount, line in zip(container.mounts, lines, strict=True):
        yield Branch(line, [*_mount(view, mount)])


def _mount(view: View, mount: Mount) -> Iterator[Line]:
    if mount.type == "volume" and mount.name:
        if view.verbose:
            yield _entry("Name", mount.name)
        yield _entry("Source", mount.source)
    entries = {"Driver": mount.driver, "Mode": mount.mode, "Propagation": mount.propagation}
    for key, value in entries.items():
        if value or view.verbose:
            yield _entry(key, value)


def _config(container: ContainerDetail) -> Iterator[Line]:
    yield _entry("Hostname", container.hostname)
    yield _entry("Image", container.image)
    if container.exposed_ports:
        yield _entry("ExposedPorts", ", ".join(container.exposed_ports))
    for key, value in sorted(container.labels.items()):
        yield _entry("Labels", f"{key}={value}")


def _network_settings(view: View, container: ContainerDetail) -> Iterator[Line]:
    if container.sandbox_id:
        yield _entry("SandboxID", _id(view, container.sandbox_id))
    if container.sandbox_key:
        yield _entry("SandboxKey", container.sandbox_key)
    told = View(view.topology, verbose=True)  # with the pids of the proxies, and where each rule stands
    for line in port_lines(told, container):
        yield _aligned(replace(line, items=[item("Ports", style="dim"), *line.items[1:]]))


def _networks(view: View, container: ContainerDetail) -> Iterator[Branch]:
    for endpoint in container.endpoints:
        name = endpoint.network or "no network that is recorded"
        yield Branch(Line([item("network", style="dim"), item(name)]), [*_endpoint(view, container, endpoint)])


def _endpoint(view: View, container: ContainerDetail, endpoint: Endpoint) -> Iterator[Line]:
    """docker inspect's words, without those that have nothing to say."""
    wire = endpoint.interface
    if endpoint.host_link is not None:
        has_lower = any(link.lower for link in container.links if link.ifname == endpoint.interface)
        wire = f"{endpoint.interface} {'on' if has_lower else '↔'} {endpoint.host_link}"
    entries = {
        "NetworkID": _id(view, endpoint.network_id),
        "EndpointID": _id(view, endpoint.endpoint_id),
        "Interface": wire,
        "Bridge": endpoint.bridge,
        "Gateway": endpoint.gateway,
        "IPAddress": _prefix(endpoint.ip, endpoint.prefix_len),
        "IPv6Gateway": endpoint.gateway6,
        "IPv6Address": _prefix(endpoint.ip6, endpoint.prefix_len6),
        "MacAddress": endpoint.mac,
        "Aliases": ", ".join(endpoint.aliases),
        "DNSNames": ", ".join(endpoint.dns_names),
    }
    for key, value in entries.items():
        if value or view.verbose:
            yield _entry(key, value)


def _prefix(address: str | None, length: int | None) -> str | None:
    return address if address is None or length is None else f"{address}/{length}"


# --- what docker inspect does not know ---


def _link(view: View, link: ContainerLink) -> Branch:
    """`eth0 (12) ↔ veth63a6bfa (13), a port of docker0`, with what ip(8) says of it below."""
    words = [Span(f"{link.ifname} ({link.ifindex})")]
    other = link.peer or link.lower
    if link.doubt:
        words.append(Span(f" ↔ ? ({link.doubt})", "warn"))
    elif other is not None:
        where = "" if other.netns == view.host_netns else f" in {view.namespace_name(other.netns)}"
        words.append(Span(f"{' ↔' if link.peer else ' on'} {other.ifname} ({other.ifindex}){where}"))
    if link.bridge:
        words.append(Span(f", a port of {link.bridge}"))
    state = item(link.operstate, style="bad" if link.operstate in ("down", "lowerlayerdown") else "")
    items = [tuple(words), *([item(link.kind)] if link.kind else []), state, item(f"mtu {link.mtu}")]
    details = [item(link.mac)] if link.mac else []
    return Branch(Line([*items, *details, *map(item, link.prefixes)], hang=2))


def _nat_rules(view: View, container: ContainerDetail) -> Iterator[Line]:
    """The host's; those in the container's own namespace, which lead to the embedded DNS server, with --verbose."""
    inside = 0
    for rule in container.nat_rules:
        if rule.netns != view.host_netns and not view.verbose:
            inside += 1
            continue
        yield _rule(view, rule)
    if inside:
        rules = "1 rule" if inside == 1 else f"{inside} rules"
        words = f"{rules} in its own network namespace, of the embedded DNS server"
        yield Line([item(words, style="dim")], hang=2)


def _rule(view: View, rule: NatRule) -> Line:
    place = f"{rule.chain} {rule.position}"
    if view.verbose:
        where = "" if rule.netns == view.host_netns else ", in its own network namespace"
        place = f"{rule.family} {rule.table} {place} ({rule.backend}{where})"
    items = [item(place), item(rule.text, style="" if rule.exact else "warn")]
    if rule.packets is not None:
        items.append(item(f"{rule.packets} packets, {rule.bytes} bytes", style="dim"))
    return Line(items, columns=(_LABEL_WIDTH,), hang=_LABEL_WIDTH + 2)


def _listeners(container: ContainerDetail) -> Iterator[Line]:
    by_process: dict[tuple[str | None, int | None], list[str]] = defaultdict(list)
    for listener in container.listeners:
        by_process[listener.comm, listener.pid].append(listener_address(listener))
    for (comm, pid), sockets in by_process.items():
        yield _entry(f"{pid}", f"{comm or '?'} on {', '.join(dict.fromkeys(sockets))}")


def _namespaces(view: View, container: ContainerDetail) -> Iterator[Line]:
    namespaces = container.namespaces
    if container.pid is None:
        return
    owner = [item("the host's own")] if namespaces.net is not None and namespaces.net == view.host_netns else []
    paths = [item(path) for path in namespaces.net_paths]
    yield _entry("net", namespaces.net, *owner, *([] if owner and not view.verbose else paths))
    if container.shared_with:
        yield _entry("shared with", ", ".join(map(view.name, container.shared_with)))
    yield _entry("mnt", namespaces.mnt)
    yield _entry("cgroup", container.cgroup)


def _processes(view: View, container: ContainerDetail) -> Iterator[Branch]:
    """A tree by parents. What a parent outside of the container started, as its main process, is at the top."""
    shown = container.processes if view.verbose else container.processes[:_MANY]
    earlier: set[int] = set()  # a parent is, so that no circle can come of a ppid that was another's meanwhile
    children: dict[int, list[ContainerProcess]] = defaultdict(list)
    for process in shown:
        children[process.ppid if process.ppid in earlier else 0].append(process)
        earlier.add(process.pid)
    for process in children[0]:
        yield _process(process, children, paused=container.state == "paused")
    if len(shown) < len(container.processes):
        more = f"and {len(container.processes) - len(shown)} more"
        yield Branch(Line([item(more, style="dim")]))


def _process(
    process: ContainerProcess,
    children: Mapping[int, Sequence[ContainerProcess]],
    *,
    paused: bool,
    depth: int = 1,
) -> Branch:
    items = [item(str(process.pid)), item(process.comm)]
    if paused and process.state in "DS":  # D: how the freezer of cgroup v1 stops it
        items.append(item("frozen", style="warn"))
    elif process.state in _STATES:
        items.append(item(_STATES[process.state], style="bad" if process.state in "DXZ" else ""))
    below = children.get(process.pid, ())
    if depth == _DEEPEST:
        return Branch(Line(items), (), [*_flat(below, children)])
    return Branch(Line(items), (), [_process(child, children, paused=paused, depth=depth + 1) for child in below])


def _flat(
    processes: Iterable[ContainerProcess], children: Mapping[int, Sequence[ContainerProcess]]
) -> Iterator[Branch]:
    """All descendants, however deep, in one row."""
    waiting = [*processes]
    while waiting:
        process = waiting.pop(0)
        yield Branch(Line([item(str(process.pid)), item(process.comm), item(f"of {process.ppid}", style="dim")]))
        waiting += children.get(process.pid, ())
