"""Record a Docker host for the unit tests: its files under the data root, and the engine's answers about them.

    python -m tests.record_docker /run/docker.sock /var/lib/docker tests/unit/fixtures/docker-28.5.tar.gz

Run it on a host that holds still (no container that is restarting). Environments are taken out of both; logs, layer
contents, certificates and raft logs are never taken.
"""

from __future__ import annotations

import http.client
import io
import json
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


def files(data_root: Path) -> dict[str, bytes]:
    """Path below the data root to content; "/" at the end of a directory's."""
    found: dict[str, bytes] = {}
    for pattern in (
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
    return found


def main(sock: str, data_root: str, out: str) -> None:
    before = files(Path(data_root))
    answers = Answers(sock).all()
    if files(Path(data_root)) != before:
        raise SystemExit("the files changed while the engine was asked: try again when the host holds still")
    with tarfile.open(out, "w:gz") as archive:
        for name, content in before.items():
            member = tarfile.TarInfo(name.removesuffix("/"))
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            kept = without_environment(content) if name.endswith("config.v2.json") else content
            member.size = len(kept)
            archive.addfile(member, io.BytesIO(kept))
        member = tarfile.TarInfo("answers.json")
        content = json.dumps(answers, separators=(",", ":")).encode()
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def without_environment(config: bytes) -> bytes:
    """config.v2.json without Config.Env."""
    record = json.loads(config)
    record["Config"]["Env"] = None
    return json.dumps(record, separators=(",", ":")).encode()


if __name__ == "__main__":
    main(*sys.argv[1:])
