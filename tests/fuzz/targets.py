"""The parsers of hostile bytes, what each may raise by its own documentation, and real inputs to begin from."""

from __future__ import annotations

import gzip
import os
import struct
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec

from hostinspect.collectors.changes import collect_changes
from hostinspect.collectors.engines import parse_cmdline as parse_daemon_cmdline
from hostinspect.collectors.engines import parse_config
from hostinspect.engines.boltdb import Bolt, BoltError
from hostinspect.engines.docker import build_cache, containers, images, networks, swarm, volumes
from hostinspect.engines.docker import snapshots as store
from hostinspect.engines.docker import stored_images as stored
from hostinspect.engines.docker.record import RecordError
from hostinspect.engines.protobuf import ProtobufError
from hostinspect.facts import Facts
from hostinspect.kernel import cgroups, host, ip_tables, mountinfo, netlink, nftables, procfs, rtnetlink, sock_diag
from hostinspect.kernel.nftables.messages import GETCHAIN, GETRULE
from hostinspect.questions.whois.key import Key
from hostinspect.snapshot import SnapshotError, read_snapshot
from tests.unit import test_containerd_store as containerd
from tests.unit.factory import host_with_web
from tests.unit.netlink_bytes import recorded
from tests.unit.packet_filter_fixtures import Replay, legacy

FOUND = Path(__file__).resolve().parent.parent / "unit/fixtures/fuzz"  # TARGET.HASH: what once was not withstood

Errors = tuple[type[Exception], ...]


class Target(NamedTuple):
    """One parser: it is to return, or to raise one of `errors`."""

    name: str
    parse: Callable[[bytes], object]
    errors: Errors
    seeds: tuple[bytes, ...]


_KEY_READINGS = ("word", "number", "namespace", "device", "mac", "id", "is_short_number", "address", "port", "paths")
_ROOT, _ENGINE = "/var/lib/docker", "docker"
_NETLINK: Errors = (ValueError, struct.error)


def every() -> list[Target]:
    """All targets, by name."""
    return [*_of_kernel(), *_of_netlink(), *_of_packet_filters(), *_of_engines(), *_of_ours()]


# --- /proc, /sys --------------------------------------------------------------------------------------------------


def _of_kernel() -> list[Target]:
    stat = b"7 (a) R (b) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 431 0 0 18446744073709551615 1 1 0 0 0"
    mounts = (
        b"431 417 8:1 /volumes/v/_data /mnt/a\\040b rw,noatime master:1 - ext4 /dev/sda1 rw,discard\n"
        b"7 1 0:48 / / rw - overlay overlay rw,lowerdir=/o/l/A:/o/B\\134:c,upperdir=/o/3/up,workdir=/o/w,xino=off\n"
        b"9 1 0:4 net:[4026532201] /run/docker/netns/1 rw shared:3 - nsfs nsfs rw\n"
    )
    cgroup = b"4:memory:/docker/4f1c\n1:name=systemd:/a:b (deleted)\n0::/system.slice/ssh.service\n"
    tcp = (
        b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        b"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100\n"
    )
    return [
        Target("proc-stat", procfs.parse_stat, (ValueError,), (stat,)),
        Target("proc-cgroup", procfs.parse_cgroup, (ValueError,), (cgroup,)),
        Target("proc-cmdline", procfs.parse_cmdline, (), (b"dockerd\0-H\0fd://\0--data-root=/srv\0",)),
        Target("proc-ns", lambda raw: procfs.parse_namespace(os.fsdecode(raw)), (ValueError,), (b"net:[4026531840]",)),
        Target("proc-btime", procfs.parse_btime, (ValueError,), (b"cpu 1 2\nbtime 1700000000\nprocesses 3\n",)),
        Target("proc-net", lambda raw: list(sock_diag.parse_proc_net(raw, "tcp", "ipv4", 1)), (ValueError,), (tcp,)),
        Target("mountinfo", mountinfo.parse_mountinfo, (ValueError,), (mounts,)),
        Target("cgroup-freezer", cgroups.parse_freezer_state, (ValueError,), (b"FROZEN\n", b"THAWED\n")),
        Target("cgroup-events", cgroups.parse_cgroup_events, (ValueError,), (b"populated 1\nfrozen 0\n",)),
        Target("os-release", host.parse_os_release, (), (b'NAME="a \\"b"\nID=x\nPRETTY_NAME=\'y\'\n',)),
    ]


