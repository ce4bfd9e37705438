"""Namespaces: a network or mount namespace by its inode, or by a path that names or pins one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hostinspect.correlate.index import normal_run_path
from hostinspect.questions.whois.answer import Match, Reason, Ref
from hostinspect.questions.whois.chain import HOST, Chain, listed
from hostinspect.questions.whois.key import Key
from hostinspect.questions.whois.known import Known
from hostinspect.questions.whois.links import whose

_PROC_NS = re.compile(r"/proc/(\d{1,10})(?:/task/\d{1,10})?/ns/(net|mnt)", re.ASCII)
_PINNED = ("/run/docker/netns/", "/run/netns/")


def by_inode(known: Known, key: Key) -> Iterator[Match]:
    """`4026532441`, `net:[4026532441]`, `mnt:[4026532440]`."""
    if key.namespace is None:
        return
    kind, inode = key.namespace
    if kind in (None, "net") and inode in known.namespaces:
        yield network_namespace(known, inode)
    if kind in (None, "mnt"):
        yield from _mount_namespace(known, inode)


def by_path(known: Known, key: Key) -> Iterator[Match]:
    """`/proc/529/ns/net`, and any path that a network namespace is mounted at, as /run/docker/netns/KEY."""
    for path in key.paths:
        found = _PROC_NS.fullmatch(path)
        if found:
            process = known.index.processes.get(int(found[1]))
            if process is None:
                continue
            inode = process.netns if found[2] == "net" else process.mntns
            if inode is None:
                continue
            said = f"{known.process_name(process.pid)} is in {found[2]}:[{inode}]"
            matches = (
                [network_namespace(known, inode, said)]
                if found[2] == "net"
                else [*_mount_namespace(known, inode, said)]
            )
            yield from matches
        elif path in known.index.netns_by_path:
            yield network_namespace(known, known.index.netns_by_path[path], f"it is mounted at {path}")
        elif path.startswith("/run/docker/netns/"):
            yield from _unmounted(known, path)


def by_name(known: Known, key: Key) -> Iterator[Match]:
    """What `ip netns` or libnetwork call a namespace: the last part of the path that it is mounted at."""
    for path, inode in known.index.netns_by_path.items():
        if path.startswith(_PINNED) and path.rpartition("/")[2] == key.word:
            yield network_namespace(known, inode, f"it is mounted at {path}")


def network_namespace(known: Known, inode: int, *said: str) -> Match:
    """A network namespace and whose it is."""
    described = known.namespaces.get(inode)
    name = described.paths[0] if described and described.paths else None
    chain = known.namespace(inode).after(*said)
    sizes = len(known.index.links.get(inode, ()))
    if described and described.pids and not described.host:
        what = f"{len(described.pids)} process{'' if len(described.pids) == 1 else 'es'}"
        chain = chain.then(f"in it: {what}, {sizes} interface{'' if sizes == 1 else 's'}")
    owner = whose(known, inode)
    if owner.startswith("namespace "):
        called = name.rpartition("/")[2] if name else str(inode)
        makers = listed(map(known.container_name, known.makers(inode)))
        summary = f"network namespace {called}, " + (f"made within container {makers}" if makers else "no container's")
        if described and described.role in ("ingress", "overlay", "load-balancer"):
            summary = f"network namespace {called} of the swarm ({described.role})"
    elif owner.endswith("of network " + known.network_name(chain.network)) and owner.startswith("the "):
        summary = owner
    else:
        summary = f"the network namespace of {owner}"
    return chain.match("network namespace", summary, Ref(kind="netns", id=str(inode), name=name))


def _mount_namespace(known: Known, inode: int, *said: str) -> Iterator[Match]:
    inside = [process for process in known.facts.processes if process.mntns == inode]
    ref = Ref(kind="mntns", id=str(inode))
    if inode == known.facts.host.mntns:
        chain = Chain(owner=HOST).after(*said, Reason(text="it is that of pid 1", about=ref))
        yield chain.match("mount namespace", "the mount namespace of the host", ref)
        return
    owners = list(dict.fromkeys(filter(None, map(known.index.container_of, inside))))
    for id_ in owners:
        members = [p.pid for p in inside if known.index.container_of(p) == id_]
        names = listed(map(known.process_name, members), 4)
        chain = known.container(id_).after(*said, f"in namespace {inode}: {names}")
        yield chain.match("mount namespace", f"the mount namespace of container {known.container_name(id_)}", ref)
    if inside and not owners:
        names = listed((known.process_name(process.pid) for process in inside), 4)
        chain = Chain(owner=HOST if known.sees("engines", "containers") else None).after(*said, f"in it: {names}")
        yield chain.match("mount namespace", f"mount namespace {inode}, no container's", ref)


def _unmounted(known: Known, path: str) -> Iterator[Match]:
    """A sandbox's key at which nothing is mounted: of a container that does not run, or in the host's namespace."""
    key = path.rpartition("/")[2]
    for record in known.facts.containers:
        if record.sandbox_key and normal_run_path(record.sandbox_key) == path:
            said = f"it is recorded as the sandbox of {record.name}; nothing is mounted there"
            chain = known.container(record.id).after(said)
            yield chain.match("sandbox", f"the sandbox of container {record.name}", Ref(kind="sandbox", id=key))
            return
    record_ = known.index.sandboxes_by_key.get(key)
    if record_ is not None:
        said = f"it is recorded as sandbox {key}; nothing is mounted there"
        chain = known.container(record_.container_id).after(said)
        summary = f"a sandbox of container {known.container_name(record_.container_id)}"
        yield chain.match("sandbox", summary, Ref(kind="sandbox", id=record_.id))
