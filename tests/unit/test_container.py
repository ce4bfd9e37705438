"""`container` and `containers`: what is asked, found and drawn of a small host."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import jsonschema
import msgspec
import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from hostinspect.cli.app import run
from hostinspect.engines.docker.containers import parse_container
from hostinspect.facts import (
    ContainerRecord,
    EndpointRecord,
    Facts,
    Gap,
    LayerRecord,
    ListeningSocket,
    Process,
    RecordedEndpoint,
    RecordedMount,
    RecordedPort,
    Rule,
    SocketHolder,
)
from hostinspect.questions.container import ContainerDetails, describe_containers
from hostinspect.questions.containers import list_containers
from hostinspect.questions.docker_inspect import docker_inspect
from hostinspect.questions.inspection import Inspection
from hostinspect.render.container import render_containers
from hostinspect.render.layout import Span
from hostinspect.render.schema import answer_schema
from hostinspect.render.screen import Screen
from hostinspect.render.table import render_table
from hostinspect.render.tables.containers import container_columns
from hostinspect.topology import Container
from tests.unit.factory import (
    HOST_NETNS,
    NETWORK_ID,
    WEB_ETH0,
    WEB_ID,
    WEB_MNTNS,
    WEB_NETNS,
    host_process,
    host_with_web,
    record,
    web_process,
)
from tests.unit.sample import demo

SIDE_ID, OLD_ID = "d" * 64, "e1" * 32
ROOT = "/var/lib/docker"
DNAT = "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80"


def web(**changes: object) -> ContainerRecord:
    """A record of which no field is empty."""
    fields: dict[str, object] = {
        "image": "lab/web",
        "image_id": f"sha256:{'a' * 64}",
        "driver": "overlay2",
        "created": "2025-12-31T00:00:00Z",
        "hostname": "web",
        "health": "healthy",
        "restart_count": 2,
        "sandbox_id": "c" * 64,
        "sandbox_key": "/var/run/docker/netns/cccccccccccc",
        "ports": (RecordedPort(proto="tcp", container_port=80, host_ip="0.0.0.0", host_port=8080),),
        "exposed_ports": ("443/tcp", "80/tcp"),
        "sandbox_ports": ("443/tcp", "80/tcp"),
        "port_bindings": (
            RecordedPort(proto="tcp", container_port=80, host_ip="", host_port=8080),
            RecordedPort(proto="udp", container_port=53, host_ip="::1", host_port=None),
            RecordedPort(proto="tcp", container_port=81, host_ip="127.0.0.1", host_port=9000, host_port_end=9010),
        ),
        "mounts": (
            RecordedMount(
                type="volume", name="v1", source=f"{ROOT}/volumes/v1/_data", destination="/data", driver="local"
            ),
        ),
        "tmpfs": (("/cache", "size=1m"),),
        "labels": (("role", "front"),),
        "privileged": True,
        "auto_remove": True,
        "restart_policy": "on-failure",
        "restart_max_retries": 5,
        "log_path": f"{ROOT}/containers/{WEB_ID}/{WEB_ID}-json.log",
    }
    return record(**{**fields, **changes})


def host(**changes: object) -> Facts:
    """web with three processes, a sidecar in its namespace, and one that has exited."""
    side = record(id=SIDE_ID, name="side", network_mode=f"container:{WEB_ID}", pid=600, endpoints=())
    old = record(
        id=OLD_ID,
        name="old",
        running=False,
        pid=None,
        exit_code=137,
        finished_at="2025-12-30T00:00:00Z",
        endpoints=(RecordedEndpoint(network="bridge"),),
        mounts=(RecordedMount(type="volume", name="v1", source=f"{ROOT}/volumes/v1/_data", destination="/o"),),
    )
    plain = host_with_web()
    fields: dict[str, object] = {
        "processes": (
            *plain.processes,
            web_process(pid=501, ppid=500, comm="worker", starttime=1001),
            web_process(pid=502, ppid=501, comm="worker", starttime=1002, state="Z"),
            web_process(pid=503, ppid=400, comm="sh", starttime=1003),
            web_process(pid=600, comm="tail", mntns=1, cgroups=(f"/docker/{SIDE_ID}",)),
        ),
        "containers": (web(), side, old),
        "layers": (
            LayerRecord(
                container_id=WEB_ID,
                mount_id="m",
                lower=tuple(f"{ROOT}/overlay2/{n}/diff" for n in range(5)),
                upper=f"{ROOT}/overlay2/m/diff",
                work=f"{ROOT}/overlay2/m/work",
                merged=f"{ROOT}/overlay2/m/merged",
            ),
        ),
        "rules": (
            Rule(
                netns=HOST_NETNS,
                family="ipv4",
                backend="nft",
                table="nat",
                chain="DOCKER",
                position=3,
                text=DNAT,
                verdict="DNAT",
                proto="tcp",
                dport="8080",
                to="172.17.0.2:80",
                packets=12,
                bytes=720,
            ),
        ),
        "listening_sockets": (
            ListeningSocket(netns=WEB_NETNS, proto="tcp", family="ipv4", address="0.0.0.0", port=80, inode=7),
        ),
        "socket_holders": (SocketHolder(inode=7, pid=501),),
    }
    return replace(plain, **{**fields, **changes})


def details(facts: Facts, *names: str) -> tuple[Inspection, ContainerDetails]:
    inspection = Inspection(facts)
    return inspection, describe_containers(inspection, map(inspection.container, names))


def text(facts: Facts, *names: str, width: int | None = None, verbose: bool = False) -> str:
    inspection, answer = details(facts, *names)
    return render_containers(answer, inspection.topology, Screen(width), verbose=verbose)


# --- what is found ---


def test_what_belongs_to_a_container() -> None:
    _, answer = details(host(), "web", "side")
    first, side = answer.containers
    assert [(p.pid, p.ppid, p.comm, p.state) for p in first.processes] == [
        (500, 400, "httpd", "S"),
        (501, 500, "worker", "S"),
        (502, 501, "worker", "Z"),
        (503, 400, "sh", "S"),
    ]
    (eth0,) = first.links
    assert eth0.peer is not None
    assert (eth0.ifname, eth0.peer.ifname, eth0.bridge) == ("eth0", "veth1", "docker0")
    assert (first.namespaces.net, first.namespaces.mnt) == (WEB_NETNS, WEB_MNTNS)
    assert [(rule.chain, rule.position, rule.packets) for rule in first.nat_rules] == [("DOCKER", 3, 12)]
    assert (first.shared_with, side.shared_with) == ((SIDE_ID,), (WEB_ID,))
    assert (side.nat_rules, side.links) == (first.nat_rules, first.links)
    assert (first.restart_policy, first.restart_max_retries, first.privileged) == ("on-failure", 5, True)


def test_of_one_that_does_not_run_only_what_is_recorded() -> None:
    _, answer = details(host(), "old")
    (old,) = answer.containers
    assert (old.state, old.exit_code, old.health) == ("exited", 137, None)
    assert (old.processes, old.links, old.nat_rules, old.shared_with) == ((), (), (), ())
    assert (old.namespaces.net, old.namespaces.mnt, old.namespaces.net_paths) == (None, None, ())


def test_of_one_in_the_hosts_network_no_links() -> None:
    facts = host_with_web(
        containers=(record(network_mode="host", endpoints=()),),
        processes=(host_process(), web_process(netns=HOST_NETNS)),
    )
    _, answer = details(facts, "web")
    assert answer.containers[0].links == ()
    assert "4026531840  the host's own" in text(facts, "web")


def test_dns_names_are_libnetworks_also_in_the_hosts_network() -> None:
    """docker rename changes them there at once, and in the container's record later."""
    named = RecordedEndpoint(network="host", network_id=NETWORK_ID, endpoint_id="f" * 64, dns_names=("before",))
    facts = host_with_web(
        containers=(record(network_mode="host", endpoints=(named,)),),
        processes=(host_process(), web_process(netns=HOST_NETNS)),
        endpoints=(EndpointRecord(id="f" * 64, network_id=NETWORK_ID, dns_names=("after",)),),
    )
    _, answer = details(facts, "web")
    assert answer.containers[0].endpoints[0].dns_names == ("after",)


