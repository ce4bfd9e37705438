"""1,000 published ports, three rules each: `python -m tests.bench.bench_packet_filter [PORTS [RUNS]]`. Needs root.

The rules of iptables-nft by our reader and by `iptables-save -c` (with ip6tables-save, since ours reads both), native
ones by ours and by `nft list ruleset`, legacy ones by ours, by `iptables-legacy-save -c` and by python-iptables; and
what a namespace without rules costs, and one with embedded DNS. Prints milliseconds, and ratios of the medians. A first
run is that of a process in which the reader has read no such rules yet.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

_INSIDE, _FIRST = "--inside", "--first"
_OURSELVES = (sys.executable, "-m", "tests.bench.bench_packet_filter")


def restore_file(ports: int) -> str:
    """What docker 26 writes for that many ports of containers on docker0."""
    nat = [":DOCKER - [0:0]", "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER", "-A DOCKER -i docker0 -j RETURN"]
    filter_ = [":DOCKER - [0:0]", "-A FORWARD -o docker0 -j DOCKER"]
    for host_port, address in _published(ports):
        where = f"-d {address}/32"
        nat += [
            f"-A POSTROUTING -s {address}/32 {where} -p tcp -m tcp --dport 80 -j MASQUERADE",
            f"-A DOCKER ! -i docker0 -p tcp -m tcp --dport {host_port} -j DNAT --to-destination {address}:80",
        ]
        filter_.append(f"-A DOCKER {where} ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT")
    return "\n".join(["*nat", *nat, "COMMIT", "*filter", *filter_, "COMMIT", ""])


EMBEDDED_DNS = """*nat
:DOCKER_OUTPUT - [0:0]
:DOCKER_POSTROUTING - [0:0]
-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
-A POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.11:35338
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:41117
-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p tcp -m tcp --sport 35338 -j SNAT --to-source :53
-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p udp -m udp --sport 41117 -j SNAT --to-source :53
COMMIT
"""  # in the namespace of each container on a network of its own


def ruleset(ports: int) -> str:
    """The same in the manner of docker 29's nftables backend."""
    nat, masquerade, accept = [], [], []
    for host_port, address in _published(ports):
        nat.append(f'iifname != "docker0" tcp dport {host_port} counter dnat to {address}:80 comment "DNAT"')
        masquerade.append(f"ip saddr {address} ip daddr {address} tcp dport 80 counter masquerade")
        accept.append(f"ip daddr {address} tcp dport 80 counter accept")
    chains = {
        "nat type nat hook prerouting priority dstnat;": nat,
        "masq type nat hook postrouting priority srcnat;": masquerade,
        "through type filter hook forward priority filter;": accept,
    }
    body = []
    for head, rules in chains.items():
        name, _, base = head.partition(" ")
        body += [f"chain {name} {{", base, *rules, "}"]
    return "\n".join(["table ip docker-bridges {", *body, "}", ""])


def _published(ports: int) -> Iterator[tuple[int, str]]:
    return ((20_000 + n, f"172.{17 + n // 60_000}.{n // 250 % 256}.{2 + n % 250}") for n in range(ports))


def ours_nft() -> int:
    from hostinspect.kernel import nftables
    from hostinspect.kernel.netlink import NETLINK_NETFILTER, NetlinkSocket

    with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        return len(list(nftables.read(netfilter, 1)))


def ours_legacy() -> int:
    from hostinspect.kernel import ip_tables

    return sum(
        len(list(ip_tables.decode(protocol, ip_tables.read_table(protocol, name), 1)))
        for protocol in (ip_tables.IPV4, ip_tables.IPV6)
        for name in ip_tables.table_names(protocol)
    )


def python_iptables() -> int:
    """Every rule's extensions with all their parameters, of the tables that there are."""
    from hostinspect.kernel import ip_tables
    from hostinspect.kernel.iptc import is_available

    if not is_available():
        return 0
    import iptc

    seen = 0
    for name in ip_tables.table_names(ip_tables.IPV4):
        iptc.Table._cache.clear()
        iptc.Chain._cache.clear()
        table = iptc.Table(name, autocommit=False)
        for chain in table.chains:
            for rule in chain.rules:
                for extension in [*rule.matches, *([rule.target] if rule.target else [])]:
                    extension.get_all_parameters()
                seen += 1
        table.close()
    return seen


