"""`hostinspect ports`: one row for what `docker ps` shows as one, with the rule, the proxy and who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from hostinspect.questions.ports import HostPort, PortListener, PortRule, Status
from hostinspect.render.layout import Item, Style, item
from hostinspect.render.ports import describe_process, number_range, number_ranges
from hostinspect.render.table import Column
from hostinspect.render.view import short_id

_FEW = 4  # pids that are named
_ANY = ("0.0.0.0", "::", None)
_STYLES: dict[Status, Style] = {
    "ok": "",
    "rule of nobody": "bad",
    "proxy of nobody": "bad",
    "rule leads elsewhere": "bad",
    "proxy leads elsewhere": "bad",
    "no way in": "bad",
    "nobody listens": "bad",
    "loopback only": "bad",
    "other address only": "bad",
    "not running": "dim",
    "routing mesh": "dim",
    "no container": "dim",
}


class PortRow(Struct, frozen=True):
    """What one row tells of: `members` are by port, each with its entries by host address."""

    members: list[list[HostPort]]

    @property
    def first(self) -> HostPort:
        return self.members[0][0]

    @property
    def entries(self) -> list[HostPort]:
        return [port for member in self.members for port in member]


def port_rows(ports: Iterable[HostPort], *, ranges: bool = True) -> list[PortRow]:
    """The ports with 0.0.0.0 and :: together where they fare the same and, with `ranges`, runs of ports as one row."""
    by_port: dict[tuple[object, ...], list[HostPort]] = {}
    for port in ports:
        where = "any" if port.host_ip in _ANY else port.host_ip
        end = (port.host_port_end, port.container, port.container_ip, port.container_port)
        key = (port.proto, where, port.host_port, *end, port.problems, _who(port))
        by_port.setdefault(key, []).append(port)
    rows: list[PortRow] = []
    ends: dict[tuple[object, ...], PortRow] = {}  # what would continue a row
    for member in by_port.values():
        row = ends.pop(tuple(map(_same, member)), None) if ranges else None
        if row is None:
            row = PortRow([])
            rows.append(row)
        row.members.append(member)
        if all(port.host_port and port.container_port and port.host_port_end is None for port in member):
            ends[tuple(map(_next, member))] = row
    return rows


def _who(port: HostPort) -> tuple[object, ...] | None:
    return (port.listening.pid, port.listening.comm) if port.listening else None


def _same(port: HostPort) -> tuple[object, ...]:
    """All that is the same in the ports of a range, and the numbers."""
    return (port.host_port, port.container_port, *_rest(port))


def _next(port: HostPort) -> tuple[object, ...]:
    return ((port.host_port or 0) + 1, (port.container_port or 0) + 1, *_rest(port))


def _rest(port: HostPort) -> tuple[object, ...]:
    return (
        port.proto,
        port.host_ip,
        port.host_port_end,
        port.container,
        port.container_ip,
        port.problems,
        port.via,
        tuple((rule.family, rule.backend, rule.chain) for rule in port.rules),
        _who(port),
        port.listening and port.listening.address,
        tuple((listener.pid, listener.address) for listener in port.elsewhere),
    )


def port_columns(
    *, verbose: bool = False, several_backends: bool = False, all_seen: bool = True
) -> list[Column[PortRow]]:
    """The columns. With `verbose` ids are whole; a rule's backend is named where the host has rules in two.

    Where `all_seen` processes were, a socket that none of them holds is the kernel's own: vxlan's, WireGuard's.
    """
    return [
        Column("PORT", _where, sort=lambda row: row.first.host_port),
        Column("CONTAINER", _container, sort=lambda row: row.first.container_name),
        Column("TO", _target),
        Column("RULE", lambda row: [*_rules(row, backend=several_backends or verbose)]),
        Column("PROXY", lambda row: _proxies(row, every=verbose), spare=1),
        Column("LISTENS", lambda row: _listens(row, "no process" if all_seen else "a process not seen")),
        Column("STATUS", _status, sort=lambda row: row.first.status),
        Column("HOST IP", lambda row: [*dict.fromkeys(port.host_ip or "*" for port in row.entries)], shown=False),
        Column("HOST PORT", lambda row: row.first.host_port, shown=False),
        Column("PROTO", lambda row: row.first.proto, shown=False),
        Column("CONTAINER ID", lambda row: _id(row.first.container, verbose), shown=False),
        Column("VIA", lambda row: [*dict.fromkeys(via for port in row.entries for via in port.via)], shown=False),
        Column("PACKETS", lambda row: _sum(row, lambda rule: rule.packets), shown=False),
        Column("BYTES", lambda row: _sum(row, lambda rule: rule.bytes), shown=False),
    ]


def _where(row: PortRow) -> str:
    """`*:8080/tcp` of all addresses, `0.0.0.0:8080/tcp` of those of IPv4 alone, `[::1]:8000-8009/udp`."""
    first, last = row.first, row.members[-1][0]
    end = last.host_port_end or last.host_port
    number = "?" if first.host_port is None or end is None else number_range(first.host_port, end)
    addresses = {port.host_ip for port in row.members[0]}
    if None in addresses or {"0.0.0.0", "::"} <= addresses or first.dual_stack:
        address = "*"
    else:
        address = f"[{first.host_ip}]" if ":" in (first.host_ip or "") else first.host_ip or "*"
    return f"{address}:{number}/{first.proto}"


def _container(row: PortRow) -> Item | None:
    return item(row.first.container_name, style="name") if row.first.container_name else None


def _target(row: PortRow) -> str | None:
    first, last = row.first, row.members[-1][0]
    if first.container_port is None or last.container_port is None:
        return None
    number = number_range(first.container_port, last.container_port_end or last.container_port)
    if first.container_ip is None:
        return number
    return f"[{first.container_ip}]:{number}" if ":" in first.container_ip else f"{first.container_ip}:{number}"


def _rules(row: PortRow, *, backend: bool) -> Iterator[str]:
    """`DOCKER 4`, `IPv6 DOCKER 2`, with `backend` `nft DOCKER 4`; of a rule that leads elsewhere, where."""
    ways: dict[tuple[str, ...], list[int]] = {}
    for port in row.entries:
        for rule in port.rules:
            words = [*(["IPv6"] if rule.family == "ipv6" else []), *([rule.backend] if backend else [])]
            words += [rule.chain] if rule.table == "nat" else [rule.table, rule.chain]
            led = f" to {rule.to or 'the host'}" if _leads_elsewhere(port, rule) else ""
            ways.setdefault((" ".join(words), led), []).append(rule.position)
    for (chain, led), positions in ways.items():
        yield f"{chain} {number_ranges(positions)}{led}"


def _leads_elsewhere(port: HostPort, rule: PortRule) -> bool:
    """Whether a rule takes packets that are for a container to another address."""
    return port.container is not None and (port.container_ip is None or port.container_ip not in (rule.to or ""))


def _proxies(row: PortRow, *, every: bool) -> str:
    """The pids of the docker-proxies, or how many there are."""
    pids = [str(port.proxy.pid) for port in row.entries if port.proxy]
    return ", ".join(pids) if every or len(pids) <= _FEW else f"{len(pids)} of them"


def _listens(row: PortRow, nobody: str) -> str | None:
    first, last = row.first, row.members[-1][0]
    listeners = (first.listening,) if first.listening else first.elsewhere
    return ", ".join(_listener(first, last, listener, nobody) for listener in listeners) or None


def _listener(first: HostPort, last: HostPort, listener: PortListener, nobody: str) -> str:
    """`httpd (357)`, of whose container where that is another one's, and where unless it is at the port on any address.

    `nobody` stands for the process where there is none.
    """
    who = nobody if listener.pid is None else describe_process(listener.comm, listener.pid)
    of = f" of {listener.container_name}" if listener.container not in (None, first.container) else ""
    answers = listener is first.listening
    at_port = listener.port == (first.container_port or first.host_port)
    if answers and at_port and listener.address in (*_ANY, first.host_ip):
        return who + of
    port = number_range(listener.port, listener.port + (last.host_port or 0) - (first.host_port or 0))
    address = f"[{listener.address}]" if ":" in listener.address else listener.address
    return f"{who}{of} {address}:{port}"


def _status(row: PortRow) -> Item:
    status = row.first.status
    text = ", ".join(row.first.problems) or status
    return item(text, style=_STYLES.get(status, "warn"))


def _id(id_: str | None, verbose: bool) -> str | None:
    return id_ if verbose or id_ is None else short_id(id_)


def _sum(row: PortRow, count: Callable[[PortRule], int | None]) -> int | None:
    counts = [count(rule) for port in row.entries for rule in port.rules]
    known = [number for number in counts if number is not None]
    return sum(known) if known else None