# --- netlink ------------------------------------------------------------------------------------------------------


def _recorded(*beginnings: str) -> tuple[bytes, ...]:
    lines = (FOUND.parent / "netlink.txt").read_text().splitlines()
    names = [line.partition(" ")[0] for line in lines if line.startswith(beginnings)]
    return tuple(map(recorded, names))


def _both_ways(dump: rtnetlink.Dump[Any], seeds: tuple[bytes, ...]) -> Callable[[bytes], None]:
    """A reader that fails where messages that are alike are read in another way than the plain one."""

    def read(raw: bytes, *, by_shape: bool) -> list[object] | None:
        with suppress(ValueError, struct.error):
            return [*(dump.records if by_shape else dump.parse)([(dump.answer, raw)], 1)]
        return None

    def compare(raw: bytes) -> None:
        for seed in (*seeds, *seeds):
            read(seed, by_shape=True)
        assert read(raw, by_shape=True) == read(raw, by_shape=False)

    return compare


def _of_netlink() -> list[Target]:
    links, addresses, routes = _recorded("link-"), _recorded("address-"), _recorded("route-")
    sockets = _recorded("tcp-", "udp-")
    datagram = b"".join(struct.pack("=IHHII", 16 + len(m), 16, 2, 1, 0) + m for m in links[:3])
    return [
        Target("netlink-datagram", lambda raw: list(netlink.messages_in(raw)), (ValueError,), (datagram,)),
        Target("netlink-error", lambda raw: netlink.parse_error(2, 0x300, raw), _NETLINK, (struct.pack("=i", -1) * 9,)),
        Target("netlink-attributes", lambda raw: netlink.attributes(raw, 16), (ValueError,), links),
        Target("netlink-list", lambda raw: netlink.attribute_list(raw, 16), (ValueError,), links),
        Target("netlink-picked", lambda raw: netlink.picked(raw, frozenset((3, 18)), 16), (ValueError,), links),
        Target("rtnetlink-link", lambda raw: list(rtnetlink.parse_links([(16, raw)], 1)), _NETLINK, links),
        Target("rtnetlink-address", lambda raw: list(rtnetlink.parse_addresses([(20, raw)], 1)), _NETLINK, addresses),
        Target("rtnetlink-route", lambda raw: list(rtnetlink.parse_routes([(24, raw)], 1)), _NETLINK, routes),
        Target("rtnetlink-link-alike", _both_ways(rtnetlink.LINKS, links), (), links),
        Target("rtnetlink-address-alike", _both_ways(rtnetlink.ADDRESSES, addresses), (), addresses),
        Target("rtnetlink-route-alike", _both_ways(rtnetlink.ROUTES, routes), (), routes),
        Target("rtnetlink-nsid", rtnetlink.parse_nsid, _NETLINK, _recorded("nsid")),
        Target("sock-diag-tcp", lambda raw: list(sock_diag.parse_sockets([(20, raw)], "tcp", 1)), _NETLINK, sockets),
        Target("sock-diag-sctp", lambda raw: list(sock_diag.parse_sockets([(20, raw)], "sctp", 1)), _NETLINK, sockets),
    ]


# --- packet filters -----------------------------------------------------------------------------------------------


def _nftables(file: str) -> tuple[Callable[[bytes], object], tuple[bytes, ...]]:
    replay = Replay(file)
    rules = next(request for request in replay.answers if request.startswith(f"{GETRULE}:"))
    seeds = tuple(body for _, body in replay.answers[rules])

    def read(raw: bytes) -> object:
        asked = Replay.__new__(Replay)
        asked.asked = []
        asked.answers = {
            request: [(kind, body[:2] + raw[2:4].ljust(2, b"\0") + body[4:]) for kind, body in answers]
            if request.startswith(f"{GETCHAIN}:")
            else answers
            for request, answers in replay.answers.items()
        }
        asked.answers[rules] = [(0, raw)]
        return list(nftables.read(asked, 1))

    return read, seeds


def _of_packet_filters() -> list[Target]:
    targets = []
    for name in ("nft", "native"):
        read, seeds = _nftables(f"{name}.txt")
        targets.append(Target(f"nftables-{name}", read, (nftables.UnknownLayoutError,), seeds))
    for number, (protocol, table, _saved) in enumerate(legacy()):

        def decode(raw: bytes, protocol: ip_tables.Protocol = protocol, table: ip_tables.Table = table) -> object:
            return list(ip_tables.decode(protocol, msgspec.structs.replace(table, blob=raw), 1))

        name = f"ip-tables-{protocol.family}-{table.name}-{number}"
        targets.append(Target(name, decode, (ip_tables.UnknownLayoutError,), (table.blob,)))
    return targets


