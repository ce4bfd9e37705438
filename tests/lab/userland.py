"""Other Debian userlands for lab hosts, made once by debootstrap(8) and kept."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.errors import LabError

CACHE = Path("/var/cache/hostinspect-lab")

_PACKAGES = (
    "docker.io",
    "iproute2",
    "iptables",
    "nftables",
    "busybox-static",
    "bridge-utils",
    "jq",
    "procps",
    "curl",
)


@dataclass(frozen=True)
class Suite:
    """A Debian release as a host's userland."""

    name: str
    packages: tuple[str, ...] = field(default=_PACKAGES)


SUITES = {
    suite.name: suite
    for suite in (
        Suite("trixie", (*_PACKAGES, "docker-cli")),
        Suite("sid", (*_PACKAGES, "docker-cli")),
    )
}

# Not read by anything that runs in a lab host.
_UNUSED = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


def ensure_userland(name: str) -> Path:
    """The tree of that suite: the kept one, or a new one where there is none or its list of packages has changed.

    Takes about a minute, and the network, when it is made. Raises LabError.
    """
    if name not in SUITES:
        raise LabError(f"no userland {name!r}: there are host, {', '.join(SUITES)}")
    suite = SUITES[name]
    tree = CACHE / name
    if _stamp(tree) == _wanted_stamp(suite):
        return tree
    with _lock(name):
        if _stamp(tree) != _wanted_stamp(suite):  # another process may have made it while we waited
            _make(suite, tree)
    return tree


def _wanted_stamp(suite: Suite) -> dict[str, object]:
    return {"suite": suite.name, "packages": sorted(suite.packages)}


def _stamp(tree: Path) -> object:
    try:
        return json.loads(_stamp_path(tree).read_text())
    except (OSError, ValueError):
        return None


def _stamp_path(tree: Path) -> Path:
    return tree / "etc" / "hostinspect-lab.json"


@contextmanager
def _lock(name: str) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(suite: Suite, tree: Path) -> None:
    if not shutil.which("debootstrap"):
        raise LabError("debootstrap is missing: `sh tests/lab/setup.sh` installs it")
    new = tree.with_name(f"{suite.name}.new")
    if new.exists():
        shutil.rmtree(new)  # the lock is ours: of a run that was ended
    command = ("debootstrap", "--variant=minbase", f"--include={','.join(suite.packages)}", suite.name, new, mirror())
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    if done.returncode:
        said = "\n".join(done.stdout.splitlines()[-10:])
        log = new / "debootstrap" / "debootstrap.log"
        if log.exists():
            said += "\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LabError(
            f"debootstrap of {suite.name} from {mirror()} failed; it said last:\n{said}\n"
            f"Is the mirror reachable, and does it have {suite.name}? It is the one of this machine's apt sources."
        )
    for folder in _UNUSED:
        shutil.rmtree(new / folder, ignore_errors=True)
    # dpkg and apt, run inside a lab host, expect these.
    for folder in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial"):
        (new / folder).mkdir(parents=True)
    _stamp_path(new).write_text(json.dumps(_wanted_stamp(suite)))
    if tree.exists():
        old = tree.with_name(f"{suite.name}.old")
        tree.rename(old)
        new.rename(tree)
        shutil.rmtree(old)
    else:
        new.rename(tree)


def mirror(etc: Path = Path("/etc")) -> str:
    """The Debian mirror of apt's sources (sources.list(5)): the first that has the machine's own release.

    Raises LabError where there is none.
    """
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', (etc / "os-release").read_text(), re.M))
    if release.get("ID") != "debian":
        raise LabError("other userlands are made from a Debian machine's own mirror, and this is no Debian")
    # A machine that runs testing or sid may have no code name of its own.
    suites = {release.get("VERSION_CODENAME", ""), "stable", "testing", "unstable", "sid"} - {""}
    for uri, of in _sources(etc / "apt"):
        if suites & set(of):
            return uri
    raise LabError(f"no source of apt below {etc / 'apt'} has {' or '.join(sorted(suites))} with component main")


def _sources(apt: Path) -> Iterator[tuple[str, list[str]]]:
    """URI and suites of every source of binary packages with component main: one-line files, then deb822 files."""
    for path in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))):
        text = path.read_text() if path.exists() else ""
        for uri, suite, components in re.findall(r"^\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+([^#\n]*)", text, re.M):
            if "main" in components.split():
                yield uri, [suite]
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.M)
        for stanza in re.split(r"\n\s*\n", re.sub(r"\n[ \t]+", " ", text)):
            fields = {name.lower(): words.split() for name, words in re.findall(r"^([\w-]+):(.*)$", stanza, re.M)}
            enabled = fields.get("enabled", ["yes"]) != ["no"]
            if enabled and "deb" in fields.get("types", []) and "main" in fields.get("components", []):
                yield from ((uri, fields.get("suites", [])) for uri in fields.get("uris", []))
