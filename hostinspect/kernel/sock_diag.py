r"""Listening sockets: sock_diag(7), and /proc/net/tcp and its like where that would load a module.

Asked for sockets in LISTEN only, the kernel looks through a table of these, which is as large as the machine's memory
has it: 30 to 200 µs, for both families in one dump with the request of Linux 2.6 (TCPDIAG_GETSOCK; a v2 request has one
family). Since Linux 5.9 an attribute of that request names another protocol, so that one walk through the table of UDP
sockets will do, too. How many sockets a namespace has is counted (/proc/net/sockstat, sockstat6): where it has none,
nothing is walked. Each reading of /proc/net/tcp or tcp6, in whichever namespace, walks the table of all connections of
the whole host instead: milliseconds.

    >>> parse_proc_net(
    ...     b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    ...     b"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 0\n",
    ...     "tcp", "ipv4", 1)[0].address
    '127.0.0.1'
"""

from __future__ import annotations

import os
import struct
import sys
from _socket import AF_INET, AF_INET6, inet_ntop
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Literal

from hostinspect.facts import ListeningSocket
from hostinspect.kernel.modules import is_present
from hostinspect.kernel.netlink import NETLINK_SOCK_DIAG, NetlinkError, NetlinkSocket, attributes
from hostinspect.kernel.procfs import content

TCPDIAG_GETSOCK = 18
SOCK_DIAG_BY_FAMILY = 20

_TCP_CLOSE, _TCP_LISTEN = 7, 10  # states; an unconnected UDP socket is in "close", an SCTP listener in "listen"
_IPPROTO_TCP, _IPPROTO_UDP, _IPPROTO_SCTP = 6, 17, 132
_INET_DIAG_REQ_PROTOCOL = 3
_INET_DIAG_SKV6ONLY, _INET_DIAG_LOCALS = 11, 12

# struct inet_diag_sockid, asking for any: ports, addresses, interface, and the cookie INET_DIAG_NOCOOKIE
_ANY = struct.pack("=HH16s16sI8s", 0, 0, b"", b"", 0, b"\xff" * 8)
# struct inet_diag_req: family, source and destination length, extensions, socket, states, unused
_TCP_LISTENERS = struct.pack("=BBBB48sII", AF_INET, 0, 0, 0, _ANY, 1 << _TCP_LISTEN, 0)
_UDP_OF_BOTH_FAMILIES = struct.pack("=BBBB48sII", AF_INET, 0, 0, 0, _ANY, 1 << _TCP_CLOSE, 0) + struct.pack(
    "=HHI", 8, _INET_DIAG_REQ_PROTOCOL, _IPPROTO_UDP
)
# struct inet_diag_req_v2: family, protocol, extensions, pad, states, socket
_BY_FAMILY = struct.Struct("=BBBxI48s")
_UNCONNECTED_UDP, _SCTP_LISTENERS = (
    [_BY_FAMILY.pack(family, protocol, 0, 1 << state, _ANY) for family in (AF_INET, AF_INET6)]
    for protocol, state in ((_IPPROTO_UDP, _TCP_CLOSE), (_IPPROTO_SCTP, _TCP_LISTEN))
)
# struct inet_diag_msg: family (then state, timer, retransmits), source port (then that of the destination), source
# address (then the destination's), interface (then cookie, expires, queues, uid), inode
_inet_diag_msg = struct.Struct("=B3x2s2x16s16xI24xI").unpack_from
_INET_DIAG_MSG_SIZE = 72
_SOCKADDR_STORAGE_SIZE = 128

_FAMILIES: dict[int, Literal["ipv4", "ipv6"]] = {AF_INET: "ipv4", AF_INET6: "ipv6"}

Message = tuple[int, bytes]