@pytest.mark.parametrize("names", [("web",), ("web", "side", "old")])
def test_json_is_what_the_schema_says(names: Sequence[str]) -> None:
    _, answer = details(host(), *names)
    document = json.loads(msgspec.json.encode(answer))
    jsonschema.validate(document, answer_schema("container"), cls=jsonschema.Draft202012Validator)
    inspection = Inspection(host())
    listed = json.loads(msgspec.json.encode(list_containers(inspection)))
    jsonschema.validate(listed, answer_schema("containers"), cls=jsonschema.Draft202012Validator)
    for container in document["containers"]:  # as in the list and the report, and more
        same = next(entry for entry in listed["containers"] if entry["id"] == container["id"])
        assert {key: container[key] for key in same} == same


def test_gaps_about_volumes_are_no_part_of_it() -> None:
    gaps = [Gap(collector=name, subject=name, why="w", remedy="r") for name in ("volumes", "rules", "links", "images")]
    _, answer = details(host(gaps=tuple(gaps)), "web")
    assert [gap.collector for gap in answer.gaps] == ["rules", "links"]


# --- docker inspect's layout ---


def test_the_layout_of_docker_inspect() -> None:
    inspection, answer = details(host(), "web")
    (found,) = docker_inspect(inspection, answer.containers)
    endpoint = {
        "EndpointID": "f" * 64,
        "Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": "172.17.0.2",
        "IPPrefixLen": 16,
        "IPv6Gateway": "",
        "MacAddress": "02:42:ac:11:00:02",
    }
    assert found == {
        "Id": WEB_ID,
        "Created": "2025-12-31T00:00:00Z",
        "State": {
            "Status": "running",
            "Running": True,
            "Paused": False,
            "Restarting": False,
            "OOMKilled": False,
            "Dead": False,
            "Pid": 500,
            "ExitCode": 0,
            "StartedAt": "2026-01-01T00:00:00Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
            "Health": {"Status": "healthy"},
        },
        "Image": f"sha256:{'a' * 64}",
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": f"{ROOT}/containers/{WEB_ID}/{WEB_ID}-json.log",
        "Name": "/web",
        "RestartCount": 2,
        "Driver": "overlay2",
        "HostConfig": {
            "NetworkMode": "default",
            "PortBindings": {
                "80/tcp": [{"HostIp": "", "HostPort": "8080"}],
                "53/udp": [{"HostIp": "::1", "HostPort": ""}],
                "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9000-9010"}],
            },
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5},
            "AutoRemove": True,
            "Privileged": True,
            "ReadonlyRootfs": False,
            "Tmpfs": {"/cache": "size=1m"},
        },
        "GraphDriver": {
            "Data": {
                "LowerDir": ":".join(f"{ROOT}/overlay2/{n}/diff" for n in range(5)),
                "MergedDir": f"{ROOT}/overlay2/m/merged",
                "UpperDir": f"{ROOT}/overlay2/m/diff",
                "WorkDir": f"{ROOT}/overlay2/m/work",
            },
            "Name": "overlay2",
        },
        "Mounts": [
            {
                "Type": "volume",
                "Name": "v1",
                "Source": f"{ROOT}/volumes/v1/_data",
                "Destination": "/data",
                "Driver": "local",
                "Mode": "",
                "RW": True,
                "Propagation": "",
            }
        ],
        "Config": {
            "Hostname": "web",
            "ExposedPorts": {"443/tcp": {}, "80/tcp": {}},
            "Image": "lab/web",
            "Labels": {"role": "front"},
        },
        "NetworkSettings": {
            "SandboxID": "c" * 64,
            "Ports": {"443/tcp": None, "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]},
            "SandboxKey": "/var/run/docker/netns/cccccccccccc",
            **endpoint,
            "Networks": {"bridge": {**endpoint, "Aliases": None, "NetworkID": NETWORK_ID, "DNSNames": None}},
        },
    }


