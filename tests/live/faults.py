"""Faults that are really made on a host with the demo scenario, and what is to be said of each.

    python -m tests.live.faults    print docs/faults.md

`make` and `undo` are scripts of the shell, run in the host with `_TOOLS` before them. What `make` says by `say NAME
VALUE` is filled in where a subject has {NAME}; {backend} is that of the host's iptables.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "faults.md"

# What doctor says of the demo scenario itself: a volume that nobody has is part of it.
HEALTHY = frozenset({("volume-dangling", "dangling")})

_TOOLS = r"""
say() { echo "$1=$2"; }
pid() { docker inspect --format '{{.State.Pid}}' "$1"; }
cid() { docker inspect --format '{{.Id}}' "$1"; }
ip_of() { docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' "$1" | cut -d ' ' -f 1; }
gateway() { docker inspect --format '{{range .NetworkSettings.Networks}}{{.Gateway}} {{end}}' "$1" | cut -d ' ' -f 1; }
overlay() { dirname "$(docker inspect --format '{{.GraphDriver.Data.UpperDir}}' "$1")"; }
inside() { container=$1; shift; nsenter --target "$(pid "$container")" --net -- "$@"; }
veth() { # CONTAINER INTERFACE: the host's end
    index=$(inside "$1" ip -oneline link show "$2" | sed 's/.*@if\([0-9]*\):.*/\1/')
    ip -oneline link | sed -n "s/^$index: \([^@:]*\)[@:].*/\1/p"
}
bridge() { echo "br-$(docker network inspect --format '{{.Id}}' "$1" | cut -c 1-12)"; }
port() { docker port "$1" "$2" | sed -n '1s/.*://p'; }
shim() { pgrep -f "containerd-shim.* -id $(cid "$1") "; }
last() { iptables -t "$1" -S "$2" | grep -c '^-A'; } # the position of the last rule of a chain
daemons() { pgrep -x dockerd; pgrep -x containerd; }
freeze() { daemons | xargs kill -STOP; }
thaw() { daemons | xargs kill -CONT; }
until_state() { # CONTAINER STATE
    n=0
    until [ "$(docker inspect --format '{{.State.Status}}' "$1")" = "$2" ]; do
        n=$((n + 1)); [ $n -lt 300 ] || exit 1; sleep 0.05
    done
}
background() { setsid "$@" </dev/null >/dev/null 2>&1 3>&1 & } # docker-proxy reports to 3
killed() { # PID…: by SIGKILL, until no more than their exit status is left; a leader may end before its threads
    kill -KILL "$@"
    for pid; do
        while grep -qs '^State:.[^ZX]' "/proc/$pid/status"; do sleep 0.01; done
        while [ "$(ls "/proc/$pid/task" 2>/dev/null | wc -w)" -gt 1 ]; do sleep 0.01; done
    done
}
end() { killed $(pgrep -f -- "$1"); } # those with that in their command line
until_line() { until grep -qs "$1" "$2"; do sleep 0.01; done; } # PATTERN FILE
until_listening() { until inside "$1" ss -Hltn "sport = :$2" | grep -q LISTEN; do sleep 0.05; done; } # CONTAINER PORT
"""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong."""

    title: str  # what is done, as the page has it
    make: str
    undo: str
    found: tuple[tuple[str, str], ...]  # check and subject: all that doctor reports, the fault's own name first
    trace: tuple[str, str] | None = None  # what is traced meanwhile, in words of the shell; the hop that breaks, or ""
    doctor: tuple[str, ...] = ()  # further arguments

    def script(self, part: str) -> str:
        return f"{_TOOLS}\n{part}"


_SAVE = "iptables-save >/tmp/rules.save; "
_RESTORE = "iptables-restore </tmp/rules.save"
_POLICY = ("forward-drops", "the policy of filter FORWARD ({backend})")
_ID = "0123456789abcdef" * 4
_ALL_PORTS = (
    ("port-without-rule", "8080/tcp"),
    ("port-without-rule", "{port}/tcp"),
    ("port-without-rule", "127.0.0.1:8081/tcp"),
)

FAULTS: dict[str, Fault] = {
    # --- ports ---
    "rule-deleted": Fault(
        "the DNAT rule of a published port is deleted",
        _SAVE + 'iptables -t nat -D DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to "$(ip_of web1):80"',
        _RESTORE,
        (("port-without-rule", "8080/tcp"),),
        ("8080", ""),
    ),
    "rule-to-nobody": Fault(
        "a DNAT rule to an address that nobody has",
        _SAVE + "iptables -t nat -A DOCKER -p tcp --dport 9999 -j DNAT --to 172.17.0.99:80; say n $(last nat DOCKER)",
        _RESTORE,
        (("rule-to-nobody", "nat DOCKER rule {n} ({backend})"),),
        ("9999", "filter"),
    ),
    "rule-twice": Fault(
        "the rule of a published port is there twice",
        _SAVE + 'iptables -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to "$(ip_of web1):80"',
        _RESTORE,
        (("port-with-two-rules", "8080/tcp"),),
        ("8080", ""),
    ),
    "rule-shadowed": Fault(
        "another rule takes the packets of a published port first",
        _SAVE + 'iptables -t nat -I DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to "$(ip_of web2):80"',
        _RESTORE,
        (("port-with-two-rules", "8080/tcp"),),
        ("8080", "owner"),
    ),
    "rule-of-ones-own": Fault(
        "somebody's own rule leads to a container",
        _SAVE + 'iptables -t nat -A DOCKER ! -i docker0 -p tcp --dport 9998 -j DNAT --to "$(ip_of web1):80"',
        _RESTORE,
        (("port-not-recorded", "9998/tcp"),),
        ("9998", ""),
    ),
    "proxy-of-nobody": Fault(
        "a docker-proxy without a container",
        """background docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 9997 \
            -container-ip 172.17.0.99 -container-port 80
        say pid "$!"; until ss -ltn 'sport = :9997' | grep -q LISTEN; do sleep 0.05; done""",
        "end 'host-port 9997'",
        (("proxy-without-container", "docker-proxy {pid}"),),
        ("9997", "address"),
    ),
    "proxy-killed": Fault(
        "the docker-proxy of a published port is killed",
        "end 'docker-proxy.*-host-port 8081 '",
        "docker restart --time 0 wp_app; until_listening wp_app 80",
        (("port-without-proxy", "127.0.0.1:8081/tcp"),),
        ("127.0.0.1:8081 --source host", "socket"),
    ),
    "nobody-listens": Fault(
        "a port is published, and no server runs",
        "docker run --detach --name idle --publish 8090:80 lab/base",
        "docker rm --force idle",
        (("port-nobody-listens", "8090/tcp"),),
        ("8090", "socket"),
    ),
    "loopback-only": Fault(
        "a port is published, and the server listens on 127.0.0.1",
        "docker run --detach --name local --publish 8091:80 lab/web httpd -f -p 127.0.0.1:80 -h /www; "
        "until_listening local 80",
        "docker rm --force local",
        (("port-loopback-only", "8091/tcp"),),
        ("8091", "socket"),
    ),
    "other-address": Fault(
        "a port is published, and the server listens on another address",
        "docker run --detach --name other --cap-add NET_ADMIN --publish 8092:80 lab/web \
            sh -c 'ip address add 203.0.113.9/32 dev lo; exec httpd -f -p 203.0.113.9:80 -h /www'; "
        "until_listening other 80",
        "docker rm --force other",
        (("port-other-address", "8092/tcp"),),
        ("8092", "socket"),
    ),
    "port-taken": Fault(
        "the port of a container that is to be started is taken",
        "background busybox nc -ll -p 8082 -e cat; until ss -ltn 'sport = :8082' | grep -q LISTEN; do sleep 0.05; done",
        "end 'nc -ll -p 8082'",
        (("port-taken", "8082/tcp"),),
    ),
    "port-stolen": Fault(
        "the docker-proxy of a published port is killed, and another process takes its place",
        """end 'docker-proxy.*-host-port 8081 '
        background busybox nc -ll -p 8081 -e cat
        until ss -ltn 'sport = :8081' | grep -q LISTEN; do sleep 0.05; done""",
        "end 'nc -ll -p 8081'; docker restart --time 0 wp_app; until_listening wp_app 80",
        (("port-taken", "127.0.0.1:8081/tcp"), ("port-without-proxy", "127.0.0.1:8081/tcp")),
        ("127.0.0.1:8081 --source host", "owner"),
    ),
    # --- the packet filter ---
    "nat-flushed": Fault(
        "the chain DOCKER of the nat table is flushed",
        _SAVE + "iptables -t nat -F DOCKER; say port $(port web2 80)",
        _RESTORE,
        _ALL_PORTS,
        ("8080", ""),
    ),
    "nat-chain-deleted": Fault(
        "the nat table is flushed and its chains are deleted",
        _SAVE + "iptables -t nat -F; iptables -t nat -X; say port $(port web2 80)",
        _RESTORE,
        (
            ("docker-chain-missing", "ipv4 nat DOCKER"),
            *_ALL_PORTS,
            ("network-not-masqueraded", "bridge"),
            ("network-not-masqueraded", "my_net"),
            ("network-not-masqueraded", "docker_gwbridge"),
        ),
        ("8080", ""),
    ),
    "jump-deleted": Fault(
        "the jump from PREROUTING to DOCKER is deleted",
        _SAVE + "iptables -t nat -D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        _RESTORE,
        (("docker-chain-unreachable", "ipv4 nat DOCKER"),),
        ("8080", ""),
    ),
    "filter-flushed": Fault(
        "the chain DOCKER of the filter table is flushed",
        _SAVE + "iptables -F DOCKER",
        _RESTORE,
        (_POLICY,),
        ("8080", "filter"),
    ),
    "forward-flushed": Fault(
        "FORWARD is flushed, and its policy is DROP",
        _SAVE + "iptables -F FORWARD",
        _RESTORE,
        (
            _POLICY,
            ("docker-chain-unreachable", "ipv4 filter DOCKER"),
            ("docker-chain-unreachable", "ipv4 filter DOCKER-USER"),
            ("docker-chain-unreachable", "ipv4 filter DOCKER-ISOLATION-STAGE-1"),
        ),
        ("8080", "filter"),
    ),
    "firewall-reloaded": Fault(
        "the filter table is emptied, as by a reloaded firewall",
        _SAVE + "iptables -F; iptables -X",
        _RESTORE,
        (("docker-chain-missing", "ipv4 filter DOCKER"), _POLICY),
        ("8080", "filter"),
    ),
    "user-drops": Fault(
        "a rule in DOCKER-USER drops everything",
        _SAVE + "iptables -I DOCKER-USER -j DROP",
        _RESTORE,
        (("forward-drops", "filter DOCKER-USER rule 1 ({backend})"),),
        ("8080", "filter"),
    ),
    "not-masqueraded": Fault(
        "the rule is deleted that masquerades a network",
        _SAVE + "iptables -t nat -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        _RESTORE,
        (("network-not-masqueraded", "bridge"),),
    ),
    "two-firewalls": Fault(
        "rules of iptables-legacy beside those of nf_tables",
        "iptables-legacy -A INPUT -j ACCEPT",
        "iptables-legacy -F",
        (("two-firewalls", "legacy and nft"),),
        ("8080", ""),
    ),
    "forwarding-off": Fault(
        "net.ipv4.ip_forward is 0",
        "sysctl -q -w net.ipv4.ip_forward=0",
        "sysctl -q -w net.ipv4.ip_forward=1",
        (("ip-forward-off", "net.ipv4.ip_forward"),),
        ("8080", "forwarding"),
    ),
    "forwarding-off-one-link": Fault(
        "forwarding is off on one bridge",
        "sysctl -q -w net.ipv4.conf.docker0.forwarding=0",
        "sysctl -q -w net.ipv4.conf.docker0.forwarding=1",
        (("ip-forward-off", "net.ipv4.conf.docker0.forwarding"),),
        ("8080", "answer"),
    ),
    "rp-filter": Fault(
        "rp_filter is strict, and there are two ways out",
        """ip link add up0 type veth peer name up1; ip address add 203.0.113.2/24 dev up0
        ip link set up1 up; ip link set up0 up; ip route add default via 203.0.113.1 dev up0 metric 100
        sysctl -q -w net.ipv4.conf.all.rp_filter=1""",
        "sysctl -q -w net.ipv4.conf.all.rp_filter=0; ip link delete up0",
        (
            ("rp-filter-strict", "net.ipv4.conf.eth0.rp_filter"),
            ("rp-filter-strict", "net.ipv4.conf.up0.rp_filter"),
        ),
    ),
    "bridge-nf-call": Fault(
        "bridge-nf-call-iptables is 0, and a network counts on it",
        """docker network create --opt com.docker.network.bridge.enable_icc=false apart
        sysctl -q -w net.bridge.bridge-nf-call-iptables=0""",
        "sysctl -q -w net.bridge.bridge-nf-call-iptables=1; docker network rm apart",
        (("bridge-nf-call-off", "apart"), ("bridge-nf-call-off", "docker_gwbridge")),
    ),
    # --- links and bridges ---
    "interface-deleted": Fault(
        "a container's interface is deleted",
        "inside changed ip link delete eth0",
        "docker restart --time 0 changed",
        (("endpoint-without-link", "changed"), ("no-default-route", "changed")),
        ("changed:80", "target"),
    ),
    "veth-down": Fault(
        "a container's veth is set down on the host",
        "say veth $(veth web2 eth0); say port $(port web2 80); ip link set $(veth web2 eth0) down",
        "ip link set $(veth web2 eth0) up",
        (("link-down", "{veth}"),),
        ("{port}", "link"),
    ),
    "interface-down": Fault(
        "a container's interface is set down inside",
        "say port $(port web2 80); inside web2 ip link set eth0 down",
        "inside web2 ip link set eth0 up; inside web2 ip route add default via $(gateway web2)",
        (("link-down", "web2:eth0"), ("no-default-route", "web2")),
        ("{port}", "link"),
    ),
    "veth-out-of-bridge": Fault(
        "a container's veth is moved out of its bridge",
        "say veth $(veth web2 eth0); say port $(port web2 80); ip link set $(veth web2 eth0) nomaster",
        "ip link set $(veth web2 eth0) master docker0",
        (("veth-not-in-bridge", "{veth}"),),
        ("{port}", "link"),
    ),
    "veth-on-host": Fault(
        "both ends of a veth are on the host",
        "ip link add vetha1b2c3d type veth peer name vetha1b2c3e; ip link set vetha1b2c3d master docker0",
        "ip link delete vetha1b2c3d",
        (("veth-orphaned", "vetha1b2c3d"),),
    ),
    "veth-of-nobody": Fault(
        "a veth leads to a namespace where nothing runs",
        "ip netns add left; ip link add vethd4e5f60 type veth peer name eth0 netns left; "
        "ip link set vethd4e5f60 master docker0",
        "ip link delete vethd4e5f60; ip netns delete left",
        (("veth-orphaned", "vethd4e5f60"),),
    ),
    "parent-down": Fault(
        "the interface below a macvlan network is down",
        "ip link set eth0 down",
        "ip link set eth0 up; ip route add default via 192.0.2.1",
        (("uplink-down", "mv_net"),),
    ),
    "bridge-of-nobody": Fault(
        "a bridge of no network",
        "ip link add br-0123456789ab type bridge",
        "ip link delete br-0123456789ab",
        (("bridge-without-network", "br-0123456789ab"),),
    ),
    "bridge-deleted": Fault(
        "a network's bridge is deleted",
        """bridge=$(bridge my_net)
        ip -oneline link show master $bridge | sed 's/^[0-9]*: \\([^@]*\\)@.*/\\1/' >/tmp/ports
        ip link delete $bridge""",
        """bridge=$(bridge my_net); ip link add $bridge type bridge
        ip address add $(docker network inspect --format '{{(index .IPAM.Config 0).Gateway}}' my_net)/16 dev $bridge
        ip link set $bridge up; while read -r link; do ip link set $link master $bridge; done </tmp/ports""",
        (("network-without-bridge", "my_net"),),
        ("127.0.0.1:8081 --source host", "address"),
    ),
    "bridge-down": Fault(
        "a network's bridge is set down",
        "ip link set docker0 down",
        "ip link set docker0 up",
        (("bridge-down", "docker0"),),
        ("8080", "route"),
    ),
    "gateway-gone": Fault(
        "a bridge loses its address",
        "say bridge $(bridge my_net); ip address flush dev $(bridge my_net) scope global",
        "ip address add $(docker network inspect --format '{{(index .IPAM.Config 0).Gateway}}' my_net)/16 "
        "brd + dev $(bridge my_net)",
        (("bridge-without-gateway", "{bridge}"),),
        ("127.0.0.1:8081 --source host", "route"),
    ),
    "bridge-nearly-full": Fault(
        "a bridge has nearly 1,023 ports",
        """ip link add full0 type bridge
        for n in $(seq 460); do echo "link add fa$n group 77 master full0 type veth peer name fb$n"; done >/tmp/links
        for n in $(seq 460); do echo "link set fb$n master full0"; done >>/tmp/links
        ip -batch /tmp/links""",
        "ip link delete group 77; ip link delete full0",
        (("bridge-port-limit", "full0"),),
    ),
    # --- addresses and networks ---
    "address-twice": Fault(
        "two containers have one address",
        "say ip $(ip_of changed); inside rwro ip address add $(ip_of changed)/16 dev eth0",
        "inside rwro ip address delete $(ip_of changed)/16 dev eth0",
        (("address-used-twice", "{ip}"),),
    ),
    "mac-twice": Fault(
        "two containers have one MAC",
        """mac=$(inside changed cat /sys/class/net/eth0/address 2>/dev/null || :)
        mac=$(inside changed ip -oneline link show eth0 | sed 's/.*link.ether \\([0-9a-f:]*\\) .*/\\1/'); say mac $mac
        inside rwro ip -oneline link show eth0 | sed 's/.*link.ether \\([0-9a-f:]*\\) .*/\\1/' >/tmp/mac
        inside rwro ip link set eth0 address $mac""",
        "inside rwro ip link set eth0 address $(cat /tmp/mac)",
        (("mac-used-twice", "{mac}"),),
    ),
    "address-gone": Fault(
        "a container's address is taken away",
        "say ip $(ip_of changed); inside changed ip address delete $(ip_of changed)/16 dev eth0",
        "docker restart --time 0 changed",
        (("address-differs", "changed"), ("no-default-route", "changed")),
        ("changed:80", "target"),
    ),
    "route-gone": Fault(
        "a container's default route is deleted",
        "say port $(port web2 80); inside web2 ip route delete default",
        "inside web2 ip route add default via $(gateway web2)",
        (("no-default-route", "web2"),),
        ("{port}", "answer"),
    ),
    "subnet-overlaps": Fault(
        "a route of the host lies in a network's subnet",
        "ip route add 172.17.8.0/24 dev eth0",
        "ip route delete 172.17.8.0/24 dev eth0",
        (("subnets-overlap", "bridge"),),
    ),
    "mtu": Fault(
        "the way out has a smaller MTU than the networks",
        "ip link set eth0 mtu 1400",
        "ip link set eth0 mtu 1500",
        (("mtu-too-large", "bridge"), ("mtu-too-large", "docker_gwbridge"), ("mtu-too-large", "my_net")),
    ),
    # --- containers and processes ---
    "process-gone": Fault(
        "a container's process and its shim are killed while the daemon is frozen",
        """main=$(pid changed); shim=$(shim changed); freeze; killed "$shim"; killed "$main"
        while [ -e "/proc/$main" ]; do sleep 0.01; done""",
        "thaw; until_state changed exited; docker start changed",
        (("running-without-process", "changed"), ("engine-not-answering", "/var/lib/docker")),
    ),
    "process-of-stopped": Fault(
        "a process runs in the cgroup of a container that does not",
        """cgroup=/sys/fs/cgroup; [ ! -d $cgroup/pids ] || cgroup=$cgroup/pids; cgroup=$cgroup/docker/$(cid old)
        mkdir -p $cgroup; background sleep 1234567; echo $! >$cgroup/cgroup.procs""",
        """end 'sleep 1234567'; cgroup=/sys/fs/cgroup; [ ! -d $cgroup/pids ] || cgroup=$cgroup/pids
        until rmdir $cgroup/docker/$(cid old) 2>/dev/null; do sleep 0.01; done  # the dead are still leaving""",
        (("stopped-with-process", "old"),),
    ),
    "record-lost": Fault(
        "the directory of a running container is moved away",
        "say overlay $(overlay changed); say pid $(shim changed); touch --date 2020-01-01 $(overlay changed); "
        "cid changed >/tmp/id; mv /var/lib/docker/containers/$(cid changed) /srv/",
        "mv /srv/$(cat /tmp/id) /var/lib/docker/containers/",
        (
            ("endpoint-of-no-container", "changed"),
            ("shim-without-container", "containerd-shim {pid}"),
            ("overlay-of-no-container", "{overlay}/merged"),
            ("layer-directory-of-nothing", "{overlay}"),
            ("layer-directory-of-nothing", "{overlay}-init"),
        ),
    ),
    "zombie": Fault(
        "a container's main process is killed, and its shim does not take note",
        'main=$(pid changed); kill -STOP "$(shim changed)"; kill -KILL "$main"; '
        "until_line '^State:.Z' /proc/$main/status",
        'kill -CONT "$(shim changed)"; until_state changed exited; docker start changed',
        (("main-process-zombie", "changed"),),
    ),
    "stuck": Fault(
        "a container's main process waits in the kernel",
        """echo 'int vfork(void); int pause(void); int main(void) { if (!vfork()) for (;;) pause(); return 0; }' |
            gcc -static -o /srv/stuck -x c -
        docker run --detach --name stuck --volume /srv/stuck:/stuck:ro lab/base /stuck
        until_line '^State:.D' /proc/$(pid stuck)/status""",
        "docker rm --force stuck; rm /srv/stuck",
        (("main-process-stuck", "stuck"),),
    ),
    "shim-killed": Fault(
        "a shim is killed while the daemon is frozen",
        'shim=$(shim changed); freeze; killed "$shim"',
        "thaw; until_state changed exited; docker start changed",
        (("shim-missing", "changed"), ("engine-not-answering", "/var/lib/docker")),
    ),
    "shim-of-nobody": Fault(
        "a shim of a container that there is no record of",
        f"""printf '#!/bin/sh\\nsleep 1234567\\n' >/tmp/containerd-shim-runc-v2; chmod +x /tmp/containerd-shim-runc-v2
        background /tmp/containerd-shim-runc-v2 -namespace moby -id {_ID}
        say pid $!; until_line ^containerd-shim /proc/$!/comm""",
        f"end '-id {_ID}'; end 'sleep 1234567'; rm /tmp/containerd-shim-runc-v2",
        (("shim-without-container", "containerd-shim {pid}"),),
    ),
    "restart-loop": Fault(
        "a container ends after each start",
        """docker run --detach --name loop --network none --restart always lab/base sh -c 'exit 1'
        until [ "$(docker inspect --format '{{.RestartCount}}' loop)" -ge 4 ]; do sleep 0.1; done""",
        "docker rm --force loop",
        (("restart-loop", "loop"),),
    ),
    "unhealthy": Fault(
        "a container's health check fails",
        """docker run --detach --name sick --network none --health-cmd 'exit 1' --health-interval 200ms \
            --health-retries 1 lab/base
        until [ "$(docker inspect --format '{{.State.Health.Status}}' sick)" = unhealthy ]; do sleep 0.1; done""",
        "docker rm --force sick",
        (("container-unhealthy", "sick"),),
    ),
    "clock": Fault(
        "a record has a time that is still to come",
        """file=/var/lib/docker/containers/$(cid old)/config.v2.json; cp --archive $file /tmp/old.json
        sed -i 's/"FinishedAt":"20/"FinishedAt":"21/' $file""",
        "cp --archive /tmp/old.json /var/lib/docker/containers/$(cid old)/config.v2.json",
        (("record-in-the-future", "old"),),
    ),
    # --- disk and mounts ---
    "overlay-left": Fault(
        "the root of a stopped container is mounted",
        """set -- $(docker inspect --format '{{with .GraphDriver.Data}}{{.LowerDir}} {{.UpperDir}} {{.WorkDir}} \
            {{.MergedDir}}{{end}}' old)
        mkdir -p $4; mount -t overlay -o lowerdir=$1,upperdir=$2,workdir=$3 overlay $4; say merged $4""",
        "umount $(docker inspect --format '{{.GraphDriver.Data.MergedDir}}' old)",
        (("overlay-of-no-container", "{merged}"),),
    ),
    "overlay-of-nobody": Fault(
        "an overlay of no container, and its directory",
        f"""cd /var/lib/docker/overlay2; mkdir -p {_ID}/diff {_ID}/work {_ID}/merged
        mount -t overlay -o lowerdir=/var/lib/docker/overlay2/l,upperdir=$PWD/{_ID}/diff,workdir=$PWD/{_ID}/work \
            overlay {_ID}/merged
        touch --date 2020-01-01 {_ID}""",
        f"umount /var/lib/docker/overlay2/{_ID}/merged; rm -r /var/lib/docker/overlay2/{_ID}",
        (
            ("overlay-of-no-container", f"/var/lib/docker/overlay2/{_ID}/merged"),
            ("layer-directory-of-nothing", f"/var/lib/docker/overlay2/{_ID}"),
        ),
    ),
    "layer-of-nothing": Fault(
        "a directory in overlay2/ that belongs to nothing",
        f"cd /var/lib/docker/overlay2; mkdir -p {_ID}/diff; touch --date 2020-01-01 {_ID}",
        f"rm -r /var/lib/docker/overlay2/{_ID}",
        (("layer-directory-of-nothing", f"/var/lib/docker/overlay2/{_ID}"),),
    ),
    "directory-of-nothing": Fault(
        "a directory in containers/ without a record",
        f"cd /var/lib/docker/containers; mkdir {_ID}; touch --date 2020-01-01 {_ID}",
        f"rmdir /var/lib/docker/containers/{_ID}",
        (("container-directory-of-nothing", f"/var/lib/docker/containers/{_ID}"),),
    ),
    "mount-leaked": Fault(
        "a service keeps the root of a container that was stopped",
        """docker run --detach --name leaked --network none lab/base; say overlay $(overlay leaked)
        background unshare --mount --propagation private \
            sh -c "mount --bind $(overlay leaked)/merged /mnt; exec sleep 1234567"
        until pgrep -f '^sleep 1234567'; do sleep 0.1; done
        docker stop --time 0 leaked""",
        "end 'sleep 1234567'; docker rm --force leaked",
        (("mount-leaked", "{overlay}"),),
    ),
    "disk-full": Fault(
        "the file system under a data root is full",
        """mkdir -p /srv/small; mount -t tmpfs -o size=8m tmpfs /srv/small; mkdir /srv/small/containers
        dd if=/dev/zero of=/srv/small/file bs=64k count=126 status=none""",
        "umount /srv/small; rmdir /srv/small",
        (("disk-nearly-full", "/srv/small"),),
        doctor=("--data-root", "/srv/small", "--only", "disk-nearly-full,inodes-nearly-used-up"),
    ),
    "inodes-used-up": Fault(
        "the file system under a data root has no inodes left",
        """mkdir -p /srv/small; mount -t tmpfs -o size=8m,nr_inodes=64 tmpfs /srv/small; mkdir /srv/small/containers
        for n in $(seq 60); do : >/srv/small/$n; done""",
        "umount /srv/small; rmdir /srv/small",
        (("inodes-nearly-used-up", "/srv/small"),),
        doctor=("--data-root", "/srv/small", "--only", "disk-nearly-full,inodes-nearly-used-up"),
    ),
    "deleted-file": Fault(
        "a process in a container holds a large file that was deleted",
        """docker exec --detach changed sh -c 'exec 9>/tmp/big; dd if=/dev/zero bs=1048576 count=110 >&9; rm /tmp/big
            exec sleep 1234567'
        until pid=$(pgrep -f '^sleep 1234567'); do sleep 0.1; done; say pid $pid""",
        "end '^sleep 1234567'",
        (("deleted-file-held", "sleep {pid}"),),
    ),
    # --- volumes ---
    "volume-dangling": Fault(
        "a volume that nobody has",
        "docker volume create spare",
        "docker volume rm spare",
        (("volume-dangling", "spare"),),
    ),
    "volume-unused": Fault(
        "a volume of a container that does not run",
        "docker create --name resting --network none --volume resting01:/data lab/base",
        "docker rm resting; docker volume rm resting01",
        (("volume-unused", "resting01"),),
    ),
    "volume-path": Fault(
        "a volume's directory is removed",
        "mv /var/lib/docker/volumes/shared01/_data /srv/kept",
        "mv /srv/kept /var/lib/docker/volumes/shared01/_data",
        (("volume-path-missing", "shared01"),),
    ),
    "volume-source": Fault(
        "a volume is made of a directory that is not there",
        "docker volume create --opt type=none --opt o=bind --opt device=/srv/nowhere nowhere",
        "docker volume rm nowhere",
        (("volume-source-gone", "nowhere"), ("volume-dangling", "nowhere")),
    ),
    "bind-source": Fault(
        "the source of a bind mount is removed",
        "rm -r /srv/site",
        "mkdir /srv/site; docker restart --time 0 bindtmp",
        (("bind-source-gone", "bindtmp"),),
    ),
    # --- who may command the engine ---
    "api-on-tcp": Fault(
        "a daemon listens on port 2375",
        """ip link add second0 type bridge; ip address add 203.0.113.1/24 dev second0; ip link set second0 up
        background dockerd --host tcp://0.0.0.0:2375 --data-root /srv/second --exec-root /run/second \
            --pidfile /run/second.pid --bridge second0 --iptables=false --ip-forward=false --tls=false
        until curl -s http://127.0.0.1:2375/_ping >/dev/null; do sleep 0.1; done""",
        """pkill -KILL -f /run/second; while pgrep -f /run/second >/dev/null; do sleep 0.1; done
        rm -rf /srv/second /run/second*; ip link delete second0""",
        (("api-on-tcp", "2375/tcp"),),
    ),
    "socket-open": Fault(
        "docker.sock is open to everybody",
        "chmod 666 /run/docker.sock",
        "chmod 660 /run/docker.sock",
        (("socket-open-to-all", "/run/docker.sock"),),
    ),
    "group-member": Fault(
        "a user is in the group docker",
        "cp /etc/group /tmp/group; sed -i 's/^docker:.*:$/&nobody/' /etc/group",
        "cp /tmp/group /etc/group",
        (("socket-group-members", "/run/docker.sock"),),
    ),
    "socket-mounted": Fault(
        "a container has docker.sock mounted",
        "docker run --detach --name watcher --network none --volume /var/run/docker.sock:/docker.sock lab/base",
        "docker rm --force watcher",
        (("sensitive-bind-mount", "watcher"),),
    ),
    "privileged": Fault(
        "a container is privileged",
        "docker create --name mighty --network none --privileged lab/base",
        "docker rm mighty",
        (("privileged-container", "mighty"),),
    ),
    # --- the daemon ---
    "daemon-frozen": Fault(
        "the daemon is stopped by a signal",
        "kill -STOP $(pgrep -x dockerd)",
        "kill -CONT $(pgrep -x dockerd)",
        (("engine-not-answering", "/var/lib/docker"),),
        ("8080", ""),
    ),
}


def page() -> str:
    """docs/faults.md."""
    lines = [
        "# Faults, and what is said of them",
        "",
        "Every fault below is really made on a host with the demo scenario (`tests/live/test_fault_atlas.py`): then",
        "`hostinspect doctor` reports what stands in the second column, of the object that is meant, and nothing else;",
        "when the fault is undone, it reports nothing again. The third column is the hop at which `hostinspect trace`",
        "breaks, where a packet's way is meant; “–” means that it gets through all the same.",
        "",
        "This page is made by `python -m tests.live.faults`. What each finding means is in [doctor.md](doctor.md).",
        "",
        "| fault | finding | hop |",
        "| --- | --- | --- |",
    ]
    for fault in FAULTS.values():
        ids = ", ".join(f"[`{id_}`](doctor.md#{id_})" for id_ in dict.fromkeys(id_ for id_, _ in fault.found))
        hop = "" if fault.trace is None else fault.trace[1] or "–"
        lines.append(f"| {fault.title} | {ids} | {hop} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
