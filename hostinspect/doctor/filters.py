"""The packet filter and the switches of the kernel that decide whether packets are forwarded at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

from hostinspect.correlate.ports import split_address
from hostinspect.correlate.rules import leads_to
from hostinspect.doctor.check import Checked, Doubt, Found, Kind, check, word
from hostinspect.doctor.patient import RECORDS, RULES, Attachment, Patient, ip_network
from hostinspect.doctor.ports import PORTS, delete_command, place, spell
from hostinspect.facts import Chain
from hostinspect.questions.trace.netfilter import Decision, Outcome
from hostinspect.questions.trace.rules import ANYTHING, Packet
from hostinspect.topology import Network

_RESTART = "systemctl restart docker"
_TABLES = ("nat", "filter")  # that the engine has a chain DOCKER in
# Those that the engine, or an older one, jumps to only where there is a network that leads out.
_FOR_NETWORKS = frozenset({"DOCKER", "DOCKER-ISOLATION-STAGE-2"})

TableKey = tuple[str, str, str]  # family, backend, table


def _table(key: TableKey) -> str:
    family, backend, table = key
    return f"{'' if family in ('ipv4', 'inet') else f'{family} '}{table} ({backend})"


def _is_of(network: Network, family: str) -> bool:
    return any((":" in subnet.subnet) == (family == "ipv6") for subnet in network.subnets)


def _leads_out(patient: Patient, family: str) -> bool:
    """Whether one of the networks that are there is not internal."""
    there = (n for n in patient.bridge_networks if n.bridge in patient.index.host_links)
    return any(not network.internal and _is_of(network, family) for network in there)


@check("docker-chain-missing", "error", needs=(*RECORDS, *RULES, "links", "settings"))
def chain_missing(patient: Patient) -> Checked:
    """The engine's chain DOCKER is missing from a table of the packet filter.

    The engine makes it when it starts, and fails with "iptables: No chain/target/match by that name" when it is not
    there any more: no container with a published port can be started. A firewall was reloaded and took it away.
    Restarting the engine makes all of it anew.
    """
    if not patient.makes_rules or not patient.uses_bridges or not (patient.running or _daemon_runs(patient)):
        return
    chains = [chain for chain in patient.facts.chains if chain.netns == patient.host_netns]
    if any(chain.table == "docker-bridges" for chain in chains):
        return  # the engine's own table of nftables (Docker 29)
    present = {(chain.family, chain.table) for chain in chains if chain.name == "DOCKER"}
    families = ["ipv4"]
    if any(family == "ipv6" for family, _ in present):
        families.append("ipv6")  # whether it should be there, only the other table tells
    for family in families:
        program = "ip6tables" if family == "ipv6" else "iptables"
        for table in _TABLES:
            if (family, table) not in present and (family == "ipv4" or table == "filter"):
                yield Found(
                    "chain",
                    f"{family} {table} DOCKER",
                    f"the {table} table has no chain DOCKER ({program})",
                    _RESTART,
                    (f"{program} -t {table} -S DOCKER would fail", *_own_chains(chains, family, table)),
                )


def _own_chains(chains: Iterable[Chain], family: str, table: str) -> tuple[str, ...]:
    names = sorted(c.name for c in chains if (c.family, c.table) == (family, table))
    return (f"its chains: {', '.join(names)}",) if names else ("the table is not there",)


def _daemon_runs(patient: Patient) -> bool:
    return any(engine.daemon == "running" for engine in patient.topology.host.engines)


@check("docker-chain-unreachable", "error", needs=(*RECORDS, *RULES, "links"))
def chain_unreachable(patient: Patient) -> Checked:
    """A chain of the engine is there, and nothing jumps to it.

    No packet meets its rules: published ports are not reached, or what should be kept apart is not. A firewall was
    reloaded, and restored the built-in chains without the engine's jumps.
    """
    if not patient.uses_bridges:
        return
    jumps: dict[TableKey, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for rule in patient.facts.rules:
        if rule.netns == patient.host_netns:
            jumps[rule.family, rule.backend, rule.table][rule.chain] |= leads_to(rule.text, rule.verdict)
    key: TableKey
    hooks: dict[TableKey, dict[str, str]] = defaultdict(dict)  # chain: its hook
    own: dict[TableKey, list[str]] = defaultdict(list)
    for chain in patient.facts.chains:
        if chain.netns == patient.host_netns:
            key = (chain.family, chain.backend, chain.table)
            if chain.hook:
                hooks[key][chain.name] = chain.hook
            elif chain.name.startswith("DOCKER"):
                own[key].append(chain.name)
    for key, names in own.items():
        if key[0] == "ipv6" and not any(_is_of(network, "ipv6") for network in patient.bridge_networks):
            continue  # made for networks to come
        unused = () if _leads_out(patient, key[0]) else _FOR_NETWORKS
        reached = {hook: _reached(jumps[key], chain) for chain, hook in hooks[key].items()}
        for hook in _wanted_hooks(key[2], reached):
            missed = [name for name in names if name not in reached.get(hook, ()) and name not in unused]
            # Where a chain is not reached, those that it leads to are not either: that is no news.
            below = {name for chain in missed for name in _reached(jumps[key], chain)}
            for name in sorted(set(missed) - below):
                yield Found(
                    "chain",
                    f"{key[0]} {key[2]} {name}",
                    f"no rule leads from {hook} to {name} in the table {_table(key)}",
                    _RESTART,
                    (f"from {hook}, {', '.join(sorted(reached.get(hook, ()))) or 'no other chain'} can be reached",),
                    "warning" if (key[2], hook) == ("nat", "output") else None,
                )


def _wanted_hooks(table: str, there: Iterable[str]) -> list[str]:
    """The hooks that all of the engine's chains in a table are to be reached from."""
    return {"nat": ["prerouting", "output"], "filter": ["forward"]}.get(table, [])


