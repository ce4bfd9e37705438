"""Correlation, one joining key at a time: what holds, what is left open, and what is drift."""

from __future__ import annotations

from msgspec.structs import replace

from hostinspect.correlate import correlate
from hostinspect.facts import (
    Address,
    Chain,
    EndpointRecord,
    Engine,
    Facts,
    FrozenCgroup,
    Gap,
    Link,
    ListeningSocket,
    MountPoint,
    NetworkNamespace,
    Nsid,
    RecordedEndpoint,
    RecordedMount,
    RecordedPort,
    Route,
    Rule,
    SandboxRecord,
    SocketHolder,
    Subnet,
    VolumeRecord,
)
from hostinspect.topology import Container, Drift, LinkRef, VolumeUser
from hostinspect.topology import Link as TopologyLink

from .factory import (
    BRIDGE_NETWORK,
    DOCKER0,
    HOST_MNTNS,
    HOST_NETNS,
    HOST_VETH,
    NETWORK_ID,
    WEB_ADDRESS,
    WEB_ETH0,
    WEB_ID,
    WEB_MNTNS,
    WEB_NETNS,
    host_process,
    host_with_web,
    record,
    web_process,
)

ROOT = "/var/lib/docker"


def only_container(facts: Facts) -> Container:
    (container,) = correlate(facts).containers
    return container


def link_named(facts: Facts, ifname: str) -> TopologyLink:
    (link,) = [link for link in correlate(facts).links if link.ifname == ifname]
    return link


def test_a_healthy_host_has_no_drift_and_no_gap() -> None:
    topology = correlate(host_with_web())
    assert topology.containers[0].drift == ()
    assert topology.networks[0].drift == ()
    assert topology.gaps == ()


def test_equal_facts_in_another_order_give_the_same_topology() -> None:
    facts = host_with_web()
    turned = replace(
        facts,
        **{
            name: tuple(reversed(getattr(facts, name)))
            for name in facts.__struct_fields__
            if isinstance(getattr(facts, name), tuple) and name not in ("mounts", "addresses", "gaps")
        },
    )
    assert correlate(turned) == correlate(facts)


