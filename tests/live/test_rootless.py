"""A real rootless engine beside root's: what it has is in a network namespace of its own, with the same names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from subprocess import DEVNULL, run
from typing import Any

import pytest

from tests.lab.host import LabHost, LabSpec
from tests.live.faults import HEALTHY
from tests.live.report import hostinspect, report

_HOME = "/srv/ann"
_ROOT = f"{_HOME}/.local/share/docker"
_RUN = "/run/user/4711"
_CLIENT = ("docker", "--host", f"unix://{_RUN}/docker.sock")

# $1 is the home, $2 the runtime directory. The engine is started as Docker's own dockerd-rootless.sh does.
_START = r"""
set -eu
cd /
home=$1 run=$2
echo "ann:x:4711:4711::$home:/bin/sh" >>/etc/passwd # /etc is the lab's; useradd(8) writes to /var too
echo ann:x:4711: >>/etc/group
echo ann:1000000:65536 | tee -a /etc/subuid >>/etc/subgid
mkdir -p "$home" "$run"
chown ann:ann "$home" "$run"
mknod -m 666 /srv/tun c 10 200
mount --bind /srv/tun /dev/net/tun
setpriv --reuid=ann --regid=ann --clear-groups env -i HOME="$home" USER=ann XDG_RUNTIME_DIR="$run" PATH="$PATH" \
    rootlesskit --state-dir="$run/rootless" --net=slirp4netns --mtu=65520 --disable-host-loopback \
    --port-driver=builtin --copy-up=/etc --copy-up=/run --propagation=rslave \
    sh -c 'rm -f /run/docker /run/containerd /run/xtables.lock; exec dockerd' >/srv/rootless.log 2>&1 &
for _ in $(seq 300); do
    ! docker --host "unix://$run/docker.sock" version >/dev/null 2>&1 || exit 0
    sleep 0.1
done
cat /srv/rootless.log
exit 1
"""

_SEED = r"""
set -eu
serve="/busybox httpd -f -p 80 -h /www"
docker run --detach --name of-root --publish 8090:80 --volume data:/data base $serve
export DOCKER_HOST=unix://$1/docker.sock
docker network create usernet
docker run --detach --name web1 --publish 8080:80 --volume data:/data base $serve
docker run --detach --name web2 --network usernet --publish 127.0.0.1:8081:80 base $serve
docker run --detach --name hostnet --network host base /busybox sleep 1000000
docker run --detach --name nonet --network none base /busybox sleep 1000000
docker run --detach --name side --network container:web1 base /busybox sleep 1000000
docker run --name done base /busybox true
"""


@pytest.fixture(scope="module")
def host() -> Iterator[LabHost]:
    with LabHost(LabSpec()) as started:
        started.import_busybox("base", "www")
        run(started.command_in_cgroup(["sh", "-c", _START, "sh", _HOME, _RUN]), check=True, stdin=DEVNULL)
        started.run(["sh", "-c", f"docker save base | {' '.join(_CLIENT)} load"])
        started.run(["sh", "-ec", _SEED, "sh", _RUN])
        yield started


@pytest.fixture(scope="module")
def told(host: LabHost) -> Any:
    """The report; nothing may be hidden."""
    found = report(host)
    assert [gap for gap in found["gaps"] if not gap.get("minor")] == []
    return found


@pytest.fixture(scope="module")
def inspected(host: LabHost) -> dict[str, Any]:
    """What the rootless engine says of its containers, by name."""
    ids = host.run([*_CLIENT, "ps", "--all", "--quiet"]).stdout.split()
    said = json.loads(host.run([*_CLIENT, "inspect", *ids]).stdout)
    return {one["Name"].removeprefix("/"): one for one in said}


@pytest.fixture(scope="module")
def netns(host: LabHost) -> int:
    """The engine's own."""
    daemon = host.run(["pgrep", "-u", "ann", "-x", "dockerd"]).stdout.strip()
    return _namespace_of(host, int(daemon))


