"""Which kinds of things are worth a shape: those met again (`alike`, and `shapes` of nf_tables and of x_tables)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable

_OF_A_KIND = 8  # shapes, each of which is compared in turn with what is of the kind
_KINDS = 256


class Met:
    """What was met that had no shape, by kind. The first of a kind teaches nothing: most have no second.

    >>> met = Met()
    >>> [met.is_to_learn("a") for _ in range(3)], met.is_to_learn("b")
    ([False, True, True], False)
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def is_to_learn(self, kind: Hashable) -> bool:
        """Whether to make a shape of another one of this kind, which had none."""
        count = self._counts.get(kind)
        if count is not None:
            self._counts[kind] = count + 1
            return count < _OF_A_KIND
        if len(self._counts) < _KINDS:
            self._counts[kind] = 0
        return False