def test_it_says_what_is_and_not_what_was_recorded() -> None:
    """A container whose processes are gone while the daemon hangs, and one that was given another address."""
    dead = replace(host(), processes=(host_process(), host_process(300, comm="dockerd")))
    inspection, answer = details(dead, "web")
    (found,) = docker_inspect(inspection, answer.containers)
    assert (found["State"]["Status"], found["State"]["Running"], found["State"]["Pid"]) == ("exited", False, 0)
    assert found["NetworkSettings"]["Ports"] == {}
    moved = replace(host(), addresses=(replace(host().addresses[0], address="172.17.0.9"),))
    inspection, answer = details(moved, "web")
    (found,) = docker_inspect(inspection, answer.containers)
    assert found["NetworkSettings"]["IPAddress"] == "172.17.0.9"
    assert "drift" in text(moved, "web") and "recorded 172.17.0.2, now 172.17.0.9" in text(moved, "web")


# --- the text ---


def test_the_words_of_docker_inspect_in_its_order() -> None:
    said = text(host(), "web", verbose=True)
    places = [
        said.index(f" {word} ")
        for word in (
            *("Created", "Image", "RestartCount", "Driver", "Status", "Running", "Paused", "Dead", "Pid"),
            *("StartedAt", "NetworkMode", "PortBindings", "RestartPolicy", "Privileged", "ReadonlyRootfs"),
            *("LowerDir", "MergedDir", "UpperDir", "WorkDir", "volume", "Hostname", "ExposedPorts", "Labels"),
            *("SandboxKey", "Ports", "NetworkID", "EndpointID", "Gateway", "IPAddress", "MacAddress"),
        )
    ]
    assert places == sorted(places)
    for line in (
        "Health          healthy, as last recorded",
        "RestartPolicy   on-failure:5",
        "PortBindings    8080:80/tcp",
        "PortBindings    [::1]::53/udp",
        "PortBindings    127.0.0.1:9000-9010:81/tcp",
        "Ports           8080 → 80/tcp on all IPv4 addresses  DNAT rule 3 of DOCKER (nft)  worker (501) listens on ",
        "eth0 (12) ↔ veth1 (13), a port of docker0  veth  unknown  mtu 0  02:42:ac:11:00:02  172.17.0.2/16",
        f"ipv4 nat DOCKER 3 (nft)  {DNAT}  12 packets, 720 bytes",
        "501             worker on *:80/tcp",
        "shared with     side",
        "volume   v1 → /data  rw  shared with old (rw)",
    ):
        assert line in said, line


