"""The report as JSON and YAML, and the schema that it keeps to."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from msgspec.structs import replace

from hostinspect.render.json import render_json, render_json_in_parts
from hostinspect.render.schema import ANSWERS, answer_schema, render_schema
from hostinspect.render.yaml import render_yaml
from hostinspect.topology import SCHEMA_VERSION, Topology
from tests.unit.sample import demo, make_container, make_topology

HOSTILE = "a\x1b[31m\x07\x9b2J\x7f\u202eb\u2066\n\t\"'\\: #\u2028ö数😀\U000e0041"
SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"


def _hostile() -> Topology:
    return make_topology([make_container("web", image=HOSTILE, labels={HOSTILE: HOSTILE})])


def test_json_is_what_the_schema_says() -> None:
    schema = answer_schema("report")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(render_json(demo())), schema, cls=jsonschema.Draft202012Validator)


def test_the_schema_notices_what_is_missing_or_of_another_kind() -> None:
    validator = jsonschema.Draft202012Validator(answer_schema("report"))
    report = json.loads(render_json(demo()))
    del report["containers"][0]["overlay"]
    report["networks"][0]["internal"] = "no"
    report["schema_version"] = "2.0"
    paths = {tuple(error.absolute_path) for error in validator.iter_errors(report)}
    assert paths == {("containers", 0), ("networks", 0, "internal"), ("schema_version",)}


def test_the_schema_takes_keys_of_a_later_version() -> None:
    report = json.loads(render_json(demo())) | {"added_later": 1, "schema_version": "1.7"}
    jsonschema.validate(report, answer_schema("report"), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("command", ANSWERS)
def test_the_schema_in_the_documentation_is_the_one_printed(command: str) -> None:
    file = SCHEMAS / f"{command}.json"
    assert file.read_text() == render_schema(command), f"hostinspect schema {command} > docs/schema/{command}.json"


def test_no_schema_is_left_of_a_command_that_is_gone() -> None:
    assert {file.stem for file in SCHEMAS.iterdir()} == {*ANSWERS}


@pytest.mark.parametrize("command", ANSWERS)
def test_every_class_of_a_schema_is_described(command: str) -> None:
    schema = answer_schema(command)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA_VERSION in schema["description"]
    assert all(definition.get("description") for definition in schema["$defs"].values())


def test_json_and_yaml_say_the_same() -> None:
    assert yaml.safe_load(render_yaml(demo())) == json.loads(render_json(demo()))


@pytest.mark.parametrize("render", [render_json, render_yaml])
def test_equal_topologies_are_equal_bytes(render: object) -> None:
    assert render(demo()) == render(demo())  # type: ignore[operator]


@pytest.mark.parametrize(("render", "load"), [(render_json, json.loads), (render_yaml, yaml.safe_load)])
def test_hostile_text_is_lossless_and_harmless(render: object, load: object) -> None:
    document = render(_hostile())  # type: ignore[operator]
    text = document.decode() if isinstance(document, bytes) else document
    container = load(text)["containers"][0]  # type: ignore[operator]
    assert container["image"] == HOSTILE
    assert container["labels"] == {HOSTILE: HOSTILE}
    assert text.endswith("\n") and text.replace("\n", "").isprintable()


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
def test_json_in_parts_is_that_of_the_whole(count: int) -> None:
    hostile = {"image": '\n  "links": []\n', "labels": {HOSTILE: HOSTILE}}
    made = make_topology([make_container(f"web{number}", **hostile) for number in range(count)])
    for topology in (demo(), made, replace(made, links=demo().links * 30)):
        parts = [*render_json_in_parts(topology)]
        assert b"".join(parts) == render_json(topology)
        assert (len(parts) > 1) == any(len(things) > 100 for things in (topology.containers, topology.links))


def test_printable_text_stays_readable() -> None:
    topology = make_topology([make_container("web", image="wörk/数据:1")])
    assert "wörk/数据:1" in render_json(topology).decode()
    assert "wörk/数据:1" in render_yaml(topology)


def test_yaml_keeps_each_value_on_its_line_and_repeats_equal_ones() -> None:
    endless = "x y " * 200
    topology = make_topology([make_container("web", image=endless, labels={"a": "yes", "b": "1.0", "c": "null"})])
    text = render_yaml(replace(topology, gaps=()))
    assert any(endless.strip() in line for line in text.splitlines())
    assert "&id001" not in text
    assert yaml.safe_load(text)["containers"][0]["labels"] == {"a": "yes", "b": "1.0", "c": "null"}
