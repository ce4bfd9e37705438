r"""Links, addresses, routes and names of namespaces from rtnetlink(7), as records.

Each family is a `Dump`: the request, and the parser of the messages that answer it. Nothing is asked twice and nothing
is changed, but for one thing that the kernel does itself: whoever dumps the links of a namespace makes it number the
namespaces that their peers are in (IFLA_LINK_NETNSID), as `ip link` does.

    >>> with NetlinkSocket(NETLINK_ROUTE) as route:
    ...     lo, *_ = links(route, netns=1)
    >>> lo.ifname, lo.ifindex, lo.link_type, lo.kind
    ('lo', 1, 'loopback', None)
"""

from __future__ import annotations

import struct
from _socket import AF_INET, AF_INET6, inet_ntop
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from operator import methodcaller
from typing import Any, Generic, Literal, TypeVar

from hostinspect.facts import Address, Link, Route
from hostinspect.kernel.alike import OPEN, SAME, Attributes, Place, Shapes, Span, spans
from hostinspect.kernel.netlink import (
    HEADER_SIZE,
    NETLINK_ROUTE,
    NLM_F_DUMP_INTR,
    NetlinkSocket,
    attribute,
    attribute_list,
    attributes,
    messages_in,
    picked,
)
from hostinspect.kernel.text import text

__all__ = [
    "ADDRESSES",
    "LINKS",
    "NETLINK_ROUTE",
    "ROUTES",
    "Dump",
    "NetlinkSocket",
    "addresses",
    "links",
    "nsid",
    "nsids_of",
    "routes",
]

Record = TypeVar("Record", Link, Address, Route)
Message = tuple[int, bytes]
_DATAGRAM = -1  # as the type of a message: what stands in a datagram that has a shape

RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTM_NEWNSID, RTM_GETNSID = 88, 90

_u16 = struct.Struct("=H").unpack_from
_s32 = struct.Struct("=i").unpack_from
_u32 = struct.Struct("=I").unpack_from
_attribute_u32 = struct.Struct("=HHI").pack  # struct nlattr and a value of 4 bytes
_attribute_s32 = struct.Struct("=HHi").pack


def _string(raw: bytes) -> str:
    """A string that ends at its first NUL."""
    return text(raw.split(b"\0", 1)[0])


def _name(names: dict[int, str] | tuple[str, ...], number: int) -> str:
    """The name of a number; one that is not known is "[7]", as ip(8) has it."""
    try:
        return names[number]
    except LookupError:
        return f"[{number}]"