# --- what engines wrote -------------------------------------------------------------------------------------------


@cache
def _files() -> dict[str, bytes]:
    found = {}
    for release in ("docker-20.10", "docker-28.5", "layers-28.5"):
        with tarfile.open(FOUND.parent / f"{release}.tar.gz") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    found[f"{release}/{member.name}"] = content.read()
    return found


def _seeds(end: str, most: int = 8) -> tuple[bytes, ...]:
    return tuple(content for name, content in _files().items() if name.endswith(end))[:most]


def _values(prefix: str) -> tuple[bytes, ...]:
    """JSON of libnetwork's store, behind the index of 8 bytes."""
    return tuple(
        value[value.index(b"{") :]
        for file in _seeds("local-kv.db")
        for key, value in Bolt(file).items(b"libnetwork")
        if f"/{prefix}/" in key.decode() and b"{" in value
    )


def _everything(raw: bytes) -> object:
    table = Bolt(raw)
    return [(name, list(items)) for name, items in table.buckets()]


def _of_engines() -> list[Target]:
    refused: Errors = (RecordError,)
    bolt: Errors = (BoltError, RecordError)
    config, hostconfig = _seeds("config.v2.json"), _seeds("hostconfig.json")
    tables = tuple(content for name, content in _files().items() if name.endswith(".db"))
    tasks, snapshots = _seeds("tasks.db"), _seeds("snapshots.db")
    in_tasks = (items for file in tasks for _, items in Bolt(file).buckets(b"v1", b"tasks"))
    each_task = tuple(value for items in in_tasks for key, value in items if key == b"data")
    network = tuple(value for value in _values("network") if b'"networkType"' in value)
    image = b'{"rootfs": {"type": "layers", "diff_ids": ["sha256:00"]}}'
    graph_image = (
        b'{"parent": "00", "created": "2015-01-01T00:00:00Z", "container_config": {"Cmd": ["sh"]}, "comment": ""}'
    )
    daemon = b'{"data-root": "/srv/docker", "userns-remap": "default", "hosts": ["fd://"]}'
    return [
        Target("container", lambda raw: containers.parse_container(raw, None, _ENGINE, _ROOT), refused, config),
        Target(
            "hostconfig", lambda raw: containers.parse_container(config[0], raw, _ENGINE, _ROOT), refused, hostconfig
        ),
        Target("network", lambda raw: networks.parse_network(raw, None, _ENGINE, _ROOT), refused, network),
        Target("driver-network", networks.parse_driver_network, refused, _values("bridge")),
        Target("endpoint", lambda raw: networks.parse_endpoint(raw, "n"), refused, _values("endpoint")),
        Target("bridge-endpoint", networks.parse_bridge_endpoint, refused, _values("bridge-endpoint")),
        Target("overlay-endpoint", networks.parse_overlay_endpoint, refused, _values("bridge-endpoint")),
        Target("sandbox", networks.parse_sandbox, refused, _values("sandbox")),
        Target("volume-options", volumes.parse_options, refused, _seeds("opts.json")),
        Target("repositories", lambda raw: images.parse_repositories(raw, _ROOT), refused, _seeds("repositories.json")),
        Target("image", images.parse_diff_ids, refused, (image,)),
        Target("graph-image", images.parse_graph_image, refused, (graph_image,)),
        Target("daemon-json", parse_config, refused, (daemon,)),
        Target("boltdb", _everything, bolt, tables),
        Target("volumes-db", lambda raw: volumes.parse_metadata(Bolt(raw)), bolt, _seeds("metadata.db")),
        Target("tasks-db", lambda raw: swarm.parse_tasks(Bolt(raw), _ENGINE, _ROOT), bolt, tasks),
        Target("task", lambda raw: list(swarm.parse_task(raw, _ENGINE, _ROOT)), (ProtobufError,), each_task),
        Target(
            "containerd-snapshots",
            lambda raw: list(store.layers_of(store.parse_snapshots(Bolt(raw)), "/h", "/roots", (containerd.ID,))),
            bolt,
            (containerd.file_of(containerd.snapshots()),),
        ),
        Target("containerd-leases", lambda raw: store.parse_leases(Bolt(raw)), bolt, (containerd.LEASES_FILE,)),
        Target("containerd-images", lambda raw: stored.parse_images(Bolt(raw), _ROOT), bolt, (containerd.IMAGES_FILE,)),
        Target("manifest", stored.parse_manifest, refused, (containerd.INDEX, containerd.MANIFEST)),
        Target("build-cache", lambda raw: list(build_cache.parse_snapshots(Bolt(raw), _ROOT)), bolt, snapshots),
        Target(
            "daemon-cmdline",
            lambda raw: parse_daemon_cmdline(procfs.parse_cmdline(raw)),
            (),
            (b"dockerd\0-g/x\0--config-file\0/etc/d.json\0--\0",),
        ),
        Target("overlay-xattrs", _changes, (), (b"/a/b", b"y", b"../../x", b"\0\0\0\x24")),
    ]