class TestRuntime:
    def test_a_process_belongs_by_its_cgroup_in_any_drivers_spelling(self) -> None:
        for path in (
            f"/docker/{WEB_ID}",
            f"/system.slice/docker-{WEB_ID}.scope",
            f"/kubepods/besteffort/pod1/{WEB_ID}",
            f"/docker/{WEB_ID}/init.scope",
        ):
            container = only_container(host_with_web(processes=(web_process(cgroups=(path,)),)))
            assert (container.state, container.pid, container.cgroup) == ("running", 500, path)

    def test_the_outermost_known_id_counts_not_one_that_a_nested_runtime_made(self) -> None:
        inner = f"/docker/{WEB_ID}/docker/{'c' * 64}"
        other = record(id="c" * 64, name="other", running=False, pid=None, endpoints=())
        topology = correlate(host_with_web(containers=(record(), other), processes=(web_process(cgroups=(inner,)),)))
        assert {c.name: c.state for c in topology.containers} == {"web": "running", "other": "exited"}

    def test_without_an_id_in_the_cgroup_the_upperdir_of_the_root_tells(self) -> None:
        from hostinspect.facts import LayerRecord

        layer = LayerRecord(container_id=WEB_ID, mount_id="m", upper="/u", work="/w", merged="/m")
        root = MountPoint(
            mntns=WEB_MNTNS, mount_id=1, parent_id=0, device="0:1", root="/", mount_point="/", options=("rw",),
            fstype="overlay", source="overlay", upperdir="/u",
        )  # fmt: skip
        facts = host_with_web(processes=(web_process(cgroups=("/",)),), layers=(layer,), mounts=(root,))
        assert only_container(facts).pid == 500

    def test_no_process_left_is_drift_from_a_record_that_says_running(self) -> None:
        container = only_container(host_with_web(processes=(host_process(),)))
        assert (container.state, container.pid) == ("exited", None)
        assert container.drift == (Drift(field="state", recorded="running", effective="exited"),)

    def test_a_zombie_does_not_run(self) -> None:
        assert only_container(host_with_web(processes=(web_process(state="Z"),))).state == "exited"

    def test_a_reused_pid_outside_of_the_container_is_not_its_process(self) -> None:
        container = only_container(host_with_web(processes=(host_process(500, comm="bash"),)))
        assert (container.state, container.pid) == ("exited", None)

    def test_another_main_process_than_recorded_is_drift(self) -> None:
        container = only_container(host_with_web(processes=(web_process(pid=501), web_process(pid=502))))
        assert container.pid == 501
        assert container.drift == (Drift(field="pid", recorded="500", effective="501"),)

    def test_runc_on_its_way_into_the_container_is_not_in_it(self) -> None:
        outside = web_process(pid=499, comm="runc:[0:PARENT]", netns=HOST_NETNS, mntns=HOST_MNTNS, starttime=1)
        container = only_container(host_with_web(processes=(outside, web_process())))
        assert (container.pid, container.drift) == (500, ())

    def test_a_container_that_is_being_started_does_not_run_yet(self) -> None:
        starting = (web_process(pid=499, comm="runc:[1:CHILD]"), web_process(comm="runc:[2:INIT]"))
        records = (record(running=False, pid=None, started_at=None),)
        container = only_container(host_with_web(containers=records, processes=starting))
        assert (container.state, container.pid, container.drift) == ("created", None, ())
        renamed = only_container(host_with_web(processes=(web_process(comm="runc:[2:INIT]"),)))
        assert (renamed.state, renamed.pid) == ("running", 500)

    def test_where_processes_are_hidden_none_is_known_to_have_ended(self) -> None:
        hidden = Gap(collector="processes", subject="/proc", why="hidden", remedy="run as root")
        topology = correlate(host_with_web(processes=(), gaps=(hidden,)))
        (container,) = topology.containers
        assert (container.state, container.pid, container.drift) == ("running", None, ())
        assert topology.host.engines[0].daemon is None

    def test_a_frozen_cgroup_is_a_paused_container(self) -> None:
        frozen = (FrozenCgroup(path=f"/docker/{WEB_ID}"),)
        container = only_container(host_with_web(containers=(record(paused=True),), frozen_cgroups=frozen))
        assert (container.state, container.drift) == ("paused", ())

    def test_recorded_as_paused_but_not_frozen_is_drift(self) -> None:
        container = only_container(host_with_web(containers=(record(paused=True),)))
        assert container.drift == (Drift(field="state", recorded="paused", effective="running"),)

    def test_states_of_containers_without_a_process(self) -> None:
        idle = {"running": False, "pid": None, "endpoints": ()}
        cases = {
            "created": record(**idle, started_at=None),
            "exited": record(**idle),
            "dead": record(**idle, dead=True),
            "removing": record(**idle, removal_in_progress=True),
            "restarting": record(**{**idle, "running": True}, restarting=True),
        }
        for state, case in cases.items():
            container = only_container(host_with_web(processes=(), containers=(case,)))
            assert (container.state, container.drift) == (state, ())

    def test_an_id_that_no_engine_knows_is_a_minor_gap(self) -> None:
        stranger = web_process(pid=9, cgroups=(f"/system.slice/cri-{'d' * 64}.scope",))
        (gap,) = correlate(host_with_web(processes=(web_process(), stranger))).gaps
        assert gap.minor
        assert "d" * 12 in gap.subject

    def test_a_daemon_that_is_stopped_by_a_signal_does_not_respond(self) -> None:
        for state, expected in {"S": "running", "T": "not responding", "Z": "stopped"}.items():
            topology = correlate(host_with_web(processes=(host_process(300, comm="dockerd", state=state),)))
            assert topology.host.engines[0].daemon == expected

    def test_a_daemon_that_is_gone_is_stopped(self) -> None:
        assert correlate(host_with_web(processes=())).host.engines[0].daemon == "stopped"


