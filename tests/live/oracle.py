"""The report held against the daemon's own words and the host's own tools, field by field.

`expected` builds, from what `tests.live.observed` was told, the report that hostinspect should give: the same shape as
`report -o json`, whole. `compare` holds the two together, and every difference is a readable line:

    container web1: endpoints[my_net].mac: docker inspect says '02:42:ac:12:00:03', report says '02:42:ac:12:00:04'

What the report says and the expectation does not is listed in `NOT_COMPARED`, with the reason; the tests hold that list
to be complete.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from tests.live.observed import Host, Json, Namespace, NatChain, NatRule, Observed, dnat_target, observe, only

# --- where the engine's JSON and the report spell the same thing in two ways -----------------------------------------
#
#   engine                                                    report
#   "", 0, year 1 (nothing, never)                            null
#   Name "/web1"                                              "web1"
#   null and {} (labels, options), null and [] (aliases)      {} and []
#   LowerDir "a:b"                                            ["a", "b"]
#   IPAM gateway "fd00::1/64" (20.10, its own choice)         "fd00::1"
#   ExitCode 0 while running, or of a start that failed       null
#   HostConfig.Tmpfs {destination: options}                   a mount of type tmpfs more, with the options as mode
#   -s and -d of one host, "127.0.0.11/32"                    "127.0.0.11"
#   NetworkSettings.Ports {} of `--network host`              the ports that its processes listen on, via "host"

_NEVER = "0001-01-01T00:00:00Z"

# What of a network of the swarm is in the managers' encrypted store alone: the report may say the second value.
_SWARM_UNKNOWN: dict[str, Any] = {
    "name": None,
    "data_root": None,
    "attachable": False,
    "internal": False,
    "ipv6": False,
    "options": {},
    "labels": {},
}

# What the expectation is silent about, and why.
NOT_COMPARED = {
    "schema_version": "hostinspect's own",
    "host.collected_at": "the time of the report",
    "gaps[]": "hostinspect's own; that none but minor ones are left is compared",
}

# Where each part of the expectation comes from. The longest prefix counts.
_SOURCES = {
    "host": "uname and docker info",
    "containers[]": "docker inspect",
    "containers[].data_root": "docker info",
    "containers[].cgroup": "/proc/PID/cgroup",
    "containers[].netns": "readlink /proc/PID/ns/net",
    "containers[].endpoints[].interface": "ip link",
    "containers[].endpoints[].host_link": "ip link",
    "containers[].endpoints[].bridge": "ip link",
    "containers[].ports[].via": "iptables and ps",
    "containers[].ports[].rules[]": "iptables -L --line-numbers",
    "containers[].ports[].proxy_pid": "ps",
    "containers[].ports[].listening": "ss",
    "containers[].listeners[]": "ss and docker top",
    "containers[].mounts[].mounted": "/proc/PID/mountinfo",
    "containers[].drift[]": "a host without drift",
    "networks[]": "docker network inspect",
    "networks[].data_root": "docker info",
    "networks[].netns": "/run/docker/netns",
    "bridges[]": "brctl show",
    "bridges[].addresses[]": "ip addr",
    "bridges[].network": "docker network inspect",
    "links[]": "ip -d link",
    "links[].addresses[]": "ip addr",
    "links[].prefixes[]": "ip addr",
    "netns[]": "readlink /proc/PID/ns/net",
    "netns[].paths[]": "mountinfo",
    "nat_chains[]": "iptables-save",
    "nat_rules[]": "iptables-save",
    "volumes[]": "docker volume inspect",
    "volumes[].data_root": "docker info",
    "volumes[].used_by[]": "docker inspect",
    "gaps[]": "a host read as root",
}


class Matcher:
    """What is right where more than one value is."""

    def accepts(self, actual: Any) -> bool:
        raise NotImplementedError


@dataclass(frozen=True)
class OneOf(Matcher):
    """One of several values."""

    values: tuple[Any, ...]

    def accepts(self, actual: Any) -> bool:
        return any(_same(value, actual) for value in self.values)

    def __repr__(self) -> str:
        return " or ".join(map(repr, self.values))


@dataclass(frozen=True)
class NotAfter(Matcher):
    """A time at or before that one, or nothing."""

    time: str

    def accepts(self, actual: Any) -> bool:
        return actual is None or (bool(_TIME.fullmatch(str(actual))) and str(actual) <= self.time)

    def __repr__(self) -> str:
        return f"not after {self.time}"


@dataclass(frozen=True)
class Pids(Matcher):
    """The processes of the host's namespace: those that were there before the tools were asked and last, and perhaps
    a few that ended since, as the one that made the report."""

    lasting: frozenset[int]
    tools: frozenset[int]

    def accepts(self, actual: Any) -> bool:
        if not isinstance(actual, list) or actual != sorted(set(actual)):
            return False
        ended = set(actual) - self.lasting
        return self.lasting <= set(actual) and len(ended) <= _MAY_HAVE_ENDED and not ended & self.tools

    def __repr__(self) -> str:
        return f"{sorted(self.lasting)} and at most {_MAY_HAVE_ENDED} that ended since"


@dataclass(frozen=True)
class MinorGaps(Matcher):
    """Gaps that leave the answer as it is."""

    def accepts(self, actual: Any) -> bool:
        return isinstance(actual, list) and all(gap.get("minor") for gap in actual)

    def __repr__(self) -> str:
        return "no gaps but minor ones"


_MAY_HAVE_ENDED = 4
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def _same(expected: Any, actual: Any) -> bool:
    return type(expected) is type(actual) and bool(expected == actual)


class Missing:
    """What stands where there is nothing."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = Missing()


