"""A key as a person typed it, and the shapes it may have. A key may have several: `8080` is a number and a port."""

from __future__ import annotations

import ipaddress
import re
from functools import cached_property
from posixpath import normpath

from msgspec import Struct
from msgspec.structs import replace

_LONGEST = 4096  # PATH_MAX; nothing on a host has a longer name
_PORT = re.compile(r"(?:(?P<host>.*):)?(?P<port>\d{1,5})(?:/(?P<proto>tcp|udp|sctp))?", re.ASCII)
_PROTO_FIRST = re.compile(r"(?P<proto>tcp|udp|sctp)[/:](?P<port>\d{1,5})", re.ASCII | re.IGNORECASE)
_PAIRS = re.compile(r"[0-9a-f]{1,2}([:-])(?:[0-9a-f]{1,2}\1){4}[0-9a-f]{1,2}", re.IGNORECASE)
_DOTTED = re.compile(r"(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}", re.IGNORECASE)
_BRIDGE_ID = re.compile(r"[0-9a-f]{4}\.([0-9a-f]{12})", re.IGNORECASE)
_TWELVE = re.compile(r"[0-9a-f]{12}", re.IGNORECASE)
_ID = re.compile(r"(?:sha256:)?([0-9a-z]{1,64})(-init)?", re.IGNORECASE)
_NAMESPACE = re.compile(r"([a-z_]+):\[?(\d{1,20})\]?", re.ASCII)
_LONG_NUMBER = 8  # digits: a number this long is more likely an id than a pid
_DEVICE = re.compile(r"\d{1,7}:\d{1,7}", re.ASCII)
# A container's whole id, wherever it stands.
CONTAINER_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")

_ANY = ("", "*")
_WILDCARDS = {"0.0.0.0": "0.0.0.0", "::": "::", "[::]": "::"}


class AddressKey(Struct, frozen=True):
    """An address in the kernel's spelling, with what stood behind it."""

    ip: str
    prefix_len: int | None = None
    port: int | None = None
    proto: str | None = None


class PortKey(Struct, frozen=True):
    """A port; `host` is None for whatever address, "0.0.0.0" or "::" where that was said."""

    port: int
    proto: str | None = None
    host: str | None = None


