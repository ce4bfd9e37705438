r"""Netlink sockets (netlink(7)): a question to the kernel, its answer as bytes that others parse.

A socket belongs to the network namespace that its thread was in when it was made, and stays there.

    >>> with NetlinkSocket(NETLINK_ROUTE) as route:
    ...     kinds = {kind for kind, body in route.dump(18, struct.pack("=BxHiII", 0, 0, 0, 0, 0))}  # RTM_GETLINK
    >>> kinds  # RTM_NEWLINK
    {16}
    >>> attributes(b"\x08\0\x0d\0\xdc\x05\0\0" b"\x07\0\x03\0lo\0\0")
    {13: b'\xdc\x05\x00\x00', 3: b'lo\x00'}
"""

from __future__ import annotations

import _socket as socket  # `socket` has enums and selectors on top, which take 4 ms to load
import errno
import os
import struct
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from hostinspect.kernel import tape, waiting
from hostinspect.kernel.text import text

NETLINK_ROUTE = 0
NETLINK_SOCK_DIAG = 4
NETLINK_NETFILTER = 12

# include/uapi/linux/netlink.h
NLM_F_REQUEST = 0x01
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED = 0x100  # of an error: the request is not repeated in it
NLM_F_ACK_TLVS = 0x200  # of an error: it ends in attributes
NLM_F_DUMP = 0x300
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 1, 2, 3, 4
NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK = 270
_NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 11, 12
_NLA_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

TIMEOUT = 5.0  # seconds; the kernel answers in microseconds, unless it has lost our question
ATTEMPTS = 8  # at a dump that is disturbed each time

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length with this header, type, flags, sequence, port
HEADER_SIZE = _HEADER.size
_header = _HEADER.unpack_from
_attribute = struct.Struct("=HH").unpack_from  # struct nlattr: length with this header, type
_TIMEVAL = struct.Struct("@ll")
_INT = struct.Struct("=i")
_WELL = bytes(4)  # an errno of 0
_KIND = socket.SOCK_RAW | socket.SOCK_CLOEXEC
_WHOLE_LENGTH = socket.MSG_TRUNC  # what recv(2) returns is that of the datagram, however much of it fits
_AT_ONCE = socket.MSG_TRUNC | socket.MSG_DONTWAIT

# A datagram of a dump has 32 KiB at most, but for a single message that is longer; then the buffer grows.
_BUFFER_SIZE = 32768
_SPARE_BUFFERS = 4
_NO_BUFFER = memoryview(b"")
_buffers: list[memoryview] = []  # those of closed sockets: one is opened and closed for each of thousands of namespaces


Known = Callable[[memoryview], tuple[int, Any] | None]


class NetlinkError(OSError):
    """The kernel refused a request, or did not answer: `errno`, and in words what was asked and what it said."""


class DumpInterruptedError(NetlinkError):
    """What is dumped changed under each attempt. `messages` are those of the last: entries may be missing or double."""

    def __init__(self, what: str, messages: list[tuple[int, Any]]) -> None:
        super().__init__(errno.EAGAIN, f"{what} changed while it was read, {ATTEMPTS} times in a row")
        self.messages = messages


