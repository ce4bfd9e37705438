"""NAT and filter rules of every network namespace, straight from the kernel: legacy tables and those of nf_tables.

Nothing is changed by looking: no table is made, no module is loaded, no process is started. A namespace without rules
costs one netlink dump and, where the kernel has legacy tables at all, two small files of /proc.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from hostinspect.collectors.gaps import PERMISSION, GapLog
from hostinspect.facts import Chain, Family, Rule
from hostinspect.kernel import ip_tables, nftables
from hostinspect.kernel.modules import is_present
from hostinspect.kernel.netlink import NETLINK_NETFILTER, NetlinkError, NetlinkSocket

if TYPE_CHECKING:
    from hostinspect.kernel.iptc import Saved

COLLECTOR = "rules"
_REFUSED = (errno.EPERM, errno.EACCES)


class PacketFilter:
    """A reader for `hostinspect.collectors.network`: called once in each network namespace, by a thread inside it.

    What it finds is in `chains` and `rules`, in the kernel's order. What it may not see is one gap for all namespaces;
    any other failure is a gap of its namespace.
    """

    def __init__(self, gaps: GapLog) -> None:
        self._gaps = gaps
        self.chains: list[Chain] = []
        self.rules: list[Rule] = []
        self._legacy = [protocol for protocol in (ip_tables.IPV4, ip_tables.IPV6) if ip_tables.is_registered(protocol)]
        self._has_nftables = is_present("nfnetlink") and is_present("nf_tables")
        if not self._has_nftables and not _modules_are_known():
            gaps.add(
                COLLECTOR,
                "rules of nf_tables",
                "whether the kernel has nf_tables cannot be told, and asking it could load the module",
                "run it where /lib/modules of the running kernel can be read",
            )

    def __call__(self, netns: int) -> None:
        """Read the rules of the network namespace that this thread is in; `netns` is its inode."""
        if self._has_nftables:
            self._read_nftables(netns)
        for protocol in self._legacy:
            self._read_legacy(protocol, netns)

    def _read_nftables(self, netns: int) -> None:
        try:
            with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
                self._keep(nftables.read(netfilter, netns))
        except (NetlinkError, nftables.UnknownLayoutError) as e:
            self._gap("rules of nf_tables", netns, e)

    def _read_legacy(self, protocol: ip_tables.Protocol, netns: int) -> None:
        program = "iptables" if protocol is ip_tables.IPV4 else "ip6tables"
        try:
            for name in ip_tables.table_names(protocol):
                table = ip_tables.read_table(protocol, name)
                self._keep(ip_tables.decode(protocol, table, netns, _saved))
        except (OSError, ip_tables.UnknownLayoutError) as e:
            self._gap(f"legacy rules of {program}", netns, e)

    def _keep(self, found: list[Chain | Rule]) -> None:
        self.chains += [record for record in found if isinstance(record, Chain)]
        self.rules += [record for record in found if isinstance(record, Rule)]

    def _gap(self, subject: str, netns: int, error: OSError | ValueError) -> None:
        if isinstance(error, OSError) and error.errno in _REFUSED:
            self._gaps.add(COLLECTOR, subject, os.strerror(error.errno or 0), PERMISSION)
        else:
            self._gaps.add(COLLECTOR, f"{subject} in net:[{netns}]", str(error))


def _saved(family: Family, table: str, chain: str, position: int) -> Saved | None:
    """python-iptables, loaded when the first rule needs it."""
    from hostinspect.kernel.iptc import saved

    return saved(family, table, chain, position)


def _modules_are_known() -> bool:
    """Whether `is_present` could tell: modules that are built in are listed in a file beside the loadable ones."""
    release = os.uname().release
    return any(os.path.exists(f"{folder}/{release}/modules.builtin") for folder in ("/lib/modules", "/usr/lib/modules"))
