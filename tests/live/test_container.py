"""`container` and `containers` against docker inspect and docker ps, key by key and row by row."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from hostinspect.cli.by_click import hostinspect as group
from hostinspect.cli.commands import COMMANDS
from tests.lab.host import LabHost
from tests.live.hosts import on_every_demo, on_random_hosts
from tests.live.report import hostinspect

_ATTEMPTS = 8


def answer(host: LabHost, *arguments: str) -> str:
    """What a command prints; it must succeed without a word on stderr."""
    done = hostinspect(host, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def names(host: LabHost) -> list[str]:
    return host.run(["docker", "ps", "--all", "--format", "{{.Names}}"]).stdout.split()


def inspect(host: LabHost) -> list[Any]:
    found: list[Any] = json.loads(host.run(["docker", "inspect", *sorted(names(host))]).stdout)
    return found


def ours(host: LabHost) -> list[Any]:
    found: list[Any] = json.loads(answer(host, "container", "-o", "docker", *sorted(names(host))))
    return found


# --- docker inspect -------------------------------------------------------------------------------------------------

# What docker inspect writes in several ways, or in none: nothing, and any port.
_NOTHING: tuple[Any, ...] = (None, [], {})
# Objects whose keys are the user's: there, one that is missing is a difference too. Elsewhere docker inspect has more.
_WHOLE = {"Labels", "Ports", "Networks", "ExposedPorts", "PortBindings", "Tmpfs"}


def differences(mine: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where an answer in docker inspect's layout says other than docker inspect."""
    if mine in _NOTHING and theirs in _NOTHING:
        return
    if isinstance(mine, dict) and isinstance(theirs, dict):
        whole = path.rpartition(".")[2] in _WHOLE
        for key in {**mine, **(theirs if whole else {})}:
            if key not in mine:
                yield f"{path}.{key}: missing"
            else:
                yield from differences(mine[key], theirs.get(key), f"{path}.{key}")
    elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        if path.endswith(".Mounts"):  # docker's order is that of a Go map
            mine, theirs = (sorted(mounts, key=lambda mount: str(mount["Destination"])) for mounts in (mine, theirs))
        for i, (left, right) in enumerate(zip(mine, theirs, strict=True)):
            yield from differences(left, right, f"{path}[{i}]")
    elif path.endswith(".HostPort") and {mine, theirs} == {"", "0"}:
        return
    elif type(mine) is not type(theirs) or mine != theirs:
        yield f"{path}: hostinspect {mine!r}, docker {theirs!r}"


def settled(host: LabHost, ask: Callable[[], Any], oracle: Callable[[], Any]) -> tuple[Any, Any]:
    """An answer, and what the oracle says before and after it alike: containers may be restarting all the time."""
    for _ in range(_ATTEMPTS):
        before, mine, after = oracle(), ask(), oracle()
        if before == after:
            break
    return mine, after


@on_every_demo
def test_docker_inspect_of_the_demo(demo: LabHost) -> None:
    mine, theirs = settled(demo, lambda: ours(demo), lambda: inspect(demo))
    assert len(mine) >= 16
    assert list(differences(mine, theirs)) == []


@on_random_hosts
def test_docker_inspect_and_ps_of_a_random_host(made_up: LabHost) -> None:
    mine, theirs = settled(made_up, lambda: ours(made_up), lambda: inspect(made_up))
    assert list(differences(mine, theirs)) == []
    rows, expected = settled(made_up, lambda: listed(made_up), lambda: docker_ps(made_up))
    assert published(rows) == published(expected)