class Key:
    """The text, and what it can be read as. Every reading is None where the text has not that shape.

    `cwd` is what a relative path starts from; None where that means nothing, as with another host's snapshot.
    """

    def __init__(self, text: str, cwd: str | None = None) -> None:
        self.text = text = _valid(text)
        self._word = text.strip() if len(text) <= _LONGEST and "\0" not in text else ""
        self._cwd = cwd

    @property
    def word(self) -> str:
        """The text without blanks around it; empty for one that nothing on a host can be called."""
        return self._word

    @cached_property
    def number(self) -> int | None:
        word = self._word
        return int(word) if word.isascii() and word.isdecimal() and len(word) <= 20 else None

    @cached_property
    def namespace(self) -> tuple[str | None, int] | None:
        """`net:[4026531840]` as type and inode; the type is None for the bare number."""
        if self.number is not None:
            return None, self.number
        found = _NAMESPACE.fullmatch(self._word)
        return (found[1], int(found[2])) if found else None

    @cached_property
    def device(self) -> str | None:
        """MAJOR:MINOR, as in mountinfo."""
        return self._word if _DEVICE.fullmatch(self._word) else None

    @cached_property
    def mac(self) -> str | None:
        """`02:42:…`, `02-42-…`, `0242.ac11.0002`, twelve digits, or brctl's bridge id, as the kernel spells it."""
        word = self._word
        if _PAIRS.fullmatch(word):
            digits = "".join(pair.zfill(2) for pair in re.split("[:-]", word))
        elif _DOTTED.fullmatch(word):
            digits = word.replace(".", "")
        elif found := _BRIDGE_ID.fullmatch(word):
            digits = found[1]
        elif _TWELVE.fullmatch(word):
            digits = word
        else:
            return None
        digits = digits.lower()
        return ":".join(digits[i : i + 2] for i in range(0, 12, 2))

    @cached_property
    def id(self) -> str | None:
        """An id or the beginning of one, in lower case, without `sha256:`; of a layer it may end in `-init`."""
        found = _ID.fullmatch(self._word)
        return found[1].lower() + (found[2] or "") if found else None

    @property
    def is_short_number(self) -> bool:
        """Whether it is a number that is more likely a pid, port or ifindex than the beginning of an id."""
        return self.number is not None and len(self._word) < _LONG_NUMBER

    @cached_property
    def address(self) -> AddressKey | None:
        """`ADDR`, `ADDR/LEN`, `ADDR:PORT`, `[ADDR]:PORT`, any with `/tcp` behind the port; zone ids are dropped."""
        word = self._word
        if (ip := canonical(word)) is not None:
            return AddressKey(ip)
        before, slash, after = word.rpartition("/")
        if slash and after.isascii() and after.isdecimal() and len(after) <= 3:
            ip = canonical(before)
            if ip is not None and int(after) <= (128 if ":" in ip else 32):
                return AddressKey(ip, prefix_len=int(after))
        if word.startswith("[") and word.endswith("]") and (ip := canonical(word)) is not None:
            return AddressKey(ip)
        port = self._port(word)
        if port is not None and port.host is not None and port.host not in _WILDCARDS:
            return AddressKey(port.host, port=port.port, proto=port.proto)
        return None

    @cached_property
    def port(self) -> PortKey | None:
        """`8080`, `8080/udp`, `udp/8080`, `:8080`, `127.0.0.1:8080`, `[::1]:8080`, `0.0.0.0:8080->80/tcp`."""
        word, arrow, container = self._word.partition("->")
        if arrow:
            inside = _PORT.fullmatch(container)
            if inside is None or inside["host"] is not None:
                return None
            word = f"{word}/{inside['proto'] or 'tcp'}"
        if found := _PROTO_FIRST.fullmatch(word):
            return _checked(PortKey(int(found["port"]), found["proto"].lower()))
        return self._port(word)

    @staticmethod
    def _port(word: str) -> PortKey | None:
        found = _PORT.fullmatch(word)
        if found is None:
            return None
        host = found["host"]
        port = PortKey(int(found["port"]), found["proto"])
        if host is None or host in _ANY:
            return _checked(port)
        if host in _WILDCARDS:
            return _checked(replace(port, host=_WILDCARDS[host]))
        if host == "localhost":
            return _checked(replace(port, host="127.0.0.1"))
        if ":" in host and not host.startswith("["):
            return None  # an IPv6 address, all of it
        ip = canonical(host)
        return _checked(replace(port, host=ip)) if ip else None

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """As absolute paths, without following any link: `..` is taken away by the text, and /var/run is /run."""
        word = self.text if self._word else ""
        if not word.startswith("/"):
            if self._cwd is None or not word or ("/" not in word and word not in (".", "..")):
                return ()
            word = f"{self._cwd}/{word}"
        return (normal_path(word),)


def _valid(text: str) -> str:
    r"""The text with bytes that are no UTF-8 as `\xNN`, as the facts have them."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return text.encode("utf-8", "backslashreplace").decode()


def normal_path(path: str) -> str:
    """An absolute path without `//`, `.` and `..`; /var/run, which is a link to it wherever systemd is, as /run."""
    path = normpath(f"/{path.lstrip('/')}")
    if path.startswith("/var/run/") or path == "/var/run":
        return path.removeprefix("/var")
    return path


def canonical(address: str) -> str | None:
    """An address in the kernel's spelling; None for what is none. An IPv4-mapped one is the IPv4 one."""
    bare = address.removeprefix("[").removesuffix("]") if address.startswith("[") else address
    try:
        ip = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ip)


def is_loopback(ip: str) -> bool:
    """Whether an address is one that every network namespace has for itself."""
    return ipaddress.ip_address(ip).is_loopback


def _checked(port: PortKey) -> PortKey | None:
    return port if 0 < port.port <= 0xFFFF else None
