"""Every key of every object of a host, each with whose it is: by docker, ip, lsns, find and /proc alone.

Nothing here imports hostinspect: this is the other side of the comparison. An `Expected` says which owner or which
containers one of the answers must name; a thing that several have, as the interface name eth0, is told apart by what
the answer says it is (`subject`).
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.live.observed import Host, Observed

Json = Any

_MORE = r"""
root=$(docker info --format '{{.DockerRootDir}}')
say() { printf '\n\036%s\n' "$*"; }
# plain DIRECTORY: paths in it of one word of ASCII a line; names of other bytes are told escaped
plain() { LC_ALL=C grep -a -x "$1/[!-~]*"; }
say real
docker ps --all --quiet | xargs --no-run-if-empty docker inspect --format '
{{range .Mounts}}{{if eq .Type "bind"}}{{.Source}}
{{end}}{{end}}' | sort -u | while read -r source; do
    [ -z "$source" ] || printf '%s\t%s\n' "$source" "$(readlink --canonicalize-missing "$source")"
done
say mntns
stat --dereference --format '%i %n' /proc/[0-9]*/ns/mnt 2>/dev/null
say layers
for layer in "$root"/overlay2/*/; do
    printf '%s %s\n' "$layer" "$(find "$layer/diff" -xdev -type f 2>/dev/null | plain "$layer" | tail -n 1)"
done
say short
for link in "$root"/overlay2/l/*; do printf '%s %s\n' "$link" "$(readlink "$link")"; done
say volumes
for volume in "$root"/volumes/*/; do
    printf '%s\n' "$(find "$volume/_data" -mindepth 1 2>/dev/null | plain "$volume" | tail -n 1)"
done
say commands
for file in /proc/[0-9]*/cmdline; do
    printf '%s %s\n' "$file" "$(tr '\0\n' '  ' <"$file")"
done 2>/dev/null
say mountinfo
for pid in 1 $(docker ps --quiet | xargs --no-run-if-empty docker inspect --format '{{.State.Pid}}'); do
    sed "s/^/$pid /" "/proc/$pid/mountinfo"
