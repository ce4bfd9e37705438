"""What changed between two looks: nothing is told of nothing, each field counts or is noise, and how it reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hostinspect import topology as of
from hostinspect.cli.app import run
from hostinspect.facts import Facts, Gap, Host
from hostinspect.questions.compare import NOISE, PARTS, TOLD_ELSEWHERE, TopologyChange, compare
from hostinspect.render.compare import render_comparison, told
from hostinspect.render.schema import answer_schema
from hostinspect.render.screen import Screen
from hostinspect.snapshot import write_snapshot
from hostinspect.topology import Drift, LinkRef, Listening, NatChain, Node, OverlayFS, Topology
from tests.unit.sample import HOST_NETNS, demo, make_id, make_port, make_topology, stopped

CHAIN = NatChain(
    netns=HOST_NETNS, family="ipv4", backend="nft", table="nat", name="DOCKER", hook=None, priority=None, policy=None,
    packets=1, bytes=1,
)  # fmt: skip


def everything() -> Topology:
    """The demo scenario, with one at least of every class there is."""
    host = demo()
    networks = tuple(
        replace(n, drift=(Drift(field="bridge", recorded="a", effective="b"),)) if n.name == "my_net" else n
        for n in host.networks
    )
    return replace(host, nat_chains=(CHAIN,), networks=networks)


HOST = everything()

# --- each field, altered ---------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A field of a node somewhere in a topology, by the fields and positions that lead there."""

    path: tuple[str | int, ...]
    cls: str
    field: str
    full: bool  # there is something in it
    told: bool  # not only at the other end


def places(node: Node, path: tuple[str | int, ...] = (), told: bool = True) -> Iterator[Place]:
    """Every field in `node` and below."""
    cls = type(node).__name__
    for field in node.__struct_fields__:
        value = getattr(node, field)
        here = told and (cls, field) not in TOLD_ELSEWHERE
        yield Place((*path, field), cls, field, bool(value), here)
        if isinstance(value, Node):
            yield from places(value, (*path, field), here)
        elif isinstance(value, tuple):
            for position, one in enumerate(value):
                if isinstance(one, Node):
                    yield from places(one, (*path, field, position), here)


_OTHERS: Mapping[str, Any] = {  # where there is nothing
    "overlay": OverlayFS(lower=("/l",), upper="/u", work="/w", merged="/m"),
    "listening": Listening(pid=1, comm="x", address="0.0.0.0"),
    "peer": LinkRef(netns=HOST_NETNS, ifindex=1, ifname="x"),
    "lower": LinkRef(netns=HOST_NETNS, ifindex=1, ifname="x"),
    "netns": 99,
    "host_link_netns": 99,
}


def another(field: str, value: Any) -> Any:
    """Something else that may stand in that field."""
    if isinstance(value, (bool, int)):
        return not value if isinstance(value, bool) else value + 100_000
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, tuple):
        return value[1:] if value or field in _OF_NODES else ("x",)
    if isinstance(value, dict):
        return {**value, "x": "y"}
    if isinstance(value, Node):
        return value if field == "host" else None
    return _OTHERS.get(field, "x")


_OF_NODES = {"endpoints", "ports", "rules", "listeners", "mounts", "drift", "subnets", "used_by", "engines"}


def altered(node: Any, path: tuple[str | int, ...], field: str) -> Any:
    """The node with something else at the end of the path."""
    step, *rest = path
    if isinstance(step, int):
        return tuple(altered(one, (*rest,), field) if i == step else one for i, one in enumerate(node))
    value = getattr(node, step)
    return replace(node, **{step: altered(value, (*rest,), field) if rest else another(field, value)})


PLACES = [*places(HOST)]
ONE_OF_EACH = {(place.cls, place.field): place for place in sorted(PLACES, key=lambda place: place.full)}
CLASSES = {
    cls.__name__: cls
    for cls in vars(of).values()
    if isinstance(cls, type) and issubclass(cls, Node) and cls is not Node
}


def test_every_field_of_the_topology_is_altered_below() -> None:
    fields = {(name, field) for name, cls in CLASSES.items() for field in cls.__struct_fields__}
    assert {*ONE_OF_EACH} == fields


