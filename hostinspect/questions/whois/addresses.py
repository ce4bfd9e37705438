"""IP addresses: who has one, who had it, and in whose subnet it would be."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from msgspec.structs import replace

from hostinspect.facts import RESOLVER, Address
from hostinspect.questions.whois.answer import Match, Reason, Ref
from hostinspect.questions.whois.chain import Chain, listed, socket_address
from hostinspect.questions.whois.key import AddressKey, Key, canonical, is_loopback
from hostinspect.questions.whois.known import Known
from hostinspect.questions.whois.links import of_link, whose
from hostinspect.questions.whois.lookups import Place
from hostinspect.topology import Link


def by_address(known: Known, key: Key) -> Iterator[Match]:
    """Who has the address now; else whose it was, whose gateway it is, and the networks that it would be in."""
    asked = key.address
    if asked is None:
        return
    if is_loopback(asked.ip):
        if asked.port is None or asked.ip == RESOLVER:  # with a port, it is the port that is asked about
            yield _loopback(known, asked.ip)
        return
    if _subnet(asked) is not None:
        return
    having = known.having(asked.ip)
    for address, link in having:
        yield _held(known, asked, address, link)
    if having:
        return
    told = False
    for match in (*_gateways(known, asked.ip), *_recorded(known, asked.ip)):
        told = True
        yield match
    if not told:
        yield from _free(known, asked)


def by_subnet(known: Known, key: Key) -> Iterator[Match]:
    """`172.17.0.0/16`: the networks that have it; else those that have a part of it, or that it is a part of."""
    subnet = _subnet(key.address)
    if subnet is None:
        return
    equal = [(pool, network) for pool, network in known.subnets if pool == subnet]
    for pool, network in equal or known.subnets:
        if pool.overlaps(subnet):
            relation = "is" if pool == subnet else "is in" if pool.prefixlen < subnet.prefixlen else "holds"
            chain = known.network(network.id).after(f"{subnet} {relation} a subnet of {network.name}: {pool}")
            what = {"is": "a subnet", "is in": "a part of a subnet", "holds": "more than a subnet"}[relation]
            yield chain.match("subnet", f"{what} of network {network.name}", known.network_ref(network.id))


def _subnet(asked: AddressKey | None) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """What was asked about where that is a subnet, no address in one: its first address with a prefix."""
    if asked is None or asked.prefix_len is None:
        return None
    subnet = ipaddress.ip_network(f"{asked.ip}/{asked.prefix_len}", strict=False)
    return subnet if str(subnet.network_address) == asked.ip and subnet.num_addresses > 1 else None


def _ref(ip: str) -> Ref:
    return Ref(kind="address", id=ip)


def _loopback(known: Known, ip: str) -> Match:
    if ip == RESOLVER:
        inside = [rule.netns for rule in known.topology.nat_rules if rule.to and rule.to.startswith(f"{ip}:")]
        names = [known.container_name(owner) for n in dict.fromkeys(inside) if (owner := known.namespace_owner(n))]
        reason = f"rules in the namespaces of these lead to it: {listed(names)}" if names else None
        chain = Chain().after("each container on a user-defined network has its own, which dockerd answers", reason)
        return chain.match("address", "docker's embedded DNS resolver, inside of a container", _ref(ip))
    chain = Chain().after(
        "every network namespace has its own; who listens on it is found by its port, as ADDRESS:PORT"
    )
    return chain.match("address", "a loopback address, nobody's alone", _ref(ip))


def _held(known: Known, asked: AddressKey, address: Address, link: Link) -> Match:
    """An address that an interface has."""
    ip = asked.ip
    prefix = f"{ip}/{address.prefix_len}"
    wrong = None
    if asked.prefix_len not in (None, address.prefix_len, 32 if "." in ip else 128):
        wrong = f"its prefix is /{address.prefix_len}, not /{asked.prefix_len}"
    reason = Reason(
        text=f"{link.ifname} ({link.ifindex}) of {whose(known, link.netns)} has {prefix}", about=known.link_ref(link)
    )
    owner = known.namespace_owner(link.netns)
    if owner is not None:
        place = known.places.get((link.netns, link.ifname))
        chain = known.namespace(link.netns).after(*_of_container(known, asked, link, place))
        chain = replace(chain, network=place.endpoint.network_id if place else None)
        on = f" on network {known.network_name(place.endpoint.network_id)}" if place else ""
        summary = f"{link.ifname} of container {known.container_name(owner)}{on}"
        return chain.after(reason, wrong).match("address", summary, _ref(ip))
    bridge = known.bridges.get((link.netns, link.ifname))
    if bridge is not None and bridge.network is not None:
        network = known.networks[bridge.network]
        gateways = {canonical(pool.gateway.partition("/")[0]) for pool in network.subnets if pool.gateway}
        role = "the gateway" if ip in gateways else "the address"
        chain = known.network(network.id).after(reason, wrong, _port(known, asked, link))
        return chain.match("address", f"{role} of network {network.name}, on its bridge {link.ifname}", _ref(ip))
    if link.kind == "veth":
        summary, chain = of_link(known, link)
        return chain.after(reason, wrong).match("address", f"{link.ifname}, {summary}", _ref(ip))
    chain = known.namespace(link.netns).after(reason, wrong, _port(known, asked, link))
    return chain.match("address", f"{link.ifname} of {whose(known, link.netns)}", _ref(ip))


def _of_container(known: Known, asked: AddressKey, link: Link, place: Place | None) -> Iterator[Reason | str | None]:
    """What stands between an address of a container and the outside: its other end, its names, its ports."""
    if link.peer is not None:
        peer = known.links.get((link.peer.netns, link.peer.ifindex))
        port = f", a port of {peer.master}" if peer and peer.master else ""
        yield f"its other end is {link.peer.ifname} ({link.peer.ifindex}) of {whose(known, link.peer.netns)}{port}"
    if place is not None and place.endpoint.dns_names:
        yield f"it is called {listed(place.endpoint.dns_names)} on that network"
    if asked.port is not None:
        for rule in known.rules_to(asked.ip, asked.port):
            yield known.rule_reason(rule)
        for proxy in known.proxies_to(asked.ip, asked.port):
            yield known.proxy_reason(proxy)
        yield known.listening(link.netns, asked.ip, asked.port, asked.proto)


def _port(known: Known, asked: AddressKey, link: Link) -> str | None:
    if asked.port is None:
        return None
    return known.listening(link.netns, asked.ip, asked.port, asked.proto)


def _gateways(known: Known, ip: str) -> Iterator[Match]:
    """Gateways that are on no interface of this host: of macvlan networks the router's, say."""
    for network in known.topology.networks:
        for pool in network.subnets:
            if pool.gateway and canonical(pool.gateway.partition("/")[0]) == ip:
                chain = known.network(network.id).after(
                    f"{ip} is recorded as the gateway of {pool.subnet}", "no interface of this host has it"
                )
                yield chain.match("address", f"the gateway of network {network.name}", _ref(ip))


