"""One look at a host: what was read, what it means, and what a person means by a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

from hostinspect.facts import ContainerRecord, Facts
from hostinspect.topology import Container, Network, Topology, Volume

if TYPE_CHECKING:
    from hostinspect.correlate.index import Index


class _Named(Protocol):
    @property
    def name(self) -> str | None: ...


class _Identified(_Named, Protocol):
    @property
    def id(self) -> str: ...

    @property
    def data_root(self) -> str | None: ...


I = TypeVar("I", bound=_Identified)  # noqa: E741

_SHORTEST_PREFIX = 1  # docker takes a single digit too
_CLOSE = 3  # names that are offered for a mistyped one


class NameNotFoundError(LookupError):
    """Nothing is called so. `suggestions` are names that are nearly the same."""

    def __init__(self, kind: str, name: str, suggestions: Iterable[str]) -> None:
        self.kind, self.name, self.suggestions = kind, name, tuple(suggestions)
        hint = f" Did you mean {' or '.join(self.suggestions)}?" if self.suggestions else ""
        super().__init__(f"No such {kind}: {name}.{hint}")


class AmbiguousNameError(LookupError):
    """A prefix that several ids begin with, or a name that several have; `candidates` are (id, name)."""

    def __init__(
        self, kind: str, name: str, candidates: Iterable[tuple[str, str]], hint: str = "Give more of the id."
    ) -> None:
        self.kind, self.name, self.candidates = kind, name, tuple(candidates)
        listed = ", ".join(f"{id_[:12]} ({called})" for id_, called in self.candidates)
        super().__init__(f"{name} may be any of {len(self.candidates)} {kind}s: {listed}. {hint}")


def called(names: Iterable[str]) -> Callable[[ContainerRecord], bool]:
    """What is true of the containers that `Inspection.container` may find by one of the names."""
    bare = [name.removeprefix("/") for name in names]
    return lambda record: any(record.name == name or record.id.startswith(name) for name in bare)


class Inspection:
    """The facts of one tour, and their topology, correlated when it is first asked for."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    @cached_property
    def topology(self) -> Topology:
        from hostinspect.correlate import correlate

        return correlate(self.facts, self.index)

    @cached_property
    def index(self) -> Index:
        """The facts by their joining keys, for questions that go deeper than the topology."""
        from hostinspect.correlate.index import Index

        return Index(self.facts)

    def container(self, name: str) -> Container:
        """The container of that name or id, or with an id that begins so.

        Raises `NameNotFoundError`, `AmbiguousNameError`.
        """
        return _find("container", name.removeprefix("/"), self.topology.containers)

    def network(self, name: str) -> Network:
        """The network of that name or id, or with an id that begins so.

        Raises `NameNotFoundError`, `AmbiguousNameError`; docker allows several networks of one name.
        """
        return _find("network", name, self.topology.networks)

    def volume(self, name: str) -> Volume:
        """The volume of that name; of an anonymous one, which an id is made up for, a unique beginning is enough.

        Raises `NameNotFoundError`, `AmbiguousNameError`.
        """
        volumes = self.topology.volumes
        same = [volume for volume in volumes if volume.name == name]
        same = same or [volume for volume in volumes if volume.anonymous and volume.name.startswith(name)]
        if not same:
            raise NameNotFoundError("volume", name, similar(name, (volume.name for volume in volumes)))
        if len(same) > 1:
            if len({volume.name for volume in same}) > 1:
                raise AmbiguousNameError("volume", name, [(volume.name, "anonymous") for volume in same])
            of_engines = [(volume.name, f"in {volume.data_root}") for volume in same]
            raise AmbiguousNameError("volume", name, of_engines, "Name its engine with --data-root.")
        return same[0]


def _find(kind: str, name: str, things: Iterable[I]) -> I:
    """As docker looks a name up: a whole id, then a name, then the beginning of an id."""
    every = [*things]
    for candidates in (
        [thing for thing in every if thing.id == name],
        [thing for thing in every if thing.name == name],
        [thing for thing in every if len(name) >= _SHORTEST_PREFIX and thing.id.startswith(name)],
    ):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            engines = {thing.data_root for thing in candidates}
            raise AmbiguousNameError(
                kind,
                name,
                [
                    (thing.id, (thing.name or "no name") + (f" in {thing.data_root}" if len(engines) > 1 else ""))
                    for thing in candidates
                ],
            )
    raise NameNotFoundError(kind, name, similar(name, (thing.name for thing in every)))


def similar(name: str, names: Iterable[str | None]) -> list[str]:
    """Those of the names that one may have meant."""
    from difflib import get_close_matches

    return get_close_matches(name, [other for other in names if other], n=_CLOSE)
