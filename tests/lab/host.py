"""Throwaway Docker hosts: processes, mounts, links, rules, cgroups and containers of their own, made in about a second.

A host is a pid namespace; `init.sh` is its pid 1. A process outside watches over it and removes its files and cgroups
when it ends, whatever ended it: `stop()`, an exception, the death of the process that started it (pid 1 notices the
end of a pipe), or an OOM kill. It can be told from a real host by little: its root is what the machine's is, or an
overlay over the tree of another userland (`userland.py`).
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn

from tests.lab import remains
from tests.lab.errors import LabCommandError, LabError
from tests.lab.reach import visible_paths
from tests.lab.userland import ensure_userland

Firewall = Literal["nft", "legacy"]
REPOSITORY = Path(__file__).resolve().parent.parent.parent
ADDRESS = "192.0.2.10"
CLIENT_ADDRESS = "192.0.2.50"

_HERE = Path(__file__).resolve().parent
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# $1 is init.sh, $2 the interpreter, $3 remains.py, $4 the host's name.
_WATCH = """
unshare --fork --kill-child --pid --mount --net --uts -- sh "$1"
exec "$2" -I "$3" "$4" 2>&1
"""

_MASK = r"""
# On a merged /usr, /sbin is /usr/sbin, and here and there /usr/bin is too.
for folder in $(realpath /usr/sbin /usr/bin /sbin /bin /usr/local/sbin /usr/local/bin | sort -u); do
    tools=$(find "$folder" -maxdepth 1 -regextype posix-extended \
        -regex '.*/(ip6?tables|xtables|nft|ebtables|arptables|firewalld|ufw)([-.].*)?')
    [ -n "$tools" ] || continue
    layer=/run/masked$folder
    mkdir -p "$layer/upper" "$layer/work"
    mount -t overlay -o "lowerdir=$folder,upperdir=$layer/upper,workdir=$layer/work" masked "$folder"
    rm $tools
