"""`hostinspect diff` against `docker diff`, and both against what is there: real containers, real overlays."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostinspect.collectors.changes import collect_changes
from hostinspect.facts import Change
from tests.lab.host import REPOSITORY, LabHost, LabSpec
from tests.live import situations
from tests.live.churn import Difference
from tests.live.report import hostinspect

KINDS = "CAD"  # as the engine's API numbers them

# $1 is a script for the lowest layer, $2 for the one above it: an image `$3` of them, with busybox.
_IMAGE = f"""
set -eu
files=$(mktemp -d)
mkdir "$files/cases" "$files/bin"
cp "$(command -v busybox)" "$files/bin/busybox"
sh -c "$1" sh "$files/cases"
find "$files" -exec touch --no-dereference --date '{situations.LONG_AGO}' {{}} +
tar -C "$files" -c . | docker import --change 'CMD ["/bin/busybox", "sleep", "1000000"]' - "$3":base >/dev/null
rm -rf "$files"
container=$(docker run --detach --network none "$3":base)
sh -c "$2" sh "$(docker inspect --format '{{{{.GraphDriver.Data.MergedDir}}}}' "$container")/cases"
docker commit "$container" "$3" >/dev/null
docker rm --force "$container" >/dev/null
"""

# $1 is a container: where its root is mounted now, and a mount of its image's layers and the init layer alone.
_VIEWS = """
set -eu
mkdir -p /run/empty "/run/image/$1"
lower=$(docker inspect --format '{{.GraphDriver.Data.LowerDir}}' "$1")
export LIBMOUNT_FORCE_MOUNT2=always  # fsconfig(2) takes no more than 256 bytes of an option
mount -t overlay -o "ro,lowerdir=$lower:/run/empty" image "/run/image/$1"
docker inspect --format '{{.GraphDriver.Data.MergedDir}}' "$1"
"""


@pytest.fixture(scope="module", params=["demo_host", "demo_host_sid"])
def host(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def shell(host: LabHost, script: str, *arguments: str, timeout: float = 120) -> str:
    done = host.run(["sh", "-c", script, "sh", *arguments], env={"PYTHON": sys.executable}, timeout=timeout)
    return done.stdout.rstrip("\n")


def as_pair(change: Any) -> Difference:
    """A change in the JSON of `hostinspect diff`; the path as os.fsdecode has it."""
    if change["raw"] is None:
        return change["kind"], change["path"]
    decoded = base64.b64decode(change["raw"], validate=True)
    assert decoded.decode("utf-8", "backslashreplace") == change["path"]
    return change["kind"], os.fsdecode(decoded)


def ours(host: LabHost, name: str) -> list[Difference]:
    """What hostinspect tells; nothing may be left unseen."""
    done = hostinspect(host, "diff", "--output", "json", name)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    answer = json.loads(done.stdout)
    assert [gap for gap in answer["gaps"] if not gap["minor"]] == []
    changes = [as_pair(change) for change in answer["changes"]]
    assert changes == sorted(changes, key=lambda change: change[1].split("/")), "a directory is before what is in it"
    return changes


def docker(host: LabHost, name: str) -> list[Difference]:
    """What the engine tells, by its API: `docker diff` prints a line break in a name as one. In no order of its own."""
    socket = ["curl", "--silent", "--fail", "--unix-socket", "/run/docker.sock"]
    answer = host.run([*socket, f"http://docker/containers/{name}/changes"], timeout=300).stdout
    changes = [(KINDS[change["Kind"]], change["Path"]) for change in json.loads(answer) or ()]
    return sorted(changes, key=lambda change: change[1].split("/"))


def as_docker_spells(changes: list[Difference]) -> list[Difference]:
    """The engine's JSON has U+FFFD for every byte that is no UTF-8."""
    return [(kind, os.fsencode(path).decode("utf-8", "replace")) for kind, path in changes]


def run(host: LabHost, name: str, image: str, *options: str) -> None:
    host.docker("run", "--detach", "--name", name, "--network", "none", *options, image)


def views(host: LabHost, name: str) -> dict[str, list[Difference]]:
    """What differs between the container's root and its image, by walking both: as docker compares, and in truth."""
    merged = shell(host, _VIEWS, name)
    done = host.run([sys.executable, "-m", "tests.live.churn", "compare", merged, f"/run/image/{name}"], timeout=300)
    return {way: [(kind, path) for kind, path in found] for way, found in json.loads(done.stdout).items()}


