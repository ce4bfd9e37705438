"""An answer as YAML: the same keys and values as its JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from hostinspect.topology import Node

try:
    from yaml import CSafeDumper as _SafeDumper
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeDumper as _SafeDumper  # type: ignore[assignment]


class _Dumper(_SafeDumper):
    """Writes a string with anything unprintable in it as one quoted, escaped line."""

    def ignore_aliases(self, data: Any) -> bool:
        """Every value in full: `*id001` is of no use to a reader."""
        return True


def _represent_str(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = None if value.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _represent_str)


def render_yaml(answer: Node) -> str:
    """YAML 1.1 that a YAML 1.2 reader takes too, ending in a newline.

    Quoted lines still hold printable Unicode as it is; only where there is something a terminal might obey, such as
    a bidirectional control, which YAML calls printable, is everything beyond ASCII escaped.
    """
    content = msgspec.to_builtins(answer)
    text = _dump(content, allow_unicode=True)
    return text if text.replace("\n", "").isprintable() else _dump(content, allow_unicode=False)


def _dump(content: object, *, allow_unicode: bool) -> str:
    text: str = yaml.dump(content, Dumper=_Dumper, allow_unicode=allow_unicode, sort_keys=False, width=2**31 - 1)
    return text