class TestLinks:
    def test_a_veth_and_its_peer_name_each_other(self) -> None:
        outer = link_named(host_with_web(), "veth1")
        inner = link_named(host_with_web(), "eth0")
        assert outer.peer == LinkRef(netns=WEB_NETNS, ifindex=12, ifname="eth0")
        assert inner.peer == LinkRef(netns=HOST_NETNS, ifindex=13, ifname="veth1")
        assert outer.container == inner.container == WEB_ID
        assert outer.master == "docker0"

    def test_an_unresolved_nsid_leaves_the_peer_open_and_says_why(self) -> None:
        facts = host_with_web(nsids=(Nsid(netns=WEB_NETNS, nsid=0, target=HOST_NETNS),))
        outer = link_named(facts, "veth1")
        assert outer.peer is None
        assert outer.doubt == "its peer, ifindex 12, is in a namespace not found (nsid 0)"

    def test_a_peer_that_points_elsewhere_is_none(self) -> None:
        facts = host_with_web(links=(DOCKER0, HOST_VETH, replace(WEB_ETH0, link=99)))
        outer = link_named(facts, "veth1")
        assert outer.peer is None
        assert outer.doubt is not None
        assert "does not point back" in outer.doubt

    def test_an_ifindex_in_the_wrong_namespace_is_no_peer(self) -> None:
        twin = NetworkNamespace(inode=7, entered=True)
        facts = host_with_web(
            network_namespaces=(*host_with_web().network_namespaces, twin),
            nsids=(
                Nsid(netns=HOST_NETNS, nsid=0, target=WEB_NETNS),
                Nsid(netns=WEB_NETNS, nsid=0, target=7),
            ),
        )
        outer = link_named(facts, "veth1")
        assert outer.peer is None
        assert outer.doubt == f"eth0 in namespace {WEB_NETNS} points back to namespace 7"

    def test_both_ends_of_a_pair_in_one_namespace(self) -> None:
        a = Link(netns=HOST_NETNS, ifindex=20, ifname="a", kind="veth", link=21)
        b = Link(netns=HOST_NETNS, ifindex=21, ifname="b", kind="veth", link=20)
        facts = host_with_web(links=(a, b))
        assert link_named(facts, "a").peer == LinkRef(netns=HOST_NETNS, ifindex=21, ifname="b")

    def test_ipvlan_names_its_lower_device(self) -> None:
        eth0 = Link(netns=HOST_NETNS, ifindex=2, ifname="ens3")
        inner = Link(
            netns=WEB_NETNS, ifindex=12, ifname="eth0", kind="ipvlan", mode="l2", mac="02:42:ac:11:00:02",
            link=2, link_netnsid=0,
        )  # fmt: skip
        link = link_named(host_with_web(links=(eth0, inner)), "eth0")
        assert link.lower == LinkRef(netns=HOST_NETNS, ifindex=2, ifname="ens3")
        assert (link.peer, link.doubt, link.mode) == (None, None, "l2")

    def test_a_vxlan_that_names_itself_has_no_lower_device(self) -> None:
        vxlan = Link(netns=7, ifindex=18, ifname="vxlan0", kind="vxlan", vxlan_id=4097, link=18, link_netnsid=0)
        link = link_named(host_with_web(links=(vxlan,)), "vxlan0")
        assert (link.lower, link.doubt, link.vxlan_id) == (None, None, 4097)


