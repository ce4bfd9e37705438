"""os-release files, and the host collector over a file system made up."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.host import collect_host
from hostinspect.kernel import host
from hostinspect.kernel.host import parse_os_release


def test_os_release_of_debian() -> None:
    raw = b"""PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
ID=debian
HOME_URL="https://www.debian.org/"
"""
    variables = parse_os_release(raw)
    assert variables["PRETTY_NAME"] == "Debian GNU/Linux 12 (bookworm)"
    assert variables["ID"] == "debian"


def test_os_release_quoting() -> None:
    raw = rb"""# comment
A='single $x "y"'
B="a \"b\" \$c \`d\` \\ \n"
C=
D=bare # no comment here
E="unterminated
 F=indented
\xff=\xff
"""
    assert parse_os_release(raw) == {"A": 'single $x "y"', "B": 'a "b" $c `d` \\ \\n', "C": "", "F": "indented"}


@given(st.binary())
def test_any_os_release(raw: bytes) -> None:
    assert all(isinstance(value, str) for value in parse_os_release(raw).values())


def fake_host(path: Path) -> None:
    for directory in ("etc", "usr/lib", "proc/1/ns", "proc/sys/kernel/random"):
        (path / directory).mkdir(parents=True)
    (path / "usr/lib/os-release").write_text('PRETTY_NAME="Fedora Linux 42"\n')
    (path / "proc/1/ns/net").symlink_to("net:[40]")
    (path / "proc/1/ns/mnt").symlink_to("mnt:[41]")
    (path / "proc/stat").write_text("cpu 1 2\nbtime 1735689600\nprocesses 9\n")
    (path / "proc/sys/kernel/random/boot_id").write_text("0d6ad7a8-6b30-44a3-a7f5-4f6a0f6c7f10\n")


def test_a_host(tmp_path: Path) -> None:
    fake_host(tmp_path)
    gaps = GapLog()
    host = collect_host(gaps, str(tmp_path / "proc"), str(tmp_path))
    assert gaps.as_tuple() == ()
    assert host.os == "Fedora Linux 42"
    assert host.boot_id == "0d6ad7a8-6b30-44a3-a7f5-4f6a0f6c7f10"
    assert host.boot_time == 1735689600
    assert (host.netns, host.mntns) == (40, 41)
    assert host.hostname and host.kernel and host.clock_ticks > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", host.collected_at)


def test_a_host_that_answers_nothing(tmp_path: Path) -> None:
    gaps = GapLog()
    host = collect_host(gaps, str(tmp_path / "proc"), str(tmp_path))
    assert (host.os, host.boot_id, host.boot_time, host.netns, host.mntns) == (None,) * 5
    assert {gap.why for gap in gaps.as_tuple()} == {"No such file or directory"}
    assert len(gaps.as_tuple()) == 3


def test_ours_stand_in_for_pid_1s_namespaces(tmp_path: Path) -> None:
    fake_host(tmp_path)
    (tmp_path / "proc/1").rename(tmp_path / "proc/self")
    gaps = GapLog()
    host = collect_host(gaps, str(tmp_path / "proc"), str(tmp_path))
    assert (host.netns, host.mntns) == (40, 41)


@given(
    st.lists(
        st.sampled_from(["A", "b_1", "é", "=", '"', "'", "\\", "$", " ", "\t", "#", "x", "1.2-3", "²", "\n"]),
        max_size=9,
    )
)
def test_a_plain_line_reads_as_any_other(parts: list[str]) -> None:
    line = "".join(parts)
    found = host._plain(line)
    assert found is None or found == host._assignment(line.strip())
