"""Published ports: rule, proxy and listener, and whether they agree."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable

from hostinspect.doctor.check import Checked, Found, check, word
from hostinspect.doctor.patient import LINKS, RECORDS, Patient
from hostinspect.facts import ListeningSocket, RecordedPort, Rule
from hostinspect.questions.dnat import port_ranges, reference, without_prefix
from hostinspect.questions.ports import HostPort, PortRule
from hostinspect.topology import Container, NatRule, RuleRef

PORTS = (*RECORDS, *LINKS, "rules", "processes")
LISTENERS = (*PORTS, "sockets")


def spell(port: HostPort) -> str:
    """`8080/tcp`, `127.0.0.1:8081/tcp`, `[::]:8080/tcp`."""
    number = f"{port.host_port}-{port.host_port_end}" if port.host_port_end else f"{port.host_port}"
    if port.host_ip in (None, "0.0.0.0"):
        return f"{number}/{port.proto}"
    return f"{_bracketed(port.host_ip or '')}:{number}/{port.proto}"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _to(port: HostPort) -> str:
    end = f"-{port.container_port_end}" if port.container_port_end else ""
    return f"{port.container_name or _bracketed(port.container_ip or '?')}:{port.container_port}{end}"


def place(rule: RuleRef | NatRule | PortRule | Rule) -> str:
    """`nat DOCKER rule 3 (nft)`."""
    family = "" if rule.family in ("ipv4", "inet") else f"{rule.family} "
    return f"{family}{rule.table} {rule.chain} rule {rule.position} ({rule.backend})"


_IPTABLES = ("filter", "mangle", "nat", "raw", "security")


def delete_command(rule: NatRule | RuleRef | Rule) -> str:
    """What deletes a rule, as its backend has it."""
    if rule.backend == "nft" and (rule.table not in _IPTABLES or rule.family not in ("ipv4", "ipv6")):
        family = {"ipv4": "ip", "ipv6": "ip6"}.get(rule.family, rule.family)
        return f"nft -a list chain {family} {word(rule.table)} {word(rule.chain)}; nft delete rule … handle N"
    program = ("ip6tables" if rule.family == "ipv6" else "iptables") + ("-legacy" if rule.backend == "legacy" else "")
    return f"{program} -t {rule.table} -D {rule.chain} {rule.position}"


def _rule_lines(patient: Patient, rules: Iterable[RuleRef]) -> tuple[str, ...]:
    """Rules as they stand."""
    lines = []
    for ref in rules:
        rule = patient.dnat.by_ref.get(
            RuleRef(family=ref.family, backend=ref.backend, table=ref.table, chain=ref.chain, position=ref.position)
        )
        lines.append(f"{place(ref)}: {rule.text}" if rule else place(ref))
    return tuple(lines)


@check("port-without-rule", "error", needs=PORTS)
def without_rule(patient: Patient) -> Checked:
    """A port is published, and no rule takes its packets to the container.

    The engine writes a DNAT rule for each published port. Where it is gone, a packet reaches the container by
    docker-proxy at best, which hides who sent it; without that, by nothing. A firewall that was reloaded, or a rule
    deleted by hand, is what is behind it. Restarting the container makes the rule anew.
    """
    for port in patient.ports:
        no_way = "no way in" in port.problems
        if not no_way and "no rule" not in port.problems:
            continue
        proxy = f"docker-proxy {port.proxy.pid} still leads there" if port.proxy else "no docker-proxy leads there"
        yield Found(
            "port",
            spell(port),
            f"{spell(port)} is published for {_to(port)}, and no rule leads there",
            patient.docker(_container(patient, port), f"restart {word(port.container_name)}"),
            (f"{port.container_name} has it in its record", proxy),
            None if no_way or port.proxy is None else "warning",
        )


@check("port-without-proxy", "warning", needs=PORTS)
def without_proxy(patient: Patient) -> Checked:
    """A port is published, and its docker-proxy is gone.

    The rule still serves who comes from outside. What connects from the host itself to a loopback address, or over
    IPv6 to a container that has none, needed the proxy; and the port is not held any more, so that another process can
    take it.
    """
    for port in patient.ports:
        if "no proxy" in port.problems:
            yield Found(
                "port",
                spell(port),
                f"{spell(port)} is published for {_to(port)}, and its docker-proxy is gone",
                patient.docker(_container(patient, port), f"restart {word(port.container_name)}"),
                _rule_lines(patient, port.rules) or ("no rule leads there either",),
            )


@check("rule-to-nobody", "error", needs=PORTS)
def rule_to_nobody(patient: Patient) -> Checked:
    """A DNAT rule leads to an address of a docker network that nobody has.

    Packets to that port vanish, also those meant for the next container that publishes it: "the port works only
    sometimes". Left behind by an engine that was killed, or kept by a firewall that saved and restored its rules.
    """
    for port in patient.ports:
        if "rule of nobody" in port.problems:
            rules = [rule for rule in port.rules if rule.to is not None]
            stray = rules[:1] if port.container else rules
            for rule in stray:
                yield Found(
                    "rule",
                    place(rule),
                    f"{spell(port)} is led to {rule.to}, which nobody has",
                    delete_command(rule),
                    _rule_lines(patient, [rule]),
                )


@check("port-with-two-rules", "warning", needs=PORTS)
def two_rules(patient: Patient) -> Checked:
    """Two rules want the packets of one port, and only the first of them gets any.

    Where both lead to the same place it is a leftover; where they do not, whoever the second one leads to is not
    reached from outside.
    """
    same: dict[tuple[object, ...], list[NatRule]] = defaultdict(list)
    for rule in patient.dnat.rules:
        if rule.exact and rule.dport and patient.dnat.is_met(rule):
            where = (rule.family, rule.backend, rule.table, rule.chain)
            asks = (rule.proto, rule.dst, rule.src, rule.in_interface, rule.dport)
            same[where + asks].append(rule)
    told: set[RuleRef] = set()
    for rules in same.values():
        if len(rules) < 2 or _differ_otherwise(rules):
            continue
        told |= {reference(rule) for rule in rules}
        first, second = rules[:2]
        other = second.to != first.to
        yield Found(
            "port",
            _spell_rule(first),
            f"{len(rules)} rules take {_spell_rule(first)}: "
            + (f"{second.to} gets nothing, {first.to} gets all" if other else f"both lead to {first.to}"),
            delete_command(second),
            tuple(f"{place(rule)}: {rule.text}" for rule in rules),
            "error" if other else None,
        )
    for port in patient.ports:
        if "rule leads elsewhere" not in port.problems or not port.rules:
            continue
        taker = port.rules[0]
        if patient_ref(taker) in told:
            continue
        yield Found(
            "port",
            spell(port),
            f"{spell(port)} is published for {_to(port)}, and a rule before takes it to {taker.to}",
            delete_command(taker),
            _rule_lines(patient, port.rules),
            "error",
        )


def patient_ref(rule: RuleRef) -> RuleRef:
    """The bare place of a rule that has more fields."""
    return RuleRef(family=rule.family, backend=rule.backend, table=rule.table, chain=rule.chain, position=rule.position)


def _differ_otherwise(rules: list[NatRule]) -> bool:
    """Whether the rules ask for different things beside what their fields say, so that both may get packets."""
    return len({rule.text.partition(" -j DNAT")[0] for rule in rules}) > 1 if rules[0].text.startswith("-A ") else False


def _spell_rule(rule: NatRule) -> str:
    ports = ",".join(f"{a}-{b}" if a != b else str(a) for a, b in port_ranges(rule.dport)) or rule.dport or "?"
    address = f"{_bracketed(without_prefix(rule.dst))}:" if rule.dst else ""
    if not rule.dst and rule.family == "ipv6":
        address = "[::]:"
    return f"{address}{ports}/{rule.proto}"


@check("proxy-without-container", "error", needs=PORTS)
def proxy_without_container(patient: Patient) -> Checked:
    """A docker-proxy holds a port of the host for an address that no container has.

    It outlived its daemon or its container. Nobody else can have that port: "address already in use", "port is already
    allocated".
    """
    for port in patient.ports:
        if port.proxy is None or not {"proxy of nobody", "proxy leads elsewhere"} & {*port.problems}:
            continue
        target = f"{_bracketed(port.proxy.address)}:{port.proxy.port}"
        yield Found(
            "process",
            f"docker-proxy {port.proxy.pid}",
            f"docker-proxy {port.proxy.pid} holds {spell(port)} for {target}, which is no container's",
            f"kill {port.proxy.pid}",
            (f"pid {port.proxy.pid} was told to lead {spell(port)} to {target}",),
        )


def _listener(address: str, port: int, pid: int | None, comm: str | None) -> str:
    return f"{comm or 'somebody'} ({pid or '?'}) listens on {_bracketed(address)}:{port}"


@check("port-nobody-listens", "error", needs=LISTENERS)
def nobody_listens(patient: Patient) -> Checked:
    """A port is published, and nobody in the container listens on it.

    Whoever connects is refused. The server has not started, has died, or listens on another port than the one that is
    published.
    """
    yield from _published(patient, "nobody listens", "nobody listens there")


@check("port-loopback-only", "error", needs=LISTENERS)
def loopback_only(patient: Patient) -> Checked:
    """A port is published, and the server in the container listens on its loopback address only.

    A container has a loopback of its own, which nothing from outside reaches: "connection refused", or reset by the
    proxy. Let the server listen on 0.0.0.0 or ::.
    """
    yield from _published(patient, "loopback only", "the server there listens on loopback only")


@check("port-other-address", "error", needs=LISTENERS)
def other_address(patient: Patient) -> Checked:
    """A port is published, and the server in the container listens on another address than packets arrive at.

    A server that was told the address of another network, or of an earlier run.
    """
    yield from _published(patient, "other address only", "the server there listens on another address")


def _container(patient: Patient, port: HostPort) -> Container | None:
    return patient.places.containers.get(port.container or "")


def _published(patient: Patient, problem: str, words: str) -> Checked:
    """A finding for each container's port with the problem, whatever the number of host addresses."""
    ends: dict[tuple[str | None, str, int | None], list[HostPort]] = defaultdict(list)
    for port in patient.ports:
        if problem in port.problems and "not recorded" not in port.problems:
            ends[port.container, port.proto, port.container_port].append(port)
    for ports in ends.values():
        port = ports[0]
        evidence = [f"published as {', '.join(map(spell, ports))}"]
        evidence += [_listener(e.address, e.port, e.pid, e.comm) for e in port.elsewhere]
        name = word(port.container_name)
        remedy = f"let the server in {name} listen on 0.0.0.0 (or ::)"
        if problem == "nobody listens":
            remedy = patient.docker(_container(patient, port), f"logs {name}")
        yield Found(
            "port",
            spell(port),
            f"{spell(port)} leads to {_to(port)}, and {words}",
            remedy,
            tuple(evidence),
            None if _was_asked_for(patient, port) else "warning",
        )