class Dump(Generic[Record]):
    """A dump request of NETLINK_ROUTE, and what makes records of its answer.

    `parse` takes the messages, and the inode of the namespace to put in each record: the plain way, which passes over
    those whose header, of `size` bytes, has at `wanted[0]` none of `wanted[1]`. `places` and `layout` say where
    messages that are alike differ, in the header and behind it (`hostinspect.kernel.alike`).
    """

    __slots__ = (
        *("_datagrams", "_shapes"),
        *("answer", "body", "layout", "msg_type", "parse", "places", "size", "wanted"),
    )

    def __init__(
        self,
        msg_type: int,
        body: bytes,
        answer: int,
        parse: Callable[[Iterable[Message], int], Iterator[Record]],
        layout: Callable[[bytes, Record], Attributes],
        *,
        size: int,
        wanted: tuple[int, Container[int]] = (0, range(256)),
        places: tuple[Span, ...] = (),
    ) -> None:
        self.msg_type, self.body, self.answer = msg_type, body, answer
        self.parse: Callable[[Iterable[Message], int], Iterator[Record]] = parse
        self.layout: Callable[[bytes, Record], Attributes] = layout
        self.size, self.wanted, self.places = size, wanted, places
        self.forget()

    def forget(self) -> None:
        """Know no shapes."""
        self._shapes, self._datagrams = Shapes(), Shapes()

    def ask(self, route: NetlinkSocket) -> list[tuple[int, Any]]:
        """What the namespace that `route` was made in answers, for `records`. Raises NetlinkError."""
        return route.dump_known(self.msg_type, self.body, self._known)

    def read(self, route: NetlinkSocket, netns: int) -> list[Record]:
        """The records of that namespace. Raises NetlinkError, ValueError."""
        return self.records(route.dump_known(self.msg_type, self.body, self._known), netns)

    def records(self, messages: Iterable[tuple[int, Any]], netns: int) -> list[Record]:
        """The records in answers to the request. Raises ValueError for a message of another form."""
        found: list[Record] = []
        for msg_type, body in messages:
            if msg_type == _DATAGRAM:
                shape, values = body
                found += shape.records(values, netns)
            elif msg_type == self.answer and not self._is_passed_over(body):
                shape = self._shapes.find(body)
                found += shape.records(shape.places(body), netns) if shape else self._read(body, netns)
        return found

    def _is_passed_over(self, body: bytes) -> bool:
        return len(body) >= self.size and body[self.wanted[0]] not in self.wanted[1]

    def _read(self, body: bytes, netns: int) -> list[Record]:
        """The records of a message that has no shape; if there is one, its shape is known from now on."""
        try:
            records = list(self.parse(((self.answer, body),), netns))
        except (struct.error, IndexError) as error:
            raise ValueError(f"answer to request {self.msg_type} of rtnetlink: {error}") from None
        if len(records) == 1 and self._shapes.is_to_learn(len(body)):
            with suppress(ValueError):
                places = list(self.places)
                places += spans(body, self.size, len(body), self.layout(body, records[0]))
                self._shapes.learn(body, places, [records[0].__copy__])  # type: ignore[attr-defined]
        return records

    def _known(self, datagram: memoryview) -> tuple[int, Any] | None:
        """What is in a datagram that is like others before, as a message for `records`."""
        for shape in self._datagrams.known.get(len(datagram), ()):  # as `find`, a call less for each namespace
            if shape.same(datagram) == shape.expected:
                return _DATAGRAM, (shape, shape.places(datagram))
        if self._datagrams.is_to_learn(len(datagram)):
            self._learn(datagram.tobytes())
        return None

    def _learn(self, datagram: bytes) -> None:
        """Know what is like this datagram, if all that is in it has a shape, or is passed over."""
        found: list[Span] = []
        copies: list[Callable[[], Any]] = []
        end = 0
        for kind, flags, _, body in messages_in(datagram):
            start = end + HEADER_SIZE
            found.append(Span(end + 12, start))  # nlmsg_pid
            end = start + len(body) + 3 & ~3
            if kind != self.answer or flags & NLM_F_DUMP_INTR:
                return
            if self._is_passed_over(body):
                at = start + self.wanted[0]
                found += Span(start, at), Span(at + 1, start + len(body))
            elif shape := self._shapes.find(body):
                found += (Span(start + span.start, start + span.end, span.place, len(copies)) for span in shape.spans)
                copies += shape.copies
            else:
                return
        if end == len(datagram):
            self._datagrams.learn(datagram, found, copies)


# --- links ------------------------------------------------------------------------------------------------------

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_OPERSTATE = 1, 3, 4, 5, 10, 16
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_EXT_MASK, _IFLA_LINK_NETNSID, _IFLA_PROP_LIST = 18, 20, 29, 37, 52
_IFLA_AF_SPEC = 26
_LINK_WANTED = frozenset(
    (
        *(_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_OPERSTATE),
        *(_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_LINK_NETNSID, _IFLA_PROP_LIST, _IFLA_AF_SPEC),
    )
)
_IFLA_ALT_IFNAME = 53  # in IFLA_PROP_LIST
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_IFLA_BR_STP_STATE, _IFLA_BR_BRIDGE_ID = 5, 11
_IFLA_BRPORT_STATE, _IFLA_BRPORT_MODE = 1, 4
_IFLA_INET_CONF = 1  # in AF_INET of IFLA_AF_SPEC: net.ipv4.conf.IFNAME.*, 32 bits each
_FORWARDING, _RP_FILTER, _ROUTE_LOCALNET = 0, 7, 25  # IPV4_DEVCONF_* less 1, linux/ip.h
_IFLA_MACVLAN_MODE = _IFLA_IPVLAN_MODE = _IFLA_VXLAN_ID = _IFLA_VLAN_ID = 1

# Without statistics a message has half its size. Without RTEXT_FILTER_VF it has nothing of the virtual functions of a
# network card either: hundreds of them fill a message that no reader's buffer takes.
_RTEXT_FILTER_SKIP_STATS = 8