@pytest.mark.parametrize("place", ONE_OF_EACH.values(), ids=lambda place: f"{place.cls}.{place.field}")
def test_a_field_that_is_another_is_told_or_noise(place: Place) -> None:
    after = altered(HOST, place.path, place.field)
    if (place.cls, place.field) == ("Topology", "host"):
        assert after == HOST  # whose fields are altered one by one
        return
    assert after != HOST
    changes = compare(HOST, after).changes
    if (place.cls, place.field) in NOISE:
        assert changes == ()
    elif place.told:
        assert changes and all(change.certain for change in changes)


def test_what_is_not_compared_is_there() -> None:
    assert {*NOISE, *TOLD_ELSEWHERE, *PARTS} <= {*ONE_OF_EACH}
    assert len({*NOISE, *TOLD_ELSEWHERE, *PARTS}) == len(NOISE) + len(TOLD_ELSEWHERE) + len(PARTS)


# --- properties ------------------------------------------------------------------------------------------------------

FAMILIES_OF_THINGS = ("containers", "networks", "bridges", "links", "netns", "nat_chains", "nat_rules", "volumes")


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """The demo scenario with some of it gone, twice there, in another order, or altered."""
    host = HOST
    for place in draw(st.lists(st.sampled_from(PLACES), max_size=3)):
        try:
            host = altered(host, place.path, place.field)
        except (IndexError, AttributeError, TypeError):
            continue  # what leads there is altered already
    changes = {family: tuple(t for t in getattr(host, family) if isinstance(t, Node)) for family in FAMILIES_OF_THINGS}
    for family in draw(st.sets(st.sampled_from(FAMILIES_OF_THINGS), max_size=3)):
        things = changes[family]
        chosen = draw(st.lists(st.sampled_from(things), max_size=len(things) + 1)) if things else []
        changes[family] = tuple(chosen)
    return replace(host, **changes)


@settings(max_examples=40, deadline=None)
@given(topologies())
def test_nothing_changed_between_a_look_and_itself(host: Topology) -> None:
    assert compare(host, host).changes == ()


@settings(max_examples=60, deadline=None)
@given(topologies(), topologies())
def test_the_way_back_is_the_mirror_of_the_way_there(a: Topology, b: Topology) -> None:
    there, back = compare(a, b), compare(b, a)
    assert (there.before, there.after) == (back.after, back.before)
    assert sorted(map(essence, there.changes)) == sorted(map(mirrored, back.changes))


def essence(change: TopologyChange) -> str:
    return repr((change.kind, change.family, change.key, change.field, change.before, change.after, change.certain))


def mirrored(change: TopologyChange) -> str:
    kind = {"added": "removed", "removed": "added", "changed": "changed"}[change.kind]
    return essence(replace(change, kind=kind, before=change.after, after=change.before))


def test_another_order_is_no_change() -> None:
    backwards = {family: getattr(HOST, family)[::-1] for family in FAMILIES_OF_THINGS}
    assert compare(HOST, replace(HOST, **backwards)).changes == ()


# --- in words --------------------------------------------------------------------------------------------------------


def words(before: Topology, after: Topology) -> list[str]:
    return [", ".join(one.parts) for one in told(compare(before, after).changes)]


def only(name: str, **changes: object) -> Topology:
    """A host with this container of the demo scenario, changed, and nothing else."""
    [container] = [c for c in HOST.containers if c.name == name]
    return make_topology([replace(container, **changes)])


def test_a_restart() -> None:
    web = {"ports": (), "endpoints": (), "listeners": (), "netns": None}
    assert words(only("web1", **web, pid=529), only("web1", **web, pid=812)) == ["web1: restarted, pid 529 → 812"]


@pytest.mark.parametrize(
    ("before", "after", "verb"),
    [
        ("running", "exited", "stopped"),
        ("created", "running", "started"),
        ("running", "paused", "paused"),
        ("paused", "running", "unpaused"),
        ("exited", "dead", "state"),
    ],
)
def test_states(before: str, after: str, verb: str) -> None:
    made = [make_topology([stopped("old", state=state)]) for state in (before, after)]
    assert words(*made) == [f"old: {verb}, {before} → {after}"]


def test_what_came_and_went() -> None:
    bare = {"endpoints": (), "listeners": (), "netns": None, "mounts": ()}
    published = only("web1", **bare, ports=(make_port(80, 8080), make_port(53, 53, "192.0.2.10", proto="udp")))
    assert words(published, only("web1", **bare, ports=())) == [
        "port 8080 → 80/tcp of web1 is gone",
        "port 192.0.2.10 53 → 53/udp of web1 is gone",
    ]
    my_net = [network for network in demo().networks if network.name == "my_net"]
    assert words(make_topology([]), make_topology([], my_net)) == ["network my_net was added"]
    assert words(make_topology([], my_net), make_topology([])) == ["network my_net was removed"]


