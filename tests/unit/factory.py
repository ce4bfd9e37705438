"""Small hosts in facts: what the tests of correlation start from."""

from __future__ import annotations

from hostinspect.facts import (
    Address,
    ContainerRecord,
    Engine,
    Facts,
    Host,
    Link,
    NetworkNamespace,
    NetworkRecord,
    Nsid,
    Process,
    RecordedEndpoint,
    Subnet,
)

HOST_NETNS = 4026531840
HOST_MNTNS = 4026531841
WEB_NETNS = 4026532201
WEB_MNTNS = 4026532202
WEB_ID = "e" * 64
NETWORK_ID = "b" * 64

HOST = Host(
    hostname="web-01",
    kernel="6.1.0",
    collected_at="2026-01-01T00:00:00Z",
    netns=HOST_NETNS,
    mntns=HOST_MNTNS,
)


def record(**changes: object) -> ContainerRecord:
    """A running container `web` on the network `bridge`."""
    fields: dict[str, object] = {
        "engine": "docker",
        "data_root": "/var/lib/docker",
        "id": WEB_ID,
        "name": "web",
        "running": True,
        "pid": 500,
        "started_at": "2026-01-01T00:00:00Z",
        "network_mode": "default",
        "endpoints": (
            RecordedEndpoint(
                network="bridge",
                network_id=NETWORK_ID,
                endpoint_id="f" * 64,
                ip="172.17.0.2",
                prefix_len=16,
                mac="02:42:ac:11:00:02",
            ),
        ),
    }
    return ContainerRecord(**{**fields, **changes})  # type: ignore[arg-type]


def web_process(**changes: object) -> Process:
    fields: dict[str, object] = {
        "pid": 500,
        "ppid": 400,
        "comm": "httpd",
        "state": "S",
        "starttime": 1000,
        "netns": WEB_NETNS,
        "mntns": WEB_MNTNS,
        "cgroups": (f"/docker/{WEB_ID}",),
    }
    return Process(**{**fields, **changes})  # type: ignore[arg-type]


def host_process(pid: int = 1, **changes: object) -> Process:
    fields: dict[str, object] = {
        "pid": pid,
        "ppid": 0,
        "comm": "init",
        "state": "S",
        "starttime": 1,
        "netns": HOST_NETNS,
        "mntns": HOST_MNTNS,
        "cgroups": ("/",),
    }
    return Process(**{**fields, **changes})  # type: ignore[arg-type]


DOCKER0 = Link(netns=HOST_NETNS, ifindex=3, ifname="docker0", kind="bridge", bridge_id="8000.02420a", stp=False)
HOST_VETH = Link(netns=HOST_NETNS, ifindex=13, ifname="veth1", kind="veth", master=3, link=12, link_netnsid=0)
WEB_ETH0 = Link(
    netns=WEB_NETNS, ifindex=12, ifname="eth0", kind="veth", mac="02:42:ac:11:00:02", link=13, link_netnsid=0
)
WEB_ADDRESS = Address(netns=WEB_NETNS, ifindex=12, family="ipv4", address="172.17.0.2", prefix_len=16)
BRIDGE_ADDRESS = Address(netns=HOST_NETNS, ifindex=3, family="ipv4", address="172.17.0.1", prefix_len=16)
BRIDGE_NETWORK = NetworkRecord(
    engine="docker",
    data_root="/var/lib/docker",
    id=NETWORK_ID,
    name="bridge",
    driver="bridge",
    bridge="docker0",
    subnets=(Subnet(subnet="172.17.0.0/16", gateway="172.17.0.1"),),
)


def host_with_web(**changes: object) -> Facts:
    """A host with docker0 and one container on it, healthy in every respect."""
    fields: dict[str, object] = {
        "host": HOST,
        "engines": (Engine(name="docker", data_root="/var/lib/docker", pid=300),),
        "processes": (host_process(), host_process(300, comm="dockerd"), web_process()),
        "network_namespaces": (
            NetworkNamespace(inode=HOST_NETNS, pids=(1, 300), entered=True),
            NetworkNamespace(inode=WEB_NETNS, pids=(500,), entered=True),
        ),
        "nsids": (
            Nsid(netns=HOST_NETNS, nsid=0, target=WEB_NETNS),
            Nsid(netns=WEB_NETNS, nsid=0, target=HOST_NETNS),
        ),
        "links": (DOCKER0, HOST_VETH, WEB_ETH0),
        "addresses": (WEB_ADDRESS, BRIDGE_ADDRESS),
        "containers": (record(),),
        "networks": (BRIDGE_NETWORK,),
    }
    return Facts(**{**fields, **changes})  # type: ignore[arg-type]
