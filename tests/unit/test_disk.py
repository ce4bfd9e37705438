"""`--root`: facts of a disk alone, and what they mean; the history of images."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hostinspect.cli.app import run
from hostinspect.collectors.disk import NO_KERNEL, collect_disk
from hostinspect.collectors.history import collect_history
from hostinspect.correlate import correlate
from hostinspect.engines.docker.images import chain_ids, parse_history
from hostinspect.engines.docker.record import RecordError
from hostinspect.facts import OF_THE_KERNEL, ContainerRecord, ImageStep
from hostinspect.topology import Drift
from tests.unit.docker_fixtures import RECORDED, answers, lay_out

ID = "ab" * 32
OLD = {
    "State": {"Running": True, "Pid": 1276, "StartedAt": "2015-12-27T10:53:17.409426616Z"},
    "ID": ID,
    "Name": "/old1",
    "Driver": "aufs",
    "Config": {"Image": "busybox"},
    "NetworkSettings": {"IPAddress": "172.17.0.3", "IPPrefixLen": 16, "MacAddress": "02:42:ac:11:00:03"},
    "Volumes": {"/srv": "/data/srv", "/ro": "/data/ro"},
    "VolumesRW": {"/ro": False},
}


def disk_of(data_root: Path, directory: Path) -> Path:
    """A disk whose /var/lib/docker is an absolute link to where the data root is on it."""
    root = directory / "disk"
    (root / "mnt").mkdir(parents=True)
    (root / "var/lib").mkdir(parents=True)
    (root / "etc").mkdir()
    data_root.rename(root / "mnt/docker")
    (root / "var/lib/docker").symlink_to("/mnt/docker")
    (root / "etc/hostname").write_text("# written by hand\n\ndead-01\n")
    (root / "etc/os-release").write_text('PRETTY_NAME="Dead Linux 1"\n')
    return root


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_data_root_as_docker_inspect_had_it(name: str, tmp_path: Path) -> None:
    said = answers(data_root := lay_out(name, tmp_path))
    root = disk_of(data_root, tmp_path)
    facts = collect_disk(str(root))
    assert (facts.host.hostname, facts.host.os, facts.host.kernel) == ("dead-01", "Dead Linux 1", None)
    assert [engine.data_root for engine in facts.engines] == ["/mnt/docker"]
    assert {gap.collector for gap in facts.gaps if gap.why == NO_KERNEL} == {*OF_THE_KERNEL}
    topology = correlate(facts)
    containers = {container.id: container for container in topology.containers}
    inspected: list[Any] = said["containers"]
    assert len(containers) == len(inspected) > 5
    for container in inspected:
        mine = containers[container["Id"]]
        state = container["State"]
        assert mine.state == state["Status"]
        assert mine.pid is None and mine.netns is None
        ran = state["Running"]
        assert mine.exit_code == (None if ran or state["Status"] == "created" else state["ExitCode"])
        assert [(d.field, d.effective) for d in mine.drift] == ([("state", None), ("pid", None)] if ran else [])
        recorded = container["NetworkSettings"]["Networks"]
        ips = {endpoint.network: endpoint.ip or "" for endpoint in mine.endpoints}
        assert {network: ips[network] for network in recorded} == {n: e["IPAddress"] for n, e in recorded.items()}
        ports = container["NetworkSettings"]["Ports"] if ran else {}
        assert {(f"{p.container_port}/{p.proto}", p.host_ip, str(p.host_port), p.via) for p in mine.ports} == {
            (port, binding["HostIp"], binding["HostPort"], ())
            for port, bindings in ports.items()
            for binding in bindings or ()
        }


def test_a_container_of_docker_before_1_10(tmp_path: Path) -> None:
    home = tmp_path / "var/lib/docker/containers" / ID
    home.mkdir(parents=True)
    (home / "config.json").write_text(json.dumps(OLD))
    topology = correlate(collect_disk(str(tmp_path)))
    [container] = topology.containers
    assert (container.name, container.image, container.state) == ("old1", "busybox", "running")
    assert container.started_at == "2015-12-27T10:53:17.409426616Z"
    [endpoint] = container.endpoints
    assert (endpoint.network, endpoint.ip, endpoint.prefix_len) == ("bridge", "172.17.0.3", 16)
    mounts = [(mount.type, mount.source, mount.destination, mount.rw) for mount in container.mounts]
    assert mounts == [("bind", "/data/ro", "/ro", False), ("bind", "/data/srv", "/srv", True)]
    assert container.drift == (
        Drift(field="state", recorded="running", effective=None),
        Drift(field="pid", recorded="1276", effective=None),
    )
    [layers] = [gap for gap in topology.gaps if gap.collector == "layers"]
    assert not layers.minor and layers.remedy == "look into /var/lib/docker/aufs by what aufs does"


def test_images_of_docker_before_1_10(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is a layer upon its parent, by ids that are no digests; a name is written as its tag, or digest, alone."""
    docker = tmp_path / "var/lib/docker"
    low, high, digest = "1f" * 32, "2e" * 32, f"sha256:{'3d' * 32}"
    images: dict[str, dict[str, Any]] = {
        low: {"created": "2015-12-26T08:20:42.6Z", "container_config": {"Cmd": ["/bin/sh", "-c", "ADD file:c in / "]}},
        high: {"created": "2015-12-26T08:20:43Z", "parent": low, "comment": "by hand", "config": {"Env": ["A=b"]}},
    }
    for id_, image in images.items():
        (docker / "graph" / id_).mkdir(parents=True)
        (docker / "graph" / id_ / "json").write_text(json.dumps({"id": id_, **image}))
    names = {"app": {"latest": high, digest: high}, "host:5000/team/app": {"1": low}, "none": None}
    (docker / "repositories-aufs").write_text(json.dumps({"Repositories": names}))
    (docker / "containers" / ID).mkdir(parents=True)
    (docker / "containers" / ID / "config.json").write_text(json.dumps({**OLD, "Image": high}))
    facts = collect_disk(str(tmp_path))
    assert {image.id: image.names for image in facts.images} == {
        low: ("host:5000/team/app:1",),
        high: ("app:latest", f"app@{digest}"),
    }
    [layers] = [gap for gap in facts.gaps if gap.collector == "layers"]
    assert "names of images" not in layers.why
    found, gaps = collect_history(facts.containers, str(tmp_path))
    assert gaps == ()
    assert found[ID] == (
        ImageStep(created="2015-12-26T08:20:42.6Z", command="/bin/sh -c ADD file:c in / "),
        ImageStep(created="2015-12-26T08:20:43Z", comment="by hand"),
    )
    assert run(["whois", "app:latest", "--root", str(tmp_path)]) == 3  # for the layers of aufs
    assert "containers made from it: old1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ({"parent": "1f" * 32}, "more than 1000 images"),  # itself
        ({"parent": "../../../../etc"}, "is no image"),
        ({"parent": "2e" * 32}, "the engine has it no more"),
        ([], "not the JSON that the engine writes"),
    ],
)
def test_a_damaged_graph_of_images(tmp_path: Path, image: object, why: str) -> None:
    (tmp_path / "docker/graph" / ("1f" * 32)).mkdir(parents=True)
    (tmp_path / "docker/graph" / ("1f" * 32) / "json").write_text(json.dumps(image))
    record = ContainerRecord(
        engine="docker", data_root="/docker", id=ID, name="old1", driver="aufs", image_id="1f" * 32
    )
    found, [gap] = collect_history([record], str(tmp_path))
    assert found == {} and why in gap.why and not gap.minor


