"""Listening sockets, from recorded messages of sock_diag and lines of /proc/net; and which modules are there."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

import pytest

from hostinspect.facts import ListeningSocket
from hostinspect.kernel import modules, sock_diag
from hostinspect.kernel.netlink import NETLINK_SOCK_DIAG, NetlinkSocket
from hostinspect.kernel.sock_diag import listening_sockets, parse_proc_net, parse_sockets
from tests.unit.netlink_bytes import recorded
from tests.unit.test_netlink import payload


@pytest.mark.parametrize(
    ("name", "proto", "family", "address", "port", "inode", "v6only"),
    [
        ("tcp-0.0.0.0-False", "tcp", "ipv4", "0.0.0.0", 43163, 251812, False),
        ("tcp-127.0.0.1-False", "tcp", "ipv4", "127.0.0.1", 38255, 251813, False),
        ("tcp-::-False", "tcp", "ipv6", "::", 47929, 251814, False),
        ("tcp-::-True", "tcp", "ipv6", "::", 58343, 251815, True),
        ("tcp-::1-True", "tcp", "ipv6", "::1", 36495, 251816, True),
        ("udp-0.0.0.0-False", "udp", "ipv4", "0.0.0.0", 4789, 252268, False),
        ("udp-::-False", "udp", "ipv6", "::", 60422, 251818, False),
        ("udp-::ffff:127.0.0.1-False", "udp", "ipv6", "::ffff:127.0.0.1", 55285, 251819, False),
    ],
)
def test_socket(name: str, proto: str, family: str, address: str, port: int, inode: int, v6only: bool) -> None:
    (found,) = parse_sockets([(20, recorded(name))], proto, 7)
    assert (found.netns, found.proto, found.family, found.address) == (7, proto, family, address)
    assert (found.port, found.inode, found.v6only) == (port, inode, v6only)


def test_a_socket_bound_to_a_link() -> None:
    body = bytearray(recorded("tcp-0.0.0.0-False"))
    body[40:44] = struct.pack("=I", 7)
    (found,) = parse_sockets([(20, bytes(body))], "tcp", 1)
    assert found.ifindex == 7
    (found,) = parse_sockets([(20, recorded("tcp-0.0.0.0-False"))], "tcp", 1)
    assert found.ifindex is None


def test_an_sctp_socket_has_several_addresses() -> None:
    """Built as linux/inet_diag.h says: this kernel has no SCTP."""
    head = bytearray(recorded("tcp-0.0.0.0-False")[:72])
    storages = (b"\2\0" + struct.pack(">H4B", 5000, 10, 0, 0, number) for number in (1, 2))
    body = bytes(head) + payload(12, b"".join(storage.ljust(128, b"\0") for storage in storages))
    assert [found.address for found in parse_sockets([(20, body)], "sctp", 1)] == ["10.0.0.1", "10.0.0.2"]


# --- UDP of both families at once -----------------------------------------------------------------------------------


class Diag:
    """In place of a socket of sock_diag: a kernel with these UDP sockets, which may be too old for the attribute."""

    def __init__(self, *bodies: bytes, old: bool = False) -> None:
        self.bodies, self.old = bodies, old
        self.asked: list[int] = []

    def dump(self, request: int, body: bytes) -> list[tuple[int, bytes]]:
        self.asked.append(request)
        if request == sock_diag.TCPDIAG_GETSOCK:
            assert body[-8:] == struct.pack("=HHI", 8, 3, 17)
            return [(20, recorded("tcp-127.0.0.1-False"))] if self.old else [(20, udp) for udp in self.bodies]
        return [(20, udp) for udp in self.bodies if udp[0] == body[0]]


SIX, FOUR = recorded("udp-::-False"), recorded("udp-0.0.0.0-False")


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sock_diag, "_udp_at_once", None)


def udp(diag: Diag) -> list[str]:
    return [found.family for found in sock_diag._unconnected_udp(diag, 7)]  # type: ignore[arg-type]


@pytest.mark.usefixtures("unseen")
def test_udp_is_asked_for_at_once_when_the_kernel_was_seen_to_know_how() -> None:
    diag = Diag(SIX, FOUR)
    assert [udp(diag), udp(diag)] == [["ipv4", "ipv6"]] * 2
    assert diag.asked == [20, 20, 18, 18]


@pytest.mark.usefixtures("unseen")
def test_an_old_kernel_tells_of_tcp_instead() -> None:
    diag = Diag(SIX, FOUR, old=True)
    assert [udp(diag), udp(diag)] == [["ipv4", "ipv6"]] * 2
    assert diag.asked == [20, 20, 18, 20, 20]


@pytest.mark.usefixtures("unseen")
def test_without_a_socket_nothing_was_seen() -> None:
    diag = Diag()
    assert [udp(diag), udp(diag)] == [[], []]
    assert diag.asked == [20, 20, 20, 20]


@pytest.mark.usefixtures("unseen")
def test_both_ways_say_the_same_here() -> None:
    with contextlib.ExitStack() as stack:
        for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")) * 5:
            bound = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            bound.bind((address, 0))
        with NetlinkSocket(NETLINK_SOCK_DIAG) as diag:
            for _ in range(10):  # others may come and go meanwhile
                sock_diag._udp_at_once = None
                each = sock_diag._unconnected_udp(diag, 7)
                if sock_diag._udp_at_once and sock_diag._unconnected_udp(diag, 7) == each:
                    break
            assert sock_diag._udp_at_once is True  # Linux 5.9 and later
    assert len(each) >= 15


def test_a_message_cut_short() -> None:
    with pytest.raises(ValueError, match="inet_diag_msg of 71 bytes"):
        list(parse_sockets([(20, recorded("tcp-::-True")[:71])], "tcp", 1))


TCP = b"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:A89B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 251812 1 00000000e58da401 0
   1: 0100007F:956F 00000000:0000 0A 00000000:00000001 00:00000000 00000000     0        0 251813 2 000000006c567116 0
   2: 0100007F:956F 0100007F:8F4E 01 00000000:00000000 00:00000000 00000000     0        0 0 1 000000000ea21e71 20 0 0
"""
UDP6 = b"""\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when \
retrnsmt   uid  timeout inode ref pointer drops
11005: 0000000000000000FFFF00000100007F:D7F5 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 \
00000000     0        0 251819 2 00000000e89ee8f5 0
"""


