"""What Docker takes for an id, and for a name. Loaded with next to nothing: names are completed by it."""

from __future__ import annotations

CONTAINERD_DRIVER = "overlayfs"  # what a container's record has for its storage driver in the containerd image store


def is_id(name: str) -> bool:
    """Whether `name` is a whole id of Docker: 64 hexadecimal digits. Swarm's (25 of base 36) are none."""
    return len(name) == 64 and not name.strip("0123456789abcdef")


def is_name(name: str) -> bool:
    """Whether Docker would take it for a name: a letter or digit, then these, "_", "." and "-"."""
    return name[:1].isalnum() and name.isascii() and name.translate(_ALLOWED).isalnum()


_ALLOWED = str.maketrans("_.-", "xxx")