@pytest.mark.parametrize(("left", "told"), [("hostconfig.json", True), ("mounts", False)])
def test_a_container_whose_record_is_gone(tmp_path: Path, left: str, told: bool) -> None:
    """Of a host that runs it may just be going. What a removal leaves that failed is no container."""
    home = tmp_path / "var/lib/docker/containers" / ID
    home.mkdir(parents=True)
    (home / left).touch()
    facts = collect_disk(str(tmp_path))
    assert facts.containers == ()
    gaps = [(gap.subject, gap.why, gap.minor) for gap in facts.gaps if gap.collector == "containers"]
    missing = (f"/var/lib/docker/containers/{ID}", "its config.v2.json is missing", False)
    assert gaps == ([missing] if told else [])


def test_a_volume_is_as_old_as_it_was_before_the_disk_was_copied(tmp_path: Path) -> None:
    """A copy of a directory has its modification time; its change time is that of the copying."""
    docker = tmp_path / "var/lib/docker"
    (docker / "containers").mkdir(parents=True)
    (docker / "volumes/old/_data").mkdir(parents=True)
    os.utime(docker / "volumes/old", (1_600_000_000, 1_600_000_000))
    [volume] = collect_disk(str(tmp_path)).volumes
    assert volume.created == "2020-09-13T12:26:40Z"


