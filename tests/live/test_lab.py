"""The throwaway hosts: what is in them, and that nothing of them stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import remains
from tests.lab.errors import LabCommandError, LabError
from tests.lab.host import REPOSITORY, LabHost, LabSpec, running
from tests.lab.userland import mirror

STATES = {
    "volweb": "running",
    "rwro": "running",
    "bindtmp": "running",
    "web1": "running",
    "web2": "running",
    "net3": "running",
    "no-net": "running",
    "mysql_app": "running",
    "wp_app": "running",
    "sidecar": "running",
    "mv1": "running",
    "ov1": "running",
    "changed": "running",
    "stopped1": "created",
    "old": "exited",
    "frozen1": "paused",
}

EVERY_DEMO_HOST = ("demo_host", "demo_host_legacy", "demo_host_sid")


@pytest.fixture(params=EVERY_DEMO_HOST)
def host(request: pytest.FixtureRequest) -> LabHost:
    found: LabHost = request.getfixturevalue(request.param)
    return found


# --- the scenario -----------------------------------------------------------------------------------------------


def test_every_container_is_in_its_state(host: LabHost) -> None:
    listed = host.docker("ps", "--all", "--format", "{{.Names}} {{.State}}").splitlines()
    assert dict(line.split() for line in listed) == STATES
    inspected = host.docker_json("inspect", *STATES)
    assert {of["Name"][1:]: of["State"]["Status"] for of in inspected} == STATES


def test_what_each_container_shows(host: LabHost) -> None:
    inspected = {of["Name"][1:]: of for of in host.docker_json("inspect", *STATES)}

    def mounts(name: str) -> set[tuple[str, str, bool]]:
        return {(of["Type"], of["Destination"], of["RW"]) for of in inspected[name]["Mounts"]}

    def networks(name: str) -> set[str]:
        return set(inspected[name]["NetworkSettings"]["Networks"])

    def ports(name: str) -> set[tuple[str, str]]:
        bindings = inspected[name]["NetworkSettings"]["Ports"]["80/tcp"]
        return {(of["HostIp"], of["HostPort"]) for of in bindings}

    assert mounts("volweb") == {("volume", "/root/test", True)}
    assert inspected["volweb"]["Mounts"][0]["Name"] == "myvol01"
    assert networks("volweb") == {"bridge", "my_net"}
    assert mounts("rwro") == {("volume", "/data", True), ("volume", "/data-ro", False)}
    assert len({of["Name"] for of in inspected["rwro"]["Mounts"]}) == 1
    assert mounts("bindtmp") == {("bind", "/www", False), ("volume", "/scratch", True)}
    assert inspected["bindtmp"]["HostConfig"]["Tmpfs"] == {"/cache": "size=1m"}
    assert ports("web1") == {("0.0.0.0", "8080"), ("::", "8080")}
    assert {port.isdecimal() for _, port in ports("web2")} == {True}
    assert ports("wp_app") == {("127.0.0.1", "8081")}
    assert networks("wp_app") == networks("mysql_app") == {"my_net"}
    assert re.fullmatch("[0-9a-f]{64}", inspected["mysql_app"]["Mounts"][0]["Name"])
    assert any(of.startswith("MYSQL_ROOT_PASSWORD=") for of in inspected["mysql_app"]["Config"]["Env"])
    assert networks("net3") == {"host"}
    assert networks("no-net") == {"none"}
    assert networks("mv1") == {"mv_net"}
    assert networks("ov1") == {"ov_net"}
    assert inspected["sidecar"]["HostConfig"]["NetworkMode"] == f"container:{inspected['web1']['Id']}"
    assert len(host.docker_json("image", "inspect", "lab/layered:2")[0]["RootFS"]["Layers"]) == 3
    changes = set(host.docker("diff", "changed").splitlines())
    assert changes == {"C /root", "A /root/added.txt", "C /etc", "C /etc/app.conf", "D /etc/old.conf"}
    assert "dangling" in host.docker("volume", "ls", "--quiet", "--filter", "dangling=true").splitlines()
    assert host.docker_json("volume", "inspect", "scratch")[0]["Options"]["type"] == "tmpfs"
    hidden = host.run(["ls", "/run/docker/netns"]).stdout.split()
    assert "ingress_sbox" in hidden
    assert {name[:2] for name in hidden if name[2:3] in "_-" or name[1:2] == "-"} >= {"1-", "lb"}


def test_servers_answer(host: LabHost) -> None:
    random = host.docker("port", "web2", "80/tcp").splitlines()[0].rpartition(":")[2]
    try:
        for port in ("8080", random):
            assert "works" in host.client(["curl", "-sm5", f"http://192.0.2.10:{port}/"]).stdout
            assert "works" in host.client(["curl", "-sm5", f"http://[2001:db8:2::10]:{port}/"]).stdout
        assert host.client(["curl", "-sm5", "http://192.0.2.10:8081/"], check=False).returncode
    finally:
        host.remove_client()
    assert "works" in host.run(["curl", "-sm5", "http://127.0.0.1:8081/"]).stdout
    address = host.docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "web1")
    assert host.run(["curl", "-sm5", f"http://{address}:8090/passwd"]).stdout.startswith("root:")  # sidecar's


def test_containers_are_in_cgroups_as_on_a_real_host(host: LabHost) -> None:
    web1 = host.docker_json("inspect", "web1")[0]
    lines = host.run(["cat", f"/proc/{web1['State']['Pid']}/cgroup"]).stdout.splitlines()
    assert {line.split(":", 2)[2] for line in lines} == {f"/docker/{web1['Id']}"}
    daemon = host.run(["sh", "-c", "cat /proc/$(cat /run/docker.pid)/cgroup"]).stdout.splitlines()
    assert {line.split(":", 2)[2] for line in daemon} <= {"/", "/lab"}


def test_the_firewall_is_the_one_asked_for(host: LabHost) -> None:
    version = host.run(["iptables", "--version"]).stdout
    legacy = host.run(["cat", "/proc/net/ip_tables_names"], check=False).stdout.split()
    if host.spec.firewall == "legacy":
        assert "legacy" in version
        assert "nat" in legacy
    else:
        assert "nf_tables" in version
        assert not legacy
    assert "--dport 8080 -j DNAT" in host.run(["iptables-save", "-t", "nat"]).stdout


def test_the_interpreter_runs_inside(host: LabHost) -> None:
    program = "import ssl, sqlite3, ctypes, click, msgspec, hostinspect, os; print(os.getuid(), hostinspect.__file__)"
    for user, uid in ((None, "0"), ("nobody", "65534")):
        said = host.run([sys.executable, "-c", program], user=user).stdout.split()
        assert said == [uid, str(REPOSITORY / "hostinspect" / "__init__.py")]


def test_nothing_is_left_a_zombie(host: LabHost) -> None:
    host.run(["sh", "-c", "(sleep 0.01 &) & wait"])
    deadline = time.monotonic() + 5
    while True:
        zombies = host.run(["ps", "-A", "-o", "stat=,pid=,comm="]).stdout.splitlines()
        if not any(line.startswith("Z") for line in zombies):
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- what can be done to a host ---------------------------------------------------------------------------------


def test_a_frozen_daemon_does_not_answer(host: LabHost) -> None:
    with host.frozen_dockerd():
        assert not host.docker_answers()
    assert host.docker_answers()


def test_without_firewall_tools(host: LabHost) -> None:
    names = ("iptables", "iptables-save", "ip6tables-legacy", "iptables-nft", "xtables-nft-multi", "nft")
    look = ["sh", "-c", 'for name; do command -v "$name"; done; :', "sh", *names]
    with host.masked_tools():
        assert host.run(look).stdout == ""
        assert not any(host.run(["sh", "-c", "ls /usr/sbin/*tables* /sbin/nft"], check=False).stdout.split())
    assert len(host.run(look).stdout.split()) == len(names)
    assert "masked" not in host.run(["cat", "/proc/mounts"]).stdout


def test_a_client_leaves_no_trace(demo_host: LabHost) -> None:
    look = ["ip", "-json", "link"]
    links = [link["ifname"] for link in json.loads(demo_host.run(look).stdout)]
    demo_host.client(["true"])
    demo_host.client(["true"])
    demo_host.remove_client()
    assert [link["ifname"] for link in json.loads(demo_host.run(look).stdout)] == links
    assert not demo_host.has_client()


def test_a_failing_command_says_what_it_said(demo_host: LabHost) -> None:
    with pytest.raises(LabCommandError, match="No such file"):
        demo_host.run(["ls", "/nowhere"])
    assert demo_host.run(["ls", "/nowhere"], check=False).returncode == 2
    assert demo_host.run(["cat"], input="ünd\udcff\n").stdout == "ünd\udcff\n"
    assert demo_host.run(["sh", "-c", "echo $MINE"], env={"MINE": "1"}).stdout == "1\n"


def test_a_command_that_takes_too_long_is_killed(demo_host: LabHost) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        demo_host.run(["sleep", "4242"], timeout=0.5)
    assert "4242" not in demo_host.run(["ps", "-A", "-o", "args"]).stdout


# --- what it needs of the machine --------------------------------------------------------------------------------


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="needs root"):
        LabHost().start()


ONE_LINE = """\
# deb http://comment.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://security.example/debian bookworm-security main
deb-src http://source.example/debian bookworm main
deb http://other.example/apt bookworm contrib
deb [trusted=yes] http://mirror.example/debian/ bookworm contrib main # here
"""

DEB822 = """\
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