def command(*words: str) -> Callable[[], int]:
    def run() -> int:
        return len(subprocess.run(words, capture_output=True, check=True).stdout.splitlines())

    return run


def both(first: Callable[[], int], second: Callable[[], int]) -> Callable[[], int]:
    return lambda: first() + second()


def timed(reader: Callable[[], int]) -> tuple[float, int]:
    """Milliseconds that it takes, and what it returns."""
    start = time.perf_counter()
    seen = reader()
    return (time.perf_counter() - start) * 1000, seen


def measure(
    name: str, reader: Callable[[], int], runs: int, run: Callable[[Callable[[], int]], tuple[float, int]] = timed
) -> float:
    """The median of so many runs in milliseconds, which is printed."""
    taken = [run(reader) for _ in range(runs)]
    median = statistics.median(milliseconds for milliseconds, _ in taken)
    print(f"{name:36} {median:9.2f} ms  {taken[0][1]:6} records", flush=True)
    return median


def in_a_new_process(reader: Callable[[], int]) -> tuple[float, int]:
    """`timed`, where it has read nothing yet, and what a report has loaded by then is loaded."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [*_OURSELVES, _FIRST, reader.__name__]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=kept)  # its byte code is there then
    taken, seen = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=kept).stdout.split()
    return float(taken), int(seen)


def first(name: str) -> None:
    """What `in_a_new_process` asks for."""
    from hostinspect.collectors import packet_filter  # noqa: F401
    from hostinspect.kernel import libc  # noqa: F401

    print(*timed({reader.__name__: reader for reader in (ours_nft, ours_legacy)}[name]))


def load(program: str, text: str) -> None:
    subprocess.run(program.split(), input=text, text=True, check=True)


def inside(ports: int, runs: int) -> None:
    measure("no rules: ours, nft", ours_nft, 200)
    measure("no rules: ours, legacy", ours_legacy, 200)
    load("iptables-restore", EMBEDDED_DNS)
    measure("embedded DNS: ours", ours_nft, 200)
    load("nft flush ruleset", "")
    load("iptables-restore", restore_file(ports))
    start = measure("iptables-nft: ours, first run", ours_nft, runs, in_a_new_process)
    median = measure("iptables-nft: ours", ours_nft, runs)
    saves = both(command("iptables-save", "-c"), command("ip6tables-save", "-c"))
    save = measure("iptables-nft: iptables-save -c", saves, runs)
    print(f"  ours takes {median / save:.2f} of the tools' time, {start / save:.2f} in its first run")
    load("nft -f -", "flush ruleset\n" + ruleset(ports))
    start = measure("native: ours, first run", ours_nft, runs, in_a_new_process)
    median = measure("native: ours", ours_nft, runs)
    save = measure("native: nft list ruleset", command("nft", "list", "ruleset"), runs)
    print(f"  ours takes {median / save:.2f} of nft's time, {start / save:.2f} in its first run")
    load("nft flush ruleset", "")
    load("iptables-legacy-restore", restore_file(ports))
    start = measure("legacy: ours, first run", ours_legacy, runs, in_a_new_process)
    median = measure("legacy: ours", ours_legacy, runs)
    save = measure("legacy: iptables-legacy-save -c", command("iptables-legacy-save", "-c"), runs)
    library = measure("legacy: python-iptables", python_iptables, min(runs, 3))
    print(f"  ours takes {median / save:.2f} of the tool's time, {start / save:.2f} in its first run")
    print(f"  and {median / library:.3f} of python-iptables'")


def main() -> None:
    gc.disable()  # as `hostinspect.cli` does
    if _FIRST in sys.argv:
        first(sys.argv[-1])
        return
    words = [word for word in sys.argv[1:] if word != _INSIDE]
    ports, runs = (*map(int, words), *(1000, 9)[len(words) :])
    if _INSIDE in sys.argv:
        inside(ports, runs)
    else:
        subprocess.run(["unshare", "--net", *_OURSELVES, _INSIDE, str(ports), str(runs)], check=True)


if __name__ == "__main__":
    main()
