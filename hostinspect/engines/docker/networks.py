r"""network/files/local-kv.db: networks, endpoints and sandboxes, as libnetwork keeps them.

A BoltDB with one bucket, "libnetwork". Its keys are paths, its values 8 bytes of index and then JSON:

    docker/network/v1.0/network/NID/             every network of local scope
    docker/network/v1.0/bridge/NID/              the bridge driver's own record of it: BridgeName, AddressIPv4, …
    docker/network/v1.0/macvlan/network/NID/     Parent, MacvlanMode; ipvlan/network/NID/ likewise
    docker/network/v1.0/endpoint/NID/EID/        a container's place on it: ep_iface (addr, mac, srcName), sandbox
    docker/network/v1.0/bridge-endpoint/EID/     PortMapping: the ports as they are bound
    docker/network/v1.0/overlay/endpoint/EID/    Docker 20.10 only: addr, mac, nid, ifName
    docker/network/v1.0/sandbox/SID/             Cid, Eps; also "ingress_sbox" and "lb_NID" of swarm

Networks of swarm scope and their endpoints are not among them: the cluster's store holds them, see `swarm`.
Nested values (ipamV4Config, ipamV4Info and IPAMData in it) are JSON in a JSON string.
"""

# Without `from __future__ import annotations`: msgspec has to evaluate them, which takes longer of a string.

from collections.abc import Iterator

import msgspec
from msgspec import Struct, field

from hostinspect.engines.boltdb import Bolt
from hostinspect.engines.docker.record import (
    DAMAGED,
    MAX_ENTRIES,
    Note,
    Number,
    RecordError,
    decode,
    pairs,
    port,
    split_prefix,
    timestamp,
)
from hostinspect.engines.docker.table import read_table
from hostinspect.facts import EndpointRecord, NetworkRecord, RecordedPort, SandboxRecord, Subnet
from hostinspect.kernel.files import Directory
from hostinspect.kernel.text import kept, text

_BUCKET = b"libnetwork"
_PREFIX = b"docker/network/v1.0/"
_INDEX_SIZE = 8  # libkv's modification index, before the JSON
TABLE = "network/files/local-kv.db"

# IANA protocol numbers, as libnetwork's types.Protocol has them.
_PROTOS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6", 132: "sctp"}


# --- the fields that are used -----------------------------------------------------------------------------------


class _Generic(Struct):
    options: dict[str, str] | None = field(default=None, name="com.docker.network.generic")


class _Network(Struct, rename="camel"):
    id: str
    name: str
    network_type: str
    scope: str = "local"
    created: str = ""
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    in_delete: bool = False
    config_only: bool = False
    enable_ipv6: bool = field(default=False, name="enableIPv6")
    generic: _Generic | None = None
    labels: dict[str, str] | None = None
    v4_config: str = field(default="", name="ipamV4Config")
    v6_config: str = field(default="", name="ipamV6Config")
    v4_info: str = field(default="", name="ipamV4Info")
    v6_info: str = field(default="", name="ipamV6Info")


class _PoolConfig(Struct, rename="pascal"):
    preferred_pool: str = ""
    sub_pool: str = ""
    gateway: str = ""


class _PoolInfo(Struct):
    ipam_data: str = field(default="", name="IPAMData")


class _IPAMData(Struct, rename="pascal"):
    pool: str = ""
    gateway: str = ""


class _DriverNetwork(Struct):
    """The record of a driver: bridge/NID, macvlan/network/NID, ipvlan/network/NID."""

    bridge: str = field(default="", name="BridgeName")
    parent: str = field(default="", name="Parent")
    macvlan_mode: str = field(default="", name="MacvlanMode")
    ipvlan_mode: str = field(default="", name="IpvlanMode")


class _Interface(Struct, rename="camel"):
    addr: str = ""
    addrv6: str = ""
    mac: str = ""
    src_name: str = ""


class _Endpoint(Struct):
    id: str
    name: str = ""
    sandbox: str = ""
    interface: _Interface | None = field(default=None, name="ep_iface")
    dns_names: list[str] | None = field(default=None, name="dnsNames")  # since Docker 25


class _PortMapping(Struct, rename="pascal"):
    proto: Number = 0
    port: Number = 0
    host_ip: str = field(default="", name="HostIP")
    host_port: Number = 0
    host_port_end: Number = 0


