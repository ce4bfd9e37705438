"""The JSON Schemas of what is printed, made from the classes it consists of."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec

from hostinspect.topology import SCHEMA_VERSION

ANSWERS = {  # command: module and class, loaded when asked for
    "report": ("hostinspect.topology", "Topology"),
    "containers": ("hostinspect.questions.containers", "Containers"),
    "container": ("hostinspect.questions.container", "ContainerDetails"),
    "networks": ("hostinspect.questions.networks", "Networks"),
    "bridges": ("hostinspect.questions.bridges", "Bridges"),
    "links": ("hostinspect.questions.links", "Links"),
    "ports": ("hostinspect.questions.ports", "Ports"),
    "nat": ("hostinspect.questions.nat", "Nat"),
    "volumes": ("hostinspect.questions.volumes", "Volumes"),
    "layers": ("hostinspect.questions.layers", "Layers"),
    "diff": ("hostinspect.questions.diff", "Diff"),
    "doctor": ("hostinspect.doctor.check", "Doctor"),
    "whois": ("hostinspect.questions.whois.answer", "Whois"),
    "trace": ("hostinspect.questions.trace.answer", "Traces"),
    "compare": ("hostinspect.questions.compare", "Comparison"),
    "watch": ("hostinspect.questions.compare", "Happening"),  # of each line
}


def answer_schema(command: str) -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of `hostinspect COMMAND -o json`.

    Every key is always there but for those with a default in `Gap`. Further keys may be added within one major
    version of `schema_version`, so none are forbidden. Raises KeyError for a command that prints none.
    """
    module, name = ANSWERS[command]
    schema = msgspec.json.schema(getattr(import_module(module), name))
    _order_alternatives(schema)
    for definition in schema["$defs"].values():
        if definition["title"] != "Gap":  # whose class leaves out what has its default
            definition["required"] = [*definition["properties"]]
    major = SCHEMA_VERSION.split(".", 1)[0]
    version = schema["$defs"][name]["properties"]["schema_version"]
    version["pattern"] = rf"^{major}\.[0-9]+$"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"hostinspect {command}",
        "description": f"What `hostinspect {command} -o json` prints: schema_version {SCHEMA_VERSION}.",
        **schema,
    }


def _order_alternatives(schema: Any) -> None:
    """Put `null` last everywhere: versions of msgspec differ in the order, and the file in docs/ should not."""
    if isinstance(schema, dict):
        if "anyOf" in schema:
            schema["anyOf"] = sorted(schema["anyOf"], key=lambda alternative: alternative == {"type": "null"})
        for value in schema.values():
            _order_alternatives(value)


def render_schema(command: str) -> str:
    """The schema as JSON, two spaces deep, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(answer_schema(command)), indent=2).decode() + "\n"
