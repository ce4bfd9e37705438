"""Record a Docker host for the unit tests: its files under the data root, and the engine's answers about them.

    python -m tests.record_docker /run/docker.sock /var/lib/docker tests/unit/fixtures/docker-28.5.tar.gz

Run it on a host that holds still (no container that is restarting). Environments are taken out of both; logs, layer
contents, certificates and raft logs are never taken. With --layers, also what image layers and the build cache are.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import sys
import tarfile
from pathlib import Path
from typing import Any


class Answers:
    """GET of the engine's API over its socket, at the newest version that it speaks."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._version = ""
        self._version = f"/v{self.get('/version')['ApiVersion']}"

    def get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("docker")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._path)
        connection.request("GET", self._version + path)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status != 200:
            raise SystemExit(f"{path}: {response.status} {content.decode()}")
        return json.loads(content)

    def layers(self) -> dict[str, Any]:
        """What layers of images are compared with."""
        images = [self.get(f"/images/{of['Id']}/json") for of in self.get("/images/json?all=1")]
        for image in images:
            for config in filter(None, (image["Config"], image.get("ContainerConfig"))):
                config["Env"] = None
        return {"image_inspect": images, "build_cache": self.get("/system/df")["BuildCache"]}

    def all(self) -> dict[str, Any]:
        """Everything that records are compared with."""
        containers = [self.get(f"/containers/{of['Id']}/json") for of in self.get("/containers/json?all=1")]
        for container in containers:
            container["Config"]["Env"] = None
        return {
            "version": self.get("/version")["Version"],
            "containers": containers,
            "networks": [self.get(f"/networks/{of['Id']}") for of in self.get("/networks")],
            "volumes": self.get("/volumes")["Volumes"] or [],
            "images": self.get("/images/json"),
        }


_LAYERS = (
    "image/*/layerdb/sha256/*/cache-id",
    "image/*/layerdb/sha256/*/diff",
    "image/*/layerdb/sha256/*/parent",
    "image/*/layerdb/sha256/*/size",
    "image/*/imagedb/content/sha256/*",
    "buildkit/snapshots.db",
    "buildkit/metadata_v2.db",
)


def files(data_root: Path, *, layers: bool = False) -> dict[str, bytes]:
    """Path below the data root to content; "/" at the end of a directory's, "@" of a symbolic link's."""
    found: dict[str, bytes] = {}
    for pattern in (
        *(_LAYERS if layers else ()),
        "containers/*/config.v2.json",
        "containers/*/hostconfig.json",
        "image/*/layerdb/mounts/*/*",
        "image/*/repositories.json",
        "overlay2/*/lower",
        "overlay2/*/link",
        "network/files/local-kv.db",
        "volumes/metadata.db",
        "volumes/*/opts.json",
        "swarm/worker/tasks.db",
    ):
        for path in sorted(data_root.glob(pattern)):
            found[str(path.relative_to(data_root))] = path.read_bytes()
    for path in sorted(data_root.glob("volumes/*/_data")):
        found[f"{path.relative_to(data_root)}/"] = b""
    if layers:
        for path in sorted(data_root.glob("overlay2/*")):
            if path.name != "l":
                found[f"{path.relative_to(data_root)}/diff/"] = b""
        for path in sorted(data_root.glob("overlay2/l/*")):
            found[f"{path.relative_to(data_root)}@"] = os.fsencode(path.readlink())
    return found


def main(sock: str, data_root: str, out: str, *options: str) -> None:
    layers = "--layers" in options
    before = files(Path(data_root), layers=layers)
    answers = Answers(sock).all()
    if layers:
        answers |= Answers(sock).layers()
    if files(Path(data_root), layers=layers) != before:
        raise SystemExit("the files changed while the engine was asked: try again when the host holds still")
    with tarfile.open(out, "w:gz") as archive:
        for name, content in before.items():
            member = tarfile.TarInfo(name.rstrip("/@"))
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            if name.endswith("@"):
                member.type, member.linkname = tarfile.SYMTYPE, os.fsdecode(content)
                archive.addfile(member)
                continue
            kept = without_environment(content) if name.endswith("config.v2.json") or "/imagedb/" in name else content
            member.size = len(kept)
            archive.addfile(member, io.BytesIO(kept))
        member = tarfile.TarInfo("answers.json")
        content = json.dumps(answers, separators=(",", ":")).encode()
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def without_environment(config: bytes) -> bytes:
    """config.v2.json without Config.Env, or an image's configuration without config.Env."""
    record = json.loads(config)
    for name in ("Config", "config", "container_config"):
        if record.get(name):
            record[name]["Env"] = None
    return json.dumps(record, separators=(",", ":")).encode()


if __name__ == "__main__":
    main(*sys.argv[1:])