@pytest.fixture(scope="module")
def cases(host: LabHost) -> Iterator[str]:
    """A container in which everything of `situations` has happened."""
    shell(host, _IMAGE, situations.script("image"), situations.script("layer"), "cases")
    run(host, "cases", "cases")
    merged = host.docker("inspect", "--format", "{{.GraphDriver.Data.MergedDir}}", "cases")
    shell(host, situations.script("change"), f"{merged}/cases")
    yield "cases"
    host.run(["sh", "-c", "umount /run/image/cases 2>/dev/null; docker rm --force cases"])


# --- containers -------------------------------------------------------------------------------------------------


def test_every_container_of_the_demo_scenario(host: LabHost) -> None:
    assert host.docker("info", "--format", "{{.Driver}}") == "overlay2"
    names = host.docker("ps", "--all", "--format", "{{.Names}}").split()
    found = {name: ours(host, name) for name in names}
    assert found == {name: docker(host, name) for name in names}
    assert ("D", "/etc/old.conf") in found["changed"]
    assert found["stopped1"] == []


def test_each_situation(host: LabHost, cases: str) -> None:
    expected = sorted(situations.told(docker=False), key=lambda change: change[1].split("/"))
    assert ours(host, cases) == expected
    assert views(host, cases)["truth"] == expected


def test_what_docker_tells_of_each(host: LabHost, cases: str) -> None:
    """Where it is not the truth, it is wrong as `situations` says: none of these has been mended meanwhile."""
    told = sorted(situations.told(docker=True), key=lambda change: change[1].split("/"))
    assert docker(host, cases) == told


def test_stopped_and_with_a_daemon_that_hangs(host: LabHost, cases: str) -> None:
    running = ours(host, cases)
    host.docker("stop", "--time", "0", cases)
    with host.frozen_dockerd():
        assert ours(host, cases) == running
    host.docker("start", cases)
    assert ours(host, cases) == running


def test_mount_points_that_docker_makes(host: LabHost) -> None:
    options = ("--volume=made-up:/made/by/docker", "--tmpfs=/also/made", "--volume=/etc/hostname:/a/file:ro")
    run(host, "mounted", "lab/base", *options)
    try:
        changes = ours(host, "mounted")
        assert changes == docker(host, "mounted")
        assert {("A", "/made/by/docker"), ("A", "/also/made"), ("A", "/a/file")} < set(changes)
    finally:
        host.run(["sh", "-c", "docker rm --force mounted; docker volume rm made-up"])


@pytest.mark.parametrize("seed", range(3))
def test_random_changes(host: LabHost, seed: int) -> None:
    """As docker compares, docker's; in truth, ours."""
    name = f"random{seed}"
    churn = f'cd {REPOSITORY}; "$PYTHON" -m tests.live.churn'
    shell(host, _IMAGE, f'{churn} grow "$1" {seed} 150', f'{churn} change "$1" {seed} 30', name)
    run(host, name, name)
    try:
        merged = host.docker("inspect", "--format", "{{.GraphDriver.Data.MergedDir}}", name)
        shell(host, f'{churn} change "$1" {seed + 1} 40', f"{merged}/cases")
        expected = views(host, name)
        assert ours(host, name) == expected["truth"]
        by_path = sorted(as_docker_spells(expected["docker"]), key=lambda change: change[1].split("/"))
        assert docker(host, name) == by_path
    finally:
        host.run(["sh", "-c", f"umount /run/image/{name} 2>/dev/null; docker rm --force {name}"])


# --- what docker diff does not tell -----------------------------------------------------------------------------


def test_the_root_directory_itself(demo_host: LabHost) -> None:
    run(demo_host, "closed", "lab/base")
    try:
        shell(demo_host, 'chmod 700 "$(docker inspect --format "{{.GraphDriver.Data.MergedDir}}" closed)"')
        assert ours(demo_host, "closed") == [("C", "/")]
        assert docker(demo_host, "closed") == []
    finally:
        demo_host.docker("rm", "--force", "closed")


