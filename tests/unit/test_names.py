"""Names that are completed without whole records: those that the records have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostinspect.cli import names
from hostinspect.engines.docker.containers import parse_container
from hostinspect.engines.docker.networks import TABLE, NetworkTable
from hostinspect.engines.docker.table import open_table
from hostinspect.kernel.files import Directory
from tests.unit.docker_fixtures import lay_out

WORDS = st.sampled_from(
    [
        "Name",
        "Driver",
        "name",
        "networkType",
        ',"name":"x","networkType":"',
        "A",
        "/x",
        '"Name":"/x","Driver":"',
        ',"Name":"/x","Driver":"y"',
        '\\",',
        "",
    ]
)


@pytest.mark.parametrize("recorded", ["docker-20.10", "docker-28.5"])
def test_the_name_in_every_record(recorded: str, tmp_path: Path) -> None:
    found = [*lay_out(recorded, tmp_path).glob("containers/*/config.v2.json")]
    assert found
    for file in found:
        record, id_ = file.read_bytes(), file.parent.name
        assert names.name_in(record, id_) == parse_container(record, None, "docker", "/").name


@given(st.dictionaries(WORDS, WORDS), st.lists(WORDS), st.sampled_from(["web1", "a_b.c-d", "é", "a b", "-a", ""]))
def test_nothing_else_is_taken_for_the_name(labels: dict[str, str], env: list[str], name: str) -> None:
    id_ = "0f" * 32
    record = {"State": {"Running": True}, "ID": id_, "Config": {"Env": env, "Labels": dict(sorted(labels.items()))}}
    mounts = {"/x": {"Type": "volume", "Name": "v", "Source": "", "Destination": "/x", "Driver": "local"}}
    record |= {"Name": f"/{name}", "Driver": "overlay2", "MountPoints": mounts}
    written = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        assert names.name_in(written, id_) == name
    except names.NotPlainError:
        assert name not in ("web1", "a_b.c-d")


@pytest.mark.parametrize("recorded", ["docker-20.10", "docker-28.5"])
def test_the_name_in_every_record_of_a_network(recorded: str, tmp_path: Path) -> None:
    with Directory(lay_out(recorded, tmp_path)) as files:
        table = open_table(files, TABLE, 1 << 24)
    found = NetworkTable(table, "docker", "/").networks
    assert found
    prefix = b"docker/network/v1.0/network/"
    records = {key: value[8:] for key, value in table.items(b"libnetwork") if key.startswith(prefix)}
    assert {id_: names.network_in(records[b"%b%b/" % (prefix, id_.encode())], id_) for id_ in found} == {
        id_: network.name for id_, network in found.items()
    }


@given(st.dictionaries(WORDS, WORDS), st.dictionaries(WORDS, WORDS), st.sampled_from(["my_net", "a.b-c", "é", 'a"b']))
def test_nothing_else_is_taken_for_the_name_of_a_network(
    labels: dict[str, str], options: dict[str, str], name: str
) -> None:
    record = {"generic": {"com.docker.network.generic": dict(sorted(options.items()))}, "id": "0f", "inDelete": False}
    record |= {"labels": dict(sorted(labels.items())), "name": name, "networkType": "bridge", "scope": "local"}
    written = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        assert names.network_in(written, "0f") == name
    except names.NotPlainError:
        assert name == 'a"b'


@pytest.mark.parametrize(
    "record",
    [
        b'{"id":"0e","inDelete":false,"name":"n","networkType":"bridge"}',
        b'{"id":"0f","inDelete":true,"name":"n","networkType":"bridge"}',
        b'{"id":"0f","inDelete":false,"name":"n","networkType":"bri',
        b"",
    ],
)
def test_another_or_a_damaged_record_of_a_network_is_not_plain(record: bytes) -> None:
    with pytest.raises(names.NotPlainError):
        names.network_in(record, "0f")


def test_another_containers_record_is_not_plain() -> None:
    with pytest.raises(names.NotPlainError):
        names.name_in(b'{"ID":"0e","Name":"/web1","Driver":"overlay2"}', "0f")


def test_next_to_nothing_is_loaded_for_them() -> None:
    script = """if True:
        import sys
        before = {*sys.modules}
        import hostinspect.cli.completion, hostinspect.cli.names, hostinspect.cli.plain, hostinspect.cli.reading
        import hostinspect.cli.container, hostinspect.cli.supervision, hostinspect.kernel.sandbox
        assert not {"click", "typing", "re", "enum", "collections", "msgspec"} & ({*sys.modules} - before)"""
    subprocess.run([sys.executable, "-c", script], check=True)