class NetlinkSocket:
    """A socket of one netlink protocol, in the network namespace that the calling thread is in. A context manager.

    Not for several threads at once. Making one of NETLINK_NETFILTER may load a kernel module (see
    `hostinspect.kernel.modules`). Raises NetlinkError, EPROTONOSUPPORT where the kernel has no such protocol.
    """

    __slots__ = ("_buffer", "_sequence", "_socket", "_timeout", "protocol")

    def __init__(self, protocol: int, timeout: float = TIMEOUT) -> None:
        self.protocol = protocol
        self._timeout = timeout
        self._sequence = 0
        self._buffer = _buffers.pop() if _buffers else memoryview(bytearray(_BUFFER_SIZE))
        try:
            self._socket = socket.socket(socket.AF_NETLINK, _KIND, protocol)
        except OSError as error:
            raise _refused(error.errno or 0, f"netlink socket of protocol {protocol}") from None
        try:
            try:
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
                if protocol == NETLINK_ROUTE:
                    self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
            except OSError:
                pass  # of Linux 4.12 and 4.20: without them, errors have no words, and the filters no effect
            # A container with CAP_NET_ADMIN may send to sockets in its namespace. From a connected one the kernel
            # keeps away all messages but its own, so that we need not look at each sender.
            self._socket.connect((0, 0))
        except OSError as error:
            self._socket.close()
            raise _refused(error.errno or 0, f"netlink socket of protocol {protocol}") from None

    def dump(self, msg_type: int, body: bytes = b"", flags: int = 0) -> list[tuple[int, bytes]]:
        """All messages that answer a dump request: type, and body without its nlmsghdr, in the kernel's order.

        `body` is the request's own header and attributes; `flags` are set beside NLM_F_REQUEST | NLM_F_DUMP. A dump
        that was disturbed (NLM_F_DUMP_INTR) or whose messages were longer than expected is made again.

        Raises NetlinkError: with the kernel's errno and words, ETIMEDOUT without an answer; DumpInterruptedError.
        """
        return self.dump_known(msg_type, body, None, flags)

    def dump_known(self, msg_type: int, body: bytes, known: Known | None, flags: int = 0) -> list[tuple[int, Any]]:
        """The same, but for each datagram of which `known` returns something, which stands for all messages in it."""
        for _ in range(ATTEMPTS):
            messages, complete = self._dump(msg_type, body, flags, known)
            if complete:
                return messages
        raise DumpInterruptedError(f"dump {msg_type} of netlink protocol {self.protocol}", messages)

    def request(self, msg_type: int, body: bytes = b"", flags: int = 0) -> tuple[int, bytes]:
        """The one message that answers a request: type, and body without its nlmsghdr. Raises NetlinkError."""
        sequence = self._send(msg_type, NLM_F_REQUEST | flags, body)
        while True:
            size = self._receive(msg_type)
            for kind, flags_of_it, number, answer in messages_in(self._buffer[:size].tobytes()):
                if number != sequence:
                    continue
                if kind >= 16:
                    return kind, answer
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    self._raise_for(kind, flags_of_it, answer, msg_type)
                if kind == NLMSG_ERROR:
                    return kind, answer
            if size > len(self._buffer):
                raise NetlinkError(errno.EMSGSIZE, f"{self._words(msg_type)} is answered with {size} bytes")

    def close(self) -> None:
        """Give back the descriptor; closing twice does nothing."""
        self._socket.close()
        if len(_buffers) < _SPARE_BUFFERS and len(self._buffer) == _BUFFER_SIZE:
            _buffers.append(self._buffer)
            self._buffer = _NO_BUFFER

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _dump(self, msg_type: int, body: bytes, flags: int, known: Known | None) -> tuple[list[tuple[int, Any]], bool]:
        """One attempt at a dump, and whether it is whole and consistent."""
        sequence = self._send(msg_type, NLM_F_REQUEST | NLM_F_DUMP | flags, body)
        found: list[tuple[int, Any]] = []
        complete = True
        while True:
            size = self._receive(msg_type)
            buffer = self._buffer
            if size > len(buffer):
                # Its end is lost. Read on to the dump's end, which the kernel must reach before it starts another.
                self._buffer = memoryview(bytearray(2 * size))
                complete = False
                continue
            end = 0
            while end + HEADER_SIZE <= size:  # as `messages_in`
                start = end + HEADER_SIZE
                length, kind, flags_of_it, number, _ = _header(buffer, end)
                end += length
                if length < HEADER_SIZE or end > size:
                    break
                if number == sequence:
                    if flags_of_it & NLM_F_DUMP_INTR:
                        complete = False
                    if kind >= 16:
                        if known and start == HEADER_SIZE and (messages := known(buffer[:size])) is not None:
                            found.append(messages)
                            break
                        found.append((kind, buffer[start:end].tobytes()))
                    elif kind in (NLMSG_DONE, NLMSG_ERROR):
                        answer = buffer[start:end].tobytes()
                        if answer != _WELL:
                            self._raise_for(kind, flags_of_it, answer, msg_type)
                        return found, complete
                    elif kind == NLMSG_OVERRUN:
                        complete = False
                end = (end + 3) & ~3

    def _send(self, msg_type: int, flags: int, body: bytes) -> int:
        self._sequence += 1
        header = _HEADER.pack(HEADER_SIZE + len(body), msg_type, flags, self._sequence, 0)
        if waiting.page is not None:
            waiting.on("netlink", self._words(msg_type))
        try:
            self._socket.send(header + body)
        except OSError as error:
            raise _refused(error.errno or 0, self._words(msg_type)) from None
        return self._sequence

    def _receive(self, msg_type: int) -> int:
        """The length of a datagram; in the buffer is what of it fits."""
        try:
            size = self._socket.recv_into(self._buffer, 0, _AT_ONCE)
        except OSError as error:
            size = self._wait(error, msg_type)
        if tape.running:
            tape.running.keep_here(self._buffer[:size].tobytes(), self._words(msg_type))
        return size

    def _wait(self, error: OSError, msg_type: int) -> int:
        """The same, where there was none yet. Nearly always there is one when a question is put."""
        try:
            if not isinstance(error, BlockingIOError):
                raise error
            # Not settimeout(), which adds a poll(2) to every recv(2).
            limit = _TIMEVAL.pack(int(self._timeout), int(self._timeout % 1 * 1e6))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            return self._socket.recv_into(self._buffer, 0, _WHOLE_LENGTH)
        except BlockingIOError:
            raise _refused(errno.ETIMEDOUT, self._words(msg_type)) from None
        except OSError as error:
            raise _refused(error.errno or 0, self._words(msg_type)) from None

    def _raise_for(self, kind: int, flags: int, body: bytes, msg_type: int) -> None:
        """Raise what a final message says, unless it says that all is well."""
        number, words = parse_error(kind, flags, body)
        if number:
            raise _refused(number, self._words(msg_type), words)

    def _words(self, msg_type: int) -> str:
        return f"request {msg_type} of netlink protocol {self.protocol}"


