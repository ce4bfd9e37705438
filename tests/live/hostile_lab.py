"""What a container, or whoever may write into one, can prepare for a tool that is run as root: each piece by itself.

`prepare` makes all of it on a host that is seeded, in and around the container `evil`. A file outside of everything
that belongs to an engine holds `CANARY`; every link, path and record of this module that leads anywhere leads there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.host import LabHost

CANARY = "canary-5d1f7c3b9e02"
OUTSIDE = "/srv/outside"
NASTY = (
    "a\x1b[31m\x07\u202eb'`|<b>;--]\\"  # escapes, a bell, a reversed line, and what closes labels of DOT and Mermaid
)
ALIAS = 'eth\x1b]0;owned\x07\u2066"-->\n|x|'

# In the host's namespaces, as root: what a container with its own root, and a volume, can make of its directories.
_FILES = r"""
import os, stat, sys
for top in sys.argv[1:]:
    raw = os.fsencode(top)
    for name in (b"esc\x1b[2J\x1b]0;t\x07", b"bidi\xe2\x80\xae\xe2\x81\xa6", b"bad\xff\xfe", b"new\nline", b"tab\t\r",
                 b"'\"`$(id)|<b>--]", b"-rf", b"%s%n", b"n" * 255, "\U000e0041tag".encode()):
        open(raw + b"/" + name, "w").close()
        os.mkdir(raw + b"/dir-" + name[:250])
    os.symlink("/srv/outside/secret", top + "/link")
    os.symlink("/srv/outside", top + "/linkdir")
    os.symlink("/", top + "/rootlink")
    os.symlink("link2", top + "/link1"); os.symlink("link1", top + "/link2")
    os.mkfifo(top + "/fifo")
    os.mknod(top + "/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(top + "/console", 0o666 | stat.S_IFCHR, os.makedev(5, 1))
    os.mknod(top + "/block", 0o666 | stat.S_IFBLK, os.makedev(7, 0))
    with open(top + "/sparse", "w") as file:
        os.truncate(file.fileno(), 1 << 40)
    deep = os.open(top, os.O_RDONLY)
    for _ in range(300):  # deeper than PATH_MAX
        os.mkdir("d" * 60, dir_fd=deep)
        deeper = os.open("d" * 60, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = deeper
"""

# What a container's root with CAP_SYS_ADMIN over its own layer could write there, or an image could bring.
_XATTRS = r"""
import os, sys
top = sys.argv[1]
redirects = (b"/../../../../srv/outside", b"../../outside", b"/srv/outside", b"x" * 4000, b"", b"\xff/\x1b")
for number, value in enumerate(redirects):
    os.mkdir(f"{top}/redirect{number}")
    os.setxattr(f"{top}/redirect{number}", "trusted.overlay.redirect", value)
for number, value in enumerate((b"y", b"x", b"yes", b"\0" * 60)):
    os.mkdir(f"{top}/opaque{number}")
    os.setxattr(f"{top}/opaque{number}", "trusted.overlay.opaque", value)
open(f"{top}/meta", "w").close()
os.setxattr(f"{top}/meta", "trusted.overlay.metacopy", b"\xff" * 9)
os.setxattr(f"{top}/meta", "trusted.overlay.redirect", b"/../../../srv/outside/secret")
"""

# A process of the container `evil`: in its cgroup, or one that it made in it, under any name and command line.
_PRETENDER = r"""
import os, sys, time
cgroups, netns, comm = sys.argv[1].split(), sys.argv[2], os.fsencode(sys.argv[3])
if os.fork():
    os._exit(0)
os.setsid()
for directory in cgroups:
    try:
        os.makedirs(directory, exist_ok=True)
        with open(directory + "/cgroup.procs", "w") as file:
            file.write("0")
    except OSError:  # a new cpuset has no processors, and takes nobody
        with open(directory[:directory.index(sys.argv[5]) + 64] + "/cgroup.procs", "w") as file:
            file.write("0")
if netns:
    fd = os.open(netns, os.O_RDONLY)
    import ctypes
    ctypes.CDLL(None).setns(fd, 0x40000000)
    import socket
    server = socket.create_server(("0.0.0.0", 7000 + os.getpid() % 1000))
with open("/proc/self/comm", "wb") as file:
    file.write(comm)
null = os.open("/dev/null", os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)
if sys.argv[4] == "D":
    import ctypes
    child = ctypes.CDLL(None).vfork  # its parent is in state D until the child ends
    if child() == 0:
        time.sleep(600)
time.sleep(600)
"""

# A namespace in a namespace, with an engine's bridge, the victim's own address, and a cgroup called as one of Docker's.
_NESTED = r"""
set -e
ip link add docker0 type bridge
ip address add 172.17.0.1/16 dev docker0
ip link set docker0 up
ip link add veth0 type veth peer name veth1
ip link set veth0 master docker0
ip address add 172.17.0.5/16 dev veth1
ip link set veth0 alias "$1"
exec sleep 600
"""

# A FUSE file system. It answers nothing but FUSE_INIT, so that what waits for it waits for ever; `taken` reads the
# requests too, and then not even SIGKILL ends the wait.
_HUNG = r"""
import ctypes, os, struct, sys, time
fd = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if ctypes.CDLL(None, use_errno=True).mount(b"hung", os.fsencode(sys.argv[1]), b"fuse", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
request = os.read(fd, 1 << 20)
length, opcode, unique = struct.unpack_from("=IIQ", request)
assert opcode == 26, opcode
init = struct.pack("=IIIIHHIIHHIIHHI24x", 7, 31, 4096, 0, 12, 9, 4096, 1, 0, 0, 0, 0, 0, 0, 0)[:64].ljust(64, b"\0")
os.write(fd, struct.pack("=IiQ", 16 + len(init), 0, unique) + init)
print("mounted", flush=True)
os.close(1)
while sys.argv[2] == "taken":
    os.read(fd, 1 << 20)
time.sleep(600)
"""


def pid_of(host: LabHost, name: str) -> int:
    """The main process of a container, as the host counts."""
    return int(host.docker("inspect", "--format", "{{.State.Pid}}", name))


def id_of(host: LabHost, name: str) -> str:
    return host.docker("inspect", "--format", "{{.Id}}", name)


def upper_of(host: LabHost, name: str) -> str:
    return host.docker("inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", name)


def cgroups_of(host: LabHost, pid: int) -> list[str]:
    """The directories of its cgroups, in the hierarchies that are mounted on the host."""
    found = host.run(["find", "/sys/fs/cgroup", "-name", "cgroup.procs"]).stdout.split()
    listed = host.run(["grep", "-lx", str(pid), *found], check=False).stdout.split()
    return [path.removesuffix("/cgroup.procs") for path in listed]


def python(host: LabHost, script: str, *arguments: str, argv0: str = "python3") -> None:
    host.run(["bash", "-c", 'exec -a "$0" "$@"', argv0, "python3", "-c", script, *arguments])


def prepare(host: LabHost) -> None:
    """All that needs no damage to the engine's own records."""
    host.run(
        ["sh", "-c", f"mkdir -p {OUTSIDE}/_data && echo {CANARY} >{OUTSIDE}/secret && echo {CANARY} >{OUTSIDE}/_data/x"]
    )
    host.run(["touch", f"{OUTSIDE}/{CANARY}"])
    host.run(["mkdir", f"/srv/{NASTY}"])
    host.docker("volume", "create", "--label", f"x={NASTY}\n\t", "evilvol")
    host.docker("network", "create", "--label", f"x={NASTY}\n\t", "evilnet")
    host.docker(
        *(
            "run",
            "--detach",
            "--name",
            "evil",
            "--network",
            "evilnet",
            "--label",
            f"y={NASTY}\n",
            "--env",
            f"E={CANARY}",
        ),
        *("--volume", "evilvol:/v", "--volume", f"/srv/{NASTY}:/x\n\t\u202ey", "lab/base"),
        *("sh", "-c", "exec sleep 1000000", f"{NASTY}\n"),
    )
    pid = pid_of(host, "evil")
    volume = "/var/lib/docker/volumes/evilvol/_data"
    host.run(["python3", "-c", _FILES, volume, upper_of(host, "evil")])
    host.run(["python3", "-c", _XATTRS, upper_of(host, "evil")])
    _pretend(host, pid)
    inside = ["nsenter", f"--target={pid}", "--net", "--"]
    host.run([*inside, "ip", "link", "set", "eth0", "alias", ALIAS])
    host.run([*inside, "ip", "link", "add", "e\x1b[1m\u202e", "type", "bridge"])
    host.run([*inside, "ip", "link", "property", "add", "dev", "eth0", "altname", "alt\u202e\x1b[7m"])
    host.run(["ip", "link", "set", "docker0", "alias", ALIAS])
    _mount(host, pid)
    _nest(host, pid)


def _pretend(host: LabHost, pid: int) -> None:
    victim, evil = id_of(host, "web1"), id_of(host, "evil")
    own = cgroups_of(host, pid)
    assert own
    netns = f"/proc/{pid}/ns/net"
    for comm, argv0, below, net, state in (
        ("x\x1b[31m\u202e\udcff", f"{NASTY}\udcff", "", netns, "S"),
        ("dockerd", "dockerd", "", "", "S"),
        ("dockerd", f"dockerd\0--data-root={OUTSIDE}".partition("\0")[0], f"/docker/{victim}", "", "S"),
        ("docker-proxy", "docker-proxy", f"/{victim}", netns, "S"),
        ("containerd-shim", "containerd-shim-runc-v2", f"/docker-{victim}.scope", "", "S"),
        ("a) R 1 (b", "x", f"/docker/{'f' * 64}", netns, "S"),
        ("stuck", "stuck", "", "", "D"),
    ):
        # A hierarchy without controllers to give lets nothing be made below a cgroup that has processes.
        python(host, _PRETENDER, " ".join(path + below for path in own), net, comm, state, evil, argv0=argv0)


def _mount(host: LabHost, pid: int) -> None:
    inside = ["nsenter", f"--target={pid}", "--mount", "--pid", "--"]
    line = "1 1 0:1 / / rw - overlay overlay rw,lowerdir=/srv/outside,upperdir=/srv/outside/u,workdir=/srv/outside/w"
    for name in (f"a\n{line}\nb", NASTY, "t\tab sp\\040ace", f"v/{'m' * 200}"):
        path = f"/tmp/{name}"
        host.run([*inside, "/bin/busybox", "mkdir", "-p", path])
        host.run([*inside, "/bin/busybox", "mount", "-t", "tmpfs", f"s\n{NASTY}", path])


def _nest(host: LabHost, pid: int) -> None:
    """A host in the container, as an engine in it would have one."""
    join = 'for cgroup in $1; do echo $$ >"$cgroup/cgroup.procs"; done; shift; "$@" >/dev/null 2>&1 </dev/null &'
    inside = ["nsenter", f"--target={pid}", "--net", "--pid", "--"]
    nested = ["unshare", "--net", "--mount", "--pid", "--fork", "--uts", "--cgroup", "--", "sh", "-c", _NESTED]
    host.run(["sh", "-c", join, "sh", " ".join(cgroups_of(host, pid)), *inside, *nested, "sh", ALIAS])


@contextmanager
def hung(host: LabHost, where: str, *, taken: bool = False) -> Iterator[None]:
    """A FUSE file system at `where` that never answers."""
    host.run(["mkdir", "-p", where])
    start = (
        'rm -f /tmp/hung.out; python3 -c "$1" "$2" "$3" >/tmp/hung.out 2>&1 </dev/null & echo $!; '
        "until [ -s /tmp/hung.out ]; do sleep 0.01; done"
    )
    pid = host.run(["sh", "-c", start, "sh", _HUNG, where, "taken" if taken else "waiting"]).stdout.strip()
    assert host.run(["cat", "/tmp/hung.out"]).stdout == "mounted\n"
    try:
        yield
    finally:
        host.run(["sh", "-c", f'kill -9 {pid}; umount -l "$1"; rm -f /tmp/hung.out', "sh", where], check=False)