class Difference(NamedTuple):
    """One leaf that differs."""

    pattern: str  # "containers[].endpoints[].mac"
    path: str  # "container web1: endpoints[my_net].mac"
    expected: Any
    actual: Any

    def __str__(self) -> str:
        source = max((s for s in _SOURCES if self.pattern.startswith(s)), key=len, default="")
        return f"{self.path}: {_SOURCES.get(source, 'the oracle')} says {self.expected!r}, report says {self.actual!r}"


def compare(report: Json, observed: Observed) -> list[Difference]:
    """Every difference between a report and what was observed."""
    return list(differences(report, expected_of(observed)))


def differences(report: Json, expected: dict[str, Any]) -> Iterator[Difference]:
    """The same, of what is expected (`expected_of`)."""
    return _differ("", "", _without_untold(expected, report), report)


def _without_untold(expected: dict[str, Any], report: Json) -> dict[str, Any]:
    """The expectation without networks of the swarm that the report does not have, and says so in a gap.

    While nothing on the node is attached to `ingress`, only the managers' encrypted store has its name and whole id
    (Docker 28; 20.10 has the id in local-kv.db).
    """
    told = {network["id"] for network in report["networks"]}
    gaps = [gap["subject"] for gap in report["gaps"] if gap["collector"] == "networks"]
    untold = {
        network["id"]
        for network in expected["networks"]
        if network["netns"] and network["id"] not in told and any(network["id"][:10] in gap for gap in gaps)
    }
    kept = {**expected, "networks": [n for n in expected["networks"] if n["id"] not in untold]}
    for part in ("bridges", "netns"):
        kept[part] = [{**p, "network": None} if p["network"] in untold else p for p in expected[part]]
    return kept


def settled_differences(host: Host, report: Callable[[], Json]) -> list[str]:
    """The differences that are none of a host that changed between report and observation, as a container that is
    restarted over and over makes it.

    A difference counts where the host was the same before the report as after it.
    """
    found = compare(report(), _at_one_time(host))
    for _ in range(_ATTEMPTS if found else 0):
        before = _at_one_time(host)
        answer = report()
        after = _at_one_time(host)
        found = compare(answer, after)
        if not found or expected_of(before) == expected_of(after):
            break
    return [str(difference) for difference in found]


def _at_one_time(host: Host) -> Observed:
    """An observation whose parts fit together: one tool may list a link that was gone when the next one was asked."""
    for _ in range(_ATTEMPTS):
        observed = observe(host)
        try:
            expected_of(observed)
        except KeyError:
            continue
        return observed
    return observe(host)


_ATTEMPTS = 8


def expected_of(observed: Observed) -> dict[str, Any]:
    """The report that hostinspect should give of what was observed."""
    return Expected(observed).report


# --- comparing ------------------------------------------------------------------------------------------------------


class Keyed(NamedTuple):
    """How the elements of a list are told apart, and named."""

    key: Callable[[Json], Any]
    label: Callable[[Json], str]


def _by(*names: str) -> Keyed:
    return Keyed(
        lambda element: tuple(map(element.get, names)),
        lambda element: " ".join(str(element.get(name)) for name in names),
    )


_KEYS = {
    "containers[]": Keyed(lambda c: c.get("id"), lambda c: str(c.get("name"))),
    "containers[].endpoints[]": Keyed(
        lambda e: (e.get("network"), e.get("network_id"), e.get("interface")), lambda e: str(e.get("network"))
    ),
    "containers[].ports[]": _by("proto", "container_port", "host_ip", "host_port"),
    "containers[].ports[].rules[]": _by("family", "backend", "table", "chain", "position"),
    "containers[].listeners[]": _by("proto", "address", "port"),
    "containers[].mounts[]": _by("destination"),
    "containers[].drift[]": _by("field"),
    "networks[]": Keyed(lambda n: n.get("id"), lambda n: str(n.get("name"))),
    "networks[].subnets[]": _by("subnet"),
    "networks[].drift[]": _by("field"),
    "bridges[]": _by("netns", "name"),
    "bridges[].ports[]": _by("link"),
    "links[]": _by("netns", "ifindex"),
    "netns[]": _by("inode"),
    "nat_chains[]": _by("netns", "family", "backend", "table", "name"),
    "nat_rules[]": _by("netns", "family", "backend", "table", "chain", "position"),
    "volumes[]": _by("name"),
    "volumes[].used_by[]": _by("container", "destination"),
    "gaps[]": _by("collector", "subject"),
    "host.engines[]": _by("name", "data_root"),
}
_SINGULAR = {
    "containers": "container",
    "networks": "network",
    "bridges": "bridge",
    "links": "link",
    "volumes": "volume",
}