# of the machine
Types: deb deb-src
URIs: http://mirror.example/debian/
# a comment among the fields
Suites: bookworm
  bookworm-updates
Components: main non-free-firmware
"""


@pytest.mark.parametrize(("file", "text"), [("a.list", ONE_LINE), ("a.sources", DEB822)])
def test_the_mirror_is_that_of_apt(tmp_path: Path, file: str, text: str) -> None:
    sources = tmp_path / "apt" / "sources.list.d"
    sources.mkdir(parents=True)
    (tmp_path / "os-release").write_text('NAME="Debian"\nVERSION_CODENAME=bookworm\nID=debian\n')
    with pytest.raises(LabError, match="bookworm"):
        mirror(tmp_path)
    (sources / file).write_text(text)
    assert mirror(tmp_path) == "http://mirror.example/debian/"


# --- no trace ---------------------------------------------------------------------------------------------------


def traces(name: str) -> list[str]:
    """What there is of a host on the machine."""
    found = [str(remains.DISK / name)] if (remains.DISK / name).exists() else []
    found += [str(of.folder) for of in remains.hierarchies() if (of.folder / remains.CGROUP / name).exists()]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{name}/" in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            if name in command or name in (process / "cgroup").read_text():
                found.append(f"{process.name} {command}")
        except OSError:
            continue
    return found


def namespaces() -> set[str]:
    """The network namespaces that any process on the machine is in."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(str(path.readlink()))
        except OSError:
            continue
    return found