def messages_in(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages of a datagram: type, flags, sequence number, body. One that is cut off ends them."""
    offset, end = 0, len(datagram)
    while offset + HEADER_SIZE <= end:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
        if length < HEADER_SIZE or offset + length > end:
            return
        yield kind, flags, sequence, datagram[offset + HEADER_SIZE : offset + length]
        offset += (length + 3) & ~3


def parse_error(kind: int, flags: int, body: bytes) -> tuple[int, str]:
    """The errno (0: all is well) and the kernel's own words, if any, of a NLMSG_ERROR or NLMSG_DONE message."""
    if len(body) < 4:
        return 0, ""  # NLMSG_DONE of an old kernel
    number = -_INT.unpack_from(body)[0]
    if not flags & NLM_F_ACK_TLVS:
        return max(number, 0), ""
    offset = 4
    if kind == NLMSG_ERROR and len(body) >= 4 + HEADER_SIZE:
        # The request's header follows, and all of the request where it is not capped.
        offset += HEADER_SIZE if flags & NLM_F_CAPPED else (_HEADER.unpack_from(body, 4)[0] + 3) & ~3
    try:
        words = attributes(body, offset).get(NLMSGERR_ATTR_MSG, b"")
    except ValueError:
        words = b""
    return max(number, 0), text(words.rstrip(b"\0"))


def attribute_list(body: bytes, offset: int = 0) -> list[tuple[int, bytes]]:
    """The attributes in `body` from `offset` on: type without its flags, and payload. For lists of one type.

    Raises ValueError where a length leads out of `body`.
    """
    found = []
    end = len(body)
    while offset + 4 <= end:
        length, kind = _attribute(body, offset)
        if length < 4 or offset + length > end:
            raise ValueError(f"a netlink attribute of {length} bytes at {offset} of {end}")
        found.append((kind & _NLA_TYPE_MASK, body[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return found


def attributes(body: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes in `body` from `offset` on, payload by type without its flags; the last one of a type counts.

    A nested attribute's payload is again such a body. Raises ValueError where a length leads out of `body`.
    """
    found = {}
    end = len(body)
    while offset + 4 <= end:
        length, kind = _attribute(body, offset)
        if length < 4 or offset + length > end:
            raise ValueError(f"a netlink attribute of {length} bytes at {offset} of {end}")
        found[kind & _NLA_TYPE_MASK] = body[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def picked(body: bytes, wanted: frozenset[int], offset: int = 0) -> dict[int, bytes]:
    """As `attributes`, but only those of `wanted` types: a link has some 40, of which ten matter."""
    found = {}
    end = len(body)
    while offset + 4 <= end:
        length, kind = _attribute(body, offset)
        if length < 4 or offset + length > end:
            raise ValueError(f"a netlink attribute of {length} bytes at {offset} of {end}")
        kind &= _NLA_TYPE_MASK
        if kind in wanted:
            found[kind] = body[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def attribute(body: bytes, wanted: int, offset: int = 0) -> bytes | None:
    """The payload of the first attribute of type `wanted`, None without one; what is behind it is not looked at."""
    end = len(body)
    while offset + 4 <= end:
        length, kind = _attribute(body, offset)
        if length < 4 or offset + length > end:
            raise ValueError(f"a netlink attribute of {length} bytes at {offset} of {end}")
        if kind & _NLA_TYPE_MASK == wanted:
            return body[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return None


def _refused(number: int, what: str, words: str = "") -> NetlinkError:
    return NetlinkError(number, f"{what}: {os.strerror(number)}" + (f" ({words})" if words else ""))