class TestEndpoints:
    def test_the_interface_and_its_way_to_the_bridge(self) -> None:
        (endpoint,) = only_container(host_with_web()).endpoints
        assert (endpoint.interface, endpoint.host_link, endpoint.host_link_netns, endpoint.bridge) == (
            "eth0",
            "veth1",
            HOST_NETNS,
            "docker0",
        )

    def test_another_address_than_recorded_is_shown_and_is_drift(self) -> None:
        facts = host_with_web(addresses=(replace(WEB_ADDRESS, address="172.17.0.9"),))
        container = only_container(facts)
        assert container.endpoints[0].ip == "172.17.0.9"
        assert container.drift == (Drift(field="endpoints[bridge].ip", recorded="172.17.0.2", effective="172.17.0.9"),)

    def test_an_endpoint_that_lost_its_interface_has_no_address_and_is_drift(self) -> None:
        lo = Link(netns=WEB_NETNS, ifindex=1, ifname="lo")
        container = only_container(host_with_web(links=(DOCKER0, lo)))
        assert [(e.network, e.interface, e.ip, e.mac) for e in container.endpoints] == [("bridge", None, None, None)]
        assert [d.field for d in container.drift] == ["endpoints[bridge]"]

    def test_an_interface_nobody_recorded(self) -> None:
        extra = Link(netns=WEB_NETNS, ifindex=30, ifname="eth7", kind="veth", mac="aa:bb:cc:dd:ee:ff", link=31)
        container = only_container(host_with_web(links=(DOCKER0, HOST_VETH, WEB_ETH0, extra)))
        assert [(e.network, e.interface) for e in container.endpoints] == [(None, "eth7"), ("bridge", "eth0")]
        assert [d.field for d in container.drift] == ["interface eth7"]

    def test_an_interface_that_only_libnetworks_store_knows_is_no_drift(self) -> None:
        leg = Link(netns=WEB_NETNS, ifindex=30, ifname="eth1", kind="veth", mac="02:42:ac:13:00:03", link=31)
        address = Address(netns=WEB_NETNS, ifindex=30, family="ipv4", address="172.19.0.3", prefix_len=16)
        facts = host_with_web(
            containers=(record(sandbox_id="5" * 64),),
            links=(DOCKER0, HOST_VETH, WEB_ETH0, leg),
            addresses=(WEB_ADDRESS, address),
            sandboxes=(SandboxRecord(id="5" * 64, container_id=WEB_ID, endpoints=((NETWORK_ID, "1" * 64),)),),
            endpoints=(
                EndpointRecord(
                    id="1" * 64, network_id=NETWORK_ID, address="172.19.0.3", prefix_len=16, mac="02:42:ac:13:00:03"
                ),
            ),
        )
        container = only_container(facts)
        assert {(e.interface, e.ip, e.endpoint_id) for e in container.endpoints} == {
            ("eth0", "172.17.0.2", "f" * 64),
            ("eth1", "172.19.0.3", "1" * 64),
        }
        assert container.drift == ()

    def test_the_names_in_dns_are_libnetworks_own(self) -> None:
        renamed = EndpointRecord(id="f" * 64, network_id=NETWORK_ID, dns_names=("new", "eeeeeeeeeeee"))
        (endpoint,) = only_container(host_with_web(endpoints=(renamed,))).endpoints
        assert endpoint.dns_names == ("new", "eeeeeeeeeeee")

    def test_ipvlan_interfaces_with_one_mac_are_told_apart_by_address(self) -> None:
        mac = "52:54:00:00:00:01"
        endpoints = tuple(
            RecordedEndpoint(network=name, network_id=name * 64, ip=ip, prefix_len=24)
            for name, ip in (("1", "192.0.2.2"), ("2", "198.51.100.2"))
        )
        links = tuple(
            Link(netns=WEB_NETNS, ifindex=i, ifname=f"eth{i}", kind="ipvlan", mac=mac, link=2, link_netnsid=0)
            for i in (0, 1)
        )
        addresses = tuple(
            Address(netns=WEB_NETNS, ifindex=i, family="ipv4", address=ip, prefix_len=24)
            for i, ip in ((1, "192.0.2.2"), (0, "198.51.100.2"))
        )
        container = only_container(
            host_with_web(containers=(record(endpoints=endpoints),), links=links, addresses=addresses)
        )
        assert [(e.network, e.interface) for e in container.endpoints] == [("1", "eth1"), ("2", "eth0")]

    def test_a_namespace_that_could_not_be_entered_is_no_drift(self) -> None:
        facts = host_with_web(
            links=(DOCKER0, HOST_VETH),
            network_namespaces=(NetworkNamespace(inode=WEB_NETNS, pids=(500,)),),
        )
        container = only_container(facts)
        assert container.endpoints[0].ip == "172.17.0.2"
        assert container.endpoints[0].interface is None
        assert container.drift == ()

    def test_a_lost_default_route_is_drift(self) -> None:
        endpoint = RecordedEndpoint(network="bridge", network_id=NETWORK_ID, mac=WEB_ETH0.mac, gateway="172.17.0.1")
        with_gateway = (record(endpoints=(endpoint,)),)
        route = Route(netns=WEB_NETNS, family="ipv4", dst=None, gateway="172.17.0.1", ifindex=12)
        assert only_container(host_with_web(containers=with_gateway, routes=(route,))).drift == ()
        assert only_container(host_with_web(containers=with_gateway)).drift == (
            Drift(field="default route (ipv4)", recorded="172.17.0.1", effective=None),
        )

    def test_the_network_that_gives_the_ipv4_route_gives_the_ipv6_one(self) -> None:
        """Before Docker 28: another network's IPv6 gateway is none of the container's."""
        first = RecordedEndpoint(network="a", network_id="1" * 64, mac=WEB_ETH0.mac, gateway="172.17.0.1")
        second = RecordedEndpoint(
            network="b", network_id="2" * 64, mac="02:42:ac:12:00:02", gateway="172.18.0.1", gateway6="fd00::1"
        )
        eth1 = replace(WEB_ETH0, ifindex=14, ifname="eth1", mac=second.mac, link=15)
        route = Route(netns=WEB_NETNS, family="ipv4", dst=None, gateway="172.17.0.1", ifindex=12)
        facts = host_with_web(
            containers=(record(endpoints=(first, second)),),
            links=(DOCKER0, HOST_VETH, WEB_ETH0, eth1),
            routes=(route,),
        )
        assert only_container(facts).drift == ()
        through_b = host_with_web(
            containers=(record(endpoints=(first, second)),),
            links=(DOCKER0, HOST_VETH, WEB_ETH0, eth1),
            routes=(replace(route, gateway="172.18.0.1"),),
        )
        assert [d.field for d in only_container(through_b).drift] == ["default route (ipv6)"]


DNAT = Rule(
    netns=HOST_NETNS, family="ipv4", backend="nft", table="nat", chain="DOCKER", position=2,
    text="-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
    verdict="DNAT", proto="tcp", dport="8080", to="172.17.0.2:80", in_interface="!docker0",
)  # fmt: skip
CHAINS = (Chain(netns=HOST_NETNS, family="ipv4", backend="nft", table="nat", name="DOCKER"),)
PORT = RecordedPort(proto="tcp", container_port=80, host_ip="0.0.0.0", host_port=8080)
PROXY = host_process(
    600,
    comm="docker-proxy",
    cmdline=(
        "/usr/bin/docker-proxy", "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", "8080",
        "-container-ip", "172.17.0.2", "-container-port", "80",
    ),
)  # fmt: skip


def published(**changes: object) -> Facts:
    fields: dict[str, object] = {"containers": (record(ports=(PORT,)),), "chains": CHAINS, "rules": (DNAT,)}
    return host_with_web(**{**fields, **changes})