def listening_sockets(netns: int, proc: str = "/proc") -> list[ListeningSocket]:
    """TCP sockets in LISTEN (MPTCP's too), unconnected bound UDP ones, and SCTP listeners, of the namespace that the
    calling thread is in; `netns` is put in each. A socket of the kernel itself (a VXLAN's) is among them, with an inode
    that no process holds.

    No module is loaded for it: where inet_diag, tcp_diag or udp_diag are not there, /proc/thread-self/net is read,
    which does not tell `v6only` and `ifindex`. Raises NetlinkError, OSError, ValueError.
    """
    has_tcp, has_udp = _has_any(proc)
    if not (has_tcp and has_udp):
        # Each processor's count is added up without a lock: to be wrong twice is not to be expected.
        again = _has_any(proc)
        has_tcp, has_udp = has_tcp or again[0], has_udp or again[1]
    found: list[ListeningSocket] = []
    inet = is_present("inet_diag")
    tcp, udp, sctp = inet and is_present("tcp_diag"), inet and is_present("udp_diag"), inet and is_present("sctp_diag")
    sctp = sctp and _has_sctp(proc)
    if (tcp and has_tcp) or (udp and has_udp) or sctp:
        with NetlinkSocket(NETLINK_SOCK_DIAG) as diag:
            if tcp and has_tcp:
                found += parse_sockets(diag.dump(TCPDIAG_GETSOCK, _TCP_LISTENERS), "tcp", netns)
            if udp and has_udp:
                found += _unconnected_udp(diag, netns)
            if sctp:
                for request in _SCTP_LISTENERS:
                    found += parse_sockets(diag.dump(SOCK_DIAG_BY_FAMILY, request), "sctp", netns)
    if has_tcp and not tcp:
        found += _proc_net("tcp", netns, proc)
    if has_udp and not udp:
        found += _proc_net("udp", netns, proc)
    return found


def _has_any(proc: str) -> tuple[bool, bool]:
    """Whether the namespace has TCP sockets, and UDP ones; what is not said may be."""
    tcp = udp = False
    for name in ("sockstat", "sockstat6"):
        try:
            counts = _counts(content(f"{proc}/thread-self/net/{name}"))
        except FileNotFoundError:
            if name == "sockstat6":
                continue  # a kernel without IPv6
            return True, True
        except OSError:
            return True, True
        digit = name.removeprefix("sockstat").encode()
        tcp = tcp or counts.get(b"TCP" + digit) != b"0"
        udp = udp or counts.get(b"UDP" + digit) != b"0"
        if tcp and udp:
            break  # an embedded DNS has both, of IPv4
    return tcp, udp


def _counts(raw: bytes) -> dict[bytes, bytes]:
    """The sockets in use by protocol: lines as `TCP: inuse 1 orphan 0`."""
    lines = (line.partition(b": inuse ") for line in raw.splitlines())
    return {proto: rest.partition(b" ")[0] for proto, _, rest in lines}


_udp_at_once: bool | None = None  # whether the kernel knows the attribute; None where that was not to be seen yet


def _unconnected_udp(diag: NetlinkSocket, netns: int) -> list[ListeningSocket]:
    """Those of UDP, IPv4 first. Raises NetlinkError, ValueError.

    A kernel that does not know the attribute tells of TCP instead. So both ways are tried, until there was a socket to
    compare them by.
    """
    global _udp_at_once
    if _udp_at_once:
        return _at_once(diag, netns)
    found: list[ListeningSocket] = []
    for request in _UNCONNECTED_UDP:
        found += parse_sockets(diag.dump(SOCK_DIAG_BY_FAMILY, request), "udp", netns)
    if found and _udp_at_once is None:
        try:
            _udp_at_once = _at_once(diag, netns) == found
        except (NetlinkError, ValueError):
            _udp_at_once = False
    return found


def _at_once(diag: NetlinkSocket, netns: int) -> list[ListeningSocket]:
    messages = diag.dump(TCPDIAG_GETSOCK, _UDP_OF_BOTH_FAMILIES)
    messages.sort(key=lambda message: message[1][:1])  # by family, else in the kernel's order
    return list(parse_sockets(messages, "udp", netns))


