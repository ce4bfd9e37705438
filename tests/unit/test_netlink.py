"""Netlink messages taken apart, and a socket whose other end is played by the test."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable

import pytest

from hostinspect.kernel import netlink
from hostinspect.kernel.netlink import (
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    DumpInterruptedError,
    NetlinkError,
    NetlinkSocket,
    attribute,
    attribute_list,
    attributes,
    messages_in,
    parse_error,
    picked,
)


def message(kind: int, body: bytes, sequence: int = 1, flags: int = 2) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)


def payload(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


DONE = bytes(4)


def test_attributes_are_padded_and_flagged() -> None:
    body = b"head" + payload(3, b"lo\0") + payload(0x8000 | 18, b"nested..") + payload(0x4000 | 4, b"\0\1")
    assert attributes(body, 4) == {3: b"lo\0", 18: b"nested..", 4: b"\0\1"}
    assert picked(body, frozenset((3, 99)), 4) == {3: b"lo\0"}
    assert attribute(body, 18, 4) == b"nested.."
    assert attribute(body, 99, 4) is None


def test_attributes_of_one_type_are_a_list() -> None:
    assert attribute_list(payload(53, b"a\0") + payload(53, b"b\0")) == [(53, b"a\0"), (53, b"b\0")]


@pytest.mark.parametrize("length", [0, 3, 13, 65535])
def test_a_length_that_leads_elsewhere(length: int) -> None:
    body = struct.pack("=HH8x", length, 1)
    for parse in (attributes, attribute_list):
        with pytest.raises(ValueError, match=f"attribute of {length} bytes"):
            parse(body)
    with pytest.raises(ValueError, match="attribute of"):
        picked(body, frozenset((1,)))
    with pytest.raises(ValueError, match="attribute of"):
        attribute(body, 1)


def test_what_is_too_short_for_an_attribute_is_padding() -> None:
    assert attributes(payload(1, b"x") + b"\0\0\0") == {1: b"x"}


def test_messages_in_a_datagram() -> None:
    datagram = message(16, b"abcde", 7) + message(NLMSG_DONE, DONE, 7)
    assert list(messages_in(datagram)) == [(16, 2, 7, b"abcde"), (NLMSG_DONE, 2, 7, DONE)]
    assert list(messages_in(datagram[:30])) == [(16, 2, 7, b"abcde")]
    assert list(messages_in(struct.pack("=IHHII", 15, 16, 0, 1, 0))) == []


REQUEST = struct.pack("=IHHII", 32, 18, 5, 1, 0)
WORDS = payload(1, b"no such thing\0")


@pytest.mark.parametrize(
    ("kind", "flags", "body", "expected"),
    [
        (NLMSG_ERROR, 0, struct.pack("=i", -errno.ENODEV) + REQUEST, (errno.ENODEV, "")),
        (NLMSG_ERROR, 0, struct.pack("=i", 0) + REQUEST, (0, "")),
        (
            NLMSG_ERROR,
            NLM_F_ACK_TLVS,
            struct.pack("=i", -errno.EINVAL) + REQUEST + bytes(16) + WORDS,
            (errno.EINVAL, "no such thing"),
        ),
        (
            NLMSG_ERROR,
            NLM_F_ACK_TLVS | NLM_F_CAPPED,
            struct.pack("=i", -errno.EINVAL) + REQUEST + WORDS,
            (errno.EINVAL, "no such thing"),
        ),
        (NLMSG_ERROR, NLM_F_ACK_TLVS, struct.pack("=i", -errno.EINVAL) + b"\xff" * 20, (errno.EINVAL, "")),
        (NLMSG_DONE, NLM_F_ACK_TLVS, struct.pack("=i", -errno.ENOENT) + WORDS, (errno.ENOENT, "no such thing")),
        (NLMSG_DONE, 2, DONE, (0, "")),
        (NLMSG_DONE, 2, b"", (0, "")),
    ],
)
def test_errors(kind: int, flags: int, body: bytes, expected: tuple[int, str]) -> None:
    assert parse_error(kind, flags, body) == expected


class Kernel:
    """In a NetlinkSocket's place of a socket: answers with these datagrams, `late` or at once, then not at all."""

    def __init__(self, datagrams: Iterable[bytes], *, late: bool = False) -> None:
        self.datagrams = list(datagrams)
        self.sent: list[bytes] = []
        self.late = late
        self.limit: bytes | None = None

    def send(self, raw: bytes) -> None:
        self.sent.append(raw)

    def setsockopt(self, level: int, option: int, limit: bytes) -> None:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_RCVTIMEO)
        self.limit = limit

    def recv_into(self, buffer: memoryview, size: int, flags: int) -> int:
        assert flags & socket.MSG_DONTWAIT or self.limit
        if not self.datagrams or (self.late and flags & socket.MSG_DONTWAIT):
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        datagram = self.datagrams.pop(0)
        room = len(buffer)
        buffer[:] = datagram[:room] + bytes(max(0, room - len(datagram)))
        return len(datagram)

    def close(self) -> None:
        pass


