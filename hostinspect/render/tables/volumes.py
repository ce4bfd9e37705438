"""`hostinspect volumes`: the columns of `docker volume ls`, and who uses each; one volume in full."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hostinspect.questions.volumes import VolumeDetails, VolumeUse
from hostinspect.render.containers import users_in_words, volume_name
from hostinspect.render.layout import Branch, Item, Line, Span, detail, item
from hostinspect.render.sizes import in_units, size_in_words
from hostinspect.render.table import Column
from hostinspect.render.tables.sizes import size_columns
from hostinspect.render.times import ago


def volume_columns(now: str, *, sizes: bool, verbose: bool, engines: int = 1) -> list[Column[VolumeDetails]]:
    """The columns; with `sizes` those of what was measured, with `verbose` names are whole, of `engines` so many."""
    columns: list[Column[VolumeDetails]] = [
        Column("DRIVER", lambda v: v.driver),
        Column(
            "VOLUME NAME",
            lambda v: item(v.name if verbose else volume_name(v.name), style="name"),
            sort=lambda v: v.name,
        ),
        Column("USED BY", lambda v: _users(v) or item("nobody", style="warn"), sort=lambda v: len(v.used_by)),
        Column("MOUNT", _mount_in_words, sort=lambda v: v.mount and v.mount.fstype),
        Column("CREATED", lambda v: _age(v.created, now), sort=lambda v: v.created, spare=1),
        Column("ANONYMOUS", lambda v: "yes" if v.anonymous else None, shown=False),
        Column("DATA ROOT", lambda v: v.data_root, shown=engines > 1),
        Column("MOUNTPOINT", lambda v: v.mountpoint, shown=False),
        Column("OPTIONS", lambda v: _pairs(v.options), shown=False),
        Column("LABELS", lambda v: _pairs(v.labels), shown=False),
    ]
    if sizes:
        columns += size_columns(lambda v: v.size)
    return columns


def _pairs(mapping: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in sorted(mapping.items()))


def _users(volume: VolumeDetails) -> list[str]:
    return users_in_words((use.name, use.rw) for use in volume.used_by)


def _mount_in_words(volume: VolumeDetails) -> Item | None:
    """What is mounted there now, of a volume that is more than a directory."""
    if volume.mount is not None:
        return item(f"{volume.mount.fstype} from {volume.mount.source}")
    return item("not mounted", style="dim") if volume.needs_mount else None


def _age(moment: str | None, now: str) -> str | None:
    age = ago(moment, now)
    return f"{age} ago" if age else None


# --- one volume in full ---


def volume_branch(volume: VolumeDetails, now: str, *, names: dict[str, str]) -> Branch:
    """The words of `docker volume inspect`; below it, who has it mounted where."""
    items = [item(volume.name, style="name"), item(f"driver {volume.driver}")]
    if volume.anonymous:
        items.append(item("anonymous", style="dim"))
    age = _age(volume.created, now)
    if age:
        items.append(item(f"created {age}"))
    return Branch(Line(items), [*_details(volume, names)], [*_uses(volume.used_by)])


def _details(volume: VolumeDetails, names: dict[str, str]) -> Iterator[Line]:
    yield detail(
        "path", item(volume.mountpoint) if volume.mountpoint else item("known to its driver alone", style="dim")
    )
    if volume.created:
        yield detail("time", item(f"created {volume.created}"))
    for label, mapping in (("option", volume.options), ("label", volume.labels)):
        yield from (detail(label, item(pair)) for pair in _pairs(mapping))
    if volume.mount is not None:
        users = [names.get(id_, id_) for id_ in volume.mount.containers]
        yield detail(
            "mounted",
            item(f"{volume.mount.fstype} from {volume.mount.source}"),
            item(",".join(volume.mount.options), style="dim"),
            item(f"for {', '.join(users)}" if users else "for no container that runs", style="" if users else "warn"),
        )
    elif volume.needs_mount:
        yield detail("mounted", item("no: its driver mounts it when a container with it starts"))
    words = size_in_words(volume.size)
    if volume.size is not None and words is not None:
        yield detail("size", words, item(f"{in_units(volume.size.apparent)} in files", style="dim"))


def _uses(uses: Iterable[VolumeUse]) -> Iterator[Branch]:
    empty = True
    for use in uses:
        empty = False
        items = [item(use.name, style="name"), item("→ ", use.destination), item("rw" if use.rw else "ro")]
        if use.subpath:
            items.append(item(f"its {use.subpath} only"))
        if use.propagation not in ("", "rprivate", "private"):
            items.append(item(use.propagation))
        items.append(item(use.state, style="" if use.state == "running" else "dim"))
        if use.mounted is False:
            items.append(item(Span("not mounted", "bad")))
        yield Branch(Line(items))
    if empty:
        yield Branch(Line([item("used by nobody", style="warn")]))
