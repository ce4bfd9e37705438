"""`networks`, `bridges` and `links` against docker network, brctl and ip, on the host and inside every namespace."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tests.lab.host import LabHost, LabSpec
from tests.live.hosts import on_every_demo, on_random_hosts
from tests.live.observed import Json, Observed, observe, parse_brctl
from tests.live.oracle import expected_of, settled_differences
from tests.live.report import hostinspect, report

RUNS = ("running", "paused")


def ask(host: LabHost, *arguments: str) -> Any:
    """The answer as JSON; the run must succeed without a word on stderr."""
    done = hostinspect(host, *arguments, "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def rows(host: LabHost, *arguments: str) -> list[list[str]]:
    """The cells of the table."""
    done = hostinspect(host, *arguments, "--no-header")
    assert (done.returncode, done.stderr) == (0, "")
    return [re.split(r" {2,}", line.strip()) for line in done.stdout.splitlines()]


def _report_by_parts(host: LabHost) -> Json:
    """The report, with those parts of it that the three commands repeat taken from their answers."""
    whole = report(host)
    for part, arguments in (("networks", ()), ("bridges", ()), ("links", ("--all",))):
        answer = ask(host, part, *arguments)[part]
        keys = [*whole[part][0]]
        whole[part] = [{key: element[key] for key in keys} for element in answer]
        if part == "bridges":
            for bridge in whole[part]:
                bridge["ports"] = [{key: port[key] for key in ("link", "container")} for port in bridge["ports"]]
    return whole


def settled(host: LabHost, differences: Callable[[Observed], list[str]]) -> list[str]:
    """The differences between answers and an observation that are none of a host that changed meanwhile."""
    found: list[str] = []
    for _ in range(8):
        before = observe(host)
        found = differences(before)
        if not found or expected_of(before) == expected_of(observe(host)):
            break
    return found


# --- networks against docker network ------------------------------------------------------------------------------


def network_differences(host: LabHost, observed: Observed) -> list[str]:
    """Who is on each network, as `docker network inspect` has it."""
    return _compare_networks(ask(host, "networks")["networks"], observed)


def _compare_networks(networks: Json, observed: Observed) -> list[str]:
    answer = {network["id"]: network for network in networks}
    found = []
    for id_, inspected in observed.networks.items():
        if id_ not in answer:
            # Swarm's, with nothing of it on this node: its managers alone know of it.
            if inspected["Scope"] != "swarm" or set(inspected["Containers"]) - {"ingress-sbox"}:
                found.append(f"{inspected['Name']}: not told")
            continue
        network = answer.pop(id_)
        expected = dict(_docker_members(inspected))
        told = dict(map(_told_member, network["members"]))
        for key in {*expected, *told}:
            if not _same_member(expected.get(key), told.get(key), swarm=inspected["Scope"] == "swarm"):
                found.append(f"{inspected['Name']}, {key}: docker says {expected.get(key)}, told {told.get(key)}")
        stopped = {stop["container"] for stop in network["stopped"]}
        if stopped != _docker_stopped(observed, inspected):
            found.append(f"{inspected['Name']}: stopped {stopped}")
        if network["left_over"]:
            found.append(f"{inspected['Name']}: left over {network['left_over']}")
    return [*found, *(f"{network['name']}: docker has no such network" for network in answer.values())]


def _docker_members(inspected: Json) -> list[tuple[str, tuple[Any, ...]]]:
    return [
        ("lb" if key.startswith("lb-") else key, (m["EndpointID"], m["MacAddress"], m["IPv4Address"], m["IPv6Address"]))
        for key, m in (inspected["Containers"] or {}).items()
    ]


def _told_member(member: Json) -> tuple[str, tuple[Any, ...]]:
    endpoint = member["endpoint"]
    key = {"load-balancer": "lb", "ingress": "ingress-sbox"}.get(member["kind"], member["container"])
    addresses = [
        f"{endpoint[ip]}/{endpoint[length]}" if endpoint[ip] else ""
        for ip, length in (("ip", "prefix_len"), ("ip6", "prefix_len6"))
    ]
    return key, (endpoint["endpoint_id"], endpoint["mac"] or "", *addresses)


def _same_member(expected: tuple[Any, ...] | None, told: tuple[Any, ...] | None, *, swarm: bool) -> bool:
    """Docker 28 has the endpoints of swarm's own sandboxes on its networks in memory only: their ids are not told."""
    if expected is None or told is None:
        return expected is told
    return expected[1:] == told[1:] and (expected[0] == told[0] or (swarm and told[0] is None))


