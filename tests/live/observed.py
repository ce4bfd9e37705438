"""What the daemon and the host's own tools say of a host: docker, ip, brctl, iptables, ss, lsns and ps, read once.

One script runs all of them inside the host, so that a host of 20 containers is asked in about two seconds, and prints
one section for each. Nothing here imports hostinspect: this is the other side of the comparison.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from subprocess import CompletedProcess
from typing import Any, Protocol

Json = Any  # as json.loads gives it


class Host(Protocol):
    """A Docker host that commands can be run on."""

    def run(self, argv: Sequence[str]) -> CompletedProcess[str]:
        """Run a command there; raises where it fails."""


# A section begins with a record separator and its name. A tool's failure leaves its section empty, and the comparison
# then differs: nothing is skipped.
_SCRIPT = r"""
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
say() { printf '\n\036%s\n' "$*"; }
say hostname;  uname --nodename
say kernel;    uname --kernel-release
say boot_id;   cat /proc/sys/kernel/random/boot_id
say os;        . /etc/os-release; echo "$PRETTY_NAME"
info=$(docker info --format '{{json .}}')
say info;      printf '%s\n' "$info"
say daemon;    cat /run/docker.pid
say inspect;   docker ps --all --quiet --no-trunc | xargs --no-run-if-empty docker inspect
say networks;  docker network ls --quiet --no-trunc | xargs docker network inspect
say volumes;   docker volume ls --quiet | xargs --no-run-if-empty docker volume inspect
say volume-times
stat --format '%Z %n' "$(printf '%s' "$info" | jq --raw-output .DockerRootDir)"/volumes/*/
running=$(docker ps --quiet --no-trunc)
say top  # docker top -eo pid, of all of them: a client for each would take longer than the engine
for id in $running; do echo "http://docker/containers/$id/top?ps_args=-eo%20pid"; done |
    xargs --no-run-if-empty curl --silent --unix-socket /run/docker.sock --write-out ' %{url_effective}\n'
say tools;     echo $$
say processes; ps -ww -eo pid=,ppid=,args=
say namespaces
stat --dereference --format '%i %n' /proc/[0-9]*/ns/net /run/docker/netns/* /run/netns/* 2>/dev/null
say mounts 1;  cat /proc/1/mountinfo
for pid in $(echo $running | xargs --no-run-if-empty docker inspect --format '{{.State.Pid}}'); do
    [ "$pid" = 0 ] && continue
    say mounts "$pid"; cat "/proc/$pid/mountinfo"
    say cgroup "$pid"; cat "/proc/$pid/cgroup"
done

inside='
say() { printf "\n\036%s\n" "$*"; }
say link "$1";   ip -details -json link
say addr "$1";   ip -json addr
say ss "$1";     ss --no-header --listening --tcp --udp --sctp --numeric --processes
say nsids "$1";  lsns --json --type net --output NS,NETNSID
say brctl "$1"
if [ -n "$(ip -oneline link show type bridge)" ]; then
    # brctl reads /sys, which shows the namespace that it was mounted in.
    unshare --mount sh -c "mount -t sysfs sysfs /sys 2>/dev/null; brctl show"  # refused where /sys is it already
fi
say chains "$1"; nft --json list chains 2>/dev/null
for family in ip ip6; do
    # Neither is asked about a table that is not there: iptables-legacy would make it.
    if grep -qx nat "/proc/net/${family}_tables_names" 2>/dev/null; then
        say save $family legacy "$1"; ${family}tables-legacy-save -c -t nat
        say list $family legacy "$1"; ${family}tables-legacy -t nat -nvL DOCKER --line-numbers 2>/dev/null
    fi
    saved=$(${family}tables-nft-save -c -t nat)
    case "$saved" in *"*nat"*)
        say save $family nft "$1"; printf "%s\n" "$saved"
        say list $family nft "$1"; ${family}tables-nft -t nat -nvL DOCKER --line-numbers 2>/dev/null
    esac
done
'
stat --dereference --format '%i %n' /proc/[0-9]*/ns/net /run/docker/netns/* /run/netns/* 2>/dev/null |
    sort -k1,1n -u | while read -r inode path; do nsenter --net="$path" sh -c "$inside" sh "$inode"; done
exit 0
"""

_SECTION = re.compile(r"\n\x1e(.*)\n")


@dataclass(frozen=True)
class NatRule:
    """A line of iptables-save -c: where it stands, what it says, and what its options say one by one."""

    netns: int
    family: str
    backend: str
    chain: str
    position: int
    text: str
    packets: int
    bytes: int

    @cached_property
    def options(self) -> dict[str, str]:
        """Option to value; a negated one has "!" in front of its value."""
        words = self.text.split()
        found: dict[str, str] = {}
        for i, word in enumerate(words):
            if word.startswith("-") and i + 1 < len(words):
                negated = i > 0 and words[i - 1] == "!"
                found.setdefault(word, ("!" if negated else "") + words[i + 1])
        return found


@dataclass(frozen=True)
class NatChain:
    """A line ":CHAIN POLICY [PACKETS:BYTES]" of iptables-save -c; without a policy it is a user's.

    iptables-nft prints every built-in chain, also those that there are not: `nft list chains` tells.
    """

    netns: int
    family: str
    backend: str
    name: str
    policy: str | None
    packets: int
    bytes: int
    hook: str | None = None  # as nft says it, and for legacy by the name
    priority: int | None = None


@dataclass(frozen=True)
class ListedRule:
    """A DNAT line of iptables -nvL DOCKER --line-numbers."""

    family: str
    backend: str
    number: int
    proto: str
    destination: str | None
    dport: str
    to: str


@dataclass(frozen=True)
class Socket:
    """A line of ss --listening."""

    netns: int
    proto: str
    address: str
    port: int
    any_family: bool  # an IPv6 socket that takes IPv4 too: ss writes its address as *
    holders: tuple[tuple[int, str], ...]  # pid, comm


@dataclass(frozen=True)
class Namespace:
    """One network namespace through ip, ss, brctl and iptables."""

    inode: int
    links: list[Json]
    addresses: dict[int, list[Json]]
    sockets: list[Socket]
    nsids: dict[int, int]  # inode of another namespace to what it is called here, where lsns knows
    bridges: dict[str, tuple[str, bool, list[str]]]  # brctl show: id, stp, interfaces
    chains: list[NatChain]
    rules: list[NatRule]
    listed: list[ListedRule]

    @cached_property
    def by_index(self) -> dict[int, Json]:
        return {link["ifindex"]: link for link in self.links}


@dataclass(frozen=True)
class MountLine:
    """A line of mountinfo."""

    device: str
    root: str
    mount_point: str
    options: list[str]
    fstype: str


@dataclass(frozen=True)
class Observed:
    """Everything that was said."""

    sections: dict[str, str] = field(repr=False)

    def json(self, name: str) -> Json:
        text = self.sections.get(name, "").strip()
        return json.loads(text) if text else []

    def text(self, name: str) -> str:
        return self.sections[name].strip()

    @cached_property
    def info(self) -> Json:
        return self.json("info")

    @cached_property
    def version(self) -> tuple[int, ...]:
        """Of the daemon: (20, 10, 24)."""
        return tuple(int(part) for part in re.findall(r"\d+", self.info["ServerVersion"])[:3])

    @cached_property
    def containers(self) -> dict[str, Json]:
        """docker inspect, by id."""
        return {found["Id"]: found for found in self.json("inspect")}

    @cached_property
    def networks(self) -> dict[str, Json]:
        """docker network inspect, by id."""
        return {found["Id"]: found for found in self.json("networks")}

    @cached_property
    def volumes(self) -> dict[str, Json]:
        """docker volume inspect, by name."""
        return {found["Name"]: found for found in self.json("volumes")}

    @cached_property
    def volume_times(self) -> dict[str, str]:
        """When the directory of each local volume last changed, by volume."""
        lines = (line.split(" ", 1) for line in self.text("volume-times").splitlines())
        return {
            path.rstrip("/").rpartition("/")[2]: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(seconds)))
            for seconds, path in lines
        }

    @cached_property
    def top(self) -> dict[str, list[int]]:
        """docker top: the pids of each running container."""
        answers = re.findall(r"(\{.*\})\s+http://docker/containers/(\w+)/top", self.text("top"))
        rows = {id_: json.loads(answer).get("Processes") or () for answer, id_ in answers}  # none of one that has ended
        return {id_: sorted(int(pid) for (pid,) in row) for id_, row in rows.items()}

    @cached_property
    def proxies(self) -> dict[tuple[str, ...], int]:
        """ps: the pid of each docker-proxy by protocol, host address and port, container address and port."""
        found = {}
        for line in self.text("processes").splitlines():
            pid, _, *words = line.split()
            if words and words[0].rpartition("/")[2] == "docker-proxy":
                options = dict(itertools.pairwise(words))
                names = ("-proto", "-host-ip", "-host-port", "-container-ip", "-container-port")
                found[tuple(options[name] for name in names)] = int(pid)
        return found

    @cached_property
    def pids_by_netns(self) -> dict[int, list[int]]:
        """readlink /proc/PID/ns/net of every process."""
        found: dict[int, list[int]] = {}
        for line in self.text("namespaces").splitlines():
            inode, path = line.split(maxsplit=1)
            if path.startswith("/proc/"):
                found.setdefault(int(inode), []).append(int(path.split("/")[2]))
        return {inode: sorted(pids) for inode, pids in found.items()}

    @cached_property
    def _parents(self) -> dict[int, int]:
        """ps: the parent of every process."""
        lines = (line.split(maxsplit=2) for line in self.text("processes").splitlines())
        return {int(words[0]): int(words[1]) for words in lines}

    @cached_property
    def tool_pids(self) -> frozenset[int]:
        """The shell that asks all this, and what it started."""
        found = {int(self.text("tools"))}
        grown = 0
        while grown != len(found):
            grown = len(found)
            found |= {pid for pid, parent in self._parents.items() if parent in found}
        return frozenset(found)

    @cached_property
    def lasting_pids(self) -> frozenset[int]:
        """Every process that ps saw and that is none of the tools."""
        return frozenset(self._parents) - self.tool_pids

    @cached_property
    def netns_by_pid(self) -> dict[int, int]:
        return {pid: inode for inode, pids in self.pids_by_netns.items() for pid in pids}

    @cached_property
    def netns_by_path(self) -> dict[str, int]:
        """Names that pin a namespace: nsfs mounts of pid 1."""
        found = {}
        for mount in self.mounts(1):
            match = re.fullmatch(r"net:\[(\d+)\]", mount.root)
            if mount.fstype == "nsfs" and match:
                found[mount.mount_point] = int(match[1])
        return found

    def mounts(self, pid: int) -> list[MountLine]:
        """/proc/PID/mountinfo."""
        found = []
        for line in self.sections.get(f"mounts {pid}", "").strip().splitlines():
            before, _, after = line.partition(" - ")
            words = before.split()
            root, mount_point = (re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), word) for word in words[3:5])
            found.append(MountLine(words[2], root, mount_point, words[5].split(","), after.split()[0]))
        return found

    def cgroups(self, pid: int) -> list[str]:
        """The distinct paths of /proc/PID/cgroup."""
        lines = self.sections.get(f"cgroup {pid}", "").strip().splitlines()
        return list(dict.fromkeys(line.split(":", 2)[2] for line in lines))

    @cached_property
    def host_netns(self) -> int:
        return self.netns_by_pid[1]

    @cached_property
    def namespaces(self) -> dict[int, Namespace]:
        inodes = {int(name.split()[1]) for name in self.sections if name.startswith("link ")}
        return {inode: self._namespace(inode) for inode in sorted(inodes)}

    def _namespace(self, inode: int) -> Namespace:
        chains: list[NatChain] = []
        rules: list[NatRule] = []
        listed: list[ListedRule] = []
        listed_chains = self.json(f"chains {inode}")
        for program, family in (("ip", "ipv4"), ("ip6", "ipv6")):
            for backend in ("legacy", "nft"):
                where = f"{program} {backend} {inode}"
                chains += parse_heads(self.sections.get(f"save {where}", ""), inode, family, backend, listed_chains)
                rules += parse_save(self.sections.get(f"save {where}", ""), inode, family, backend)
                listed += parse_list(self.sections.get(f"list {where}", ""), family, backend)
        return Namespace(
            inode=inode,
            links=self.json(f"link {inode}"),
            addresses={link["ifindex"]: link["addr_info"] for link in self.json(f"addr {inode}")},
            sockets=parse_ss(self.sections[f"ss {inode}"], inode),
            nsids=parse_lsns(self.json(f"nsids {inode}")),
            bridges=parse_brctl(self.sections[f"brctl {inode}"]),
            chains=chains,
            rules=rules,
            listed=listed,
        )


def observe(host: Host) -> Observed:
    """Ask every tool about everything."""
    parts = _SECTION.split(host.run(["sh", "-c", _SCRIPT]).stdout)
    return Observed(dict(zip(parts[1::2], parts[2::2], strict=True)))


def parse_heads(text: str, netns: int, family: str, backend: str, listed: Json) -> list[NatChain]:
    """Lines ":CHAIN POLICY [PACKETS:BYTES]" of iptables-save -c -t nat, with what `nft --json list chains` adds."""
    ours = {"ip": "ipv4", "ip6": "ipv6"}
    there = {
        chain["name"]: chain
        for chain in (entry.get("chain") for entry in (listed or {"nftables": []})["nftables"])
        if chain and ours.get(chain["family"]) == family and chain["table"] == "nat"
    }
    found = []
    for name, policy, packets, octets in re.findall(r"^:(\S+) (\S+) \[(\d+):(\d+)\]$", text, re.MULTILINE):
        hook, priority = None if policy == "-" else name.lower(), None
        if backend == "nft":
            if name not in there:
                continue
            hook, priority = there[name].get("hook"), there[name].get("prio")
            assert there[name].get("policy", "-").upper() == policy
        known = None if policy == "-" else policy
        found.append(NatChain(netns, family, backend, name, known, int(packets), int(octets), hook, priority))
    return found


def parse_save(text: str, netns: int, family: str, backend: str) -> list[NatRule]:
    """Lines "[PACKETS:BYTES] -A CHAIN …" of iptables-save -c -t nat."""
    rules: list[NatRule] = []
    positions: dict[str, int] = {}
    for packets, octets, rule in re.findall(r"^\[(\d+):(\d+)\] (-A .*)$", text, re.MULTILINE):
        chain = rule.split()[1]
        positions[chain] = positions.get(chain, 0) + 1
        rules.append(NatRule(netns, family, backend, chain, positions[chain], rule.strip(), int(packets), int(octets)))
    return rules


_PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp"}  # iptables -n since 1.8.9


def parse_list(text: str, family: str, backend: str) -> list[ListedRule]:
    """DNAT lines "NUM PKTS BYTES DNAT PROT OPT IN OUT SOURCE DESTINATION tcp dpt:8080 to:172.17.0.3:80"."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or words[3] != "DNAT":
            continue
        # ip6tables 1.8.9 and older leave the column OPT empty.
        proto, (source, destination), rest = words[4], _two_addresses(words), line
        assert source
        port = re.search(r"dpts?:(\S+)", rest)
        to = re.search(r"to:(\S+)", rest)
        if port and to:
            anywhere = destination in ("0.0.0.0/0", "::/0", "anywhere")
            found.append(
                ListedRule(
                    family=family,
                    backend=backend,
                    number=int(words[0]),
                    proto=_PROTOCOLS.get(proto, proto),
                    destination=None if anywhere else destination,
                    dport=port[1],
                    to=to[1],
                )
            )
    return found


def _two_addresses(words: Sequence[str]) -> tuple[str, str]:
    """Source and destination: the two words before the match's description."""
    match = next(i for i, word in enumerate(words) if re.match(r"dpts?:", word))
    source, destination = words[match - 3 : match - 1]
    return source, destination


def parse_ss(text: str, netns: int) -> list[Socket]:
    """Lines of ss -Hltunp: "tcp LISTEN 0 9 *:80 *:* users:((\"httpd\",pid=357,fd=3))"."""
    sockets = []
    for line in text.strip().splitlines():
        words = line.split()
        if words[0].startswith(("`", "\\")):  # ss draws the associations of an SCTP endpoint as a tree
            continue
        address, _, port = words[4].rpartition(":")
        address = address.partition("%")[0].strip("[]")
        holders = {(int(pid), comm) for comm, pid in re.findall(r'\("((?:[^"\\]|\\.)*)",pid=(\d+),', line)}
        any_family = address == "*"
        sockets.append(
            Socket(
                netns=netns,
                proto=words[0],
                address="::" if any_family else address,
                port=int(port),
                any_family=any_family,
                holders=tuple(sorted(holders)),
            )
        )
    return sockets


def parse_lsns(listed: Json) -> dict[int, int]:
    """The namespaces that have an id in the one that lsns ran in."""
    found = {}
    for entry in (listed or {"namespaces": []})["namespaces"]:
        if str(entry["netnsid"]).isdecimal():
            found[int(entry["ns"])] = int(entry["netnsid"])
    return found


def parse_brctl(text: str) -> dict[str, tuple[str, bool, list[str]]]:
    """The table of brctl show: a line per bridge, further ports on lines of their own."""
    found: dict[str, tuple[str, bool, list[str]]] = {}
    ports: list[str] = []
    for line in text.strip().splitlines()[1:]:
        words = line.split()
        if not line[0].isspace():
            ports = words[3:]
            found[words[0]] = (words[1], words[2] == "yes", ports)
        else:
            ports += words
    return found


def dnat_target(to: str) -> tuple[str, str]:
    """ "172.17.0.3:80" or "[fd00::2]:80", split; the port is "" where there is none."""
    if to.startswith("["):
        address, _, port = to[1:].partition("]")
        return address, port.removeprefix(":")
    address, colon, port = to.rpartition(":")
    return (address, port) if colon and ":" not in address else (to, "")


def only(found: Iterable[Json]) -> Json:
    """The one element; None where there is none or more than one."""
    elements = list(found)
    return elements[0] if len(elements) == 1 else None