def _recorded(known: Known, ip: str) -> Iterator[Match]:
    """Endpoints that have the address by their record, and no interface."""
    seen = set()
    for container in known.facts.containers:
        for endpoint in container.endpoints:
            if ip not in (canonical(endpoint.ip or ""), canonical(endpoint.ip6 or "")):
                continue
            seen.add(endpoint.endpoint_id)
            chain = known.container(container.id)
            running = known.containers[container.id].pid is not None
            if known.ran(known.containers[container.id]):
                chain = chain.after(f"{container.name} had {ip} when the disk was taken")
            else:
                fate = "runs, and has lost it" if running else "does not run"
                chain = chain.after(f"no interface has {ip}; {container.name} {fate}")
            chain = replace(
                chain, network=endpoint.network_id, leftover=running, formerly=chain.owner if running else None
            )
            summary = f"recorded for container {container.name} on network {endpoint.network}"
            yield chain.match("address", summary, _ref(ip))
    for record in known.endpoints_at(ip=ip):
        if record.id not in seen:
            chain = known.endpoint(record.id).after(f"no interface has {ip}")
            summary = f"recorded for an endpoint on network {known.network_name(record.network_id)}"
            yield chain.match("address", summary, _ref(ip))


def _free(known: Known, asked: AddressKey) -> Iterator[Match]:
    """An address that nobody has, and the networks that it would be in."""
    unseen = "" if known.sees("namespaces") else " that was seen"
    for network in known.networks_of(asked.ip):
        pool = next(p for p, n in known.subnets if n is network and ipaddress.ip_address(asked.ip) in p)
        chain = replace(known.network(network.id), containers=())
        chain = chain.after(f"{asked.ip} is in {pool}", f"no interface{unseen} has it, and no endpoint's record")
        yield chain.match("address", f"nobody's: a free address of network {network.name}", _ref(asked.ip))


def by_rule_target(known: Known, key: Key) -> Iterator[Match]:
    """`172.17.0.99:80`: rules and proxies that lead to an address which nobody has."""
    asked = key.address
    if asked is None or known.having(asked.ip) or is_loopback(asked.ip):
        return
    chain = known.nobody(asked.ip)
    to = _ref(socket_address(asked.ip, asked.port) if asked.port else asked.ip)
    who = "and nobody is there" if chain.leftover else "and who is there could not be seen"
    for rule in known.rules_to(asked.ip, asked.port):
        summary = f"where {rule.table} {rule.chain} rule {rule.position} leads, {who}"
        yield chain.after(known.rule_reason(rule)).match("destination of a rule", summary, to)
    for proxy in known.proxies_to(asked.ip, asked.port):
        summary = f"where docker-proxy, pid {proxy.pid}, leads, {who}"
        yield chain.after(known.proxy_reason(proxy)).match("destination of a proxy", summary, to)