def _docker_stopped(observed: Observed, network: Json) -> set[str]:
    """Containers without a process whose record names the network."""
    return {
        id_
        for id_, container in observed.containers.items()
        if container["State"]["Status"] not in RUNS
        for name, endpoint in container["NetworkSettings"]["Networks"].items()
        if (endpoint["NetworkID"] or None) in (network["Id"], None) and name == network["Name"]
    }


@on_every_demo
def test_every_field_of_the_three_commands(demo: LabHost) -> None:
    assert settled_differences(demo, lambda: _report_by_parts(demo)) == []


@on_every_demo
def test_who_is_on_each_network(demo: LabHost) -> None:
    assert settled(demo, lambda observed: network_differences(demo, observed)) == []


@on_every_demo
def test_the_list_is_that_of_docker_network_ls(demo: LabHost) -> None:
    listed = demo.docker("network", "ls", "--format", "{{.ID}}  {{.Name}}  {{.Driver}}  {{.Scope}}").splitlines()
    docker = {tuple(line.split("  ")) for line in listed}
    told = {tuple(row) for row in rows(demo, "networks", "--columns", "network-id,name,driver,scope")}
    unknown = {network for network in docker - told if network[1:] == ("ingress", "overlay", "swarm")}
    assert docker - unknown == {network for network in told if network[1] != "-"}
    assert {network[0] for network in told if network[1] == "-"} <= {network[0] for network in unknown}


@on_every_demo
def test_names_aliases_and_swarms_own_in_full(demo: LabHost) -> None:
    alias = ("--network-alias", "the-db", "--network-alias", "ünïcode")
    demo.docker("run", "--detach", "--name", "aliased", "--network", "my_net", *alias, "lab/base")
    try:
        text = hostinspect(demo, "networks", "my_net", "ov_net").stdout
        inspected = demo.docker_json("inspect", "aliased")[0]["NetworkSettings"]["Networks"]["my_net"]
    finally:
        demo.docker("rm", "--force", "aliased")
    first, names = text.partition("─ aliased ")[2].splitlines()[:2]
    assert f"{inspected['IPAddress']}/16" in first and inspected["MacAddress"] in first
    assert {*inspected["Aliases"], *(inspected.get("DNSNames") or ())} == {*names.split()[2:]}
    assert "load balancer  10.0.1.3/24  eth0 ↔ veth0 in 1-" in text


def test_a_port_and_an_endpoint_of_nobody() -> None:
    """A link that somebody put into the bridge, and a container whose veth was taken out of it."""
    with LabHost(LabSpec()) as host:
        host.seed()
        host.run(["sh", "-c", "ip link add in0 type veth peer name out0 && ip link set in0 master docker0 up"])
        host.run(["sh", "-c", "ip netns add blue && ip link set out0 netns blue"])
        host.run(["ip", "-n", "blue", "addr", "add", "172.17.0.99/16", "dev", "out0"])
        veth = ask(host, "networks", "bridge")["networks"][0]["members"][0]["endpoint"]["host_link"]
        host.run(["ip", "link", "set", veth, "nomaster"])
        host.run(["ip", "link", "set", ask(host, "links", "web1")["links"][1]["peer"]["ifname"], "down"])
        text = hostinspect(host, "networks", "bridge").stdout
        bridges = rows(host, "bridges", "docker0", "--columns", "interface,state,container,inside")
    assert f"{veth} is a port of no bridge, not of docker0" in text
    assert "port in0" in text and "out0 in blue  172.17.0.99/16" in text
    assert re.search(r"web1 .* is down\b", text)
    assert ["in0", "disabled", "(blue)", "out0 172.17.0.99"] in bridges


def test_drift_and_what_a_dead_daemon_left_behind() -> None:
    """The gateway taken off a bridge, a bridge removed; a container's directory lost while its endpoint is stored."""
    with LabHost(LabSpec()) as host:
        host.seed()
        host.docker("network", "create", "doomed")
        doomed = host.docker_json("network", "inspect", "doomed")[0]["Id"]
        mysql_app = host.docker_json("inspect", "mysql_app")[0]
        endpoint = mysql_app["NetworkSettings"]["Networks"]["my_net"]
        gateway, subnet = endpoint["Gateway"], "172.18.0.0/16"
        bridge = ask(host, "networks", "my_net")["networks"][0]["bridge"]
        host.kill_dockerd()
        host.run(["ip", "link", "del", f"br-{doomed[:12]}"])
        host.run(["ip", "addr", "flush", "dev", bridge])
        host.run(["kill", "-9", str(mysql_app["State"]["Pid"])])
        host.run(["rm", "-r", f"/var/lib/docker/containers/{mysql_app['Id']}"])
        my_net, gone = hostinspect(host, "networks", "my_net", "doomed").stdout.split("\n\n")
        left_over = ask(host, "networks", "my_net")["networks"][0]["left_over"]
    assert f"drift    subnets[{subnet}].gateway: recorded {gateway}, now " in my_net
    assert [(e["endpoint_id"], e["ip"], e["mac"]) for e in left_over] == [
        (endpoint["EndpointID"], endpoint["IPAddress"], endpoint["MacAddress"])
    ]
    assert f"endpoint {endpoint['EndpointID'][:12]}  mysql_app  {endpoint['IPAddress']}" in my_net
    assert f"drift    bridge: recorded br-{doomed[:12]}, now nothing" in gone and "it is not there" in gone


