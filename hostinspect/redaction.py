"""Facts that may be shown to strangers: names, addresses and paths replaced, alike wherever they occur.

What is in a field that is not `PLAIN` is taken word by word. A word of `WORDS`, a number or an engine's id stays; any
other becomes w1, w2, … An address becomes another one: two that shared a network do so afterwards, a private one is
still private, loopback and multicast stay (as in Xu et al., "Prefix-Preserving IP Address Anonymization", 2002, with
HMAC for the cipher and a key that nobody keeps). So what belonged together still does, and the report is the same but
for what things are called.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from hostinspect.facts import Facts, Gap

# The kernel's and the engines' own words, of which there are as many as their sources have. Everything else is
# replaced, so that a new field is until somebody has thought of it.
PLAIN: dict[str, frozenset[str]] = {
    "Host": frozenset(("kernel", "os", "collected_at")),
    "Sysctl": frozenset(("value",)),
    "Process": frozenset(("state",)),
    "Link": frozenset(("kind", "slave_kind", "link_type", "operstate", "flags", "port_state", "mode")),
    "Address": frozenset(("family", "scope")),
    "Route": frozenset(("family", "type")),
    "ListeningSocket": frozenset(("proto", "family")),
    "Chain": frozenset(("family", "backend", "type", "hook", "policy")),
    "Rule": frozenset(("family", "backend", "proto", "dport", "sport")),
    "MountPoint": frozenset(("device", "propagation", "fstype")),
    "Engine": frozenset(("name", "version")),
    "RecordedPort": frozenset(("proto",)),
    "RecordedMount": frozenset(("type", "propagation")),
    "ContainerRecord": frozenset(
        ("engine", "created", "started_at", "finished_at", "health", "restart_policy", "exposed_ports", "sandbox_ports")
    ),
    "NetworkRecord": frozenset(("engine", "driver", "scope", "created", "mode")),
    "VolumeRecord": frozenset(("engine", "created")),
    "Change": frozenset(("kind",)),
    "FileSystemSpace": frozenset(("fstype",)),
    "PathState": frozenset(("kind",)),
    "HeldFile": frozenset(("device",)),
    "StuckProcess": frozenset(("wchan",)),
}
# Of these not even what looks like an id stays: it may be a password.
SECRETIVE = frozenset(("labels", "options", "alias", "comment"))

WORDS = frozenset(
    """
    var lib run docker containerd overlay2 overlay overlayfs diff merged work upper lower volumes data containers
    image imagedb layerdb mounts network networks netns files netns proc sys dev etc tmp usr bin sbin opt root home mnt
    srv media boot local share cgroup fs system slice scope service user kubepods machine default moby swarm ingress
    sbox lb hostname hosts resolv conf config hostconfig json log db snapshots buildkit sock socket pipe shm mqueue pts
    ptmx null zero random urandom tty console full init proxy shim runc v1 v2 v3 dockerd systemd net ipv4 ipv6 inet mnt
    pid uts ipc userns host none bridge container macvlan ipvlan vlan vxlan veth internal eth lo docker0 docker_gwbridge
    gwbridge ov br com project name names version opts bip enable icc ip masquerade driver mtu label labels
    compose oneoff number depends on source type device addr nfs nfs4 cifs tmpfs bind volume rw ro rprivate private
    rshared shared rslave slave z rbind o size mode uid gid nosuid nodev noexec noatime relatime nodiratime lowerdir
    upperdir workdir index nfs_export redirect redirect_dir metacopy volatile xino userxattr off yes no true false auto
    seclabel data sha256 latest scratch library io org ext4 ext3 xfs btrfs zfs sysfs cgroup2 devpts securityfs debugfs
    tracefs bpf pstore hugetlbfs configfs fusectl fuse fuseblk efivarfs autofs nsfs squashfs ramfs rootfs devtmpfs udev
    nodes inode64 inode32 errors remount commit discard stripe barrier nr inodes gid5 ptmxmode memory recursiveprot
    nsdelegate hugetlb cpu cpuset cpuacct blkio pids freezer devices perf event rdma misc unified net_cls net_prio
    forward forwarding all conf rp filter route localnet nf call iptables ip6tables arptables conntrack max brnf
    filter nat mangle raw security tcp udp sctp icmp icmpv6 ah esp
    prerouting input output postrouting
    accept drop reject return dnat snat redirect log notrack jump goto counter packets bytes policy
    related established new invalid untracked addrtype state ctstate dst type src limit burst avg dport sport dports
    sports multiport multi match set mark connmark comment random fully persistent to destination ports destinations
    oif oifname iif iifname meta l4proto nfproto ct daddr saddr th port with unreachable reset level prefix
    unconfined enforce link file socket tcp4 tcp6 unix fd anonymous x-system automount cache none
    docker-proxy docker-init containerd-shim containerd-shim-runc-v2 docker-containerd local-kv.db metadata.db
    config.v2.json hostconfig.json repositories.json resolv.conf docker.sock containerd.sock docker.pid snapshots.db
    dns dns0 options user stage one two isolation publish forwarding chain hairpin attachable snapshotter io
    """.split()  # noqa: SIM905 - as a list it would be one word a line
)

_NUMBER = re.compile(r"\d{1,10}[kKmMgG%]?")
_ID = re.compile(r"[0-9a-f]{10}|[0-9a-f]{12}|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-z]{25}|[A-Z0-9]{26}")
_INTERFACE = re.compile(
    r"(veth[0-9a-f]{1,11}|(eth|docker|ens|vx-|br-)[0-9a-f]{1,12}|dummy\d+|lo|\d{1,3}-(?=[a-z]*\d)[0-9a-z]{10})"
)
_OPTION = re.compile(r"--?[a-zA-Z][a-z0-9-]*")  # of a rule, or of an engine's program
_SEPARATORS = re.compile(r"[._-]+")

_COMPOUND = re.compile(r"(com\.docker|org\.opencontainers|io\.containerd|net\.(ipv4|ipv6|bridge)|DOCKER|overlay)[._-]")

_TOKEN = re.compile(
    r"(?P<bridge>\b[0-9a-f]{4}\.[0-9a-f]{12}\b)"
    r"|(?P<mac>(?<![\w:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![\w:]))"
    r"|(?P<ip6>(?<![\w:])(?=[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]+(?:\d+\.\d+\.\d+\.\d+)?(?:/\d{1,3})?(?![\w:]))"
    r"|(?P<ip4>(?<![\w.])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?:/\d{1,2})?(?![\w.]))"
    r"|(?P<overlay>(?<=/docker/netns/)\d{1,3}-[0-9a-z]{10}(?![\w.-]))"  # where no name is, though it may be all letters
    r"|(?P<word>[\w.-]+)"
)
_PATH = re.compile(r"/[^\s:]+")


def redact(facts: Facts) -> Facts:
    """The same facts of a host that nobody knows. Raises nothing; no two calls choose the same addresses."""
    pseudonyms = Pseudonyms(os.urandom(32))
    gaps, facts = facts.gaps, replace(facts, gaps=())
    redacted: Facts = _redacted(facts, pseudonyms)
    return replace(redacted, gaps=tuple(_gap(gap, pseudonyms) for gap in gaps))


def _gap(gap: Gap, pseudonyms: Pseudonyms) -> Gap:
    """Sentences: paths, addresses, and words that are known to be names are replaced."""
    return replace(
        gap,
        subject=pseudonyms.sentence(gap.subject),
        why=pseudonyms.sentence(gap.why),
        remedy=pseudonyms.sentence(gap.remedy),
    )


def _redacted(record: Any, pseudonyms: Pseudonyms) -> Any:
    plain = PLAIN.get(type(record).__name__, frozenset())
    changed = {}
    for name in record.__struct_fields__:
        if name in plain:
            continue
        value = getattr(record, name)
        new = _value(value, pseudonyms.secretive if name in SECRETIVE else pseudonyms.text, pseudonyms)
        if new is not value:
            changed[name] = new
    return replace(record, **changed) if changed else record


def _value(value: Any, text: Callable[[str], str], pseudonyms: Pseudonyms) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bytes):
        return None  # a name as it is on disk
    if isinstance(value, Struct):
        return _redacted(value, pseudonyms)
    if isinstance(value, tuple):
        return tuple(_value(item, text, pseudonyms) for item in value)
    return value


class Pseudonyms:
    """What each word and address is called instead; `key` decides about addresses."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._words: dict[str, str] = {}
        self._texts: dict[tuple[bool, str], str] = {}
        self._flips: dict[tuple[int, int], int] = {}

    def text(self, text: str) -> str:
        """Every word and address of it replaced, but those of the system."""
        return self._text(text, self._word)

    def secretive(self, text: str) -> str:
        """The same, and what looks like an id as well."""
        return self._text(text, self._secretive_word)

    def sentence(self, text: str) -> str:
        """Addresses, paths, and the words that were replaced elsewhere."""
        text = _PATH.sub(lambda path: self.text(path[0]), text)
        return self._text(text, lambda word: self._words.get(word, word))

    def _text(self, text: str, word: Callable[[str], str]) -> str:
        def replaced(token: re.Match[str]) -> str:
            found = token[0]
            if token.lastgroup == "overlay" and word != self._secretive_word:
                return found
            if token.lastgroup in ("overlay", "word"):
                return word(found)
            if token.lastgroup == "mac":
                return self._mac(found)
            if token.lastgroup == "bridge":
                mac = self._mac(":".join(re.findall("..", found[5:])))
                return found[:5] + mac.replace(":", "")
            return self._address(found) or _SPLIT.sub(lambda part: word(part[0]), found)

        return _TOKEN.sub(replaced, text)

    def _word(self, word: str) -> str:
        if _ID.fullmatch(word) or _INTERFACE.fullmatch(word) or _OPTION.fullmatch(word):
            return word
        return self._by_parts(word, _ID) if _COMPOUND.match(word) or _has_id(word) else self._pseudonym(word)

    def _secretive_word(self, word: str) -> str:
        return self._by_parts(word, _NUMBER) if _COMPOUND.match(word) else self._pseudonym(word)

    def _by_parts(self, word: str, plain: re.Pattern[str]) -> str:
        """A name that is put together of others: com.docker.network.bridge.name, docker-ID.scope."""
        return "".join(
            part if _SEPARATORS.fullmatch(part) or plain.fullmatch(part) else self._pseudonym(part)
            for part in re.split(r"([._-]+)", word)
        )

    def _pseudonym(self, word: str) -> str:
        if not word or word.lower() in WORDS or _NUMBER.fullmatch(word) or _INTERFACE.fullmatch(word):
            return word
        return self._words.setdefault(word, f"w{len(self._words) + 1}")

    # --- addresses ---

    def _mac(self, mac: str) -> str:
        if mac.lower() in ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff") or int(mac[:2], 16) & 1:
            return mac
        digest = hmac.new(self._key, mac.lower().encode(), hashlib.sha256).digest()
        return ":".join(f"{byte:02x}" for byte in (2, *digest[:5]))

    def _address(self, found: str) -> str | None:
        """What `found`, an address with or without the length of a prefix, becomes; None: it is no address."""
        address, slash, length = found.partition("/")
        try:
            parsed = ipaddress.ip_address(address)
            bits = int(length) if slash else parsed.max_prefixlen
        except ValueError:
            return None
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
            return f"::ffff:{self._address(str(parsed.ipv4_mapped))}{slash}{length}"
        if _is_nobodys(parsed):
            return found
        number, size = int(parsed), parsed.max_prefixlen
        is_network = bool(slash) and not number & ((1 << max(size - bits, 0)) - 1)
        changed = self._changed(number, size, _head(parsed), bits if is_network else size)
        new = ipaddress.IPv4Address(changed) if size == 32 else ipaddress.IPv6Address(changed)
        return f"{new}{slash}{length}"

    def _changed(self, number: int, size: int, head: int, end: int) -> int:
        """`number` of `size` bits with those from `head` to `end` turned over or not, as those before each say."""
        changed = number
        for position in range(head, end):
            before = number >> (size - position)
            known = self._flips.get((position + 256 * size, before))
            if known is None:
                message = b"%d/%d/%d" % (size, position, before)
                known = hmac.digest(self._key, message, "sha256")[0] & 1
                self._flips[position + 256 * size, before] = known
            changed ^= known << (size - position - 1)
        return changed


_SPLIT = re.compile(r"[\w.-]+")


def _has_id(word: str) -> bool:
    return any(_ID.fullmatch(part) for part in _SEPARATORS.split(word))


def _is_nobodys(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Loopback, multicast, unspecified, broadcast and reserved addresses: the same on every host."""
    first = address.packed[0]
    if address.version == 4:
        return first in (0, 127) or first >= 224
    return first == 0xFF or not any(address.packed[:2])


_PRIVATE_172 = ipaddress.ip_network("172.16.0.0/12")


def _head(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    """How many bits stay, so that an address is of the kind that it was: private, link-local, or neither."""
    first = address.packed[0]
    if address.version == 4:
        if address in _PRIVATE_172:
            return 12
        return {10: 8, 100: 10, 169: 16, 172: 16, 192: 16}.get(first, 8)
    if address.is_link_local:
        return 64
    return 8 if first in (0xFC, 0xFD) else 16
