"""What a forensic tool lists of a data root, from the files themselves and from `hostinspect --root`, value by value.

`written` reads Docker's files with json and pathlib alone and shares no line with hostinspect: what they say by the
formats' own description, field by field as docker-explorer lists them, and beyond. `answered` asks hostinspect's
commands for the same values. `compared` puts any two listings side by side; `tests/docker_explorer.py` does it with
what docker-explorer lists.

A listing is flat: {("container web1", "image_name"): "lab/web", …}. A value that is None is one that is not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

Key = tuple[str, str]  # of what, which field
Listing = dict[Key, Any]

DISK = "disk"
_NEVER = "0001-01-01T00:00:00Z"  # Go's zero time
_OVERLAYS = {"overlay2": "diff", "overlay": "upper"}  # what each calls a container's own directory


# --- from the files ---------------------------------------------------------------------------------------------


def written(directory: Path, data_root: str) -> Listing:
    """What the files beneath `directory` say, a data root that its host calls `data_root`, without links.

    Raises OSError, KeyError and ValueError where one is damaged: it is for those that are whole.
    """
    listing: Listing = {}
    containers = [_json(home / "config.v2.json") for home in sorted((directory / "containers").iterdir())]
    listing[DISK, "containers"] = sorted(container["ID"] for container in containers)
    listing[DISK, "running"] = sorted(c["ID"] for c in containers if c["State"]["Running"])
    listing[DISK, "volumes"] = sorted(_volumes(directory, containers))
    for container in containers:
        name = container["Name"].removeprefix("/")
        for field, value in _container(container, directory, data_root):
            listing[f"container {name}", field] = value
    for file in directory.glob("image/*/repositories.json"):
        for references in _json(file)["Repositories"].values():
            listing.update({(f"image {name}", "image_id"): _bare(id_) for name, id_ in references.items()})
    for volume in listing[DISK, "volumes"]:
        if (home := directory / "volumes" / volume).is_dir():
            listing[f"volume {volume}", "created"] = time.strftime("%FT%TZ", time.gmtime(home.stat().st_mtime))
        listing[f"volume {volume}", "used_by"] = sorted(
            [container["ID"], mount["Destination"], mount["RW"]]
            for container in containers
            for mount in (container["MountPoints"] or {}).values()
            if mount.get("Name") == volume
        )
    return listing


def _json(file: Path) -> Any:
    return json.loads(file.read_bytes())


def _word(file: Path) -> str | None:
    return file.read_text(encoding="ascii").strip() if file.exists() else None


def _bare(image_id: str) -> str | None:
    return image_id.removeprefix("sha256:") or None


def _time(text: str | None) -> str | None:
    return None if text in (None, "", _NEVER) else text


def _container(container: Mapping[str, Any], directory: Path, data_root: str) -> Iterator[tuple[str, Any]]:
    """config.v2.json, layerdb/mounts/ID/mount-id, overlay2/MOUNT-ID/lower, and imagedb."""
    config, state, driver = container["Config"], container["State"], container["Driver"]
    yield "container_id", container["ID"]
    yield "image_name", config["Image"] or None
    yield "image_id", _bare(container["Image"])
    yield "created", container["Created"]
    yield "start_date", _time(state["StartedAt"])
    yield "finish_date", _time(state["FinishedAt"])
    # What is kept of a container that never ran, or runs again, is no exit.
    yield "exit_code", state["ExitCode"] if _status(state) in ("exited", "dead") else None
    yield "status", _status(state)
    yield "running", state["Running"]
    yield "labels", config.get("Labels") or {}
    yield "exposed_ports", sorted(config.get("ExposedPorts") or {})
    yield "log_path", container["LogPath"] or None
    yield "storage_name", driver
    yield "mount_points", sorted(_mount_points(container, data_root))
    yield "networks", sorted(_addresses(container))
    image = directory / "image" / driver
    mount_id = _word(image / "layerdb/mounts" / container["ID"] / "mount-id")
    yield "mount_id", mount_id
    if driver in _OVERLAYS and mount_id:
        yield "upper_dir", f"{data_root}/{driver}/{mount_id}/{_OVERLAYS[driver]}"
        lower = _lower(directory / driver, mount_id)
        if lower is not None:
            yield "lower_dirs", [f"{data_root}/{driver}/{path}" for path in lower]
    yield from _history(image / "imagedb", container["Image"])


def _status(state: Mapping[str, Any]) -> str:
    """What `docker ps` makes of the flags."""
    if state["Running"]:
        return "paused" if state["Paused"] else "restarting" if state["Restarting"] else "running"
    if state["Dead"]:
        return "dead"
    return "exited" if _time(state["StartedAt"]) else "created"


def _mount_points(container: Mapping[str, Any], data_root: str) -> Iterator[list[str]]:
    """Destination and source of each; a local volume's is where it is, as docker-explorer has it."""
    for destination, mount in (container["MountPoints"] or {}).items():
        if mount["Type"] == "bind":
            yield [destination, mount["Source"]]
        elif mount["Type"] == "volume" and mount["Driver"] == "local":
            yield [destination, f"{data_root}/volumes/{mount['Name']}/_data"]