def _namespace_of(host: LabHost, pid: int) -> int:
    return int(host.run(["readlink", f"/proc/{pid}/ns/net"]).stdout.strip()[len("net:[") : -1])


def _containers(told: Any) -> dict[str, Any]:
    return {one["name"]: one for one in told["containers"] if one["data_root"] == _ROOT}


def test_every_container_is_as_its_engine_says(host: LabHost, told: Any, inspected: dict[str, Any]) -> None:
    found = _containers(told)
    assert found.keys() == inspected.keys() == {"web1", "web2", "hostnet", "nonet", "side", "done"}
    for name, container in found.items():
        said = inspected[name]
        pid = said["State"]["Pid"]
        assert (container["id"], container["state"]) == (said["Id"], said["State"]["Status"])
        assert container["pid"] == (pid or None)
        assert container["netns"] == (_namespace_of(host, pid) if pid else None)
        assert container["drift"] == []
        graph = said["GraphDriver"]["Data"]
        assert container["overlay"]["upper"] == graph["UpperDir"]
        assert container["overlay"]["lower"] == graph["LowerDir"].split(":")


def test_endpoints_lead_into_the_engines_namespace(
    host: LabHost, told: Any, inspected: dict[str, Any], netns: int
) -> None:
    by_index = {link["ifindex"]: link for link in _links(host, _pid_in(told, netns))}
    for name, network in (("web1", "bridge"), ("web2", "usernet")):
        (endpoint,) = _containers(told)[name]["endpoints"]
        said = inspected[name]["NetworkSettings"]["Networks"][network]
        assert (endpoint["ip"], endpoint["mac"]) == (said["IPAddress"], said["MacAddress"])
        assert (endpoint["network"], endpoint["network_id"]) == (network, said["NetworkID"])
        (eth0,) = _links(host, inspected[name]["State"]["Pid"], "show", "eth0")
        outer = by_index[eth0["link_index"]]
        assert (endpoint["host_link"], endpoint["host_link_netns"]) == (outer["ifname"], netns)
        assert endpoint["bridge"] == outer["master"]