def test_paths_longer_than_a_system_call_takes(demo_host: LabHost) -> None:
    """`docker diff` fails as a whole: lstat: file name too long."""
    nest = "import os, sys\nos.chdir(sys.argv[1])\nfor _ in range(60): os.mkdir('d' * 100); os.chdir('d' * 100)"
    run(demo_host, "deep", "lab/base")
    try:
        merged = demo_host.docker("inspect", "--format", "{{.GraphDriver.Data.MergedDir}}", "deep")
        demo_host.run([sys.executable, "-c", nest, merged])
        failed = demo_host.run(["docker", "diff", "deep"], check=False)
        assert failed.returncode == 1
        assert "file name too long" in failed.stderr
        assert ours(demo_host, "deep") == [("A", ("/" + "d" * 100) * depth) for depth in range(1, 61)]
    finally:
        demo_host.docker("rm", "--force", "deep")


# --- the lines --------------------------------------------------------------------------------------------------


def test_the_lines_of_docker_diff(demo_host: LabHost) -> None:
    theirs = sorted(demo_host.docker("diff", "changed").splitlines(), key=lambda line: line[2:].split("/"))
    assert hostinspect(demo_host, "diff", "changed").stdout.splitlines() == theirs
    assert theirs == ["C /etc", "C /etc/app.conf", "D /etc/old.conf", "C /root", "A /root/added.txt"]


def test_names_are_escaped_and_as_they_are_between_nuls(demo_host: LabHost) -> None:
    run(demo_host, "nasty", "lab/base")
    try:
        merged = demo_host.docker("inspect", "--format", "{{.GraphDriver.Data.MergedDir}}", "nasty")
        shell(demo_host, r"""cd "$1"; touch "$(printf 'a\nb\033[31m\377\303\274')" """, merged)
        done = hostinspect(demo_host, "diff", "nasty")
        assert done.stdout.replace("ü", r"\xfc") == "A /a\\nb\\x1b[31m\\xff\\xfc\n"
        done = hostinspect(demo_host, "diff", "-0", "nasty")
        assert os.fsencode(done.stdout) == b"A /a\nb\x1b[31m\xff\xc3\xbc\0"
        assert hostinspect(demo_host, "diff", "-0", "-o", "json", "nasty").returncode == 2
    finally:
        demo_host.docker("rm", "--force", "nasty")


def test_names_of_containers(demo_host: LabHost) -> None:
    whole = demo_host.docker("inspect", "--format", "{{.Id}}", "changed")
    lines = hostinspect(demo_host, "diff", "changed").stdout
    assert hostinspect(demo_host, "diff", whole).stdout == hostinspect(demo_host, "diff", whole[:12]).stdout == lines
    unknown = hostinspect(demo_host, "diff", "chnaged")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "Did you mean changed?" in unknown.stderr
    ids = demo_host.docker("ps", "--all", "--quiet", "--no-trunc").split()
    first = next(id_[0] for id_ in ids if sum(other[0] == id_[0] for other in ids) > 1)
    ambiguous = hostinspect(demo_host, "diff", first)
    assert (ambiguous.returncode, ambiguous.stdout) == (2, "")
    assert all(id_[:12] in ambiguous.stderr for id_ in ids if id_[0] == first)


# --- what cannot be seen ----------------------------------------------------------------------------------------


def refused(host: LabHost, name: str, *arguments: str, user: str | None = None) -> str:
    done = hostinspect(host, "diff", *arguments, name, user=user)
    assert (done.returncode, done.stdout) == (3, ""), done
    answer = json.loads(hostinspect(host, "diff", "--output", "json", *arguments, name, user=user).stdout or "null")
    assert answer is None or answer["changes"] is None
    return done.stderr


def test_as_an_ordinary_user(demo_host: LabHost) -> None:
    assert "root" in refused(demo_host, "changed", user="nobody")


def test_from_a_snapshot(demo_host: LabHost) -> None:
    hostinspect(demo_host, "snapshot", "--output", "/run/snapshot")
    assert "a snapshot has no files of containers" in refused(demo_host, "changed", "--from", "/run/snapshot")


def test_another_storage_driver() -> None:
    with LabHost(LabSpec(dockerd=("--storage-driver=vfs",))) as host:
        shell(host, _IMAGE.replace("sh -c", ": "), "", "", "plain")
        run(host, "plain", "plain:base")
        assert "vfs" in refused(host, "plain")