def answered(*datagrams: bytes, late: bool = False) -> tuple[NetlinkSocket, Kernel]:
    kernel = Kernel(datagrams, late=late)
    asker = NetlinkSocket(netlink.NETLINK_ROUTE)
    asker._socket.close()
    asker._socket = kernel  # type: ignore[assignment]
    return asker, kernel


def test_a_dump_over_several_datagrams() -> None:
    asker, kernel = answered(message(16, b"abcd"), message(16, b"efgh") + message(NLMSG_DONE, DONE))
    assert asker.dump(18, b"body") == [(16, b"abcd"), (16, b"efgh")]
    assert kernel.sent == [struct.pack("=IHHII", 20, 18, 0x301, 1, 0) + b"body"]


def test_an_answer_that_takes_its_time() -> None:
    asker, kernel = answered(message(16, b"abcd") + message(NLMSG_DONE, DONE), late=True)
    assert asker.dump(18) == [(16, b"abcd")]
    assert kernel.limit == struct.pack("@ll", 5, 0)


def test_a_message_of_another_sequence_is_none_of_ours() -> None:
    asker, _ = answered(message(16, b"old.", 77) + message(16, b"new.") + message(NLMSG_DONE, DONE))
    assert asker.dump(18) == [(16, b"new.")]


def test_a_disturbed_dump_is_made_again() -> None:
    asker, kernel = answered(
        message(16, b"half", flags=2 | NLM_F_DUMP_INTR) + message(NLMSG_DONE, DONE),
        message(16, b"new.", 2) + message(NLMSG_DONE, DONE, 2),
    )
    assert asker.dump(18) == [(16, b"new.")]
    assert len(kernel.sent) == 2


def test_a_dump_disturbed_at_its_end_only() -> None:
    asker, _ = answered(
        message(16, b"half") + message(NLMSG_DONE, DONE, flags=NLM_F_DUMP_INTR), message(NLMSG_DONE, DONE, 2)
    )
    assert asker.dump(18) == []


def test_a_dump_disturbed_each_time_is_given_up() -> None:
    asker, _ = answered(
        *(
            message(16, b"half", number, NLM_F_DUMP_INTR) + message(NLMSG_DONE, DONE, number)
            for number in range(1, netlink.ATTEMPTS + 1)
        )
    )
    with pytest.raises(DumpInterruptedError, match="changed while it was read, 8 times") as raised:
        asker.dump(18)
    assert raised.value.messages == [(16, b"half")]


def test_a_message_longer_than_the_buffer() -> None:
    long = bytes(100_000)
    asker, _ = answered(
        message(16, long), message(NLMSG_DONE, DONE), message(16, long, 2), message(NLMSG_DONE, DONE, 2)
    )
    assert asker.dump(18) == [(16, long)]


def test_no_answer() -> None:
    asker, _ = answered()
    with pytest.raises(NetlinkError, match="request 18 of netlink protocol 0: Connection timed out") as raised:
        asker.dump(18)
    assert raised.value.errno == errno.ETIMEDOUT
    with pytest.raises(NetlinkError, match="timed out"):
        asker.request(18)


def test_a_refused_request() -> None:
    refusal = message(NLMSG_ERROR, struct.pack("=i", -errno.EPERM) + REQUEST)
    for ask in (answered(refusal)[0].request, answered(refusal)[0].dump):
        with pytest.raises(NetlinkError, match="Operation not permitted") as raised:
            ask(18)
        assert raised.value.errno == errno.EPERM


def test_a_dump_that_fails_at_its_end() -> None:
    asker, _ = answered(
        message(16, b"part"), message(NLMSG_DONE, struct.pack("=i", -errno.ENOENT) + WORDS, flags=NLM_F_ACK_TLVS)
    )
    with pytest.raises(NetlinkError, match=r"No such file or directory \(no such thing\)"):
        asker.dump(18)


def test_one_answer() -> None:
    asker, _ = answered(message(88, b"old.", 9), message(88, b"id", flags=0))
    assert asker.request(90) == (88, b"id")


def test_a_real_socket_answers() -> None:
    with NetlinkSocket(netlink.NETLINK_ROUTE) as route:
        assert {kind for kind, _ in route.dump(18, bytes(16))} == {16}
        with pytest.raises(NetlinkError) as raised:
            route.request(18, struct.pack("=BxHiII", 0, 0, 2**31 - 1, 0, 0))
    assert raised.value.errno == errno.ENODEV


def test_no_such_protocol() -> None:
    with pytest.raises(NetlinkError, match="netlink socket of protocol 31: Protocol not supported"):
        NetlinkSocket(31)