@cache
def _layers() -> tempfile.TemporaryDirectory[str]:
    made = tempfile.TemporaryDirectory(prefix="hostinspect-fuzz")
    for path in ("upper/d", "lower/d", "lower/a/b", "work"):
        (Path(made.name) / path).mkdir(parents=True)
    (Path(made.name) / "upper/file").touch()
    return made


def _changes(raw: bytes) -> object:
    """A directory and a file with every mark of overlayfs, all of the same value."""
    top = _layers().name
    for name in ("redirect", "opaque", "metacopy", "whiteout"):
        for path in ("d", "file"):
            os.setxattr(f"{top}/upper/{path}", f"user.overlay.{name}", raw[:700])
    return collect_changes(f"{top}/upper", [f"{top}/lower"], f"{top}/work", userxattr=True)


# --- what we wrote, and what a person types -----------------------------------------------------------------------


def _read_snapshot(raw: bytes) -> Facts:
    with tempfile.NamedTemporaryFile() as file:
        file.write(raw)
        file.flush()
        return read_snapshot(file.name)


def _key(raw: bytes) -> object:
    for key in (Key(os.fsdecode(raw)), Key(os.fsdecode(raw), "/root")):
        for reading in _KEY_READINGS:
            getattr(key, reading)
    return None


def _of_ours() -> list[Target]:
    content = msgspec.json.encode({"hostinspect_snapshot": 1, "written_by": "0", "facts": host_with_web()})
    keys = (b"[::1]:8080", b"0.0.0.0:8080->80/tcp", b"02:42:ac:11:00:02", b"net:[4026532441]", b"/proc/1/ns/net")
    return [
        Target("snapshot-file", _read_snapshot, (SnapshotError,), (gzip.compress(content, 1),)),
        Target("snapshot-facts", lambda raw: _read_snapshot(gzip.compress(raw, 1)), (SnapshotError,), (content,)),
        Target("whois-key", _key, (), keys),
    ]


# --- inputs -------------------------------------------------------------------------------------------------------

_TELLING: tuple[bytes, ...] = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"{",
    b"[",
    b'"',
    b"\\",
    b"\n",
    b":",
    b"/",
    b"-",
    b"-1",
    b"9" * 30,
    b"1e999",
)
_TELLING += tuple(struct.pack("=I", n) for n in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
_TELLING += (b"1e999", b"null", b"[" * 2000, b"\xe2\x80\xae", b"\x1b[2J", b"\xed\xa0\x80", b"\\ud800", b"../../..")


def mutated(seeds: tuple[bytes, ...], random: Random) -> bytes:
    """One of the seeds with some damage: bytes changed, cut out, doubled, put in, or the end of another one."""
    found = bytearray(random.choice(seeds)) if seeds else bytearray()
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        at = random.randrange(len(found) + 1)
        span = random.choice((1, 2, 4, 8, random.randrange(len(found) + 1)))
        match random.randrange(7):
            case 0 | 1 if at < len(found):
                found[at] = random.randrange(256)
            case 2:
                del found[at : at + span]
            case 3:
                found[at:at] = found[at : at + min(span, 4096)]
            case 4:
                found[at:at] = random.choice(_TELLING)
            case 5:
                telling = random.choice(_TELLING)
                found[at : at + len(telling)] = telling
            case _:
                found[at:] = random.choice(seeds)[at:] if seeds else b""
    return bytes(found)


def withstood(target: Target, raw: bytes) -> None:
    """The target comes to an end as it may; anything else is raised."""
    with suppress(*target.errors):
        target.parse(raw)
