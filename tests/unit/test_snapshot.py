"""Facts to a file and back."""

from __future__ import annotations

import gzip
import os
import re
import stat
from pathlib import Path

import pytest

from hostinspect.cli.app import run
from hostinspect.facts import Facts, Gap, Host, Rule
from hostinspect.snapshot import SnapshotError, read_snapshot, write_snapshot

FACTS = Facts(
    host=Host(hostname="wörk", kernel="6.1", collected_at="2026-01-01T00:00:00Z"),
    rules=(
        Rule(netns=1, family="ipv4", backend="nft", table="nat", chain="DOCKER", position=1, text="-A", packets=2**63),
    ),
    gaps=(Gap(collector="rules", subject="a", why="b", remedy="c", minor=True),),
)


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_snapshot(FACTS, str(path))
    assert read_snapshot(str(path)) == FACTS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["a"]  # noqa: PTH208


def test_an_older_file_is_replaced_and_equal_facts_are_equal_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    write_snapshot(FACTS, str(path))
    first = path.read_bytes()
    write_snapshot(FACTS, str(path))
    assert path.read_bytes() == first


def test_nothing_is_left_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write_snapshot(FACTS, str(tmp_path / "a"))
    assert os.listdir(tmp_path) == ["a"]  # noqa: PTH208


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a gzip file"),
        (b"{}", "not a gzip file"),
        (gzip.compress(b"{}"), "no snapshot of hostinspect"),
        (gzip.compress(b"[" * 100_000), "no snapshot of hostinspect"),
        (gzip.compress(b'{"hostinspect_snapshot": 9, "written_by": "7.0"}'), "in form 9, written by hostinspect 7.0"),
        (
            gzip.compress(b'{"hostinspect_snapshot": 1, "written_by": "0", "facts": {"host": 3}}'),
            "damaged: .*facts.host",
        ),
        (gzip.compress(b"x" * 1000)[:20], "cut short"),
        (gzip.compress(b"x" * 1000)[:-4] + b"\0\0\0\0", "damaged"),
    ],
    ids=["empty", "plain", "another's", "nested", "newer", "other facts", "cut", "damaged"],
)
def test_what_is_no_snapshot_is_refused_in_words(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(SnapshotError, match=why):
        read_snapshot(str(path))


# Of the first hostinspect that could write one, on a host with the demo scenario.
FIRST = Path(__file__).parent / "fixtures" / "first.snapshot"


@pytest.mark.parametrize(
    "question",
    [
        ["report", "-o", "json"],
        ["report", "-o", "tree"],
        ["containers"],
        ["container", "web1"],
        ["networks", "my_net"],
        ["bridges"],
        ["links"],
        ["ports", "-o", "json"],
        ["nat"],
        ["volumes", "myvol01"],
        ["layers"],
        ["whois", "web1", "172.17.0.2"],
        ["trace", "8080"],
    ],
    ids=" ".join,
)
def test_every_command_answers_from_the_first_snapshot_ever(
    question: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*question, "--from", str(FIRST)]) in (0, 1, 3)
    said = capsys.readouterr()
    assert re.search(r"web1|myvol01|docker0|mysql_app", said.out)
    assert "bug" not in said.err


def test_the_first_snapshot_has_what_it_had() -> None:
    facts = read_snapshot(str(FIRST))
    assert len(facts.containers) == 16
    assert {link.ifname for link in facts.links} >= {"docker0", "eth0"}
    assert len(facts.rules) > 50
    assert facts.image_layers == ()  # which nobody read then