def parse_sockets(messages: Iterable[Message], proto: str, netns: int) -> Iterator[ListeningSocket]:
    """Sockets of IPv4 and IPv6 in answers of sock_diag(7). Raises ValueError for a message of another form."""
    for _, body in messages:
        if len(body) < _INET_DIAG_MSG_SIZE:
            raise ValueError(f"a struct inet_diag_msg of {len(body)} bytes")
        number, port, source, ifindex, inode = _inet_diag_msg(body)
        family = _FAMILIES.get(number)
        if family is None:
            continue
        found = attributes(body, _INET_DIAG_MSG_SIZE)
        sources = _sctp_addresses(found.get(_INET_DIAG_LOCALS, b""), number) if proto == "sctp" else []
        for address in sources or [source[:4] if number == AF_INET else source]:
            yield ListeningSocket(
                netns=netns,
                proto=proto,
                family=family,
                address=inet_ntop(number, address),
                port=int.from_bytes(port, "big"),
                inode=inode,
                ifindex=ifindex or None,
                # The kernel tells it of every IPv6 socket that does not connect, asked for or not.
                v6only=found.get(_INET_DIAG_SKV6ONLY, b"\0") != b"\0",
            )


def _sctp_addresses(raw: bytes, family: int) -> list[bytes]:
    """The addresses of `family` in INET_DIAG_LOCALS: an SCTP socket is bound to any number of them."""
    found = []
    for offset in range(0, len(raw) - _SOCKADDR_STORAGE_SIZE + 1, _SOCKADDR_STORAGE_SIZE):
        (number,) = struct.unpack_from("=H", raw, offset)
        if number == family:
            start, size = (4, 4) if family == AF_INET else (8, 16)  # in struct sockaddr_in, sockaddr_in6
            found.append(raw[offset + start : offset + start + size])
    return found


@cache
def _has_sctp(proc: str) -> bool:
    """Whether there is SCTP on this host, beside the module that reports on it."""
    return os.path.exists(f"{proc}/thread-self/net/sctp")


def _proc_net(proto: Literal["tcp", "udp"], netns: int, proc: str) -> list[ListeningSocket]:
    found = parse_proc_net(content(f"{proc}/thread-self/net/{proto}"), proto, "ipv4", netns)
    try:
        raw = content(f"{proc}/thread-self/net/{proto}6")
    except FileNotFoundError:
        return found  # a kernel without IPv6
    return found + parse_proc_net(raw, proto, "ipv6", netns)


def parse_proc_net(
    raw: bytes, proto: Literal["tcp", "udp"], family: Literal["ipv4", "ipv6"], netns: int
) -> list[ListeningSocket]:
    """The listening sockets in /proc/PID/net/tcp, tcp6, udp or udp6 (proc_pid_net(5)). Raises ValueError."""
    state = b"%02X" % (_TCP_LISTEN if proto == "tcp" else _TCP_CLOSE)
    found = []
    for line in raw.splitlines()[1:]:
        fields = line.split(None, 10)
        if len(fields) < 10:
            raise ValueError(f"not a line of /proc/net/{proto}: {line[:80]!r}")
        if fields[3] != state:
            continue
        address, _, port = fields[1].partition(b":")
        found.append(
            ListeningSocket(
                netns=netns,
                proto=proto,
                family=family,
                address=inet_ntop(AF_INET if family == "ipv4" else AF_INET6, _words(address)),
                port=int(port, 16),
                inode=int(fields[9]),
            )
        )
    return found


def _words(digits: bytes) -> bytes:
    """An address that was printed as hexadecimal numbers of 32 bits each, in the machine's own byte order."""
    raw = bytes.fromhex(digits.decode("ascii"))
    if sys.byteorder == "big":
        return raw
    return b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
