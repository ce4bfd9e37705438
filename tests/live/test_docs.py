"""The output in the documentation is what the commands print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import docs
from tests.lab.host import LabHost


@pytest.fixture(scope="module")
def host() -> Iterator[LabHost]:
    """A host of its own: other tests leave traces in theirs, such as a counter."""
    with LabHost() as fresh:
        fresh.seed()
        yield fresh


PAGES = [page for page in docs.pages() if any(docs.blocks(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_output_shown_is_the_output_printed(page: Path, host: LabHost) -> None:
    for block in docs.blocks(page):
        for (shown_command, shown), (command, printed) in zip(block.exchanges, docs.run(host, block), strict=True):
            assert docs.differences([shown_command], [command]) == []
            assert docs.differences(shown, printed) == [], f"python -m tests.docs {page.name}: $ {command}"


def test_every_command_has_a_page_with_its_output() -> None:
    from hostinspect.cli.commands import COMMANDS

    with_output = {page.stem for page in PAGES}
    assert {*COMMANDS} - {"completion", "schema"} <= with_output


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["web1  172.17.0.5  up 3s"], ["web1  172.17.0.7", "  up 21m"], True),
        (["eth0 ↔ veth13d6de4"], ["eth0 ↔ veth2475451"], True),
        (["port 8080 → 80/tcp"], ["port 8080 → 80/udp"], False),
        (["a", "b"], ["a"], False),
        (["a"], ["a", "b"], False),
        (["a", "…"], ["a", "b"], True),
        (["a", "…", "c"], ["a", "b"], False),
    ],
)
def test_the_comparison(shown: list[str], printed: list[str], same: bool) -> None:
    assert (docs.differences(shown, printed) == []) is same