done
"""

_UNMASK = r"""
set -- $(awk '$1 == "masked" { print $2 }' /proc/mounts)
[ $# -eq 0 ] || umount --lazy "$@"
rm -rf /run/masked
"""

_CLIENT = f"""
ip netns add client
ip link add client type veth peer name eth0 netns client
ip link set client master eth0 up
ip -n client link set lo up
ip -n client link set eth0 up
ip -n client address add {CLIENT_ADDRESS}/24 dev eth0
ip -n client -6 address add 2001:db8:2::50/64 dev eth0 nodad
ip -n client route add default via {ADDRESS}
"""

# $1 is the image's name, the rest are directories.
_IMPORT = r"""
image=$1
shift
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
cp "$(command -v busybox)" "$files/busybox"
[ $# = 0 ] || (cd "$files" && mkdir -p "$@")
tar -C "$files" -c . | docker import - "$image" >/dev/null
"""

_KILL = """
read -r pid </run/docker.pid || :  # no newline at its end
proxies=$(pgrep -P "$pid" -x docker-proxy) || :
for file in /run/docker.pid /run/docker/containerd/*.pid; do
    read -r pid <"$file" || :
    kill -KILL "$pid" 2>/dev/null || :  # containerd goes with dockerd, which is its parent
    while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
    rm "$file"
done
for pid in $proxies; do  # a signal tells them that their parent has died
    while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
done
"""

# A signal is taken by one thread after the other.
_FREEZE = """
read -r pid </run/docker.pid || :
kill -STOP "$pid"
while grep -q '^State:[[:space:]]*[^T[:space:]]' /proc/"$pid"/task/*/status; do sleep 0.01; done
"""

_THAW = """
read -r pid </run/docker.pid || :
kill -CONT "$pid"
"""


_TO_BEGIN = 2  # seconds in which a shell in the background has become dockerd, on a busy machine too


@dataclass(frozen=True)
class LabSpec:
    """What kind of host."""

    name: str = ""  # also its hostname; one is made up where it is empty
    userland: str = "host"  # this machine's own, or a row of userland.SUITES
    firewall: Firewall = "nft"  # what `iptables` is
    dockerd: tuple[str, ...] = ()  # further arguments
    visible: tuple[str, ...] = ()  # paths reachable inside, beside the interpreter's and the repository
    detached: bool = False  # lives on when the process that started it ends


class LabHost:
    """A throwaway Docker host.

    As a context manager, or by `start()` and `stop()`. `pid` is its pid 1 on the machine, so `/proc/{pid}/root` is its
    root directory.
    """

    def __init__(self, spec: LabSpec | None = None) -> None:
        spec = spec or LabSpec()
        self.spec = LabSpec(**{**asdict(spec), "name": spec.name or f"lab-{secrets.token_hex(3)}"})
        self.name = self.spec.name
        self.pid = 0
        self._watch: subprocess.Popen[str] | None = None

    def __repr__(self) -> str:
        return f"<LabHost {self.name} pid {self.pid} {self.spec.userland} {self.spec.firewall}>"

    # --- its life -----------------------------------------------------------------------------------------------

    def __enter__(self) -> LabHost:
        return self.start()

    def start(self) -> LabHost:
        """Start it and wait until its Docker daemon answers. Raises LabError, and then nothing is left."""
        _check_machine()
        with suppress(OSError):  # somebody else's leavings, which `python -m tests.lab gc` tells about
            remains.gc()
        tree = None if self.spec.userland == "host" else ensure_userland(self.spec.userland)
        disk = remains.DISK / self.name
        with remains.registry():
            if remains.taken(self.name):
                raise LabError(
                    f"there is a lab host {self.name} already: `python -m tests.lab stop {self.name}`, or another name"
                )
            disk.mkdir()
            lock = os.open(disk, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            self._make_namespaces(tree, lock)
        finally:
            os.close(lock)
        try:
            self._write_description()
            self.start_dockerd()
        except BaseException:
            self.stop()
            raise
        return self

    def _make_namespaces(self, tree: Path | None, lock: int) -> None:
        """Start pid 1, and with it the process that watches over it; both hold the lock."""
        disk = remains.DISK / self.name
        try:
            _check_filesystem(disk)
            cgroups = remains.make_cgroups(self.name)
            log = self.log_path.open("a+")
        except BaseException:
            remains.remove(self.name)
            raise
        visible = visible_paths(tree, (REPOSITORY, *map(Path, self.spec.visible)))
        environment = {
            **os.environ,
            "LAB_NAME": self.name,
            "LAB_DISK": str(disk),
            "LAB_TREE": str(tree or ""),
            "LAB_FIREWALL": self.spec.firewall,
            "LAB_CGROUPS": " ".join(map(str, cgroups)),
            "LAB_CGROUP_MOUNTS": "\n".join(hierarchy.mount for hierarchy in remains.hierarchies()),
            "LAB_VISIBLE": "\n".join(map(str, visible)),
            "LAB_DETACHED": "1" if self.spec.detached else "",
        }
        arguments = (_HERE / "init.sh", sys.executable, _HERE / "remains.py", self.name)
        with log:
            self._watch = subprocess.Popen(
                ("sh", "-c", _WATCH, "sh", *arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                pass_fds=(lock,),
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the one who started it, who then stops it
            )
            assert self._watch.stdout is not None
            try:
                first = self._watch.stdout.readline().strip()
                if not first.isdecimal() or self._watch.stdout.readline() != "ready\n":
                    log.seek(0)  # it is removed by now
                    raise LabError(f"lab host {self.name}: no namespaces could be made\n{log.read().rstrip()}")
            except BaseException:
                self.stop()
                raise
        self.pid = int(first)

    def _write_description(self) -> None:
        description = json.dumps({"pid": self.pid, "spec": asdict(self.spec)})
        (remains.DISK / self.name / "host.json").write_text(description)

    @classmethod
    def attach(cls, name: str) -> LabHost:
        """The running host of that name, started by another process. Raises LabError where there is none."""
        try:
            description = json.loads((remains.DISK / name / "host.json").read_text())
        except (FileNotFoundError, ValueError):
            raise LabError(f"there is no lab host {name}: `python -m tests.lab list` lists them") from None
        spec = description["spec"]
        found = cls(LabSpec(**{**spec, "dockerd": tuple(spec["dockerd"]), "visible": tuple(spec["visible"])}))
        if not remains.alive(name):
            raise LabError(f"lab host {name} has died: `python -m tests.lab gc` removes what is left of it")
        found.pid = description["pid"]
        return found

    def stop(self) -> None:
        """End its processes and remove all of it. Raises LabError where something is in the way."""
        said = self._end_processes()
        self._watch = None
        self.pid = 0
        if self.name in remains.names():  # the watching process was killed, or could not remove it
            try:
                remains.remove(self.name)
            except OSError as error:
                raise LabError(f"lab host {self.name} could not be removed: {error}\n{said}") from error

    def wait(self) -> None:
        """Wait until it ends of itself."""
        if self._watch is not None:
            self._watch.wait()

    def _end_processes(self, patience: float = 120) -> str:
        """Returns what the watching process said, if it is ours."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            remains.thaw(self.name)
            if self.pid:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
            if self._watch is None:
                if not remains.alive(self.name):
                    return ""
                time.sleep(0.02)
            else:
                with suppress(subprocess.TimeoutExpired):
                    said, _ = self._watch.communicate(timeout=1)  # closes its stdin too, at which pid 1 ends
                    return said
        raise LabError(f"lab host {self.name}: its processes do not end in {patience:.0f} s: see `ps -ef` and dmesg")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- its daemon ---------------------------------------------------------------------------------------------

    @property
    def log_path(self) -> Path:
        """What pid 1 and dockerd said."""
        return remains.DISK / self.name / "log"

    def start_dockerd(self, patience: float = 30) -> None:
        """Start dockerd and wait until it answers. Raises LabError with the last it said."""
        command = ("dockerd", "--exec-opt=native.cgroupdriver=cgroupfs", *self.spec.dockerd)
        with self.log_path.open("a") as log:
            subprocess.run(
                self.command_in_cgroup(["sh", "-c", '"$@" &', "sh", *command]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(None),
                check=True,
                timeout=patience,
            )
        begun = time.monotonic()
        while not self.docker_answers():
            waited = time.monotonic() - begun
            if waited > patience or (waited > _TO_BEGIN and not self._dockerd_lives()):
                raise LabError(
                    f"lab host {self.name}: `{' '.join(command)}` does not answer; it said last:\n"
                    f"{self._last_log_lines()}\n"
                    "Correct its arguments, or see what the kernel lacks (overlay, bridge, veth, nf_tables, ip_tables)."
                )
            time.sleep(0.01)

    def docker_answers(self) -> bool:
        """GET /_ping on its socket, with a second's patience."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(f"/proc/{self.pid}/root/run/docker.sock")
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(64)
        except OSError:
            return False

    def _dockerd_lives(self) -> bool:
        return self.run(["pgrep", "-x", "dockerd"], check=False).returncode == 0

    def _last_log_lines(self, lines: int = 15) -> str:
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(nothing)"

    def freeze_dockerd(self) -> None:
        """SIGSTOP: it holds its files and sockets, and answers nobody."""
        self.run(["sh", "-ec", _FREEZE])

    def thaw_dockerd(self) -> None:
        """SIGCONT."""
        self.run(["sh", "-ec", _THAW])

    @contextmanager
    def frozen_dockerd(self) -> Iterator[None]:
        """With the daemon frozen."""
        self.freeze_dockerd()
        try:
            yield
        finally:
            self.thaw_dockerd()

    def kill_dockerd(self) -> None:
        """SIGKILL to dockerd and its containerd, and its proxies are gone; the containers go on under their shims.

        The next dockerd ends them, unless it has --live-restore.
        """
        self.run(["sh", "-ec", _KILL])

    # --- what is done inside ------------------------------------------------------------------------------------

    def command(self, argv: Sequence[str], user: str | None = None) -> list[str]:
        """The command that runs `argv` inside, in all its namespaces, in the repository's folder."""
        if not self.pid:
            raise LabError(f"lab host {self.name} does not run")
        entered = ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--net", "--pid", "--cgroup"]
        entered += [f"--wdns={REPOSITORY}", "--"]
        if user is not None:
            become = 'exec setpriv --reuid "$0" --regid "$(id -g "$0")" --init-groups -- "$@"'
            entered += ["sh", "-c", become, user]
        return [*entered, *argv]

    def command_in_cgroup(self, argv: Sequence[str]) -> list[str]:
        """The same, and in the host's cgroups: for what stays. It costs 30 ms where there are ten hierarchies."""
        join = 'for cgroup in $0; do echo 0 >"$cgroup/cgroup.procs"; done; exec "$@"'
        cgroups = " ".join(map(str, remains.cgroups_to_join(self.name)))
        return ["sh", "-c", join, cgroups, *self.command(argv)]

    def _environment(self, env: Mapping[str, str] | None) -> dict[str, str]:
        ours = ("DOCKER_", "LAB_", "COLUMNS")  # of the engine, the lab, and the terminal that a test is shown on
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**inherited, "PATH": _PATH, "HOME": "/root", **(env or {})}

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 60,
        user: str | None = None,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; returns what it said, as text.

        The repository and the running interpreter (`sys.executable`) are there under the same paths. Raises
        LabCommandError where it fails and `check` is set, and subprocess.TimeoutExpired; it is then killed.
        """
        command = self.command(argv, user)
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
            env=self._environment(env),
            start_new_session=True,
        ) as process:
            try:
                stdout, stderr = process.communicate(input, timeout)
            except BaseException:
                # nsenter has forked to enter the pid namespace: its child would live on.
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if check and process.returncode:
            raise LabCommandError(process.returncode, list(argv), stdout, stderr)
        return subprocess.CompletedProcess(list(argv), process.returncode, stdout, stderr)

    def run_here(self, argv: Sequence[str]) -> int:
        """Run a command inside on the caller's terminal; returns its exit code."""
        return subprocess.run(self.command_in_cgroup(argv), env=self._environment(None), check=False).returncode

    def become(self, argv: Sequence[str]) -> NoReturn:
        """Replace this process by a command inside."""
        command = self.command_in_cgroup(argv)
        os.execvpe(command[0], command, self._environment(None))

    def docker(self, *arguments: str, timeout: float = 60) -> str:
        """What `docker ARGUMENTS` prints, without the newline at its end."""
        return self.run(["docker", *arguments], timeout=timeout).stdout.rstrip("\n")

    def docker_json(self, *arguments: str) -> Any:
        """The JSON document that `docker ARGUMENTS` prints."""
        return json.loads(self.docker(*arguments))

    def import_busybox(self, image: str, *directories: str) -> None:
        """Make an image of nothing but /busybox, and these directories in it, without anything."""
        self.run(["sh", "-ec", _IMPORT, "sh", image, *directories])

    def seed(self) -> None:
        """Make the demo scenario; seed.sh lists what is in it."""
        self.run(["sh", str(_HERE / "seed.sh")], timeout=300)

    def mask_tools(self) -> None:
        """Take every firewall tool away, as on a host that has none installed; the rules stay."""
        self.run(["sh", "-ec", _MASK])

    def unmask_tools(self) -> None:
        """Give them back."""
        self.run(["sh", "-ec", _UNMASK])

    @contextmanager
    def masked_tools(self) -> Iterator[None]:
        """Without firewall tools."""
        self.mask_tools()
        try:
            yield
        finally:
            self.unmask_tools()

    def client(
        self, argv: Sequence[str], *, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a machine beside the host, plugged into its eth0, with 192.0.2.50 and 2001:db8:2::50.

        The namespace `client` is made by the first call; the veth's end on the host is `client` too.
        """
        if not self.has_client():
            self.run(["sh", "-ec", _CLIENT])
        return self.run(["ip", "netns", "exec", "client", *argv], check=check, timeout=timeout)

    def has_client(self) -> bool:
        """Whether there is one."""
        return Path(f"/proc/{self.pid}/root/run/netns/client").exists()

    def remove_client(self) -> None:
        """Unplug it."""
        self.run(["ip", "link", "delete", "client"])  # by itself it would go only some time after its peer's namespace
        self.run(["ip", "netns", "delete", "client"])


def running() -> list[LabHost]:
    """The hosts that run on this machine, whoever started them."""
    found = []
    for name in remains.names():
        with suppress(LabError):
            found.append(LabHost.attach(name))
    return found


def _check_machine() -> None:
    """Raises LabError where no host could be started."""
    if os.geteuid() != 0:
        raise LabError("a lab host needs root: run it as root, or by sudo")
    missing = [tool for tool in ("unshare", "nsenter", "ip", "pivot_root") if not shutil.which(tool, path=_PATH)]
    if missing:
        raise LabError(f"a lab host needs {', '.join(missing)}: `sh tests/lab/setup.sh` installs what is missing")


def _check_filesystem(disk: Path) -> None:
    kind = subprocess.run(
        ["stat", "--file-system", "--format=%T", str(disk)], check=True, capture_output=True, text=True
    ).stdout.strip()
    if kind in ("tmpfs", "overlayfs", "nfs"):
        raise LabError(
            f"{remains.DISK} is on {kind}, on which Docker's overlay2 cannot work: "
            "set HOSTINSPECT_LAB_DISK to a folder on ext4, xfs or btrfs"
        )
