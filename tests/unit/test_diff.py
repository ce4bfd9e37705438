"""What a container changed: layers made by hand, with the marks of an overlay mounted with userxattr.

These any user may set, so that no root is needed; the marks of other overlays are made for real in tests/live.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hostinspect.collectors import changes
from hostinspect.collectors.changes import Changes, collect_changes
from hostinspect.facts import Change, Gap, LayerRecord, MountPoint
from hostinspect.kernel import overlayfs
from hostinspect.kernel.text import text
from hostinspect.questions.diff import Layers, layers_of
from hostinspect.questions.inspection import Inspection
from hostinspect.render.changes import render_changes
from hostinspect.render.text import safe
from tests.unit import factory

LONG_AGO = 1_577_836_800  # seconds


class Tree:
    """The layers of one overlay: `upper`, `mid` and `low`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for layer in ("upper", "mid", "low"):
            (path / layer).mkdir()

    def file(self, relative: str, content: str = "") -> Path:
        path = self.path / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, (LONG_AGO, LONG_AGO))
        return path

    def directory(self, relative: str, **marks: str) -> Path:
        path = self.path / relative
        path.mkdir(parents=True, exist_ok=True)
        self.mark(path, **marks)
        return path

    def mark(self, path: Path, **marks: str) -> None:
        for name, value in marks.items():
            os.setxattr(path, f"user.overlay.{name}", value.encode())

    def changes(self, *, userxattr: bool | None = True) -> Changes:
        upper, *lower = (str(self.path / layer) for layer in ("upper", "mid", "low"))
        return collect_changes(upper, lower, str(self.path / "work"), userxattr=userxattr)

    def lines(self) -> list[str]:
        """Of which nothing may be left unseen."""
        found = self.changes()
        assert found.gaps == ()
        return lines(found)


def lines(found: Changes) -> list[str]:
    assert found.changes is not None
    return [f"{change.kind} {change.path}" for change in found.changes]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """And the check that no descriptor is left open."""
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    yield Tree(tmp_path)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


# --- marks ------------------------------------------------------------------------------------------------------


def test_added_changed_and_what_is_above_them(tree: Tree) -> None:
    tree.file("low/etc/app/conf", "1")
    tree.file("upper/etc/app/conf", "22")
    tree.file("upper/etc/new")
    tree.directory("upper/etc/app")
    assert tree.lines() == ["C /etc", "C /etc/app", "C /etc/app/conf", "A /etc/new"]


def test_what_is_the_same_is_not_told(tree: Tree) -> None:
    tree.file("low/d/file", "same")
    tree.file("upper/d/file", "same")
    assert tree.lines() == []


def test_an_opaque_directory_hides_the_layers_below(tree: Tree) -> None:
    tree.file("low/d/a")
    tree.file("mid/d/b")
    tree.directory("upper/d", opaque="y")
    tree.file("upper/d/b", "1")
    assert tree.lines() == ["C /d", "D /d/a", "C /d/b"]


def test_what_an_opaque_directory_of_the_image_hides_was_not_there(tree: Tree) -> None:
    tree.file("low/d/a")
    tree.directory("mid/d", opaque="y")
    tree.file("upper/d/a")
    assert tree.lines() == ["C /d", "A /d/a"]


def test_a_redirected_directory_brings_what_was_in_it(tree: Tree) -> None:
    tree.file("low/old/sub/file", "1")
    tree.directory("upper/old", opaque="y")
    tree.directory("upper/new", redirect="/old")
    tree.directory("upper/old/beside", redirect="sub")
    assert tree.lines() == ["A /new", "A /new/sub", "A /new/sub/file", "C /old", "A /old/beside", "D /old/sub"]


def test_redirects_lead_from_layer_to_layer(tree: Tree) -> None:
    tree.file("low/first/deep/file", "1")
    tree.directory("mid/first", opaque="y")
    tree.directory("mid/second", redirect="/first")
    tree.directory("upper/third", redirect="/second/deep")
    assert tree.lines() == ["A /third", "A /third/file"]


def test_metadata_only_copies(tree: Tree) -> None:
    tree.file("low/file", "data")
    tree.mark(tree.file("upper/file", "\0\0\0\0"), metacopy="")
    assert tree.lines() == []
    tree.file("low/other", "DATA")
    tree.mark(tree.path / "upper/file", redirect="/other")
    assert tree.lines() == ["C /file"]