# --- bridges against brctl and ip -----------------------------------------------------------------------------------


def bridge_differences(host: LabHost, observed: Observed) -> list[str]:
    """The table against brctl show, and what is behind each port against ip in the namespace that it leads to."""
    table: dict[tuple[str, str, str], list[str]] = {}
    for name, id_, stp, port in rows(host, "bridges", "--columns", "bridge,bridge-id,stp,interface"):
        if " in " not in name:
            table.setdefault((name, id_, stp), []).extend([port] if port != "-" else [])
    shown = {
        (name, id_, "yes" if stp else "no"): sorted(ports)
        for name, (id_, stp, ports) in parse_brctl(host.run(["brctl", "show"]).stdout).items()
    }
    found = [] if table == shown else [f"brctl show says {shown}, the table {table}"]
    return found + _compare_ports(ask(host, "bridges")["bridges"], observed)


def _compare_ports(bridges: Json, observed: Observed) -> list[str]:
    found = []
    for bridge in bridges:
        for port in bridge["ports"]:
            outer = _by_name(observed, bridge["netns"], port["link"])
            if port["state"] != outer["linkinfo"]["info_slave_data"]["state"]:
                found.append(f"{port['link']}: ip says {outer}")
            if port["kind"] == "veth":
                found += _inside_differences(observed, port, outer)
    return found


def _by_name(observed: Observed, netns: int, name: str) -> Json:
    return next(link for link in observed.namespaces[netns].links if link["ifname"] == name)


def _inside_differences(observed: Observed, port: Json, outer: Json) -> list[str]:
    inner = _by_name(observed, port["netns"], port["interface"])
    addresses = observed.namespaces[port["netns"]].addresses[inner["ifindex"]]
    wrong = [
        (inner["ifindex"], outer["link_index"]),
        (inner["link_index"], outer["ifindex"]),
        (inner["address"], port["interface_mac"]),
        ([f"{address['local']}/{address['prefixlen']}" for address in addresses], port["interface_prefixes"]),
    ]
    members = {
        id_
        for id_, container in observed.containers.items()
        if observed.netns_by_pid.get(container["State"]["Pid"]) == port["netns"]
    }
    wrong.append((members, {*port["shared_with"]} | ({port["container"]} if port["container"] else set())))
    return [f"{port['link']}: {right} is told as {told}" for right, told in wrong if right != told]


@on_every_demo
def test_the_bridges_are_those_of_brctl(demo: LabHost) -> None:
    assert settled(demo, lambda observed: bridge_differences(demo, observed)) == []


def test_the_comparisons_see_what_is_wrong(demo_host: LabHost) -> None:
    """Each field that they compare is made wrong in a right answer, once for each member and port."""
    observed = observe(demo_host)
    networks = ask(demo_host, "networks")["networks"]
    bridges = ask(demo_host, "bridges")["bridges"]
    assert _compare_networks(networks, observed) == _compare_ports(bridges, observed) == []
    members = [member for network in networks for member in network["members"]]
    ports = [port for bridge in bridges for port in bridge["ports"] if port["kind"] == "veth"]
    wrong = [
        *((member["endpoint"], key) for member in members for key in ("endpoint_id", "mac", "ip", "ip6")),
        *((member, "container") for member in members if member["kind"] == "container"),
        *((port, key) for port in ports for key in ("state", "interface_mac", "interface_prefixes")),
        *((port, "shared_with") for port in ports),
    ]
    assert len(wrong) > 100
    for holder, key in wrong:
        right = holder[key]
        holder[key] = ["wrong"] if isinstance(right, list) else "wrong"
        assert _compare_networks(networks, observed) + _compare_ports(bridges, observed), key
        holder[key] = right


# --- links against ip and lsns --------------------------------------------------------------------------------------


