"""Who may command the engine, and with it the host."""

from __future__ import annotations

import ipaddress

from hostinspect.doctor.check import Checked, Found, Severity, check, word
from hostinspect.doctor.patient import RECORDS, Patient
from hostinspect.facts import DaemonSettings, ListeningSocket

_SWARM = (2377, 7946)  # managers' and gossip, which have keys of their own
_PLAIN = 2375
_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock")
_SENSITIVE = ("/", "/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/usr", "/var", "/var/lib", "/var/run")


@check("api-on-tcp", "critical", needs=("host", "engines", "processes", "namespaces", "sockets", "settings"))
def api_on_tcp(patient: Patient) -> Checked:
    """The engine takes commands over the network, from anybody.

    Whoever reaches the port is root on this host, by a container with `/` mounted. Programs look for port 2375 on the
    whole Internet all day. With --tlsverify only who has a certificate is let in; on a loopback address it is
    open to every process of the host, and to every container on its network.
    """
    for engine in patient.facts.engines:
        settings = patient.settings.get(engine.data_root, DaemonSettings(data_root=engine.data_root))
        told = _told_ports(settings)
        found: dict[int, list[ListeningSocket]] = {}
        for socket in patient.facts.listening_sockets:
            if socket.proto != "tcp" or socket.netns != patient.host_netns or socket.port in _SWARM:
                continue
            holders = patient.index.holders.get(socket.inode, ())
            if engine.pid in holders and (socket.port in told or socket.port == _PLAIN):
                found.setdefault(socket.port, []).append(socket)
        for port, sockets in found.items():
            if settings.tlsverify:
                continue
            loopback = all(ipaddress.ip_address(socket.address).is_loopback for socket in sockets)
            severity: Severity | None = "warning" if loopback else None
            where = ", ".join(socket.address for socket in sockets)
            yield Found(
                "socket",
                f"{port}/tcp",
                f"dockerd ({engine.pid}) takes commands on {where} port {port} without asking who sends them",
                "remove tcp:// from -H and from hosts in /etc/docker/daemon.json, or set tlsverify; "
                "for access from elsewhere: docker -H ssh://…",
                (
                    f"listens on {where}",
                    f"told: {', '.join(settings.hosts) or 'nowhere that was seen'}",
                ),
                severity,
            )


def _told_ports(settings: DaemonSettings) -> set[int]:
    """Of the tcp:// addresses that a daemon was told; without a number it takes 2375, or 2376 with TLS."""
    ports = set()
    for host in settings.hosts:
        if host.startswith("tcp://"):
            number = host.rpartition(":")[2].rstrip("/")
            ports.add(int(number) if number.isdecimal() else 2376 if settings.tlsverify else _PLAIN)
    return ports


@check("socket-open-to-all", "critical", needs=("socket files",))
def socket_open(patient: Patient) -> Checked:
    """Every user of the host may command the engine.

    The mode of docker.sock lets all write to it, which makes every user root, and every program that breaks into one.
    """
    for socket in patient.health.sockets:
        if socket.mode & 0o002:
            yield Found(
                "socket",
                socket.path,
                f"{socket.path} is open to every user of this host",
                f"chmod o-rwx {socket.path}",
                (f"mode {socket.mode:04o}, group {socket.group or socket.gid}",),
            )


@check("socket-group-members", "info", needs=("socket files",))
def socket_group(patient: Patient) -> Checked:
    """Users are in the group that docker.sock belongs to.

    Each of them is as good as root on this host. That is what the group is for: it is told so that nobody is in it by
    accident.
    """
    for socket in patient.health.sockets:
        if socket.mode & 0o020 and socket.gid and socket.members:
            yield Found(
                "socket",
                socket.path,
                f"{', '.join(socket.members)} may command the engine, by the group {socket.group}",
                f"gpasswd -d USER {socket.group}",
                (f"mode {socket.mode:04o}, group {socket.group} ({socket.gid})",),
            )


@check("sensitive-bind-mount", "info", needs=RECORDS)
def sensitive_bind_mount(patient: Patient) -> Checked:
    """A container has a part of the host mounted that gives it the host.

    The engine's socket, `/`, or a directory of the system. Monitoring and CI do that on purpose; whoever breaks into
    such a container is root outside.
    """
    data_roots = tuple(engine.data_root for engine in patient.facts.engines)
    for container in patient.topology.containers:
        for mount in container.mounts:
            source = (mount.source or "").rstrip("/") or "/"
            if mount.type != "bind" or not mount.source:
                continue
            if source in (*_SENSITIVE, *_SOCKETS, *data_roots):
                yield Found(
                    "container",
                    container.name,
                    f"{container.name} has {source} of the host on {mount.destination}, {'rw' if mount.rw else 'ro'}",
                    patient.docker(container, f"inspect --format '{{{{json .Mounts}}}}' {word(container.name)}"),
                )


@check("privileged-container", "info", needs=RECORDS)
def privileged(patient: Patient) -> Checked:
    """A container is privileged.

    It has every capability and every device: whoever is root in it is root on the host.
    """
    for container in patient.topology.containers:
        if patient.record(container).privileged:
            yield Found(
                "container",
                container.name,
                f"{container.name} is privileged",
                patient.docker(container, f"inspect --format '{{{{.HostConfig.Privileged}}}}' {word(container.name)}"),
            )
