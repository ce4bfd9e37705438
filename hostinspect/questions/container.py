"""`hostinspect container`: all that is to be known of some containers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hostinspect.correlate.index import Index
from hostinspect.facts import RULES_OF_CONTAINERS, Gap, RecordedPort
from hostinspect.questions.answer import Answer, gaps_about
from hostinspect.questions.containers import FAMILIES
from hostinspect.questions.inspection import Inspection
from hostinspect.topology import Container, Link, NatRule, Node, RuleRef, Topology

NEEDS = (*FAMILIES, RULES_OF_CONTAINERS)


class ContainerProcess(Node, frozen=True, kw_only=True):
    """A process in the container; its parent may be outside, as the shim is."""

    pid: int
    ppid: int
    comm: str
    state: str  # one letter, proc_pid_stat(5)


class Namespaces(Node, frozen=True, kw_only=True):
    """The inodes of the namespaces it lives in, those of its main process."""

    net: int | None
    mnt: int | None
    net_paths: tuple[str, ...]  # what pins `net`: /run/docker/netns/KEY


class ContainerLink(Link, frozen=True, kw_only=True):
    """A link in the container's namespace, and where its other end is plugged in."""

    bridge: str | None  # that its peer is a port of, in the peer's namespace


class PortBinding(Node, frozen=True, kw_only=True):
    """What was asked for with --publish; what became of it is in `ports`."""

    proto: str
    container_port: int
    host_ip: str
    host_port: int | None  # None: whichever is free
    host_port_end: int | None  # one of the range from host_port on


class ContainerDetail(Container, frozen=True, kw_only=True):
    """A container as in the report, and beyond it."""

    engine: str
    oom_killed: bool
    restart_count: int
    restart_policy: str | None
    restart_max_retries: int  # of on-failure; 0 is no limit
    auto_remove: bool
    privileged: bool
    readonly_rootfs: bool
    log_path: str | None
    sandbox_id: str | None
    sandbox_key: str | None
    port_bindings: tuple[PortBinding, ...]
    processes: tuple[ContainerProcess, ...]  # in the order they were started
    namespaces: Namespaces
    shared_with: tuple[str, ...]  # ids of the other containers in its network namespace
    links: tuple[ContainerLink, ...]  # in its network namespace, where that is not the host's
    nat_rules: tuple[NatRule, ...]  # that lead to it or come from it, and those in its own namespace


class ContainerDetails(Answer, frozen=True, kw_only=True):
    """The containers asked for, in that order."""

    collected_at: str
    containers: tuple[ContainerDetail, ...]
    gaps: tuple[Gap, ...]


def describe_containers(inspection: Inspection, containers: Iterable[Container]) -> ContainerDetails:
    """Everything of these containers."""
    topology = inspection.topology
    return ContainerDetails(
        collected_at=topology.host.collected_at,
        containers=tuple(_describe(topology, inspection.index, container) for container in containers),
        gaps=gaps_about(topology, *FAMILIES, of_records=True),
    )


def _describe(topology: Topology, index: Index, container: Container) -> ContainerDetail:
    record = index.records[container.id]
    namespace = next((n for n in topology.netns if n.inode == container.netns), None)
    main = index.processes.get(container.pid or 0)
    return ContainerDetail(
        **{name: getattr(container, name) for name in Container.__struct_fields__},
        engine=record.engine,
        oom_killed=record.oom_killed,
        restart_count=record.restart_count,
        restart_policy=record.restart_policy,
        restart_max_retries=record.restart_max_retries,
        auto_remove=record.auto_remove,
        privileged=record.privileged,
        readonly_rootfs=record.readonly_rootfs,
        log_path=record.log_path,
        sandbox_id=record.sandbox_id,
        sandbox_key=record.sandbox_key,
        port_bindings=tuple(map(_binding, record.port_bindings)),
        processes=tuple(
            ContainerProcess(pid=process.pid, ppid=process.ppid, comm=process.comm, state=process.state)
            for process in index.processes_by_container.get(container.id, ())
        ),
        namespaces=Namespaces(
            net=container.netns,
            mnt=main.mntns if main else None,
            net_paths=namespace.paths if namespace else (),
        ),
        shared_with=tuple(id_ for id_ in namespace.containers if id_ != container.id) if namespace else (),
        links=tuple(_links(topology, container)) if namespace and not namespace.host else (),
        nat_rules=tuple(_nat_rules(topology, container)),
    )


def _binding(asked: RecordedPort) -> PortBinding:
    return PortBinding(**{name: getattr(asked, name) for name in PortBinding.__struct_fields__})


def _links(topology: Topology, container: Container) -> Iterator[ContainerLink]:
    masters = {(link.netns, link.ifindex): link.master for link in topology.links}
    for link in topology.links:
        if link.netns == container.netns:
            bridge = masters.get((link.peer.netns, link.peer.ifindex)) if link.peer else None
            yield ContainerLink(**{name: getattr(link, name) for name in Link.__struct_fields__}, bridge=bridge)


def _nat_rules(topology: Topology, container: Container) -> Iterator[NatRule]:
    """Its own; of one that joined another's namespace that one's, which has the addresses."""
    addressed = container.id
    if container.pid is not None and container.shares_netns_with is not None:
        addressed = container.shares_netns_with
    used = {rule for port in container.ports for rule in port.rules}  # a range of ports is nobody's alone
    for rule in topology.nat_rules:
        if rule.container == addressed or _ref(rule) in used:
            yield rule


def _ref(rule: NatRule) -> RuleRef:
    return RuleRef(**{name: getattr(rule, name) for name in RuleRef.__struct_fields__})