def the_demo() -> tuple[Inspection, ContainerDetails]:
    """Every container of the demo scenario, of which the engine recorded nothing but that it is there."""
    topology = demo()
    inspection = Inspection(
        replace(host(), containers=tuple(record(id=c.id, name=c.name, endpoints=()) for c in topology.containers))
    )
    inspection.topology = topology
    return inspection, describe_containers(inspection, topology.containers)


@pytest.mark.parametrize("width", [80, 120])
def test_the_demo_fits(width: int) -> None:
    inspection, answer = the_demo()
    drawn = render_containers(answer, inspection.topology, Screen(width))
    assert max(map(cell_len, drawn.splitlines())) <= width
    assert _letters(drawn) == _letters(render_containers(answer, inspection.topology, Screen(None)))


def test_every_kind_of_interface() -> None:
    inspection, answer = the_demo()
    drawn = render_containers(answer, inspection.topology, Screen(None))
    for line in (
        "Interface       eth0 ↔ veth13d6de4\n",
        "Interface       eth0 on eth0\n",
        ")  macvlan  up",
        " ↔ veth13d6de4 (",
        " in 1-k3j5d6abcd, a port of br0  veth  up",
        "1 rule in its own network namespace, of the embedded DNS server",
        "NetworkMode     container:web1\n",
    ):
        assert line in drawn, line


def test_processes_are_a_tree() -> None:
    tree = text(host(), "web").split("Processes\n")[1]
    assert tree == (
        "   ├─ 500  httpd\n   │  └─ 501  worker\n   │     └─ 502  worker  zombie\n   └─ 503  sh\n"
    )  # fmt: skip


def test_many_processes_and_many_generations() -> None:
    """A container may make any number, each the child of the one before, and parents that go round in a circle."""
    chain = tuple(web_process(pid=1000 + n, ppid=999 + n, comm=f"p{n}", starttime=2000 + n) for n in range(3000))
    circle = (
        web_process(pid=9001, ppid=9002, comm="a", starttime=9000),
        web_process(pid=9002, ppid=9001, comm="b", starttime=9001),
    )
    facts = host(processes=(host_process(), web_process(), *chain, *circle))
    short = text(facts, "web", width=80).split("Processes\n")[1]
    assert short.splitlines()[-1].endswith("and 2979 more")
    whole = text(facts, "web", width=80, verbose=True).split("Processes\n")[1]
    assert "p2999" in whole and "9001  a" in whole and "9002  b" in whole
    assert len(whole.splitlines()) == 3003
    assert max(map(cell_len, whole.splitlines())) <= 80


def test_a_paused_process_waits_for_no_device() -> None:
    facts = host(processes=(host_process(), web_process(state="D")))
    assert "waits for a device" in text(facts, "web")
    from hostinspect.facts import FrozenCgroup

    paused = replace(facts, frozen_cgroups=(FrozenCgroup(path=f"/docker/{WEB_ID}"),))
    assert "500  httpd  frozen" in text(paused, "web")


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_it_fits_and_loses_nothing(width: int, verbose: bool) -> None:
    drawn = text(host(), "web", "side", "old", width=width, verbose=verbose)
    assert max(map(cell_len, drawn.splitlines())) <= width
    assert _letters(drawn) == _letters(text(host(), "web", "side", "old", verbose=verbose))


