"""Names, addresses and paths replaced, alike wherever they occur."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from hostinspect import facts
from hostinspect.facts import ContainerRecord, Facts, Gap, Host, Link, RecordedEndpoint, Rule
from hostinspect.redaction import PLAIN, Pseudonyms, redact

IP4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
IP6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
ID = "0f" * 32


def test_every_plain_field_is_one() -> None:
    known = {
        (name, field)
        for name, kind in vars(facts).items()
        if isinstance(kind, type) and issubclass(kind, Struct)
        for field in kind.__struct_fields__
    }
    assert {(name, field) for name, plain in PLAIN.items() for field in plain} <= known


@given(st.lists(IP4 | IP6, min_size=2, max_size=6, unique=True), st.binary(min_size=32, max_size=32))
def test_addresses_become_others_that_share_as_much(addresses: list[Address], key: bytes) -> None:
    pseudonyms = Pseudonyms(key)
    changed = [ipaddress.ip_address(pseudonyms.text(str(address))) for address in addresses]
    assert len({*changed}) == len(addresses)
    for a, b in zip(addresses, changed, strict=True):
        assert a.version == b.version
        assert a.is_loopback == b.is_loopback
        assert a.is_multicast == b.is_multicast
        assert a.is_link_local == b.is_link_local
        for c, d in zip(addresses, changed, strict=True):
            if a.version == c.version and a != b and c != d:
                assert _shared(a, c) == _shared(b, d)


def _shared(a: Address, b: Address) -> int:
    return a.max_prefixlen - (int(a) ^ int(b)).bit_length()


@given(IP4, st.integers(0, 32))
def test_networks_stay_networks(address: ipaddress.IPv4Address, length: int) -> None:
    network = ipaddress.ip_network((address, length), strict=False)
    pseudonyms = Pseudonyms(b"k" * 32)
    changed = ipaddress.ip_network(pseudonyms.text(str(network)))  # raises where bits of hosts are set
    assert changed.prefixlen == length
    inside = pseudonyms.text(str(address))
    if changed != network and inside != str(address):
        assert ipaddress.ip_address(inside) in changed


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    pseudonyms = Pseudonyms(b"k" * 32)
    for replaced in (pseudonyms.text(text), pseudonyms.secretive(text), pseudonyms.sentence(text)):
        assert isinstance(replaced, str)
    assert pseudonyms.text(text) == pseudonyms.text(text)


def test_the_namespace_of_an_overlay_network_keeps_its_name() -> None:
    """It has the beginning of the network's id, which may be all letters; elsewhere it may be anybody's word."""
    pseudonyms = Pseudonyms(b"k" * 32)
    for path in ("/run/docker/netns/1-qkgcvchdbw", "/var/run/docker/netns/12-s1ep7prc6t"):
        assert pseudonyms.text(path) == path
        assert pseudonyms.sentence(f"namespace {path} is gone") == f"namespace {path} is gone"
    for path in ("/srv/1-qkgcvchdbw", "/run/docker/netns/1-qkgcvchdbw.acme", "/run/docker/netns/qkgcvchdbw"):
        assert "qkgcvchdbw" not in pseudonyms.text(path)
    assert "qkgcvchdbw" not in pseudonyms.secretive("/run/docker/netns/1-qkgcvchdbw")


def test_words_are_called_the_same_everywhere() -> None:
    read = Facts(
        host=Host(hostname="prod7", kernel="6.1", collected_at="2026-01-01T00:00:00Z"),
        links=(
            Link(
                netns=1, ifindex=2, ifname="docker0", mac="02:42:ac:11:00:02", alias=ID, bridge_id="8000.0242ac110002"
            ),
        ),
        containers=(
            ContainerRecord(
                engine="docker",
                data_root="/var/lib/docker",
                id=ID,
                name="payroll",
                image="registry.acme.example/payroll:latest",
                labels=(("token", ID),),
                endpoints=(RecordedEndpoint(network="bridge", ip="172.17.0.2", mac="02:42:ac:11:00:02"),),
                log_path=f"/var/lib/docker/containers/{ID}/{ID}-json.log",
            ),
        ),
        rules=(
            Rule(
                netns=1,
                family="ipv4",
                backend="nft",
                table="nat",
                chain="DOCKER",
                position=1,
                verdict="DNAT",
                text="-A DOCKER -d 172.17.0.2/32 ! -i docker0 -p tcp -m tcp --dport 80 -m comment --comment payroll -j DNAT",  # noqa: E501
            ),
        ),
        gaps=(
            Gap(
                collector="containers", subject="/home/alice/payroll", why="payroll is gone from 172.17.0.2", remedy="-"
            ),
        ),
    )
    redacted = redact(read)
    (link,), (container,), (rule,), (gap,) = redacted.links, redacted.containers, redacted.rules, redacted.gaps
    name = container.name
    assert name != "payroll"
    assert (container.id, container.data_root, container.log_path) == (
        ID, "/var/lib/docker", f"/var/lib/docker/containers/{ID}/{ID}-json.log",
    )  # fmt: skip
    assert container.image is not None
    assert container.image.endswith(f"/{name}:latest")
    assert "acme" not in container.image
    assert container.labels[0][1] != ID
    assert link.alias != ID
    (endpoint,) = container.endpoints
    assert endpoint.mac == link.mac != "02:42:ac:11:00:02"
    assert link.bridge_id == "8000." + (link.mac or "").replace(":", "")
    assert endpoint.ip != "172.17.0.2"
    assert rule.text == (
        f"-A DOCKER -d {endpoint.ip}/32 ! -i docker0 -p tcp -m tcp --dport 80 -m comment --comment {name} -j DNAT"
    )
    assert gap.why == f"{name} is gone from {endpoint.ip}"
    assert gap.subject.startswith("/home/")
    assert "alice" not in gap.subject
    assert redacted.host.hostname != "prod7"
