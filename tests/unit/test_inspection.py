"""What a person means by a name."""

from __future__ import annotations

import pytest

from hostinspect.facts import Facts, Host
from hostinspect.questions.inspection import AmbiguousNameError, Inspection, NameNotFoundError
from tests.unit.sample import make_container, make_network, make_topology, make_volume

WEB, WEB2, TRICKY = "ab" * 32, "ac" * 32, "ba" * 32


@pytest.fixture
def inspection() -> Inspection:
    inspected = Inspection(Facts(host=Host(hostname="h", kernel="6", collected_at="2026-01-01T00:00:00Z")))
    inspected.topology = make_topology(
        [make_container("web", id=WEB), make_container("web2", id=WEB2), make_container("ab", id=TRICKY)],
        [make_network("lan", id=WEB), make_network("lan", id=WEB2)],
        volumes=(make_volume("data"), make_volume("cd" * 32, anonymous=True), make_volume("ce" * 32, anonymous=True)),
    )
    return inspected


@pytest.mark.parametrize(
    ("name", "found"),
    [("web", WEB), ("/web", WEB), (WEB, WEB), ("abab", WEB), ("ac", WEB2), ("ab", TRICKY), ("b", TRICKY)],
)
def test_a_name_goes_before_the_beginning_of_an_id(inspection: Inspection, name: str, found: str) -> None:
    assert inspection.container(name).id == found


def test_an_ambiguous_name_tells_the_candidates(inspection: Inspection) -> None:
    with pytest.raises(AmbiguousNameError, match=r"a may be any of 2 containers: abababababab \(web\), acacacacacac"):
        inspection.container("a")
    with pytest.raises(AmbiguousNameError, match="lan may be any of 2 networks"):
        inspection.network("lan")
    with pytest.raises(AmbiguousNameError):
        inspection.volume("c")


def test_an_unknown_name_suggests_similar_ones(inspection: Inspection) -> None:
    with pytest.raises(NameNotFoundError, match=r"No such container: wbe\. Did you mean web\?"):
        inspection.container("wbe")
    with pytest.raises(NameNotFoundError, match=r"^No such volume: d$|No such volume: dat\. Did you mean data\?"):
        inspection.volume("dat")
    with pytest.raises(NameNotFoundError, match=r"No such container: \.$"):
        inspection.container("")


def test_an_anonymous_volume_by_its_beginning(inspection: Inspection) -> None:
    assert inspection.volume("cd").name == "cd" * 32
    assert inspection.volume("data").name == "data"