def _differ(pattern: str, path: str, expected: Any, actual: Any) -> Iterator[Difference]:
    if isinstance(expected, Matcher):
        if not expected.accepts(actual):
            yield Difference(pattern, path, expected, actual)
    elif isinstance(expected, Mapping) and isinstance(actual, Mapping):
        yield from _differ_objects(pattern, path, expected, actual)
    elif isinstance(expected, list) and isinstance(actual, list) and pattern + "[]" in _KEYS:
        yield from _differ_lists(pattern + "[]", path, expected, actual)
    elif not _same(expected, actual):
        yield Difference(pattern, path, expected, actual)


def _differ_objects(
    pattern: str, path: str, expected: Mapping[str, Any], actual: Mapping[str, Any]
) -> Iterator[Difference]:
    free = pattern.endswith(("labels", "options"))  # their keys are the user's
    for name in {**expected, **(actual if free else {})}:
        below = f"{path}{'' if not path or path.endswith(': ') else '.'}{name}"
        yield from _differ(
            f"{pattern}.{name}".lstrip("."), below, expected.get(name, MISSING), actual.get(name, MISSING)
        )


def _differ_lists(pattern: str, path: str, expected: list[Any], actual: list[Any]) -> Iterator[Difference]:
    key, label = _KEYS[pattern]
    wanted = {key(element): element for element in expected}
    had: dict[Any, Any] = {}
    for element in actual:
        if key(element) in had:
            yield Difference(pattern, f"{path}[{label(element)}]", "one", "two")
        had[key(element)] = element
    for k in {**wanted, **had}:
        name = label(had[k] if k in had else wanted[k])
        singular = _SINGULAR.get(path)
        below = f"{singular} {name}: " if singular else f"{path}[{name}]"
        if k in wanted and k in had:
            yield from _differ(pattern, below, wanted[k], had[k])
        else:
            place = below.removesuffix(": ")
            yield Difference(pattern, place, wanted.get(k, MISSING), had.get(k, MISSING))


# --- what the report should say -------------------------------------------------------------------------------------


def _known(value: Any) -> Any:
    """The engine's word, with its ways to say nothing as null."""
    return None if value in ("", _NEVER) or (value == 0 and value is not False) else value