def test_values_of_every_kind() -> None:
    [link] = [link for link in HOST.links if link.ifname == "docker0"]
    down = replace(link, operstate="down", prefixes=("172.17.0.9/16",), altnames=("x",), master="br9")
    assert words(replace(make_topology([]), links=(link,)), replace(make_topology([]), links=(down,))) == [
        f"link docker0: operstate {link.operstate} → down, master none → br9, prefixes + 172.17.0.9/16, altnames + x"
    ]
    [volume] = [volume for volume in HOST.volumes if volume.name == "myvol01"]
    labelled = replace(volume, labels={"a": "b"}, anonymous=True)
    assert words(replace(make_topology([]), volumes=(volume,)), replace(make_topology([]), volumes=(labelled,))) == [
        "volume myvol01…: anonymous no → yes, labels[a] none → b"
    ]


def test_a_namespace_is_that_of_its_container_whatever_its_inode() -> None:
    """As after a restart: the namespace is another, and the link in it is the same link."""
    [old] = [netns for netns in HOST.netns if netns.containers[:1] == (make_id("web2"),)]
    new = 4026539999

    def moved(node: Any) -> Any:
        if getattr(node, "peer", None) is not None:
            node = replace(node, peer=moved(node.peer))
        return replace(node, netns=new) if node.netns == old.inode else node

    after = replace(
        HOST,
        netns=tuple(replace(n, inode=new) if n.inode == old.inode else n for n in HOST.netns),
        links=tuple(map(moved, HOST.links)),
        containers=tuple(map(moved, HOST.containers)),
    )
    assert words(HOST, after) == [f"network namespace of web2: inode {old.inode} → {new}"]


def test_another_boot_or_host_is_said_first() -> None:
    other = replace(HOST, host=replace(HOST.host, boot_id="other", hostname="web-02"), containers=())
    first, *rest = words(HOST, other)
    assert first.startswith("the host: hostname web-01 → web-02, it was started again in between, or is another host:")
    assert rest[0].startswith("container ")


# --- what was not seen -----------------------------------------------------------------------------------------------

HOLE = Gap(collector="rules", subject="nat", why="Operation not permitted", remedy="run as root")


def test_what_was_not_seen_may_be_no_change() -> None:
    blind = replace(HOST, nat_rules=(), volumes=(), gaps=(HOLE,))
    by_family = {change.family: change for change in compare(HOST, blind).changes}
    assert not by_family["rules"].certain and by_family["rules"].words.endswith(", or could not be seen")
    assert by_family["volumes"].certain
    came = {change.family: change for change in compare(blind, HOST).changes}
    assert not came["rules"].certain and came["rules"].words.endswith(", or was not seen before")
    minor = replace(blind, gaps=(replace(HOLE, minor=True),))
    assert all(change.certain for change in compare(HOST, minor).changes)


def test_of_a_disk_it_is_not_said_that_the_host_has_lost_its_kernel() -> None:
    disk = replace(
        HOST, host=replace(HOST.host, boot_id=None, root="/mnt"), gaps=(replace(HOLE, collector="processes"),)
    )
    [boot] = compare(HOST, disk).changes
    assert (boot.field, boot.after, boot.certain) == ("boot_id", None, False)


def test_drift_may_be_of_what_was_not_seen() -> None:
    blind = replace(HOST, gaps=(replace(HOLE, collector="processes"),))
    drift = (Drift(field="state", recorded="running", effective=None),)
    blind = replace(blind, containers=tuple(replace(c, drift=drift) for c in blind.containers))
    changes = compare(HOST, blind).changes
    assert {change.family for change in changes} == {"drift"}
    assert not any(change.certain for change in changes)


def test_a_namespace_is_known_again_only_where_both_sides_were_seen() -> None:
    """A user who cannot see whose it is knows it by its path: it has not come."""
    blind = make_topology(
        [], [], netns=tuple(replace(n, containers=()) for n in HOST.netns), gaps=(replace(HOLE, collector="processes"),)
    )
    changes = [change for change in compare(HOST, blind).changes if change.family == "netns"]
    assert {change.kind for change in changes} == {"added", "removed"}
    assert not any(change.certain for change in changes)