def test_whiteouts_of_an_image(tree: Tree) -> None:
    tree.file("low/d/gone")
    tree.file("low/d/kept")
    tree.directory("mid/d", opaque="x")
    tree.mark(tree.file("mid/d/gone"), whiteout="y")
    tree.file("upper/d/gone")
    tree.file("upper/d/kept", "1")
    assert tree.lines() == ["C /d", "A /d/gone", "C /d/kept"]


def test_marks_of_another_overlay_mean_nothing(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's root may set user.* as it likes."""
    monkeypatch.setattr(changes, "sees_trusted", lambda: True)
    tree.file("low/d/a")
    tree.directory("upper/d", opaque="y", redirect="../../..")
    assert tree.changes(userxattr=False) == Changes(b"C /d\0", ())  # an attribute more, no less


# --- what is as docker compares, and what is beyond it ----------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "old", "is_same"),
    [
        (LONG_AGO * 10**9, LONG_AGO * 10**9 + 1, True),
        (LONG_AGO * 10**9 + 1, LONG_AGO * 10**9, True),
        (LONG_AGO * 10**9 + 2, LONG_AGO * 10**9 + 1, False),
        (LONG_AGO * 10**9, LONG_AGO * 10**9 + 10**9, False),
    ],
)
def test_times_without_a_fraction_of_the_second(tree: Tree, new: int, old: int, is_same: bool) -> None:
    for layer, time in (("upper", new), ("low", old)):
        os.utime(tree.file(f"{layer}/file", "same"), ns=(time, time))
    assert tree.lines() == ([] if is_same else ["C /file"])


def test_content_and_xattrs_that_docker_diff_does_not_look_at(tree: Tree) -> None:
    tree.file("low/content", "1")
    tree.file("upper/content", "2")
    tree.file("low/xattr")
    os.setxattr(tree.file("upper/xattr"), "user.mine", b"")
    tree.directory("low/d")
    os.setxattr(tree.directory("upper/d"), "user.mine", b"")
    assert tree.lines() == ["C /content", "C /d", "C /xattr"]


def test_the_root_itself(tree: Tree) -> None:
    (tree.path / "upper").chmod(0o711)
    assert tree.lines() == ["C /"]


