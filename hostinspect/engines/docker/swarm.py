"""swarm/worker/tasks.db: the tasks that a swarm gave this node, with the networks they are attached to.

A BoltDB; bucket "v1", in it "tasks", in it one bucket per task with the key "data": a docker.swarmkit.v1.Task in
protobuf (swarmkit's api/objects.proto and specs.proto). A task carries a whole copy of each network that it is on, the
ingress network too if it publishes a port through the routing mesh. A container on an attachable overlay network has a
task as well. So the networks that this node takes part in are known exactly: but for `ingress` while no service
publishes a port, of which only the cluster's (encrypted) raft log knows.

    Task     1 id · 11 networks (NetworkAttachment: 1 network)
    Network  1 id · 2 meta (1 version: 1 index · 2 created_at: 1 seconds, 2 nanos) · 3 spec · 4 driver_state · 5 ipam
    spec     1 annotations (1 name, 2 labels) · 2 driver_config · 3 ipv6 · 4 internal · 5 ipam · 6 attachable
             7 ingress
    Driver   1 name · 2 options            ipam  3 configs (2 subnet, 3 range, 4 gateway)

A task's specification, with the environment of its container, is skipped and never becomes an object.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from hostinspect.engines.boltdb import Bolt
from hostinspect.engines.docker.record import DAMAGED, MAX_ENTRIES, Note, pairs
from hostinspect.engines.docker.table import read_table
from hostinspect.engines.protobuf import Message, ProtobufError, fields
from hostinspect.facts import NetworkRecord, Subnet
from hostinspect.kernel.files import Directory
from hostinspect.kernel.text import text

TABLE = "swarm/worker/tasks.db"

# --- bytes to records -------------------------------------------------------------------------------------------


def parse_task(content: bytes, engine: str, data_root: str) -> Iterator[tuple[int, NetworkRecord]]:
    """The networks that a task is attached to, each with the version of its copy. Raises `ProtobufError`."""
    for number, attachment in fields(content):
        if number == 11 and isinstance(attachment, bytes):
            network = Message(attachment).message(1)
            if network.string(1):
                yield network.message(2).message(1).number(1), _network(network, engine, data_root)


def _network(network: Message, engine: str, data_root: str) -> NetworkRecord:
    spec, driver = network.message(3), network.message(4)
    annotations = spec.message(1)
    return NetworkRecord(
        engine=engine,
        data_root=data_root,
        id=network.string(1),
        name=annotations.string(1),
        # What the cluster made of it; a network just created may not have got there.
        driver=driver.string(1) or spec.message(2).string(1) or "overlay",
        scope="swarm",
        internal=bool(spec.number(4)),
        attachable=bool(spec.number(6)),
        ingress=bool(spec.number(7)),
        ipv6=bool(spec.number(3)),
        created=_timestamp(network.message(2).message(2)),
        subnets=tuple(_subnets(network.message(5))) or tuple(_subnets(spec.message(5))),
        options=pairs(driver.strings(2)) or pairs(spec.message(2).strings(2)),
        labels=pairs(annotations.strings(2)),
    )


def _subnets(ipam: Message) -> Iterator[Subnet]:
    for config in map(Message, ipam.every(3)):
        if config.string(2):
            yield Subnet(subnet=config.string(2), gateway=config.string(4) or None, ip_range=config.string(3) or None)


def _timestamp(stamp: Message) -> str | None:
    """google.protobuf.Timestamp as Go prints it: UTC, no zeros at the end."""
    seconds, nanos = stamp.number(1), stamp.number(2)
    if not 0 < seconds < 1 << 34 or not 0 <= nanos < 1_000_000_000:
        return None
    fraction = f".{nanos:09}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"


def parse_tasks(table: Bolt, engine: str, data_root: str) -> tuple[dict[str, NetworkRecord], list[str]]:
    """The networks of all tasks by id, the newest copy of each, and the errors of tasks. Raises `BoltError`."""
    newest: dict[str, tuple[int, NetworkRecord]] = {}
    errors: list[str] = []
    for count, (task_id, values) in enumerate(table.buckets(b"v1", b"tasks")):
        if count >= MAX_ENTRIES:
            errors.append(f"more than {MAX_ENTRIES} tasks, the rest is not read")
            break
        content = next((value for key, value in values if key == b"data"), b"")
        try:
            for version, network in parse_task(content, engine, data_root):
                if network.id not in newest or newest[network.id][0] < version:
                    newest[network.id] = version, network
        except ProtobufError as error:
            errors.append(f"task {text(task_id)}: {error}")
    return {network_id: network for network_id, (_, network) in newest.items()}, errors


def read_swarm_networks(files: Directory, engine: str, data_root: str, note: Note) -> dict[str, NetworkRecord]:
    """The swarm's networks that this node has tasks on, by id; none where the node is in no swarm."""
    found = read_table(files, TABLE, data_root, note, lambda table: parse_tasks(table, engine, data_root))
    networks, errors = found or ({}, ())
    for words in errors:
        note(f"{data_root}/{TABLE}", words, DAMAGED)
    return networks
