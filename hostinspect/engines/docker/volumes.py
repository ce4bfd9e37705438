"""volumes/: a directory per volume of the local driver, and metadata.db with what all volumes were created with.

    volumes/metadata.db             BoltDB, bucket "volumes": NAME → {"Name", "Driver", "Labels", "Options"}
    volumes/NAME/_data              the content
    volumes/NAME/opts.json          only with options: {"MountType", "MountOpts", "MountDevice", "Quota"}

A local volume is what has a directory; the daemon itself finds them so. Volumes of other drivers have a record only,
and where they are is known to their driver alone.

Options hold passwords: `o=username=backup,password=…` of a CIFS share, `password=…` of vieux/sshfs. `docker volume
inspect` shows them to whoever may ask the daemon; into a record, which may go into a ticket, they do not come.
"""

# Without `from __future__ import annotations`: msgspec has to evaluate them, which takes longer of a string.

import re
import time
from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from hostinspect.engines.boltdb import Bolt
from hostinspect.engines.docker.naming import is_name
from hostinspect.engines.docker.record import (
    DAMAGED,
    MAX_ENTRIES,
    MAX_FILE,
    Note,
    RecordError,
    at_most,
    decode,
    pairs,
)
from hostinspect.engines.docker.table import read_table
from hostinspect.facts import VolumeRecord
from hostinspect.kernel.files import Directory
from hostinspect.kernel.text import text


class Metadata(Struct, rename="pascal"):
    """A value of metadata.db."""

    driver: str = ""
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None


class _Quota(Struct, rename="pascal"):
    size: int = 0


class _OptionsFile(Struct, rename="pascal"):
    mount_type: str = ""
    mount_opts: str = ""
    mount_device: str = ""
    quota: _Quota | None = None


_metadata_decoder = msgspec.json.Decoder(Metadata)
_options_decoder = msgspec.json.Decoder(_OptionsFile)


def parse_metadata(table: Bolt) -> tuple[dict[str, Metadata], list[str]]:
    """Metadata by volume name, and the errors of records that are none. Raises `BoltError`."""
    found: dict[str, Metadata] = {}
    errors = []
    for key, value in table.items(b"volumes"):
        if len(found) >= MAX_ENTRIES:
            errors.append(f"more than {MAX_ENTRIES} records, the rest is not read")
            break
        name = text(key)
        try:
            found[name] = decode(_metadata_decoder, value)
        except RecordError as error:
            errors.append(f"{name}: {error}")
    return found, errors


def parse_options(content: bytes) -> dict[str, str]:
    """opts.json as the options that `docker volume create -o` was given. Raises `RecordError`."""
    saved = decode(_options_decoder, content)
    options = {"type": saved.mount_type, "o": saved.mount_opts, "device": saved.mount_device}
    if saved.quota and saved.quota.size:
        options["size"] = str(saved.quota.size)  # bytes, whatever the unit was
    return {key: value for key, value in options.items() if value}


def without_secrets(options: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """The options, sorted; what is a password, secret or token by its name is only said to be there.

    >>> without_secrets({"type": "cifs", "o": "username=backup,password=hunter2,vers=3.0", "token": "abc"})
    (('o', 'username=backup,password=***,vers=3.0'), ('token', '***'), ('type', 'cifs'))
    """
    return tuple(
        (key, _HIDDEN if re.search(_SECRET, key) else ",".join(map(_without_secret, value.split(","))))
        for key, value in pairs(options)
    )


def _without_secret(word: str) -> str:
    """`password=***` of `password=hunter2`, among the words that mount(8) takes."""
    key, is_set, _ = word.partition("=")
    return f"{key}={_HIDDEN}" if is_set and re.search(_SECRET, key) else word


_TABLE = "volumes/metadata.db"
_SECRET = r"(?i)pass(word|wd|phrase)?\d?$|secret|token"
_HIDDEN = "***"


def read_volumes(
    files: Directory, engine: str, data_root: str, note: Note, *, at_rest: bool = False
) -> Iterator[VolumeRecord]:
    """Every volume under the opened data root, by name.

    `created` is the change time of the volume's directory in UTC, as Docker 23 and later have it (20.10 takes that of
    _data, which moves when a file is made in the volume's root). A local volume whose directory is gone has None. With
    `at_rest`, on the disk of a host that does not run, it is the modification time, which is when _data was made in it:
    whoever copies a disk makes all change times new.
    """
    try:
        directories = {name for name in files.listdir("volumes") if is_name(name)} - {"metadata.db"}
    except FileNotFoundError:
        return
    except OSError as error:
        return note(f"{data_root}/volumes", error)
    metadata, errors = read_table(files, _TABLE, data_root, note, parse_metadata) or ({}, ())
    for words in errors:
        note(f"{data_root}/{_TABLE}", words, DAMAGED)
    names = sorted(directories | metadata.keys())
    for name in at_most(names, "volumes", f"{data_root}/volumes", note):
        volume = _read_volume(files, name, metadata.get(name), engine, data_root, note, at_rest)
        if volume is not None:
            yield volume


def _read_volume(
    files: Directory, name: str, metadata: Metadata | None, engine: str, data_root: str, note: Note, at_rest: bool
) -> VolumeRecord | None:
    driver = metadata.driver or "local" if metadata else "local"
    labels = pairs(metadata.labels) if metadata else ()
    options = without_secrets(metadata.options) if metadata else ()
    if driver != "local" or not is_name(name):
        return VolumeRecord(
            engine=engine, data_root=data_root, name=name, driver=driver, labels=labels, options=options
        )
    path = f"volumes/{name}"
    created = None
    try:
        if files.is_dir(path):
            status = files.lstat(path)
            changed = (status.st_mtime_ns if at_rest else status.st_ctime_ns) // 1_000_000_000
            created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(changed))
        elif metadata is None:
            return None  # a file, or removed since the listing
        if metadata is None and files.is_file(f"{path}/opts.json"):
            options = without_secrets(parse_options(files.read(f"{path}/opts.json", MAX_FILE)))
    except FileNotFoundError:
        pass
    except OSError as error:
        note(f"{data_root}/{path}", error)
    except RecordError as error:
        note(f"{data_root}/{path}/opts.json", str(error), DAMAGED)
    return VolumeRecord(
        engine=engine,
        data_root=data_root,
        name=name,
        driver=driver,
        mountpoint=f"{data_root}/{path}/_data",
        options=options,
        labels=labels,
        created=created,
    )