def leaves(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in children:
        if isinstance(value, (dict, list)) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def test_the_comparison_sees_every_key(demo_host: LabHost) -> None:
    """Each value of a right answer is made wrong, and then left out where the keys are the user's."""
    mine, theirs = settled(demo_host, lambda: ours(demo_host), lambda: inspect(demo_host))
    tried, unnoticed = 0, []
    for path in leaves(mine):
        holder = mine
        for part in path[:-1]:
            holder = holder[part]
        right = holder[path[-1]]
        holder[path[-1]] = not right if isinstance(right, bool) else right + 1 if isinstance(right, int) else "wrong"
        tried += 1
        if not list(differences(mine, theirs)):
            unnoticed.append(path)
        holder[path[-1]] = right
    assert tried > 900
    assert unnoticed == []
    for container in mine:
        for free in (container["NetworkSettings"]["Ports"], container["NetworkSettings"]["Networks"]):
            for key in [*free]:
                right = free.pop(key)
                assert list(differences(mine, theirs)) != []
                free[key] = right


@on_every_demo
def test_what_a_script_made_for_docker_inspect_asks_for(demo: LabHost) -> None:
    """Go templates of docker's documentation, and the same by path."""
    for template, path in (
        ("{{.NetworkSettings.IPAddress}}", ("NetworkSettings", "IPAddress")),
        ("{{.LogPath}}", ("LogPath",)),
        ("{{.GraphDriver.Data.UpperDir}}", ("GraphDriver", "Data", "UpperDir")),
        ("{{.State.Pid}}", ("State", "Pid")),
        ("{{.NetworkSettings.SandboxKey}}", ("NetworkSettings", "SandboxKey")),
    ):
        found: Any = json.loads(answer(demo, "container", "-o", "docker", "web1"))[0]
        for key in path:
            found = found[key]
        assert str(found) == demo.run(["docker", "inspect", "--format", template, "web1"]).stdout.strip()


# --- docker ps ------------------------------------------------------------------------------------------------------

Row = tuple[str, str, str, str, str, frozenset[str], frozenset[str]]


def docker_ps(host: LabHost, *arguments: str) -> list[Row]:
    """Id, name, image, state, status, ports and networks of docker ps; how long, and the order, are left out."""
    fields = ("ID", "Names", "Image", "State", "Status", "Ports", "Networks")
    text = host.run(["docker", "ps", "--no-trunc", "--format", "{{json .}}", *(arguments or ("--all",))]).stdout
    return sorted(_row(*(json.loads(line)[field] for field in fields)) for line in text.splitlines())


def listed(host: LabHost, *arguments: str) -> list[Row]:
    """The same of `containers`, from its table in a pipe."""
    columns = "container-id,name,image,state,status,ports,networks"
    text = answer(host, "containers", "-v", "--no-header", "--columns", columns, *arguments)
    rows = [re.split(r"  +", line) for line in text.splitlines()]
    return sorted(_row(*("" if cell == "-" else cell for cell in row)) for row in rows)


def published(rows: list[Row]) -> list[Row]:
    """Without ports that are exposed only: Docker 28 lists none on internal networks, where they are exposed too.

    And without those that one in the host's network listens on, which docker ps does not know, and those of a routed
    network, which it shows as port 0 of the host.
    """
    return [
        (*row[:5], frozenset(port for port in row[5] if "->" in port and ":0->" not in port), row[6]) for row in rows
    ]


def _row(id_: str, name: str, image: str, state: str, status: str, ports: str, networks: str) -> Row:
    words = " ".join(re.findall(r"^\w+|\(.*?\)", status))
    on = {network.split(" ")[0] for network in networks.split(", " if ", " in networks else ",") if network}
    on = {network for network in on if network != "docker_gwbridge" and not network.startswith("container:")}
    if image.startswith("sha256:"):
        image = image.removeprefix("sha256:")[:12]
    return id_, name, image, state, words, frozenset(_each_port(ports)), frozenset(on)


def _each_port(ports: str) -> Iterator[str]:
    """`0.0.0.0:8000->80/tcp` for every address and every port of a range; docker ps writes ranges in two ways."""
    for port in filter(None, ports.split(", ")):
        outside, arrow, inside = port.rpartition("->")
        if not arrow and ":" in port:
            yield port  # one in the host's network listens there
            continue
        numbers, _, proto = inside.partition("/")
        address, _, host = outside.rpartition(":")
        for offset, number in enumerate(_numbers(numbers)):
            if not arrow:
                yield f"{number}/{proto}"
                continue
            for each in ("0.0.0.0", "[::]") if address == "*" else (address.replace(":::", "[::]:"),):
                yield f"{'[::]' if each == '::' else each}:{[*_numbers(host)][offset]}->{number}/{proto}"


def _numbers(ports: str) -> range:
    first, _, last = ports.partition("-")
    return range(int(first), int(last or first) + 1)


@on_every_demo
def test_docker_ps_of_the_demo(demo: LabHost) -> None:
    mine, theirs = settled(demo, lambda: listed(demo), lambda: docker_ps(demo))
    assert mine == theirs
    mine, theirs = settled(demo, lambda: listed(demo, "--running"), lambda: docker_ps(demo, "--no-trunc"))
    assert mine == theirs
    for state in ("created", "exited", "paused"):
        assert listed(demo, "--state", state) == docker_ps(demo, "--all", "--filter", f"status={state}")
    for network in ("bridge", "my_net", "mv_net", "ov_net", "host", "none"):
        assert listed(demo, "--network", network) == docker_ps(demo, "--all", "--filter", f"network={network}")


def test_health_restarts_and_policies(demo_host: LabHost) -> None:
    """What the demo has none of."""
    check = ["--health-cmd", "[ -e /tmp/ill ] && exit 1; true", "--health-interval", "200ms", "--health-retries", "1"]
    run = ["docker", "run", "--detach", "--label", "tried=1"]
    demo_host.run([*run, "--name", "well", *check, "--restart", "always", "lab/base"])
    demo_host.run([*run, "--name", "ill", *check, "lab/base", "sh", "-c", "touch /tmp/ill; sleep 1000"])
    demo_host.run([*run, "--name", "failing", "--restart", "on-failure:2", "lab/base", "sh", "-c", "exit 7"])
    demo_host.run([*run, "--name", "safe", "--read-only", "-p", "127.0.0.1::80", "-P", "lab/web"])
    demo_host.run([*run, "--name", "ranges", "-p", "9100-9102:9100-9102", "-p", "9200-9210:80/udp", "lab/base"])
    try:
        demo_host.run(["sh", "-c", "until docker ps | grep -q '(healthy)' && docker ps | grep -q '(unhealthy)'"
                       " && docker ps -a | grep -q 'Exited (7)'; do sleep 0.1; done"])  # fmt: skip
        mine, theirs = settled(demo_host, lambda: ours(demo_host), lambda: without_health_log(inspect(demo_host)))
        assert list(differences(mine, theirs)) == []
        by_name = {container["Name"]: container for container in mine}
        assert by_name["/failing"]["RestartCount"] == 2
        assert by_name["/ill"]["State"]["Health"] == {"Status": "unhealthy"}
        rows, expected = settled(demo_host, lambda: listed(demo_host), lambda: docker_ps(demo_host))
        assert rows == expected
    finally:
        demo_host.run(["docker", "rm", "--force", "well", "ill", "failing", "safe", "ranges"])


def without_health_log(containers: list[Any]) -> list[Any]:
    for container in containers:
        if container["State"].get("Health"):
            container["State"]["Health"] = {"Status": container["State"]["Health"]["Status"]}
    return containers


# --- every output ---------------------------------------------------------------------------------------------------


@on_every_demo
@pytest.mark.parametrize("command", [("containers",), ("container",)])
def test_json_and_yaml_are_what_the_schema_says(demo: LabHost, command: tuple[str, ...]) -> None:
    arguments = [*command, *(names(demo) if command == ("container",) else ())]
    schema = json.loads(answer(demo, "schema", *command))
    documents = [
        json.loads(answer(demo, *arguments, "-o", "json")),
        yaml.safe_load(answer(demo, *arguments, "-o", "yaml")),
    ]
    for document in documents:
        jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
        del document["collected_at"]
    assert documents[0] == documents[1]


def test_beyond_docker_inspect(demo_host: LabHost) -> None:
    """Processes by docker top, links by ip, namespaces by readlink, rules by iptables-save."""
    arguments = ("container", "-o", "json", "web1", "sidecar", "wp_app")
    web1, sidecar, wp_app = json.loads(answer(demo_host, *arguments))["containers"]
    for container in (web1, sidecar, wp_app):
        top = demo_host.run(["docker", "top", container["name"], "-eo", "pid,ppid,comm"]).stdout.splitlines()[1:]
        found = [f"{p['pid']} {p['ppid']} {p['comm']}" for p in container["processes"]]
        assert found == [" ".join(line.split()) for line in top]
        for kind, inode in (("net", container["namespaces"]["net"]), ("mnt", container["namespaces"]["mnt"])):
            link = demo_host.run(["readlink", f"/proc/{container['pid']}/ns/{kind}"]).stdout.strip()
            assert link == f"{kind}:[{inode}]"
        links = json.loads(demo_host.run(["nsenter", "-t", str(container["pid"]), "-n", "ip", "-j", "link"]).stdout)
        assert [link["ifname"] for link in container["links"]] == [link["ifname"] for link in links]
    (eth0,) = [link for link in web1["links"] if link["ifname"] == "eth0"]
    on_host = json.loads(demo_host.run(["ip", "-j", "link", "show", eth0["peer"]["ifname"]]).stdout)[0]
    assert (on_host["ifindex"], on_host["master"]) == (eth0["peer"]["ifindex"], eth0["bridge"])
    assert (web1["shared_with"], sidecar["shared_with"]) == ([sidecar["id"]], [web1["id"]])
    assert sidecar["nat_rules"] == web1["nat_rules"]
    address = web1["endpoints"][0]["ip"]
    saved = demo_host.run(["iptables-save", "-t", "nat"]).stdout.splitlines()
    assert [rule["text"] for rule in web1["nat_rules"]] == sorted(
        (line for line in saved if re.search(rf"\b{address}\b", line)), key=lambda line: line.split()[1]
    )


def test_the_same_while_the_daemon_hangs(demo_host: LabHost) -> None:
    before = inspect(demo_host)
    called = sorted(names(demo_host))
    text = answer(demo_host, "container", *called)
    with demo_host.frozen_dockerd():
        assert not demo_host.docker_answers()
        mine = json.loads(answer(demo_host, "container", "-o", "docker", *called))
        during = answer(demo_host, "container", *called)
    assert list(differences(mine, before)) == []
    assert without_ages(during) == without_ages(text)


def without_ages(text: str) -> str:
    return re.sub(r"\d+ (s|\w+) ago|up \d+\w+", "…", text)


def test_a_snapshot_gives_the_same_bytes(demo_host: LabHost, tmp_path: Path) -> None:
    called = sorted(names(demo_host))
    with demo_host.frozen_dockerd():
        live = {o: answer(demo_host, "container", "-o", o, *called) for o in ("text", "json", "yaml", "docker")}
        live["containers"] = answer(demo_host, "containers", "-o", "json")
        answer(demo_host, "snapshot", "-o", "/tmp/of-containers")
    kept = {
        o: answer(demo_host, "container", "--from", "/tmp/of-containers", "-o", o, *called)
        for o in ("text", "json", "yaml", "docker")
    }
    kept["containers"] = answer(demo_host, "containers", "--from", "/tmp/of-containers", "-o", "json")
    assert live["docker"] == kept["docker"]
    for output in ("text", "json", "yaml", "containers"):
        was, now = (re.sub(r"collected_at\W+[0-9TZ:-]+", "", without_ages(text[output])) for text in (live, kept))
        assert was == now


# --- names ----------------------------------------------------------------------------------------------------------


def test_names_ids_and_prefixes(demo_host: LabHost) -> None:
    id_ = demo_host.run(["docker", "inspect", "--format", "{{.Id}}", "web1"]).stdout.strip()
    for name in ("web1", "/web1", id_, id_[:12]):
        assert json.loads(answer(demo_host, "container", "-o", "docker", name))[0]["Id"] == id_


_FOR_A_SHELL = """
import json, sys
from hostinspect.cli import completion, names
families = sys.argv[1:]
print(json.dumps([sorted(names.names_of(families)), completion._names_in_records({}, families)]))
"""
_LISTS = {"containers": ("ps", "--all"), "networks": ("network", "ls"), "volumes": ("volume", "ls")}
_NAMED = ("--label", 'a=,"name":"x","networkType":"y"', "--label", "name=x", "--label", "Name=/x", "--label", "O=")


def for_a_shell(host: LabHost, *families: str) -> tuple[list[str], list[str]]:
    """The names by the quick way, and by all records."""
    quick, whole = json.loads(host.run([sys.executable, "-c", _FOR_A_SHELL, *families]).stdout)
    return quick, whole


@on_random_hosts
def test_names_for_a_shell_are_those_of_all_records(made_up: LabHost) -> None:
    hostile = (*_NAMED, "--label", 'a=,"Name":"/x","Driver":"y"', "--env", 'B="Name":"/x')
    made_up.docker("create", "--name", "odd_one.-", *hostile, made_up.docker("images", "--quiet").split()[0], "true")
    made_up.docker("network", "create", *_NAMED, "--opt", 'z=,"name":"x","networkType":"', "odd_net.-")
    made_up.docker("volume", "create", *_NAMED, "odd_vol.-")
    anonymous = made_up.docker("volume", "create").strip()  # a name that nobody types
    try:
        every: set[str] = set()
        for family, words in _LISTS.items():
            told = {*made_up.docker(*words, "--format", "{{.Names}}" if words[0] == "ps" else "{{.Name}}").split()}
            quick, whole = for_a_shell(made_up, family)
            assert quick == whole == sorted(name for name in told if len(name) < 64)
            every.update(quick)
        assert {"odd_one.-", "odd_net.-", "odd_vol.-"} <= every
        assert for_a_shell(made_up, *_LISTS) == (sorted(every), sorted(every))
    finally:
        made_up.docker("rm", "odd_one.-")
        made_up.docker("network", "rm", "odd_net.-")
        made_up.docker("volume", "rm", "odd_vol.-", anonymous)


def test_names_for_a_shell_on_a_node_of_a_swarm(demo_host: LabHost) -> None:
    """The name of ingress is on no node that has no task on it."""
    told = {*demo_host.docker("network", "ls", "--format", "{{.Name}}").split()} - {"ingress"}
    quick, whole = for_a_shell(demo_host, "networks")
    assert quick == whole == sorted(told)
    quick, whole = for_a_shell(demo_host, *_LISTS)
    assert quick == whole
    assert {*names(demo_host)} | told <= {*quick}


def test_nobody_is_1_and_several_are_2(demo_host: LabHost) -> None:
    unknown = hostinspect(demo_host, "container", "web1", "wbe2")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "No such container: wbe2. Did you mean web2" in unknown.stderr
    ids = demo_host.run(["docker", "ps", "--all", "--quiet", "--no-trunc"]).stdout.split()
    initial = next(digit for digit in "0123456789abcdef" if sum(id_[0] == digit for id_ in ids) > 1)
    several = hostinspect(demo_host, "container", initial)
    assert (several.returncode, several.stdout) == (2, "")
    assert f"{initial} may be any of" in several.stderr
    network = hostinspect(demo_host, "containers", "--network", "my_nte")
    assert (network.returncode, network.stdout) == (1, "")
    assert "Did you mean my_net" in network.stderr


# --- secrets --------------------------------------------------------------------------------------------------------

_SECRET = "correct-horse-battery-staple"


def test_no_output_has_what_environment_or_arguments_hold(demo_host: LabHost) -> None:
    """Of every command in every form, and of a snapshot: environment, arguments, health check and exec's too."""
    secretive = ["-e", f"PASSWORD={_SECRET}", "--health-cmd", f"true {_SECRET}", "--health-interval", "1h"]
    run = ["docker", "run", "--detach", "--name"]
    demo_host.run([*run, "keeper", *secretive, "-p", "8099:80", "lab/base", "sh", "-c", f"sleep 1000; : {_SECRET}"])
    demo_host.run(["docker", "exec", "--detach", "-e", f"TOKEN={_SECRET}", "keeper", "sh", "-c", "sleep 900"])
    demo_host.run([*run, "failed", "-e", f"PASSWORD={_SECRET}", "lab/base", f"/bin/{_SECRET}"], check=False)
    try:
        pid = demo_host.run(["docker", "inspect", "--format", "{{.State.Pid}}", "keeper"]).stdout.strip()
        environ = demo_host.run(["cat", f"/proc/{pid}/environ", f"/proc/{pid}/cmdline"]).stdout
        assert environ.count(_SECRET) == 2
        assert _SECRET in json.dumps(inspect(demo_host))
        printed = ""
        for arguments in every_output():
            done = hostinspect(demo_host, *arguments)
            assert _SECRET not in done.stdout + done.stderr, arguments
            printed += done.stdout
        assert printed.count("keeper") > 10
        answer(demo_host, "snapshot", "-o", "/tmp/no-secrets")
        packed = demo_host.run(["base64", "-w0", "/tmp/no-secrets"]).stdout
        content = gzip.decompress(base64.b64decode(packed)).decode()
        assert "keeper" in content
        assert _SECRET not in content
    finally:
        demo_host.run(["docker", "rm", "--force", "keeper", "failed"])


_GIVEN = {"trace": ["8099"], "whois": ["keeper"], "diff": ["keeper"], "container": ["keeper", "failed"]}
_NO_ANSWER = {"snapshot", "schema", "completion", "man", "watch", "compare"}  # about files, or about hostinspect


def every_output() -> Iterator[list[str]]:
    for name in COMMANDS:
        if name in _NO_ANSWER:
            continue
        command = group.get_command(click.Context(group), name)
        assert command is not None
        (choice,) = (param.type for param in command.params if param.name == "output")
        assert isinstance(choice, click.Choice)
        for output in choice.choices:
            yield [name, "-v", "-o", output, *_GIVEN.get(name, ())]
