"""How things are called in a hop, what is shown as evidence of it, and the commands that take an obstacle away.

Names of links, chains and tables may come from inside of a container: in a command they are quoted.
"""

from __future__ import annotations

from ipaddress import ip_address
from shlex import quote

from hostinspect.facts import Chain, ListeningSocket, Rule
from hostinspect.questions.trace.answer import Evidence
from hostinspect.questions.trace.netfilter import Decision
from hostinspect.questions.trace.rules import Address
from hostinspect.questions.trace.world import World
from hostinspect.topology import Link


class Words:
    """What to say about a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def where(self, netns: int) -> str:
        return "" if netns == self.world.host else f"{self.world.place(netns)}, "

    def named(self, rule: Rule) -> str:
        """`nat DOCKER rule 3`."""
        return f"{self.table(rule)} {rule.chain} rule {rule.position}"

    def table(self, of: Rule | Chain) -> str:
        """`nat`, `ip6 nat`; `legacy nat` where nft has rules too."""
        both = len(self.world.netfilter.backends(of.netns)) > 1
        return f"{of.backend + ' ' if both else ''}{'ip6 ' if of.family == 'ipv6' else ''}{of.table}"

    def accepts(self, decision: Decision) -> str:
        chain = decision.chain
        table = self.table(chain)
        of = "" if table == "filter" else f"{table}: "
        rules = decision.rules
        if rules and decision.outcomes[-1].rule is rules[-1]:
            return f"{of}{rules[-1].chain} rule {rules[-1].position} accepts"
        return f"{of}{'policy ACCEPT' if chain.policy else 'no rule drops it'}"

    def stopped(self, netns: int, decision: Decision) -> str:
        chain = decision.chain
        rule = next(iter(decision.rules), None)
        where = self.where(netns)
        if rule is None or all(outcome.rule is None for outcome in decision.outcomes):
            return f"{where}{self.table(chain)} {chain.name}: no rule accepts it, and its policy is DROP"
        verdict = "rejects it" if rule.verdict == "REJECT" else "drops it"
        at = "" if rule.chain == chain.name else f" (on the way from {chain.name})"
        return f"{where}{self.named(rule)} {verdict}{at}: {rule.text}"

    def may_stop(self, netns: int, decision: Decision) -> str:
        unsure = next((o.rule for o in decision.outcomes if o.rule and not o.is_sure), None)
        rule = unsure or next((o.rule for o in decision.outcomes if o.rule), None)
        if rule is None:
            return f"{self.where(netns)}{decision.chain.name}: what it does cannot be told"
        return f"{self.where(netns)}{self.named(rule)}: whether it takes the packet cannot be told: {rule.text}"

    def let_through(self, netns: int, decision: Decision) -> str:
        """A command that takes the obstacle away."""
        chain = decision.chain
        rule = next(iter(decision.rules), None)
        inside = self.inside(netns)
        if rule is not None and any(outcome.rule for outcome in decision.outcomes):
            if rule.chain.startswith("DOCKER-ISOLATION"):
                return "docker network connect NETWORK CONTAINER, so that both are on one network"
            if rule.text.startswith("-A "):
                return f"{inside}{program(rule)} -t {rule.table} -D {quote(rule.chain)} {rule.position}"
            return f"{inside}nft -a list chain {rule.family} {quote(rule.table)} {quote(rule.chain)}"
        if chain.type is not None and chain.table not in ("filter", "mangle", "raw", "nat", "security"):
            return f"{inside}nft list chain {chain.family} {quote(chain.table)} {quote(chain.name)}"
        if netns == self.world.host and chain.name == "FORWARD" and not self._has_dockers(chain.family):
            return "systemctl restart docker, which makes its rules anew"
        return f"{inside}{program(chain)} -t {chain.table} -P {chain.name} ACCEPT"

    def _has_dockers(self, family: str) -> bool:
        """Whether docker's chains are there and are jumped to."""
        return any(
            rule.netns == self.world.host
            and (rule.family, rule.chain) == (family, "FORWARD")
            and (rule.verdict or "").startswith("DOCKER")
            for rule in self.world.facts.rules
        )

    def inside(self, netns: int) -> str:
        """The words before a command that is to run in a namespace."""
        if netns == self.world.host:
            return ""
        namespace = self.world.places.namespaces.get(netns)
        return f"nsenter -t {namespace.pids[0] if namespace and namespace.pids else 'PID'} -n "

    def gateway(self, netns: int, version: int) -> str:
        """The gateway that the engine gave a container; the word where there is none."""
        for container in self.world.places.members(netns):
            for endpoint in container.endpoints:
                gateway = endpoint.gateway if version == 4 else endpoint.gateway6
                if gateway:
                    return gateway
        return "GATEWAY"

    def bound_to(self, socket: ListeningSocket) -> str:
        """Its address and, where it is bound to one, its link."""
        link = self.world.places.links.get((socket.netns, socket.ifindex or 0))
        return f"{bound(socket)}, {link.ifname}" if link else bound(socket)

    def who(self, socket: ListeningSocket) -> str:
        pids = self.world.holders_of(socket)
        process = self.world.index.processes.get(next(iter(pids), 0))
        return f"{process.comm} (pid {process.pid})" if process else "a process that was not seen"

    def socket_evidence(self, socket: ListeningSocket) -> Evidence:
        return Evidence(
            kind="socket",
            id=str(socket.inode),
            text=f"{self.who(socket)} on {bound(socket)}/{socket.proto} in {self.world.place(socket.netns)}",
        )


def rule_evidence(rule: Rule) -> Evidence:
    at = f"{rule.family}/{rule.backend}/{rule.table}/{rule.chain}/{rule.position}"
    return Evidence(kind="rule", id=at, text=rule.text)


def program(of: object) -> str:
    family, backend = getattr(of, "family", ""), getattr(of, "backend", "")
    return ("ip6tables" if family == "ipv6" else "iptables") + ("-legacy" if backend == "legacy" else "")


def link_evidence(link: Link) -> Evidence:
    master = f", port of {link.master}" if link.master else ""
    state = "up" if "UP" in link.flags else "down"
    return Evidence(kind="link", id=f"{link.netns}/{link.ifindex}", text=f"{link.ifname} is {state}{master}")


def sysctl_evidence(name: str, value: str) -> Evidence:
    return Evidence(kind="sysctl", id=name, text=f"{name} = {value}")


def spelled(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def bound(socket: ListeningSocket) -> str:
    if socket.address in ("0.0.0.0", "::"):
        return f"*:{socket.port}"
    return spelled(ip_address(socket.address), socket.port)


def sysctl_name(ifname: str, key: str) -> str:
    """A setting of IPv4 on a link, as sysctl(8) takes it: with slashes where the link's name has a dot."""
    words = ("net", "ipv4", "conf", ifname, key)
    return ("/" if "." in ifname else ".").join(words)
