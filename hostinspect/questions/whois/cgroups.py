"""Cgroup paths, as /proc/PID/cgroup, /sys/fs/cgroup and systemd's units spell them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hostinspect.questions.whois.answer import Match, Ref
from hostinspect.questions.whois.chain import HOST, Chain, listed, shown_cgroup
from hostinspect.questions.whois.key import CONTAINER_ID, Key
from hostinspect.questions.whois.known import Known

_UNIT = re.compile(r"[\w@.\\:-]*[0-9a-f]{64}\.(?:scope|service)")
_SYS = "/sys/fs/cgroup"


def by_path(known: Known, key: Key) -> Iterator[Match]:
    """`/docker/ID`, `/system.slice/docker-ID.scope`, anything below, also below /sys/fs/cgroup; `docker-ID.scope`."""
    told: set[str] = set()
    for path in _spellings(key):
        for match in _at(known, path, surely=key.word.startswith(_SYS) or bool(_UNIT.fullmatch(key.word))):
            if match.summary not in told:
                told.add(match.summary)
                yield match


def _spellings(key: Key) -> Iterator[str]:
    """The path within a hierarchy: without the mount point, and in version 1 without the controllers too."""
    word = key.word.rstrip("/") or key.word
    if word.startswith(f"{_SYS}/"):
        inside = word.removeprefix(_SYS)
        yield inside
        if (at := inside.find("/", 1)) > 0:
            yield inside[at:]
    elif word.startswith("/"):
        yield word
    elif "/" in word or _UNIT.fullmatch(word):
        yield f"/{word}"


def _at(known: Known, path: str, *, surely: bool) -> Iterator[Match]:
    ref = Ref(kind="cgroup", id=path)
    members = [p for p in known.facts.processes if any(_is_in(own, path) for own in p.cgroups)]
    # Below a container's own cgroup there may be others that have no process now.
    above = {own for p in known.facts.processes for own in p.cgroups if own != "/" and path.startswith(f"{own}/")}
    named = next((id_ for id_ in CONTAINER_ID.findall(path) if id_ in known.containers), None)
    if named is not None and (surely or members or above or _is_containers(path, named)):
        inside = [p.pid for p in members if known.index.container_of(p) == named]
        said = f"in it: {listed(map(known.process_name, inside), 4)}" if inside else "no process is in it now"
        chain = known.container(named).after(f"{shown_cgroup(path)} has the container's id in it", said)
        yield chain.match("cgroup", f"the cgroup of container {known.container_name(named)}", ref)
        return
    owners = list(dict.fromkeys(filter(None, map(known.index.container_of, members))))
    if owners and path != "/":
        for id_ in owners:
            exact = any(own == path for p in members if known.index.container_of(p) == id_ for own in p.cgroups)
            where = "the cgroup of" if exact else "a cgroup above that of"
            chain = known.container(id_).after(known.evidence(id_))
            yield chain.match("cgroup", f"{where} container {known.container_name(id_)}", ref)
        return
    unknown = next(iter(CONTAINER_ID.findall(path)), None)
    names = listed((known.process_name(p.pid) for p in members), 4)
    if unknown is not None and (members or surely):
        chain = known.gone(unknown).after(f"in it: {names}" if names else "no process is in it")
        yield chain.match("cgroup", "the cgroup of a container that no record is left of", ref)
    elif members and path != "/":
        chain = Chain(owner=HOST if known.sees("engines", "containers") else None).after(f"in it: {names}")
        yield chain.match("cgroup", "a cgroup of the host, no container's", ref)


def _is_in(own: str, path: str) -> bool:
    return own == path or (path != "/" and own.startswith(f"{path}/"))


def _is_containers(path: str, id_: str) -> bool:
    """Whether the path looks like docker's for a container: `…/docker/ID` or `….slice/docker-ID.scope`."""
    return bool(re.search(rf"/docker/{id_}(/|$)|\.slice/docker-{id_}\.scope(/|$)", path))