def _letters(drawn: str) -> str:
    return "".join(character for character in drawn if character not in " \n│├└─")


def test_verbose_has_every_layer_and_whole_ids() -> None:
    assert "and 2 more below" in text(host(), "web")
    said = text(host(), "web", verbose=True)
    assert said.count("LowerDir") == 5
    assert NETWORK_ID in said and NETWORK_ID not in text(host(), "web")


HOSTILE = "x\x1b[31m\u202ey\n\x9b2J"


def test_hostile_names_reach_no_terminal() -> None:
    evil = web(
        name=HOSTILE,
        image=HOSTILE,
        hostname=HOSTILE,
        labels=((HOSTILE, HOSTILE),),
        health=HOSTILE,
        restart_policy=HOSTILE,
        log_path=HOSTILE,
        network_mode=HOSTILE,
        sandbox_key=HOSTILE,
        exposed_ports=(HOSTILE,),
        mounts=(RecordedMount(type=HOSTILE, source=HOSTILE, destination=HOSTILE, mode=HOSTILE, propagation=HOSTILE),),
    )
    facts = host(
        containers=(evil,),
        processes=(host_process(), web_process(comm=HOSTILE)),
        links=tuple(replace(link, ifname=HOSTILE) if link is WEB_ETH0 else link for link in host().links),
    )
    inspection, answer = details(facts, WEB_ID)
    for width in (None, 80):
        for verbose in (False, True):
            _is_safe(render_containers(answer, inspection.topology, Screen(width), verbose=verbose))
            _is_safe(_table(inspection.topology.containers, width, verbose=verbose))


def _is_safe(drawn: str) -> None:
    assert "\\x1b" in drawn
    assert drawn.replace("\n", "").isprintable()


def _table(containers: Sequence[Container], width: int | None, *, verbose: bool = False) -> str:
    columns = container_columns("2026-01-01T03:00:00Z", {c.id: c.name for c in containers}, verbose=verbose)
    return render_table(containers, [c for c in columns if c.shown or verbose], Screen(width))


# --- the list ---


def test_the_table() -> None:
    assert _table(Inspection(host()).topology.containers, None) == (
        "CONTAINER ID  NAME  IMAGE    STATUS               PID  NETWORKS           PORTS\n"
        "e1e1e1e1e1e1  old   image ?  Exited (137) 2d ago    -  bridge             -\n"
        "dddddddddddd  side  image ?  Up 3h                600  container:web      -\n"
        "eeeeeeeeeeee  web   lab/web  Up 3h (healthy)      500  bridge 172.17.0.2  0.0.0.0:8080->80/tcp, 443/tcp\n"
    )


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits(width: int) -> None:
    drawn = _table(Inspection(host()).topology.containers, width)
    assert max(map(cell_len, drawn.splitlines())) <= max(width, 72)  # no column is made narrower than its header


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"health": "starting"}, "Up 3h (health: starting)"),
        ({"health": "none"}, "Up 3h"),
        ({"running": False, "pid": None, "started_at": None, "exit_code": 127}, "Created"),
        ({"running": True, "restarting": True, "exit_code": 1, "pid": None}, "Restarting (1)"),
        ({"running": False, "dead": True, "pid": None, "exit_code": 0}, "Dead (0)"),
    ],
)
def test_status_in_the_words_of_docker_ps(changes: dict[str, object], status: str) -> None:
    processes = (host_process(), *((web_process(),) if changes.get("pid", 1) else ()))
    drawn = _table(Inspection(host(containers=(web(**changes),), processes=processes)).topology.containers, None)
    assert f"lab/web  {status}  " in drawn


def test_a_port_that_nothing_leads_to_is_marked() -> None:
    from hostinspect.facts import Chain

    chain = Chain(netns=HOST_NETNS, family="ipv4", backend="nft", table="nat", name="DOCKER")
    (found,) = Inspection(host(containers=(web(),), rules=(), chains=(chain,))).topology.containers
    columns = container_columns(found.created or "", {})
    cell = next(column for column in columns if column.name == "ports").value(found)
    assert isinstance(cell, tuple)
    assert Span("0.0.0.0:8080->80/tcp", "bad") in cell