def soon(condition: Callable[[], bool], patience: float = 20) -> bool:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def run_paused(host: LabHost) -> None:
    """A paused container: no signal ends it before it is thawed."""
    host.import_busybox("i")
    host.docker("run", "--detach", "--name", "paused", "i", "/busybox", "sleep", "1000")
    host.docker("pause", "paused")


PRIVATE = ("/etc", "/etc/docker", "/root", "/run", "/srv", "/tmp", "/var/lib/docker", "/var/lib/containerd")
PARENTS = ("/", "/etc", "/opt", "/var", "/var/lib", "/var/tmp", "/run", "/srv")


@pytest.mark.parametrize("userland", ["host", "sid"])
def test_a_host_leaves_no_trace(userland: str) -> None:
    before = {folder: {path.name for path in Path(folder).iterdir()} for folder in PARENTS}
    with LabHost(LabSpec(userland=userland)) as host:
        run_paused(host)
        network = str(Path(f"/proc/{host.pid}/ns/net").readlink())
        assert network in namespaces()
        assert traces(host.name)
        host.run(["touch", *(f"{folder}/{host.name}" for folder in PRIVATE)])
    assert traces(host.name) == []
    assert network not in namespaces()
    assert not [folder for folder in PRIVATE if Path(folder, host.name).exists()]
    after = {folder: {path.name for path in Path(folder).iterdir()} for folder in PARENTS}
    own = {"hostinspect-lab"}  # other hosts may be there
    assert {folder: names - own for folder, names in after.items()} == {
        folder: names - own for folder, names in before.items()
    }


def test_no_trace_after_an_exception() -> None:
    host = LabHost()
    with pytest.raises(ZeroDivisionError), host:
        run_paused(host)
        raise ZeroDivisionError
    assert traces(host.name) == []