def _reached(jumps: dict[str, set[str]], start: str) -> set[str]:
    """The chains below one, itself not among them unless it is in a circle."""
    found: set[str] = set()
    todo = [start]
    while todo:
        for name in jumps.get(todo.pop(), set()) - found:
            found.add(name)
            todo.append(name)
    return found


@check("forward-drops", "error", needs=(*PORTS, "routes"))
def forward_drops(patient: Patient) -> Checked:
    """The packet filter drops what containers need forwarded.

    Either a rule does, or the policy of FORWARD, which the engine sets to DROP and makes exceptions from, that are gone
    or come too late. Containers do not get out, or nobody gets in: "works from the host, not from outside", since what
    the host itself sends is not forwarded.
    """
    dropped: dict[tuple[Kind, str], tuple[Outcome, list[str]]] = {}
    doubts: dict[str, list[str]] = {}
    for packet, words in _packets(patient):
        passage = patient.world.netfilter.passage(
            patient.host_netns, "forward", packet, patient.world.ground(patient.host_netns), None
        )
        if passage.stopped_by is None:
            continue
        decisive = next(o for o in passage.stopped_by.outcomes if o.verdict in ("DROP", "REJECT", ANYTHING))
        by = _called(passage.stopped_by, decisive)
        if passage.is_open:
            doubts.setdefault(by[1], []).append(words)
        else:
            _, what = dropped.setdefault(by, (decisive, []))
            what.append(words)
    for by_whom, what in doubts.items():
        yield Doubt(what[0] + _more(what), f"{by_whom} may or may not drop it", "hostinspect trace PORT")
    for (kind, subject), (outcome, what) in dropped.items():
        yield Found(
            kind,
            subject,
            f"{subject} drops {what[0]}{_more(what)}",
            delete_command(outcome.rule) if outcome.rule else _RESTART,
            (*([outcome.rule.text] if outcome.rule else []), *(f"dropped: {words}" for words in what)),
        )


def _more(what: list[str]) -> str:
    return f" and {len(what) - 1} more" if len(what) > 1 else ""


def _called(decision: Decision, outcome: Outcome) -> tuple[Kind, str]:
    """The rule that drops, or the chain whose policy does."""
    if outcome.rule is not None:
        return "rule", place(outcome.rule)
    chain = decision.chain
    return "chain", f"the policy of {chain.table} {chain.name} ({chain.backend})"


def _packets(patient: Patient) -> Iterator[tuple[Packet, str]]:
    """What must be forwarded: to each published port, and from one container of each network and back to it."""
    uplink = next((link.ifname for link in patient.uplinks), "")
    outsiders = [_outsider(patient, ipv6=ipv6) for ipv6 in (False, True)]
    places = {
        a: p for p in patient.attachments if _is_forwarded(patient, p) for a in (p.endpoint.ip, p.endpoint.ip6) if a
    }
    seen: set[tuple[str, str, int]] = set()
    for port in patient.ports:
        to = next((split_address(rule.to)[0] for rule in port.rules if rule.to), port.container_ip) or ""
        if "dnat" not in port.via or to not in places or not port.container_port or _is_loopback(port.host_ip):
            continue
        if (to, port.proto, port.container_port) not in seen:
            seen.add((to, port.proto, port.container_port))
            bridge = (places[to].network or places[to].endpoint).bridge or ""
            packet = _packet(port.proto, outsiders[":" in to], to, uplink, bridge, dport=port.container_port, dnat=True)
            yield packet, f"{spell(port)} to {port.container_name} ({to}:{port.container_port})"
    told = set()
    for address, attachment in places.items():
        network = attachment.network
        if network is None or network.internal or (network.id, ":" in address) in told or not uplink:
            continue
        told.add((network.id, ":" in address))
        version = " (IPv6)" if ":" in address else ""
        outsider, bridge = outsiders[":" in address], network.bridge or ""
        yield _packet("tcp", address, outsider, bridge, uplink, dport=443), f"what {network.name} sends out{version}"
        answer = _packet("tcp", outsider, address, uplink, bridge, sport=443, state="ESTABLISHED", stage="answer")
        yield answer, f"answers to {network.name}{version}"