class TestPorts:
    def test_rule_proxy_and_listener_together(self) -> None:
        facts = published(
            processes=(web_process(), PROXY),
            listening_sockets=(
                ListeningSocket(netns=WEB_NETNS, proto="tcp", family="ipv6", address="::", port=80, inode=77),
            ),
            socket_holders=(SocketHolder(inode=77, pid=500),),
        )
        container = only_container(facts)
        (port,) = container.ports
        assert (port.host_port, port.via, port.proxy_pid) == (8080, ("dnat", "proxy"), 600)
        assert [(r.chain, r.position) for r in port.rules] == [("DOCKER", 2)]
        assert port.listening is not None
        assert (port.listening.pid, port.listening.comm, port.listening.address) == (500, "httpd", "::")
        assert container.drift == ()

    def test_a_server_on_loopback_only_does_not_answer_at_the_port(self) -> None:
        loopback = ListeningSocket(netns=WEB_NETNS, proto="tcp", family="ipv4", address="127.0.0.1", port=80, inode=7)
        container = only_container(
            published(listening_sockets=(loopback,), socket_holders=(SocketHolder(inode=7, pid=500),))
        )
        assert container.ports[0].listening is None
        assert [listener.address for listener in container.listeners] == ["127.0.0.1"]

    def test_a_recorded_port_without_a_rule_is_drift(self) -> None:
        container = only_container(published(rules=()))
        assert container.ports[0].via == ()
        assert container.drift == (Drift(field="ports[0.0.0.0:8080/tcp]", recorded="80", effective=None),)

    def test_where_no_rule_could_be_read_nothing_is_concluded(self) -> None:
        container = only_container(published(rules=(), chains=()))
        assert container.drift == ()

    def test_a_rule_for_one_host_address_does_not_serve_another(self) -> None:
        container = only_container(published(rules=(replace(DNAT, dst="127.0.0.1/32"),)))
        assert [(p.host_ip, p.via) for p in container.ports] == [("0.0.0.0", ()), ("127.0.0.1", ("dnat",))]

    def test_an_unrecorded_rule_is_shown_and_is_drift(self) -> None:
        container = only_container(published(containers=(record(),)))
        assert [(p.host_port, p.via) for p in container.ports] == [(8080, ("dnat",))]
        assert container.drift == (Drift(field="ports[0.0.0.0:8080/tcp]", recorded=None, effective="80"),)

    def test_a_rule_with_something_unknown_in_it_is_not_relied_on(self) -> None:
        assert only_container(published(rules=(replace(DNAT, exact=False),))).ports[0].via == ()

    def test_a_proxy_in_a_container_is_not_the_hosts(self) -> None:
        liar = replace(PROXY, cgroups=(f"/docker/{WEB_ID}",), starttime=2000)
        assert only_container(published(processes=(web_process(), liar))).ports[0].proxy_pid is None

    def test_the_host_network_publishes_what_its_processes_listen_on(self) -> None:
        socket = ListeningSocket(netns=HOST_NETNS, proto="udp", family="ipv4", address="0.0.0.0", port=53, inode=5)
        foreign = replace(socket, port=22, inode=6)
        facts = host_with_web(
            containers=(record(network_mode="host", endpoints=()),),
            processes=(host_process(), web_process(netns=HOST_NETNS)),
            listening_sockets=(socket, foreign),
            socket_holders=(SocketHolder(inode=5, pid=500), SocketHolder(inode=6, pid=1)),
        )
        (port,) = only_container(facts).ports
        assert (port.proto, port.host_port, port.via) == ("udp", 53, ("host",))


def mount(mount_point: str, **changes: object) -> MountPoint:
    fields: dict[str, object] = {
        "mntns": WEB_MNTNS, "mount_id": 1, "parent_id": 0, "device": "8:1", "root": "/", "mount_point": mount_point,
        "options": ("rw",), "fstype": "ext4", "source": "/dev/sda1",
    }  # fmt: skip
    return MountPoint(**{**fields, **changes})  # type: ignore[arg-type]


VOLUME_MOUNT = RecordedMount(
    type="volume", name="v", source="/var/lib/docker/volumes/v/_data", destination="/data", driver="local", mode="z"
)
HOST_DISK = mount("/", mntns=HOST_MNTNS)


