"""Docker's records: whole recorded hosts against the engine's own answers, then each parser on its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hostinspect.collectors import engines
from hostinspect.collectors.engines import (
    EngineRecords,
    collect_engines,
    collect_records,
    in_container,
    parse_cmdline,
    parse_config,
)
from hostinspect.collectors.gaps import GapLog
from hostinspect.engines.docker.containers import parse_container
from hostinspect.engines.docker.images import parse_repositories
from hostinspect.engines.docker.layers import read_layers
from hostinspect.engines.docker.naming import is_name
from hostinspect.engines.docker.networks import (
    parse_bridge_endpoint,
    parse_driver_network,
    parse_endpoint,
    parse_network,
    parse_overlay_endpoint,
    parse_sandbox,
)
from hostinspect.engines.docker.record import RecordError, split_port, split_prefix, timestamp
from hostinspect.engines.docker.swarm import parse_task
from hostinspect.engines.docker.volumes import parse_options
from hostinspect.engines.protobuf import ProtobufError, fields
from hostinspect.facts import (
    ContainerRecord,
    Engine,
    Gap,
    Host,
    LayerRecord,
    NetworkRecord,
    Process,
    RecordedMount,
    RecordedPort,
    Subnet,
)
from hostinspect.kernel.files import Directory
from tests import docker_oracle as oracle
from tests.unit.docker_fixtures import RECORDED, answers, lay_out

DATA_ROOT = "/var/lib/docker"  # of the recorded hosts
A, B, C = "a" * 64, "b" * 64, "c" * 64
HOST = Host(hostname="h", kernel="k", collected_at="2026-01-01T00:00:00Z", mntns=1)


class Notes:
    """A `Note` that remembers."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []

    def __call__(self, subject: str, why: str | OSError, remedy: str | None = None) -> None:
        self.taken.append((subject, str(why)))


# --- whole hosts ------------------------------------------------------------------------------------------------