def test_the_image_store_of_containerd() -> None:
    """Its layers are containerd's snapshots, known by its tables whether the container runs or not."""
    spec = LabSpec(userland="sid", dockerd=("--feature=containerd-snapshotter=true",))
    with LabHost(spec) as host:
        shell(host, _IMAGE.replace("sh -c", ": "), "", "", "plain")
        run(host, "plain", "plain:base", "--volume=made-up:/made/by/docker")
        shell(host, "docker exec plain /bin/busybox sh -c 'echo 1 >/added; /bin/busybox rm -r /cases'")
        changes = ours(host, "plain")
        assert changes == docker(host, "plain")
        assert {("A", "/added"), ("D", "/cases"), ("A", "/made/by/docker")} < set(changes)
        host.docker("stop", "--time", "0", "plain")
        assert ours(host, "plain") == docker(host, "plain") == changes
        inspected = hostinspect(host, "container", "--output", "json", "plain")
        overlay = json.loads(inspected.stdout)["containers"][0]["overlay"]
        host.docker("start", "plain")
        mounted = host.run(["findmnt", "-J", "-T", overlay["merged"], "-o", "FSTYPE,OPTIONS"]).stdout
        (mount,) = json.loads(mounted)["filesystems"]
        options = dict(option.partition("=")[::2] for option in mount["options"].split(","))
        assert options["upperdir"] == overlay["upper"]
        assert (options["lowerdir"], options["workdir"]) == (":".join(overlay["lower"]), overlay["work"])


def test_a_daemon_that_remaps_users() -> None:
    """userns-remap: what is beside the layers belongs to the container's root, which is not the host's."""
    with LabHost(LabSpec(userland="sid")) as host:
        shell(host, "useradd --system dockremap; echo dockremap:100000:65536 | tee -a /etc/subuid >>/etc/subgid")
        host.kill_dockerd()
        host.spec = replace(host.spec, dockerd=("--userns-remap=default",))
        host.start_dockerd()
        shell(host, _IMAGE.replace("sh -c", ": "), "", "", "plain")
        run(host, "plain", "plain:base")
        shell(
            host,
            "docker exec plain /bin/busybox sh -c 'echo 1 >/added';"
            "docker exec --workdir /bin plain ./busybox sh -c './busybox rm -r /cases; ./busybox mkdir /cases'",
        )
        changes = ours(host, "plain")
        assert changes == docker(host, "plain") == [("A", "/added")]
        host.docker("stop", "--time", "0", "plain")
        assert ours(host, "plain") == changes


# --- nothing is touched, and it is fast enough ------------------------------------------------------------------


# $1 is a container; prints what of its layers has been accessed since.
_ACCESSED = """
set -eu
layers=$(docker inspect --format '{{.GraphDriver.Data.UpperDir}}:{{.GraphDriver.Data.LowerDir}}' "$1")
find $(echo "$layers" | tr : ' ') -print0 >/run/paths
xargs -0 touch --no-dereference -a --date @1 </run/paths
mount -o remount,strictatime /var/lib/docker
"$PYTHON" -m hostinspect diff "$1" >/run/told
xargs -0 stat --format '%X %n' </run/paths | grep -v '^1 ' || :
mount -o remount,relatime /var/lib/docker
"""


def test_no_access_time_is_touched(demo_host: LabHost) -> None:
    """Also not of the files that are read because they look the same, on a mount that is strict about it."""
    run(demo_host, "quiet", "lab/layered:2")
    try:
        merged = demo_host.docker("inspect", "--format", "{{.GraphDriver.Data.MergedDir}}", "quiet")
        shell(demo_host, 'cd "$1"; : >>etc/app.conf; : >>etc/passwd; echo 1 >etc/new', merged)
        assert shell(demo_host, _ACCESSED, "quiet") == ""
        assert shell(demo_host, "cat /run/told") == "C /etc\nA /etc/new"
    finally:
        demo_host.docker("rm", "--force", "quiet")