_OUTSIDERS = ("77.", "5.", "23.", "46.", "62.", "91.", "151."), ("2a00:", "2600:", "2400:", "2800:")


def _outsider(patient: Patient, *, ipv6: bool) -> str:
    """An address of the Internet that no rule of the host means, so that what is for somebody is not taken for all."""
    rules = [rule for rule in patient.facts.rules if rule.netns == patient.host_netns]
    named = {prefix.lstrip("! ") for rule in rules for prefix in (rule.src, rule.dst) if prefix}
    networks = [network for prefix in named if (network := ip_network(prefix)) and network.prefixlen]
    addresses = [f"{start}{'77::77' if ipv6 else '77.77.77'}" for start in _OUTSIDERS[ipv6]]
    return next((a for a in addresses if not any(ip_address(a) in network for network in networks)), addresses[0])


def _packet(proto: str, src: str, dst: str, iif: str, oif: str, **more: Any) -> Packet:
    return Packet(
        family="ipv6" if ":" in dst else "ipv4",
        proto=proto,
        src=ip_address(src),
        dst=ip_address(dst),
        iif=iif,
        oif=oif,
        **{"sport": None, "dport": None, **more},
    )


def _is_forwarded(patient: Patient, attachment: Attachment) -> bool:
    """Whether it is reached by way of a bridge of the host, by an address that is its own now."""
    network, endpoint = attachment.network, attachment.endpoint
    return (
        network is not None
        and network.driver == "bridge"
        and network.bridge in patient.index.host_links
        and endpoint.interface is not None
        and _goes_out(network.options)
    )


def _is_loopback(address: str | None) -> bool:
    return address is not None and (address.startswith("127.") or address == "::1")


def _goes_out(options: dict[str, str]) -> bool:
    return options.get("com.docker.network.bridge.gateway_mode_ipv4") != "isolated"


@check("network-not-masqueraded", "error", needs=(*RECORDS, *RULES, "links", "settings"))
def not_masqueraded(patient: Patient) -> Checked:
    """A network's containers reach the world with addresses that the world does not know.

    The engine masquerades what leaves a bridge network with the host's address. Without that rule packets go out, and
    no answer comes back: "no internet in the container".
    """
    if not patient.makes_rules:
        return
    rules = [
        rule
        for rule in patient.facts.rules
        if rule.netns == patient.host_netns and rule.verdict in ("MASQUERADE", "SNAT") and rule.family != "ipv6"
    ]
    if any(not rule.exact for rule in rules):
        yield Doubt(
            "every network", "a rule that masquerades holds something unknown", "iptables -t nat -S POSTROUTING"
        )
        return
    sources = {rule.src for rule in rules}
    used = {place.network.id for place in patient.attachments if place.network}
    for network in patient.bridge_networks:
        if network.internal or network.id not in used or network.bridge not in patient.index.host_links:
            continue
        if not _is_masqueraded(network.options) or None in sources:
            continue
        for pool in network.subnets:
            if ":" not in pool.subnet and pool.subnet not in sources:
                yield Found(
                    "network",
                    network.name or network.id,
                    f"no rule masquerades what leaves {network.name} ({pool.subnet})",
                    f"iptables -t nat -A POSTROUTING -s {word(pool.subnet)} ! -o {word(network.bridge)} -j MASQUERADE",
                    (f"rules that masquerade or SNAT: {', '.join(sorted(filter(None, sources))) or 'none'}",),
                )


def _is_masqueraded(options: dict[str, str]) -> bool:
    if options.get("com.docker.network.bridge.enable_ip_masquerade") == "false":
        return False
    return options.get("com.docker.network.bridge.gateway_mode_ipv4", "nat") == "nat"