def test_filters() -> None:
    inspection = Inspection(host())
    network = inspection.network("bridge")

    def names(**filters: object) -> list[str]:
        return [c.name for c in list_containers(inspection, **filters).containers]  # type: ignore[arg-type]

    assert names() == ["old", "side", "web"]
    assert names(running=True) == ["side", "web"]
    assert names(states=["exited", "paused"]) == ["old"]
    assert names(networks=[network]) == ["old", "web"]
    assert names(networks=[network], running=True) == ["web"]


# --- the command ---


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> Callable[[Facts], None]:
    def use(read: Facts) -> None:
        monkeypatch.setattr("hostinspect.collectors.collect", lambda data_roots, **more: read)

    use(host())
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("COLUMNS", raising=False)
    return use


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["container", "wbe"], 1, "No such container: wbe. Did you mean web?"),
        (["container", "web", "nobody"], 1, "No such container: nobody."),
        (["container", "e"], 2, "e may be any of 2 containers: e1e1e1e1e1e1 (old), eeeeeeeeeeee (web)"),
        (["container"], 2, "Missing argument 'NAME…'"),
        (["containers", "--network", "brigde"], 1, "No such network: brigde. Did you mean bridge?"),
        (["containers", "--state", "runnig"], 2, "'runnig' is not one of"),
    ],
)
def test_who_is_not_there(
    arguments: list[str],
    code: int,
    says: str,
    facts: Callable[[Facts], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(arguments) == code
    out, err = capsys.readouterr()
    assert out == "" and says in err


def test_every_form_and_the_exit_code_of_a_gap(
    facts: Callable[[Facts], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["container", "web", "side", "-o", "docker"]) == 0
    assert [found["Name"] for found in json.loads(capsys.readouterr().out)] == ["/web", "/side"]
    assert run(["container", "eeee", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["containers"][0]["name"] == "web"
    facts(host(gaps=(Gap(collector="rules", subject="nat", why="Permission denied", remedy="run as root"),)))
    for output in ("text", "docker"):
        assert run(["container", "web", "-o", output]) == 3
        out, err = capsys.readouterr()
        assert WEB_ID in out and "nat: Permission denied → run as root" in err
    assert run(["container", "gone"]) == 1


# --- the record ---


def test_what_became_of_it_is_read() -> None:
    config = {
        "ID": WEB_ID,
        "Name": "/web",
        "RestartCount": 3,
        "State": {"OOMKilled": True, "Health": None},
        "LogPath": "/l",
        "HostnamePath": "/n",
        "HostsPath": "/h",
        "ResolvConfPath": "",
        "NetworkSettings": {"Ports": {"80/tcp": None}},
        "Config": {"ExposedPorts": {"81/tcp": {}}},
    }
    host_config = {
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 4},
        "AutoRemove": True,
        "Privileged": True,
        "ReadonlyRootfs": True,
    }
    found = parse_container(json.dumps(config).encode(), json.dumps(host_config).encode(), "docker", ROOT)
    assert (found.restart_count, found.restart_policy, found.restart_max_retries) == (3, "on-failure", 4)
    assert (found.oom_killed, found.auto_remove, found.privileged, found.readonly_rootfs) == (True,) * 4
    assert (found.log_path, found.hostname_path, found.hosts_path, found.resolv_conf_path) == ("/l", "/n", "/h", None)
    assert (found.health, found.sandbox_ports, found.exposed_ports) == (None, ("80/tcp",), ("80/tcp", "81/tcp"))


# --- secrets ---


def test_environment_and_arguments_are_in_no_record() -> None:
    secret = "correct-horse-battery-staple"
    config = {
        "ID": WEB_ID,
        "Name": "/web",
        "Path": f"/bin/{secret}",
        "Args": [secret],
        "State": {"Pid": 5, "Error": f"exec: {secret}", "Health": {"Status": "healthy", "Log": [{"Output": secret}]}},
        "Config": {
            "Image": "i",
            "Env": [f"PASSWORD={secret}"],
            "Cmd": [secret],
            "Entrypoint": [secret],
            "Healthcheck": {"Test": ["CMD", secret]},
        },
    }
    host_config = {"NetworkMode": "host", "LogConfig": {"Config": {"token": secret}}}
    found = parse_container(json.dumps(config).encode(), json.dumps(host_config).encode(), "docker", ROOT)
    assert found.health == "healthy"
    assert secret not in repr(found)


def test_processes_carry_no_arguments() -> None:
    assert {name for name in Process.__struct_fields__ if "cmd" in name} == {"cmdline"}  # of engines alone, see facts
    _, answer = details(host(), "web")
    assert b"cmdline" not in msgspec.json.encode(answer)