class TestMounts:
    def test_layers_that_only_the_kernel_knows_are_merged_where_the_host_has_them_first(self) -> None:
        root = mount("/", fstype="overlay", upperdir="/u/fs", workdir="/u/work", lowerdir=("/l",))
        host = [
            mount(path, mntns=HOST_MNTNS, fstype="overlay", upperdir=upper)
            for path, upper in (("/run/other", "/o/fs"), ("/run/rootfs", "/u/fs"), ("/mnt", "/u/fs"))
        ]
        for mounts, merged in (((HOST_DISK, *host, root), "/run/rootfs"), ((HOST_DISK, host[0], root), None)):
            overlay = only_container(host_with_web(mounts=mounts)).overlay
            assert overlay is not None
            assert (overlay.upper, overlay.merged) == ("/u/fs", merged)

    def test_a_volume_is_where_the_record_says(self) -> None:
        facts = host_with_web(
            containers=(record(mounts=(VOLUME_MOUNT,)),),
            mounts=(HOST_DISK, mount("/data", root="/var/lib/docker/volumes/v/_data")),
        )
        container = only_container(facts)
        assert [(m.destination, m.rw, m.mounted) for m in container.mounts] == [("/data", True, True)]
        assert container.drift == ()

    def test_read_only_in_the_kernel_is_what_is_shown(self) -> None:
        facts = host_with_web(
            containers=(record(mounts=(VOLUME_MOUNT,)),),
            mounts=(mount("/data", options=("ro", "relatime")),),
        )
        container = only_container(facts)
        assert not container.mounts[0].rw
        assert container.drift == (Drift(field="mounts[/data].rw", recorded="rw", effective="ro"),)

    def test_another_directory_at_the_destination_is_drift(self) -> None:
        facts = host_with_web(
            containers=(record(mounts=(VOLUME_MOUNT,)),), mounts=(HOST_DISK, mount("/data", root="/etc"))
        )
        assert only_container(facts).drift == (
            Drift(field="mounts[/data].source", recorded="/var/lib/docker/volumes/v/_data", effective="/etc"),
        )

    def test_a_mount_that_is_gone_is_drift(self) -> None:
        container = only_container(host_with_web(containers=(record(mounts=(VOLUME_MOUNT,)),), mounts=(mount("/"),)))
        assert container.mounts[0].mounted is False
        assert [d.field for d in container.drift] == ["mounts[/data]"]

    def test_a_destination_that_leads_through_a_link_of_the_image(self) -> None:
        recorded = RecordedMount(type="bind", source="/srv/file", destination="/var/run/docker.sock")
        there = mount("/run/docker.sock", root="/srv/file")
        facts = host_with_web(containers=(record(mounts=(recorded,)),), mounts=(HOST_DISK, mount("/"), there))
        container = only_container(facts)
        assert (container.mounts[0].mounted, container.drift) == (True, ())
        elsewhere = replace(there, root="/srv/other")
        facts = host_with_web(containers=(record(mounts=(recorded,)),), mounts=(HOST_DISK, mount("/"), elsewhere))
        assert only_container(facts).mounts[0].mounted is False

    def test_mounts_that_could_not_be_read_say_nothing(self) -> None:
        container = only_container(host_with_web(containers=(record(mounts=(VOLUME_MOUNT,)),)))
        assert (container.mounts[0].mounted, container.drift) == (None, ())

    def test_tmpfs_of_the_run_option(self) -> None:
        facts = host_with_web(
            containers=(record(tmpfs=(("/run", "ro,size=1m"),)),),
            mounts=(mount("/run", fstype="tmpfs", options=("ro",)),),
        )
        (shown,) = only_container(facts).mounts
        assert (shown.type, shown.source, shown.mode, shown.rw) == ("tmpfs", None, "ro,size=1m", False)

    def test_volume_users_running_or_not(self) -> None:
        stopped = record(
            id="a" * 64, name="old", running=False, endpoints=(), mounts=(replace(VOLUME_MOUNT, rw=False),)
        )
        facts = host_with_web(
            containers=(record(mounts=(VOLUME_MOUNT,)), stopped),
            volumes=(
                VolumeRecord(engine="docker", data_root=ROOT, name="v"),
                VolumeRecord(engine="docker", data_root=ROOT, name="0" * 64),
            ),
        )
        anonymous, named = correlate(facts).volumes
        assert (anonymous.anonymous, anonymous.used_by) == (True, ())
        assert named.used_by == (
            VolumeUser(container="a" * 64, destination="/data", rw=False),
            VolumeUser(container=WEB_ID, destination="/data", rw=True),
        )

    def test_each_engine_has_volumes_of_its_own(self) -> None:
        other = record(id="a" * 64, data_root="/srv", running=False, endpoints=(), mounts=(VOLUME_MOUNT,))
        facts = host_with_web(
            containers=(record(mounts=(VOLUME_MOUNT,)), other),
            volumes=tuple(VolumeRecord(engine="docker", data_root=root, name="v") for root in ("/srv", ROOT)),
        )
        users = {volume.data_root: [user.container for user in volume.used_by] for volume in correlate(facts).volumes}
        assert users == {ROOT: [WEB_ID], "/srv": ["a" * 64]}


AT_REST = Engine(name="docker", data_root="/srv")
RECORDED_AT_REST = replace(BRIDGE_NETWORK, id="e" * 64, data_root="/srv")