def _was_asked_for(patient: Patient, port: HostPort) -> bool:
    """Whether a port was published by number: `docker run -P` publishes whatever the image says it may listen on."""
    record = patient.index.records.get(port.container or "")
    bindings = record.port_bindings if record else ()
    return any((b.proto, b.container_port) == (port.proto, port.container_port) for b in bindings)


@check("port-taken", "warning", needs=(*RECORDS, "sockets", "processes", "links"))
def port_taken(patient: Patient) -> Checked:
    """A port that a container asks for is held by somebody else.

    The container cannot be started: "port is already allocated", "address already in use". Where that somebody is
    another container's docker-proxy, the two can never run together, which may be meant so. Of a container that runs,
    rules take what comes from outside, and the other process gets what comes from the host itself.
    """
    proxies = {port.proxy.pid: port for port in patient.ports if port.proxy is not None}
    yield from _taken_meanwhile(patient, {*proxies, *(engine.pid for engine in patient.facts.engines)})
    for container in patient.topology.containers:
        if container.pid is not None:
            continue
        for binding in patient.record(container).port_bindings:
            for socket in _holders(patient, binding):
                pids = patient.index.holders.get(socket.inode, [])
                pid = next(iter(pids), None)
                process = patient.index.processes.get(pid or 0)
                other = proxies[pid].container_name if pid in proxies else None
                other = other or patient.places.name(patient.index.container_by_pid.get(pid or 0))
                who = f"{process.comm if process else 'somebody'} ({pid or '?'})"
                number = f"{binding.host_port}/{binding.proto}"
                yield Found(
                    "port",
                    number,
                    f"{container.name} asks for {number}, which {f'{other} has' if other else f'{who} holds'}",
                    f"ss -lnp 'sport = :{binding.host_port}'",
                    (_listener(socket.address, socket.port, pid, process.comm if process else None),),
                    "info" if other else None,
                )
                break