def test_a_hundred_thousand_changes(demo_host: LabHost) -> None:
    run(demo_host, "many", "lab/base")
    make = (
        "import os, sys\nfor n in range(100_000):\n  if not n % 1000: os.makedirs(f'{sys.argv[1]}/many/{n // 1000}')\n"
    )
    make += "  os.close(os.open(f'{sys.argv[1]}/many/{n // 1000}/{n}', os.O_CREAT | os.O_WRONLY))"
    try:
        merged = demo_host.docker("inspect", "--format", "{{.GraphDriver.Data.MergedDir}}", "many")
        demo_host.run([sys.executable, "-c", make, merged], timeout=120)
        begun = time.monotonic()
        lines = hostinspect(demo_host, "diff", "many").stdout
        taken = time.monotonic() - begun
        assert sorted(lines.splitlines()) == sorted(demo_host.docker("diff", "many").splitlines())
        assert len(lines.splitlines()) == 100_101
        assert taken < 5, "seconds"
    finally:
        demo_host.docker("rm", "--force", "many", timeout=120)


# --- overlays made by hand: what docker does not turn on --------------------------------------------------------

# $1 is a directory, $2 further options of overlays, $3 those of one without an upper layer, $4 a seed. Three layers,
# each made through an overlay over the one before.
_OVERLAYS = f"""
set -eu
cd "$1"
mkdir l0 u1 w1 u2 w2 u3 w3 merged image empty
churn() {{ (cd {REPOSITORY}; {sys.executable} -m tests.live.churn "$@"); }}
churn grow "$1/l0" "$4" 150
find l0 -exec touch --no-dereference --date '{situations.LONG_AGO}' {{}} +
mount -t overlay -o "lowerdir=l0,upperdir=u1,workdir=w1$2" overlay merged
churn change "$1/merged" "$4" 30
umount merged
mount -t overlay -o "lowerdir=u1:l0,upperdir=u2,workdir=w2$2" overlay merged
churn change "$1/merged" "$(($4 + 1))" 30
umount merged
mount -t overlay -o "lowerdir=u2:u1:l0,upperdir=u3,workdir=w3$2" overlay merged
churn change "$1/merged" "$(($4 + 2))" 40
umount merged
mount -t overlay -o "lowerdir=u2:u1:l0,upperdir=u3,workdir=w3$2" overlay merged
mount -t overlay -o "ro,lowerdir=u2:u1:l0$3" overlay image
churn compare "$1/merged" "$1/image"
"""


def as_found(changes: tuple[Change, ...] | None) -> list[Difference]:
    assert changes is not None
    return [(c.kind, c.path if c.raw is None else os.fsdecode(c.raw)) for c in changes]


def in_namespace(script: str, *arguments: str) -> str:
    """What a script prints that mounts where nobody else sees it."""
    command = ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", *arguments]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("seed", range(10, 40, 10))
@pytest.mark.parametrize(
    ("options", "image_options"),
    [
        ("", ""),
        (",redirect_dir=on", ",redirect_dir=follow"),
        (",redirect_dir=on,metacopy=on", ",metacopy=on"),
        (",userxattr", ",userxattr"),
    ],
    ids=["plain", "redirect_dir", "metacopy", "userxattr"],
)
def test_overlays_with_other_options(tmp_path: Path, options: str, image_options: str, seed: int) -> None:
    answer = json.loads(in_namespace(_OVERLAYS, str(tmp_path), options, image_options, str(seed)))
    lower = [f"{tmp_path}/{layer}" for layer in ("u2", "u1", "l0")]
    found = collect_changes(f"{tmp_path}/u3", lower, None, userxattr="userxattr" in options)
    assert [gap for gap in found.gaps if not gap.minor] == []
    assert as_found(found.changes) == [(kind, path) for kind, path in answer["truth"]]


_REDIRECTED = """
set -eu
cd "$1"
mkdir lower upper work merged
(cd lower; mkdir -p far/away/d/sub near/d; echo 1 >far/away/d/f; echo 1 >far/away/d/sub/g; echo 1 >near/d/f
 echo data >meta; echo data >moved; echo data >same; echo DATA >other; mkdir twice; echo 1 >twice/t)
find lower -exec touch --no-dereference --date '2020-01-01 00:00:00' {} +
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work,redirect_dir=on,metacopy=on overlay merged
cd merged
mv near/d near/e          # beside it: by name
mv far/away/d near/d      # elsewhere: by path
echo 2 >near/d/sub/new
rm near/d/f
chmod 600 meta moved
mv moved gone
chown 1 other
mv other same             # another's data, of the same size and time
chmod 644 same
chown 0 same
mv twice once
mv once twice
"""