def test_no_trace_after_a_start_that_failed() -> None:
    for spec in (LabSpec(dockerd=("--no-such-option",)), LabSpec(userland="no-such-suite")):
        host = LabHost(spec)
        with pytest.raises(LabError, match="no-such"):
            host.start()
        assert traces(host.name) == []


PARENT = """
import sys, time
from tests.lab.host import LabHost, LabSpec
from tests.live.test_lab import run_paused
host = LabHost(LabSpec(name=sys.argv[1])).start()
run_paused(host)
print("started", flush=True)
try:
    time.sleep(600)
finally:
    host.stop()
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_trace_after_the_end_of_its_parent(by: signal.Signals) -> None:
    name = f"orphan-{os.getpid()}-{by.name.lower()}"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, name], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        pid = LabHost.attach(name).pid
        network = str(Path(f"/proc/{pid}/ns/net").readlink())
        parent.send_signal(by)
    assert soon(lambda: not traces(name)), traces(name)
    assert network not in namespaces()


def test_what_is_left_when_all_were_killed_is_collected() -> None:
    """The process that watches over a host, too."""
    name = f"killed-{os.getpid()}"
    host = LabHost(LabSpec(name=name)).start()
    assert host._watch is not None
    os.kill(host._watch.pid, signal.SIGKILL)
    os.kill(host.pid, signal.SIGKILL)
    host._watch.communicate()
    assert soon(lambda: not remains.alive(name))
    assert traces(name)
    assert name in remains.dead()
    remains.remove(name)
    assert traces(name) == []


def test_the_living_are_not_taken_for_dead() -> None:
    """Neither from a place that shares cgroups alone, nor from one that shares the files alone."""
    look = (
        "from tests.lab import remains; print(remains.names(), remains.dead())"  # nothing is removed: not all are ours
    )
    with LabHost() as host:
        nowhere = {**os.environ, "HOSTINSPECT_LAB_DISK": f"/run/{host.name}"}
        elsewhere = subprocess.run(
            [sys.executable, "-c", look], cwd=REPOSITORY, env=nowhere, check=True, capture_output=True, text=True
        )
        assert elsewhere.stdout == "[] []\n"
        known, _, dead = host.run([sys.executable, "-c", look]).stdout.partition(
            "]"
        )  # of the machine, the same /var/tmp
        assert host.name in known
        assert host.name not in dead
        with pytest.raises(LabError, match="already"):
            LabHost(LabSpec(name=host.name)).start()


def test_two_at_once_and_apart() -> None:
    with LabHost() as one, LabHost() as other:
        one.docker("volume", "create", "of-one")
        assert one.run(["hostname"]).stdout.strip() == one.name != other.name
        assert one.docker("volume", "ls", "--quiet") == "of-one"
        assert other.docker("volume", "ls", "--quiet") == ""
        assert {one.name, other.name} <= {host.name for host in running()}
        with pytest.raises(LabError, match="already"):
            LabHost(LabSpec(name=one.name)).start()
        assert one.docker_answers()
    assert traces(one.name) == traces(other.name) == []


def test_the_containers_outlive_the_daemon() -> None:
    with LabHost(LabSpec(dockerd=("--live-restore",))) as host:
        host.import_busybox("i")
        host.docker("run", "--detach", "i", "/busybox", "sleep", "4321")
        host.kill_dockerd()
        assert not host.docker_answers()
        assert "sleep 4321" in host.run(["ps", "-A", "-o", "args"]).stdout
        assert not re.search("dockerd|containerd$", host.run(["ps", "-A", "-o", "comm"]).stdout, re.MULTILINE)
        host.start_dockerd()
        assert host.docker("ps", "--format", "{{.State}}") == "running"


def test_a_detached_host_lives_until_it_is_stopped() -> None:
    name = f"detached-{os.getpid()}"
    lab = [sys.executable, "-m", "tests.lab"]
    subprocess.run([*lab, "start", "--name", name, "--no-seed", "--detach"], cwd=REPOSITORY, check=True)
    try:
        listed = subprocess.run([*lab, "list"], cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
        assert name in listed
        entered = [*lab, "enter", name, "--", "hostname"]
        assert subprocess.run(entered, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout == f"{name}\n"
    finally:
        subprocess.run([*lab, "stop", name], cwd=REPOSITORY, check=True)
    assert traces(name) == []
    again = subprocess.run([*lab, "stop", name], cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert f"no lab host {name}" in again.stderr