def _addresses(container: Mapping[str, Any]) -> Iterator[list[str | None]]:
    """The networks with its address on each. One that does not run has given them back, whatever the file says."""
    for network, endpoint in (container["NetworkSettings"]["Networks"] or {}).items():
        yield [network, (container["State"]["Running"] and endpoint and endpoint["IPAddress"]) or None]


def _lower(layers: Path, mount_id: str) -> list[str] | None:
    """The lower directories beneath overlay2/, topmost first, by their symbolic links; None where these are missing."""
    names = _word(layers / mount_id / "lower")
    if names is None or not (layers / "l").is_dir():
        return None
    return [(layers / name).readlink().as_posix().removeprefix("../") for name in names.split(":")]


def _history(imagedb: Path, image_id: str) -> Iterator[tuple[str, Any]]:
    """Of the image and of those that it was committed from, the newest first, as docker-explorer goes; then each step.

    An image's configuration has had no container_config since Docker 25.
    """
    position = 0
    newest: str | None = image_id
    while newest and (file := imagedb / "content/sha256" / newest.removeprefix("sha256:")).exists():
        image = _json(file)
        yield f"history {position} created_at", _time(image["created"])
        # A commit's is in both places, a build's in its step alone.
        yield f"history {position} comment", image.get("comment") or image["history"][-1].get("comment") or None
        if (image.get("container_config") or {}).get("Cmd"):
            yield f"history {position} container_cmd", " ".join(image["container_config"]["Cmd"])
        if not position:
            yield "history", list(_steps(image))
        position += 1
        newest = _word(imagedb / "metadata/sha256" / newest.removeprefix("sha256:") / "parent")


def _steps(image: Mapping[str, Any]) -> Iterator[list[str | None]]:
    """Each step of an image: when, by what, a comment, and the chain id of its layer (OCI image-spec, config.md)."""
    diff_ids = iter(image["rootfs"]["diff_ids"])
    chain_id = ""
    for step in image["history"]:
        made = None
        if not step.get("empty_layer"):
            diff_id = next(diff_ids)
            chain_id = f"sha256:{hashlib.sha256(f'{chain_id} {diff_id}'.encode()).hexdigest()}" if chain_id else diff_id
            made = chain_id
        yield [_time(step["created"]), step.get("created_by") or None, step.get("comment") or None, made]


def _volumes(directory: Path, containers: Sequence[Mapping[str, Any]]) -> set[str]:
    """The local volumes that have a directory, and those of other drivers that containers name."""
    local = {path.name for path in (directory / "volumes").glob("*/") if (path / "_data").is_dir()}
    mounts = [mount for container in containers for mount in (container["MountPoints"] or {}).values()]
    return local | {m["Name"] for m in mounts if m["Type"] == "volume" and m["Driver"] != "local"}


# --- from hostinspect -------------------------------------------------------------------------------------------


class Asked:
    """hostinspect as it is asked of a disk. `gaps` is what could not be seen in all its answers, but for minor ones."""

    def __init__(self, root: Path, *options: str) -> None:
        self._options = ("--root", str(root), *options, "--output", "json", "--quiet")
        self.gaps: dict[tuple[str, str], str] = {}  # why, by collector and subject

    def json(self, *question: str) -> Any:
        code, said = self.run([*question, *self._options])
        answer = json.loads(said)
        gaps = [gap for gap in answer["gaps"] if not gap.get("minor")]
        assert code == 3 if gaps else code in (0, 1), f"{question}: exit status {code}"
        self.gaps |= {(gap["collector"], gap["subject"]): gap["why"] for gap in gaps}
        return answer

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """The exit status, and what it prints."""
        command = [sys.executable, "-m", "hostinspect", *arguments]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        return done.returncode, done.stdout