class TestAnEngineAtRest:
    """Beside one that runs: what it recorded is not there, or is the other one's."""

    def test_its_networks_have_no_bridge_and_no_drift(self) -> None:
        gone = replace(RECORDED_AT_REST, id="f" * 64, name="gone", bridge=None, subnets=())
        facts = host_with_web(networks=(BRIDGE_NETWORK, RECORDED_AT_REST, gone))
        topology = correlate(replace(facts, engines=(*facts.engines, AT_REST)))
        assert [(n.data_root, n.bridge, n.drift) for n in topology.networks] == [
            (ROOT, "docker0", ()),
            ("/srv", None, ()),
            ("/srv", None, ()),
        ]
        assert [bridge.network for bridge in topology.bridges] == [NETWORK_ID]

    def test_a_bridge_that_it_left_is_its_own(self) -> None:
        left = replace(RECORDED_AT_REST, bridge="docker0")
        facts = host_with_web(networks=(left,), containers=())
        topology = correlate(replace(facts, engines=(*facts.engines, AT_REST)))
        assert [(network.bridge, network.drift) for network in topology.networks] == [("docker0", ())]

    def test_none_is_at_rest_whose_containers_run_or_where_no_engine_does(self) -> None:
        gone = replace(RECORDED_AT_REST, bridge="br-gone")
        facts = host_with_web(networks=(gone,), containers=(record(data_root="/srv"),))
        alive = correlate(replace(facts, engines=(*facts.engines, AT_REST)))
        dead = correlate(replace(host_with_web(networks=(gone,), containers=()), engines=(AT_REST,)))
        for topology in (alive, dead):
            (network,) = [network for network in topology.networks if network.id == gone.id]
            assert [change.field for change in network.drift] == ["bridge"]


class TestAnEngineElsewhere:
    """A rootless engine's daemon is in a network and a mount namespace of its own; real ones are in tests/live."""

    OWN = 55

    def _facts(self, mntns: int, *links: Link, **changes: object) -> Facts:
        daemon = host_process(300, comm="dockerd", netns=self.OWN, mntns=mntns)
        fields = {"processes": (host_process(), daemon, web_process()), "links": (*links, WEB_ETH0), **changes}
        return host_with_web(**fields)

    def test_its_bridges_are_in_its_namespace(self) -> None:
        own = replace(DOCKER0, netns=self.OWN)
        (network,) = correlate(self._facts(56, DOCKER0, own, addresses=())).networks
        assert (network.bridge, network.netns) == ("docker0", self.OWN)
        (network,) = correlate(self._facts(56, DOCKER0, replace(own, ifname="tap0"))).networks
        assert (network.bridge, [change.field for change in network.drift]) == (None, ["bridge"])
        (network,) = correlate(self._facts(56, DOCKER0)).networks
        assert (network.bridge, network.drift) == ("docker0", ()), "it was not looked into"

    def test_a_daemon_with_the_hosts_mounts_is_on_the_host_wherever_its_first_thread_is(self) -> None:
        (network,) = correlate(self._facts(HOST_MNTNS, DOCKER0)).networks
        assert (network.bridge, network.netns) == ("docker0", None)

    def test_a_port_has_drift_where_the_rules_were_read(self) -> None:
        port = RecordedPort(proto="tcp", container_port=80, host_ip="0.0.0.0", host_port=8080)
        for netns, drift in ((HOST_NETNS, []), (self.OWN, ["ports[0.0.0.0:8080/tcp]"])):
            chain = Chain(netns=netns, family="ipv4", backend="nft", table="nat", name="DOCKER")
            facts = self._facts(
                56, replace(DOCKER0, netns=self.OWN), chains=(chain,), containers=(record(ports=(port,)),)
            )
            assert [change.field for change in only_container(facts).drift if "ports" in change.field] == drift