def test_proc_net_tcp() -> None:
    assert parse_proc_net(TCP, "tcp", "ipv4", 7) == [
        ListeningSocket(netns=7, proto="tcp", family="ipv4", address="0.0.0.0", port=43163, inode=251812),
        ListeningSocket(netns=7, proto="tcp", family="ipv4", address="127.0.0.1", port=38255, inode=251813),
    ]


def test_proc_net_udp6() -> None:
    assert parse_proc_net(UDP6, "udp", "ipv6", 7) == [
        ListeningSocket(netns=7, proto="udp", family="ipv6", address="::ffff:127.0.0.1", port=55285, inode=251819)
    ]


def test_proc_net_of_another_form() -> None:
    with pytest.raises(ValueError, match="not a line of /proc/net/tcp"):
        parse_proc_net(b"header\n0: 00000000:A89B\n", "tcp", "ipv4", 1)


def test_without_modules_the_files_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sock_diag, "is_present", lambda module: False)
    monkeypatch.setattr(sock_diag, "NetlinkSocket", None)
    files = tmp_path / "thread-self/net"
    files.mkdir(parents=True)
    (files / "tcp").write_bytes(TCP)
    (files / "udp").write_bytes(b"header\n")
    (files / "udp6").write_bytes(UDP6)
    assert [socket.port for socket in listening_sockets(7, str(tmp_path))] == [43163, 38255, 55285]


@pytest.mark.parametrize(
    ("loaded", "builtin", "present"),
    [
        (None, (), True),  # a kernel without modules has none to load
        (("tcp_diag",), (), True),
        ((), ("tcp_diag",), True),
        (("udp_diag",), (), False),
        ((), (), False),
    ],
)
def test_is_present(
    monkeypatch: pytest.MonkeyPatch, loaded: tuple[str, ...] | None, builtin: tuple[str, ...], present: bool
) -> None:
    monkeypatch.setattr(modules, "_loaded", lambda: loaded)
    monkeypatch.setattr(modules, "_builtin", lambda: builtin)
    assert modules.is_present("tcp_diag") is present
    assert modules.is_present("tcp-diag") is present


@pytest.mark.parametrize(
    ("four", "six", "has_any"),
    [
        ("TCP: inuse 0 orphan 0 tw 3\nUDP: inuse 0 mem 1", "TCP6: inuse 0\nUDP6: inuse 0", (False, False)),
        ("TCP: inuse 2 orphan 0 tw 3\nUDP: inuse 0 mem 1", "TCP6: inuse 0\nUDP6: inuse 0", (True, False)),
        ("TCP: inuse 0 orphan 0 tw 3\nUDP: inuse 0 mem 1", "TCP6: inuse 1\nUDP6: inuse 10", (True, True)),
        ("TCP: inuse 0 orphan 0 tw 3\nUDP: inuse 0 mem 1", None, (False, False)),  # no IPv6
        ("sockets: used 0\nUDP: inuse 0", "TCP6: inuse 0\nUDP6: inuse 0", (True, False)),
        ("TCP: inuse 1 orphan 0 tw 3\nUDP: inuse 1 mem 1", "TCP6: inuse 0\nUDP6: inuse 0", (True, True)),
        (None, "TCP6: inuse 0\nUDP6: inuse 0", (True, True)),
    ],
)
def test_a_namespace_counts_its_sockets(
    four: str | None, six: str | None, has_any: tuple[bool, bool], tmp_path: Path
) -> None:
    files = tmp_path / "thread-self/net"
    files.mkdir(parents=True)
    for name, text in (("sockstat", four), ("sockstat6", six)):
        if text is not None:
            (files / name).write_text(text)
    assert sock_diag._has_any(str(tmp_path)) == has_any
