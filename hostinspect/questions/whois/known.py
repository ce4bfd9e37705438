"""What is known of a host: the chains that lead from a thing to whose it is, which all lookers share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from hostinspect import facts
from hostinspect.correlate.index import normal_run_path
from hostinspect.correlate.ports import Proxy, split_address
from hostinspect.questions.whois.answer import Reason, Ref
from hostinspect.questions.whois.chain import HOST, Chain, covers, listed, rule_ref, short, shown_cgroup, socket_address
from hostinspect.questions.whois.key import CONTAINER_ID, canonical
from hostinspect.questions.whois.lookups import Lookups
from hostinspect.topology import Container, Link, NatRule, PublishedPort


class Known(Lookups):
    """Whose things are."""

    def ran(self, container: Container) -> bool:
        """Whether a disk, which is all that was looked at, has it as running."""
        return self.facts.host.root is not None and container.state in ("running", "paused")

    # --- containers, networks, volumes --------------------------------------------------------------------------

    def container(self, id_: str) -> Chain:
        """The end of a chain that leads to a container, by whatever was said before."""
        container = self.containers.get(id_)
        if container is None:
            return self.gone(id_)
        image = f", image {container.image}" if container.image else ""
        if container.pid is not None:
            state = f"{container.state} as {self.process_name(container.pid)}"
        else:
            state = (
                f"{container.state}{' when the disk was taken' if self.ran(container) else ''}: no process of it runs"
            )
        text = f"{container.name} is container {short(id_)}{image}, {state}"
        ref = self.container_ref(id_)
        return Chain((Reason(text=text, about=ref),), owner=ref, containers=(id_,))

    def gone(self, id_: str) -> Chain:
        """The end of a chain that leads to a container which no engine has a record of."""
        ref = self.container_ref(id_)
        if not self.sees("engines", "containers"):
            text = f"container {short(id_)} is not among those whose records could be read"
            return Chain((Reason(text=text, about=ref),), containers=(id_,))
        called = f"; {ref.name} is what libnetwork calls it" if ref.name else ""
        text = f"no engine here has a container {short(id_)} any more{called}"
        return Chain((Reason(text=text, about=ref),), leftover=True, formerly=ref, containers=(id_,))

    def network(self, id_: str) -> Chain:
        """The end of a chain that leads to a network."""
        network = self.networks.get(id_)
        ref = self.network_ref(id_)
        if network is None:
            if not self.sees("engines", "networks"):
                return Chain((Reason(text=f"network {short(id_)} is not among those that could be read", about=ref),))
            text = f"no engine here has a network {short(id_)} any more"
            return Chain((Reason(text=text, about=ref),), leftover=True, formerly=ref, network=id_)
        driver = f", driver {network.driver}" if network.driver else ""
        subnets = "".join(f", {pool.subnet}" for pool in network.subnets)
        members = listed(sorted(map(self.container_name, network.containers))) or "nobody"
        text = f"{network.name or short(id_)} is network {short(id_)}{driver}{subnets}; on it: {members}"
        return Chain((Reason(text=text, about=ref),), owner=ref, containers=network.containers, network=id_)

    def volume_ref(self, data_root: str, name: str) -> Ref:
        """A volume of an engine; by the directory that its engine has for it where another one has one of that name."""
        is_one = all(volume.data_root == data_root for volume in self.volumes.get(name, ()))
        return Ref(kind="volume", id=name if is_one else f"{data_root}/volumes/{name}", name=name)

    def volume(self, data_root: str, name: str) -> Chain:
        """The end of a chain that leads to a volume of an engine and to who uses it."""
        named = self.volumes.get(name, ())
        volume = next((volume for volume in named if volume.data_root == data_root), None)
        ref = self.volume_ref(data_root, name)
        if volume is None:
            if not self.sees("engines", "volumes"):
                text = f"volume {name} is not among those that could be read"
                return Chain((Reason(text=text, about=ref),), volume=name)
            text = (
                f"no engine here has a volume {name} any more" if not named else f"none in {data_root} is called {name}"
            )
            return Chain((Reason(text=text, about=ref),), leftover=True, formerly=ref, volume=name)
        text = f"{short(name)} is an anonymous volume" if volume.anonymous else f"{name} is a volume"
        where = f", in {data_root}" if len(named) > 1 else ""
        reasons = [Reason(text=f"{text} of driver {volume.driver}{where}", about=ref)]
        for user in volume.used_by:
            text = f"{self.container_name(user.container)} has it at {user.destination}, {'rw' if user.rw else 'ro'}"
            reasons.append(
                Reason(text=text + self._not_running(user.container), about=self.container_ref(user.container))
            )
        if not volume.used_by:
            reasons.append(Reason(text="no container uses it"))
        users = tuple(dict.fromkeys(user.container for user in volume.used_by))
        # Docker makes an anonymous one for a container, and nobody else can know its name.
        leftover = volume.anonymous and not users and self.sees("engines", "containers")
        return Chain(tuple(reasons), owner=ref, leftover=leftover, containers=users, volume=name)

    def _not_running(self, id_: str) -> str:
        container = self.containers.get(id_)
        return "" if container is None or container.pid is not None else f" ({container.state})"

    def evidence(self, id_: str) -> str | None:
        """Why a running container's main process is its own."""
        container = self.containers.get(id_)
        process = self.index.processes.get(container.pid or 0) if container else None
        if process is None:
            return None
        path = next((path for path in process.cgroups if id_ in path), None)
        if path is not None:
            return f"{self.process_name(process.pid)} is in cgroup {shown_cgroup(path)}"
        return f"{self.process_name(process.pid)} has the container's upper directory as its root"

    def namespace_owner(self, inode: int | None) -> str | None:
        """The container whose network namespace it is: of those in it the one that did not join another's."""
        described = self.namespaces.get(inode or 0)
        if described is None or described.role in ("host", "engine") or not described.containers:
            return None
        for id_ in described.containers:
            if self.containers[id_].shares_netns_with is None:
                return id_
        return self.containers[described.containers[0]].shares_netns_with or described.containers[0]

    def makers(self, inode: int) -> tuple[str, ...]:
        """The containers that a namespace is none of, but whose processes are in it: what runs in them made it."""
        described = self.namespaces.get(inode)
        if described is None or described.host or described.containers:
            return ()
        inside = filter(None, map(self.index.processes.get, described.pids))
        owners = dict.fromkeys(filter(None, map(self.index.container_of, inside)))
        return tuple(id_ for id_ in owners if id_ in self.containers)

    def namespace(self, inode: int) -> Chain:
        """Whose a network namespace is."""
        described = self.namespaces.get(inode)
        if described is None:
            return Chain((Reason(text=f"namespace {inode} was not found from any process or mount"),))
        ref = Ref(kind="netns", id=str(inode), name=described.paths[0] if described.paths else None)
        if described.host:
            return Chain((Reason(text=f"namespace {inode} is the host's own", about=ref),), owner=HOST)
        owner = self.namespace_owner(inode)
        if owner is not None:
            return self._container_namespace(inode, owner, ref)
        if described.network is not None:
            purpose = {
                "overlay": "the hidden one of its network",
                "load-balancer": "the load balancer's of its network",
            }
            text = f"namespace {inode} is {purpose.get(described.role, 'the ingress one of its network')}"
            return self.network(described.network).after(Reason(text=text, about=ref))
        pinned = f", pinned by {listed(described.paths)}" if described.paths else ""
        data_root = self.index.roots_by_netns.get(inode)
        if data_root is not None:
            engine = Ref(kind="engine", id=data_root, name="docker")
            text = f"namespace {inode} is that of the rootless engine in {data_root}"
            return Chain((Reason(text=text, about=engine),), owner=engine)
        if described.role in ("overlay", "ingress", "load-balancer"):
            text = f"namespace {inode} is a swarm's, {described.role}{pinned}; its network is not known here"
            return Chain((Reason(text=text, about=ref),))
        sandbox = self._sandbox_of(described.paths)
        who = listed(map(self.process_name, described.pids), 4)
        said = f"namespace {inode} has {f'these in it: {who}' if who else 'no process in it'}{pinned}"
        if sandbox is not None and (not who or sandbox[1] not in self.containers):
            return self._left_sandbox(Reason(text=said, about=ref), sandbox)
        inside = filter(None, map(self.index.processes.get, described.pids))
        if makers := self.makers(inode):
            names = listed(map(self.container_name, makers))
            within = f"by cgroup, what is in it is of container{'s' if len(makers) > 1 else ''} {names}"
            chain = self.container(makers[0]).after(
                Reason(text=said, about=ref), f"{within}: a namespace of its own making"
            )
            return replace(chain, containers=makers)
        for id_ in filter(None, map(self.unknown_container, inside)):
            return self.gone(id_).after(Reason(text=said, about=ref), f"their cgroup is of container {short(id_)}")
        if who:
            certain = self.sees("containers", "engines")
            return Chain((Reason(text=f"{said}; none is a container's", about=ref),), owner=HOST if certain else None)
        text = said
        if any(path.startswith("/run/docker/netns/") for path in map(normal_run_path, described.paths)):
            leftover = self.sees("containers", "engines", "processes", "networks")
            text += "; no record says whose it was"
            return Chain((Reason(text=text, about=ref),), leftover=leftover)
        return Chain((Reason(text=text, about=ref),), owner=HOST if described.paths else None)

    def _container_namespace(self, inode: int, owner: str, ref: Ref) -> Chain:
        described = self.namespaces[inode]
        container = self.containers.get(owner)
        evidence = self.evidence(owner) if container and container.netns == inode else None
        sharers = [id_ for id_ in described.containers if id_ != owner]
        names = listed(map(self.container_name, sharers))
        if container is None:
            text, shared = f"namespace {inode} is that which {names} joined as {self.container_name(owner)}'s", None
        else:
            text = f"namespace {inode} is {container.name}'s" + (f": {evidence}" if evidence else "")
            shared = f"{names} shares it" if names else None
        chain = self.container(owner).after(Reason(text=text, about=ref), shared)
        return replace(chain, containers=(owner, *sharers))

    def _sandbox_of(self, paths: Iterable[str]) -> tuple[str, str] | None:
        """The sandbox and container that a record names for one of the paths that pin a namespace."""
        for path in map(normal_run_path, paths):
            if not path.startswith("/run/docker/netns/"):
                continue
            record = self.index.sandboxes_by_key.get(path.rpartition("/")[2])
            if record is not None:
                return record.id, record.container_id
            for container in self.facts.containers:
                if container.sandbox_key and normal_run_path(container.sandbox_key) == path:
                    return container.sandbox_id or "?", container.id
        return None

    def _left_sandbox(self, said: Reason, sandbox: tuple[str, str]) -> Chain:
        """The namespace of a container that does not run, or is gone."""
        sandbox_id, container_id = sandbox
        chain = self.container(container_id)
        leftover = self.sees("processes", "containers", "engines")
        chain = replace(chain, leftover=leftover, formerly=chain.owner or chain.formerly)
        recorded = f"that is sandbox {short(sandbox_id)}, recorded for container {short(container_id)}"
        return chain.after(said, recorded)

    def unknown_container(self, process: facts.Process) -> str | None:
        """A container that a process is in by its cgroup path, or by its root, and that no engine has a record of."""
        found = self.index.container_of(process)
        if found is None:
            found = next((id_ for path in process.cgroups for id_ in CONTAINER_ID.findall(path)), None)
        return found if found not in self.containers else None

    # --- endpoints ----------------------------------------------------------------------------------------------

    def endpoint(self, id_: str) -> Chain:
        """Whose an endpoint is: a container's by its record or its sandbox, or a network's own."""
        ref = Ref(kind="endpoint", id=id_)
        place = self.places_by_endpoint.get(id_)
        record = self.index.endpoint_records.get(id_)
        if place is not None:
            container, endpoint = place.container, place.endpoint
            at = " ".join(filter(None, (endpoint.interface, endpoint.ip, endpoint.ip6)))
            text = f"endpoint {short(id_)} is {container.name}'s on network {self.network_name(endpoint.network_id)}"
            chain = self.container(container.id).after(Reason(text=text + (f": {at}" if at else ""), about=ref))
            return replace(chain, network=endpoint.network_id)
        if record is None:
            return Chain((Reason(text=f"no record of endpoint {short(id_)} is left", about=ref),))
        at = " ".join(filter(None, (record.address, record.address6, record.mac)))
        text = (
            f"endpoint {short(id_)} is recorded on network {self.network_name(record.network_id)}: {at or 'no address'}"
        )
        reason = Reason(text=text, about=ref)
        sandbox = self.index.sandboxes.get(record.sandbox_id or "")
        if sandbox is None:
            name = f" as {record.name}" if record.name else ""
            return self._unowned_endpoint(record, reason, f"it was made{name}, and no sandbox has it now")
        said = f"it is in sandbox {short(sandbox.id)}, recorded for {_sandbox_owner(sandbox.container_id)}"
        if sandbox.container_id in self.containers:
            chain = self.container(sandbox.container_id).after(reason, said)
            return replace(chain, network=record.network_id)
        if sandbox.container_id.startswith("lb-") or sandbox.container_id == "ingress-sbox":
            return self.network(record.network_id).after(reason, said)
        return replace(self.gone(sandbox.container_id).after(reason, said), network=record.network_id)

    def _unowned_endpoint(self, record: facts.EndpointRecord, reason: Reason, said: str) -> Chain:
        """One without a sandbox: a load balancer's of the swarm, or of a container that is gone."""
        by_name = next((c for c in self.topology.containers if c.name == record.name), None)
        if record.name and (record.name.endswith("-endpoint") or record.name.startswith("lb-")):
            return self.network(record.network_id).after(reason, said)
        if by_name is not None:
            chain = self.container(by_name.id).after(reason, said)
            stale = self.sees("containers", "engines") and by_name.pid is not None
            return replace(chain, network=record.network_id, leftover=stale, formerly=chain.owner if stale else None)
        leftover = self.sees("containers", "engines", "networks")
        former = Ref(kind="container", id=record.name, name=record.name) if record.name else None
        return Chain((reason, Reason(text=said)), None, leftover, former, network=record.network_id)

    def endpoints_at(self, *, ip: str | None = None, mac: str | None = None) -> list[facts.EndpointRecord]:
        """The endpoints that libnetwork recorded with an address."""
        return [
            record
            for record in self.facts.endpoints
            if (ip is not None and ip in (canonical(record.address or ""), canonical(record.address6 or "")))
            or (mac is not None and record.mac == mac)
        ]

    # --- addresses ----------------------------------------------------------------------------------------------

    def having(self, ip: str) -> list[tuple[facts.Address, Link]]:
        """The interfaces that have an address now; last those in a namespace that no engine and no host made."""
        found = []
        for address in self.addresses.get(ip, ()):
            link = self.links.get((address.netns, address.ifindex))
            if link is not None:
                found.append((address, link))
        return sorted(found, key=lambda item: bool(self.makers(item[1].netns)))

    def target(self, ip: str, port: int | None = None, proto: str | None = None) -> Chain:
        """Whose the address is that a rule or a proxy of the host leads to, and who listens there."""
        having = [link for _, link in self.having(ip)]
        having.sort(key=lambda link: self.namespace_owner(link.netns) is None)
        if not having:
            return self.nobody(ip)
        link = having[0]
        place = self.places.get((link.netns, link.ifname))
        owner = self.namespace_owner(link.netns)
        if owner is not None:
            chain, whose = self.container(owner), f"of {self.container_name(owner)}"
        elif link.netns == self.host_netns:
            chain, whose = Chain(owner=HOST), "of the host"
        else:
            chain, whose = self.namespace(link.netns), f"in namespace {link.netns}"
        on = f" on network {self.network_name(place.endpoint.network_id)}" if place else ""
        text = Reason(text=f"{ip} is {link.ifname} {whose}{on}", about=self.link_ref(link))
        listening = self.listening(link.netns, ip, port, proto) if port is not None else None
        return replace(chain.after(text, listening), network=place.endpoint.network_id if place else chain.network)

    def nobody(self, ip: str) -> Chain:
        """An address that a rule, a proxy or a record names and no interface has."""
        reasons = [f"no interface has {ip} now" if self.sees("namespaces") else f"no interface that was seen has {ip}"]
        around = self.networks_of(ip)
        reasons += [f"it is in the subnet of network {network.name or short(network.id)}" for network in around]
        certain = self.sees("namespaces", "processes")
        network = around[0].id if len(around) == 1 else None
        chain = Chain(leftover=certain, network=network)
        for record in self.endpoints_at(ip=ip):
            was = self.endpoint(record.id)
            chain = replace(was, leftover=certain, formerly=was.formerly or was.owner, owner=None, network=network)
            break
        else:
            recorded = [
                container
                for container in self.facts.containers
                if any(ip in (e.ip, e.ip6) for e in container.endpoints)
            ]
            if recorded:
                chain = self.container(recorded[0].id)
                chain = replace(chain, leftover=certain, formerly=chain.owner, owner=None, network=network)
                chain = chain.after(f"{recorded[0].name}'s record has it")
        return chain.after(*reasons)

    def listening(self, netns: int, ip: str, port: int, proto: str | None = None) -> str:
        """Who listens on a port at an address of a namespace, in words."""
        sockets = [
            socket
            for kind in ((proto,) if proto else ("tcp", "udp", "sctp"))
            for socket in self.index.listening.get((netns, kind, port), ())
        ]
        there = [s for s in sockets if s.address in (ip, "0.0.0.0", "::") and (s.address == ip or _fits(s, ip))]
        where = socket_address(ip, port)
        if there:
            return f"{self.holder(there[0])} listens on {socket_address(there[0].address, port)}/{there[0].proto}"
        if not self.sees("sockets", "namespaces"):
            return f"who listens on {where} could not be seen"
        if sockets:
            other = f"{self.holder(sockets[0])} listens on {socket_address(sockets[0].address, port)} only"
            return f"nothing listens on {where}: {other}"
        return f"nothing listens on {where}"

    def holder(self, socket: facts.ListeningSocket) -> str:
        """The process that has a socket open, in words."""
        pids = self.index.holders.get(socket.inode, [])
        process = self.index.processes.get(pids[0]) if pids else None
        return f"{process.comm}, pid {process.pid}," if process else "a process that could not be seen"

    # --- rules and proxies --------------------------------------------------------------------------------------

    def rules_of(self, port: PublishedPort) -> Iterator[NatRule]:
        """The rules of a published port."""
        for ref in port.rules:
            rule = self.host_rules.get((ref.family, ref.backend, ref.table, ref.chain, ref.position))
            if rule is not None:
                yield rule

    def rules_to(self, ip: str, port: int | None = None) -> list[NatRule]:
        """The DNAT rules of the host that lead to an address, or to that port of it."""
        found = []
        for rule in self.host_rules.values():
            if rule.to is None or not rule.exact:
                continue
            address, to_port = split_address(rule.to)
            if canonical(address) == ip and (port is None or to_port == "" or covers(to_port, port)):
                found.append(rule)
        return found

    def proxies_to(self, ip: str, port: int | None = None) -> list[Proxy]:
        """The docker-proxies that lead to an address, or to that port of it."""
        return [
            proxy
            for proxy in self.proxies.values()
            if canonical(proxy.target.address) == ip and (port is None or proxy.target.port == port)
        ]

    def rule_reason(self, rule: NatRule) -> Reason:
        """A rule in words: where it stands, what it takes, where it sends that, how often."""
        to = f" → {rule.to}" if rule.to else f" {rule.verdict}" if rule.verdict else ""
        taken = " ".join(filter(None, (rule.proto, f"to {rule.dst}" if rule.dst else None, rule.dport)))
        packets = "" if rule.packets is None else f", {rule.packets} packet{'' if rule.packets == 1 else 's'}"
        family = " (IPv6)" if rule.family == "ipv6" else ""
        text = f"{rule.table} {rule.chain} rule {rule.position}{family}: {taken or 'all'}{to}{packets}"
        return Reason(text=text, about=rule_ref(rule))

    def proxy_reason(self, proxy: Proxy) -> Reason:
        at = socket_address(proxy.host_ip, proxy.host_port)
        to = socket_address(proxy.target.address, proxy.target.port)
        text = f"docker-proxy, pid {proxy.pid}: {proxy.proto} {at} → {to}"
        return Reason(text=text, about=Ref(kind="process", id=str(proxy.pid), name="docker-proxy"))


def _fits(socket: facts.ListeningSocket, ip: str) -> bool:
    """Whether a socket on every address takes what comes for `ip`."""
    if socket.address == "0.0.0.0":
        return ":" not in ip
    return ":" in ip or not socket.v6only


def _sandbox_owner(container_id: str) -> str:
    if container_id.startswith("lb-") or container_id == "ingress-sbox":
        return f"the swarm ({container_id})"
    return f"container {short(container_id)}"