def _taken_meanwhile(patient: Patient, own: set[int | None]) -> Checked:
    """Published ports of running containers on which a process of the host listens that is not the engine's."""
    for port in patient.ports:
        if port.container is None or port.host_port is None or "host" in port.via or "not recorded" in port.problems:
            continue
        for socket in patient.index.listening.get((patient.host_netns, port.proto, port.host_port), ()):
            pids = patient.index.holders.get(socket.inode, ())
            if not pids or not own.isdisjoint(pids) or not _overlap(socket, port.host_ip or ""):
                continue
            process = patient.index.processes.get(pids[0])
            if process is None or process.comm in ("docker-proxy", "rootlessport", "rootlesskit"):
                continue
            yield Found(
                "port",
                spell(port),
                f"{spell(port)} is published for {_to(port)}, and {process.comm} ({process.pid}) listens on it",
                f"ss -lnp 'sport = :{port.host_port}'",
                (_listener(socket.address, socket.port, process.pid, process.comm),),
                "error",
            )
            break


def _holders(patient: Patient, binding: RecordedPort) -> list[ListeningSocket]:
    """The host's sockets that are in the way of a binding to one port."""
    if not binding.host_port or binding.host_port_end not in (None, binding.host_port):
        return []
    sockets = patient.index.listening.get((patient.host_netns, binding.proto, binding.host_port), ())
    return [socket for socket in sockets if _overlap(socket, binding.host_ip)]


def _overlap(socket: ListeningSocket, wanted: str) -> bool:
    if wanted in ("", "0.0.0.0", "::") or socket.address in ("0.0.0.0", "::"):
        return True
    try:
        return ipaddress.ip_address(wanted) == ipaddress.ip_address(socket.address)
    except ValueError:
        return False


@check("port-not-recorded", "info", needs=PORTS)
def not_recorded(patient: Patient) -> Checked:
    """A rule or docker-proxy leads to a container's port that the engine did not publish.

    Somebody's own rule, or one left behind whose address was given to another container meanwhile.
    """
    for port in patient.ports:
        if "not recorded" in port.problems:
            yield Found(
                "port",
                spell(port),
                f"{spell(port)} leads to {_to(port)}, which the engine did not publish",
                delete_command(port.rules[0]) if port.rules else f"kill {port.proxy.pid if port.proxy else '?'}",
                _rule_lines(patient, port.rules)
                or (f"docker-proxy {port.proxy.pid if port.proxy else '?'} leads there",),
            )