@check("two-firewalls", "warning", needs=RULES, certain=True)
def two_firewalls(patient: Patient) -> Checked:
    """Rules of iptables-legacy and of nf_tables are both there, and every packet has to pass both.

    What one of them accepts the other may still drop, and each tool shows its own alone. It is what an upgrade leaves
    that switched `iptables` from one to the other, or a program that brings its own iptables.
    """
    rules = [r for r in patient.facts.rules if r.netns == patient.host_netns and r.family in ("ipv4", "ipv6", "inet")]
    by_backend = {backend: [rule for rule in rules if rule.backend == backend] for backend in ("legacy", "nft")}
    if all(by_backend.values()):
        evidence = []
        for backend, of_backend in by_backend.items():
            tables = sorted({f"{'ip6 ' if r.family == 'ipv6' else ''}{r.table}" for r in of_backend})
            evidence.append(f"{backend}: {len(of_backend)} rules in {', '.join(tables)}")
        docker = [b for b, of_backend in by_backend.items() if any("DOCKER" in r.chain for r in of_backend)]
        evidence.append(f"the engine's chains are in {' and '.join(docker) or 'neither'}")
        yield Found(
            "rule",
            "legacy and nft",
            "rules of iptables-legacy and of nf_tables are both in force",
            "iptables-legacy-save; nft list ruleset; then flush the one that is not meant",
            tuple(evidence),
        )


@check("ip-forward-off", "critical", needs=("host", "engines", "containers", "networks", "sysctls", "links"))
def ip_forward_off(patient: Patient) -> Checked:
    """The kernel does not forward packets.

    Nothing gets from a bridge to the outside or back; published ports answer by docker-proxy alone, from the host only
    what the proxy takes. The engine turns forwarding on when it starts; a `sysctl --system` with another word, or a
    network manager, turned it off again.
    """
    users = [p for p in patient.attachments if p.network and p.network.driver == "bridge" and not p.network.internal]
    if not users:
        return
    names = sorted({place.network.name or "" for place in users if place.network})
    evidence = (f"networks that need it: {', '.join(names)}",)
    if patient.sysctls.get("net.ipv4.ip_forward") == "0":
        yield Found(
            "sysctl",
            "net.ipv4.ip_forward",
            "net.ipv4.ip_forward is 0: nothing is forwarded to or from containers",
            "sysctl -w net.ipv4.ip_forward=1",
            evidence,
        )
        return
    wanted = {place.network.bridge for place in users if place.network} | {link.ifname for link in patient.uplinks}
    for name in sorted(filter(None, wanted)):
        sysctl = f"net.ipv4.conf.{name.replace('.', '/')}.forwarding"
        if patient.sysctls.get(sysctl) == "0":
            yield Found(
                "sysctl",
                sysctl,
                f"{sysctl} is 0: what arrives by {name} is not forwarded",
                f"sysctl -w {word(sysctl)}=1",
                evidence,
                "error",
            )


@check("rp-filter-strict", "warning", needs=("host", "routes", "sysctls", "links"))
def rp_filter_strict(patient: Patient) -> Checked:
    """Packets are dropped that come in by another way than their answer would take, and this host has two ways.

    With net.ipv4.conf.*.rp_filter 1 the kernel drops a packet whose source it would reach by another link (RFC 3704,
    strict). On a host with two default routes that is half of the world: published ports work from some places only.
    """
    routes = [r for r in patient.index.default_routes.get(patient.host_netns, ()) if r.family == "ipv4"]
    links = {link.ifname for r in routes if (link := patient.places.links.get((patient.host_netns, r.ifindex or 0)))}
    if len(links) < 2:
        return
    whole = patient.sysctls.get("net.ipv4.conf.all.rp_filter")
    for name in sorted(links):
        sysctl = f"net.ipv4.conf.{name.replace('.', '/')}.rp_filter"
        own = patient.sysctls.get(sysctl)
        if "1" in (whole, own) and "2" not in (whole, own):  # the greater of the two counts
            yield Found(
                "sysctl",
                sysctl,
                f"rp_filter is strict on {name}, and there are default routes over {' and '.join(sorted(links))}",
                f"sysctl -w {word(sysctl)}=2",
                (f"net.ipv4.conf.all.rp_filter is {whole}, that of {name} is {own}",),
            )


@check("bridge-nf-call-off", "warning", needs=("host", "engines", "networks", "sysctls", "links"))
def bridge_nf_call_off(patient: Patient) -> Checked:
    """Packets between two ports of a bridge do not pass the packet filter, and a network counts on it.

    With net.bridge.bridge-nf-call-iptables 0, containers of one network talk past every rule: a network made with
    com.docker.network.bridge.enable_icc=false keeps nobody apart.
    """
    if patient.sysctls.get("net.bridge.bridge-nf-call-iptables") != "0":
        return
    for network in patient.bridge_networks:
        if network.options.get("com.docker.network.bridge.enable_icc") == "false":
            yield Found(
                "network",
                network.name or network.id,
                f"{network.name} is to keep its containers apart, and no rule sees what they send each other",
                "sysctl -w net.bridge.bridge-nf-call-iptables=1",
                ("net.bridge.bridge-nf-call-iptables is 0",),
            )
