"""The JSON Schema of the report, made from the classes it consists of."""

from __future__ import annotations

from typing import Any

import msgspec

from hostinspect.topology import SCHEMA_VERSION, Topology


def report_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of `hostinspect report -o json`.

    Every key is always there but for those with a default in `Gap`. Further keys may be added within one major
    version of `schema_version`, so none are forbidden.
    """
    schema = msgspec.json.schema(Topology)
    _order_alternatives(schema)
    for definition in schema["$defs"].values():
        if definition["title"] != "Gap":  # whose class leaves out what has its default
            definition["required"] = [*definition["properties"]]
    major = SCHEMA_VERSION.split(".", 1)[0]
    version = schema["$defs"]["Topology"]["properties"]["schema_version"]
    version["pattern"] = rf"^{major}\.[0-9]+$"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hostinspect report",
        "description": f"What `hostinspect report -o json` prints: schema_version {SCHEMA_VERSION}.",
        **schema,
    }


def _order_alternatives(schema: Any) -> None:
    """Put `null` last everywhere: versions of msgspec differ in the order, and the file in docs/ should not."""
    if isinstance(schema, dict):
        if "anyOf" in schema:
            schema["anyOf"] = sorted(schema["anyOf"], key=lambda alternative: alternative == {"type": "null"})
        for value in schema.values():
            _order_alternatives(value)


def render_schema() -> str:
    """The schema as JSON, two spaces deep, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(report_schema()), indent=2).decode() + "\n"
