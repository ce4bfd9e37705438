r"""/proc/PID/mountinfo (proc_pid_mountinfo(5)): what is mounted where in a mount namespace.

    >>> mount, = parse_mountinfo(
    ...     b"431 417 8:1 /volumes/v/_data /mnt/a\\040b rw,noatime master:1 - ext4 /dev/sda1 rw,discard\n")
    >>> mount.mount_point, mount.root, mount.propagation
    ('/mnt/a b', '/volumes/v/_data', ('master:1',))
    >>> mount, = parse_mountinfo(
    ...     b"7 1 0:48 / / rw - overlay overlay rw,lowerdir=/o/l/A:/o/B,upperdir=/o/3/up,workdir=/o/3/work,xino=off\n")
    >>> mount.lowerdir, mount.upperdir, mount.super_options
    (('/o/l/A', '/o/B'), '/o/3/up', ('rw', 'xino=off'))

The *root* of a mount whose directory was removed ends in "//deleted", as the kernel has it; that of an nsfs mount is
the namespace, "net:[4026532201]".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from msgspec.structs import force_setattr

from hostinspect.facts import MountPoint
from hostinspect.kernel import procfs
from hostinspect.kernel.text import kept, text

# Not compiled before they are needed: that takes longer than all the rest here, and most hosts need none.
_OCTAL = rb"\\([0-3][0-7][0-7])"
_NO_TEXT = "[\udc80-\udcff]"  # what "surrogateescape" makes of bytes that are no UTF-8
# A colon that parts layers has an even number of backslashes in front, each spelled \134 by the kernel.
_LAYERS = r"(?<!\\134)((?:\\134\\134)*):"
_ESCAPED = rb"(?s)\\(.)"  # overlay's ovl_unescape: a backslash goes, what it is before stays


def mountinfo(process: int, mntns: int | None = None) -> list[MountPoint]:
    """/proc/PID/mountinfo of the /proc/PID with descriptor `process`, in its order; `mntns` is put in each record.

    Mounts out of reach of the process's root directory are not in it. Raises OSError (EINVAL of a zombie), ValueError.
    """
    return parse_mountinfo(procfs.read_records("mountinfo", process), mntns)


def mounted_types(process: int) -> set[str]:
    """The types of the same mounts, from /proc/PID/mountstats (proc_pid_mountstats(5)), which takes less time than
    mountinfo: no options are spelled. Raises OSError, as `mountinfo`; EACCES where the process is another user's.
    """
    return parse_types(procfs.read_records("mountstats", process))


def parse_types(raw: bytes) -> set[str]:
    r"""The types of file systems in a mountstats file. What NFS says of itself there follows its type.

    >>> sorted(parse_types(
    ...     b"device overlay mounted on / with fstype overlay\nno device mounted on /a\\040b with fstype nsfs\n"
    ...     b"device h:/x mounted on /n with fstype nfs4 statvers=1.1\n\topts:\trw\n\n"))
    ['nfs4', 'nsfs', 'overlay']
    """
    behind = raw.split(b" with fstype ")[1:]  # a blank within a field is spelled \040
    return {text(rest.partition(b"\n")[0].partition(b" ")[0]) for rest in behind}


def parse_mountinfo(raw: bytes, mntns: int | None = None) -> list[MountPoint]:
    """The lines of a mountinfo file, `mntns` put in each record. Raises ValueError for one that is of another form."""
    # Decoded once, for a host has thousands of lines.
    whole = raw.decode("utf-8", "surrogateescape")
    all_text = whole.isascii() or not re.search(_NO_TEXT, whole)
    mounts = []
    for line in whole.split("\n"):
        if not line:
            continue
        try:
            mount_id, parent_id, device, rest = line.split(" ", 3)
            number, parent = int(mount_id), int(parent_id)
            alike = _alike.get(rest)
            mount = alike() if alike else _mount(rest, all_text and "\\" not in rest)
        except ValueError:
            raise ValueError(f"not the form of a mountinfo line: {_resolve(line[:120])}") from None
        force_setattr(mount, "mntns", mntns)  # ours alone until we return
        force_setattr(mount, "mount_id", number)
        force_setattr(mount, "parent_id", parent)
        force_setattr(mount, "device", kept(_resolve(device)))
        mounts.append(mount)
    return mounts


# Most mounts of a container are those of every other, but for their numbers and the device: what each line says behind
# these, and how to copy what was made of it. The lines of the first containers, with those that are theirs alone.
_alike: dict[str, Callable[[], MountPoint]] = {}
_MOST_ALIKE = 512


def _mount(rest: str, is_plain: bool) -> MountPoint:
    """What a line says from its fourth field on; `is_plain`: nothing is escaped, all is UTF-8. Raises ValueError."""
    # Blanks within a field are escaped, so the first dash is the separator, after no, one or several tags.
    head, _, tail = rest.partition(" - ")
    root, mount_point, options, *tags = head.split(" ")
    if not is_plain:
        root, mount_point, options = map(_resolve, (root, mount_point, options))
        tags = [*map(_resolve, tags)]
    fstype, source, super_options, lowerdir, upperdir, workdir = _file_system(tail)
    mount = MountPoint(
        mntns=None,
        mount_id=0,
        parent_id=0,
        device="",
        root=kept(root),
        mount_point=kept(mount_point),
        options=_flags(options),
        propagation=tuple(tags),
        fstype=fstype,
        source=source,
        super_options=super_options,
        lowerdir=lowerdir,
        upperdir=upperdir,
        workdir=workdir,
    )
    if len(_alike) < _MOST_ALIKE:
        _alike[rest] = mount.__copy__  # type: ignore[attr-defined]
    return mount


@lru_cache(maxsize=1024)
def _flags(field: str) -> tuple[str, ...]:
    return tuple(field.split(","))


@lru_cache(maxsize=8192)  # a container's overlay is mounted on the host, and in the container
def _file_system(tail: str) -> tuple[str, str, tuple[str, ...], tuple[str, ...], str | None, str | None]:
    """Type, source and options of a file system, and directories of an overlay, from the last three fields."""
    fstype, source, options = tail.split(" ")[:3]
    rest = options.split(",")  # a comma within an option is escaped too
    lowerdir: tuple[str, ...] = ()
    upperdir = workdir = None
    if fstype == "overlay":
        rest, lowerdir, upperdir, workdir = _overlay(rest)
    return kept(_resolve(fstype)), kept(_resolve(source)), tuple(map(_resolve, rest)), lowerdir, upperdir, workdir


def _overlay(options: list[str]) -> tuple[list[str], tuple[str, ...], str | None, str | None]:
    """What is left of an overlay's options, its lower directories (topmost first), upper and work directory.

    The directories are as they were given to mount(2): Docker gives relative ones, from its overlay2 directory, when
    absolute ones would take more than a page. Overlay takes a backslash before any character out of them, but for
    lowerdir+ and datadir+ (since 6.8), and shows them as given; so it is taken out here.
    """
    rest: list[str] = []
    lower: list[str] = []
    upper = work = None
    for option in options:
        name, _, directory = option.partition("=")
        if name == "lowerdir":
            lower += _layers(directory)
        elif name in ("lowerdir+", "datadir+"):  # one each
            lower.append(_resolve(directory))
        elif name == "upperdir":
            upper = _resolve(directory, of_overlay=True)
        elif name == "workdir":
            work = _resolve(directory, of_overlay=True)
        else:
            rest.append(option)
    return rest, tuple(lower), upper, work


def _layers(lowerdir: str) -> list[str]:
    r"""The directories of a lowerdir option, as mountinfo has it; "::" is before data-only ones (since 6.5).

    Overlay's own escapes (`\:` and, since a comma ends an option, `\,`) are in it as they were given. Then mountinfo
    escapes blanks, commas and backslashes (so `\:` reads `\134:`); 6.5 alone gives a colon within a name as `\072`.
    """
    if "\\" not in lowerdir:
        return [kept(_resolve(layer)) for layer in lowerdir.split(":") if layer]
    layers = re.sub(_LAYERS, "\\1\n", lowerdir).split("\n")  # a newline proper is spelled \012 here
    return [kept(_resolve(layer, of_overlay=True)) for layer in layers if layer]


def _resolve(field: str, of_overlay: bool = False) -> str:
    r"""A field without its octal escapes (`\040` is a blank), and then without overlay's, as `text` has it."""
    if "\\" not in field and field.isascii():
        return field
    raw = field.encode("utf-8", "surrogateescape")
    raw = re.sub(_OCTAL, lambda escape: bytes((int(escape[1], 8),)), raw)
    return text(re.sub(_ESCAPED, rb"\1", raw) if of_overlay else raw)
