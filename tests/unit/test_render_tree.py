"""The report as a tree: small hosts, each with one thing to show, and the demo scenario as a whole."""

from __future__ import annotations

import re
from typing import Any, get_type_hints

import pytest
from msgspec import Struct
from msgspec.structs import replace
from rich.cells import cell_len

from hostinspect.facts import Gap
from hostinspect.render import tree
from hostinspect.render.screen import Screen
from hostinspect.topology import (
    Bridge,
    BridgePort,
    Container,
    Drift,
    Engine,
    LinkRef,
    Network,
    NetworkNamespace,
    Subnet,
    Topology,
)
from tests.unit.sample import (
    BRIDGE,
    HOST,
    HOST_NET,
    HOST_NETNS,
    MACVLAN,
    MY_NET,
    NONE_NET,
    demo,
    make_container,
    make_endpoint,
    make_id,
    make_link,
    make_mount,
    make_network,
    make_port,
    make_rule,
    make_topology,
    make_volume,
    stopped,
)

NETNS = 4026532201
DOCKER0 = Bridge(
    name="docker0",
    id="8000.0242a1b2c3d4",
    stp=False,
    netns=HOST_NETNS,
    addresses=("172.17.0.1",),
    ports=(),
    network=BRIDGE.id,
)
MINOR = Gap(collector="links", subject="namespace 7", why="it vanished", remedy="run it again", minor=True)
MAJOR = Gap(collector="sockets", subject="open files of 3 processes", why="Permission denied", remedy="run as root")


def _on_bridge(name: str = "web", **changes: object) -> Container:
    fields: dict[str, object] = {
        "netns": NETNS,
        "pid": 500,
        "overlay": None,
        "endpoints": (make_endpoint(BRIDGE, "172.17.0.2", "eth0", "veth1"),),
    }
    return make_container(name, **{**fields, **changes})


def render_tree(topology: Topology, *, verbose: bool = False, show_gaps: bool = True, **screen: Any) -> str:
    return tree.render_tree(topology, Screen(**screen), verbose=verbose, show_gaps=show_gaps)


