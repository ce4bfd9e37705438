"""Processes by pid: of a container, its shim, a docker-proxy, the daemon, the host's."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from hostinspect.facts import Process
from hostinspect.questions.whois.answer import Match, Reason, Ref
from hostinspect.questions.whois.chain import HOST, Chain, short, shown_cgroup, socket_address
from hostinspect.questions.whois.key import CONTAINER_ID, Key
from hostinspect.questions.whois.known import Known
from hostinspect.questions.whois.links import whose
from hostinspect.topology import Container

_PROC = re.compile(r"/proc/(\d{1,10})(?:/(?!(?:task/\d{1,10}/)?ns/(?:net|mnt)$).*)?", re.ASCII)
_ENGINE_PARTS = ("containerd", "docker-containe")


def by_pid(known: Known, key: Key) -> Iterator[Match]:
    """`529`, `/proc/529`, `/proc/529/fd/3`. A thread's id that is no process's is not known."""
    found = _PROC.fullmatch(key.paths[0]) if key.paths else None
    process = known.index.processes.get(int(found[1]) if found else key.number or 0)
    if process is None:
        return
    summary, chain = of_process(known, process)
    if process.has_ended:
        chain = chain.after(
            f"{known.process_name(process.pid)} has ended, and its parent {process.ppid} has not noticed"
        )
    yield chain.match("pid", summary, process_ref(process))


def process_ref(process: Process) -> Ref:
    return Ref(kind="process", id=str(process.pid), name=process.comm)


def of_process(known: Known, process: Process) -> tuple[str, Chain]:
    """What a process is, in words, and whose."""
    container_id = known.index.container_of(process)
    if container_id in known.containers:
        return _in_container(known, process, known.containers[container_id])
    if process.pid in known.proxies:
        return _proxy(known, process)
    for engine in known.facts.engines:
        if engine.pid == process.pid:
            text = f"{process.comm}, pid {process.pid}, is the daemon of the engine at {engine.data_root}"
            ref = Ref(kind="engine", id=engine.data_root, name=engine.name)
            return f"{engine.name}'s daemon", Chain((Reason(text=text, about=ref),), owner=ref)
    if process.comm.startswith(("containerd-shim", "docker-containe")) and process.cmdline:
        shim = _shim(known, process)
        if shim is not None:
            return shim
    unknown = known.unknown_container(process)
    if unknown is not None:
        chain = known.gone(unknown).after(_membership(known, process, unknown))
        return f"{process.comm}, a process of a container that no record is left of", chain
    return _of_host(known, process)


def _membership(known: Known, process: Process, container_id: str) -> str:
    """Why a process is a container's."""
    path = next((path for path in process.cgroups if container_id in path), None)
    if path is not None:
        return f"{known.process_name(process.pid)} is in cgroup {shown_cgroup(path)}"
    return f"{known.process_name(process.pid)} has the container's upper directory as its root"


def _in_container(known: Known, process: Process, container: Container) -> tuple[str, Chain]:
    chain = known.container(container.id)
    why = _membership(known, process, container.id)
    place = None
    if process.netns is not None and process.netns != container.netns:
        place = f"its network namespace is another: {process.netns}, of {whose(known, process.netns)}"
    elif process.netns is not None and known.namespace_owner(process.netns) not in (container.id, None):
        place = f"its network namespace is that of {whose(known, process.netns)}"
    elif process.netns is not None and process.netns == known.host_netns:
        place = "its network namespace is the host's own"
    main = "the main process" if container.pid == process.pid else "a process"
    parent = None
    if container.pid != process.pid and process.ppid in known.index.processes:
        parent = f"its parent is {known.process_name(process.ppid)}"
    return f"{process.comm}, {main} of container {container.name}", chain.after(why, parent, place)


def _proxy(known: Known, process: Process) -> tuple[str, Chain]:
    proxy = known.proxies[process.pid]
    chain = known.target(proxy.target.address, proxy.target.port, proxy.proto).after(known.proxy_reason(proxy))
    at = f"{socket_address(proxy.host_ip, proxy.host_port)}/{proxy.proto}"
    if chain.owner is not None and chain.owner.kind == "container":
        return f"docker-proxy for host port {at} of container {chain.owner.name}", chain
    if chain.leftover:
        return f"docker-proxy for host port {at}, left over: nobody has the address it leads to", chain
    return f"docker-proxy for host port {at}", chain


def _shim(known: Known, process: Process) -> tuple[str, Chain] | None:
    """containerd-shim names its container by `-id`, the one before containerd 1.2 by `-workdir …/ID`."""
    words = process.cmdline or ()
    named = next((value for option, value in itertools.pairwise(words) if option in ("-id", "--id")), None)
    if named is None:
        named = next((id_ for word in words for id_ in CONTAINER_ID.findall(word)), None)
    if named is None:
        return None
    chain = known.container(named).after(f"{process.comm}, pid {process.pid}, was started with -id {short(named)}")
    return f"the shim of container {known.container_name(named)}", chain


def _of_host(known: Known, process: Process) -> tuple[str, Chain]:
    inside = "" if process.netns in (None, known.host_netns) else f", in network namespace {process.netns}"
    if process.comm in _ENGINE_PARTS and any(engine.pid == process.ppid for engine in known.facts.engines):
        engine = next(engine for engine in known.facts.engines if engine.pid == process.ppid)
        ref = Ref(kind="engine", id=engine.data_root, name=engine.name)
        text = f"its parent is {known.process_name(process.ppid)}, the daemon of the engine at {engine.data_root}"
        return f"{process.comm} of {engine.name}'s daemon", Chain((Reason(text=text, about=ref),), owner=ref)
    if not process.cgroups:
        why = "it has no cgroup: a thread of the kernel's" if process.ppid in (0, 2) else "its cgroup could not be read"
        certain = process.ppid in (0, 2)
    else:
        why = f"it is in cgroup {process.cgroups[0]}, which is no container's"
        certain = known.sees("engines", "containers")
    parent = known.index.processes.get(process.ppid)
    child = f"its parent is {known.process_name(process.ppid)}" if parent else None
    summary = f"{process.comm}, a process of the host{inside}"
    return summary, Chain(owner=HOST if certain else None).after(why, child)