class TestNetworks:
    def test_members_bridge_and_ports(self) -> None:
        topology = correlate(host_with_web())
        (network,) = topology.networks
        (bridge,) = topology.bridges
        assert (network.bridge, network.containers) == ("docker0", (WEB_ID,))
        assert (bridge.network, [(p.link, p.container) for p in bridge.ports]) == (NETWORK_ID, [("veth1", WEB_ID)])

    def test_a_bridge_that_is_gone_is_drift(self) -> None:
        eth0 = Link(netns=HOST_NETNS, ifindex=2, ifname="ens3")
        (network,) = correlate(host_with_web(links=(eth0,))).networks
        assert network.bridge is None
        assert network.drift == (Drift(field="bridge", recorded="docker0", effective=None),)

    def test_a_gateway_that_the_bridge_lost_is_drift(self) -> None:
        (network,) = correlate(host_with_web(addresses=())).networks
        assert network.drift == (Drift(field="subnets[172.17.0.0/16].gateway", recorded="172.17.0.1", effective=None),)

    def test_a_gateway_is_the_same_however_it_is_written(self) -> None:
        facts = host_with_web()
        subnet = Subnet(subnet="fd00::/64", gateway="FD00:0::1")
        (bridge,) = (a for a in facts.addresses if a.address == "172.17.0.1")
        held = replace(bridge, family="ipv6", address="fd00::1", prefix_len=64)
        record = replace(facts.networks[0], subnets=(*facts.networks[0].subnets, subnet))
        for addresses, drifts in (((*facts.addresses, held), 0), (facts.addresses, 1)):
            (network,) = correlate(replace(facts, networks=(record,), addresses=addresses)).networks
            assert len(network.drift) == drifts

    def test_an_overlay_network_known_from_its_hidden_namespace_alone(self) -> None:
        id_ = "4pch0v6bty3ij1q0s4lvmr808"
        endpoint = RecordedEndpoint(network="ovnet", network_id=id_, mac=WEB_ETH0.mac)
        hidden = NetworkNamespace(inode=7, paths=("/run/docker/netns/1-4pch0v6bty",), entered=True)
        facts = host_with_web(
            containers=(record(endpoints=(endpoint,)),),
            networks=(),
            network_namespaces=(*host_with_web().network_namespaces, hidden),
            links=(
                *host_with_web().links,
                Link(netns=7, ifindex=2, ifname="br0", kind="bridge"),
                Link(netns=7, ifindex=18, ifname="vxlan0", kind="vxlan", vxlan_id=4097, master=2),
            ),
            addresses=(Address(netns=7, ifindex=2, family="ipv4", address="10.0.1.1", prefix_len=24),),
        )
        topology = correlate(facts)
        (network,) = topology.networks
        assert (network.name, network.driver, network.scope) == ("ovnet", "overlay", "swarm")
        assert (network.netns, network.bridge, network.vxlan_ids) == (7, "br0", (4097,))
        assert [(s.subnet, s.gateway) for s in network.subnets] == [("10.0.1.0/24", "10.0.1.1")]
        assert [(n.inode, n.role, n.network) for n in topology.netns if n.inode == 7] == [(7, "overlay", id_)]

    def test_a_hidden_namespace_of_an_unknown_network_is_a_gap(self) -> None:
        hidden = NetworkNamespace(inode=7, paths=("/run/docker/netns/1-4pch0v6bty",), entered=True)
        namespaces = (*host_with_web().network_namespaces, hidden)
        topology = correlate(host_with_web(network_namespaces=namespaces))
        (gap,) = topology.gaps
        assert gap.minor
        assert "4pch0v6bty" in gap.subject
        assert [(n.role, n.network) for n in topology.netns if n.inode == 7] == [("overlay", None)]
        assert correlate(host_with_web(network_namespaces=namespaces, networks=())).gaps == ()

    def test_malformed_addresses_in_records_are_no_crash(self) -> None:
        from hostinspect.facts import Subnet

        from .factory import BRIDGE_NETWORK

        broken = replace(BRIDGE_NETWORK, subnets=(Subnet(subnet="x", gateway="not an address"),))
        (network,) = correlate(host_with_web(networks=(broken,))).networks
        assert [d.field for d in network.drift] == ["subnets[x].gateway"]


class TestRules:
    def test_whose_a_rule_is(self) -> None:
        masquerade = replace(
            DNAT, chain="POSTROUTING", position=1, verdict="MASQUERADE", src="172.17.0.0/16",
            out_interface="!docker0", in_interface=None, to=None, dport=None,
        )  # fmt: skip
        filtering = replace(DNAT, table="filter", verdict="ACCEPT")
        rules = correlate(published(rules=(DNAT, masquerade, filtering))).nat_rules
        assert [(r.verdict, r.container, r.network) for r in rules] == [
            ("DNAT", WEB_ID, NETWORK_ID),
            ("MASQUERADE", None, NETWORK_ID),
        ]

    def test_a_rule_in_a_containers_own_namespace(self) -> None:
        resolver = replace(DNAT, netns=WEB_NETNS, chain="DOCKER_OUTPUT", to="127.0.0.11:41234")
        (rule,) = correlate(published(rules=(resolver,))).nat_rules
        assert rule.container == WEB_ID


class TestSharing:
    def test_the_owner_of_a_shared_namespace_is_the_one_that_was_not_told_to_join(self) -> None:
        sidecar = record(id="a" * 64, name="sidecar", pid=501, network_mode=f"container:{WEB_ID}", endpoints=())
        facts = host_with_web(
            containers=(record(), sidecar),
            processes=(web_process(), web_process(pid=501, cgroups=(f"/docker/{'a' * 64}",))),
        )
        topology = correlate(facts)
        side = topology.containers[0]
        assert (side.name, side.shares_netns_with, side.endpoints) == ("sidecar", WEB_ID, ())
        assert {link.container for link in topology.links if link.netns == WEB_NETNS} == {WEB_ID}
        assert [n.containers for n in topology.netns if n.inode == WEB_NETNS] == [("a" * 64, WEB_ID)]