_ifinfomsg = struct.Struct("=BxHiII").unpack_from  # family, type, index, flags, change
_IFINFOMSG_SIZE = 16

# include/uapi/linux/if_arp.h; spelled as ip-link(8) does
_LINK_TYPES = {
    0: "netrom",
    1: "ether",
    2: "eether",
    3: "ax25",
    6: "ieee802",
    7: "arcnet",
    15: "dlci",
    19: "atm",
    24: "ieee1394",
    27: "eui64",
    32: "infiniband",
    256: "slip",
    271: "x25",
    280: "can",
    290: "mctp",
    512: "ppp",
    513: "hdlc",
    519: "rawip",
    768: "ipip",
    769: "tunnel6",
    772: "loopback",
    774: "fddi",
    776: "sit",
    778: "gre",
    779: "pimreg",
    801: "ieee802.11",
    802: "ieee802.11/prism",
    803: "ieee802.11/radiotap",
    804: "ieee802.15.4",
    805: "ieee802.15.4/monitor",
    820: "phonet",
    822: "caif",
    823: "gre6",
    824: "netlink",
    825: "6lowpan",
    0xFFFE: "none",
    0xFFFF: "void",
}

# IFF_* of include/uapi/linux/if.h, by bit
_FLAGS = (
    "UP",
    "BROADCAST",
    "DEBUG",
    "LOOPBACK",
    "POINTOPOINT",
    "NOTRAILERS",
    "RUNNING",
    "NOARP",
    "PROMISC",
    "ALLMULTI",
    "MASTER",
    "SLAVE",
    "MULTICAST",
    "PORTSEL",
    "AUTOMEDIA",
    "DYNAMIC",
    "LOWER_UP",
    "DORMANT",
    "ECHO",
)

_OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
_PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")
_MACVLAN_MODES = {1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"}
_IPVLAN_MODES = {0: "l2", 1: "l3", 2: "l3s"}


def _bridge_id(raw: bytes) -> str:
    return f"{raw[:2].hex()}.{raw[2:8].hex()}"


def _bridge(config: bytes) -> dict[str, Any]:
    found = picked(config, _BRIDGE_WANTED)
    fields: dict[str, Any] = {}
    if raw := found.get(_IFLA_BR_BRIDGE_ID):
        fields["bridge_id"] = _bridge_id(raw)
    if raw := found.get(_IFLA_BR_STP_STATE):
        fields["stp"] = _u32(raw)[0] != 0
    return fields


def _macvlan(config: bytes) -> dict[str, Any]:
    raw = attribute(config, _IFLA_MACVLAN_MODE)
    return {"mode": _name(_MACVLAN_MODES, _u32(raw)[0])} if raw else {}


def _ipvlan(config: bytes) -> dict[str, Any]:
    raw = attribute(config, _IFLA_IPVLAN_MODE)
    return {"mode": _name(_IPVLAN_MODES, _u16(raw)[0])} if raw else {}


def _vxlan(config: bytes) -> dict[str, Any]:
    raw = attribute(config, _IFLA_VXLAN_ID)
    return {"vxlan_id": _u32(raw)[0]} if raw else {}


def _vlan(config: bytes) -> dict[str, Any]:
    raw = attribute(config, _IFLA_VLAN_ID)
    return {"vlan_id": _u16(raw)[0]} if raw else {}


def _bridge_port(config: bytes) -> dict[str, Any]:
    found = picked(config, _BRIDGE_PORT_WANTED)
    fields: dict[str, Any] = {}
    if raw := found.get(_IFLA_BRPORT_STATE):
        fields["port_state"] = _name(_PORT_STATES, raw[0])
    if raw := found.get(_IFLA_BRPORT_MODE):
        fields["hairpin"] = raw[0] != 0
    return fields


_BRIDGE_WANTED = frozenset((_IFLA_BR_STP_STATE, _IFLA_BR_BRIDGE_ID))
_BRIDGE_PORT_WANTED = frozenset((_IFLA_BRPORT_STATE, _IFLA_BRPORT_MODE))
_Handler = Callable[[bytes], dict[str, Any]]

# What a kind of device, or of master, says in its IFLA_INFO_DATA or IFLA_INFO_SLAVE_DATA: fields of `Link`.
_KINDS: dict[str, _Handler] = {
    "bridge": _bridge,
    "macvlan": _macvlan,
    "macvtap": _macvlan,
    "ipvlan": _ipvlan,
    "ipvtap": _ipvlan,
    "vxlan": _vxlan,
    "vlan": _vlan,
}
_SLAVE_KINDS: dict[str, _Handler] = {"bridge": _bridge_port}


def parse_links(messages: Iterable[Message], netns: int) -> Iterator[Link]:
    """Answers to RTM_GETLINK. Raises ValueError or struct.error for another form."""
    for msg_type, body in messages:
        if msg_type == RTM_NEWLINK:
            yield parse_link(body, netns)


def parse_link(body: bytes, netns: int) -> Link:
    """A RTM_NEWLINK message. Raises ValueError, struct.error when it has another form.

    `link` is None where the kernel says 0, which is no interface; `link_netnsid` is -1 where the kernel itself could
    not name the namespace: then `link` is in another one, and nobody knows which.
    """
    _, link_type, ifindex, flags, _ = _ifinfomsg(body)
    found = picked(body, _LINK_WANTED, _IFINFOMSG_SIZE)
    fields = _link_info(found[_IFLA_LINKINFO]) if _IFLA_LINKINFO in found else {}
    if raw := found.get(_IFLA_LINK):
        fields["link"] = _or_none(_s32(raw)[0])
    if raw := found.get(_IFLA_LINK_NETNSID):
        fields["link_netnsid"] = _s32(raw)[0]
    if raw := found.get(_IFLA_MASTER):
        fields["master"] = _u32(raw)[0]
    if raw := found.get(_IFLA_IFALIAS):
        fields["alias"] = _string(raw)
    if raw := found.get(_IFLA_PROP_LIST):
        fields["altnames"] = tuple(_string(name) for kind, name in attribute_list(raw) if kind == _IFLA_ALT_IFNAME)
    if raw := found.get(_IFLA_AF_SPEC):
        fields.update(_ipv4_conf(raw))
    mac = found.get(_IFLA_ADDRESS, b"")
    return Link(
        netns=netns,
        ifindex=ifindex,
        ifname=_string(found.get(_IFLA_IFNAME, b"")),
        link_type=_LINK_TYPES.get(link_type) or f"[{link_type}]",
        mac=mac.hex(":") if len(mac) == 6 else None,
        mtu=_u32(found[_IFLA_MTU])[0] if _IFLA_MTU in found else 0,
        operstate=_name(_OPERSTATES, found[_IFLA_OPERSTATE][0]) if found.get(_IFLA_OPERSTATE) else "unknown",
        flags=_flags(flags),
        **fields,
    )


def _or_none(ifindex: int) -> int | None:
    return ifindex or None


def _ipv4_conf(raw: bytes) -> dict[str, Any]:
    """What IFLA_AF_SPEC says of how IPv4 goes over the link; nothing where the kernel is too old to."""
    conf = attribute(attribute(raw, AF_INET) or b"", _IFLA_INET_CONF) or b""
    if len(conf) <= 4 * _ROUTE_LOCALNET + 3:
        return {}
    return {
        "forwarding": _u32(conf, 4 * _FORWARDING)[0] != 0,
        "rp_filter": _u32(conf, 4 * _RP_FILTER)[0],
        "route_localnet": _u32(conf, 4 * _ROUTE_LOCALNET)[0] != 0,
    }


def _link_info(raw: bytes) -> dict[str, Any]:
    """The fields that IFLA_LINKINFO tells: kinds, and what the handlers of these find."""
    info = attributes(raw)
    fields: dict[str, Any] = {}
    if raw := info.get(_IFLA_INFO_KIND, b""):
        kind = fields["kind"] = _string(raw)
        if (handler := _KINDS.get(kind)) and _IFLA_INFO_DATA in info:
            fields.update(handler(info[_IFLA_INFO_DATA]))
    if raw := info.get(_IFLA_INFO_SLAVE_KIND, b""):
        kind = fields["slave_kind"] = _string(raw)
        if (handler := _SLAVE_KINDS.get(kind)) and _IFLA_INFO_SLAVE_DATA in info:
            fields.update(handler(info[_IFLA_INFO_SLAVE_DATA]))
    return fields


_flag_names: dict[int, tuple[str, ...]] = {}


def _flags(flags: int) -> tuple[str, ...]:
    """Names of IFF_* bits, lowest first; a host has a handful of combinations."""
    names = _flag_names.get(flags)
    if names is None:
        names = _flag_names[flags] = tuple(name for bit, name in enumerate(_FLAGS) if flags >> bit & 1)
    return names


_COUNTS = (7, 23, 35, 47, 48)  # IFLA_*: STATS, STATS64, CARRIER_CHANGES, CARRIER_UP_COUNT, CARRIER_DOWN_COUNT
_BRIDGE_PORT = Attributes({_IFLA_BRPORT_STATE: SAME, _IFLA_BRPORT_MODE: SAME}, others=OPEN)
_BRIDGE = Attributes({_IFLA_BR_STP_STATE: SAME, _IFLA_BR_BRIDGE_ID: Place("bridge_id", "8s", _bridge_id)}, others=OPEN)


def _of_links(kind: dict[int, Place | Attributes | bool], name: Place | bool, mac: Place | bool) -> Attributes:
    return Attributes(
        {
            **dict.fromkeys(_COUNTS, OPEN),
            _IFLA_IFNAME: name,
            _IFLA_ADDRESS: mac,
            _IFLA_LINK: Place("link", "i", _or_none),
            _IFLA_LINK_NETNSID: Place("link_netnsid", "i"),
            _IFLA_MASTER: Place("master", "I"),
            _IFLA_LINKINFO: Attributes({_IFLA_INFO_SLAVE_DATA: _BRIDGE_PORT, **kind}),
            _IFLA_AF_SPEC: Attributes({AF_INET6: OPEN}),
        }
    )


_NAME_AND_MAC = (
    Place("ifname", "s", lru_cache(maxsize=1024)(_string)),
    Place("mac", "6s", methodcaller("hex", ":")),
)
_OF_LINKS = _of_links({}, *_NAME_AND_MAC)
_OF_BRIDGES = _of_links({_IFLA_INFO_DATA: _BRIDGE}, *_NAME_AND_MAC)
_OF_LOOPBACK = _of_links({}, SAME, SAME)  # lo, everywhere


def _layout_of_link(_: bytes, link: Link) -> Attributes:
    if link.link_type == "loopback":
        return _OF_LOOPBACK
    return _OF_BRIDGES if link.kind == "bridge" else _OF_LINKS


LINKS = Dump(
    RTM_GETLINK,
    struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _attribute_u32(8, _IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS),
    RTM_NEWLINK,
    parse_links,
    _layout_of_link,
    size=_IFINFOMSG_SIZE,
    places=(Span(4, 8, Place("ifindex", "i")),),
)


def links(route: NetlinkSocket, netns: int) -> list[Link]:
    """All network interfaces (RTM_GETLINK) of the namespace of `route`, by ifindex. Raises NetlinkError, ValueError."""
    return LINKS.read(route, netns)


# --- addresses --------------------------------------------------------------------------------------------------

_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_CACHEINFO = 1, 2, 4, 6

_ifaddrmsg = struct.Struct("=BBBBI").unpack_from  # family, prefix length, flags, scope, index
_IFADDRMSG_SIZE = 8

_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_FAMILIES: dict[int, Literal["ipv4", "ipv6"]] = {AF_INET: "ipv4", AF_INET6: "ipv6"}


def parse_addresses(messages: Iterable[Message], netns: int) -> Iterator[Address]:
    """Answers to RTM_GETADDR: those of IPv4 and IPv6. Raises ValueError or struct.error for another form."""
    for msg_type, body in messages:
        if msg_type != RTM_NEWADDR:
            continue
        number, prefix_len, _, scope, ifindex = _ifaddrmsg(body)
        family = _FAMILIES.get(number)
        if family is None:
            continue
        found = attributes(body, _IFADDRMSG_SIZE)
        # Of a point-to-point interface IFA_ADDRESS is the other end.
        raw = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
        if raw is None:
            continue
        yield Address(
            netns=netns,
            ifindex=ifindex,
            family=family,
            address=inet_ntop(number, raw),
            prefix_len=prefix_len,
            scope=_name(_SCOPES, scope),
        )


# An address in a message of a family: the code of struct for it, and what spells it.
_OF_FAMILY: dict[str, tuple[str, Callable[[bytes], str]]] = {
    "ipv4": ("4s", partial(inet_ntop, AF_INET)),
    "ipv6": ("16s", partial(inet_ntop, AF_INET6)),
}


def _layout_of_address(body: bytes, address: Address) -> Attributes:
    if address.scope == "host":  # those of lo are the same everywhere
        return Attributes({_IFA_CACHEINFO: OPEN})
    own, other = _IFA_ADDRESS, _IFA_LOCAL
    if attribute(body, _IFA_LOCAL, _IFADDRMSG_SIZE):
        own, other = other, own
    place = Place("address", *_OF_FAMILY[address.family])
    return Attributes({own: place, other: OPEN, _IFA_BROADCAST: OPEN, _IFA_CACHEINFO: OPEN})


ADDRESSES = Dump(
    RTM_GETADDR,
    bytes(_IFADDRMSG_SIZE),
    RTM_NEWADDR,
    parse_addresses,
    _layout_of_address,
    size=_IFADDRMSG_SIZE,
    wanted=(0, _FAMILIES),
    places=(Span(4, 8, Place("ifindex", "I")),),
)


def addresses(route: NetlinkSocket, netns: int) -> list[Address]:
    """All addresses (RTM_GETADDR) of the namespace of `route`, IPv4 first. Raises NetlinkError, ValueError."""
    return ADDRESSES.read(route, netns)


# --- routes -----------------------------------------------------------------------------------------------------

_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH = 1, 4, 5, 6, 7, 9
_RTA_TABLE, _RTA_VIA = 15, 18
_ROUTE_WANTED = frozenset(
    (_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA)
)
_RT_TABLE_LOCAL = 255
_RTM_F_CLONED = 0x200  # a cached one, made by the kernel for one destination

# family, dst and src prefix length, tos, table, protocol, scope, type, flags
_rtmsg = struct.Struct("=BBBBBBBBI").unpack_from
_RTMSG_SIZE = 12
_rtnexthop = struct.Struct("=HBBi").unpack_from  # length with this header, flags, hops, index
_RTNEXTHOP_SIZE = 8

# RTN_* that decide where packets for others go; local, broadcast, anycast and multicast are the host's own.
_ROUTE_TYPES = {1: "unicast", 6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw", 10: "nat"}


def parse_routes(messages: Iterable[Message], netns: int) -> Iterator[Route]:
    """Answers to RTM_GETROUTE: routes of IPv4 and IPv6 outside of table `local`; one record for each of several next
    hops. Raises ValueError or struct.error for another form.
    """
    for msg_type, body in messages:
        if msg_type != RTM_NEWROUTE:
            continue
        number, dst_len, _, _, table, _, _, kind, flags = _rtmsg(body)
        family, route_type = _FAMILIES.get(number), _ROUTE_TYPES.get(kind)
        if family is None or route_type is None or flags & _RTM_F_CLONED:
            continue
        found = picked(body, _ROUTE_WANTED, _RTMSG_SIZE)
        if raw := found.get(_RTA_TABLE):
            table = _u32(raw)[0]  # the header's field has 8 bits
        if table == _RT_TABLE_LOCAL:
            continue
        dst = found.get(_RTA_DST)
        prefsrc = found.get(_RTA_PREFSRC)
        for gateway, ifindex in _next_hops(found):
            yield Route(
                netns=netns,
                family=family,
                dst=f"{inet_ntop(number, dst)}/{dst_len}" if dst else None,
                gateway=gateway,
                ifindex=ifindex,
                prefsrc=inet_ntop(number, prefsrc) if prefsrc else None,
                table=table,
                metric=_u32(found[_RTA_PRIORITY])[0] if _RTA_PRIORITY in found else 0,
                type=route_type,
            )


def _next_hops(found: dict[int, bytes]) -> Iterator[tuple[str | None, int | None]]:
    """Gateway and ifindex of each next hop of a route; nothing known is one too (a blackhole has none)."""
    raw = found.get(_RTA_MULTIPATH)
    if raw is None:
        yield _gateway(found), _u32(found[_RTA_OIF])[0] if _RTA_OIF in found else None
        return
    offset = 0
    while offset + _RTNEXTHOP_SIZE <= len(raw):
        length, _, _, ifindex = _rtnexthop(raw, offset)
        if length < _RTNEXTHOP_SIZE or offset + length > len(raw):
            raise ValueError(f"a next hop of {length} bytes at {offset} of {len(raw)}")
        yield _gateway(attributes(raw[offset + _RTNEXTHOP_SIZE : offset + length])), ifindex
        offset += (length + 3) & ~3


def _gateway(found: dict[int, bytes]) -> str | None:
    raw = found.get(_RTA_GATEWAY)
    if raw is None and (via := found.get(_RTA_VIA)):
        raw = via[2:]  # struct rtvia: family, then the address; an IPv6 gateway of an IPv4 route
    return inet_ntop(AF_INET if len(raw) == 4 else AF_INET6, raw) if raw else None


def _layout_of_route(body: bytes, route: Route) -> Attributes:
    if attribute(body, _RTA_MULTIPATH, _RTMSG_SIZE) is not None:
        return Attributes({})  # its next hops are in there
    code, spell = _OF_FAMILY[route.family]
    behind = f"/{body[1]}"  # rtm_dst_len
    return Attributes(
        {
            _RTA_TABLE: SAME,
            _RTA_VIA: SAME,
            _RTA_DST: Place("dst", code, lru_cache(maxsize=64)(lambda raw: spell(raw) + behind)),
            _RTA_GATEWAY: Place("gateway", code, lru_cache(maxsize=64)(spell)),
            _RTA_OIF: Place("ifindex", "I"),
            _RTA_PREFSRC: Place("prefsrc", code, spell),
            _RTA_PRIORITY: Place("metric", "I"),
        },
        others=OPEN,
    )


ROUTES = Dump(
    RTM_GETROUTE,
    bytes(_RTMSG_SIZE),
    RTM_NEWROUTE,
    parse_routes,
    _layout_of_route,
    size=_RTMSG_SIZE,
    wanted=(7, _ROUTE_TYPES),
)


def routes(route: NetlinkSocket, netns: int) -> list[Route]:
    """Routes (RTM_GETROUTE) of the namespace of `route`, without those of table `local`, IPv4 first.

    Raises NetlinkError, ValueError.
    """
    return ROUTES.read(route, netns)


# --- names of namespaces ----------------------------------------------------------------------------------------

_NETNSA_NSID, _NETNSA_FD, _NETNSA_TARGET_NSID, _NETNSA_CURRENT_NSID = 1, 3, 4, 5
_RTGENMSG = bytes(4)  # family, padded


def nsid(route: NetlinkSocket, fd: int) -> int | None:
    """What the namespace of `route` calls the namespace of descriptor `fd`; None where it has no name for it.

    RTM_GETNSID looks a name up and makes none. Raises NetlinkError: EINVAL when `fd` is no network namespace.
    """
    _, body = route.request(RTM_GETNSID, _RTGENMSG + _attribute_u32(8, _NETNSA_FD, fd))
    return parse_nsid(body)[0]


def nsids_of(route: NetlinkSocket, target: int) -> dict[int, int]:
    """All names that the namespace called `target` has given: what the namespace of `route` calls the same ones.

    Those that the latter has no name for are left out. It needs Linux 4.20: raises NetlinkError, also where `target`
    is none or not ours to ask (EACCES, EPERM).
    """
    known = {}
    for _, body in route.dump(RTM_GETNSID, _RTGENMSG + _attribute_s32(8, _NETNSA_TARGET_NSID, target)):
        theirs, ours = parse_nsid(body)
        if theirs is not None and ours is not None:
            known[theirs] = ours
    return known


def parse_nsid(body: bytes) -> tuple[int | None, int | None]:
    """NETNSA_NSID and NETNSA_CURRENT_NSID of a RTM_NEWNSID message, None for not assigned. Raises ValueError."""
    found = attributes(body, len(_RTGENMSG))
    return _assigned(found.get(_NETNSA_NSID)), _assigned(found.get(_NETNSA_CURRENT_NSID))


def _assigned(raw: bytes | None) -> int | None:
    nsid = -1 if raw is None else _s32(raw)[0]
    return nsid if nsid >= 0 else None