def test_redirected_directories_and_metadata_only_copies(tmp_path: Path) -> None:
    in_namespace(_REDIRECTED, str(tmp_path))
    upper = tmp_path / "upper"
    assert os.getxattr(upper / "near/e", "trusted.overlay.redirect") == b"d"
    assert os.getxattr(upper / "near/d", "trusted.overlay.redirect") == b"/far/away/d"
    assert os.getxattr(upper / "same", "trusted.overlay.redirect") == b"other"
    assert all("trusted.overlay.metacopy" in os.listxattr(upper / name) for name in ("meta", "gone", "same"))
    found = collect_changes(str(upper), [f"{tmp_path}/lower"], None, userxattr=False)
    lines = [f"{change.kind} {change.path}" for change in found.changes or ()]
    assert lines == [
        *("C /far", "C /far/away", "D /far/away/d", "A /gone", "C /meta", "D /moved", "C /near", "C /near/d"),
        *("D /near/d/f", "A /near/d/sub", "A /near/d/sub/g", "A /near/d/sub/new", "A /near/e", "A /near/e/f"),
        *("D /other", "C /same"),
    ]
    assert found.gaps == ()


def test_whiteouts_that_are_xattrs(tmp_path: Path) -> None:
    """Image layers of composefs have them. The kernel minds them in lower layers, in directories that say so."""
    script = """
        set -eu
        cd "$1"
        mkdir -p low/d top work merged
        touch low/d/gone low/d/kept
        mount -t overlay -o lowerdir=mid:low,upperdir=top,workdir=work overlay merged
        touch merged/d/gone merged/d/new
        rm merged/d/kept
    """
    for directory in ("mid", "mid/d"):
        (tmp_path / directory).mkdir()
        os.setxattr(tmp_path / directory, "trusted.overlay.opaque", b"x")
    (tmp_path / "mid/d/gone").touch()
    os.setxattr(tmp_path / "mid/d/gone", "trusted.overlay.whiteout", b"y")
    in_namespace(script, str(tmp_path))
    found = collect_changes(f"{tmp_path}/top", [f"{tmp_path}/mid", f"{tmp_path}/low"], None, userxattr=False)
    lines = [f"{change.kind} {change.path}" for change in found.changes or ()]
    assert lines == ["C /d", "A /d/gone", "D /d/kept", "A /d/new"]


def test_whiteouts_that_are_one_inode_beside_other_devices(tmp_path: Path) -> None:
    for layer in ("top", "low"):
        (tmp_path / layer).mkdir()
    for name in "abcdef":
        (tmp_path / "low" / name).touch()
    devices = {"a": (0, 0), "c": (1, 3), "d": (0, 0), "f": (1, 3), "g": (0, 0), "h": (1, 3)}
    for name, (major, minor) in devices.items():
        os.mknod(tmp_path / "top" / name, stat.S_IFCHR, os.makedev(major, minor))
    for name, other in (("b", "a"), ("e", "c"), ("i", "a"), ("j", "c")):
        (tmp_path / "top" / name).hardlink_to(tmp_path / "top" / other)
    found = collect_changes(f"{tmp_path}/top", [f"{tmp_path}/low"], None, userxattr=False)
    expected = [("D", "/a"), ("D", "/b"), ("C", "/c"), ("D", "/d"), ("C", "/e"), ("C", "/f"), ("A", "/h"), ("A", "/j")]
    assert as_found(found.changes) == expected


def test_hard_links_of_an_overlay_with_an_index(tmp_path: Path) -> None:
    """The other name is changed in the merged directory, and no layer has it: that is told."""
    script = """
        set -eu
        cd "$1"
        mkdir low top work merged
        echo 1 >low/a
        ln low/a low/b
        mount -t overlay -o lowerdir=low,upperdir=top,workdir=work,index=on overlay merged
        echo 22 >merged/a
        cat merged/b
    """
    assert in_namespace(script, str(tmp_path)) == "22\n"
    found = collect_changes(f"{tmp_path}/top", [f"{tmp_path}/low"], f"{tmp_path}/work", userxattr=False)
    assert as_found(found.changes) == [("C", "/a")]
    assert ["index=on" in gap.why and not gap.minor for gap in found.gaps] == [True]