class Recorded(oracle.DataRoot):
    """A recorded host: records and answers."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.answers = answers(path)
        assert self.notes == []


@pytest.fixture(scope="module", params=RECORDED)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return Recorded(lay_out(request.param, tmp_path_factory.mktemp("recorded")))


def test_every_container_as_docker_inspect(recorded: Recorded) -> None:
    assert len(recorded.containers) > 20
    assert recorded.containers.keys() == {of["Id"] for of in recorded.answers["containers"]}
    for inspect in recorded.answers["containers"]:
        container_id = inspect["Id"]
        engine, record = oracle.container_pair(
            inspect, recorded.containers[container_id], recorded.layers.get(container_id)
        )
        assert record == engine


def test_every_network_as_docker_network_inspect(recorded: Recorded) -> None:
    found = {of["Id"]: oracle.network_of_engine(of) for of in recorded.answers["networks"]}
    assert {of["name"] for of in found.values()} >= {"bridge", "host", "none", "docker_gwbridge", "ovnet", "ingress"}
    assert {network_id: oracle.network_of_record(of) for network_id, of in recorded.networks.items()} == found


def test_every_endpoint_of_a_local_network(recorded: Recorded) -> None:
    for network in recorded.answers["networks"]:
        if network["Scope"] == "local":
            records = oracle.endpoints_of_records(recorded.endpoints.values(), network["Id"])
            assert records == oracle.endpoints_of_engine(network), network["Name"]


def test_every_volume_as_docker_volume_inspect(recorded: Recorded) -> None:
    found = {of["Name"]: oracle.volume_of_engine(of) for of in recorded.answers["volumes"]}
    assert len(found) == 5
    assert {name: oracle.volume_of_record(of) for name, of in recorded.volumes.items()} == found


def test_every_image_name(recorded: Recorded) -> None:
    found = oracle.image_names_of_engine(recorded.answers["images"])
    assert found
    assert oracle.image_names_of_records(recorded.images) == found


def test_sandboxes_name_their_containers(recorded: Recorded) -> None:
    by_container = {of.container_id: of.id for of in recorded.sandboxes.values()}
    for record in recorded.containers.values():
        if record.running and record.sandbox_id:
            assert by_container[record.id] == record.sandbox_id
    assert by_container["ingress-sbox"] == "ingress_sbox"
    assert by_container["lb-ovnet"] == f"lb_{next(of.id for of in recorded.networks.values() if of.name == 'ovnet')}"


# --- containers -------------------------------------------------------------------------------------------------


def container(config: dict[str, Any] | None = None, host: dict[str, Any] | None = None) -> ContainerRecord:
    """A record from the smallest config.v2.json with these fields put in."""
    whole = {"ID": A, "Name": "/web", "State": {"Running": True, "Pid": 7}, **(config or {})}
    hostconfig = json.dumps(host).encode() if host is not None else None
    return parse_container(json.dumps(whole).encode(), hostconfig, "docker", DATA_ROOT)


def test_smallest_container() -> None:
    assert container() == ContainerRecord(
        engine="docker", data_root=DATA_ROOT, id=A, name="web", running=True, pid=7, exit_code=0
    )


def test_go_spells_nothing_in_three_ways() -> None:
    state = {"Running": False, "Pid": 0, "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": ""}
    record = container({"State": state, "Driver": "", "NetworkSettings": None, "MountPoints": None, "Config": None})
    assert (record.pid, record.started_at, record.finished_at, record.driver) == (None, None, None, None)


def test_ports_bound_and_exposed() -> None:
    ports = {"80/tcp": [{"HostIp": "::", "HostPort": "8080"}], "53/udp": None, "9/sctp": []}
    record = container({"NetworkSettings": {"Ports": ports}, "Config": {"ExposedPorts": {"443/tcp": {}}}})
    assert record.ports == (RecordedPort(proto="tcp", container_port=80, host_ip="::", host_port=8080),)
    assert record.exposed_ports == ("443/tcp", "53/udp", "80/tcp", "9/sctp")


@pytest.mark.parametrize(
    ("asked", "start", "end"), [("8080", 8080, None), ("", None, None), ("0", None, None), ("80-90", 80, 90)]
)
def test_port_bindings(asked: str, start: int | None, end: int | None) -> None:
    record = container(host={"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": asked}]}})
    assert record.port_bindings == (
        RecordedPort(proto="tcp", container_port=80, host_ip="", host_port=start, host_port_end=end),
    )


@pytest.mark.parametrize("port", ["x", "-1", "65536", "٣", "8080-", "1-x"])
def test_no_port_number(port: str) -> None:
    with pytest.raises(RecordError, match=r"hostconfig\.json: .* is no port number"):
        container(host={"PortBindings": {"80/tcp": [{"HostPort": port}]}})


def test_mounts_of_all_kinds() -> None:
    mounts = {
        "/v": {"Type": "volume", "Name": "v", "Driver": "local", "Source": "/old/root/v", "Destination": "/v",
               "Relabel": "ro", "RW": False, "Spec": {"VolumeOptions": {"Subpath": "in/side"}}},
        "/n": {"Type": "volume", "Name": "n", "Driver": "nfs", "Source": "", "Destination": "/n", "RW": True},
        "/b": {"Type": "bind", "Source": "/etc", "Destination": "/b", "RW": True, "Propagation": "rslave", "Spec": {}},
        "/t": {"Type": "tmpfs", "Source": "", "Destination": "/t", "RW": True, "Spec": {"TmpfsOptions": {}}},
    }  # fmt: skip
    assert container({"MountPoints": mounts}).mounts == (
        RecordedMount(type="bind", source="/etc", destination="/b", propagation="rslave"),
        RecordedMount(type="volume", name="n", driver="nfs", destination="/n"),
        RecordedMount(type="tmpfs", destination="/t"),
        RecordedMount(
            type="volume",
            name="v",
            source=f"{DATA_ROOT}/volumes/v/_data",
            destination="/v",
            driver="local",
            mode="ro",
            rw=False,
            subpath="in/side",
        ),
    )


def test_addresses_count_only_while_it_runs() -> None:
    settings = {"Networks": {"n": {"NetworkID": B, "EndpointID": C, "IPAddress": "172.18.0.2", "Aliases": ["db"]}}}
    running = container({"NetworkSettings": settings}).endpoints[0]
    assert (running.endpoint_id, running.ip, running.aliases) == (C, "172.18.0.2", ("db",))
    stopped = container({"NetworkSettings": settings, "State": {"Running": False}}).endpoints[0]
    assert (stopped.network_id, stopped.endpoint_id, stopped.ip, stopped.aliases) == (B, None, None, ("db",))


def test_environment_and_arguments_never_become_objects() -> None:
    secret = "hunter2"
    record = container({"Config": {"Env": [f"PASSWORD={secret}"], "Cmd": [secret]}, "Args": [secret], "Path": secret})
    assert secret not in repr(record)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"ID": 1, "Name": "x", "State": {}}',
        b'{"ID": "a", "Name": "\xff", "State": {}}',
        b'{"ID": "a", "Name": "\\ud800", "State": {}}',
        b'{"ID": "a", "Name": "x", "State": {"Pid": 99999999999999999999}}',
        b'{"ID": "a", "Name": "x", "State": {}, "Deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"Deep": ' + b'{"a":' * 100_000,
        b'{"ID": "a", "Name": "x", "State": {}} trailing',
    ],
)
def test_damaged_container_in_words(content: bytes) -> None:
    with pytest.raises(RecordError, match=r"^config\.v2\.json: "):
        parse_container(content, None, "docker", DATA_ROOT)


# --- networks ---------------------------------------------------------------------------------------------------


def network(driver: bytes | None = None, **changes: Any) -> NetworkRecord | None:
    content = json.dumps({"id": B, "name": "n", "networkType": "bridge", "scope": "local", **changes}).encode()
    return parse_network(content, parse_driver_network(driver) if driver else None, "docker", DATA_ROOT)


def pools(*of: tuple[str, str]) -> str:
    data = [json.dumps({"Pool": pool, "Gateway": gateway}) for pool, gateway in of]
    return json.dumps([{"IPAMData": text, "PoolID": "x"} for text in data])


def test_subnet_asked_for_is_shown_as_asked() -> None:
    config = '[{"PreferredPool": "10.1.0.0/16", "SubPool": "10.1.2.0/24", "Gateway": ""}]'
    record = network(ipamV4Config=config, ipamV4Info=pools(("10.1.0.0/16", "10.1.2.1/16")))
    assert record
    assert record.subnets == (Subnet(subnet="10.1.0.0/16", ip_range="10.1.2.0/24"),)


def test_subnet_that_was_chosen_is_shown_with_its_gateway() -> None:
    record = network(
        ipamV4Config='[{"PreferredPool": ""}]',
        ipamV4Info=pools(("172.18.0.0/16", "172.18.0.1/16")),
        ipamV6Info=pools(("fd00::/64", "fd00::1/64"), ("", "")),
        enableIPv6=True,
    )
    assert record
    assert record.subnets == (
        Subnet(subnet="172.18.0.0/16", gateway="172.18.0.1"),
        Subnet(subnet="fd00::/64", gateway="fd00::1"),
    )


def test_network_that_is_being_deleted_is_none() -> None:
    assert network(inDelete=True) is None


def test_ipvlan_network() -> None:
    # No kernel at hand has ipvlan: this is the driver's record as libnetwork 28 writes it.
    driver = b'{"ID":"x","Mtu":0,"Parent":"eth0","IpvlanMode":"l3","IpvlanFlag":"bridge","CreatedSubIface":false}'
    generic = {"com.docker.network.generic": {"parent": "eth0", "ipvlan_mode": "l3"}}
    record = network(driver, networkType="ipvlan", generic=generic)
    assert record
    assert (record.driver, record.parent, record.mode, record.bridge) == ("ipvlan", "eth0", "l3", None)


def test_bridge_name_from_the_driver_or_from_the_option() -> None:
    option = {"com.docker.network.generic": {"com.docker.network.bridge.name": "br0"}}
    asked, made = network(generic=option), network(b'{"BridgeName":"br-1"}', generic=option)
    assert asked and made
    assert (asked.bridge, made.bridge) == ("br0", "br-1")


def test_bridge_endpoint_ports() -> None:
    mapping = {"Proto": 132, "IP": "172.17.0.2", "Port": 80, "HostIP": "<nil>", "HostPort": 8080, "HostPortEnd": 8080}
    content = json.dumps({"id": C, "PortMapping": [mapping]}).encode()
    assert parse_bridge_endpoint(content) == (
        C,
        (RecordedPort(proto="sctp", container_port=80, host_ip="", host_port=8080),),
    )


def test_endpoint() -> None:
    interface = {"addr": "172.17.0.2/16", "addrv6": "fd00::2/64", "mac": "02:42:ac:11:00:02", "srcName": "veth1"}
    record = parse_endpoint(json.dumps({"id": C, "name": "web", "sandbox": A, "ep_iface": interface}).encode(), B)
    assert (record.address, record.prefix_len, record.address6, record.prefix_len6) == ("172.17.0.2", 16, "fd00::2", 64)
    assert (record.name, record.sandbox_id, record.src_name, record.network_id) == ("web", A, "veth1", B)


def test_overlay_endpoint_of_20_10() -> None:
    record = parse_overlay_endpoint(
        b'{"addr":"10.0.1.2/24","id":"e","ifName":"veth2","mac":"02:42:0a:00:01:02","nid":"n"}'
    )
    assert (record.network_id, record.address, record.prefix_len, record.src_name) == ("n", "10.0.1.2", 24, "veth2")


def test_sandbox_without_endpoints() -> None:
    record = parse_sandbox(b'{"ID":"lb_x","Cid":"lb-n","Eps":null}')
    assert (record.id, record.container_id, record.endpoints) == ("lb_x", "lb-n", ())


# --- the swarm's tasks ------------------------------------------------------------------------------------------


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes((number << 3,)) + bytes((value,))
    return bytes((number << 3 | 2, len(value))) + value


def test_task_with_a_network() -> None:
    meta = field(2, field(1, field(1, 5)) + field(2, field(1, 1) + field(2, 0)))
    spec = field(1, field(1, b"ov") + field(2, field(1, b"k") + field(2, b"v"))) + field(6, 1) + field(3, 1)
    ipam = field(3, field(1, 4) + field(2, b"10.0.1.0/24") + field(4, b"10.0.1.1"))
    whole = field(1, b"nid") + meta + field(3, spec) + field(4, field(1, b"overlay")) + field(5, ipam)
    [(version, record)] = parse_task(field(11, field(1, whole)), "docker", DATA_ROOT)
    assert version == 5
    assert record == NetworkRecord(
        engine="docker",
        data_root=DATA_ROOT,
        id="nid",
        name="ov",
        driver="overlay",
        scope="swarm",
        attachable=True,
        ipv6=True,
        created="1970-01-01T00:00:01Z",
        subnets=(Subnet(subnet="10.0.1.0/24", gateway="10.0.1.1"),),
        labels=(("k", "v"),),
    )


@pytest.mark.parametrize(
    "content", [b"\x0a\x05ab", b"\x08", b"\xff" * 20, b"\x0b", b"\x09\x00", b"\x0a\xff\xff\xff\xff\x0f"]
)
def test_not_protobuf(content: bytes) -> None:
    with pytest.raises(ProtobufError, match="not protobuf"):
        list(fields(content))


# --- volumes and images -----------------------------------------------------------------------------------------


def test_options_of_a_volume() -> None:
    content = b'{"MountType":"nfs","MountOpts":"addr=192.0.2.1","MountDevice":":/x","Quota":{"Size":1024}}'
    assert parse_options(content) == {"type": "nfs", "o": "addr=192.0.2.1", "device": ":/x", "size": "1024"}
    assert parse_options(b'{"MountType":"","Quota":{"Size":0}}') == {}


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a", True),
        ("v_1.x-y", True),
        ("", False),
        (".x", False),
        ("-x", False),
        ("..", False),
        ("a b", False),
        ("é", False),
    ],
)
def test_volume_names(name: str, is_one: bool) -> None:
    assert is_name(name) is is_one


def test_repositories() -> None:
    content = b'{"Repositories":{"b":{"b:1":"sha256:2","b@sha256:9":"sha256:2"},"a":{"a:1":"sha256:2"},"n":null}}'
    [image] = parse_repositories(content, DATA_ROOT)
    assert image.names == ("a:1", "b:1", "b@sha256:9")
    assert parse_repositories(b'{"Repositories":null}', DATA_ROOT) == ()


# --- Go's spellings ---------------------------------------------------------------------------------------------


def test_spellings() -> None:
    assert split_prefix("") == split_prefix(None) == split_prefix("<nil>") == (None, None)
    assert split_port("80") == (80, "tcp")
    assert timestamp("0001-01-01T00:00:00Z") is None
    with pytest.raises(RecordError):
        split_prefix("10.0.0.1/x")


# --- a data root with something wrong in it ---------------------------------------------------------------------


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    return lay_out("docker-28.5", tmp_path)


def collect(data_root: Path) -> tuple[EngineRecords, tuple[Gap, ...]]:
    gaps = GapLog()
    return collect_records(Engine(name="docker", data_root=str(data_root)), gaps), gaps.as_tuple()


def test_sound_data_root_has_no_gaps(data_root: Path) -> None:
    records, gaps = collect(data_root)
    assert gaps == ()
    unasked = {"image_layers", "build_cache", "layer_homes"}
    assert {family for family in records.__struct_fields__ if not getattr(records, family)} == unasked
    msgspec.json.encode(records)  # a snapshot can hold it


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b'{"ID": "x", "Name": "/x", "State": {}}', b"\0" * 100])
def test_one_damaged_container_is_a_gap_and_the_rest_goes_on(data_root: Path, content: bytes) -> None:
    victim = sorted((data_root / "containers").iterdir())[3]
    before, _ = collect(data_root)
    (victim / "config.v2.json").write_bytes(content)
    records, [gap] = collect(data_root)
    assert gap.collector == "containers"
    assert gap.subject == str(victim)
    assert gap.why.startswith("config.v2.json: ")
    assert len(records.containers) == len(before.containers) - 1


def test_container_removed_meanwhile_is_no_gap(data_root: Path) -> None:
    victim = sorted((data_root / "containers").iterdir())[3]
    (victim / "config.v2.json").unlink()
    _, gaps = collect(data_root)
    assert gaps == ()


def test_missing_hostconfig_leaves_the_rest(data_root: Path) -> None:
    victim = sorted((data_root / "containers").iterdir())[3]
    (victim / "hostconfig.json").unlink()
    records, gaps = collect(data_root)
    assert gaps == ()
    assert next(of for of in records.containers if of.id == victim.name).network_mode is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"PortBindings": {"80/tcp": [{"HostPort": "x"}]}}', None])
def test_damaged_hostconfig_is_a_gap_and_leaves_the_rest(data_root: Path, content: bytes | None) -> None:
    victim = sorted((data_root / "containers").iterdir())[3]
    (victim / "hostconfig.json").unlink()
    without, _ = collect(data_root)
    if content is None:
        os.mkfifo(victim / "hostconfig.json")
    else:
        (victim / "hostconfig.json").write_bytes(content)
    records, [gap] = collect(data_root)
    assert (gap.collector, gap.subject, gap.minor) == ("containers", f"{victim}/hostconfig.json", False)
    assert records.containers == without.containers


@pytest.mark.parametrize(
    "path",
    ["network/files/local-kv.db", "volumes/metadata.db", "swarm/worker/tasks.db", "image/overlay2/repositories.json"],
)
def test_damaged_table_is_one_gap(data_root: Path, path: str) -> None:
    (data_root / path).write_bytes(b"\0" * 9000)
    records, [gap] = collect(data_root)
    assert gap.subject == f"{data_root}/{path}"
    assert records.containers


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_no_regular_file_is_a_gap(data_root: Path, kind: str) -> None:
    victim = sorted((data_root / "containers").iterdir())[0] / "config.v2.json"
    victim.unlink()
    if kind == "link":
        victim.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(victim)
    else:
        victim.mkdir()
    _, [gap] = collect(data_root)
    assert gap.subject == str(victim.parent)


@pytest.mark.parametrize("word", ["l/../../etc", "l/", "l/NOSUCHNAME", "/etc", "", "l/A:l/B", "\xff"])
def test_lower_layers_that_are_none(data_root: Path, word: str) -> None:
    [container_id, *_] = sorted(path.name for path in (data_root / "image/overlay2/layerdb/mounts").iterdir())
    mount_id = (data_root / "image/overlay2/layerdb/mounts" / container_id / "mount-id").read_text()
    (data_root / "overlay2" / mount_id / "lower").write_text(word, "latin-1")
    records, gaps = collect(data_root)
    layers = {layer.container_id: layer for layer in records.layers}
    if word:
        assert container_id not in layers
        assert gaps[0].subject.endswith(f"layerdb/mounts/{container_id}")
        assert len(layers) == len(records.containers) - 1
    else:
        assert layers[container_id].lower == ()


def test_short_name_of_two_layers_is_nobodys(data_root: Path) -> None:
    image_layers = [path.parent for path in data_root.glob("overlay2/*/link") if not path.with_name("lower").exists()]
    twin = data_root / "overlay2" / C
    twin.mkdir()
    (twin / "link").write_text((image_layers[0] / "link").read_text())
    records, gaps = collect(data_root)
    assert len(records.layers) < len(records.containers)
    assert any("2 layers are called" in gap.why for gap in gaps)


def test_no_symbolic_link_is_looked_at(data_root: Path) -> None:
    assert not (data_root / "overlay2/l").exists()
    assert all(layer.lower for layer in collect(data_root)[0].layers)


@pytest.mark.parametrize("word", ["", "../../etc", "x", A + "\0"])
def test_mount_id_that_is_none(data_root: Path, word: str) -> None:
    [victim, *_] = sorted((data_root / "image/overlay2/layerdb/mounts").iterdir())
    (victim / "mount-id").write_text(word)
    records, gaps = collect(data_root)
    assert victim.name not in {layer.container_id for layer in records.layers}
    assert gaps


def test_layers_upon_nothing(tmp_path: Path) -> None:
    mounts = tmp_path / "image/overlay2/layerdb/mounts" / A
    mounts.mkdir(parents=True)
    (mounts / "mount-id").write_text(B)
    (tmp_path / "overlay2" / B).mkdir(parents=True)
    notes = Notes()
    with Directory(tmp_path) as files:
        [layer] = read_layers(files, DATA_ROOT, notes)
    top = f"{DATA_ROOT}/overlay2/{B}"
    assert layer == LayerRecord(
        container_id=A, mount_id=B, upper=f"{top}/diff", work=f"{top}/work", merged=f"{top}/merged"
    )


def test_layers_that_buildkit_built(data_root: Path) -> None:
    """Their ids are 25 of base 36, and without them a container upon such an image would have no layers."""
    built = data_root / "overlay2" / "ygko4qf2hdviz5nv9y9irzx8g"
    [container_id, *_] = sorted(path.name for path in (data_root / "image/overlay2/layerdb/mounts").iterdir())
    mount_id = (data_root / "image/overlay2/layerdb/mounts" / container_id / "mount-id").read_text()
    short = (data_root / "overlay2" / mount_id / "lower").read_text().rpartition("/")[2]
    [lowest] = [path.parent for path in data_root.glob("overlay2/*/link") if path.read_text() == short]
    lowest.rename(built)
    records, gaps = collect(data_root)
    assert gaps == ()
    [layer] = [layer for layer in records.layers if layer.container_id == container_id]
    assert layer.lower[-1] == f"{layer.upper.removesuffix(f'/{mount_id}/diff')}/{built.name}/diff"


def test_containerd_image_store_is_one_gap(data_root: Path) -> None:
    import shutil

    shutil.rmtree(data_root / "image")
    shutil.rmtree(data_root / "overlay2")
    for config in data_root.glob("containers/*/config.v2.json"):
        config.write_bytes(config.read_bytes().replace(b'"Driver":"overlay2"', b'"Driver":"overlayfs"'))
    records, [gap] = collect(data_root)
    assert "storage driver overlayfs" in gap.subject
    assert not records.layers and not records.images
    assert records.containers and records.networks and records.volumes


def test_volume_without_record_and_record_without_directory(data_root: Path) -> None:
    (data_root / "volumes/found/_data").mkdir(parents=True)
    (data_root / "volumes/found/opts.json").write_text('{"MountType":"tmpfs","MountOpts":"","MountDevice":"tmpfs"}')
    (data_root / "volumes/dangling01/_data").rmdir()
    (data_root / "volumes/dangling01").rmdir()
    (data_root / "volumes/a file").write_text("")
    (data_root / "volumes/afile").write_text("")
    (data_root / "volumes/alink").symlink_to("/etc")
    records, gaps = collect(data_root)
    by_name = {volume.name: volume for volume in records.volumes}
    assert by_name["found"].options == (("device", "tmpfs"), ("type", "tmpfs"))
    assert by_name["found"].created is not None
    assert by_name["dangling01"].created is None
    assert not by_name.keys() & {"a file", "afile", "alink"}
    assert gaps == ()


def test_not_a_data_root(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        records, [gap] = collect(path)
        assert records == EngineRecords()
        assert (gap.collector, gap.subject) == ("engines", str(path))


def test_without_permission_one_gap(data_root: Path) -> None:
    data_root.chmod(0)
    for parent in (data_root, *data_root.parents):
        if parent != data_root and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o755)
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        os.setegid(65534)
        os.seteuid(65534)
    try:
        records, gaps = collect(data_root)
    finally:
        if user == 0:
            os.seteuid(user)
            os.setegid(group)
        data_root.chmod(0o700)
    assert records == EngineRecords()
    [gap] = gaps
    assert (gap.subject, gap.remedy) == (str(data_root), "run as root")


def test_nothing_is_changed(data_root: Path) -> None:
    def state() -> dict[str, tuple[int, int, int]]:
        return {
            str(path): (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
            for path in sorted(data_root.rglob("*"))
            for found in [path.lstat()]
        }

    for path in data_root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (0, 0))  # an access time so old that even relatime would renew it
    before = state()
    collect(data_root)
    assert state() == before


# --- where engines are ------------------------------------------------------------------------------------------


def dockerd(*arguments: str, pid: int = 999_999_999, mntns: int | None = 1, cgroup: str = "/docker.service") -> Process:
    return Process(
        pid=pid,
        ppid=1,
        comm="dockerd",
        state="S",
        starttime=1,
        mntns=mntns,
        cgroups=(cgroup,),
        cmdline=("/usr/bin/dockerd", *arguments),
    )


@pytest.fixture(autouse=True)
def no_config_of_this_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engines, "DEFAULT_CONFIG_FILE", str(tmp_path / "no/daemon.json"))
    monkeypatch.setattr(engines, "DEFAULT_DATA_ROOT", str(tmp_path / "default"))


def found(*processes: Process, data_roots: tuple[str, ...] = ()) -> tuple[list[tuple[str, int | None]], int]:
    gaps = GapLog()
    collected = collect_engines(HOST, processes, gaps, data_roots)
    return [(engine.data_root, engine.pid) for engine in collected], len(gaps.as_tuple())


@pytest.mark.parametrize(
    "arguments",
    [("--data-root", "/srv/d"), ("--data-root=/srv/d",), ("-g", "/srv/d"), ("-g/srv/d",), ("--graph=/srv/d",)],
)
def test_data_root_on_the_command_line(arguments: tuple[str, ...]) -> None:
    assert found(dockerd("-H", "fd://", *arguments)) == ([("/srv/d", 999_999_999)], 0)


def test_data_root_in_a_config_file(tmp_path: Path) -> None:
    config = tmp_path / "d.json"
    config.write_text('{"data-root": "/srv/e", "debug": true}')
    assert found(dockerd("--config-file", str(config))) == ([("/srv/e", 999_999_999)], 0)
    config.write_text("{")
    engines_found, gaps = found(dockerd(f"--config-file={config}"))
    assert (engines_found, gaps) == ([(str(tmp_path / "default"), 999_999_999)], 1)


def test_engine_at_rest(tmp_path: Path) -> None:
    assert found() == ([], 0)
    (tmp_path / "default/containers").mkdir(parents=True)
    assert found() == ([(str(tmp_path / "default"), None)], 0)
    assert found(dockerd()) == ([(str(tmp_path / "default"), 999_999_999)], 0)


def test_several_engines(tmp_path: Path) -> None:
    (tmp_path / "default/containers").mkdir(parents=True)
    two = dockerd("--data-root=/srv/two", pid=999_999_998)
    assert found(two) == ([("/srv/two", 999_999_998), (str(tmp_path / "default"), None)], 0)


def test_explicit_data_roots_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "default/containers").mkdir(parents=True)
    (tmp_path / "link").symlink_to("/srv/two")
    two = dockerd("--data-root=/srv/two")
    roots = (str(tmp_path / "link"), "/srv/three")
    assert found(two, data_roots=roots) == ([("/srv/two", 999_999_999), ("/srv/three", None)], 0)


def test_daemon_in_a_container_is_not_of_this_host() -> None:
    inside = f"/system.slice/docker-{A}.scope"
    assert found(dockerd(mntns=2, cgroup=inside)) == ([], 0)
    assert found(dockerd(mntns=None, cgroup=inside)) == ([], 0)
    assert len(found(dockerd(mntns=None))[0]) == 1


def test_daemon_in_a_mount_namespace_of_its_own_is_a_gap() -> None:
    assert found(dockerd(mntns=2)) == ([], 1)


def test_stranger_beside_the_host_s_own_engine_is_minor() -> None:
    gaps = GapLog()
    collect_engines(HOST, [dockerd(mntns=2), dockerd()], gaps)
    [gap] = gaps.as_tuple()
    assert gap.minor


@pytest.mark.parametrize(
    ("link", "is_at"),
    [("/data/docker", "/data/docker"), ("../../data/docker", "/data/docker"), (None, "/var/lib/docker")],
)
def test_disk_of_another_host(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str | None, is_at: str
) -> None:
    monkeypatch.setattr(engines, "DEFAULT_DATA_ROOT", DATA_ROOT)
    root = tmp_path / "disk"
    (root / "var/lib").mkdir(parents=True)
    (root / "data").mkdir()
    if link:
        (root / "var/lib/docker").symlink_to(link)
    data_root.rename(root / is_at[1:])
    gaps = GapLog()
    [engine] = collect_engines(HOST, (), gaps, root=str(root))
    assert (engine.data_root, engine.pid) == (is_at, None)
    records = collect_records(engine, gaps, root=str(root))
    assert {record.data_root for record in records.containers} == {is_at}
    assert all(layer.upper.startswith(f"{is_at}/overlay2/") for layer in records.layers)
    assert gaps.as_tuple() == ()


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/a/b")
    gaps = GapLog()
    [engine] = collect_engines(HOST, (), gaps, ["/a"], root=str(tmp_path))
    assert collect_records(engine, gaps, root=str(tmp_path)) == EngineRecords()
    assert len(gaps.as_tuple()) == 1


def test_rootless_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_home", lambda pid: "/home/ann")
    rootless = dockerd("--rootless", mntns=2, cgroup="/user.slice/user-1000.slice/docker.service")
    assert found(rootless) == ([("/home/ann/.local/share/docker", 999_999_999)], 0)


def test_userns_remap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def first_subid(file: str, name: str, root: str) -> int | None:
        return {("subuid", "dockremap"): 1000, ("subgid", "dockremap"): 2000}.get((file, name))

    monkeypatch.setattr(engines, "_first_subid", first_subid)
    root = f"--data-root={tmp_path}"
    assert found(dockerd(root, "--userns-remap=default")) == ([(f"{tmp_path}/1000.2000", 999_999_999)], 0)
    (tmp_path / "7.8").mkdir()
    assert found(dockerd(root, "--userns-remap", "ann")) == ([(f"{tmp_path}/7.8", 999_999_999)], 0)
    (tmp_path / "9.9").mkdir()
    assert found(dockerd(root, "--userns-remap", "ann"))[1] == 1
    assert found(dockerd(root, "--userns-remap=host")) == ([(str(tmp_path), 999_999_999)], 0)


def test_command_line_of_nothing() -> None:
    assert parse_cmdline([]) == parse_cmdline(["dockerd"]) == {}
    assert parse_cmdline(["dockerd", "--data-root"]) == {"data-root": ""}


def test_config_of_old_times() -> None:
    assert parse_config(b'{"graph": "/g", "userns-remap": "default"}').graph == "/g"


@pytest.mark.parametrize(
    ("cgroup", "is_one"),
    [
        (f"/docker/{A}", True),
        (f"/kubepods.slice/cri-containerd-{A}.scope", True),
        (f"/kubepods/besteffort/pod1/{A}/docker.service", True),
        (f"/machine.slice/libpod-{A}.scope/container", True),
        ("/system.slice/docker.service", False),
        (f"/x/{A}0", False),
    ],
)
def test_cgroups_of_containers(cgroup: str, is_one: bool) -> None:
    assert in_container([cgroup]) is is_one