def test_what_would_take_too_long_to_read_is_told(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_COMPARED", 5)
    for name in ("a", "b"):
        tree.file(f"low/{name}", "1234")
        tree.file(f"upper/{name}", "1234")
    found = tree.changes()
    assert found.changes == ()
    [gap] = found.gaps
    assert gap.minor and gap.why.startswith("1 files of the same size and time")


def test_a_link_is_not_read(tree: Tree) -> None:
    """It would move its access time."""
    for layer, target in (("low", "a"), ("upper", "b")):
        (tree.path / layer / "link").symlink_to(target)
        os.utime(tree.path / layer / "link", (LONG_AGO, LONG_AGO), follow_symlinks=False)
    found = tree.changes()
    assert (found.changes, len(found.gaps)) == ((), 1)


# --- hostile layers ---------------------------------------------------------------------------------------------


def test_links_are_not_followed(tree: Tree) -> None:
    tree.file("outside/secret")
    (tree.path / "upper/added").symlink_to(tree.path / "outside")
    tree.file("low/was-directory/secret")
    (tree.path / "upper/was-directory").symlink_to(tree.path / "outside")
    (tree.path / "low/was-link").symlink_to(tree.path / "outside")
    tree.file("upper/was-link/secret")
    assert tree.lines() == ["A /added", "C /was-directory", "C /was-link", "A /was-link/secret"]


@pytest.mark.parametrize(
    "redirect", ["..", "../outside", "/../outside", "/d/../../outside", "/", "//d", "/d/", ".", "a\0b"]
)
def test_a_redirect_does_not_lead_out_of_a_layer(tree: Tree, redirect: str) -> None:
    tree.file("outside/secret")
    tree.directory("low/d")
    tree.directory("upper/new", redirect=redirect)
    found = tree.changes()
    assert lines(found) == []
    [gap] = found.gaps
    assert "is no path of plain names" in gap.why and not gap.minor


def test_a_redirect_through_a_link_leads_nowhere(tree: Tree) -> None:
    tree.file("outside/secret")
    (tree.path / "low/link").symlink_to("../outside")
    tree.directory("upper/new", redirect="/link")
    assert tree.lines() == ["A /new"]


def test_fifos_are_not_opened(tree: Tree) -> None:
    for layer in ("upper", "low"):
        os.mkfifo(tree.path / layer / "fifo")
        os.utime(tree.path / layer / "fifo", (LONG_AGO, LONG_AGO))
    assert tree.lines() == []


def test_directories_nested_deeper_than_descriptors_are_allowed(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        tree.directory("upper/" + "/".join("d" * 100))
        assert len(tree.lines()) == 100
        monkeypatch.setattr(changes, "MAX_PATH", 100)
        found = tree.changes()
        assert len(lines(found)) == 51
        assert ["nested deeper" in gap.why for gap in found.gaps] == [True]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_more_is_kept_than_there_is_room_for(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        tree.file(f"upper/d/{number}")
    monkeypatch.setattr(changes, "MAX_KEPT", 1000)
    found = tree.changes()
    assert 0 < len(lines(found)) < 10
    assert ["more changes than are kept" in gap.why for gap in found.gaps] == [True]
    monkeypatch.setattr(changes, "MAX_KEPT", 1 << 20)
    monkeypatch.setattr(overlayfs, "MAX_NAMES", 5)
    assert ["more than 5 names" in gap.why for gap in tree.changes().gaps] == [True]


def test_what_is_added_is_told_at_once_as_one_by_one(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no image, and where it is empty."""
    for name in ("a", "a.b", "a b", "b", "b\udcff", "c", "ü", "\U0001f40b"):
        tree.file(f"upper/{name}-file")
        tree.file(f"upper/{name}/beneath")
        (tree.path / f"upper/{name}-link").symlink_to("a")
    at_once, one_by_one = set(), set()
    for limit in range(0, 5200, 50):
        monkeypatch.setattr(changes, "MAX_KEPT", limit)
        at_once.add(collect_changes(str(tree.path / "upper"), [], None, userxattr=True))
        one_by_one.add(collect_changes(str(tree.path / "upper"), [str(tree.path / "mid")], None, userxattr=True))
    assert at_once == one_by_one
    assert len(at_once) == 32  # of one to all of them


@pytest.mark.parametrize("worth", [0, 1000])
def test_layers_below_listed_or_asked_are_the_same(tree: Tree, monkeypatch: pytest.MonkeyPatch, worth: int) -> None:
    monkeypatch.setattr(changes, "_WORTH_LISTING", worth)
    for name in ("a", "b", "sub/c"):
        tree.file(f"low/d/{name}", "1")
    tree.file("mid/d/b", "22")
    tree.directory("mid/d", opaque="x")
    tree.mark(tree.file("mid/d/a"), whiteout="y")
    for name in ("a", "b", "sub", "new"):
        tree.file(f"upper/d/{name}", "1")
    assert tree.lines() == ["C /d", "A /d/a", "C /d/b", "A /d/new", "C /d/sub"]


# --- what cannot be seen ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["upper", "mid"])
def test_a_layer_that_is_not_there(tree: Tree, layer: str) -> None:
    (tree.path / layer).rmdir()
    found = tree.changes()
    assert found.changes is None
    assert [(gap.subject, gap.why, gap.minor) for gap in found.gaps] == [
        (str(tree.path / layer), "No such file or directory", False)
    ]


def test_marks_that_are_not_shown(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "sees_trusted", lambda: False)
    [gap] = tree.changes(userxattr=False).gaps
    assert (gap.remedy, gap.minor) == ("run as root", False)


def test_what_only_the_index_knows_is_a_gap(tree: Tree) -> None:
    tree.directory("work/index")
    assert tree.changes().gaps == ()
    tree.file("work/index/00fb1d00")
    assert ["index=on" in gap.why for gap in tree.changes().gaps] == [True]


def test_not_every_gap_is_told_one_by_one(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_GAPS", 2)
    for number in range(5):
        tree.directory(f"upper/{number}", redirect="..")
    first, second, rest = tree.changes().gaps
    assert first.subject.endswith("/upper/0") and second.subject.endswith("/upper/1")
    assert rest.why.startswith("3 more")


def test_whose_marks_count_when_nothing_is_mounted(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of who wrote overlay2's `link`."""
    monkeypatch.setattr(changes, "sees_trusted", lambda: True)
    tree.file("low/d/a")
    tree.directory("upper/d", opaque="y")
    assert lines(tree.changes(userxattr=None)) == ["C /d"]
    tree.file("link")
    monkeypatch.setattr(changes, "_is_of_user", lambda layer, root: layer == str(tree.path) and not root)
    assert lines(tree.changes(userxattr=None)) == ["C /d", "D /d/a"]


# --- names ------------------------------------------------------------------------------------------------------


def test_names_of_any_bytes(tree: Tree) -> None:
    for name in (b"\xff", "ü".encode(), b"\\xff", b"a\nb"):
        (tree.path / "upper" / os.fsdecode(name)).touch()
    found = tree.changes()
    assert found.changes == (
        Change(kind="A", path="/\\xff"),
        Change(kind="A", path="/a\nb"),
        Change(kind="A", path="/ü"),
        Change(kind="A", path="/\\xff", raw=b"/\xff"),
    )
    assert found.lines == "A /\\xff\0A /a\nb\0A /ü\0".encode() + b"A /\xff\0"
    assert render_changes(found.lines) == "A /\\xff\nA /a\\nb\nA /ü\nA /\\xff\n"


NAMES = st.lists(st.binary(min_size=1).map(lambda name: b"/" + name.replace(b"\0", b" ")))


@given(
    paths=NAMES
    | st.lists(st.text(min_size=1).map(lambda name: f"/{name}".replace("\0", " ").encode("utf-8", "replace"))),
    ascii_only=st.booleans(),
)
@example(paths=[b"/ \xe2\x82", b"/\xac"], ascii_only=False)
@example(paths=["/ü".encode(), b"/a"], ascii_only=True)
@example(paths=[b"/a b", b"/a  b"], ascii_only=False)
def test_all_lines_at_once_are_each_for_itself(paths: list[bytes], ascii_only: bool) -> None:
    lines = b"".join(b"A %s\0" % path for path in paths)
    plain = "".join(f"A {safe(text(path), ascii_only=ascii_only)}\n" for path in paths)
    assert render_changes(lines, ascii_only=ascii_only) == plain


# --- whose layers -----------------------------------------------------------------------------------------------

UPPER = "/var/lib/docker/overlay2/m/diff"


def asked(driver: str, *layers: LayerRecord, mounts: tuple[MountPoint, ...] = ()) -> Layers | Gap:
    facts = factory.host_with_web(containers=(factory.record(driver=driver),), layers=layers, mounts=mounts)
    inspection = Inspection(facts)
    return layers_of(inspection, inspection.container("web"))


def recorded() -> LayerRecord:
    return LayerRecord(
        container_id=factory.WEB_ID, mount_id="m", lower=("/l",), upper=UPPER, work="/w", merged="/merged"
    )


def overlay(*options: str) -> MountPoint:
    return MountPoint(
        mntns=factory.WEB_MNTNS,
        mount_id=1,
        parent_id=0,
        device="0:50",
        root="/",
        mount_point="/",
        options=("rw",),
        fstype="overlay",
        source="overlay",
        super_options=options,
        lowerdir=("2/fs", "/1/fs"),
        upperdir="/s/3/fs",
        workdir="/s/3/work",
    )


def test_layers_as_recorded() -> None:
    assert asked("overlay2", recorded()) == Layers(UPPER, ("/l",), "/w", None)


def test_layers_as_mounted() -> None:
    assert asked("overlayfs", mounts=(overlay("rw", "userxattr"),)) == Layers(
        "/s/3/fs", ("/s/2/fs", "/1/fs"), "/s/3/work", True
    )


def test_layers_that_are_not_known() -> None:
    for driver, remedy in (("vfs", "docker diff it"), ("overlayfs", "start it"), ("fuse-overlayfs", "docker diff it")):
        gap = asked(driver, *([recorded()] if driver == "fuse-overlayfs" else []))
        assert isinstance(gap, Gap)
        assert driver in gap.subject and gap.remedy.startswith(remedy) and not gap.minor