done 2>/dev/null
say cgroups
for file in /proc/[0-9]*/cgroup; do printf '%s %s\n' "$file" "$(head -n 1 "$file")"; done 2>/dev/null
say layer-of
for mount in "$root"/image/overlay2/layerdb/mounts/*/; do
    printf '%s %s\n' "$(basename "$mount")" "$(cat "$mount/mount-id")"
done
exit 0
"""
_SECTION = re.compile(r"\n\x1e(.*)\n")


class Expected(NamedTuple):
    """What one answer to a key must name: an owner, or where only `container` is said, one of those concerned."""

    key: str
    kind: str  # of the owner: container, network, volume, image, engine, host; "concerns" for a container
    id: str
    subject: str | None = None  # the id of what the key is, where several things have it

    def is_met_by(self, answer: Json) -> bool:
        return any(self._fits(match) for match in answer["matches"])

    def _fits(self, match: Json) -> bool:
        if self.subject is not None and match["subject"]["id"] != self.subject:
            return False
        if self.kind == "concerns":
            return self.id in match["containers"]
        owner = match["owner"]
        return owner is not None and owner["kind"] == self.kind and self.id in ("", owner["id"])


def more_of(host: Host) -> dict[str, list[str]]:
    """What `observe` does not ask for: layers, deep files, mount namespaces, command lines."""
    parts = _SECTION.split(host.run(["sh", "-c", _MORE]).stdout)
    return {name: text.splitlines() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def expected_of(seen: Observed, more: dict[str, list[str]]) -> list[Expected]:
    """Every key with whose it is."""
    everything = _Everything(seen, more)
    return [expected for expected in dict.fromkeys(everything.all()) if expected.key and "\n" not in expected.key]


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")


class _Everything:
    def __init__(self, seen: Observed, more: dict[str, list[str]]) -> None:
        self.seen = seen
        self.more = more
        self.root = seen.info["DockerRootDir"]
        self.running = {id_: c for id_, c in seen.containers.items() if c["State"]["Pid"]}
        self.netns = {id_: seen.netns_by_pid.get(c["State"]["Pid"]) for id_, c in self.running.items()}
        # Of several containers in one namespace, it is the one's that did not join it.
        self.owners = {
            inode: id_
            for id_, inode in self.netns.items()
            if inode and not self.running[id_]["HostConfig"]["NetworkMode"].startswith("container:")
        }
        self.owners.pop(seen.host_netns, None)

    def all(self) -> Iterator[Expected]:
        for id_, container in self.seen.containers.items():
            yield from self.container(id_, container)
        for id_ in self.running:
            yield from self.processes(id_)
        for id_, network in self.seen.networks.items():
            yield from self.network(id_, network)
        for name, volume in self.seen.volumes.items():
            yield from self.volume(name, volume)
        for inode in self.seen.namespaces:
            yield from self.links(inode)
        yield from self.layers()
        yield from self.host_processes()
        yield from self.rules()

    # --- containers

    def container(self, id_: str, container: Json) -> Iterator[Expected]:
        name = container["Name"].removeprefix("/")
        keys = [id_, id_[:12], id_[:10], name, f"/{name}", f"docker-{id_}.scope", f"{self.root}/containers/{id_}/x/y"]
        keys += [container["LogPath"]]
        for path in ("HostsPath", "HostnamePath", "ResolvConfPath"):  # of a container that it joined, that one's
            if container[path]:
                yield Expected(container[path], "concerns", id_)
        joined = container["HostConfig"]["NetworkMode"].startswith("container:")  # and has the name of that one
        if container["Config"]["Hostname"] != self.seen.text("hostname") and not joined:
            keys.append(container["Config"]["Hostname"])
        for key in filter(None, keys):
            yield Expected(key, "container", id_)
        yield Expected(container["Image"], "concerns", id_)
        yield Expected(container["Image"].removeprefix("sha256:")[:12], "concerns", id_)
        yield Expected(container["Config"]["Image"], "concerns", id_)
        yield from self.endpoints(id_, container)
        yield from self.mounts(id_, container)
        layers = self.driver_data(container)
        for part in ("UpperDir", "WorkDir", "MergedDir"):
            if part in layers:
                yield Expected(layers[part], "container", id_)
                yield Expected(f"{layers[part]}/etc/not there", "container", id_)
        if "LowerDir" in layers:
            init, *images = layers["LowerDir"].split(":")
            yield Expected(init, "container", id_)
            for lower in images:
                yield Expected(lower, "concerns", id_)
                yield Expected(f"{lower}/bin/sh", "concerns", id_)

    @staticmethod
    def driver_data(container: Json) -> dict[str, str]:
        """GraphDriver.Data, which there is none of with containerd's image store."""
        return (container.get("GraphDriver") or {}).get("Data") or {}

    def endpoints(self, id_: str, container: Json) -> Iterator[Expected]:
        settings = container["NetworkSettings"]
        joined = container["HostConfig"]["NetworkMode"].startswith("container:")
        if settings["SandboxID"] and not joined:
            yield Expected(settings["SandboxID"], "container", id_)
        if settings["SandboxKey"] and not joined and container["HostConfig"]["NetworkMode"] != "host":
            yield Expected(settings["SandboxKey"], "container", id_)
            yield Expected(settings["SandboxKey"].replace("/var/run", "/run"), "container", id_)
        for name, endpoint in settings["Networks"].items():
            for alias in (*(endpoint.get("Aliases") or ()), *(endpoint.get("DNSNames") or ())):
                yield Expected(alias, "container", id_)
                yield Expected(f"{alias}.{name}", "container", id_)
            if not endpoint["EndpointID"] or joined:
                continue
            yield Expected(endpoint["EndpointID"], "container", id_)
            yield Expected(endpoint["EndpointID"][:12], "container", id_)
            if endpoint["IPAddress"]:
                yield Expected(endpoint["IPAddress"], "container", id_)
                yield Expected(f"{endpoint['IPAddress']}/{endpoint['IPPrefixLen']}", "container", id_)
                yield Expected(f"{endpoint['IPAddress']}:80", "container", id_)
                yield Expected(f"::ffff:{endpoint['IPAddress']}", "container", id_)
            if endpoint["GlobalIPv6Address"]:
                ip = ipaddress.IPv6Address(endpoint["GlobalIPv6Address"])
                yield Expected(str(ip), "container", id_)
                yield Expected(ip.exploded.upper(), "container", id_)
                yield Expected(f"[{ip}]:80", "container", id_)
            if endpoint["MacAddress"]:
                mac = endpoint["MacAddress"]
                digits = mac.replace(":", "")
                dotted = ".".join(digits[i : i + 4] for i in (0, 4, 8))
                for spelled in (mac, mac.upper(), mac.replace(":", "-"), dotted, digits):
                    yield Expected(spelled, "container", id_)
        for port, bindings in (settings["Ports"] or {}).items():
            proto = port.partition("/")[2]
            for binding in bindings or ():
                host_port, ip = binding["HostPort"], binding["HostIp"]
                if not host_port:  # since Docker 28, of a port that is exposed by routing alone
                    continue
                spelled = f"[{ip}]" if ":" in ip else ip
                yield Expected(host_port, "container", id_)
                yield Expected(f"{host_port}/{proto}", "container", id_)
                for owner, other in self.bindings_at(ip, host_port):
                    yield Expected(f"{spelled}:{host_port}", "container", owner)
                    if other == proto:
                        yield Expected(f"{spelled}:{host_port}->{port}", "container", owner)

    def bindings_at(self, ip: str, host_port: str) -> Iterator[tuple[str, str]]:
        """The containers, with the protocol, that have a port of the host at an address or at every one."""
        for id_, container in self.running.items():
            for port, bindings in (container["NetworkSettings"]["Ports"] or {}).items():
                for binding in bindings or ():
                    of_family = (":" in binding["HostIp"]) == (":" in ip)
                    is_any = binding["HostIp"] in ("0.0.0.0", "::") and (of_family or ip in ("0.0.0.0", "::"))
                    if binding["HostPort"] == host_port and (binding["HostIp"] == ip or is_any):
                        yield id_, port.partition("/")[2]

    def mounts(self, id_: str, container: Json) -> Iterator[Expected]:
        for mount in container["Mounts"]:
            if mount["Type"] == "bind":
                for source in self.sources_in(mount["Source"], follow=container["State"]["Pid"] != 0):
                    yield Expected(source, "container", id_)
                    yield Expected(f"{source}/far/down", "container", id_)
            if mount["Type"] == "volume":
                yield Expected(mount["Name"], "concerns", id_)
                yield Expected(f"{self.root}/volumes/{mount['Name']}/_data/far/down", "concerns", id_)
            yield Expected(mount["Destination"], "container", id_)
        if container["State"]["Pid"] == 0:
            return
        for line in self.more["mountinfo"]:
            pid, mount_id, _, device, _, mount_point, *_, options = line.split()
            if int(pid) != container["State"]["Pid"] or mount_point != "/":
                continue
            yield Expected(device, "container", id_)
            yield Expected(mount_id, "container", id_)
            for option in options.split(","):
                name, _, value = option.partition("=")
                for directory in value.split(":") if value.startswith("/") else ():
                    if name == "upperdir":
                        yield Expected(f"{directory}/etc/x", "container", id_)
                    if name == "lowerdir":
                        yield Expected(f"{directory}/etc/x", "concerns", id_)

    def sources_in(self, directory: str, *, follow: bool) -> Iterator[str]:
        """The sources of all bind mounts that are in a directory: by their names; of a running container, whose mount
        table says what is mounted, also by the name that no link is in.
        """
        real = {line.partition("\t")[0]: line.partition("\t")[2] for line in self.more["real"] if line}
        for source, target in real.items():
            if _is_in(source, directory):
                yield source
            if follow and _is_in(target, real[directory]):
                yield target

    # --- processes

    def processes(self, id_: str) -> Iterator[Expected]:
        container = self.running[id_]
        main = container["State"]["Pid"]
        for pid in self.seen.top[id_]:
            yield Expected(str(pid), "container", id_)
            yield Expected(f"/proc/{pid}/fd/0", "container", id_)
        inode = self.netns[id_]
        if inode == self.seen.host_netns:
            yield Expected(f"/proc/{main}/ns/net", "host", "host")
        elif inode:
            owner = self.owners[inode]
            for key in (f"/proc/{main}/ns/net", str(inode), f"net:[{inode}]", f"/proc/{main}/task/{main}/ns/net"):
                yield Expected(key, "container", owner)
                yield Expected(key, "concerns", id_)
        for line in self.more["mntns"]:
            mntns, path = line.split()
            if path == f"/proc/{main}/ns/mnt":
                yield Expected(path, "container", id_)
                yield Expected(f"mnt:[{mntns}]", "container", id_)
                yield Expected(mntns, "container", id_)
        for path in self.seen.cgroups(main):
            if id_ in path:
                yield Expected(path, "container", id_)
                yield Expected(f"{path}/below/it", "container", id_)
                yield Expected(path.removeprefix("/"), "container", id_)
                yield Expected(f"/sys/fs/cgroup{path}", "container", id_)
                yield Expected(f"/sys/fs/cgroup/pids{path}/cgroup.procs", "container", id_)

    def host_processes(self) -> Iterator[Expected]:
        in_container = {pid for pids in self.seen.top.values() for pid in pids}
        by_address = self._by_address()
        daemon = int(self.seen.text("daemon"))
        for line in self.more["commands"]:
            path, _, command = line.partition(" ")
            pid, words = int(path.split("/")[2]), command.split()
            if pid not in self.seen.lasting_pids or pid in in_container:
                continue
            options = dict(itertools.pairwise(words))
            program = words[0].rpartition("/")[2] if words else ""
            if program.startswith("containerd-shim"):
                if options["-id"] in self.running:
                    yield Expected(str(pid), "container", options["-id"])
            elif program == "docker-proxy":
                owner = by_address.get(options["-container-ip"])
                if owner:
                    yield Expected(str(pid), "container", owner)
            elif pid == daemon or program == "containerd":
                yield Expected(str(pid), "engine", self.root)
            elif pid == 1:
                yield Expected(str(pid), "host", "host")

    def _by_address(self) -> dict[str, str]:
        return {
            address["local"]: owner
            for inode, owner in self.owners.items()
            for addresses in self.seen.namespaces[inode].addresses.values()
            for address in addresses
        }

    # --- networks and links

    def network(self, id_: str, network: Json) -> Iterator[Expected]:
        if network["Ingress"]:
            return  # what docker says of it is in the managers' encrypted store; whois may know it from endpoints
        for key in (id_, id_[:12], network["Name"]):
            yield Expected(key, "network", id_)
        if network["ConfigOnly"] or network["Driver"] not in ("bridge", "macvlan", "overlay"):
            return
        bridge = (network["Options"] or {}).get("com.docker.network.bridge.name", f"br-{id_[:12]}")
        if network["Driver"] == "bridge":
            yield Expected(bridge, "network", id_)
            yield Expected(f"/sys/class/net/{bridge}/mtu", "network", id_)
        for pool in network["IPAM"]["Config"] or ():
            subnet = ipaddress.ip_network(pool["Subnet"])
            yield Expected(str(subnet), "network", id_)
            gateway = (pool.get("Gateway") or "").partition("/")[0]
            if gateway and network["Driver"] == "bridge" and gateway in self._addresses_of(bridge):
                yield Expected(gateway, "network", id_)
            last = subnet[-3]
            if str(last) not in self._taken:
                yield Expected(str(last), "network", id_)

    def _addresses_of(self, ifname: str) -> set[str]:
        host = self.seen.namespaces[self.seen.host_netns]
        return {
            address["local"]
            for link in host.links
            if link["ifname"] == ifname
            for address in host.addresses[link["ifindex"]]
        }

    @property
    def _taken(self) -> set[str]:
        addresses = {
            address["local"]
            for namespace in self.seen.namespaces.values()
            for having in namespace.addresses.values()
            for address in having
        }
        for container in self.seen.containers.values():
            for endpoint in container["NetworkSettings"]["Networks"].values():
                addresses.update((endpoint["IPAddress"], endpoint["GlobalIPv6Address"]))
        return addresses

    def links(self, inode: int) -> Iterator[Expected]:
        namespace = self.seen.namespaces[inode]
        for link in namespace.links:
            whose = self._owner_of(inode, link)
            if whose is None:
                continue
            kind, id_ = whose
            subject = f"{inode}/{link['ifindex']}"
            keys = [link["ifname"], f"if{link['ifindex']}"]
            if link.get("link_index"):
                keys.append(f"{link['ifname']}@if{link['link_index']}")
            if link["ifname"] != "lo":
                keys.append(str(link["ifindex"]))
                keys += [link["address"]] if link["link_type"] == "ether" else []
            for key in keys:
                yield Expected(key, kind, id_, subject)
            for address in namespace.addresses[link["ifindex"]]:
                if link["ifname"] != "lo":
                    yield Expected(address["local"], kind, id_)
                    yield Expected(f"{address['local']}/{address['prefixlen']}", kind, id_)

    def _owner_of(self, inode: int, link: Json) -> tuple[str, str] | None:
        """Whose a link is: of a container's namespace, of the network whose bridge it is, of who has the other end."""
        if inode in self.owners:
            return "container", self.owners[inode]
        if inode != self.seen.host_netns:
            return None  # hidden ones of the swarm, which docker does not tell of
        for id_, network in self.seen.networks.items():
            name = (network["Options"] or {}).get("com.docker.network.bridge.name", f"br-{id_[:12]}")
            if link["ifname"] == name and network["Driver"] == "bridge":
                return "network", id_
        if link.get("linkinfo", {}).get("info_kind") != "veth":
            return ("host", "host") if link["ifname"] in ("lo", "eth0") else None
        ends = [
            owner
            for other, owner in self.owners.items()
            for peer in self.seen.namespaces[other].links
            if (peer["ifindex"], peer.get("link_index")) == (link.get("link_index"), link["ifindex"])
        ]
        return ("container", ends[0]) if len(ends) == 1 else None

    # --- volumes, layers, rules

    def volume(self, name: str, volume: Json) -> Iterator[Expected]:
        for key in (name, volume["Mountpoint"], f"{volume['Mountpoint']}/deep/file"):
            yield Expected(key, "volume", name)
        options = volume["Options"] or {}
        if "bind" in options.get("o", "").split(","):
            for key in (options["device"], f"{options['device']}/far/down"):
                yield Expected(key, "volume", name)
                for id_, container in self.running.items():
                    if name in (mount.get("Name") for mount in container["Mounts"]):
                        yield Expected(key, "container", id_)
        if re.fullmatch("[0-9a-f]{64}", name):
            yield Expected(name[:12], "volume", name)
        for path in self.more["volumes"]:
            if path.startswith(f"{volume['Mountpoint']}/"):
                yield Expected(path, "volume", name)

    def layers(self) -> Iterator[Expected]:
        owners = {words[1]: words[0] for words in map(str.split, self.more["layer-of"]) if len(words) == 2}
        lowers: dict[str, list[str]] = {}
        for id_, container in self.seen.containers.items():
            for lower in self.driver_data(container).get("LowerDir", "").split(":")[1:]:
                lowers.setdefault(lower.removesuffix("/diff").rpartition("/")[2], []).append(id_)
        short = {
            target.split("/")[1]: link
            for link, target in (line.split(" ", 1) for line in self.more["short"] if "/diff" in line)
        }
        for line in self.more["layers"]:
            path, _, deep = line.partition(" ")
            name = path.rstrip("/").rpartition("/")[2]
            if name in ("l", "*"):
                continue
            keys = [path.rstrip("/"), name, name[:12] if "-" not in name else name, f"overlay2/{name}/diff/etc/x"]
            keys += [deep] if deep else []
            keys += [short[name], f"{short[name]}/etc/x", short[name].rpartition("/")[2]] if name in short else []
            owner = owners.get(name.removesuffix("-init"))
            for key in keys:
                if owner is not None:
                    yield Expected(key, "container", owner)
                else:
                    yield Expected(key, "image", "")
                    yield from (Expected(key, "concerns", user) for user in lowers.get(name, ()))

    def rules(self) -> Iterator[Expected]:
        by_address = self._by_address()
        for rule in self.seen.namespaces[self.seen.host_netns].rules:
            to = rule.options.get("--to-destination")
            owner = by_address.get(to.rpartition(":")[0].strip("[]")) if to else None
            if to and owner:
                yield Expected(to, "container", owner)
                yield Expected(rule.text, "container", owner)