class AskedHere(Asked):
    """The same without a process for each question."""

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        from hostinspect.cli.app import run

        said = BytesIO()
        with redirect_stdout(TextIOWrapper(said, write_through=True)):
            code = run([*arguments])
            return code, said.getvalue().decode()


def answered(run: Asked, images: Iterable[str] = ()) -> Listing:
    """What `hostinspect --root` answers; of `images`, whose names are not listed but looked up."""
    listing: Listing = {}
    everything = run.json("containers")["containers"]
    names = [container["name"] for container in everything]
    details = run.json("container", *names)["containers"] if names else []
    layers = {layer["id"]: layer for layer in run.json("layers", "--history")["containers"]}
    volumes = run.json("volumes")["volumes"]
    listing[DISK, "containers"] = sorted(container["id"] for container in everything)
    listing[DISK, "running"] = sorted(c["id"] for c in run.json("containers", "--running")["containers"])
    listing[DISK, "volumes"] = sorted(volume["name"] for volume in volumes)
    for container in details:
        for field, value in _answer(container, layers[container["id"]]):
            listing[f"container {container['name']}", field] = value
    for volume in volumes:
        users = [[use["container"], use["destination"], use["rw"]] for use in volume["used_by"]]
        listing[f"volume {volume['name']}", "used_by"] = sorted(users)
        listing[f"volume {volume['name']}", "created"] = volume["created"]
    found = {key["key"]: key["matches"] for key in run.json("whois", *images)["keys"]} if images else {}
    for name, matches in found.items():
        # "image NAME, as it was" is what a container was made from, whatever has that name now.
        ids = [match["subject"]["id"] for match in matches if match["summary"] == f"image {name}"]
        listing[f"image {name}", "image_id"] = _bare(ids[0]) if len(ids) == 1 else None
    return listing


def _answer(container: Mapping[str, Any], layer: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "container_id", container["id"]
    yield "image_name", container["image"]
    yield "image_id", _bare(container["image_id"] or "")
    yield "created", container["created"]
    yield "start_date", container["started_at"]
    yield "finish_date", container["finished_at"]
    yield "exit_code", container["exit_code"]
    yield "status", container["state"]
    yield "running", container["state"] in ("running", "paused", "restarting")
    yield "labels", container["labels"]
    yield "exposed_ports", container["exposed_ports"]
    yield "log_path", container["log_path"]
    yield "storage_name", container["storage_driver"]
    yield (
        "mount_points",
        sorted(
            [mount["destination"], mount["source"]]
            for mount in container["mounts"]
            if mount["type"] == "bind" or (mount["type"] == "volume" and mount["driver"] == "local")
        ),
    )
    # docker_gwbridge is what Swarm adds, of which the container's own file does not tell.
    networks = [endpoint for endpoint in container["endpoints"] if endpoint["network"] != "docker_gwbridge"]
    yield "networks", sorted([endpoint["network"], endpoint["ip"]] for endpoint in networks)
    yield "mount_id", os.path.basename(os.path.dirname(layer["upper"])) if layer["upper"] else None  # noqa: PTH119,PTH120
    yield "upper_dir", layer["upper"]
    yield "lower_dirs", [lower["path"] for lower in layer["lower"]] if layer["upper"] else None
    history = layer["history"]
    if history is None:
        return
    yield "history", [[step["created"], step["command"], step["comment"], step["chain_id"]] for step in history]
    for position, step in enumerate(reversed(history)):
        yield f"history {position} created_at", step["created"]
        yield f"history {position} container_cmd", step["command"]
        yield f"history {position} comment", step["comment"]


# --- side by side -----------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """One value that two listings do not share."""

    of: str
    field: str
    theirs: Any
    mine: Any


def images_of(listing: Listing) -> list[str]:
    """The names of images in a listing."""
    return [of.removeprefix("image ") for of, _ in listing if of.startswith("image ")]


def compared(theirs: Listing, mine: Listing) -> tuple[list[Key], list[Difference]]:
    """The keys on which both agree, and where not; what only `mine` has is beyond the other and counts for neither."""
    agree: list[Key] = []
    differ: list[Difference] = []
    for key, value in theirs.items():
        if key in mine and mine[key] == value:
            agree.append(key)
        else:
            differ.append(Difference(*key, value, mine.get(key)))
    return agree, differ