def _section(text: str, title: str) -> list[str]:
    """The lines from a heading on, up to the next one."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if re.match(rf"{re.escape(title)}(\s|$)", line))
    end = next((i for i in range(start + 1, len(lines)) if not lines[i] or lines[i][0] not in " │├└"), len(lines))
    return lines[start:end]


def _tree(topology: Topology, title: str, **options: Any) -> list[str]:
    return _section(render_tree(topology, **options), title)


# --- the host ---


def test_headline() -> None:
    text = render_tree(make_topology([make_container("a"), stopped("b")], [BRIDGE], volumes=(make_volume("v"),)))
    assert text.splitlines()[0] == (
        "web-01 · Debian GNU/Linux 12 (bookworm), Linux 6.1.0-28-amd64 · docker 28.5.2, daemon running"
        " · 2 containers (1 running) · 1 network · 1 volume"
    )


def test_a_daemon_that_does_not_respond_and_a_data_root_of_its_own() -> None:
    engine = Engine(name="docker", data_root="/srv/docker", daemon="not responding")
    text = render_tree(make_topology(host=replace(HOST, engines=(engine,))), color=True)
    assert "docker in /srv/docker, daemon \x1b[1;31mnot responding\x1b[0m" in text


def test_what_may_not_be_all_is_counted_as_seen() -> None:
    gap = replace(MAJOR, collector="engines")
    assert " · no container seen · no network seen · no volume seen" in render_tree(make_topology(gaps=(gap,)))


def test_a_host_without_an_engine() -> None:
    assert "no engine found" in render_tree(make_topology(host=replace(HOST, engines=(), os=None)))


# --- networks and the containers on them ---


def test_a_container_under_its_network() -> None:
    assert _tree(make_topology([_on_bridge()], [BRIDGE], bridges=(DOCKER0,)), "bridge") == [
        "bridge  172.17.0.0/16  on docker0 172.17.0.1",
        "└─ web  172.17.0.2  eth0 ↔ veth1  app:latest  pid 500  up 3h",
    ]


def test_names_and_addresses_stand_below_each_other() -> None:
    other = _on_bridge("longer-name", endpoints=(make_endpoint(BRIDGE, "172.17.0.113", "eth0", "veth2"),))
    lines = _tree(make_topology([_on_bridge(), other], [BRIDGE]), "bridge")
    assert {line.index("172.17.0.", 5) for line in lines[1:]} == {len("├─ longer-name  ")}
    assert len({line.index("eth0") for line in lines[1:]}) == 1


def test_a_container_on_two_networks_is_told_in_full_once() -> None:
    both = (make_endpoint(BRIDGE, "172.17.0.2", "eth0", "veth1"), make_endpoint(MY_NET, "172.18.0.2", "eth1", "veth2"))
    text = render_tree(make_topology([_on_bridge(endpoints=both)], [BRIDGE, MY_NET]))
    assert _section(text, "bridge")[1:] == [
        "└─ web  172.17.0.2  eth0 ↔ veth1  app:latest  pid 500  up 3h",
        "      also     on my_net",
    ]
    assert _section(text, "my_net")[1:] == ["└─ web  172.18.0.2  eth1 ↔ veth2  described under bridge"]


@pytest.mark.parametrize("mode", ["my_net", MY_NET.id])
def test_it_is_told_in_full_where_it_was_started(mode: str) -> None:
    both = (make_endpoint(BRIDGE, "172.17.0.2", "eth1", "veth1"), make_endpoint(MY_NET, "172.18.0.2", "eth0", "veth2"))
    text = render_tree(make_topology([_on_bridge(endpoints=both, network_mode=mode)], [BRIDGE, MY_NET]))
    assert "described under my_net" in _section(text, "bridge")[1]


def test_both_families_of_addresses() -> None:
    endpoint = make_endpoint(BRIDGE, "172.17.0.2", "eth0", "veth1", ip6="fd00::2")
    six = make_endpoint(BRIDGE, None, "eth0", "veth1", ip6="fd00::3")
    topology = make_topology([_on_bridge(endpoints=(endpoint,)), _on_bridge("six", endpoints=(six,))], [BRIDGE])
    assert "172.17.0.2  fd00::2  eth0 ↔ veth1" in _tree(topology, "bridge")[1]
    assert "six  fd00::3     eth0 ↔ veth1" in _tree(topology, "bridge")[2]


def test_default_bridge_first_then_bridges_then_the_others() -> None:
    networks = [HOST_NET, NONE_NET, MACVLAN, MY_NET, make_network("a_net"), BRIDGE]
    lines = render_tree(make_topology([], networks)).splitlines()
    headings = [line.split()[0] for line in lines if line.split() and line.split()[0] in {n.name for n in networks}]
    assert headings == ["bridge", "a_net", "my_net", "mv_net", "host", "none"]


def test_a_network_without_its_bridge() -> None:
    drift = Drift(field="bridge", recorded="br-f9fbbb759d5d", effective=None)
    lost = replace(MY_NET, bridge=None, drift=(drift,))
    assert _tree(make_topology([], [lost]), "my_net") == [
        "my_net  172.18.0.0/16  its bridge is not there",
        "   drift    bridge: recorded br-f9fbbb759d5d, now nothing",
    ]


def test_internal_config_only_and_unknown_networks() -> None:
    subnets = (Subnet(subnet="10.1.0.0/24", gateway=None), Subnet(subnet="fd01::/64", gateway=None))
    networks = [
        make_network("inner", internal=True, subnets=subnets, bridge="br-1"),
        make_network("template", driver="null", config_only=True),
        replace(make_network("gone"), name=None, driver=None),
    ]
    text = render_tree(make_topology([], networks))
    assert "inner  10.1.0.0/24  fd01::/64  on br-1, which was not seen  internal" in text
    assert "template  config-only: a template of other networks" in text
    assert f"{networks[2].id[:12]}…  driver not known" in text


def test_a_macvlan_names_its_parent() -> None:
    mv1 = _on_bridge("mv1", network_mode="mv_net", endpoints=(make_endpoint(MACVLAN, "192.0.2.50", "eth0", "eth0"),))
    topology = make_topology([mv1], [MACVLAN])
    link = make_link(NETNS, 9, "eth0", kind="macvlan", lower=_ref_to(HOST_NETNS, "eth0"))
    lines = _tree(replace(topology, links=(*topology.links, link)), "mv_net")
    assert lines[0] == "mv_net  macvlan (bridge)  192.0.2.0/24  parent eth0"
    assert lines[1].startswith("└─ mv1  192.0.2.50  eth0 (macvlan on eth0)  app:latest")


def test_the_hidden_namespaces_of_an_overlay_network() -> None:
    text = render_tree(demo())
    assert _section(text, "ov_net") == [
        "ov_net  overlay  10.0.1.0/24  on br0 10.0.1.1 in hidden namespace 1-k3j5d6abcd  vxlan0 VNI 4097",
        "├─ ov1  10.0.1.5  eth0 ↔ veth1 in 1-k3j5d6abcd  app:latest  pid 950  up 3h",
        "│     also     on docker_gwbridge",
        f"│     layers   3 lower  upper overlay2/{make_id('layer-ov1')[:12]}…/diff",
        "└─ lb_k3j5d6abc  load balancer  10.0.1.2 eth0 ↔ veth2 in 1-k3j5d6abcd",
    ]
    assert _section(text, "docker_gwbridge")[2] == "└─ port veth8888888  ↔ eth1 in ingress_sbox 172.19.0.2"
    assert "routing mesh  10.0.0.2 eth0 ↔ veth0 in 1-ing1n6abcd" in _section(text, "ingress")[1]


def test_host_and_none() -> None:
    net3 = make_container("net3", netns=HOST_NETNS, pid=640, network_mode="host", overlay=None)
    alone = make_container("no-net", netns=NETNS, pid=702, network_mode="none", overlay=None)
    text = render_tree(make_topology([net3, alone], [HOST_NET, NONE_NET]))
    assert _section(text, "host") == ["host", "└─ net3  app:latest  pid 640  up 3h"]
    assert _section(text, "none") == ["none", "└─ no-net  app:latest  pid 702  up 3h", "      links    lo only"]


def test_a_sidecar_hangs_below_the_one_whose_namespace_it_shares() -> None:
    web = _on_bridge()
    sidecar = make_container(
        "side", netns=NETNS, pid=611, overlay=None, network_mode=f"container:{web.id}", shares_netns_with=web.id
    )
    assert _tree(make_topology([sidecar, web], [BRIDGE]), "bridge")[1:] == [
        "└─ web  172.17.0.2  eth0 ↔ veth1  app:latest  pid 500  up 3h",
        "   └─ side  in web's network namespace  app:latest  pid 611  up 3h",
    ]


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([], f"that of container {make_id('web')[:12]}, which is not there any more"),
        ([stopped("web")], "that of web, which does not run"),
    ],
)
def test_a_sidecar_whose_owner_is_gone_is_still_told(others: list[Container], told: str) -> None:
    side = make_container(
        "side", netns=NETNS, network_mode=f"container:{make_id('web')}", shares_netns_with=make_id("web")
    )
    lines = _tree(make_topology([side, *others], [BRIDGE]), "on no network that is known")
    assert "side" in lines[1]
    assert told in lines[2]


def test_records_that_name_each_other_lose_nobody() -> None:
    one, two, three = (
        make_container(name, netns=NETNS, network_mode=f"container:{make_id(owner)}", shares_netns_with=make_id(owner))
        for name, owner in (("one", "two"), ("two", "one"), ("three", "three"))
    )
    lines = _tree(make_topology([one, two, three]), "on no network that is known")
    assert [line.split()[1] for line in lines if line.startswith(("├", "└"))] == ["one", "two", "three"]


def test_an_interface_on_no_network_that_is_recorded() -> None:
    stray = replace(make_endpoint(BRIDGE, "10.9.0.2", "eth7", "veth7"), network=None, network_id=None)
    web = _on_bridge(endpoints=(*_on_bridge().endpoints, stray))
    assert "      also     on no network that is recorded  10.9.0.2  eth7 ↔ veth7" in _tree(
        make_topology([web], [BRIDGE]), "bridge"
    )


# --- what is wrong, where it is ---


def test_a_veth_that_could_not_be_followed_says_why() -> None:
    web = _on_bridge(endpoints=(make_endpoint(BRIDGE, "172.17.0.2", "eth0", None),))
    topology = make_topology([web], [BRIDGE])
    doubt = make_link(NETNS, 9, "eth0", doubt="the kernel names no peer")
    lines = _tree(replace(topology, links=(*topology.links, doubt)), "bridge")
    assert "eth0 ↔ ? (the kernel names no peer)" in lines[1]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"operstate": "down"}, "eth0 ↔ veth1 is down"),
        ({"port_state": "blocking"}, "eth0 ↔ veth1 is blocking on docker0"),
    ],
)
def test_a_wire_through_which_nothing_passes(changes: dict[str, object], told: str) -> None:
    topology = make_topology([_on_bridge()], [BRIDGE], bridges=(DOCKER0,))
    veth = make_link(HOST_NETNS, 9, "veth1", master="docker0", **changes)
    assert told in _tree(replace(topology, links=(*topology.links, veth)), "bridge")[1]


def test_a_veth_taken_off_its_bridge() -> None:
    web = _on_bridge(endpoints=(make_endpoint(BRIDGE, "172.17.0.2", "eth0", "veth1", bridge=None),))
    topology = make_topology([web], [BRIDGE])
    veth = make_link(HOST_NETNS, 9, "veth1")
    lines = _tree(replace(topology, links=(*topology.links, veth)), "bridge")
    assert "eth0 ↔ veth1 is a port of no bridge, not of docker0" in lines[1]


def test_an_interface_that_lost_its_address() -> None:
    web = _on_bridge(endpoints=(make_endpoint(BRIDGE, None, "eth0", "veth1"),))
    text = render_tree(make_topology([web], [BRIDGE]), color=True)
    assert "\x1b[1;31mno address\x1b[0m  eth0 ↔ veth1" in text


def test_drift_stands_with_its_container_and_in_the_headline() -> None:
    drift = (
        Drift(field="state", recorded="running", effective="paused"),
        Drift(field="x", recorded=None, effective="y"),
    )
    text = render_tree(make_topology([_on_bridge(state="paused", drift=drift)], [BRIDGE], bridges=(DOCKER0,)))
    assert "      drift    state: recorded running, now paused" in text
    assert "      drift    x: recorded nothing, now y" in text
    assert "eth0 ↔ veth1  paused  app:latest" in text
    assert "   look at  web\n" in text


def test_broken_things_are_named_at_the_top() -> None:
    web = _on_bridge(ports=(make_port(80, 8080, listening=None),))
    text = render_tree(make_topology([web], [BRIDGE]))
    assert text.splitlines()[1] == "   broken   web"


def test_bridge_ports_of_nobody_and_of_others() -> None:
    ports = (
        BridgePort(link="eth5", container=None),
        BridgePort(link="veth6", container=None),
        BridgePort(link="veth7", container=None),
    )
    links = (
        make_link(HOST_NETNS, 5, "eth5", kind=None, master="docker0"),
        make_link(HOST_NETNS, 6, "veth6", master="docker0", doubt="the kernel names no peer"),
        make_link(HOST_NETNS, 7, "veth7", master="docker0", container=make_id("old")),
    )
    topology = make_topology([stopped("old")], [BRIDGE], bridges=(replace(DOCKER0, ports=ports),))
    assert _tree(replace(topology, links=(*topology.links, *links)), "bridge")[1:] == [
        "├─ port eth5  (a device of the host)",
        "├─ port veth6  belongs to nobody seen: the kernel names no peer",
        "└─ port veth7  leads to old, which is not recorded on this network",
    ]


# --- mounts, volumes, layers ---


def test_mounts_and_who_shares_them() -> None:
    web = _on_bridge(
        mounts=(
            make_mount("volume", "data", "/data", subpath="sub"),
            make_mount("volume", make_id("anonymous"), "/var/lib/mysql", driver="nfs"),
            make_mount("bind", None, "/www", source="/srv/www", rw=False, propagation="rshared", mounted=False),
            make_mount("tmpfs", None, "/tmp", mode="size=16m"),
        )
    )
    old = stopped("old", mounts=(make_mount("volume", "data", "/d", rw=False),))
    two = stopped("two", mounts=(make_mount("bind", None, "/a", source="/srv/www"), make_mount("volume", "data", "/d")))
    assert _tree(make_topology([old, two, web], [BRIDGE]), "bridge")[2:] == [
        "      volume   data/sub → /data  rw  shared with old (ro), two (rw)",
        f"      volume   {make_id('anonymous')[:12]}… → /var/lib/mysql  rw  driver nfs",
        "      bind     /srv/www → /www  ro  rshared  not mounted  shared with two (rw)",
        "      tmpfs    /tmp  rw  size=16m",
    ]


def test_of_many_that_share_a_mount_few_are_named() -> None:
    mounts = (make_mount("bind", None, "/etc/localtime", source="/etc/localtime", rw=False),)
    others = [stopped(f"c{number}", mounts=mounts) for number in range(9)]
    topology = make_topology([_on_bridge(mounts=mounts), *others], [BRIDGE])
    assert "shared with c0 (ro), c1 (ro), c2 (ro), c3 (ro), c4 (ro) and 4 more" in _tree(topology, "bridge")[2]
    assert "c8 (ro)" in "".join(_tree(topology, "bridge", verbose=True))


def test_layers_short_and_in_full() -> None:
    web = _on_bridge(overlay=make_container("web").overlay)
    topology = make_topology([web], [BRIDGE])
    layer = make_id("layer-web")
    assert f"      layers   3 lower  upper overlay2/{layer[:12]}…/diff" in _tree(topology, "bridge")
    verbose = _tree(topology, "bridge", verbose=True)
    assert f"   upper    /var/lib/docker/overlay2/{layer}/diff" in "\n".join(verbose)
    assert sum(" lower    /var/lib/docker/overlay2/" in line for line in verbose) == 3


def test_volumes() -> None:
    assert _tree(demo(), "volumes") == [
        "volumes",
        "├─ dangling01  used by nobody",
        f"├─ {make_id('anonymous-volume')[:12]}…  anonymous  used by mysql_app (rw)",
        "├─ myvol01  used by old (rw), rwro (ro, rw), volweb (rw)",
        "└─ tmpvol  used by nobody  device=tmpfs  o=size=10m  type=tmpfs",
    ]


def test_containers_that_do_not_run() -> None:
    containers = [
        stopped("old", exit_code=137, overlay=None),
        stopped("new", state="created", started_at=None, finished_at=None, exit_code=None, overlay=None),
        stopped("loop", state="restarting", exit_code=1, finished_at="2026-01-05T02:59:56Z", overlay=None),
    ]
    assert _tree(make_topology(containers, [BRIDGE]), "not running") == [
        "not running",
        "├─ old   exited (137) 3 days ago  app:latest  on bridge",
        "├─ new   created 3 hours ago  app:latest  on bridge",
        "└─ loop  restarting (1) 4 s ago  app:latest  on bridge",
    ]


# --- what is no container's ---


def test_namespaces_and_veths_of_nobody() -> None:
    def namespace(inode: int, *paths: str, **changes: object) -> NetworkNamespace:
        fields: dict[str, object] = {"pids": (), "containers": (), "host": False, "role": "other", "network": None}
        return NetworkNamespace(**{"inode": inode, "paths": paths, **fields, **changes})  # type: ignore[arg-type]

    topology = make_topology()
    topology = replace(
        topology,
        netns=(
            *topology.netns,
            namespace(11, "/run/netns/blue"),
            namespace(12, pids=(70, 71)),
            namespace(13, "/run/docker/netns/0a1b2c", role="container"),
            namespace(14, "/run/netns/closed"),
        ),
        links=(
            *topology.links,
            make_link(HOST_NETNS, 6, "veth6", doubt="the kernel names no peer"),
            make_link(HOST_NETNS, 8, "veth8", peer=_ref_to(11, "eth0")),
            make_link(13, 1, "lo", kind=None),
            make_link(11, 9, "eth0", addresses=("10.0.0.1", "fe80::1"), peer=_ref_to(HOST_NETNS, "veth8")),
        ),
    )
    text = render_tree(topology)
    assert _section(text, "other namespaces")[1:] == [
        "├─ blue  no process  10.0.0.1 eth0 ↔ veth8",
        "├─ namespace 12  2 processes, first pid 70",
        "├─ 0a1b2c  left over: no container and no process is in it",
        "└─ not entered:  closed",
    ]
    assert _section(text, "other veths")[1:] == ["└─ veth6  ↔ ? (the kernel names no peer)"]


def test_nat_in_short_and_rule_by_rule() -> None:
    text = render_tree(demo())
    assert _section(text, "nat") == [
        "nat  7 IPv4 rules (nft)  1 more in other namespaces",
        "   out      MASQUERADE for bridge, my_net, docker_gwbridge",
        "   rule     DOCKER 6: tcp 9090 → 172.17.0.77:90 leads to nobody",
    ]
    verbose = _tree(demo(), "nat", verbose=True)
    assert sum("-j DNAT" in line for line in verbose) == 4
    assert any("ipv4 DOCKER 3  [12:720] -A DOCKER" in line for line in verbose)


def test_nobody_is_said_only_of_a_whole_view() -> None:
    gap = replace(MAJOR, collector="namespaces")
    assert "leads to nobody seen" in render_tree(replace(demo(), gaps=(gap,)))
    assert "nat  no rule\n" in render_tree(make_topology())
    assert "nat  no rule seen\n" in render_tree(make_topology(gaps=(gap,)))
    assert "nat  no rule\n" in render_tree(make_topology(gaps=(MAJOR,)))


def test_a_rule_to_elsewhere_is_none_of_ours() -> None:
    rule = make_rule(
        1, "-A PREROUTING -p tcp --dport 22 -j DNAT --to-destination 10.50.0.9:22", verdict="DNAT", to="10.50.0.9:22"
    )
    assert "leads to nobody" not in render_tree(make_topology([], [BRIDGE], nat_rules=(rule,)))


def test_rules_with_something_unknown_are_counted() -> None:
    rule = make_rule(1, "-A X -m [frob]", exact=False)
    assert "1 hold something hostinspect does not know" in render_tree(make_topology(nat_rules=(rule,)))


# --- gaps ---


def test_gaps_at_the_end_in_words_the_grave_ones_first() -> None:
    text = render_tree(make_topology(gaps=(MINOR, MAJOR)))
    assert text.endswith(
        "not seen\n"
        "├─ sockets open files of 3 processes: Permission denied\n"
        "│     → run as root\n"
        "└─ links namespace 7: it vanished\n"
        "      → run it again\n"
    )
    assert "   unseen   1 thing, told at the end" in text
    assert "not seen" not in render_tree(make_topology(gaps=(MINOR, MAJOR)), show_gaps=False)


def test_many_gaps_of_one_sort_are_one() -> None:
    gaps = tuple(replace(MAJOR, subject=f"/proc/{pid}/fd") for pid in range(9))
    assert _tree(make_topology(gaps=gaps), "not seen")[1] == (
        "└─ sockets /proc/0/fd, /proc/1/fd, /proc/2/fd and 6 more (all with --verbose): Permission denied"
    )
    assert "/proc/8/fd" in render_tree(make_topology(gaps=gaps), verbose=True)


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("what", ["containers", "networks", "links", "volumes", "nat_rules", "bridges"])
def test_whatever_is_not_known_the_rest_is_told(what: str, verbose: bool) -> None:
    topology = demo()
    parts = getattr(topology, what)
    for field in type(parts[0]).__struct_fields__:
        blank = tuple(_without(part, field) for part in parts)
        text = render_tree(replace(topology, **{what: blank}), width=80, verbose=verbose)
        assert text.startswith("web-01") and "None" not in text, field


def _without(part: Struct, field: str) -> Struct:
    """`part` with `field` empty: None where that is allowed, else nothing in it; others stay."""
    if not isinstance(getattr(part, field), (tuple, dict)):
        hint = str(get_type_hints(type(part))[field])
        return replace(part, **{field: None}) if "None" in hint else part
    return replace(part, **{field: type(getattr(part, field))()})


# --- for every terminal ---


def _long_names() -> Topology:
    network = make_network("network-" + "n" * 60, subnets=BRIDGE.subnets, bridge="docker0")
    web = _on_bridge(
        "container-" + "c" * 100,
        image="registry.example.org/" + "team/" * 20 + "app@sha256:" + "0" * 64,
        endpoints=(
            make_endpoint(network, "172.17.0.2", "eth0", "veth1", ip6="2001:db8:1111:2222:3333:4444:5555:6666"),
        ),
        mounts=(make_mount("bind", None, "/d" * 70, source="/s" * 70),),
        drift=(Drift(field="endpoints[x].ip", recorded="r" * 90, effective="e" * 90),),
    )
    return make_topology([web], [network], volumes=(make_volume("v" * 120),), gaps=(replace(MAJOR, subject="s" * 200),))


@pytest.mark.parametrize("topology", [demo(), _long_names()])
@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("verbose", [False, True])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(topology: Topology, width: int, verbose: bool) -> None:
    text = render_tree(topology, width=width, verbose=verbose)
    assert max(map(cell_len, text.splitlines())) <= width
    unbroken = render_tree(topology, verbose=verbose)
    guides = str.maketrans("", "", " \n│├└─·")
    assert text.translate(guides) == unbroken.translate(guides)


def test_in_a_pipe_nothing_is_broken_padded_or_coloured() -> None:
    lines = render_tree(_long_names()).splitlines()
    assert "\x1b" not in "".join(lines)
    assert not any(line.endswith(" ") for line in lines)
    assert any("/s" * 70 + " → " + "/d" * 70 in line for line in lines)


def test_colour_changes_nothing_but_colour() -> None:
    coloured = render_tree(demo(), width=80, color=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render_tree(demo(), width=80)
    assert "\x1b[1;31mnothing listens on 80\x1b[0m" in coloured
    assert "\x1b[33mpaused\x1b[0m" in coloured


def test_ascii_only() -> None:
    text = render_tree(demo(), width=80, ascii_only=True)
    assert text.isascii()
    assert "|- web1     172.17.0.5  eth0 <-> veth13d6de4" in text
    assert "8080 -> 80/tcp" in text


HOSTILE = "evil\x1b[2J\x9b31m\r\n├─ fake\u202e[red]x[/red]:smile:"


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("verbose", [False, True])
def test_hostile_text_shows_as_text(ascii_only: bool, verbose: bool) -> None:
    network = make_network(HOSTILE, subnets=(Subnet(subnet=HOSTILE, gateway=HOSTILE),), bridge=HOSTILE, parent=HOSTILE)
    web = _hostile_container(network)
    topology = make_topology(
        [web, stopped(HOSTILE + "2", image=HOSTILE)],
        [network],
        host=replace(HOST, hostname=HOSTILE, os=HOSTILE),
        volumes=(make_volume(HOSTILE, options={HOSTILE: HOSTILE}, labels={HOSTILE: HOSTILE}),),
        nat_rules=(make_rule(1, HOSTILE, chain=HOSTILE, verdict="MASQUERADE"),),
        gaps=(Gap(collector=HOSTILE, subject=HOSTILE, why=HOSTILE, remedy=HOSTILE),),
    )
    text = render_tree(topology, ascii_only=ascii_only, verbose=verbose)
    assert text.replace("\n", "").isprintable()
    assert r"evil\x1b[2J\x9b31m\r\n" in text
    assert r"\u202e[red]x[/red]:smile:" in text
    assert not any(line.startswith(("├─ fake", "|- fake")) for line in text.splitlines())


def _hostile_container(network: Network) -> Container:
    return _on_bridge(
        HOSTILE,
        image=HOSTILE,
        cgroup=HOSTILE,
        labels={HOSTILE: HOSTILE},
        endpoints=(make_endpoint(network, HOSTILE, HOSTILE, HOSTILE, mac=HOSTILE),),
        mounts=(
            make_mount("bind", HOSTILE, HOSTILE, source=HOSTILE, mode=HOSTILE, driver=HOSTILE, propagation=HOSTILE),
        ),
        ports=(make_port(80, 8080, HOSTILE),),
        drift=(Drift(field=HOSTILE, recorded=HOSTILE, effective=HOSTILE),),
    )


def _ref_to(netns: int, ifname: str) -> LinkRef:
    return LinkRef(netns=netns, ifindex=1, ifname=ifname)