class _BridgeEndpoint(Struct):
    id: str
    port_mapping: list[_PortMapping] | None = field(default=None, name="PortMapping")


class _OverlayEndpoint(Struct):
    id: str
    network_id: str = field(name="nid")
    addr: str = ""
    mac: str = ""
    if_name: str = field(default="", name="ifName")


class _SandboxEndpoint(Struct):
    endpoint_id: str = field(default="", name="Eid")
    network_id: str = field(default="", name="Nid")


class _Sandbox(Struct):
    id: str = field(name="ID")
    container_id: str = field(default="", name="Cid")
    endpoints: list[_SandboxEndpoint] | None = field(default=None, name="Eps")


_network = msgspec.json.Decoder(_Network)
_pool_configs = msgspec.json.Decoder(list[_PoolConfig])
_pool_infos = msgspec.json.Decoder(list[_PoolInfo])
_ipam_data = msgspec.json.Decoder(_IPAMData)
_driver_network = msgspec.json.Decoder(_DriverNetwork)
_endpoint = msgspec.json.Decoder(_Endpoint)
_bridge_endpoint = msgspec.json.Decoder(_BridgeEndpoint)
_overlay_endpoint = msgspec.json.Decoder(_OverlayEndpoint)
_sandbox = msgspec.json.Decoder(_Sandbox)

_NO_DRIVER_NETWORK = _DriverNetwork()


# --- bytes to records -------------------------------------------------------------------------------------------


def parse_network(content: bytes, driver: _DriverNetwork | None, engine: str, data_root: str) -> NetworkRecord | None:
    """One network from its record and its driver's, None for one that is being deleted. Raises `RecordError`."""
    network = decode(_network, content)
    if network.in_delete:
        return None  # libnetwork shows it to nobody and removes it when the daemon starts
    driver = driver or _NO_DRIVER_NETWORK
    options = network.generic.options or {} if network.generic else {}
    return NetworkRecord(
        engine=engine,
        data_root=data_root,
        id=network.id,
        name=network.name,
        driver=network.network_type,
        scope=network.scope,
        internal=network.internal,
        attachable=network.attachable,
        ingress=network.ingress,
        ipv6=network.enable_ipv6,
        config_only=network.config_only,
        created=timestamp(network.created),
        subnets=(*_subnets(network.v4_config, network.v4_info), *_subnets(network.v6_config, network.v6_info)),
        bridge=driver.bridge or options.get("com.docker.network.bridge.name") or None,
        parent=driver.parent or options.get("parent") or None,
        mode=driver.macvlan_mode or driver.ipvlan_mode or None,
        options=pairs(options),
        labels=pairs(network.labels),
    )


def _subnets(configs: str, infos: str) -> Iterator[Subnet]:
    """The pools of one family as `docker network inspect` shows them: those asked for, as they were asked for (so
    without the gateway that was chosen); where none was, those that were allocated, with their gateway."""
    asked = [config for config in decode(_pool_configs, configs) if config.preferred_pool] if configs else []
    for config in asked:
        # The gateway is written without a prefix; 20.10 prints one with its prefix for allocated IPv6 pools.
        yield Subnet(
            subnet=config.preferred_pool,
            gateway=split_prefix(config.gateway)[0],
            ip_range=config.sub_pool or None,
        )
    if not asked and infos:
        for info in decode(_pool_infos, infos):
            allocated = decode(_ipam_data, info.ipam_data)
            if allocated.pool:
                yield Subnet(subnet=allocated.pool, gateway=split_prefix(allocated.gateway)[0])


def parse_driver_network(content: bytes) -> _DriverNetwork:
    """The bridge, macvlan or ipvlan driver's record of a network. Raises `RecordError`."""
    return decode(_driver_network, content)


def parse_endpoint(content: bytes, network_id: str, ports: tuple[RecordedPort, ...] = ()) -> EndpointRecord:
    """endpoint/NID/EID, with the ports of bridge-endpoint/EID. Raises `RecordError`."""
    endpoint = decode(_endpoint, content)
    interface = endpoint.interface or _Interface()
    address, prefix_len = split_prefix(interface.addr)
    address6, prefix_len6 = split_prefix(interface.addrv6)
    return EndpointRecord(
        id=endpoint.id,
        network_id=kept(network_id),
        name=endpoint.name or None,
        sandbox_id=endpoint.sandbox or None,
        address=address,
        prefix_len=prefix_len,
        address6=address6,
        prefix_len6=prefix_len6,
        mac=interface.mac or None,
        src_name=interface.src_name or None,
        dns_names=tuple(endpoint.dns_names or ()),
        port_map=ports,
    )