@pytest.mark.parametrize("driver", ["aufs", "overlay", "overlay2"])
def test_what_is_not_known_of_layers(tmp_path: Path, driver: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of images are where overlay2 has them since Docker 1.10. Nothing that a daemon must do is advised."""
    docker = tmp_path / "var/lib/docker"
    (docker / "containers" / ID).mkdir(parents=True)
    (docker / "containers" / ID / "config.v2.json").write_text(json.dumps({**OLD, "Driver": driver, "Volumes": None}))
    (docker / "image" / driver).mkdir(parents=True)
    (docker / "image" / driver / "repositories.json").write_text('{"Repositories": {"a": {"a:1": "sha256:ab"}}}')
    facts = collect_disk(str(tmp_path))
    assert [image.names for image in facts.images] == [("a:1",)]
    [gap] = [gap for gap in facts.gaps if gap.collector == "layers"]
    assert "names of images" not in gap.why
    assert gap.subject.endswith("storage driver aufs" if driver == "aufs" else f"mounts/{ID}")
    assert run(["diff", "old1", "--root", str(tmp_path)]) == 3
    assert "docker diff" not in (said := capsys.readouterr().err) and "start" not in said


@pytest.mark.parametrize(
    ("config", "data_root"),
    [
        ('{"data-root": "/srv/engine"}', "/srv/real"),  # a link of that host
        ('{"data-root": "/../../../srv/engine/."}', "/srv/real"),
        ('{"graph": "srv/engine"}', "/srv/real"),
        ("{", None),
        ('{"data-root": "/loop"}', None),
    ],
)
def test_where_the_data_root_is(tmp_path: Path, config: str, data_root: str | None) -> None:
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_text(config)
    (tmp_path / "srv/real/containers").mkdir(parents=True)
    (tmp_path / "srv/engine").symlink_to("/srv/real")
    (tmp_path / "loop").symlink_to("/loop")
    facts = collect_disk(str(tmp_path))
    assert [engine.data_root for engine in facts.engines] == ([data_root] if data_root else [])
    assert any(gap.collector == "engines" and not gap.minor for gap in facts.gaps) == (data_root is None)


def test_rootless_engines_are_in_the_homes_of_that_hosts_users(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    users = [
        "root:x:0:0::/root:/bin/sh",
        "a:x:1000:1000::/home/a:",
        "b:x:1001:1001::/home/b/:",
        "c:x:1002:1::/etc/passwd:",
    ]
    (tmp_path / "etc/passwd").write_text("\n".join([*users, "damaged", "d:x:1003:1::../..:"]))
    (tmp_path / "home/a/.local/share/docker/containers").mkdir(parents=True)
    (tmp_path / "home/b/.config/docker").mkdir(parents=True)
    (tmp_path / "home/b/.config/docker/daemon.json").write_text('{"data-root": "/home/b/engine"}')
    (tmp_path / "srv/b/containers").mkdir(parents=True)
    (tmp_path / "home/b/engine").symlink_to("/srv/b")
    facts = collect_disk(str(tmp_path))
    assert [engine.data_root for engine in facts.engines] == ["/home/a/.local/share/docker", "/srv/b"]
    assert not [gap for gap in facts.gaps if gap.collector == "engines"]


def test_a_data_root_in_place_of_a_disk(tmp_path: Path) -> None:
    (tmp_path / "docker/containers").mkdir(parents=True)
    [gap] = [gap for gap in collect_disk(str(tmp_path / "docker")).gaps if gap.collector == "engines"]
    assert gap.remedy == f"it looks like a data root itself: --root {tmp_path} --data-root /docker"
    assert collect_disk(str(tmp_path), ["/docker"]).engines


def test_userns_remap_by_the_ids_of_that_host(tmp_path: Path) -> None:
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_text('{"userns-remap": "default"}')
    for file in ("subuid", "subgid"):
        (tmp_path / "etc" / file).write_text("dockremap:231072:65536\n")
    (tmp_path / "var/lib/docker/231072.231072/containers").mkdir(parents=True)
    [engine] = collect_disk(str(tmp_path)).engines
    assert engine.data_root == "/var/lib/docker/231072.231072"


@pytest.fixture
def volumes(tmp_path: Path) -> Callable[[str], Path]:
    """A disk with a container that has these bound."""

    def made(source: str) -> Path:
        home = tmp_path / "var/lib/docker/containers" / ID
        home.mkdir(parents=True)
        (home / "config.v2.json").write_text(
            json.dumps(
                {
                    **OLD,
                    "State": {},
                    "Driver": "overlay2",
                    "MountPoints": {"/in": {"Destination": "/in", "Type": "bind", "Source": source}},
                }
            )
        )
        (tmp_path / "var/lib/docker/containers" / ("cd" * 32)).mkdir()
        return tmp_path

    return made


@pytest.mark.parametrize(("source", "kind"), [("/etc", None), ("/srv", "directory"), ("/link", "directory")])
def test_health_of_a_disk(volumes: Callable[[str], Path], source: str, kind: str | None) -> None:
    """What is not on the disk may have been on another one, though this host has it: /etc."""
    root = volumes(source)
    (root / "srv").mkdir()
    (root / "link").symlink_to("/srv")
    facts = collect_disk(str(root), health=True)
    assert facts.health is not None
    assert [state.kind for state in facts.health.paths] == ([kind] if kind else [])
    assert [gap.minor for gap in facts.gaps if gap.collector == "paths"] == ([] if kind else [True])
    [bare] = facts.health.bare_directories
    assert bare.path == f"/var/lib/docker/containers/{'cd' * 32}"


def test_names_that_a_shell_completes_are_those_of_the_disk(
    volumes: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hostinspect.cli.completion import complete

    monkeypatch.setenv("COMP_WORDS", f"hostinspect container --root {volumes('/etc')} o")
    monkeypatch.setenv("COMP_CWORD", "4")
    assert complete("bash_complete") == 0
    assert capsys.readouterr().out == "plain,old1\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("containers",), 3),  # that it has no record of its layers is no fault of the kernel
        (("container", "old1"), 3),
        (("volumes",), 0),
        (("networks",), 0),
        (("report",), 3),
        (("ports",), 3),
        (("trace", "80"), 3),
        (("whois", "old1"), 3),
        (("diff", "old1"), 3),
        (("container", "nobody"), 1),
        (("trace", "80", "--probe", "--source", "host"), 2),
    ],
)
def test_exit_codes(
    volumes: Callable[[str], Path], arguments: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--root", str(volumes("/etc"))]) == code
    assert "bug" not in capsys.readouterr().err


MOUNT, LAYER = "1f" * 32, "2e" * 32


@pytest.mark.parametrize("lower_id", [LAYER, "../../../../etc", ""])
def test_layers_and_changes_of_the_driver_before_overlay2(
    tmp_path: Path, lower_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the init layer has was copied into the upper directory, and is no change."""
    docker = tmp_path / "var/lib/docker"
    mounts = docker / "image/overlay/layerdb/mounts" / ID
    mounts.mkdir(parents=True)
    (mounts / "mount-id").write_text(MOUNT)
    (mounts / "init-id").write_text(f"{MOUNT}-init")
    config = {**OLD, "State": {}, "Driver": "overlay", "MountPoints": {}}
    (docker / "containers" / ID).mkdir(parents=True)
    (docker / "containers" / ID / "config.v2.json").write_text(json.dumps(config))
    for path, content in {
        f"{LAYER}/root/etc/passwd": "root",
        f"{MOUNT}-init/upper/etc/hosts": "",
        f"{MOUNT}/upper/etc/hosts": "",
        f"{MOUNT}/upper/added": "x",
        f"{MOUNT}/lower-id": lower_id,
    }.items():
        (docker / "overlay" / path).parent.mkdir(parents=True, exist_ok=True)
        (docker / "overlay" / path).write_text(content)
    for directory in docker.glob("overlay/**/"):  # as the driver copies them, with their times
        os.utime(directory, (1, 1))
    for file in docker.glob("overlay/*/upper/etc/hosts"):
        os.utime(file, (1, 1))
    facts = collect_disk(str(tmp_path))
    if lower_id.startswith("."):
        assert facts.layers == ()
        assert any("is no layer" in gap.why for gap in facts.gaps)
        return
    [layer] = facts.layers
    home = f"/var/lib/docker/overlay/{MOUNT}"
    assert (layer.upper, layer.work, layer.merged) == (f"{home}/upper", f"{home}/work", f"{home}/merged")
    assert layer.lower == ((f"/var/lib/docker/overlay/{LAYER}/root",) if lower_id else ())
    run(["diff", "old1", "--root", str(tmp_path)])  # 3 as a plain user, who is not shown overlayfs's marks
    assert capsys.readouterr().out.splitlines() == ["A /added"]


# --- the history of an image ------------------------------------------------------------------------------------

LOW, HIGH = (f"sha256:{digit * 64}" for digit in "12")
STEPS = [
    {"created": "2026-01-01T00:00:00.5Z", "created_by": "ADD file:c94a in /", "comment": "buildkit.dockerfile.v0"},
    {"created": "2026-01-01T00:00:01Z", "created_by": "ENV A=b", "empty_layer": True},
    {"created": "0001-01-01T00:00:00Z", "created_by": ""},
]


def image(history: object, *diff_ids: str) -> bytes:
    return json.dumps({"config": {"Env": ["A=b"]}, "history": history, "rootfs": {"diff_ids": diff_ids}}).encode()


def test_each_step_with_the_layer_that_it_made() -> None:
    low, high = chain_ids([LOW, HIGH])
    assert parse_history(image(STEPS, LOW, HIGH)) == (
        ImageStep(
            created="2026-01-01T00:00:00.5Z",
            command="ADD file:c94a in /",
            comment="buildkit.dockerfile.v0",
            chain_id=low,
        ),
        ImageStep(created="2026-01-01T00:00:01Z", command="ENV A=b"),
        ImageStep(chain_id=high),
    )


@pytest.mark.parametrize("diff_ids", [(), (LOW,), (LOW, HIGH, LOW)])
def test_a_history_of_another_number_of_layers_tells_none(diff_ids: tuple[str, ...]) -> None:
    assert [step.chain_id for step in parse_history(image(STEPS, *diff_ids))] == [None] * 3


@pytest.mark.parametrize("content", [b"", b"[]", b'{"history": 7}', b'{"history": [{"created": []}]}', b"\xff{}"])
def test_a_damaged_history_in_words(content: bytes) -> None:
    with pytest.raises(RecordError):
        parse_history(content)


def test_an_image_without_a_history() -> None:
    assert parse_history(b"{}") == parse_history(b'{"history": null}') == ()


def test_histories_that_cannot_be_read_are_gaps(tmp_path: Path) -> None:
    images = tmp_path / "docker/image/overlay2/imagedb/content/sha256"
    images.mkdir(parents=True)
    (images / ("11" * 32)).write_bytes(image(STEPS, LOW, HIGH))
    (images / ("22" * 32)).write_bytes(b"{")
    (images / ("33" * 32)).symlink_to("/etc/passwd")
    known = ContainerRecord(
        engine="docker",
        data_root="/docker",
        id="known",
        name="known",
        driver="overlay2",
        image_id=f"sha256:{'11' * 32}",
    )
    others = {
        "damaged": f"sha256:{'22' * 32}",
        "link": f"sha256:{'33' * 32}",
        "removed": f"sha256:{'44' * 32}",
        "hostile": "sha256:../../../../../etc/passwd",
        "none": None,
    }
    records = [known, *(replace(known, id=name, image_id=image_id) for name, image_id in others.items())]
    found, gaps = collect_history([*records, replace(known, id="driver", driver="../..")], str(tmp_path))
    assert [*found] == ["known"] and len(found["known"]) == 3
    assert len(gaps) == 6 and not any(gap.minor for gap in gaps)
    assert [why for gap in gaps if "symbolic link" in (why := gap.why)]


def test_a_history_is_of_containers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layers", "--history", "--orphans"]) == 2
    assert "without --directories or --orphans" in capsys.readouterr().err
