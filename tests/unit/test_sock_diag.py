"""Listening sockets, from recorded messages of sock_diag and lines of /proc/net; and which modules are there."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from hostinspect.facts import ListeningSocket
from hostinspect.kernel import modules, sock_diag
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
    (socket,) = parse_sockets([(20, recorded(name))], proto, 7)
    assert (socket.netns, socket.proto, socket.family, socket.address) == (7, proto, family, address)
    assert (socket.port, socket.inode, socket.v6only) == (port, inode, v6only)


def test_a_socket_bound_to_a_link() -> None:
    body = bytearray(recorded("tcp-0.0.0.0-False"))
    body[40:44] = struct.pack("=I", 7)
    (socket,) = parse_sockets([(20, bytes(body))], "tcp", 1)
    assert socket.ifindex == 7
    (socket,) = parse_sockets([(20, recorded("tcp-0.0.0.0-False"))], "tcp", 1)
    assert socket.ifindex is None


def test_an_sctp_socket_has_several_addresses() -> None:
    """Built as linux/inet_diag.h says: this kernel has no SCTP."""
    head = bytearray(recorded("tcp-0.0.0.0-False")[:72])
    storages = (b"\2\0" + struct.pack(">H4B", 5000, 10, 0, 0, number) for number in (1, 2))
    body = bytes(head) + payload(12, b"".join(storage.ljust(128, b"\0") for storage in storages))
    assert [socket.address for socket in parse_sockets([(20, body)], "sctp", 1)] == ["10.0.0.1", "10.0.0.2"]


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