def parse_bridge_endpoint(content: bytes) -> tuple[str, tuple[RecordedPort, ...]]:
    """bridge-endpoint/EID: the endpoint's id and its port bindings as they are. Raises `RecordError`."""
    endpoint = decode(_bridge_endpoint, content)
    return endpoint.id, tuple(
        port(
            _PROTOS.get(mapping.proto, str(mapping.proto)),
            mapping.port,
            "" if mapping.host_ip == "<nil>" else mapping.host_ip,
            mapping.host_port,
            mapping.host_port_end,
        )
        for mapping in endpoint.port_mapping or ()
    )


def parse_overlay_endpoint(content: bytes) -> EndpointRecord:
    """overlay/endpoint/EID of Docker 20.10: who is on a network of the swarm. Raises `RecordError`."""
    endpoint = decode(_overlay_endpoint, content)
    address, prefix_len = split_prefix(endpoint.addr)
    return EndpointRecord(
        id=endpoint.id,
        network_id=endpoint.network_id,
        address=address,
        prefix_len=prefix_len,
        mac=endpoint.mac or None,
        src_name=endpoint.if_name or None,
    )


def parse_sandbox(content: bytes) -> SandboxRecord:
    """sandbox/SID: whose it is, and its endpoints on networks of local scope. Raises `RecordError`."""
    sandbox = decode(_sandbox, content)
    return SandboxRecord(
        id=sandbox.id,
        container_id=sandbox.container_id,
        endpoints=tuple((kept(endpoint.network_id), endpoint.endpoint_id) for endpoint in sandbox.endpoints or ()),
    )


class NetworkTable:
    """What a local-kv.db holds: `networks`, `endpoints`, `sandboxes`, each by id, and the `errors` of its records."""

    def __init__(self, table: Bolt, engine: str, data_root: str) -> None:
        """Reads all of it. Raises `BoltError`; what is wrong with a single record is in `errors`, in words."""
        self.networks: dict[str, NetworkRecord] = {}
        self.endpoints: dict[str, EndpointRecord] = {}
        self.sandboxes: dict[str, SandboxRecord] = {}
        self.errors: list[str] = []
        drivers: dict[str, _DriverNetwork] = {}
        ports: dict[str, tuple[RecordedPort, ...]] = {}
        # bridge…, endpoint…, ipvlan…, macvlan… come before network… in key order, as do all that it is joined with.
        for count, (key, value) in enumerate(table.items(_BUCKET)):
            if count >= MAX_ENTRIES:
                self.errors.append(f"more than {MAX_ENTRIES} keys, the rest is not read")
                break
            if not key.startswith(_PREFIX):
                continue
            path = text(key[len(_PREFIX) :]).strip("/").split("/")
            content = value[_INDEX_SIZE:]
            try:
                match path:
                    case ["bridge", network_id] | [("macvlan" | "ipvlan"), "network", network_id]:
                        drivers[network_id] = parse_driver_network(content)
                    case ["bridge-endpoint", _]:
                        endpoint_id, bindings = parse_bridge_endpoint(content)
                        ports[endpoint_id] = bindings
                    case ["endpoint", network_id, endpoint_id]:
                        self.endpoints[endpoint_id] = parse_endpoint(content, network_id, ports.get(endpoint_id, ()))
                    case ["overlay", "endpoint", endpoint_id]:
                        self.endpoints.setdefault(endpoint_id, parse_overlay_endpoint(content))
                    case ["network", network_id]:
                        network = parse_network(content, drivers.get(network_id), engine, data_root)
                        if network:
                            self.networks[network_id] = network
                    case ["sandbox", sandbox_id]:
                        self.sandboxes[sandbox_id] = parse_sandbox(content)
            except RecordError as error:
                self.errors.append(f"{'/'.join(path)}: {error}")


def read_networks(files: Directory, engine: str, data_root: str, note: Note) -> NetworkTable | None:
    """local-kv.db under the opened data root, None where it is not there or not readable."""
    found = read_table(files, TABLE, data_root, note, lambda table: NetworkTable(table, engine, data_root))
    for words in found.errors if found else ():
        note(f"{data_root}/{TABLE}", words, DAMAGED)
    return found
