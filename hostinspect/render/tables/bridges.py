"""`hostinspect bridges`: the columns of `brctl show`, one row a port, and what is behind each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct

from hostinspect.questions.bridges import BridgeDetails, Port
from hostinspect.questions.places import HOST
from hostinspect.render.layout import Item, Span, item
from hostinspect.render.table import Cell, Column
from hostinspect.render.tables.links import told
from hostinspect.render.view import short_id


class BridgeRow(Struct, frozen=True):
    """A bridge and one of its ports; None where it has none."""

    bridge: BridgeDetails
    port: Port | None


def bridge_rows(bridges: Iterable[BridgeDetails]) -> Iterator[BridgeRow]:
    """A row for each port, one for a bridge without any."""
    for bridge in bridges:
        for port in bridge.ports or (None,):
            yield BridgeRow(bridge, port)


def bridge_columns(names: Mapping[str, str], *, verbose: bool = False) -> list[Column[BridgeRow]]:
    """The columns; `names` are those of containers by id. With `verbose` link-local addresses are told too.

    On a terminal what is the bridge's own stands in its first row alone.
    """

    def group(row: BridgeRow) -> object:
        return row.bridge.netns, row.bridge.name

    return [
        Column("BRIDGE", lambda row: _name(row.bridge), sort=lambda row: row.bridge.name, group=group),
        Column("BRIDGE ID", lambda row: row.bridge.id, group=group, spare=4),
        Column("STP", lambda row: _yes(row.bridge.stp), group=group, spare=2),
        Column("NETWORK", lambda row: _network(row.bridge), group=group, spare=3),
        Column("ADDRESSES", lambda row: told(row.bridge.prefixes, every=verbose), shown=False, group=group),
        Column("BRIDGE STATE", lambda row: row.bridge.operstate, shown=False, group=group),
        Column("NAMESPACE", lambda row: row.bridge.namespace, shown=False, group=group),
        Column("NETNS", lambda row: row.bridge.netns, shown=False, group=group),
        Column("INTERFACE", _of_port(lambda port: port.link)),
        Column("STATE", _of_port(_state), sort=_of_port(lambda port: port.state), spare=1),
        Column("CONTAINER", _of_port(lambda port: owner(port, names))),
        Column("INSIDE", _of_port(lambda port: _inside(port, verbose=verbose))),
        Column("KIND", _of_port(lambda port: port.kind), shown=False),
        Column("MAC", _of_port(lambda port: port.mac), shown=False),
        Column("MAC INSIDE", _of_port(lambda port: port.interface_mac), shown=False),
        Column("NETNS INSIDE", _of_port(lambda port: port.netns), shown=False),
    ]


def _of_port(value: Callable[[Port], Cell]) -> Callable[[BridgeRow], Cell]:
    """A cell that a bridge without ports has nothing in."""
    return lambda row: None if row.port is None else value(row.port)


def _name(bridge: BridgeDetails) -> Item:
    """`docker0`; of one in another namespace `br0 in 1-k3j5d6abcd`."""
    where = () if bridge.namespace == HOST else (f" in {bridge.namespace}",)
    return item(Span(bridge.name, "name"), *where)


def _yes(flag: bool | None) -> str | None:
    return None if flag is None else "yes" if flag else "no"


def _network(bridge: BridgeDetails) -> str | None:
    return bridge.network_name or (short_id(bridge.network) if bridge.network else None)


def _state(port: Port) -> Item | None:
    if port.state is None:
        return None
    return item(port.state, style="bad" if port.state in ("disabled", "blocking") else "")


def owner(port: Port, names: Mapping[str, str]) -> Item | None:
    """The containers behind a port; of another namespace its name in parentheses; why it is not known."""
    if port.container is not None:
        others = [names.get(id_, short_id(id_)) for id_ in port.shared_with]
        return item(", ".join([port.container_name or short_id(port.container), *others]))
    if port.doubt:
        return (Span(f"? ({port.doubt})", "warn"),)
    return item(f"({'the host' if port.namespace == HOST else port.namespace})") if port.namespace else None


def _inside(port: Port, *, verbose: bool) -> str | None:
    """The interface at the other end, and its addresses."""
    if port.interface is None:
        return None
    addresses = (prefix.partition("/")[0] for prefix in told(port.interface_prefixes, every=verbose))
    return " ".join((port.interface, *addresses))