def _links(host: LabHost, pid: int, *words: str) -> Any:
    """As `ip link` has them in the network namespace of a process."""
    return json.loads(host.run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", "link", *words]).stdout)


def _pid_in(told: Any, netns: int) -> int:
    (namespace,) = [one for one in told["netns"] if one["inode"] == netns]
    assert namespace["role"] == "engine"
    return int(namespace["pids"][0])


def test_bridges_of_one_name_are_two(told: Any, netns: int) -> None:
    """Both engines have a docker0, with the same addresses."""
    networks = {(one["data_root"], one["name"]): one for one in told["networks"]}
    of_root, rootless = networks["/var/lib/docker", "bridge"], networks[_ROOT, "bridge"]
    assert (of_root["bridge"], of_root["netns"]) == ("docker0", None)
    assert (rootless["bridge"], rootless["netns"]) == ("docker0", netns)
    usernet = networks[_ROOT, "usernet"]
    assert (usernet["bridge"], usernet["netns"]) == (f"br-{usernet['id'][:12]}", netns)
    assert [network["drift"] for network in networks.values()] == [[]] * len(networks)
    (host,) = [one["inode"] for one in told["netns"] if one["host"]]
    owners = {(one["netns"], one["name"]): one["network"] for one in told["bridges"] if one["network"]}
    assert owners == {
        (host, "docker0"): of_root["id"],
        (netns, "docker0"): rootless["id"],
        (netns, usernet["bridge"]): usernet["id"],
    }


def test_ports_and_rules_of_one_address_are_two(told: Any, netns: int) -> None:
    """Containers of both engines have 172.17.0.2: what leads to one is not the other's."""
    (of_root,) = [one for one in told["containers"] if one["name"] == "of-root"]
    web1 = _containers(told)["web1"]
    assert of_root["endpoints"][0]["ip"] == web1["endpoints"][0]["ip"]
    assert {(port["host_ip"], port["host_port"], *port["via"]) for port in of_root["ports"]} == {
        ("0.0.0.0", 8090, "dnat", "proxy"),
        ("::", 8090, "proxy"),
    }
    assert {(port["host_ip"], port["host_port"], *port["via"]) for port in web1["ports"]} == {
        ("0.0.0.0", 8080, "dnat", "proxy"),
        ("::", 8080, "proxy"),
    }
    assert [port["rules"] for port in web1["ports"]] == [[], []], "a reference is to a rule of the host's"
    rules = [rule for rule in told["nat_rules"] if rule["chain"] == "DOCKER" and rule["to"]]
    assert {(rule["netns"] == netns, rule["dport"]): rule["container"] for rule in rules} == {
        (False, "8090"): of_root["id"],
        (True, "8080"): web1["id"],
        (True, "8081"): _containers(told)["web2"]["id"],
    }


def test_the_network_of_the_host_is_the_engines(told: Any, netns: int) -> None:
    hostnet = _containers(told)["hostnet"]
    assert (hostnet["netns"], hostnet["ports"]) == (netns, [])
    assert [endpoint["network"] for endpoint in hostnet["endpoints"]] == ["host"]
    assert {link["container"] for link in told["links"] if link["netns"] == netns and link["kind"] != "veth"} == {None}


def test_volumes_of_one_name_are_two(told: Any) -> None:
    users = {one["data_root"]: [user["container"] for user in one["used_by"]] for one in told["volumes"]}
    (of_root,) = [one["id"] for one in told["containers"] if one["name"] == "of-root"]
    assert users == {"/var/lib/docker": [of_root], _ROOT: [_containers(told)["web1"]["id"]]}


def test_a_question_about_one_sees_as_much(host: LabHost) -> None:
    for question in (["containers"], *(["container", name] for name in ("web1", "web2", "hostnet"))):
        done = hostinspect(host, *question, "-o", "json")
        assert (done.returncode, done.stderr) == (0, "")
        every = json.loads(done.stdout)["containers"]
        assert every and [container["drift"] for container in every] == [[]] * len(every)


def test_where_a_root_is_mounted_is_not_seen_from_the_host(host: LabHost) -> None:
    answer = json.loads(hostinspect(host, "layers", "-o", "json").stdout)
    mounted = {one["name"]: one["mounted"] for one in answer["containers"]}
    assert {mounted[name] for name in ("web1", "web2", "done")} == {None}
    assert mounted["of-root"] is True


def test_what_a_container_changed_is_as_its_engine_has_it(host: LabHost) -> None:
    """Its layers have user.overlay.* for trusted.overlay.*."""
    change = "echo x >/new; rm -r /www; mkdir /www; echo y >/www/z"
    host.run([*_CLIENT, "exec", "web1", "/busybox", "sh", "-c", change])
    done = hostinspect(host, "diff", "web1")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == sorted(host.run([*_CLIENT, "diff", "web1"]).stdout.splitlines())


def test_nothing_is_wrong(host: LabHost) -> None:
    done = hostinspect(host, "doctor", "-o", "json")
    answer = json.loads(done.stdout)
    assert {(finding["id"], finding["subject"]) for finding in answer["findings"]} <= HEALTHY
    assert done.returncode == 0, done.stderr
    tree = hostinspect(host).stdout
    assert "broken" not in tree and "look at" not in tree


def test_what_leads_in_from_the_host_is_said_not_to_be_read(host: LabHost) -> None:
    done = hostinspect(host, "ports")
    assert done.returncode == 3
    assert "what leads into that is not read" in done.stderr
    done = hostinspect(host, "trace", "8080")
    assert "rootlesskit" in done.stdout and "unknown" in done.stdout


def test_whose_an_interface_and_the_namespace_are(host: LabHost, told: Any, netns: int) -> None:
    (endpoint,) = _containers(told)["web1"]["endpoints"]
    said = hostinspect(host, "whois", endpoint["host_link"], str(netns)).stdout
    assert "of eth0 in container web1" in said
    assert f"the network namespace of the rootless engine in {_ROOT}" in said
