"""Every network namespace of the host, and what is in each: links, addresses, routes, listening sockets.

One namespace at a time is entered, read through sockets made in it, and left with these closed; beside the host's own
socket there is never more than a handful of descriptors, however many namespaces there are. Whatever else is to be
read in each (the packet filter) is handed in as a *reader* and called while we are there.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple, TypeVar

from hostinspect.collectors.found import NetworkFacts, Visited
from hostinspect.collectors.gaps import PERMISSION, GapLog, remedy_of_own
from hostinspect.collectors.mounts import collect_host_mounts
from hostinspect.collectors.processes import collect_processes
from hostinspect.collectors.wanted import EVERYTHING
from hostinspect.facts import (
    Address,
    Link,
    ListeningSocket,
    MountPoint,
    NetworkNamespace,
    Nsid,
    Process,
    Route,
    Sysctl,
)
from hostinspect.kernel import netns, rtnetlink
from hostinspect.kernel.beside import Line
from hostinspect.kernel.netlink import NETLINK_ROUTE, DumpInterruptedError, NetlinkError, NetlinkSocket
from hostinspect.kernel.procfs import content
from hostinspect.kernel.sock_diag import listening_sockets
from hostinspect.kernel.text import text
from hostinspect.kernel.waiting import REMEDY, NoAnswerError

COLLECTOR = "namespaces"

Reader = Callable[[int], None]
Later = Callable[[], Iterable[MountPoint]]
T = TypeVar("T", Link, Address, Route)


class Shared(NamedTuple):
    """A tour of which another process makes the first part, with `collect_first` on this `line`."""

    line: Line
    wait: Callable[[], object]  # until that process has begun, or is no more
    result: Callable[[], Visited | None]  # what it found; None: nothing, and all is visited here


SYSCTLS = (
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.conf.default.rp_filter",
    "net.ipv6.conf.all.forwarding",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
)

# How often, in all, namespaces are asked for the name of another one by one. A host whose containers are linked to it,
# and through overlay networks, needs none of these; one with thousands of namespaces linked to each other and never to
# the host could need millions.
NSID_QUESTIONS = 10_000

# A namespace that nobody is in any more is taken apart by a worker of the kernel, which takes its time where many are.
# How many seconds to wait, one time after the other, for links into such to go.
DYING = (0.0, 0.01, 0.02, 0.04, 0.08)

_MISSING_CAPABILITY = "give it CAP_SYS_ADMIN on the host: run it outside of containers"


def collect_network(
    processes: Iterable[Process],
    mounts: Sequence[MountPoint],
    gaps: GapLog,
    readers: Sequence[Reader] = (),
    proc: str = "/proc",
    *,
    later: Later | None = None,
    shared: Shared | None = None,
    visits: Container[object] = EVERYTHING,
    routes: bool = True,
    sockets: bool = True,
) -> NetworkFacts:
    """Go through all network namespaces that `processes` and `mounts` tell of, the host's first.

    Of those that a process is in, only the ones with an inode in `visits` are gone to; all are in the result. Where
    links of the others, or into them, lead is then left open.

    `mounts` begin with those of the host's mount namespace (`collect_mounts`). Those that `later` returns, when all
    namespaces known so far were visited, may tell of more. Each of `readers` is called once in each namespace that
    could be entered, with its inode, by a thread that is in that namespace; it keeps what it finds, and may make
    sockets, which it closes again. An OSError or ValueError that it raises becomes a gap. `routes` and `sockets`:
    whether these are read, of those in `visits`.

    The calling thread is back in its own namespace at the end, else `hostinspect.kernel.netns.LostError` is raised.
    A namespace that vanished under way is left out; `ended` has the pids of those that were in it, or in one whose
    inode was given to another since. What is read of a namespace was read while one of its pids was in it. Where only
    our own may be entered (an ordinary user), the others are in the result without anything in them, and are one gap.
    """
    with _on_tour(processes, mounts, gaps, readers, proc, visits, routes, sockets) as tour:
        if tour is None:
            return NetworkFacts()
        if shared is not None:
            shared.wait()  # the kernel gives namespaces their names, and anew, when the host's links are read
            tour.visit_last(shared.line)
            first = shared.result()
            if first is not None:
                tour.join(first)
            tour.visit_all()
            tour.put_in_order()
        else:
            tour.visit_all()
        more = [*later()] if later else []
        if more:
            tour.add(netns.find(processes, [*mounts, *more], tour.host_mntns, proc))
            tour.visit_all()
        return tour.result()


def collect_first(
    line: Line,
    processes: Iterable[Process],
    mounts: Sequence[MountPoint],
    gaps: GapLog,
    readers: Sequence[Reader] = (),
    proc: str = "/proc",
    *,
    visits: Container[object] = EVERYTHING,
    routes: bool = True,
    sockets: bool = True,
) -> Visited | None:
    """Visit the host's and those that come first on the `line`, until who began at its end is met. Raises as
    `collect_network`; None where that would find nothing.
    """
    with _on_tour(processes, mounts, gaps, readers, proc, visits, routes, sockets) as tour:
        if tour is None:
            return None
        tour.visit_first(line)
        return tour.part()


@contextmanager
def _on_tour(
    processes: Iterable[Process],
    mounts: Sequence[MountPoint],
    gaps: GapLog,
    readers: Sequence[Reader],
    proc: str,
    visits: Container[object],
    routes: bool,
    sockets: bool,
) -> Iterator[_Tour | None]:
    """A tour that has yet to begin; None, and a gap, where our own namespace cannot be opened."""
    try:
        visitor = netns.Visitor(proc)
    except OSError as error:
        gaps.add(COLLECTOR, f"{proc}/thread-self/ns/net", error, remedy_of_own(error))
        yield None
        return
    with visitor, ExitStack() as stack:
        host_mntns = next((mount.mntns for mount in mounts), None)
        found = netns.find(processes, mounts, host_mntns, proc)
        tour = _Tour(visitor, stack, found, host_mntns, gaps, readers, visits, routes, sockets)
        tour.meet_host()
        yield tour


class _Tour:
    """One way through all namespaces; what it finds on it."""

    def __init__(
        self,
        visitor: netns.Visitor,
        stack: ExitStack,
        found: dict[int, netns.Found],
        host_mntns: int | None,
        gaps: GapLog,
        readers: Sequence[Reader],
        visits: Container[object],
        routes: bool,
        sockets: bool,
    ) -> None:
        self.visitor = visitor
        self.stack = stack
        self.gaps = gaps
        self.readers = readers
        self.visits, self.with_routes, self.with_sockets = visits, routes, sockets
        self.is_whole = visits is EVERYTHING
        self.host, self.host_mntns = _host(visitor), host_mntns
        self.found: dict[int, netns.Found] = {}
        self.settled: set[int] = set()  # of which pids or paths turned out to be another namespace's
        self.visited: set[int] = set()
        self.entered: set[int] = set()
        self.add(found)
        self.vanished: set[int] = set()
        self.ended: list[int] = []  # processes that were in a namespace, and none of them is any more
        # Namespaces that could not be entered, by what the host answered and what to do about it.
        self.refused: dict[tuple[str, str | None], list[int]] = {}
        self.links: list[Link] = []
        self.addresses: list[Address] = []
        self.routes: list[Route] = []
        self.sockets: list[ListeningSocket] = []
        self.sysctls: list[Sysctl] = []
        self.nsids: list[Nsid] = []
        self.host_fd = -1
        self.host_route: NetlinkSocket | None = None
        self.when_host_is_read: Callable[[], object] | None = None  # so far as its links are
        self.host_names: dict[int, int] = {}  # what the host calls a namespace (nsid): that namespace
        self.unnamed: dict[int, set[int]] = {}  # nsids that links of a namespace carry, and whose target is not found

    def add(self, found: dict[int, netns.Found]) -> None:
        """Let these be all the namespaces that there are, the host's first."""
        for inode in self.settled & self.found.keys():
            found[inode] = self.found[inode]  # what was left out of it is not to come back
        for inode in (self.entered & found.keys()) - self.settled:
            if found[inode].paths != self.found[inode].paths:
                found[inode].paths = self._paths_by_now(found[inode])
        found.setdefault(self.visitor.home, netns.Found(self.visitor.home))
        first = found.pop(self.host)
        self.found = {self.host: first, **found}

    def visit_all(self) -> None:
        """Visit those that were not yet."""
        for inode in self._to_visit():
            self._visit_once(inode)

    def visit_first(self, line: Line) -> None:
        """Visit the host's and, of those asked for, the ones with the lowest inodes, until the other is met."""
        self.when_host_is_read = line.begin
        self._visit_once(self.host)
        for inode in sorted(inode for inode in self.found if inode in self.visits):
            if not line.from_start(inode):
                break
            self._visit_once(inode)

    def visit_last(self, line: Line) -> None:
        """Visit those with the highest inodes, until the other is met."""
        for inode in sorted({*self._to_visit()} - {self.host}, reverse=True):
            if not line.from_end(inode):
                break
            self._visit_once(inode)

    def _to_visit(self) -> list[int]:
        """The host's, those asked for, and those without a process: containers' links lead into overlay networks'."""
        return [
            inode
            for inode, namespace in self.found.items()
            if inode in self.visits or not namespace.pids or inode == self.host
        ]

    def _visit_once(self, inode: int) -> None:
        if inode not in self.visited:
            self.visited.add(inode)
            self._visit(self.found[inode])

    def meet_host(self) -> None:
        """Have a socket of the host's namespace, which is asked for the names of all others."""
        with suppress(OSError):  # of which a visit tells
            self.host_fd = self.visitor.open(self.found[self.host])
            self.stack.callback(os.close, self.host_fd)
            self.visitor.enter(self.host_fd, self.host)
            self.host_route = self.stack.enter_context(NetlinkSocket(NETLINK_ROUTE))

    def part(self) -> Visited:
        """What was found so far, for the other to `join`."""
        return Visited(
            facts=self._facts(),
            visited=tuple(self.visited),
            entered=tuple(self.entered),
            vanished=tuple(self.vanished),
            settled=tuple((i, tuple(self.found[i].pids), tuple(self.found[i].paths)) for i in self.settled),
            refused=tuple((inode, *why) for why, inodes in self.refused.items() for inode in inodes),
            unnamed=tuple((inode, tuple(nsids)) for inode, nsids in self.unnamed.items()),
        )

    def join(self, part: Visited) -> None:
        """Let what the other found be found here. What both visited is as we saw it."""
        theirs = {inode for inode in part.visited if inode in self.found and inode not in self.visited}
        self.visited |= theirs
        self.entered.update(theirs.intersection(part.entered))
        self.vanished.update(theirs.intersection(part.vanished))
        self.ended += part.facts.ended
        for inode, pids, paths in part.settled:
            if inode in theirs:
                self.found[inode].pids, self.found[inode].paths = [*pids], [*paths]
                self.settled.add(inode)
        for inode, why, remedy in part.refused:
            if inode in theirs:
                self.refused.setdefault((why, remedy), []).append(inode)
        self.unnamed.update((inode, set(nsids)) for inode, nsids in part.unnamed if inode in theirs)
        for nsid in part.facts.nsids:
            if self._visited_for(nsid) in theirs:
                self._add_name(nsid.netns, nsid.nsid, nsid.target)
        self.links += [link for link in part.facts.links if link.netns in theirs]
        self.addresses += [address for address in part.facts.addresses if address.netns in theirs]
        self.routes += [route for route in part.facts.routes if route.netns in theirs]
        self.sockets += [socket for socket in part.facts.listening_sockets if socket.netns in theirs]
        self.sysctls += part.facts.sysctls

    def put_in_order(self) -> None:
        """Let all be in the order of a tour that was not shared."""
        order = {inode: number for number, inode in enumerate(self.found)}

        def place(record: Link | Address | Route | ListeningSocket) -> int:
            return order.get(record.netns, 0)

        self.links.sort(key=place)
        self.addresses.sort(key=place)
        self.routes.sort(key=place)
        self.sockets.sort(key=place)
        self.unnamed = dict(sorted(self.unnamed.items(), key=lambda item: order.get(item[0], 0)))

    def _visited_for(self, nsid: Nsid) -> int:
        """The namespace in which it was asked for."""
        return nsid.target if nsid.netns == self.host else nsid.netns

    def result(self) -> NetworkFacts:
        """What was found, with the names that namespaces have for each other."""
        self._find_names()
        self._add_gaps()
        return self._facts(
            tuple(
                NetworkNamespace(
                    inode=inode,
                    paths=tuple(namespace.paths),
                    pids=tuple(namespace.pids),
                    entered=inode in self.entered,
                )
                for inode, namespace in self.found.items()
                if inode not in self.vanished
            )
        )

    def _facts(self, namespaces: tuple[NetworkNamespace, ...] = ()) -> NetworkFacts:
        return NetworkFacts(
            network_namespaces=namespaces,
            nsids=tuple(self.nsids),
            links=tuple(self.links),
            addresses=tuple(self.addresses),
            routes=tuple(self.routes),
            listening_sockets=tuple(self.sockets),
            sysctls=tuple(self.sysctls),
            ended=tuple(self.ended),
        )

    # --- a visit ---

    def _visit(self, namespace: netns.Found) -> None:
        inode = namespace.inode
        try:
            fd, same = self.visitor.reach(namespace)
        except netns.VanishedError:
            self.vanished.add(inode)
            self.ended += namespace.pids
            return
        except OSError as error:
            self._refuse(inode, error)
            return
        if not same:
            self.ended += namespace.pids
            namespace.pids.clear()
            self.settled.add(inode)
        if namespace.pids or len(namespace.paths) > 1:
            now = self.visitor.paths_now(namespace)
            if now != namespace.paths:
                namespace.paths = now
                self.settled.add(inode)
        try:
            try:
                self.visitor.enter(fd, inode)
            except OSError as error:
                self._refuse(inode, error)
                return
            self.entered.add(inode)
            self._read(inode, fd)
        finally:
            os.close(fd)

    def _paths_by_now(self, namespace: netns.Found) -> list[str]:
        """Those of a namespace that was visited already, as far as it is that one still."""
        before = self.found[namespace.inode].paths
        try:
            fd, same = self.visitor.reach(namespace)
        except OSError:
            return before
        try:
            return self.visitor.paths_now(namespace) if same else before
        finally:
            os.close(fd)

    def _read(self, inode: int, fd: int) -> None:
        """Read all of the namespace we are in; `fd` is its descriptor."""
        try:
            route = NetlinkSocket(NETLINK_ROUTE)
        except NetlinkError as error:
            self._gap("links", inode, error)
        else:
            with route:
                self._read_route(route, inode, fd)
        if self.with_sockets and inode in self.visits:
            try:
                self.sockets += listening_sockets(inode, self.visitor.proc)
            except (OSError, ValueError) as error:
                self._gap("sockets", inode, error)
        if inode == self.host:
            self.sysctls += self._read_sysctls()
        for reader in self.readers:
            try:
                reader(inode)
            except (OSError, ValueError) as error:
                self._gap("rules", inode, error)

    def _read_route(self, route: NetlinkSocket, inode: int, fd: int) -> None:
        links = self._dump(route, rtnetlink.LINKS, "links", inode)
        self.links += links
        if inode == self.host and self.when_host_is_read:
            self.when_host_is_read()
        self.addresses += self._dump(route, rtnetlink.ADDRESSES, "addresses", inode)
        if self.with_routes and inode in self.visits:
            self.routes += self._dump(route, rtnetlink.ROUTES, "routes", inode)
        unnamed = _names(links)
        if inode == self.host:
            return  # whose links lead to all others: `_find_names`
        if self.host_route:
            host = self._name(route, inode, self.host_fd, self.host) if unnamed else None
            unnamed.discard(host)
            if host is None or not any(link.kind == "veth" and link.link_netnsid == host for link in links):
                self._name(self.host_route, self.host, fd, inode)
        if unnamed:
            self.unnamed[inode] = unnamed

    def _dump(self, route: NetlinkSocket, dump: rtnetlink.Dump[T], family: str, inode: int) -> list[T]:
        try:
            try:
                messages = dump.ask(route)
            except DumpInterruptedError as error:
                self._gap(family, inode, error)
                messages = error.messages
            return dump.records(messages, inode)
        except (OSError, ValueError) as error:
            self._gap(family, inode, error)
            return []

    def _read_sysctls(self) -> Iterable[Sysctl]:
        """The host's sysctls; what is not there belongs to a module that is not."""
        for name in SYSCTLS:
            # /proc/sys/net is that of the reader's namespace, whichever process's it is looked up through
            path = f"{self.visitor.proc}/sys/{name.replace('.', '/')}"
            try:
                yield Sysctl(name=name, value=text(content(path).strip()))
            except FileNotFoundError:
                continue
            except OSError as error:
                self.gaps.add("sysctls", path, error)

    # --- names of namespaces ---

    def _name(self, route: NetlinkSocket, inode: int, fd: int, target: int) -> int | None:
        """Note what the namespace `inode`, that of `route`, calls `target`, that of `fd`; None when it does not."""
        try:
            nsid = rtnetlink.nsid(route, fd)
        except (NetlinkError, ValueError) as error:
            self._gap("nsids", inode, error)
            return None
        if nsid is not None:
            self._add_name(inode, nsid, target)
        return nsid

    def _add_name(self, inode: int, nsid: int, target: int) -> None:
        self.nsids.append(Nsid(netns=inode, nsid=nsid, target=target))
        if inode == self.host:
            self.host_names[nsid] = target

    def _name_by_veths(self) -> None:
        """Find what the host calls the namespaces that veths lead to it from: its end of each says where the other is.

        Asked (RTM_GETNSID), the kernel goes through all names that the host has, so that is left for where ends say
        nothing, or not the same: a veth was made, or moved, since the host's links were read.
        """
        ends = {
            (link.link or 0, link.ifindex): link.link_netnsid
            for link in self.links
            if link.netns == self.host and link.kind == "veth" and link.link_netnsid is not None
        }
        called = {nsid.netns: nsid.nsid for nsid in self.nsids if nsid.target == self.host}
        for inode in self.host_names.values():
            called.pop(inode, None)
        said = {
            (ends.get((link.ifindex, link.link or 0), -1), link.netns)
            for link in self.links
            if link.kind == "veth" and link.netns in called and link.link_netnsid == called[link.netns]
        }
        of_name, of_inode = Counter(name for name, _ in said), Counter(inode for _, inode in said)
        for name, inode in said:
            if name >= 0 and name not in self.host_names and of_name[name] == of_inode[inode] == 1:
                self._add_name(self.host, name, inode)
        for inode in of_inode.keys() - set(self.host_names.values()):
            self._ask_host(inode)
        order = {inode: number for number, inode in enumerate(self.found)}
        self.nsids.sort(key=lambda nsid: (order.get(self._visited_for(nsid), 0), nsid.netns != self.host))

    def _ask_host(self, inode: int) -> None:
        with suppress(OSError):  # it is gone
            fd = self.visitor.open(self.found[inode])
            try:
                if self.host_route:
                    self._name(self.host_route, self.host, fd, inode)
            finally:
                os.close(fd)

    def _find_names(self) -> None:
        """Find whom the nsids mean that no visit has found; the host's where all that they may mean was visited."""
        if self.is_whole:
            self.unnamed = {self.host: _names(link for link in self.links if link.netns == self.host), **self.unnamed}
        self._name_by_veths()
        if self.host_route and self._is_unnamed_by_host():
            self._forget_vanished(self.host_route)
        if self.host_route and self._is_unnamed_by_host():
            self._look_again()
            self._name_by_veths()
            self._wait_for_dying(self.host_route)
        called_by_host = {target: nsid for nsid, target in self.host_names.items()}
        for inode, unnamed in self.unnamed.items():
            if self.host_route and unnamed and inode in called_by_host:
                self._translate(self.host_route, inode, called_by_host[inode], unnamed)
        # Those with a name and no process first: the hidden namespaces of overlay networks, which many others share.
        targets = [inode for inode in self.found if inode in self.entered and inode != self.host]
        targets.sort(key=lambda inode: bool(self.found[inode].pids))
        questions = NSID_QUESTIONS
        for inode, unnamed in self.unnamed.items():
            if unnamed and inode != self.host and questions > 0:
                questions -= self._ask(inode, unnamed, targets, questions)

    def _is_unnamed_by_host(self) -> bool:
        """Whether links of the host lead to where none of the namespaces is that it has a name for."""
        unnamed = self.unnamed.get(self.host, set())
        unnamed.difference_update(self.host_names)
        return bool(unnamed)

    def _forget_vanished(self, host_route: NetlinkSocket) -> None:
        """Leave out those links of the host, of the ones with unnamed ends, that are gone: a container was stopped."""
        unnamed = self.unnamed[self.host]
        with suppress(OSError, ValueError):
            now = rtnetlink.links(host_route, self.host)
            # A link to a namespace of which nothing is left but its links has no name for that any more (-1).
            same = {(link.ifindex, link.ifname, link.mac) for link in now if link.link_netnsid != -1}
            self.links = [
                link
                for link in self.links
                if link.netns != self.host
                or link.link_netnsid not in unnamed
                or (link.ifindex, link.ifname, link.mac) in same
            ]
            # Not of those that there are now: a name is given to the next namespace as soon as one is gone.
            unnamed.intersection_update(link.link_netnsid for link in self.links if link.netns == self.host)

    def _wait_for_dying(self, host_route: NetlinkSocket) -> None:
        """Leave out links into namespaces that the kernel is taking apart."""
        for seconds in DYING:
            if not self._is_unnamed_by_host():
                return
            time.sleep(seconds)
            self._forget_vanished(host_route)
            if self.refused:
                return  # it is into one of these that they lead

    def _look_again(self) -> None:
        """Visit the namespaces that came since processes and mounts were listed: a container was started."""
        unsaid = GapLog()  # whatever there is to say was said
        processes = collect_processes(unsaid, self.visitor.proc)  # before mounts: who is there still, was all the while
        mounts = collect_host_mounts(unsaid, self.visitor.proc)
        host_mntns = next((mount.mntns for mount in mounts), None)
        for inode, namespace in netns.find(processes, mounts, host_mntns, self.visitor.proc).items():
            if inode not in self.found or inode in self.vanished:
                self.found[inode] = namespace
                self.visited.discard(inode)
                self.vanished.discard(inode)
        self.visit_all()

    def _translate(self, host_route: NetlinkSocket, inode: int, called: int, unnamed: set[int]) -> None:
        """Let the kernel say what the host calls those that `inode`, which it calls `called`, calls `unnamed`."""
        try:
            known = rtnetlink.nsids_of(host_route, called)
        except (NetlinkError, ValueError):
            return  # before Linux 4.20: they are asked for one by one
        for nsid in unnamed & known.keys():
            target = self.host_names.get(known[nsid])
            if target is not None:
                self._add_name(inode, nsid, target)
                unnamed.discard(nsid)

    def _ask(self, inode: int, unnamed: set[int], targets: list[int], questions: int) -> int:
        """Ask in `inode` for the names of `targets`, until all of `unnamed` are found or `questions` asked.

        Returns how many were asked. A target that was meant is moved to the front, for the next to ask.
        """
        asked = 0
        try:
            fd = self.visitor.open(self.found[inode])
        except OSError:
            return asked
        try:
            self.visitor.enter(fd, inode)
            with NetlinkSocket(NETLINK_ROUTE) as route:
                for target in list(targets):
                    if not unnamed or asked >= questions:
                        break
                    if target == inode:
                        continue
                    asked += 1
                    nsid = self._ask_for(route, inode, target, unnamed)
                    if nsid is not None:
                        targets.remove(target)
                        targets.insert(0, target)
        except OSError as error:
            self._gap("nsids", inode, error)
        finally:
            os.close(fd)
        return asked

    def _ask_for(self, route: NetlinkSocket, inode: int, target: int, unnamed: set[int]) -> int | None:
        try:
            fd = self.visitor.open(self.found[target])
        except OSError:
            return None
        try:
            nsid = rtnetlink.nsid(route, fd)
        finally:
            os.close(fd)
        if nsid not in unnamed:
            return None
        self._add_name(inode, nsid, target)
        unnamed.discard(nsid)
        return nsid

    # --- gaps ---

    def _refuse(self, inode: int, error: OSError) -> None:
        self.refused.setdefault((error.strerror or str(error), _remedy(error)), []).append(inode)

    def _gap(self, family: str, inode: int, error: Exception) -> None:
        where = next(iter(self.found[inode].paths), None) or f"pid {next(iter(self.found[inode].pids), '?')}"
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self.gaps.add(family, f"{family} of net:[{inode}] ({where})", why, _remedy(error))

    def _add_gaps(self) -> None:
        for (why, remedy), inodes in self.refused.items():
            subject = f"{len(inodes)} network namespaces" if len(inodes) > 1 else f"net:[{inodes[0]}]"
            self.gaps.add(COLLECTOR, subject, why, remedy)
        lost = [inode for inode, unnamed in self.unnamed.items() if unnamed]
        if lost and self.is_whole and not self.refused:  # else that is why
            self.gaps.add(
                "nsids",
                f"where links of {len(lost)} network namespaces lead to (first: net:[{lost[0]}])",
                "into namespaces that no process is in and no path names, or that came or went meanwhile",
                "run it again; if it stays, look for processes that hold one open (lsns -t net)",
            )


def _names(links: Iterable[Link]) -> set[int]:
    """What their namespace calls those that they lead into."""
    return {link.link_netnsid for link in links if link.link_netnsid is not None and link.link_netnsid >= 0}


def _host(visitor: netns.Visitor) -> int:
    """The host's network namespace: that of pid 1, else our own."""
    try:
        return os.stat(f"{visitor.proc}/1/ns/net").st_ino
    except OSError:
        return visitor.home


def _remedy(error: Exception) -> str | None:
    if isinstance(error, NoAnswerError):
        return REMEDY
    if isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES):
        return _MISSING_CAPABILITY if os.geteuid() == 0 else PERMISSION
    return None