def test_a_namespace_whose_owner_has_ended_is_still_its_owner_s() -> None:
    web1, sidecar = make_id("web1"), make_id("sidecar")

    def ended(container: of.Container) -> of.Container:
        return replace(container, netns=None) if container.id == web1 else container

    after = replace(HOST, containers=tuple(map(ended, HOST.containers)))
    assert words(HOST, after) == ["web1: namespace web1 → none"]

    def again(container: of.Container) -> of.Container:
        return replace(container, netns=4026539999) if container.id == web1 else container

    new = of.NetworkNamespace(
        inode=4026539999, paths=(), pids=(), containers=(web1,), host=False, role="container", network=None
    )
    after = replace(HOST, containers=tuple(map(again, HOST.containers)), netns=(*HOST.netns, new))
    told_of = {change.key for change in compare(HOST, after).changes if change.family == "netns"}
    assert told_of == {f"container {web1}", f"container {sidecar}"}


def test_gaps_say_of_which_side_they_are() -> None:
    blind = replace(HOST, gaps=(HOLE, replace(HOLE, collector="image layers")))
    assert [gap.subject for gap in compare(blind, replace(HOST, gaps=())).gaps] == ["before: nat"]
    assert [gap.subject for gap in compare(replace(HOST, gaps=()), blind).gaps] == ["after: nat"]


# --- on the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Files by the name of what is in them; the host has `demo`."""
    looks = {
        "demo": HOST,
        "empty": make_topology([], []),
        "blind": replace(HOST, nat_rules=(), gaps=(HOLE,)),
        "blinder": replace(HOST, gaps=(HOLE,)),
    }
    for name in looks:
        write_snapshot(Facts(host=Host(hostname=name, kernel="6.1", collected_at="x")), str(tmp_path / name))
    monkeypatch.setattr("hostinspect.correlate.correlate", lambda facts, index: looks[facts.host.hostname])
    facts = Facts(host=Host(hostname="demo", kernel="6.1", collected_at="x"))
    monkeypatch.setattr("hostinspect.collectors.collect", lambda data_roots, **more: facts)
    return {name: str(tmp_path / name) for name in looks}


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("demo", "demo"), 0),
        (("demo",), 0),
        (("demo", "empty"), 1),
        (("empty",), 1),
        (("demo", "blinder"), 3),
        (("demo", "blind"), 3),
        (("blind",), 3),
        (("empty", "blind"), 1),
    ],
)
def test_exit_status(
    names: tuple[str, ...], code: int, snapshots: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for output in ("text", "json", "yaml"):
        assert run(["compare", *(snapshots[name] for name in names), "-o", output]) == code
        out, err = capsys.readouterr()
        assert bool(err) == ("blind" in "".join(names))
        if output != "text":
            answer = json.loads(out) if output == "json" else yaml.safe_load(out)
            jsonschema.validate(answer, answer_schema("compare"), cls=jsonschema.Draft202012Validator)


def test_from_is_the_second(snapshots: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", snapshots["demo"], snapshots["empty"]]) == 1
    two = capsys.readouterr().out
    assert run(["compare", snapshots["demo"], "--from", snapshots["empty"]]) == 1
    assert capsys.readouterr().out == two
    assert run(["compare", snapshots["demo"], snapshots["empty"], "--from", snapshots["empty"]]) == 2
    assert run(["compare", snapshots["demo"], snapshots["empty"], "--root", "/"]) == 2


def test_a_file_that_is_none(tmp_path: Path, snapshots: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad\x1b[31m"
    bad.write_bytes(b"\x1f\x8bnothing")
    for arguments in ([str(bad)], [snapshots["demo"], str(bad)], [str(tmp_path / "none")], [str(tmp_path)], []):
        assert run(["compare", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and "\x1b" not in err and "Traceback" not in err


def test_it_fits_a_terminal_and_nothing_in_it_is_obeyed() -> None:
    hostile = make_topology([replace(stopped("a"), name="a\x1b[31m\u202e\n", labels={"x\x1b": "\x07" * 200})])
    text = render_comparison(compare(make_topology([stopped("a")]), hostile), Screen(width=80, color=False))
    assert text.replace("\n", "").isprintable()
    assert max(map(len, text.splitlines())) <= 80
    nothing = render_comparison(compare(HOST, HOST), Screen())
    assert nothing == f"web-01 · nothing changed · {HOST.host.collected_at} → {HOST.host.collected_at}, 0 s later\n"