class Expected:
    """The report that the observations make."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed

    @cached_property
    def report(self) -> dict[str, Any]:
        return {
            "host": self._host(),
            "containers": [self._container(c) for c in self.observed.containers.values()],
            "networks": [self._network(n) for n in self.observed.networks.values()],
            "bridges": [b for ns in self.observed.namespaces.values() for b in self._bridges(ns)],
            "links": [self._link(ns, link) for ns in self.observed.namespaces.values() for link in ns.links],
            "netns": [self._netns(ns) for ns in self.observed.namespaces.values()],
            "nat_chains": [_chain(chain) for ns in self.observed.namespaces.values() for chain in ns.chains],
            "nat_rules": [self._rule(rule) for ns in self.observed.namespaces.values() for rule in ns.rules],
            "volumes": [self._volume(v) for v in self.observed.volumes.values()],
            "gaps": MinorGaps(),
        }

    # --- the host

    def _host(self) -> dict[str, Any]:
        return {
            "hostname": self.observed.text("hostname"),
            "kernel": self.observed.text("kernel"),
            "os": self.observed.text("os"),
            "boot_id": self.observed.text("boot_id"),
            "root": None,  # it runs
            "engines": [
                {
                    "name": "docker",
                    "data_root": self.observed.info["DockerRootDir"],
                    "daemon": "running",
                    "version": OneOf((self.observed.info["ServerVersion"], None)),  # no file says it
                    "pid": int(self.observed.text("daemon")),
                }
            ],
        }

    # --- containers

    def _container(self, inspect: Json) -> dict[str, Any]:
        state = inspect["State"]
        pid = state["Pid"] or None
        started = _known(state["StartedAt"])
        mode = inspect["HostConfig"]["NetworkMode"]
        netns = self.observed.netns_by_pid.get(pid) if pid else None
        graph = inspect["GraphDriver"]["Data"]
        settings = inspect["NetworkSettings"]
        return {
            "id": inspect["Id"],
            "name": inspect["Name"].removeprefix("/"),
            "data_root": self.observed.info["DockerRootDir"],
            "image": _known(inspect["Config"]["Image"]),
            "image_id": _known(inspect["Image"]),
            "state": state["Status"],
            "pid": pid,
            "created": inspect["Created"],
            "started_at": started,
            "finished_at": _known(state["FinishedAt"]),
            "exit_code": None if pid or not started else state["ExitCode"],
            "health": state["Health"]["Status"] if pid and state.get("Health") else None,
            "hostname": _known(inspect["Config"]["Hostname"]),
            "cgroup": self._cgroup(inspect["Id"], pid),
            "netns": netns,
            "network_mode": _known(mode),
            "shares_netns_with": mode.removeprefix("container:") if mode.startswith("container:") else None,
            "endpoints": self._endpoints(inspect, netns),
            "ports": self._ports(inspect, netns),
            "exposed_ports": sorted({**(settings["Ports"] or {}), **(inspect["Config"].get("ExposedPorts") or {})}),
            "listeners": self._listeners(inspect["Id"]),
            "mounts": self._mounts(inspect, pid),
            "storage_driver": inspect["Driver"],
            "overlay": {
                "lower": graph["LowerDir"].split(":"),
                "upper": graph["UpperDir"],
                "work": graph["WorkDir"],
                "merged": graph["MergedDir"],
            },
            "labels": inspect["Config"]["Labels"] or {},
            "drift": [],
        }

    def _cgroup(self, id_: str, pid: int | None) -> Any:
        paths = self.observed.cgroups(pid) if pid else []
        named = [path for path in paths if id_ in path]
        return OneOf(tuple(named or paths)) if paths else None

    def _endpoints(self, inspect: Json, netns: int | None) -> list[dict[str, Any]]:
        """NetworkSettings.Networks, and what docker network inspect lists beyond them: docker_gwbridge."""
        own = netns is not None and netns != self.observed.host_netns
        namespace = self.observed.namespaces[netns] if own and netns is not None else None
        found = []
        networks = inspect["NetworkSettings"]["Networks"] or {}
        for name, endpoint in networks.items():
            found.append(
                {
                    "network": name,
                    "network_id": _known(endpoint["NetworkID"]),
                    "endpoint_id": _known(endpoint["EndpointID"]),
                    "ip": _known(endpoint["IPAddress"]),
                    "prefix_len": _known(endpoint["IPPrefixLen"]),
                    "ip6": _known(endpoint["GlobalIPv6Address"]),
                    "prefix_len6": _known(endpoint["GlobalIPv6PrefixLen"]),
                    "gateway": _known(endpoint["Gateway"]),
                    "gateway6": _known(endpoint["IPv6Gateway"]),
                    "mac": _known(endpoint["MacAddress"]),
                    "aliases": endpoint["Aliases"] or [],
                    "dns_names": endpoint.get("DNSNames") or [],
                }
            )
        listed = {endpoint["network_id"] for endpoint in found}
        for network in self.observed.networks.values():
            member = (network["Containers"] or {}).get(inspect["Id"])
            if member and network["Id"] not in listed:
                found.append(self._further_endpoint(network, member))
        return [{**endpoint, **self._interface(namespace, endpoint)} for endpoint in found]

    @staticmethod
    def _further_endpoint(network: Json, member: Json) -> dict[str, Any]:
        ip, _, prefix_len = member["IPv4Address"].partition("/")
        ip6, _, prefix_len6 = member["IPv6Address"].partition("/")
        gateway = only(pool.get("Gateway") for pool in network["IPAM"]["Config"] if ":" not in pool["Subnet"])
        return {
            "network": network["Name"],
            "network_id": network["Id"],
            "endpoint_id": member["EndpointID"],
            "ip": _known(ip),
            "prefix_len": int(prefix_len) if prefix_len else None,
            "ip6": _known(ip6),
            "prefix_len6": int(prefix_len6) if prefix_len6 else None,
            "gateway": None if network["Internal"] else gateway,
            "gateway6": None,
            "mac": _known(member["MacAddress"]),
            "aliases": [],
            "dns_names": [],
        }

    def _interface(self, namespace: Namespace | None, endpoint: Mapping[str, Any]) -> dict[str, Any]:
        """By MAC in the container's namespace, then by ifindex from both ends to the host's, and its bridge."""
        nothing = {"interface": None, "host_link": None, "host_link_netns": None, "bridge": None}
        if namespace is None or endpoint["mac"] is None:
            return nothing
        link = only(link for link in namespace.links if link.get("address") == endpoint["mac"])
        if link is None:
            return nothing
        other = self._peer(namespace, link) or self._lower(namespace, link)
        outer = self.observed.namespaces[other[0]].by_index[other[1]] if other else None
        return {
            "interface": link["ifname"],
            "host_link": outer["ifname"] if outer else None,
            "host_link_netns": other[0] if other else None,
            "bridge": outer.get("master") if outer and _kind(link) == "veth" else None,
        }

    def _ports(self, inspect: Json, netns: int | None) -> list[dict[str, Any]]:
        if netns is None:
            return []
        if netns == self.observed.host_netns:
            return [
                {
                    "proto": listener["proto"],
                    "container_port": listener["port"],
                    "host_ip": listener["address"],
                    "host_port": listener["port"],
                    "via": ["host"],
                    "rules": [],
                    "proxy_pid": None,
                    "listening": {"pid": listener["pid"], "comm": listener["comm"], "address": listener["address"]},
                }
                for listener in self._listeners(inspect["Id"])
            ]
        return [
            self._port(inspect, netns, port, binding["HostIp"], int(binding["HostPort"]))
            for port, bindings in (inspect["NetworkSettings"]["Ports"] or {}).items()
            for binding in bindings or ()
            if binding["HostPort"]  # Docker 28 lists a port that it could bind nowhere, without a number
        ]

    def _port(self, inspect: Json, netns: int, port: str, host_ip: str, host_port: int) -> dict[str, Any]:
        container_port, _, proto = port.partition("/")
        addresses = self._addresses(inspect["Id"])
        rules = [
            {
                "family": rule.family,
                "backend": rule.backend,
                "table": "nat",
                "chain": "DOCKER",
                "position": rule.number,
            }
            for rule in self.observed.namespaces[self.observed.host_netns].listed
            if rule.proto == proto
            and rule.dport == str(host_port)
            and rule.destination == (None if host_ip in ("0.0.0.0", "::") else host_ip)
            and rule.family == ("ipv6" if ":" in host_ip else "ipv4")
            and dnat_target(rule.to)[0] in addresses
            and dnat_target(rule.to)[1] == container_port
        ]
        proxies = [
            self.observed.proxies[proto, host_ip, str(host_port), address, container_port]
            for address in addresses
            if (proto, host_ip, str(host_port), address, container_port) in self.observed.proxies
        ]
        return {
            "proto": proto,
            "container_port": int(container_port),
            "host_ip": host_ip,
            "host_port": host_port,
            "via": ["dnat"] * bool(rules) + ["proxy"] * bool(proxies),
            "rules": rules,
            "proxy_pid": only(proxies),
            "listening": self._listening(netns, proto, int(container_port), addresses),
        }

    def _addresses(self, id_: str) -> list[str]:
        """Every address of a container, docker_gwbridge's too."""
        found = []
        for network in self.observed.networks.values():
            member = (network["Containers"] or {}).get(id_)
            if member:
                found += [member["IPv4Address"].partition("/")[0], member["IPv6Address"].partition("/")[0]]
        return [address for address in found if address]

    def _listening(self, netns: int, proto: str, port: int, addresses: Iterable[str]) -> Any:
        """Who answers there, as ss in the container's namespace has it."""
        answers = []
        for socket in self.observed.namespaces[netns].sockets:
            if (socket.proto, socket.port) != (proto, port):
                continue
            if socket.address in addresses or _is_any(socket.address, socket.any_family, addresses):
                pid, comm = socket.holders[0] if socket.holders else (None, None)
                answers.append({"pid": pid, "comm": comm, "address": socket.address})
        return OneOf(tuple(answers)) if len(answers) > 1 else answers[0] if answers else None

    def _listeners(self, id_: str) -> list[dict[str, Any]]:
        """ss in every namespace, for the processes that docker top tells of."""
        pids = set(self.observed.top.get(id_, ()))
        found = []
        for namespace in self.observed.namespaces.values():
            for socket in namespace.sockets:
                holders = [holder for holder in socket.holders if holder[0] in pids]
                if holders:
                    pid, comm = holders[0]
                    found.append(
                        {
                            "proto": socket.proto,
                            "address": socket.address,
                            "port": socket.port,
                            "pid": pid,
                            "comm": comm,
                        }
                    )
        return found

    def _mounts(self, inspect: Json, pid: int | None) -> list[dict[str, Any]]:
        subpaths = {
            mount["Target"]: (mount.get("VolumeOptions") or {}).get("Subpath")
            for mount in inspect["HostConfig"].get("Mounts") or ()
        }
        mounted = {mount.mount_point: mount for mount in self.observed.mounts(pid)} if pid else {}
        found = []
        for mount in inspect["Mounts"]:
            found.append(
                {
                    "type": mount["Type"],
                    "name": _known(mount.get("Name", "")),
                    "source": _known(mount.get("Source", "")),
                    "destination": mount["Destination"],
                    "driver": _known(mount.get("Driver", "")),
                    "mode": mount["Mode"],
                    "rw": mount["RW"],
                    "propagation": mount["Propagation"],
                    "subpath": _known(subpaths.get(mount["Destination"]) or ""),
                }
            )
        for destination, options in (inspect["HostConfig"].get("Tmpfs") or {}).items():
            found.append(
                {
                    "type": "tmpfs",
                    "name": None,
                    "source": None,
                    "destination": destination,
                    "driver": None,
                    "mode": options,
                    "rw": "ro" not in options.split(","),
                    "propagation": "",
                    "subpath": None,
                }
            )
        for mount in found:
            # The random hosts' image has the link /var/run -> /run, as most have.
            place = re.sub("^/var/run/", "/run/", mount["destination"])
            mount["mounted"] = bool({mount["destination"], place} & set(mounted)) if pid else None
        return found

    # --- networks and volumes

    def _network(self, inspect: Json) -> dict[str, Any]:
        options = inspect["Options"] or {}
        hidden = self._hidden_netns(inspect)
        driver = inspect["Driver"]
        bridge = parent = mode = None
        if driver == "bridge" and not inspect["ConfigOnly"]:
            bridge = options.get("com.docker.network.bridge.name") or f"br-{inspect['Id'][:12]}"
        if driver == "overlay" and hidden is not None:
            bridge = only(self.observed.namespaces[hidden].bridges)
        if driver == "macvlan":
            # Without a parent, the engine makes a dummy device and names it after the network.
            parent, mode = options.get("parent") or f"dm-{inspect['Id'][:12]}", options.get("macvlan_mode") or "bridge"
        vxlan_ids = options.get("com.docker.network.driver.overlay.vxlanid_list", "")
        network = {
            "id": inspect["Id"],
            "name": inspect["Name"],
            "data_root": self.observed.info["DockerRootDir"],
            "driver": driver,
            "scope": inspect["Scope"],
            "internal": inspect["Internal"],
            "attachable": inspect["Attachable"],
            "ingress": inspect["Ingress"],
            "ipv6": inspect["EnableIPv6"],
            "config_only": inspect["ConfigOnly"],
            "created": inspect["Created"],
            "subnets": [
                {
                    "subnet": pool["Subnet"],
                    "gateway": _known(pool.get("Gateway", "").partition("/")[0]),
                    "ip_range": _known(pool.get("IPRange", "")),
                }
                for pool in inspect["IPAM"]["Config"] or ()
            ],
            "bridge": bridge,
            "parent": parent,
            "mode": mode,
            "vxlan_ids": sorted(map(int, vxlan_ids.split(","))) if vxlan_ids and hidden is not None else [],
            "netns": hidden,
            "options": options,
            "labels": inspect["Labels"] or {},
            # lb-NETWORK and ingress-sbox are swarm's sandboxes, no containers.
            "containers": sorted(id_ for id_ in inspect["Containers"] or {} if id_ in self.observed.containers),
            "drift": [],
        }
        if inspect["Scope"] == "swarm":
            for name, unknown in _SWARM_UNKNOWN.items():
                network[name] = OneOf((network[name], unknown))
            # The engine tells when this node joined it, the record when it was made.
            network["created"] = NotAfter(inspect["Created"])
        return network

    def _hidden_netns(self, inspect: Json) -> int | None:
        names = [f"{epoch}-{inspect['Id'][:10]}" for epoch in range(100)] if inspect["Driver"] == "overlay" else []
        paths = self.observed.netns_by_path
        return next(
            (paths[f"/run/docker/netns/{name}"] for name in names if f"/run/docker/netns/{name}" in paths), None
        )

    def _volume(self, inspect: Json) -> dict[str, Any]:
        name, labels = inspect["Name"], inspect["Labels"] or {}
        return {
            "name": name,
            "data_root": self.observed.info["DockerRootDir"],
            "driver": inspect["Driver"],
            "mountpoint": _known(inspect["Mountpoint"]),
            "options": inspect["Options"] or {},
            "labels": labels,
            "anonymous": "com.docker.volume.anonymous" in labels or bool(re.fullmatch("[0-9a-f]{64}", name)),
            # 20.10 shows when the data last changed, in _data; later versions the directory of the volume, as we do.
            "created": inspect["CreatedAt"] if self.observed.version >= (23,) else self.observed.volume_times.get(name),
            "used_by": [
                {"container": container["Id"], "destination": mount["Destination"], "rw": mount["RW"]}
                for container in self.observed.containers.values()
                for mount in container["Mounts"]
                if mount["Type"] == "volume" and mount["Name"] == name
            ],
        }

    # --- namespaces, links and bridges

    def _peer(self, namespace: Namespace, link: Json) -> tuple[int, int] | None:
        """Namespace and ifindex of a veth's other end: the only veth anywhere that points back."""
        if _kind(link) != "veth":
            return None
        found = [
            (other.inode, there["ifindex"])
            for other, there in self._pointed_at(namespace, link)
            if _kind(there) == "veth"
            and any(far.inode == namespace.inode and near is link for far, near in self._pointed_at(other, there))
        ]
        return found[0] if len(found) == 1 else None

    def _lower(self, namespace: Namespace, link: Json) -> tuple[int, int] | None:
        if _kind(link) not in ("macvlan", "macvtap", "ipvlan", "vlan", "vxlan"):
            return None
        if "link" not in link and "link_index" not in link:
            return None
        if _kind(link) == "vxlan" and link.get("link_index") == link["ifindex"]:
            return None  # a vxlan without a lower device names itself
        found = [(other.inode, there["ifindex"]) for other, there in self._pointed_at(namespace, link)]
        return found[0] if len(found) == 1 else None

    def _pointed_at(self, namespace: Namespace, link: Json) -> Iterator[tuple[Namespace, Json]]:
        """The links that `link` may point at: in its own namespace by name, in others by ifindex and lsns's NETNSID."""
        if "link" in link:
            yield from ((namespace, there) for there in namespace.links if there["ifname"] == link["link"])
        elif "link_netnsid" in link:
            there = [
                (other, other.by_index[link["link_index"]], namespace.nsids.get(other.inode))
                for other in self.observed.namespaces.values()
                if other is not namespace and link["link_index"] in other.by_index
            ]
            named = [(other, far) for other, far, nsid in there if nsid == link["link_netnsid"]]
            # lsns knows no namespace without processes, as the hidden ones of overlay networks are.
            unseen = [(other, far) for other, far, _ in there if other.inode not in self.observed.pids_by_netns]
            yield from named or unseen

    @cached_property
    def _owners(self) -> dict[int, str]:
        """Whose each namespace is: of the containers in it, the one that joined no other's."""
        owners = {}
        for id_, inspect in self.observed.containers.items():
            netns = self.observed.netns_by_pid.get(inspect["State"]["Pid"])
            if netns and not inspect["HostConfig"]["NetworkMode"].startswith(("container:", "host")):
                owners[netns] = id_
        return owners

    def _owner_of_link(self, namespace: Namespace, link: Json) -> str | None:
        if namespace.inode in self._owners:
            return self._owners[namespace.inode]
        peer = self._peer(namespace, link)
        return self._owners.get(peer[0]) if peer else None

    def _ref(self, place: tuple[int, int] | None) -> dict[str, Any] | None:
        if place is None:
            return None
        link = self.observed.namespaces[place[0]].by_index[place[1]]
        return {"netns": place[0], "ifindex": place[1], "ifname": link["ifname"]}

    def _link(self, namespace: Namespace, link: Json) -> dict[str, Any]:
        kind = _kind(link)
        of_kind = link.get("linkinfo", {}).get("info_data", {})
        of_port = link.get("linkinfo", {}).get("info_slave_data", {})
        addresses = namespace.addresses.get(link["ifindex"], [])
        mac = link.get("address", "")
        return {
            "netns": namespace.inode,
            "ifindex": link["ifindex"],
            "ifname": link["ifname"],
            "kind": kind,
            "mac": mac if re.fullmatch(r"(..:){5}..", mac) else None,
            "mtu": link["mtu"],
            "operstate": link["operstate"].lower(),
            "flags": link["flags"],
            "master": link.get("master"),
            "addresses": [address["local"] for address in addresses],
            "prefixes": [f"{address['local']}/{address['prefixlen']}" for address in addresses],
            "link_index": self._link_index(namespace, link),
            "link_netnsid": link.get("link_netnsid"),
            "peer": self._ref(self._peer(namespace, link)),
            "lower": self._ref(self._lower(namespace, link)),
            "doubt": None,
            "container": self._owner_of_link(namespace, link),
            "port_state": of_port.get("state"),
            "mode": of_kind.get("mode") if kind in ("macvlan", "macvtap", "ipvlan") else None,
            "vxlan_id": of_kind.get("id") if kind == "vxlan" else None,
            "vlan_id": of_kind.get("id") if kind == "vlan" else None,
            "alias": link.get("ifalias"),
            "altnames": link.get("altnames", []),
        }

    @staticmethod
    def _link_index(namespace: Namespace, link: Json) -> int | None:
        """ip tells the name instead of the number of a link in the same namespace, null where there is none."""
        if "link" in link:
            return only(there["ifindex"] for there in namespace.links if there["ifname"] == link["link"])  # type: ignore[no-any-return]
        return link.get("link_index")  # type: ignore[no-any-return]

    def _bridges(self, namespace: Namespace) -> Iterator[dict[str, Any]]:
        links = {link["ifname"]: link for link in namespace.links}
        for name, (id_, stp, ports) in namespace.bridges.items():
            addresses = namespace.addresses.get(links[name]["ifindex"], [])
            yield {
                "name": name,
                "id": id_,
                "stp": stp,
                "netns": namespace.inode,
                "addresses": [address["local"] for address in addresses],
                "ports": [
                    {"link": port, "container": self._owner_of_link(namespace, links[port])} for port in sorted(ports)
                ],
                "network": self._networks_by_bridge.get((namespace.inode, name)),
            }

    @cached_property
    def _networks_by_bridge(self) -> dict[tuple[int, str], str]:
        found = {}
        for inspect in self.observed.networks.values():
            network = self._network(inspect)
            if network["bridge"]:
                found[network["netns"] or self.observed.host_netns, network["bridge"]] = network["id"]
        return found

    def _netns(self, namespace: Namespace) -> dict[str, Any]:
        inode = namespace.inode
        containers = sorted(
            id_
            for id_, inspect in self.observed.containers.items()
            if inspect["State"]["Pid"] and self.observed.netns_by_pid.get(inspect["State"]["Pid"]) == inode
        )
        role, network = self._role(inode, bool(containers))
        return {
            "inode": inode,
            "paths": sorted(path for path, pinned in self.observed.netns_by_path.items() if pinned == inode),
            "pids": self._pids(inode),
            "containers": containers,
            "host": inode == self.observed.host_netns,
            "role": role,
            "network": network,
        }

    def _pids(self, inode: int) -> Any:
        now = self.observed.pids_by_netns.get(inode, [])
        if inode != self.observed.host_netns:
            return now
        return Pids(frozenset(now) & self.observed.lasting_pids, self.observed.tool_pids)

    def _role(self, inode: int, occupied: bool) -> tuple[str, str | None]:
        if inode == self.observed.host_netns:
            return "host", None
        for network in self.observed.networks.values():
            if self._hidden_netns(network) == inode:
                return "overlay", network["Id"]
        names = {path.rpartition("/")[2] for path, pinned in self.observed.netns_by_path.items() if pinned == inode}
        if "ingress_sbox" in names:
            return "ingress", only(network["Id"] for network in self.observed.networks.values() if network["Ingress"])
        for name in names:
            if name.startswith("lb_"):
                prefix = name.removeprefix("lb_")
                ids = [id_ for id_ in self.observed.networks if id_.startswith(prefix)]
                return "load-balancer", only(ids)
        keys = {c["NetworkSettings"]["SandboxKey"].rpartition("/")[2] for c in self.observed.containers.values()}
        return ("container" if occupied or names & keys else "other"), None

    # --- rules

    def _rule(self, rule: NatRule) -> dict[str, Any]:
        options = rule.options
        on_host = rule.netns == self.observed.host_netns
        to = options.get("--to-destination") or options.get("--to-source")
        return {
            "netns": rule.netns,
            "family": rule.family,
            "backend": rule.backend,
            "table": "nat",
            "chain": rule.chain,
            "position": rule.position,
            "text": rule.text,
            "verdict": options.get("-j"),
            "proto": options.get("-p"),
            "dport": options.get("--dport"),
            "to": to,
            "in_interface": options.get("-i"),
            "out_interface": options.get("-o"),
            "src": _without_prefix(options.get("-s")),
            "dst": _without_prefix(options.get("-d")),
            "packets": rule.packets,
            "bytes": rule.bytes,
            "container": self._container_of_rule(rule, to) if on_host else self._owners.get(rule.netns),
            "network": self._network_of_rule(options) if on_host else None,
            "exact": True,
        }

    def _container_of_rule(self, rule: NatRule, to: str | None) -> str | None:
        """Whose address it leads to, or names as source or destination."""
        named: list[str | None] = [dnat_target(to)[0] if to else None]
        for option in ("-s", "-d"):
            host, _, length = rule.options.get(option, "").partition("/")
            named.append(host if length in ("", "32" if ":" not in host else "128") else None)
        for address in named:
            for id_ in self.observed.containers:
                if address and self.observed.containers[id_]["State"]["Pid"] and address in self._addresses(id_):
                    return id_
        return None

    def _network_of_rule(self, options: Mapping[str, str]) -> str | None:
        """Whose subnet or bridge it names."""
        for name in ("-s", "-d"):
            for network in self.observed.networks.values():
                pools = [pool["Subnet"] for pool in network["IPAM"]["Config"] or ()]
                if options.get(name) in pools:
                    return str(network["Id"])
        for name in ("-i", "-o"):
            bridge = options.get(name, "").removeprefix("!")
            if (self.observed.host_netns, bridge) in self._networks_by_bridge:
                return self._networks_by_bridge[self.observed.host_netns, bridge]
        return None


def _chain(chain: NatChain) -> dict[str, Any]:
    """A user's chain has no counters, and with nft one of a hook need not have any: iptables-save prints 0 for them."""
    packets: Any = None if chain.policy is None else chain.packets
    octets: Any = None if chain.policy is None else chain.bytes
    if chain.backend == "nft" and (packets, octets) == (0, 0):
        packets = octets = OneOf((0, None))
    return {
        "netns": chain.netns,
        "family": chain.family,
        "backend": chain.backend,
        "table": "nat",
        "name": chain.name,
        "hook": chain.hook,
        "priority": chain.priority,
        "policy": chain.policy,
        "packets": packets,
        "bytes": octets,
    }


def _without_prefix(address: str | None) -> str | None:
    """An address that names one host, as the report spells it."""
    return address and address.removesuffix("/128" if ":" in address else "/32")


def _kind(link: Json) -> str | None:
    kind: str | None = link.get("linkinfo", {}).get("info_kind")
    return kind


def _is_any(address: str, any_family: bool, addresses: Iterable[str]) -> bool:
    families = {ipaddress.ip_address(address).version for address in addresses}
    return (address == "0.0.0.0" and 4 in families) or (address == "::" and (6 in families or any_family))