def link_differences(host: LabHost, observed: Observed) -> list[str]:
    """`ip -brief link` on the host and inside every container, line by line, and the namespaces against lsns."""
    found = _brief_differences(host, [])
    for container in observed.containers.values():
        pid = container["State"]["Pid"]
        if pid:  # a name may be a link's too
            found += _brief_differences(host, ["nsenter", f"--net=/proc/{pid}/ns/net"], "--netns", container["Id"])
    listed = host.run(["lsns", "--noheadings", "--type", "net", "--output", "NS"]).stdout.split()
    told = {str(namespace["inode"]) for namespace in ask(host, "links", "--all")["netns"]}
    return [*found, *(f"namespace {inode} is not told" for inode in {*listed} - told)]


def _brief_differences(host: LabHost, enter: list[str], *which: str) -> list[str]:
    text = host.run([*enter, "ip", "-brief", "link"]).stdout
    # tunl0@NONE: ip's word for no other end.
    said = {re.sub(r"@NONE\b", "", " ".join(line.split())) for line in text.splitlines()}
    told = {
        f"{name} {state} {mac} <{flags.replace(', ', ',')}>"
        for name, state, mac, flags in rows(host, "links", *which, "--columns", "name,state,mac,flags")
    }
    return [f"{which}: ip says {line}" for line in said - told] + [f"{which}: told {line}" for line in told - said]


@on_every_demo
def test_the_links_are_those_of_ip_on_the_host_and_from_inside(demo: LabHost) -> None:
    assert settled(demo, lambda observed: link_differences(demo, observed)) == []


@on_every_demo
def test_from_inside_each_interface_names_its_end_on_the_host(demo: LabHost) -> None:
    on_host = {link["ifindex"]: link for link in json.loads(demo.run(["ip", "-json", "link"]).stdout)}
    seen = 0
    for name in ("web1", "wp_app", "volweb", "frozen1"):
        pid = demo.docker_json("inspect", name)[0]["State"]["Pid"]
        inside = json.loads(demo.run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-json", "link"]).stdout)
        expected = {}
        for link in inside:
            outer = on_host.get(link.get("link_index", 0))
            if outer:
                expected[f"{link['ifname']}@if{outer['ifindex']}"] = f"{outer['ifname']} ({outer['master']})"
                seen += 1
        told = {row[0]: row[1] for row in rows(demo, "links", name, "--columns", "name,peer") if row[1] != "-"}
        assert told == expected
    assert seen == 5


@on_every_demo
def test_a_namespace_by_all_its_names(demo: LabHost) -> None:
    container = demo.docker_json("inspect", "web1")[0]
    pid, key = container["State"]["Pid"], container["NetworkSettings"]["SandboxKey"]
    inode = demo.run(["stat", "--dereference", "--format", "%i", f"/proc/{pid}/ns/net"]).stdout.strip()
    texts = {
        hostinspect(demo, "links", "--netns", name).stdout
        for name in ("web1", "sidecar", container["Id"][:10], f"/proc/{pid}/ns/net", key, inode, f"net:[{inode}]")
    }
    assert len(texts) == 1
    assert texts == {hostinspect(demo, "links", "web1").stdout}
    assert hostinspect(demo, "links", "--netns", key.rpartition("/")[2]).stdout in texts
    stopped = hostinspect(demo, "links", "old")
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert "it does not run (exited)" in stopped.stderr


def test_the_same_bytes_while_the_daemon_hangs_and_from_a_snapshot(demo_host: LabHost) -> None:
    commands = (
        ["bridges", "-v"],
        ["links", "--all", "-v"],
        ["networks", "--columns", "network-id,name,members,device"],
    )

    def texts(*more: str) -> list[tuple[int, str, str]]:
        done = [hostinspect(demo_host, *command, *more) for command in commands]
        return [(d.returncode, d.stdout, d.stderr) for d in done]

    before = texts()
    assert [(code, err) for code, _, err in before] == [(0, "")] * 3
    with demo_host.frozen_dockerd():
        assert texts() == before
    file = "/tmp/of-the-network.snapshot"
    assert hostinspect(demo_host, "snapshot", "-o", file).returncode == 0
    assert texts("--from", file) == before
    demo_host.run(["rm", file])


# --- random hosts ---------------------------------------------------------------------------------------------------


@on_random_hosts
def test_a_random_host(made_up: LabHost) -> None:
    found = settled_differences(made_up, lambda: _report_by_parts(made_up))
    for differences in (network_differences, bridge_differences, link_differences):
        found += settled(made_up, lambda observed, of=differences: of(made_up, observed))  # type: ignore[misc]
    assert found == []
